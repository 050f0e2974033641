//! Deliveries: their lists, and the changes of administrators.
//!
//! Promise: each change raises the revision of the delivery and of its endpoint, so that the
//! progress of a dispatcher that has not read it does not overwrite it.

use domain::values::{DropId, OrderId, Position, Timestamp};
use infrastructure::sql_values::{position_in, time_in, to_sql};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::Store;
use super::endpoints::bump;
use super::leases::{DROPS, Lanes, ORDERS};
use crate::kind::TEST;

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

pub(super) const DELIVERY: &str = "
SELECT id, endpoint_id, webhook_id, event_type, drop_id, order_id, position, part, status,
       attempts, next_attempt_at, last_error, holds_drop, is_of_endpoint,
       cancelled_at, created_at, finished_at
  FROM webhook_deliveries";

impl Store {
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
            "INSERT INTO webhook_deliveries (id, endpoint_id, webhook_id, event_type, position, \
                 status, attempts, next_attempt_at, holds_drop, created_at, revision) \
             SELECT $1, $2, $3, $4, h.position, 'pending', 0, now.at, false, now.at, e.revision \
               FROM log_head h, webhook_endpoints e, \
                    (SELECT date_trunc('milliseconds', clock_timestamp()) AS at) now \
              WHERE e.id = $2",
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
            "{DELIVERY} WHERE (status <> 'done' OR attempts > 1) \
                AND ($1::text IS NULL OR status = $1) \
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
            "UPDATE webhook_deliveries SET revision = $2, status = 'failed', \
                 next_attempt_at = NULL, \
                 cancelled_at = date_trunc('milliseconds', clock_timestamp()), \
                 finished_at = coalesce(finished_at, \
                     date_trunc('milliseconds', clock_timestamp())) \
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

pub(super) fn delivery(row: &PgRow) -> Result<Delivery, sqlx::Error> {
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
