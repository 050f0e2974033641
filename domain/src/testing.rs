//! Given a history, when a command arrives, then these events follow: the vocabulary of tests of
//! decisions.
//!
//! ```
//! use domain::{Refusal, testing::*};
//!
//! given([drop_opened(2), hold_placed("h1", 2)])
//!     .when(place_hold("h2", 1))
//!     .then_refused(Refusal::SoldOut { requested: 1, available: 0 });
//! ```
//!
//! Everything that a test does not specify has a default: it happens at [`T0`], to buyer `ann`, at
//! 10 dollars per unit, and a hold lasts [`HOLD_SECONDS`]. [`Detail`] changes one of these:
//! `place_hold("h2", 1).by("bob").at(second(5))`.
//!
//! Promise: ids are derived from names, so equal names are equal ids in every run. The events of an
//! accepted command are also reverted, and the state compared with the one before.
//! Limit: a builder does not check the history; [`given`] panics if the aggregate would.

mod order;
mod waitlist;

pub use self::order::*;
pub use self::waitlist::*;

use uuid::Uuid;

use crate::command::{
    AdjustStock, CancelDrop, ChangeHold, ConfirmPurchase, DropCommand, ExpireHold, ExtendHold,
    PlaceHold, RefundPurchase, ReleaseHold, RescheduleDrop, ScheduleDrop, SetStock,
};
use crate::decide::{Decision, Subject};
use crate::drop::DropAggregate;
use crate::event::{
    DropCancelled, DropEvent, DropRescheduled, DropScheduled, HoldChanged, HoldExpired,
    HoldExtended, HoldPlaced, HoldReleased, PurchaseConfirmed, PurchaseRefunded, ReleaseCause,
    StockAdjusted,
};
use crate::refusal::Refusal;
use crate::stock::Stock;
use crate::terms::{DropTerms, TermsPatch};
use crate::values::{
    AdjustmentId, BuyerLimit, Currency, DropId, DropName, HoldId, HoldSeconds, KeyDigest,
    MaxHoldSeconds, Money, OfferSeconds, Pseudonym, PurchaseId, Quantity, Reason, RefundId,
    StockCount, Throttle, ThrottleHolds, ThrottleSeconds, Timestamp, WaitlistId,
};

/// The start of every test, in milliseconds since the Unix epoch: 2026-01-01T12:00:00.000Z.
pub const T0: i64 = 1_767_268_800_000;

/// How long a hold lasts under the default [`terms`], in seconds.
pub const HOLD_SECONDS: u32 = 60;

// ---- given, when, then ----

/// A history; see [`given`].
#[derive(Debug, Clone)]
pub struct Given {
    aggregate: DropAggregate,
}

/// The result of a command, to be checked by a `then` method.
#[derive(Debug, Clone)]
pub struct When {
    before: DropAggregate,
    outcome: Result<Decision, Refusal>,
}

/// A drop with this history, oldest event first.
///
/// # Panics
/// If a drop cannot have this history.
#[track_caller]
pub fn given(history: impl IntoIterator<Item = DropEvent>) -> Given {
    let mut aggregate = DropAggregate::default();
    for event in history {
        aggregate.evolve(&event);
    }
    Given { aggregate }
}

impl Given {
    #[must_use]
    pub fn when(self, command: DropCommand) -> When {
        let outcome = self.aggregate.decide(&command);
        When {
            before: self.aggregate,
            outcome,
        }
    }

    /// Decides `command` and then, like the engine, its consequences at the same time: offers to
    /// the waitlist, or the end of the holds and entries of a cancelled drop.
    ///
    /// # Panics
    /// If one decision has more than one event.
    #[must_use]
    #[track_caller]
    pub fn when_followed_up(self, command: DropCommand) -> When {
        let mut after = self.aggregate.clone();
        let serve = serve_waitlist();
        let serve = command.time().map_or(serve.clone(), |at| serve.at(at));
        let mut outcome = self.aggregate.decide(&command);
        if let Ok(decision) = &mut outcome {
            assert!(decision.events.len() <= 1, "more than one event");
            let mut newest = decision.events.clone();
            while let Some(event) = newest.pop() {
                after.evolve(&event);
                let followed =
                    [&DropCommand::SettleCancelled, &serve].map(|command| after.decide(command));
                let events = followed.into_iter().flatten().map(|made| made.events);
                newest = events.flatten().take(1).collect();
                decision.events.extend(newest.clone());
            }
        }
        When {
            before: self.aggregate,
            outcome,
        }
    }

