//! `holdfast audit verify` from an export alone, against a head that was kept elsewhere, and on the
//! tables.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::Path;

use domain::values::{Position, Sequence, Timestamp};
use harness::{Finished, Launch, SampleLog, eventually, text};
use infrastructure::log::lines::{LineWriter, MOST_EVENT_BYTES, parse};
use infrastructure::log::{Batch, Hash, Head, StoredEvent};
use serde_json::{Value, json};
use uuid::Uuid;

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

#[tokio::test]
async fn table_that_differs_from_the_log_is_found() {
    let sample = SampleLog::create().await;
    let cancelled = sample.log.last().unwrap().position;
    let bought = sample.position_of("PurchaseConfirmed");
    let alterations = [
        ("UPDATE live_stock SET available = available - 1, sold = sold + 1 WHERE sold > 0".to_owned(), "live_stock", Some(cancelled)),
        ("DELETE FROM live_stock".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET terms = (terms::text || ' ')::json, terms_version = 7".to_owned(), "live_stock", None),
        ("UPDATE top_purchasers SET quantity = quantity + 1".to_owned(), "top_purchasers", Some(bought)),
        (format!("UPDATE top_purchasers SET position = {bought} + 1"), "top_purchasers", Some(bought)),
        ("INSERT INTO top_purchasers SELECT drop_id, gen_random_uuid(), 1, last_purchased_at, position FROM top_purchasers".to_owned(), "top_purchasers", Some(bought)),
        ("ALTER TABLE top_purchasers DROP CONSTRAINT top_purchasers_pkey; INSERT INTO top_purchasers SELECT * FROM top_purchasers".to_owned(), "top_purchasers", Some(bought)),
        ("DELETE FROM sales_timeline".to_owned(), "sales_timeline", None),
        ("UPDATE sales_timeline SET expired = expired + 1".to_owned(), "sales_timeline", None),
        ("UPDATE projection_checkpoints SET position = position - 1 WHERE name = 'live_stock'".to_owned(), "live_stock", None),
        ("UPDATE projection_checkpoints SET position = position + 1 WHERE name = 'live_stock'".to_owned(), "live_stock has its checkpoint", Some(cancelled)),
        ("ALTER TABLE live_stock DROP CONSTRAINT live_stock_sold_check, DROP CONSTRAINT units_are_conserved; UPDATE live_stock SET sold = -1".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET terms = (left(terms::text, -1) || ',\"free\": true}')::json".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET terms = ('{\"name\":\"Free!\",' || substr(terms::text, 2))::json".to_owned(), "live_stock", None),
        ("UPDATE live_stock SET scheduled_at = 'infinity'".to_owned(), "live_stock", None),
        ("UPDATE top_purchasers SET last_purchased_at = last_purchased_at + interval '1 microsecond'".to_owned(), "top_purchasers", Some(bought)),
        ("ALTER TABLE top_purchasers DROP CONSTRAINT top_purchasers_quantity_check; UPDATE top_purchasers SET quantity = -2".to_owned(), "top_purchasers", Some(bought)),
        ("UPDATE sales_timeline SET minute = '-infinity' WHERE sold > 0".to_owned(), "sales_timeline", None),
    ];
    for (sql, view, position) in &alterations {
        let verdict = sample.audit_after(sql).await;
        assert_eq!(verdict.code, Some(1), "{sql}: {verdict:?}");
        assert!(
            verdict.stderr.contains(&format!("view {view}")),
            "{sql}: {verdict:?}"
        );
        assert!(verdict.stderr.contains(" (drop "), "{sql}: {verdict:?}");
        if let Some(position) = position {
            assert!(
                verdict.stderr.contains(&format!("position {position}: ")),
                "{sql}: {verdict:?}"
            );
        }
    }
    let copy = sample
        .altered("UPDATE top_purchasers SET quantity = 9")
        .await;
    let verdict = Launch::on(copy).run(&["audit", "verify", "--json"]).await;
    assert_eq!(verdict.code, Some(1));
    let output: Value = serde_json::from_str(&verdict.stdout).unwrap();
    assert_eq!(
        (&output["verified"], &output["violation"]["position"]),
        (&json!(false), &json!(bought))
    );
    let quantity = |row: &Value| {
        serde_json::from_str::<Value>(row.as_str().unwrap()).unwrap()["quantity"].clone()
    };
    assert_eq!(quantity(&output["violation"]["expected"]), 2);
    assert_eq!(quantity(&output["violation"]["found"]), 9);
}

#[tokio::test]
async fn lowest_position_of_all_differing_tables_is_reported() {
    let sample = SampleLog::create().await;
    let bought = sample.position_of("PurchaseConfirmed");
    let both = "UPDATE live_stock SET available = available - 1, sold = sold + 1 WHERE sold > 0; UPDATE top_purchasers SET quantity = 9";
    assert_disproved(
        &sample.audit_after(both).await,
        bought,
        "view top_purchasers",
    );
}

#[tokio::test]
async fn table_of_another_fold_version_is_not_verified() {
    let sample = SampleLog::create().await;
    let newer = "UPDATE projection_checkpoints SET fold_version = 2 WHERE name = 'sales_timeline'";
    let launch = Launch::on(sample.altered(newer).await);
    let reason = "its rows are of version 2 of its fold, and this program folds version 1; run `holdfast projections rebuild sales_timeline`";
    let head = sample.log.last().unwrap().position;
    assert_disproved(&launch.run(&["audit", "verify"]).await, head, reason);
    let compared = launch.run(&["audit", "replay", "--compare"]).await;
    assert_eq!(compared.code, Some(1), "{compared:?}");
    assert!(compared.stdout.contains(reason), "{compared:?}");
    let rebuilt = launch
        .run(&["projections", "rebuild", "sales_timeline"])
        .await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    assert_eq!(launch.run(&["audit", "verify"]).await.code, Some(0));
}

/// A table that a rebuild replaced after the audit took its snapshot would look empty to the audit.
#[tokio::test]
async fn audit_waits_for_a_table_that_is_being_replaced() {
    let sample = SampleLog::create().await;
    let copy = sample.altered("SELECT 1").await;
    let pool = sqlx::PgPool::connect(&copy.url).await.unwrap();
    let mut swap = pool.begin().await.unwrap();
    let swapped = "CREATE TABLE next (LIKE sales_timeline INCLUDING ALL); INSERT INTO next SELECT * FROM sales_timeline;
                   DROP TABLE sales_timeline; ALTER TABLE next RENAME TO sales_timeline";
    sqlx::raw_sql(swapped).execute(&mut *swap).await.unwrap();
    let launch = Launch::on(copy);
    let audit = launch.run(&["audit", "verify"]);
    let swap = async {
        eventually("the audit waits for the table", || async {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity
                                 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%sales_timeline%')",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            waits.then_some(())
        })
        .await;
        swap.commit().await.unwrap();
    };
    let (verdict, ()) = tokio::join!(audit, swap);
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
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

#[tokio::test]
async fn damage_to_the_database_is_found() {
    let sample = SampleLog::create().await;
    let last = sample.log.last().unwrap().position;
    let damages = [
        ("UPDATE log_head SET position = 1000000000000".to_owned(), last + 1, "this event is missing"),
        (format!("UPDATE log_head SET (position, hash, recorded_at) = (SELECT position, hash, recorded_at FROM events WHERE position = {last} - 1)"), last, "outside the log"),
        ("UPDATE log_head SET position = -1".to_owned(), 0, "log_head is damaged: position is out of range"),
        ("UPDATE log_head SET recorded_at = 'infinity'".to_owned(), last, "log_head is damaged: recorded_at is not a time"),
        ("UPDATE log_head SET hash = '\\x00'".to_owned(), last, "log_head is damaged: hash: expected 32 bytes, found 1"),
        ("DELETE FROM log_head".to_owned(), 0, "log_head has no row"),
        ("DROP TABLE top_purchasers".to_owned(), 0, "table top_purchasers does not have the expected schema"),
        ("ALTER TABLE live_stock DROP COLUMN expired".to_owned(), 0, "table live_stock does not have the expected schema"),
        ("DROP TABLE erasures".to_owned(), 0, "relation \"erasures\" does not exist"),
        (
            "ALTER TABLE events ALTER position DROP NOT NULL;
             INSERT INTO events SELECT aggregate_type, aggregate_id, sequence + 1000, event_type, event_version, payload, metadata, NULL, recorded_at, hash
               FROM events WHERE position = 1".to_owned(),
            0,
            "outside the log",
        ),
        ("INSERT INTO erasures SELECT 3, gen_random_uuid(), gen_random_uuid()".to_owned(), 3, "the event is not an erasure"),
    ];
    for (sql, position, reason) in &damages {
        let verdict = sample.audit_after(sql).await;
        println!("{sql}");
        assert_disproved(&verdict, *position, reason);
    }
}

#[tokio::test]
async fn noteworthy_findings_that_are_not_violations_are_noted() {
    let sample = SampleLog::create().await;
    let copy = sample.altered("SELECT 1").await;
    let quiet = Launch::on(copy).run(&["audit", "verify"]).await;
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));

    let guard = "ALTER TABLE events DISABLE TRIGGER refuse_rewriting";
    let copy = sample.altered("SELECT 1").await;
    let pool = sqlx::PgPool::connect(&copy.url).await.unwrap();
    sqlx::raw_sql(guard).execute(&pool).await.unwrap();
    let erase_one = "UPDATE events SET private = NULL WHERE position = (SELECT min(position) FROM events WHERE private IS NOT NULL)";
    sqlx::raw_sql(erase_one).execute(&pool).await.unwrap();
    sqlx::raw_sql("DELETE FROM sales_timeline; DELETE FROM projection_checkpoints WHERE name = 'sales_timeline'")
        .execute(&pool)
        .await
        .unwrap();
    let foreign = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                   VALUES ('Invoice', 'one', 1, 'InvoiceSent', '2.0', '{}', '{}')";
    sqlx::raw_sql(foreign).execute(&pool).await.unwrap();
    let launch = Launch::on(copy);
    let noted = launch.run(&["audit", "verify"]).await;
    assert_eq!(noted.code, Some(0), "{noted:?}");
    for note in [
        "note: the trigger refuse_rewriting of table events is missing or disabled",
        "note: view sales_timeline was compared as of position 0",
        "note: 1 events have lost their personal data although no recorded erasure removed it",
        "note: 1 events of streams of the kind \"Invoice\" are chained correctly; their content cannot be checked",
    ] {
        assert!(noted.stderr.contains(note), "{note}: {}", noted.stderr);
    }
    let output = launch.run(&["audit", "verify", "--json"]).await;
    let output: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(output["foreign_events"], json!({ "Invoice": 1 }));
    assert_eq!(
        (&output["vanished"], &output["late_purchases"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(output["notes"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn tables_are_compared_at_their_checkpoint() {
    let sample = SampleLog::create().await;
    let behind = "DELETE FROM sales_timeline; UPDATE projection_checkpoints SET position = 0 WHERE name = 'sales_timeline'";
    let verdict = Launch::on(sample.altered(behind).await)
        .run(&["audit", "verify", "--json"])
        .await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    let output: Value = serde_json::from_str(&verdict.stdout).unwrap();
    let views = output["views"].as_array().unwrap();
    let of = |name: &str| views.iter().find(|view| view["name"] == name).unwrap();
    assert_eq!(
        of("sales_timeline"),
        &json!({ "name": "sales_timeline", "checkpoint": 0, "rows": 0 })
    );
    assert_eq!(of("live_stock")["checkpoint"], output["head"]["position"]);
    assert_eq!(of("live_stock")["rows"], 2);
}

/// Runs docs/verify.py, the verifier that shares no code with the product, on a file.
async fn python(options: &[&str], file: &Path) -> Finished {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let mut python = std::process::Command::new("python3");
    python.args(options).arg(script).arg(file);
    harness::finish(python).await
}

/// Runs it on an export; it must not depend on Python's assertions being enabled.
async fn verify_in_python(export: &str) -> Finished {
    let launch = Launch::private();
    let file = launch.data_dir().join("export.ndjson");
    fs::write(&file, export).unwrap();
    let (usual, optimised) = (python(&[], &file).await, python(&["-O"], &file).await);
    assert_eq!(
        (usual.code, &usual.stdout, &usual.stderr),
        (optimised.code, &optimised.stdout, &optimised.stderr)
    );
    usual
}

/// One line, without a Python traceback.
#[track_caller]
fn assert_refused_in_python(verdict: &Finished, code: i32, reason: &str) {
    assert_eq!(verdict.code, Some(code), "{verdict:?}");
    assert_eq!(verdict.stdout, "");
    let lines: Vec<&str> = verdict.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{verdict:?}");
    assert!(
        lines[0].starts_with("verify.py: ") && lines[0].contains(reason),
        "{reason}: {verdict:?}"
    );
}

#[tokio::test]
async fn one_page_python_verifier_reaches_the_same_verdict() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let program = fs::read_to_string(program).unwrap();
    assert!(
        program.lines().count() <= 80,
        "one page, including the incidents"
    );

    let sample = SampleLog::create().await;
    let ours = verify_text(&sample.export, &[]).await;
    let theirs = verify_in_python(&sample.export).await;
    assert_eq!(
        (theirs.code, &theirs.stdout),
        (Some(0), &ours.stdout),
        "{theirs:?}"
    );

    let bought = usize::try_from(sample.position_of("PurchaseConfirmed")).unwrap();
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let kept = lines(&sample.export).into_iter();
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        change(&mut lines);
        lines.concat()
    };
    let altered = |from: &'static str, to: &'static str| {
        with(&|lines| {
            assert!(lines[bought - 1].contains(from), "{}", lines[bought - 1]);
            lines[bought - 1] = lines[bought - 1].replacen(from, to, 1);
        })
    };
    let at = |reason: &str| format!("position {bought}: {reason}");
    let hash = at("expected hash ");
    for (export, reason) in [
        (altered("\"quantity\":2", "\"quantity\":3"), &hash),
        (altered("\"quantity\":2", "\"quantity\": 2"), &hash),
        (altered("\"metadata\":{}", "\"metadata\":{ }"), &hash),
        (altered("\"1.0\"", "\"1.1\""), &hash),
        (
            altered("Z\",\"payload", "1Z\",\"payload"),
            &at("expected characters of recorded_at 24, found 25"),
        ),
        (altered("\"hash\":\"", "\"hash\":\"0"), &hash),
        (
            altered("\"hash\"", "\"hush\""),
            &at("no event of an export: "),
        ),
        (altered("}", ""), &at("no event of an export: ")),
        (
            with(&|lines| drop(lines.remove(bought - 1))),
            &at("expected position "),
        ),
        (
            with(&|lines| lines.swap(bought - 1, bought)),
            &at("expected position "),
        ),
    ] {
        assert_refused_in_python(&verify_in_python(&export).await, 1, reason);
    }

    let forge = |change: &dyn Fn(&mut StoredEvent)| {
        let mut forged = stored(&sample.export);
        change(&mut forged[bought - 1]);
        reseal(forged)
    };
    let hold = text(&sample.log[bought - 1].fields()["hold_id"]);
    let purchased_at = text(&sample.log[bought - 1].fields()["purchased_at"]);
    let replace =
        |from: &str, to: &str| forge(&|event| event.payload = event.payload.replace(from, to));
    for (export, reason) in [
        (
            replace(&hold, &Uuid::new_v4().to_string()),
            "resolved twice, or never placed",
        ),
        (
            replace(&purchased_at, "2101-01-01T00:00:00.000Z"),
            "sold after it was over",
        ),
        (
            replace("PurchaseConfirmed", "HoldExpired"),
            "expected type PurchaseConfirmed, found HoldExpired",
        ),
        (
            forge(&|event| event.sequence = event.sequence.next()),
            "expected sequence ",
        ),
    ] {
        assert_refused_in_python(&verify_in_python(&export).await, 1, &at(reason));
    }
}

#[tokio::test]
async fn both_verifiers_find_forged_changes_and_refunds() {
    let sample = SampleLog::create().await;
    let field = |kind: &str, name: &str| {
        let at = usize::try_from(sample.position_of(kind)).unwrap();
        text(&sample.log[at - 1].fields()[name])
    };
    let until = field("HoldExtended", "expires_at");
    let before = field("HoldExtended", "previous_expires_at");
    let extended_at = field("HoldExtended", "extended_at");
    let (purchase, late) = (
        field("PurchaseRefunded", "purchase_id"),
        "2101-01-01T00:00:00.000Z",
    );
    let other = Uuid::new_v4().to_string();
    let one = (
        "\"quantity\":1,\"amount\":{\"amount\":19999",
        "\"quantity\":3,\"amount\":{\"amount\":59997",
    );
    for (kind, [from, to], theirs, ours) in [
        (
            "HoldChanged",
            ["\"previous_quantity\":2", "\"previous_quantity\":1"],
            "expected quantity of the hold 2, found 1",
            "previous_quantity: expected 2, found 1",
        ),
        (
            "HoldExtended",
            [&until, &before],
            "expected end ",
            "not later than its deadline",
        ),
        (
            "HoldExtended",
            [&extended_at, late],
            "changed after it was over",
            "was extended at",
        ),
        (
            "PurchaseRefunded",
            ["\"amount\":19999", "\"amount\":19998"],
            "expected amount 19999, found 19998",
            "expected 19999 USD, found 19998 USD",
        ),
        (
            "PurchaseRefunded",
            [one.0, one.1],
            "expected units left to refund 0, found -1",
            "oversold",
        ),
        (
            "PurchaseRefunded",
            [&purchase, &other],
            "expected drop of the purchase",
            "it was not made before",
        ),
    ] {
        let position = sample.position_of(kind);
        let mut forged = stored(&sample.export);
        let event = &mut forged[usize::try_from(position).unwrap() - 1];
        assert!(event.payload.contains(from), "{from}: {}", event.payload);
        event.payload = event.payload.replace(from, to);
        let export = reseal(forged);
        let reason = format!("position {position}: {theirs}");
        assert_refused_in_python(&verify_in_python(&export).await, 1, &reason);
        assert_disproved(&verify_text(&export, &[]).await, position, ours);
    }
}

#[tokio::test]
async fn python_verifier_reads_the_same_input_and_reports_unreadable_input() {
    let sample = SampleLog::create().await;
    let payload = "{\n \"a\": \"}]\\\\\\\"[{\",\n \"metadata\":{}, \"payload\":\n[\n]\n}";
    let stock = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) VALUES";
    let altered = format!(
        "ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE log_head ENABLE TRIGGER USER;
         {stock} ('Other', 'x', 1, 'Happened', '1.0', '{payload}', E'{{\n\"metadata\":{{}},\"hash\":1}}');
         {stock} ('Other', 'x', 2, 'Happened', '1.0', '1', '{{}}')"
    );
    let launch = Launch::on(sample.altered(&altered).await);
    let lines = launch.run(&["audit", "export"]).await.stdout;
    assert_eq!(lines.lines().count(), sample.log.len() + 2, "{lines}");
    let export = in_the_format_until_2026(&lines);
    assert!(export.contains("\n \"a\": "), "{export}");
    let ours = launch.run(&["audit", "verify"]).await;
    assert_eq!(ours.code, Some(0), "{ours:?}");
    for export in [
        lines.as_str(),
        export.as_str(),
        export.trim_end(),
        &export.replace("\n{\"pos", "\n\n{\"pos"),
    ] {
        let theirs = verify_in_python(export).await;
        assert_eq!(theirs.stdout, ours.stdout, "{theirs:?}");
        assert_eq!(verify_text(export, &[]).await.stdout, ours.stdout);
    }
    let seen = sample.log.len() + 1;
    let broken = export.replace("\n[\n]\n", "\n[\n ]\n");
    let reason = format!("position {seen}: expected hash ");
    assert_refused_in_python(&verify_in_python(&broken).await, 1, &reason);
    let broken = lines.replace("\\n[\\n]\\n", "\\n[\\n ]\\n");
    assert_ne!(broken, lines);
    let reason = format!("position {seen}: expected text on one line ");
    assert_refused_in_python(&verify_in_python(&broken).await, 1, &reason);

    assert_refused_in_python(&verify_in_python("").await, 2, "there is no event");
    for garbage in ["not a log\n", "[]\n", "{", "1", "{\"position\":1}\n", "\0"] {
        let refused = verify_in_python(garbage).await;
        assert_refused_in_python(&refused, 1, "position 1: no event of an export: ");
    }
    for file in ["/bin/sh", "/dev/zero"] {
        let refused = python(&[], Path::new(file)).await;
        assert_refused_in_python(&refused, 1, "position 1: no event of an export: ");
    }
    for unreadable in ["/nowhere", "/"] {
        assert_refused_in_python(&python(&[], Path::new(unreadable)).await, 2, unreadable);
    }
}
