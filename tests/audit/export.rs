//! `holdfast audit export`: every event once, as it is stored, in each format; and the schema of
//! the events.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::DropEvent;
use harness::{Finished, Launch, SampleLog, distinct, text};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::{Value, json};
use uuid::Uuid;

/// The database of a stopped server, and a directory for files.
struct Auditor {
    launch: Launch,
}

impl Auditor {
    async fn of(sample: &SampleLog) -> Self {
        let launch = Launch::on(sample.altered("SELECT 1").await);
        Self { launch }
    }

    async fn export(&self, arguments: &[&str]) -> Finished {
        self.launch
            .run(&[&["audit", "export"], arguments].concat())
            .await
    }

    async fn exported(&self, arguments: &[&str]) -> String {
        let done = self.export(arguments).await;
        assert_eq!(
            (done.code, done.stderr.as_str()),
            (Some(0), ""),
            "no progress bar without a terminal"
        );
        done.stdout
    }

    fn file(&self, name: &str) -> PathBuf {
        self.launch.data_dir().join(name)
    }
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

#[tokio::test]
async fn export_equals_the_servers_stream() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    assert_eq!(auditor.exported(&[]).await, sample.export);
    assert_eq!(
        auditor.exported(&["--format", "ndjson"]).await,
        sample.export
    );

    let file = auditor.file("log.ndjson");
    assert_eq!(auditor.exported(&["--output", path(&file)]).await, "");
    assert_eq!(fs::read_to_string(&file).unwrap(), sample.export);
    let again = auditor.export(&["--output", path(&file)]).await;
    assert_eq!(
        again.code,
        Some(2),
        "never over an existing file: {again:?}"
    );

    let verdict = auditor
        .launch
        .run(&["audit", "verify", "--file", path(&file)])
        .await;
    let from_database = auditor.launch.run(&["audit", "verify"]).await;
    assert_eq!(
        (verdict.code, verdict.stdout),
        (Some(0), from_database.stdout)
    );

    for name in ["alice", "bob", "carol", "dora", "The real"] {
        assert!(!sample.export.contains(name), "{name}");
    }
}

/// The head file that an export writes next to its output.
fn head_of(file: &Path) -> PathBuf {
    format!("{}.head", path(file)).into()
}

/// Runs docs/verify.py, the verifier that shares no code with the product.
async fn python(arguments: &[&str]) -> Finished {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let mut python = std::process::Command::new("python3");
    python.arg(script).args(arguments);
    harness::finish(python).await
}

#[tokio::test]
async fn complete_export_records_its_head_and_is_verified_against_it() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    let last = sample.log.last().unwrap();
    let head = format!("{}:{}\n", last.position, last.hash);
    for format in ["ndjson", "cloudevents", "csv", "parquet"] {
        let file = auditor.file(&format!("log.{format}"));
        auditor
            .exported(&["--format", format, "--output", path(&file)])
            .await;
        assert_eq!(
            fs::read_to_string(head_of(&file)).unwrap(),
            head,
            "{format}"
        );
    }
    let file = auditor.file("log.ndjson");
    let verify = async |more: &[&str]| {
        let arguments = [&["audit", "verify", "--file", path(&file)], more].concat();
        auditor.launch.run(&arguments).await
    };
    let whole = verify(&[]).await;
    assert_eq!((whole.code, whole.stderr.as_str()), (Some(0), ""));
    let theirs = python(&[path(&file)]).await;
    assert_eq!((theirs.stdout, theirs.stderr.as_str()), (whole.stdout, ""));

    // Cut off after every event, and empty: each reads as a complete log.
    let lines: Vec<&str> = sample.export.split_inclusive('\n').collect();
    for kept in [0, 1, lines.len() - 1] {
        fs::write(&file, lines[..kept].concat()).unwrap();
        let cut = verify(&[]).await;
        assert_eq!((cut.code, cut.stdout.as_str()), (Some(1), ""));
        let reason = format!("position {}: the log ends at position {kept}", kept + 1);
        assert!(cut.stderr.contains(&reason), "{cut:?}");
        let theirs = python(&[path(&file)]).await;
        assert_eq!((theirs.code, theirs.stdout.as_str()), (Some(1), ""));
        assert!(theirs.stderr.contains("ends before it"), "{theirs:?}");
        let stated = ["audit", "checkpoint", "--file", path(&file)];
        let stated = auditor.launch.run(&stated).await;
        assert_eq!((stated.code, stated.stdout.as_str()), (Some(1), ""));
    }
    // Without a recorded head, a note reports that the end was not verified.
    fs::rename(head_of(&file), auditor.file("kept")).unwrap();
    let noted = verify(&[]).await;
    assert_eq!(noted.code, Some(0), "{noted:?}");
    assert!(
        noted.stderr.contains("the end was not verified"),
        "{noted:?}"
    );
    let output: Value = serde_json::from_str(&verify(&["--json"]).await.stdout).unwrap();
    let notes = output["notes"].as_array().unwrap();
    let is_about_the_end =
        |note: &&Value| note.as_str().unwrap().contains("the end was not verified");
    assert_eq!(notes.iter().filter(is_about_the_end).count(), 1, "{output}");
    let theirs = python(&[path(&file)]).await;
    assert_eq!(theirs.code, Some(0), "{theirs:?}");
    assert!(
        theirs.stderr.starts_with("note: cut off after"),
        "{theirs:?}"
    );
    let theirs = python(&[path(&file), head.trim_end()]).await;
    assert_eq!(theirs.code, Some(1), "{theirs:?}");
    fs::write(&file, "").unwrap();
    assert_eq!(verify(&[]).await.code, Some(2));
    fs::write(head_of(&file), "a head?").unwrap();
    let unreadable = verify(&[]).await;
    assert_eq!(unreadable.code, Some(2), "{unreadable:?}");
    assert!(
        unreadable.stderr.contains("log.ndjson.head"),
        "{unreadable:?}"
    );
}

