//! A decided batch that has not been sent to the log yet: requests with their outcomes, and the
//! events they produced.
//!
//! Promise: a draft can be rolled back completely, newest event first, and its requests decided
//! again on a different log with the same ids. Its events are encoded and chained while they are
//! decided, as the batch before is in flight; when that has committed, this one only needs to be
//! sent.
//! Limit: a draft takes no more requests once it has [`MOST_REQUESTS`], [`MOST_EVENTS`] or nearly
//! [`MOST_BATCH_BYTES`], which bounds the size of the batch that a request waits for. See [`due`]
//! for the share of due work.

mod command;
mod due;
mod order;

use std::sync::Arc;
use std::time::Duration;

use domain::order::MAX_ITEMS;
use domain::order::pay::LatePayments;
use domain::private::Private;
use domain::values::{AdminName, DropId, OrderId, Position, Salt, Sequence, Timestamp};
use domain::{DropEvent, OrderEvent};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent, encode, encode_order, metadata_of};
use infrastructure::feed::Committed;
use infrastructure::log::{Batch, Head, MOST_BATCH_BYTES, StoredEvent};
use infrastructure::ports::Ids;
use tokio::time::Instant;
use trace_context::Trace;
use uuid::Uuid;

pub(super) use self::command::Context;
use super::orders::OrderUndo;
use super::request::CommandError;
use super::state::{State, Undo};
use super::submission::{AnyRequest, EventRanges, NewEvents, Submission};

/// Maximum requests per batch.
pub(super) const MOST_REQUESTS: usize = 1_024;
/// Once a batch has this many events, no more requests or due work are added.
const MOST_EVENTS: usize = 2_048;
/// Bytes reserved for one more request: its own event, from a body of at most 16 KiB, and as many
/// expiries as the largest hold needs units (see [`due`]). Everything else checks the remaining
/// room first.
const REQUEST_BYTES: usize = 1 << 20;
/// Longest wait that counts, in milliseconds: an older arrival time is moved forward to this age.
/// Requests wait longer only if a clock jumped.
const LONGEST_WAIT_MS: i64 = 10_000;

/// A queued request with the ids that it will use if accepted: drawn once, even when it is decided
/// several times.
#[derive(Debug)]
pub(super) struct Entry {
    request: AnyRequest,
    ids: CandidateIds,
    /// For the items of an order; empty for other requests.
    item_ids: Vec<CandidateIds>,
    arrived: Timestamp,
    queued_at: Instant,
    trace: Option<Arc<Trace>>,
    author: Option<AdminName>,
}

/// The limits of [`super::EngineConfig`] that decisions need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// See [`super::EngineConfig::max_waitlist`].
    pub(super) max_waitlist: u32,
    /// See [`super::EngineConfig::due_events`].
    pub(super) due_events: usize,
    /// See [`super::EngineConfig::late_payments`].
    pub(super) late_payments: LatePayments,
}

/// When a request is decided and when it arrived; the arrival is never later.
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
    /// For the hold that a waitlist entry, or an item of a late payment, may receive.
    offer: Uuid,
}

impl Entry {
    pub(super) fn new(submission: Submission, ids: &mut impl Ids) -> Self {
        let Submission {
            request,
            arrived,
            queued_at,
            trace,
            author,
        } = submission;
        let is_offered = matches!(request, AnyRequest::JoinWaitlist(_));
        let is_payment = matches!(request, AnyRequest::RecordPayment(_));
        let items = if let AnyRequest::PlaceOrder(submitted) = &request {
            submitted.request.items.len()
        } else if let AnyRequest::PurchaseOrder(_) = &request {
            MAX_ITEMS
        } else if is_payment {
            // The last are those of the order's own event.
            MAX_ITEMS + 1
        } else {
            0
        };
        let item_ids = (0..items).map(|_| CandidateIds {
            subject: ids.uuid(),
            buyer: ids.uuid(),
            salt: ids.salt(),
            offer: if is_payment { ids.uuid() } else { Uuid::nil() },
        });
        let item_ids = item_ids.collect();
        let ids = CandidateIds {
            subject: ids.uuid(),
            buyer: ids.uuid(),
            salt: ids.salt(),
            offer: if is_offered { ids.uuid() } else { Uuid::nil() },
        };
        Self {
            request,
            ids,
            item_ids,
            arrived,
            queued_at,
            trace,
            author,
        }
    }

    /// The arrival time, as used for a decision at `now`.
    pub(super) fn arrived(&self, now: Timestamp) -> Timestamp {
        let earliest = now.plus_millis(-LONGEST_WAIT_MS);
        self.arrived.max(earliest).min(now)
    }

