//! The tables of endpoints and deliveries: administrators' changes, and the dispatchers' progress.
//!
//! Promise: a position is stored in one transaction with the exceptions before it, so that a crash
//! loses none of them. An administrator's change is never overwritten by a dispatcher that has not
//! read it.

use chrono::{DateTime, Utc};
use domain::values::{DropId, OrderId, Position, Timestamp};
use infrastructure::log::StreamId;
use infrastructure::sql_values::{position_in, time_in, to_sql};
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection, PgPool, Row as _};
use url::Url;
use uuid::Uuid;

use crate::kind::{Kind, TEST};
use crate::lanes::{Changes, Progress, Row, Status};
use crate::signature::Secret;

/// The most endpoints of a shop.
pub const MOST_ENDPOINTS: u32 = 100;
/// How long a rotated secret signs.
pub const ROTATION_HOURS: i32 = 24;
/// The most secrets of an endpoint that sign.
const MOST_SECRETS: i64 = 5;
/// Deliveries that are done and stay listed, for each endpoint.
pub const KEPT_DONE: i64 = 1_000;
/// Days after which deliveries that were given up are removed.
pub const KEPT_FAILED_DAYS: i32 = 30;
/// How long a dispatcher holds an endpoint without renewing, in seconds.
pub(crate) const LEASE_SECONDS: f64 = 5.0;

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

/// A delivery of one message to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub id: Uuid,
    pub endpoint_id: Uuid,
    pub webhook_id: String,
    pub event_type: String,
    pub drop_id: Option<DropId>,
    pub order_id: Option<OrderId>,
    pub position: Position,
    pub status: String,
    pub attempts: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_error: Option<String>,
    pub is_cancelled: bool,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

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

/// Part of a list, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    /// Only those with this status.
    pub status: Option<&'a str>,
    /// Only those after this one.
    pub after: Option<Uuid>,
    pub limit: i64,
}

/// The result of a change of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    Done(Box<Delivery>),
    /// It is done already.
    AlreadyDone,
    NotFound,
}

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    Done(Endpoint),
    /// The position is beyond that of the endpoint, which is given.
    Ahead(Position),
    NotFound,
}

/// The state that a dispatcher needs to run an endpoint.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: Uuid,
    pub(crate) url: Url,
    pub(crate) kinds: Option<Vec<String>>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) position: Position,
    pub(crate) revision: i64,
    pub(crate) held: Vec<(StreamId, Progress)>,
    pub(crate) pending: Vec<Row>,
}

/// Progress to store.
#[derive(Debug, Clone)]
pub(crate) struct Save {
    pub(crate) endpoint_id: Uuid,
    pub(crate) holder: Uuid,
    pub(crate) revision: i64,
    pub(crate) position: Position,
    pub(crate) changes: Changes,
    pub(crate) prune: bool,
}

/// Whether progress was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    /// Stored, and the lease is renewed. The revision of the endpoint.
    Stored(i64),
    /// Another server dispatches, or the endpoint was removed or replayed.
    Superseded,
}

const ENDPOINT: &str = "
SELECT e.id, e.url, e.event_types, e.description, e.disabled_reason, e.disabled_at, e.position, e.created_at,
       (SELECT count(*) FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.status = 'pending') AS pending,
       (SELECT count(*) FROM webhook_deliveries d WHERE d.endpoint_id = e.id AND d.status = 'failed') AS failed
  FROM webhook_endpoints e";

const DELIVERY: &str = "
SELECT id, endpoint_id, webhook_id, event_type, drop_id, order_id, position, part, status, attempts, next_attempt_at,
       last_error, holds_drop, is_of_endpoint, cancelled_at, created_at, finished_at
  FROM webhook_deliveries";

/// The tables. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store(PgPool);

