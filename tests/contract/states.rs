//! docs/CONTRACT.md on drafts and pauses: visibility, holds, and the changes of both.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Reply, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

async fn change(app: &App, drop: &str, how: &str, body: &Value) -> Reply {
    let request = app.admin(Method::POST, &format!("/v1/drops/{drop}/{how}"));
    fetch(request.json(body)).await
}

async fn draft(app: &App, more: Value) -> String {
    let mut body = json!({
        "name": "Lamp", "price": { "amount": 100, "currency": "USD" }, "total_stock": 2,
        "draft": true,
    });
    let members = body.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    let request = app.admin(Method::POST, "/v1/drops");
    let made = fetch(request.header("idempotency-key", key()).json(&body)).await;
    let made = made.ok(201);
    assert_eq!(made["status"], "draft");
    text(&made["id"])
}

async fn types(app: &App) -> Vec<String> {
    let events = app.log().await.into_iter();
    events.map(|event| event.event_type).collect()
}

#[tokio::test]
async fn paused_drop_holds_nothing_and_sells_what_is_held() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({ "max_per_hold": 2 })).await;
    let held = app.held(&drop, "ann").await;
    let paused = change(&app, &drop, "pause", &json!({})).await.ok(200);
    assert_eq!(
        (&paused["status"], &paused["stock"]["available"]),
        (&json!("paused"), &json!(2))
    );
    assert_eq!(app.drop(&drop).await["status"], "paused");

    let refused = app.hold(&drop, "bob").await.problem(409, "paused");
    assert_eq!(
        refused["paused_at"],
        app.log().await.last().unwrap().fields()["paused_at"]
    );
    app.join(&drop, "bob", 1).await.problem(409, "paused");
    let more = app.request(Method::PATCH, &format!("/v1/holds/{held}"));
    fetch(more.json(&json!({ "quantity": 2 })))
        .await
        .problem(409, "paused");
    let order = app
        .request(Method::POST, "/v1/orders")
        .header("idempotency-key", key());
    let body = json!({ "buyer_id": "bob", "items": [{ "drop_id": drop }] });
    let order = fetch(order.json(&body)).await.problem(409, "paused");
    assert_eq!(order["pointer"], "/items/0");
    app.purchase(&held).await.ok(201);

    change(&app, &drop, "resume", &json!({})).await.ok(200);
    assert_eq!(app.drop(&drop).await["status"], "live");
    app.hold(&drop, "bob").await.ok(201);
    assert_eq!(
        types(&app).await,
        [
            "DropScheduled",
            "DropStarted",
            "HoldPlaced",
            "DropPaused",
            "PurchaseConfirmed",
            "DropResumed",
            "HoldPlaced",
        ]
    );
}

#[tokio::test]
async fn waitlist_of_a_paused_drop_waits_for_its_end_in_order() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let held = app.held(&drop, "ann").await;
    let first = app.joined(&drop, "bob", 1).await;
    change(&app, &drop, "pause", &json!({})).await.ok(200);
    app.release(&held).await.ok(204);
    // The returned unit is bob's, so carol may wait behind him.
    let second = app.joined(&drop, "carol", 1).await;
    assert_eq!(app.stock(&drop).await, [1, 1, 0, 0]);
    for entry in [&first, &second] {
        assert_eq!(app.waitlist_entry(entry).await["hold"], Value::Null);
    }
    change(&app, &drop, "resume", &json!({})).await.ok(200);
    let served = app.waitlist_entry(&first).await;
    assert_ne!(served["hold_id"], Value::Null, "{served}");
    assert_eq!(app.stock(&drop).await, [1, 0, 1, 0]);
}

