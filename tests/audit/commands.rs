//! `holdfast audit verify` proves an honest log, and names the place where a log was altered behind its back.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Finished, Launch, Lively};
use serde_json::json;

#[tokio::test]
async fn a_log_in_which_everything_has_happened_is_proved() {
    let lively = Lively::make().await;
    for kind in [
        "DropScheduled",
        "DropRescheduled",
        "DropCancelled",
        "HoldPlaced",
        "HoldExpired",
        "HoldReleased",
        "PurchaseConfirmed",
        "StockAdjusted",
    ] {
        lively.position_of(kind);
    }
    let head = lively.log.last().unwrap();

    let verdict = lively.audit_after("SELECT 1").await;

    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    let expected = format!(
        "verified {} events, head {} {}\n",
        lively.log.len(),
        head.position,
        head.hash
    );
    assert_eq!(verdict.stdout, expected);
}

#[tokio::test]
async fn an_alteration_is_found_at_its_position() {
    let lively = Lively::make().await;
    let placed = lively.position_of("HoldPlaced");
    let bought = lively.position_of("PurchaseConfirmed");
    let introduced = lively
        .log
        .iter()
        .find(|event| event.payload.get().contains("commitment"))
        .unwrap()
        .position;
    let last = lively.log.last().unwrap().position;
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
        let verdict = lively.audit_after(sql).await;
        assert_eq!(verdict.code, Some(1), "{sql}: {verdict:?}");
        assert!(
            verdict.stderr.contains(&format!("position {position}: ")),
            "{sql}: {verdict:?}"
        );
        assert_eq!(verdict.stdout, "", "{sql}");
    }
    // What is no event is named for what it is, and not for what is missing then.
    let sql = format!("UPDATE events SET hash = '\\x00' WHERE position = {bought}");
    let verdict = lively.audit_after(&sql).await;
    let reason = format!("position {bought}: hash: expected 32 bytes, found 1");
    assert!(verdict.stderr.contains(&reason), "{verdict:?}");
}

/// SQL that makes room for one more event after `position`, in the log and in the stream of the event that stands there.
fn room_after(position: u64) -> String {
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
async fn a_row_that_was_added_is_found_at_its_position_wherever_a_forger_moved_the_others() {
    let lively = Lively::make().await;
    let bought = lively.position_of("PurchaseConfirmed");
    let again = bought + 1;
    let copied = |to: u64, payload: &str| {
        format!(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at, hash)
             SELECT aggregate_type, aggregate_id, sequence + {to} - {bought}, event_type, event_version, {payload}, metadata, {to}, recorded_at, hash
               FROM events WHERE position = {bought}"
        )
    };
    let room = room_after(bought);
    let other_units = "replace(payload::text, '\"quantity\":2', '\"quantity\":1')::json";
    for (name, sql) in [
        ("duplicated", format!("{room}; {}", copied(again, "payload"))),
        ("inserted", format!("{room}; {}", copied(again, other_units))),
        (
            "inserted, of another program",
            format!(
                "{room}; INSERT INTO events
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
                "{room}; {}; UPDATE events e SET hash = event_hash(b.hash, e.position, e.recorded_at, e.aggregate_type, e.aggregate_id,
                     e.sequence, e.event_type, e.event_version, e.payload::text, e.metadata::text)
                   FROM events b WHERE b.position = {bought} AND e.position = {again}",
                copied(again, "payload")
            ),
        ),
    ] {
        let verdict = lively.audit_after(&sql).await;
        assert_eq!(verdict.code, Some(1), "{name}: {verdict:?}");
        assert_eq!(verdict.stdout, "", "{name}");
        let start = format!("holdfast: position {again}: ");
        assert!(verdict.stderr.starts_with(&start), "{name}: {verdict:?}");
    }
}

/// SQL that cuts off the last `count` events, and moves the head to where they began.
fn cut_off(count: u64) -> String {
    format!(
        "DELETE FROM events WHERE position > (SELECT position FROM log_head) - {count};
         UPDATE log_head SET position = e.position, hash = e.hash, recorded_at = e.recorded_at
           FROM events e WHERE e.position = (SELECT max(position) FROM events)"
    )
}