#[tokio::test]
async fn head_file_is_written_last_and_never_overwrites_another() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    let last = sample.log.last().unwrap();
    let head = format!("{}:{}\n", last.position, last.hash);
    // A resumed export has no head file until it is complete.
    let file = auditor.file("log.ndjson");
    let output = ["--output", path(&file)];
    auditor
        .exported(&[&output[..], &["--until", "3"]].concat())
        .await;
    let third = format!("3:{}\n", sample.log[2].hash);
    assert_eq!(fs::read_to_string(head_of(&file)).unwrap(), third);
    auditor
        .exported(&[&output[..], &["--resume"]].concat())
        .await;
    assert_eq!(fs::read_to_string(head_of(&file)).unwrap(), head);
    auditor
        .exported(&[&output[..], &["--resume"]].concat())
        .await;
    assert_eq!(fs::read_to_string(head_of(&file)).unwrap(), head);
    let beyond = (sample.log.len() + 1).to_string();
    let source = ["--file", path(&file), "--until", &beyond];
    let other = auditor.file("other.ndjson");
    let unfinished = auditor
        .export(&[&source[..], &["--output", path(&other)]].concat())
        .await;
    assert_eq!(unfinished.code, Some(2), "{unfinished:?}");
    assert!(!head_of(&other).exists());

    // The head file of a deleted export is replaced by that of the next; a file named explicitly is
    // not.
    fs::remove_file(&file).unwrap();
    auditor
        .exported(&[&output[..], &["--until", "3"]].concat())
        .await;
    assert_eq!(fs::read_to_string(head_of(&file)).unwrap(), third);
    let named = ["--output", path(&other), "--head", path(&file)];
    fs::remove_file(&other).unwrap();
    let refused = auditor.export(&named).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(!other.exists());

    // For standard output, if requested; and for an empty export.
    let kept = auditor.file("kept");
    let printed = auditor.exported(&["--head", path(&kept)]).await;
    assert_eq!(printed, sample.export);
    assert_eq!(fs::read_to_string(&kept).unwrap(), head);
    let none = auditor.file("none.ndjson");
    auditor
        .exported(&["--until", "0", "--output", path(&none)])
        .await;
    let start = format!("0:{}\n", "0".repeat(64));
    assert_eq!(fs::read_to_string(head_of(&none)).unwrap(), start);
    let empty = ["audit", "verify", "--file", path(&none)];
    let empty = auditor.launch.run(&empty).await;
    assert_eq!((empty.code, empty.stderr.as_str()), (Some(0), ""));
    assert!(empty.stdout.starts_with("verified 0 events"), "{empty:?}");
    assert_eq!(python(&[path(&none)]).await.stdout, empty.stdout);
}

