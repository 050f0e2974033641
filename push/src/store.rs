//! The tables of Web Push: the shop's key, subscriptions as they are read, and jobs.
//!
//! Promise: jobs are stored in one transaction with the position that they were derived from, and
//! deriving them again changes nothing. A page of subscriptions is passed in one transaction with
//! its consequences. A job is worked on by the server that holds its lease, and by no other.
//! Limit: a lease is by the database's clock.

use std::fmt;
use std::time::Duration;

use catalogue::notifications::{Key, parse_id};
use chrono::{DateTime, Utc};
use domain::values::{CatalogueId, DropId, OrderId, Position, Timestamp};
use infrastructure::sql_values::{from_sql, position_in, time_in, to_sql};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::encryption::BrowserKeys;
use crate::vapid::StoredKey;

/// How long a server may work on a job without renewing its lease, in seconds.
pub(crate) const LEASE_SECONDS: f64 = 15.0;
/// Days after which jobs that are done or were given up are removed.
pub const KEPT_DAYS: i32 = 7;
/// After a notification that a drop is sold out, or low on stock, the next one of this drop within
/// these minutes is not sent to closed pages: it may sell out each time that a hold expires.
pub const QUIET_MINUTES: i32 = 10;
/// For how long a message that is retried by an administrator is of use, in minutes.
const RETRIED_MINUTES: i32 = 60;
const NOW: &str = "date_trunc('milliseconds', clock_timestamp())";
const JOB: &str = "SELECT *, \
    extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining FROM push_jobs";

/// A notification that is being sent, or a message to one subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: Uuid,
    /// The notification.
    pub key: Key,
    pub drop_id: Option<DropId>,
    pub order_id: Option<OrderId>,
    /// `None`: all subscriptions of the notification's readers.
    pub subscription_id: Option<Uuid>,
    pub(crate) sent_up_to: Option<Uuid>,
    pub status: String,
    pub attempts: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_error: Option<String>,
    /// How long the message is still of use; negative if it is not.
    pub(crate) remaining_seconds: f64,
    /// An administrator has given it up.
    pub is_cancelled: bool,
}

/// A job to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewJob {
    pub(crate) id: Uuid,
    pub(crate) key: Key,
    pub(crate) drop_id: Option<DropId>,
    pub(crate) order_id: Option<OrderId>,
    pub(crate) is_fan_out: bool,
    /// A drop may cause such a notification again and again.
    pub(crate) repeats: bool,
    pub(crate) expires_at: Timestamp,
}

/// A subscription that a message is sent to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: Uuid,
    pub(crate) endpoint: String,
    pub(crate) keys: BrowserKeys,
    pub(crate) sees_ids: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The readers of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readers {
    /// The followers of the creator, and the buyers with a reminder of the drop.
    Followers(DropId, Option<CatalogueId>),
    /// One buyer: as compared, and as spelled by the account.
    Buyer { comparable: String, account: String },
}

/// A message that was not delivered, and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undelivered {
    pub(crate) id: Uuid,
    pub(crate) subscription_id: Uuid,
    pub(crate) attempts: u32,
    pub(crate) error: String,
    /// `None`: given up.
    pub(crate) pause: Option<Duration>,
}

/// The consequences of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageSent {
    /// The last subscription of the page.
    pub(crate) last: Option<Uuid>,
    /// Subscriptions that push services do not know any more.
    pub(crate) forgotten: Vec<Uuid>,
    pub(crate) undelivered: Vec<Undelivered>,
}

/// How work on a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finish {
    Done,
    Again { pause: Duration, error: String },
    Failed { error: String },
}

/// The result of an administrator's change.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    Done(Box<Job>),
    AlreadyDone,
    NotFound,
}

/// The classes of jobs, each with slots of its own: messages to a push service that is away must
/// not delay the confirmation of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Notifications to followers.
    FanOut,
    /// Notifications to one buyer.
    Own,
    /// Messages that failed.
    Again,
}

/// A slice of the jobs.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    pub status: Option<&'a str>,
    /// The position and id of the last job of the page before.
    pub after: Option<(Position, Uuid)>,
    pub limit: i64,
}

/// The tables. Clones use the same connections.
#[derive(Debug, Clone)]
pub struct Store(PgPool);