    /// Returns the state after this history.
    #[must_use]
    pub fn aggregate(self) -> DropAggregate {
        self.aggregate
    }
}

impl When {
    /// Expects exactly these events, and continues with the extended history.
    ///
    /// # Panics
    /// If the command has a different result, or reverting its events does not restore the state.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = DropEvent>) -> Given {
        let expected: Vec<DropEvent> = events.into_iter().collect();
        let decision = match self.outcome {
            Ok(decision) => decision,
            Err(refusal) => panic!("expected {expected:#?}, but it was refused: {refusal}"),
        };
        assert_eq!(decision.events, expected, "different events than expected");
        let mut aggregate = self.before.clone();
        for event in &expected {
            aggregate.evolve(event);
        }
        let mut taken_back = aggregate.clone();
        for event in expected.iter().rev() {
            taken_back.revert(event);
        }
        assert_eq!(
            taken_back, self.before,
            "reverting the events does not restore the state"
        );
        Given { aggregate }
    }

    /// Expects this refusal; the history is unchanged.
    ///
    /// # Panics
    /// If the command was accepted, or refused for another reason.
    #[track_caller]
    pub fn then_refused(self, refusal: Refusal) -> Given {
        assert_eq!(self.outcome, Err(refusal));
        Given {
            aggregate: self.before,
        }
    }

    /// Expects success without events, because history already contains the result.
    ///
    /// # Panics
    /// If the command was refused, has events, or has another subject.
    #[track_caller]
    pub fn then_replays(self, subject: Subject) -> Given {
        let events = vec![];
        assert_eq!(self.outcome, Ok(Decision { events, subject }));
        Given {
            aggregate: self.before,
        }
    }
}

// ---- values ----

/// The instant `seconds` after [`T0`] (before, when negative).
#[must_use]
pub fn second(seconds: i64) -> Timestamp {
    millisecond(seconds * 1000)
}

