//! A log that detects a spinning caller: on a paused clock a loop without a pause would never end.

use std::sync::{Arc, Mutex};

use domain::values::{Position, Timestamp};
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::{Batch, EventLog, Head, Parts, StoredEvent};
use tokio::time::Instant;

/// No correct caller calls this often without any time passing.
const MOST_CALLS_AT_ONCE: u32 = 5_000;

/// The wrapped log, with its calls counted.
#[derive(Debug, Clone)]
pub struct Counted<L> {
    pub log: L,
    calls: Arc<Mutex<(Option<Instant>, u32)>>,
}

impl<L> Counted<L> {
    pub fn new(log: L) -> Self {
        Self {
            log,
            calls: Arc::default(),
        }
    }

    fn count(&self) {
        let now = Instant::now();
        let calls = {
            let mut calls = self.calls.lock().unwrap();
            if calls.0 != Some(now) {
                *calls = (Some(now), 0);
            }
            calls.1 += 1;
            calls.1
        };
        assert!(calls < MOST_CALLS_AT_ONCE, "the log's caller spins");
    }
}

impl<L: EventLog> EventLog for Counted<L> {
    type Turn = L::Turn;

    async fn head(&self) -> Result<Head, LogError> {
        self.count();
        self.log.head().await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        self.count();
        self.log.clock().await
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.count();
        self.log.read(after, limit).await
    }

    fn parts(&self, after: Position, until: Position) -> Parts {
        self.count();
        self.log.parts(after, until)
    }

    async fn append(&self, batch: &Batch) -> Result<(), AppendError> {
        self.count();
        self.log.append(batch).await
    }

    async fn barrier(&self) -> Result<(), LogError> {
        self.count();
        self.log.barrier().await
    }

    async fn take_turn(&self) -> Result<L::Turn, LogError> {
        self.count();
        self.log.take_turn().await
    }
}
