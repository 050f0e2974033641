//! Turns a request into a command: finds the buyer's pseudonym in the drop, adds new ids, and sets
//! the time that the command is decided at.

use domain::command;
use domain::decide::{Decision, Standing};
use domain::order::pay::LatePayments;
use domain::private::Private;
use domain::values::{
    AdjustmentId, BuyerId, DisplayName, DropId, HoldId, KeyDigest, Pseudonym, PurchaseId,
    Timestamp, WaitlistId,
};
use domain::{DropAggregate, Refusal};

use super::{CandidateIds, Times};
use crate::buyer_index::Match;
use crate::request::{
    AdjustStock, CancelDrop, ChangeHold, ChangeSale, ConfirmPurchase, CreateCodes, ExtendHold,
    JoinWaitlist, LeaveWaitlist, LookUpBuyer, NewTerms, PlaceHold, ReleaseHold, RescheduleDrop,
    SaleChange, ScheduleDrop, SetStock,
};
use crate::state::{DropState, State};
use crate::submission::{DecisionResult, Request};

/// The inputs of a decision, apart from the request.
///
/// A purchase, a release and a change of a hold count from their arrival, even when they are
/// decided later, because the buyer was shown `expires_at`. Everything else is decided at `now`.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(super) state: &'a State,
    pub(super) ids: CandidateIds,
    /// See [`super::Entry`].
    pub(super) item_ids: &'a [CandidateIds],
    pub(super) times: Times,
    /// See [`crate::EngineConfig::max_waitlist`].
    pub(super) max_waiting: u32,
    /// See [`crate::EngineConfig::late_payments`].
    pub(super) late_payments: LatePayments,
}

impl Request for ScheduleDrop {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let state = context.state;
        let drop_id = self
            .key
            .and_then(|key| state.scheduled_with(key))
            .unwrap_or(DropId(context.ids.subject));
        let at = context.times.now;
        let command = command::ScheduleDrop {
            key: self.key,
            terms: starting(&self.terms, at),
            total_stock: self.total_stock,
            at,
        };
        let unscheduled = DropAggregate::default();
        let aggregate = state
            .drop(drop_id)
            .map_or(&unscheduled, |drop| &drop.aggregate);
        Ok((drop_id, aggregate.schedule(&command)?, None))
    }
}

impl Request for RescheduleDrop {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let drop = context.find(self.drop_id)?;
        let decision = drop.aggregate.reschedule(&command::RescheduleDrop {
            expected_version: self.expected_version,
            patch: self.patch.as_ref().clone(),
            at: context.times.now,
        })?;
        Ok((drop.id, decision, None))
    }
}

impl Request for ChangeSale {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let drop = context.find(self.drop_id)?;
        let at = context.times.now;
        let decision = match self.change {
            SaleChange::Publish(starts_at) => drop
                .aggregate
                .publish(&command::PublishDrop { starts_at, at })?,
            SaleChange::Pause => drop.aggregate.pause(&command::PauseDrop { at })?,
            SaleChange::Resume => drop.aggregate.resume(&command::ResumeDrop { at })?,
        };
        Ok((drop.id, decision, None))
    }
}

impl Request for CancelDrop {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let drop = context.find(self.drop_id)?;
        let at = context.times.now;
        Ok((
            drop.id,
            drop.aggregate.cancel(&command::CancelDrop { at })?,
            None,
        ))
    }
}

impl Request for AdjustStock {
    type Subject = AdjustmentId;

    fn decide(&self, context: &Context<'_>) -> DecisionResult<AdjustmentId> {
        let drop = context.find(self.drop_id)?;
        let decision = drop.aggregate.adjust_stock(&command::AdjustStock {
            adjustment_id: AdjustmentId(context.ids.subject),
            key: self.key,
            expected_stock_version: self.expected_stock_version,
            delta: self.delta,
            reason: self.reason.clone(),
            at: context.times.now,
        })?;
        Ok((drop.id, decision, None))
    }
}

