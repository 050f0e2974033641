//! The refunds of an order, as the order shows them.

use domain::order::RefundCause;
use domain::values::{HoldId, Money, RefundId, Timestamp};
use projections::orders::OrderRow;
use schemars::JsonSchema;
use serde::Serialize;

use crate::render::RefundStatus;

/// Money of an order that is returned, or was.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "MadeRefund")]
pub(crate) struct MadeRefundBody {
    id: RefundId,
    amount: Money,
    /// The number of units; 0 for money that bought nothing.
    quantity: u32,
    /// Why the money is returned: `return` of units, or it bought nothing because it arrived late,
    /// twice (`double`), in a wrong amount, or for an order that was cancelled (`order_over`).
    #[schemars(extend("enum" = ["return", "late", "double", "wrong_amount", "order_over"]))]
    cause: &'static str,
    status: RefundStatus,
    pub(super) requested_at: Timestamp,
    /// When the provider had returned the money, or last failed to; null while that is not known.
    /// The time of the request if the shop returns the money itself.
    pub(super) settled_at: Option<Timestamp>,
    /// The holds whose units it returns.
    #[serde(skip)]
    holds: Vec<HoldId>,
}

impl MadeRefundBody {
    /// Reports whether it returns units of this hold.
    pub(super) fn has(&self, hold_id: HoldId) -> bool {
        self.holds.contains(&hold_id)
    }
}

/// Returns the refunds of an order, in the order of their requests.
pub(super) fn made_refunds(row: &OrderRow) -> Vec<MadeRefundBody> {
    let money = row.payments.refunds.iter();
    let mut refunds: Vec<MadeRefundBody> = money
        .map(|refund| MadeRefundBody {
            id: refund.id,
            amount: refund.amount,
            quantity: 0,
            cause: refund.cause.name(),
            status: refund.status.into(),
            requested_at: refund.requested_at,
            settled_at: refund.settled_at,
            holds: vec![],
        })
        .collect();
    let of_provider: Vec<RefundId> = refunds.iter().map(|refund| refund.id).collect();
    for made in &row.returns {
        let known = refunds
            .iter_mut()
            .find(|refund| refund.id == made.refund_id);
        let Some(refund) = known else {
            refunds.push(MadeRefundBody {
                id: made.refund_id,
                amount: made.amount,
                quantity: made.quantity.get(),
                cause: RefundCause::Return.name(),
                status: RefundStatus::Succeeded,
                requested_at: made.refunded_at,
                settled_at: Some(made.refunded_at),
                holds: vec![made.hold_id],
            });
            continue;
        };
        refund.quantity += made.quantity.get();
        refund.holds.push(made.hold_id);
        if !of_provider.contains(&made.refund_id) {
            refund.amount.amount += made.amount.amount;
        }
    }
    refunds.sort_by_key(|refund| refund.requested_at);
    refunds
}