impl Store {
    /// The tables in this database.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self(pool)
    }

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
                     WHEN false THEN coalesce(disabled_reason, 'administrator') ELSE disabled_reason END, \
                 disabled_at = CASE $7 WHEN true THEN NULL \
                     WHEN false THEN coalesce(disabled_at, date_trunc('milliseconds', clock_timestamp())) \
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
            "UPDATE webhook_secrets SET expires_at = clock_timestamp() + make_interval(hours => $2) \
              WHERE endpoint_id = $1 AND expires_at IS NULL",
        )
        .bind(id)
        .bind(ROTATION_HOURS)
        .execute(&mut *transaction)
        .await?;
        insert_secret(&mut transaction, id, secret).await?;
        sqlx::query(
            "DELETE FROM webhook_secrets WHERE endpoint_id = $1 AND (expires_at < clock_timestamp() \
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

    /// Adds a test. `None` if there is no such endpoint.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn test(&self, id: Uuid) -> Result<Option<Delivery>, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        if !bump(&mut transaction, id).await? {
            return Ok(None);
        }
        let delivery_id = Uuid::new_v4();
        sqlx::query(
            "INSERT INTO webhook_deliveries (id, endpoint_id, webhook_id, event_type, position, status, \
                 attempts, next_attempt_at, holds_drop, created_at, revision) \
             SELECT $1, $2, $3, $4, h.position, 'pending', 0, now.at, false, now.at, e.revision \
               FROM log_head h, webhook_endpoints e, \
                    (SELECT date_trunc('milliseconds', clock_timestamp()) AS at) now WHERE e.id = $2",
        )
        .bind(delivery_id)
        .bind(id)
        .bind(format!("test_{}", delivery_id.simple()))
        .bind(TEST)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.delivery(delivery_id).await
    }

    /// Returns one delivery.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn delivery(&self, id: Uuid) -> Result<Option<Delivery>, sqlx::Error> {
        let sql = format!("{DELIVERY} WHERE id = $1");
        let row = sqlx::query(&sql).bind(id).fetch_optional(&self.0).await?;
        row.as_ref().map(delivery).transpose()
    }

    /// Returns deliveries of an endpoint, newest event first.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn deliveries(
        &self,
        endpoint_id: Uuid,
        slice: Slice<'_>,
    ) -> Result<Vec<Delivery>, sqlx::Error> {
        let sql = format!(
            "{DELIVERY} WHERE endpoint_id = $4 AND ($1::text IS NULL OR status = $1) \
                AND ($2::uuid IS NULL OR (position, id) < \
                        (SELECT a.position, a.id FROM webhook_deliveries a WHERE a.id = $2)) \
              ORDER BY position DESC, id DESC LIMIT $3"
        );
        let rows = sqlx::query(&sql)
            .bind(slice.status)
            .bind(slice.after)
            .bind(slice.limit)
            .bind(endpoint_id);
        rows.fetch_all(&self.0)
            .await?
            .iter()
            .map(delivery)
            .collect()
    }

    /// Returns the position and id of a job, by which the jobs of several tables are merged.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn job_key(&self, id: Uuid) -> Result<Option<(Position, Uuid)>, sqlx::Error> {
        let delivery = self.delivery(id).await?;
        Ok(delivery.map(|delivery| (delivery.position, delivery.id)))
    }

    /// Returns the deliveries of all endpoints that are jobs: pending, given up, or done after a
    /// failure. Newest event first, from before a position and id on.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn jobs_before(
        &self,
        status: Option<&str>,
        before: Option<(Position, Uuid)>,
        limit: i64,
    ) -> Result<Vec<Delivery>, sqlx::Error> {
        let sql = format!(
            "{DELIVERY} WHERE (status <> 'done' OR attempts > 1) AND ($1::text IS NULL OR status = $1) \
                AND ($2::bigint IS NULL OR (position, id) < ($2, $3)) \
              ORDER BY position DESC, id DESC LIMIT $4"
        );
        let rows = sqlx::query(&sql)
            .bind(status)
            .bind(before.map(|(position, _)| to_sql(position)))
            .bind(before.map(|(_, id)| id))
            .bind(limit)
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(delivery).collect()
    }

    /// Makes a delivery due now. One that is done or given up is sent again by itself, with a new
    /// schedule: no other waits for it.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn retry(&self, id: Uuid) -> Result<Changed, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let Some(revision) = bump_of_delivery(&mut transaction, id).await? else {
            return Ok(Changed::NotFound);
        };
        sqlx::query(
            "UPDATE webhook_deliveries SET revision = $2, \
                 attempts = CASE status WHEN 'pending' THEN attempts ELSE 0 END, \
                 holds_drop = holds_drop AND status = 'pending', status = 'pending', \
                 next_attempt_at = date_trunc('milliseconds', clock_timestamp()), \
                 cancelled_at = NULL, finished_at = NULL WHERE id = $1",
        )
        .bind(id)
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let delivery = self.delivery(id).await?;
        Ok(delivery.map_or(Changed::NotFound, |delivery| {
            Changed::Done(Box::new(delivery))
        }))
    }

    /// Gives a pending delivery up, and closes one that was given up.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn cancel(&self, id: Uuid) -> Result<Changed, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let Some(revision) = bump_of_delivery(&mut transaction, id).await? else {
            return Ok(Changed::NotFound);
        };
        // The drop or the order continues after it.
        for Lanes { table, id: stream } in [DROPS, ORDERS] {
            let sql = format!(
                "UPDATE {table} l SET position = d.position, part = d.part + 1, revision = $2 \
                   FROM webhook_deliveries d \
                  WHERE d.id = $1 AND d.status = 'pending' AND d.holds_drop \
                    AND l.endpoint_id = d.endpoint_id AND l.{stream} = d.{stream}"
            );
            let moved = sqlx::query(&sql).bind(id).bind(revision);
            moved.execute(&mut *transaction).await?;
        }
        let cancelled = sqlx::query(
            "UPDATE webhook_deliveries SET revision = $2, status = 'failed', next_attempt_at = NULL, \
                 cancelled_at = date_trunc('milliseconds', clock_timestamp()), \
                 finished_at = coalesce(finished_at, date_trunc('milliseconds', clock_timestamp())) \
              WHERE id = $1 AND status <> 'done'",
        )
        .bind(id)
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
        if cancelled.rows_affected() == 0 {
            return Ok(Changed::AlreadyDone);
        }
        transaction.commit().await?;
        let delivery = self.delivery(id).await?;
        Ok(delivery.map_or(Changed::NotFound, |delivery| {
            Changed::Done(Box::new(delivery))
        }))
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

    /// Returns the enabled endpoints that `holder` may dispatch.
    pub(crate) async fn available(&self, holder: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
        let ids = sqlx::query_scalar(
            "SELECT id FROM webhook_endpoints WHERE disabled_at IS NULL \
                AND (lease_until IS NULL OR lease_until < clock_timestamp() OR lease_holder = $1)",
        );
        ids.bind(holder).fetch_all(&self.0).await
    }

    /// Takes the lease of an endpoint and reads its progress. `None` if another server has it, or
    /// if the endpoint is disabled.
    pub(crate) async fn acquire(
        &self,
        id: Uuid,
        holder: Uuid,
    ) -> Result<Option<Lease>, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        derived(&mut transaction).await?;
        let row = sqlx::query(
            "UPDATE webhook_endpoints SET lease_holder = $2, \
                 lease_until = clock_timestamp() + make_interval(secs => $3) \
              WHERE id = $1 AND disabled_at IS NULL \
                AND (lease_until IS NULL OR lease_until < clock_timestamp() OR lease_holder = $2) \
             RETURNING url, event_types, position, revision",
        )
        .bind(id)
        .bind(holder)
        .bind(LEASE_SECONDS)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let secrets: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT secret FROM webhook_secrets \
              WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp()) \
              ORDER BY created_at DESC",
        )
        .bind(id)
        .fetch_all(&mut *transaction)
        .await?;
        let held = sqlx::query(
            "SELECT drop_id, NULL::uuid AS order_id, position, part FROM webhook_lanes \
              WHERE endpoint_id = $1 \
             UNION ALL \
             SELECT NULL, order_id, position, part FROM webhook_order_lanes WHERE endpoint_id = $1",
        );
        let held = held.bind(id).fetch_all(&mut *transaction).await?;
        let sql = format!(
            "{DELIVERY} WHERE endpoint_id = $1 AND status = 'pending' ORDER BY position, part"
        );
        let pending = sqlx::query(&sql)
            .bind(id)
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let url: String = row.try_get("url")?;
        Ok(Some(Lease {
            id,
            url: url
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            kinds: row.try_get("event_types")?,
            secrets: secrets.into_iter().map(Secret::stored).collect(),
            position: position_in(&row, "position")?,
            revision: row.try_get("revision")?,
            held: lanes(&held)?,
            pending: pending.iter().map(pending_row).collect::<Result<_, _>>()?,
        }))
    }

    /// Stores progress and renews the lease.
    pub(crate) async fn save(&self, save: &Save) -> Result<Saved, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        derived(&mut transaction).await?;
        let revision: Option<i64> = sqlx::query_scalar(
            "UPDATE webhook_endpoints SET position = $4, \
                 lease_until = clock_timestamp() + make_interval(secs => $5) \
              WHERE id = $1 AND lease_holder = $2 AND replay_revision <= $3 \
             RETURNING revision",
        )
        .bind(save.endpoint_id)
        .bind(save.holder)
        .bind(save.revision)
        .bind(to_sql(save.position))
        .bind(LEASE_SECONDS)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(revision) = revision else {
            return Ok(Saved::Superseded);
        };
        save_rows(&mut transaction, save).await?;
        save_lanes(&mut transaction, save, DROPS).await?;
        save_lanes(&mut transaction, save, ORDERS).await?;
        if save.prune {
            prune(&mut transaction, save.endpoint_id).await?;
        }
        transaction.commit().await?;
        Ok(Saved::Stored(revision))
    }

    /// Releases the lease, so that another server need not wait for its end.
    pub(crate) async fn release(&self, id: Uuid, holder: Uuid) -> Result<(), sqlx::Error> {
        let sql =
            "UPDATE webhook_endpoints SET lease_until = NULL WHERE id = $1 AND lease_holder = $2";
        sqlx::query(sql)
            .bind(id)
            .bind(holder)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Disables an endpoint whose receiver is gone.
    pub(crate) async fn disable(&self, id: Uuid, holder: Uuid) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE webhook_endpoints SET disabled_reason = $3, lease_until = NULL, revision = revision + 1, \
                 disabled_at = date_trunc('milliseconds', clock_timestamp()) \
              WHERE id = $1 AND lease_holder = $2 AND disabled_at IS NULL",
        )
        .bind(id)
        .bind(holder)
        .bind(Disabled::Gone.name())
        .execute(&self.0)
        .await?;
        Ok(())
    }
}

