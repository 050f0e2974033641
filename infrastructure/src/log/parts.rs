//! A log read and decoded in parts, ahead of who applies them: what a start reads.
//!
//! Promise: parts follow each other without a gap; an event that cannot be read ends them with its position.
//! Limit: hashes are carried, not recomputed.

use domain::values::Position;
use tokio::sync::mpsc;

use super::{EventLog, Head, StoredRef};
use crate::codec::{RecordedEvent, decode_ref};
use crate::error::LogError;
use crate::feed::Committed;

/// Consecutive parts, from a task that ends with this receiver.
pub type Parts = mpsc::Receiver<Result<Committed, LogError>>;

/// Parts that may wait to be applied.
pub(super) const AHEAD: usize = 10;
/// Events of a part, where a log has no better way to read many.
const PART: usize = 10_000;

/// A part that grows.
#[derive(Debug, Default)]
pub(super) struct Growing {
    head: Head,
    events: Vec<RecordedEvent>,
    /// Events of foreign streams among it.
    read: usize,
}

impl Growing {
    /// Begins right after `after`.
    pub(super) fn after(after: Position) -> Self {
        Self {
            head: Head {
                position: after,
                ..Head::default()
            },
            ..Self::default()
        }
    }

    /// How many events were read.
    pub(super) const fn read(&self) -> usize {
        self.read
    }

    /// Adds the next event.
    pub(super) fn add(&mut self, stored: StoredRef<'_>) -> Result<(), LogError> {
        let (expected, found) = (self.head.position.next(), stored.position);
        if found != expected {
            return Err(LogError::Corrupt {
                position: expected,
                reason: format!("the next event found is at position {found}"),
            });
        }
        self.events.extend(decode_ref(stored)?);
        self.read += 1;
        self.head = Head {
            position: stored.position,
            hash: stored.hash,
            recorded_at: stored.recorded_at,
        };
        Ok(())
    }

    /// Takes the part out; the next one begins right after it.
    pub(super) fn take(&mut self) -> Committed {
        let room = self.events.len();
        let events = std::mem::replace(&mut self.events, Vec::with_capacity(room));
        self.read = 0;
        Committed {
            events,
            head: self.head,
        }
    }
}

/// Reads `log` as any log is read.
pub(super) fn read<L: EventLog>(log: L, after: Position, until: Position) -> Parts {
    let (sender, parts) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut growing = Growing::after(after);
        while growing.head.position < until {
            let part = next(&log, &mut growing, until).await;
            let is_last = !matches!(&part, Ok(part) if part.head.position < until);
            if sender.send(part).await.is_err() || is_last {
                return;
            }
        }
    });
    parts
}

async fn next<L: EventLog>(
    log: &L,
    growing: &mut Growing,
    until: Position,
) -> Result<Committed, LogError> {
    let last = growing.head.position;
    let missing = usize::try_from(until.0 - last.0).unwrap_or(PART);
    let page = log.read(last, missing.min(PART)).await?;
    if page.is_empty() {
        return Err(LogError::Corrupt {
            position: last.next(),
            reason: "the head is further than the events".to_owned(),
        });
    }
    for stored in &page {
        growing.add(stored.borrowed())?;
    }
    Ok(growing.take())
}
