//! `holdfast log accept-head`: accepts that a restored log lacks events which a server knew.
//!
//! Promise: the acceptance is recorded in the log as a cut of its tail, so that every server, every
//! auditor and every later start sees it. Nothing is removed. Limit: it compares with the data
//! directory that it is run with; a server that knew still more refuses until that is accepted too.

use std::process::ExitCode;

use clap::Args;
use database::Database;
use domain::incident::{LogEvent, TailCut};
use domain::values::Position;
use engine::{Clock, SystemClock};
use infrastructure::kept_heads::{KeptHeads, Loss, file_in};
use infrastructure::log::postgres::PostgresLog;
use infrastructure::sql_values::from_sql;
use terminal::arguments::position;

use super::{RepairArgs, RepairError, commit_durably, must_own, record, say};

/// Arguments of `log accept-head`.
#[derive(Debug, Args)]
pub(super) struct AcceptHeadArgs {
    /// The position of the log's head, as the refused start names it.
    #[arg(long, env = "HOLDFAST_LOG_POSITION", value_name = "POSITION", value_parser = position)]
    position: u64,

    #[command(flatten)]
    repair: RepairArgs,
}

/// Prints the loss; with `--yes`, accepts it.
///
/// # Errors
/// [`RepairError`].
pub(super) async fn run(args: &AcceptHeadArgs) -> Result<ExitCode, RepairError> {
    let database = Database::open_existing(&args.repair.database).await?;
    let outcome = accept(&database, args).await;
    database.close().await;
    say(&outcome?)?;
    Ok(ExitCode::SUCCESS)
}

async fn accept(database: &Database, args: &AcceptHeadArgs) -> Result<Vec<String>, RepairError> {
    let path = file_in(&args.repair.database.data_dir);
    let unreadable =
        |error| RepairError::Refused(format!("cannot read {}: {error}", path.display()));
    let known = KeptHeads::read(&path).map_err(unreadable)?;
    let log = PostgresLog::new(database.pool.clone());
    let id = log.id().await?;
    let known = id.and_then(|id| known.of(id));
    let known = known.ok_or_else(|| {
        let why = format!(
            "{} does not know this log, so there is nothing to accept",
            path.display()
        );
        RepairError::Refused(why)
    })?;
    let Some(loss) = log.loss(known).await? else {
        let why = format!(
            "the log has the head at position {} that this data directory knows, so there is nothing \
             to accept",
            known.head.position
        );
        return Err(RepairError::Refused(why));
    };
    if let Some(accepted) = &loss.accepted {
        let at = accepted.at;
        return Ok(vec![
            loss.to_string(),
            format!("this was accepted at position {at} already"),
        ]);
    }
    let head = loss.head.position;
    if head.0 != args.position {
        let why = format!(
            "the head of the log is at position {head}, not {}",
            args.position
        );
        return Err(RepairError::Refused(why));
    }
    let mut connection = database.pool.acquire().await?;
    must_own(&mut connection).await?;
    drop(connection);
    let mut lines = vec![loss.to_string()];
    if !args.repair.yes {
        lines.push("nothing was changed: stop every server, then repeat with --yes".to_owned());
        return Ok(lines);
    }
    let at = record_loss(database, &loss, args).await?;
    lines.push(format!(
        "position {at} records that this loss is accepted. Start the servers"
    ));
    Ok(lines)
}

async fn record_loss(
    database: &Database,
    loss: &Loss,
    args: &AcceptHeadArgs,
) -> Result<Position, RepairError> {
    let mut transaction = database.pool.begin().await?;
    commit_durably(&mut transaction).await?;
    let head: i64 = sqlx::query_scalar("SELECT position FROM log_head FOR UPDATE")
        .fetch_one(&mut *transaction)
        .await?;
    if from_sql(head) != loss.head.position {
        let why = "a server appended meanwhile: stop every server, then repeat".to_owned();
        return Err(RepairError::Refused(why));
    }
    let event = LogEvent::TailCut(TailCut {
        position: loss.after.position,
        events: loss.events(),
        removed_head: loss.known.hash.to_string(),
        reason: args.repair.reason.clone(),
        cut_at: SystemClock.now(),
    });
    let at = record(&mut transaction, &event).await?;
    transaction.commit().await?;
    Ok(at)
}
