//! A log in which everything has happened that can happen, to be altered behind its back.

use private_postgres::testing::{TestDatabase, fresh_database_from};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use crate::api::{key, take};
use crate::app::{AUDITOR_KEY, App, Finished, Launch};
use crate::events::Event;
use crate::{eventually, text};

/// What keeps everybody else from altering a log.
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

/// A stopped server's log in which everything has happened that can happen to a drop.
#[derive(Debug)]
pub struct Lively {
    /// The name of its database.
    pub database: String,
    /// Its events.
    pub log: Vec<Event>,
    /// The same as the server exported them: lines of JSON.
    pub export: String,
}

impl Lively {
    /// Makes one.
    ///
    /// # Panics
    /// When the server does not do as asked.
    pub async fn make() -> Self {
        let app = App::start().await;
        let shop = app
            .create_drop(20, json!({ "hold_seconds": 3600, "max_per_hold": 3 }))
            .await;
        let brief = app.create_drop(5, json!({ "hold_seconds": 1 })).await;
        app.held(&brief, "dora").await;
        for buyer in ["alice", "bob", "carol"] {
            let body = json!({ "buyer_id": buyer, "quantity": 2, "display_name": format!("The real {buyer}") });
            let hold = text(&app.hold_with(&shop, &key(), &body).await.ok(201)["id"]);
            match buyer {
                "alice" => drop(app.purchase(&hold).await.ok(201)),
                "bob" => drop(app.release(&hold).await.ok(204)),
                _ => {}
            }
        }
        let adjustment = json!({ "delta": 5, "reason": "found a box" });
        let path = format!("/v1/drops/{shop}/stock-adjustments");
        let reply = app
            .admin(Method::POST, &path)
            .header("idempotency-key", key())
            .json(&adjustment)
            .send()
            .await;
        assert_eq!(
            reply.expect("the server and its database answer").status(),
            201
        );
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
                .expect("the server and its database answer")
                .status(),
            200
        );
        eventually("the brief hold is over", || async {
            (app.stock(&brief).await[2] == 0).then_some(())
        })
        .await;
        let cancel = app.admin(Method::POST, &format!("/v1/drops/{shop}/cancel"));
        assert_eq!(
            cancel
                .send()
                .await
                .expect("the server and its database answer")
                .status(),
            200
        );

        eventually("every table is at the head", || async {
            let behind: i64 = sqlx::query_scalar(
                "SELECT 3 - count(*) FROM projection_checkpoints c, log_head h
                  WHERE c.position = h.position AND name IN ('live_stock', 'top_purchasers', 'sales_timeline')",
            )
            .fetch_one(app.pool())
            .await
            .expect("the server and its database answer");
            (behind == 0).then_some(())
        })
        .await;
        let lines = app.request(Method::GET, "/v1/log").bearer_auth(AUDITOR_KEY);
        let export = take(lines.header("accept", "application/x-ndjson"))
            .await
            .text();
        let log = app.log().await;
        let database: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(app.pool())
            .await
            .expect("the server and its database answer");
        app.pool().close().await;
        app.stop().await;
        Self {
            database,
            log,
            export,
        }
    }

    /// A copy in which `sql` was done by somebody who may do anything.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn altered(&self, sql: &str) -> TestDatabase {
        let copy = fresh_database_from(&self.database).await;
        let mut connection = PgConnection::connect(&copy.url)
            .await
            .expect("the server and its database answer");
        let guards = |how: &str| {
            let guard = |(table, name)| format!("ALTER TABLE {table} {how} TRIGGER {name};");
            GUARDS.map(guard).concat()
        };
        let (off, on) = (guards("DISABLE"), guards("ENABLE ALWAYS"));
        let script = format!("{off} {sql}; {on}");
        connection
            .execute(sqlx::raw_sql(&script))
            .await
            .expect("the server and its database answer");
        connection
            .close()
            .await
            .expect("the server and its database answer");
        copy
    }

    /// What the audit says of such a copy.
    pub async fn audit_after(&self, sql: &str) -> Finished {
        Launch::on(self.altered(sql).await)
            .run(&["audit", "verify"])
            .await
    }

    /// The first event of a type.
    ///
    /// # Panics
    /// When there is none.
    pub fn position_of(&self, event_type: &str) -> u64 {
        let found = self.log.iter().find(|event| event.event_type == event_type);
        found
            .unwrap_or_else(|| panic!("a lively log has a {event_type}"))
            .position
    }
}
