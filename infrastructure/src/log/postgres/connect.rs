//! Creates pools and keeps their connections usable.
//!
//! Promise: a pooled connection that was idle has just responded to a ping, or is replaced; a
//! silent server is not waited for. A server process uses only sessions that may write, and of
//! several hosts the one that is the primary. Its statements do not wait for a lock longer than
//! their caller waits for them, and do not outlive a lost client (from PostgreSQL 14 on, where the
//! platform can detect that).

use std::ops::Deref;
use std::pin::pin;
use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{Connection, Executor, Row};
use tokio::time::sleep;
use tracing::{info, warn};

use super::APPEND_TIMEOUT;
use super::address::{Address, name_of};
use super::faults::is_lock_timeout;
use super::pooler::look_for_pooler;
use super::session::{self, LOCK_TIMEOUT, NO_TIMEOUT, State, notice_lost_clients};
use crate::log::failures::LastFailure;
use crate::log::timeout::within;
use crate::migrations::migrator;

/// A pooled connection that does not respond to a ping within this time is discarded.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two attempts of a pool to open a session that may write.
const OPEN_AGAIN: Duration = Duration::from_millis(250);

/// Between two attempts to find the primary among several hosts.
const FIND_AGAIN: Duration = Duration::from_millis(250);

/// Between two looks at a password file. Connections are replaced half an hour after they were
/// opened, or after a failure.
const LOOK_AT_PASSWORD: Duration = Duration::from_secs(2);

/// How long a commit may take before a record is written to make the standby respond.
const NUDGE_AFTER: Duration = Duration::from_millis(500);

/// A record in the write-ahead log without a transaction: nothing waits for its commit.
const NUDGE: &str = "SELECT pg_logical_emit_message(false, 'holdfast', '')";

/// The least version of PostgreSQL, as `server_version_num`.
const LEAST_VERSION: i32 = 150_000;

/// Connections to the database of a log, and a record of its last failure. Clones share both, and
/// so do the logs that read through the pool: a failure that one of them meets makes all discard
/// connections that were idle at that time.
#[derive(Debug, Clone)]
pub struct LogPool {
    connections: PgPool,
    pub(super) last_failure: LastFailure,
    /// Where its connections lead to, if each of them may write.
    address: Option<Address>,
    /// The synchronous standbys without which nothing is acknowledged.
    standbys: u32,
}