#[tokio::test]
async fn pausing_and_resuming_are_idempotent_and_for_administrators() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let resumed = change(&app, &drop, "resume", &json!({})).await;
    resumed.ok(200);
    for _ in 0..2 {
        change(&app, &drop, "pause", &json!({})).await.ok(200);
    }
    for _ in 0..2 {
        change(&app, &drop, "resume", &json!({})).await.ok(200);
    }
    assert_eq!(types(&app).await[2..], ["DropPaused", "DropResumed"]);
    for how in ["pause", "resume", "publish"] {
        let path = format!("/v1/drops/{drop}/{how}");
        fetch(app.request(Method::POST, &path))
            .await
            .problem(401, "unauthorized");
        let unknown = format!("/v1/drops/{}/{how}", uuid::Uuid::new_v4());
        let unknown = fetch(app.admin(Method::POST, &unknown)).await;
        unknown.problem(404, "drop_not_found");
        let more = change(&app, &drop, how, &json!({ "more": 1 })).await;
        more.problem(422, "invalid_value");
        let stale = app
            .admin(Method::POST, &path)
            .header("if-match", "\"other\"");
        fetch(stale).await.problem(412, "stale_version");
    }
    change(&app, &drop, "cancel", &json!({})).await.ok(200);
    change(&app, &drop, "pause", &json!({}))
        .await
        .problem(409, "ended");
    change(&app, &drop, "resume", &json!({}))
        .await
        .problem(409, "ended");
}

#[tokio::test]
async fn draft_exists_for_the_staff_only_until_it_is_published() {
    let app = App::start().await;
    let drop = draft(&app, json!({})).await;
    let path = format!("/v1/drops/{drop}");
    for path in [
        path.clone(),
        format!("{path}/purchasers"),
        format!("/v1/stream?drops={drop}"),
    ] {
        app.get(&path).await.problem(404, "drop_not_found");
    }
    assert_eq!(app.get(&format!("/drops/{drop}")).await.status, 404);
    assert_eq!(app.get("/v1/drops").await.ok(200)["data"], json!([]));
    assert_eq!(
        app.get("/v1/drops?status=draft").await.ok(200)["data"],
        json!([])
    );
    app.hold(&drop, "ann").await.problem(404, "drop_not_found");
    app.join(&drop, "ann", 1)
        .await
        .problem(404, "drop_not_found");
    let all = fetch(app.admin(Method::GET, "/v1/drops?status=draft"))
        .await
        .ok(200);
    assert_eq!(all["data"][0]["id"], json!(drop));
    assert_eq!(app.audit(&path).await.ok(200)["status"], "draft");
    let staff = app.admin(Method::POST, &format!("{path}/holds"));
    let staff = staff
        .header("idempotency-key", key())
        .json(&json!({ "buyer_id": "ann" }));
    fetch(staff).await.problem(409, "draft");
    change(&app, &drop, "pause", &json!({}))
        .await
        .problem(409, "draft");

    let edit = app.admin(Method::PATCH, &path).header("if-match", "*");
    fetch(edit.json(&json!({ "name": "Lamp No. 2" })))
        .await
        .ok(200);
    app.adjust(&drop, 3).await.ok(201);
    let mut watcher = app.watch("").await;
    let published = change(&app, &drop, "publish", &json!({})).await.ok(200);
    assert_eq!(published["status"], "live");
    assert!(published["starts_at"].as_str() > published["created_at"].as_str());
    change(&app, &drop, "publish", &json!({})).await.ok(200);
    let seen = watcher.until(|seen| seen["id"] == json!(drop)).await;
    assert_eq!(seen.json()["name"], "Lamp No. 2");
    app.hold(&drop, "ann").await.ok(201);
    assert_eq!(
        types(&app).await,
        [
            "DropDrafted",
            "DropRescheduled",
            "StockAdjusted",
            "DropPublished",
            "DropStarted",
            "HoldPlaced",
        ]
    );
}

#[tokio::test]
async fn draft_is_published_for_a_start_and_not_after_its_end() {
    let app = App::start().await;
    let drop = draft(&app, json!({ "starts_at": "2099-01-01T00:00:00Z" })).await;
    let published = change(&app, &drop, "publish", &json!({})).await.ok(200);
    assert_eq!(published["status"], "scheduled");
    assert_eq!(published["starts_at"], "2099-01-01T00:00:00.000Z");

    let drop = draft(&app, json!({ "ends_at": "2099-01-01T00:00:00Z" })).await;
    let late = json!({ "starts_at": "2099-01-02T00:00:00Z" });
    change(&app, &drop, "publish", &late)
        .await
        .problem(422, "invalid_value");
    let body = json!({ "starts_at": "2098-01-01T00:00:00Z" });
    let published = change(&app, &drop, "publish", &body).await.ok(200);
    assert_eq!(published["starts_at"], "2098-01-01T00:00:00.000Z");

    let drop = draft(
        &app,
        json!({ "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z" }),
    )
    .await;
    change(&app, &drop, "publish", &json!({}))
        .await
        .problem(409, "ended");
}
