//! docs/events.schema.json describes every event and every exported line.

use std::fs;
use std::path::Path;

use domain::{DropEvent, OrderEvent};
use harness::{Launch, SampleLog, distinct, text};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Auditor;

#[tokio::test]
async fn checked_in_schema_describes_every_event() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let printed = Launch::private().run(&["audit", "schema"]).await.stdout;
    let kept = fs::read_to_string(project.join("docs/events.schema.json")).unwrap();
    assert!(
        printed == kept,
        "holdfast audit schema > docs/events.schema.json"
    );

    let schema: Value = serde_json::from_str(&kept).unwrap();
    let named = schema["$defs"]["DropEvent"]["oneOf"].as_array().unwrap();
    let names = distinct(named.iter().map(|one| text(&one["required"][0])));
    assert_eq!(
        names,
        distinct(DropEvent::TYPES.iter().map(|name| (*name).to_owned()))
    );

    let validator = jsonschema::validator_for(&schema).unwrap();
    let template = json!({
        "position": 1, "aggregate_type": "Drop", "aggregate_id": Uuid::new_v4(), "sequence": 1, "event_type": "?",
        "event_version": "?", "recorded_at": "2026-01-31T18:00:00.000Z", "payload": {}, "metadata": {}, "hash": "0".repeat(64),
    });
    let mut seen = 0;
    for folder in ["events", "upcast"] {
        let folder = project.join("tests/fixtures").join(folder);
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let file = entry.file_name().into_string().unwrap();
            let mut parts = file.trim_end_matches(".json").split('-');
            let (name, version) = (parts.next().unwrap(), parts.next().unwrap());
            let mut event = template.clone();
            event["event_type"] = name.into();
            event["event_version"] = version.into();
            if name == "BuyerErased" {
                event["aggregate_type"] = "Erasure".into();
                event["aggregate_id"] = "buyers".into();
            }
            if OrderEvent::TYPES.contains(&name) {
                event["aggregate_type"] = "Order".into();
            }
            if ["PositionVoided", "TailCut"].contains(&name) {
                event["aggregate_type"] = "Log".into();
                event["aggregate_id"] = "incidents".into();
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            event["payload"] = serde_json::from_str(&text).unwrap();
            assert!(validator.is_valid(&event), "{file}");
            // Every field of the event is described, with its type.
            let fields = event["payload"][name].as_object().unwrap().clone();
            for field in fields.keys() {
                let mut altered = event.clone();
                altered["payload"][name][field] = json!([true]);
                let is_described = !validator.is_valid(&altered);
                assert!(is_described, "{file}: {field} is not described");
            }
            // No other version and no other stream of ours is valid.
            for (field, other) in [
                ("event_version", "0.8"),
                ("aggregate_type", "Erasure"),
                ("aggregate_type", "Drop"),
            ] {
                let mut altered = event.clone();
                altered[field] = other.into();
                assert_eq!(
                    validator.is_valid(&altered),
                    altered == event,
                    "{file}: {field} {other}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > DropEvent::TYPES.len() + 1);
}

#[tokio::test]
async fn every_exported_line_matches_the_schema() {
    let schema = Launch::private().run(&["audit", "schema"]).await.stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let sample = SampleLog::create().await;
    // The short drop is still on sale.
    let drop = &sample.second_drop().aggregate_id;
    let old = json!({ "HoldPlaced": {
        "hold_id": Uuid::new_v4(), "buyer": Uuid::new_v4(), "quantity": 1, "hold_seconds": 60, "placed_at": harness::now(),
    } });
    let others = format!(
        "ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE log_head ENABLE TRIGGER USER;
         INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT 'Drop', '{drop}', max(sequence) + 1, 'HoldPlaced', '0.9', '{old}'::json, '{{}}'::json
           FROM events WHERE aggregate_id = '{drop}';
         INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('Invoice', 'no uuid', 1, 'InvoiceSent', '2.0', '[\"anything\"]', '{{\"by\": 7}}')"
    );
    let auditor = Auditor {
        launch: Launch::on(sample.altered(&others).await),
    };
    let erased = auditor.launch.run(&["audit", "erase", "alice"]).await;
    assert_eq!(erased.code, Some(0), "{erased:?}");

    let export = auditor.exported(&[]).await;
    let mut kinds = vec![];
    for line in export.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        if let Err(error) = validator.validate(&event) {
            panic!("{error}: {line}");
        }
        let (kind, version) = (text(&event["event_type"]), text(&event["event_version"]));
        kinds.push(format!("{kind} {version}"));
    }
    assert_eq!(export.lines().count(), sample.log.len() + 3);
    for kind in [
        "HoldPlaced 1.0",
        "HoldPlaced 0.9",
        "InvoiceSent 2.0",
        "BuyerErased 1.0",
    ] {
        assert!(kinds.iter().any(|seen| seen == kind), "{kind}: {kinds:?}");
    }
    // The event in the log equals the fixture.
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/events/BuyerErased-1.0.json");
    let fixture = fs::read_to_string(fixture).unwrap();
    let last = export.lines().last().unwrap();
    assert!(last.contains(&format!("\"payload\":{fixture},")), "{last}");
    assert_eq!(auditor.launch.run(&["audit", "verify"]).await.code, Some(0));
}
