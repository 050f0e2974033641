//! Endpoints and their secrets: the changes of administrators.
//!
//! Promise: each change raises the endpoint's revision, by which a dispatcher notices that it has
//! not read the change.

use chrono::{DateTime, Utc};
use domain::values::{Position, Timestamp};
use infrastructure::sql_values::{position_in, time_in, to_sql};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::Store;
use crate::kind::Kind;
use crate::signature::Secret;

/// The most endpoints of a shop.
pub const MOST_ENDPOINTS: u32 = 100;
/// How long a rotated secret signs.
pub const ROTATION_HOURS: i32 = 24;
/// The most secrets of an endpoint that sign.
const MOST_SECRETS: i64 = 5;

/// Why nothing is sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// The receiver responded with 410.
    Gone,
    /// By an administrator.
    Administrator,
}

impl Disabled {
    /// Returns the name in the API and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Administrator => "administrator",
        }
    }
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: Uuid,
    pub url: String,
    /// `None`: all types.
    pub event_types: Option<Vec<String>>,
    pub description: Option<String>,
    pub disabled: Option<(Disabled, Timestamp)>,
    /// Everything up to here was delivered, or is among the pending and failed deliveries.
    pub position: Position,
    pub pending: u64,
    pub failed: u64,
    pub created_at: Timestamp,
}

/// The fields of an endpoint that an administrator chooses.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// A valid URL, as it was entered.
    pub url: String,
    pub event_types: Option<Vec<Kind>>,
    pub description: Option<String>,
}

/// A change of an endpoint: `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    pub url: Option<String>,
    pub event_types: Option<Option<Vec<Kind>>>,
    pub description: Option<Option<String>>,
    pub is_enabled: Option<bool>,
}

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    Done(Endpoint),
    /// The position is beyond that of the endpoint, which is given.
    Ahead(Position),
    NotFound,
}

const ENDPOINT: &str = "
SELECT e.id, e.url, e.event_types, e.description, e.disabled_reason, e.disabled_at, e.position,
       e.created_at,
       (SELECT count(*) FROM webhook_deliveries d
          WHERE d.endpoint_id = e.id AND d.status = 'pending')
         -- Held back until now, and not sent yet.
         + (SELECT count(*) FROM webhook_lanes l
             WHERE l.endpoint_id = e.id AND NOT EXISTS (
               SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id
                  AND d.status = 'pending' AND d.drop_id = l.drop_id))
         + (SELECT count(*) FROM webhook_order_lanes l
             WHERE l.endpoint_id = e.id AND NOT EXISTS (
               SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id
                  AND d.status = 'pending' AND d.order_id = l.order_id)) AS pending,
       (SELECT count(*) FROM webhook_deliveries d
          WHERE d.endpoint_id = e.id AND d.status = 'failed') AS failed
  FROM webhook_endpoints e";

impl Store {
    /// Adds an endpoint that follows the log from its present head; `None` if there are
    /// [`MOST_ENDPOINTS`].
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn create(
        &self,
        new: &NewEndpoint,
        secret: &Secret,
    ) -> Result<Option<Endpoint>, sqlx::Error> {
        let id = Uuid::new_v4();
        let mut transaction = self.0.begin().await?;
        let created = sqlx::query(
            "INSERT INTO webhook_endpoints (id, url, event_types, description, position) \
             SELECT $1, $2, $3, $4, h.position FROM log_head h \
              WHERE (SELECT count(*) FROM webhook_endpoints) < $5",
        )
        .bind(id)
        .bind(&new.url)
        .bind(new.event_types.as_deref().map(names))
        .bind(new.description.as_deref())
        .bind(i64::from(MOST_ENDPOINTS))
        .execute(&mut *transaction)
        .await?;
        if created.rows_affected() == 0 {
            return Ok(None);
        }
        insert_secret(&mut transaction, id, secret).await?;
        transaction.commit().await?;
        self.endpoint(id).await
    }

