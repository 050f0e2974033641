//! Orders, in memory only, as holds are: with the buyer, the payment reference and the tracking,
//! which an erasure removes.
//!
//! Promise: a list is read from the index of its most selective filter, newest order first; an
//! erased buyer is in no index and in no row.
//! Limit: all orders are kept, at some 450 bytes, 70 for each item, and 300 for each payment
//! and 80 for each refund of units.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use domain::DropEvent;
use domain::event::{PurchaseRefunded, ReleaseCause};
use domain::order::{
    CancelCause, FulfilmentStep, OrderEvent, OrderItem, OrderPurchase, ShownStatus,
};
use domain::values::{
    BuyerId, DropId, HoldId, Money, OrderId, PaymentReference, Position, Quantity, RefundId,
    Timestamp, Tracking,
};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent};

use crate::buyers::BuyerRow;
use crate::order_payments::OrderPayments;

/// One order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRow {
    /// The position at which it was placed.
    pub placed_position: Position,
    /// The position of the last event of its order or, recorded with it, of its drops.
    pub position: Position,
    /// Those of an order that was paid late have the holds of the late sale.
    pub items: Vec<OrderItem>,
    /// In the order of the items; empty until it is paid.
    pub purchases: Vec<OrderPurchase>,
    /// Units refunded of each item; empty until it is paid.
    pub refunded: Vec<u32>,
    pub total: Money,
    pub placed_at: Timestamp,
    /// The deadline, as payments have moved it.
    pub expires_at: Timestamp,
    /// As recorded; see [`OrderRow::status_at`].
    pub status: ShownStatus,
    /// When it was paid, cancelled or expired.
    pub ended_at: Option<Timestamp>,
    pub cause: Option<CancelCause>,
    /// The payment arrived after the deadline.
    pub late: bool,
    /// `None`: unfulfilled.
    pub fulfilment: Option<FulfilmentStep>,
    pub fulfilled_at: Option<Timestamp>,
    /// `None` after an erasure.
    pub buyer: Option<BuyerRow>,
    /// `None` after an erasure, or if none was sent. Of a provider's payment, its intent's.
    pub payment_reference: Option<PaymentReference>,
    /// The refunds of its purchases, in the order of the log for each drop.
    pub returns: Vec<ReturnRow>,
    /// With payment providers, and the refunds of their money.
    pub payments: OrderPayments,
    /// `None` after an erasure, or if none was sent.
    pub tracking: Option<Tracking>,
}

impl OrderRow {
    /// The status as of `now`: an order past its deadline is expired, recorded or not.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> ShownStatus {
        let is_overdue = self.status == ShownStatus::Pending && now >= self.expires_at;
        match is_overdue {
            true => ShownStatus::Expired,
            false => self.status,
        }
    }

    /// Reports whether this reference paid the order, or is of money that bought nothing.
    fn has_reference(&self, reference: &PaymentReference) -> bool {
        let mut others = self.payments.references();
        self.payment_reference.as_ref() == Some(reference) || others.any(|of| of == reference)
    }
}

/// Units of an order that were refunded. Those of several items have one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnRow {
    pub refund_id: RefundId,
    pub hold_id: HoldId,
    pub quantity: Quantity,
    pub amount: Money,
    pub refunded_at: Timestamp,
}

/// The restrictions of a list.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    pub buyer_id: Option<BuyerId>,
    /// The buyer's id is an account of the shop: ids that only case folding makes equal to it are
    /// other accounts.
    pub is_account: bool,
    pub drop_id: Option<DropId>,
    pub status: Option<ShownStatus>,
    pub payment_reference: Option<PaymentReference>,
}

impl OrderFilter {
    fn accepts(&self, row: &OrderRow, now: Timestamp) -> bool {
        let is_buyers = |buyer_id: &BuyerId| {
            let buyer = row.buyer.as_ref().map(|buyer| &buyer.buyer_id);
            buyer.is_some_and(|buyer| match self.is_account {
                true => buyer.spelling() == buyer_id.spelling(),
                false => buyer.comparable() == buyer_id.comparable(),
            })
        };
        self.buyer_id.as_ref().is_none_or(is_buyers)
            && self
                .status
                .is_none_or(|status| row.status_at(now) == status)
            && self
                .drop_id
                .is_none_or(|drop_id| row.items.iter().any(|item| item.drop_id == drop_id))
            && self
                .payment_reference
                .as_ref()
                .is_none_or(|reference| row.has_reference(reference))
    }
}