/// The instant `millis` milliseconds after [`T0`] (before, when negative).
#[must_use]
pub fn millisecond(millis: i64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

/// A UUID that spells `name`, of at most 12 bytes, after four zeros, so that every hold has the
/// prefix of every drop.
#[track_caller]
fn named(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    let room = &mut bytes[4..];
    assert!(name.len() <= room.len(), "{name:?} has more than 12 bytes");
    room[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes)
}

#[must_use]
#[track_caller]
pub fn drop_id(name: &str) -> DropId {
    DropId(named(name))
}

#[must_use]
#[track_caller]
pub fn hold_id(name: &str) -> HoldId {
    HoldId(named(name))
}

#[must_use]
#[track_caller]
pub fn purchase_id(name: &str) -> PurchaseId {
    PurchaseId(named(name))
}

#[must_use]
#[track_caller]
pub fn refund_id(name: &str) -> RefundId {
    RefundId(named(name))
}

#[must_use]
#[track_caller]
pub fn adjustment_id(name: &str) -> AdjustmentId {
    AdjustmentId(named(name))
}

/// A waitlist entry of this name; the hold that it is offered has the same name.
#[must_use]
#[track_caller]
pub fn waitlist_id(name: &str) -> WaitlistId {
    WaitlistId(named(name))
}

#[must_use]
#[track_caller]
pub fn buyer(name: &str) -> Pseudonym {
    Pseudonym(named(name))
}

/// The digest of an idempotency key.
///
/// # Panics
/// If `name` is not a valid key.
#[must_use]
#[track_caller]
pub fn key(name: &str) -> KeyDigest {
    KeyDigest::new(b"test", name.as_bytes()).expect("a valid key")
}

/// # Panics
/// If a hold cannot have this many units.
#[must_use]
#[track_caller]
pub fn quantity(units: u32) -> Quantity {
    Quantity::new(units.into()).expect("a valid quantity")
}

/// # Panics
/// If a drop cannot have this many units.
#[must_use]
#[track_caller]
pub fn stock_count(units: u32) -> StockCount {
    StockCount::new(units.into()).expect("a valid count of stock")
}

/// # Panics
/// If a drop cannot have this limit.
#[must_use]
#[track_caller]
pub fn buyer_limit(units: u32) -> BuyerLimit {
    BuyerLimit::new(units.into()).expect("a valid limit")
}

/// # Panics
/// If a hold cannot last this long.
#[must_use]
#[track_caller]
pub fn hold_seconds(seconds: u32) -> HoldSeconds {
    HoldSeconds::new(seconds.into()).expect("a valid length of holds")
}

/// # Panics
/// If no hold can last this long.
#[must_use]
#[track_caller]
pub fn max_hold_seconds(seconds: u32) -> MaxHoldSeconds {
    MaxHoldSeconds::new(seconds.into()).expect("a valid limit of the length of holds")
}

/// # Panics
/// If an offer cannot last this long.
#[must_use]
#[track_caller]
pub fn offer_seconds(seconds: u32) -> OfferSeconds {
    OfferSeconds::new(seconds.into()).expect("a valid length of offers")
}

/// At most `holds` holds of one buyer in any `window_seconds`.
///
/// # Panics
/// If a drop cannot have this throttle.
#[must_use]
#[track_caller]
pub fn throttle(holds: u32, window_seconds: u32) -> Throttle {
    Throttle {
        holds: ThrottleHolds::new(holds.into()).expect("a valid number of holds"),
        window_seconds: ThrottleSeconds::new(window_seconds.into()).expect("a valid window"),
    }
}

/// # Panics
/// If a price cannot be this high.
#[must_use]
#[track_caller]
pub fn cents(amount: i64) -> Money {
    let usd = Currency::new("USD").expect("a known currency");
    Money::price(amount, usd).expect("a valid price")
}

/// The default reason for a stock adjustment.
#[must_use]
pub fn reason() -> Reason {
    Reason::new("counted again").expect("a valid reason")
}

#[must_use]
pub fn stock(available: u32, held: u32, sold: u32) -> Stock {
    Stock {
        total: available + held + sold,
        available,
        held,
        sold,
    }
}

/// Terms that allow everything: open from [`T0`] on, the largest hold, no limit and no throttle.
#[must_use]
pub fn terms() -> DropTerms {
    DropTerms {
        name: DropName::new("Lamp").expect("a valid name"),
        description: None,
        image_url: None,
        price: cents(10_00),
        starts_at: second(0),
        ends_at: None,
        hold_seconds: hold_seconds(HOLD_SECONDS),
        max_hold_seconds: None,
        offer_seconds: None,
        max_per_hold: quantity(Quantity::MAX),
        max_per_buyer: None,
        throttle: None,
    }
}

// ---- events ----

/// `total` units are offered under the default [`terms`].
#[must_use]
#[track_caller]
pub fn drop_opened(total: u32) -> DropEvent {
    drop_scheduled(terms(), total)
}

/// `total` units are offered under these terms.
#[must_use]
#[track_caller]
pub fn drop_scheduled(terms: DropTerms, total: u32) -> DropEvent {
    DropEvent::DropScheduled(DropScheduled {
        key: None,
        terms,
        total_stock: stock_count(total),
        scheduled_at: second(0),
    })
}

#[must_use]
pub fn drop_rescheduled(terms: DropTerms) -> DropEvent {
    DropEvent::DropRescheduled(DropRescheduled {
        terms,
        rescheduled_at: second(0),
    })
}

#[must_use]
pub fn drop_cancelled() -> DropEvent {
    DropEvent::DropCancelled(DropCancelled {
        cancelled_at: second(0),
    })
}

/// Units were set aside, for [`HOLD_SECONDS`].
#[must_use]
#[track_caller]
pub fn hold_placed(hold: &str, units: u32) -> DropEvent {
    DropEvent::HoldPlaced(HoldPlaced {
        hold_id: hold_id(hold),
        key: None,
        buyer: buyer("ann"),
        quantity: quantity(units),
        placed_at: second(0),
        expires_at: second(HOLD_SECONDS.into()),
        commitment: None,
        waitlist_entry: None,
        order_id: None,
    })
}

/// A hold of the default duration was extended to this second after [`T0`].
#[must_use]
#[track_caller]
pub fn hold_extended(hold: &str, until: i64) -> DropEvent {
    DropEvent::HoldExtended(HoldExtended {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        previous_expires_at: second(HOLD_SECONDS.into()),
        expires_at: second(until),
        extended_at: second(0),
    })
}

/// The units of a hold changed from one number to another.
#[must_use]
#[track_caller]
pub fn hold_changed(hold: &str, from: u32, to: u32) -> DropEvent {
    DropEvent::HoldChanged(HoldChanged {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        previous_quantity: quantity(from),
        quantity: quantity(to),
        changed_at: second(0),
    })
}

/// A hold of the default duration expired.
#[must_use]
#[track_caller]
pub fn hold_expired(hold: &str, units: u32) -> DropEvent {
    DropEvent::HoldExpired(HoldExpired {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        expired_at: second(HOLD_SECONDS.into()),
    })
}

/// A hold was released by its buyer.
#[must_use]
#[track_caller]
pub fn hold_released(hold: &str, units: u32) -> DropEvent {
    released(hold, units, ReleaseCause::Buyer)
}

/// A hold was released because its drop was cancelled.
#[must_use]
#[track_caller]
pub fn hold_cancelled(hold: &str, units: u32) -> DropEvent {
    released(hold, units, ReleaseCause::DropCancelled)
}

#[track_caller]
fn released(hold: &str, units: u32, cause: ReleaseCause) -> DropEvent {
    DropEvent::HoldReleased(HoldReleased {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        released_at: second(0),
        cause,
    })
}

/// A hold was paid for, at the default price; the purchase is named after the hold.
#[must_use]
#[track_caller]
pub fn purchase_confirmed(hold: &str, units: u32) -> DropEvent {
    DropEvent::PurchaseConfirmed(PurchaseConfirmed {
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        total: terms().price.times(quantity(units)),
        purchased_at: second(0),
        commitment: None,
    })
}

/// Units of the purchase of a hold were given back, at the default price, and restocked.
#[must_use]
#[track_caller]
pub fn purchase_refunded(refund: &str, hold: &str, units: u32) -> DropEvent {
    refunded(refund, hold, units, true)
}

/// Units of the purchase of a hold were given back, at the default price, and left the drop.
#[must_use]
#[track_caller]
pub fn purchase_written_off(refund: &str, hold: &str, units: u32) -> DropEvent {
    refunded(refund, hold, units, false)
}

#[track_caller]
fn refunded(refund: &str, hold: &str, units: u32, restocked: bool) -> DropEvent {
    DropEvent::PurchaseRefunded(PurchaseRefunded {
        refund_id: refund_id(refund),
        key: None,
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        amount: terms().price.times(quantity(units)),
        restocked,
        reason: reason(),
        purchased_at: second(0),
        refunded_at: second(0),
    })
}

/// Units were added or removed; `stock` is the result.
#[must_use]
#[track_caller]
pub fn stock_adjusted(adjustment: &str, delta: i32, stock: Stock) -> DropEvent {
    DropEvent::StockAdjusted(StockAdjusted {
        adjustment_id: adjustment_id(adjustment),
        key: None,
        delta,
        reason: reason(),
        stock,
        adjusted_at: second(0),
    })
}

// ---- commands ----

impl DropCommand {
    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::ScheduleDrop(command) => Some(command.at),
            Self::RescheduleDrop(command) => Some(command.at),
            Self::CancelDrop(command) => Some(command.at),
            Self::AdjustStock(command) => Some(command.at),
            Self::SetStock(command) => Some(command.at),
            Self::PlaceHold(command) => Some(command.at),
            Self::ExtendHold(command) => Some(command.at),
            Self::ChangeHold(command) => Some(command.at),
            Self::ReleaseHold(command) => Some(command.at),
            Self::ConfirmPurchase(command) => Some(command.at),
            Self::RefundPurchase(command) => Some(command.at),
            Self::ExpireHold(command) => Some(command.at),
            Self::JoinWaitlist(command) => Some(command.at),
            Self::LeaveWaitlist(command) => Some(command.at),
            Self::ServeWaitlist(command) => Some(command.at),
            Self::SettleCancelled => None,
        }
    }
}