    /// Reports whether the caller has stopped waiting. Nothing has been recorded for it, so it can
    /// be skipped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.request.is_abandoned()
    }

    /// Sends an error: nothing is recorded for this request.
    pub(super) fn reject(self, error: CommandError) {
        self.request.reject(error);
    }
}

#[derive(Debug)]
struct Decided {
    entry: Entry,
    at: Timestamp,
    events: EventRanges,
}

#[derive(Debug)]
struct Pending {
    sequence: Sequence,
    event: PendingEvent,
    private: Option<Private>,
}

#[derive(Debug)]
enum PendingEvent {
    Drop(DropId, DropEvent, Undo),
    Order(OrderId, OrderEvent, OrderUndo),
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The head that the draft was decided on.
    base: Head,
    decided: Vec<Decided>,
    pending: Vec<Pending>,
    /// Events of orders in `pending`.
    orders: usize,
    /// The encoded form of `pending`, chained to `base`.
    stored: Vec<StoredEvent>,
    /// Size of `stored`.
    bytes: usize,
    /// Due-work events.
    due: usize,
    /// Events that followed from a request's own.
    followed: usize,
    /// The administrator of the request whose events are added; `None`: of no administrator.
    author: Option<AdminName>,
}

impl Draft {
    /// An empty draft on top of this one, with the same capacity.
    pub(super) fn next(&self) -> Self {
        Self {
            base: self.head(),
            decided: Vec::with_capacity(self.decided.len()),
            pending: Vec::with_capacity(self.pending.len()),
            stored: Vec::with_capacity(self.stored.len()),
            ..Self::default()
        }
    }

    /// Moves an empty draft on top of `base`.
    pub(super) fn rebase(&mut self, base: Head) {
        debug_assert!(self.is_empty(), "a draft with decisions cannot be moved");
        self.base = base;
    }

    /// The head of the log after this draft has committed.
    pub(super) fn head(&self) -> Head {
        self.stored.last().map_or(self.base, StoredEvent::head)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.decided.is_empty() && self.pending.is_empty()
    }

    /// How long each of its requests has waited at `now`.
    pub(super) fn waits(&self, now: Instant) -> impl Iterator<Item = Duration> {
        let decided = self.decided.iter();
        decided.map(move |decided| now.saturating_duration_since(decided.entry.queued_at))
    }

    /// The requests that belong to a trace, with the time at which each was queued.
    pub(super) fn traced(&self) -> impl Iterator<Item = (&Trace, Instant)> {
        let entries = self.decided.iter().map(|decided| &decided.entry);
        entries.filter_map(|entry| Some((entry.trace.as_deref()?, entry.queued_at)))
    }

