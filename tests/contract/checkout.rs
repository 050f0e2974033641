//! docs/CONTRACT.md on payments: a buyer pays with a provider, and every payment that succeeded is
//! one sale or one refund.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod by_hand;
mod provider;
mod refunds;
mod returns;

use std::collections::BTreeMap;

use chrono::Utc;
use domain::values::Timestamp;
use harness::{Api, App, Launch, Raw, Reply, eventually, fetch, key, number, text, token};
use payments::{Demo, Secret, signature};
use reqwest::Method;
use serde_json::{Value, json};

const PRICE: u64 = 19_999;

async fn ordered(api: &Api, buyer: &str, items: &[(&str, u32)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(drop, units)| json!({ "drop_id": drop, "quantity": units }))
        .collect();
    let request = api.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", key());
    let order = request.json(&json!({ "buyer_id": buyer, "items": items }));
    fetch(order).await.ok(201)
}

async fn pay_with(api: &Api, order: &str, key: &str, body: Value) -> Reply {
    let path = format!("/v1/orders/{order}/payments");
    let request = api.request(Method::POST, &path);
    fetch(request.header("idempotency-key", key).json(&body)).await
}

async fn pay(api: &Api, order: &str, scenario: &str) -> Value {
    let body = json!({ "scenario": scenario });
    pay_with(api, order, &key(), body).await.ok(201)
}

async fn read(api: &Api, order: &str) -> Value {
    fetch(api.admin(Method::GET, &format!("/v1/orders/{order}")))
        .await
        .ok(200)
}

async fn status_becomes(api: &Api, order: &str, status: &str) -> Value {
    eventually(&format!("order {order} is {status}"), || async {
        let seen = read(api, order).await;
        (seen["status"] == status).then_some(seen)
    })
    .await
}

async fn jobs(api: &Api, query: &str) -> Vec<Value> {
    let list = fetch(api.admin(Method::GET, &format!("/v1/admin/jobs{query}"))).await;
    list.ok(200)["data"].as_array().unwrap().clone()
}

/// Waits until the jobs are these, by kind and status. They follow the log, so they may be missing
/// at first.
async fn settled(api: &Api, expected: &[(&str, &str, usize)]) {
    let expected = counted(expected);
    eventually(&format!("the jobs are {expected:?}"), || async {
        let mut counts = BTreeMap::new();
        for job in jobs(api, "").await {
            let kind = (text(&job["kind"]), text(&job["status"]));
            *counts.entry(kind).or_default() += 1;
        }
        (counts == expected).then_some(())
    })
    .await;
}

fn counted(counts: &[(&str, &str, usize)]) -> BTreeMap<(String, String), usize> {
    let counts = counts.iter();
    counts
        .map(|(kind, status, count)| (((*kind).to_owned(), (*status).to_owned()), *count))
        .collect()
}

async fn needs_attention(api: &Api) -> Vec<Value> {
    let list = fetch(api.admin(Method::GET, "/v1/admin/needs-attention")).await;
    list.ok(200)["data"].as_array().unwrap().clone()
}

/// Counts the events of an order's stream by type.
async fn events_of(api: &Api, order: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in api.log().await {
        if event.aggregate_id == order {
            *counts.entry(event.event_type).or_default() += 1;
        }
    }
    counts
}

fn count(counts: &BTreeMap<String, usize>, event_type: &str) -> usize {
    counts.get(event_type).copied().unwrap_or_default()
}

/// Signs webhooks as the demo of this database does.
struct Signer(Demo);

impl Signer {
    async fn of(app: &App) -> Self {
        let seed: String = sqlx::query_scalar("SELECT seed FROM payment_demo_seed")
            .fetch_one(app.pool())
            .await
            .unwrap();
        Self(Demo::new(Secret::new(seed), Box::new(now)))
    }

    async fn post(&self, api: &Api, body: &Value) -> Reply {
        let body = body.to_string();
        let signature = signature::sign(body.as_bytes(), self.0.webhook_secret(), now());
        post_signed(api, "demo", &signature, body).await
    }
}