impl LogPool {
    /// Opens a separate pool of `connections` to the primary of the same database, which shares the
    /// record of failures.
    ///
    /// # Errors
    /// As for [`connect_to_primary`].
    pub async fn open_separate(&self, connections: u32) -> Result<Self, sqlx::Error> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => self.connect_options().as_ref().clone().into(),
        };
        let options = pool_options(connections, &self.last_failure).min_connections(connections);
        let opened = primary(address, options, self.last_failure.clone()).await?;
        Ok(opened.requiring(self.standbys))
    }

    /// Makes the logs that use it acknowledge nothing without this many synchronous standbys.
    #[must_use]
    pub const fn requiring(mut self, standbys: u32) -> Self {
        self.standbys = standbys;
        self
    }

    pub(super) const fn required_standbys(&self) -> u32 {
        self.standbys
    }

    /// Reports whether each of its connections could write when it was opened.
    pub(super) const fn is_for_writes(&self) -> bool {
        self.address.is_some()
    }

    /// Follows the database, until the pool is closed. Of several hosts, after each failure the
    /// next connections lead to the one that accepts writes by then; a password file is read again.
    async fn follow(self, address: Address) {
        let mut failures = self.last_failure.follow();
        let closed = self.connections.close_event();
        let has_several_hosts = address.has_several_hosts();
        let has_password_file = address.has_password_file();
        // It may have changed since the address was read.
        let mut password = None;
        let following = async {
            loop {
                tokio::select! {
                    changed = failures.changed(), if has_several_hosts => {
                        if changed.is_err() {
                            return;
                        }
                        match address.find_again(&self.connect_options()).await {
                            Ok(found) => self.lead_to(found),
                            // Nothing reports that a host can be used again.
                            Err(_) => failures.mark_changed(),
                        }
                        sleep(FIND_AGAIN).await;
                    }
                    () = sleep(LOOK_AT_PASSWORD), if has_password_file => {
                        let changed = address.password_version();
                        if changed == password {
                            continue;
                        }
                        password = changed;
                        let present = self.connect_options();
                        if let Some(options) = address.with_password(&present) {
                            self.connections.set_connect_options(options);
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = closed => {}
            () = following => {}
        }
    }

    /// Completes `commit`. While it waits, records are written by another session.
    ///
    /// A commit is released by the next message of a standby. If `synchronous_standby_names`
    /// changes at that moment, as after a failover, the message releases nothing, and the next one
    /// comes when there is more to store, or after 10 s (`wal_receiver_status_interval`). Every
    /// other append waits behind this one, so nothing else would write.
    pub(super) async fn nudging<T>(&self, commit: impl Future<Output = T>) -> T {
        let mut commit = pin!(commit);
        loop {
            tokio::select! {
                biased;
                outcome = &mut commit => return outcome,
                () = sleep(NUDGE_AFTER) => {}
            }
            // A task: a statement that is given up would leave its session in an unknown state.
            let nudge = tokio::spawn(self.clone().nudge());
            tokio::select! {
                biased;
                outcome = &mut commit => return outcome,
                _ = nudge => {}
            }
        }
    }

    async fn nudge(self) {
        let Ok(mut session) = self.connections.acquire().await else {
            return;
        };
        let written = within(PING_TIMEOUT, session.execute(NUDGE)).await;
        if written.is_err() {
            session.close_on_drop();
        }
    }

    fn lead_to(&self, found: PgConnectOptions) {
        let (before, after) = (name_of(&self.connect_options()), name_of(&found));
        if before != after {
            info!("the database's primary is {after} now, not {before}");
        }
        // Also of the same host: the password may be another one.
        self.connections.set_connect_options(found);
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
            address: None,
            standbys: 0,
        }
    }
}

/// The change that a database needs before a server can use it. The message is a sentence.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl Unfit {
    fn error(sentence: String) -> sqlx::Error {
        sqlx::Error::Configuration(Self(sentence).into())
    }
}

/// The most connections that a database grants, and the setting that limits them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimit {
    pub connections: u32,
    /// For people, such as `ALTER ROLE shop CONNECTION LIMIT`.
    pub setting: String,
}

const NO_STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = 0";

const LIMITS: &str = "
SELECT current_setting('server_version_num')::integer, r.rolsuper, r.rolconnlimit, d.datconnlimit,
       current_setting('max_connections')::integer - CASE WHEN r.rolsuper THEN 0
         ELSE current_setting('superuser_reserved_connections')::integer
              + coalesce(current_setting('reserved_connections', true), '0')::integer END,
       r.rolname::text, d.datname::text, current_setting('server_version')
  FROM pg_roles r, pg_database d WHERE r.rolname = session_user AND d.datname = current_database()";

/// Finds the server that accepts writes, and returns the limit of its connections.
///
/// # Errors
/// [`sqlx::Error`] when there is none; with an [`Unfit`] inside if it is too old.
pub async fn examine(address: &Address) -> Result<ConnectionLimit, sqlx::Error> {
    let options = address.find().await?;
    let connected = within(APPEND_TIMEOUT, PgConnection::connect_with(&options)).await;
    let mut connection = connected.map_err(|error| name_checked(&options, error))?;
    let examining = async {
        // It may be a pooler's: settings of the session would stay there.
        let mut transaction = connection.begin().await?;
        transaction.execute(NO_STATEMENT_TIMEOUT).await?;
        let row = sqlx::query(LIMITS).persistent(false);
        let row = row.fetch_one(&mut *transaction).await?;
        if row.try_get::<i32, _>(0)? < LEAST_VERSION {
            return Err(Unfit::error(format!(
                "PostgreSQL {} is too old: use version 15 or later",
                row.try_get::<&str, _>(7)?
            )));
        }
        if let Some(reason) = State::of(&mut transaction).await?.unwritable() {
            return Err(reason.into());
        }
        transaction.rollback().await?;
        limit_in(&row)
    };
    let limit = within(APPEND_TIMEOUT, examining).await?;
    connection.close().await?;
    Ok(limit)
}

