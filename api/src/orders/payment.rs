//! The payment of an order, as the order shows it.

use domain::values::{Money, PaymentId, PaymentReference, ProviderName};
use projections::order_payments::{MoneyStatus, PaymentRow};
use schemars::JsonSchema;
use serde::Serialize;

/// The state of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaymentStatus {
    /// The provider has not reported a result.
    Pending,
    /// The money was authorised or taken.
    Succeeded,
    /// The payment was declined or cancelled. It may still succeed.
    Failed,
}

impl From<MoneyStatus> for PaymentStatus {
    fn from(status: MoneyStatus) -> Self {
        match status {
            MoneyStatus::Pending => Self::Pending,
            MoneyStatus::Succeeded => Self::Succeeded,
            MoneyStatus::Failed => Self::Failed,
        }
    }
}

/// The payment that bought an order, otherwise the last one that was started.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OrderPayment")]
pub(crate) struct OrderPaymentBody {
    id: PaymentId,
    /// The name of the provider.
    #[schemars(with = "String")]
    provider: ProviderName,
    status: PaymentStatus,
    /// The total of the order when the payment was started.
    amount: Money,
    /// The provider's identifier of the payment; null until it has succeeded, and after the erasure
    /// of the buyer.
    provider_reference: Option<PaymentReference>,
    /// True if its money arrived when the order was over.
    late: bool,
}

impl From<&PaymentRow> for OrderPaymentBody {
    fn from(payment: &PaymentRow) -> Self {
        Self {
            id: payment.id,
            provider: payment.provider.clone(),
            status: payment.status().into(),
            amount: payment.amount,
            provider_reference: payment.reference().cloned(),
            late: payment.late(),
        }
    }
}
