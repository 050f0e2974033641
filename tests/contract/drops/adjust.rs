//! `POST /v1/drops/{id}/stock-adjustments`: never below held and sold.

use harness::{App, fetch, key, text};
use reqwest::Method;
use serde_json::json;

use super::{adjust, edit};

#[tokio::test]
async fn stock_is_never_adjusted_below_held_and_sold() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    app.held(&drop, "alice").await;
    let body = json!({ "delta": 5, "reason": "found a box" });
    let first = adjust(&app, &drop, "one-key", &body).await;
    let made = first.ok(201);
    assert_eq!(
        made["stock"],
        json!({ "total": 8, "available": 7, "held": 1, "sold": 0 })
    );
    assert_eq!(
        (&made["drop_id"], &made["delta"], &made["reason"]),
        (&json!(drop), &json!(5), &json!("found a box"))
    );
    assert_eq!(made["position"], 4);
    assert!(uuid::Uuid::parse_str(&text(&made["id"])).is_ok());
    let again = adjust(&app, &drop, "one-key", &body).await;
    assert_eq!((again.ok(201), again.is_replay()), (made, true));
    adjust(
        &app,
        &drop,
        "one-key",
        &json!({ "delta": 6, "reason": "found a box" }),
    )
    .await
    .problem(422, "idempotency_key_reused");

    let refused = adjust(
        &app,
        &drop,
        &key(),
        &json!({ "delta": -8, "reason": "lost" }),
    )
    .await
    .problem(409, "insufficient_stock");
    assert_eq!(
        (&refused["delta"], &refused["available"]),
        (&json!(-8), &json!(7))
    );
    assert_eq!(refused["detail"], "Cannot remove 8 units; 7 are available.");
    assert_eq!(
        adjust(
            &app,
            &drop,
            &key(),
            &json!({ "delta": -7, "reason": "lost" })
        )
        .await
        .ok(201)["stock"]["available"],
        0
    );
    assert_eq!(app.drop(&drop).await["status"], "sold_out");

    for delta in [
        json!(0),
        json!(1.5),
        json!("2abc"),
        json!(null),
        json!(99_999_999_999_i64),
    ] {
        adjust(
            &app,
            &drop,
            &key(),
            &json!({ "delta": delta, "reason": "r" }),
        )
        .await
        .invalid("/delta");
    }
    adjust(
        &app,
        &drop,
        &key(),
        &json!({ "delta": 10_000_000, "reason": "r" }),
    )
    .await
    .invalid("/delta");
    for reason in [json!(""), json!("a\u{0}"), json!("x".repeat(501)), json!(3)] {
        adjust(
            &app,
            &drop,
            &key(),
            &json!({ "delta": 1, "reason": reason }),
        )
        .await
        .invalid("/reason");
    }
    adjust(&app, &drop, &key(), &json!({ "delta": 1 }))
        .await
        .invalid("/reason");
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    fetch(app.admin(Method::POST, &path).json(&body))
        .await
        .problem(400, "idempotency_key_required");
    assert_eq!(app.ledger().await.count(&drop, "StockAdjusted"), 2);
}

#[tokio::test]
async fn adjustment_may_require_an_unadjusted_stock() {
    let app = App::start().await;
    let drop = app.create_drop(10, json!({})).await;
    let path = format!("/v1/drops/{drop}");
    let tag = || async { app.get(&path).await.header("etag").to_owned() };
    let adjust = |key: String, delta: i32, if_match: &str| {
        let request = app.admin(Method::POST, &format!("{path}/stock-adjustments"));
        let request = request.header("idempotency-key", key);
        let request = request.header("if-match", if_match);
        fetch(request.json(&json!({ "delta": delta, "reason": "counted" })))
    };
    let seen = tag().await;
    // Sales and edits do not adjust the stock.
    app.held(&drop, "alice").await;
    let renamed = json!({ "name": "Renamed" });
    edit(&app, &drop, Some("*"), &renamed).await.ok(200);
    let made = adjust("first".into(), -4, &seen).await;
    assert_eq!(made.ok(201)["stock"]["available"], 5);
    let refused = adjust(key(), -4, &seen).await.problem(412, "stale_stock");
    assert_eq!(
        (&refused["total"], &refused["available"]),
        (&json!(6), &json!(5))
    );
    let again = adjust("first".into(), -4, &seen).await;
    assert_eq!((again.ok(201), again.is_replay()), (made.ok(201), true));
    let fresh = tag().await;
    for stale in [
        "\"nonsense\"".to_owned(),
        String::new(),
        format!("W/{fresh}"),
        format!("\"x\", {seen}"),
        fresh.replace('"', ""),
    ] {
        adjust(key(), -1, &stale).await.problem(412, "stale_stock");
    }
    let listed = format!("\"x\", {seen}, {fresh}");
    adjust(key(), -1, &listed).await.ok(201);
    adjust(key(), -1, "*").await.ok(201);
    // Two adjustments that cancel each other are noticed: the reader of the first state does not
    // know why the stock was counted twice.
    let first = tag().await;
    for delta in [3, -3] {
        adjust(key(), delta, "*").await.ok(201);
    }
    assert_ne!(tag().await, first);
    adjust(key(), -1, &first).await.problem(412, "stale_stock");
    // If two administrators saw the same state, one of them is refused.
    let seen = tag().await;
    let replies = tokio::join!(adjust(key(), -2, &seen), adjust(key(), -2, &seen));
    let mut statuses = [replies.0.status, replies.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412]);
    assert_eq!(app.drop(&drop).await["stock"]["total"], 2);
    assert_eq!(app.ledger().await.count(&drop, "StockAdjusted"), 6);
}
