//! The head file of a complete export.

use std::fs;
use std::path::{Path, PathBuf};

use harness::SampleLog;
use serde_json::Value;

use super::{Auditor, path, python};

/// The head file that an export writes next to its output.
fn head_of(file: &Path) -> PathBuf {
    format!("{}.head", path(file)).into()
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
