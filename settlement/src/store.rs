//! The tables of payments: references of the providers, and jobs.
//!
//! Promise: rows that follow from the log are stored in one transaction with the position that they
//! were derived from, and deriving them again changes nothing. A job is worked on by the server
//! that holds its lease, and by no other.
//! Limit: a lease is by the database's clock; work on a job must end before it.

mod open;
mod rows;
mod withdrawals;

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::values::{Currency, Money, Position, Timestamp};
use infrastructure::sql_values::{position_in, time_in, to_sql};
use payments::Secret;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use self::rows::{fail_refund, insert_intent};
pub(crate) use self::withdrawals::Coverage;
pub use self::withdrawals::{OpenWithdrawal, Withdrawal, WithdrawalKind, WithdrawalState};

/// The cause of a refund whose units were sold.
pub(crate) const RETURN: &str = "return";
/// Days after its start for which the reference of a payment that bought is kept although its buyer
/// was erased: a bank may take a payment back for 540 days.
pub const KEPT_REFERENCE_DAYS: i32 = 540;
/// How long a server may work on a job without renewing its lease, in seconds.
pub(crate) const LEASE_SECONDS: f64 = 15.0;
/// Days after which jobs that are done are removed.
pub const KEPT_DONE_DAYS: i32 = 30;

/// The kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Takes the authorised money of a sale.
    Capture,
    /// Cancels a payment of an order that is over or was paid otherwise.
    Cancel,
    /// Money arrived for a payment that the log does not have.
    Unknown,
    /// Returns money.
    Refund,
}

impl JobKind {
    pub const ALL: [Self; 4] = [Self::Capture, Self::Cancel, Self::Unknown, Self::Refund];

    /// Returns the name in the API and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capture => "payment_capture",
            Self::Cancel => "payment_cancel",
            Self::Unknown => "payment_unknown",
            Self::Refund => "refund",
        }
    }

    fn stored(name: &str) -> Result<Self, sqlx::Error> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| sqlx::Error::Decode(format!("unknown kind of job {name}").into()))
    }
}

/// A piece of work with a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Of the payment that is cancelled, of the refund, or derived from the intent.
    pub id: Uuid,
    pub kind: JobKind,
    pub order_id: Uuid,
    pub payment_id: Uuid,
    /// The digest of the intent; `None` for a cancellation.
    pub intent: Option<Vec<u8>>,
    pub provider: String,
    pub amount: Money,
    /// Why money is returned.
    pub cause: Option<String>,
    /// Names the refund at the provider.
    pub operation_id: Option<Uuid>,
    pub status: String,
    pub attempts: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_error: Option<String>,
    /// Of the event that caused the job.
    pub position: Position,
    /// An administrator has given it up.
    pub is_cancelled: bool,
    /// An administrator has cancelled it after it was given up: it needs no attention.
    pub is_closed: bool,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// A job to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewJob {
    pub(crate) id: Uuid,
    pub(crate) kind: JobKind,
    pub(crate) order_id: Uuid,
    pub(crate) payment_id: Uuid,
    pub(crate) intent: Option<Vec<u8>>,
    pub(crate) amount: Money,
    pub(crate) cause: Option<&'static str>,
    pub(crate) position: Position,
}

/// A payment that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub payment_id: Uuid,
    pub order_id: Uuid,
    pub provider: String,
    pub amount: Money,
    /// `None` until the provider has answered.
    pub provider_reference: Option<String>,
    /// An intent of the payment was authorised or paid.
    pub succeeded: bool,
}

/// The reference of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IntentRow {
    /// The digest that the log has.
    pub(crate) intent: Vec<u8>,
    pub(crate) payment_id: Uuid,
    pub(crate) order_id: Uuid,
    pub(crate) provider: String,
    pub(crate) provider_reference: String,
}

