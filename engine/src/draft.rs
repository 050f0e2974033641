//! What was decided but not sent to the log yet: requests with their outcomes, and the events that they became.
//!
//! Promise: a draft can be taken back whole, newest event first, and its requests decided again on
//! another history with the same ids. Its events are written and chained as they are decided, while
//! the batch before is on its way: when that has landed, nothing is left to do but to send this
//! one.
//! Limit: a draft takes no more requests once it has [`MOST_REQUESTS`], [`MOST_EVENTS`] or nearly
//! [`MOST_BATCH_BYTES`], so no request waits behind a batch of any size. See [`due`] for the share
//! that work without a request has of it.

mod command;
mod due;

use std::ops::Range;
use std::sync::Arc;

use domain::decide::{Decision, Subject};
use domain::private::Private;
use domain::values::{DropId, Position, Salt, Sequence, Timestamp};
use domain::{DropEvent, Refusal};
use infrastructure::codec::{RecordedEvent, encode};
use infrastructure::feed::Committed;
use infrastructure::log::{Batch, Head, MOST_BATCH_BYTES, StoredEvent};
use infrastructure::ports::Ids;
use tokio::sync::oneshot;
use uuid::Uuid;

use self::command::decide;
use super::handle::Submission;
use super::request::{Answer, CommandError, Request};
use super::state::{State, Undo};

/// A batch takes no more requests than this.
pub(super) const MOST_REQUESTS: usize = 1_024;
/// A batch takes no more requests, and no more work that is due, once it has so many events.
const MOST_EVENTS: usize = 2_048;
/// What one request may still add to a batch that has room: its own event, which a body of 16 KiB
/// asks for, and as many expiries as the largest hold needs units (see [`due`]). Nothing else is
/// added without looking at the room.
const REQUEST_BYTES: usize = 1 << 20;
/// A request that waited longer, in milliseconds, counts as having arrived so long ago: nothing
/// waits so long, unless a clock jumped.
const LONGEST_WAIT_MS: i64 = 10_000;

/// A request on its way, with the ids that it will use should it be accepted: drawn once, however often it is decided.
#[derive(Debug)]
pub(super) struct Entry {
    request: Request,
    ids: CandidateIds,
    reply: oneshot::Sender<Result<Answer, CommandError>>,
    arrived: Timestamp,
}

/// What an engine's configuration says of decisions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// See [`super::EngineConfig::max_waitlist`].
    pub(super) max_waitlist: u32,
    /// See [`super::EngineConfig::due_events`].
    pub(super) due_events: usize,
}

/// When a request is decided, and when it arrived: never later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    now: Timestamp,
    arrived: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct CandidateIds {
    subject: Uuid,
    buyer: Uuid,
    salt: Salt,
    /// Of the hold that a place in line becomes; drawn for nothing else.
    offer: Uuid,
}

impl Entry {
    pub(super) fn new(submission: Submission, ids: &mut impl Ids) -> Self {
        let Submission {
            request,
            reply,
            arrived,
        } = submission;
        let ids = CandidateIds {
            subject: ids.uuid(),
            buyer: ids.uuid(),
            salt: ids.salt(),
            offer: match request {
                Request::JoinWaitlist { .. } => ids.uuid(),
                Request::ScheduleDrop { .. }
                | Request::RescheduleDrop { .. }
                | Request::CancelDrop { .. }
                | Request::AdjustStock { .. }
                | Request::PlaceHold { .. }
                | Request::AskAboutBuyer { .. }
                | Request::ReleaseHold { .. }
                | Request::ConfirmPurchase { .. }
                | Request::LeaveWaitlist { .. } => Uuid::nil(),
            },
        };
        Self {
            request,
            ids,
            reply,
            arrived,
        }
    }

    /// When it arrived, seen from `now`.
    pub(super) fn arrived(&self, now: Timestamp) -> Timestamp {
        let earliest = now.plus_millis(-LONGEST_WAIT_MS);
        self.arrived.max(earliest).min(now)
    }

    /// Whether the caller has stopped waiting. Nothing was recorded for it, so nothing need be.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers. A caller that has gone away is no error.
    pub(super) fn answer(self, answer: Result<Answer, CommandError>) {
        let _gone = self.reply.send(answer);
    }
}

#[derive(Debug)]
struct Decided {
    entry: Entry,
    outcome: Result<(DropId, Subject), Refusal>,
    at: Timestamp,
    events: Range<usize>,
}

#[derive(Debug)]
struct Pending {
    drop_id: DropId,
    sequence: Sequence,
    event: DropEvent,
    private: Option<Private>,
    undo: Undo,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The head that it was decided on.
    base: Head,
    decided: Vec<Decided>,
    pending: Vec<Pending>,
    /// What `pending` will be stored as, chained to `base`.
    stored: Vec<StoredEvent>,
    /// How much that is, in bytes.
    bytes: usize,
    /// Events that were due without a request.
    due: usize,
    /// Events that followed from a request's own.
    followed: usize,
}

impl Draft {
    /// An empty draft on top of this one, with room for as much.
    pub(super) fn next(&self) -> Self {
        Self {
            base: self.head(),
            decided: Vec::with_capacity(self.decided.len()),
            pending: Vec::with_capacity(self.pending.len()),
            stored: Vec::with_capacity(self.stored.len()),
            ..Self::default()
        }
    }

