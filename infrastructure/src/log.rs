//! The event log: append at an expected head or not at all, and read from a position.
//!
//! Promise: positions are dense (1, 2, 3 …) and in commit order. An append is atomic and succeeds
//! only at the head that it expected. An event that has been read never changes. A reader keeps one
//! number, its position, and misses nothing.
//! Limit: a log has one head, so appends are serial. Throughput comes from batches.
//!
//! ```text
//!   head 41 ──append(expected 41, [e42 e43])──▶ head 43
//!   head 43 ──append(expected 41, [e42'])─────▶ Conflict: read the tail after 41, decide again
//! ```

pub mod ahead;
pub mod chain;
pub mod copy;
mod event_ref;
mod failures;
pub mod lines;
pub mod memory;
pub mod parts;
pub mod postgres;
mod timeout;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;

use domain::values::{DropId, OrderId, Position, Sequence, Timestamp};
use domain::{AGGREGATE_TYPE, order};
use serde::Serialize;

pub use self::chain::Hash;
pub use self::event_ref::EventRef;
pub use self::parts::{Part, Parts};
use crate::erasure::Erased;
use crate::error::{AppendError, LogError};
use crate::quarantine::{Voided, stream_of, voided_by};

/// Maximum size of one append, in bytes: a hundredth of PostgreSQL's message limit, and fast to
/// send.
pub const MOST_BATCH_BYTES: usize = 8 << 20;

/// The head of the log: its last position, the hash at that position, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Head {
    /// The last position; 0 for an empty log.
    pub position: Position,
    /// The hash of the last event; zeroes for an empty log.
    pub hash: Hash,
    /// When the last event was recorded; the epoch for an empty log.
    pub recorded_at: Timestamp,
}

/// The stream of one drop or of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    Drop(DropId),
    Order(OrderId),
}

impl StreamId {
    /// Returns the stream with this type and id, as stored in the log; `None` for other streams.
    #[must_use]
    pub fn stored(aggregate_type: &str, aggregate_id: &str) -> Option<Self> {
        match aggregate_type {
            AGGREGATE_TYPE => aggregate_id.parse().ok().map(Self::Drop),
            order::AGGREGATE_TYPE => aggregate_id.parse().ok().map(Self::Order),
            _ => None,
        }
    }

    /// Returns the aggregate type, as stored in the log.
    #[must_use]
    pub const fn aggregate_type(self) -> &'static str {
        match self {
            Self::Drop(_) => AGGREGATE_TYPE,
            Self::Order(_) => order::AGGREGATE_TYPE,
        }
    }

    /// Returns the aggregate id, as stored in the log.
    #[must_use]
    pub fn aggregate_id(self) -> String {
        match self {
            Self::Drop(drop_id) => drop_id.to_string(),
            Self::Order(order_id) => order_id.to_string(),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop(drop_id) => write!(f, "drop {drop_id}"),
            Self::Order(order_id) => write!(f, "order {order_id}"),
        }
    }
}

/// One event exactly as it is stored: texts are kept byte for byte, because they are hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Position in the log.
    pub position: Position,
    /// When it was recorded; never decreases along the log.
    pub recorded_at: Timestamp,
    pub aggregate_type: Cow<'static, str>,
    pub aggregate_id: String,
    /// Sequence in the stream.
    pub sequence: Sequence,
    pub event_type: Cow<'static, str>,
    /// Version of the payload's schema.
    pub event_version: Cow<'static, str>,
    /// JSON.
    pub payload: String,
    /// JSON object.
    pub metadata: Cow<'static, str>,
    /// The hash chain up to this event.
    pub hash: Hash,
    /// Personal data, JSON; outside the chain, absent once erased.
    pub private: Option<String>,
}

impl Head {
    /// Assigns `event` the position after this head, raises its `recorded_at` if it is before the
    /// head's, and chains it; returns the new head.
    #[must_use]
    pub fn append_to_chain(self, event: &mut StoredEvent) -> Self {
        event.position = self.position.next();
        event.recorded_at = event.recorded_at.max(self.recorded_at);
        event.hash = chain::link(&self.hash, &*event);
        event.head()
    }
}

