//! Every old form of an event can still be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use domain::DropEvent;
use domain::values::{Position, Sequence, Timestamp};
use infrastructure::codec::decode;
use infrastructure::error::LogError;
use infrastructure::log::{Hash, StoredEvent};
use infrastructure::upcasters;
use serde_json::Value;

/// The stored payloads of old forms, by type and version.
fn fixtures() -> BTreeMap<(String, String), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/upcast");
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (event_type, version) = name
            .strip_suffix(".json")
            .and_then(|name| name.split_once('-'))
            .expect("TYPE-VERSION.json");
        let text = fs::read_to_string(entry.path()).expect("a fixture");
        ((event_type.to_owned(), version.to_owned()), text)
    };
    let entries = fs::read_dir(folder).expect("the fixture folder exists");
    entries
        .map(|entry| read(entry.expect("an entry")))
        .collect()
}

fn stored(event_type: &str, version: &str, payload: &str) -> StoredEvent {
    StoredEvent {
        position: Position(7),
        recorded_at: Timestamp::default(),
        aggregate_type: domain::AGGREGATE_TYPE.into(),
        aggregate_id: "9f2c41d7-5b0e-4c8a-9d13-7ae25c60f418".to_owned(),
        sequence: Sequence(2),
        event_type: event_type.to_owned().into(),
        event_version: version.to_owned().into(),
        payload: payload.to_owned(),
        metadata: "{}".into(),
        hash: Hash::default(),
        private: None,
    }
}

fn read(event_type: &str, version: &str, payload: &str) -> DropEvent {
    let recorded = decode(&stored(event_type, version, payload)).expect("it reads");
    recorded.expect("a drop's event").event
}

#[test]
fn every_old_form_is_read_as_its_event() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty());
    for ((event_type, version), payload) in &fixtures {
        let event = read(event_type, version, payload);
        assert_eq!(event.event_type(), event_type);
        assert_ne!(event.event_version(), version, "it is the current form");
    }
}

#[test]
fn hold_of_version_0_9_expires_after_its_seconds() {
    let (_, payload) = fixtures().pop_first().expect("a fixture");
    let DropEvent::HoldPlaced(event) = read("HoldPlaced", "0.9", &payload) else {
        panic!("a hold");
    };
    let text = |at: Timestamp| at.to_string();
    assert_eq!(text(event.placed_at), "2025-11-28T09:00:00.250Z");
    assert_eq!(text(event.expires_at), "2025-11-28T09:01:30.250Z");
    assert_eq!(event.quantity.get(), 3);
}

#[test]
fn stock_programs_read_old_forms_the_same_way() {
    for ((event_type, version), payload) in &fixtures() {
        let event = cqrs_es::persist::SerializedEvent::new(
            String::new(),
            1,
            domain::AGGREGATE_TYPE.to_owned(),
            event_type.clone(),
            version.clone(),
            serde_json::from_str(payload).expect("JSON"),
            Value::Null,
        );
        let event = upcasters::all().iter().fold(event, |event, step| {
            if step.can_upcast(&event.event_type, &event.event_version) {
                step.upcast(event)
            } else {
                event
            }
        });
        let read_there: DropEvent = serde_json::from_value(event.payload).expect("it reads");
        assert_eq!(read_there, read(event_type, version, payload));
        assert_eq!(event.event_version, read_there.event_version());
    }
}

#[test]
fn unknown_forms_are_corrupt_at_their_position() {
    let (_, payload) = fixtures().pop_first().expect("a fixture");
    let mut fields: Value = serde_json::from_str(&payload).expect("JSON");
    let seconds = fields["HoldPlaced"]
        .as_object_mut()
        .and_then(|fields| fields.remove("hold_seconds"));
    assert!(seconds.is_some());
    let without_seconds = fields.to_string();
    for (version, payload) in [
        ("0.8", payload.as_str()),
        ("9.0", &payload),
        ("", &payload),
        ("banana", &payload),
        ("0.9", &without_seconds),
        ("0.9", "{}"),
        ("0.9", "[]"),
        ("1.0", &payload),
    ] {
        let refused = decode(&stored("HoldPlaced", version, payload));
        assert!(
            matches!(
                refused,
                Err(LogError::Corrupt {
                    position: Position(7),
                    ..
                })
            ),
            "{version} {payload}: {refused:?}"
        );
    }
}