/// SQL after which no table has read anything yet.
const VIEWS_FORGOTTEN: &str =
    "DELETE FROM live_stock; DELETE FROM top_purchasers; DELETE FROM sales_timeline;
                               UPDATE projection_checkpoints SET position = 0";

/// What the audit says of a log that lost its last two events, held to the head and to the checkpoint of the whole one.
async fn audits_after_a_cut(lively: &Lively, more: &str) -> [Finished; 3] {
    let whole = Launch::on(lively.altered("SELECT 1").await);
    let kept = whole.data_dir().join("kept.txt");
    let kept = kept.to_str().unwrap();
    let made = whole.run(&["audit", "checkpoint", "--output", kept]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = whole.data_dir().join("checkpoint.pub");
    let last = lively.log.last().unwrap();
    let head = format!("{}:{}", last.position, last.hash);

    let cut = Launch::on(lively.altered(&format!("{}; {more}", cut_off(2))).await);
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
fn assert_cut_off(lively: &Lively, verdict: &Finished, who: &str) {
    let count = lively.log.len();
    let (ends, first) = (count - 2, count - 1);
    assert_eq!(verdict.code, Some(1), "{verdict:?}");
    assert_eq!(verdict.stdout, "");
    let said = format!("holdfast: position {first}: the log ends at position {ends}, but {who}");
    assert!(verdict.stderr.starts_with(&said), "{said}: {verdict:?}");
}

#[tokio::test]
async fn rows_that_were_cut_off_are_found_by_a_head_or_a_checkpoint_that_left_the_house() {
    let lively = Lively::make().await;
    let [alone, head, checkpoint] = audits_after_a_cut(&lively, VIEWS_FORGOTTEN).await;
    assert_eq!(alone.code, Some(0), "a shorter log is a log: {alone:?}");
    assert_cut_off(&lively, &head, "--expect-head knows position");
    assert_cut_off(&lively, &checkpoint, "checkpoint ");
}

/// Views that have read further tell of it too, but not first: where the log ends is the cause.
#[tokio::test]
async fn rows_that_were_cut_off_are_told_before_views_that_have_read_further() {
    let lively = Lively::make().await;
    let [alone, head, checkpoint] = audits_after_a_cut(&lively, "SELECT 1").await;
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert_cut_off(&lively, &head, "--expect-head knows position");
    assert_cut_off(&lively, &checkpoint, "checkpoint ");
}

#[tokio::test]
async fn a_log_whose_buyers_were_erased_is_still_proved() {
    let lively = Lively::make().await;
    let verdict = lively.audit_after("UPDATE events SET private = NULL").await;
    assert_eq!(verdict.code, Some(0), "{verdict:?}");
    let head = lively.log.last().unwrap();
    let start = format!(
        "verified {} events, head {} {}",
        lively.log.len(),
        head.position,
        head.hash
    );
    assert!(verdict.stdout.starts_with(&start), "{verdict:?}");
    assert!(
        verdict.stdout.contains("4 of 4 introductions erased"),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn the_database_itself_refuses_to_rewrite_history() {
    let app = App::start().await;
    let drop = app.create_drop(2, json!({})).await;
    app.held(&drop, "alice").await;
    for sql in [
        "UPDATE events SET payload = '{}' WHERE position = 1",
        "UPDATE events SET hash = sha256('x') WHERE position = 1",
        "UPDATE events SET private = '{}' WHERE position = 2",
        "UPDATE events SET private = NULL, payload = '{}' WHERE position = 2",
        "DELETE FROM events",
        "TRUNCATE events",
        "UPDATE log_head SET position = 0",
        "DELETE FROM log_head",
        "TRUNCATE log_head",
    ] {
        assert!(sqlx::query(sql).execute(app.pool()).await.is_err(), "{sql}");
    }
    sqlx::query("UPDATE events SET private = NULL WHERE position = 2")
        .execute(app.pool())
        .await
        .unwrap();
    assert!(app.verifies().await.contains("1 of 1 introductions erased"));
}

#[tokio::test]
async fn an_empty_log_is_proved() {
    let app = App::start().await;
    let zeroes = "0".repeat(64);
    assert_eq!(
        app.verifies().await,
        format!("verified 0 events, head 0 {zeroes}\n")
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_reached_is_neither_proved_nor_disproved() {
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
