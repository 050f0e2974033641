//! Compares the log with the last head that this data directory knows of it, at a start.
//!
//! Promise: a log that lost acknowledged events is served only after an operator accepted the loss,
//! which the log records (`holdfast log accept-head`) and the server reports. A log that the data
//! directory does not know is new.
//! Limit: without a data directory that outlives the process, nothing is known at the next start.

use std::path::{Path, PathBuf};

use api::problem::log_cut;
use domain::values::Position;
use infrastructure::error::LogError;
use infrastructure::head_keeper::HeadKeeper;
use infrastructure::kept_heads::{KeptHeads, Loss, file_in};
use infrastructure::log::postgres::PostgresLog;
use tracing::{info, warn};

/// Why a server does not start on a log.
#[derive(Debug, thiserror::Error)]
pub enum KnownHeadError {
    /// The file cannot be read.
    #[error(
        "cannot read {path}, the last head of the event log that this data directory knows: restore \
         the file, or remove it to start without the comparison"
    )]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The log lost acknowledged events.
    #[error(
        "{loss}. Restore a later backup, or stop every server and accept the loss: holdfast log \
         accept-head --position {head} --reason TEXT --yes (docs/OPERATING.md, \"A restored log\")"
    )]
    Lost { loss: Box<Loss>, head: Position },
    #[error("cannot read the event log")]
    Log(#[source] LogError),
}

/// Compares the log with what `data_dir` knows of it. Problems report the last cut from then on.
///
/// # Errors
/// [`KnownHeadError`].
pub async fn compare(
    log: &PostgresLog,
    data_dir: &Path,
    keeper: &HeadKeeper,
) -> Result<(), KnownHeadError> {
    let path = file_in(data_dir);
    let known = KeptHeads::read(&path);
    let known = known.map_err(|source| KnownHeadError::File { path, source })?;
    match compare_with(log, &known, keeper).await {
        // The engine reads all of it, and reports where it is damaged.
        Err(KnownHeadError::Log(LogError::Corrupt { .. })) => Ok(()),
        compared => compared,
    }
}

async fn compare_with(
    log: &PostgresLog,
    known: &KeptHeads,
    keeper: &HeadKeeper,
) -> Result<(), KnownHeadError> {
    if let Some(last) = log.cuts().await.map_err(KnownHeadError::Log)?.pop() {
        log_cut::report(log_cut::LogCut {
            position: last.cut.position,
            events: last.cut.events,
            cut_at: last.cut.cut_at,
        });
    }
    let id = log.id().await.map_err(KnownHeadError::Log)?;
    let found = id.and_then(|id| Some((id, known.of(id)?)));
    let Some((id, known)) = found else {
        if let Some(last) = known.all().last() {
            let (log, position) = (last.log, last.head.position);
            match id {
                None => warn!(
                    "the event log is empty, although this data directory knows the log {log} up to \
                     position {position}: is this the right database?"
                ),
                Some(id) => info!(
                    "the data directory does not know the log {id} yet; the last one was {log}"
                ),
            }
        }
        return Ok(());
    };
    let loss = log.loss(known).await.map_err(KnownHeadError::Log)?;
    let Some(loss) = loss else {
        return Ok(());
    };
    let Some(accepted) = &loss.accepted else {
        return Err(KnownHeadError::Lost {
            head: loss.head.position,
            loss: Box::new(loss),
        });
    };
    warn!(
        position = accepted.at.0,
        "the event log is shorter than this data directory knows: {accepted}"
    );
    if let Err(error) = keeper.replace(id, loss.head).await {
        warn!(
            error = &error as &dyn std::error::Error,
            "cannot write the head of the event log to the data directory"
        );
    }
    Ok(())
}