/// Explains a certificate that `verify-ca` refuses: libpq does not compare names then; the library
/// in use does.
fn name_checked(options: &PgConnectOptions, error: sqlx::Error) -> sqlx::Error {
    let is_verify_ca = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa);
    if !is_verify_ca || !error.to_string().contains("not valid for name") {
        return error;
    }
    Unfit::error(format!(
        "the certificate of the database server is for another name than {}, and \
         sslmode=verify-ca compares names here, other than in libpq: connect by a name that it has",
        options.get_host()
    ))
}

fn limit_in(row: &sqlx::postgres::PgRow) -> Result<ConnectionLimit, sqlx::Error> {
    let (role, database): (&str, &str) = (row.try_get(5)?, row.try_get(6)?);
    // A superuser is exempt from both.
    let is_superuser: bool = row.try_get(1)?;
    let limit = |index, setting: String| -> Result<Option<ConnectionLimit>, sqlx::Error> {
        let connections = u32::try_from(row.try_get::<i32, _>(index)?).ok();
        Ok(connections.map(|connections| ConnectionLimit {
            connections,
            setting,
        }))
    };
    let of_role = limit(2, format!("ALTER ROLE \"{role}\" CONNECTION LIMIT"))?;
    let of_database = limit(3, format!("ALTER DATABASE \"{database}\" CONNECTION LIMIT"))?;
    let of_server = limit(4, "max_connections".to_owned())?;
    let limits = [of_role, of_database].into_iter().filter(|_| !is_superuser);
    let least = limits.chain([of_server]).flatten();
    let least = least.min_by_key(|limit| limit.connections);
    Ok(least.unwrap_or_else(|| ConnectionLimit {
        connections: 0,
        setting: "max_connections".to_owned(),
    }))
}

/// Opens a pool for reading and projecting, and migrates the schema.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached, is a standby or behind a pooler that does
/// not keep a session, cannot store every character, or a migration does not apply.
pub async fn connect(address: Address, connections: u32) -> Result<LogPool, sqlx::Error> {
    let _applied = migrate_at(&address).await?;
    let pool = connect_to_primary(address, connections).await?;
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&*pool).await?;
    if fsync != "on" {
        warn!(
            "this Postgres runs with fsync = {fsync}: an acknowledged hold may be lost in a power cut"
        );
    }
    Ok(pool)
}

/// Migrates the schema. Returns how many migrations were applied, and the version of the last.
///
/// # Errors
/// As [`connect`].
pub async fn migrate_at(address: &Address) -> Result<(usize, i64), sqlx::Error> {
    let options = address.find().await?;
    // Before the migrations, which take a session-level lock.
    look_for_pooler(&options).await?;
    // A migration may wait for locks, for example of another process that migrates.
    let first = connect_as_is(options, 1).await?;
    require_every_character(&first).await?;
    migrate(&first).await
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
    Err(Unfit::error(what))
}

/// Migrates the schema, and closes the pool. An up-to-date schema needs only the rights of the
/// least privileged role.
async fn migrate(pool: &PgPool) -> Result<(usize, i64), sqlx::Error> {
    let migrated = migrate_on(pool).await;
    pool.close().await;
    migrated
}

async fn migrate_on(pool: &PgPool) -> Result<(usize, i64), sqlx::Error> {
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
    let missing = migrator.iter().filter(|one| !is_applied(one)).count();
    let last = migrator.iter().map(|one| one.version).max();
    if missing > 0 {
        apply(&migrator, pool).await?;
    }
    Ok((missing, last.unwrap_or_default()))
}

