//! `Order`: the state that one decision about an order depends on, rebuilt from the order's events
//! alone. Its holds and their units belong to its drops.
//!
//! ```text
//!  order   pending ──▶ paid ──▶ processing ──▶ shipped ──▶ delivered
//!             ├──────▶ cancelled
//!             └──────▶ expired
//! ```
//!
//! Promise: an order ends at most once, and is fulfilled only after it was paid. [`decide`] may
//! refuse; [`Order::evolve`] may not, because past events are facts: an event that history can
//! never contain panics.
//! Limit: nothing here knows if the holds exist. The decisions read the order's drops, and
//! the audit compares the two.
//!
//! An order, its holds and later its purchases are decided together and recorded in one batch, the
//! order's event first.
//!
//! Source: docs/decisions/0055-an-order-is-one-batch.md.

pub mod decide;
mod event;

use serde::{Deserialize, Serialize};

pub use self::event::{
    CancelCause, FulfilmentStep, OrderCancelled, OrderEvent, OrderExpired, OrderFulfilled,
    OrderItem, OrderPaid, OrderPlaced, OrderPurchase,
};
use crate::values::{
    Currency, DropId, HoldId, KeyDigest, Money, OrderId, Pseudonym, Sequence, Timestamp,
};

/// The aggregate type of every order's stream in the log.
pub const AGGREGATE_TYPE: &str = "Order";

/// The largest number of items in an order.
pub const MAX_ITEMS: usize = 20;

/// The state of an order. Only `Pending` may change, and only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// The holds are placed, and not paid for.
    #[default]
    Pending,
    /// All of its holds were purchased.
    Paid,
    /// The buyer or the cancellation of one of its drops ended it.
    Cancelled,
    /// The deadline of its holds passed.
    Expired,
}

impl OrderStatus {
    /// The name in requests and responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// The state of an order as readers show it: its own, and the refunds of its purchases, which the
/// streams of its drops record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "OrderStatus")
)]
#[serde(rename_all = "snake_case")]
pub enum ShownStatus {
    /// The holds are placed, and not paid for.
    Pending,
    /// All of its holds were purchased.
    Paid,
    /// The buyer or the cancellation of one of its drops ended it.
    Cancelled,
    /// The deadline of its holds passed.
    Expired,
    /// It was paid, and some of its units were refunded.
    PartiallyRefunded,
    /// It was paid, and all of its units were refunded.
    Refunded,
}

impl From<OrderStatus> for ShownStatus {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Pending,
            OrderStatus::Paid => Self::Paid,
            OrderStatus::Cancelled => Self::Cancelled,
            OrderStatus::Expired => Self::Expired,
        }
    }
}

impl ShownStatus {
    /// The name in requests and responses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
        }
    }
}

/// The part of an order that its drops need for its holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrderedHold {
    pub(crate) order_id: OrderId,
    /// The deadline of all holds of the order.
    pub(crate) expires_at: Timestamp,
}

/// The content of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub key: Option<KeyDigest>,
    pub buyer: Pseudonym,
    /// One for each drop.
    pub items: Box<[OrderItem]>,
    pub total: Money,
    pub placed_at: Timestamp,
    /// The first instant at which the order is over.
    pub expires_at: Timestamp,
}

/// The part of an order's state that changes after its placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub status: OrderStatus,
    /// When it was paid, cancelled or expired; meaningless while `Pending`.
    pub ended_at: Timestamp,
    /// `None`: unfulfilled.
    pub fulfilment: Option<FulfilmentStep>,
}

/// The state of one order. `Default` is an order that was never placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    sequence: Sequence,
    placed: Option<Placed>,
    progress: Progress,
}

impl Order {
    /// Returns the sequence of the last applied event; 0 if there is none.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Returns the content; `None` if the order was never placed.
    #[must_use]
    pub const fn placed(&self) -> Option<&Placed> {
        self.placed.as_ref()
    }

    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    #[must_use]
    pub fn items(&self) -> &[OrderItem] {
        self.placed.as_ref().map_or(&[], |placed| &placed.items)
    }

