//! An export that was altered, cut or forged is refused at the position of the fault.

use domain::values::{Position, Sequence, Timestamp};
use harness::{Launch, SampleLog, text};
use infrastructure::log::lines::{MOST_EVENT_BYTES, parse};
use infrastructure::log::{Hash, StoredEvent};
use serde_json::Value;
use uuid::Uuid;

use super::{
    assert_disproved, in_the_format_until_2026, lines, reseal, stored, verify_text, written,
};

#[tokio::test]
async fn alteration_of_an_export_is_found_at_its_position() {
    let sample = SampleLog::create().await;
    let original = lines(&sample.export);
    let placed = usize::try_from(sample.position_of("HoldPlaced")).unwrap();
    let bought = usize::try_from(sample.position_of("PurchaseConfirmed")).unwrap();
    let last = original.len();
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = original.iter().map(|line| (*line).to_owned()).collect();
        change(&mut lines);
        lines.concat()
    };
    let replace = |position: usize, from: &'static str, to: &'static str| {
        with(&|lines| {
            let line = &mut lines[position - 1];
            assert!(line.contains(from), "{line}");
            *line = line.replacen(from, to, 1);
        })
    };
    let cases = [
        (
            "payload",
            placed,
            replace(placed, "\"quantity\":1", "\"quantity\":2"),
            "hash: expected",
        ),
        (
            "white space",
            placed,
            replace(placed, "\"quantity\":1", "\"quantity\": 1"),
            "hash: expected",
        ),
        (
            "metadata",
            bought,
            replace(bought, "\"metadata\":{}", "\"metadata\":{\"by\":\"me\"}"),
            "hash: expected",
        ),
        (
            "type",
            bought,
            replace(
                bought,
                "\"event_type\":\"PurchaseConfirmed\"",
                "\"event_type\":\"HoldReleased\"",
            ),
            "hash: expected",
        ),
        (
            "version",
            bought,
            replace(
                bought,
                "\"event_version\":\"1.0\"",
                "\"event_version\":\"1.1\"",
            ),
            "hash: expected",
        ),
        (
            "stream",
            bought,
            replace(
                bought,
                "\"aggregate_type\":\"Drop\"",
                "\"aggregate_type\":\"Prop\"",
            ),
            "hash: expected",
        ),
        (
            "time",
            placed,
            with(&|lines| lines[placed - 1] = later(&lines[placed - 1])),
            "hash: expected",
        ),
        (
            "finer time",
            placed,
            replace(placed, "Z\",\"payload\"", "0Z\",\"payload\""),
            "three decimals",
        ),
        (
            "hash",
            bought,
            with(&|lines| lines[bought - 1] = other_hash(&lines[bought - 1])),
            "hash: expected",
        ),
        (
            "no hash",
            bought,
            with(&|lines| {
                lines[bought - 1] = lines[bought - 1].replace("\"hash\":\"", "\"hash\":\"0")
            }),
            "64 hexadecimal digits",
        ),
        (
            "missing",
            bought,
            with(&|lines| drop(lines.remove(bought - 1))),
            "position: expected",
        ),
        (
            "the first missing",
            1,
            with(&|lines| drop(lines.remove(0))),
            "position: expected 1, found 2",
        ),
        (
            "duplicated",
            bought + 1,
            with(&|lines| lines.insert(bought, lines[bought - 1].clone())),
            "position: expected",
        ),
        (
            "swapped",
            placed,
            with(&|lines| lines.swap(placed - 1, placed)),
            "position: expected",
        ),
        (
            "inserted",
            placed,
            with(&|lines| lines.insert(placed - 1, lines[bought - 1].clone())),
            "position: expected",
        ),
        (
            "cut off in a line",
            last,
            sample.export.trim_end()[..sample.export.len() - 20].to_owned(),
            "cut off",
        ),
        (
            "not an event",
            1,
            format!("[]\n{}", sample.export),
            "is not an event",
        ),
    ];
    for (name, position, export, reason) in &cases {
        let verdict = verify_text(export, &[]).await;
        assert_disproved(&verdict, *position as u64, reason);
        assert!(!name.is_empty());
    }
}

