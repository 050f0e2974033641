//! A buyer's follows, reminders and subscriptions for Web Push, which an erasure deletes.
//!
//! Here and not in the crate of these tables, because an administrator can erase a buyer with the
//! command line alone.

use sqlx::{Connection as _, PgConnection};

/// Deletes the choices of a buyer, who is then not counted among the followers.
pub(super) async fn delete(
    connection: &mut PgConnection,
    comparable: &str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for sql in [
        // A follow that is being recorded is awaited, and deleted below.
        "SELECT FROM following_buyers WHERE buyer = $1 FOR UPDATE",
        // In one order, so that two erasures do not wait for each other.
        "SELECT FROM creator_followers c JOIN follows f ON f.creator = c.creator \
          WHERE f.buyer = $1 ORDER BY c.creator, c.shard FOR UPDATE OF c",
        "UPDATE creator_followers c SET followers = c.followers - 1 FROM follows f \
          WHERE f.buyer = $1 AND c.creator = f.creator AND c.shard = f.shard",
        "DELETE FROM follows WHERE buyer = $1",
        "DELETE FROM reminders WHERE buyer = $1",
        // With them go the messages that are still to be sent.
        "DELETE FROM push_subscriptions WHERE buyer = $1",
        "DELETE FROM following_buyers WHERE buyer = $1",
    ] {
        sqlx::query(sql)
            .bind(comparable)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}
