//! Reading the event log at a start.

use std::convert::Infallible;
use std::time::Duration;

use domain::values::Position;
use infrastructure::log::postgres::{CannotAppend, PostgresLog};
use infrastructure::log::{EventLog as _, Head};
use projections::views::Views;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ServerError;

/// Time between two reports of the progress of a start.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Logs the progress of reading the event log up to `head`.
pub(super) async fn report(views: &Views, head: Position) -> Infallible {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let position = views.position();
        info!(
            position = position.0,
            head = head.0,
            "reading the event log: position {position} of {head}"
        );
    }
}

/// Between two attempts to prove at a start that the log can be appended to.
const PROVE_AGAIN: Duration = Duration::from_secs(1);

/// Returns once the session that appends is open and may append. Waits while the database is
/// temporarily unable to respond, for example while its tables are locked.
pub(super) async fn prove_append(
    appended: &PostgresLog,
    log: &PostgresLog,
) -> Result<Head, ServerError> {
    let mut has_waited = false;
    loop {
        let proven = match appended.prove_append().await {
            // The head is read only while the standbys that are required are attached.
            Ok(()) => log.head().await.map_err(CannotAppend::Log),
            Err(error) => Err(error),
        };
        match proven {
            Err(CannotAppend::Log(error)) if error.is_away() => {
                let error = &error as &dyn std::error::Error;
                if !std::mem::replace(&mut has_waited, true) {
                    warn!(
                        error,
                        "waiting to start: the session that appends cannot be opened"
                    );
                }
                tokio::time::sleep(PROVE_AGAIN).await;
            }
            proven => return Ok(proven?),
        }
    }
}

/// Returns what `loading` loads from the log, unless `stop` interrupts it.
pub(super) async fn loaded<T>(
    loading: impl Future<Output = Result<T, ServerError>>,
    appended: &PostgresLog,
    stop: &CancellationToken,
) -> Result<T, ServerError> {
    tokio::select! {
        loaded = loading => loaded,
        () = stop.cancelled() => {
            // A commit that waits for a standby would stay on the database server, one for each
            // start.
            appended.end_sessions().await;
            Err(ServerError::Stopped)
        }
    }
}
