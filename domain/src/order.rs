//! `Order`: the state that one decision about an order depends on, rebuilt from the order's events
//! alone. Its holds and their units belong to its drops.
//!
//! ```text
//!  order   pending ──▶ paid ──▶ processing ──▶ shipped ──▶ delivered
//!             │         ▲
//!             ├─────────│──▶ cancelled
//!             └──────▶ expired      a payment that arrived late is honoured once
//! ```
//!
//! Promise: an order ends at most once, apart from an expired one that is paid late, and is
//! fulfilled only after it was paid. Money has one outcome ([`payments`]). [`decide`] may
//! refuse; [`Order::evolve`] may not, because past events are facts: an event that history can
//! never contain panics.
//! Limit: nothing here knows if the holds exist. The decisions read the order's drops, and
//! the audit compares the two.
//!
//! An order, its holds and later its purchases are decided together and recorded in one batch, the
//! order's event first.
//!
//! Source: docs/decisions/0055-an-order-is-one-batch.md,
//! docs/decisions/0061-a-payment-has-one-outcome.md.

pub mod decide;
mod event;
pub mod pay;
mod payment_event;
pub mod payments;
pub mod refund;

use serde::{Deserialize, Serialize};

pub use self::event::{
    CancelCause, FulfilmentStep, OrderCancelled, OrderEvent, OrderExpired, OrderFulfilled,
    OrderItem, OrderPaid, OrderPlaced, OrderPurchase,
};
pub use self::payment_event::{
    PaymentArrivedLate, PaymentFailed, PaymentStarted, PaymentSucceeded, RefundCause,
    RefundOutcome, RefundRequested, RefundSettled,
};
use self::payments::{Outcome, Payments, Sale, Settlement};
use crate::values::{
    Currency, DropId, HoldId, IntentDigest, KeyDigest, Money, OrderId, Pseudonym, Sequence,
    Timestamp,
};

/// The aggregate type of every order's stream in the log.
pub const AGGREGATE_TYPE: &str = "Order";

/// The largest number of items in an order.
pub const MAX_ITEMS: usize = 20;

/// The state of an order. Only `Pending` may change, and `Expired` to `Paid` by a late payment.
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
    /// The first instant at which the order is over, as it is now: payments move it.
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
    /// `None` until it is paid.
    sale: Option<Sale>,
    payments: Payments,
}

/// The state that an event changes and does not contain, see [`Order::revert`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    progress: Progress,
    expires_at: Timestamp,
    /// The holds of the items, if the event replaces them.
    holds: Vec<HoldId>,
    settled: Option<Settlement>,
}

impl Before {
    /// The progress before the event.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }
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

    /// Returns the payments and the refunds of money.
    #[must_use]
    pub const fn payments(&self) -> &Payments {
        &self.payments
    }

    /// Returns how the order was paid; `None` if it was not.
    #[must_use]
    pub const fn sale(&self) -> Option<&Sale> {
        self.sale.as_ref()
    }

