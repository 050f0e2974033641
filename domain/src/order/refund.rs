//! Decisions about refunds of an order: units that come back, and money that is returned.
//!
//! Promise: the goods and the money of a return are decided together. If a provider took the money,
//! its refund is requested with exactly the price of the units; if the shop took it itself, only
//! the units are recorded, because the shop has returned the money.
//! Limit: a refund that was requested is not withdrawn. One that failed may still succeed.
//!
//! Source: docs/decisions/0060-a-refund-takes-units-back.md,
//! docs/decisions/0061-a-payment-has-one-outcome.md.

use super::decide::{OrderBatch, OrderDecision};
use super::payments::Sale;
use super::{
    Order, OrderEvent, OrderItem, OrderStatus, RefundCause, RefundOutcome, RefundRequested,
    RefundSettled,
};
use crate::command;
use crate::drop::DropAggregate;
use crate::event::{DropEvent, PurchaseRefunded};
use crate::refusal::Refusal;
use crate::values::{
    DropId, FailureCode, KeyDigest, Money, PurchaseId, Quantity, Reason, RefundId, Timestamp,
};

/// Units of one drop to refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundLine {
    /// The index of the first item of the request that asks for this drop.
    pub item: u32,
    pub drop_id: DropId,
    /// The units of all items of this drop together.
    pub units: u32,
}

/// Refunds items of a paid order.
#[derive(Debug)]
pub struct RefundOrder<'a> {
    /// The id that the refund receives.
    pub refund_id: RefundId,
    pub key: Option<KeyDigest>,
    /// One for each drop; `None`: everything that is left.
    pub lines: Option<&'a [RefundLine]>,
    /// True if the units are offered again; false if they leave their drops.
    pub restock: bool,
    pub reason: &'a Reason,
    pub at: Timestamp,
}

/// Records how a provider settled a refund.
#[derive(Debug, Clone)]
pub struct SettleRefund {
    pub refund_id: RefundId,
    pub outcome: RefundOutcome,
    /// The provider's code of a failure.
    pub reason: Option<FailureCode>,
    pub at: Timestamp,
}

impl Order {
    /// Decides a refund of items: its id, which is that of an earlier one if the key repeats it,
    /// and the events to record.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn refund<'a>(
        &self,
        command: &RefundOrder<'_>,
        drops: impl Fn(DropId) -> Option<&'a DropAggregate>,
    ) -> Result<(RefundId, Option<OrderBatch>), Refusal> {
        self.placed().ok_or(Refusal::OrderNotFound)?;
        let sale = self.sold()?;
        let mut items = Vec::with_capacity(self.items().len());
        for (item, purchase_id) in self.items().iter().zip(&sale.purchases) {
            let drop = drops(item.drop_id).ok_or(Refusal::DropNotFound)?;
            items.push(Sold {
                item,
                drop,
                purchase_id: *purchase_id,
            });
        }
        if let Some(earlier) = self.repeated(command, &items)? {
            return Ok((earlier, None));
        }
        let mut refunds = vec![];
        match command.lines {
            None => {
                for sold in items.iter().filter(|sold| sold.refundable() > 0) {
                    refunds.push(sold.refund(command, None)?);
                }
            }
            Some(lines) => {
                // In the sequence of the order's items, not in that of the request.
                let position = |line: &RefundLine| {
                    let found = items
                        .iter()
                        .position(|sold| sold.item.drop_id == line.drop_id);
                    found.ok_or_else(|| of_item(line, Refusal::DropNotFound))
                };
                for line in lines {
                    position(line)?;
                }
                for sold in &items {
                    let line = lines.iter().find(|line| line.drop_id == sold.item.drop_id);
                    let Some(line) = line else { continue };
                    let refund = sold.refund(command, Some(line.units));
                    refunds.push(refund.map_err(|refusal| of_item(line, refusal))?);
                }
            }
        }
        if refunds.is_empty() {
            return Err(Refusal::NothingToRefund { refundable: 0 });
        }
        let request = Request {
            refund_id: command.refund_id,
            key: command.key,
            reason: command.reason,
            at: command.at,
        };
        Ok((command.refund_id, Some(with_money(sale, &request, refunds))))
    }

    /// Decides a refund of the purchase of one item, as [`DropAggregate::refund_purchase`] does for
    /// purchases without an order.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn refund_purchase(
        &self,
        command: &command::RefundPurchase,
        (drop_id, drop): (DropId, &DropAggregate),
    ) -> Result<(RefundId, Option<OrderBatch>), Refusal> {
        let sale = self.sold()?;
        let decision = drop.refund_purchase(command)?;
        let refunds = decision.events.into_iter().filter_map(|event| {
            let refunded = if let DropEvent::PurchaseRefunded(event) = event {
                event
            } else {
                return None;
            };
            Some((drop_id, refunded))
        });
        let refunds: Vec<_> = refunds.collect();
        if refunds.is_empty() {
            return Ok((decision.subject, None));
        }
        let request = Request {
            refund_id: command.refund_id,
            key: command.key,
            reason: &command.reason,
            at: command.at,
        };
        Ok((decision.subject, Some(with_money(sale, &request, refunds))))
    }

    /// Decides the settlement of a refund. `None`: it is known.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn settle_refund(&self, command: &SettleRefund) -> OrderDecision {
        self.placed().ok_or(Refusal::OrderNotFound)?;
        let refund = self.payments().refund(command.refund_id);
        let refund = refund.ok_or(Refusal::RefundNotFound)?;
        if let Some(settled) = &refund.settled {
            if settled.outcome == command.outcome {
                return Ok(None);
            }
            if settled.outcome == RefundOutcome::Succeeded {
                return Err(Refusal::RefundSucceeded {
                    settled_at: settled.settled_at,
                });
            }
        }
        let settled = OrderEvent::RefundSettled(RefundSettled {
            refund_id: refund.id,
            outcome: command.outcome,
            reason: command.reason.clone(),
            settled_at: command.at,
        });
        Ok(Some(OrderBatch::one(settled, vec![])))
    }

    fn sold(&self) -> Result<&Sale, Refusal> {
        let status = self.progress().status;
        let sale = self.sale().filter(|_| status == OrderStatus::Paid);
        sale.ok_or(Refusal::OrderNotPaid { status })
    }

    /// The earlier refund that `command` repeats.
    fn repeated(
        &self,
        command: &RefundOrder<'_>,
        items: &[Sold<'_>],
    ) -> Result<Option<RefundId>, Refusal> {
        let Some(key) = command.key else {
            return Ok(None);
        };
        let of_drops = items.iter().find_map(|sold| sold.drop.refund_by_key(key));
        let Some(id) = of_drops.map(|made| made.id) else {
            let is_used = self.payments().payment_by_key(key).is_some()
                || self.placed().is_some_and(|placed| placed.key == Some(key))
                || items.iter().any(|sold| sold.drop.knows_key(key));
            return match is_used {
                true => Err(Refusal::IdempotencyKeyReused),
                false => Ok(None),
            };
        };
        let is_same = items.iter().all(|sold| {
            let made = sold.drop.refund(id);
            let made = made.filter(|made| made.purchase_id == sold.purchase_id);
            let line = command.lines.map(|lines| {
                let mut lines = lines.iter();
                lines.find(|line| line.drop_id == sold.item.drop_id)
            });
            let is_same_quantity = match (line, made) {
                (Some(Some(line)), Some(made)) => line.units == made.quantity.get(),
                (Some(None) | None, None) => true,
                (Some(Some(_)), None) | (Some(None), Some(_)) => false,
                (None, Some(made)) => made.was_last,
            };
            let is_same_request = made.is_none_or(|made| {
                made.restocked == command.restock && made.reason == *command.reason
            });
            is_same_quantity && is_same_request
        });
        match is_same {
            true => Ok(Some(id)),
            false => Err(Refusal::IdempotencyKeyReused),
        }
    }
}