async fn post_signed(api: &Api, provider: &str, signature: &str, body: String) -> Reply {
    let path = format!("/v1/payments/webhooks/{provider}");
    let request = api.request(Method::POST, &path);
    let request = request.header("content-type", "application/json");
    fetch(request.header(signature::HEADER, signature).body(body)).await
}

fn now() -> Timestamp {
    Utc::now().into()
}

/// An event about the intent of a payment.
fn event(payment: &Value, event_type: &str, amount: u64) -> Value {
    let status = match event_type {
        "amount_capturable_updated" => "requires_capture",
        "canceled" => "canceled",
        "succeeded" => "succeeded",
        _ => "requires_payment_method",
    };
    json!({
        "id": format!("evt_{}", uuid::Uuid::new_v4().simple()), "object": "event",
        "type": format!("payment_intent.{event_type}"), "created": Utc::now().timestamp(),
        "data": { "object": {
            "id": payment["provider_reference"], "object": "payment_intent", "amount": amount,
            "amount_capturable": amount, "amount_received": amount, "currency": "usd", "status": status,
            "last_payment_error": { "type": "card_error", "code": "card_declined" },
            "metadata": { "order_id": payment["order_id"], "payment_id": payment["id"] },
        } },
    })
}

/// A shop with a drop of five units and holds of an hour.
async fn shop() -> (App, String) {
    let app = App::start().await;
    let drop = app.create_drop(5, terms()).await;
    (app, drop)
}

fn terms() -> Value {
    json!({ "hold_seconds": 3_600, "max_per_hold": 4 })
}

/// Terms of a drop whose orders are over after a second.
fn brief() -> Value {
    json!({ "hold_seconds": 1, "max_per_hold": 4 })
}

#[tokio::test]
async fn payment_is_started_once_and_pays_the_order() {
    let (app, drop) = shop().await;
    let order = ordered(&app, "ann", &[(&drop, 2)]).await;
    assert_eq!(order["payment"], Value::Null);
    let id = text(&order["id"]);
    let first = pay_with(&app, &id, "pay-1", json!({})).await;
    let payment = first.ok(201);
    assert_eq!(payment["order_id"], order["id"]);
    assert_eq!(payment["provider"], "demo");
    assert_eq!(
        payment["amount"],
        json!({ "amount": 2 * PRICE, "currency": "USD" })
    );
    let (reference, secret) = (
        text(&payment["provider_reference"]),
        text(&payment["client_secret"]),
    );
    assert!(secret.starts_with(&reference), "{payment}");
    assert!(number(&payment["position"]) > number(&order["position"]));

    let paid = status_becomes(&app, &id, "paid").await;
    assert_eq!(paid["late"], false);
    assert_eq!(paid["payment"]["id"], payment["id"]);
    assert_eq!(paid["payment"]["status"], "succeeded");
    assert_eq!(
        paid["payment"]["provider_reference"],
        payment["provider_reference"]
    );
    assert_eq!(app.stock(&drop).await, [5, 3, 0, 2]);
    settled(&app, &[("payment_capture", "done", 1)]).await;

    // A repeated request has the same payment, which cannot be made any more.
    let again = pay_with(&app, &id, "pay-1", json!({})).await;
    assert!(again.is_replay());
    let again = again.ok(201);
    assert_eq!(
        (
            &again["id"],
            &again["provider_reference"],
            &again["client_secret"]
        ),
        (&payment["id"], &payment["provider_reference"], &Value::Null)
    );
    assert_eq!(again["status"], "succeeded");
    let refused = pay_with(&app, &id, &key(), json!({})).await;
    assert_eq!(
        refused.problem(409, "order_paid")["paid_at"],
        paid["paid_at"]
    );
    let events = events_of(&app, &id).await;
    assert_eq!(
        ["PaymentStarted", "PaymentSucceeded", "OrderPaid"].map(|kind| count(&events, kind)),
        [1; 3]
    );
    assert!(!app.stderr().contains(&secret), "{}", app.stderr());
    app.audit_verify().await;
}

