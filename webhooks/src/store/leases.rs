//! Leases of endpoints, and the progress of the dispatcher that holds one.
//!
//! Promise: progress is stored by the holder of the lease only, in one transaction, and renews the
//! lease. A row that an administrator has changed since the dispatcher read it is left as it is.
//! Limit: a lease is by the database's clock.

use chrono::{DateTime, Utc};
use domain::values::{DropId, OrderId, Position, Timestamp};
use infrastructure::log::StreamId;
use infrastructure::sql_values::{position_in, to_sql};
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection, Row as _};
use url::Url;
use uuid::Uuid;

use super::Store;
use super::deliveries::{DELIVERY, delivery};
use super::endpoints::Disabled;
use crate::lanes::{Changes, Progress, Row, Status};
use crate::signature::Secret;

/// Deliveries that are done and stay listed, for each endpoint.
pub const KEPT_DONE: i64 = 1_000;
/// Days after which deliveries that were given up are removed.
pub const KEPT_FAILED_DAYS: i32 = 30;
/// How long a dispatcher holds an endpoint without renewing, in seconds.
pub(crate) const LEASE_SECONDS: f64 = 5.0;

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

impl Store {
    /// Returns the enabled endpoints that `holder` may dispatch. A lease that ends later than any
    /// can was taken while the clock was ahead.
    pub(crate) async fn available(&self, holder: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
        let ids = sqlx::query_scalar(
            "SELECT id FROM webhook_endpoints WHERE disabled_at IS NULL \
                AND (lease_until IS NULL OR lease_holder = $1 OR lease_until NOT BETWEEN \
                     clock_timestamp() AND clock_timestamp() + make_interval(secs => $2))",
        );
        let ids = ids.bind(holder).bind(LEASE_SECONDS);
        ids.fetch_all(&self.0).await
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
                AND (lease_until IS NULL OR lease_holder = $2 OR lease_until NOT BETWEEN \
                     clock_timestamp() AND clock_timestamp() + make_interval(secs => $3)) \
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
            "UPDATE webhook_endpoints SET disabled_reason = $3, lease_until = NULL, \
                 revision = revision + 1, \
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

/// Returns one value of each row, as an array of SQL.
fn column<'a, T>(rows: &[&'a Row], value: impl Fn(&'a Row) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
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
        "INSERT INTO webhook_deliveries AS d (id, webhook_id, event_type, drop_id, position, \
             part, status, attempts, next_attempt_at, last_error, holds_drop, is_of_endpoint, \
             cancelled_at, created_at, finished_at, order_id, endpoint_id) \
         SELECT n.*, $16 FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], \
             $6::smallint[], $7::text[], $8::integer[], $9::timestamptz[], $10::text[], \
             $11::boolean[], $12::boolean[], $13::timestamptz[], $14::timestamptz[], \
             $15::timestamptz[], $18::uuid[]) n \
         ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status, attempts = EXCLUDED.attempts, \
             next_attempt_at = EXCLUDED.next_attempt_at, last_error = EXCLUDED.last_error, \
             holds_drop = EXCLUDED.holds_drop, is_of_endpoint = EXCLUDED.is_of_endpoint, \
             cancelled_at = EXCLUDED.cancelled_at, finished_at = EXCLUDED.finished_at \
          WHERE d.revision <= $17",
    )
    .bind(column(&rows, |row| row.id))
    .bind(column(&rows, |row| row.webhook_id.as_str()))
    .bind(column(&rows, |row| row.event_type.as_str()))
    .bind(column(&rows, |row| DROPS.id_of(row.stream?)))
    .bind(column(&rows, |row| to_sql(row.position)))
    .bind(column(&rows, |row| i16::from(row.part)))
    .bind(column(&rows, |row| row.status.name()))
    .bind(column(&rows, |row| {
        i32::try_from(row.attempts).unwrap_or(i32::MAX)
    }))
    .bind(column(&rows, |row| time(row.next_attempt_at)))
    .bind(column(&rows, |row| row.last_error.as_deref()))
    .bind(column(&rows, |row| row.holds_drop))
    .bind(column(&rows, |row| row.is_of_endpoint))
    .bind(column(&rows, |row| {
        time(row.finished_at.filter(|_| row.is_cancelled))
    }))
    .bind(column(&rows, |row| DateTime::<Utc>::from(row.created_at)))
    .bind(column(&rows, |row| time(row.finished_at)))
    .bind(save.endpoint_id)
    .bind(save.revision)
    .bind(column(&rows, |row| ORDERS.id_of(row.stream?)))
    .execute(connection)
    .await?;
    Ok(())
}

/// A table of lanes, and its column with the id of the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes {
    pub(super) table: &'static str,
    pub(super) id: &'static str,
}

impl Lanes {
    /// Returns the id of a stream in this table; `None` for a stream that belongs to the other one.
    fn id_of(self, stream: StreamId) -> Option<Uuid> {
        match stream {
            StreamId::Drop(drop_id) => (self.id == DROPS.id).then_some(drop_id.0),
            StreamId::Order(order_id) => (self.id == ORDERS.id).then_some(order_id.0),
        }
    }
}

pub(super) const DROPS: Lanes = Lanes {
    table: "webhook_lanes",
    id: "drop_id",
};

pub(super) const ORDERS: Lanes = Lanes {
    table: "webhook_order_lanes",
    id: "order_id",
};

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
        "DELETE FROM webhook_deliveries \
          WHERE endpoint_id = $1 AND status = 'done' AND (position, id) <= \
             (SELECT k.position, k.id FROM webhook_deliveries k \
               WHERE k.endpoint_id = $1 AND k.status = 'done' \
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