impl Store {
    /// Returns the tables in this database.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    pub(crate) async fn key(&self) -> Result<Option<StoredKey>, sqlx::Error> {
        let pkcs8 = sqlx::query_scalar("SELECT pkcs8 FROM push_key");
        let pkcs8 = pkcs8.fetch_optional(&self.0).await?;
        Ok(pkcs8.map(|pkcs8| StoredKey { pkcs8 }))
    }

    /// Stores a key unless another server has stored one meanwhile; returns the one that is stored.
    pub(crate) async fn keep_key(&self, key: &StoredKey) -> Result<StoredKey, sqlx::Error> {
        sqlx::query("INSERT INTO push_key (pkcs8) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(&key.pkcs8)
            .execute(&self.0)
            .await?;
        let kept = self.key().await?;
        kept.ok_or(sqlx::Error::RowNotFound)
    }

    /// Returns the position up to which jobs were derived. Goes back to the head of a log that an
    /// operator has cut.
    pub(crate) async fn position(&self) -> Result<Position, sqlx::Error> {
        sqlx::query(
            "UPDATE push_follower f SET position = h.position FROM log_head h \
              WHERE f.position > h.position",
        )
        .execute(&self.0)
        .await?;
        let position = sqlx::query_scalar("SELECT position FROM push_follower");
        Ok(from_sql(position.fetch_one(&self.0).await?))
    }

    /// Returns those of these buyers that have a subscription.
    pub(crate) async fn subscribed(&self, buyers: &[String]) -> Result<Vec<String>, sqlx::Error> {
        if buyers.is_empty() {
            return Ok(vec![]);
        }
        let found = sqlx::query_scalar(
            "SELECT DISTINCT buyer FROM push_subscriptions WHERE buyer = ANY($1)",
        );
        found.bind(buyers).fetch_all(&self.0).await
    }

    /// Returns true if there is a subscription.
    pub(crate) async fn has_subscriptions(&self) -> Result<bool, sqlx::Error> {
        let any = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM push_subscriptions)");
        any.fetch_one(&self.0).await
    }

    /// Stores jobs, and the position that they were derived up to. Returns false if another server
    /// has stored another position.
    pub(crate) async fn follow(
        &self,
        from: Position,
        to: Position,
        jobs: &[NewJob],
    ) -> Result<bool, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let moved = sqlx::query("UPDATE push_follower SET position = $2 WHERE position = $1")
            .bind(to_sql(from))
            .bind(to_sql(to))
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        let sql = format!(
            "INSERT INTO push_jobs (id, event_type, position, drop_id, order_id, is_fan_out, \
                 expires_at, status, next_attempt_at) \
             SELECT n.id, n.event_type, n.position, n.drop_id, n.order_id, n.is_fan_out, n.expires_at, \
                 'pending', {NOW} \
               FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::uuid[], \
                 $6::boolean[], $7::timestamptz[], $8::boolean[]) \
                 n (id, event_type, position, drop_id, order_id, is_fan_out, expires_at, repeats) \
              WHERE NOT n.repeats OR NOT EXISTS (SELECT 1 FROM push_jobs j \
                 WHERE j.drop_id = n.drop_id AND j.event_type = n.event_type AND j.is_fan_out \
                   AND j.created_at > clock_timestamp() - make_interval(mins => $9)) \
             ON CONFLICT (id) DO NOTHING"
        );
        sqlx::query(&sql)
            .bind(column(jobs, |job| job.id))
            .bind(column(jobs, |job| job.key.1.name()))
            .bind(column(jobs, |job| to_sql(job.key.0)))
            .bind(column(jobs, |job| job.drop_id.map(|id| id.0)))
            .bind(column(jobs, |job| job.order_id.map(|id| id.0)))
            .bind(column(jobs, |job| job.is_fan_out))
            .bind(column(jobs, |job| DateTime::<Utc>::from(job.expires_at)))
            .bind(column(jobs, |job| job.repeats))
            .bind(QUIET_MINUTES)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes the lease of jobs that are due. A lease that ends later than any can was taken while
    /// the clock was ahead.
    pub(crate) async fn take_due(
        &self,
        holder: Uuid,
        class: Class,
        limit: i64,
    ) -> Result<Vec<Job>, sqlx::Error> {
        if limit == 0 {
            return Ok(vec![]);
        }
        let rows = sqlx::query(
            "UPDATE push_jobs SET lease_holder = $1, \
                    lease_until = clock_timestamp() + make_interval(secs => $2) \
              WHERE id IN (SELECT id FROM push_jobs \
                  WHERE status = 'pending' AND is_fan_out = $4 \
                    AND (subscription_id IS NOT NULL) = $5 \
                    AND next_attempt_at <= clock_timestamp() \
                    AND (lease_until IS NULL OR lease_until NOT BETWEEN \
                         clock_timestamp() AND clock_timestamp() + make_interval(secs => $2)) \
                  ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
             RETURNING *, \
                 extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining",
        )
        .bind(holder)
        .bind(LEASE_SECONDS)
        .bind(limit)
        .bind(class == Class::FanOut)
        .bind(class == Class::Again)
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(job).collect()
    }

    /// Renews the lease of a job. Returns false if it was lost, or if the job has ended.
    pub(crate) async fn renew(&self, id: Uuid, holder: Uuid) -> Result<bool, sqlx::Error> {
        let renewed = sqlx::query(
            "UPDATE push_jobs SET lease_until = clock_timestamp() + make_interval(secs => $3) \
              WHERE id = $1 AND lease_holder = $2 AND status = 'pending'",
        );
        let renewed = renewed.bind(id).bind(holder).bind(LEASE_SECONDS);
        Ok(renewed.execute(&self.0).await?.rows_affected() > 0)
    }

    /// Releases all leases of a holder, so that another server need not wait for their end.
    pub(crate) async fn release(&self, holder: Uuid) -> Result<(), sqlx::Error> {
        let sql = "UPDATE push_jobs SET lease_until = NULL \
            WHERE lease_holder = $1 AND status = 'pending'";
        sqlx::query(sql).bind(holder).execute(&self.0).await?;
        Ok(())
    }

    /// Returns at most `limit` subscriptions of the readers of the event at `position`, after the
    /// subscription `after`, in the order of their ids.
    pub(crate) async fn page(
        &self,
        readers: &Readers,
        position: Position,
        vapid_key: &[u8],
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Target>, sqlx::Error> {
        const USABLE: &str = "SELECT s.id, s.endpoint, s.public_key, s.auth, s.sees_ids \
              FROM push_subscriptions s \
             WHERE s.vapid_key = $1 AND s.position < $2 AND ($3::uuid IS NULL OR s.id > $3) \
               AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())";
        let of_readers = match readers {
            Readers::Followers(..) => {
                "(EXISTS (SELECT 1 FROM follows f WHERE f.buyer = s.buyer AND f.position < $2 \
                     AND f.creator = (SELECT c.uid FROM creators c WHERE c.id = $5)) \
                  OR EXISTS (SELECT 1 FROM reminders r \
                      WHERE r.buyer = s.buyer AND r.drop_id = $6 AND r.position < $2))"
            }
            Readers::Buyer { .. } => "s.buyer = $5 AND (s.account IS NULL OR s.account = $6)",
        };
        let sql = format!("{USABLE} AND {of_readers} ORDER BY s.id LIMIT $4");
        let query = sqlx::query(&sql)
            .bind(vapid_key)
            .bind(to_sql(position))
            .bind(after)
            .bind(limit);
        let query = match readers {
            Readers::Followers(drop_id, creator_id) => query
                .bind(creator_id.as_ref().map(CatalogueId::as_str))
                .bind(drop_id.0),
            Readers::Buyer {
                comparable,
                account,
            } => query.bind(comparable).bind(account),
        };
        let rows = query.fetch_all(&self.0).await?;
        rows.iter().map(target).collect()
    }

    /// Returns one subscription, unless it has expired or is for another key of the shop.
    pub(crate) async fn target(
        &self,
        id: Uuid,
        vapid_key: &[u8],
    ) -> Result<Option<Target>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT id, endpoint, public_key, auth, sees_ids FROM push_subscriptions \
              WHERE id = $1 AND vapid_key = $2 \
                AND (expires_at IS NULL OR expires_at > clock_timestamp())",
        );
        let row = row.bind(id).bind(vapid_key).fetch_optional(&self.0).await?;
        row.as_ref().map(target).transpose()
    }

    /// Passes a page of a job, stores its consequences and renews the lease. Returns false, and
    /// changes nothing, if the lease was lost or the job has ended.
    pub(crate) async fn pass(
        &self,
        job: &Job,
        holder: Uuid,
        sent: &PageSent,
    ) -> Result<bool, sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let passed = sqlx::query(
            "UPDATE push_jobs SET sent_up_to = coalesce($3, sent_up_to), \
                    lease_until = clock_timestamp() + make_interval(secs => $4) \
              WHERE id = $1 AND lease_holder = $2 AND status = 'pending'",
        )
        .bind(job.id)
        .bind(holder)
        .bind(sent.last)
        .bind(LEASE_SECONDS)
        .execute(&mut *transaction)
        .await?;
        if passed.rows_affected() == 0 {
            return Ok(false);
        }
        forget(&mut transaction, &sent.forgotten).await?;
        let failed = &sent.undelivered;
        // A subscription that ended meanwhile has no messages.
        let sql = format!(
            "INSERT INTO push_jobs (id, subscription_id, attempts, last_error, next_attempt_at, \
                 status, finished_at, event_type, position, drop_id, order_id, is_fan_out, expires_at) \
             SELECT n.id, n.subscription_id, n.attempts, n.error, \
                    {NOW} + make_interval(secs => n.pause), \
                    CASE WHEN n.pause IS NULL THEN 'failed' ELSE 'pending' END, \
                    CASE WHEN n.pause IS NULL THEN {NOW} END, \
                    j.event_type, j.position, j.drop_id, j.order_id, false, j.expires_at \
               FROM push_jobs j, UNNEST($2::uuid[], $3::uuid[], $4::integer[], $5::text[], $6::float8[]) \
                    n (id, subscription_id, attempts, error, pause) \
              WHERE j.id = $1 \
                AND EXISTS (SELECT 1 FROM push_subscriptions s WHERE s.id = n.subscription_id \
                        FOR KEY SHARE) \
             ON CONFLICT (id) DO NOTHING"
        );
        if !failed.is_empty() {
            sqlx::query(&sql)
                .bind(job.id)
                .bind(column(failed, |one| one.id))
                .bind(column(failed, |one| one.subscription_id))
                .bind(column(failed, |one| {
                    i32::try_from(one.attempts).unwrap_or(i32::MAX)
                }))
                .bind(column(failed, |one| one.error.as_str()))
                .bind(column(failed, |one| {
                    one.pause.map(|pause| pause.as_secs_f64())
                }))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Deletes a subscription, and with it its jobs.
    pub(crate) async fn forget(&self, id: Uuid) -> Result<(), sqlx::Error> {
        let mut connection = self.0.acquire().await?;
        forget(&mut connection, &[id]).await
    }

    /// Stores how work on a job ended, and releases its lease. Nothing changes if another server
    /// has the lease meanwhile, or if the job has ended.
    pub(crate) async fn finish(
        &self,
        id: Uuid,
        holder: Uuid,
        finish: &Finish,
    ) -> Result<(), sqlx::Error> {
        let (status, pause, error) = match finish {
            Finish::Done => ("done", None, None),
            Finish::Again { pause, error } => ("pending", Some(pause.as_secs_f64()), Some(error)),
            Finish::Failed { error } => ("failed", None, Some(error)),
        };
        let sql = format!(
            "UPDATE push_jobs SET status = $3, lease_holder = NULL, lease_until = NULL, \
                    attempts = attempts + 1, \
                    next_attempt_at = {NOW} + make_interval(secs => $4), \
                    last_error = coalesce($5, last_error), \
                    finished_at = CASE WHEN $3 = 'pending' THEN NULL ELSE {NOW} END \
              WHERE id = $1 AND lease_holder = $2 AND status = 'pending'"
        );
        sqlx::query(&sql)
            .bind(id)
            .bind(holder)
            .bind(status)
            .bind(pause)
            .bind(error)
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
            "{JOB} WHERE ($1::text IS NULL OR status = $1) \
                AND ($2::bigint IS NULL OR (position, id) < ($2, $3)) \
              ORDER BY position DESC, id DESC LIMIT $4"
        );
        let rows = sqlx::query(&sql)
            .bind(slice.status)
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

    /// Makes a job due now. One that was given up begins a new schedule, and is of use for another
    /// while. One that is done stays done.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn retry(&self, id: Uuid) -> Result<Changed, sqlx::Error> {
        let sql = format!(
            "UPDATE push_jobs SET next_attempt_at = {NOW}, cancelled_at = NULL, finished_at = NULL, \
                    attempts = CASE status WHEN 'pending' THEN attempts ELSE 0 END, \
                    expires_at = greatest(expires_at, {NOW} + make_interval(mins => $2)), \
                    status = 'pending' \
              WHERE id = $1 AND status <> 'done'"
        );
        let changed = sqlx::query(&sql).bind(id).bind(RETRIED_MINUTES);
        self.changed(id, changed.execute(&self.0).await?.rows_affected())
            .await
    }

    /// Gives a job up. It can be retried.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn cancel(&self, id: Uuid) -> Result<Changed, sqlx::Error> {
        let sql = format!(
            "UPDATE push_jobs SET status = 'failed', next_attempt_at = NULL, cancelled_at = {NOW}, \
                    finished_at = coalesce(finished_at, {NOW}), \
                    lease_holder = NULL, lease_until = NULL \
              WHERE id = $1 AND status <> 'done'"
        );
        let changed = sqlx::query(&sql).bind(id).execute(&self.0).await?;
        self.changed(id, changed.rows_affected()).await
    }

    async fn changed(&self, id: Uuid, rows: u64) -> Result<Changed, sqlx::Error> {
        let job = self.job(id).await?;
        Ok(match (job, rows) {
            (None, _) => Changed::NotFound,
            (Some(_), 0) => Changed::AlreadyDone,
            (Some(job), _) => Changed::Done(Box::new(job)),
        })
    }

    /// Returns the number of jobs that are not done.
    pub(crate) async fn pending(&self) -> Result<u64, sqlx::Error> {
        let count = sqlx::query_scalar("SELECT count(*) FROM push_jobs WHERE status = 'pending'");
        let count: i64 = count.fetch_one(&self.0).await?;
        Ok(count.unsigned_abs())
    }

    /// Removes old jobs, and subscriptions whose browsers have let them expire.
    pub(crate) async fn prune(&self) -> Result<(), sqlx::Error> {
        let sql = "DELETE FROM push_jobs WHERE status <> 'pending' \
            AND finished_at < clock_timestamp() - make_interval(days => $1)";
        sqlx::query(sql).bind(KEPT_DAYS).execute(&self.0).await?;
        let sql = "DELETE FROM push_subscriptions WHERE expires_at < clock_timestamp()";
        sqlx::query(sql).execute(&self.0).await?;
        Ok(())
    }
}