#[tokio::test]
async fn start_that_is_repeated_before_the_payment_returns_the_same_secret() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let body = json!({ "provider": "demo", "scenario": "declines" });
    let first = pay_with(&app, &order, "pay-1", body.clone()).await.ok(201);
    let again = pay_with(&app, &order, "pay-1", body).await;
    assert!(again.is_replay());
    let again = again.ok(201);
    for member in ["id", "provider_reference", "client_secret", "amount"] {
        assert_eq!(again[member], first[member], "{member}");
    }
}

#[tokio::test]
async fn invalid_starts_are_refused_and_record_nothing() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let head = app.audit("/v1/log/head").await.ok(200)["position"].clone();
    for (body, pointer) in [
        (json!({ "provider": "stripe" }), "/provider"),
        (json!({ "provider": "other" }), "/provider"),
        (json!({ "scenario": "steals" }), "/scenario"),
        (json!({ "scenario": "pays_late=0" }), "/scenario"),
        (json!({ "amount": 1 }), "/amount"),
    ] {
        pay_with(&app, &order, &key(), body).await.invalid(pointer);
    }
    let path = format!("/v1/orders/{order}/payments");
    let bare = fetch(app.request(Method::POST, &path)).await;
    bare.problem(400, "idempotency_key_required");
    for unknown in [uuid::Uuid::new_v4().to_string(), "nothing".to_owned()] {
        let refused = pay_with(&app, &unknown, &key(), json!({})).await;
        refused.problem(404, "order_not_found");
    }
    assert_eq!(app.audit("/v1/log/head").await.ok(200)["position"], head);

    for _ in 0..10 {
        pay(&app, &order, "declines").await;
    }
    let refused = pay_with(&app, &order, &key(), json!({})).await;
    assert_eq!(refused.problem(409, "too_many_payments")["limit"], 10);
}

#[tokio::test]
async fn declined_buyer_pays_at_the_second_attempt() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    let declined = pay(&app, &order, "declines").await;
    eventually("the payment has failed", || async {
        let seen = read(&app, &order).await;
        (seen["payment"]["status"] == "failed").then_some(())
    })
    .await;
    assert_eq!(read(&app, &order).await["status"], "pending");
    let second = pay(&app, &order, "pays").await;
    assert_ne!(second["id"], declined["id"]);
    let paid = status_becomes(&app, &order, "paid").await;
    assert_eq!(paid["payment"]["id"], second["id"]);
    // The intent that was declined could still be paid, so it is cancelled.
    let expected = [
        ("payment_cancel", "done", 1),
        ("payment_capture", "done", 1),
    ];
    settled(&app, &expected).await;
    app.audit_verify().await;
}