/// An item of a paid order.
struct Sold<'a> {
    item: &'a OrderItem,
    drop: &'a DropAggregate,
    purchase_id: PurchaseId,
}

impl Sold<'_> {
    fn refundable(&self) -> u32 {
        let hold = self.drop.hold(self.item.hold_id);
        hold.map_or(0, |hold| self.drop.refundable(&hold))
    }

    /// Refunds `units`, or all that are left.
    fn refund(
        &self,
        command: &RefundOrder<'_>,
        units: Option<u32>,
    ) -> Result<(DropId, PurchaseRefunded), Refusal> {
        let nothing = || Refusal::NothingToRefund {
            refundable: self.refundable(),
        };
        let quantity = units.map(|units| Quantity::new(units.into()).map_err(|_| nothing()));
        let decision = self.drop.refund_purchase(&command::RefundPurchase {
            refund_id: command.refund_id,
            key: command.key,
            purchase_id: self.purchase_id,
            hold_id: self.item.hold_id,
            quantity: quantity.transpose()?,
            restock: command.restock,
            reason: command.reason.clone(),
            at: command.at,
        })?;
        let event = decision.events.into_iter().next();
        match event {
            Some(DropEvent::PurchaseRefunded(event)) => Ok((self.item.drop_id, event)),
            // Ids are random: a refund with this id cannot exist.
            Some(_) | None => Err(Refusal::IdempotencyKeyReused),
        }
    }
}

/// The parts of a request that its refund of money repeats.
struct Request<'a> {
    refund_id: RefundId,
    key: Option<KeyDigest>,
    reason: &'a Reason,
    at: Timestamp,
}

/// The refunds of purchases, after the refund of their money if a provider took it.
fn with_money(
    sale: &Sale,
    request: &Request<'_>,
    refunds: Vec<(DropId, PurchaseRefunded)>,
) -> OrderBatch {
    let amounts = refunds.iter().map(|(_, event)| event.amount);
    let amount = amounts.reduce(|sum, amount| Money {
        amount: sum.amount + amount.amount,
        ..sum
    });
    let of_money = sale
        .paid_by
        .zip(amount)
        .map(|((payment_id, intent), amount)| {
            OrderEvent::RefundRequested(RefundRequested {
                refund_id: request.refund_id,
                payment_id,
                intent,
                key: request.key,
                amount,
                cause: RefundCause::Return,
                requested_at: request.at,
                reason: Some(request.reason.clone()),
            })
        });
    let drops = refunds.into_iter();
    OrderBatch {
        orders: of_money.into_iter().collect(),
        drops: drops
            .map(|(drop_id, event)| (drop_id, DropEvent::PurchaseRefunded(event)))
            .collect(),
    }
}

fn of_item(line: &RefundLine, refusal: Refusal) -> Refusal {
    Refusal::OfItem {
        item: line.item,
        refusal: Box::new(refusal),
    }
}
