//! An export that was cut off continues; a file that is not its beginning is not changed.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::{Launch, SampleLog};

use super::{Auditor, path, python};

#[tokio::test]
async fn export_resumes_only_a_file_that_is_its_beginning() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    let other = SampleLog::create().await;
    let longer = Auditor::of(&other).await;
    let last = sample.log.len();
    let (half, of_half) = (last / 2, (last / 2).to_string());
    let drop = sample.log[half - 1].aggregate_id.as_str();
    let another = sample
        .log
        .iter()
        .find(|event| event.aggregate_id != drop)
        .unwrap();
    for format in ["ndjson", "cloudevents", "csv"] {
        let file = auditor.file(format);
        let export = async |auditor: &Auditor, more: &[&str]| {
            let arguments = ["--format", format, "--output", path(&file)];
            auditor.export(&[arguments.as_slice(), more].concat()).await
        };
        let not_asked_for = format!(
            "cannot resume {}: its last event, at position {half}, is not in the selection to export",
            path(&file)
        );
        let its_hash = format!(
            "cannot resume {}: its last event, at position {half}, has the hash {}, and in the log that is {}",
            path(&file),
            other.log[half - 1].hash,
            sample.log[half - 1].hash
        );
        let refused = async |more: &[&str], reason: &str| {
            let before = fs::read(&file).unwrap();
            let output = export(&auditor, &[&["--resume"], more].concat()).await;
            assert_eq!(output.code, Some(2), "{format} {more:?} {output:?}");
            assert_eq!(output.stderr, format!("holdfast: {reason}\n"));
            assert_eq!(fs::read(&file).unwrap(), before, "{format} {more:?}");
        };
        // Of another log: as long as this one, and longer.
        let made = export(&longer, &["--until", &of_half]).await;
        assert_eq!(made.code, Some(0), "{made:?}");
        refused(&[], &its_hash).await;
        fs::remove_file(&file).unwrap();
        export(&auditor, &["--until", &of_half]).await;
        let shorter = auditor.file("shorter.ndjson");
        let start: Vec<&str> = sample.export.split_inclusive('\n').collect();
        for kept in [half - 1, half - 2] {
            fs::write(&shorter, start[..kept].concat()).unwrap();
            refused(&["--file", path(&shorter)], &not_asked_for).await;
        }
        // Of another drop, or another part.
        refused(&["--drop", &another.aggregate_id], &not_asked_for).await;
        refused(&["--after", &of_half], &not_asked_for).await;
        refused(&["--until", "2"], &not_asked_for).await;

        // Resumed with the events it is the beginning of, from the database and from a file.
        let log = auditor.file("log.ndjson");
        fs::write(&log, &sample.export).unwrap();
        let whole = auditor.exported(&["--format", format]).await;
        for source in [vec![], vec!["--file", path(&log)]] {
            let before = fs::read(&file).unwrap();
            let done = export(&auditor, &[&source, ["--resume"].as_slice()].concat()).await;
            assert_eq!(done.code, Some(0), "{done:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), whole, "{format}");
            fs::write(&file, before).unwrap();
        }
        let of_drop = auditor
            .exported(&["--format", format, "--drop", drop])
            .await;
        fs::remove_file(&file).unwrap();
        export(&auditor, &["--until", &of_half, "--drop", drop]).await;
        let done = export(&auditor, &["--resume", "--drop", drop]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), of_drop, "{format}");
    }
}

/// An incomplete event is not searched for again from each of its lines.
#[tokio::test]
async fn export_cut_off_within_very_many_lines_is_resumed() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    for format in ["ndjson", "cloudevents"] {
        let whole = auditor.exported(&["--format", format]).await;
        let file = auditor.file(format);
        let nested = format!("{{\n{}", sample.export.lines().next().unwrap());
        let cut = format!(
            "{whole}{{\"payload\":[1{}{nested}\n",
            "\n,1".repeat(300_000)
        );
        fs::write(&file, cut).unwrap();
        let done = auditor
            .export(&["--format", format, "--resume", "--output", path(&file)])
            .await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    }
}

/// Text that cannot be an incomplete event cannot be resumed, and is not read to its end.
#[tokio::test]
async fn file_that_ends_with_an_oversized_event_is_not_changed() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    for (format, start) in [
        ("ndjson", "{\"position\":9,\"payload\":\""),
        ("cloudevents", "{\"specversion\":\"1.0\",\"data\":\""),
        ("csv", "9,Drop,\""),
    ] {
        let whole = auditor.exported(&["--format", format]).await;
        let file = auditor.file(format);
        let long = format!("{whole}{start}{}", "a\n".repeat(20 << 20));
        fs::write(&file, &long).unwrap();
        let refused = auditor
            .export(&["--format", format, "--resume", "--output", path(&file)])
            .await;
        assert_eq!(refused.code, Some(2), "{format}: {refused:?}");
        assert!(fs::read_to_string(&file).unwrap() == long, "{format}");
    }
}

