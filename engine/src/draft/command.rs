//! Turns a request into a command: finds the buyer's pseudonym in the drop, adds new ids, and sets
//! the time that the command is decided at.

use domain::command::{
    AdjustStock, CancelDrop, ConfirmPurchase, JoinWaitlist, LeaveWaitlist, PlaceHold, ReleaseHold,
    RescheduleDrop, ScheduleDrop,
};
use domain::decide::{Decision, Subject};
use domain::private::Private;
use domain::terms::TermsPatch;
use domain::values::{
    AdjustmentId, BuyerId, DisplayName, DropId, HoldId, KeyDigest, PaymentReference, Pseudonym,
    PurchaseId, Quantity, Reason, StockCount, Timestamp, WaitlistId,
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
    let context = Context {
        state,
        ids: entry.ids,
        times,
    };
    match &entry.request {
        Request::ScheduleDrop {
            key,
            terms,
            total_stock,
        } => context.schedule_drop(*key, terms, *total_stock),
        Request::RescheduleDrop {
            drop_id,
            expected_version,
            patch,
        } => context.reschedule_drop(*drop_id, *expected_version, patch),
        Request::CancelDrop { drop_id } => context.cancel_drop(*drop_id),
        Request::AdjustStock {
            drop_id,
            key,
            expected_total,
            delta,
            reason,
        } => context.adjust_stock(*drop_id, *key, *expected_total, *delta, reason),
        Request::PlaceHold {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
        } => context.place_hold(&UnitsRequest {
            drop_id: *drop_id,
            keys: [*key, *other_key],
            buyer_id,
            display_name: display_name.as_ref(),
            quantity: *quantity,
        }),
        Request::LookUpBuyer { drop_id, buyer_id } => context.look_up_buyer(*drop_id, buyer_id),
        Request::ReleaseHold { hold_id } => context.release_hold(*hold_id),
        Request::ConfirmPurchase {
            hold_id,
            payment_reference,
        } => context.confirm_purchase(*hold_id, payment_reference.as_ref()),
        Request::JoinWaitlist {
            drop_id,
            key,
            other_key,
            buyer_id,
            display_name,
            quantity,
        } => {
            let request = UnitsRequest {
                drop_id: *drop_id,
                keys: [*key, *other_key],
                buyer_id,
                display_name: display_name.as_ref(),
                quantity: *quantity,
            };
            context.join_waitlist(&request, max_waiting)
        }
        Request::LeaveWaitlist { entry_id } => context.leave_waitlist(*entry_id),
    }
}

/// A buyer's request for units of a drop: for a hold, or for a waitlist entry.
struct UnitsRequest<'a> {
    drop_id: DropId,
    /// The idempotency key, and the same key in its other scope.
    keys: [Option<KeyDigest>; 2],
    buyer_id: &'a BuyerId,
    display_name: Option<&'a DisplayName>,
    quantity: Quantity,
}

/// The state, ids and times that a request is decided with.
struct Context<'a> {
    state: &'a State,
    ids: CandidateIds,
    times: Times,
}

/// Requests of administrators.
impl Context<'_> {
    fn schedule_drop(
        &self,
        key: Option<KeyDigest>,
        terms: &NewTerms,
        total_stock: StockCount,
    ) -> DecisionResult {
        let at = self.times.now;
        let drop_id = key
            .and_then(|key| self.state.scheduled_with(key))
            .unwrap_or(DropId(self.ids.subject));
        let command = DropCommand::ScheduleDrop(ScheduleDrop {
            key,
            terms: starting(terms, at),
            total_stock,
            at,
        });
        let unscheduled = domain::DropAggregate::default();
        let aggregate = self
            .state
            .drop(drop_id)
            .map_or(&unscheduled, |drop| &drop.aggregate);
        Ok((drop_id, aggregate.decide(&command)?, None))
    }

    fn reschedule_drop(
        &self,
        drop_id: DropId,
        expected_version: Option<u32>,
        patch: &TermsPatch,
    ) -> DecisionResult {
        let command = DropCommand::RescheduleDrop(RescheduleDrop {
            expected_version,
            patch: patch.clone(),
            at: self.times.now,
        });
        about(self.drop(drop_id)?, &command, None)
    }

    fn cancel_drop(&self, drop_id: DropId) -> DecisionResult {
        let at = self.times.now;
        let command = DropCommand::CancelDrop(CancelDrop { at });
        about(self.drop(drop_id)?, &command, None)
    }

    fn adjust_stock(
        &self,
        drop_id: DropId,
        key: Option<KeyDigest>,
        expected_total: Option<u32>,
        delta: i32,
        reason: &Reason,
    ) -> DecisionResult {
        let command = DropCommand::AdjustStock(AdjustStock {
            adjustment_id: AdjustmentId(self.ids.subject),
            key,
            expected_total,
            delta,
            reason: reason.clone(),
            at: self.times.now,
        });
        about(self.drop(drop_id)?, &command, None)
    }
}

