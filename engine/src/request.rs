//! Requests to the engine, in the shop's terms, and their outcomes. The engine adds time, ids and
//! pseudonyms.

use std::sync::Arc;

use domain::Refusal;
use domain::command::Pass;
use domain::order::pay::PaymentReport;
use domain::order::{FulfilmentStep, RefundOutcome};
use domain::terms::{DropTerms, TermsPatch};
use domain::values::{
    BuyerId, CodeDigest, CodeUses, Difficulty, DisplayName, DropId, FailureCode, HoldId, KeyDigest,
    MaxHoldSeconds, OrderId, PaymentId, PaymentReference, Position, ProviderName, PurchaseId,
    Quantity, Reason, RefundId, StockCount, Timestamp, Tracking, WaitlistId,
};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use infrastructure::feed::Committed;

use super::skew::ClockFault;
use super::submission::EventRanges;

/// Schedules a drop.
#[derive(Debug, Clone)]
pub struct ScheduleDrop {
    /// Idempotency key, unique among all drops.
    pub key: Option<KeyDigest>,
    /// The offer; with `starts_now`, the engine's clock sets `starts_at`.
    pub terms: Box<NewTerms>,
    pub total_stock: StockCount,
}

/// Edits a drop's terms.
#[derive(Debug, Clone)]
pub struct RescheduleDrop {
    pub drop_id: DropId,
    /// The version of the terms that the caller has seen; `None` accepts any.
    pub expected_version: Option<u32>,
    pub patch: Box<TermsPatch>,
}

/// Publishes a draft, or interrupts or continues a sale.
#[derive(Debug, Clone)]
pub struct ChangeSale {
    pub drop_id: DropId,
    pub change: SaleChange,
}

/// See [`ChangeSale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SaleChange {
    /// Publishes a draft, to start at this time; `None`: as its terms say, or at once.
    Publish(Option<Timestamp>),
    Pause,
    Resume,
}

/// Cancels a drop.
#[derive(Debug, Clone)]
pub struct CancelDrop {
    pub drop_id: DropId,
}

/// Adds or removes units.
#[derive(Debug, Clone)]
pub struct AdjustStock {
    pub drop_id: DropId,
    /// Idempotency key, unique within the drop.
    pub key: Option<KeyDigest>,
    /// The version of the stock that the caller has seen; `None` accepts any.
    pub expected_stock_version: Option<u32>,
    /// Units to add, or to remove if negative.
    pub delta: i32,
    pub reason: Reason,
}

/// Sets the total number of units.
#[derive(Debug, Clone)]
pub struct SetStock {
    pub drop_id: DropId,
    /// The version of the stock that the caller has seen; `None` accepts any.
    pub expected_stock_version: Option<u32>,
    /// All units that the drop offers from now on, held and sold ones included.
    pub total: StockCount,
    pub reason: Reason,
}

/// Places a hold.
#[derive(Debug, Clone)]
pub struct PlaceHold {
    pub drop_id: DropId,
    /// Idempotency key, unique within the drop.
    pub key: Option<KeyDigest>,
    /// The same key in its other scope. A retry is recognised by it as well, if this buyer has used
    /// it.
    pub other_key: Option<KeyDigest>,
    /// The shop's id of the buyer.
    pub buyer_id: BuyerId,
    /// The id was proved by a token. It is then an account of the shop: the request is refused if
    /// the drop knows the buyer by another spelling, which only case folding makes equal.
    pub is_from_token: bool,
    /// The name that the buyer agreed to show.
    pub display_name: Option<DisplayName>,
    pub quantity: Quantity,
    pub pass: Pass,
}

/// Lets a hold last longer: until the arrival of the request plus `seconds`, if that is later than
/// its present end.
#[derive(Debug, Clone)]
pub struct ExtendHold {
    pub hold_id: HoldId,
    pub seconds: MaxHoldSeconds,
}

/// Sets the number of units in a hold.
#[derive(Debug, Clone)]
pub struct ChangeHold {
    pub hold_id: HoldId,
    pub quantity: Quantity,
}

