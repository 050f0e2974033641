//! Pools: made, and kept to connections that answer.
//!
//! Promise: whoever takes a connection that was idle gets one that has just answered, or a new one; a server that says nothing
//! is not waited for.

use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tracing::warn;

use super::APPEND_TIMEOUT;
use crate::log::doubt::Doubt;
use crate::log::patience::within;

/// A connection from the pool that does not answer a ping within this is thrown away.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens a pool for reading and projecting, and brings the schema up to date.
///
/// # Errors
/// [`sqlx::Error`] when the database cannot be reached or a migration does not apply.
pub async fn connect(options: PgConnectOptions, connections: u32) -> Result<PgPool, sqlx::Error> {
    let pool = connect_as_is(options, connections).await?;
    migrate(&pool).await?;
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&pool).await?;
    if fsync != "on" {
        warn!(
            "this Postgres runs with fsync = {fsync}: an acknowledged hold may be lost in a power cut"
        );
    }
    Ok(pool)
}

/// Brings the schema up to date. Where it is already, nothing is asked for that a role with the least rights may not do.
async fn migrate(pool: &PgPool) -> Result<(), sqlx::Error> {
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
    let doubt = Doubt::about(&options);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(APPEND_TIMEOUT)
        // In place of the pool's own ping, which waits for ever.
        .test_before_acquire(false)
        .before_acquire(move |connection, usage| {
            Box::pin(is_alive(connection, usage.idle_for, doubt.clone()))
        })
        .connect_with(options)
        .await
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
