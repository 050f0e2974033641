//! `holdfast audit verify` proves an honest log, and names the place where a log was altered behind its back.

use harness::{App, Launch, Lively};
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
