//! The engine's orders: each order's aggregate, and the indexes that find it by key and by hold.
//!
//! Promise: `apply` in log order gives the same state on every node, and `revert` is its exact
//! inverse, newest event first, except for the orders that are noted to have an ended hold, which
//! are hints: the aggregates decide if anything follows. Personal data is kept only as digests, see
//! [`super::buyer_index`].
//! Limit: an order is kept for ever, with its items: some 300 bytes, and 60 for each item. Only the
//! holds of pending orders are indexed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::event::DropEvent;
use domain::order::{Before, Order, OrderEvent, OrderStatus};
use domain::private::Private;
use domain::values::{
    BuyerId, HoldId, KeyDigest, OrderId, PaymentReference, Position, Sequence, Tracking,
};
use infrastructure::quarantine::RefusedEvent;

use super::buyer_index::{DigestKey, NameDigest, TextDigest};

#[derive(Debug, Default)]
pub(super) struct OrderState {
    pub(super) aggregate: Order,
    /// `None` once erased.
    buyer: Option<NameDigest>,
    payment: Option<TextDigest>,
    /// The tracking that was recorded last.
    tracking: Option<TextDigest>,
}

impl OrderState {
    /// Reports whether this buyer placed the order.
    pub(super) fn is_of(&self, buyer_id: &BuyerId, key: DigestKey) -> bool {
        self.buyer == Some(key.name(&buyer_id.spelling()))
    }

    /// Reports whether the order is known to have been paid with this reference.
    pub(super) fn was_paid_by(&self, reference: &PaymentReference, key: DigestKey) -> bool {
        self.payment == Some(key.text(reference.as_str()))
    }

    /// Reports whether this tracking is known to have been recorded last.
    pub(super) fn is_tracked_by(&self, tracking: &Tracking, key: DigestKey) -> bool {
        self.tracking == Some(key.text(tracking.as_str()))
    }
}

/// What [`Orders::revert`] needs to undo an event.
#[derive(Debug)]
pub(super) struct OrderUndo {
    before: Before,
    payment: Option<TextDigest>,
    tracking: Option<TextDigest>,
}

#[derive(Debug, Default)]
pub(super) struct Orders {
    orders: HashMap<OrderId, OrderState>,
    keys: HashMap<KeyDigest, OrderId>,
    /// Of pending orders.
    of_holds: HashMap<HoldId, OrderId>,
    /// Pending orders of which a hold has ended, so that the order may have to end as well.
    ended: BTreeSet<OrderId>,
    quarantined: BTreeMap<OrderId, Arc<RefusedEvent>>,
}

impl Orders {
    pub(super) fn get(&self, order_id: OrderId) -> Option<&OrderState> {
        self.orders.get(&order_id)
    }

    /// The order that was placed with this key.
    pub(super) fn placed_with(&self, key: KeyDigest) -> Option<(OrderId, &OrderState)> {
        let order_id = *self.keys.get(&key)?;
        self.orders.get(&order_id).map(|order| (order_id, order))
    }

    /// Reports whether an order may have to end because one of its holds has.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The next order that may have to end. Each is returned once.
    pub(super) fn next_ended(&mut self) -> Option<OrderId> {
        self.ended.pop_first()
    }

    /// Notes the order whose hold an event of a drop has ended.
    pub(super) fn note(&mut self, event: &DropEvent) {
        self.ended.extend(self.ended_by(event));
    }

    /// The pending order whose hold an event of a drop ends.
    pub(super) fn ended_by(&self, event: &DropEvent) -> Option<OrderId> {
        if self.of_holds.is_empty() {
            return None;
        }
        let hold_id = if let DropEvent::HoldExpired(event) = event {
            event.hold_id
        } else if let DropEvent::HoldReleased(event) = event {
            event.hold_id
        } else {
            return None;
        };
        self.of_holds.get(&hold_id).copied()
    }

