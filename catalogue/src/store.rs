//! The tables of the catalogue: the shop's creators and products, and its buyers' choices.
//!
//! Promise: a page costs the same, however long its list is. The number of a creator's followers
//! changes with each follow, in the same transaction.
//! Limit: these reads and changes need the database.

mod cleanup;
mod creators;
mod follows;
mod products;
mod push_subscriptions;
mod reminders;
#[cfg(test)]
mod tests;

use domain::values::BuyerId;
use sqlx::{PgConnection, PgPool, Row as _};

pub use self::creators::{Creator, NewCreator};
pub use self::follows::{Choices, Follow, Follower, MOST_FOLLOWS, Start};
pub use self::products::{NewProduct, Product};
pub use self::push_subscriptions::{
    MOST_PUSH_SUBSCRIPTIONS, NewPushSubscription, PushSubscription, Subscribed,
};
pub use self::reminders::{MOST_REMINDERS, Reminder};

/// The tables. Clones use the same connections.
#[derive(Debug, Clone)]
pub struct Store(PgPool);

/// A buyer, and the right of the caller to act for them.
#[derive(Debug, Clone)]
pub struct Actor {
    pub buyer_id: BuyerId,
    /// The caller is this account of the shop: ids that only case folding makes equal to it are
    /// other accounts.
    pub is_account: bool,
}

/// The result of a buyer's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// Now or earlier.
    Done,
    /// No creator has the id.
    NotFound,
    /// The buyer has as many as are allowed.
    Full,
    /// The buyer is recorded as another account of the shop.
    OtherAccount,
}

impl Store {
    /// Returns the tables in this database.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self(pool)
    }
}

/// Locks the row of a buyer, which it adds if there is none. Returns false if the buyer is recorded
/// as another account.
async fn lock_buyer(connection: &mut PgConnection, actor: &Actor) -> Result<bool, sqlx::Error> {
    let account = actor.buyer_id.spelling();
    let row = sqlx::query(
        "INSERT INTO following_buyers (buyer, account, buyer_id) VALUES ($1, $2, $3) \
         ON CONFLICT (buyer) DO UPDATE SET account = following_buyers.account \
         RETURNING account",
    )
    .bind(&*actor.buyer_id.comparable())
    .bind(&*account)
    .bind(actor.buyer_id.as_str())
    .fetch_one(connection)
    .await?;
    let recorded: String = row.try_get("account")?;
    Ok(!actor.is_account || recorded == *account)
}

/// Locks the row of a buyer. Returns false if there is none, or if it is of another account.
async fn lock_known_buyer(
    connection: &mut PgConnection,
    actor: &Actor,
) -> Result<bool, sqlx::Error> {
    let account = sqlx::query_scalar::<_, String>(
        "SELECT account FROM following_buyers WHERE buyer = $1 FOR UPDATE",
    )
    .bind(&*actor.buyer_id.comparable())
    .fetch_optional(connection)
    .await?;
    let is_own = |account: &String| !actor.is_account || **account == *actor.buyer_id.spelling();
    Ok(account.as_ref().is_some_and(is_own))
}

/// Deletes those of these buyers that have no choice any more. Their rows are locked.
async fn forget_idle(connection: &mut PgConnection, buyers: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM following_buyers b WHERE b.buyer = ANY($1) \
            AND NOT EXISTS (SELECT 1 FROM follows f WHERE f.buyer = b.buyer) \
            AND NOT EXISTS (SELECT 1 FROM reminders r WHERE r.buyer = b.buyer) \
            AND NOT EXISTS (SELECT 1 FROM push_subscriptions s WHERE s.buyer = b.buyer)",
    )
    .bind(buyers)
    .execute(connection)
    .await?;
    Ok(())
}