/// Applies what is missing. A migration that waits for a table makes every append wait behind it,
/// for as long as a dump lasts: it gives up and tries again.
async fn apply(migrator: &Migrator, pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut has_waited = false;
    loop {
        let mut connection = pool.acquire().await?;
        connection.execute("SET lock_timeout = '1s'").await?;
        match migrator.run(&mut *connection).await {
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))
                if is_lock_timeout(&error) =>
            {
                if !std::mem::replace(&mut has_waited, true) {
                    warn!("a migration waits for another session, such as that of a dump");
                }
                // Its lock of migrations is released with the session.
                connection.close().await?;
                sleep(MIGRATE_AGAIN).await;
            }
            applied => return Ok(applied?),
        }
    }
}

/// How long a migration leaves the tables to others before it tries again.
const MIGRATE_AGAIN: Duration = Duration::from_secs(3);

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
    let opened = pool_options(connections, &last_failure)
        .after_connect(|connection, _| Box::pin(session::bound(connection, NO_TIMEOUT)))
        .connect_with(options);
    Ok(LogPool {
        connections: opened.await?,
        last_failure,
        address: None,
        standbys: 0,
    })
}

/// Opens a pool for a command that reads or repairs a log, on the first host that `address` wants.
///
/// # Errors
/// [`sqlx::Error`] when there is none, or it is behind a pooler that does not keep a session.
pub async fn connect_for_commands(
    address: &Address,
    connections: u32,
) -> Result<LogPool, sqlx::Error> {
    let options = address.find().await?;
    look_for_pooler(&options).await?;
    connect_as_is(options, connections).await
}

/// Opens a pool for a process that writes: each connection may write, and its waits are bounded. Of
/// several hosts it uses the primary, and follows it.
///
/// A server in recovery stays in recovery until it is promoted, and a primary cannot return to
/// recovery without a restart, which ends its connections; so one check per connection is enough.
/// Reading from a standby that lags would be worse than not reading: a head behind ours means that
/// history was lost. A session that is opened while the database is read-only would stay read-only.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached or accepts no writes.
pub async fn connect_to_primary(
    address: impl Into<Address>,
    connections: u32,
) -> Result<LogPool, sqlx::Error> {
    let last_failure = LastFailure::default();
    let options = pool_options(connections, &last_failure);
    primary(address.into(), options, last_failure).await
}

async fn primary(
    address: Address,
    options: PgPoolOptions,
    last_failure: LastFailure,
) -> Result<LogPool, sqlx::Error> {
    let address = address.for_writes();
    let host = address.find().await?;
    let mut first = within(APPEND_TIMEOUT, PgConnection::connect_with(&host)).await?;
    within(APPEND_TIMEOUT, prepare(&mut first, &last_failure)).await?;
    first.close().await?;
    let noted = last_failure.clone();
    let opened = options
        .after_connect(move |connection, _| {
            let noted = noted.clone();
            Box::pin(async move {
                let prepared = prepare(connection, &noted).await;
                if prepared.is_err() {
                    // The pool opens another one at once, until its caller gives up.
                    sleep(OPEN_AGAIN).await;
                }
                prepared
            })
        })
        .connect_with(host);
    let pool = LogPool {
        connections: opened.await?,
        last_failure,
        address: Some(address.clone()),
        standbys: 0,
    };
    if address.has_several_hosts() || address.has_password_file() {
        tokio::spawn(pool.clone().follow(address));
    }
    Ok(pool)
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

async fn prepare(
    connection: &mut PgConnection,
    last_failure: &LastFailure,
) -> Result<(), sqlx::Error> {
    session::bound(connection, LOCK_TIMEOUT).await?;
    let unwritable = State::of(connection).await?.unwritable();
    last_failure.note_session(unwritable);
    if let Some(reason) = unwritable {
        return Err(reason.into());
    }
    notice_lost_clients(connection).await;
    Ok(())
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