/// The positions at which orders were placed.
type Index = BTreeSet<Position>;

/// All orders, and the indexes of their lists.
#[derive(Debug, Default)]
pub struct Orders {
    rows: HashMap<OrderId, OrderRow>,
    by_position: BTreeMap<Position, OrderId>,
    by_buyer: HashMap<Box<str>, Index>,
    by_drop: HashMap<DropId, Index>,
    by_status: HashMap<ShownStatus, Index>,
    by_reference: HashMap<Box<str>, Index>,
    /// The orders of purchased holds, whose refunds are recorded in their drops.
    of_holds: HashMap<HoldId, OrderId>,
}

/// Orders that were looked at, and the position to continue before; `None` at the end.
pub(crate) struct OrderSlice {
    pub(crate) found: Vec<(OrderId, OrderRow)>,
    pub(crate) next: Option<Position>,
}

impl Orders {
    /// Returns the order of a purchased hold, if it belongs to one.
    #[must_use]
    pub fn of_hold(&self, hold_id: HoldId) -> Option<OrderId> {
        self.of_holds.get(&hold_id).copied()
    }

    #[must_use]
    pub fn get(&self, order_id: OrderId) -> Option<&OrderRow> {
        self.rows.get(&order_id)
    }

    /// Looks at no more than `most` orders that were placed before `before`, newest first.
    pub(crate) fn slice(
        &self,
        filter: &OrderFilter,
        before: Option<Position>,
        (most, limit): (usize, usize),
        now: Timestamp,
    ) -> OrderSlice {
        let nothing = Index::new();
        let index = self.index_of(filter).map(|index| index.unwrap_or(&nothing));
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Unbounded, end);
        let positions: Vec<Position> = match index {
            Some(index) => index.range(range).rev().take(most).copied().collect(),
            None => {
                let all = self.by_position.range(range).rev().take(most);
                all.map(|(position, _)| *position).collect()
            }
        };
        let mut slice = OrderSlice {
            found: vec![],
            next: positions
                .last()
                .copied()
                .filter(|_| positions.len() == most),
        };
        for position in positions {
            let Some(order_id) = self.by_position.get(&position) else {
                continue;
            };
            if let Some(row) = self.rows.get(order_id)
                && filter.accepts(row, now)
            {
                slice.found.push((*order_id, row.clone()));
                if slice.found.len() == limit {
                    slice.next = Some(position);
                    break;
                }
            }
        }
        slice
    }

    /// The index of the most selective filter: `None` without a filter, `Some(None)` if nothing
    /// matches it.
    fn index_of(&self, filter: &OrderFilter) -> Option<Option<&Index>> {
        if let Some(reference) = &filter.payment_reference {
            return Some(self.by_reference.get(reference.as_str()));
        }
        if let Some(buyer_id) = &filter.buyer_id {
            return Some(self.by_buyer.get(&*buyer_id.comparable()));
        }
        if let Some(drop_id) = &filter.drop_id {
            return Some(self.by_drop.get(drop_id));
        }
        // An order past its deadline has its index changed when the expiry is recorded.
        let status = filter
            .status
            .filter(|status| *status != ShownStatus::Expired)?;
        Some(self.by_status.get(&status))
    }

    /// Applies an event; `last` is the position of the last event of its batch.
    pub(crate) fn apply(&mut self, recorded: &RecordedOrderEvent, last: Position) {
        let (order_id, position) = (recorded.order_id, recorded.position);
        let private = recorded.private.as_ref();
        if let OrderEvent::OrderPlaced(event) = &recorded.event {
            let buyer = private.and_then(|private| {
                Some(BuyerRow {
                    buyer_id: private.buyer_id.clone()?,
                    display_name: private.display_name.clone(),
                })
            });
            if let Some(buyer) = &buyer {
                let index = self
                    .by_buyer
                    .entry(buyer.buyer_id.comparable().as_ref().into());
                index.or_default().insert(position);
            }
            for item in &event.items {
                self.by_drop
                    .entry(item.drop_id)
                    .or_default()
                    .insert(position);
            }
            let pending = self.by_status.entry(ShownStatus::Pending);
            pending.or_default().insert(position);
            self.by_position.insert(position, order_id);
            let row = OrderRow {
                placed_position: position,
                position: last,
                items: event.items.clone(),
                purchases: vec![],
                refunded: vec![],
                total: event.total,
                placed_at: event.placed_at,
                expires_at: event.expires_at,
                status: ShownStatus::Pending,
                ended_at: None,
                cause: None,
                late: false,
                fulfilment: None,
                fulfilled_at: None,
                buyer,
                payment_reference: None,
                returns: vec![],
                payments: OrderPayments::default(),
                tracking: None,
            };
            self.rows.insert(order_id, row);
            return;
        }
        let Some(row) = self.rows.get_mut(&order_id) else {
            return;
        };
        row.position = last;
        row.payments.apply(recorded);
        let (placed, before) = (row.placed_position, row.status);
        match &recorded.event {
            OrderEvent::OrderPlaced(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => {}
            OrderEvent::PaymentStarted(event) => row.expires_at = event.expires_at,
            OrderEvent::PaymentSucceeded(_) => {
                let reference = private.and_then(|private| private.payment_reference.as_ref());
                if let Some(reference) = reference {
                    let index = self.by_reference.entry(reference.as_str().into());
                    index.or_default().insert(placed);
                }
            }
            OrderEvent::OrderPaid(event) => {
                // A late sale has holds of its own.
                for (item, purchase) in row.items.iter_mut().zip(&event.purchases) {
                    item.hold_id = purchase.hold_id;
                }
                row.status = ShownStatus::Paid;
                row.ended_at = Some(event.paid_at);
                row.late = event.late;
                row.purchases.clone_from(&event.purchases);
                row.refunded = vec![0; row.items.len()];
                let holds = row.items.iter().map(|item| (item.hold_id, order_id));
                self.of_holds.extend(holds);
                row.payment_reference =
                    private.and_then(|private| private.payment_reference.clone());
                if let Some(reference) = &row.payment_reference {
                    let index = self.by_reference.entry(reference.as_str().into());
                    index.or_default().insert(placed);
                }
            }
            OrderEvent::OrderCancelled(event) => {
                row.status = ShownStatus::Cancelled;
                row.ended_at = Some(event.cancelled_at);
                row.cause = Some(event.cause);
            }
            OrderEvent::OrderExpired(event) => {
                row.status = ShownStatus::Expired;
                row.ended_at = Some(event.expired_at);
            }
            OrderEvent::OrderFulfilled(event) => {
                row.fulfilment = Some(event.fulfilment);
                row.fulfilled_at = Some(event.fulfilled_at);
                let tracking = private.and_then(|private| private.tracking.clone());
                row.tracking = tracking.or(row.tracking.take());
            }
        }
        let after = row.status;
        self.move_to(placed, before, after);
    }

    fn move_to(&mut self, placed: Position, before: ShownStatus, after: ShownStatus) {
        if before != after {
            remove_from(&mut self.by_status, &before, placed);
            self.by_status.entry(after).or_default().insert(placed);
        }
    }

    /// Applies a refund of a purchase, if the purchase belongs to an order.
    pub(crate) fn refund(&mut self, event: &PurchaseRefunded, position: Position) {
        let Some(order_id) = self.of_holds.get(&event.hold_id) else {
            return;
        };
        let Some(row) = self.rows.get_mut(order_id) else {
            return;
        };
        let mut items = row.items.iter().zip(&mut row.refunded);
        if let Some((_, refunded)) = items.find(|(item, _)| item.hold_id == event.hold_id) {
            *refunded += event.quantity.get();
        }
        row.returns.push(ReturnRow {
            refund_id: event.refund_id,
            hold_id: event.hold_id,
            quantity: event.quantity,
            amount: event.amount,
            refunded_at: event.refunded_at,
        });
        row.position = row.position.max(position);
        let (placed, before) = (row.placed_position, row.status);
        row.status = status_of_paid(row);
        let after = row.status;
        self.move_to(placed, before, after);
    }

    /// Forgets the refunds of a drop, whose events are applied from the first again.
    pub(crate) fn forget_refunds(&mut self, drop_id: DropId) {
        let positions: Vec<Position> = self
            .by_drop
            .get(&drop_id)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for placed in positions {
            let order_id = self.by_position.get(&placed);
            let Some(row) = order_id.and_then(|order_id| self.rows.get_mut(order_id)) else {
                continue;
            };
            if row.refunded.is_empty() {
                continue;
            }
            for (item, refunded) in row.items.iter().zip(&mut row.refunded) {
                if item.drop_id == drop_id {
                    *refunded = 0;
                    row.returns.retain(|made| made.hold_id != item.hold_id);
                }
            }
            let before = row.status;
            row.status = status_of_paid(row);
            let after = row.status;
            self.move_to(placed, before, after);
        }
    }

    /// Removes everything that identifies the buyer of an order.
    pub(crate) fn forget(&mut self, order_id: OrderId) {
        let Some(row) = self.rows.get_mut(&order_id) else {
            return;
        };
        let placed = row.placed_position;
        if let Some(buyer) = row.buyer.take() {
            let name: Box<str> = buyer.buyer_id.comparable().as_ref().into();
            remove_from(&mut self.by_buyer, &name, placed);
        }
        let of_order = row.payment_reference.take();
        for reference in of_order.iter().chain(row.payments.references()) {
            remove_from(&mut self.by_reference, &reference.as_str().into(), placed);
        }
        row.payments.forget();
        row.tracking = None;
    }

    /// Removes an order that is in quarantine.
    pub(crate) fn remove(&mut self, order_id: OrderId) {
        self.forget(order_id);
        let Some(row) = self.rows.remove(&order_id) else {
            return;
        };
        let placed = row.placed_position;
        for item in &row.items {
            self.of_holds.remove(&item.hold_id);
        }
        self.by_position.remove(&placed);
        remove_from(&mut self.by_status, &row.status, placed);
        for item in &row.items {
            remove_from(&mut self.by_drop, &item.drop_id, placed);
        }
    }
}

