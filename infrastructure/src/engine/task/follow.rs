//! Following: what the log holds that this engine has not seen, checked, applied, and told on.
//!
//! Promise: every event once, in order, each hash recomputed. An event that cannot be applied puts
//! its drop into quarantine ([`admit`]); a hash that does not follow is corruption with a position,
//! and nothing from there on is applied.
//! Limit: at a start no hash is recomputed: a whole log is `audit verify`'s business.
//!
//! A start reads the whole log: while one part is applied, the next is read and decoded.

use std::time::Duration;

use domain::erasure;
use domain::values::Position;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::Engine;
use super::admit::News;
use crate::codec::read;
use crate::engine::ports::{Clock, Ids, Observer};
use crate::error::LogError;
use crate::log::{EventLog, Head, Part, StoredEvent, chain};

/// Events read at once.
const READ_EVENTS: usize = 10_000;
/// How soon a log that is refused is looked at again: only an operator can repair it.
const LOOK_AT_REFUSED: Duration = Duration::from_secs(1);
/// Clocks of one shop that differ by more than this, in milliseconds, are worth a warning.
const MOST_SKEW_MS: i64 = 2_000;

type Reading = JoinHandle<Result<Vec<StoredEvent>, LogError>>;

/// How much of what is read back is recomputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing but that no position is missing.
    Nothing,
    /// Each hash.
    Chain,
}

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// Looks whether somebody else appended, or whether the log is back.
    pub(super) async fn look(&mut self) {
        let followed = match self.log.head().await {
            Ok(head) if head == self.head => Ok(()),
            Ok(head) => self.follow_to(head, Check::Chain).await,
            Err(error) => Err(error),
        };
        self.know_head();
        match followed {
            Ok(()) => self.be_live(),
            Err(error @ LogError::Corrupt { .. }) => {
                self.next_look = Instant::now() + LOOK_AT_REFUSED;
                self.be_away(error);
            }
            Err(error) => self.be_away(error),
        }
    }

    /// Applies what the log holds after our head, up to `target`.
    pub(super) async fn follow_to(&mut self, target: Head, check: Check) -> Result<(), LogError> {
        if check == Check::Nothing {
            return self.load_to(target).await;
        }
        let mut next = self.read_ahead(self.head.position, target);
        while let Some(reading) = next.take() {
            let tail = reading
                .await
                .map_err(|ended| LogError::Unavailable(ended.into()))??;
            let Some(last) = tail.last() else {
                return Err(broken(
                    self.head.position.next(),
                    "the head is further than the events",
                ));
            };
            // While this part is applied, the next one is read.
            next = self.read_ahead(last.position, target);
            self.check_chain(&tail)?;
            self.forget_erased(&tail).await?;
            let news = self.news_of(&tail).await?;
            self.apply_tail(&tail, news);
        }
        self.must_be_at(target)
    }

    /// Applies the whole log.
    async fn load_to(&mut self, target: Head) -> Result<(), LogError> {
        self.learn_voids().await?;
        let mut parts = self.log.parts(self.head.position, target.position);
        while let Some(part) = parts.recv().await {
            self.take_in(part?, vec![]);
        }
        self.warn_of_clock();
        self.must_be_at(target)
    }

    fn must_be_at(&self, target: Head) -> Result<(), LogError> {
        if self.head == target {
            return Ok(());
        }
        Err(broken(
            target.position,
            "history has changed: it does not lead to the head",
        ))
    }

    /// Starts to read what comes after `after`; none when that is all.
    fn read_ahead(&self, after: Position, target: Head) -> Option<Reading> {
        let missing = target.position.0.checked_sub(after.0)?;
        let limit = usize::try_from(missing)
            .unwrap_or(READ_EVENTS)
            .min(READ_EVENTS);
        if limit == 0 {
            return None;
        }
        let log = self.log.clone();
        Some(tokio::spawn(async move { log.read(after, limit).await }))
    }

    /// Whoever was erased is forgotten before anything else is decided. A whole log is read without their data already.
    async fn forget_erased(&mut self, tail: &[StoredEvent]) -> Result<(), LogError> {
        let erasures = tail
            .iter()
            .filter(|stored| stored.aggregate_type == erasure::AGGREGATE_TYPE);
        let positions: Vec<Position> = erasures.map(|stored| stored.position).collect();
        if positions.is_empty() {
            return Ok(());
        }
        let erased = self.log.erased(&positions).await?;
        for erased in &erased {
            self.state.forget(erased.drop_id, erased.buyer);
        }
        self.observer.erased(&erased);
        Ok(())
    }

    /// Recomputes each hash; nothing is applied before all of them follow.
    fn check_chain(&self, tail: &[StoredEvent]) -> Result<(), LogError> {
        let mut head = self.head;
        for stored in tail {
            if chain::link(&head.hash, stored) != stored.hash {
                return Err(broken(
                    stored.position,
                    "its hash does not follow from the one before",
                ));
            }
            head = stored.head();
        }
        Ok(())
    }

    fn apply_tail(&mut self, tail: &[StoredEvent], news: News) {
        let mut part = Part {
            events: Vec::with_capacity(tail.len()),
            ..Part::default()
        };
        for stored in tail {
            part.head = stored.head();
            match read(stored) {
                // Read again from the beginning of its drop.
                Ok(Some(recorded)) if news.rereads(Some(recorded.drop_id)) => {}
                Err(refused) if news.rereads(refused.drop_id) => {}
                Ok(recorded) => part.events.extend(recorded),
                Err(refused) => part.refused.push(*refused),
            }
        }
        let told = self.head.position;
        self.take_in(part, news.voided);
        for (drop_id, stream) in news.streams {
            self.readmit(drop_id, &stream, told);
        }
        self.warn_of_clock();
    }

    /// Time never goes back, so a clock ahead of ours rules until ours has caught up; somebody should mend it.
    fn warn_of_clock(&self) {
        let ahead = self.head.recorded_at.millis() - self.clock.now().millis();
        if ahead > MOST_SKEW_MS {
            warn!(
                ahead_ms = ahead,
                "the log is {ahead} ms ahead of this machine's clock: holds last longer until it has caught up"
            );
        }
    }
}

fn broken(position: Position, reason: &str) -> LogError {
    LogError::Corrupt {
        position,
        reason: reason.to_owned(),
    }
}