/// Releases a hold.
#[derive(Debug, Clone)]
pub struct ReleaseHold {
    pub hold_id: HoldId,
}

/// Purchases a hold.
#[derive(Debug, Clone)]
pub struct ConfirmPurchase {
    pub hold_id: HoldId,
    /// The payment system's identifier of the payment.
    pub payment_reference: Option<PaymentReference>,
}

/// Returns units of a purchase. If it belongs to an order that a provider was paid for, the refund
/// of the money is requested with it.
#[derive(Debug, Clone)]
pub struct RefundPurchase {
    /// The purchase, and the hold that it paid for, both as the log has them.
    pub purchase_id: PurchaseId,
    pub hold_id: HoldId,
    /// Idempotency key, unique within the drop.
    pub key: Option<KeyDigest>,
    /// Units to return; `None`: all that are left.
    pub quantity: Option<Quantity>,
    /// True if the units are offered again; false if they leave the drop.
    pub restock: bool,
    pub reason: Reason,
}

/// Joins the waitlist.
#[derive(Debug, Clone)]
pub struct JoinWaitlist {
    pub drop_id: DropId,
    /// Idempotency key, unique within the drop.
    pub key: Option<KeyDigest>,
    /// The same key in its other scope. A retry is recognised by it as well, if this buyer has used
    /// it.
    pub other_key: Option<KeyDigest>,
    /// The shop's id of the buyer.
    pub buyer_id: BuyerId,
    /// The id was proved by a token. It is then an account of the shop: the request is refused if
    /// the drop knows the buyer by another spelling, which only case folding makes equal.
    pub is_from_token: bool,
    /// The name that the buyer agreed to show.
    pub display_name: Option<DisplayName>,
    pub quantity: Quantity,
    pub pass: Pass,
}

/// Leaves the waitlist.
#[derive(Debug, Clone)]
pub struct LeaveWaitlist {
    pub entry_id: WaitlistId,
}

/// Returns a buyer's holds and remaining limits. A query, but it goes through the queue of the
/// commands, for three reasons:
///
/// - The engine's state has decisions that are not committed yet and may be rolled back. The
///   response has to wait for them, and for the confirmation that no other node has appended since.
///   A batch does both for all of its requests together, even if it has no events.
/// - A hold that is over counts towards the limits until its expiry is recorded, so the look-up may
///   have to record expiries, which only the queue's order permits.
/// - The views cannot replace the engine: they do not recognise a buyer by the shop's id, and they
///   have no throttle.
#[derive(Debug, Clone)]
pub struct LookUpBuyer {
    pub drop_id: DropId,
    /// The shop's id of the buyer.
    pub buyer_id: BuyerId,
    /// The id was proved by a token. It is then an account of the shop: the request is refused if
    /// the drop knows the buyer by another spelling, which only case folding makes equal.
    pub is_from_token: bool,
}

/// One item of a requested order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderedItem {
    pub drop_id: DropId,
    pub quantity: Quantity,
}

/// Creates access codes of a drop: a part of one administrator's request, or all of it.
#[derive(Debug, Clone)]
pub struct CreateCodes {
    pub drop_id: DropId,
    /// Idempotency key of this part, unique within the drop.
    pub key: Option<KeyDigest>,
    /// The number of codes of the same request in the parts before.
    pub first: u32,
    /// The number of codes of the whole request.
    pub of: u32,
    /// 1 to [`domain::event::CodesCreated::MAX_CODES`].
    pub digests: Vec<CodeDigest>,
    /// How many holds can be placed with each.
    pub uses: CodeUses,
    /// The first instant at which they can be used; `None`: the drop's start.
    pub opens_at: Option<Timestamp>,
    /// The first instant at which they can no longer be used.
    pub expires_at: Option<Timestamp>,
}

