//! Decisions: a pure function from history and a command to events or a [`Refusal`]. The same
//! history and command give the same result, on every machine and in every replay.
//!
//! Promise: `decide` changes nothing, and the events it returns can be applied. It returns at most
//! one event, however much the drop contains. The consequences of an event (offers of freed units,
//! the end of a cancelled drop's holds) are decided by separate commands, one event each, which the
//! engine sends as long as work remains. Limit: time comes from the command. The caller records due
//! expiries first. Here, a hold that is over but not yet recorded as expired still counts as held;
//! its purchase is refused nevertheless.
//!
//! Source: docs/decisions/0029-consequences-are-due-work.md.

use crate::command::{
    AdjustStock, CancelDrop, ConfirmPurchase, DropCommand, ExpireHold, PlaceHold, ReleaseHold,
    RescheduleDrop, ScheduleDrop, SetStock,
};
use crate::drop::{DropAggregate, Hold, HoldStatus};
use crate::event::{
    DropCancelled, DropEvent, DropRescheduled, DropScheduled, HoldExpired, HoldPlaced,
    HoldReleased, LeaveCause, PurchaseConfirmed, ReleaseCause, StockAdjusted,
};
use crate::order::OrderedHold;
use crate::refusal::{Limit, Refusal};
use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{
    AdjustmentId, HoldId, Pseudonym, Quantity, RefundId, StockCount, Timestamp, WaitlistId,
};

/// The result of an accepted command: its subject and the events to record. No events means that
/// history already contains the result.
///
/// The method of each command has the subject that only history knows, such as the id of a hold
/// that an earlier command with the same key has placed; [`DropAggregate::decide`] has a
/// [`Subject`], for every command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<S = Subject> {
    /// The events to record, in this order.
    pub events: Vec<DropEvent>,
    /// The object of the command.
    pub subject: S,
}

/// The object of an accepted command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Drop,
    /// A hold that was placed, changed, released or expired.
    Hold(HoldId),
    /// The purchase of this hold.
    Purchase(HoldId),
    Adjustment(AdjustmentId),
    Refund(RefundId),
    /// A waitlist entry.
    Waitlist(WaitlistId),
}

impl<S> Decision<S> {
    pub(crate) fn new(subject: S, events: Vec<DropEvent>) -> Self {
        Self { events, subject }
    }

    pub(crate) fn one(subject: S, event: DropEvent) -> Self {
        Self::new(subject, vec![event])
    }

    fn about(self, subject: impl FnOnce(S) -> Subject) -> Decision {
        Decision::new(subject(self.subject), self.events)
    }

    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.events.is_empty()
    }
}

/// The largest number of unresolved holds that a [`Standing`] lists.
const MAX_HOLDS_LISTED: usize = 1_000;

/// A buyer's units in a drop, and the units that they may still hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Units in unresolved holds.
    pub held: u32,
    /// Units purchased and not refunded.
    pub purchased: u32,
    /// Units that the limits allow in the buyer's next hold, if the stock suffices.
    pub allowance: u32,
    /// The time from which the throttle permits the next hold; `None` means now.
    pub next_hold_at: Option<Timestamp>,
    /// The unresolved holds, newest first: at most [`MAX_HOLDS_LISTED`].
    pub holds: Vec<HoldId>,
    /// The id of their waiting waitlist entry.
    pub entry: Option<WaitlistId>,
}

