//! What was committed, in order, for everybody in this process who follows the log.
//!
//! Promise: a follower that asks for what comes after its position gets every event, once, in order: from memory when it is
//! close behind, from the log when it is not. Limit: memory keeps the newest [`RECENT_EVENTS`] only.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use domain::values::Position;
use tokio::sync::watch;

use crate::codec::{RecordedEvent, decode};
use crate::error::LogError;
use crate::log::{EventLog, Head};

/// How many events are kept in memory for followers that are close behind.
pub const RECENT_EVENTS: usize = 50_000;

/// Consecutive events that are in the log, and the head they lead to.
#[derive(Debug, Default)]
pub struct Committed {
    /// In position order. Events of foreign streams are left out, so positions may jump; nothing of a drop is missing.
    pub events: Vec<RecordedEvent>,
    /// The head of the log right after.
    pub head: Head,
}

/// The newest committed batches, shared. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    recent: Arc<RwLock<Recent>>,
    head: Arc<watch::Sender<Head>>,
}

#[derive(Debug, Default)]
struct Recent {
    /// The position before the first batch kept.
    start: Position,
    batches: VecDeque<Arc<Committed>>,
    events: usize,
}

impl Feed {
    /// A feed of a log that has been read up to `head` already.
    #[must_use]
    pub fn starting_at(head: Head) -> Self {
        let feed = Self::default();
        feed.write(|recent| recent.start = head.position);
        feed.head.send_replace(head);
        feed
    }

    /// Adds what was committed next, and wakes who waits.
    pub fn publish(&self, committed: &Arc<Committed>) {
        self.write(|recent| recent.push(Arc::clone(committed)));
        self.head.send_replace(committed.head);
    }

    /// The head as this process knows it.
    #[must_use]
    pub fn head(&self) -> Head {
        *self.head.borrow()
    }

    /// A receiver that tells when the head moves.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// What comes after `after`: whole batches from memory, or up to `limit` events from `log`. Empty at the head.
    ///
    /// # Errors
    /// [`LogError`] when the log had to be read and could not be.
    pub async fn after<L: EventLog>(
        &self,
        log: &L,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Arc<Committed>>, LogError> {
        if let Some(batches) = self.recent_after(after, limit) {
            return Ok(batches);
        }
        let stored = log.read(after, limit).await?;
        let Some(last) = stored.last() else {
            return Ok(vec![]);
        };
        let head = last.head();
        let mut events = Vec::with_capacity(stored.len());
        for event in &stored {
            events.extend(decode(event)?);
        }
        Ok(vec![Arc::new(Committed { events, head })])
    }

    fn recent_after(&self, after: Position, limit: usize) -> Option<Vec<Arc<Committed>>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        if after < recent.start {
            return None;
        }
        let first = recent
            .batches
            .partition_point(|batch| batch.head.position <= after);
        // A position inside a batch is read from the log: followers stop at batch ends, so this is rare.
        let starts_here = first
            .checked_sub(1)
            .map_or(recent.start, |i| recent.batches[i].head.position);
        if first < recent.batches.len() && starts_here != after {
            return None;
        }
        let mut events = 0;
        let batches = recent.batches.iter().skip(first).take_while(|batch| {
            let fits = events < limit;
            events += weight(batch);
            fits
        });
        Some(batches.cloned().collect())
    }

    fn write(&self, change: impl FnOnce(&mut Recent)) {
        change(&mut self.recent.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Recent {
    fn push(&mut self, committed: Arc<Committed>) {
        self.events += weight(&committed);
        self.batches.push_back(committed);
        while self.events > RECENT_EVENTS {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            self.events -= weight(&oldest);
            self.start = oldest.head.position;
        }
    }
}

/// A batch of foreign events alone takes room as well.
fn weight(committed: &Committed) -> usize {
    committed.events.len().max(1)
}
