//! A view of an event in its original buffer: a row, a line, or a [`StoredEvent`].

use domain::values::{Position, Sequence, Timestamp};

use super::copy::shared;
use super::{Hash, Head, StoredEvent};

/// A [`StoredEvent`] that borrows its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// Position in the log.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
    /// Sequence in the stream.
    pub sequence: Sequence,
    pub event_type: &'a str,
    /// Version of the payload's schema.
    pub event_version: &'a str,
    /// JSON.
    pub payload: &'a str,
    /// JSON object.
    pub metadata: &'a str,
    /// The hash chain up to this event.
    pub hash: Hash,
    /// Personal data, JSON; outside the chain, absent once erased.
    pub private: Option<&'a str>,
}

impl<'a> From<&'a StoredEvent> for EventRef<'a> {
    fn from(event: &'a StoredEvent) -> Self {
        Self {
            position: event.position,
            recorded_at: event.recorded_at,
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            payload: &event.payload,
            metadata: &event.metadata,
            hash: event.hash,
            private: event.private.as_deref(),
        }
    }
}

impl From<EventRef<'_>> for StoredEvent {
    fn from(event: EventRef<'_>) -> Self {
        Self {
            position: event.position,
            recorded_at: event.recorded_at,
            aggregate_type: shared(event.aggregate_type),
            aggregate_id: event.aggregate_id.to_owned(),
            sequence: event.sequence,
            event_type: shared(event.event_type),
            event_version: shared(event.event_version),
            payload: event.payload.to_owned(),
            metadata: shared(event.metadata),
            hash: event.hash,
            private: event.private.map(str::to_owned),
        }
    }
}

impl EventRef<'_> {
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
