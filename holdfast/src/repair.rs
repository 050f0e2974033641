//! `holdfast log`: finds out where the event log is refused, and repairs it.
//!
//! Promise: without `--yes` nothing changes, and the planned change is printed. Each repair is
//! recorded in the log itself ([`domain::incident`]), and `audit verify` reports the record. Limit:
//! a repair needs the owner of the tables.

mod accept_head;
mod check;
mod cut;
mod void;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use domain::incident::{self, LogEvent};
use domain::values::{Position, Reason};
use infrastructure::error::LogError;
use infrastructure::sql_values::from_sql;
use sqlx::PgConnection;

use database::DatabaseError;
use database::DatabaseSettings;
use database::fail;
use terminal::print_line;

/// Arguments of `holdfast log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Find out where and why the log is refused. Reads only.
    Check(check::CheckArgs),
    /// Accept that the log, restored to an earlier moment, lacks events that this data directory
    /// knows.
    AcceptHead(accept_head::AcceptHeadArgs),
    /// Remove the tail of the log after position --after. A copy is kept in the table cut_events.
    Cut(cut::CutArgs),
    /// Declare that the event at one position has no effect. The event stays in the log.
    Void(void::VoidArgs),
}

/// Why a command failed or a repair was not made.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot read the event log")]
    Log(#[from] LogError),
    /// The database failed.
    #[error("cannot use the database")]
    Sql(#[from] sqlx::Error),
    /// The repair would do harm.
    #[error("{0}")]
    Refused(String),
    /// The result cannot be printed.
    #[error("cannot write")]
    Output(#[from] std::io::Error),
}

/// Runs a command. Exit code 0: done, or nothing to repair; 1: the log or the repair is refused; 2:
/// the command failed.
pub async fn run(args: LogArgs) -> ExitCode {
    let outcome = match args.command {
        LogCommand::AcceptHead(args) => accept_head::run(&args).await,
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

/// Arguments of every repair.
#[derive(Debug, Args)]
struct RepairArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// The reason, recorded in the log. Do not name a person.
    #[arg(long, env = "HOLDFAST_LOG_REASON", value_name = "TEXT", value_parser = reason)]
    reason: Reason,

    /// Make the change. Without this flag, the planned change is only printed. It has no
    /// environment variable: one that is left over must not confirm the next repair.
    #[arg(long)]
    yes: bool,
}

fn reason(text: &str) -> Result<Reason, String> {
    Reason::new(text).map_err(|error| error.to_string())
}

fn say(lines: &[String]) -> Result<(), RepairError> {
    Ok(print_line(&lines.join("\n"))?)
}

/// Returns [`RepairError::Refused`] unless the database user owns the log's tables.
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
    let why = "this repair needs the owner of the table events as the database user";
    Err(RepairError::Refused(why.to_owned()))
}

/// Makes the commit of a repair wait for the disk and for synchronous standbys, for this
/// transaction only. Overrides settings of the database, the role or a connection pooler.
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

/// Appends the record of an incident with a plain INSERT. The database assigns position, time and
/// hash.
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
    Ok(from_sql(position))
}
