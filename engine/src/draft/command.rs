//! Turns a request into a command: finds the buyer's pseudonym in the drop, adds new ids, and sets
//! the time that the command is decided at.

use domain::command::{
    AdjustStock, CancelDrop, ConfirmPurchase, JoinWaitlist, LeaveWaitlist, PlaceHold, ReleaseHold,
    RescheduleDrop, ScheduleDrop,
};
use domain::decide::{Decision, Subject};
use domain::private::Private;
use domain::values::{
    AdjustmentId, BuyerId, DisplayName, DropId, HoldId, KeyDigest, Pseudonym, PurchaseId,
    Timestamp, WaitlistId,
};
use domain::{DropCommand, Refusal};

use super::{CandidateIds, Entry, Times};
use crate::request::{NewTerms, Request};
use crate::state::{DropState, State};

pub(super) type DecisionResult = Result<(DropId, Decision, Option<Private>), Refusal>;

/// Turns a request into a command of its drop and decides it.
///
/// A purchase and a release count from their arrival, even when they are decided later, because the
/// buyer was shown `expires_at`. Everything else is decided at `now`.
pub(super) fn decide(
    state: &State,
    entry: &Entry,
    times: Times,
    max_waiting: u32,
) -> DecisionResult {
    let ids = entry.ids;
    let at = times.now;
    match &entry.request {
        Request::ScheduleDrop {
            key,
            terms,
            total_stock,
        } => {
            let drop_id = key
                .and_then(|key| state.scheduled_with(key))
                .unwrap_or(DropId(ids.subject));
            let terms = starting(terms, at);
            let command = ScheduleDrop {
                key: *key,
                terms,
                total_stock: *total_stock,
                at,
            };
            let unscheduled = domain::DropAggregate::default();
            let aggregate = state
                .drop(drop_id)
                .map_or(&unscheduled, |drop| &drop.aggregate);
            Ok((
                drop_id,
                aggregate.decide(&DropCommand::ScheduleDrop(command))?,
                None,
            ))
        }
        Request::RescheduleDrop {
            drop_id,
            expected_version,
            patch,
        } => {
            let command = RescheduleDrop {
                expected_version: *expected_version,
                patch: patch.as_ref().clone(),
                at,
            };
            about(
                find(state, *drop_id)?,
                &DropCommand::RescheduleDrop(command),
                None,
            )
        }
        Request::CancelDrop { drop_id } => about(
            find(state, *drop_id)?,
            &DropCommand::CancelDrop(CancelDrop { at }),
            None,
        ),
        Request::AdjustStock {
            drop_id,
            key,
            expected_total,
            delta,
            reason,
        } => {
            let command = AdjustStock {
                adjustment_id: AdjustmentId(ids.subject),
                key: *key,
                expected_total: *expected_total,
                delta: *delta,
                reason: reason.clone(),
                at,
            };
            about(
                find(state, *drop_id)?,
                &DropCommand::AdjustStock(command),
                None,
            )
        }
        Request::PlaceHold {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
        } => {
            let drop = find(state, *drop_id)?;
            let (buyer, private) = identify(drop, ids, buyer_id, display_name.as_ref());
            let command = PlaceHold {
                hold_id: HoldId::for_drop(*drop_id, ids.subject),
                key: key_used(drop, buyer, [*key, *other_key]),
                buyer,
                quantity: *quantity,
                commitment: private.as_ref().map(Private::commitment),
                at,
            };
            about(drop, &DropCommand::PlaceHold(command), private)
        }
        Request::LookUpBuyer { drop_id, buyer_id } => {
            let drop = find(state, *drop_id)?;
            let (buyer, _) = identify(drop, ids, buyer_id, None);
            let subject = Subject::Buyer(Box::new(drop.aggregate.standing(buyer, at)?));
            let events = vec![];
            Ok((*drop_id, Decision { events, subject }, None))
        }
        Request::ReleaseHold { hold_id } => {
            let drop = state.drop_of(*hold_id).ok_or(Refusal::HoldNotFound)?;
            let command = ReleaseHold {
                hold_id: *hold_id,
                at: times.of_arrival(drop, *hold_id),
            };
            about(drop, &DropCommand::ReleaseHold(command), None)
        }
        Request::ConfirmPurchase {
            hold_id,
            payment_reference,
        } => {
            let drop = state.drop_of(*hold_id).ok_or(Refusal::HoldNotFound)?;
            let is_recorded = payment_reference
                .as_ref()
                .is_some_and(|reference| drop.was_paid_by(*hold_id, reference));
            let private = payment_reference
                .clone()
                .map(|reference| Private::payment(ids.salt, reference));
            let command = ConfirmPurchase {
                purchase_id: PurchaseId(ids.subject),
                hold_id: *hold_id,
                commitment: private.as_ref().map(Private::commitment),
                is_recorded,
                at: times.of_arrival(drop, *hold_id),
            };
            about(drop, &DropCommand::ConfirmPurchase(command), private)
        }
        Request::JoinWaitlist {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
        } => {
            let drop = find(state, *drop_id)?;
            let (buyer, private) = identify(drop, ids, buyer_id, display_name.as_ref());
            let command = JoinWaitlist {
                entry_id: WaitlistId::for_drop(*drop_id, ids.subject),
                hold_id: HoldId::for_drop(*drop_id, ids.offer),
                key: key_used(drop, buyer, [*key, *other_key]),
                buyer,
                quantity: *quantity,
                commitment: private.as_ref().map(Private::commitment),
                max_waiting,
                at,
            };
            about(drop, &DropCommand::JoinWaitlist(command), private)
        }
        Request::LeaveWaitlist { entry_id } => {
            let drop = state
                .drop_of_entry(*entry_id)
                .ok_or(Refusal::WaitlistEntryNotFound)?;
            let entry_id = *entry_id;
            about(
                drop,
                &DropCommand::LeaveWaitlist(LeaveWaitlist { entry_id, at }),
                None,
            )
        }
    }
}

