//! `holdfast log cut`: removes the end of the log, and sets its head back.
//!
//! Promise: one transaction; the chain up to there was recomputed; what is removed is copied into
//! the table `cut_events`, without personal data; the first event afterwards is the record of the
//! cut. Limit: what was acknowledged after the cut is lost, and servers that know more than the log
//! are to be restarted.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use domain::incident::{LogEvent, TailCut};
use domain::values::Position;
use infrastructure::engine::{Clock, SystemClock};
use infrastructure::log::{Hash, Head};
use sqlx::{Connection, Executor, PgConnection, PgPool, Row};

use super::check::broken_before;
use super::{RepairArgs, RepairError, commit_durably, must_own, record, say};
use crate::client::visible;
use crate::database::Database;

/// How often to look for other connections, and how long to wait in between.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What `log cut` is told.
#[derive(Debug, Args)]
pub(super) struct CutArgs {
    /// The last position that is kept; 0 keeps none.
    #[arg(long, env = "HOLDFAST_LOG_AFTER", value_name = "POSITION")]
    after: u64,

    /// Cut although other programs are connected to the database.
    #[arg(long, env = "HOLDFAST_LOG_FORCE")]
    force: bool,

    #[command(flatten)]
    repair: RepairArgs,
}

/// Runs it.
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
        let why = format!("what is to be kept is broken at position {broken} already: {reason}");
        return Err(RepairError::Refused(why));
    }
    drop(connection);
    let options = pool.connect_options();
    pool.close().await;
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut lines = removed(&mut connection, after).await?;
    // The pool's own idle connections are no other program: they carry our process's name.
    let others = others(&mut connection).await?;
    if others > 0 {
        lines.push(format!(
            "{others} connections of other programs to this database are open"
        ));
    }
    if !args.repair.yes {
        lines.push("nothing was changed: stop every server, and add --yes to cut".to_owned());
        return Ok(lines);
    }
    if others > 0 && !args.force {
        let why = format!(
            "{others} connections of other programs to this database are open: stop every server, or add --force"
        );
        return Err(RepairError::Refused(why));
    }
    let mut transaction = connection.begin().await?;
    commit_durably(&mut transaction).await?;
    let at = remove(&mut transaction, after, kept, args).await?;
    transaction.commit().await?;
    lines.push(format!(
        "cut: the log ends after position {after}, and position {at} records the cut. Start the servers; their tables are \
         folded anew"
    ));
    Ok(lines)
}

/// What the log's head was when `after` was recorded.
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

/// What would be removed, by type.
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
    let mut lines = vec![format!("{total} events stand after position {after}")];
    lines.extend(kinds.iter().map(|(kind, count, first, last)| {
        visible(&format!("  {count} {kind}, positions {first} to {last}")).into_owned()
    }));
    Ok(lines)
}

/// Connections of other programs. Our own, just closed, may take a moment to end.
async fn others(connection: &mut PgConnection) -> Result<i64, RepairError> {
    let mut open = 0;
    for _ in 0..LOOKS {
        open = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *connection)
        .await?;
        if open == 0 {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
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
        // The read models may show what was removed: they are folded from the log again.
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

fn to_sql(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