/// A row, or a change of rows, that follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Derived {
    Started(Start),
    /// An intent of a payment was authorised or paid.
    Succeeded {
        payment_id: Uuid,
        order_id: Uuid,
        /// The digest that the log has.
        intent: Vec<u8>,
        /// `None` if it was erased before this was derived.
        provider_reference: Option<String>,
    },
    Job(NewJob),
    /// An order was paid or is over: its other payments are cancelled.
    OrderEnded {
        order_id: Uuid,
        position: Position,
    },
    /// The outcome of a refund; `Some`: it failed, for this reason.
    RefundSettled {
        refund_id: Uuid,
        failure: Option<String>,
    },
    /// An event of this order cannot be applied here, so nothing follows from it yet.
    Withheld {
        order_id: Uuid,
        position: Position,
    },
    /// The rows of the withheld events of this order were derived.
    Readmitted {
        order_id: Uuid,
    },
}

/// How work on a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    Done,
    /// Another party has to act first; not a failed attempt.
    Wait(Duration),
    /// The same, with the reason.
    WaitFor {
        pause: Duration,
        reason: String,
    },
    /// Attempt it again after a pause.
    Again {
        pause: Duration,
        error: String,
    },
    /// Given up. `is_operation`: the provider has failed the refund, so a retry is another one.
    Failed {
        error: String,
        is_operation: bool,
    },
}

/// An open matter for an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matter {
    pub job: Job,
    pub since: Timestamp,
}

/// Part of a list, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    /// Only those with this status.
    pub status: Option<&'a str>,
    /// Only those of this kind.
    pub kind: Option<JobKind>,
    /// Only those before this one, by position and id.
    pub after: Option<(Position, Uuid)>,
    pub limit: i64,
}

/// The result of an administrator's change of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    Done(Box<Job>),
    /// It is done already.
    AlreadyDone,
    NotFound,
}

const JOB: &str = "
SELECT id, kind, order_id, payment_id, intent, provider, amount, currency, cause, operation_id, status, attempts,
       next_attempt_at, last_error, position, cancelled_at, closed_at, created_at, finished_at
  FROM payment_jobs";

const START: &str = "
SELECT payment_id, order_id, provider, amount, currency, provider_reference, succeeded FROM payment_starts";

const NOW: &str = "date_trunc('milliseconds', clock_timestamp())";

/// The tables. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store(PgPool);

impl Store {
    /// The tables in this database.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Returns the seed of the demo, which the first server chooses.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn demo_seed(&self) -> Result<Secret, sqlx::Error> {
        let random: [u8; 32] = rand::random();
        sqlx::query("INSERT INTO payment_demo_seed (seed) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(hex::encode(random))
            .execute(&self.0)
            .await?;
        let seed: String = sqlx::query_scalar("SELECT seed FROM payment_demo_seed")
            .fetch_one(&self.0)
            .await?;
        Ok(Secret::new(seed))
    }

