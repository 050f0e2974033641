//! The events of an order: recorded facts, in the past tense. Stored as those of a drop are.

use serde::{Deserialize, Serialize};

use super::payment_event::{
    PaymentArrivedLate, PaymentFailed, PaymentStarted, PaymentSucceeded, RefundRequested,
    RefundSettled,
};
use crate::values::{
    Commitment, DropId, HoldId, IntentDigest, KeyDigest, Money, PaymentId, Pseudonym, PurchaseId,
    Quantity, Timestamp,
};

/// One recorded fact about one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OrderEvent {
    /// Units of all items were set aside; the holds follow.
    OrderPlaced(OrderPlaced),
    /// The order was paid for; the purchases of all holds follow. If the payment was late, each
    /// purchase follows a new hold of its item.
    OrderPaid(OrderPaid),
    /// The order was cancelled; the releases of its open holds follow.
    OrderCancelled(OrderCancelled),
    /// The deadline of the order's holds passed.
    OrderExpired(OrderExpired),
    /// The paid order was processed, shipped or delivered.
    OrderFulfilled(OrderFulfilled),
    /// The buyer started to pay with a provider. The extensions of the holds follow, if the order's
    /// deadline moved.
    PaymentStarted(PaymentStarted),
    /// The provider authorised or took the money of one intent. Its outcome follows: `OrderPaid` or
    /// `RefundRequested`, after `PaymentArrivedLate` if the order was over.
    PaymentSucceeded(PaymentSucceeded),
    /// The provider declined or cancelled a payment. The buyer may try again.
    PaymentFailed(PaymentFailed),
    /// The money arrived after the order had expired or was cancelled.
    PaymentArrivedLate(PaymentArrivedLate),
    /// Money is returned. If an administrator requested it, the refunds of the purchases follow.
    RefundRequested(RefundRequested),
    /// The provider returned the money, or failed to.
    RefundSettled(RefundSettled),
}

/// One drop's units in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderItem {
    /// The drop.
    pub drop_id: DropId,
    /// The hold on that drop's units.
    pub hold_id: HoldId,
    /// Units ordered.
    pub quantity: Quantity,
    /// The price of one unit.
    pub price: Money,
}

/// See [`OrderEvent::OrderPlaced`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderPlaced {
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The buyer, under a pseudonym of this order.
    pub buyer: Pseudonym,
    /// The items: one for each drop.
    pub items: Vec<OrderItem>,
    /// The price of all items.
    pub total: Money,
    /// When the order was placed.
    pub placed_at: Timestamp,
    /// The first instant at which the order and its holds are over.
    pub expires_at: Timestamp,
    /// Commits to the personal data that is stored with this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

/// The purchase of one of an order's holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderPurchase {
    /// The hold.
    pub hold_id: HoldId,
    /// The purchase that it became.
    pub purchase_id: PurchaseId,
}

/// See [`OrderEvent::OrderPaid`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderPaid {
    /// When the order was paid.
    pub paid_at: Timestamp,
    /// The price of all items.
    pub total: Money,
    /// True if the payment arrived after the holds were over and was honoured. The purchases are
    /// then those of new holds, which are the holds of the order's items from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The purchases, in the order of the items.
    pub purchases: Vec<OrderPurchase>,
    /// The payment that bought the order; none if the shop took the money itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// The provider's intent of that payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentDigest>,
    /// Commits to the payment reference that is stored with this event, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CancelCause {
    /// The buyer cancelled it.
    Buyer,
    /// One of its drops was cancelled.
    DropCancelled,
}

/// See [`OrderEvent::OrderCancelled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderCancelled {
    /// When the order was cancelled.
    pub cancelled_at: Timestamp,
    /// The reason for the cancellation.
    pub cause: CancelCause,
}

/// See [`OrderEvent::OrderExpired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderExpired {
    /// The order's `expires_at`, which may be before the expiry was recorded.
    pub expired_at: Timestamp,
}

/// How far a paid order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum FulfilmentStep {
    /// The shop prepares the goods.
    Processing,
    /// The goods are on their way.
    Shipped,
    /// The goods arrived.
    Delivered,
}

impl FulfilmentStep {
    /// The name in requests, responses and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
        }
    }
}

/// See [`OrderEvent::OrderFulfilled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderFulfilled {
    /// How far the order is now.
    pub fulfilment: FulfilmentStep,
    /// When it came that far.
    pub fulfilled_at: Timestamp,
    /// Commits to the tracking that is stored with this event, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