#[tokio::test]
async fn endless_or_very_fragmented_file_is_read_within_bounds() {
    // Six hundred thousand lines of one event: each is read once, not once per preceding line.
    let many = format!("[1{}]", "\n,1".repeat(600_000));
    let event = StoredEvent {
        position: Position(1),
        recorded_at: Timestamp::default(),
        aggregate_type: "Other".into(),
        aggregate_id: "x".to_owned(),
        sequence: Sequence(1),
        event_type: "Happened".into(),
        event_version: "1.0".into(),
        payload: many,
        metadata: "{}".into(),
        hash: Hash::default(),
        private: None,
    };
    let line = reseal(vec![event]);
    assert_eq!(line.lines().count(), 1);
    let export = in_the_format_until_2026(&line);
    assert!(export.lines().count() > 600_000);
    for export in [&line, &export] {
        let verdict = verify_text(export, &[]).await;
        assert_eq!(verdict.code, Some(0), "{verdict:?}");
        assert!(
            verdict.stdout.starts_with("verified 1 events"),
            "{verdict:?}"
        );
    }
    let unfinished = &export[..export.len() - 200];
    assert_disproved(&verify_text(unfinished, &[]).await, 1, "cut off");

    // An event is bounded in size, on one line or on many.
    let start = "{\"position\":1,\"aggregate_type\":\"";
    for endless in [
        format!("{start}{}", "a".repeat(MOST_EVENT_BYTES)),
        format!("{start}\",{}", "\n".repeat(MOST_EVENT_BYTES)),
    ] {
        let verdict = verify_text(&endless, &[]).await;
        assert_disproved(&verdict, 1, "it is longer than 16 MiB");
    }
    let launch = Launch::private();
    let verdict = launch
        .run(&["audit", "verify", "--file", "/dev/zero"])
        .await;
    assert_disproved(&verdict, 1, "it is longer than 16 MiB");
}

fn later(line: &str) -> String {
    let mut event = parse(line).unwrap();
    event.recorded_at = event.recorded_at.plus_millis(1);
    written(&event)
}

fn other_hash(line: &str) -> String {
    let mut event = parse(line).unwrap();
    event.hash = Hash([7; 32]);
    written(&event)
}

#[tokio::test]
async fn forged_log_with_a_valid_chain_is_found_by_impossible_events() {
    let sample = SampleLog::create().await;
    let events = stored(&sample.export);
    let (placed, bought) = (
        sample.position_of("HoldPlaced"),
        sample.position_of("PurchaseConfirmed"),
    );
    let expired = sample.position_of("HoldExpired");
    let at = |position: u64| usize::try_from(position).unwrap() - 1;
    let with = |change: &dyn Fn(&mut Vec<StoredEvent>)| {
        let mut forged = events.clone();
        change(&mut forged);
        reseal(forged)
    };
    let edit = |position: u64, from: String, to: String| {
        with(&|events| {
            let payload = &mut events[at(position)].payload;
            assert!(payload.contains(&from), "{payload}");
            *payload = payload.replace(&from, &to);
        })
    };
    let field = |position: u64, name: &str| -> Value {
        let event = &sample.log[at(position)];
        event.fields()[name].clone()
    };
    let expires_at = |hold: &Value| {
        let placed = sample
            .log
            .iter()
            .find(|event| event.event_type == "HoldPlaced" && event.fields()["hold_id"] == *hold);
        text(&placed.unwrap().fields()["expires_at"])
    };
    let over = expires_at(&field(bought, "hold_id"));
    let a_moment_before: Timestamp = over.parse::<Timestamp>().unwrap().plus_millis(-1);
    let purchased_at = text(&field(bought, "purchased_at"));
    let bought_hold = text(&field(bought, "hold_id"));

    // Both sides of the boundary: a hold can be purchased until a millisecond before it expires.
    let in_time = edit(bought, purchased_at.clone(), a_moment_before.to_string());
    assert_eq!(verify_text(&in_time, &[]).await.code, Some(0));

    let again = |position: u64, change: &dyn Fn(&mut StoredEvent)| {
        let mut event = events[at(position)].clone();
        change(&mut event);
        let mut forged = events.clone();
        // Before the cancellation, which is the last event of the drop.
        let cancelled = at(sample.position_of("DropCancelled"));
        event.sequence = domain::values::Sequence(events[cancelled].sequence.0);
        let stream = event.aggregate_id.clone();
        for later in &mut forged[cancelled..] {
            if later.aggregate_id == stream {
                later.sequence = later.sequence.next();
            }
        }
        forged.insert(cancelled, event);
        (reseal(forged), cancelled as u64 + 1)
    };
    let (resolved_twice, second) = again(bought, &|_| {});
    let (placed_twice, placed_again) = again(held_by(&sample, &bought_hold), &|_| {});
    let (oversold, oversold_at) = again(held_by(&sample, &bought_hold), &|event| {
        event.payload = event
            .payload
            .replace(&bought_hold, &Uuid::new_v4().to_string());
        event.payload = event.payload.replace("\"quantity\":2", "\"quantity\":1000");
        event.payload = without(&event.payload, "key");
    });
    let cases = [
        (edit(bought, purchased_at, over), bought, "was purchased at"),
        (
            edit(bought, "\"quantity\":2".into(), "\"quantity\":1".into()),
            bought,
            "quantity of the hold: expected 2, found 1",
        ),
        (
            edit(bought, bought_hold.clone(), Uuid::new_v4().to_string()),
            bought,
            "it is not open",
        ),
        (
            edit(
                expired,
                text(&field(expired, "expired_at")),
                "2020-01-01T00:00:00.000Z".into(),
            ),
            expired,
            "expired_at: expected",
        ),
        (
            edit(
                sample.position_of("StockAdjusted"),
                "\"delta\":5".into(),
                "\"delta\":6".into(),
            ),
            sample.position_of("StockAdjusted"),
            "after the adjustment",
        ),
        (resolved_twice, second, "it is not open"),
        (placed_twice, placed_again, "was placed twice"),
        (oversold, oversold_at, "oversold: available"),
        (
            with(&|events| events[at(placed)].sequence = events[at(placed)].sequence.next()),
            placed,
            "sequence: expected",
        ),
        (
            with(&|events| events[at(placed)].event_version = "9.9".into()),
            placed,
            "version 9.9 of HoldPlaced is not known here",
        ),
        (
            with(&|events| events[at(placed)].payload = "{\"HoldPlaced\":{}}".into()),
            placed,
            "the payload cannot be read",
        ),
        (
            with(&|events| events[at(placed)].event_type = "HoldExpired".into()),
            placed,
            "filed as HoldExpired, but it is a HoldPlaced",
        ),
        (
            with(&|events| {
                events[at(placed)].aggregate_id = events[at(placed)].aggregate_id.to_uppercase()
            }),
            placed,
            "aggregate_id: expected",
        ),
    ];
    for (export, position, reason) in &cases {
        assert_disproved(&verify_text(export, &[]).await, *position, reason);
    }
}

