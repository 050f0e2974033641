//! Everything that one subscriber watches: drops, waitlist entries and orders.

use bytes::BytesMut;
use domain::values::{Position, Timestamp};
use projections::views::Views;

use super::entries::WatchedEntries;
use super::orders::WatchedOrders;
use super::subscriber::Watched;
use super::tick::Tick;
use crate::viewer::Viewer;

/// What one subscriber watches.
#[derive(Debug)]
pub(super) struct Subjects {
    pub(super) drops: Watched,
    pub(super) entries: WatchedEntries,
    pub(super) orders: WatchedOrders,
    /// The subscriber as a reader of drops.
    pub(super) viewer: Viewer,
}

impl Subjects {
    /// Drops only.
    #[cfg(test)]
    pub(super) fn drops(drops: Watched) -> Self {
        Self {
            drops,
            entries: WatchedEntries::default(),
            orders: WatchedOrders::default(),
            viewer: Viewer::Public,
        }
    }

    /// Returns true if it is drops only.
    pub(super) fn is_drops_only(&self) -> bool {
        self.entries.is_empty() && self.orders.is_empty()
    }

    /// Returns true if `tick` may change an entry or an order.
    pub(super) fn others_in(&self, tick: &Tick) -> bool {
        self.entries.any_in(tick) || self.orders.any_in(tick)
    }

    /// Writes a frame for each entry and order whose state differs from the one sent last. See
    /// [`WatchedEntries::write_changes`]; orders may have more to write.
    pub(super) fn write_others(
        &mut self,
        views: &Views,
        complete: Position,
        now: Timestamp,
        to: &mut BytesMut,
    ) {
        self.entries.write_changes(views, complete, now, to);
        self.orders.write_changes(views, complete, now, to);
    }
}
