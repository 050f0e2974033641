//! docs/CONTRACT.md on changes of holds in place: the number of units, and the deadline.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, Reply, eventually, fetch, key, number, text, token};
use reqwest::Method;
use serde_json::{Value, json};

async fn change(app: &App, hold: &str, quantity: u32) -> Reply {
    let request = app.request(Method::PATCH, &format!("/v1/holds/{hold}"));
    fetch(request.json(&json!({ "quantity": quantity }))).await
}

async fn extend(app: &App, hold: &str, seconds: u32) -> Reply {
    let request = app.admin(Method::POST, &format!("/v1/holds/{hold}/extend"));
    fetch(request.json(&json!({ "seconds": seconds }))).await
}

#[track_caller]
fn millis(value: &Value) -> i64 {
    chrono::DateTime::parse_from_rfc3339(&text(value))
        .unwrap()
        .timestamp_millis()
}

/// How long a hold lasts, in milliseconds.
#[track_caller]
fn lasts(hold: &Value) -> i64 {
    millis(&hold["expires_at"]) - millis(&hold["placed_at"])
}

/// Everything of a hold but its units, its position and the time.
fn identity(hold: &Value) -> Value {
    let mut hold = hold.clone();
    for changing in ["quantity", "position", "server_time"] {
        hold[changing].take();
    }
    hold
}

#[tokio::test]
async fn units_of_a_hold_are_changed_in_place() {
    let app = App::start().await;
    let limits = json!({
        "max_per_hold": 4, "max_per_buyer": 5, "throttle": { "holds": 2, "window_seconds": 600 },
    });
    let drop = app.create_drop(6, limits).await;
    let placed = app.hold(&drop, "alice").await.ok(201);
    let hold = text(&placed["id"]);

    let more = change(&app, &hold, 4).await;
    assert_eq!(more.header("cache-control"), "private, no-cache");
    let more = more.ok(200);
    assert_eq!(
        (&more["quantity"], &more["position"]),
        (&json!(4), &json!(number(&placed["position"]) + 1))
    );
    assert_eq!(identity(&more), identity(&placed));
    assert_eq!(app.stock(&drop).await, [6, 2, 4, 0]);
    let same = change(&app, &hold, 4).await.ok(200);
    assert_eq!(same["position"], more["position"], "nothing was recorded");

    let body = change(&app, &hold, 5).await.problem(409, "limit_reached");
    let numbers = |body: &Value| (body["limit"].clone(), body["allowance"].clone());
    assert_eq!(numbers(&body), (json!(4), json!(0)));
    assert_eq!(body["limit_name"], "max_per_hold");
    // The throttle allows two holds, and a change is none.
    let second = app.held(&drop, "alice").await;
    change(&app, &hold, 3).await.ok(200);
    app.hold(&drop, "alice").await.problem(429, "throttled");
    change(&app, &hold, 4).await.ok(200);
    let body = change(&app, &second, 2).await.problem(409, "limit_reached");
    assert_eq!(numbers(&body), (json!(5), json!(0)));
    assert_eq!(body["limit_name"], "max_per_buyer");

    let bob = app.held(&drop, "bob").await;
    let body = change(&app, &bob, 2).await.problem(409, "sold_out");
    let units = (&body["requested"], &body["available"]);
    assert_eq!(units, (&json!(1), &json!(0)));

    // Units that are returned go to the waitlist first.
    let entry = app.joined(&drop, "carol", 2).await;
    let less = change(&app, &hold, 1).await.ok(200);
    assert_eq!(less["quantity"], 1);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "offered");
    assert_eq!(app.stock(&drop).await, [6, 1, 5, 0]);

    let purchase = app.purchase(&hold).await.ok(201);
    assert_eq!(purchase["quantity"], 1);
    assert_eq!(purchase["total"]["amount"], 19_999);
    change(&app, &hold, 2).await.problem(409, "hold_purchased");
    app.ledger().await;
    app.audit_verify().await;
}

