//! Events that cannot be applied, and their consequence: the event's drop is quarantined on this
//! node, and everything else continues.
//!
//! An order has a quarantine of its own, which it leaves as a drop does: its requests get 503, and
//! its holds stay with their drops.
//!
//! Promise: an event that this program cannot apply is never skipped silently. It names its drop,
//! its position and the reason, and from there on nothing of that drop is applied until the
//! position is declared void ([`domain::incident`]) or a program that can apply it is started.
//! Limit: this concerns one stream. A broken chain concerns the whole log ([`LogError`]).

use std::collections::BTreeMap;
use std::fmt;

use domain::AGGREGATE_TYPE;
use domain::incident::{self, LogEvent, PositionVoided};
use domain::order;
use domain::values::{DropId, OrderId, Position, Sequence};

use crate::codec::{RecordedEvent, RecordedOrderEvent};
use crate::error::LogError;
use crate::log::{EventRef, StreamId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The event type is unknown; a later release may know it.
    UnknownType,
    /// The type is known, but not in this version; a later release may know it.
    UnknownVersion,
    /// The payload, or the personal data, does not have the form of its type.
    Unreadable,
    /// It is not the next event of its stream.
    WrongSequence,
    /// It contradicts the state of its drop, for example by overselling.
    Contradiction,
}

impl Fault {
    /// The stable name that programs compare.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::UnknownVersion => "unknown_version",
            Self::Unreadable => "unreadable",
            Self::WrongSequence => "wrong_sequence",
            Self::Contradiction => "contradiction",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownType => "this program does not know the event type",
            Self::UnknownVersion => "this program does not know this version of the event type",
            Self::Unreadable => "the event cannot be decoded as its type",
            Self::WrongSequence => "the event is not the next of its stream",
            Self::Contradiction => "the event contradicts the history of its drop",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEvent {
    pub position: Position,
    /// The drop; `None` when the stream is not a drop's.
    pub drop_id: Option<DropId>,
    /// The order, if the event is of an order's stream.
    pub order_id: Option<OrderId>,
    /// The stream's id in the log.
    pub stream: String,
    /// Its sequence in the stream; `None` when the stream's id is not a drop's or an order's.
    pub sequence: Option<Sequence>,
    /// Its stored type.
    pub event_type: String,
    /// Its stored version.
    pub event_version: String,
    pub fault: Fault,
    /// Details for an operator with access to the log: they may repeat parts of the payload.
    pub reason: String,
}

impl RefusedEvent {
    /// The drop or order; `None` when the stream is neither.
    #[must_use]
    pub fn stream_id(&self) -> Option<StreamId> {
        let drop = self.drop_id.map(StreamId::Drop);
        drop.or(self.order_id.map(StreamId::Order))
    }

    /// The word for its stream: `drop` or `order`.
    #[must_use]
    pub const fn subject(&self) -> &'static str {
        match self.order_id {
            Some(_) => "order",
            None => "drop",
        }
    }