    /// Records that the provider has answered the start of a payment.
    pub(crate) async fn started(&self, start: &Start) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO payment_starts (payment_id, order_id, provider, amount, currency, provider_reference) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (payment_id) DO UPDATE \
                SET provider_reference = EXCLUDED.provider_reference",
        )
        .bind(start.payment_id)
        .bind(start.order_id)
        .bind(&start.provider)
        .bind(start.amount.amount)
        .bind(start.amount.currency.code())
        .bind(&start.provider_reference)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// Records the reference of an intent.
    pub(crate) async fn keep_intent(&self, intent: &IntentRow) -> Result<(), sqlx::Error> {
        let mut connection = self.0.acquire().await?;
        insert_intent(&mut connection, intent).await
    }

    /// Returns a payment that was started.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn start(&self, payment_id: Uuid) -> Result<Option<Start>, sqlx::Error> {
        let sql = format!("{START} WHERE payment_id = $1");
        let row = sqlx::query(&sql).bind(payment_id);
        let row = row.fetch_optional(&self.0).await?;
        row.as_ref().map(start).transpose()
    }

    /// Returns the order and the payment of an intent.
    pub(crate) async fn payment_of(
        &self,
        provider: &str,
        reference: &str,
    ) -> Result<Option<(Uuid, Uuid)>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT order_id, payment_id FROM payment_intents \
              WHERE provider = $1 AND provider_reference = $2 \
             UNION ALL \
             SELECT order_id, payment_id FROM payment_starts \
              WHERE provider = $1 AND provider_reference = $2 LIMIT 1",
        )
        .bind(provider)
        .bind(reference)
        .fetch_optional(&self.0)
        .await?;
        row.map(|row| Ok((row.try_get("order_id")?, row.try_get("payment_id")?)))
            .transpose()
    }

    /// Returns the reference of an intent.
    pub(crate) async fn reference(&self, intent: &[u8]) -> Result<Option<String>, sqlx::Error> {
        let sql = "SELECT provider_reference FROM payment_intents WHERE intent = $1";
        sqlx::query_scalar(sql)
            .bind(intent)
            .fetch_optional(&self.0)
            .await
    }

    /// Returns the status of the job that captures an intent. It is `done` for a job that was
    /// removed, too: only the job of a sale is asked for.
    pub(crate) async fn capture_status(&self, intent: &[u8]) -> Result<String, sqlx::Error> {
        let sql = "SELECT status FROM payment_jobs WHERE intent = $1 AND kind = 'payment_capture'";
        let status = sqlx::query_scalar(sql).bind(intent).fetch_optional(&self.0);
        Ok(status.await?.unwrap_or_else(|| "done".to_owned()))
    }

    /// The provider reports that an intent was captured or cancelled: looks at it now. A capture
    /// that was given up is attempted again, because a person may have made it at the provider.
    pub(crate) async fn look_at_capture(
        &self,
        intent: &[u8],
        is_captured: bool,
    ) -> Result<(), sqlx::Error> {
        let sql = format!(
            "UPDATE payment_jobs SET status = 'pending', next_attempt_at = {NOW}, finished_at = NULL, \
                    cancelled_at = NULL, closed_at = NULL, \
                    attempts = CASE status WHEN 'pending' THEN attempts ELSE 0 END \
              WHERE intent = $1 AND kind = 'payment_capture' \
                AND (status = 'pending' OR $2 AND status = 'failed')"
        );
        sqlx::query(&sql)
            .bind(intent)
            .bind(is_captured)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Returns `None` if a payment has no cancellation; otherwise whether a server works on it now.
    pub(crate) async fn cancellation(&self, payment_id: Uuid) -> Result<Option<bool>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT coalesce(lease_until > clock_timestamp(), false) FROM payment_jobs \
              WHERE id = $1 AND kind = 'payment_cancel'",
        )
        .bind(payment_id)
        .fetch_optional(&self.0)
        .await
    }

    /// Returns the job of the refund that the provider knows by this id.
    pub(crate) async fn refund_of_operation(
        &self,
        operation_id: Uuid,
    ) -> Result<Option<Job>, sqlx::Error> {
        let sql = format!("{JOB} WHERE operation_id = $1");
        let row = sqlx::query(&sql).bind(operation_id);
        let row = row.fetch_optional(&self.0).await?;
        row.as_ref().map(job).transpose()
    }

    /// Takes the lease of jobs that are due. A lease that ends later than any can was taken while
    /// the clock was ahead.
    pub(crate) async fn take_due(&self, holder: Uuid, limit: i64) -> Result<Vec<Job>, sqlx::Error> {
        if limit == 0 {
            return Ok(vec![]);
        }
        let rows = sqlx::query(
            "UPDATE payment_jobs SET lease_holder = $1, \
                    lease_until = clock_timestamp() + make_interval(secs => $2) \
              WHERE id IN (SELECT id FROM payment_jobs \
                  WHERE status = 'pending' AND next_attempt_at <= clock_timestamp() \
                    AND (lease_until IS NULL OR lease_until NOT BETWEEN \
                         clock_timestamp() AND clock_timestamp() + make_interval(secs => $2)) \
                  ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
             RETURNING *",
        )
        .bind(holder)
        .bind(LEASE_SECONDS)
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(job).collect()
    }

    /// Renews the lease of a job. Returns false if it was lost, or if the job has ended.
    pub(crate) async fn renew(&self, id: Uuid, holder: Uuid) -> Result<bool, sqlx::Error> {
        let renewed = sqlx::query(
            "UPDATE payment_jobs SET lease_until = clock_timestamp() + make_interval(secs => $3) \
              WHERE id = $1 AND lease_holder = $2 AND status = 'pending'",
        );
        let renewed = renewed.bind(id).bind(holder).bind(LEASE_SECONDS);
        Ok(renewed.execute(&self.0).await?.rows_affected() > 0)
    }

    /// Stores how work on a job ended, and releases its lease. Nothing changes if another server
    /// has the lease meanwhile, or if the job has ended.
    pub(crate) async fn finish(
        &self,
        id: Uuid,
        holder: Uuid,
        finish: &Finish,
    ) -> Result<(), sqlx::Error> {
        let (status, pause, error, is_attempt, is_operation) = match finish {
            Finish::Done => ("done", None, None, true, false),
            Finish::Wait(pause) => ("pending", Some(*pause), None, false, false),
            Finish::WaitFor { pause, reason } => {
                ("pending", Some(*pause), Some(reason), false, false)
            }
            Finish::Again { pause, error } => ("pending", Some(*pause), Some(error), true, false),
            Finish::Failed {
                error,
                is_operation,
            } => ("failed", None, Some(error), true, *is_operation),
        };
        let sql = format!(
            "UPDATE payment_jobs SET status = $3, lease_holder = NULL, lease_until = NULL, \
                    attempts = attempts + CASE WHEN $6 THEN 1 ELSE 0 END, \
                    next_attempt_at = {NOW} + make_interval(secs => $4), \
                    last_error = coalesce($5, last_error), \
                    operation_failed = operation_failed OR $7, \
                    finished_at = CASE WHEN $3 = 'pending' THEN NULL ELSE {NOW} END \
              WHERE id = $1 AND lease_holder = $2 AND status = 'pending'"
        );
        sqlx::query(&sql)
            .bind(id)
            .bind(holder)
            .bind(status)
            .bind(pause.map(|pause| pause.as_secs_f64()))
            .bind(error)
            .bind(is_attempt)
            .bind(is_operation)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Records that the provider has failed a refund, unless it is done.
    pub(crate) async fn fail_operation(
        &self,
        operation_id: Uuid,
        error: &str,
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.0.acquire().await?;
        fail_refund(&mut connection, "operation_id", operation_id, error).await
    }

    /// Adds a job for money whose payment is unknown; it waits for an administrator.
    pub(crate) async fn add_unknown(
        &self,
        job: &NewJob,
        provider: &str,
        error: &str,
    ) -> Result<(), sqlx::Error> {
        let sql = format!(
            "INSERT INTO payment_jobs (id, kind, order_id, payment_id, intent, provider, amount, currency, \
                 status, attempts, last_error, position, finished_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'failed', 1, $9, $10, {NOW}) \
             ON CONFLICT (id) DO NOTHING"
        );
        sqlx::query(&sql)
            .bind(job.id)
            .bind(job.kind.name())
            .bind(job.order_id)
            .bind(job.payment_id)
            .bind(&job.intent)
            .bind(provider)
            .bind(job.amount.amount)
            .bind(job.amount.currency.code())
            .bind(error)
            .bind(to_sql(job.position))
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Returns jobs, newest event first.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn jobs(&self, slice: Slice<'_>) -> Result<Vec<Job>, sqlx::Error> {
        let sql = format!(
            "{JOB} WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR kind = $2) \
                AND ($3::bigint IS NULL OR (position, id) < ($3, $4)) \
              ORDER BY position DESC, id DESC LIMIT $5"
        );
        let rows = sqlx::query(&sql)
            .bind(slice.status)
            .bind(slice.kind.map(JobKind::name))
            .bind(slice.after.map(|(position, _)| to_sql(position)))
            .bind(slice.after.map(|(_, id)| id))
            .bind(slice.limit);
        let rows = rows.fetch_all(&self.0).await?;
        rows.iter().map(job).collect()
    }

    /// Returns one job.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn job(&self, id: Uuid) -> Result<Option<Job>, sqlx::Error> {
        let sql = format!("{JOB} WHERE id = $1");
        let row = sqlx::query(&sql).bind(id).fetch_optional(&self.0).await?;
        row.as_ref().map(job).transpose()
    }

    /// Makes a job due now. One that was given up begins a new schedule; a refund that the provider
    /// has failed is then made as another one. One that is done stays done.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn retry(&self, id: Uuid) -> Result<Changed, sqlx::Error> {
        let sql = format!(
            "UPDATE payment_jobs SET next_attempt_at = {NOW}, cancelled_at = NULL, closed_at = NULL, \
                    finished_at = NULL, attempts = CASE status WHEN 'pending' THEN attempts ELSE 0 END, \
                    operation_id = CASE WHEN operation_failed THEN $2 ELSE operation_id END, \
                    operation_failed = false, status = 'pending' \
              WHERE id = $1 AND status <> 'done'"
        );
        let changed = sqlx::query(&sql).bind(id).bind(Uuid::new_v4());
        self.changed(id, changed.execute(&self.0).await?.rows_affected())
            .await
    }

    /// Gives a pending job up, so that it needs attention, and closes one that was given up, so
    /// that it needs none. Either can be retried.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn cancel(&self, id: Uuid) -> Result<Changed, sqlx::Error> {
        let sql = format!(
            "UPDATE payment_jobs SET status = 'failed', next_attempt_at = NULL, cancelled_at = {NOW}, \
                    closed_at = CASE status WHEN 'pending' THEN NULL ELSE coalesce(closed_at, {NOW}) END, \
                    finished_at = coalesce(finished_at, {NOW}), lease_holder = NULL, lease_until = NULL \
              WHERE id = $1 AND status <> 'done'"
        );
        let changed = sqlx::query(&sql).bind(id).execute(&self.0).await?;
        self.changed(id, changed.rows_affected()).await
    }

    async fn changed(&self, id: Uuid, rows: u64) -> Result<Changed, sqlx::Error> {
        let job = self.job(id).await?;
        Ok(match (job, rows) {
            (None, _) => Changed::NotFound,
            (Some(job), 0) if job.status == "done" => Changed::AlreadyDone,
            (Some(job), _) => Changed::Done(Box::new(job)),
        })
    }

    /// Returns the jobs that were given up and not closed, and money without goods that is not
    /// returned yet; newest first. `after` is the time and id of the last one of the page before.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn needs_attention(
        &self,
        after: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<Vec<Matter>, sqlx::Error> {
        let sql = "SELECT * FROM (SELECT j.*, coalesce(j.finished_at, j.created_at) AS since FROM payment_jobs j \
                WHERE j.closed_at IS NULL \
                  AND (j.status = 'failed' OR j.status = 'pending' AND j.cause <> 'return')) matters \
              WHERE $1::timestamptz IS NULL OR (since, id) < ($1, $2) \
              ORDER BY since DESC, id DESC LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(after.map(|(since, _)| DateTime::<Utc>::from(since)))
            .bind(after.map(|(_, id)| id))
            .bind(limit)
            .fetch_all(&self.0)
            .await?;
        let matter = |row: &PgRow| {
            Ok(Matter {
                job: job(row)?,
                since: row.try_get::<DateTime<Utc>, _>("since")?.into(),
            })
        };
        rows.iter().map(matter).collect()
    }

    /// Returns one matter that needs attention.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn matter_since(&self, id: Uuid) -> Result<Option<Timestamp>, sqlx::Error> {
        let sql = "SELECT coalesce(finished_at, created_at) FROM payment_jobs WHERE id = $1";
        let since: Option<DateTime<Utc>> = sqlx::query_scalar(sql)
            .bind(id)
            .fetch_optional(&self.0)
            .await?;
        Ok(since.map(Timestamp::from))
    }

    /// Removes jobs that were done long ago, and the references of erased buyers for whom there is
    /// nothing left to do.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn prune(&self) -> Result<(), sqlx::Error> {
        sqlx::query(
            "DELETE FROM payment_jobs WHERE status = 'done' \
                AND finished_at < clock_timestamp() - make_interval(days => $1)",
        )
        .bind(KEPT_DONE_DAYS)
        .execute(&self.0)
        .await?;
        // The column holds the order of an erased buyer where it does not hold a drop.
        const IS_SETTLED: &str = "EXISTS (SELECT 1 FROM erasures e WHERE e.drop_id = r.order_id) \
            AND NOT EXISTS (SELECT 1 FROM payment_jobs j \
                WHERE j.order_id = r.order_id AND (j.status = 'pending' OR j.closed_at IS NULL \
                  AND j.status = 'failed'))";
        let starts = format!(
            "UPDATE payment_starts r SET provider_reference = NULL \
              WHERE provider_reference IS NOT NULL AND {IS_SETTLED} \
                AND (succeeded OR EXISTS (SELECT 1 FROM payment_jobs j WHERE j.id = r.payment_id))"
        );
        // Goods that were bought may still be returned, and their payment disputed.
        let intents = format!(
            "DELETE FROM payment_intents r WHERE {IS_SETTLED} \
                AND (r.is_returned OR NOT EXISTS (SELECT 1 FROM payment_starts s \
                    WHERE s.payment_id = r.payment_id \
                      AND s.started_at > clock_timestamp() - make_interval(days => {KEPT_REFERENCE_DAYS})))"
        );
        let withdrawals = "DELETE FROM payment_withdrawals w \
              WHERE EXISTS (SELECT 1 FROM erasures e WHERE e.drop_id = w.order_id) \
                AND NOT EXISTS (SELECT 1 FROM payment_intents i WHERE i.intent = w.intent)"
            .to_owned();
        for sql in [starts, intents, withdrawals] {
            sqlx::query(&sql).execute(&self.0).await?;
        }
        Ok(())
    }
}