async fn forget(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM push_subscriptions WHERE id = ANY($1)")
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// Returns one value of each row, as an array of SQL.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn target(row: &PgRow) -> Result<Target, sqlx::Error> {
    let keys = BrowserKeys::stored(row.try_get("public_key")?, row.try_get("auth")?);
    Ok(Target {
        id: row.try_get("id")?,
        endpoint: row.try_get("endpoint")?,
        keys: keys.map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        sees_ids: row.try_get("sees_ids")?,
    })
}

fn job(row: &PgRow) -> Result<Job, sqlx::Error> {
    let position = position_in(row, "position")?;
    let kind: &str = row.try_get("event_type")?;
    let key = parse_id(&format!("{position}-{kind}"));
    let drop_id: Option<Uuid> = row.try_get("drop_id")?;
    let order_id: Option<Uuid> = row.try_get("order_id")?;
    Ok(Job {
        id: row.try_get("id")?,
        key: key.ok_or_else(|| sqlx::Error::Decode(format!("unknown type {kind}").into()))?,
        drop_id: drop_id.map(DropId),
        order_id: order_id.map(OrderId),
        subscription_id: row.try_get("subscription_id")?,
        sent_up_to: row.try_get("sent_up_to")?,
        status: row.try_get("status")?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        next_attempt_at: time_in(row, "next_attempt_at")?,
        last_error: row.try_get("last_error")?,
        remaining_seconds: row.try_get("remaining")?,
        is_cancelled: time_in(row, "cancelled_at")?.is_some(),
    })
}
