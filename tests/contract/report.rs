//! docs/CONTRACT.md on the report of a drop: the outcome of its holds, as the log has it.

use harness::{AUDITOR_KEY, App, Reply, eventually, fetch, key, number, text};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

async fn read(app: &App, drop: &str) -> Reply {
    let path = format!("/v1/admin/drops/{drop}/report");
    fetch(app.admin(Method::GET, &path)).await
}

async fn hold_of(app: &App, drop: &str, quantity: u32) -> Reply {
    let body = json!({ "buyer_id": key(), "quantity": quantity });
    app.hold_with(drop, &key(), &body).await
}

async fn held(app: &App, drop: &str, quantity: u32) -> String {
    text(&hold_of(app, drop, quantity).await.ok(201)["id"])
}

fn counted(count: u64, units: u64) -> Value {
    json!({ "count": count, "units": units })
}

/// A drop of ten units: 2 expired, 3 purchased of which 1 was refunded, 2 released, 2 on hold. A
/// request for too many units and one beyond the limit were refused.
async fn some_sales(app: &App) -> String {
    let terms = json!({ "max_per_hold": 6, "hold_seconds": 1 });
    let drop = app.create_drop(10, terms).await;
    held(app, &drop, 2).await;
    eventually("the hold has expired", || async {
        let report = read(app, &drop).await.ok(200);
        (report["funnel"]["expired"]["units"] == 2).then_some(())
    })
    .await;
    let patch = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .header("if-match", "*")
        .json(&json!({ "hold_seconds": 3600 }));
    fetch(patch).await.ok(200);
    let bought = held(app, &drop, 3).await;
    let purchase = text(&app.purchase(&bought).await.ok(201)["id"]);
    let released = held(app, &drop, 2).await;
    assert_eq!(app.release(&released).await.status, 204);
    held(app, &drop, 2).await;
    hold_of(app, &drop, 6).await.problem(409, "sold_out");
    hold_of(app, &drop, 7).await.problem(409, "limit_reached");
    let path = format!("/v1/purchases/{purchase}/refunds");
    let refund = app
        .admin(Method::POST, &path)
        .header("idempotency-key", key());
    let refund = refund.json(&json!({ "quantity": 1, "reason": "returned" }));
    fetch(refund).await.ok(201);
    drop
}

#[tokio::test]
async fn report_has_the_outcome_of_every_hold_and_is_the_same_after_a_restart() {
    let app = App::start().await;
    let drop = some_sales(&app).await;
    let before = read(&app, &drop).await.ok(200);
    assert_eq!(
        before["funnel"],
        json!({
            "placed": counted(4, 9), "offered": counted(0, 0), "open": counted(1, 2), "purchased": counted(1, 3),
            "expired": counted(1, 2), "released": counted(1, 2), "refunded": counted(1, 1),
        })
    );
    assert_eq!(
        before["stock"],
        json!({ "total": 10, "available": 6, "held": 2, "sold": 2 })
    );
    assert_eq!(
        before["refusals"],
        json!({ "sold_out": 1, "limit_reached": 1, "throttled": 0 })
    );
    assert_eq!(
        (&before["name"], &before["status"]),
        (&json!("Test drop"), &json!("live"))
    );
    assert_eq!(
        (&before["sold_out_at"], &before["all_sold_at"]),
        (&Value::Null, &Value::Null)
    );
    let latest = before["latest"].as_array().unwrap();
    let newest = &latest[0];
    assert_eq!(
        (&newest["event_type"], &newest["units"], &newest["position"]),
        (&json!("PurchaseRefunded"), &json!(1), &before["position"])
    );
    assert_eq!(latest.last().unwrap()["event_type"], "DropScheduled");

    let app = app.restart().await;
    let mut after = read(&app, &drop).await.ok(200);
    // They are not in the log, and the last second of them is lost with the process.
    after["refusals"] = before["refusals"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn opening_shows_a_stampede_in_buckets_of_fifty_milliseconds() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let empty = read(&app, &drop).await.ok(200);
    assert_eq!(empty["opening"], json!({ "bucket_ms": 50, "buckets": [] }));
    assert_eq!(empty["first_hold_at"], Value::Null);
    let holds = [held(&app, &drop, 1).await, held(&app, &drop, 1).await];
    assert_eq!(read(&app, &drop).await.ok(200)["sold_out_at"], Value::Null);
    let last = held(&app, &drop, 1).await;
    hold_of(&app, &drop, 1).await.problem(409, "sold_out");
    for hold in holds.iter().chain([&last]) {
        app.purchase(hold).await.ok(201);
    }
    let report = read(&app, &drop).await.ok(200);
    let placed_at = async |hold: &str| app.read_hold(hold).await.ok(200)["placed_at"].clone();
    assert_eq!(report["first_hold_at"], placed_at(&holds[0]).await);
    assert_eq!(report["sold_out_at"], placed_at(&last).await);
    let sold_at = app.read_hold(&last).await.ok(200)["purchased_at"].clone();
    assert_eq!(report["all_sold_at"], sold_at);
    let buckets = report["opening"]["buckets"].as_array().unwrap();
    for (index, bucket) in buckets.iter().enumerate() {
        assert_eq!(number(&bucket["after_ms"]), 50 * index as u64);
    }
    // A slow machine may need longer than the opening for the purchases, not for the first hold.
    assert!(number(&buckets[0]["holds"]) >= 1);
    assert!(buckets.len() <= 200, "ten seconds");
    let last = buckets.last().unwrap();
    assert!(["held", "sold", "freed"].iter().any(|name| last[name] != 0));
}

#[tokio::test]
async fn report_needs_an_admin_key_and_a_drop() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let path = format!("/v1/admin/drops/{drop}/report");
    fetch(app.request(Method::GET, &path))
        .await
        .problem(401, "unauthorized");
    let request = app.request(Method::GET, &path).bearer_auth(AUDITOR_KEY);
    fetch(request).await.problem(403, "forbidden");
    let unknown = read(&app, &Uuid::new_v4().to_string()).await;
    unknown.problem(404, "drop_not_found");
    read(&app, "x").await.problem(404, "drop_not_found");
}
