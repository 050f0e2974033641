//! Follows one drop through the log from a given position.
//!
//! Promise: every event of the drop after the start is returned once, in order, decoded into the
//! domain's type.
//! Limit: it pages through the whole log to find them, so start at a recent head.

use std::time::Duration;

use domain::DropEvent;
use domain::values::{DropId, Position, Timestamp};
use tokio::time::{Instant, sleep};

use super::calls::LogEvent;
use super::error::ClientError;
use super::pooled::Client;

/// Events per request.
const PAGE: usize = 1_000;
/// How long to retry while the server is unreachable: enough for a restart and a recovery.
const RETRY_LIMIT: Duration = Duration::from_secs(60);
/// The pause between two retries.
const PAUSE: Duration = Duration::from_millis(250);

/// One event of the drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub position: Position,
    pub recorded_at: Timestamp,
    pub event: DropEvent,
}

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

    /// Returns the drop's events from here to the present head. Events appended meanwhile are left
    /// for the next call.
    ///
    /// # Errors
    /// [`ClientError`], after retrying while the server was unreachable.
    pub async fn read_to_head(&mut self) -> Result<Vec<Recorded>, ClientError> {
        let head = with_retries(|| self.client.log_head()).await?;
        let mut found = vec![];
        while self.position < head.position {
            let page = with_retries(|| self.client.log_page(self.position, PAGE)).await?;
            let Some(last) = page.data.last() else { break };
            self.position = last.position;
            for event in page.data.iter().filter(|e| e.aggregate_id == self.drop_id) {
                found.push(recorded(event)?);
            }
        }
        Ok(found)
    }
}

async fn with_retries<T, F>(mut send: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let deadline = Instant::now() + RETRY_LIMIT;
    loop {
        match send().await {
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
