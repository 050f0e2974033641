//! Third-party readers of every format of `audit export` read the contents of the log.
//!
//! Promise: pyarrow, DuckDB, polars, pandas and the CloudEvents SDK, in the versions of
//! `readers/requirements.txt`, read each row as the table `events` has it: texts, numbers, and
//! times with their zone. Limit: column types are given where docs/AUDIT.md requires it.

use std::fs;

use harness::{Launch, Python, SampleLog, finish};
use serde_json::Value;

/// Events of other programs: line breaks and quotes in a text, a version that is not a number,
/// words that readers take for null, a stream with an empty name.
const FOREIGN_EVENTS: &str = r#"
    ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE log_head ENABLE TRIGGER USER;
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) VALUES
    ('Other', 'NA', 1, 'null', '1.10', E'{\n "a": "1, \\"2\\"\\n",\r\n\t"b": {"c": 1.5} \n}', '{}'),
    ('Other', 'é', 1, 'Happened', '1.0', '{"a": ""}', E'{ "by":\n"me" }'),
    ('Other', 'é', 2, 'Happened', '1.0', '{"a": "x"}', '{"by":"you"}'),
    ('Other', '', 1, 'Happened', '1.0', '{"a": "x"}', '{}')"#;

/// The log from the database, read without the product's export code.
const LOG: &str = r#"
    SELECT json_agg(json_build_object(
        'position', position, 'aggregate_type', aggregate_type, 'aggregate_id', aggregate_id,
        'sequence', sequence, 'event_type', event_type, 'event_version', event_version,
        'recorded_at', to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'payload', payload::text, 'metadata', metadata::text, 'hash', encode(hash, 'hex')
    ) ORDER BY position) FROM events"#;

#[tokio::test]
async fn third_party_readers_read_every_format_correctly() {
    let sample = SampleLog::create().await;
    let database = sample.altered(FOREIGN_EVENTS).await;
    let log: Value = sqlx::query_scalar(LOG)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(log.as_array().unwrap().len(), sample.log.len() + 4);
    let launch = Launch::on(database);
    let folder = launch.data_dir();
    fs::write(folder.join("log.json"), log.to_string()).unwrap();
    for format in ["ndjson", "cloudevents", "csv", "parquet"] {
        let file = folder.join(format!("log.{format}"));
        let export = ["audit", "export", "--format", format, "--output"];
        let done = launch
            .run(&[&export[..], &[file.to_str().unwrap()]].concat())
            .await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let python = Python::with(include_str!("readers/requirements.txt")).await;
    let mut read = python.command();
    read.arg("-c")
        .arg(include_str!("readers/read_exports.py"))
        .arg(folder);
    let read = finish(read).await;
    println!("{}", read.stdout);
    assert_eq!(read.code, Some(0), "{}\n{}", read.stdout, read.stderr);
}
