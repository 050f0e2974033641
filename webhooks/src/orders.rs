//! Orders as they were at each of their events: what webhooks about them contain.
//!
//! Promise: decided from the log alone, so every attempt, server and replay shows the same. The
//! views of the API cannot: they have the newest state, and a message may be about an earlier one.
//! Limit: every order of the log stays in memory: its items, and some 30 bytes for each of its
//! events and refunds.

use std::collections::{HashMap, HashSet};

use domain::event::PurchaseRefunded;
use domain::order::{FulfilmentStep, OrderEvent, OrderItem, OrderStatus, ShownStatus};
use domain::values::{DropId, HoldId, Money, OrderId, Position};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};
use serde::Serialize;

/// The public facts of an order after one of its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderFacts {
    pub order_id: OrderId,
    items: Vec<ItemFacts>,
    total: Money,
    status: ShownStatus,
    fulfilment: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct ItemFacts {
    drop_id: DropId,
    hold_id: HoldId,
    quantity: u32,
    price: Money,
    total: Money,
    refunded: u32,
}

/// The change by an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Status(OrderStatus),
    Fulfilled(FulfilmentStep),
    /// Units of the item with this index.
    Refunded(u8, u32),
}

#[derive(Debug)]
struct Followed {
    items: Box<[OrderItem]>,
    total: Money,
    /// The holds that were sold, in the order of the items, if they are other holds: the order was
    /// paid late.
    sold: Option<(Position, Box<[HoldId]>)>,
    /// In position order.
    steps: Vec<(Position, Step)>,
}

impl Followed {
    fn add(&mut self, position: Position, step: Step) {
        let at = self.steps.partition_point(|(other, _)| *other <= position);
        self.steps.insert(at, (position, step));
    }

    fn at(&self, order_id: OrderId, position: Position) -> OrderFacts {
        let (mut status, mut fulfilment) = (OrderStatus::Pending, "unfulfilled");
        let mut refunded = vec![0_u32; self.items.len()];
        let until = self.steps.iter().take_while(|(at, _)| *at <= position);
        for (_, step) in until {
            match *step {
                Step::Status(next) => status = next,
                Step::Fulfilled(next) => fulfilment = next.name(),
                Step::Refunded(item, units) => {
                    if let Some(refunded) = refunded.get_mut(usize::from(item)) {
                        *refunded += units;
                    }
                }
            }
        }
        let sold = self.sold.as_ref().filter(|(at, _)| *at <= position);
        let items = self.items.iter().zip(refunded).enumerate();
        let items: Vec<ItemFacts> = items
            .map(|(index, (item, refunded))| ItemFacts {
                drop_id: item.drop_id,
                hold_id: sold
                    .and_then(|(_, sold)| sold.get(index))
                    .map_or(item.hold_id, |hold_id| *hold_id),
                quantity: item.quantity.get(),
                price: item.price,
                total: item.total(),
                refunded,
            })
            .collect();
        let status = match () {
            () if items.iter().all(|item| item.refunded == 0) => status.into(),
            () if items.iter().all(|item| item.refunded >= item.quantity) => ShownStatus::Refunded,
            () => ShownStatus::PartiallyRefunded,
        };
        OrderFacts {
            order_id,
            items,
            total: self.total,
            status,
            fulfilment,
        }
    }
}

/// All orders of the log.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    orders: HashMap<OrderId, Followed>,
    /// The order and the item of each hold that was paid for.
    of_hold: HashMap<HoldId, (OrderId, u8)>,
    /// The orders with refunds of each drop, whose events may be applied again.
    refunded: HashMap<DropId, Vec<OrderId>>,
    /// Orders whose events are not all known, because this server cannot apply one of them.
    pub(crate) quarantined: HashSet<OrderId>,
    /// Refunds that may be of an order in quarantine. Empty while there is none.
    unattributed: Vec<Refund>,
}

/// A refund of a purchase.
#[derive(Debug, Clone, Copy)]
struct Refund {
    position: Position,
    drop_id: DropId,
    hold_id: HoldId,
    units: u32,
}

impl Orders {
    /// Returns the order as the event at `position` left it. `None` for an order that was never
    /// placed.
    pub(crate) fn at(&self, order_id: OrderId, position: Position) -> Option<OrderFacts> {
        let order = self.orders.get(&order_id)?;
        Some(order.at(order_id, position))
    }

