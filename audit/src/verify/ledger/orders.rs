//! Orders: each is whole, and ends once.
//!
//! Promise: the holds of an order follow it immediately, one for each item, under its terms and
//! its deadline; so do the purchases of a paid order, and the releases of a cancelled one
//! ([`super::due`]). A hold of an order is purchased, extended and released with it, never alone.
//! An order is paid, cancelled or expired at most once, and nothing of a cancelled one is sold; of
//! an expired one only by money that arrived late. [`super::payments`] has the rules of money.
//! Limit: an order that has to end because one of its holds has is noted, not a violation, because
//! an engine may not have recorded it yet. Memory grows with the orders, by some 50 bytes each.

use domain::order::{
    self, CancelCause, FulfilmentStep, OrderCancelled, OrderEvent, OrderExpired, OrderItem,
    OrderPaid, OrderPlaced, OrderStatus,
};
use domain::values::{DropId, HoldId, OrderId, PaymentReference, Sequence, Timestamp};
use hashbrown::HashMap;
use infrastructure::codec::RecordedOrderEvent;

use super::super::{Check, follows};
use super::due::{Deadline, Due, Dues, Success};
use super::payments::OrderMoney;
use super::{Ledger, written};
use crate::violation::{Fault, expect};

/// The part of an order that later events are checked against.
#[derive(Debug, Default)]
pub(super) struct OrderAccount {
    sequence: Sequence,
    pub(super) status: Option<OrderStatus>,
    fulfilment: Option<FulfilmentStep>,
    /// `None` once it ended.
    pub(super) pending: Option<Box<Pending>>,
    /// `None` until a payment is started.
    pub(super) money: Option<Box<OrderMoney>>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) items: Vec<OrderItem>,
    pub(super) total: domain::values::Money,
    pub(super) placed_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// One of its holds has ended.
    must_end: bool,
}

/// Every order.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) accounts: HashMap<OrderId, OrderAccount>,
    /// The purchased holds of orders whose money a provider took.
    pub(super) of_providers: HashMap<HoldId, OrderId>,
    pub(super) dues: Dues,
}

impl Orders {
    /// The order of a purchased hold whose money a provider took.
    pub(super) fn paid_by_provider(&self, hold_id: HoldId) -> Option<OrderId> {
        self.of_providers.get(&hold_id).copied()
    }

    /// Reports whether the order is paid. Holds that follow then replace expired ones.
    pub(super) fn is_paid(&self, order_id: OrderId) -> bool {
        let order = self.accounts.get(&order_id);
        order.is_some_and(|order| order.status == Some(OrderStatus::Paid))
    }
}

impl Ledger {
    /// The pending orders that must end because one of their holds has ended.
    pub(in crate::verify) fn ending_orders(&self) -> u64 {
        let pending = self.orders.accounts.values();
        let pending = pending.filter_map(|order| order.pending.as_ref());
        pending.filter(|pending| pending.must_end).count() as u64
    }

    pub(in crate::verify) fn skip_void_of_order(&mut self, order_id: OrderId, sequence: Sequence) {
        let order = self.orders.accounts.entry(order_id).or_default();
        order.sequence = order.sequence.max(sequence);
        self.orders.dues.skip_of_order(order_id);
    }

    pub(super) fn hold_ended(&mut self, order_id: Option<OrderId>) -> Check {
        let order = order_id.and_then(|order_id| self.orders.accounts.get_mut(&order_id));
        if let Some(pending) = order.and_then(|order| order.pending.as_mut()) {
            pending.must_end = true;
        }
        Ok(())
    }

    /// Checks an event of an order. `reference` is the provider's reference that is stored with it,
    /// unless it was erased or may not be read.
    pub(in crate::verify) fn check_order(
        &mut self,
        recorded: &RecordedOrderEvent,
        reference: Option<&PaymentReference>,
    ) -> Check {
        let order_id = recorded.order_id;
        let success = self.orders.dues.success;
        let success = success.filter(|success| success.order_id == order_id);
        if success.is_some_and(|success| success.is_resolved_by(&recorded.event)) {
            self.orders.dues.success = None;
        }
        self.nothing_is_due()?;
        let account = self.orders.accounts.entry(order_id).or_default();
        follows(&mut account.sequence, recorded.sequence)?;
        self.note_decision(
            recorded.event.decided_at(),
            recorded.recorded_at,
            recorded.position,
        );
        match &recorded.event {
            OrderEvent::OrderPlaced(event) => self.order_placed(order_id, event),
            OrderEvent::OrderPaid(event) => self.order_paid(order_id, event, success, reference),
            OrderEvent::OrderCancelled(event) => self.order_cancelled(recorded, event),
            OrderEvent::OrderExpired(event) => self.order_expired(recorded, event),
            OrderEvent::OrderFulfilled(event) => {
                let account = self.orders.accounts.entry(order_id).or_default();
                if account.status != Some(OrderStatus::Paid) {
                    return Err(format!("order {order_id} was fulfilled, but not paid").into());
                }
                if account.fulfilment > Some(event.fulfilment) {
                    return Err(format!("the fulfilment of order {order_id} went back").into());
                }
                account.fulfilment = Some(event.fulfilment);
                Ok(())
            }
            OrderEvent::PaymentStarted(event) => self.payment_started(order_id, event),
            OrderEvent::PaymentSucceeded(event) => {
                self.payment_succeeded(order_id, event, reference)
            }
            OrderEvent::PaymentFailed(event) => self.payment_failed(order_id, event),
            OrderEvent::PaymentArrivedLate(event) => {
                self.payment_arrived_late(order_id, event, success)
            }
            OrderEvent::RefundRequested(event) => self.refund_requested(order_id, event, success),
            OrderEvent::RefundSettled(event) => self.refund_settled(order_id, event),
        }
    }