impl Request for SetStock {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let drop = context.find(self.drop_id)?;
        let decision = drop.aggregate.set_stock(&command::SetStock {
            adjustment_id: AdjustmentId(context.ids.subject),
            expected_stock_version: self.expected_stock_version,
            total: self.total,
            reason: self.reason.clone(),
            at: context.times.now,
        })?;
        Ok((drop.id, decision, None))
    }
}

impl Request for PlaceHold {
    type Subject = HoldId;

    fn decide(&self, context: &Context<'_>) -> DecisionResult<HoldId> {
        let drop = context.find(self.drop_id)?;
        let ids = context.ids;
        let (buyer, private) = self.named().identify(context.state, drop, ids)?;
        let decision = drop.aggregate.place_hold(&command::PlaceHold {
            hold_id: HoldId::for_drop(self.drop_id, ids.subject),
            key: key_used(drop, buyer, [self.key, self.other_key]),
            buyer,
            quantity: self.quantity,
            pass: self.pass,
            commitment: private.as_ref().map(Private::commitment),
            at: context.times.now,
        })?;
        Ok((drop.id, decision, private))
    }
}

impl Request for CreateCodes {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let drop = context.find(self.drop_id)?;
        let decision = drop.aggregate.create_codes(&command::CreateCodes {
            key: self.key,
            first: self.first,
            of: self.of,
            digests: self.digests.clone(),
            uses: self.uses,
            opens_at: self.opens_at,
            expires_at: self.expires_at,
            at: context.times.now,
        })?;
        Ok((drop.id, decision, None))
    }
}

impl Request for LookUpBuyer {
    type Subject = Standing;

    fn decide(&self, context: &Context<'_>) -> DecisionResult<Standing> {
        let drop = context.find(self.drop_id)?;
        let named = Named {
            buyer_id: &self.buyer_id,
            display_name: None,
            is_from_token: self.is_from_token,
        };
        let (buyer, _) = named.identify(context.state, drop, context.ids)?;
        let decision = Decision {
            events: vec![],
            subject: drop.aggregate.standing(buyer, context.times.now)?,
        };
        Ok((drop.id, decision, None))
    }
}

impl Request for ExtendHold {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let Self { hold_id, seconds } = *self;
        let drop = context.state.drop_of(hold_id);
        let drop = drop.ok_or(Refusal::HoldNotFound)?;
        let command = command::ExtendHold {
            hold_id,
            seconds,
            at: context.times.of_arrival(drop, hold_id),
        };
        Ok((drop.id, drop.aggregate.extend_hold(&command)?, None))
    }
}

impl Request for ChangeHold {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let Self { hold_id, quantity } = *self;
        let drop = context.state.drop_of(hold_id);
        let drop = drop.ok_or(Refusal::HoldNotFound)?;
        let command = command::ChangeHold {
            hold_id,
            quantity,
            at: context.times.of_arrival(drop, hold_id),
        };
        Ok((drop.id, drop.aggregate.change_hold(&command)?, None))
    }
}

impl Request for ReleaseHold {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let hold_id = self.hold_id;
        let drop = context.state.drop_of(hold_id);
        let drop = drop.ok_or(Refusal::HoldNotFound)?;
        let at = context.times.of_arrival(drop, hold_id);
        let command = command::ReleaseHold { hold_id, at };
        Ok((drop.id, drop.aggregate.release_hold(&command)?, None))
    }
}

impl Request for ConfirmPurchase {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let Self {
            hold_id,
            payment_reference,
        } = self;
        let drop = context.state.drop_of(*hold_id);
        let drop = drop.ok_or(Refusal::HoldNotFound)?;
        let is_recorded = payment_reference
            .as_ref()
            .is_some_and(|reference| drop.was_paid_by(*hold_id, reference));
        let private = payment_reference
            .clone()
            .map(|reference| Private::payment(context.ids.salt, reference));
        let decision = drop.aggregate.confirm_purchase(&command::ConfirmPurchase {
            purchase_id: PurchaseId(context.ids.subject),
            hold_id: *hold_id,
            commitment: private.as_ref().map(Private::commitment),
            is_recorded,
            at: context.times.of_arrival(drop, *hold_id),
        })?;
        Ok((drop.id, decision, private))
    }
}