#[tokio::test]
async fn export_that_was_cut_off_is_resumed_at_every_byte() {
    let sample = SampleLog::create().await;
    // A stored text may contain line breaks; its event is still one line, except in exports of
    // earlier releases.
    let stock = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                 VALUES ('Other', 'x', 1, 'Happened', '1.0', E'{\n \"a\": \"1, 2\"\n}', '{}')";
    let enabled = format!(
        "ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE log_head ENABLE TRIGGER USER; {stock}; {}",
        stock.replace("1, 'Hap", "2, 'Hap")
    );
    let auditor = Auditor {
        launch: Launch::on(sample.altered(&enabled).await),
    };
    for format in ["ndjson", "cloudevents", "csv"] {
        let whole = auditor.exported(&["--format", format]).await;
        let file = auditor.file(format);
        let arguments = ["--format", format, "--resume", "--output", path(&file)];
        if format != "csv" {
            assert_eq!(whole.lines().count(), sample.log.len() + 2, "{whole}");
            let (start, new) = whole.trim_end().rsplit_once('\n').unwrap();
            let old = in_the_format_until_2026(start);
            assert!(old.contains("\n \"a\""), "{old}");
            let last = in_the_format_until_2026(new);
            for cut in [0, 40, last.len() - 70, last.len() - 1] {
                let cut = &last[..cut];
                fs::write(&file, format!("{old}\n{cut}")).unwrap();
                let done = auditor.export(&arguments).await;
                assert_eq!(done.code, Some(0), "{format} {cut}: {done:?}");
                let mixed = fs::read_to_string(&file).unwrap();
                assert_eq!(mixed, format!("{old}\n{new}\n"), "{format}");
            }
            if format == "ndjson" {
                let verdict = ["audit", "verify", "--file", path(&file)];
                let verdict = auditor.launch.run(&verdict).await;
                assert_eq!(verdict.code, Some(0), "{verdict:?}");
                let theirs = python(&[path(&file)]).await;
                assert_eq!(theirs.stdout, verdict.stdout, "{theirs:?}");
                // The shown text must be the hashed text.
                let mixed = fs::read_to_string(&file).unwrap();
                let shown = mixed.replacen("  \"a\": \"1, 2\"", "  \"a\": \"1, 3\"", 1);
                assert_ne!(mixed, shown);
                fs::write(&file, shown).unwrap();
                let verdict = ["audit", "verify", "--file", path(&file)];
                let verdict = auditor.launch.run(&verdict).await;
                assert_eq!(verdict.code, Some(1), "{verdict:?}");
                let reason = "payload_text differs from payload";
                assert!(verdict.stderr.contains(reason), "{verdict:?}");
                let theirs = python(&[path(&file)]).await;
                assert_eq!(theirs.code, Some(1), "{theirs:?}");
                assert!(theirs.stderr.contains("text on one line"), "{theirs:?}");
            }
        }
        let cuts = (0..12)
            .map(|cut| whole.len() * cut / 11)
            .chain(whole.len() - 200..whole.len());
        for cut in cuts.step_by(7).filter(|cut| whole.is_char_boundary(*cut)) {
            fs::write(&file, &whole[..cut]).unwrap();
            let done = auditor.export(&arguments).await;
            if cut > 0 && done.code == Some(2) {
                // No complete line: it could be anything.
                assert!(
                    !whole[..cut].contains('\n') || format == "csv",
                    "{cut}: {done:?}"
                );
                continue;
            }
            assert_eq!(done.code, Some(0), "{format} {cut}: {done:?}");
            assert_eq!(
                fs::read_to_string(&file).unwrap(),
                whole,
                "{format} cut at {cut}"
            );
        }
        assert_eq!(auditor.export(&arguments).await.code, Some(0));
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            whole,
            "nothing is left to export"
        );
    }
    let file = auditor.file("no export");
    fs::write(&file, "not a log\n").unwrap();
    for format in ["ndjson", "cloudevents", "csv", "parquet"] {
        let done = auditor
            .export(&["--format", format, "--resume", "--output", path(&file)])
            .await;
        assert_eq!(done.code, Some(2), "{done:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "not a log\n");
    }
    assert_eq!(auditor.launch.run(&["audit", "verify"]).await.code, Some(0));
}

/// The same lines in the format written until 2026: a stored text with its line breaks.
fn in_the_format_until_2026(lines: &str) -> String {
    let stored = "{\n \"a\": \"1, 2\"\n}";
    let escaped = serde_json::to_string(stored).unwrap();
    let in_base64 = BASE64_STANDARD.encode(stored);
    lines
        .replace(&stored.replace('\n', " "), stored)
        .replace(&format!(",\"payload_text\":{escaped}"), "")
        .replace(&format!(",\"payloadbase64\":\"{in_base64}\""), "")
}