#[tokio::test]
async fn retry_of_a_placement_returns_the_changed_hold() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "max_per_hold": 5 })).await;
    let (key, body) = (key(), json!({ "buyer_id": "alice", "quantity": 2 }));
    let hold = text(&app.hold_with(&drop, &key, &body).await.ok(201)["id"]);
    change(&app, &hold, 3).await.ok(200);
    let again = app.hold_with(&drop, &key, &body).await;
    assert!(again.is_replay());
    let again = again.ok(201);
    assert_eq!(
        (&again["id"], &again["quantity"]),
        (&json!(hold), &json!(3))
    );
    let three = json!({ "buyer_id": "alice", "quantity": 3 });
    let reused = app.hold_with(&drop, &key, &three).await;
    reused.problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn hold_that_is_over_cannot_be_changed_or_extended() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "max_per_hold": 5 })).await;
    let released = app.held(&drop, "alice").await;
    app.release(&released).await.ok(204);
    change(&app, &released, 2)
        .await
        .problem(410, "hold_released");
    extend(&app, &released, 60)
        .await
        .problem(410, "hold_released");
    let purchased = app.held(&drop, "bob").await;
    app.purchase(&purchased).await.ok(201);
    extend(&app, &purchased, 60)
        .await
        .problem(409, "hold_purchased");
    let brief = app
        .create_drop(9, json!({ "hold_seconds": 1, "max_per_hold": 5 }))
        .await;
    let expired = app.held(&brief, "carol").await;
    eventually("the hold expires", || async {
        let read = app.read_hold(&expired).await.ok(200);
        (read["status"] == "expired").then_some(())
    })
    .await;
    let body = change(&app, &expired, 2).await.problem(410, "hold_expired");
    let read = app.read_hold(&expired).await.ok(200);
    assert_eq!(body["expired_at"], read["expires_at"]);
    extend(&app, &expired, 60)
        .await
        .problem(410, "hold_expired");
    for unknown in [uuid::Uuid::new_v4().to_string(), "x".to_owned()] {
        change(&app, &unknown, 2)
            .await
            .problem(404, "hold_not_found");
        extend(&app, &unknown, 60)
            .await
            .problem(404, "hold_not_found");
    }
    for bad in [json!(0), json!(1_001), json!(1.5), json!(null)] {
        let request = app.request(Method::PATCH, &format!("/v1/holds/{purchased}"));
        fetch(request.json(&json!({ "quantity": bad })))
            .await
            .invalid("/quantity");
    }
    for bad in [json!(0), json!(86_401), json!("60")] {
        let request = app.admin(Method::POST, &format!("/v1/holds/{purchased}/extend"));
        fetch(request.json(&json!({ "seconds": bad })))
            .await
            .invalid("/seconds");
    }
}

#[tokio::test]
async fn hold_is_extended_by_an_administrator_up_to_the_limit_of_the_drop() {
    let app = App::start().await;
    let terms = json!({ "hold_seconds": 30, "max_hold_seconds": 600 });
    let drop = app.create_drop(3, terms).await;
    let hold = app.held(&drop, "alice").await;
    let request = app.request(Method::POST, &format!("/v1/holds/{hold}/extend"));
    let refused = fetch(request.json(&json!({ "seconds": 60 }))).await;
    refused.problem(401, "unauthorized");
    let before = app.read_hold(&hold).await.ok(200);
    assert_eq!(lasts(&before), 30_000);

    let unchanged = extend(&app, &hold, 1).await.ok(200);
    assert_eq!(
        unchanged["expires_at"], before["expires_at"],
        "never shortened"
    );
    assert_eq!(unchanged["position"], before["position"]);
    let extended = extend(&app, &hold, 300).await.ok(200);
    assert!((300_000..600_000).contains(&lasts(&extended)), "{extended}");
    assert!(number(&extended["position"]) > number(&before["position"]));
    let body = extend(&app, &hold, 601)
        .await
        .problem(409, "extension_limit");
    let latest = millis(&before["placed_at"]) + 600_000;
    assert_eq!(millis(&body["expires_at_max"]), latest);
    assert_eq!(
        app.read_hold(&hold).await.ok(200)["expires_at"],
        extended["expires_at"]
    );

    // Without a limit of its own a drop extends no hold.
    let plain = app.create_drop(3, json!({ "hold_seconds": 30 })).await;
    let hold = app.held(&plain, "alice").await;
    let placed = app.read_hold(&hold).await.ok(200);
    let body = extend(&app, &hold, 31)
        .await
        .problem(409, "extension_limit");
    assert_eq!(body["expires_at_max"], placed["expires_at"]);
    app.audit_verify().await;
}

#[tokio::test]
async fn extended_hold_outlives_its_first_deadline_and_a_restart() {
    let app = App::start().await;
    let terms = json!({ "hold_seconds": 1, "max_hold_seconds": 600 });
    let drop = app.create_drop(3, terms).await;
    let kept = app.held(&drop, "alice").await;
    extend(&app, &kept, 300).await.ok(200);
    let other = app.held(&drop, "bob").await;
    let app = app.restart().await;
    eventually("the other hold expires", || async {
        let ledger = app.ledger().await;
        (ledger.end_of(&other) == Some("HoldExpired")).then_some(())
    })
    .await;
    assert_eq!(app.read_hold(&kept).await.ok(200)["status"], "held");
    app.purchase(&kept).await.ok(201);
    assert_eq!(app.stock(&drop).await, [3, 2, 0, 1]);
    app.audit_verify().await;
}