/// Requests of buyers.
impl Context<'_> {
    fn place_hold(&self, request: &UnitsRequest<'_>) -> DecisionResult {
        let drop = self.drop(request.drop_id)?;
        let (buyer, private) = identify(drop, self.ids, request.buyer_id, request.display_name);
        let command = DropCommand::PlaceHold(PlaceHold {
            hold_id: HoldId::for_drop(request.drop_id, self.ids.subject),
            key: key_used(drop, buyer, request.keys),
            buyer,
            quantity: request.quantity,
            commitment: private.as_ref().map(Private::commitment),
            at: self.times.now,
        });
        about(drop, &command, private)
    }

    fn look_up_buyer(&self, drop_id: DropId, buyer_id: &BuyerId) -> DecisionResult {
        let drop = self.drop(drop_id)?;
        let (buyer, _) = identify(drop, self.ids, buyer_id, None);
        let standing = drop.aggregate.standing(buyer, self.times.now)?;
        let subject = Subject::Buyer(Box::new(standing));
        let events = vec![];
        Ok((drop_id, Decision { events, subject }, None))
    }

    fn release_hold(&self, hold_id: HoldId) -> DecisionResult {
        let drop = self.drop_of(hold_id)?;
        let at = self.times.of_arrival(drop, hold_id);
        let command = DropCommand::ReleaseHold(ReleaseHold { hold_id, at });
        about(drop, &command, None)
    }

    fn confirm_purchase(
        &self,
        hold_id: HoldId,
        payment_reference: Option<&PaymentReference>,
    ) -> DecisionResult {
        let drop = self.drop_of(hold_id)?;
        let is_recorded =
            payment_reference.is_some_and(|reference| drop.was_paid_by(hold_id, reference));
        let private = payment_reference
            .cloned()
            .map(|reference| Private::payment(self.ids.salt, reference));
        let command = DropCommand::ConfirmPurchase(ConfirmPurchase {
            purchase_id: PurchaseId(self.ids.subject),
            hold_id,
            commitment: private.as_ref().map(Private::commitment),
            is_recorded,
            at: self.times.of_arrival(drop, hold_id),
        });
        about(drop, &command, private)
    }

    fn join_waitlist(&self, request: &UnitsRequest<'_>, max_waiting: u32) -> DecisionResult {
        let drop = self.drop(request.drop_id)?;
        let (buyer, private) = identify(drop, self.ids, request.buyer_id, request.display_name);
        let command = DropCommand::JoinWaitlist(JoinWaitlist {
            entry_id: WaitlistId::for_drop(request.drop_id, self.ids.subject),
            hold_id: HoldId::for_drop(request.drop_id, self.ids.offer),
            key: key_used(drop, buyer, request.keys),
            buyer,
            quantity: request.quantity,
            commitment: private.as_ref().map(Private::commitment),
            max_waiting,
            at: self.times.now,
        });
        about(drop, &command, private)
    }

    fn leave_waitlist(&self, entry_id: WaitlistId) -> DecisionResult {
        let drop = self
            .state
            .drop_of_entry(entry_id)
            .ok_or(Refusal::WaitlistEntryNotFound)?;
        let at = self.times.now;
        let command = DropCommand::LeaveWaitlist(LeaveWaitlist { entry_id, at });
        about(drop, &command, None)
    }
}

impl<'a> Context<'a> {
    fn drop(&self, drop_id: DropId) -> Result<&'a DropState, Refusal> {
        self.state.drop(drop_id).ok_or(Refusal::DropNotFound)
    }

    fn drop_of(&self, hold_id: HoldId) -> Result<&'a DropState, Refusal> {
        self.state.drop_of(hold_id).ok_or(Refusal::HoldNotFound)
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
