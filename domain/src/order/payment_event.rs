//! The events of an order's payments and of the refunds of money. See [`super::event`].

use serde::{Deserialize, Serialize};

use crate::values::{
    Commitment, FailureCode, IntentDigest, KeyDigest, Money, PaymentId, ProviderName, Reason,
    RefundId, Timestamp,
};

/// See [`OrderEvent::PaymentStarted`](super::OrderEvent::PaymentStarted).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PaymentStarted {
    /// The payment.
    pub payment_id: PaymentId,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The provider that the buyer pays with.
    pub provider: ProviderName,
    /// The price of the order.
    pub amount: Money,
    /// When the payment was started. The provider is called later.
    pub started_at: Timestamp,
    /// The order's deadline from now on: its present one, or a later one up to which all of its
    /// holds are extended.
    pub expires_at: Timestamp,
}

/// See [`OrderEvent::PaymentSucceeded`](super::OrderEvent::PaymentSucceeded).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PaymentSucceeded {
    /// The payment.
    pub payment_id: PaymentId,
    /// The provider's intent. It succeeds once.
    pub intent: IntentDigest,
    /// The money that the provider authorised or took.
    pub amount: Money,
    /// When the report of the provider arrived.
    pub succeeded_at: Timestamp,
    /// Commits to the provider's reference that is stored with this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

/// See [`OrderEvent::PaymentFailed`](super::OrderEvent::PaymentFailed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PaymentFailed {
    /// The payment.
    pub payment_id: PaymentId,
    /// The provider's intent, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentDigest>,
    /// The provider's code.
    pub reason: FailureCode,
    /// When the report of the provider arrived.
    pub failed_at: Timestamp,
}

/// See [`OrderEvent::PaymentArrivedLate`](super::OrderEvent::PaymentArrivedLate).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PaymentArrivedLate {
    /// The payment.
    pub payment_id: PaymentId,
    /// The provider's intent.
    pub intent: IntentDigest,
    /// When the report of the provider arrived.
    pub arrived_at: Timestamp,
}

/// Why money is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RefundCause {
    /// It arrived after the order had expired, and no units are sold for it.
    Late,
    /// The order is paid already.
    Double,
    /// It is another amount or currency than the order's price.
    WrongAmount,
    /// The order was cancelled.
    OrderOver,
    /// An administrator returns it; the refunds of the purchases follow.
    Return,
}

impl RefundCause {
    /// The name in responses and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Double => "double",
            Self::WrongAmount => "wrong_amount",
            Self::OrderOver => "order_over",
            Self::Return => "return",
        }
    }

    /// Returns true if the refund is the outcome of a payment that bought nothing.
    #[must_use]
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::Late | Self::Double | Self::WrongAmount | Self::OrderOver => true,
            Self::Return => false,
        }
    }
}

/// See [`OrderEvent::RefundRequested`](super::OrderEvent::RefundRequested).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RefundRequested {
    /// The refund. The refunds of purchases that follow have the same id.
    pub refund_id: RefundId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The provider's intent whose money is returned.
    pub intent: IntentDigest,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The money that is returned. All refunds of an intent together are at most its amount.
    pub amount: Money,
    /// The reason for the refund.
    pub cause: RefundCause,
    /// When the refund was requested.
    pub requested_at: Timestamp,
    /// The administrator's reason, of a `return`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// How the provider settled a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RefundOutcome {
    /// The money was returned, or was never taken.
    Succeeded,
    /// The money was not returned. A later attempt may succeed.
    Failed,
}

impl RefundOutcome {
    /// The name in responses and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// See [`OrderEvent::RefundSettled`](super::OrderEvent::RefundSettled).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RefundSettled {
    /// The refund.
    pub refund_id: RefundId,
    /// How it ended.
    pub outcome: RefundOutcome,
    /// The provider's code, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureCode>,
    /// When it was settled.
    pub settled_at: Timestamp,
}