    /// Takes the note of an order back: it is looked at now.
    pub(super) fn take_note(&mut self, order_id: OrderId) {
        self.ended.remove(&order_id);
    }

    pub(super) fn next_sequence(&self, order_id: OrderId) -> Sequence {
        let order = self.orders.get(&order_id);
        order
            .map_or(Sequence::default(), |order| order.aggregate.sequence())
            .next()
    }

    pub(super) fn apply(
        &mut self,
        order_id: OrderId,
        event: &OrderEvent,
        private: Option<&Private>,
        key: DigestKey,
    ) -> OrderUndo {
        let order = self.orders.entry(order_id).or_default();
        let undo = OrderUndo {
            before: order.aggregate.before(event),
            payment: order.payment,
            tracking: order.tracking,
        };
        order.aggregate.evolve(event);
        match event {
            OrderEvent::OrderPlaced(event) => {
                let buyer_id = private.and_then(|private| private.buyer_id.as_ref());
                order.buyer = buyer_id.map(|buyer_id| key.name(&buyer_id.spelling()));
                if let Some(used) = event.key {
                    self.keys.entry(used).or_insert(order_id);
                }
                let holds = event.items.iter().map(|item| (item.hold_id, order_id));
                self.of_holds.extend(holds);
            }
            OrderEvent::OrderPaid(_) => {
                let reference = private.and_then(|private| private.payment_reference.as_ref());
                order.payment = reference.map(|reference| key.text(reference.as_str()));
                self.settle(order_id);
            }
            OrderEvent::OrderCancelled(_) | OrderEvent::OrderExpired(_) => self.settle(order_id),
            OrderEvent::OrderFulfilled(_) => {
                let tracking = private.and_then(|private| private.tracking.as_ref());
                let tracking = tracking.map(|tracking| key.text(tracking.as_str()));
                order.tracking = tracking.or(order.tracking);
            }
            // The order's own state has all that decisions need.
            OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => {}
        }
        undo
    }

    /// An order ended: nothing follows from its holds any more.
    fn settle(&mut self, order_id: OrderId) {
        self.ended.remove(&order_id);
        if let Some(order) = self.orders.get(&order_id) {
            for item in order.aggregate.items() {
                self.of_holds.remove(&item.hold_id);
            }
        }
    }

    /// Reverts the event that was applied last.
    pub(super) fn revert(&mut self, order_id: OrderId, event: &OrderEvent, undo: OrderUndo) {
        if let OrderEvent::OrderPlaced(event) = event {
            self.orders.remove(&order_id);
            self.ended.remove(&order_id);
            if let Some(used) = event.key {
                self.keys.remove(&used);
            }
            for item in &event.items {
                self.of_holds.remove(&item.hold_id);
            }
            return;
        }
        let Some(order) = self.orders.get_mut(&order_id) else {
            return;
        };
        let has_ended = !order.aggregate.is_pending();
        let was_pending = undo.before.progress().status == OrderStatus::Pending;
        order.aggregate.revert(event, undo.before);
        (order.payment, order.tracking) = (undo.payment, undo.tracking);
        if was_pending && has_ended {
            let items = order.aggregate.items().iter();
            self.of_holds
                .extend(items.map(|item| (item.hold_id, order_id)));
            // The hold whose end it followed may be of an earlier batch.
            self.ended.insert(order_id);
        }
    }

    /// Erases the buyer and the references of an order.
    pub(super) fn forget(&mut self, order_id: OrderId) {
        if let Some(order) = self.orders.get_mut(&order_id) {
            (order.buyer, order.payment, order.tracking) = (None, None, None);
        }
    }

    /// Skips an event without effect; it keeps its sequence in the stream.
    pub(super) fn skip_void(&mut self, order_id: OrderId, sequence: Sequence) {
        let order = self.orders.entry(order_id).or_default();
        order.aggregate.skip_void(sequence);
    }

