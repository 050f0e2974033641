//! `holdfast audit verify` verifies an intact log and reports the position of an alteration.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Finished, Launch, SampleLog};
use serde_json::json;

#[tokio::test]
async fn log_with_every_kind_of_event_is_verified() {
    let sample = SampleLog::create().await;
    for kind in [
        "DropScheduled",
        "DropStarted",
        "DropRescheduled",
        "DropCancelled",
        "HoldPlaced",
        "HoldExpired",
        "HoldReleased",
        "PurchaseConfirmed",
        "StockAdjusted",
    ] {
        sample.position_of(kind);
    }
    let head = sample.log.last().unwrap();

    let verdict = sample.audit_after("SELECT 1").await;

    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    let expected = format!(
        "verified {} events, head {} {}\n",
        sample.log.len(),
        head.position,
        head.hash
    );
    assert_eq!(verdict.stdout, expected);
}

#[tokio::test]
async fn alteration_is_found_at_its_position() {
    let sample = SampleLog::create().await;
    let placed = sample.position_of("HoldPlaced");
    let bought = sample.position_of("PurchaseConfirmed");
    let introduced = sample
        .log
        .iter()
        .find(|event| event.payload.get().contains("commitment"))
        .unwrap()
        .position;
    let last = sample.log.last().unwrap().position;
    let alterations = [
        (format!("UPDATE events SET payload = replace(payload::text, '\"quantity\":1', '\"quantity\":2')::json WHERE position = {placed}"), placed),
        (format!("UPDATE events SET payload = (payload::text || ' ')::json WHERE position = {bought}"), bought),
        (format!("UPDATE events SET metadata = '{{\"by\":\"me\"}}' WHERE position = {bought}"), bought),
        (format!("UPDATE events SET recorded_at = recorded_at + interval '1 millisecond' WHERE position = {placed}"), placed),
        (format!("UPDATE events SET event_type = 'HoldReleased' WHERE position = {bought}"), bought),
        (format!("UPDATE events SET event_version = '1.1' WHERE position = {placed}"), placed),
        (format!("UPDATE events SET hash = sha256('x') WHERE position = {bought}"), bought),
        (format!("UPDATE events SET hash = '\\x00' WHERE position = {bought}"), bought),
        (format!("DELETE FROM events WHERE position = {bought}"), bought),
        ("DELETE FROM events WHERE position = 1".to_owned(), 1),
        (format!("DELETE FROM events WHERE position = {last}"), last),
        (
            format!(
                "UPDATE events SET position = 1000000000 WHERE position = {placed};
                 UPDATE events SET position = {placed} WHERE position = {bought};
                 UPDATE events SET position = {bought} WHERE position = 1000000000"
            ),
            placed,
        ),
        ("UPDATE log_head SET hash = sha256('x')".to_owned(), last),
        (format!("UPDATE log_head SET position = {last} + 3"), last + 1),
        (format!("UPDATE log_head SET position = {last} - 1"), last - 1),
        (
            format!(
                "UPDATE log_head SET position = e.position, hash = e.hash, recorded_at = e.recorded_at
                 FROM events e WHERE e.position = {last} - 1"
            ),
            last,
        ),
        (
            format!(
                "UPDATE events SET private = replace(private::text, 'dora', 'nora')::json WHERE position = {introduced};
                 UPDATE events SET private = replace(private::text, 'alice', 'malice')::json WHERE position = {introduced}"
            ),
            introduced,
        ),
        ("UPDATE events SET private = '{\"salt\":\"00000000000000000000000000000000\",\"buyer_id\":\"mallory\"}' WHERE position = 1".to_owned(), 1),
        (format!("UPDATE events SET private = '{{\"name\":\"mallory\"}}' WHERE position = {introduced}"), introduced),
    ];
    for (sql, position) in &alterations {
        let verdict = sample.audit_after(sql).await;
        assert_eq!(verdict.code, Some(1), "{sql}: {verdict:?}");
        assert!(
            verdict.stderr.contains(&format!("position {position}: ")),
            "{sql}: {verdict:?}"
        );
        assert_eq!(verdict.stdout, "", "{sql}");
    }
    // A malformed event is reported as malformed, not as its consequences.
    let sql = format!("UPDATE events SET hash = '\\x00' WHERE position = {bought}");
    let verdict = sample.audit_after(&sql).await;
    let reason = format!("position {bought}: hash: expected 32 bytes, found 1");
    assert!(verdict.stderr.contains(&reason), "{verdict:?}");
}