/// Events to append together, with positions and hashes that continue an expected head.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The head that the log must have.
    pub expected: Head,
    /// In order; empty to check only whether the head is the expected one.
    pub events: Vec<StoredEvent>,
}

impl Batch {
    /// Assigns `events` their positions, keeps `recorded_at` from decreasing, and chains them to
    /// `expected`.
    #[must_use]
    pub fn seal(expected: Head, mut events: Vec<StoredEvent>) -> Self {
        let mut last = expected;
        for event in &mut events {
            last = last.append_to_chain(event);
        }
        Self { expected, events }
    }

    /// Rejects a batch larger than `most` bytes before any of it is sent.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`].
    pub fn within(&self, most: usize) -> Result<(), AppendError> {
        let bytes = self.events.iter().map(StoredEvent::size).sum();
        if bytes > most {
            return Err(AppendError::TooLarge { bytes, most });
        }
        Ok(())
    }

    /// The head after this batch has been appended.
    #[must_use]
    pub fn head(&self) -> Head {
        self.events.last().map_or(self.expected, StoredEvent::head)
    }
}

/// Size of an event without its texts: its numbers, its hash, and all lengths.
const EVENT_BYTES: usize = 128;

impl StoredEvent {
    /// Its size in an append, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let private = self.private.as_ref().map_or(0, String::len);
        let texts = [
            &*self.aggregate_type,
            &self.aggregate_id,
            &self.event_type,
            &self.event_version,
            &self.payload,
            &self.metadata,
        ];
        texts.map(str::len).iter().sum::<usize>() + private + EVENT_BYTES
    }

    /// The head of a log that ends with this event.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head {
            position: self.position,
            hash: self.hash,
            recorded_at: self.recorded_at,
        }
    }
}

/// An append-only log. Clones share it.
pub trait EventLog: Clone + Send + Sync + 'static {
    /// The right to append next, see [`EventLog::take_turn`].
    type Turn: Turn;

    /// The current head.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn head(&self) -> impl Future<Output = Result<Head, LogError>> + Send;

    /// The current time of the clock that all nodes of this log share; `None` when the log has no
    /// clock.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn clock(&self) -> impl Future<Output = Result<Option<Timestamp>, LogError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Up to `limit` events after `after`, in position order, without a gap. Empty at the head.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], or [`LogError::Corrupt`] where a position is missing.
    fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StoredEvent>, LogError>> + Send;

    /// Everything after `after` up to `until`, decoded: for readers of large ranges.
    fn parts(&self, after: Position, until: Position) -> Parts;

    /// The buyers erased by the events at these positions. A log without personal data has
    /// none.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn erased(&self, _: &[Position]) -> impl Future<Output = Result<Vec<Erased>, LogError>> + Send {
        std::future::ready(Ok(vec![]))
    }

    /// Every erased buyer, as [`Self::erased`].
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn all_erased(&self) -> impl Future<Output = Result<Vec<Erased>, LogError>> + Send {
        std::future::ready(Ok(vec![]))
    }

    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn voided(&self) -> impl Future<Output = Result<Vec<Voided>, LogError>> + Send {
        async {
            let events = self.read(Position(0), usize::MAX).await?;
            let void = |event: &StoredEvent| {
                let position = voided_by(event)?;
                let index = usize::try_from(position.0).ok()?.checked_sub(1)?;
                Some(Voided {
                    at: event.position,
                    position,
                    stream: events.get(index).and_then(stream_of),
                })
            };
            Ok(events.iter().filter_map(void).collect())
        }
    }

    /// The events of one drop or order up to `until`, in position order.
    ///
    /// # Errors
    /// [`LogError`].
    fn stream(
        &self,
        stream: StreamId,
        until: Position,
    ) -> impl Future<Output = Result<Vec<StoredEvent>, LogError>> + Send {
        async move {
            let mut events = self.read(Position(0), usize::MAX).await?;
            events.retain(|event| event.position <= until && stream_of(event) == Some(stream));
            Ok(events)
        }
    }

    /// Up to `limit` of one stream's events after `after` and up to `until`, in position order.
    /// `sequence` is that of an earlier event, or 0: it saves reading the stream from its start.
    ///
    /// # Errors
    /// [`LogError`].
    fn stream_after(
        &self,
        stream: StreamId,
        after: Position,
        _sequence: Sequence,
        until: Position,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StoredEvent>, LogError>> + Send {
        async move {
            let mut events = self.read(after, usize::MAX).await?;
            let id = stream.aggregate_id();
            events.retain(|event| {
                let is_of_stream = event.aggregate_type == stream.aggregate_type();
                event.position <= until && is_of_stream && event.aggregate_id == id
            });
            events.truncate(limit);
            Ok(events)
        }
    }

    /// Appends a sealed batch atomically and durably, if and only if the log's head is the expected
    /// one.
    ///
    /// A batch without events appends nothing, and still reports whether the head is the expected
    /// one. A batch larger than [`MOST_BATCH_BYTES`] is not sent.
    ///
    /// # Errors
    /// [`AppendError`]. After [`AppendError::Unknown`], [`append_or_confirm`] resolves the outcome.
    fn append(&self, batch: &Batch) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// Returns once everything that was visible before the call is as durable as an acknowledged
    /// append: a synchronous commit of its own follows it.
    ///
    /// Visible events may not be durable: an append whose wait for a synchronous standby was
    /// interrupted, by a cancel or by a restart of the server, is visible and may be lost in a
    /// failover.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; nothing is known in that case.
    fn barrier(&self) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Waits for the append turn, and keeps all others from appending until the turn is used or
    /// dropped.
    ///
    /// For a contended log: each node appends its whole backlog in turn, instead of competing.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    fn take_turn(&self) -> impl Future<Output = Result<Self::Turn, LogError>> + Send;
}

