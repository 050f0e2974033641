//! Following: what the log holds that this engine has not seen, checked, applied, and told on.
//!
//! Promise: every event once, in order, each hash recomputed. An event that cannot be applied puts
//! its drop into quarantine ([`admit`]); a hash that does not follow is corruption with a position,
//! and nothing from there on is applied, at a start as well as while it runs.
//!
//! A start reads the whole log: while one part is applied, the next is read and decoded.

use std::collections::HashMap;
use std::time::Duration;

use domain::event::{LeaveCause, ReleaseCause};
use domain::values::{DropId, Position};
use domain::{DropEvent, erasure};
use infrastructure::codec::{RecordedEvent, read};
use infrastructure::error::LogError;
use infrastructure::log::{EventLog, Head, Part, StoredEvent, chain};
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Engine;
use super::admit::News;
use super::proof::HeldBack;

/// Events read at once.
const READ_EVENTS: usize = 10_000;
/// How soon a log that is refused is looked at again: only an operator can repair it.
const LOOK_AT_REFUSED: Duration = Duration::from_secs(1);
/// So many events that were due, of one drop and read at once, show that another node works it off.
const DUE_SLICE: usize = 32;
/// A node that recorded what is due in a drop is left to it for so long, in milliseconds, should it
/// record nothing more.
const LEAVE_DUE_MS: i64 = 250;

type Reading = JoinHandle<Result<Vec<StoredEvent>, LogError>>;

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// Looks whether somebody else appended, or whether the log is back.
    pub(super) async fn look(&mut self) {
        let followed = self.follow_and_prove().await;
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

    /// Nothing more is followed while something is held back, so that it cannot pile up.
    async fn follow_and_prove(&mut self) -> Result<(), LogError> {
        self.prove().await?;
        let head = self.log.head().await?;
        if head != self.head {
            self.follow_to(head).await?;
        }
        self.prove().await
    }

    /// Applies what the log holds after our head, up to `target`.
    pub(super) async fn follow_to(&mut self, target: Head) -> Result<(), LogError> {
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
    pub(super) async fn load_to(&mut self, target: Head) -> Result<(), LogError> {
        self.learn_voids().await?;
        let mut parts = self.log.parts(self.head.position, target.position);
        while let Some(part) = parts.recv().await {
            let committed = self.take_in(part?, vec![]);
            self.observer.committed(&committed);
        }
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
        self.held_back.push(HeldBack::Erased(erased));
        Ok(())
    }

    /// Recomputes each hash; nothing is applied before all of them follow.
    fn check_chain(&self, tail: &[StoredEvent]) -> Result<(), LogError> {
        let mut head = self.head;
        for stored in tail {
            if chain::link(&head.hash, stored) != stored.hash {
                return Err(chain::broken(stored.position));
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
        self.leave_due_to_others(&part.events);
        let told = self.head.position;
        let committed = self.take_in(part, news.voided);
        self.held_back.push(HeldBack::Committed(committed));
        for (drop_id, stream) in news.streams {
            let readmitted = self.readmit(drop_id, &stream, told);
            self.held_back.push(HeldBack::Readmitted(readmitted));
        }
    }

    /// Another node that was seen to work off what is due in a drop is left to it, as long as it
    /// goes on: two that record the same would lose races against each other, and their requests
    /// would wait for it.
    fn leave_due_to_others(&mut self, events: &[RecordedEvent]) {
        let mut slices = HashMap::<DropId, usize>::new();
        for recorded in events.iter().filter(|recorded| was_due(&recorded.event)) {
            *slices.entry(recorded.drop_id).or_default() += 1;
        }
        let until = self
            .latest
            .max(self.head.recorded_at)
            .plus_millis(LEAVE_DUE_MS);
        for (drop_id, recorded) in slices {
            if recorded >= DUE_SLICE {
                self.state.leave_due(drop_id, until);
            }
        }
    }
}

/// Whether an engine records such an event without a request.
fn was_due(event: &DropEvent) -> bool {
    match event {
        DropEvent::HoldExpired(_) => true,
        DropEvent::HoldPlaced(event) => event.waitlist_entry.is_some(),
        DropEvent::HoldReleased(event) => event.cause == ReleaseCause::DropCancelled,
        DropEvent::WaitlistLeft(event) => event.cause == LeaveCause::DropCancelled,
        DropEvent::DropScheduled(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_) => false,
    }
}

fn broken(position: Position, reason: &str) -> LogError {
    LogError::Corrupt {
        position,
        reason: reason.to_owned(),
    }
}