/// SQL that shifts the later events by one, in the log and in the stream of the event at
/// `position`, so that one can be inserted after it.
fn make_gap_after(position: u64) -> String {
    format!(
        "UPDATE events SET sequence = sequence + 1000000
          WHERE position > {position} AND aggregate_id = (SELECT aggregate_id FROM events WHERE position = {position});
         UPDATE events SET sequence = sequence - 999999 WHERE sequence > 1000000;
         UPDATE events SET position = position + 1000000 WHERE position > {position};
         UPDATE events SET position = position - 999999 WHERE position > 1000000;
         UPDATE log_head SET position = position + 1"
    )
}

#[tokio::test]
async fn inserted_row_is_found_even_if_later_rows_were_shifted() {
    let sample = SampleLog::create().await;
    let bought = sample.position_of("PurchaseConfirmed");
    let again = bought + 1;
    let copied = |to: u64, payload: &str| {
        format!(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at, hash)
             SELECT aggregate_type, aggregate_id, sequence + {to} - {bought}, event_type, event_version, {payload}, metadata, {to}, recorded_at, hash
               FROM events WHERE position = {bought}"
        )
    };
    let gap = make_gap_after(bought);
    let other_units = "replace(payload::text, '\"quantity\":2', '\"quantity\":1')::json";
    for (name, sql) in [
        ("duplicated", format!("{gap}; {}", copied(again, "payload"))),
        ("inserted", format!("{gap}; {}", copied(again, other_units))),
        (
            "inserted, of another program",
            format!(
                "{gap}; INSERT INTO events
                 SELECT 'Other', 'x', 1, 'Happened', '1.0', '{{}}', '{{}}', {again}, recorded_at, hash FROM events WHERE position = {bought}"
            ),
        ),
        (
            "inserted where another stands",
            format!(
                "ALTER TABLE events DROP CONSTRAINT events_position_key, DROP CONSTRAINT events_pkey; {}",
                copied(bought, "payload")
            ),
        ),
        (
            "inserted with a hash that follows",
            format!(
                "{gap}; {}; UPDATE events e SET hash = event_hash(b.hash, e.position, e.recorded_at, e.aggregate_type, e.aggregate_id,
                     e.sequence, e.event_type, e.event_version, e.payload::text, e.metadata::text)
                   FROM events b WHERE b.position = {bought} AND e.position = {again}",
                copied(again, "payload")
            ),
        ),
    ] {
        let verdict = sample.audit_after(&sql).await;
        assert_eq!(verdict.code, Some(1), "{name}: {verdict:?}");
        assert_eq!(verdict.stdout, "", "{name}");
        let start = format!("holdfast: position {again}: ");
        assert!(verdict.stderr.starts_with(&start), "{name}: {verdict:?}");
    }
}

/// SQL that removes the last `count` events and moves the head back accordingly.
fn cut_off(count: u64) -> String {
    format!(
        "DELETE FROM events WHERE position > (SELECT position FROM log_head) - {count};
         UPDATE log_head SET position = e.position, hash = e.hash, recorded_at = e.recorded_at
           FROM events e WHERE e.position = (SELECT max(position) FROM events)"
    )
}

/// SQL after which no table has read anything.
const VIEWS_FORGOTTEN: &str =
    "DELETE FROM live_stock; DELETE FROM top_purchasers; DELETE FROM sales_timeline;
                               UPDATE projection_checkpoints SET position = 0";