    /// Puts an empty draft on top of `base`.
    pub(super) fn rebase(&mut self, base: Head) {
        debug_assert!(self.is_empty(), "what was decided rests on its base");
        self.base = base;
    }

    /// The head of the log once this draft has landed.
    pub(super) fn head(&self) -> Head {
        self.stored.last().map_or(self.base, StoredEvent::head)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.decided.is_empty() && self.pending.is_empty()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether one more request may be decided, or one more event recorded.
    pub(super) fn has_room(&self) -> bool {
        self.decided.len() < MOST_REQUESTS
            && self.pending.len() < MOST_EVENTS
            && self.bytes < MOST_BATCH_BYTES - REQUEST_BYTES
    }

    /// Decides `entry` at `now` on top of `state`, applies what it became and what follows from
    /// that, and keeps its outcome.
    pub(super) fn decide(
        &mut self,
        state: &mut State,
        entry: Entry,
        now: Timestamp,
        bounds: Bounds,
    ) {
        if let Some(quarantined) = state.quarantined(&entry.request) {
            // What is known of the log decides it, so it is answered at once.
            return entry.answer(Err(quarantined));
        }
        let arrived = entry.arrived(now);
        let times = Times { now, arrived };
        self.expire_for(state, &entry.request, times);
        let start = self.pending.len();
        let (drop_id, decision, private) = match decide(state, &entry, times, bounds.max_waitlist) {
            Ok(decided) => decided,
            Err(refusal) => return self.keep(entry, Err(refusal), now, start),
        };
        let subject = decision.subject.clone();
        if !decision.is_replay() {
            self.apply(state, drop_id, decision, private, now);
            self.follow_up(state, drop_id, now, bounds.due_events);
        }
        self.keep(entry, Ok((drop_id, subject)), now, start);
    }

    fn keep(
        &mut self,
        entry: Entry,
        outcome: Result<(DropId, Subject), Refusal>,
        at: Timestamp,
        start: usize,
    ) {
        self.decided.push(Decided {
            entry,
            outcome,
            at,
            events: start..self.pending.len(),
        });
    }

    fn apply(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        decision: Decision,
        mut private: Option<Private>,
        at: Timestamp,
    ) {
        for event in decision.events {
            // The personal data belongs to the one event that commits to it.
            let private = event.commitment().and_then(|_| private.take());
            let undo = state.apply(drop_id, &event, private.as_ref());
            let sequence = state.drop(drop_id).map(|drop| drop.aggregate.sequence());
            let sequence = sequence.unwrap_or_default();
            let mut stored = encode(drop_id, sequence, at, &event, private.as_ref());
            let _head = self.head().place(&mut stored);
            self.bytes += stored.size();
            self.stored.push(stored);
            self.pending.push(Pending {
                drop_id,
                sequence,
                event,
                private,
                undo,
            });
        }
    }

    /// The batch that appends this draft where it was decided.
    pub(super) fn take_batch(&mut self) -> Batch {
        Batch {
            expected: self.base,
            events: std::mem::take(&mut self.stored),
        }
    }

    /// Takes every event back out of `state` and returns the requests, to be decided again or refused.
    pub(super) fn take_back(self, state: &mut State) -> impl Iterator<Item = Entry> {
        for pending in self.pending.into_iter().rev() {
            state.revert(pending.drop_id, &pending.event, pending.undo);
        }
        self.decided.into_iter().map(|decided| decided.entry)
    }

    /// The draft is in the log, sealed as `batch`: what followers are told, and the answers to give after that.
    pub(super) fn committed(self, batch: &Batch) -> (Arc<Committed>, Answers) {
        let places = batch
            .events
            .iter()
            .map(|stored| (stored.position, stored.recorded_at));
        let events = self.pending.into_iter().zip(places);
        let committed = Arc::new(Committed {
            events: events
                .map(|(pending, place)| pending.into_recorded(place))
                .collect(),
            head: batch.head(),
            ..Committed::default()
        });
        (
            Arc::clone(&committed),
            Answers {
                decided: self.decided,
                committed,
            },
        )
    }

    /// The draft has no events, and `head` was found to be what it was decided on: its answers.
    pub(super) fn confirmed(self, head: Head) -> Answers {
        Answers {
            decided: self.decided,
            committed: Arc::new(Committed {
                head,
                ..Committed::default()
            }),
        }
    }
}

impl Pending {
    fn into_recorded(self, (position, recorded_at): (Position, Timestamp)) -> RecordedEvent {
        RecordedEvent {
            position,
            recorded_at,
            drop_id: self.drop_id,
            sequence: self.sequence,
            event: self.event,
            private: self.private,
        }
    }
}

/// Answers that may be given now.
#[derive(Debug)]
#[must_use]
pub(super) struct Answers {
    decided: Vec<Decided>,
    committed: Arc<Committed>,
}

impl Answers {
    pub(super) fn give(self) {
        for decided in self.decided {
            let answer = match decided.outcome {
                Ok((drop_id, subject)) => Ok(Answer::new(
                    drop_id,
                    subject,
                    decided.at,
                    Arc::clone(&self.committed),
                    decided.events,
                )),
                Err(refusal) => Err(CommandError::Refused {
                    refusal,
                    at: decided.at,
                }),
            };
            decided.entry.answer(answer);
        }
    }
}