/// Progress is derived from the log and from responses; a lost commit sends messages again. So it
/// does not wait for a standby.
async fn derived(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection
        .execute("SET LOCAL synchronous_commit = local")
        .await?;
    Ok(())
}

async fn save_rows(connection: &mut PgConnection, save: &Save) -> Result<(), sqlx::Error> {
    // Of deliveries that were done at once, only the newest stay listed.
    let at_once = |row: &&Row| row.status == Status::Done && row.attempts == 1;
    let kept = usize::try_from(KEPT_DONE).unwrap_or(usize::MAX);
    let mut done: Vec<&Row> = save.changes.rows.values().filter(at_once).collect();
    done.sort_by_key(|row| std::cmp::Reverse(row.position));
    done.truncate(kept);
    let others = save.changes.rows.values().filter(|row| !at_once(row));
    let rows: Vec<&Row> = others.chain(done).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let time = |at: Option<Timestamp>| at.map(DateTime::<Utc>::from);
    sqlx::query(
        "INSERT INTO webhook_deliveries AS d (id, webhook_id, event_type, drop_id, position, part, status, \
             attempts, next_attempt_at, last_error, holds_drop, is_of_endpoint, cancelled_at, created_at, \
             finished_at, order_id, endpoint_id) \
         SELECT n.*, $16 FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], \
             $6::smallint[], $7::text[], $8::integer[], $9::timestamptz[], $10::text[], $11::boolean[], \
             $12::boolean[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[], $18::uuid[]) n \
         ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, attempts = EXCLUDED.attempts, \
             next_attempt_at = EXCLUDED.next_attempt_at, last_error = EXCLUDED.last_error, \
             holds_drop = EXCLUDED.holds_drop, is_of_endpoint = EXCLUDED.is_of_endpoint, \
             cancelled_at = EXCLUDED.cancelled_at, finished_at = EXCLUDED.finished_at \
          WHERE d.revision <= $17",
    )
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.webhook_id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_type.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| DROPS.id_of(row.stream?)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| to_sql(row.position)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| i16::from(row.part)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.status.name()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| i32::try_from(row.attempts).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| time(row.next_attempt_at)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.last_error.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.holds_drop).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.is_of_endpoint).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| time(row.finished_at.filter(|_| row.is_cancelled))).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| DateTime::<Utc>::from(row.created_at)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| time(row.finished_at)).collect::<Vec<_>>())
    .bind(save.endpoint_id)
    .bind(save.revision)
    .bind(rows.iter().map(|row| ORDERS.id_of(row.stream?)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A table of lanes, and its column with the id of the stream.
#[derive(Debug, Clone, Copy)]
struct Lanes {
    table: &'static str,
    id: &'static str,
}

const DROPS: Lanes = Lanes {
    table: "webhook_lanes",
    id: "drop_id",
};

const ORDERS: Lanes = Lanes {
    table: "webhook_order_lanes",
    id: "order_id",
};

impl Lanes {
    /// The id of a stream in this table; `None` for a stream that belongs to the other one.
    fn id_of(self, stream: StreamId) -> Option<Uuid> {
        match stream {
            StreamId::Drop(drop_id) => (self.id == DROPS.id).then_some(drop_id.0),
            StreamId::Order(order_id) => (self.id == ORDERS.id).then_some(order_id.0),
        }
    }
}

async fn save_lanes(
    connection: &mut PgConnection,
    save: &Save,
    lanes: Lanes,
) -> Result<(), sqlx::Error> {
    let Lanes { table, id: column } = lanes;
    let (mut held, mut released) = (vec![], vec![]);
    for (stream, progress) in &save.changes.lanes {
        let Some(id) = lanes.id_of(*stream) else {
            continue;
        };
        match progress {
            Some((position, part)) => held.push((id, to_sql(*position), i16::from(*part))),
            None => released.push(id),
        }
    }
    if !released.is_empty() {
        let sql = format!(
            "DELETE FROM {table} WHERE endpoint_id = $1 AND {column} = ANY($2) AND revision <= $3"
        );
        sqlx::query(&sql)
            .bind(save.endpoint_id)
            .bind(released)
            .bind(save.revision)
            .execute(&mut *connection)
            .await?;
    }
    if !held.is_empty() {
        let sql = format!(
            "INSERT INTO {table} AS l (endpoint_id, {column}, position, part) \
             SELECT $1, n.* FROM UNNEST($2::uuid[], $3::bigint[], $4::smallint[]) n \
             ON CONFLICT (endpoint_id, {column}) DO UPDATE \
                SET position = EXCLUDED.position, part = EXCLUDED.part WHERE l.revision <= $5"
        );
        sqlx::query(&sql)
            .bind(save.endpoint_id)
            .bind(held.iter().map(|lane| lane.0).collect::<Vec<_>>())
            .bind(held.iter().map(|lane| lane.1).collect::<Vec<_>>())
            .bind(held.iter().map(|lane| lane.2).collect::<Vec<_>>())
            .bind(save.revision)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn prune(connection: &mut PgConnection, endpoint_id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND status = 'done' AND (position, id) <= \
             (SELECT k.position, k.id FROM webhook_deliveries k WHERE k.endpoint_id = $1 AND k.status = 'done' \
               ORDER BY k.position DESC, k.id DESC OFFSET $2 LIMIT 1)",
    )
    .bind(endpoint_id)
    .bind(KEPT_DONE)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM webhook_deliveries WHERE endpoint_id = $1 AND status = 'failed' \
            AND finished_at < clock_timestamp() - make_interval(days => $2)",
    )
    .bind(endpoint_id)
    .bind(KEPT_FAILED_DAYS)
    .execute(connection)
    .await?;
    Ok(())
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
async fn bump(connection: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    let bumped = sqlx::query("UPDATE webhook_endpoints SET revision = revision + 1 WHERE id = $1");
    Ok(bumped.bind(id).execute(connection).await?.rows_affected() > 0)
}

/// Raises the revision of the endpoint of a delivery, and returns it.
async fn bump_of_delivery(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<i64>, sqlx::Error> {
    let bumped = sqlx::query_scalar(
        "UPDATE webhook_endpoints SET revision = revision + 1 \
          WHERE id = (SELECT endpoint_id FROM webhook_deliveries WHERE id = $1) RETURNING revision",
    );
    bumped.bind(id).fetch_optional(connection).await
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

fn delivery(row: &PgRow) -> Result<Delivery, sqlx::Error> {
    let drop_id: Option<Uuid> = row.try_get("drop_id")?;
    let order_id: Option<Uuid> = row.try_get("order_id")?;
    Ok(Delivery {
        id: row.try_get("id")?,
        endpoint_id: row.try_get("endpoint_id")?,
        webhook_id: row.try_get("webhook_id")?,
        event_type: row.try_get("event_type")?,
        drop_id: drop_id.map(DropId),
        order_id: order_id.map(OrderId),
        position: position_in(row, "position")?,
        status: row.try_get("status")?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        next_attempt_at: time_in(row, "next_attempt_at")?,
        last_error: row.try_get("last_error")?,
        is_cancelled: time_in(row, "cancelled_at")?.is_some(),
        created_at: time_in(row, "created_at")?.unwrap_or_default(),
        finished_at: time_in(row, "finished_at")?,
    })
}

fn pending_row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let stored = delivery(row)?;
    Ok(Row {
        id: stored.id,
        webhook_id: stored.webhook_id,
        event_type: stored.event_type,
        stream: stored
            .drop_id
            .map(StreamId::Drop)
            .or(stored.order_id.map(StreamId::Order)),
        position: stored.position,
        part: part_in(row)?,
        status: Status::Pending,
        attempts: stored.attempts,
        next_attempt_at: stored.next_attempt_at,
        last_error: stored.last_error,
        holds_drop: row.try_get("holds_drop")?,
        is_of_endpoint: row.try_get("is_of_endpoint")?,
        is_cancelled: false,
        created_at: stored.created_at,
        finished_at: None,
    })
}

fn part_in(row: &PgRow) -> Result<u8, sqlx::Error> {
    let part: i16 = row.try_get("part")?;
    Ok(u8::try_from(part).unwrap_or_default())
}

fn lanes(rows: &[PgRow]) -> Result<Vec<(StreamId, Progress)>, sqlx::Error> {
    let mut held = vec![];
    for row in rows {
        let drop_id: Option<Uuid> = row.try_get("drop_id")?;
        let stream = match drop_id {
            Some(drop_id) => StreamId::Drop(DropId(drop_id)),
            None => StreamId::Order(OrderId(row.try_get("order_id")?)),
        };
        held.push((stream, (position_in(row, "position")?, part_in(row)?)));
    }
    Ok(held)
}

#[cfg(test)]
mod tests;
