//! CloudEvents, CSV and Parquet contain the same data as NDJSON.

use std::fs;

use harness::{SampleLog, distinct, text};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};

use super::{Auditor, path};

#[tokio::test]
async fn cloud_events_of_two_logs_have_different_sources() {
    let (sample, other) = (SampleLog::create().await, SampleLog::create().await);
    let auditor = Auditor::of(&sample).await;
    let sources = |export: &str| {
        let of_line = |line| text(&serde_json::from_str::<Value>(line).unwrap()["source"]);
        distinct(export.lines().map(of_line))
    };
    let cloud_events = ["--format", "cloudevents"];
    let export = async |more: &[&str]| auditor.exported(&[&cloud_events[..], more].concat()).await;
    let own = sources(&export(&[]).await);
    assert_eq!(own, [source_of(&sample)]);
    let others = Auditor::of(&other).await.exported(&cloud_events).await;
    assert_eq!(sources(&others), [source_of(&other)]);
    assert_ne!(own, sources(&others));

    // For any part of it, from either source.
    let log = auditor.file("log.ndjson");
    fs::write(&log, &sample.export).unwrap();
    let drop = &sample.second_drop().aggregate_id;
    let from_file = ["--file", path(&log)];
    for part in [&[][..], &["--after", "3"], &["--drop", drop]] {
        assert_eq!(sources(&export(part).await), own, "{part:?}");
        let part = [&from_file[..], part].concat();
        assert_eq!(sources(&export(&part).await), own, "{part:?}");
    }
    let nothing = sample.log.len().to_string();
    assert_eq!(export(&["--after", &nothing]).await, "");

    // As requested; a resumed file keeps its own source and never has two.
    let file = auditor.file("old");
    let old = ["--cloudevents-source", "/v1/log"];
    let output = ["--output", path(&file), "--until", "3"];
    export(&[&output[..], &old].concat()).await;
    let rest = ["--output", path(&file), "--resume"];
    let wrong = ["--cloudevents-source", "urn:example:shop"];
    let wrong = [&cloud_events[..], &rest, &wrong].concat();
    let wrong = auditor.export(&wrong).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(
        wrong.stderr.contains("have the source /v1/log"),
        "{wrong:?}"
    );
    export(&rest).await;
    let whole = fs::read_to_string(&file).unwrap();
    assert_eq!(whole.lines().count(), sample.log.len());
    assert_eq!(sources(&whole), ["/v1/log"]);
    let none = ["--cloudevents-source", "no URI"];
    let none = auditor.export(&[&cloud_events[..], &none].concat()).await;
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("URI reference"), "{none:?}");
}

/// By RFC 9562, section 5.8: a UUID of version 8, derived from the first hash.
fn source_of(sample: &SampleLog) -> String {
    let digits = &sample.log[0].hash;
    let variant = u8::from_str_radix(&digits[16..17], 16).unwrap() & 0b11 | 0b1000;
    format!(
        "urn:uuid:{}-{}-8{}-{variant:x}{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..32],
    )
}

#[tokio::test]
async fn every_format_contains_the_same_data() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    let lines: Vec<Value> = sample
        .export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let clouds = auditor.exported(&["--format", "cloudevents"]).await;
    assert_eq!(clouds.lines().count(), lines.len());
    for (cloud, event) in clouds.lines().zip(&lines) {
        let cloud: Value = serde_json::from_str(cloud).unwrap();
        assert_eq!(cloud["specversion"], "1.0");
        assert_eq!(
            (&cloud["source"], &cloud["datacontenttype"]),
            (&json!(source_of(&sample)), &json!("application/json"))
        );
        assert_eq!(text(&cloud["id"]), event["position"].to_string());
        assert_eq!(
            text(&cloud["type"]),
            format!("holdfast.{}", text(&event["event_type"]))
        );
        assert_eq!(
            (
                &cloud["time"],
                &cloud["subject"],
                &cloud["data"],
                &cloud["hash"]
            ),
            (
                &event["recorded_at"],
                &event["aggregate_id"],
                &event["payload"],
                &event["hash"]
            )
        );
        for name in cloud.as_object().unwrap().keys() {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
                "{name}"
            );
        }
    }

    let table = auditor.exported(&["--format", "csv"]).await;
    let mut records = csv::Reader::from_reader(table.as_bytes());
    let header: Vec<String> = records
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let rows: Vec<csv::StringRecord> = records.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), lines.len());
    for (row, event) in rows.iter().zip(&lines) {
        assert_eq!(row.len(), event.as_object().unwrap().len());
        for (name, field) in header.iter().zip(row) {
            assert_same(name, field, &event[name]);
        }
    }

    let file = auditor.file("log.parquet");
    auditor
        .exported(&["--format", "parquet", "--output", path(&file)])
        .await;
    let reader = SerializedFileReader::new(fs::File::open(&file).unwrap()).unwrap();
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), lines.len());
    for (row, event) in rows.iter().zip(&lines) {
        let at: chrono::DateTime<chrono::Utc> = text(&event["recorded_at"]).parse().unwrap();
        assert_eq!(row.get_timestamp_millis(6).unwrap(), at.timestamp_millis());
        for (index, (name, _)) in row.get_column_iter().enumerate() {
            match name.as_str() {
                "recorded_at" => {}
                "position" | "sequence" => assert_same(
                    name,
                    &row.get_long(index).unwrap().to_string(),
                    &event[name],
                ),
                _ => assert_same(name, row.get_string(index).unwrap(), &event[name]),
            }
        }
    }
}

#[track_caller]
fn assert_same(name: &str, field: &str, value: &Value) {
    if let Some(text) = value.as_str() {
        assert_eq!(field, text, "{name}");
    } else {
        let read: Value = serde_json::from_str(field).unwrap();
        assert_eq!(read, *value, "{name}");
    }
}
