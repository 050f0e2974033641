//! Reads events of earlier versions: the steps that turn each old form of an event into the current
//! one.
//!
//! Promise: stored events are never edited; every form ever written stays readable, here and in
//! stock `cqrs-es` programs, which use the same list ([`all`]).
//! Limit: a step goes from one version to the next, and the list is in that order.
//!
//! To add a version of an event: raise its number in `DropEvent::event_version`, move its fixture
//! to `tests/fixtures/upcast`, and add a step here.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use domain::values::Timestamp;
use serde_json::Value;

use crate::log::EventRef;

/// Turns one version of one event into the next.
struct Step {
    event_type: &'static str,
    from: &'static str,
    to: &'static str,
    /// Takes and returns the fields of the event. Unreadable fields are left unchanged: decoding
    /// reports them.
    change: fn(&mut serde_json::Map<String, Value>) -> Option<()>,
}

const STEPS: &[Step] = &[Step {
    event_type: "HoldPlaced",
    from: "0.9",
    to: "1.0",
    change: add_expires_at,
}];

/// Version 0.9, of the prototype, stored how long a hold lasts instead of `expires_at`, so every
/// reader had to compute the time that decides whether a purchase is possible.
fn add_expires_at(fields: &mut serde_json::Map<String, Value>) -> Option<()> {
    let placed_at: Timestamp = fields.get("placed_at")?.as_str()?.parse().ok()?;
    let seconds = u32::try_from(fields.remove("hold_seconds")?.as_u64()?).ok()?;
    let expires_at = placed_at.plus_seconds(seconds).to_string();
    fields.insert("expires_at".to_owned(), expires_at.into());
    Some(())
}

impl EventUpcaster for &'static Step {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        event_type == self.event_type && event_version == self.from
    }

    fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
        let fields = event.payload.get_mut(self.event_type);
        if let Some(fields) = fields.and_then(Value::as_object_mut) {
            let _left_alone_if_unreadable = (self.change)(fields);
        }
        self.to.clone_into(&mut event.event_version);
        event
    }
}

/// Every pair of event type and version of drops that this program reads, former versions included.
///
/// The database has the same list (`known_event_types()`, migrations/README.md): it
/// rejects every other pair.
#[must_use]
pub fn known_pairs() -> Vec<(&'static str, &'static str)> {
    let present = domain::DropEvent::TYPES
        .iter()
        .filter_map(|kind| Some((*kind, domain::DropEvent::version_of(kind)?)));
    let former = STEPS.iter().map(|step| (step.event_type, step.from));
    present.chain(former).collect()
}

/// Every pair of event type and version of orders that this program reads. In the database:
/// `known_order_event_types()`, migrations/0012_payments.sql.
#[must_use]
pub fn known_order_pairs() -> Vec<(&'static str, &'static str)> {
    let types = domain::OrderEvent::TYPES.iter();
    let pair = |kind: &&'static str| Some((*kind, domain::OrderEvent::version_of(kind)?));
    types.filter_map(pair).collect()
}

/// Reports whether this program reads events of this type and version.
pub(crate) fn is_known(event_type: &str, event_version: &str) -> bool {
    domain::DropEvent::version_of(event_type) == Some(event_version)
        || STEPS
            .iter()
            .any(|step| step.event_type == event_type && step.from == event_version)
}

/// Every step, oldest first, for stock `cqrs-es` programs.
#[must_use]
pub fn all() -> Vec<Box<dyn EventUpcaster>> {
    let boxed = |step: &'static Step| Box::new(step) as Box<dyn EventUpcaster>;
    STEPS.iter().map(boxed).collect()
}

/// The current version and payload of an event that was stored in an older form; `None` for one in
/// the current form.
pub(crate) fn upcast(stored: &EventRef<'_>) -> Option<(String, String)> {
    let applies = |step: &&'static Step| step.can_upcast(stored.event_type, stored.event_version);
    if !STEPS.iter().any(|step| applies(&step)) {
        return None;
    }
    let event = SerializedEvent::new(
        stored.aggregate_id.to_owned(),
        usize::try_from(stored.sequence.0).ok()?,
        stored.aggregate_type.to_string(),
        stored.event_type.to_string(),
        stored.event_version.to_string(),
        serde_json::from_str(stored.payload).ok()?,
        Value::Null,
    );
    // As in cqrs-es, whose own loop is private.
    let event = STEPS.iter().fold(event, |event, step| {
        if step.can_upcast(&event.event_type, &event.event_version) {
            step.upcast(event)
        } else {
            event
        }
    });
    Some((event.event_version, event.payload.to_string()))
}