#[tokio::test]
async fn offer_lasts_for_the_offer_seconds_of_the_drop() {
    let app = App::start().await;
    let terms = json!({ "hold_seconds": 30, "offer_seconds": 604_800 });
    let drop = app.create_drop(1, terms).await;
    let hold = app.held(&drop, "alice").await;
    let entry = app.joined(&drop, "bob", 1).await;
    app.release(&hold).await.ok(204);
    let entry = app.waitlist_entry(&entry).await;
    let offered = app.read_hold(&text(&entry["hold_id"])).await.ok(200);
    assert_eq!(lasts(&offered), 604_800_000);
    assert_eq!(entry["expires_at"], offered["expires_at"]);
    app.audit_verify().await;
}

#[tokio::test]
async fn buyer_changes_only_holds_of_their_own_and_extends_none() {
    let secret = "the shop's secret for its buyers";
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", secret)
        .start()
        .await;
    let drop = app.create_drop(9, json!({ "max_per_hold": 5 })).await;
    let alice = token(secret, "alice", 600);
    let bob = token(secret, "bob", 600);
    let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
    let request = request.bearer_auth(&alice).header("idempotency-key", key());
    let hold = fetch(request.json(&json!({ "buyer_id": "alice" })))
        .await
        .ok(201);
    let path = format!("/v1/holds/{}", text(&hold["id"]));
    let change = async |bearer: Option<&str>| {
        let mut request = app.request(Method::PATCH, &path);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        fetch(request.json(&json!({ "quantity": 2 }))).await
    };
    change(None).await.problem(401, "unauthorized");
    change(Some(&bob)).await.problem(403, "forbidden");
    assert_eq!(change(Some(&alice)).await.ok(200)["quantity"], 2);
    change(Some(harness::ADMIN_KEY)).await.ok(200);
    let request = app.request(Method::POST, &format!("{path}/extend"));
    let request = request.bearer_auth(&alice).json(&json!({ "seconds": 60 }));
    fetch(request).await.problem(403, "forbidden");
}

#[tokio::test]
async fn total_is_set_after_a_count() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let path = format!("/v1/drops/{drop}/stock");
    let set = async |tag: Option<&str>, body: Value| {
        let mut request = app.admin(Method::PUT, &path);
        if let Some(tag) = tag {
            request = request.header("if-match", tag);
        }
        fetch(request.json(&body)).await
    };
    let count = |total: u32| json!({ "total": total, "reason": "counted" });
    let tag = app.get(&format!("/v1/drops/{drop}")).await;
    let tag = tag.header("etag").to_owned();
    set(None, count(9))
        .await
        .problem(428, "precondition_required");
    let unauthorized = fetch(app.request(Method::PUT, &path).json(&count(9))).await;
    unauthorized.problem(401, "unauthorized");
    // A sale in between changes nothing about the total.
    app.held(&drop, "alice").await;
    let reply = set(Some(&tag), count(9)).await;
    let body = reply.ok(200);
    assert_eq!(
        body["stock"],
        json!({ "total": 9, "available": 8, "held": 1, "sold": 0 })
    );
    let new_tag = reply.header("etag").to_owned();
    let stale = set(Some(&tag), count(7)).await.problem(412, "stale_stock");
    assert_eq!(
        (&stale["total"], &stale["available"]),
        (&json!(9), &json!(8))
    );
    set(Some("\"nonsense\""), count(7))
        .await
        .problem(412, "stale_stock");
    let same = set(Some(&new_tag), count(9)).await.ok(200);
    assert_eq!(same["position"], body["position"], "nothing was recorded");
    let refused = set(Some("*"), count(0))
        .await
        .problem(409, "insufficient_stock");
    assert_eq!(
        (&refused["delta"], &refused["available"]),
        (&json!(-9), &json!(8))
    );
    assert_eq!(set(Some("*"), count(1)).await.ok(200)["status"], "sold_out");
    for (pointer, bad) in [
        ("/total", json!({ "total": -1, "reason": "x" })),
        ("/total", json!({ "total": 10_000_001, "reason": "x" })),
        ("/reason", json!({ "total": 1, "reason": " " })),
    ] {
        set(Some("*"), bad).await.invalid(pointer);
    }
    let missing = app.admin(
        Method::PUT,
        &format!("/v1/drops/{}/stock", uuid::Uuid::new_v4()),
    );
    let missing = missing.header("if-match", "*").json(&count(1));
    fetch(missing).await.problem(404, "drop_not_found");
    let adjusted = app.log().await.into_iter();
    let adjusted = adjusted.filter(|event| event.event_type == "StockAdjusted");
    let deltas: Vec<Value> = adjusted
        .map(|event| event.fields()["delta"].clone())
        .collect();
    assert_eq!(deltas, [json!(4), json!(-8)]);
    app.audit_verify().await;
}
