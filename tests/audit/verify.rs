//! `holdfast audit verify` from an export alone, against a head that was kept elsewhere, and on the
//! tables.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod alteration;
mod python;
mod tables;

use std::fs;

use harness::{Finished, Launch, SampleLog, text};
use infrastructure::log::lines::{LineWriter, parse};
use infrastructure::log::{Batch, Head, StoredEvent};
use serde_json::{Value, json};

/// Runs the audit without a database.
async fn verify_text(export: &str, more: &[&str]) -> Finished {
    let launch = Launch::private();
    let file = launch.data_dir().join("export.ndjson");
    fs::write(&file, export).unwrap();
    let file = file.to_str().unwrap();
    launch
        .run(&[&["audit", "verify", "--file", file], more].concat())
        .await
}

fn lines(export: &str) -> Vec<&str> {
    export.split_inclusive('\n').collect()
}

fn stored(export: &str) -> Vec<StoredEvent> {
    export.lines().map(|line| parse(line).unwrap()).collect()
}

/// The same events with a recomputed hash chain, as by a forger who controls the log.
fn reseal(events: Vec<StoredEvent>) -> String {
    let mut export = vec![];
    let mut writer = LineWriter::default();
    for event in Batch::seal(Head::default(), events).events {
        writer.write(&event, &mut export);
    }
    String::from_utf8(export).unwrap()
}

#[track_caller]
fn assert_disproved(verdict: &Finished, position: u64, reason: &str) {
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    assert_eq!(verdict.stdout, "");
    let start = format!("holdfast: position {position}: ");
    assert!(verdict.stderr.starts_with(&start), "{start}{verdict:?}");
    assert!(verdict.stderr.contains(reason), "{reason}: {verdict:?}");
}

#[tokio::test]
async fn export_is_verified_without_a_database() {
    let sample = SampleLog::create().await;
    let last = sample.log.last().unwrap();
    let (count, position, hash) = (sample.log.len(), last.position, &last.hash);
    let proved = format!("verified {count} events, head {position} {hash}\n");

    let verdict = verify_text(&sample.export, &[]).await;
    assert_eq!(
        (verdict.code, verdict.stdout.as_str()),
        (Some(0), proved.as_str())
    );
    // The end is not known.
    let note = format!(
        "note: the end was not verified: an export that was truncated after position {position} "
    );
    assert!(verdict.stderr.starts_with(&note), "{}", verdict.stderr);
    assert_eq!(verdict.stderr.lines().count(), 1, "{}", verdict.stderr);
    let head = format!("{position}:{hash}");
    let verdict = verify_text(&sample.export, &["--expect-head", &head]).await;
    assert_eq!(
        (verdict.stdout, verdict.stderr),
        (proved.clone(), String::new())
    );

    let spaced = sample.export.replacen('\n', "\n\n", 3);
    assert_eq!(verify_text(&spaced, &[]).await.stdout, proved);
    assert_eq!(
        verify_text(sample.export.trim_end(), &[]).await.stdout,
        proved
    );

    let verdict = verify_text(&sample.export, &["--json"]).await;
    let output: Value = serde_json::from_str(&verdict.stdout).unwrap();
    assert_eq!(
        (
            &output["verified"],
            &output["events"],
            &output["head"]["position"]
        ),
        (&json!(true), &json!(count), &json!(position))
    );
    assert_eq!(text(&output["head"]["hash"]), *hash);
    assert_eq!(
        output["events_erased"],
        Value::Null,
        "an export alone cannot show it"
    );
    let start = format!("0:{}", "0".repeat(64));
    for empty in ["", "\n \n"] {
        let refused = verify_text(empty, &[]).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        assert!(refused.stderr.contains("contains no events"), "{refused:?}");
        let verdict = verify_text(empty, &["--expect-head", &start]).await;
        let nothing = format!("verified 0 events, head 0 {}\n", "0".repeat(64));
        assert_eq!((verdict.stdout, verdict.stderr), (nothing, String::new()));
    }
}

/// The same export in the format written until 2026: texts with their line breaks.
fn in_the_format_until_2026(export: &str) -> String {
    let old = |line: &str| {
        let event = parse(line).unwrap();
        let start = line.find(",\"payload\":").unwrap();
        format!(
            "{},\"payload\":{},\"metadata\":{},\"hash\":\"{}\"}}\n",
            &line[..start],
            event.payload,
            event.metadata,
            event.hash
        )
    };
    export.lines().map(old).collect()
}

fn written(event: &StoredEvent) -> String {
    let mut line = vec![];
    LineWriter::default().write(event, &mut line);
    String::from_utf8(line).unwrap()
}
