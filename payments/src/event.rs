//! Events that a provider reports, by webhook.

use domain::values::{Money, Timestamp};
use uuid::Uuid;

/// A fact that a provider reports about a payment.
///
/// Events arrive repeatedly, out of order, and before the response to the call that caused them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderEvent {
    /// The provider's id of the event: the same in each repetition.
    pub id: String,
    /// The provider's reference of the payment.
    pub provider_reference: String,
    /// The payment that the intent was started for. It is known even if the event arrives before
    /// the response to the start; absent for intents that another program started.
    pub payment_id: Option<Uuid>,
    /// The order that the intent was started for.
    pub order_id: Option<Uuid>,
    pub kind: EventKind,
    /// When it happened, by the provider's clock.
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The money is reserved and can be captured or released.
    Authorised { amount: Money },
    /// The money was captured.
    Succeeded { amount: Money },
    /// An attempt to pay was declined. The buyer may try again with the same intent.
    Failed { reason: String },
    /// The intent is over: cancelled by a call, by a person, or because its authorisation expired.
    Cancelled,
    Refunded {
        /// The provider's reference of the refund.
        refund_reference: String,
        /// Absent if a person made the refund at the provider.
        refund_id: Option<Uuid>,
        amount: Money,
    },
    /// The money of a refund did not reach the buyer.
    RefundFailed {
        refund_reference: String,
        refund_id: Option<Uuid>,
        amount: Money,
        reason: String,
    },
    /// A refund was requested, and its outcome is not known yet.
    RefundPending {
        refund_reference: String,
        refund_id: Option<Uuid>,
        amount: Money,
    },
    /// The refunds of the payment have changed; the event does not report which.
    RefundsChanged,
    /// The buyer disputes the payment at their bank, or the dispute has another state.
    Disputed {
        /// The provider's reference of the dispute.
        dispute_reference: String,
        amount: Money,
        state: DisputeState,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeState {
    /// The bank has not decided. The provider has usually taken the amount from the shop.
    Open,
    /// The shop keeps the money.
    Won,
    /// The buyer keeps the money.
    Lost,
}