    /// The event that put an order into quarantine.
    pub(super) fn quarantined(&self, order_id: OrderId) -> Option<Position> {
        let refused = self.quarantined.get(&order_id)?;
        Some(refused.position)
    }

    /// Puts an order into quarantine: nothing more is decided about it. Its holds stay with their
    /// drops.
    pub(super) fn quarantine(&mut self, order_id: OrderId, refused: Arc<RefusedEvent>) {
        self.settle(order_id);
        self.quarantined.insert(order_id, refused);
    }

    /// The orders in quarantine, and the event that put each there.
    pub(super) fn all_quarantined(&self) -> impl Iterator<Item = (OrderId, &RefusedEvent)> {
        let all = self.quarantined.iter();
        all.map(|(order_id, refused)| (*order_id, &**refused))
    }

    /// Takes an order out of quarantine, without state: its events are applied again from the
    /// first. Returns the event that had put it there.
    pub(super) fn readmit(&mut self, order_id: OrderId) -> Option<Arc<RefusedEvent>> {
        self.settle(order_id);
        self.orders.remove(&order_id);
        self.quarantined.remove(&order_id)
    }

    /// Notes an order that is pending: one of its holds may have ended while it was not followed.
    pub(super) fn note_pending(&mut self, order_id: OrderId) {
        let order = self.orders.get(&order_id);
        if order.is_some_and(|order| order.aggregate.is_pending()) {
            self.ended.insert(order_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::order::{CancelCause, FulfilmentStep};
    use domain::testing::{
        hold_expired, order_cancelled, order_expired, order_fulfilled, order_id, order_item,
        order_paid, order_placed,
    };

    use super::*;

    /// The indexes and aggregates, without the hints.
    fn state_of(orders: &Orders) -> String {
        let sorted: BTreeMap<_, _> = orders.orders.iter().collect();
        let holds: BTreeMap<_, _> = orders.of_holds.iter().collect();
        format!("{sorted:?} {holds:?} {}", orders.keys.len())
    }

    #[test]
    fn revert_is_the_inverse_of_apply() {
        let items = [order_item("d1", "h1", 1), order_item("d2", "h2", 2)];
        let ends = [
            vec![
                order_paid(items),
                order_fulfilled(FulfilmentStep::Processing),
                order_fulfilled(FulfilmentStep::Shipped),
            ],
            vec![order_cancelled(CancelCause::Buyer)],
            vec![order_expired()],
        ];
        for end in ends {
            let (mut orders, key, id) = (Orders::default(), DigestKey::default(), order_id("o"));
            let history: Vec<OrderEvent> = [order_placed(items)].into_iter().chain(end).collect();
            let mut applied = vec![];
            for event in &history {
                let before = state_of(&orders);
                applied.push((before, event, orders.apply(id, event, None, key)));
            }
            assert!(
                orders.of_holds.is_empty(),
                "an order that ended has no indexed hold"
            );
            for (before, event, undo) in applied.into_iter().rev() {
                orders.revert(id, event, undo);
                assert_eq!(state_of(&orders), before, "{event:?}");
            }
        }
    }

    #[test]
    fn ended_hold_of_a_pending_order_is_noted_once() {
        let (mut orders, key, id) = (Orders::default(), DigestKey::default(), order_id("o"));
        let items = [order_item("d1", "h1", 1), order_item("d2", "h2", 2)];
        orders.note(&hold_expired("h1", 1));
        assert!(!orders.has_ended());
        orders.apply(id, &order_placed(items), None, key);
        orders.note(&hold_expired("h9", 1));
        assert!(!orders.has_ended());
        orders.note(&hold_expired("h1", 1));
        orders.note(&hold_expired("h2", 2));
        assert_eq!((orders.next_ended(), orders.next_ended()), (Some(id), None));
        orders.note(&hold_expired("h2", 2));
        orders.apply(id, &order_expired(), None, key);
        orders.note(&hold_expired("h1", 1));
        assert!(!orders.has_ended());
    }
}
