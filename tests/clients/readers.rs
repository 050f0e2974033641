//! Other people's readers read every format of `audit export`, and read what the log holds.
//!
//! Promise: pyarrow, DuckDB, polars, pandas and the CloudEvents SDK, in the versions of
//! `readers/requirements.txt`, read each row as the table `events` has it: texts, numbers, and
//! times with their zone. Limit: column types are stated where docs/AUDIT.md says that they must
//! be.

use std::fs;

use harness::{Launch, Lively, Python, finish};
use serde_json::Value;

/// What other programs may store: line breaks and quotes in a text, a version that is no number,
/// words that readers take for nothing, a stream without a name.
const OF_OTHERS: &str = r#"
    ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE log_head ENABLE TRIGGER USER;
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) VALUES
    ('Other', 'NA', 1, 'null', '1.10', E'{\n "a": "1, \\"2\\"\\n",\r\n\t"b": {"c": 1.5} \n}', '{}'),
    ('Other', 'é', 1, 'Happened', '1.0', '{"a": ""}', E'{ "by":\n"me" }'),
    ('Other', 'é', 2, 'Happened', '1.0', '{"a": "x"}', '{"by":"you"}'),
    ('Other', '', 1, 'Happened', '1.0', '{"a": "x"}', '{}')"#;

/// The log from the database, past every code of ours that exports it.
const LOG: &str = r#"
    SELECT json_agg(json_build_object(
        'position', position, 'aggregate_type', aggregate_type, 'aggregate_id', aggregate_id,
        'sequence', sequence, 'event_type', event_type, 'event_version', event_version,
        'recorded_at', to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'payload', payload::text, 'metadata', metadata::text, 'hash', encode(hash, 'hex')
    ) ORDER BY position) FROM events"#;

#[tokio::test]
async fn readers_of_others_read_every_format_as_the_log_has_it() {
    let lively = Lively::make().await;
    let database = lively.altered(OF_OTHERS).await;
    let log: Value = sqlx::query_scalar(LOG)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(log.as_array().unwrap().len(), lively.log.len() + 4);
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