    /// Returns the order of a purchase, as its refund at `position` left it. `None` if no order
    /// has it.
    pub(crate) fn refunded_at(
        &self,
        refund: &PurchaseRefunded,
        position: Position,
    ) -> Option<OrderFacts> {
        let (order_id, _) = self.of_hold.get(&refund.hold_id)?;
        self.at(*order_id, position)
    }

    pub(crate) fn apply(&mut self, recorded: &RecordedOrderEvent) {
        let order_id = recorded.order_id;
        if let OrderEvent::OrderPlaced(event) = &recorded.event {
            let order = Followed {
                items: event.items.clone().into_boxed_slice(),
                total: event.total,
                sold: None,
                steps: vec![],
            };
            self.orders.insert(order_id, order);
            return;
        }
        let Some(order) = self.orders.get_mut(&order_id) else {
            return;
        };
        let step = match &recorded.event {
            OrderEvent::OrderPaid(event) => {
                let paid = (0..).zip(&event.purchases);
                self.of_hold
                    .extend(paid.map(|(item, purchase)| (purchase.hold_id, (order_id, item))));
                if event.late {
                    let sold = event.purchases.iter().map(|purchase| purchase.hold_id);
                    order.sold = Some((recorded.position, sold.collect()));
                }
                Step::Status(OrderStatus::Paid)
            }
            OrderEvent::OrderCancelled(_) => Step::Status(OrderStatus::Cancelled),
            OrderEvent::OrderExpired(_) => Step::Status(OrderStatus::Expired),
            OrderEvent::OrderFulfilled(event) => Step::Fulfilled(event.fulfilment),
            OrderEvent::OrderPlaced(_)
            | OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => return,
        };
        order.add(recorded.position, step);
    }

    /// Adds a refund of an order's purchase.
    pub(crate) fn refund(&mut self, recorded: &RecordedEvent, refund: &PurchaseRefunded) {
        self.refund_units(Refund {
            position: recorded.position,
            drop_id: recorded.drop_id,
            hold_id: refund.hold_id,
            units: refund.quantity.get(),
        });
    }

    fn refund_units(&mut self, refund: Refund) {
        let of_hold = self.of_hold.get(&refund.hold_id).copied();
        let is_known = of_hold.is_some_and(|(order_id, _)| !self.quarantined.contains(&order_id));
        if !is_known && !self.quarantined.is_empty() {
            self.unattributed.push(refund);
        }
        let Some((order_id, item)) = of_hold.filter(|_| is_known) else {
            return;
        };
        if let Some(order) = self.orders.get_mut(&order_id) {
            order.add(refund.position, Step::Refunded(item, refund.units));
            let orders = self.refunded.entry(refund.drop_id).or_default();
            orders.push(order_id);
        }
    }

    /// Applies the events of an order from the first. Its refunds, which are events of its drops,
    /// are kept.
    pub(crate) fn readmit(
        &mut self,
        order_id: OrderId,
        events: &[RecordedOrderEvent],
        is_whole: bool,
    ) {
        let before = self.orders.remove(&order_id);
        for recorded in events {
            self.apply(recorded);
        }
        if let Some((before, order)) = before.zip(self.orders.get_mut(&order_id)) {
            for (position, step) in before.steps {
                if matches!(step, Step::Refunded(..)) {
                    order.add(position, step);
                }
            }
        }
        match is_whole {
            true => self.quarantined.remove(&order_id),
            false => self.quarantined.insert(order_id),
        };
        for refund in std::mem::take(&mut self.unattributed) {
            self.refund_units(refund);
        }
    }

    /// Removes all refunds of a drop, whose events follow again.
    pub(crate) fn forget_refunds(&mut self, drop_id: DropId) {
        self.unattributed.retain(|refund| refund.drop_id != drop_id);
        for order_id in self.refunded.remove(&drop_id).unwrap_or_default() {
            if let Some(order) = self.orders.get_mut(&order_id) {
                let items = &order.items;
                let is_other = |step: &Step| match step {
                    Step::Refunded(item, _) => {
                        let item = items.get(usize::from(*item));
                        item.is_none_or(|item| item.drop_id != drop_id)
                    }
                    Step::Status(_) | Step::Fulfilled(_) => true,
                };
                order.steps.retain(|(_, step)| is_other(step));
            }
        }
    }
}
