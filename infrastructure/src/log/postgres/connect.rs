//! Pools: made, and kept to connections that answer.
//!
//! Promise: whoever takes a connection that was idle gets one that has just answered, or a new one; a server that says nothing
//! is not waited for. A server process leads to a primary alone, and its statements neither wait for a lock longer than their
//! caller waits for them, nor outlive a client that has gone (from PostgreSQL 14 on, where the platform can tell).

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor};
use tracing::{debug, warn};

use super::APPEND_TIMEOUT;
use super::pooler::look_for_pooler;
use crate::log::doubt::Doubt;
use crate::log::patience::within;

/// A connection from the pool that does not answer a ping within this is thrown away.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Less than [`APPEND_TIMEOUT`], so that the server ends a statement before its caller leaves it behind.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '4s'";

/// How often the server looks whether the client of a statement under way is still there. A setting of PostgreSQL 14 and
/// later; a value other than 0 is an error where the platform cannot tell.
const NOTICE_LOST_CLIENTS: &str = "
SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'";

/// Opens a pool for reading and projecting, and brings the schema up to date.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached, is a standby or behind a pooler that does
/// not keep a session, cannot store every character, or a migration does not apply.
pub async fn connect(options: PgConnectOptions, connections: u32) -> Result<PgPool, sqlx::Error> {
    // Before the migrations, whose lock is one of a session.
    look_for_pooler(&options).await?;
    // A migration may have to wait for locks, as for another process that migrates.
    let first = connect_as_is(options.clone(), 1).await?;
    require_every_character(&first).await?;
    migrate(&first).await?;
    let pool = connect_to_primary(options, connections).await?;
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&pool).await?;
    if fsync != "on" {
        warn!(
            "this Postgres runs with fsync = {fsync}: an acknowledged hold may be lost in a power cut"
        );
    }
    Ok(pool)
}

/// A database with another encoding refuses an append because of a character in a buyer's name.
async fn require_every_character(pool: &PgPool) -> Result<(), sqlx::Error> {
    let encoding: String = sqlx::query_scalar("SHOW server_encoding")
        .fetch_one(pool)
        .await?;
    // SQL_ASCII stores bytes as they come.
    if ["UTF8", "SQL_ASCII"].contains(&encoding.as_str()) {
        return Ok(());
    }
    let what = format!(
        "the database has the encoding {encoding}, which lacks characters that buyers may have in \
         their names: create one WITH ENCODING 'UTF8' TEMPLATE template0"
    );
    Err(sqlx::Error::Configuration(what.into()))
}

/// Brings the schema up to date, and closes the pool. Where it is already, nothing is asked for that a role with the least
/// rights may not do.
async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
    let migrated = migrate_on(pool).await;
    pool.close().await;
    migrated
}

async fn migrate_on(pool: &PgPool) -> Result<(), sqlx::Error> {
    let migrator = sqlx::migrate!("../migrations");
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

/// Opens a pool for reading, and changes nothing.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached.
pub async fn connect_as_is(
    options: PgConnectOptions,
    connections: u32,
) -> Result<PgPool, sqlx::Error> {
    // A pool keeps trying and then says only that it timed out; one connection says why.
    within(APPEND_TIMEOUT, PgConnection::connect_with(&options))
        .await?
        .close()
        .await?;
    pool_options(&options, connections)
        .connect_with(options)
        .await
}

/// Opens a pool for a process that writes: each of its connections leads to a primary, and bounds its waits.
///
/// A server that is in recovery stays so until it is promoted, and one that is not cannot return to it without a restart,
/// which ends its connections; so it is enough to look once for each. Reading from a standby that lags would be worse than
/// not reading: a head that is behind ours means that history was lost.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached or is a standby.
pub async fn connect_to_primary(
    options: PgConnectOptions,
    connections: u32,
) -> Result<PgPool, sqlx::Error> {
    let mut first = within(APPEND_TIMEOUT, PgConnection::connect_with(&options)).await?;
    within(APPEND_TIMEOUT, prepare(&mut first)).await?;
    first.close().await?;
    pool_options(&options, connections)
        .after_connect(|connection, _| Box::pin(prepare(connection)))
        .connect_with(options)
        .await
}

fn pool_options(options: &PgConnectOptions, connections: u32) -> PgPoolOptions {
    let doubt = Doubt::about(options);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(APPEND_TIMEOUT)
        // In place of the pool's own ping, which waits for ever.
        .test_before_acquire(false)
        .before_acquire(move |connection, usage| {
            Box::pin(is_alive(connection, usage.idle_for, doubt.clone()))
        })
}

async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(&mut *connection)
        .await?;
    if is_standby {
        let what = "the server is in recovery: a standby, which takes no writes";
        return Err(sqlx::Error::Protocol(what.to_owned()));
    }
    connection.execute(LOCK_TIMEOUT).await?;
    notice_lost_clients(connection).await;
    Ok(())
}

/// Has the server end statements whose client has gone, where it can.
pub(super) async fn notice_lost_clients(connection: &mut PgConnection) {
    if let Err(error) = connection.execute(NOTICE_LOST_CLIENTS).await {
        debug!(%error, "the server cannot check for lost clients");
    }
}

/// Whether a connection that was idle for so long may be used. One that may not is replaced at once.
async fn is_alive(
    connection: &mut PgConnection,
    idle_for: Duration,
    doubt: Doubt,
) -> Result<bool, sqlx::Error> {
    let idle_since = Instant::now().checked_sub(idle_for);
    if idle_since.is_none_or(|since| doubt.arose_after(since)) {
        return Ok(false);
    }
    let answered = doubt.within(PING_TIMEOUT, connection.ping()).await;
    Ok(answered.is_ok())
}
