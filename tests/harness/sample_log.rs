//! A log in which every kind of event of a drop has occurred, for tests that alter it.

use private_postgres::testing::{TestDatabase, fresh_database_from};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use crate::api::{fetch, key};
use crate::app::{AUDITOR_KEY, App, Finished, Launch};
use crate::events::Event;
use crate::{eventually, text};

/// The triggers that protect the log from alterations.
const GUARDS: [(&str, &str); 8] = [
    ("events", "place_stock_event"),
    ("events", "refuse_beyond_head"),
    ("events", "refuse_later_than_head"),
    ("events", "refuse_rewriting"),
    ("events", "refuse_truncating"),
    ("log_head", "refuse_future"),
    ("log_head", "refuse_moving_back"),
    ("log_head", "refuse_truncating"),
];

/// The log of a stopped server in which every kind of event of a drop has occurred.
#[derive(Debug)]
pub struct SampleLog {
    /// The name of its database.
    pub database: String,
    pub log: Vec<Event>,
    /// The events as the server exported them, as NDJSON.
    pub export: String,
}

impl SampleLog {
    /// The event that scheduled the second drop, whose holds are short.
    ///
    /// # Panics
    /// If the log has no second drop.
    #[must_use]
    pub fn second_drop(&self) -> &Event {
        let mut scheduled = self
            .log
            .iter()
            .filter(|event| event.event_type == "DropScheduled");
        scheduled.nth(1).expect("the sample has two drops")
    }

    /// Creates the log with a real server.
    ///
    /// # Panics
    /// If the server does not respond as expected.
    pub async fn create() -> Self {
        let app = App::start().await;
        let shop = app
            .create_drop(
                20,
                json!({ "hold_seconds": 3600, "max_hold_seconds": 86_400, "max_per_hold": 3 }),
            )
            .await;
        let brief = app.create_drop(5, json!({ "hold_seconds": 1 })).await;
        app.held(&brief, "dora").await;
        for buyer in ["alice", "bob", "carol"] {
            let body = json!({ "buyer_id": buyer, "quantity": 2, "display_name": format!("The real {buyer}") });
            let hold = text(&app.hold_with(&shop, &key(), &body).await.ok(201)["id"]);
            match buyer {
                "alice" => drop(app.purchase(&hold).await.ok(201)),
                "bob" => drop(app.release(&hold).await.ok(204)),
                _ => {
                    let path = format!("/v1/holds/{hold}");
                    let change = app.request(Method::PATCH, &path);
                    fetch(change.json(&json!({ "quantity": 3 }))).await.ok(200);
                    let extend = app.admin(Method::POST, &format!("{path}/extend"));
                    fetch(extend.json(&json!({ "seconds": 7200 })))
                        .await
                        .ok(200);
                }
            }
        }
        let hold = app.held(&shop, "erin").await;
        let purchase = text(&app.purchase(&hold).await.ok(201)["id"]);
        let refund = app.admin(Method::POST, &format!("/v1/purchases/{purchase}/refunds"));
        let refund = refund.header("idempotency-key", key());
        let body = json!({ "quantity": 1, "reason": "arrived broken" });
        fetch(refund.json(&body)).await.ok(201);
        let adjustment = json!({ "delta": 5, "reason": "found a box" });
        let path = format!("/v1/drops/{shop}/stock-adjustments");
        let reply = app
            .admin(Method::POST, &path)
            .header("idempotency-key", key())
            .json(&adjustment)
            .send()
            .await;
        assert_eq!(reply.expect("the server responds").status(), 201);
        let etag = app
            .get(&format!("/v1/drops/{shop}"))
            .await
            .header("etag")
            .to_owned();
        let edit = app
            .admin(Method::PATCH, &format!("/v1/drops/{shop}"))
            .header("if-match", etag);
        assert_eq!(
            edit.json(&json!({ "name": "Renamed" }))
                .send()
                .await
                .expect("the server responds")
                .status(),
            200
        );
        eventually("the short hold has expired", || async {
            (app.stock(&brief).await[2] == 0).then_some(())
        })
        .await;
        let cancel = app.admin(Method::POST, &format!("/v1/drops/{shop}/cancel"));
        assert_eq!(
            cancel.send().await.expect("the server responds").status(),
            200
        );

        eventually("every table is at the head", || async {
            let behind: i64 = sqlx::query_scalar(
                "SELECT 3 - count(*) FROM projection_checkpoints c, log_head h
                  WHERE c.position = h.position AND name IN ('live_stock', 'top_purchasers', 'sales_timeline')",
            )
            .fetch_one(app.pool())
            .await
            .expect("the database responds");
            (behind == 0).then_some(())
        })
        .await;
        let lines = app.request(Method::GET, "/v1/log").bearer_auth(AUDITOR_KEY);
        let export = fetch(lines.header("accept", "application/x-ndjson"))
            .await
            .text();
        let log = app.log().await;
        let database: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(app.pool())
            .await
            .expect("the database responds");
        app.pool().close().await;
        app.stop().await;
        Self {
            database,
            log,
            export,
        }
    }

    /// A copy that `sql` has altered, with the triggers disabled.
    ///
    /// # Panics
    /// If the database rejects `sql`.
    pub async fn altered(&self, sql: &str) -> TestDatabase {
        let copy = fresh_database_from(&self.database).await;
        let mut connection = PgConnection::connect(&copy.url)
            .await
            .expect("the database responds");
        let guards = |how: &str| {
            let guard = |(table, name)| format!("ALTER TABLE {table} {how} TRIGGER {name};");
            GUARDS.map(guard).concat()
        };
        let (off, on) = (guards("DISABLE"), guards("ENABLE ALWAYS"));
        let script = format!("{off} {sql}; {on}");
        connection
            .execute(sqlx::raw_sql(&script))
            .await
            .expect("the script runs");
        connection.close().await.expect("the connection closes");
        copy
    }

    /// Runs the audit on such a copy.
    pub async fn audit_after(&self, sql: &str) -> Finished {
        Launch::on(self.altered(sql).await)
            .run(&["audit", "verify"])
            .await
    }

    /// The position of the first event of a type.
    ///
    /// # Panics
    /// If the log has none.
    pub fn position_of(&self, event_type: &str) -> u64 {
        let found = self.log.iter().find(|event| event.event_type == event_type);
        found
            .unwrap_or_else(|| panic!("the log has no {event_type}"))
            .position
    }
}
