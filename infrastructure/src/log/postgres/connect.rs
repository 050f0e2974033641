//! Creates pools and keeps their connections usable.
//!
//! Promise: a pooled connection that was idle has just responded to a ping, or is replaced; a
//! silent server is not waited for. A server process connects to a primary only. Its statements do
//! not wait for a lock longer than their caller waits for them, and do not outlive a lost client
//! (from PostgreSQL 14 on, where the platform can detect that).

use std::ops::Deref;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor};
use tracing::{debug, warn};

use super::APPEND_TIMEOUT;
use super::pooler::look_for_pooler;
use crate::log::failures::LastFailure;
use crate::log::timeout::within;
use crate::migrations::migrator;

/// A pooled connection that does not respond to a ping within this time is discarded.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Less than [`APPEND_TIMEOUT`], so that the server ends a statement before its caller abandons it.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '4s'";

/// How often the server checks whether the client of a running statement is still connected. A
/// setting of PostgreSQL 14 and later; a value other than 0 is an error where the platform cannot
/// detect it.
const NOTICE_LOST_CLIENTS: &str = "
SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'";

/// Connections to the database of a log, and a record of its last failure. Clones share both, and
/// so do the logs that read through the pool: a failure that one of them meets makes all discard
/// connections that were idle at that time.
#[derive(Debug, Clone)]
pub struct LogPool {
    connections: PgPool,
    pub(super) last_failure: LastFailure,
}

impl LogPool {
    /// Opens a separate pool of `connections` to the primary of the same database, which shares the
    /// record of failures.
    ///
    /// # Errors
    /// As for [`connect_to_primary`].
    pub async fn open_separate(&self, connections: u32) -> Result<Self, sqlx::Error> {
        let options = self.connect_options().as_ref().clone();
        primary(options, connections, self.last_failure.clone()).await
    }
}

impl Deref for LogPool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.connections
    }
}

impl From<PgPool> for LogPool {
    /// Adds a record of failures that `connections` themselves do not use: for a pool that was
    /// opened elsewhere.
    fn from(connections: PgPool) -> Self {
        Self {
            connections,
            last_failure: LastFailure::default(),
        }
    }
}

/// Opens a pool for reading and projecting, and migrates the schema.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached, is a standby or behind a pooler that does
/// not keep a session, cannot store every character, or a migration does not apply.
pub async fn connect(options: PgConnectOptions, connections: u32) -> Result<LogPool, sqlx::Error> {
    // Before the migrations, which take a session-level lock.
    look_for_pooler(&options).await?;
    // A migration may wait for locks, for example of another process that migrates.
    let first = connect_as_is(options.clone(), 1).await?;
    require_every_character(&first).await?;
    migrate(&first).await?;
    let pool = connect_to_primary(options, connections).await?;
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&*pool).await?;
    if fsync != "on" {
        warn!(
            "this Postgres runs with fsync = {fsync}: an acknowledged hold may be lost in a power cut"
        );
    }
    Ok(pool)
}

/// A database with another encoding rejects an append because of a character in a buyer's name.
async fn require_every_character(pool: &PgPool) -> Result<(), sqlx::Error> {
    let encoding: String = sqlx::query_scalar("SHOW server_encoding")
        .fetch_one(pool)
        .await?;
    // SQL_ASCII stores bytes unchecked.
    if ["UTF8", "SQL_ASCII"].contains(&encoding.as_str()) {
        return Ok(());
    }
    let what = format!(
        "the database has the encoding {encoding}, which lacks characters that buyers may have in \
         their names: create one WITH ENCODING 'UTF8' TEMPLATE template0"
    );
    Err(sqlx::Error::Configuration(what.into()))
}

/// Migrates the schema, and closes the pool. An up-to-date schema needs only the rights of the
/// least privileged role.
async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
    let migrated = migrate_on(pool).await;
    pool.close().await;
    migrated
}

async fn migrate_on(pool: &PgPool) -> Result<(), sqlx::Error> {
    let migrator = migrator().await?;
    let applied: Result<Vec<(i64, Vec<u8>)>, sqlx::Error> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
            .fetch_all(pool)
            .await;
    let is_applied = |migration: &sqlx::migrate::Migration| {
        let same = |(version, checksum): &(i64, Vec<u8>)| {
            *version == migration.version && *checksum == *migration.checksum
        };
        applied
            .as_ref()
            .is_ok_and(|applied| applied.iter().any(same))
    };
    if migrator.iter().all(is_applied) {
        return Ok(());
    }
    Ok(migrator.run(pool).await?)
}

