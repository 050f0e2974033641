//! `holdfast log cut`: removes the tail of the log, and moves its head back.
//!
//! Promise: the cut is one transaction. The chain up to the cut was recomputed. The removed events
//! are copied into the table `cut_events`, without personal data. The first event afterwards
//! records the cut. Limit: acknowledged requests after the cut are lost, and servers that have
//! applied more than the log now contains must be restarted.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use database::Database;
use domain::incident::{LogEvent, TailCut};
use domain::values::Position;
use engine::{Clock, SystemClock};
use infrastructure::log::{Hash, Head};
use infrastructure::sql_values::to_sql;
use sqlx::{Connection, Executor, PgConnection, PgPool, Row};
use terminal::arguments::position;
use terminal::text::visible;

use super::check::broken_before;
use super::{RepairArgs, RepairError, commit_durably, must_own, record, say};

/// How often to check for other connections, and the pause between two checks.
const CONNECTION_CHECKS: u32 = 10;
const CHECK_PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `log cut`.
#[derive(Debug, Args)]
pub(super) struct CutArgs {
    /// The last position to keep; 0 keeps none.
    #[arg(long, env = "HOLDFAST_LOG_AFTER", value_name = "POSITION", value_parser = position)]
    after: u64,

    /// Cut although other programs are connected to the database. It has no environment variable.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    repair: RepairArgs,
}

/// Prints the planned cut; with `--yes`, makes it.
///
/// # Errors
/// [`RepairError`].
pub(super) async fn run(args: &CutArgs) -> Result<ExitCode, RepairError> {
    let database = Database::open_existing(&args.repair.database).await?;
    let outcome = cut(&database.pool, args).await;
    database.close().await;
    say(&outcome?)?;
    Ok(ExitCode::SUCCESS)
}

async fn cut(pool: &PgPool, args: &CutArgs) -> Result<Vec<String>, RepairError> {
    let after = Position(args.after);
    let mut connection = pool.acquire().await?;
    must_own(&mut connection).await?;
    let kept = head_at(&mut connection, after).await?;
    if let Some((broken, reason)) = broken_before(pool, kept).await? {
        let why = format!(
            "the chain is broken at position {broken} already, which would be kept: {reason}"
        );
        return Err(RepairError::Refused(why));
    }
    drop(connection);
    let options = pool.connect_options();
    pool.close().await;
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut lines = removed(&mut connection, after).await?;
    // The pool's idle connections would count as another program's: they carry our process's name.
    let others = others(&mut connection).await?;
    if others > 0 {
        lines.push(format!(
            "open connections of other programs to this database: {others}"
        ));
    }
    if !args.repair.yes {
        lines.push("nothing was changed: stop every server, then repeat with --yes".to_owned());
        return Ok(lines);
    }
    if others > 0 && !args.force {
        let why = format!(
            "open connections of other programs to this database: {others}; stop every server, or repeat with --force"
        );
        return Err(RepairError::Refused(why));
    }
    let mut transaction = connection.begin().await?;
    commit_durably(&mut transaction).await?;
    let at = remove(&mut transaction, after, kept, args).await?;
    transaction.commit().await?;
    lines.push(format!(
        "cut: the log now ends at position {after}, and position {at} records the cut. Start the servers; they rebuild \
         their tables"
    ));
    Ok(lines)
}

/// Returns the log's head as it was at position `after`.
async fn head_at(connection: &mut PgConnection, after: Position) -> Result<Head, RepairError> {
    if after == Position::default() {
        return Ok(Head::default());
    }
    let row = sqlx::query("SELECT hash, recorded_at FROM events WHERE position = $1")
        .bind(to_sql(after))
        .fetch_optional(connection)
        .await?;
    let no_event = || RepairError::Refused(format!("there is no event at position {after}"));
    let row = row.ok_or_else(no_event)?;
    let hash: Vec<u8> = row.try_get(0)?;
    let recorded_at: chrono::DateTime<chrono::Utc> = row.try_get(1)?;
    let hash = Hash::from_slice(&hash).map_err(|_| {
        RepairError::Refused(format!(
            "the event at position {after} has no hash of 32 bytes"
        ))
    })?;
    Ok(Head {
        position: after,
        hash,
        recorded_at: recorded_at.into(),
    })
}

/// Describes the events that would be removed, by type.
async fn removed(
    connection: &mut PgConnection,
    after: Position,
) -> Result<Vec<String>, RepairError> {
    let kinds: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT aggregate_type || ' ' || event_type, count(*), min(position), max(position) FROM events
          WHERE position > $1 GROUP BY 1 ORDER BY 3",
    )
    .bind(to_sql(after))
    .fetch_all(connection)
    .await?;
    let total: i64 = kinds.iter().map(|(_, count, ..)| count).sum();
    let mut lines = vec![format!("{total} events after position {after}")];
    lines.extend(kinds.iter().map(|(kind, count, first, last)| {
        visible(&format!("  {count} {kind}, positions {first} to {last}")).into_owned()
    }));
    Ok(lines)
}

/// Counts the connections of other programs. Our own pool, just closed, may take a moment to
/// disappear.
async fn others(connection: &mut PgConnection) -> Result<i64, RepairError> {
    let mut open = 0;
    for _ in 0..CONNECTION_CHECKS {
        open = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *connection)
        .await?;
        if open == 0 {
            break;
        }
        tokio::time::sleep(CHECK_PAUSE).await;
    }
    Ok(open)
}

async fn remove(
    connection: &mut PgConnection,
    after: Position,
    kept: Head,
    args: &CutArgs,
) -> Result<Position, RepairError> {
    connection
        .execute("LOCK TABLE events, log_head IN ACCESS EXCLUSIVE MODE")
        .await?;
    let head: (i64, Vec<u8>) = sqlx::query_as("SELECT position, hash FROM log_head")
        .fetch_optional(&mut *connection)
        .await?
        .unwrap_or_default();
    let copied = sqlx::query(
        "INSERT INTO cut_events
         SELECT now(), aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position,
                recorded_at, hash
           FROM events WHERE position > $1",
    )
    .bind(to_sql(after))
    .execute(&mut *connection)
    .await?;
    for statement in [
        "ALTER TABLE events DISABLE TRIGGER refuse_rewriting",
        "ALTER TABLE log_head DISABLE TRIGGER refuse_moving_back",
    ] {
        connection.execute(statement).await?;
    }
    sqlx::query("DELETE FROM events WHERE position > $1")
        .bind(to_sql(after))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM log_head")
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO log_head (position, hash, recorded_at) VALUES ($1, $2, $3)")
        .bind(to_sql(after))
        .bind(&kept.hash.0[..])
        .bind(chrono::DateTime::<chrono::Utc>::from(kept.recorded_at))
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM erasures WHERE position > $1")
        .bind(to_sql(after))
        .execute(&mut *connection)
        .await?;
    for statement in [
        "ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_rewriting",
        "ALTER TABLE log_head ENABLE ALWAYS TRIGGER refuse_moving_back",
        // The read models may contain removed events: they are folded from the log again.
        "DELETE FROM live_stock",
        "DELETE FROM top_purchasers",
        "DELETE FROM sales_timeline",
        "DELETE FROM projection_quarantines",
        "UPDATE projection_checkpoints SET position = 0, stopped = NULL, generation = generation + 1",
    ] {
        connection.execute(statement).await?;
    }
    let event = LogEvent::TailCut(TailCut {
        position: after,
        events: copied.rows_affected(),
        removed_head: hex::encode(head.1),
        reason: args.repair.reason.clone(),
        cut_at: SystemClock.now(),
    });
    record(connection, &event).await
}