#[tokio::test]
async fn late_money_buys_units_that_are_still_free() {
    let app = App::start().await;
    let drop = app.create_drop(3, brief()).await;
    let order = text(&ordered(&app, "ann", &[(&drop, 2)]).await["id"]);
    pay(&app, &order, "pays_late=3").await;
    status_becomes(&app, &order, "expired").await;
    let paid = status_becomes(&app, &order, "paid").await;
    assert_eq!(
        (&paid["late"], &paid["payment"]["late"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(app.stock(&drop).await, [3, 1, 0, 2]);
    settled(
        &app,
        &[
            ("payment_cancel", "done", 1),
            ("payment_capture", "done", 1),
        ],
    )
    .await;
    assert_eq!(needs_attention(&app).await, [] as [Value; 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn late_money_is_returned_if_the_units_are_gone_or_the_shop_wants_it_so() {
    let app = App::start().await;
    let drop = app.create_drop(1, brief()).await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    pay(&app, &order, "pays_late=4").await;
    status_becomes(&app, &order, "expired").await;
    eventually("the unit is free again, and withdrawn", || async {
        (app.adjust(&drop, -1).await.status == 201).then_some(())
    })
    .await;
    refunded(&app, &order, "late").await;
    assert_eq!(app.stock(&drop).await, [0, 0, 0, 0]);

    let launch = Launch::fresh()
        .await
        .with("HOLDFAST_LATE_PAYMENTS", "refund");
    let strict = launch.start().await;
    let drop = strict.create_drop(1, brief()).await;
    let order = text(&ordered(&strict, "ann", &[(&drop, 1)]).await["id"]);
    pay(&strict, &order, "pays_late=3").await;
    refunded(&strict, &order, "late").await;
    assert_eq!(strict.stock(&drop).await, [1, 1, 0, 0]);
}

/// Waits until an order that expired has had its money returned.
async fn refunded(app: &App, order: &str, cause: &str) {
    let refund = eventually("the money is returned", || async {
        let done = jobs(app, "?kind=refund&status=done").await;
        done.into_iter().next()
    })
    .await;
    assert_eq!(refund["subject"], format!("/v1/orders/{order}"));
    assert_eq!(read(app, order).await["status"], "expired");
    let events = events_of(app, order).await;
    assert_eq!(
        [
            "PaymentArrivedLate",
            "RefundRequested",
            "RefundSettled",
            "OrderPaid"
        ]
        .map(|kind| count(&events, kind)),
        [1, 1, 1, 0]
    );
    let log = app.log().await;
    let requested = log
        .iter()
        .find(|event| event.event_type == "RefundRequested");
    assert_eq!(requested.unwrap().fields()["cause"], cause);
    settled(app, &[("payment_cancel", "done", 1), ("refund", "done", 1)]).await;
    assert_eq!(needs_attention(app).await, [] as [Value; 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn second_payment_of_an_order_is_returned() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    pay(&app, &order, "pays_twice").await;
    eventually("one payment is returned", || async {
        let done = jobs(&app, "?kind=refund&status=done").await;
        (done.len() == 1).then_some(())
    })
    .await;
    let expected = [("payment_capture", "done", 1), ("refund", "done", 1)];
    settled(&app, &expected).await;
    let events = events_of(&app, &order).await;
    assert_eq!(
        ["PaymentSucceeded", "OrderPaid", "RefundRequested"].map(|kind| count(&events, kind)),
        [2, 1, 1]
    );
    assert_eq!(read(&app, &order).await["status"], "paid");
    assert_eq!(app.stock(&drop).await, [5, 4, 0, 1]);
    app.audit_verify().await;
}

#[tokio::test]
async fn payment_of_a_cancelled_order_is_cancelled() {
    let (app, drop) = shop().await;
    let order = text(&ordered(&app, "ann", &[(&drop, 1)]).await["id"]);
    pay(&app, &order, "declines").await;
    let cancel = app.request(Method::POST, &format!("/v1/orders/{order}/cancel"));
    fetch(cancel).await.ok(200);
    let job = eventually("the payment is cancelled", || async {
        let done = jobs(&app, "?kind=payment_cancel&status=done").await;
        done.into_iter().next()
    })
    .await;
    assert_eq!(job["subject"], format!("/v1/orders/{order}"));
    let path = format!("/v1/admin/jobs/{}", text(&job["id"]));
    for change in ["retry", "cancel"] {
        let refused = fetch(app.admin(Method::POST, &format!("{path}/{change}"))).await;
        refused.problem(409, "job_done");
    }
    let refused = pay_with(&app, &order, &key(), json!({})).await;
    refused.problem(410, "order_cancelled");
    app.audit_verify().await;
}

#[tokio::test]
async fn start_extends_the_holds_within_the_terms_of_all_drops() {
    let app = App::start().await;
    let long = json!({ "hold_seconds": 60, "max_hold_seconds": 900 });
    let short = json!({ "hold_seconds": 90, "max_hold_seconds": 600 });
    let (lamp, chair) = (
        app.create_drop(1, long).await,
        app.create_drop(1, short).await,
    );
    let order = ordered(&app, "ann", &[(&lamp, 1), (&chair, 1)]).await;
    let id = text(&order["id"]);
    let at = |order: &Value, member: &str| {
        chrono::DateTime::parse_from_rfc3339(&text(&order[member])).unwrap()
    };
    let seconds = |order: &Value| (at(order, "expires_at") - at(order, "placed_at")).num_seconds();
    assert_eq!(seconds(&order), 60);
    pay(&app, &id, "declines").await;
    let extended = read(&app, &id).await;
    assert_eq!(seconds(&extended), 600);
    for item in extended["items"].as_array().unwrap() {
        let hold = app.read_hold(&text(&item["hold_id"])).await.ok(200);
        assert_eq!(hold["expires_at"], extended["expires_at"]);
    }
    pay(&app, &id, "pays").await;
    status_becomes(&app, &id, "paid").await;
    settled(
        &app,
        &[
            ("payment_cancel", "done", 1),
            ("payment_capture", "done", 1),
        ],
    )
    .await;
    app.audit_verify().await;
}

async fn refund(api: &Api, order: &str, key: &str, body: Value) -> Reply {
    let request = api.admin(Method::POST, &format!("/v1/orders/{order}/refunds"));
    fetch(request.header("idempotency-key", key).json(&body)).await
}

#[tokio::test]
async fn buyer_pays_only_their_own_order_and_the_demo_is_off_where_buyers_have_tokens() {
    const SECRET: &str = "the shop's secret for its buyers";
    let launch = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", SECRET);
    let app = launch.clone().start().await;
    let drop = app.create_drop(2, terms()).await;
    let (ann, bob) = (token(SECRET, "ann", 600), token(SECRET, "bob", 600));
    let request = app.request(Method::POST, "/v1/orders").bearer_auth(&ann);
    let request = request.header("idempotency-key", key());
    let order = request.json(&json!({ "buyer_id": "ann", "items": [{ "drop_id": drop }] }));
    let order = text(&fetch(order).await.ok(201)["id"]);
    let path = format!("/v1/orders/{order}/payments");
    let send = async |app: &App, bearer: &str| {
        let request = app.request(Method::POST, &path).bearer_auth(bearer);
        fetch(request.header("idempotency-key", key())).await
    };
    send(&app, &ann).await.invalid("/provider");
    let offered = launch.with("HOLDFAST_DEMO_PAYMENTS", "on").start().await;
    send(&offered, &bob).await.problem(403, "forbidden");
    send(&offered, &ann).await.ok(201);
    eventually("the order is paid", || async {
        let seen = read(&offered, &order).await;
        (seen["status"] == "paid").then_some(())
    })
    .await;
    offered
        .wait_for_log("payments with the built-in demo are offered")
        .await;
    assert!(!app.stderr().contains("built-in demo"), "{}", app.stderr());
}

/// Regression: any client could let the server keep half a mebibyte for each of their connections.
#[tokio::test]
async fn unfinished_large_webhooks_are_bounded_and_small_ones_pass() {
    let app = App::start().await;
    let path = "/v1/payments/webhooks/demo";
    let head = format!("POST {path} HTTP/1.1\r\nhost: holdfast\r\ncontent-length: 524288\r\n\r\n");
    let large = "x".repeat(20 * 1024);
    let send = |body: &str| {
        let (app, body) = (&app, body.to_owned());
        async move { post_signed(app, "demo", "t=1,v1=00", body).await }
    };
    send(&large).await.problem(400, "signature_invalid");
    let refused = eventually("thirty-two are being received", || async {
        let mut unfinished = vec![];
        for _ in 0..32 {
            let mut connection = Raw::connect(app.address()).await;
            connection.send(head.as_bytes()).await;
            connection.send(large.as_bytes()).await;
            unfinished.push(connection);
        }
        let reply = send(&large).await;
        send("{}").await.problem(400, "signature_invalid");
        (reply.status != 400).then_some(reply)
    })
    .await;
    refused.problem(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    // Their connections are closed.
    eventually("others are received again", || async {
        (send(&large).await.status == 400).then_some(())
    })
    .await;
}
