//! Encodes events for storage, and decodes stored events.
//!
//! Promise: `decode` returns an event equal to the one that `encode` wrote; a stored event that
//! cannot be read is an error that names its position, and is never skipped.

use std::borrow::Cow;

use domain::private::Private;
use domain::values::{AdminName, DropId, OrderId, Position, Sequence, Timestamp};
use domain::{AGGREGATE_TYPE, DropEvent, OrderEvent, order};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::LogError;
use crate::log::{EventRef, Hash, StoredEvent};
use crate::quarantine::{Fault, RefusedEvent};
use crate::upcasters::{is_known, upcast};

/// One drop's recorded event, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Position in the log.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    pub drop_id: DropId,
    /// Sequence in the drop's stream.
    pub sequence: Sequence,
    pub event: DropEvent,
    /// Its personal data, unless there was none or it was erased.
    pub private: Option<Private>,
}

/// One order's recorded event, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedOrderEvent {
    /// Position in the log.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    pub order_id: OrderId,
    /// Sequence in the order's stream.
    pub sequence: Sequence,
    pub event: OrderEvent,
    /// Its personal data, unless there was none or it was erased.
    pub private: Option<Private>,
}

/// A recorded event of a drop or of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    Drop(RecordedEvent),
    Order(RecordedOrderEvent),
}

/// Encodes an event. [`crate::log::Batch::seal`] assigns its position and hash.
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

/// Encodes an event of an order, as [`encode`] does.
#[must_use]
pub fn encode_order(
    order_id: OrderId,
    sequence: Sequence,
    recorded_at: Timestamp,
    event: &OrderEvent,
    private: Option<&Private>,
) -> StoredEvent {
    StoredEvent {
        position: Position::default(),
        recorded_at,
        aggregate_type: Cow::Borrowed(order::AGGREGATE_TYPE),
        aggregate_id: order_id.to_string(),
        sequence,
        event_type: Cow::Borrowed(event.event_type()),
        event_version: Cow::Borrowed(event.event_version()),
        payload: to_json(event),
        metadata: Cow::Borrowed("{}"),
        hash: Hash::default(),
        private: private.map(to_json),
    }
}

/// Returns the metadata of the events that an administrator's request records.
#[must_use]
pub fn metadata_of(admin: AdminName) -> String {
    // A name has no characters that JSON escapes.
    format!("{{\"admin\":\"{admin}\"}}")
}

/// Returns the administrator whose request recorded an event, according to its metadata.
#[must_use]
pub fn admin_in(metadata: &str) -> Option<AdminName> {
    if metadata == "{}" {
        return None;
    }
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    AdminName::new(metadata.get("admin")?.as_str()?).ok()
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("events and private data have no maps and no failing parts")
}

/// Decodes a stored event; `None` for a stream of another aggregate type.
///
/// # Errors
/// [`LogError::Corrupt`] with the position of an event that cannot be decoded.
pub fn decode<'a>(stored: impl Into<EventRef<'a>>) -> Result<Option<RecordedEvent>, LogError> {
    let stored: EventRef<'a> = stored.into();
    parse(stored).map_err(|(_, reason)| LogError::Corrupt {
        position: stored.position,
        reason,
    })
}

/// As [`decode`], for events of orders.
///
/// # Errors
/// As [`decode`].
pub fn decode_order<'a>(
    stored: impl Into<EventRef<'a>>,
) -> Result<Option<RecordedOrderEvent>, LogError> {
    let stored: EventRef<'a> = stored.into();
    parse_order(stored).map_err(|(_, reason)| LogError::Corrupt {
        position: stored.position,
        reason,
    })
}

/// As [`read`], for events of drops and of orders.
///
/// # Errors
/// As [`read`].
pub fn read_any<'a>(
    stored: impl Into<EventRef<'a>>,
) -> Result<Option<Recorded>, Box<RefusedEvent>> {
    let stored: EventRef<'a> = stored.into();
    if stored.aggregate_type != order::AGGREGATE_TYPE {
        return Ok(read(stored)?.map(Recorded::Drop));
    }
    let refused = |(fault, reason)| Box::new(RefusedEvent::stored(stored, fault, reason));
    match parse_order(stored).map_err(refused)? {
        Some(recorded) if !is_canonical(recorded.order_id.0, stored.aggregate_id) => {
            let reason = "aggregate_id is not in the canonical form of an order's id".to_owned();
            Err(refused((Fault::Unreadable, reason)))
        }
        recorded => Ok(recorded.map(Recorded::Order)),
    }
}

/// As [`decode`], for readers that quarantine the drop of an event that cannot be decoded.
///
/// # Errors
/// [`RefusedEvent`]; also for a stream whose id is not in the drop's canonical form.
pub fn read<'a>(
    stored: impl Into<EventRef<'a>>,
) -> Result<Option<RecordedEvent>, Box<RefusedEvent>> {
    let stored: EventRef<'a> = stored.into();
    let refused = |(fault, reason)| Box::new(RefusedEvent::stored(stored, fault, reason));
    match parse(stored).map_err(refused)? {
        Some(recorded) if !is_named(recorded.drop_id, stored.aggregate_id) => {
            let reason = "aggregate_id is not in the canonical form of a drop's id".to_owned();
            Err(refused((Fault::Unreadable, reason)))
        }
        recorded => Ok(recorded),
    }
}

