//! `holdfast audit`: reads the log alone and recomputes everything that it claims.
//!
//! Read [`proof`] for the scope of a verification, [`verify`] for its method, and [`source`] for
//! the ways to read the log.

// A closed pipe or a full disk must not end a command by a panic: see [`terminal`].
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod acknowledged;
mod backup;
mod checkpoint;
mod diff;
mod distinct;
mod erase;
mod examine;
mod export;
mod guards;
mod history;
mod kept_head;
mod payment_bodies;
mod proof;
mod replay;
mod sentences;
mod source;
mod state;
mod verify;
mod violation;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use domain::values::{DropId, Position};
use infrastructure::error::LogError;
use projections::error::{CannotApply, SnapshotError};

pub use self::backup::{BackupArgs, run as run_backup};
pub use self::checkpoint::{CheckpointArgs, CheckpointError};
pub use self::diff::DiffArgs;
pub use self::erase::EraseArgs;
pub use self::export::{ExportArgs, Format};
pub use self::history::HistoryArgs;
pub use self::proof::{VerifyArgs, verified};
pub use self::replay::ReplayArgs;
pub use self::source::Moment;
pub use self::state::StateArgs;
pub use self::verify::{Proved, Verifier};
pub use self::violation::{Claim, Stop, StreamName, Violation};
use database::DatabaseError;
use database::fail;
use terminal::{is_broken_pipe, print_line};

/// Arguments of `holdfast audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Verify the log: hash chain, density, sequences, conservation of stock, and every projection.
    /// Exits with 1 at the first violated position.
    Verify(VerifyArgs),
    /// Write the log, or a part of it, as ndjson, CloudEvents, CSV or Parquet.
    Export(ExportArgs),
    /// Show all events of one hold as sentences.
    History(HistoryArgs),
    /// Show one drop, or all drops, as of a position or time.
    State(StateArgs),
    /// Recompute every projection from the log alone, to print it or to compare it with the tables.
    Replay(ReplayArgs),
    /// Show the changes between two positions or times.
    Diff(DiffArgs),
    /// Sign the head of the log, for an auditor to keep.
    Checkpoint(CheckpointArgs),
    /// Erase a buyer's personal data from the database.
    Erase(EraseArgs),
    /// Print the JSON Schema of the events.
    Schema,
}

/// Why an audit could not be completed. Most of these are not evidence against the log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot read the event log")]
    Log(#[source] LogError),
    /// The database failed.
    #[error("cannot read the database")]
    Sql(#[from] sqlx::Error),
    /// A table cannot be read, or the scratch space for its rows is full.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A dump that cannot be restored is no backup.
    #[error("{path} cannot be restored: {reason}")]
    NotRestored { path: PathBuf, reason: String },
    /// A dump is restored by PostgreSQL's own programs.
    #[error(
        "a dump is restored with PostgreSQL's client programs, and {0} was not found: install them \
         (Debian: postgresql-client), or give the URL of a restored database"
    )]
    NoProgram(&'static str),
    /// A signal arrived.
    #[error("interrupted before the backup was proved")]
    Interrupted,
    /// A file would be overwritten.
    #[error("{0} exists already, and no file is overwritten: choose another name, or remove it")]
    FileExists(PathBuf),
    /// A scratch file cannot be written.
    #[error("cannot use a scratch file in the temporary directory")]
    Scratch(#[source] std::io::Error),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A projection cannot apply an event.
    #[error("the projections cannot apply the event at position {position}: {reason}")]
    CannotApply { position: Position, reason: String },
    #[error("unknown view {name}; the views are {known}")]
    NoSuchView { name: String, known: String },
    /// The result cannot be written.
    #[error("cannot write")]
    Output(#[source] std::io::Error),
    /// The program was built without Parquet.
    #[error("this program was built without Parquet (feature parquet)")]
    WithoutParquet,
    /// The position is not in the log yet.
    #[error("position {requested} is not in the log yet: the head is at position {head}")]
    BeyondHead { requested: Position, head: Position },
    /// An export that was never started looks like an export of an empty log.
    #[error(
        "{0} contains no events, so nothing was verified; for an export of an empty log, add --expect-head 0: followed by 64 zeroes"
    )]
    NoEvents(PathBuf),
    /// The file does not contain the beginning of this export.
    #[error("cannot resume {path}: {reason}")]
    OtherExport { path: PathBuf, reason: String },
    /// The default CloudEvents source is derived from the log's first event, which is not
    /// available.
    #[error(
        "the log's first event, from which the CloudEvents source is derived, is not available: set --cloudevents-source"
    )]
    NamelessLog,
    /// The two positions or times are in the wrong order.
    #[error("FROM ({from}) is later than TO ({to})")]
    Backwards { from: Moment, to: Moment },
    /// The drop was not scheduled up to that position.
    #[error("drop {0} does not exist at that point of the log")]
    NoSuchDrop(DropId),
}

impl AuditError {
    fn cannot_apply(position: Position, reason: &CannotApply) -> Self {
        let reason = reason.to_string();
        Self::CannotApply { position, reason }
    }

    /// 1 for a fault of the log, or of a claim about it; otherwise 2.
    fn exit_code(&self) -> ExitCode {
        let is_finding = matches!(
            self,
            Self::NoSuchDrop(_)
                | Self::Checkpoint(CheckpointError::Forged { .. })
                | Self::Log(LogError::Corrupt { .. })
                | Self::NotRestored { .. }
                | Self::CannotApply { .. }
        );
        ExitCode::from(if is_finding { 1 } else { 2 })
    }
}

/// Runs an audit. Exit code 0: done or verified; 1: a violation was found; 2: the audit failed.
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
        Err(AuditError::Output(error)) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}
