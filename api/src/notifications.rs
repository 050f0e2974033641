//! A buyer's notifications: the list, and the stream.
//!
//! Promise: a notification is serialized once for all of its readers. A stream that resumes after
//! its last `id:` misses none and repeats none, on any server. Streams cost no reads of the
//! database while nothing is followed: each shard has the choices of its buyers in memory.
//! Limit: a choice that is made on another server is known within [`hub::REFRESH`]. A client that
//! accepts nothing for long is disconnected, and resumes.
//!
//! ```text
//!  commit ─▶ notifications ─position─▶ shards ─index by creator, drop, buyer─▶ sockets
//!  follow ─▶ table ─▶ reload of the buyer's choices ───▶ shards
//! ```

mod body;
mod hub;
pub(crate) mod list;
mod queue;
mod shard;
pub(crate) mod watch;

pub(crate) use self::body::{NotificationBody, TYPES};
pub use self::hub::NotificationHub;
pub use self::shard::NotificationShard;

use ::catalogue::notifications::{Notifications, Sources};
use ::catalogue::store::{Actor, Choices};
use projections::orders::OrderFilter;
use projections::views::Views;

/// The orders of a buyer whose notifications are shown: the newest.
const MOST_ORDERS: usize = 200;

/// Returns a hub and its shards, each of which runs as one task.
#[must_use]
pub fn open(
    notifications: &Notifications,
    views: &Views,
    shards: usize,
) -> (NotificationHub, Vec<NotificationShard>) {
    let (hub, inboxes) = NotificationHub::with_inboxes(shards.max(1));
    let shard = |inbox| NotificationShard::new(&hub, notifications.clone(), views.clone(), inbox);
    let shards = inboxes.into_iter().map(shard).collect();
    (hub, shards)
}

/// Returns the sources of a buyer's notifications, with these choices.
fn sources(views: &Views, actor: &Actor, choices: Choices) -> Sources {
    let filter = OrderFilter {
        buyer_id: Some(actor.buyer_id.clone()),
        is_account: actor.is_account,
        ..OrderFilter::default()
    };
    // The time matters only to a filter by status.
    let orders = views.orders(&filter, None, MOST_ORDERS, Default::default());
    let orders = orders.unwrap_or_default().into_iter();
    Sources {
        creators: choices.creators,
        drops: choices.drops,
        buyers: views.pseudonyms(&actor.buyer_id, actor.is_account),
        orders: orders.map(|(order_id, _)| order_id).collect(),
    }
}