    /// Returns one endpoint.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn endpoint(&self, id: Uuid) -> Result<Option<Endpoint>, sqlx::Error> {
        let sql = format!("{ENDPOINT} WHERE e.id = $1");
        let row = sqlx::query(&sql).bind(id).fetch_optional(&self.0).await?;
        row.as_ref().map(endpoint).transpose()
    }

    /// Returns endpoints, newest first.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn endpoints(
        &self,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Endpoint>, sqlx::Error> {
        let sql = format!(
            "{ENDPOINT} WHERE $1::uuid IS NULL OR (e.created_at, e.id) < \
                 (SELECT a.created_at, a.id FROM webhook_endpoints a WHERE a.id = $1) \
              ORDER BY e.created_at DESC, e.id DESC LIMIT $2"
        );
        let rows = sqlx::query(&sql).bind(after).bind(limit);
        rows.fetch_all(&self.0)
            .await?
            .iter()
            .map(endpoint)
            .collect()
    }

    /// Changes an endpoint. New types supersede progress that a dispatcher has not stored yet:
    /// events after the change, which it may have matched with the old types, are matched again.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn edit(&self, id: Uuid, edit: &Edit) -> Result<Option<Endpoint>, sqlx::Error> {
        let types = edit.event_types.as_ref();
        let description = edit.description.as_ref();
        sqlx::query(
            "UPDATE webhook_endpoints SET revision = revision + 1, \
                 replay_revision = CASE WHEN $3 THEN revision + 1 ELSE replay_revision END, \
                 url = coalesce($2, url), \
                 event_types = CASE WHEN $3 THEN $4 ELSE event_types END, \
                 description = CASE WHEN $5 THEN $6 ELSE description END, \
                 disabled_reason = CASE $7 WHEN true THEN NULL \
                     WHEN false THEN coalesce(disabled_reason, 'administrator') \
                     ELSE disabled_reason END, \
                 disabled_at = CASE $7 WHEN true THEN NULL \
                     WHEN false THEN coalesce(disabled_at, \
                         date_trunc('milliseconds', clock_timestamp())) \
                     ELSE disabled_at END \
              WHERE id = $1",
        )
        .bind(id)
        .bind(edit.url.as_deref())
        .bind(types.is_some())
        .bind(types.and_then(|types| types.as_deref().map(names)))
        .bind(description.is_some())
        .bind(description.and_then(|text| text.as_deref()))
        .bind(edit.is_enabled)
        .execute(&self.0)
        .await?;
        self.endpoint(id).await
    }

    /// Removes an endpoint with its deliveries. Returns false if there is none.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn delete(&self, id: Uuid) -> Result<bool, sqlx::Error> {
        let deleted = sqlx::query("DELETE FROM webhook_endpoints WHERE id = $1").bind(id);
        Ok(deleted.execute(&self.0).await?.rows_affected() > 0)
    }

    /// Adds a secret; the earlier ones sign for another [`ROTATION_HOURS`]. Returns when the last
    /// of them expires, or `None` if there is no such endpoint.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn rotate(
        &self,
        id: Uuid,
        secret: &Secret,
    ) -> Result<Option<(Endpoint, Timestamp)>, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        if !bump(&mut transaction, id).await? {
            return Ok(None);
        }
        sqlx::query(
            "UPDATE webhook_secrets \
                SET expires_at = clock_timestamp() + make_interval(hours => $2) \
              WHERE endpoint_id = $1 AND expires_at IS NULL",
        )
        .bind(id)
        .bind(ROTATION_HOURS)
        .execute(&mut *transaction)
        .await?;
        insert_secret(&mut transaction, id, secret).await?;
        sqlx::query(
            "DELETE FROM webhook_secrets \
              WHERE endpoint_id = $1 AND (expires_at < clock_timestamp() \
                 OR secret NOT IN (SELECT secret FROM webhook_secrets WHERE endpoint_id = $1 \
                                    ORDER BY created_at DESC LIMIT $2))",
        )
        .bind(id)
        .bind(MOST_SECRETS)
        .execute(&mut *transaction)
        .await?;
        let expires_at: Option<DateTime<Utc>> = sqlx::query_scalar(
            "SELECT max(expires_at) FROM webhook_secrets WHERE endpoint_id = $1",
        )
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let endpoint = self.endpoint(id).await?;
        let expires_at = expires_at.map(Timestamp::from).unwrap_or_default();
        Ok(endpoint.map(|endpoint| (endpoint, expires_at)))
    }

    /// Moves an endpoint back, so that everything after `after` is delivered again.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn replay(&self, id: Uuid, after: Position) -> Result<Replay, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let found = sqlx::query("SELECT position FROM webhook_endpoints WHERE id = $1 FOR UPDATE");
        let Some(found) = found.bind(id).fetch_optional(&mut *transaction).await? else {
            return Ok(Replay::NotFound);
        };
        let position = position_in(&found, "position")?;
        if after > position {
            return Ok(Replay::Ahead(position));
        }
        sqlx::query(
            "UPDATE webhook_endpoints SET position = $2, revision = revision + 1, \
                 replay_revision = revision + 1 WHERE id = $1",
        )
        .bind(id)
        .bind(to_sql(after))
        .execute(&mut *transaction)
        .await?;
        for sql in [
            "DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND position > $2 \
                AND (drop_id IS NOT NULL OR order_id IS NOT NULL)",
            "DELETE FROM webhook_lanes WHERE endpoint_id = $1 AND position > $2",
            "DELETE FROM webhook_order_lanes WHERE endpoint_id = $1 AND position > $2",
        ] {
            let removed = sqlx::query(sql).bind(id).bind(to_sql(after));
            removed.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        let endpoint = self.endpoint(id).await?;
        Ok(endpoint.map_or(Replay::NotFound, Replay::Done))
    }
}

async fn insert_secret(
    connection: &mut PgConnection,
    id: Uuid,
    secret: &Secret,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO webhook_secrets (endpoint_id, secret) VALUES ($1, $2)");
    insert
        .bind(id)
        .bind(secret.bytes())
        .execute(connection)
        .await?;
    Ok(())
}

/// Raises the revision of an endpoint. Returns false if there is none.
pub(super) async fn bump(connection: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    let bumped = sqlx::query("UPDATE webhook_endpoints SET revision = revision + 1 WHERE id = $1");
    Ok(bumped.bind(id).execute(connection).await?.rows_affected() > 0)
}

fn names(kinds: &[Kind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.name()).collect()
}

fn endpoint(row: &PgRow) -> Result<Endpoint, sqlx::Error> {
    let reason: Option<String> = row.try_get("disabled_reason")?;
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(Endpoint {
        id: row.try_get("id")?,
        url: row.try_get("url")?,
        event_types: row.try_get("event_types")?,
        description: row.try_get("description")?,
        disabled: reason
            .map(|reason| match reason == Disabled::Gone.name() {
                true => Disabled::Gone,
                false => Disabled::Administrator,
            })
            .zip(time_in(row, "disabled_at")?),
        position: position_in(row, "position")?,
        pending: count("pending")?,
        failed: count("failed")?,
        created_at: time_in(row, "created_at")?.unwrap_or_default(),
    })
}