    fn order_placed(&mut self, order_id: OrderId, event: &OrderPlaced) -> Check {
        if !order::is_well_formed(&event.items, event.total) {
            let reason = "the items of the order do not add up to its total, are none, too many, in two \
                          currencies, or two of one drop";
            return Err(reason.to_owned().into());
        }
        let mut shortest = u32::MAX;
        for item in &event.items {
            let terms = self.open_account(item.drop_id)?.terms()?;
            expect(
                "price of the item",
                written(terms.price),
                written(item.price),
            )?;
            shortest = shortest.min(terms.hold_seconds.get());
        }
        let expires_at = event.placed_at.plus_seconds(shortest);
        expect("expires_at of the order", expires_at, event.expires_at)?;
        let account = self.orders.accounts.entry(order_id).or_default();
        if account.status.is_some() {
            return Err(format!("order {order_id} was placed twice").into());
        }
        account.status = Some(OrderStatus::Pending);
        account.pending = Some(Box::new(Pending {
            items: event.items.clone(),
            total: event.total,
            placed_at: event.placed_at,
            expires_at,
            must_end: false,
        }));
        let due = event.items.iter().map(|item| Due::Hold {
            order_id,
            item: *item,
            placed_at: event.placed_at,
            deadline: Deadline::At(expires_at),
        });
        self.orders.dues.events = due.collect();
        Ok(())
    }

    /// Ends a pending order and returns it.
    fn end_order(&mut self, order_id: OrderId, status: OrderStatus) -> Result<Pending, Fault> {
        let account = self.orders.accounts.entry(order_id).or_default();
        let Some(pending) = account.pending.take() else {
            let was = account.status.map_or("never placed", OrderStatus::name);
            let is = status.name();
            return Err(format!("order {order_id} is {is}, but it was {was} before").into());
        };
        account.status = Some(status);
        Ok(*pending)
    }

    fn order_paid(
        &mut self,
        order_id: OrderId,
        event: &OrderPaid,
        success: Option<Success>,
        reference: Option<&PaymentReference>,
    ) -> Check {
        match (event.payment_id.zip(event.intent), success) {
            (None, _) if event.payment_id.is_some() || event.intent.is_some() => {
                let reason = format!("order {order_id} was paid by a payment or an intent alone");
                return Err(reason.into());
            }
            (None, _) if event.late => {
                return Err(
                    format!("order {order_id} was paid late by no payment: late = true").into(),
                );
            }
            (None, _) => {}
            (Some((payment_id, _)), None) => {
                return Err(format!(
                    "order {order_id} was paid by payment {payment_id}, whose success does not precede"
                )
                .into());
            }
            (Some(_), Some(success)) => {
                self.sold_for(event, success, reference)?;
                if event.late {
                    return self.paid_late(event, success);
                }
            }
        }
        let pending = self.end_order(order_id, OrderStatus::Paid)?;
        expect("total", written(pending.total), written(event.total))?;
        if event.paid_at < pending.placed_at {
            return Err(format!("order {order_id} was paid before it was placed").into());
        }
        let holds = pending.items.iter().map(|item| item.hold_id);
        if !holds.eq(event.purchases.iter().map(|purchase| purchase.hold_id)) {
            return Err(format!("order {order_id} was paid for other holds than its own").into());
        }
        if event.paid_at >= pending.expires_at {
            let reason = format!(
                "order {order_id} was paid at {}, with late = {}",
                event.paid_at, event.late
            );
            return Err(reason.into());
        }
        let items = pending.items.iter().zip(&event.purchases);
        let due = items.map(|(item, purchase)| Due::Purchase {
            drop_id: item.drop_id,
            hold_id: item.hold_id,
            purchase_id: purchase.purchase_id,
            paid_at: event.paid_at,
        });
        self.orders.dues.events = due.collect();
        Ok(())
    }

    fn order_cancelled(&mut self, recorded: &RecordedOrderEvent, event: &OrderCancelled) -> Check {
        let order_id = recorded.order_id;
        let pending = self.end_order(order_id, OrderStatus::Cancelled)?;
        if event.cancelled_at >= pending.expires_at {
            return Err(format!("order {order_id} was cancelled after its deadline").into());
        }
        let is_by_buyer = event.cause == CancelCause::Buyer;
        let mut items = pending.items.iter();
        if !is_by_buyer && !items.any(|item| self.is_cancelled(item.drop_id)) {
            let reason = format!(
                "order {order_id} was cancelled with a drop, but none of its drops is cancelled"
            );
            return Err(reason.into());
        }
        let is_open = |item: &&OrderItem| {
            self.holds.contains_key(&item.hold_id) && !self.is_cancelled(item.drop_id)
        };
        let due = pending
            .items
            .iter()
            .filter(is_open)
            .map(|item| Due::Release {
                drop_id: item.drop_id,
                hold_id: item.hold_id,
                is_certain: is_by_buyer,
            });
        self.orders.dues.events = due.collect();
        Ok(())
    }

    pub(super) fn is_cancelled(&self, drop_id: DropId) -> bool {
        let account = self.drops.get(&drop_id);
        account.is_some_and(|account| account.cancelled.is_some())
    }

    fn order_expired(&mut self, recorded: &RecordedOrderEvent, event: &OrderExpired) -> Check {
        let pending = self.end_order(recorded.order_id, OrderStatus::Expired)?;
        expect("expired_at", pending.expires_at, event.expired_at)?;
        if recorded.recorded_at < pending.expires_at {
            return Err(format!(
                "order {} expired at {}, before its deadline {}",
                recorded.order_id, recorded.recorded_at, pending.expires_at
            )
            .into());
        }
        Ok(())
    }
}
