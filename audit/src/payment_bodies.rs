//! The payments and refunds of an order in the JSON of reports.

use projections::order_payments::{MoneyRefundRow, OrderPayments, PaymentRow};
use serde_json::{Value, json};

/// Adds `payments` and `refunds` to the body of an order.
pub fn add_to(body: &mut Value, payments: &OrderPayments) {
    let payment = |payment: &PaymentRow| {
        json!({
            "id": payment.id, "provider": payment.provider, "amount": payment.amount,
            "status": payment.status().name(), "late": payment.late(),
        })
    };
    let refund = |refund: &MoneyRefundRow| {
        json!({
            "id": refund.id, "payment_id": refund.payment_id, "amount": refund.amount,
            "cause": refund.cause, "status": refund.status.name(),
        })
    };
    body["payments"] = payments.started.iter().map(payment).collect();
    body["refunds"] = payments.refunds.iter().map(refund).collect();
}
