//! Follows the log: events that this engine has not seen are checked, applied, and passed to
//! observers.
//!
//! Promise: every event once, in order, each hash recomputed. An event that cannot be applied puts
//! its drop or order into quarantine ([`super::admit`]). A hash that does not match is corruption
//! with a position, and nothing from that position on is applied, at a start as well as later.
//!
//! A start reads the whole log: while one part is applied, the next is read and decoded.

use std::collections::HashMap;
use std::time::Duration;

use domain::event::{LeaveCause, ReleaseCause};
use domain::values::{DropId, Position};
use domain::{DropEvent, erasure};
use infrastructure::codec::{Recorded, RecordedEvent, read_any};
use infrastructure::error::LogError;
use infrastructure::log::{EventLog, Head, Part, StoredEvent, StreamId, chain};
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Engine;
use super::admit::VoidChanges;
use super::proof::HeldBack;

/// Events per read.
const READ_EVENTS: usize = 10_000;
/// Poll interval for a refused log: only an operator can repair it.
const POLL_REFUSED_EVERY: Duration = Duration::from_secs(1);
/// This many due-work events of one drop in one read show that another node is doing its due work.
const DUE_SLICE: usize = 32;
/// A drop's due work is left to the node that recorded it for this long after the last such event,
/// in milliseconds.
const LEAVE_DUE_MS: i64 = 250;

type Reading = JoinHandle<Result<Vec<StoredEvent>, LogError>>;

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// Polls the log for other nodes' events, or for its return after an outage.
    pub(super) async fn look(&mut self) {
        let followed = self.follow_and_pass_barrier().await;
        self.postpone_poll();
        match followed {
            Ok(()) => self.become_live(),
            Err(error @ LogError::Corrupt { .. }) => {
                self.next_poll = Instant::now() + POLL_REFUSED_EVERY;
                self.enter_outage(error);
            }
            Err(error) => self.enter_outage(error),
        }
    }

    /// Follows nothing more while events are held back, so that they cannot accumulate.
    async fn follow_and_pass_barrier(&mut self) -> Result<(), LogError> {
        self.pass_barrier().await?;
        let head = self.log.head().await?;
        if head != self.head {
            self.follow_to(head).await?;
        }
        self.pass_barrier().await
    }

    /// Applies the log's events after our head, up to `target`.
    pub(super) async fn follow_to(&mut self, target: Head) -> Result<(), LogError> {
        let mut next = self.read_ahead(self.head.position, target);
        while let Some(reading) = next.take() {
            let tail = reading
                .await
                .map_err(|ended| LogError::Unavailable(ended.into()))??;
            let Some(last) = tail.last() else {
                return Err(broken(
                    self.head.position.next(),
                    "the head is beyond the last event",
                ));
            };
            // While this part is applied, the next one is read.
            next = self.read_ahead(last.position, target);
            self.check_chain(&tail)?;
            self.forget_erased(&tail).await?;
            let changes = self.void_changes(&tail).await?;
            self.apply_tail(&tail, changes);
        }
        self.must_be_at(target)
    }

    pub(super) async fn load_to(&mut self, target: Head) -> Result<(), LogError> {
        self.learn_voids().await?;
        let mut parts = self.log.parts(self.head.position, target.position);
        while let Some(part) = parts.recv().await {
            let committed = self.apply_part(part?, vec![]);
            self.observer.committed(&committed);
        }
        // The log has lost the data of erased buyers already, but their entries may still wait.
        for erased in self.log.all_erased().await? {
            self.state.forget(erased.drop_id, erased.buyer);
        }
        self.must_be_at(target)
    }

    fn must_be_at(&self, target: Head) -> Result<(), LogError> {
        if self.head == target {
            return Ok(());
        }
        Err(broken(
            target.position,
            "history has changed: its events do not lead to the head",
        ))
    }

    /// Starts to read the events after `after`; `None` when there are none.
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

    /// Removes erased buyers before anything else is decided.
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

    /// Recomputes each hash; nothing is applied unless all of them match.
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

    fn apply_tail(&mut self, tail: &[StoredEvent], changes: VoidChanges) {
        let mut part = Part {
            events: Vec::with_capacity(tail.len()),
            ..Part::default()
        };
        for stored in tail {
            part.head = stored.head();
            match read_any(stored) {
                // Read again from the first event of its stream.
                Ok(Some(Recorded::Drop(recorded)))
                    if changes.rereads(Some(StreamId::Drop(recorded.drop_id))) => {}
                Ok(Some(Recorded::Order(recorded)))
                    if changes.rereads(Some(StreamId::Order(recorded.order_id))) => {}
                Err(refused) if changes.rereads(refused.stream_id()) => {}
                Ok(Some(Recorded::Drop(recorded))) => part.events.push(recorded),
                Ok(Some(Recorded::Order(recorded))) => part.orders.push(recorded),
                Ok(None) => {}
                Err(refused) => part.refused.push(*refused),
            }
        }
        self.leave_due_to_others(&part.events);
        let observed = self.head.position;
        let committed = self.apply_part(part, changes.voided);
        self.held_back.push(HeldBack::Committed(committed));
        // Drops first: the end of a readmitted order follows from its holds.
        for (id, stream) in changes.streams {
            let readmitted = match id {
                StreamId::Drop(drop_id) => {
                    HeldBack::Readmitted(self.readmit(drop_id, &stream, observed))
                }
                StreamId::Order(order_id) => {
                    HeldBack::OrderReadmitted(self.readmit_order(order_id, &stream, observed))
                }
            };
            self.held_back.push(readmitted);
        }
    }

    /// Leaves a drop's due work to another node that is doing it, for as long as that node
    /// continues. Two nodes that record the same work would cause conflicts, and their requests
    /// would wait.
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

/// Reports whether an engine records such an event as due work.
fn was_due(event: &DropEvent) -> bool {
    match event {
        DropEvent::HoldExpired(_) | DropEvent::DropStarted(_) | DropEvent::DropEnded(_) => true,
        DropEvent::HoldPlaced(event) => event.waitlist_entry.is_some(),
        DropEvent::HoldReleased(event) => event.cause == ReleaseCause::DropCancelled,
        DropEvent::WaitlistLeft(event) => event.cause == LeaveCause::DropCancelled,
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::CodesCreated(_) => false,
    }
}

fn broken(position: Position, reason: &str) -> LogError {
    LogError::Corrupt {
        position,
        reason: reason.to_owned(),
    }
}
