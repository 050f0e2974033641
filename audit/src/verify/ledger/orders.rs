//! Orders: each is whole, and ends once.
//!
//! Promise: the holds of an order follow it immediately, one for each item, under its terms and
//! its deadline; so do the purchases of a paid order, and the releases of a cancelled one. A hold
//! of an order is purchased and released with it, never alone. An order is paid, cancelled or
//! expired at most once, and nothing of a cancelled or expired one is sold.
//! Limit: an order that has to end because one of its holds has is noted, not a violation, because
//! an engine may not have recorded it yet. Memory grows with the orders, by some 50 bytes each.

use std::collections::VecDeque;

use domain::DropEvent;
use domain::event::{
    HoldChanged, HoldExtended, HoldPlaced, HoldReleased, PurchaseConfirmed, ReleaseCause,
};
use domain::order::{
    self, CancelCause, FulfilmentStep, OrderCancelled, OrderEvent, OrderExpired, OrderItem,
    OrderPaid, OrderPlaced, OrderStatus,
};
use domain::values::{DropId, HoldId, OrderId, PurchaseId, Sequence, Timestamp};
use hashbrown::HashMap;
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};

use super::super::{Check, follows};
use super::{Ledger, written};
use crate::violation::{Fault, expect};

/// An event that must follow the event of an order.
#[derive(Debug)]
enum Due {
    Hold {
        order_id: OrderId,
        item: OrderItem,
        placed_at: Timestamp,
        expires_at: Timestamp,
    },
    Purchase {
        drop_id: DropId,
        hold_id: HoldId,
        purchase_id: PurchaseId,
        paid_at: Timestamp,
    },
    Release {
        drop_id: DropId,
        hold_id: HoldId,
        /// False where the engine may leave the hold to expire.
        is_certain: bool,
    },
}

impl Due {
    const fn drop_id(&self) -> DropId {
        match self {
            Self::Hold { item, .. } => item.drop_id,
            Self::Purchase { drop_id, .. } | Self::Release { drop_id, .. } => *drop_id,
        }
    }
}

/// The part of an order that later events are checked against.
#[derive(Debug, Default)]
struct OrderAccount {
    sequence: Sequence,
    status: Option<OrderStatus>,
    fulfilment: Option<FulfilmentStep>,
    /// `None` once it ended.
    pending: Option<Box<Pending>>,
}

#[derive(Debug)]
struct Pending {
    items: Vec<OrderItem>,
    total: domain::values::Money,
    placed_at: Timestamp,
    expires_at: Timestamp,
    /// One of its holds has ended.
    must_end: bool,
}

/// Every order.
#[derive(Debug, Default)]
pub(super) struct Orders {
    accounts: HashMap<OrderId, OrderAccount>,
    due: VecDeque<Due>,
}

impl Ledger {
    /// The pending orders that must end because one of their holds has ended.
    pub(in crate::verify) fn ending_orders(&self) -> u64 {
        let pending = self.orders.accounts.values();
        let pending = pending.filter_map(|order| order.pending.as_ref());
        pending.filter(|pending| pending.must_end).count() as u64
    }

    /// Checks that no event of a drop is missing after the event of an order.
    pub(in crate::verify) fn nothing_is_due(&mut self) -> Check {
        let is_open = |due: &Due| match due {
            Due::Hold { .. } | Due::Purchase { .. } => true,
            Due::Release { is_certain, .. } => *is_certain,
        };
        let missing = self.orders.due.iter().find(|due| is_open(due));
        let missing = missing.map(|due| match due {
            Due::Hold { order_id, item, .. } => {
                format!(
                    "hold {} of order {order_id} does not follow it",
                    item.hold_id
                )
            }
            Due::Purchase { hold_id, .. } => {
                format!("the purchase of hold {hold_id} does not follow the payment of its order")
            }
            Due::Release { hold_id, .. } => {
                format!("the release of hold {hold_id} does not follow the end of its order")
            }
        });
        self.orders.due.clear();
        missing.map_or(Ok(()), |missing| Err(missing.into()))
    }

    /// A void event of a drop stands for the one that had to follow.
    pub(super) fn skip_due(&mut self, drop_id: DropId) {
        self.orders.due.pop_front_if(|due| due.drop_id() == drop_id);
    }

    pub(in crate::verify) fn skip_void_of_order(&mut self, order_id: OrderId, sequence: Sequence) {
        let order = self.orders.accounts.entry(order_id).or_default();
        order.sequence = order.sequence.max(sequence);
    }

