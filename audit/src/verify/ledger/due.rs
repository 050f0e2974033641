//! The events that must follow the event of an order in the same batch.
//!
//! Promise: an order's event states exactly the events that must follow it, and each is compared
//! with the one that does. An event that belongs to an order is accepted in no other position.
//! Limit: a void event stands for the one that had to follow.
//!
//! Source: docs/decisions/0055-an-order-is-one-batch.md,
//! docs/decisions/0061-a-payment-has-one-outcome.md.

use std::collections::VecDeque;

use domain::DropEvent;
use domain::event::{
    HoldChanged, HoldExtended, HoldPlaced, HoldReleased, PurchaseConfirmed, PurchaseRefunded,
    ReleaseCause,
};
use domain::order::OrderItem;
use domain::values::{
    DropId, HoldId, IntentDigest, KeyDigest, Money, OrderId, PaymentId, Pseudonym, PurchaseId,
    Reason, RefundId, Timestamp,
};
use infrastructure::codec::RecordedEvent;

use super::super::Check;
use super::{Ledger, written};
use crate::violation::{Fault, expect};

/// An event that must follow the event of an order.
#[derive(Debug)]
pub(super) enum Due {
    Hold {
        order_id: OrderId,
        item: OrderItem,
        placed_at: Timestamp,
        deadline: Deadline,
    },
    Extension {
        drop_id: DropId,
        hold_id: HoldId,
        extended_at: Timestamp,
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
    Goods(Goods),
}

/// The deadline of an order's hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deadline {
    /// That of the order.
    At(Timestamp),
    /// Of a hold that replaces an expired one, for this buyer: it is purchased in the same batch.
    Replaced(Pseudonym),
}

/// The purchases whose refunds must follow the return of their money.
#[derive(Debug)]
pub(super) struct Goods {
    pub(super) order_id: OrderId,
    pub(super) refund_id: RefundId,
    pub(super) key: Option<KeyDigest>,
    /// Of the order's items, those that may still follow, in their order.
    pub(super) purchases: VecDeque<(DropId, HoldId, PurchaseId)>,
    /// The money that the refunds to come must add up to.
    pub(super) left: Money,
    pub(super) refunded_at: Timestamp,
    pub(super) reason: Option<Reason>,
    /// At least one followed.
    pub(super) is_begun: bool,
    /// One of them is void, so the others do not add up.
    pub(super) is_partial: bool,
}

/// A success whose outcome must follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Success {
    pub(super) order_id: OrderId,
    pub(super) payment_id: PaymentId,
    pub(super) intent: IntentDigest,
    pub(super) amount: Money,
    pub(super) at: Timestamp,
    /// Recorded as late.
    pub(super) is_late: bool,
}

/// Every event that must follow.
#[derive(Debug, Default)]
pub(super) struct Dues {
    pub(super) events: VecDeque<Due>,
    pub(super) success: Option<Success>,
}

impl Due {
    fn is_of(&self, drop_id: DropId) -> bool {
        match self {
            Self::Hold { item, .. } => item.drop_id == drop_id,
            Self::Extension { drop_id: of, .. }
            | Self::Purchase { drop_id: of, .. }
            | Self::Release { drop_id: of, .. } => *of == drop_id,
            Self::Goods(goods) => goods.purchases.iter().any(|(of, ..)| *of == drop_id),
        }
    }

    /// The reason why the log may not go on without the event; `None` if it may.
    fn missing(&self) -> Option<String> {
        match self {
            Self::Hold { order_id, item, .. } => Some(format!(
                "hold {} of order {order_id} does not follow it",
                item.hold_id
            )),
            Self::Extension { hold_id, .. } => Some(format!(
                "the extension of hold {hold_id} does not follow the payment that moved the deadline of its order"
            )),
            Self::Purchase { hold_id, .. } => Some(format!(
                "the purchase of hold {hold_id} does not follow the payment of its order"
            )),
            Self::Release {
                hold_id,
                is_certain,
                ..
            } => is_certain.then(|| {
                format!("the release of hold {hold_id} does not follow the end of its order")
            }),
            Self::Goods(goods) => goods.missing(),
        }
    }
}

impl Goods {
    fn missing(&self) -> Option<String> {
        let is_complete = self.is_begun && self.left.amount == 0;
        (!is_complete && !self.is_partial).then(|| {
            format!(
                "refund {} returns money of order {}, but refunds of purchases for {} do not follow it",
                self.refund_id, self.order_id, self.left
            )
        })
    }

    fn take(&mut self, drop_id: DropId, event: &PurchaseRefunded) -> Check {
        let hold_id = event.hold_id;
        let mut purchases = self.purchases.iter();
        let index = purchases.position(|(_, of, _)| *of == hold_id);
        let Some((of_drop, _, purchase_id)) =
            index.and_then(|index| self.purchases.drain(..=index).next_back())
        else {
            let (refund_id, order_id) = (self.refund_id, self.order_id);
            return Err(format!(
                "refund {refund_id} of order {order_id} is followed by one of hold {hold_id}, which is not a later item of it"
            )
            .into());
        };
        expect("drop of the item", of_drop, drop_id)?;
        expect("purchase of the item", purchase_id, event.purchase_id)?;
        expect("refunded_at", self.refunded_at, event.refunded_at)?;
        if self.key != event.key || self.reason.as_ref() != Some(&event.reason) {
            let refund_id = self.refund_id;
            return Err(format!("refund {refund_id} has two keys, or two reasons").into());
        }
        let left = Money {
            amount: self.left.amount.saturating_sub(event.amount.amount),
            ..self.left
        };
        let is_within = (0..=self.left.amount).contains(&event.amount.amount);
        if !is_within || event.amount.currency != left.currency {
            return Err(format!(
                "refund {} returns {} for hold {hold_id}, but only {} are left of its money",
                self.refund_id,
                written(event.amount),
                written(self.left)
            )
            .into());
        }
        (self.left, self.is_begun) = (left, true);
        Ok(())
    }
}