fn held_by(sample: &SampleLog, hold: &str) -> u64 {
    let placed = sample
        .log
        .iter()
        .find(|event| event.event_type == "HoldPlaced" && event.payload.get().contains(hold));
    placed.unwrap().position
}

/// The payload without one field of its event.
fn without(payload: &str, field: &str) -> String {
    let mut payload: Value = serde_json::from_str(payload).unwrap();
    for (_, fields) in payload.as_object_mut().unwrap() {
        fields.as_object_mut().unwrap().remove(field);
    }
    payload.to_string()
}

#[tokio::test]
async fn kept_head_reveals_a_truncated_or_replaced_log() {
    let sample = SampleLog::create().await;
    let last = sample.log.last().unwrap();
    let known = |position: u64| {
        format!(
            "{position}:{}",
            sample.log[usize::try_from(position).unwrap() - 1].hash
        )
    };
    let cut: String = lines(&sample.export)[..sample.log.len() - 2].concat();
    let expect = |head: String| ["--expect-head".to_owned(), head];
    let verdict = |export: String, head: String| async move {
        let arguments = expect(head);
        verify_text(&export, &arguments.each_ref().map(String::as_str)).await
    };

    for position in [1, last.position - 2, last.position] {
        assert_eq!(
            verdict(sample.export.clone(), known(position)).await.code,
            Some(0)
        );
    }
    assert_eq!(
        verify_text(&cut, &[]).await.code,
        Some(0),
        "a shorter log is valid by itself"
    );
    assert_disproved(
        &verdict(cut.clone(), known(last.position)).await,
        last.position - 1,
        "the log ends at position",
    );
    assert_eq!(verdict(cut, known(last.position - 2)).await.code, Some(0));
    let wrong = format!("3:{}", last.hash);
    assert_disproved(
        &verdict(sample.export.clone(), wrong).await,
        3,
        "hash claimed by --expect-head: expected",
    );
    for unreadable in ["3", "3:abc", "x:00"] {
        assert_eq!(
            verdict(sample.export.clone(), unreadable.to_owned())
                .await
                .code,
            Some(2)
        );
    }

    let database = sample.altered("SELECT 1").await;
    let launch = Launch::on(database);
    let run = |head: String| {
        let launch = launch.clone();
        async move {
            launch
                .run(&["audit", "verify", "--expect-head", &head])
                .await
        }
    };
    assert_eq!(run(known(last.position)).await.code, Some(0));
    assert_disproved(
        &run(format!("{}:{}", last.position + 1, last.hash)).await,
        last.position + 1,
        "the log ends at",
    );
}

/// An export can contain arbitrary text.
#[tokio::test]
async fn report_on_a_hostile_log_is_one_line_of_text() {
    let sample = SampleLog::create().await;
    let mut events = stored(&sample.export);
    let mut foreign = events.last().unwrap().clone();
    foreign.aggregate_type = "Invoice".into();
    foreign.aggregate_id = "one\nverified 9 events, head 9\u{1b}[2J".to_owned();
    foreign.sequence = Sequence(2);
    events.push(foreign);
    let verdict = verify_text(&reseal(events), &[]).await;
    let position = sample.log.len() as u64 + 1;
    assert_disproved(&verdict, position, "sequence: expected 1, found 2");
    assert_eq!(verdict.stderr.matches(char::is_control).count(), 1);
    assert!(
        verdict.stderr.contains(r"(stream one\nverified 9 events"),
        "{verdict:?}"
    );
}