/// The status of a paid order by the refunds of its items.
fn status_of_paid(row: &OrderRow) -> ShownStatus {
    let mut items = row.items.iter().zip(&row.refunded);
    if row.refunded.iter().all(|units| *units == 0) {
        ShownStatus::Paid
    } else if items.all(|(item, units)| *units == item.quantity.get()) {
        ShownStatus::Refunded
    } else {
        ShownStatus::PartiallyRefunded
    }
}

/// The position of the last event that was recorded with an event of an order: the events of its
/// drops follow it.
pub(crate) fn last_of_batch(recorded: &RecordedOrderEvent, events: &[RecordedEvent]) -> Position {
    let belongs = |event: &DropEvent| match (&recorded.event, event) {
        (OrderEvent::OrderPlaced(_), DropEvent::HoldPlaced(hold)) => {
            hold.order_id == Some(recorded.order_id)
        }
        (OrderEvent::PaymentStarted(started), DropEvent::HoldExtended(event)) => {
            (event.extended_at, event.expires_at) == (started.started_at, started.expires_at)
        }
        (OrderEvent::OrderPaid(paid), DropEvent::HoldPlaced(hold)) => {
            paid.late && hold.order_id == Some(recorded.order_id)
        }
        (OrderEvent::RefundRequested(refund), DropEvent::PurchaseRefunded(event)) => {
            event.refund_id == refund.refund_id
        }
        (OrderEvent::OrderPaid(paid), DropEvent::PurchaseConfirmed(event)) => {
            let mut purchases = paid.purchases.iter();
            purchases.any(|purchase| purchase.purchase_id == event.purchase_id)
        }
        (OrderEvent::OrderCancelled(_), DropEvent::HoldReleased(event)) => {
            event.cause == ReleaseCause::OrderCancelled
        }
        _ => false,
    };
    let start = events.partition_point(|event| event.position <= recorded.position);
    let mut last = recorded.position;
    for event in &events[start..] {
        if event.position != last.next() || !belongs(&event.event) {
            break;
        }
        last = event.position;
    }
    last
}

fn remove_from<K: std::hash::Hash + Eq>(indexes: &mut HashMap<K, Index>, key: &K, at: Position) {
    if let Some(index) = indexes.get_mut(key) {
        index.remove(&at);
        if index.is_empty() {
            indexes.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