/// Reports whether a stream's id is the canonical form of `drop_id`.
#[must_use]
pub fn is_named(drop_id: DropId, aggregate_id: &str) -> bool {
    is_canonical(drop_id.0, aggregate_id)
}

/// Reports whether a stream's id is the canonical form of `id`.
#[must_use]
pub fn is_canonical(id: Uuid, aggregate_id: &str) -> bool {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    id.as_hyphenated().encode_lower(&mut text) == aggregate_id
}

fn parse(stored: EventRef<'_>) -> Result<Option<RecordedEvent>, (Fault, String)> {
    if stored.aggregate_type != AGGREGATE_TYPE {
        return Ok(None);
    }
    let unreadable = |reason: String| (Fault::Unreadable, reason);
    let (kind, filed_under) = (stored.event_type, stored.event_version);
    let drop_id = stored
        .aggregate_id
        .parse()
        .map_err(|error| unreadable(format!("aggregate_id {error}")))?;
    #[cfg(feature = "testing")]
    if is_hidden(kind, filed_under) {
        return Err((Fault::UnknownType, format!("unknown event type {kind}")));
    }
    let upcast = upcast(&stored);
    let (version, payload) = match &upcast {
        Some((version, payload)) => (version.as_str(), payload.as_str()),
        None => (filed_under, stored.payload),
    };
    let event = event_in(kind, version, payload, is_known(kind, filed_under))?;
    Ok(Some(RecordedEvent {
        position: stored.position,
        recorded_at: stored.recorded_at,
        drop_id,
        sequence: stored.sequence,
        event,
        private: private_of(stored)?,
    }))
}

fn parse_order(stored: EventRef<'_>) -> Result<Option<RecordedOrderEvent>, (Fault, String)> {
    if stored.aggregate_type != order::AGGREGATE_TYPE {
        return Ok(None);
    }
    let (kind, version) = (stored.event_type, stored.event_version);
    let order_id = stored
        .aggregate_id
        .parse()
        .map_err(|error| (Fault::Unreadable, format!("aggregate_id {error}")))?;
    #[cfg(feature = "testing")]
    if is_hidden(kind, version) {
        return Err((Fault::UnknownType, format!("unknown event type {kind}")));
    }
    let is_known = OrderEvent::version_of(kind) == Some(version);
    let event = event_in(kind, version, stored.payload, is_known)?;
    Ok(Some(RecordedOrderEvent {
        position: stored.position,
        recorded_at: stored.recorded_at,
        order_id,
        sequence: stored.sequence,
        event,
        private: private_of(stored)?,
    }))
}

/// The events of one kind of aggregate.
trait StoredKind: DeserializeOwned {
    fn kind(&self) -> &'static str;
    fn version(&self) -> &'static str;
    fn version_of(kind: &str) -> Option<&'static str>;
}

macro_rules! stored_kind {
    ($($event:ident),*) => {
        $(impl StoredKind for $event {
            fn kind(&self) -> &'static str {
                self.event_type()
            }

            fn version(&self) -> &'static str {
                self.event_version()
            }

            fn version_of(kind: &str) -> Option<&'static str> {
                Self::version_of(kind)
            }
        })*
    };
}
stored_kind!(DropEvent, OrderEvent);

/// Decodes a payload that is filed as `version` of `kind`.
fn event_in<E: StoredKind>(
    kind: &str,
    version: &str,
    payload: &str,
    is_known: bool,
) -> Result<E, (Fault, String)> {
    // Events of a later release differ from invalid events: they are not damage.
    let fault = if E::version_of(kind).is_none() {
        Fault::UnknownType
    } else if is_known {
        Fault::Unreadable
    } else {
        Fault::UnknownVersion
    };
    let event: E = serde_json::from_str(payload)
        .map_err(|error| (fault, format!("the payload cannot be read: {error}")))?;
    if event.kind() != kind {
        let found = event.kind();
        return Err((fault, format!("filed as {kind}, but it is a {found}")));
    }
    if event.version() != version {
        let reason = format!("version {version} of {kind} is not known here");
        return Err((fault, reason));
    }
    Ok(event)
}

fn private_of(stored: EventRef<'_>) -> Result<Option<Private>, (Fault, String)> {
    let private = stored.private.map(serde_json::from_str).transpose();
    private.map_err(|error| {
        let reason = format!("the private data cannot be read: {error}");
        (Fault::Unreadable, reason)
    })
}

/// Names a pair (`TYPE VERSION`) that this process treats as unknown, like an earlier release.
/// Exists in test builds only.
#[cfg(feature = "testing")]
pub const HIDDEN_VARIABLE: &str = "HOLDFAST_TEST_HIDDEN_EVENT_TYPE";

#[cfg(feature = "testing")]
fn is_hidden(event_type: &str, event_version: &str) -> bool {
    use std::sync::LazyLock;
    static HIDDEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(HIDDEN_VARIABLE).ok());
    HIDDEN
        .as_deref()
        .and_then(|pair| pair.split_once(' '))
        .is_some_and(|hidden| hidden == (event_type, event_version))
}