/// Places an order: holds all of its items, or none.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    /// Idempotency key, unique among all orders.
    pub key: Option<KeyDigest>,
    /// The same key in its other scope. A retry is recognised by it as well, if this buyer has used
    /// it.
    pub other_key: Option<KeyDigest>,
    /// The shop's id of the buyer.
    pub buyer_id: BuyerId,
    /// The name that the buyer agreed to show.
    pub display_name: Option<DisplayName>,
    /// See [`LookUpBuyer::is_from_token`].
    pub is_from_token: bool,
    /// 1 to [`domain::order::MAX_ITEMS`]. Items of one drop are added up.
    pub items: Box<[OrderedItem]>,
    /// The access codes of the items that have one, by the index of the item. Items of one drop
    /// have the same code.
    pub codes: Vec<(u32, CodeDigest)>,
    /// See [`Pass::sees_hidden`].
    pub sees_hidden: bool,
    /// See [`Pass::solved`].
    pub solved: Option<Difficulty>,
}

/// The items of an order that are of one drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// The index of the first of them.
    pub(super) item: u32,
    pub(super) drop_id: DropId,
    pub(super) units: u32,
}

impl PlaceOrder {
    /// See [`lines_of`].
    pub(super) fn lines(&self) -> Vec<Line> {
        lines_of(&self.items)
    }

    /// The right with which the units of a drop are requested.
    pub(super) fn pass_for(&self, drop_id: DropId) -> Pass {
        let of_drop = |(item, _): &&(u32, CodeDigest)| {
            let ordered = self.items.get(*item as usize);
            ordered.is_some_and(|ordered| ordered.drop_id == drop_id)
        };
        Pass {
            code: self.codes.iter().find(of_drop).map(|(_, code)| *code),
            sees_hidden: self.sees_hidden,
            solved: self.solved,
        }
    }
}

/// Returns one line for each drop, in the order of their first items.
pub(super) fn lines_of(items: &[OrderedItem]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(items.len());
    for (item, ordered) in (0..).zip(items) {
        let units = ordered.quantity.get();
        match lines
            .iter_mut()
            .find(|line| line.drop_id == ordered.drop_id)
        {
            Some(line) => line.units = line.units.saturating_add(units),
            None => lines.push(Line {
                item,
                drop_id: ordered.drop_id,
                units,
            }),
        }
    }
    lines
}

/// Purchases all holds of an order, or none.
#[derive(Debug, Clone)]
pub struct PurchaseOrder {
    pub order_id: OrderId,
    /// The payment system's identifier of the payment.
    pub payment_reference: Option<PaymentReference>,
}

/// Cancels a pending order and releases its holds.
#[derive(Debug, Clone)]
pub struct CancelOrder {
    pub order_id: OrderId,
}

/// Moves the fulfilment of a paid order forward.
#[derive(Debug, Clone)]
pub struct FulfilOrder {
    pub order_id: OrderId,
    pub fulfilment: FulfilmentStep,
    pub tracking: Option<Tracking>,
}

/// Starts a payment of a pending order, before its provider is called, and extends the order's
/// holds as far as the terms of its drops allow. The outcome has the id of the payment.
#[derive(Debug, Clone)]
pub struct StartPayment {
    pub order_id: OrderId,
    /// Idempotency key, unique within the order. A retry has the id of the first payment.
    pub key: Option<KeyDigest>,
    /// The same key in its other scope. A retry is recognised by it as well.
    pub other_key: Option<KeyDigest>,
    pub provider: ProviderName,
}

/// Records a provider's report about a payment, and the outcome of the money. Repeated reports
/// are replays. A report counts from its arrival: money that arrived before the order's deadline is
/// in time, however late it is decided.
#[derive(Debug, Clone)]
pub struct RecordPayment {
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    /// The provider that reports. It must be the payment's.
    pub provider: ProviderName,
    /// The provider's reference of the intent: personal data, stored outside the payloads.
    pub reference: PaymentReference,
    pub report: PaymentReport,
}

/// Returns items of a paid order, and requests the refund of their money if a provider took it. The
/// outcome has the id of the refund.
#[derive(Debug, Clone)]
pub struct RefundOrder {
    pub order_id: OrderId,
    /// Idempotency key, unique within the order and its drops.
    pub key: Option<KeyDigest>,
    /// The same key in its other scope. A retry is recognised by it as well.
    pub other_key: Option<KeyDigest>,
    /// `None`: all units that are left. Items of one drop are added up.
    pub items: Option<Box<[OrderedItem]>>,
    /// True if the units are offered again; false if they leave their drops.
    pub restock: bool,
    pub reason: Reason,
}