/// Verifies a log that lost its last two events: alone, with the head and with a checkpoint of the
/// whole log.
async fn audits_after_a_cut(sample: &SampleLog, more: &str) -> [Finished; 3] {
    let whole = Launch::on(sample.altered("SELECT 1").await);
    let kept = whole.data_dir().join("kept.txt");
    let kept = kept.to_str().unwrap();
    let made = whole.run(&["audit", "checkpoint", "--output", kept]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = whole.data_dir().join("checkpoint.pub");
    let last = sample.log.last().unwrap();
    let head = format!("{}:{}", last.position, last.hash);

    let cut = Launch::on(sample.altered(&format!("{}; {more}", cut_off(2))).await);
    let key = key.to_str().unwrap();
    [
        cut.run(&["audit", "verify"]).await,
        cut.run(&["audit", "verify", "--expect-head", &head]).await,
        cut.run(&[
            "audit",
            "verify",
            "--checkpoint",
            kept,
            "--checkpoint-key",
            key,
        ])
        .await,
    ]
}

#[track_caller]
fn assert_cut_off(sample: &SampleLog, verdict: &Finished, witness: &str) {
    let count = sample.log.len();
    let (ends, first) = (count - 2, count - 1);
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    assert_eq!(verdict.stdout, "");
    let expected =
        format!("holdfast: position {first}: the log ends at position {ends}, but {witness}");
    assert!(
        verdict.stderr.starts_with(&expected),
        "{expected}: {verdict:?}"
    );
}

#[tokio::test]
async fn removed_tail_is_found_with_a_head_or_checkpoint_kept_elsewhere() {
    let sample = SampleLog::create().await;
    let [alone, head, checkpoint] = audits_after_a_cut(&sample, VIEWS_FORGOTTEN).await;
    assert_eq!(
        alone.code,
        Some(0),
        "a shorter log is valid by itself: {alone:?}"
    );
    assert_cut_off(&sample, &head, "--expect-head claims position");
    assert_cut_off(&sample, &checkpoint, "checkpoint ");
}

/// Tables that have read further also reveal the truncation, but the end of the log is reported
/// first because it is the cause.
#[tokio::test]
async fn removed_tail_is_reported_before_tables_that_have_read_further() {
    let sample = SampleLog::create().await;
    let [alone, head, checkpoint] = audits_after_a_cut(&sample, "SELECT 1").await;
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert_cut_off(&sample, &head, "--expect-head claims position");
    assert_cut_off(&sample, &checkpoint, "checkpoint ");
}

#[tokio::test]
async fn log_with_erased_buyers_is_verified() {
    let sample = SampleLog::create().await;
    let verdict = sample.audit_after("UPDATE events SET private = NULL").await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    let head = sample.log.last().unwrap();
    let start = format!(
        "verified {} events, head {} {}",
        sample.log.len(),
        head.position,
        head.hash
    );
    assert!(verdict.stdout.starts_with(&start), "{verdict:?}");
    assert!(
        verdict
            .stdout
            .contains("personal data of 5 of 5 events erased"),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn database_rejects_changes_to_recorded_events() {
    let app = App::start().await;
    let drop = app.create_drop(2, json!({})).await;
    app.held(&drop, "alice").await;
    for sql in [
        "UPDATE events SET payload = '{}' WHERE position = 1",
        "UPDATE events SET hash = sha256('x') WHERE position = 1",
        "UPDATE events SET private = '{}' WHERE position = 3",
        "UPDATE events SET private = NULL, payload = '{}' WHERE position = 3",
        "DELETE FROM events",
        "TRUNCATE events",
        "UPDATE log_head SET position = 0",
        "DELETE FROM log_head",
        "TRUNCATE log_head",
    ] {
        assert!(sqlx::query(sql).execute(app.pool()).await.is_err(), "{sql}");
    }
    sqlx::query("UPDATE events SET private = NULL WHERE position = 3")
        .execute(app.pool())
        .await
        .unwrap();
    assert!(
        app.audit_verify()
            .await
            .contains("personal data of 1 of 1 events erased")
    );
}

#[tokio::test]
async fn empty_log_is_verified() {
    let app = App::start().await;
    let zeroes = "0".repeat(64);
    assert_eq!(
        app.audit_verify().await,
        format!("verified 0 events, head 0 {zeroes}\n")
    );
}

#[tokio::test]
async fn unreachable_log_is_neither_verified_nor_in_violation() {
    let launch = Launch::private().with("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing");
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(2), "{verdict:?}");
    assert_eq!(
        verdict
            .stderr
            .lines()
            .filter(|line| line.starts_with("holdfast: "))
            .count(),
        1,
        "{verdict:?}"
    );
}
