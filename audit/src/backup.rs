//! `holdfast backup verify`: proves that a backup of the log can be restored and served.
//!
//! Promise: everything that `audit verify` proves, and that the triggers of the log are enabled and
//! a server could append. A dump is restored into a PostgreSQL of its own, which is removed
//! afterwards; a database is only read.
//! Limit: a dump needs PostgreSQL's client programs; the proof of an export is that of `audit
//! verify --file`.

mod archive;
mod restore;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use database::{Database, DatabaseSettings};
use infrastructure::kept_heads::{KnownLog, Loss};
use infrastructure::log::Head;
use infrastructure::log::postgres::PostgresLog;
use terminal::Signals;
use terminal::text::one_line;
use tokio_util::sync::CancellationToken;

use self::archive::Archive;
use self::restore::Restored;
use super::acknowledged::{Compared, HeadFile};
use super::proof::{
    Outcome, of_checkpoints, placed_in_stream, print_violation, verify_database, verify_file,
};
use super::source::Source;
use super::violation::{Claim, Stop, Violation};
use super::{AuditError, print};

/// Arguments of `holdfast backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Prove a backup: a dump of pg_dump, an export, or the address of a restored database. Exits
    /// with 1 if it is not sound.
    Verify(BackupVerifyArgs),
}

/// Arguments of `backup verify`.
#[derive(Debug, Args)]
struct BackupVerifyArgs {
    /// A dump of pg_dump in any format, an export of `audit export`, or the URL of a restored
    /// database. Without it, the database of the settings.
    #[arg(
        env = "HOLDFAST_BACKUP",
        value_name = "FILE|URL",
        hide_env_values = true
    )]
    backup: Option<String>,

    /// File with the last head that a server acknowledged: how much is newer than the backup?
    /// Without it, heads.json in the data directory.
    #[arg(long, env = "HOLDFAST_AUDIT_HEAD", value_name = "FILE")]
    head: Option<PathBuf>,

    /// A checkpoint that was kept (`audit checkpoint`): the backup must extend it; may be repeated.
    #[arg(long, env = "HOLDFAST_AUDIT_CHECKPOINT", value_name = "FILE")]
    checkpoint: Vec<PathBuf>,

    /// The public key of the checkpoints; without it, checkpoint.pub in the data directory.
    #[arg(
        long,
        env = "HOLDFAST_AUDIT_CHECKPOINT_KEY",
        value_name = "FILE",
        requires = "checkpoint"
    )]
    checkpoint_key: Option<PathBuf>,

    #[command(flatten)]
    database: DatabaseSettings,
}

/// Runs a command of `holdfast backup`. Exit codes as of `holdfast audit`.
pub async fn run(args: BackupArgs) -> ExitCode {
    let BackupCommand::Verify(args) = args.command;
    verify(&args).await.unwrap_or_else(|error| {
        database::fail(&error);
        error.exit_code()
    })
}

/// The age of a backup, next to the last head that is known.
#[derive(Debug, Default)]
struct Age {
    known: Option<KnownLog>,
    loss: Option<Loss>,
}

async fn verify(args: &BackupVerifyArgs) -> Result<ExitCode, AuditError> {
    let data_dir = &args.database.data_dir;
    let key = args.checkpoint_key.as_deref();
    let claims = of_checkpoints(&args.checkpoint, key, data_dir)?;
    let heads = HeadFile::read(args.head.as_deref(), data_dir)?;
    let mut settings = args.database.clone();
    match args.backup.as_deref() {
        None => {}
        Some(url) if url.contains("://") => {
            settings.database_url = Some(url.to_owned());
            settings.direct_url = None;
        }
        Some(file) => {
            let path = Path::new(file);
            let archive = Archive::of(path).map_err(|source| AuditError::File {
                path: path.to_owned(),
                source,
            })?;
            if archive == Archive::Export {
                return verify_export(path, claims).await;
            }
            let stop = on_signal();
            let restored = Restored::from(path, archive, &settings, &stop).await?;
            let verifying = verify_restored(&restored.settings, &heads, claims);
            let verified = unless_stopped(&stop, verifying).await;
            restored.remove().await;
            return verified;
        }
    }
    verify_restored(&settings, &heads, claims).await
}

