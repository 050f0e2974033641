//! The numbers of open jobs.

use infrastructure::sql_values::time_in;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{JobKind, Store};
use crate::counts::OpenJobs;

impl Store {
    /// Returns the open jobs of each kind that has any.
    pub(crate) async fn open_jobs(&self) -> Result<Vec<(JobKind, OpenJobs)>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT kind, count(*) FILTER (WHERE status = 'pending') AS pending, \
                    min(created_at) FILTER (WHERE status = 'pending') AS oldest_pending, \
                    count(*) FILTER (WHERE status = 'failed') AS given_up \
               FROM payment_jobs WHERE status <> 'done' AND cancelled_at IS NULL GROUP BY kind",
        )
        .fetch_all(&self.0)
        .await?;
        let open = |row: &PgRow| {
            let jobs = OpenJobs {
                pending: row.try_get::<i64, _>("pending")?.unsigned_abs(),
                oldest_pending: time_in(row, "oldest_pending")?,
                given_up: row.try_get::<i64, _>("given_up")?.unsigned_abs(),
            };
            Ok((JobKind::stored(row.try_get("kind")?)?, jobs))
        };
        rows.iter().map(open).collect()
    }
}
