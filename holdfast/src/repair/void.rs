//! `holdfast log void`: declares that the event at one position has no effect.
//!
//! Promise: only an event that this release refuses can be declared void. Running servers apply its
//! drop or order again when they read the record; no restart is needed. Limit: requests that were
//! acknowledged because of the event are not undone.

use std::process::ExitCode;

use clap::Args;
use database::Database;
use domain::incident::{LogEvent, PositionVoided};
use domain::values::Position;
use engine::{Clock, SystemClock};
use infrastructure::log::postgres::LogPool;
use infrastructure::quarantine::RefusedEvent;
use infrastructure::sql_values::to_sql;
use sqlx::Acquire;
use terminal::arguments::position;

use super::check::{Report, check, describe};
use super::{RepairArgs, RepairError, commit_durably, must_own, record, say};

/// Arguments of `log void`.
#[derive(Debug, Args)]
pub(super) struct VoidArgs {
    /// The position of the event to void.
    #[arg(long, env = "HOLDFAST_LOG_POSITION", value_name = "POSITION", value_parser = position)]
    position: u64,

    /// Declare an event void although a later release can apply it. It has no environment variable.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    repair: RepairArgs,
}

/// Prints the planned change; with `--yes`, makes it.
///
/// # Errors
/// [`RepairError`].
pub(super) async fn run(args: &VoidArgs) -> Result<ExitCode, RepairError> {
    let database = Database::open_existing(&args.repair.database).await?;
    let outcome = void(&database.pool, args).await;
    database.close().await;
    say(&outcome?)?;
    Ok(ExitCode::SUCCESS)
}

async fn void(pool: &LogPool, args: &VoidArgs) -> Result<Vec<String>, RepairError> {
    let mut connection = pool.acquire().await?;
    must_own(&mut connection).await?;
    let position = Position(args.position);
    let report = check(pool).await?;
    let refused = refused_at(&report, position, args.force)?;
    let later: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND position > $3",
    )
    .bind(refused.aggregate_type())
    .bind(&refused.stream)
    .bind(to_sql(position))
    .fetch_one(&mut *connection)
    .await?;
    let mut lines = vec![
        describe(refused),
        format!(
            "the event at position {position} stays in the log and loses its effect; {later} later events of the {} are applied again",
            refused.subject()
        ),
    ];
    if !args.repair.yes {
        lines.push("nothing was changed: repeat with --yes to declare it void".to_owned());
        return Ok(lines);
    }
    let mut transaction = connection.begin().await?;
    commit_durably(&mut transaction).await?;
    sqlx::query("SELECT position FROM log_head FOR UPDATE")
        .fetch_one(&mut *transaction)
        .await?;
    let event = LogEvent::PositionVoided(PositionVoided {
        position,
        reason: args.repair.reason.clone(),
        voided_at: SystemClock.now(),
    });
    let at = record(&mut transaction, &event).await?;
    transaction.commit().await?;
    lines.push(format!("position {position} is void as of position {at}"));
    Ok(lines)
}

fn refused_at(
    report: &Report,
    position: Position,
    force: bool,
) -> Result<&RefusedEvent, RepairError> {
    if let Some((broken, _)) = &report.broken {
        let why = format!("the chain is broken at position {broken}: see `holdfast log check`");
        return Err(RepairError::Refused(why));
    }
    let found = report
        .refused
        .iter()
        .find(|refused| refused.position == position);
    let Some(refused) = found else {
        let why = format!(
            "neither a drop nor an order is in quarantine because of position {position}; declaring an applied event void would change the state of its stream"
        );
        return Err(RepairError::Refused(why));
    };
    if report.is_from_later(refused) && !force {
        let why = format!(
            "position {position} was written by a later release, which can apply it: start that release, or repeat with --force"
        );
        return Err(RepairError::Refused(why));
    }
    Ok(refused)
}