/// Returns a token that the next signal cancels: what was restored has the data of buyers, and is
/// removed first.
fn on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let (mut signals, stopped) = (Signals::catch(), stop.clone());
    tokio::spawn(async move {
        signals.next().await;
        stopped.cancel();
    });
    stop
}

/// Returns what `work` returns, unless `stop` interrupts it.
///
/// # Errors
/// That of `work`, or [`AuditError::Interrupted`].
async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, AuditError>>,
) -> Result<T, AuditError> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(AuditError::Interrupted),
    }
}

async fn verify_export(path: &Path, claims: Vec<Claim>) -> Result<ExitCode, AuditError> {
    let source = Source::File(path.to_owned());
    match verify_file(&source, path, claims).await? {
        Ok(proof) => proof.print(false),
        Err(stop) => stopped(&source, stop).await,
    }
}

async fn verify_restored(
    settings: &DatabaseSettings,
    heads: &HeadFile,
    claims: Vec<Claim>,
) -> Result<ExitCode, AuditError> {
    let database = Database::open_existing(settings).await?;
    let source = Source::Database(Box::new(database));
    let verified = verify_source(&source, heads, claims).await;
    source.close().await;
    verified
}

async fn verify_source(
    source: &Source,
    heads: &HeadFile,
    mut claims: Vec<Claim>,
) -> Result<ExitCode, AuditError> {
    let Source::Database(database) = source else {
        return Ok(ExitCode::SUCCESS);
    };
    let log = PostgresLog::new(database.pool.clone());
    let Compared {
        claim, known, loss, ..
    } = heads.compare_log(&log).await?;
    // Every backup is older than the last head; only another history is a fault.
    claims.extend(claim.filter(|_| loss.as_ref().is_none_or(|loss| loss.other.is_some())));
    let age = Age { known, loss };
    let outcome: Outcome = verify_database(&database.pool, claims).await?;
    let proof = match outcome {
        Ok(proof) => proof,
        Err(stop) => return stopped(source, stop).await,
    };
    let head = proof.head();
    proof.print(false)?;
    if let Some(missing) = proof.unguarded().first() {
        return fault(head, missing.clone());
    }
    if let Err(error) = log.prove_append().await {
        let reason = format!(
            "a server could not append to this database: {}",
            one_line(&error)
        );
        return fault(head, reason);
    }
    print(&age.sentence(head))?;
    print("the triggers of the log are enabled, and a server can append")
}

/// Prints a fault of a database whose chain was verified up to `head`.
fn fault(head: Head, reason: String) -> Result<ExitCode, AuditError> {
    print_violation(&Violation::at(head.position, reason), false)?;
    Ok(ExitCode::FAILURE)
}

async fn stopped(source: &Source, stop: Stop) -> Result<ExitCode, AuditError> {
    match stop {
        Stop::Violated(violation) => {
            print_violation(&placed_in_stream(source, *violation).await, false)?;
            Ok(ExitCode::FAILURE)
        }
        Stop::Scratch(error) => Err(AuditError::Scratch(error)),
    }
}

impl Age {
    /// How much the last known head is newer than `head`.
    fn sentence(&self, head: Head) -> String {
        let last = format!("the last event was recorded at {}", head.recorded_at);
        let Some(known) = &self.known else {
            return format!("{last}; no head that a server acknowledged is known of this log");
        };
        let known = known.head;
        match &self.loss {
            Some(Loss { accepted: None, .. }) => {
                let events = known.position.0.saturating_sub(head.position.0);
                let seconds = (known.recorded_at.millis() - head.recorded_at.millis()) / 1_000;
                format!(
                    "{last}: {events} events and {seconds} s older than the last head that a server \
                     acknowledged, at position {}",
                    known.position
                )
            }
            Some(Loss {
                accepted: Some(cut),
                ..
            }) => format!("{last}; {cut}"),
            None => format!(
                "{last}; it has the last head that a server acknowledged, at position {}",
                known.position
            ),
        }
    }
}
