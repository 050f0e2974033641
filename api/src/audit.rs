//! `holdfast audit`: reads the log alone and recomputes everything that it claims.

mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use infrastructure::error::LogError;
use infrastructure::log::EventLog;
use infrastructure::log::postgres::PostgresLog;

pub use self::verify::{Verifier, Violation};
use crate::cli::fail;
use crate::config::DatabaseSettings;
use crate::database::{Database, DatabaseError};

const PAGE: usize = 5_000;

/// What auditors may ask.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Recompute the hash chain, density, sequences and stock conservation; exit 1 at the first position that fails.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Why a log could not be verified, which is not to say that it is wrong.
#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot read the event log")]
    Log(#[source] LogError),
}

/// Runs an audit; exit code 0: proved, 1: disproved, 2: could not be told.
pub async fn run(args: AuditArgs) -> ExitCode {
    let AuditCommand::Verify(args) = args.command;
    match verify(&args).await {
        Ok(Ok(verifier)) => {
            println!("{}", verifier.verdict());
            ExitCode::SUCCESS
        }
        Ok(Err(violation)) => {
            eprintln!("holdfast: {violation}");
            ExitCode::FAILURE
        }
        Err(error) => {
            fail(&error);
            ExitCode::from(2)
        }
    }
}

async fn verify(args: &VerifyArgs) -> Result<Result<Verifier, Violation>, AuditError> {
    let database = Database::open_existing(&args.database).await?;
    let log = PostgresLog::new(database.pool.clone());
    let outcome = verify_log(&log).await;
    database.close().await;
    outcome
}

/// Verifies up to the head that the log has now; what is appended meanwhile is left for the next time.
async fn verify_log(log: &PostgresLog) -> Result<Result<Verifier, Violation>, AuditError> {
    let (head, stray) = match log.head_and_stray().await {
        Ok(found) => found,
        Err(LogError::Corrupt { position, reason }) => {
            return Ok(Err(Violation { position, reason }));
        }
        Err(error) => return Err(AuditError::Log(error)),
    };
    let progress = ProgressBar::new(head.position.0).with_style(bar());
    let mut verifier = Verifier::default();
    while verifier.head().position < head.position {
        let missing = usize::try_from(head.position.0 - verifier.head().position.0).unwrap_or(PAGE);
        let page = match log.read(verifier.head().position, missing.min(PAGE)).await {
            Ok(page) => page,
            Err(LogError::Corrupt { position, reason }) => {
                return Ok(Err(Violation { position, reason }));
            }
            Err(error) => return Err(AuditError::Log(error)),
        };
        if page.is_empty() {
            let position = verifier.head().position.next();
            let reason = format!(
                "the head is at position {}, but there is no event here",
                head.position
            );
            return Ok(Err(Violation { position, reason }));
        }
        for stored in &page {
            if let Err(violation) = verifier.check(stored) {
                progress.finish_and_clear();
                return Ok(Err(violation));
            }
        }
        progress.set_position(verifier.head().position.0);
    }
    progress.finish_and_clear();
    if let (Ok(()), Some(position)) = (verifier.ends_at(head), stray) {
        let reason = format!(
            "an event stands here, outside the log, whose head is at position {}",
            head.position
        );
        return Ok(Err(Violation { position, reason }));
    }
    Ok(verifier.ends_at(head).map(|()| verifier))
}

fn bar() -> ProgressStyle {
    ProgressStyle::with_template(
        "verifying {bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}