    pub(super) fn has_events(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reports whether one more request or event fits.
    pub(super) fn has_room(&self) -> bool {
        self.decided.len() < MOST_REQUESTS
            && self.pending.len() < MOST_EVENTS
            && self.bytes < MOST_BATCH_BYTES - REQUEST_BYTES
    }

    /// Decides `entry` at `now` on top of `state`, applies its events and those that follow from
    /// them, and keeps the outcome. Returns a request before which expiries have filled the draft,
    /// for the next draft.
    pub(super) fn decide(
        &mut self,
        state: &mut State,
        mut entry: Entry,
        now: Timestamp,
        bounds: Bounds,
    ) -> Option<Entry> {
        if let Some(quarantined) = state.quarantined(&entry.request) {
            // Decided by the known log, so the response needs no commit.
            entry.reject(quarantined);
            return None;
        }
        let arrived = entry.arrived(now);
        let times = Times { now, arrived };
        self.expire_for(state, &entry.request, times);
        if !self.has_room() {
            return Some(entry);
        }
        let start = self.ends();
        let context = Context {
            state,
            ids: entry.ids,
            item_ids: &entry.item_ids,
            times,
            max_waiting: bounds.max_waitlist,
            late_payments: bounds.late_payments,
        };
        let author = entry.author;
        match entry.request.decide(&context) {
            Some(NewEvents::Drop {
                drop_id,
                events,
                private,
            }) if !events.is_empty() => {
                self.author = author;
                self.apply(state, drop_id, events, private, now);
                self.author = None;
                self.follow_up(state, drop_id, now, bounds.due_events);
            }
            Some(NewEvents::Order(new)) => {
                let drops: Vec<DropId> = new.drops.iter().map(|(drop_id, ..)| *drop_id).collect();
                self.author = author;
                for (event, private) in new.orders {
                    self.apply_order(state, new.order_id, event, private, now);
                }
                for (drop_id, event, private) in new.drops {
                    self.apply(state, drop_id, vec![event], private, now);
                }
                self.author = None;
                for drop_id in drops {
                    self.follow_up(state, drop_id, now, bounds.due_events);
                }
            }
            Some(NewEvents::Drop { .. } | NewEvents::None) | None => {}
        }
        self.decided.push(Decided {
            entry,
            at: now,
            events: start.until(self.ends()),
        });
        None
    }

    /// The empty ranges after the last event.
    fn ends(&self) -> EventRanges {
        EventRanges::at(self.pending.len() - self.orders, self.orders)
    }

    fn apply_order(
        &mut self,
        state: &mut State,
        order_id: OrderId,
        event: OrderEvent,
        private: Option<Private>,
        at: Timestamp,
    ) {
        let private = event.commitment().and(private);
        let sequence = state.orders.next_sequence(order_id);
        let undo = state.apply_order(order_id, &event, private.as_ref());
        let stored = encode_order(order_id, sequence, at, &event, private.as_ref());
        self.orders += 1;
        self.push(
            stored,
            Pending {
                sequence,
                event: PendingEvent::Order(order_id, event, undo),
                private,
            },
        );
    }

    fn push(&mut self, mut stored: StoredEvent, pending: Pending) {
        if let Some(author) = self.author {
            stored.metadata = metadata_of(author).into();
        }
        let _head = self.head().append_to_chain(&mut stored);
        self.bytes += stored.size();
        self.stored.push(stored);
        self.pending.push(pending);
    }

    fn apply(
        &mut self,
        state: &mut State,
        drop_id: DropId,
        events: Vec<DropEvent>,
        mut private: Option<Private>,
        at: Timestamp,
    ) {
        for event in events {
            // Only the event that commits to the personal data carries it.
            let private = event.commitment().and_then(|_| private.take());
            let undo = state.apply(drop_id, &event, private.as_ref());
            let sequence = state.drop(drop_id).map(|drop| drop.aggregate.sequence());
            let sequence = sequence.unwrap_or_default();
            let stored = encode(drop_id, sequence, at, &event, private.as_ref());
            let event = PendingEvent::Drop(drop_id, event, undo);
            self.push(
                stored,
                Pending {
                    sequence,
                    event,
                    private,
                },
            );
        }
    }

    /// The batch that appends this draft at its base.
    pub(super) fn take_batch(&mut self) -> Batch {
        Batch {
            expected: self.base,
            events: std::mem::take(&mut self.stored),
        }
    }

    /// Reverts every event in `state` and returns the requests, to be decided again or rejected.
    pub(super) fn roll_back(self, state: &mut State) -> impl Iterator<Item = Entry> {
        for pending in self.pending.into_iter().rev() {
            match pending.event {
                PendingEvent::Drop(drop_id, event, undo) => state.revert(drop_id, &event, undo),
                PendingEvent::Order(order_id, event, undo) => {
                    state.orders.revert(order_id, &event, undo);
                }
            }
        }
        self.decided.into_iter().map(|decided| decided.entry)
    }

    /// The draft was committed as `batch`: returns what observers receive, and the responses to
    /// send after that.
    pub(super) fn committed(self, batch: &Batch) -> (Arc<Committed>, Responses) {
        let positions = batch
            .events
            .iter()
            .map(|stored| (stored.position, stored.recorded_at));
        let mut committed = Committed {
            events: Vec::with_capacity(self.pending.len() - self.orders),
            orders: Vec::with_capacity(self.orders),
            head: batch.head(),
            ..Committed::default()
        };
        for (pending, position) in self.pending.into_iter().zip(positions) {
            pending.enter(position, &mut committed);
        }
        let committed = Arc::new(committed);
        (
            Arc::clone(&committed),
            Responses {
                decided: self.decided,
                committed,
            },
        )
    }

    /// The draft has no events, and its base was confirmed to be the head: returns its responses.
    pub(super) fn confirmed(self, head: Head) -> Responses {
        Responses {
            decided: self.decided,
            committed: Arc::new(Committed {
                head,
                ..Committed::default()
            }),
        }
    }
}

impl Pending {
    fn enter(self, (position, recorded_at): (Position, Timestamp), committed: &mut Committed) {
        let (sequence, private) = (self.sequence, self.private);
        match self.event {
            PendingEvent::Drop(drop_id, event, _) => committed.events.push(RecordedEvent {
                position,
                recorded_at,
                drop_id,
                sequence,
                event,
                private,
            }),
            PendingEvent::Order(order_id, event, _) => committed.orders.push(RecordedOrderEvent {
                position,
                recorded_at,
                order_id,
                sequence,
                event,
                private,
            }),
        }
    }
}

/// Responses that may be sent now.
#[derive(Debug)]
#[must_use]
pub(super) struct Responses {
    decided: Vec<Decided>,
    committed: Arc<Committed>,
}

impl Responses {
    pub(super) fn send(self) {
        for decided in self.decided {
            let Decided { entry, at, events } = decided;
            entry.request.respond(at, &self.committed, events);
        }
    }
}
