//! Orders on the SSE stream: `?orders=ID,ID` adds an event `order` when one of them changes.
//!
//! Promise: the present state of each order first, then every change that lasts longer than the
//! stream's interval, and always the last one; each as `GET /v1/orders/{id}` returns it to the
//! caller. A change of an unwatched order wakes no shard: the registry knows the watched
//! ones.
//! Limit: the authorization is checked when the stream starts. After the erasure of its buyer an
//! order is sent only to callers that do not need to be the buyer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, BytesMut};
use domain::order::ShownStatus;
use domain::values::{OrderId, Position, Timestamp};
use projections::orders::OrderRow;
use projections::views::Views;

use super::present::PIECE;
use super::tick::Tick;
use crate::orders::state::OrderBody;

/// The orders that are watched, each with the number of its subscribers. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<Mutex<HashMap<OrderId, usize>>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<OrderId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns those of `order_ids` that are watched.
    pub(super) fn among(&self, order_ids: impl IntoIterator<Item = OrderId>) -> Vec<OrderId> {
        let watched = self.lock();
        if watched.is_empty() {
            return vec![];
        }
        let ids = order_ids.into_iter();
        ids.filter(|id| watched.contains_key(id)).collect()
    }

    /// Returns every watched order.
    pub(super) fn all(&self) -> Vec<OrderId> {
        self.lock().keys().copied().collect()
    }
}

/// The caller whose view of the orders is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    pub(super) is_admin: bool,
    /// The caller may read the orders because they are the buyer.
    pub(super) is_buyer: bool,
}

/// The orders that one subscriber watches.
#[derive(Debug, Default)]
pub(super) struct WatchedOrders(Option<Box<Watching>>);

#[derive(Debug)]
struct Watching {
    registry: Registry,
    reader: Reader,
    orders: Vec<Watched>,
    /// Changes are left to be written, because a piece was full.
    has_more: bool,
}

#[derive(Debug)]
struct Watched {
    order_id: OrderId,
    /// The state that was sent last.
    sent: Option<Version>,
}

/// Identifies a state of an order. Every event of the order moves its position; an erasure and its
/// deadline do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    position: Position,
    status: ShownStatus,
    is_erased: bool,
}

impl Version {
    fn of(row: &OrderRow, now: Timestamp) -> Self {
        Self {
            position: row.position,
            status: row.status_at(now),
            is_erased: row.buyer.is_none(),
        }
    }
}

impl WatchedOrders {
    /// Watches these orders, which `reader` may read. From now on ticks contain their changes.
    pub(super) fn new(
        registry: &Registry,
        order_ids: impl IntoIterator<Item = OrderId>,
        reader: Reader,
    ) -> Self {
        let watched = |order_id| Watched {
            order_id,
            sent: None,
        };
        let orders: Vec<Watched> = order_ids.into_iter().map(watched).collect();
        if orders.is_empty() {
            return Self(None);
        }
        let mut counts = registry.lock();
        for watched in &orders {
            *counts.entry(watched.order_id).or_default() += 1;
        }
        drop(counts);
        Self(Some(Box::new(Watching {
            registry: registry.clone(),
            reader,
            orders,
            has_more: false,
        })))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns true if `tick` contains a change of any of the orders.
    pub(super) fn any_in(&self, tick: &Tick) -> bool {
        let Some(watching) = &self.0 else {
            return false;
        };
        let mut orders = watching.orders.iter();
        tick.has_orders() && orders.any(|watched| tick.contains_order(watched.order_id))
    }

    /// Returns true if the last piece was full, and changes are left to be written.
    pub(super) fn has_more(&self) -> bool {
        self.0.as_ref().is_some_and(|watching| watching.has_more)
    }

    /// Writes a frame for each order whose state differs from the one sent last, until the piece is
    /// full. The id is `complete`, the position up to which drops were sent: the order may be
    /// newer.
    pub(super) fn write_changes(
        &mut self,
        views: &Views,
        complete: Position,
        now: Timestamp,
        to: &mut BytesMut,
    ) {
        let Some(watching) = &mut self.0 else {
            return;
        };
        watching.has_more = false;
        let most = to.len() + PIECE;
        for watched in &mut watching.orders {
            let Some(row) = views.order(watched.order_id) else {
                continue;
            };
            let version = Version::of(&row, now);
            let may_read = !(watching.reader.is_buyer && version.is_erased);
            if watched.sent == Some(version) || !may_read {
                continue;
            }
            if to.len() >= most {
                watching.has_more = true;
                return;
            }
            let body = OrderBody::new(watched.order_id, row, now, watching.reader.is_admin);
            write_frame(to, &body, complete);
            watched.sent = Some(version);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut counts = self.registry.lock();
        for watched in &self.orders {
            if let Some(count) = counts.get_mut(&watched.order_id) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&watched.order_id);
                }
            }
        }
    }
}

fn write_frame(to: &mut BytesMut, order: &OrderBody, position: Position) {
    to.extend_from_slice(format!("event: order\nid: {position}\ndata: ").as_bytes());
    if let Err(error) = serde_json::to_writer((&mut *to).writer(), order) {
        // Not expected: as for drops.
        tracing::error!(%error, order.id = %order.id, "cannot serialize an order for the stream");
    }
    to.extend_from_slice(b"\n\n");
}