#[must_use]
#[track_caller]
pub fn schedule_drop(terms: DropTerms, total: u32) -> DropCommand {
    DropCommand::ScheduleDrop(ScheduleDrop {
        key: None,
        terms,
        total_stock: stock_count(total),
        at: second(0),
    })
}

#[must_use]
pub fn reschedule_drop(patch: TermsPatch) -> DropCommand {
    reschedule(None, patch)
}

/// Edits the terms if they are at this version.
#[must_use]
pub fn reschedule_drop_at_version(version: u32, patch: TermsPatch) -> DropCommand {
    reschedule(Some(version), patch)
}

fn reschedule(expected_version: Option<u32>, patch: TermsPatch) -> DropCommand {
    DropCommand::RescheduleDrop(RescheduleDrop {
        expected_version,
        patch,
        at: second(0),
    })
}

#[must_use]
pub fn cancel_drop() -> DropCommand {
    DropCommand::CancelDrop(CancelDrop { at: second(0) })
}

#[must_use]
pub fn settle_cancelled() -> DropCommand {
    DropCommand::SettleCancelled
}

#[must_use]
#[track_caller]
pub fn adjust_stock(adjustment: &str, delta: i32) -> DropCommand {
    adjust(adjustment, delta, None)
}

/// Adds or removes units if the drop has `total` units.
#[must_use]
#[track_caller]
pub fn adjust_stock_of_total(total: u32, adjustment: &str, delta: i32) -> DropCommand {
    adjust(adjustment, delta, Some(total))
}