fn money_in(row: &PgRow) -> Result<Money, sqlx::Error> {
    let code: &str = row.try_get("currency")?;
    let currency = Currency::new(code).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let amount = row.try_get("amount")?;
    Ok(Money { amount, currency })
}

fn start(row: &PgRow) -> Result<Start, sqlx::Error> {
    Ok(Start {
        payment_id: row.try_get("payment_id")?,
        order_id: row.try_get("order_id")?,
        provider: row.try_get("provider")?,
        amount: money_in(row)?,
        provider_reference: row.try_get("provider_reference")?,
        succeeded: row.try_get("succeeded")?,
    })
}

fn job(row: &PgRow) -> Result<Job, sqlx::Error> {
    Ok(Job {
        id: row.try_get("id")?,
        kind: JobKind::stored(row.try_get("kind")?)?,
        order_id: row.try_get("order_id")?,
        payment_id: row.try_get("payment_id")?,
        intent: row.try_get("intent")?,
        provider: row.try_get("provider")?,
        amount: money_in(row)?,
        cause: row.try_get("cause")?,
        operation_id: row.try_get("operation_id")?,
        status: row.try_get("status")?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        next_attempt_at: time_in(row, "next_attempt_at")?,
        last_error: row.try_get("last_error")?,
        position: position_in(row, "position")?,
        is_cancelled: time_in(row, "cancelled_at")?.is_some(),
        is_closed: time_in(row, "closed_at")?.is_some(),
        created_at: time_in(row, "created_at")?.unwrap_or_default(),
        finished_at: time_in(row, "finished_at")?,
    })
}

#[cfg(test)]
mod tests;