/// Records how a provider settled a refund of money. A failed refund may succeed later.
#[derive(Debug, Clone)]
pub struct SettleRefund {
    pub order_id: OrderId,
    pub refund_id: RefundId,
    pub outcome: RefundOutcome,
    /// The provider's code, of a failure.
    pub reason: Option<FailureCode>,
}

/// Terms of a drop that is not scheduled yet; its start may be the time of scheduling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTerms {
    /// The terms; `starts_at` is ignored when `starts_now`.
    pub terms: DropTerms,
    /// The drop starts when it is scheduled.
    pub starts_now: bool,
}

/// An accepted request and the recorded events that it produced.
#[derive(Debug, Clone)]
pub struct Accepted<S = ()> {
    /// For an order, the drop of its first item.
    pub drop_id: DropId,
    /// The id that the request itself does not have: of the hold, waitlist entry or adjustment that
    /// it produced. For a look-up, the buyer's standing.
    pub subject: S,
    /// When it was decided.
    pub at: Timestamp,
    pub(super) committed: Arc<Committed>,
    pub(super) events: EventRanges,
}

impl<S> Accepted<S> {
    /// Replaces the subject.
    #[must_use]
    pub fn map<T>(self, of: impl FnOnce(S) -> T) -> Accepted<T> {
        Accepted {
            drop_id: self.drop_id,
            subject: of(self.subject),
            at: self.at,
            committed: self.committed,
            events: self.events,
        }
    }

    /// The events of drops of this request; empty when an earlier request with the same key had
    /// produced them.
    #[must_use]
    pub fn events(&self) -> &[RecordedEvent] {
        &self.committed.events[self.events.drops.clone()]
    }

    /// The events of orders of this request.
    #[must_use]
    pub fn order_events(&self) -> &[RecordedOrderEvent] {
        &self.committed.orders[self.events.orders.clone()]
    }

    /// Reports whether the outcome was already in the log.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.events.drops.is_empty() && self.events.orders.is_empty()
    }

    /// The position of the last event of this request; for a replay, a position by which the log
    /// contains the outcome.
    #[must_use]
    pub fn position(&self) -> Position {
        let last = self.events().last().map(|event| event.position);
        let of_order = self.order_events().last().map(|event| event.position);
        last.max(of_order).unwrap_or(self.committed.head.position)
    }
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The rules refuse the request. Nothing was recorded.
    #[error("refused")]
    Refused {
        #[source]
        refusal: Refusal,
        /// When it was decided.
        at: Timestamp,
    },
    /// The request queue is full. Nothing was recorded.
    #[error("the request queue is full")]
    Overloaded,
    /// The log is unreachable. Nothing was recorded.
    #[error("the event log is unreachable")]
    Unavailable,
    /// The drop is in quarantine on this node: one of its events cannot be applied. Nothing was
    /// recorded.
    #[error("drop {drop_id} is in quarantine since position {position}")]
    Quarantined {
        drop_id: DropId,
        /// The event that cannot be applied.
        position: Position,
    },
    /// The order is in quarantine on this node: one of its events cannot be applied. Nothing was
    /// recorded.
    #[error("order {order_id} is in quarantine since position {position}")]
    OrderQuarantined {
        order_id: OrderId,
        /// The event that cannot be applied.
        position: Position,
    },
    /// This node does not accept the log and has stopped writing to it. Nothing was recorded.
    #[error("the event log is refused at position {position}")]
    LogRefused {
        /// The first invalid position.
        position: Position,
    },
    /// The events are larger than one append may be. Nothing was recorded, and a retry cannot
    /// succeed.
    #[error("the events are larger than one append may be")]
    TooLarge,
    /// Nothing is decided because of a clock fault. Nothing was recorded.
    #[error("{0}")]
    ClockFault(ClockFault),
    /// The log became unreachable while this was being recorded. A retry with the same key returns
    /// the outcome.
    #[error("the event log did not respond in time, so the outcome is not known yet")]
    Undecided,
}