impl Dues {
    /// Checks that no event is missing.
    pub(super) fn settle(&mut self) -> Check {
        let missing = self.events.iter().find_map(Due::missing);
        self.events.clear();
        let unresolved = self.success.take().map(|success| {
            format!(
                "payment {} of order {} succeeded, but neither a sale nor a refund follows",
                success.payment_id, success.order_id
            )
        });
        missing
            .or(unresolved)
            .map_or(Ok(()), |missing| Err(missing.into()))
    }

    /// A void event of a drop stands for the one that had to follow.
    pub(super) fn skip(&mut self, drop_id: DropId) {
        if let Some(Due::Goods(goods)) = self.events.front_mut() {
            let mut purchases = goods.purchases.iter();
            if let Some(index) = purchases.position(|(of, ..)| *of == drop_id) {
                goods.purchases.drain(..=index);
                goods.is_partial = true;
            }
            return;
        }
        self.events.pop_front_if(|due| due.is_of(drop_id));
    }

    /// A void event of an order stands for the outcome that had to follow.
    pub(super) fn skip_of_order(&mut self, order_id: OrderId) {
        self.success.take_if(|success| success.order_id == order_id);
    }
}

impl Ledger {
    /// Checks that no event is missing after the event of an order.
    pub(in crate::verify) fn nothing_is_due(&mut self) -> Check {
        self.orders.dues.settle()
    }

    /// Checks an event of a drop against the order that it has to follow.
    pub(super) fn check_due(&mut self, recorded: &RecordedEvent) -> Check {
        let drop_id = recorded.drop_id;
        // The outcome of a payment is an event of its order.
        if self.orders.dues.success.is_some() {
            return self.nothing_is_due();
        }
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
            DropEvent::HoldExtended(event) => match self.order_of(event.hold_id) {
                Some(order_id) => self.extension_follows(drop_id, order_id, event),
                None => self.nothing_is_due(),
            },
            DropEvent::HoldChanged(HoldChanged { hold_id, .. }) => {
                self.nothing_is_due()?;
                match self.order_of(*hold_id) {
                    Some(order_id) => Err(changed_alone(*hold_id, order_id)),
                    None => Ok(()),
                }
            }
            DropEvent::HoldExpired(event) => {
                self.nothing_is_due()?;
                self.hold_ended(self.order_of(event.hold_id))
            }
            DropEvent::PurchaseRefunded(event) => self.refund_follows(drop_id, event),
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldPlaced(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => self.nothing_is_due(),
        }
    }

    fn order_of(&self, hold_id: HoldId) -> Option<OrderId> {
        self.holds.get(&hold_id)?.order_id
    }

    fn hold_follows(&mut self, drop_id: DropId, event: &HoldPlaced) -> Check {
        let Some(Due::Hold {
            order_id,
            item,
            placed_at,
            deadline,
        }) = self.orders.dues.events.pop_front()
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
        match deadline {
            Deadline::At(expires_at) => expect("expires_at", expires_at, event.expires_at),
            Deadline::Replaced(buyer) => expect("buyer of the order's hold", buyer, event.buyer),
        }
    }

    fn extension_follows(
        &mut self,
        drop_id: DropId,
        order_id: OrderId,
        event: &HoldExtended,
    ) -> Check {
        match self.orders.dues.events.pop_front() {
            Some(Due::Extension {
                drop_id: of_drop,
                hold_id,
                extended_at,
                expires_at,
            }) => {
                expect("drop of the item", of_drop, drop_id)?;
                expect("hold of the item", hold_id, event.hold_id)?;
                expect("extended_at", extended_at, event.extended_at)?;
                expect("expires_at of the order", expires_at, event.expires_at)
            }
            Some(Due::Hold { .. } | Due::Purchase { .. } | Due::Release { .. } | Due::Goods(_))
            | None => Err(changed_alone(event.hold_id, order_id)),
        }
    }

    fn purchase_follows(&mut self, drop_id: DropId, event: &PurchaseConfirmed) -> Check {
        match self.orders.dues.events.pop_front() {
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
            Some(
                Due::Hold { .. } | Due::Extension { .. } | Due::Release { .. } | Due::Goods(_),
            )
            | None => Err(format!(
                "hold {} of an order was purchased without its order",
                event.hold_id
            )
            .into()),
        }
    }

    fn release_follows(&mut self, drop_id: DropId, event: &HoldReleased) -> Check {
        while let Some(due) = self.orders.dues.events.pop_front() {
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
                Due::Release { .. }
                | Due::Hold { .. }
                | Due::Extension { .. }
                | Due::Purchase { .. }
                | Due::Goods(_) => break,
            }
        }
        let hold = event.hold_id;
        Err(format!("hold {hold} was released with an order whose end it does not follow").into())
    }

    fn refund_follows(&mut self, drop_id: DropId, event: &PurchaseRefunded) -> Check {
        if let Some(Due::Goods(goods)) = self.orders.dues.events.front_mut()
            && goods.refund_id == event.refund_id
        {
            return goods.take(drop_id, event);
        }
        self.nothing_is_due()?;
        match self.orders.paid_by_provider(event.hold_id) {
            Some(order_id) => Err(format!(
                "hold {} of order {order_id} was refunded, but no return of its money precedes",
                event.hold_id
            )
            .into()),
            None => Ok(()),
        }
    }
}

fn changed_alone(hold_id: HoldId, order_id: OrderId) -> Fault {
    format!("hold {hold_id} of order {order_id} was changed alone").into()
}