    /// The aggregate type of its stream.
    #[must_use]
    pub const fn aggregate_type(&self) -> &'static str {
        match self.order_id {
            Some(_) => order::AGGREGATE_TYPE,
            None => AGGREGATE_TYPE,
        }
    }

    /// A stored event that cannot be decoded.
    pub(crate) fn stored(stored: EventRef<'_>, fault: Fault, reason: String) -> Self {
        let id: Option<uuid::Uuid> = stored.aggregate_id.parse().ok();
        let is_named = id.is_some_and(|id| id.to_string() == stored.aggregate_id);
        let is_of_order = stored.aggregate_type == order::AGGREGATE_TYPE;
        Self {
            position: stored.position,
            drop_id: id.filter(|_| !is_of_order).map(DropId),
            order_id: id.filter(|_| is_of_order).map(OrderId),
            stream: stored.aggregate_id.to_owned(),
            sequence: is_named.then_some(stored.sequence),
            event_type: stored.event_type.to_owned(),
            event_version: stored.event_version.to_owned(),
            fault,
            reason,
        }
    }

    /// A decoded event that contradicts the state of its drop.
    #[must_use]
    pub fn recorded(recorded: &RecordedEvent, fault: Fault, reason: &str) -> Self {
        Self {
            position: recorded.position,
            drop_id: Some(recorded.drop_id),
            order_id: None,
            stream: recorded.drop_id.to_string(),
            sequence: Some(recorded.sequence),
            event_type: recorded.event.event_type().to_owned(),
            event_version: recorded.event.event_version().to_owned(),
            fault,
            reason: reason.to_owned(),
        }
    }

    /// As [`RefusedEvent::recorded`], for an event of an order.
    #[must_use]
    pub fn recorded_of_order(recorded: &RecordedOrderEvent, fault: Fault, reason: &str) -> Self {
        Self {
            position: recorded.position,
            drop_id: None,
            order_id: Some(recorded.order_id),
            stream: recorded.order_id.to_string(),
            sequence: Some(recorded.sequence),
            event_type: recorded.event.event_type().to_owned(),
            event_version: recorded.event.event_version().to_owned(),
            fault,
            reason: reason.to_owned(),
        }
    }

    /// Type and version in at most 80 printable characters, because the stored ones may contain
    /// anything.
    #[must_use]
    pub fn kind(&self) -> String {
        let text = format!("{} {}", self.event_type, self.event_version);
        text.escape_debug().take(80).collect()
    }

    /// The details without any part of the payload, for a log line.
    #[must_use]
    pub fn public_reason(&self) -> &str {
        match self.fault {
            Fault::WrongSequence | Fault::Contradiction => &self.reason,
            Fault::UnknownType | Fault::UnknownVersion => "a later release may know it",
            Fault::Unreadable => "the details are in `holdfast log check`",
        }
    }

    /// The same as an error of the log, for readers that need every event.
    #[must_use]
    pub fn into_error(self) -> LogError {
        LogError::Corrupt {
            position: self.position,
            reason: self.reason,
        }
    }
}

/// A position that was declared void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voided {
    /// The position of the event that declares it.
    pub at: Position,
    /// The void position.
    pub position: Position,
    /// The stream whose event has this position; `None` if it is neither a drop's nor an order's,
    /// and nothing follows from it.
    pub stream: Option<StreamId>,
}

impl Voided {
    /// The drop whose event has the void position; `None` for another stream.
    #[must_use]
    pub fn drop_id(&self) -> Option<DropId> {
        match self.stream? {
            StreamId::Drop(drop_id) => Some(drop_id),
            StreamId::Order(_) => None,
        }
    }
}

/// The position that a `PositionVoided` event declares void; `None` for every other event.
#[must_use]
pub fn voided_by<'a>(stored: impl Into<EventRef<'a>>) -> Option<Position> {
    let stored: EventRef<'a> = stored.into();
    let is_incident = stored.aggregate_type == incident::AGGREGATE_TYPE
        && stored.aggregate_id == incident::STREAM
        && stored.event_type == incident::POSITION_VOIDED
        && stored.event_version == incident::VERSION;
    if !is_incident {
        return None;
    }
    match serde_json::from_str(stored.payload) {
        Ok(LogEvent::PositionVoided(PositionVoided { position, .. }))
            if position < stored.position =>
        {
            Some(position)
        }
        Ok(LogEvent::PositionVoided(_) | LogEvent::TailCut(_)) | Err(_) => None,
    }
}

/// The drop or order of a stored event; `None` for other streams.
#[must_use]
pub fn stream_of<'a>(stored: impl Into<EventRef<'a>>) -> Option<StreamId> {
    let stored: EventRef<'a> = stored.into();
    StreamId::stored(stored.aggregate_type, stored.aggregate_id)
}

/// Every void position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Voids(BTreeMap<Position, Voided>);

impl FromIterator<Voided> for Voids {
    fn from_iter<I: IntoIterator<Item = Voided>>(voided: I) -> Self {
        let mut voids = Self::default();
        voids.extend(voided);
        voids
    }
}

impl Voids {
    /// Adds one; returns false when the position was void already.
    pub fn add(&mut self, voided: Voided) -> bool {
        let is_new = !self.0.contains_key(&voided.position);
        if is_new {
            self.0.insert(voided.position, voided);
        }
        is_new
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports whether the event at this position is void.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        !self.0.is_empty() && self.0.contains_key(&position)
    }

    pub fn extend(&mut self, voided: impl IntoIterator<Item = Voided>) {
        for voided in voided {
            self.add(voided);
        }
    }

    /// All of them, ordered by void position.
    pub fn iter(&self) -> impl Iterator<Item = &Voided> {
        self.0.values()
    }
}
