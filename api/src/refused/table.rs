//! The table `refusals`. Counts are added, so that any number of processes share one row.

use domain::values::{DropId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::{Slot, Tally};

/// A transaction of another process may become visible later than its timestamp, in milliseconds.
const OVERLAP_MS: i64 = 10_000;

/// Adds `counted` and returns the new totals of the rows. Telemetry does not wait for a standby.
pub(super) async fn add(
    pool: &PgPool,
    counted: &[(Slot, Tally)],
) -> Result<Vec<(Slot, Tally)>, sqlx::Error> {
    let column = |of: fn(&Tally) -> u64| -> Vec<i64> {
        counted
            .iter()
            .map(|(_, tally)| i64::try_from(of(tally)).unwrap_or(i64::MAX))
            .collect()
    };
    let drops: Vec<Uuid> = counted.iter().map(|(slot, _)| slot.drop_id.0).collect();
    let minutes: Vec<DateTime<Utc>> = counted.iter().map(|(slot, _)| slot.minute.into()).collect();
    let rows = sqlx::query(
        "INSERT INTO refusals AS r (drop_id, minute, sold_out, limit_reached, throttled) \
         SELECT * FROM UNNEST($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[]) \
          WHERE set_config('synchronous_commit', 'local', true) IS NOT NULL \
         ON CONFLICT (drop_id, minute) DO UPDATE SET sold_out = r.sold_out + EXCLUDED.sold_out, \
             limit_reached = r.limit_reached + EXCLUDED.limit_reached, \
             throttled = r.throttled + EXCLUDED.throttled, changed_at = now() \
         RETURNING drop_id, minute, sold_out, limit_reached, throttled",
    )
    .bind(drops)
    .bind(minutes)
    .bind(column(|tally| tally.sold_out))
    .bind(column(|tally| tally.limit_reached))
    .bind(column(|tally| tally.throttled))
    .fetch_all(pool)
    .await?;
    rows.iter().map(counted_in).collect()
}

/// Returns the rows that changed since `since`, and the time from which to read next.
pub(super) async fn changed_since(
    pool: &PgPool,
    since: Timestamp,
) -> Result<(Vec<(Slot, Tally)>, Timestamp), sqlx::Error> {
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT now()").fetch_one(pool).await?;
    let rows = sqlx::query(
        "SELECT drop_id, minute, sold_out, limit_reached, throttled FROM refusals WHERE changed_at >= $1",
    )
    .bind(DateTime::<Utc>::from(since))
    .fetch_all(pool)
    .await?;
    let rows = rows.iter().map(counted_in).collect::<Result<_, _>>()?;
    Ok((rows, Timestamp::from(now).plus_millis(-OVERLAP_MS)))
}

fn counted_in(row: &PgRow) -> Result<(Slot, Tally), sqlx::Error> {
    let slot = Slot {
        minute: row.try_get::<DateTime<Utc>, _>("minute")?.into(),
        drop_id: DropId(row.try_get("drop_id")?),
    };
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    let tally = Tally {
        sold_out: count("sold_out")?,
        limit_reached: count("limit_reached")?,
        throttled: count("throttled")?,
    };
    Ok((slot, tally))
}
