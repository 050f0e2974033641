//! Between what is decided and what is stored: events to text, and text to events.
//!
//! Promise: what `encode` writes, `decode` reads back equal; a stored event that cannot be read is an error that names
//! its position, never skipped.

use std::borrow::Cow;

use domain::private::Private;
use domain::values::{DropId, Position, Sequence, Timestamp};
use domain::{AGGREGATE_TYPE, DropEvent};

use crate::error::LogError;
use crate::log::{EventRef, Hash, StoredEvent};
use crate::upcasters::upcast;

/// One drop's event at its place in the log, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Place in the log.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The drop it happened to.
    pub drop_id: DropId,
    /// Place in the drop's stream.
    pub sequence: Sequence,
    /// What happened.
    pub event: DropEvent,
    /// Personal data that came with it, unless there was none or it was erased.
    pub private: Option<Private>,
}

/// Turns an event into what will be stored. Its position and hash are given by [`crate::log::Batch::seal`].
#[must_use]
pub fn encode(
    drop_id: DropId,
    sequence: Sequence,
    recorded_at: Timestamp,
    event: &DropEvent,
    private: Option<&Private>,
) -> StoredEvent {
    StoredEvent {
        position: Position::default(),
        recorded_at,
        aggregate_type: Cow::Borrowed(AGGREGATE_TYPE),
        aggregate_id: drop_id.to_string(),
        sequence,
        event_type: Cow::Borrowed(event.event_type()),
        event_version: Cow::Borrowed(event.event_version()),
        payload: to_json(event),
        metadata: Cow::Borrowed("{}"),
        hash: Hash::default(),
        private: private.map(to_json),
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("events and private data have no maps and no failing parts")
}

/// Reads a stored event; `None` for a stream that is no drop's.
///
/// # Errors
/// [`LogError::Corrupt`] names the position of an event that cannot be read.
pub fn decode<'a>(stored: impl Into<EventRef<'a>>) -> Result<Option<RecordedEvent>, LogError> {
    let stored: EventRef<'a> = stored.into();
    if stored.aggregate_type != AGGREGATE_TYPE {
        return Ok(None);
    }
    let corrupt = |reason: String| LogError::Corrupt {
        position: stored.position,
        reason,
    };
    let drop_id = stored
        .aggregate_id
        .parse()
        .map_err(|error| corrupt(format!("aggregate_id {error}")))?;
    let upcast = upcast(&stored);
    let (version, payload) = match &upcast {
        Some((version, payload)) => (version.as_str(), payload.as_str()),
        None => (stored.event_version, stored.payload),
    };
    let event: DropEvent = serde_json::from_str(payload)
        .map_err(|error| corrupt(format!("the payload cannot be read: {error}")))?;
    if event.event_type() != stored.event_type {
        return Err(corrupt(format!(
            "filed as {}, but it is a {}",
            stored.event_type,
            event.event_type()
        )));
    }
    if event.event_version() != version {
        let kind = stored.event_type;
        return Err(corrupt(format!(
            "version {version} of {kind} is not known here"
        )));
    }
    let private = stored
        .private
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| corrupt(format!("the private data cannot be read: {error}")))?;
    Ok(Some(RecordedEvent {
        position: stored.position,
        recorded_at: stored.recorded_at,
        drop_id,
        sequence: stored.sequence,
        event,
        private,
    }))
}
