//! Following: what the log holds that this engine has not seen, checked, applied, and shown once it is durable.
//!
//! Promise: every event once, in order, each hash recomputed; what history can never contain is corruption with a position.
//! Limit: at a start no hash is recomputed: a whole log is `audit verify`'s business.
//!
//! A start reads the whole log: while one part is applied, the next is read and decoded.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use domain::event::{LeaveCause, ReleaseCause};
use domain::values::{DropId, Position};
use domain::{DropEvent, erasure};
use tokio::task::JoinHandle;

use super::proof::HeldBack;
use super::{Engine, EngineError};
use crate::codec::{RecordedEvent, decode};
use crate::engine::ports::{Clock, Ids, Observer};
use crate::error::LogError;
use crate::feed::Committed;
use crate::log::{EventLog, Head, StoredEvent, chain};

/// Events read at once.
const READ_EVENTS: usize = 10_000;

/// So many events that were due, of one drop and read at once, show that another node works it off.
const DUE_SLICE: usize = 32;
/// A node that recorded what is due in a drop is left to it for so long, in milliseconds, should it
/// record nothing more.
const LEAVE_DUE_MS: i64 = 250;

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
    pub(super) async fn look(&mut self) -> Result<(), EngineError> {
        let followed = self.follow_and_prove().await;
        self.know_head();
        match followed {
            Ok(()) => {
                self.be_live();
                Ok(())
            }
            Err(error) => self.be_away(error),
        }
    }

    /// Nothing more is followed while something is held back, so that it cannot pile up.
    async fn follow_and_prove(&mut self) -> Result<(), LogError> {
        self.prove().await?;
        let head = self.log.head().await?;
        if head != self.head {
            self.follow_to(head, Check::Chain).await?;
        }
        self.prove().await
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
            self.forget_erased(&tail).await?;
            self.apply_tail(&tail)?;
        }
        self.must_be_at(target)
    }

    /// Applies the whole log.
    async fn load_to(&mut self, target: Head) -> Result<(), LogError> {
        let mut parts = self.log.parts(self.head.position, target.position);
        while let Some(part) = parts.recv().await {
            let committed = self.take_in(part?)?;
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

    fn apply_tail(&mut self, tail: &[StoredEvent]) -> Result<(), LogError> {
        let mut head = self.head;
        let mut events = Vec::with_capacity(tail.len());
        for stored in tail {
            if chain::link(&head.hash, stored) != stored.hash {
                return Err(broken(
                    stored.position,
                    "its hash does not follow from the one before",
                ));
            }
            events.extend(decode(stored)?);
            head = stored.head();
        }
        self.leave_due_to_others(&events);
        let committed = self.take_in(Committed { events, head })?;
        self.held_back.push(HeldBack::Committed(committed));
        Ok(())
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

    /// Applies what is in the log; observers are not given it yet.
    fn take_in(&mut self, committed: Committed) -> Result<Arc<Committed>, LogError> {
        for recorded in &committed.events {
            self.apply(recorded)?;
        }
        self.head = committed.head;
        Ok(Arc::new(committed))
    }

    /// Applies what somebody recorded, unless history can never contain it.
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), LogError> {
        let RecordedEvent {
            position,
            drop_id,
            sequence,
            ..
        } = *recorded;
        let next = self.state.next_sequence(drop_id);
        if sequence != next {
            let reason = format!("the next event of drop {drop_id} is {next}, not {sequence}");
            return Err(broken(position, &reason));
        }
        let state = &mut self.state;
        let applied = catch_unwind(AssertUnwindSafe(|| {
            state.apply(drop_id, &recorded.event, recorded.private.as_ref());
        }));
        // What was half applied is of no use to anybody: whoever gets this error stops.
        applied.map_err(|claim| broken(position, claim_of(&*claim)))
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

/// What `evolve` asserted in vain.
fn claim_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("history cannot contain it")
}
