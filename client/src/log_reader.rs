//! Follows one drop through the log, from a position on.
//!
//! Promise: every event of the drop after the start is given once, in order, read as what the domain says it is.
//! Limit: the whole log is paged through to find them, so start at a recent head.

use std::time::Duration;

use domain::DropEvent;
use domain::values::{DropId, Position, Timestamp};
use tokio::time::{Instant, sleep};

use super::calls::LogEvent;
use super::error::ClientError;
use super::pooled::Client;

/// Events asked for at once.
const PAGE: usize = 1_000;
/// How long a server that is away is waited for: a restart and a recovery, with room.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries at a server that is away.
const PAUSE: Duration = Duration::from_millis(250);

/// One event of the drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// What happened.
    pub event: DropEvent,
}

/// See the module.
#[derive(Debug)]
pub struct LogReader {
    client: Client,
    drop_id: String,
    position: Position,
}

impl LogReader {
    /// Follows `drop_id` from the first event after `position`.
    #[must_use]
    pub fn new(client: Client, drop_id: DropId, position: Position) -> Self {
        Self {
            client,
            drop_id: drop_id.to_string(),
            position,
        }
    }

    /// The last position read.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The drop's events from here to where the log ends now. What is appended meanwhile is left for the next time.
    ///
    /// # Errors
    /// [`ClientError`], after having waited for a server that is away.
    pub async fn read_to_head(&mut self) -> Result<Vec<Recorded>, ClientError> {
        let head = patiently(|| self.client.log_head()).await?;
        let mut found = vec![];
        while self.position < head.position {
            let page = patiently(|| self.client.log_page(self.position, PAGE)).await?;
            let Some(last) = page.data.last() else { break };
            self.position = last.position;
            for event in page.data.iter().filter(|e| e.aggregate_id == self.drop_id) {
                found.push(recorded(event)?);
            }
        }
        Ok(found)
    }
}

async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.is_passing() && Instant::now() < deadline => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

fn recorded(event: &LogEvent) -> Result<Recorded, ClientError> {
    let what = "an event of the log";
    let read = serde_json::from_str(event.payload.get())
        .map_err(|source| ClientError::Unreadable { what, source })?;
    Ok(Recorded {
        position: event.position,
        recorded_at: event.recorded_at,
        event: read,
    })
}
