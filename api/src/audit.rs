//! `holdfast audit`: reads the log alone and recomputes everything that it claims.
//!
//! Read [`proof`] for what is proved, [`verify`] for how, [`source`] for where the log is read from.

mod distinct;
mod proof;
mod source;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use domain::values::Position;
use infrastructure::error::LogError;

pub use self::proof::VerifyArgs;
pub use self::verify::{Claim, Proved, Stop, Verifier, Violation};
use crate::cli::fail;
use crate::database::DatabaseError;

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
    /// Nobody knows the future.
    #[error("position {asked} is not in the log yet: its head is at {head}")]
    BeyondHead {
        /// The position asked for.
        asked: Position,
        /// The last one.
        head: Position,
    },
}

/// Runs an audit; exit code 0: done or proved, 1: disproved, 2: could not be told.
pub async fn run(args: AuditArgs) -> ExitCode {
    let outcome = match args.command {
        AuditCommand::Verify(args) => proof::run(&args).await,
    };
    outcome.unwrap_or_else(|error| {
        fail(&error);
        ExitCode::from(2)
    })
}
