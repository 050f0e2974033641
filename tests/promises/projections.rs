//! The read models equal a fold of the log, through any crash.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use domain::values::{Position, Sequence, Timestamp};
use harness::{App, Event, concurrently, eventually, number, text};
use infrastructure::codec::{RecordedEvent, decode};
use infrastructure::log::{Hash, StoredEvent};
use projections::fold::Rows;
use projections::live_stock::LiveStock;
use projections::sales_timeline::SalesTimeline;
use projections::table::{Table, load_all};
use projections::top_purchasers::TopPurchasers;
use serde_json::json;
use sqlx::PgPool;

/// An event of `GET /v1/log` in the form that a projection accepts.
fn recorded(event: &Event) -> RecordedEvent {
    let stored = StoredEvent {
        position: Position(event.position),
        recorded_at: event.recorded_at.parse::<Timestamp>().unwrap(),
        aggregate_type: event.aggregate_type.clone().into(),
        aggregate_id: event.aggregate_id.clone(),
        sequence: Sequence(event.sequence),
        event_type: event.event_type.clone().into(),
        event_version: event.event_version.clone().into(),
        payload: event.payload.get().to_owned(),
        metadata: event.metadata.get().to_owned().into(),
        hash: Hash::default(),
        private: None,
    };
    decode(&stored).unwrap().expect("a drop's event")
}

/// Asserts that the table equals a fresh fold of the log.
async fn assert_folded<F: Table + Clone + PartialEq>(pool: &PgPool, log: &[RecordedEvent]) {
    let mut rows = Rows::<F>::default();
    for event in log {
        rows.apply(event.position, event.into())
            .expect("history applies");
    }
    let mut connection = pool.acquire().await.unwrap();
    let table = load_all::<F>(&mut connection).await.unwrap();
    assert_eq!(table.len(), rows.0.len(), "rows of {}", F::NAME);
    for (key, row) in rows.0 {
        assert_eq!(table.get(&key), Some(&row), "{}", F::NAME);
    }
}

/// Waits until every projection has read the whole log, and compares each with a fresh fold.
async fn assert_all_folded(app: &App) {
    eventually("every checkpoint is at the head", || async {
        let behind: i64 = sqlx::query_scalar(
            "SELECT 3 - count(*) FROM projection_checkpoints, log_head WHERE projection_checkpoints.position = log_head.position",
        )
        .fetch_one(app.pool())
        .await
        .unwrap();
        (behind == 0).then_some(())
    })
    .await;
    let log: Vec<RecordedEvent> = app.log().await.iter().map(recorded).collect();
    assert_folded::<LiveStock>(app.pool(), &log).await;
    assert_folded::<TopPurchasers>(app.pool(), &log).await;
    assert_folded::<SalesTimeline>(app.pool(), &log).await;
}

/// Buyers who place holds and then purchase them, release them or leave them to expire, until the
/// server is gone.
async fn trade(app: &App, drops: &[String], buyers: usize) {
    concurrently((0..buyers).map(|buyer| {
        let (api, drop) = (app.api(), drops[buyer % drops.len()].clone());
        async move {
            let body = json!({ "buyer_id": format!("buyer-{}", buyer % 40), "display_name": format!("Buyer {buyer}"), "quantity": buyer % 3 + 1 });
            let Ok(reply) = api.try_hold_with(&drop, &harness::key(), &body).await else { return };
            if reply.status != 201 {
                return;
            }
            let hold = text(&reply.json()["id"]);
            match buyer % 4 {
                0 | 1 => std::mem::drop(api.try_purchase(&hold).await),
                2 => std::mem::drop(api.request(reqwest::Method::DELETE, &format!("/v1/holds/{hold}")).send().await),
                _ => {}
            }
        }
    }))
    .await;
}

async fn two_drops(app: &App) -> Vec<String> {
    let lasting = app
        .create_drop(300, json!({ "max_per_hold": 3, "hold_seconds": 3600 }))
        .await;
    let short = app
        .create_drop(300, json!({ "max_per_hold": 3, "hold_seconds": 1 }))
        .await;
    vec![lasting, short]
}

#[tokio::test]
async fn tables_equal_a_fresh_fold_of_the_log() {
    let app = App::start().await;
    let drops = two_drops(&app).await;
    trade(&app, &drops, 400).await;
    eventually("the short holds have expired", || async {
        (app.stock(&drops[1]).await[2] == 0).then_some(())
    })
    .await;
    assert_all_folded(&app).await;

    let ready = app.get("/health/ready").await.ok(200);
    for name in ["live_stock", "top_purchasers", "sales_timeline"] {
        eventually("the server has recorded the expiries", || async {
            let ready = app.get("/health/ready").await.ok(200);
            (ready["projections"][name]["lag"] == 0).then_some(())
        })
        .await;
        assert_eq!(ready["projections"][name]["stopped"], json!(null));
    }
}

#[tokio::test]
async fn readiness_contains_no_message_of_the_database() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    sqlx::query("ALTER TABLE live_stock ADD CONSTRAINT a_rule_of_the_shop CHECK (held < 1)")
        .execute(app.pool())
        .await
        .unwrap();
    app.held(&drop, "alice").await;
    let stopped = eventually("the table rejects the row", || async {
        let ready = app.get("/health/ready").await.ok(200);
        ready["projections"]["live_stock"]["stopped"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    assert!(stopped.contains("SQLSTATE 23514"), "{stopped}");
    for word in ["violates", "relation", "a_rule_of_the_shop"] {
        assert!(!stopped.contains(word), "{stopped}");
    }
    eventually("the message is in the server's log", || async {
        app.stderr().contains("a_rule_of_the_shop").then_some(())
    })
    .await;
}

#[tokio::test]
async fn reads_agree_with_the_tables() {
    let app = App::start().await;
    let drops = two_drops(&app).await;
    trade(&app, &drops, 200).await;
    eventually("the short holds have expired", || async {
        (app.stock(&drops[1]).await[2] == 0).then_some(())
    })
    .await;
    assert_all_folded(&app).await;
    for drop in &drops {
        let row: (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT total, available, held, sold FROM live_stock WHERE drop_id = $1::uuid",
        )
        .bind(drop)
        .fetch_one(app.pool())
        .await
        .unwrap();
        assert_eq!(
            app.stock(drop).await.map(i64::try_from).map(Result::unwrap),
            [row.0, row.1, row.2, row.3]
        );
        let listed = app
            .get(&format!("/v1/drops/{drop}/purchasers?limit=100"))
            .await
            .ok(200);
        let bought: u64 = listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|buyer| number(&buyer["quantity"]))
            .sum();
        assert_eq!(bought, app.stock(drop).await[3]);
    }
}

#[tokio::test]
async fn server_killed_repeatedly_counts_nothing_twice() {
    let mut app = App::start().await;
    let drops = two_drops(&app).await;
    for round in 1..=4 {
        {
            let traders = trade(&app, &drops, 150);
            let pool = app.pool().clone();
            let killer = eventually("events are recorded", || {
                let pool = pool.clone();
                async move {
                    let head: i64 = sqlx::query_scalar("SELECT position FROM log_head")
                        .fetch_one(&pool)
                        .await
                        .unwrap();
                    (head >= round * 60).then_some(())
                }
            });
            tokio::select! {
                () = traders => {}
                () = killer => {}
            }
        }
        app = app.restart().await;
    }
    eventually("the short holds have expired", || async {
        (app.stock(&drops[1]).await[2] == 0).then_some(())
    })
    .await;
    assert_all_folded(&app).await;
    app.audit_verify().await;
}