    /// Checks an event of a drop against the order that it has to follow.
    pub(super) fn check_due(&mut self, recorded: &RecordedEvent) -> Check {
        let drop_id = recorded.drop_id;
        match &recorded.event {
            DropEvent::HoldPlaced(event) if event.order_id.is_some() => {
                self.hold_follows(drop_id, event)
            }
            DropEvent::PurchaseConfirmed(event) if self.order_of(event.hold_id).is_some() => {
                self.purchase_follows(drop_id, event)
            }
            DropEvent::HoldReleased(event) if event.cause == ReleaseCause::OrderCancelled => {
                self.release_follows(drop_id, event)
            }
            DropEvent::HoldReleased(event) => {
                self.nothing_is_due()?;
                match (self.order_of(event.hold_id), event.cause) {
                    (Some(order_id), ReleaseCause::Buyer) => Err(format!(
                        "hold {} of order {order_id} was released alone",
                        event.hold_id
                    )
                    .into()),
                    (order_id, _) => self.hold_ended(order_id),
                }
            }
            DropEvent::HoldExtended(HoldExtended { hold_id, .. })
            | DropEvent::HoldChanged(HoldChanged { hold_id, .. }) => {
                self.nothing_is_due()?;
                match self.order_of(*hold_id) {
                    Some(order_id) => {
                        Err(format!("hold {hold_id} of order {order_id} was changed alone").into())
                    }
                    None => Ok(()),
                }
            }
            DropEvent::HoldExpired(event) => {
                self.nothing_is_due()?;
                self.hold_ended(self.order_of(event.hold_id))
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldPlaced(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => self.nothing_is_due(),
        }
    }

    fn order_of(&self, hold_id: HoldId) -> Option<OrderId> {
        self.holds.get(&hold_id)?.order_id
    }

    fn hold_ended(&mut self, order_id: Option<OrderId>) -> Check {
        let order = order_id.and_then(|order_id| self.orders.accounts.get_mut(&order_id));
        if let Some(pending) = order.and_then(|order| order.pending.as_mut()) {
            pending.must_end = true;
        }
        Ok(())
    }

    fn hold_follows(&mut self, drop_id: DropId, event: &HoldPlaced) -> Check {
        let Some(Due::Hold {
            order_id,
            item,
            placed_at,
            expires_at,
        }) = self.orders.due.pop_front()
        else {
            let hold = event.hold_id;
            return Err(format!("hold {hold} belongs to an order that it does not follow").into());
        };
        if event.order_id != Some(order_id) {
            return Err(format!("hold {} is of another order", event.hold_id).into());
        }
        expect("drop of the item", item.drop_id, drop_id)?;
        expect("hold of the item", item.hold_id, event.hold_id)?;
        expect(
            "quantity of the item",
            item.quantity.get(),
            event.quantity.get(),
        )?;
        expect("placed_at", placed_at, event.placed_at)?;
        expect("expires_at", expires_at, event.expires_at)
    }

    fn purchase_follows(&mut self, drop_id: DropId, event: &PurchaseConfirmed) -> Check {
        match self.orders.due.pop_front() {
            Some(Due::Purchase {
                drop_id: of_drop,
                hold_id,
                purchase_id,
                paid_at,
            }) => {
                expect("drop of the item", of_drop, drop_id)?;
                expect("hold of the item", hold_id, event.hold_id)?;
                expect("purchase of the item", purchase_id, event.purchase_id)?;
                expect("purchased_at", paid_at, event.purchased_at)
            }
            Some(Due::Hold { .. } | Due::Release { .. }) | None => Err(format!(
                "hold {} of an order was purchased without its order",
                event.hold_id
            )
            .into()),
        }
    }

    fn release_follows(&mut self, drop_id: DropId, event: &HoldReleased) -> Check {
        while let Some(due) = self.orders.due.pop_front() {
            match due {
                Due::Release {
                    drop_id: of_drop,
                    hold_id,
                    ..
                } if (of_drop, hold_id) == (drop_id, event.hold_id) => return Ok(()),
                // Left to expire.
                Due::Release {
                    is_certain: false, ..
                } => {}
                Due::Release { .. } | Due::Hold { .. } | Due::Purchase { .. } => break,
            }
        }
        let hold = event.hold_id;
        Err(format!("hold {hold} was released with an order whose end it does not follow").into())
    }

    /// Checks an event of an order.
    pub(in crate::verify) fn check_order(&mut self, recorded: &RecordedOrderEvent) -> Check {
        self.nothing_is_due()?;
        let order_id = recorded.order_id;
        let account = self.orders.accounts.entry(order_id).or_default();
        follows(&mut account.sequence, recorded.sequence)?;
        self.note_decision(
            recorded.event.decided_at(),
            recorded.recorded_at,
            recorded.position,
        );
        match &recorded.event {
            OrderEvent::OrderPlaced(event) => self.order_placed(order_id, event),
            OrderEvent::OrderPaid(event) => self.order_paid(order_id, event),
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
            OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => Err("payments of orders cannot be verified yet"
                .to_owned()
                .into()),
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
            expires_at,
        });
        self.orders.due = due.collect();
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

    fn order_paid(&mut self, order_id: OrderId, event: &OrderPaid) -> Check {
        let pending = self.end_order(order_id, OrderStatus::Paid)?;
        expect("total", written(pending.total), written(event.total))?;
        if event.paid_at < pending.placed_at {
            return Err(format!("order {order_id} was paid before it was placed").into());
        }
        let holds = pending.items.iter().map(|item| item.hold_id);
        if !holds.eq(event.purchases.iter().map(|purchase| purchase.hold_id)) {
            return Err(format!("order {order_id} was paid for other holds than its own").into());
        }
        let is_late = event.paid_at >= pending.expires_at;
        if is_late != event.late {
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
        self.orders.due = due.collect();
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
        self.orders.due = due.collect();
        Ok(())
    }

    fn is_cancelled(&self, drop_id: DropId) -> bool {
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
