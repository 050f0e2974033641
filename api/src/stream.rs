//! The SSE stream: server-sent events that carry state, not changes.
//!
//! Promise: a subscriber is sent the present state of every drop that it watches, then the newest
//! state after each change. A subscriber that is slow or was disconnected skips states, but never
//! the last one. Each change is serialized once for all subscribers. Limit: a drop is sent at most
//! once per interval; the states in between are in the log.
//!
//! ```text
//!  commit ─▶ changed drops ─immediately─▶ one tick ─broadcast─▶ shards
//!                             shards ─at most once per interval─▶ sockets
//!  (behind: only the newest state of each drop; far behind: a resync)
//! ```

mod entries;
pub(crate) mod framing;
mod hub;
mod orders;
mod present;
mod shard;
mod subjects;
mod subscriber;
mod tick;
pub(crate) mod watch;

use std::io;

use projections::views::Views;

pub(crate) use self::hub::Permit;
pub use self::hub::StreamHub;
pub use self::shard::StreamShard;
pub(crate) use self::shard::{HEARTBEAT_INTERVAL, Pipe};
use crate::connections::Socket;

/// Returns a hub for at most `max_subscribers`, and its shards, each of which runs as one task.
#[must_use]
pub fn open(views: &Views, max_subscribers: usize, shards: usize) -> (StreamHub, Vec<StreamShard>) {
    let (hub, inboxes) = StreamHub::with_inboxes(max_subscribers, shards.max(1));
    let shard = |inbox| StreamShard::new(&hub, views.clone(), inbox);
    let shards = inboxes.into_iter().map(shard).collect();
    (hub, shards)
}

impl Pipe for Socket {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn is_gone(&self) -> bool {
        Self::is_gone(self)
    }

    fn discard(&self) {
        Self::discard(self);
    }
}

#[cfg(test)]
mod tests;
