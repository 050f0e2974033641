//! `holdfast log`: finds out where the event log is refused, and repairs it.
//!
//! Promise: without `--yes` nothing changes, and what would change is printed. Each repair leaves a
//! record in the log itself ([`domain::incident`]), which `audit verify` reports. Limit: a repair
//! needs the owner of the tables.

mod check;
mod cut;
mod void;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use domain::incident::{self, LogEvent};
use domain::values::{Position, Reason};
use infrastructure::error::LogError;
use sqlx::PgConnection;

use crate::cli::{fail, print_line};
use crate::config::DatabaseSettings;
use crate::database::DatabaseError;

/// What operators may ask.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Find out where the log is refused, and why. Reads only.
    Check(check::CheckArgs),
    /// Remove the end of the log, from the position after --after on. A copy stays in the table
    /// cut_events.
    Cut(cut::CutArgs),
    /// Declare that the event at one position has no effect. It keeps its place in the log.
    Void(void::VoidArgs),
}

/// Why a repair was not made.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// There is no database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The log cannot be read.
    #[error("cannot read the event log")]
    Log(#[from] LogError),
    /// The database does not answer as it should.
    #[error("cannot use the database")]
    Sql(#[from] sqlx::Error),
    /// It would do harm.
    #[error("{0}")]
    Refused(String),
    /// The answer cannot be written.
    #[error("cannot write")]
    Output(#[from] std::io::Error),
}

/// Runs a command; exit code 0: done, or nothing to repair, 1: something is refused, 2: it could
/// not be told.
pub async fn run(args: LogArgs) -> ExitCode {
    let outcome = match args.command {
        LogCommand::Check(args) => check::run(&args).await,
        LogCommand::Cut(args) => cut::run(&args).await,
        LogCommand::Void(args) => void::run(&args).await,
    };
    outcome.unwrap_or_else(|error| {
        fail(&error);
        ExitCode::from(match error {
            RepairError::Refused(_) => 1,
            RepairError::Database(_)
            | RepairError::Log(_)
            | RepairError::Sql(_)
            | RepairError::Output(_) => 2,
        })
    })
}

/// What every repair is told.
#[derive(Debug, Args)]
struct RepairArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// Why. It stays in the log: name no person.
    #[arg(long, env = "HOLDFAST_LOG_REASON", value_name = "TEXT", value_parser = reason)]
    reason: Reason,

    /// Do it. Without, only what would be done is printed.
    #[arg(long, env = "HOLDFAST_LOG_YES")]
    yes: bool,
}

fn reason(text: &str) -> Result<Reason, String> {
    Reason::new(text).map_err(|error| error.to_string())
}

fn say(lines: &[String]) -> Result<(), RepairError> {
    Ok(print_line(&lines.join("\n"))?)
}

/// Refuses whoever does not own the log.
async fn must_own(connection: &mut PgConnection) -> Result<(), RepairError> {
    let owns: bool = sqlx::query_scalar(
        "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('events')",
    )
    .fetch_optional(connection)
    .await?
    .unwrap_or_default();
    if owns {
        return Ok(());
    }
    let why = "this repair needs the database user who owns the table events";
    Err(RepairError::Refused(why.to_owned()))
}

/// Makes the commit of a repair wait for the disk and for synchronous standbys, whatever the
/// database, the role or a connection pooler has set; for this transaction only.
async fn commit_durably(transaction: &mut PgConnection) -> Result<(), RepairError> {
    sqlx::query(
        "SELECT set_config('synchronous_commit',
                           CASE current_setting('synchronous_commit')
                                WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)",
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Appends the record of an incident, as a stock program appends: the database gives place, time
/// and hash.
async fn record(connection: &mut PgConnection, event: &LogEvent) -> Result<Position, RepairError> {
    let payload =
        serde_json::to_string(event).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let position: i64 = sqlx::query_scalar(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT $1, $2, coalesce(max(sequence), 0) + 1, $3, $4, $5::json, '{}'::json
           FROM events WHERE aggregate_type = $1 AND aggregate_id = $2
         RETURNING position",
    )
    .bind(incident::AGGREGATE_TYPE)
    .bind(incident::STREAM)
    .bind(event.event_type())
    .bind(incident::VERSION)
    .bind(payload)
    .fetch_one(connection)
    .await?;
    Ok(Position(position.unsigned_abs()))
}