impl DropAggregate {
    /// Decides `command` against this history.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn decide(&self, command: &DropCommand) -> Result<Decision, Refusal> {
        let drop = |()| Subject::Drop;
        let decision = match command {
            DropCommand::ScheduleDrop(command) => self.schedule(command)?.about(drop),
            DropCommand::RescheduleDrop(command) => self.reschedule(command)?.about(drop),
            DropCommand::PublishDrop(command) => self.publish(command)?.about(drop),
            DropCommand::PauseDrop(command) => self.pause(command)?.about(drop),
            DropCommand::ResumeDrop(command) => self.resume(command)?.about(drop),
            DropCommand::CancelDrop(command) => self.cancel(command)?.about(drop),
            DropCommand::AdjustStock(command) => {
                self.adjust_stock(command)?.about(Subject::Adjustment)
            }
            DropCommand::SetStock(command) => self.set_stock(command)?.about(drop),
            DropCommand::PlaceHold(command) => self.place_hold(command)?.about(Subject::Hold),
            DropCommand::ExtendHold(command) => self
                .extend_hold(command)?
                .about(|()| Subject::Hold(command.hold_id)),
            DropCommand::ChangeHold(command) => self
                .change_hold(command)?
                .about(|()| Subject::Hold(command.hold_id)),
            DropCommand::ReleaseHold(command) => self
                .release_hold(command)?
                .about(|()| Subject::Hold(command.hold_id)),
            DropCommand::ConfirmPurchase(command) => self
                .confirm_purchase(command)?
                .about(|()| Subject::Purchase(command.hold_id)),
            DropCommand::RefundPurchase(command) => {
                self.refund_purchase(command)?.about(Subject::Refund)
            }
            DropCommand::ExpireHold(command) => self
                .expire_hold(command)?
                .about(|()| Subject::Hold(command.hold_id)),
            DropCommand::JoinWaitlist(command) => {
                self.join_waitlist(command)?.about(Subject::Waitlist)
            }
            DropCommand::LeaveWaitlist(command) => self
                .leave_waitlist(command)?
                .about(|()| Subject::Waitlist(command.entry_id)),
            DropCommand::ServeWaitlist(command) => self.serve_waitlist(command)?.about(drop),
            DropCommand::SettleCancelled => self.settle_cancelled()?.about(drop),
            DropCommand::CreateCodes(command) => self.create_codes(command)?.about(drop),
        };
        Ok(decision)
    }

    /// Decides the command that creates the drop.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn schedule(&self, command: &ScheduleDrop) -> Result<Decision<()>, Refusal> {
        if let Some(origin) = self.origin() {
            if command.key.is_none() || command.key != origin.key {
                return Err(Refusal::AlreadyScheduled);
            }
            let same =
                self.matches_first_terms(command) && origin.total == command.total_stock.get();
            return same
                .then(|| Decision::new((), vec![]))
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        check_schedule(&command.terms)?;
        let event = match command.terms.draft {
            true => DropEvent::DropDrafted,
            false => DropEvent::DropScheduled,
        };
        Ok(Decision::one(
            (),
            event(DropScheduled {
                key: command.key,
                terms: command.terms.clone(),
                total_stock: command.total_stock,
                scheduled_at: command.at,
            }),
        ))
    }

    /// Returns true if the drop was scheduled with the terms of `command`.
    ///
    /// A caller that sends no start gets the time of the command, so a retry has a later start. It
    /// must not be refused for that.
    fn matches_first_terms(&self, command: &ScheduleDrop) -> bool {
        let (Some(first), Some(origin)) = (self.first_terms(), self.origin()) else {
            return false;
        };
        let starting_now =
            first.starts_at == origin.scheduled_at && command.terms.starts_at == command.at;
        if !starting_now {
            return *first == command.terms;
        }
        let terms = DropTerms {
            starts_at: first.starts_at,
            ..command.terms.clone()
        };
        *first == terms
    }

    /// Decides an edit of the terms.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn reschedule(&self, command: &RescheduleDrop) -> Result<Decision<()>, Refusal> {
        let terms = self.existing_terms()?;
        let current = self.terms_version();
        if command
            .expected_version
            .is_some_and(|expected| expected != current)
        {
            return Err(Refusal::StaleVersion { current });
        }
        self.refuse_if_cancelled()?;
        let edited = command.patch.clone().apply(terms);
        if edited == *terms {
            return Ok(Decision::new((), vec![]));
        }
        check_schedule(&edited)?;
        Ok(Decision::one(
            (),
            DropEvent::DropRescheduled(DropRescheduled {
                terms: edited,
                rescheduled_at: command.at,
            }),
        ))
    }

    /// Decides a cancellation.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn cancel(&self, command: &CancelDrop) -> Result<Decision<()>, Refusal> {
        self.existing_terms()?;
        if self.cancelled_at().is_some() {
            return Ok(Decision::new((), vec![]));
        }
        Ok(Decision::one(
            (),
            DropEvent::DropCancelled(DropCancelled {
                cancelled_at: command.at,
            }),
        ))
    }

    /// Decides the next consequence of a cancellation. Its time is that of the cancellation,
    /// however late it is recorded.
    ///
    /// # Errors
    /// [`Refusal::DropNotFound`] when the drop was never scheduled.
    pub fn settle_cancelled(&self) -> Result<Decision<()>, Refusal> {
        self.existing_terms()?;
        let Some(at) = self.cancelled_at() else {
            return Ok(Decision::new((), vec![]));
        };
        let hold = self.first_held().map(|hold| match hold.expires_at <= at {
            // The hold was over at its deadline; cancelling does not extend it.
            true => self.expire(&hold),
            false => self.release(&hold, at, ReleaseCause::DropCancelled),
        });
        let entry = || self.waitlist().first_waiting();
        let event =
            hold.or_else(|| entry().map(|entry| self.leave(entry, at, LeaveCause::DropCancelled)));
        Ok(Decision::new((), event.into_iter().collect()))
    }

    /// Decides a stock adjustment. The subject of a retry is the earlier adjustment.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn adjust_stock(&self, command: &AdjustStock) -> Result<Decision<AdjustmentId>, Refusal> {
        self.existing_terms()?;
        let earlier = match command.key.filter(|&key| self.knows_key(key)) {
            Some(key) => Some(
                self.adjustment_by_key(key)
                    .ok_or(Refusal::IdempotencyKeyReused)?,
            ),
            None => self.adjustment(command.adjustment_id),
        };
        if let Some(made) = earlier {
            let same = made.key == command.key
                && made.delta == command.delta
                && made.reason == command.reason;
            return same
                .then(|| Decision::new(made.id, vec![]))
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        self.refuse_if_cancelled()?;
        self.refuse_if_stale(command.expected_stock_version)?;
        let adjusted = self.adjust_by(command)?;
        Ok(Decision::one(command.adjustment_id, adjusted))
    }

    /// Decides a new total: no event if it is the present one.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn set_stock(&self, command: &SetStock) -> Result<Decision<()>, Refusal> {
        self.existing_terms()?;
        self.refuse_if_cancelled()?;
        self.refuse_if_stale(command.expected_stock_version)?;
        // Both are at most `StockCount::MAX`.
        let delta = command.total.get().cast_signed() - self.stock().total.cast_signed();
        if delta == 0 {
            return Ok(Decision::new((), vec![]));
        }
        let adjusted = self.adjust_by(&AdjustStock {
            adjustment_id: command.adjustment_id,
            key: None,
            expected_stock_version: None,
            delta,
            reason: command.reason.clone(),
            at: command.at,
        })?;
        Ok(Decision::one((), adjusted))
    }

    fn refuse_if_stale(&self, expected_stock_version: Option<u32>) -> Result<(), Refusal> {
        let Stock {
            total, available, ..
        } = self.stock();
        match expected_stock_version {
            Some(expected) if expected != self.stock_version() => {
                Err(Refusal::StaleStock { total, available })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn adjust_by(&self, command: &AdjustStock) -> Result<DropEvent, Refusal> {
        let mut stock = self.stock();
        if stock.available.checked_add_signed(command.delta).is_none() {
            let available = stock.available;
            return Err(Refusal::InsufficientStock {
                delta: command.delta,
                available,
            });
        }
        let total = stock.total.saturating_add_signed(command.delta);
        if total > StockCount::MAX {
            return Err(Refusal::TooMuchStock {
                max: StockCount::MAX,
            });
        }
        stock.adjust(command.delta);
        Ok(DropEvent::StockAdjusted(StockAdjusted {
            adjustment_id: command.adjustment_id,
            key: command.key,
            delta: command.delta,
            reason: command.reason.clone(),
            stock,
            adjusted_at: command.at,
        }))
    }

    /// Decides a direct hold. The subject of a retry is the earlier hold.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn place_hold(&self, command: &PlaceHold) -> Result<Decision<HoldId>, Refusal> {
        self.place(command, None, 0)
    }

    /// Decides a hold, of an order or alone. The limit per buyer counts `ordered` units as well:
    /// those of the order's earlier items in drops of the same limit group.
    pub(crate) fn place(
        &self,
        command: &PlaceHold,
        order: Option<OrderedHold>,
        ordered: u32,
    ) -> Result<Decision<HoldId>, Refusal> {
        let terms = self.existing_terms()?;
        // The caller chose the key, so this is a retry, and history already contains the result. An
        // id works the same way: an existing hold is returned, never placed twice.
        let earlier = match command.key.filter(|&key| self.knows_key(key)) {
            Some(key) => Some(self.hold_by_key(key).ok_or(Refusal::IdempotencyKeyReused)?),
            None => self.hold(command.hold_id),
        };
        if let Some(hold) = earlier {
            let same = hold.key == command.key
                && self.buyer_of(&hold) == command.buyer
                && self.placed_quantity(&hold) == command.quantity
                && self.code_of(hold.id) == command.pass.code;
            return same
                .then(|| Decision::new(hold.id, vec![]))
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        self.refuse_without_access(command.pass, command.at)?;
        self.refuse_if_paused()?;
        self.refuse_above_limits(command.buyer, command.quantity, ordered)?;
        self.refuse_if_throttled(command.buyer, command.at)?;
        let (requested, available) = (
            command.quantity.get(),
            self.available_for_direct_holds(command.at),
        );
        if available < requested {
            return Err(Refusal::SoldOut {
                requested,
                available,
            });
        }
        self.refuse_without_solution(command.pass)?;
        Ok(Decision::one(
            command.hold_id,
            DropEvent::HoldPlaced(HoldPlaced {
                hold_id: command.hold_id,
                key: command.key,
                buyer: command.buyer,
                quantity: command.quantity,
                placed_at: command.at,
                expires_at: order.map_or_else(
                    || command.at.plus_seconds(terms.hold_seconds.get()),
                    |order| order.expires_at,
                ),
                commitment: command.commitment,
                waitlist_entry: None,
                order_id: order.map(|order| order.order_id),
                code: command.pass.code,
            }),
        ))
    }

    /// Decides the release of a hold.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn release_hold(&self, command: &ReleaseHold) -> Result<Decision<()>, Refusal> {
        let hold = self.hold(command.hold_id).ok_or(Refusal::HoldNotFound)?;
        self.refuse_in_order(hold.id)?;
        match self.outcome_of(&hold) {
            (HoldStatus::Purchased, purchased_at) => Err(Refusal::HoldPurchased { purchased_at }),
            (HoldStatus::Expired, _) => Err(Refusal::HoldExpired {
                expired_at: hold.expires_at,
            }),
            (HoldStatus::Released, _) => Ok(Decision::new((), vec![])),
            (HoldStatus::Held, _) if command.at >= hold.expires_at => Err(Refusal::HoldExpired {
                expired_at: hold.expires_at,
            }),
            (HoldStatus::Held, _) => Ok(Decision::one(
                (),
                self.release(&hold, command.at, ReleaseCause::Buyer),
            )),
        }
    }

    /// Decides the purchase of a hold.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn confirm_purchase(&self, command: &ConfirmPurchase) -> Result<Decision<()>, Refusal> {
        self.refuse_in_order(command.hold_id)?;
        self.purchase(command)
    }

    /// Decides the purchase of a hold, of an order or alone.
    pub(crate) fn purchase(&self, command: &ConfirmPurchase) -> Result<Decision<()>, Refusal> {
        let hold = self.hold(command.hold_id).ok_or(Refusal::HoldNotFound)?;
        match self.outcome_of(&hold) {
            // A different payment for a purchased hold. Returning the purchase as a replay would
            // hide it.
            (HoldStatus::Purchased, purchased_at)
                if command.commitment.is_some() && !command.is_recorded =>
            {
                Err(Refusal::PaymentReferenceConflict { purchased_at })
            }
            (HoldStatus::Purchased, _) => Ok(Decision::new((), vec![])),
            (HoldStatus::Expired, _) => Err(Refusal::HoldExpired {
                expired_at: hold.expires_at,
            }),
            (HoldStatus::Released, released_at) => Err(Refusal::HoldReleased { released_at }),
            (HoldStatus::Held, _) if command.at >= hold.expires_at => Err(Refusal::HoldExpired {
                expired_at: hold.expires_at,
            }),
            (HoldStatus::Held, _) => Ok(Decision::one(
                (),
                DropEvent::PurchaseConfirmed(PurchaseConfirmed {
                    purchase_id: command.purchase_id,
                    hold_id: hold.id,
                    buyer: self.buyer_of(&hold),
                    quantity: hold.quantity,
                    total: self.terms_of(&hold).price.times(hold.quantity),
                    purchased_at: command.at,
                    commitment: command.commitment,
                }),
            )),
        }
    }

    /// Decides the expiry of a hold: no event if it is resolved, or not over yet.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn expire_hold(&self, command: &ExpireHold) -> Result<Decision<()>, Refusal> {
        let hold = self.hold(command.hold_id).ok_or(Refusal::HoldNotFound)?;
        // A hold that a cancellation has resolved does not expire as well.
        let is_held = self.outcome_of(&hold).0 == HoldStatus::Held;
        if !is_held || command.at < hold.expires_at {
            return Ok(Decision::new((), vec![]));
        }
        Ok(Decision::one((), self.expire(&hold)))
    }

    fn expire(&self, hold: &Hold) -> DropEvent {
        DropEvent::HoldExpired(HoldExpired {
            hold_id: hold.id,
            buyer: self.buyer_of(hold),
            quantity: hold.quantity,
            expired_at: hold.expires_at,
        })
    }

    pub(crate) fn release(&self, hold: &Hold, at: Timestamp, cause: ReleaseCause) -> DropEvent {
        DropEvent::HoldReleased(HoldReleased {
            hold_id: hold.id,
            buyer: self.buyer_of(hold),
            quantity: hold.quantity,
            released_at: at,
            cause,
        })
    }

    pub(crate) fn existing_terms(&self) -> Result<&DropTerms, Refusal> {
        self.terms().ok_or(Refusal::DropNotFound)
    }

    pub(crate) fn refuse_if_cancelled(&self) -> Result<(), Refusal> {
        match self.cancelled_at() {
            Some(ended_at) => Err(Refusal::Ended {
                ended_at,
                cancelled: true,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn refuse_if_over(&self, at: Timestamp) -> Result<(), Refusal> {
        self.refuse_if_cancelled()?;
        match self.existing_terms()?.ends_at {
            Some(ended_at) if at >= ended_at => Err(Refusal::Ended {
                ended_at,
                cancelled: false,
            }),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn refuse_above_limits(
        &self,
        buyer: Pseudonym,
        quantity: Quantity,
        ordered: u32,
    ) -> Result<(), Refusal> {
        let terms = self.existing_terms()?;
        let allowance = self.units_allowed(buyer, terms, ordered);
        let requested = quantity.get();
        if requested > terms.max_per_hold.get() {
            let max = terms.max_per_hold.get();
            return Err(Refusal::LimitReached {
                limit: Limit::PerHold,
                max,
                allowance,
            });
        }
        match terms.max_per_buyer {
            Some(max) if requested > allowance => Err(Refusal::LimitReached {
                limit: Limit::PerBuyer,
                max: max.get(),
                allowance,
            }),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn refuse_if_throttled(
        &self,
        buyer: Pseudonym,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let throttle = self.terms().and_then(|terms| terms.throttle);
        match throttle.zip(self.next_hold_at(buyer, at)) {
            Some((throttle, retry_at)) => Err(Refusal::Throttled { retry_at, throttle }),
            None => Ok(()),
        }
    }

    /// Returns the units of `buyer`, and the units that they may still hold at `at`.
    ///
    /// # Errors
    /// [`Refusal::DropNotFound`] when the drop was never scheduled.
    pub fn standing(&self, buyer: Pseudonym, at: Timestamp) -> Result<Standing, Refusal> {
        let terms = self.existing_terms()?;
        let known = self.buyer(buyer);
        let held = known.filter(|_| self.cancelled_at().is_none());
        let held = held.map_or(0, |known| known.held);
        let waits = self.waiting_entry_of(buyer);
        let waits = waits.filter(|_| self.cancelled_at().is_none());
        Ok(Standing {
            holds: self.unresolved_of(buyer, held),
            entry: waits.map(|entry| entry.id),
            held,
            purchased: known.map_or(0, |known| known.purchased),
            allowance: self.units_allowed(buyer, terms, 0),
            next_hold_at: self.next_hold_at(buyer, at),
        })
    }

    /// Returns the buyer's unresolved holds, which have `held` units together. The search stops at
    /// the oldest of them.
    fn unresolved_of(&self, buyer: Pseudonym, held: u32) -> Vec<HoldId> {
        let (mut holds, mut left) = (vec![], held);
        for hold in self.holds_of(buyer) {
            if left == 0 || holds.len() == MAX_HOLDS_LISTED {
                break;
            }
            if hold.status == HoldStatus::Held {
                holds.push(hold.id);
                left = left.saturating_sub(hold.quantity.get());
            }
        }
        holds
    }

    /// Returns the units that the limits allow in the buyer's next hold, next to `ordered` units of
    /// the same order.
    pub(crate) fn units_allowed(&self, buyer: Pseudonym, terms: &DropTerms, ordered: u32) -> u32 {
        // A cancellation resolves all holds, recorded or not.
        let taken = self
            .buyer(buyer)
            .map_or(0, |buyer| match self.cancelled_at() {
                Some(_) => buyer.purchased,
                None => buyer.taken(),
            });
        let of_group = self.taken_elsewhere(buyer).saturating_add(ordered);
        terms.allowance(taken.saturating_add(of_group))
    }

    /// An exact sliding window: the buyer's n-th newest hold must have left it before the next one
    /// may be placed.
    fn next_hold_at(&self, buyer: Pseudonym, at: Timestamp) -> Option<Timestamp> {
        let throttle = self.terms()?.throttle?;
        let nth_newest = throttle.holds.get() as usize - 1;
        let blocking = self.holds_of(buyer).nth(nth_newest)?;
        let retry_at = blocking
            .placed_at
            .plus_seconds(throttle.window_seconds.get());
        (retry_at > at).then_some(retry_at)
    }
}

fn check_schedule(terms: &DropTerms) -> Result<(), Refusal> {
    if terms.ends_after_start() {
        Ok(())
    } else {
        Err(Refusal::EndsBeforeStart {
            starts_at: terms.starts_at,
        })
    }
}
