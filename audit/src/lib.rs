//! `holdfast audit`: reads the log alone and recomputes everything that it claims.
//!
//! Read [`proof`] for what is proved, [`verify`] for how, [`source`] for where the log is read from.

// A closed pipe or a full disk must not end a command by a panic: see [`terminal`].
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod checkpoint;
mod diff;
mod distinct;
mod erase;
mod examine;
mod export;
mod guards;
mod history;
mod kept;
mod proof;
mod replay;
mod source;
mod state;
mod verify;
mod violation;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use domain::values::{DropId, Position};
use infrastructure::error::LogError;
use projections::error::{CannotApply, SnapshotError};

pub use self::checkpoint::{CheckpointArgs, CheckpointError};
pub use self::diff::DiffArgs;
pub use self::erase::EraseArgs;
pub use self::export::{ExportArgs, Format};
pub use self::history::HistoryArgs;
pub use self::proof::VerifyArgs;
pub use self::replay::ReplayArgs;
pub use self::source::Moment;
pub use self::state::StateArgs;
pub use self::verify::{Proved, Verifier};
pub use self::violation::{Claim, Stop, Violation};
use database::DatabaseError;
use database::fail;
use terminal::{print_line, was_enough};

/// What auditors may ask.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Prove the log: hash chain, density, sequences, conservation of stock, and every view; exit 1 at the first position
    /// that fails.
    Verify(VerifyArgs),
    /// Write the log, or a part of it, as ndjson, CloudEvents, CSV or Parquet.
    Export(ExportArgs),
    /// Tell everything that happened to one hold, in words.
    History(HistoryArgs),
    /// Show a drop, or all, as they were at a place in the log.
    State(StateArgs),
    /// Rebuild every view from the log alone, to print it or to compare it with the tables.
    Replay(ReplayArgs),
    /// Tell what changed between two places in the log.
    Diff(DiffArgs),
    /// State where the log ends, signed, for an auditor to keep.
    Checkpoint(CheckpointArgs),
    /// Forget a buyer: remove what the shop called them from everywhere.
    Erase(EraseArgs),
    /// Print the JSON Schema of the events.
    Schema,
}

/// Why an audit could not be made, which is not to say that the log is wrong.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The log cannot be read.
    #[error("cannot read the event log")]
    Log(#[source] LogError),
    /// The database does not answer as it should.
    #[error("cannot read the database")]
    Sql(#[from] sqlx::Error),
    /// A table cannot be read, or there is no room for its rows.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no room for scratch files.
    #[error("cannot use a scratch file in the temporary directory")]
    Scratch(#[source] std::io::Error),
    /// A checkpoint or its key cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A view cannot apply what the log holds.
    #[error("the views cannot be rebuilt beyond position {position}: {reason}")]
    CannotApply {
        /// The event.
        position: Position,
        /// Why.
        reason: String,
    },
    /// There is no such view.
    #[error("there is no view {asked}; there are {known}")]
    NoSuchView {
        /// The name.
        asked: String,
        /// The names that there are.
        known: String,
    },
    /// What was asked for cannot be written.
    #[error("cannot write")]
    Output(#[source] std::io::Error),
    /// The program was built without Parquet.
    #[error("this program was built without Parquet (feature parquet)")]
    WithoutParquet,
    /// Nobody knows the future.
    #[error("position {asked} is not in the log yet: its head is at {head}")]
    BeyondHead {
        /// The position asked for.
        asked: Position,
        /// The last one.
        head: Position,
    },
    /// An export that did not begin reads the same as one of an empty log.
    #[error(
        "there is no event in {0}, so nothing was verified; for an export of an empty log give --expect-head 0: and 64 zeroes"
    )]
    NoEvents(PathBuf),
    /// It would not be one export any more.
    #[error("cannot go on with {path}: {reason}")]
    OtherExport {
        /// The file.
        path: PathBuf,
        /// What it is not.
        reason: String,
    },
    /// Of a log whose first event is not there, nothing says which one it is.
    #[error(
        "the log's first event, which names the log, cannot be read here: give --cloudevents-source"
    )]
    NamelessLog,
    /// Two places are named the wrong way round.
    #[error("FROM, {from}, comes after TO, {to}")]
    Backwards {
        /// The one that should be the earlier.
        from: Moment,
        /// The one that should be the later.
        to: Moment,
    },
    /// Nothing was ever said about it.
    #[error("there is no drop {0} at that place of the log")]
    NoSuchDrop(DropId),
}

impl AuditError {
    fn cannot_apply(position: Position, reason: &CannotApply) -> Self {
        let reason = reason.to_string();
        Self::CannotApply { position, reason }
    }

    /// 1 for what speaks against the log, or against what is claimed or assumed of it; else 2.
    fn exit_code(&self) -> ExitCode {
        let is_answer = matches!(
            self,
            Self::NoSuchDrop(_)
                | Self::Checkpoint(CheckpointError::Forged { .. })
                | Self::Log(LogError::Corrupt { .. })
                | Self::CannotApply { .. }
        );
        ExitCode::from(if is_answer { 1 } else { 2 })
    }
}

/// Runs an audit; exit code 0: done or proved, 1: disproved, 2: could not be told.
pub async fn run(args: AuditArgs) -> ExitCode {
    let outcome = match args.command {
        AuditCommand::Verify(args) => proof::run(&args).await,
        AuditCommand::Export(args) => export::run(&args).await,
        AuditCommand::History(args) => history::run(&args).await,
        AuditCommand::State(args) => state::run(&args).await,
        AuditCommand::Replay(args) => replay::run(&args).await,
        AuditCommand::Diff(args) => diff::run(&args).await,
        AuditCommand::Checkpoint(args) => checkpoint::run(&args).await,
        AuditCommand::Erase(args) => erase::run(&args).await,
        AuditCommand::Schema => print(&format!("{:#}", domain::schema::document())),
    };
    outcome.unwrap_or_else(|error| {
        fail(&error);
        error.exit_code()
    })
}

/// Writes a text and a line feed to standard output.
fn print(text: &str) -> Result<ExitCode, AuditError> {
    written(print_line(text).map_err(AuditError::Output))
}

fn written(result: Result<(), AuditError>) -> Result<ExitCode, AuditError> {
    match result {
        Err(AuditError::Output(error)) if was_enough(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}
