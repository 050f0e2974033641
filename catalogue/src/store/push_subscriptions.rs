//! Subscriptions of buyers' browsers for Web Push (the Push API of W3C).
//!
//! Promise: a browser has one subscription, of the buyer who subscribed last: one who leaves a
//! shared computer to another buyer is sent nothing there any more. A buyer's limit is exact.
//! Limit: a subscription ends here when its browser says so, or when the push service has
//! forgotten it.

use std::fmt;

use chrono::{DateTime, Utc};
use domain::values::Timestamp;
use infrastructure::sql_values::time_in;
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Actor, Store, forget_idle, lock_buyer, lock_known_buyer};

/// The most browsers in which a buyer is notified.
pub const MOST_PUSH_SUBSCRIPTIONS: u32 = 20;

/// A subscription to add. It is personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPushSubscription {
    /// The address at the push service. Knowing it is the right to send to it.
    pub endpoint: String,
    /// The browser's public key, an uncompressed point of P-256.
    pub public_key: [u8; 65],
    /// The browser's authentication secret.
    pub auth: [u8; 16],
    /// The shop's public key that the browser subscribed for.
    pub vapid_key: Vec<u8>,
    pub expires_at: Option<Timestamp>,
    /// Messages may have ids of orders, which are the right to cancel them.
    pub sees_ids: bool,
}

impl fmt::Debug for NewPushSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPushSubscription")
    }
}

/// A recorded subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushSubscription {
    pub id: Uuid,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// This request has added it.
    pub is_new: bool,
}

/// The result of a request to subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// Now or earlier.
    Done(PushSubscription),
    /// The buyer has as many as are allowed.
    Full,
    /// The buyer is recorded as another account of the shop.
    OtherAccount,
}

fn digest_of(endpoint: &str) -> Vec<u8> {
    Sha256::digest(endpoint).to_vec()
}

impl Store {
    /// Records the subscription of a browser of a buyer.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn subscribe(
        &self,
        actor: &Actor,
        new: &NewPushSubscription,
    ) -> Result<Subscribed, sqlx::Error> {
        let buyer = actor.buyer_id.comparable();
        let digest = digest_of(&new.endpoint);
        let mut transaction = self.0.begin().await?;
        if !lock_buyer(&mut transaction, actor).await? {
            return Ok(Subscribed::OtherAccount);
        }
        // With it go the messages to the buyer that used this browser before.
        sqlx::query("DELETE FROM push_subscriptions WHERE endpoint_digest = $1 AND buyer <> $2")
            .bind(&digest)
            .bind(&*buyer)
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query(
            "INSERT INTO push_subscriptions AS s (id, endpoint_digest, endpoint, public_key, auth, \
                 vapid_key, buyer, account, sees_ids, expires_at, position) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, h.position FROM log_head h \
             ON CONFLICT (endpoint_digest) DO UPDATE SET public_key = EXCLUDED.public_key, \
                 auth = EXCLUDED.auth, vapid_key = EXCLUDED.vapid_key, buyer = EXCLUDED.buyer, \
                 account = EXCLUDED.account, sees_ids = EXCLUDED.sees_ids, \
                 expires_at = EXCLUDED.expires_at \
             RETURNING id, expires_at, created_at, id = $1 AS is_new",
        )
        .bind(Uuid::new_v4())
        .bind(&digest)
        .bind(&new.endpoint)
        .bind(new.public_key.as_slice())
        .bind(new.auth.as_slice())
        .bind(&new.vapid_key)
        .bind(&*buyer)
        .bind(
            actor
                .is_account
                .then(|| actor.buyer_id.spelling().to_string()),
        )
        .bind(new.sees_ids)
        .bind(new.expires_at.map(DateTime::<Utc>::from))
        .fetch_one(&mut *transaction)
        .await?;
        let recorded = recorded(&row)?;
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM push_subscriptions WHERE buyer = $1")
                .bind(&*buyer)
                .fetch_one(&mut *transaction)
                .await?;
        if recorded.is_new && count > i64::from(MOST_PUSH_SUBSCRIPTIONS) {
            return Ok(Subscribed::Full);
        }
        transaction.commit().await?;
        Ok(Subscribed::Done(recorded))
    }

    /// Forgets the subscription of a buyer with this endpoint, or all of them. Returns false if
    /// there was none.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn unsubscribe(
        &self,
        actor: &Actor,
        endpoint: Option<&str>,
    ) -> Result<bool, sqlx::Error> {
        let buyer = actor.buyer_id.comparable();
        let mut transaction = self.0.begin().await?;
        if !lock_known_buyer(&mut transaction, actor).await? {
            return Ok(false);
        }
        let deleted = sqlx::query(
            "DELETE FROM push_subscriptions \
              WHERE buyer = $1 AND ($2::bytea IS NULL OR endpoint_digest = $2)",
        )
        .bind(&*buyer)
        .bind(endpoint.map(digest_of))
        .execute(&mut *transaction)
        .await?;
        forget_idle(&mut transaction, &[buyer.to_string()]).await?;
        transaction.commit().await?;
        Ok(deleted.rows_affected() > 0)
    }
}

fn recorded(row: &PgRow) -> Result<PushSubscription, sqlx::Error> {
    Ok(PushSubscription {
        id: row.try_get("id")?,
        expires_at: time_in(row, "expires_at")?,
        created_at: time_in(row, "created_at")?.unwrap_or_default(),
        is_new: row.try_get("is_new")?,
    })
}