#[track_caller]
fn adjust(adjustment: &str, delta: i32, expected_total: Option<u32>) -> DropCommand {
    DropCommand::AdjustStock(AdjustStock {
        adjustment_id: adjustment_id(adjustment),
        key: None,
        expected_total,
        delta,
        reason: reason(),
        at: second(0),
    })
}

/// Sets the total if the drop has `expected_total` units.
#[must_use]
#[track_caller]
pub fn set_stock(expected_total: Option<u32>, adjustment: &str, total: u32) -> DropCommand {
    DropCommand::SetStock(SetStock {
        adjustment_id: adjustment_id(adjustment),
        expected_total,
        total: stock_count(total),
        reason: reason(),
        at: second(0),
    })
}

#[must_use]
#[track_caller]
pub fn place_hold(hold: &str, units: u32) -> DropCommand {
    DropCommand::PlaceHold(PlaceHold {
        hold_id: hold_id(hold),
        key: None,
        buyer: buyer("ann"),
        quantity: quantity(units),
        commitment: None,
        at: second(0),
    })
}

/// Lets a hold last this many seconds from now on.
#[must_use]
#[track_caller]
pub fn extend_hold(hold: &str, seconds: u32) -> DropCommand {
    DropCommand::ExtendHold(ExtendHold {
        hold_id: hold_id(hold),
        seconds: max_hold_seconds(seconds),
        at: second(0),
    })
}

