//! The tables of endpoints and deliveries: administrators' changes, and the dispatchers' progress.
//!
//! Promise: a position is stored in one transaction with the exceptions before it, so that a crash
//! loses none of them. An administrator's change is never overwritten by a dispatcher that has not
//! read it.

mod deliveries;
mod endpoints;
mod leases;

use chrono::{DateTime, Utc};
use domain::values::{Position, Timestamp};
use infrastructure::sql_values::position_in;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

pub use self::deliveries::{Changed, Delivery, Slice};
pub use self::endpoints::{
    Disabled, Edit, Endpoint, MOST_ENDPOINTS, NewEndpoint, ROTATION_HOURS, Replay,
};
pub use self::leases::{KEPT_DONE, KEPT_FAILED_DAYS};
pub(crate) use self::leases::{LEASE_SECONDS, Lease, Save, Saved};

/// The tables. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store(PgPool);

/// An open matter for an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matter {
    pub id: Uuid,
    /// The endpoint concerned, if the matter is a delivery; otherwise it is the matter itself.
    pub endpoint_id: Uuid,
    pub is_endpoint: bool,
    pub since: Timestamp,
    pub detail: String,
    pub position: Position,
}

impl Store {
    /// Returns the tables in this database.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Returns since when a delivery or an endpoint has been a matter.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn matter_since(&self, id: Uuid) -> Result<Option<Timestamp>, sqlx::Error> {
        let since: Option<DateTime<Utc>> = sqlx::query_scalar(
            "SELECT finished_at FROM webhook_deliveries WHERE id = $1 AND finished_at IS NOT NULL \
             UNION ALL \
             SELECT disabled_at FROM webhook_endpoints WHERE id = $1 AND disabled_at IS NOT NULL",
        )
        .bind(id)
        .fetch_optional(&self.0)
        .await?;
        Ok(since.map(Timestamp::from))
    }

    /// Returns the deliveries that were given up and the endpoints that are gone, newest first,
    /// from before a time and id on.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn needs_attention(
        &self,
        before: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<Vec<Matter>, sqlx::Error> {
        let rows = sqlx::query(
            "WITH matters AS ( \
                 SELECT id, endpoint_id, false AS is_endpoint, finished_at AS since, \
                        event_type || ' was not delivered in ' || attempts || ' attempts: ' \
                            || coalesce(last_error, '') AS detail, position \
                   FROM webhook_deliveries \
                  WHERE status = 'failed' AND cancelled_at IS NULL AND finished_at IS NOT NULL \
                 UNION ALL \
                 SELECT id, id, true, disabled_at, \
                        'the receiver responded with 410 Gone; the endpoint is disabled', position \
                   FROM webhook_endpoints WHERE disabled_reason = 'gone') \
             SELECT * FROM matters \
              WHERE $1::timestamptz IS NULL OR (since, id) < ($1, $2) \
              ORDER BY since DESC, id DESC LIMIT $3",
        )
        .bind(before.map(|(since, _)| DateTime::<Utc>::from(since)))
        .bind(before.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        let matter = |row: &PgRow| {
            Ok(Matter {
                id: row.try_get("id")?,
                endpoint_id: row.try_get("endpoint_id")?,
                is_endpoint: row.try_get("is_endpoint")?,
                since: row.try_get::<DateTime<Utc>, _>("since")?.into(),
                detail: row.try_get("detail")?,
                position: position_in(row, "position")?,
            })
        };
        rows.iter().map(matter).collect()
    }
}

#[cfg(test)]
mod tests;
