//! A part of the log, by position, time or drop.

use std::fs;

use harness::SampleLog;
use uuid::Uuid;

use super::{Auditor, path};

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

    let drop = &sample.second_drop().aggregate_id;
    let of_drop: Vec<&str> = lines
        .iter()
        .zip(&sample.log)
        .filter(|(_, event)| event.aggregate_id == *drop)
        .map(|(line, _)| *line)
        .collect();
    assert!(of_drop.len() > 1 && of_drop.len() < lines.len());
    assert_eq!(auditor.exported(&["--drop", drop]).await, of_drop.concat());
    let after = sample.second_drop().position;
    let before = usize::try_from(after).unwrap();
    let after = after.to_string();
    let later: Vec<&str> = of_drop
        .iter()
        .copied()
        .filter(|line| !lines[..before].contains(line))
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
    let later = &sample.second_drop().aggregate_id;
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