#[tokio::test]
async fn export_is_limited_by_position_time_and_drop() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    let lines: Vec<&str> = sample.export.split_inclusive('\n').collect();
    assert_eq!(
        auditor.exported(&["--after", "3"]).await,
        lines[3..].concat()
    );
    assert_eq!(
        auditor.exported(&["--until", "3"]).await,
        lines[..3].concat()
    );
    assert_eq!(
        auditor.exported(&["--after", "2", "--until", "4"]).await,
        lines[2..4].concat()
    );
    assert_eq!(auditor.exported(&["--until", "0"]).await, "");
    let beyond = format!("{}", lines.len() + 1);
    assert_eq!(auditor.export(&["--until", &beyond]).await.code, Some(2));

    let head = format!("{}", lines.len());
    assert_eq!(auditor.exported(&["--after", &head]).await, "");
    assert_eq!(auditor.export(&["--after", &beyond]).await.code, Some(2));

    let at = &sample.log[4].recorded_at;
    let until_then = sample
        .log
        .iter()
        .filter(|event| event.recorded_at <= *at)
        .count();
    assert_eq!(
        auditor.exported(&["--until", at]).await,
        lines[..until_then].concat()
    );
    assert_eq!(
        auditor
            .exported(&["--until", "2001-01-01T00:00:00.000Z"])
            .await,
        ""
    );
    assert_eq!(
        auditor
            .exported(&["--until", "2101-01-01T00:00:00.000Z"])
            .await,
        sample.export
    );

    let drop = &sample.log[1].aggregate_id;
    let of_drop: Vec<&str> = lines
        .iter()
        .zip(&sample.log)
        .filter(|(_, event)| event.aggregate_id == *drop)
        .map(|(line, _)| *line)
        .collect();
    assert!(of_drop.len() > 1 && of_drop.len() < lines.len());
    assert_eq!(auditor.exported(&["--drop", drop]).await, of_drop.concat());
    let after = sample.log[1].position.to_string();
    let later: Vec<&str> = of_drop
        .iter()
        .copied()
        .filter(|line| !lines[..2].contains(line))
        .collect();
    assert_eq!(
        auditor.exported(&["--drop", drop, "--after", &after]).await,
        later.concat()
    );

    // The same, read from a file without the database.
    let file = auditor.file("log.ndjson");
    fs::write(&file, &sample.export).unwrap();
    let from_file = async |more: &[&str]| {
        auditor
            .exported(&[&["--file", path(&file)], more].concat())
            .await
    };
    assert_eq!(
        from_file(&["--drop", drop, "--after", &after]).await,
        later.concat()
    );
    assert_eq!(
        from_file(&["--until", at]).await,
        lines[..until_then].concat()
    );
}

#[tokio::test]
async fn export_beyond_the_log_is_an_error() {
    let sample = SampleLog::create().await;
    let auditor = Auditor::of(&sample).await;
    let log = auditor.file("log.ndjson");
    fs::write(&log, &sample.export).unwrap();
    let (head, drop) = (sample.log.len(), Uuid::new_v4().to_string());
    let beyond = (head + 1).to_string();
    let reason = format!("position {beyond} is not in the log yet: the head is at position {head}");
    let no_drop = format!("drop {drop} does not exist at that point of the log");
    // The second drop does not exist yet when the first one is scheduled.
    let later = &sample.log[1].aggregate_id;
    let not_yet = format!("drop {later} does not exist at that point of the log");
    for source in [vec![], vec!["--file", path(&log)]] {
        for format in ["ndjson", "cloudevents", "csv", "parquet"] {
            for (arguments, code, reason) in [
                (vec!["--after", &beyond], 2, &reason),
                (vec!["--after", &beyond, "--until", "3"], 2, &reason),
                (vec!["--drop", &drop], 1, &no_drop),
                (vec!["--drop", later, "--until", "1"], 1, &not_yet),
            ] {
                let file = auditor.file("never made");
                let output = ["--format", format, "--output", path(&file)];
                let refused = auditor
                    .export(&[source.as_slice(), &arguments, &output].concat())
                    .await;
                assert_eq!(refused.code, Some(code), "{refused:?}");
                assert_eq!(refused.stderr, format!("holdfast: {reason}\n"));
                assert!(!file.exists(), "{source:?} {format} {arguments:?}");
            }
        }
        // Events are written before a file turns out to end too early; a database is checked first.
        let part = auditor
            .export(&[&source, ["--until", beyond.as_str()].as_slice()].concat())
            .await;
        assert_eq!(part.code, Some(2), "{part:?}");
        assert!(part.stderr.contains(&reason), "{part:?}");
    }
}

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
    let drop = &sample.log[1].aggregate_id;
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
    let drop = &sample.log[1].aggregate_id;
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