    /// Returns true if the order is placed and neither paid, cancelled nor expired.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.placed.is_some() && self.progress.status == OrderStatus::Pending
    }

    /// Applies one recorded event, which must be the next event of the stream.
    ///
    /// # Panics
    /// If history cannot contain the event: the order would end twice, or is fulfilled before it
    /// was paid, or its sums are wrong.
    pub fn evolve(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::OrderPlaced(event) => {
                assert!(self.placed.is_none(), "an order was placed twice");
                assert!(
                    is_well_formed(&event.items, event.total),
                    "the items of an order are no order, or do not add up to its total"
                );
                self.placed = Some(Placed {
                    key: event.key,
                    buyer: event.buyer,
                    items: event.items.clone().into_boxed_slice(),
                    total: event.total,
                    placed_at: event.placed_at,
                    expires_at: event.expires_at,
                });
            }
            OrderEvent::OrderPaid(event) => {
                let placed = self
                    .placed
                    .as_ref()
                    .expect("an order was paid but not placed");
                let holds = placed.items.iter().map(|item| item.hold_id);
                let paid = event.purchases.iter().map(|purchase| purchase.hold_id);
                assert!(
                    holds.eq(paid),
                    "an order was paid for other holds than its own"
                );
                assert!(
                    placed.total == event.total,
                    "an order was paid with another total"
                );
                self.end(OrderStatus::Paid, event.paid_at);
            }
            OrderEvent::OrderCancelled(event) => {
                self.end(OrderStatus::Cancelled, event.cancelled_at);
            }
            OrderEvent::OrderExpired(event) => self.end(OrderStatus::Expired, event.expired_at),
            OrderEvent::OrderFulfilled(event) => {
                let Progress {
                    status, fulfilment, ..
                } = self.progress;
                assert!(
                    status == OrderStatus::Paid,
                    "an order was fulfilled before it was paid"
                );
                assert!(
                    fulfilment <= Some(event.fulfilment),
                    "the fulfilment of an order went back"
                );
                self.progress.fulfilment = Some(event.fulfilment);
            }
        }
        self.sequence = self.sequence.next();
    }

    fn end(&mut self, status: OrderStatus, at: Timestamp) {
        assert!(
            self.placed.is_some(),
            "an order ended that was never placed"
        );
        assert!(
            self.progress.status == OrderStatus::Pending,
            "an order ended twice"
        );
        self.progress.status = status;
        self.progress.ended_at = at;
    }

    /// Reverts the event that was applied last; `before` is the progress that it changed.
    ///
    /// # Panics
    /// If no event was applied.
    pub fn revert(&mut self, event: &OrderEvent, before: Progress) {
        if let OrderEvent::OrderPlaced(_) = event {
            self.placed = None;
        }
        self.progress = before;
        self.sequence = Sequence(self.sequence.0.checked_sub(1).expect("an event to revert"));
    }

    /// Skips a void event of the stream: it keeps its sequence but has no effect.
    pub fn skip_void(&mut self, sequence: Sequence) {
        self.sequence = self.sequence.max(sequence);
    }
}

/// Reports whether the items have one currency, add up to `total`, and are 1 to [`MAX_ITEMS`], one
/// for each drop.
#[must_use]
pub fn is_well_formed(items: &[OrderItem], total: Money) -> bool {
    let is_repeated = |index: usize, drop_id: DropId| {
        items[..index]
            .iter()
            .any(|earlier| earlier.drop_id == drop_id)
    };
    let mut distinct = items.iter().enumerate();
    (1..=MAX_ITEMS).contains(&items.len())
        && distinct.all(|(index, item)| !is_repeated(index, item.drop_id))
        && sum(items) == Some(total)
}

/// Returns the sum of the items; `None` if there is none, for two currencies, or for an amount
/// beyond the largest number.
fn sum(items: &[OrderItem]) -> Option<Money> {
    let currency: Currency = items.first()?.price.currency;
    let amount = items.iter().try_fold(0_i64, |amount, item| {
        let is_same = item.price.currency == currency;
        let units = i64::from(item.quantity.get());
        let price = item.price.amount.checked_mul(units)?;
        is_same.then_some(amount.checked_add(price)?)
    })?;
    Some(Money { amount, currency })
}

impl OrderItem {
    /// The price of all of its units.
    #[must_use]
    pub fn total(&self) -> Money {
        self.price.times(self.quantity)
    }
}

/// The first item with this hold.
#[must_use]
pub fn item_of(items: &[OrderItem], hold_id: HoldId) -> Option<&OrderItem> {
    items.iter().find(|item| item.hold_id == hold_id)
}