impl OrderEvent {
    /// The event types, as stored in the log.
    pub const TYPES: &'static [&'static str] = &[
        "OrderPlaced",
        "OrderPaid",
        "OrderCancelled",
        "OrderExpired",
        "OrderFulfilled",
        "PaymentStarted",
        "PaymentSucceeded",
        "PaymentFailed",
        "PaymentArrivedLate",
        "RefundRequested",
        "RefundSettled",
    ];

    /// Returns the event type, as stored in the log.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::OrderPlaced(_) => "OrderPlaced",
            Self::OrderPaid(_) => "OrderPaid",
            Self::OrderCancelled(_) => "OrderCancelled",
            Self::OrderExpired(_) => "OrderExpired",
            Self::OrderFulfilled(_) => "OrderFulfilled",
            Self::PaymentStarted(_) => "PaymentStarted",
            Self::PaymentSucceeded(_) => "PaymentSucceeded",
            Self::PaymentFailed(_) => "PaymentFailed",
            Self::PaymentArrivedLate(_) => "PaymentArrivedLate",
            Self::RefundRequested(_) => "RefundRequested",
            Self::RefundSettled(_) => "RefundSettled",
        }
    }

    /// Returns the version of the payload's schema.
    #[must_use]
    pub const fn event_version(&self) -> &'static str {
        match self {
            Self::OrderPlaced(_)
            | Self::OrderPaid(_)
            | Self::OrderCancelled(_)
            | Self::OrderExpired(_)
            | Self::OrderFulfilled(_)
            | Self::PaymentStarted(_)
            | Self::PaymentSucceeded(_)
            | Self::PaymentFailed(_)
            | Self::PaymentArrivedLate(_)
            | Self::RefundRequested(_)
            | Self::RefundSettled(_) => "1.0",
        }
    }

    /// Returns the version in which events of this type are written; `None` for an unknown type.
    #[must_use]
    pub fn version_of(event_type: &str) -> Option<&'static str> {
        Self::TYPES.contains(&event_type).then_some("1.0")
    }

    /// Returns the idempotency key of the request that placed the order, unique among all orders;
    /// `None` for other events. Keys of payments and refunds are unique within their order.
    #[must_use]
    pub const fn key(&self) -> Option<KeyDigest> {
        match self {
            Self::OrderPlaced(event) => event.key,
            Self::OrderPaid(_)
            | Self::OrderCancelled(_)
            | Self::OrderExpired(_)
            | Self::OrderFulfilled(_)
            | Self::PaymentStarted(_)
            | Self::PaymentSucceeded(_)
            | Self::PaymentFailed(_)
            | Self::PaymentArrivedLate(_)
            | Self::RefundRequested(_)
            | Self::RefundSettled(_) => None,
        }
    }

    /// Returns the buyer, from the event that introduces them.
    #[must_use]
    pub const fn buyer(&self) -> Option<Pseudonym> {
        match self {
            Self::OrderPlaced(event) => Some(event.buyer),
            Self::OrderPaid(_)
            | Self::OrderCancelled(_)
            | Self::OrderExpired(_)
            | Self::OrderFulfilled(_)
            | Self::PaymentStarted(_)
            | Self::PaymentSucceeded(_)
            | Self::PaymentFailed(_)
            | Self::PaymentArrivedLate(_)
            | Self::RefundRequested(_)
            | Self::RefundSettled(_) => None,
        }
    }

    /// Returns the time of the decision, according to its author. `None` for events that may be
    /// recorded at any later time: an expiry, which carries its deadline, and the consequence of a
    /// drop's cancellation, which carries the time of the cancellation.
    #[must_use]
    pub const fn decided_at(&self) -> Option<Timestamp> {
        match self {
            Self::OrderPlaced(event) => Some(event.placed_at),
            Self::OrderPaid(event) => Some(event.paid_at),
            Self::OrderCancelled(event) => match event.cause {
                CancelCause::Buyer => Some(event.cancelled_at),
                CancelCause::DropCancelled => None,
            },
            Self::OrderExpired(_) => None,
            Self::OrderFulfilled(event) => Some(event.fulfilled_at),
            Self::PaymentStarted(event) => Some(event.started_at),
            Self::PaymentSucceeded(event) => Some(event.succeeded_at),
            Self::PaymentFailed(event) => Some(event.failed_at),
            Self::PaymentArrivedLate(event) => Some(event.arrived_at),
            Self::RefundRequested(event) => Some(event.requested_at),
            Self::RefundSettled(event) => Some(event.settled_at),
        }
    }

    /// Returns the commitment to the personal data that is stored with this event, if any.
    #[must_use]
    pub const fn commitment(&self) -> Option<Commitment> {
        match self {
            Self::OrderPlaced(event) => event.commitment,
            Self::OrderPaid(event) => event.commitment,
            Self::OrderFulfilled(event) => event.commitment,
            Self::PaymentSucceeded(event) => event.commitment,
            Self::OrderCancelled(_)
            | Self::OrderExpired(_)
            | Self::PaymentStarted(_)
            | Self::PaymentFailed(_)
            | Self::PaymentArrivedLate(_)
            | Self::RefundRequested(_)
            | Self::RefundSettled(_) => None,
        }
    }
}
