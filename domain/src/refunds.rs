//! Decisions about refunds.
//!
//! Promise: a refund is possible as long as units of the purchase are left to refund, also after
//! the drop has ended or was cancelled. It has the price of its units at the time of the hold.
//! Restocked units are available again, so the waitlist gets them first; the others leave the drop.
//! Limit: the caller names the purchase together with its hold, as the log has them.
//!
//! Source: docs/decisions/0060-a-refund-takes-units-back.md.

use crate::command::RefundPurchase;
use crate::decide::Decision;
use crate::drop::DropAggregate;
use crate::drop::HoldStatus;
use crate::drop::refunds::Refund;
use crate::event::{DropEvent, PurchaseRefunded};
use crate::refusal::Refusal;
use crate::values::{Quantity, RefundId};

impl DropAggregate {
    /// Decides a refund. The subject of a retry is the earlier refund.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn refund_purchase(&self, command: &RefundPurchase) -> Result<Decision<RefundId>, Refusal> {
        self.existing_terms()?;
        let earlier = match command.key.filter(|&key| self.knows_key(key)) {
            Some(key) => Some(
                self.refund_by_key(key)
                    .ok_or(Refusal::IdempotencyKeyReused)?,
            ),
            None => self.refund(command.refund_id),
        };
        if let Some(made) = earlier {
            return is_same(made, command)
                .then(|| Decision::new(made.id, vec![]))
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        let hold = self
            .hold(command.hold_id)
            .ok_or(Refusal::PurchaseNotFound)?;
        let is_other = |known| known != command.purchase_id;
        if hold.status != HoldStatus::Purchased
            || self.refunded_purchase(&hold).is_some_and(is_other)
        {
            return Err(Refusal::PurchaseNotFound);
        }
        let refundable = self.refundable(&hold);
        let requested = command.quantity.map_or(refundable, Quantity::get);
        let quantity = Quantity::new(requested.into())
            .ok()
            .filter(|_| requested <= refundable)
            .ok_or(Refusal::NothingToRefund { refundable })?;
        Ok(Decision::one(
            command.refund_id,
            DropEvent::PurchaseRefunded(PurchaseRefunded {
                refund_id: command.refund_id,
                key: command.key,
                purchase_id: command.purchase_id,
                hold_id: hold.id,
                buyer: self.buyer_of(&hold),
                quantity,
                amount: self.terms_of(&hold).price.times(quantity),
                restocked: command.restock,
                reason: command.reason.clone(),
                purchased_at: hold.resolved_at,
                refunded_at: command.at,
            }),
        ))
    }
}

/// Reports whether `command` repeats the request of a refund. Without a quantity it requests all
/// units that are left.
fn is_same(made: &Refund, command: &RefundPurchase) -> bool {
    let is_same_quantity = match command.quantity {
        Some(quantity) => quantity == made.quantity,
        None => made.was_last,
    };
    is_same_quantity
        && made.key == command.key
        && made.purchase_id == command.purchase_id
        && made.restocked == command.restock
        && made.reason == command.reason
}
