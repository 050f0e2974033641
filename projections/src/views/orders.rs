//! Reads of orders.

use std::sync::Arc;

use domain::order::ShownStatus;
use domain::values::{BuyerId, HoldId, OrderId, Timestamp};
use infrastructure::quarantine::RefusedEvent;

use super::{ROWS_PER_LOCK, Views};
use crate::orders::{OrderFilter, OrderRow};

impl Views {
    /// Returns the order of a purchased hold, if it belongs to one.
    #[must_use]
    pub fn order_of_hold(&self, hold_id: HoldId) -> Option<OrderId> {
        self.read().orders.of_hold(hold_id)
    }

    /// Returns one order.
    #[must_use]
    pub fn order(&self, order_id: OrderId) -> Option<OrderRow> {
        self.read().orders.get(order_id).cloned()
    }

    /// Returns the shop's identifier of the buyer of an order; `None` after an erasure.
    #[must_use]
    pub fn buyer_of_order(&self, order_id: OrderId) -> Option<BuyerId> {
        let hot = self.read();
        let buyer = hot.orders.get(order_id)?.buyer.as_ref()?;
        Some(buyer.buyer_id.clone())
    }

    /// Returns those of `order_ids` that wait for their payment and whose deadline passed after
    /// `after`, at `until` at the latest.
    #[must_use]
    pub fn orders_over(
        &self,
        order_ids: &[OrderId],
        after: Timestamp,
        until: Timestamp,
    ) -> Vec<OrderId> {
        let is_over = |row: &OrderRow| {
            row.status == ShownStatus::Pending && after < row.expires_at && row.expires_at <= until
        };
        let mut over = vec![];
        for ids in order_ids.chunks(ROWS_PER_LOCK) {
            let hot = self.read();
            let ids = ids.iter().copied();
            over.extend(ids.filter(|&id| hot.orders.get(id).is_some_and(is_over)));
        }
        over
    }

    /// Returns the event that put this order into quarantine, if it is in quarantine.
    #[must_use]
    pub fn quarantine_of_order(&self, order_id: OrderId) -> Option<Arc<RefusedEvent>> {
        self.read().quarantined_orders.get(&order_id).cloned()
    }

    /// Returns at most `limit` orders as of `now`, newest first, starting after `after`. `None` if
    /// `after` is not an order.
    #[must_use]
    pub fn orders(
        &self,
        filter: &OrderFilter,
        after: Option<OrderId>,
        limit: usize,
        now: Timestamp,
    ) -> Option<Vec<(OrderId, OrderRow)>> {
        let mut before = match after {
            Some(after) => Some(self.order(after)?.placed_position),
            None => None,
        };
        let mut found = vec![];
        loop {
            let left = limit - found.len();
            let bounds = (ROWS_PER_LOCK, left);
            let slice = self.read().orders.slice(filter, before, bounds, now);
            found.extend(slice.found);
            before = slice.next;
            if found.len() >= limit || before.is_none() {
                return Some(found);
            }
        }
    }
}