impl Times {
    /// The time at which a request about a hold counts: its arrival, but not before the hold was
    /// placed.
    fn of_arrival(self, drop: &DropState, hold_id: HoldId) -> Timestamp {
        let placed_at = drop.aggregate.hold(hold_id).map(|hold| hold.placed_at);
        self.arrived.max(placed_at.unwrap_or_default())
    }
}

fn find(state: &State, drop_id: DropId) -> Result<&DropState, Refusal> {
    state.drop(drop_id).ok_or(Refusal::DropNotFound)
}

fn about(drop: &DropState, command: &DropCommand, private: Option<Private>) -> DecisionResult {
    Ok((drop.id, drop.aggregate.decide(command)?, private))
}

/// The key to decide with: the one that `buyer` has already used, otherwise the first.
fn key_used(drop: &DropState, buyer: Pseudonym, keys: [Option<KeyDigest>; 2]) -> Option<KeyDigest> {
    let is_theirs = |key: &KeyDigest| drop.aggregate.key_holder(*key) == Some(buyer);
    keys.into_iter().flatten().find(is_theirs).or(keys[0])
}

/// Fills in the start of the terms (now). The drop recognises a retry of such a request.
fn starting(terms: &NewTerms, at: Timestamp) -> domain::terms::DropTerms {
    let starts_at = if terms.starts_now {
        at
    } else {
        terms.terms.starts_at
    };
    domain::terms::DropTerms {
        starts_at,
        ..terms.terms.clone()
    }
}

/// Returns the buyer's pseudonym in the drop, and the introduction to record if the drop does not
/// know the buyer or knows another display name.
pub(super) fn identify(
    drop: &DropState,
    ids: CandidateIds,
    buyer_id: &BuyerId,
    display_name: Option<&DisplayName>,
) -> (Pseudonym, Option<Private>) {
    let introduction = || Private::buyer(ids.salt, buyer_id.clone(), display_name.cloned());
    match drop.buyer(buyer_id) {
        None => (Pseudonym(ids.buyer), Some(introduction())),
        Some(known) => {
            let is_news = display_name.is_some_and(|name| !drop.shows(known, name));
            (drop.pseudonym(known), is_news.then(introduction))
        }
    }
}
