//! Refusals are counted by drop and minute, summed over servers, and survive them.

use harness::{App, Launch, eventually, key};
use private_postgres::testing::fresh_database;
use serde_json::json;

/// The totals of the table for `drop`: sold out, limit reached, throttled.
async fn counted(app: &App, drop: &str) -> [i64; 3] {
    let row: (i64, i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(sold_out), 0)::bigint, coalesce(sum(limit_reached), 0)::bigint, \
                coalesce(sum(throttled), 0)::bigint FROM refusals WHERE drop_id = $1::uuid",
    )
    .bind(drop)
    .fetch_one(app.pool())
    .await
    .expect("the table can be read");
    row.into()
}

async fn assert_counted(app: &App, drop: &str, expected: [i64; 3]) {
    eventually("the refusals are counted", || async {
        let found = counted(app, drop).await;
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(found, most)| *found <= most),
            "{found:?}"
        );
        (found == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_refusal_is_counted_once_under_its_reason() {
    let app = App::start().await;
    let terms = json!({ "max_per_hold": 2, "throttle": { "holds": 1, "window_seconds": 3600 } });
    let drop = app.create_drop(2, terms).await;
    let send = |buyer: &'static str, quantity: u32| {
        let body = json!({ "buyer_id": buyer, "quantity": quantity });
        let (api, drop) = (app.api(), drop.clone());
        async move { api.hold_with(&drop, &key(), &body).await }
    };
    send("alice", 2).await.ok(201);
    for _ in 0..3 {
        send("bob", 1).await.problem(409, "sold_out");
    }
    for _ in 0..2 {
        send("carol", 3).await.problem(409, "limit_reached");
    }
    send("alice", 1).await.problem(429, "throttled");
    app.join(&drop, "carol", 3)
        .await
        .problem(409, "limit_reached");
    // Neither of these refusals is about stock.
    app.hold_with(&drop, "bad key", &json!({ "buyer_id": "x" }))
        .await
        .problem(400, "invalid_idempotency_key");
    app.hold_with(&drop, &key(), &json!({}))
        .await
        .invalid("/buyer_id");
    let nowhere = uuid::Uuid::new_v4().to_string();
    app.hold(&nowhere, "bob")
        .await
        .problem(404, "drop_not_found");
    assert_counted(&app, &drop, [3, 3, 1]).await;
    assert_eq!(counted(&app, &nowhere).await, [0; 3]);
}

#[tokio::test]
async fn requests_over_the_address_limit_count_as_throttled() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_ADDRESS_LIMIT", "1/3600")
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .start()
        .await;
    let drop = app.create_drop(5, json!({})).await;
    app.hold(&drop, "alice").await.ok(201);
    for _ in 0..4 {
        app.hold(&drop, "alice").await.problem(429, "throttled");
    }
    let nowhere = uuid::Uuid::new_v4().to_string();
    app.hold(&nowhere, "bob").await.problem(429, "throttled");
    assert_counted(&app, &drop, [0, 0, 4]).await;
    assert_eq!(
        counted(&app, &nowhere).await,
        [0; 3],
        "no row for an unknown drop"
    );
}

#[tokio::test]
async fn counts_of_servers_are_summed_and_written_at_shutdown() {
    let database = fresh_database().await;
    let here = Launch::on(database.clone()).start().await;
    let there = Launch::on(database.clone()).start().await;
    let drop = here.create_drop(0, json!({})).await;
    eventually("the other server follows", || async {
        (there.get(&format!("/v1/drops/{drop}")).await.status == 200).then_some(())
    })
    .await;
    for buyer in 0..10 {
        for app in [&here, &there] {
            app.hold(&drop, &format!("buyer-{buyer}"))
                .await
                .problem(409, "sold_out");
        }
    }
    // Immediately: the counts of the last second are written during shutdown.
    here.stop().await;
    there.stop().await;
    let after = Launch::on(database).start().await;
    assert_eq!(counted(&after, &drop).await, [20, 0, 0]);
}
