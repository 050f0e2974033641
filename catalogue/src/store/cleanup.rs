//! Deletes the follows of deleted creators, in batches: a creator may have a million.
//!
//! Promise: after a crash at any step, any server continues. Nothing reads these rows meanwhile,
//! because every read begins at a creator that exists.

use std::time::Duration;

use sqlx::Row as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{Store, forget_idle};

/// Follows that one transaction deletes.
const BATCH: i64 = 1_000;
/// The pause after the last batch, until deleted creators are looked for again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Store {
    /// Cleans up after deleted creators until `stop`.
    pub async fn clean_up(self, stop: CancellationToken) {
        let mut is_away = false;
        loop {
            let pause = match self.clean_batch().await {
                Ok(true) => continue,
                Ok(false) => {
                    is_away = false;
                    LOOK_EVERY
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        warn!(%error, "cannot delete the follows of deleted creators; retrying");
                    }
                    LOOK_EVERY
                }
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Deletes a batch of follows of a deleted creator that no other server works on. Returns true
    /// if there may be more.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub(super) async fn clean_batch(&self) -> Result<bool, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let creator = sqlx::query_scalar::<_, Uuid>(
            "SELECT creator FROM deleted_creators ORDER BY deleted_at LIMIT 1 \
                FOR UPDATE SKIP LOCKED",
        );
        let Some(creator) = creator.fetch_optional(&mut *transaction).await? else {
            return Ok(false);
        };
        // In the order of the buyers, as every other batch.
        let locked = sqlx::query(
            "SELECT b.buyer FROM following_buyers b \
              WHERE b.buyer IN (SELECT f.buyer FROM follows f WHERE f.creator = $1 LIMIT $2) \
              ORDER BY b.buyer FOR UPDATE",
        )
        .bind(creator)
        .bind(BATCH)
        .fetch_all(&mut *transaction)
        .await?;
        let buyers = locked.iter().map(|row| row.try_get(0));
        let buyers = buyers.collect::<Result<Vec<String>, _>>()?;
        if buyers.is_empty() {
            for sql in [
                "DELETE FROM follows WHERE creator = $1",
                "DELETE FROM creator_followers WHERE creator = $1",
                "DELETE FROM deleted_creators WHERE creator = $1",
            ] {
                sqlx::query(sql)
                    .bind(creator)
                    .execute(&mut *transaction)
                    .await?;
            }
        } else {
            sqlx::query("DELETE FROM follows WHERE creator = $1 AND buyer = ANY($2)")
                .bind(creator)
                .bind(&buyers)
                .execute(&mut *transaction)
                .await?;
            forget_idle(&mut transaction, &buyers).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}