/// Opens a pool for reading, without changing anything.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached.
pub async fn connect_as_is(
    options: PgConnectOptions,
    connections: u32,
) -> Result<LogPool, sqlx::Error> {
    // A pool retries and then reports only a timeout; a single connection reports the cause.
    within(APPEND_TIMEOUT, PgConnection::connect_with(&options))
        .await?
        .close()
        .await?;
    let last_failure = LastFailure::default();
    let opened = pool_options(connections, &last_failure).connect_with(options);
    Ok(LogPool {
        connections: opened.await?,
        last_failure,
    })
}

/// Opens a pool for a process that writes: each connection leads to a primary, and its waits are
/// bounded.
///
/// A server in recovery stays in recovery until it is promoted, and a primary cannot return to
/// recovery without a restart, which ends its connections; so one check per connection is enough.
/// Reading from a standby that lags would be worse than not reading: a head behind ours means that
/// history was lost.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached or is a standby.
pub async fn connect_to_primary(
    options: PgConnectOptions,
    connections: u32,
) -> Result<LogPool, sqlx::Error> {
    primary(options, connections, LastFailure::default()).await
}

async fn primary(
    options: PgConnectOptions,
    connections: u32,
    last_failure: LastFailure,
) -> Result<LogPool, sqlx::Error> {
    let mut first = within(APPEND_TIMEOUT, PgConnection::connect_with(&options)).await?;
    within(APPEND_TIMEOUT, prepare(&mut first)).await?;
    first.close().await?;
    let opened = pool_options(connections, &last_failure)
        .after_connect(|connection, _| Box::pin(prepare(connection)))
        .connect_with(options);
    Ok(LogPool {
        connections: opened.await?,
        last_failure,
    })
}

fn pool_options(connections: u32, last_failure: &LastFailure) -> PgPoolOptions {
    let last_failure = last_failure.clone();
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(APPEND_TIMEOUT)
        // Replaces the pool's own ping, which has no timeout.
        .test_before_acquire(false)
        .before_acquire(move |connection, usage| {
            Box::pin(is_alive(connection, usage.idle_for, last_failure.clone()))
        })
}

async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(&mut *connection)
        .await?;
    if is_standby {
        let what = "the server is in recovery (a standby), so it accepts no writes";
        return Err(sqlx::Error::Protocol(what.to_owned()));
    }
    connection.execute(LOCK_TIMEOUT).await?;
    notice_lost_clients(connection).await;
    Ok(())
}

/// Makes the server end statements whose client has gone, where it can detect that.
pub(super) async fn notice_lost_clients(connection: &mut PgConnection) {
    if let Err(error) = connection.execute(NOTICE_LOST_CLIENTS).await {
        debug!(%error, "the server cannot check for lost clients");
    }
}

/// Reports whether an idle connection may be used. One that may not is replaced immediately.
async fn is_alive(
    connection: &mut PgConnection,
    idle_for: Duration,
    last_failure: LastFailure,
) -> Result<bool, sqlx::Error> {
    let idle_since = Instant::now().checked_sub(idle_for);
    if idle_since.is_none_or(|since| last_failure.is_after(since)) {
        return Ok(false);
    }
    let answered = last_failure.within(PING_TIMEOUT, connection.ping()).await;
    Ok(answered.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::postgres::PostgresLog;

    fn opened() -> LogPool {
        let options = "postgres://me@localhost/one".parse().unwrap();
        PgPool::connect_lazy_with(options).into()
    }

    #[tokio::test]
    async fn failures_are_shared_by_a_pool_and_the_logs_that_use_it() {
        let (pool, other) = (opened(), opened());
        let start = Instant::now();
        let log = PostgresLog::new(pool.clone());
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        log.pool().last_failure.note(&lost);
        assert!(pool.last_failure.is_after(start));
        let second = PostgresLog::new(pool);
        assert!(second.pool().last_failure.is_after(start));
        assert!(!other.last_failure.is_after(start), "another pool");
    }
}
