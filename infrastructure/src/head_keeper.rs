//! Writes the last acknowledged head to a file outside the database ([`crate::kept_heads`]).
//!
//! Promise: an append never waits for the file, and a file that cannot be written stops no sale: it
//! is a log line and a count. Written at most once a second, and at an orderly stop.
//! Limit: after a crash, the file may lack the heads of the last second.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::values::Position;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::feed::Committed;
use crate::kept_heads::{Keep, LogId, keep};
use crate::log::{EventLog, Head};
use crate::ports::Observer;

/// The time between two writes.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the head of one log. Clones share it.
#[derive(Debug, Clone)]
pub struct HeadKeeper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    latest: watch::Sender<Head>,
    /// Known once the log has an event.
    id: OnceLock<LogId>,
    kept: AtomicU64,
    failures: AtomicU64,
}

impl HeadKeeper {
    /// Keeps heads in the file `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(Arc::new(Shared {
            path,
            latest: watch::Sender::new(Head::default()),
            id: OnceLock::new(),
            kept: AtomicU64::default(),
            failures: AtomicU64::default(),
        }))
    }

    /// The position of the head in the file, as far as this process wrote it; 0 before that.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.0.kept.load(Ordering::Relaxed))
    }

    /// How many writes failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Writes the head once a second, if it moved, until `stop`.
    pub async fn run<L: EventLog>(self, log: L, stop: CancellationToken) {
        let mut moved = self.0.latest.subscribe();
        moved.mark_changed();
        let writing = async {
            while moved.changed().await.is_ok() {
                let head = *moved.borrow_and_update();
                if !self.keep(&log, head).await {
                    moved.mark_changed();
                }
                sleep(EVERY).await;
            }
        };
        stop.run_until_cancelled(writing).await;
    }

    /// Writes the last head, for an orderly stop.
    pub async fn keep_last<L: EventLog>(&self, log: &L) {
        let head = *self.0.latest.borrow();
        self.keep(log, head).await;
    }

    /// Replaces the head in the file, however far it is: its loss was accepted.
    ///
    /// # Errors
    /// When the file cannot be replaced.
    pub async fn replace(&self, log: LogId, head: Head) -> io::Result<()> {
        let path = self.0.path.clone();
        let replaced = spawn_blocking(move || keep(&path, log, head, Keep::This)).await;
        replaced.map_err(io::Error::other)?
    }

    /// Returns false if the write failed.
    async fn keep<L: EventLog>(&self, log: &L, head: Head) -> bool {
        if head.position == Position::default() || head.position == self.position() {
            return true;
        }
        let written = self.write(log, head).await;
        let had_failed = self.failures() > 0 && self.position() == Position::default();
        match written {
            Ok(()) => {
                if had_failed {
                    info!("the head of the event log is kept outside the database again");
                }
                self.0.kept.store(head.position.0, Ordering::Relaxed);
                true
            }
            Err(error) => {
                let before = self.0.failures.fetch_add(1, Ordering::Relaxed);
                let was_kept = self.0.kept.swap(0, Ordering::Relaxed) > 0;
                // Logged once until it succeeds again.
                if before == 0 || was_kept {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot keep the head of the event log in {}: a later start could not notice \
                         that the log lost events",
                        self.0.path.display()
                    );
                }
                false
            }
        }
    }

    async fn write<L: EventLog>(&self, log: &L, head: Head) -> io::Result<()> {
        let id = match self.0.id.get() {
            Some(id) => *id,
            None => {
                let first = log.read(Position::default(), 1).await;
                let first = first.map_err(io::Error::other)?;
                let first = first
                    .first()
                    .ok_or_else(|| io::Error::other("the log is empty"))?;
                *self.0.id.get_or_init(|| LogId::of_first(first.hash))
            }
        };
        let path = self.0.path.clone();
        let written = spawn_blocking(move || keep(&path, id, head, Keep::Further)).await;
        written.map_err(io::Error::other)?
    }
}

impl Observer for HeadKeeper {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.0.latest.send_replace(committed.head);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use domain::values::{Sequence, Timestamp};

    use super::*;
    use crate::kept_heads::{KeptHeads, file_in};
    use crate::log::memory::MemoryLog;
    use crate::log::{Batch, StoredEvent};

    fn event(position: u64) -> StoredEvent {
        StoredEvent {
            position: Position(position),
            recorded_at: Timestamp::from_millis(0),
            aggregate_type: "Sample".into(),
            aggregate_id: "a".to_owned(),
            sequence: Sequence(position),
            event_type: "Sampled".into(),
            event_version: "1.0".into(),
            payload: "{}".to_owned(),
            metadata: "{}".into(),
            hash: crate::log::Hash::default(),
            private: None,
        }
    }

    async fn append(log: &MemoryLog, keeper: &mut HeadKeeper) -> Head {
        let head = log.head().await.unwrap();
        let batch = Batch::seal(head, vec![event(head.position.0 + 1)]);
        log.append(&batch).await.unwrap();
        let head = batch.head();
        keeper.committed(&Arc::new(Committed {
            head,
            ..Committed::default()
        }));
        head
    }

    #[tokio::test(start_paused = true)]
    async fn head_is_kept_and_a_failure_only_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(directory.path());
        let log = MemoryLog::default();
        let mut keeper = HeadKeeper::new(path.clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(keeper.clone().run(log.clone(), stop.clone()));
        let first = append(&log, &mut keeper).await;
        while keeper.position() < first.position {
            sleep(EVERY).await;
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        append(&log, &mut keeper).await;
        while keeper.failures() == 0 {
            sleep(EVERY).await;
        }
        assert_eq!(keeper.position(), Position::default());
        // It is tried again, although the head does not move.
        fs::remove_dir(&path).unwrap();
        while keeper.position() < Position(2) {
            sleep(EVERY).await;
        }
        stop.cancel();
        running.await.unwrap();
        let last = append(&log, &mut keeper).await;
        keeper.keep_last(&log).await;
        let kept = KeptHeads::read(&path).unwrap();
        assert_eq!(kept.all().len(), 1);
        assert_eq!(kept.all()[0].head, last.into());
    }
}