/// Sets the number of units in a hold.
#[must_use]
#[track_caller]
pub fn change_hold(hold: &str, units: u32) -> DropCommand {
    DropCommand::ChangeHold(ChangeHold {
        hold_id: hold_id(hold),
        quantity: quantity(units),
        at: second(0),
    })
}

#[must_use]
#[track_caller]
pub fn release_hold(hold: &str) -> DropCommand {
    DropCommand::ReleaseHold(ReleaseHold {
        hold_id: hold_id(hold),
        at: second(0),
    })
}

/// Pays for a hold; the purchase is named after the hold.
#[must_use]
#[track_caller]
pub fn confirm_purchase(hold: &str) -> DropCommand {
    DropCommand::ConfirmPurchase(ConfirmPurchase {
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        commitment: None,
        is_recorded: false,
        at: second(0),
    })
}

/// Gives units of the purchase of a hold back, to be offered again; all that are left without a
/// number.
#[must_use]
#[track_caller]
pub fn refund_purchase(refund: &str, hold: &str, units: Option<u32>) -> DropCommand {
    refund_of(refund, hold, units, true)
}

/// The same for units that leave the drop.
#[must_use]
#[track_caller]
pub fn write_off_purchase(refund: &str, hold: &str, units: Option<u32>) -> DropCommand {
    refund_of(refund, hold, units, false)
}

#[track_caller]
fn refund_of(refund: &str, hold: &str, units: Option<u32>, restock: bool) -> DropCommand {
    DropCommand::RefundPurchase(RefundPurchase {
        refund_id: refund_id(refund),
        key: None,
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        quantity: units.map(quantity),
        restock,
        reason: reason(),
        at: second(0),
    })
}

#[must_use]
#[track_caller]
pub fn expire_hold(hold: &str) -> DropCommand {
    DropCommand::ExpireHold(ExpireHold {
        hold_id: hold_id(hold),
        at: second(0),
    })
}

/// Changes one detail of a default event or command.
pub trait Detail: Sized {
    /// Sets the idempotency key.
    ///
    /// # Panics
    /// If it has no key.
    #[must_use]
    #[track_caller]
    fn keyed(self, name: &str) -> Self;

    /// Sets the buyer.
    ///
    /// # Panics
    /// If it has no buyer.
    #[must_use]
    #[track_caller]
    fn by(self, name: &str) -> Self;

    /// Sets the time. A hold placed then expires [`HOLD_SECONDS`] later.
    #[must_use]
    fn at(self, at: Timestamp) -> Self;
}

