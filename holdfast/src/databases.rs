//! `holdfast database`: moves the private PostgreSQL to a newer version, and copies a database into
//! an empty one.
//!
//! Promise: the audit verifies a copy before it replaces the original.
//! Limit: both need the schema of this release; roles of the operator's own are not copied.

use std::path::PathBuf;
use std::process::ExitCode;

use audit::AuditError;
use clap::{Args, Subcommand};
use database::copy::{Copied, copy};
use database::upgrade::{Upgrade, Upgrading};
use database::{Database, DatabaseError, DatabaseSettings};
use terminal::print_line;
use tracing::{info, warn};

use crate::cli::ended;

/// Arguments of `holdfast database`.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    #[command(subcommand)]
    command: DatabaseCommand,
}

#[derive(Debug, Subcommand)]
enum DatabaseCommand {
    /// Move the private PostgreSQL of a data directory to a newer version.
    ///
    /// A new cluster is filled from the old one, compared with it, and verified; only then it takes
    /// its place. The old cluster is kept under another name. No server may use the data directory
    /// meanwhile. PG_BIN_DIR names the new programs; without it, the newest ones are used that are
    /// installed.
    Upgrade(UpgradeArgs),
    /// Copy the whole database into an empty one, and verify the copy.
    ///
    /// The copy is the state at one moment; a server may run on the original. To move a shop, stop
    /// its servers first.
    Copy(CopyArgs),
}

#[derive(Debug, Args)]
struct UpgradeArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// Directory with the programs that created the cluster, if they are not found by themselves.
    #[arg(long, env = "HOLDFAST_FROM_BIN_DIR", value_name = "DIR")]
    from_bin_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CopyArgs {
    #[command(flatten)]
    database: DatabaseSettings,

    /// URL of the empty PostgreSQL database that becomes the copy.
    #[arg(
        long,
        env = "HOLDFAST_COPY_TO",
        value_name = "URL",
        hide_env_values = true,
        required_unless_present = "to_data_dir"
    )]
    to: Option<String>,

    /// Data directory in which a private PostgreSQL is created that becomes the copy.
    #[arg(
        long,
        env = "HOLDFAST_COPY_TO_DATA_DIR",
        value_name = "DIR",
        conflicts_with = "to"
    )]
    to_data_dir: Option<PathBuf>,
}

/// Why a database was neither moved nor copied.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("give --to or --to-data-dir")]
    NoTarget,
    #[error("cannot verify the copy")]
    Audit(#[from] AuditError),
    #[error("cannot write to standard output")]
    Output(#[from] std::io::Error),
}

impl Failure {
    const fn is_of_settings(&self) -> bool {
        match self {
            Self::Database(error) => error.is_of_settings(),
            Self::NoTarget => true,
            Self::Audit(_) | Self::Output(_) => false,
        }
    }
}

/// Runs the command. Exit code 0: done; 1: it failed, or the copy does not verify; 2: a setting
/// cannot be used.
pub async fn run(args: DatabaseArgs) -> ExitCode {
    let outcome = match args.command {
        DatabaseCommand::Upgrade(args) => upgrade(args).await,
        DatabaseCommand::Copy(args) => copied(&args).await,
    };
    outcome.unwrap_or_else(|error| ended(Err(error), Failure::is_of_settings))
}

async fn upgrade(args: UpgradeArgs) -> Result<ExitCode, Failure> {
    let upgrading = match Upgrade::begin(&args.database, args.from_bin_dir).await? {
        Upgrade::UpToDate(origin) => {
            print_line(&format!("nothing to do: the cluster belongs to {origin}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Upgrade::Begun(upgrading) => upgrading,
    };
    let [old, new] = upgrading.origins();
    info!("moving the cluster from {old} to {new}");
    let copied = match proved(&upgrading).await {
        Ok(Some(copied)) => copied,
        unproved => {
            upgrading.abandon().await;
            info!("the cluster is as it was");
            return unproved.map(|_| ExitCode::FAILURE);
        }
    };
    info!("verified; putting the new cluster in its place");
    let kept = upgrading.finish().await?;
    print_line(&format!(
        "moved {} events and {} other tables from PostgreSQL {} to {}\n\
         the old cluster is kept in {}: remove it when the shop has run on the new one",
        copied.events,
        copied.tables - 1,
        old.version,
        new.version,
        kept.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Copies, and verifies the copy. `None`: it does not verify; the audit has printed why.
async fn proved(upgrading: &Upgrading) -> Result<Option<Copied>, Failure> {
    let copied = upgrading.copy().await?;
    name_left(&copied);
    let is_verified = audit::verified(upgrading.copied()).await?;
    Ok(is_verified.then_some(copied))
}

async fn copied(args: &CopyArgs) -> Result<ExitCode, Failure> {
    let source = Database::open_existing(&args.database).await?;
    let copied = copy_from(&source, args).await;
    source.close().await;
    copied
}

async fn copy_from(source: &Database, args: &CopyArgs) -> Result<ExitCode, Failure> {
    let target = match (&args.to, &args.to_data_dir) {
        (Some(url), _) => Database::open_empty("HOLDFAST_COPY_TO", url).await?,
        (None, Some(directory)) => Database::open_empty_private(&args.database, directory).await?,
        (None, None) => return Err(Failure::NoTarget),
    };
    let proved = async {
        let copied = copy(&source.pool, &target.pool).await;
        let copied = copied.map_err(DatabaseError::Copy)?;
        name_left(&copied);
        print_line(&format!(
            "copied {} events and {} other tables",
            copied.events,
            copied.tables - 1
        ))?;
        Ok(match audit::verified(&target.pool).await? {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    };
    let proved = proved.await;
    target.close().await;
    proved
}

fn name_left(copied: &Copied) {
    if !copied.left.is_empty() {
        warn!(
            "not copied, because they are not part of the schema: {}",
            copied.left.join(", ")
        );
    }
}
