//! Upgrade readers first: a node of an earlier release survives unknown events and a newer
//! migration.
//!
//! The earlier release is this program with one pair of event type and version hidden from it, by a
//! variable that exists only in test builds. The code is otherwise the same, so both releases run
//! together for the price of one build.

use harness::{App, Launch, eventually, fetch};
use infrastructure::codec::HIDDEN_VARIABLE;
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::json;
use sqlx::Executor;

const HIDDEN: &str = "StockAdjusted 1.0";

async fn status(app: &App, drop: &str) -> u16 {
    app.get(&format!("/v1/drops/{drop}")).await.status
}

#[tokio::test]
async fn earlier_release_survives_events_of_a_later_one() {
    let database = fresh_database().await;
    let later = Launch::on(database.clone()).start().await;
    let launch = Launch::on(database).with(HIDDEN_VARIABLE, HIDDEN);
    let earlier = launch.clone().start().await;
    let changed = later.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    let other = later.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    let hold = later.held(&changed, "alice").await;
    earlier.read_hold(&hold).await.ok(200);

    later.adjust(&changed, 5).await.ok(201);
    eventually(
        "the earlier release puts the drop into quarantine",
        || async { (status(&earlier, &changed).await == 503).then_some(()) },
    )
    .await;
    let problem = earlier.purchase(&hold).await;
    problem.problem(503, "drop_quarantined");
    for buyer in 0..10 {
        earlier.held(&other, &format!("early-{buyer}")).await;
        later.held(&other, &format!("late-{buyer}")).await;
        later.held(&changed, &format!("late-{buyer}")).await;
        if buyer == 8 {
            break;
        }
    }
    assert_eq!(later.stock(&changed).await, [10, 0, 10, 0]);
    // The earlier release also starts after a later migration has been applied.
    later
        .pool()
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, '', 0)",
        )
        .await
        .unwrap();
    let earlier = earlier.restart().await;
    assert_eq!(status(&earlier, &changed).await, 503);
    earlier.held(&other, "after a restart").await;
    // It must not undo an event that the later release can apply.
    let position = fetch(earlier.request(Method::GET, "/health/ready"))
        .await
        .ok(200)["quarantined"][0]["position"]
        .to_string();
    let void = [
        "log",
        "void",
        "--position",
        &position,
        "--reason",
        "not known here",
        "--yes",
    ];
    let refused = launch.run(&void).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("later release"), "{refused:?}");

    // After its upgrade it continues with the drop.
    let launch = earlier.stop().await;
    let upgraded = launch.with(HIDDEN_VARIABLE, "").start().await;
    assert_eq!(upgraded.stock(&changed).await, [10, 0, 10, 0]);
    upgraded.purchase(&hold).await.ok(201);
    eventually("the tables have everything", || async {
        let verdict = upgraded.launch().run(&["audit", "verify"]).await;
        let is_whole = verdict.code == Some(0) && !verdict.stderr.contains("folded anew");
        is_whole.then_some(())
    })
    .await;
}

#[tokio::test]
async fn later_release_on_an_unmigrated_database_stops_only_itself() {
    let database = fresh_database().await;
    let later = Launch::on(database.clone()).start().await;
    let other = Launch::on(database).start().await;
    let drop = later.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    let definition: String =
        sqlx::query_scalar("SELECT pg_get_functiondef('known_event_types'::regproc)")
            .fetch_one(later.pool())
            .await
            .unwrap();
    // The database as it was before a migration admitted the pair.
    let before = definition.replace("'StockAdjusted 1.0',", "");
    assert_ne!(before, definition);
    later.pool().execute(before.as_str()).await.unwrap();

    let refused = later.adjust(&drop, 5).await;
    let problem = refused.problem(503, "log_refused");
    assert_eq!(problem["position"], 3);
    later.get("/health/ready").await.problem(503, "log_refused");
    assert_eq!(later.stock(&drop).await, [5, 5, 0, 0]);
    other.held(&drop, "alice").await;

    later.pool().execute(definition.as_str()).await.unwrap();
    let later = later.restart().await;
    later.adjust(&drop, 5).await.ok(201);
    later.audit_verify().await;
}