    /// Returns true if the order is placed and neither paid, cancelled nor expired.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.placed.is_some() && self.progress.status == OrderStatus::Pending
    }

    /// Returns what [`Order::revert`] needs to revert `event`, before it is applied.
    #[must_use]
    pub fn before(&self, event: &OrderEvent) -> Before {
        let replaces_holds = matches!(event, OrderEvent::OrderPaid(event) if event.late);
        let items = self.items().iter().filter(|_| replaces_holds);
        let settled = if let OrderEvent::RefundSettled(event) = event {
            let refund = self.payments.refund(event.refund_id);
            refund.and_then(|refund| refund.settled.clone())
        } else {
            None
        };
        Before {
            progress: self.progress,
            expires_at: self
                .placed
                .as_ref()
                .map_or(Timestamp::default(), |placed| placed.expires_at),
            holds: items.map(|item| item.hold_id).collect(),
            settled,
        }
    }

    /// Applies one recorded event, which must be the next event of the stream.
    ///
    /// # Panics
    /// If history cannot contain the event: the order would end twice, or is fulfilled before it
    /// was paid, its sums are wrong, or money would have no outcome or two.
    pub fn evolve(&mut self, event: &OrderEvent) {
        self.payments.assert_order(outcome_of(event));
        match event {
            OrderEvent::OrderPlaced(event) => self.was_placed(event),
            OrderEvent::OrderPaid(event) => self.was_paid(event),
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
            OrderEvent::PaymentStarted(event) => {
                assert!(
                    self.is_pending(),
                    "a payment of an order that is not pending was started"
                );
                let placed = self.placed.as_mut().expect("a pending order is placed");
                assert!(
                    placed.total == event.amount,
                    "a payment of another amount than the order's was started"
                );
                assert!(
                    event.started_at < placed.expires_at && placed.expires_at <= event.expires_at,
                    "a payment was started after the deadline, or moved it back"
                );
                placed.expires_at = event.expires_at;
                self.payments.start(event);
            }
            OrderEvent::PaymentSucceeded(event) => self.payments.succeed(event),
            OrderEvent::PaymentFailed(event) => self.payments.fail(event),
            OrderEvent::PaymentArrivedLate(event) => {
                let status = self.progress.status;
                assert!(
                    matches!(status, OrderStatus::Expired | OrderStatus::Cancelled),
                    "a payment arrived late for an order that is not over"
                );
                self.payments.arrive_late(event, true);
            }
            OrderEvent::RefundRequested(event) => {
                assert!(
                    self.can_return(event.cause),
                    "money is returned for a cause that the order does not have"
                );
                self.payments.request_refund(event);
            }
            OrderEvent::RefundSettled(event) => self.payments.settle(event),
        }
        self.sequence = self.sequence.next();
    }

    /// Reports whether an order in this state can have a refund for `cause`.
    fn can_return(&self, cause: RefundCause) -> bool {
        let status = self.progress.status;
        match cause {
            RefundCause::Late => status == OrderStatus::Expired,
            RefundCause::Double | RefundCause::Return => status == OrderStatus::Paid,
            RefundCause::WrongAmount => {
                matches!(status, OrderStatus::Pending | OrderStatus::Expired)
            }
            RefundCause::OrderOver => status == OrderStatus::Cancelled,
        }
    }

    fn was_placed(&mut self, event: &OrderPlaced) {
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

    fn was_paid(&mut self, event: &OrderPaid) {
        let placed = self.placed.as_mut();
        let placed = placed.expect("an order was paid but not placed");
        assert!(
            placed.total == event.total,
            "an order was paid with another total"
        );
        assert!(
            event.purchases.len() == placed.items.len(),
            "an order was paid for a part of its items"
        );
        let paid_by = event.payment_id.zip(event.intent);
        assert!(
            paid_by.is_some() || (event.payment_id.is_none() && event.intent.is_none()),
            "an order was paid by a payment without an intent, or the reverse"
        );
        if let Some((payment_id, intent)) = paid_by {
            let resolved = self.payments.resolve(payment_id, intent, Outcome::Sale);
            assert!(
                resolved == (placed.total, event.late),
                "an order was paid with another amount, or late without a late payment"
            );
        }
        let holds = event.purchases.iter().map(|purchase| purchase.hold_id);
        if event.late {
            assert!(paid_by.is_some(), "an order was paid late by no payment");
            assert!(
                self.progress.status == OrderStatus::Expired,
                "an order was paid late that had not expired"
            );
            for (item, hold_id) in placed.items.iter_mut().zip(holds) {
                item.hold_id = hold_id;
            }
            self.progress.status = OrderStatus::Paid;
            self.progress.ended_at = event.paid_at;
        } else {
            assert!(
                holds.eq(placed.items.iter().map(|item| item.hold_id)),
                "an order was paid for other holds than its own"
            );
            self.end(OrderStatus::Paid, event.paid_at);
        }
        let purchases = event.purchases.iter();
        self.sale = Some(Sale {
            purchases: purchases.map(|purchase| purchase.purchase_id).collect(),
            paid_by,
        });
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

    /// Reverts the event that was applied last; `before` is from [`Order::before`].
    ///
    /// # Panics
    /// If `event` is not the last one applied.
    pub fn revert(&mut self, event: &OrderEvent, before: Before) {
        self.progress = before.progress;
        match event {
            OrderEvent::OrderPlaced(_) => self.placed = None,
            OrderEvent::OrderPaid(event) => {
                self.sale = None;
                if let Some((payment_id, intent)) = event.payment_id.zip(event.intent) {
                    self.payments.unresolve(payment_id, intent);
                }
                let items = self.placed.iter_mut().flat_map(|placed| &mut placed.items);
                for (item, hold_id) in items.zip(before.holds) {
                    item.hold_id = hold_id;
                }
            }
            OrderEvent::OrderCancelled(_)
            | OrderEvent::OrderExpired(_)
            | OrderEvent::OrderFulfilled(_) => {}
            OrderEvent::PaymentStarted(_) => {
                if let Some(placed) = &mut self.placed {
                    placed.expires_at = before.expires_at;
                }
                self.payments.unstart();
            }
            OrderEvent::PaymentSucceeded(_) => self.payments.revert_success(),
            OrderEvent::PaymentFailed(event) => self.payments.unfail(event),
            OrderEvent::PaymentArrivedLate(event) => self.payments.arrive_late(event, false),
            OrderEvent::RefundRequested(event) => self.payments.unrequest_refund(event),
            OrderEvent::RefundSettled(event) => {
                self.payments.unsettle(event.refund_id, before.settled);
            }
        }
        self.sequence = Sequence(self.sequence.0.checked_sub(1).expect("an event to revert"));
    }

    /// Skips a void event of the stream: it keeps its sequence but has no effect.
    pub fn skip_void(&mut self, sequence: Sequence) {
        self.payments.skip_void();
        self.sequence = self.sequence.max(sequence);
    }
}

/// The intent whose outcome an event is or announces.
const fn outcome_of(event: &OrderEvent) -> Option<IntentDigest> {
    match event {
        OrderEvent::OrderPaid(event) => event.intent,
        OrderEvent::PaymentArrivedLate(event) => Some(event.intent),
        OrderEvent::RefundRequested(event) => Some(event.intent),
        OrderEvent::OrderPlaced(_)
        | OrderEvent::OrderCancelled(_)
        | OrderEvent::OrderExpired(_)
        | OrderEvent::OrderFulfilled(_)
        | OrderEvent::PaymentStarted(_)
        | OrderEvent::PaymentSucceeded(_)
        | OrderEvent::PaymentFailed(_)
        | OrderEvent::RefundSettled(_) => None,
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
