//! `holdfast audit verify` proves an honest log, and names the place where a log was altered behind its back.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Event, Finished, Launch, eventually, key, text};
use infrastructure::testing::{TestDatabase, fresh_database_from};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

/// A stopped server's log in which everything has happened that can happen to a drop.
struct Lively {
    database: String,
    log: Vec<Event>,
}

impl Lively {
    async fn make() -> Self {
        let app = App::start().await;
        let drop = app
            .create_drop(20, json!({ "hold_seconds": 3600, "max_per_hold": 3 }))
            .await;
        let brief = app.create_drop(5, json!({ "hold_seconds": 1 })).await;
        app.held(&brief, "dora").await;
        for buyer in ["alice", "bob", "carol"] {
            let body = json!({ "buyer_id": buyer, "quantity": 2, "display_name": format!("The real {buyer}") });
            let hold = text(&app.hold_with(&drop, &key(), &body).await.ok(201)["id"]);
            match buyer {
                "alice" => drop_reply(app.purchase(&hold).await.ok(201)),
                "bob" => drop_reply(app.release(&hold).await.ok(204)),
                _ => {}
            }
        }
        let adjustment = json!({ "delta": 5, "reason": "found a box" });
        let path = format!("/v1/drops/{drop}/stock-adjustments");
        let reply = app
            .admin(reqwest::Method::POST, &path)
            .header("idempotency-key", key())
            .json(&adjustment)
            .send()
            .await;
        assert_eq!(reply.unwrap().status(), 201);
        let etag = app
            .get(&format!("/v1/drops/{drop}"))
            .await
            .header("etag")
            .to_owned();
        let edit = app
            .admin(reqwest::Method::PATCH, &format!("/v1/drops/{drop}"))
            .header("if-match", etag);
        assert_eq!(
            edit.json(&json!({ "name": "Renamed" }))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
        eventually("the brief hold is over", || async {
            (app.stock(&brief).await[2] == 0).then_some(())
        })
        .await;
        let cancel = app.admin(reqwest::Method::POST, &format!("/v1/drops/{drop}/cancel"));
        assert_eq!(cancel.send().await.unwrap().status(), 200);

        let log = app.log().await;
        let database: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(app.pool())
            .await
            .unwrap();
        app.pool().close().await;
        app.stop().await;
        Self { database, log }
    }

    /// A copy in which `sql` was done by somebody who may do anything.
    async fn altered(&self, sql: &str) -> TestDatabase {
        let copy = fresh_database_from(&self.database).await;
        let mut connection = PgConnection::connect(&copy.url).await.unwrap();
        let script = format!(
            "ALTER TABLE events DISABLE TRIGGER USER; ALTER TABLE log_head DISABLE TRIGGER USER; {sql};
             ALTER TABLE events ENABLE TRIGGER USER; ALTER TABLE log_head ENABLE TRIGGER USER"
        );
        connection.execute(sqlx::raw_sql(&script)).await.unwrap();
        connection.close().await.unwrap();
        copy
    }

    /// What the audit says of such a copy.
    async fn audit_after(&self, sql: &str) -> Finished {
        Launch::on(self.altered(sql).await)
            .run(&["audit", "verify"])
            .await
    }

    fn position_of(&self, event_type: &str) -> u64 {
        let found = self.log.iter().find(|event| event.event_type == event_type);
        found
            .unwrap_or_else(|| panic!("a lively log has a {event_type}"))
            .position
    }
}

fn drop_reply<T>(_: T) {}

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
