//! Refusals: stock, limits, throttle, sale window.

use harness::{App, in_seconds, key, number, text};
use serde_json::json;

#[tokio::test]
async fn refusals_for_stock_and_limits_contain_numbers() {
    let app = App::start().await;
    let drop = app
        .create_drop(5, json!({ "max_per_hold": 3, "max_per_buyer": 4 }))
        .await;
    let send = |buyer: &'static str, quantity: u32| {
        let (api, drop) = (app.api(), drop.clone());
        async move {
            api.hold_with(
                &drop,
                &key(),
                &json!({ "buyer_id": buyer, "quantity": quantity }),
            )
            .await
        }
    };
    let body = send("alice", 4).await.problem(409, "limit_reached");
    assert_eq!((&body["limit"], &body["allowance"]), (&json!(3), &json!(3)));
    let three = text(&send("alice", 3).await.ok(201)["id"]);
    let body = send("Alice", 2).await.problem(409, "limit_reached");
    assert_eq!((&body["limit"], &body["allowance"]), (&json!(4), &json!(1)));
    app.purchase(&three).await.ok(201);
    assert_eq!(
        send("ALICE", 2).await.problem(409, "limit_reached")["allowance"],
        1,
        "purchased units count"
    );
    let body = send("bob", 3).await.problem(409, "sold_out");
    assert_eq!(
        (&body["requested"], &body["available"]),
        (&json!(3), &json!(2))
    );
    let two = text(&send("bob", 2).await.ok(201)["id"]);
    assert_eq!(
        send("carol", 1).await.problem(409, "sold_out")["available"],
        0
    );
    app.release(&two).await.ok(204);
    send("alice", 1).await.ok(201);
    assert_eq!(
        send("alice", 1).await.problem(409, "limit_reached")["allowance"],
        0
    );
}

#[tokio::test]
async fn throttled_buyer_gets_a_retry_time() {
    let app = App::start().await;
    let drop = app
        .create_drop(
            10,
            json!({ "throttle": { "holds": 2, "window_seconds": 600 } }),
        )
        .await;
    let first = app
        .hold_with(&drop, "k", &json!({ "buyer_id": "alice" }))
        .await
        .ok(201);
    app.held(&drop, "alice").await;
    let refused = app.hold(&drop, "Alice").await;
    let body = refused.problem(429, "throttled");
    let seconds = number(&body["retry_after"]);
    assert!((1..=600).contains(&seconds), "{body}");
    assert_eq!(refused.header("retry-after"), seconds.to_string());
    app.held(&drop, "bob").await;
    app.release(&text(&first["id"])).await.ok(204);
    app.hold(&drop, "alice").await.problem(429, "throttled");
    assert!(
        app.hold_with(&drop, "k", &json!({ "buyer_id": "alice" }))
            .await
            .is_replay(),
        "a retry is not a new hold"
    );

    let brief = app
        .create_drop(
            10,
            json!({ "throttle": { "holds": 1, "window_seconds": 1 } }),
        )
        .await;
    app.held(&brief, "alice").await;
    app.hold(&brief, "alice").await.problem(429, "throttled");
    harness::eventually("the window passes", || async {
        (app.hold(&brief, "alice").await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn refusal_outside_the_sale_window_contains_the_window() {
    let app = App::start().await;
    let starts_at = in_seconds(3600);
    let upcoming = app.create_drop(1, json!({ "starts_at": starts_at })).await;
    assert_eq!(
        app.hold(&upcoming, "alice").await.problem(409, "not_live")["starts_at"],
        starts_at.as_str()
    );
    let ends_at = in_seconds(-60);
    let over = app
        .create_drop(
            1,
            json!({ "starts_at": in_seconds(-3600), "ends_at": ends_at }),
        )
        .await;
    assert_eq!(
        app.hold(&over, "alice").await.problem(409, "ended")["ended_at"],
        ends_at.as_str()
    );
}