impl Request for JoinWaitlist {
    type Subject = WaitlistId;

    fn decide(&self, context: &Context<'_>) -> DecisionResult<WaitlistId> {
        let drop = context.find(self.drop_id)?;
        let ids = context.ids;
        let (buyer, private) = self.named().identify(context.state, drop, ids)?;
        let decision = drop.aggregate.join_waitlist(&command::JoinWaitlist {
            entry_id: WaitlistId::for_drop(self.drop_id, ids.subject),
            hold_id: HoldId::for_drop(self.drop_id, ids.offer),
            key: key_used(drop, buyer, [self.key, self.other_key]),
            buyer,
            quantity: self.quantity,
            pass: self.pass,
            commitment: private.as_ref().map(Private::commitment),
            max_waiting: context.max_waiting,
            at: context.times.now,
        })?;
        Ok((drop.id, decision, private))
    }
}

impl Request for LeaveWaitlist {
    type Subject = ();

    fn decide(&self, context: &Context<'_>) -> DecisionResult<()> {
        let entry_id = self.entry_id;
        let drop = context.state.drop_of_entry(entry_id);
        let drop = drop.ok_or(Refusal::WaitlistEntryNotFound)?;
        let at = context.times.now;
        let command = command::LeaveWaitlist { entry_id, at };
        Ok((drop.id, drop.aggregate.leave_waitlist(&command)?, None))
    }
}

impl Context<'_> {
    fn find(&self, drop_id: DropId) -> Result<&DropState, Refusal> {
        self.state.drop(drop_id).ok_or(Refusal::DropNotFound)
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

/// The buyer as a request names them.
pub(super) struct Named<'a> {
    pub(super) buyer_id: &'a BuyerId,
    pub(super) display_name: Option<&'a DisplayName>,
    pub(super) is_from_token: bool,
}

impl PlaceHold {
    const fn named(&self) -> Named<'_> {
        Named {
            buyer_id: &self.buyer_id,
            display_name: self.display_name.as_ref(),
            is_from_token: self.is_from_token,
        }
    }
}

impl JoinWaitlist {
    const fn named(&self) -> Named<'_> {
        Named {
            buyer_id: &self.buyer_id,
            display_name: self.display_name.as_ref(),
            is_from_token: self.is_from_token,
        }
    }
}

impl Named<'_> {
    /// Returns the buyer's pseudonym in the drop, and the introduction to record if the drop does
    /// not know the buyer or knows another display name. A buyer known in another drop of the
    /// limit group keeps the pseudonym.
    ///
    /// A buyer found by another spelling keeps the recorded one, and the display name with
    /// it: the spelling decides whose token may purchase the buyer's holds.
    ///
    /// # Errors
    /// [`Refusal::OtherSpelling`]: a token's id is an account of the shop, and so is the recorded
    /// one.
    pub(super) fn identify(
        &self,
        state: &State,
        drop: &DropState,
        ids: CandidateIds,
    ) -> Result<(Pseudonym, Option<Private>), Refusal> {
        let introduction =
            || Private::buyer(ids.salt, self.buyer_id.clone(), self.display_name.cloned());
        match drop.buyer(self.buyer_id) {
            None => match state.buyer_in_group(drop, self.buyer_id) {
                None => Ok((Pseudonym(ids.buyer), Some(introduction()))),
                Some((_, Match::Caseless)) if self.is_from_token => Err(Refusal::OtherSpelling),
                Some((buyer, _)) => Ok((buyer, Some(introduction()))),
            },
            Some((known, Match::Spelling)) => {
                let is_news = self
                    .display_name
                    .is_some_and(|name| !drop.shows(known, name));
                Ok((drop.pseudonym(known), is_news.then(introduction)))
            }
            Some((_, Match::Caseless)) if self.is_from_token => Err(Refusal::OtherSpelling),
            Some((known, Match::Caseless)) => Ok((drop.pseudonym(known), None)),
        }
    }
}
