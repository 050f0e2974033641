//! Creators and products, follows and reminders of buyers, and the notifications that follow from
//! the log.
//!
//! ```text
//!  creators, products, follows, reminders: tables         (a shop's and its buyers' choices)
//!  notifications: a fold of the log, in memory            (equal on every server)
//!  a buyer's list = the notifications of all of their follows, merged when it is read
//! ```
//!
//! Promise: nothing is written for each follower: an event of a drop is one notification, however
//! many buyers follow its creator. Personal data is in the tables only, and an erasure deletes it.
//! Limit: the newest [`notifications::MOST_KEPT`] notifications of [`notifications::KEPT_DAYS`]
//! days.
//!
//! Sources: docs/decisions/0069-the-catalogue-has-tables.md,
//! docs/decisions/0070-notifications-fan-out-on-read.md.

pub mod drops;
mod merge;
pub mod notifications;
pub mod store;
pub mod variants;

use sqlx::PgPool;

use self::drops::DropsOf;
use self::notifications::Notifications;
use self::store::Store;

/// The catalogue of a server. Clones share it.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The tables of the shop and its buyers.
    pub store: Store,
    /// The drops of products and creators. Observes the engine.
    pub drops: DropsOf,
    /// A fold of the log. Observes the engine after its notices.
    pub notifications: Notifications,
}

impl Catalogue {
    /// The catalogue of the log in this database.
    #[must_use]
    pub fn new(pool: PgPool, drops: DropsOf, notifications: Notifications) -> Self {
        Self {
            store: Store::new(pool),
            drops,
            notifications,
        }
    }
}