/// The append turn. Dropping it passes it on.
pub trait Turn: Send {
    /// The head, which cannot move during this turn.
    fn head(&self) -> Head;

    /// The log's clock, read at some moment while the turn was being taken; `None` when the log has
    /// no clock.
    fn clock(&self) -> Option<Timestamp> {
        None
    }

    /// Appends a batch that was sealed on [`Turn::head`], and ends the turn.
    ///
    /// # Errors
    /// [`AppendError`]; never `Conflict` while the turn is held.
    fn append(self, batch: &Batch) -> impl Future<Output = Result<(), AppendError>> + Send;

    fn pass(self) -> impl Future<Output = ()> + Send;
}

/// Appends the same batch once more after an unknown outcome, and reports whether it is in the log,
/// durably.
///
/// It succeeds, or it conflicts with itself: then the hash at its last position is its own. A batch
/// of another node that is equal to the byte (the same hold expired or released, at the same
/// millisecond, on the same head) counts as this one. A batch that is found is not known to be
/// replicated, so a barrier precedes the result.
///
/// # Errors
/// [`AppendError::Conflict`] when other events have these positions; [`AppendError::Unknown`] when
/// the log is still unreachable.
pub async fn append_or_confirm<L: EventLog>(log: &L, batch: &Batch) -> Result<(), AppendError> {
    match log.append(batch).await {
        Ok(()) if batch.events.is_empty() => {}
        Err(AppendError::Conflict) if !batch.events.is_empty() => find(log, batch).await?,
        outcome => return outcome,
    }
    pass_barrier(log).await
}

/// Appends a batch, or, if it has no events, confirms that the head is the expected one; behind a
/// barrier unless everything up to there `is_durable`.
///
/// # Errors
/// [`AppendError`].
pub async fn append_durably<L: EventLog>(
    log: &L,
    batch: &Batch,
    is_durable: bool,
) -> Result<(), AppendError> {
    log.append(batch).await?;
    if is_durable || !batch.events.is_empty() {
        return Ok(());
    }
    pass_barrier(log).await
}

async fn pass_barrier<L: EventLog>(log: &L) -> Result<(), AppendError> {
    let passed = log.barrier().await;
    passed.map_err(|error| AppendError::Unknown(error.into()))
}

/// Reports whether `batch` is at its positions.
async fn find<L: EventLog>(log: &L, batch: &Batch) -> Result<(), AppendError> {
    let before_last = Position(batch.head().position.0 - 1);
    let found = log
        .read(before_last, 1)
        .await
        .map_err(|error| AppendError::Unknown(error.into()))?;
    match found.first() {
        Some(event) if event.hash == batch.head().hash => Ok(()),
        Some(_) | None => Err(AppendError::Conflict),
    }
}