impl Detail for DropEvent {
    fn keyed(mut self, name: &str) -> Self {
        let slot = match &mut self {
            Self::DropScheduled(event) => &mut event.key,
            Self::HoldPlaced(event) => &mut event.key,
            Self::PurchaseRefunded(event) => &mut event.key,
            Self::StockAdjusted(event) => &mut event.key,
            Self::WaitlistJoined(event) => &mut event.key,
            Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::HoldExtended(_)
            | Self::HoldChanged(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::PurchaseConfirmed(_)
            | Self::WaitlistLeft(_) => panic!("{} has no key", self.event_type()),
        };
        *slot = Some(key(name));
        self
    }

    fn by(mut self, name: &str) -> Self {
        let slot = match &mut self {
            Self::HoldPlaced(event) => &mut event.buyer,
            Self::HoldExtended(event) => &mut event.buyer,
            Self::HoldChanged(event) => &mut event.buyer,
            Self::HoldExpired(event) => &mut event.buyer,
            Self::HoldReleased(event) => &mut event.buyer,
            Self::PurchaseConfirmed(event) => &mut event.buyer,
            Self::PurchaseRefunded(event) => &mut event.buyer,
            Self::WaitlistJoined(event) => &mut event.buyer,
            Self::WaitlistLeft(event) => &mut event.buyer,
            Self::DropScheduled(_)
            | Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::StockAdjusted(_) => panic!("{} has no buyer", self.event_type()),
        };
        *slot = buyer(name);
        self
    }

    fn at(mut self, at: Timestamp) -> Self {
        let slot = match &mut self {
            Self::DropScheduled(event) => &mut event.scheduled_at,
            Self::DropRescheduled(event) => &mut event.rescheduled_at,
            Self::DropCancelled(event) => &mut event.cancelled_at,
            Self::HoldPlaced(event) => {
                event.expires_at = at.plus_seconds(HOLD_SECONDS);
                &mut event.placed_at
            }
            Self::HoldExtended(event) => &mut event.extended_at,
            Self::HoldChanged(event) => &mut event.changed_at,
            Self::HoldExpired(event) => &mut event.expired_at,
            Self::HoldReleased(event) => &mut event.released_at,
            Self::PurchaseConfirmed(event) => &mut event.purchased_at,
            Self::PurchaseRefunded(event) => &mut event.refunded_at,
            Self::StockAdjusted(event) => &mut event.adjusted_at,
            Self::WaitlistJoined(event) => &mut event.joined_at,
            Self::WaitlistLeft(event) => &mut event.left_at,
        };
        *slot = at;
        self
    }
}

impl Detail for DropCommand {
    fn keyed(mut self, name: &str) -> Self {
        let slot = match &mut self {
            Self::ScheduleDrop(command) => &mut command.key,
            Self::AdjustStock(command) => &mut command.key,
            Self::RefundPurchase(command) => &mut command.key,
            Self::PlaceHold(command) => &mut command.key,
            Self::JoinWaitlist(command) => &mut command.key,
            Self::RescheduleDrop(_)
            | Self::CancelDrop(_)
            | Self::SetStock(_)
            | Self::ExtendHold(_)
            | Self::ChangeHold(_)
            | Self::ReleaseHold(_)
            | Self::ConfirmPurchase(_)
            | Self::ExpireHold(_)
            | Self::LeaveWaitlist(_)
            | Self::ServeWaitlist(_)
            | Self::SettleCancelled => panic!("{self:?} has no key"),
        };
        *slot = Some(key(name));
        self
    }

    fn by(mut self, name: &str) -> Self {
        match &mut self {
            Self::PlaceHold(command) => command.buyer = buyer(name),
            Self::JoinWaitlist(command) => command.buyer = buyer(name),
            Self::ScheduleDrop(_)
            | Self::RescheduleDrop(_)
            | Self::CancelDrop(_)
            | Self::AdjustStock(_)
            | Self::SetStock(_)
            | Self::ExtendHold(_)
            | Self::ChangeHold(_)
            | Self::ReleaseHold(_)
            | Self::ConfirmPurchase(_)
            | Self::RefundPurchase(_)
            | Self::ExpireHold(_)
            | Self::LeaveWaitlist(_)
            | Self::ServeWaitlist(_)
            | Self::SettleCancelled => panic!("{self:?} has no buyer"),
        }
        self
    }

    fn at(mut self, at: Timestamp) -> Self {
        let slot = match &mut self {
            Self::ScheduleDrop(command) => &mut command.at,
            Self::RescheduleDrop(command) => &mut command.at,
            Self::CancelDrop(command) => &mut command.at,
            Self::AdjustStock(command) => &mut command.at,
            Self::SetStock(command) => &mut command.at,
            Self::PlaceHold(command) => &mut command.at,
            Self::ExtendHold(command) => &mut command.at,
            Self::ChangeHold(command) => &mut command.at,
            Self::ReleaseHold(command) => &mut command.at,
            Self::ConfirmPurchase(command) => &mut command.at,
            Self::RefundPurchase(command) => &mut command.at,
            Self::ExpireHold(command) => &mut command.at,
            Self::JoinWaitlist(command) => &mut command.at,
            Self::LeaveWaitlist(command) => &mut command.at,
            Self::ServeWaitlist(command) => &mut command.at,
            // Its time is that of the cancellation.
            Self::SettleCancelled => return self,
        };
        *slot = at;
        self
    }
}
