//! docs/CONTRACT.md on outgoing webhooks, jobs, and matters that need attention.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{
    AUDITOR_KEY, Answer, App, Launch, Received, Receiver, Reply, distinct, eventually, fetch,
    in_order, in_seconds, number, text,
};
use reqwest::Method;
use serde_json::{Value, json};

const WEBHOOKS: &str = "/v1/admin/webhooks";

/// A server that may send to this machine, with short pauses between attempts.
async fn server(retries: &str) -> App {
    let launch = Launch::fresh().await;
    let launch = launch.with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8");
    launch
        .with("HOLDFAST_WEBHOOK_RETRIES", retries)
        .start()
        .await
}

async fn post(app: &App, path: &str, body: &Value) -> Reply {
    fetch(app.admin(Method::POST, path).json(body)).await
}

async fn call(app: &App, method: Method, path: &str) -> Reply {
    fetch(app.admin(method, path)).await
}

async fn read(app: &App, path: &str) -> Value {
    call(app, Method::GET, path).await.ok(200)
}

/// Creates an endpoint and returns its path.
async fn subscribe(app: &App, url: &str, more: Value) -> String {
    let mut body = json!({ "url": url });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    let created = post(app, WEBHOOKS, &body).await;
    let path = created.header("location").to_owned();
    let id = text(&created.ok(201)["id"]);
    assert_eq!(path, format!("{WEBHOOKS}/{id}"));
    path
}

async fn deliveries(app: &App, endpoint: &str, status: &str) -> Vec<Value> {
    let list = read(app, &format!("{endpoint}/deliveries?status={status}")).await;
    list["data"].as_array().unwrap().clone()
}

/// Waits for deliveries with this status.
async fn wait_for(app: &App, endpoint: &str, status: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} deliveries are {status}"), || async {
        let found = deliveries(app, endpoint, status).await;
        (found.len() >= count).then_some(found)
    })
    .await
}

fn kinds(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::kind).collect()
}

#[tokio::test]
async fn every_type_arrives_in_order_with_its_fields_and_without_personal_data() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    subscribe(&app, &receiver.url(), json!({})).await;
    let terms = json!({ "hold_seconds": 3600, "low_stock_at": 1 });
    let drop = app.create_drop(2, terms).await;
    let body = json!({ "buyer_id": "alice@example.com", "display_name": "Alice Liddell" });
    let hold = app.hold_with(&drop, &harness::key(), &body).await.ok(201);
    let hold = text(&hold["id"]);
    let last = app.held(&drop, "bob@example.com").await;
    let entry = app.joined(&drop, "carol@example.com", 1).await;
    let purchase = app.purchase(&hold).await.ok(201);
    app.release(&last).await.ok(204);
    let offered = eventually("the entry is offered a hold", || async {
        let entry = app.waitlist_entry(&entry).await;
        entry["hold_id"].as_str().map(str::to_owned)
    })
    .await;
    app.adjust(&drop, 3).await.ok(201);
    let refund = format!("/v1/purchases/{}/refunds", text(&purchase["id"]));
    let refund = app
        .admin(Method::POST, &refund)
        .header("idempotency-key", "refund")
        .json(&json!({ "reason": "returned", "restock": false }));
    fetch(refund).await.ok(201);
    let cancel = format!("/v1/drops/{drop}/cancel");
    call(&app, Method::POST, &cancel).await.ok(200);
    let soon = app.create_drop(1, json!({ "hold_seconds": 1 })).await;
    app.held(&soon, "dan@example.com").await;
    let brief = app
        .create_drop(1, json!({ "ends_at": in_seconds(1) }))
        .await;
    let received = receiver.wait_for(25).await;
    let first = in_order(&received);
    let of = |drop: &str| -> Vec<String> {
        let own = first.iter().filter(|one| one.drop_id() == drop);
        own.map(Received::kind).collect()
    };
    assert_eq!(
        of(&drop),
        [
            "drop.scheduled",
            "drop.started",
            "hold.placed",
            "stock.low",
            "hold.placed",
            "drop.sold_out",
            "purchase.confirmed",
            "hold.released",
            "drop.restocked",
            "hold.placed",
            "waitlist.offered",
            "drop.sold_out",
            "drop.restocked",
            "purchase.refunded",
            "drop.cancelled",
            "hold.released",
        ]
    );
    assert_eq!(
        of(&soon),
        [
            "drop.scheduled",
            "drop.started",
            "hold.placed",
            "drop.sold_out",
            "hold.expired",
            "drop.restocked"
        ]
    );
    assert_eq!(of(&brief), ["drop.scheduled", "drop.started", "drop.ended"]);
    for one in &received {
        let body = one.json();
        let members: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(distinct(members), ["data", "timestamp", "type"]);
        assert!(
            one.body.len() < 20_000 && !one.id().contains('.'),
            "{one:?}"
        );
        assert_eq!(one.header("content-type"), "application/json");
        let text = String::from_utf8_lossy(&one.body).to_lowercase();
        for personal in ["alice", "liddell", "bob", "carol", "dan@", "example.com"] {
            assert!(!text.contains(personal), "{text}");
        }
        let sent_at: i64 = one.header("webhook-timestamp").parse().unwrap();
        assert!(sent_at > 1_700_000_000, "whole seconds: {sent_at}");
    }
    let find = |kind: &str, holds: &str| {
        let mut all = first.iter().map(Received::json);
        let is_it = |one: &Value| one["type"] == kind && one["data"]["hold_id"] == holds;
        all.find(is_it)
            .unwrap_or_else(|| panic!("no {kind} of {holds}"))["data"]
            .clone()
    };
    let purchase = find("purchase.confirmed", &hold);
    assert_eq!(
        purchase["total"],
        json!({ "amount": 19_999, "currency": "USD" })
    );
    assert_eq!(
        find("waitlist.offered", &offered)["waitlist_entry_id"],
        entry.as_str()
    );
    assert_eq!(find("hold.released", &last)["cause"], "buyer");
    let low = first.iter().map(Received::json);
    let low: Vec<Value> = low.filter(|one| one["type"] == "stock.low").collect();
    let data = &low[0]["data"];
    assert_eq!(
        (&data["available"], &data["low_stock_at"], &data["position"]),
        (&json!(1), &json!(1), &json!(3))
    );
    let scheduled = first[0].json();
    assert_eq!(scheduled["data"]["name"], "Test drop");
    assert_eq!(scheduled["data"]["total_stock"], 2);
    assert_eq!(
        sent_types(&first),
        known_types(|name| !is_of_order(name) && name != "payment.late")
    );
}

fn is_of_order(name: &str) -> bool {
    name.starts_with("order.")
}

fn sent_types(received: &[Received]) -> BTreeSet<String> {
    kinds(received).into_iter().collect()
}

/// The types that the documentation lists.
fn known_types(is_one: fn(&str) -> bool) -> BTreeSet<String> {
    let known = webhooks::kind::Kind::ALL.iter().map(|kind| kind.name());
    known
        .filter(|name| is_one(name))
        .map(str::to_owned)
        .collect()
}

/// Places an order of these units.
async fn ordered(app: &App, items: &[(&str, u32)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(drop, units)| json!({ "drop_id": drop, "quantity": units }))
        .collect();
    let body = json!({ "buyer_id": "alice@example.com", "display_name": "Alice", "items": items });
    let request = app.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", harness::key());
    fetch(request.json(&body)).await.ok(201)
}

async fn paid(app: &App, order: &str) -> Value {
    let body = json!({ "payment_reference": "pi_personal" });
    post(app, &format!("/v1/orders/{order}/purchase"), &body)
        .await
        .ok(200)
}

async fn fulfilled(app: &App, order: &str, step: &str) {
    let body = json!({ "fulfilment": step, "tracking": "track-personal" });
    let request = app.admin(Method::PATCH, &format!("/v1/orders/{order}"));
    fetch(request.json(&body)).await.ok(200);
}

async fn refunded(app: &App, purchase: &Value, quantity: u32) {
    let body = json!({ "quantity": quantity, "reason": "returned" });
    let path = format!("/v1/purchases/{}/refunds", text(purchase));
    let request = app.admin(Method::POST, &path);
    let request = request.header("idempotency-key", harness::key());
    fetch(request.json(&body)).await.ok(201);
}

fn of_lane(received: &[Received], lane: &str) -> Vec<Received> {
    let own = received.iter().filter(|one| one.lane() == lane);
    own.cloned().collect()
}

#[tokio::test]
async fn every_type_of_orders_arrives_with_the_order_as_it_was_and_without_personal_data() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let kinds_of_orders: Vec<String> = known_types(is_of_order).into_iter().collect();
    let subscription = json!({ "event_types": kinds_of_orders });
    subscribe(&app, &receiver.url(), subscription).await;
    let terms = json!({ "hold_seconds": 3600, "max_per_hold": 4 });
    let lamp = app.create_drop(9, terms.clone()).await;
    let chair = app.create_drop(9, terms).await;
    let soon = app.create_drop(1, json!({ "hold_seconds": 1 })).await;
    let first = text(&ordered(&app, &[(&lamp, 3), (&chair, 2)]).await["id"]);
    let bought = paid(&app, &first).await;
    fulfilled(&app, &first, "processing").await;
    fulfilled(&app, &first, "delivered").await;
    let purchases = &bought["items"];
    refunded(&app, &purchases[0]["purchase_id"], 1).await;
    refunded(&app, &purchases[0]["purchase_id"], 2).await;
    refunded(&app, &purchases[1]["purchase_id"], 2).await;
    let second = text(&ordered(&app, &[(&lamp, 1)]).await["id"]);
    call(&app, Method::POST, &format!("/v1/orders/{second}/cancel"))
        .await
        .ok(200);
    let third = text(&ordered(&app, &[(&soon, 1)]).await["id"]);
    // A purchase of no order is not an order's refund.
    let hold = app.held(&chair, "bob").await;
    let purchase = app.purchase(&hold).await.ok(201);
    refunded(&app, &purchase["id"], 1).await;

    let received = in_order(&receiver.wait_for(11).await);
    assert_eq!(sent_types(&received), known_types(is_of_order));
    let own = of_lane(&received, &first);
    assert_eq!(
        kinds(&own),
        [
            "order.placed",
            "order.confirmed",
            "order.fulfilled",
            "order.fulfilled"
        ]
    );
    let data: Vec<Value> = own.iter().map(|one| one.json()["data"].clone()).collect();
    let column = |name: &str| -> Vec<&Value> { data.iter().map(|data| &data[name]).collect() };
    assert_eq!(column("status"), ["pending", "paid", "paid", "paid"]);
    assert_eq!(
        column("fulfilment"),
        ["unfulfilled", "unfulfilled", "processing", "delivered"]
    );
    assert!(data.iter().all(|data| data["total"] == bought["total"]));
    let item = &data[1]["items"][1];
    assert_eq!(
        (&item["drop_id"], &item["quantity"], &item["refunded"]),
        (&json!(chair), &json!(2), &json!(0))
    );
    assert_eq!(
        (&item["total"], &item["hold_id"]),
        (&bought["items"][1]["total"], &bought["items"][1]["hold_id"])
    );
    let mut refunds: Vec<Value> = received.iter().map(|one| one.json()).collect();
    refunds.retain(|body| body["type"] == "order.refunded");
    refunds.sort_by_key(|body| number(&body["data"]["position"]));
    let shown = |body: &Value| {
        let data = &body["data"];
        let items = data["items"].as_array().unwrap();
        let refunded: Vec<u64> = items.iter().map(|item| number(&item["refunded"])).collect();
        assert_eq!(data["order_id"], first.as_str());
        (text(&data["status"]), number(&data["quantity"]), refunded)
    };
    let shown: Vec<_> = refunds.iter().map(shown).collect();
    let partly = "partially_refunded".to_owned();
    assert_eq!(
        shown,
        [
            (partly.clone(), 1, vec![1, 0]),
            (partly, 2, vec![3, 0]),
            ("refunded".to_owned(), 2, vec![3, 2])
        ]
    );
    let own = of_lane(&received, &second);
    assert_eq!(kinds(&own), ["order.placed", "order.cancelled"]);
    assert_eq!(own[1].json()["data"]["cause"], "buyer");
    let own = of_lane(&received, &third);
    assert_eq!(kinds(&own), ["order.placed", "order.expired"]);
    assert_eq!(own[1].json()["data"]["status"], "expired");
    for one in &received {
        let text = String::from_utf8_lossy(&one.body).to_lowercase();
        for personal in ["alice", "example.com", "personal", "buyer_id", "bob"] {
            assert!(!text.contains(personal), "{text}");
        }
    }
}

#[tokio::test]
async fn failing_delivery_of_an_order_holds_back_that_order_alone_through_a_crash() {
    let mut app = server("1h").await;
    let receiver = Receiver::start().await;
    let types = json!({ "event_types": ["order.placed", "order.confirmed", "order.fulfilled"] });
    let endpoint = subscribe(&app, &receiver.url(), types).await;
    let terms = json!({ "hold_seconds": 3600 });
    let drop = app.create_drop(9, terms).await;
    let failing = text(&ordered(&app, &[(&drop, 1)]).await["id"]);
    let is_broken = Arc::new(AtomicBool::new(true));
    let (broken, of) = (Arc::clone(&is_broken), failing.clone());
    receiver.respond(move |one| {
        let fails = one.lane() == of && one.kind() != "order.placed";
        let fails = fails && broken.load(Ordering::SeqCst);
        Answer::Status(if fails { 500 } else { 200 })
    });
    receiver.wait_for(1).await;
    paid(&app, &failing).await;
    fulfilled(&app, &failing, "processing").await;
    let healthy = text(&ordered(&app, &[(&drop, 1)]).await["id"]);
    paid(&app, &healthy).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    receiver.wait_for(4).await;
    assert_eq!(
        (&pending[0]["order_id"], &pending[0]["drop_id"]),
        (&json!(failing), &Value::Null)
    );
    let head = read(&app, "/v1/log/head").await["position"].clone();
    let at_head = || {
        eventually("the endpoint is at the head", || async {
            let endpoint = read(&app, &endpoint).await;
            (endpoint["position"] == head).then_some(endpoint)
        })
    };
    at_head().await;
    app.kill();
    app = app.restart().await;
    // The later event of the order still waits, and the delivery is the same job.
    let again = wait_for(&app, &endpoint, "pending", 1).await;
    assert_eq!(again[0]["id"], pending[0]["id"]);
    let jobs = read(&app, "/v1/admin/jobs?kind=webhook&status=pending").await;
    assert_eq!(jobs["data"][0]["id"], pending[0]["id"]);
    is_broken.store(false, Ordering::SeqCst);
    let retry = format!("/v1/admin/jobs/{}/retry", text(&pending[0]["id"]));
    call(&app, Method::POST, &retry).await.ok(200);
    let arrived = eventually("the order's events arrive", || async {
        let own = of_lane(&receiver.received(), &failing);
        let last = own.last()?.kind();
        (last == "order.fulfilled").then_some(own)
    })
    .await;
    assert_eq!(
        kinds(&in_order(&arrived)),
        ["order.placed", "order.confirmed", "order.fulfilled"]
    );
    assert_eq!(
        kinds(&of_lane(&receiver.received(), &healthy)),
        ["order.placed", "order.confirmed"]
    );

    // A replay repeats the same requests.
    let before = in_order(&receiver.received()).len();
    let sent = receiver.received().len();
    post(&app, &format!("{endpoint}/replay"), &json!({ "after": 0 }))
        .await
        .ok(202);
    let received = receiver.wait_for(sent + 5).await;
    assert_eq!(in_order(&received).len(), before, "under the same ids");
}

#[tokio::test]
async fn cancelled_job_of_an_order_lets_the_order_continue() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let types = json!({ "event_types": ["order.placed", "order.cancelled"] });
    let endpoint = subscribe(&app, &receiver.url(), types).await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    receiver.respond(|one| {
        let is_placed = one.kind() == "order.placed";
        Answer::Status(if is_placed { 400 } else { 200 })
    });
    let order = text(&ordered(&app, &[(&drop, 1)]).await["id"]);
    call(&app, Method::POST, &format!("/v1/orders/{order}/cancel"))
        .await
        .ok(200);
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    let cancel = format!("/v1/admin/jobs/{}/cancel", text(&pending[0]["id"]));
    let cancelled = call(&app, Method::POST, &cancel).await.ok(200);
    assert_eq!(cancelled["cancelled"], true);
    let done = wait_for(&app, &endpoint, "done", 1).await;
    assert_eq!(
        (&done[0]["event_type"], &done[0]["order_id"]),
        (&json!("order.cancelled"), &json!(order))
    );
    let matters = read(&app, "/v1/admin/needs-attention").await;
    assert_eq!(matters["data"], json!([]));
}

#[tokio::test]
async fn endpoint_receives_the_types_that_it_subscribes_to_from_its_creation_on() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let drop = app.create_drop(9, json!({})).await;
    let types =
        json!({ "event_types": ["purchase.confirmed", "hold.released"], "description": "ERP" });
    let endpoint = subscribe(&app, &receiver.url(), types).await;
    let hold = app.held(&drop, "alice").await;
    app.purchase(&hold).await.ok(201);
    receiver.wait_for(1).await;
    // Events before the edit that are not behind the stored position may be matched again.
    eventually("it is at the head", || async {
        let read = call(&app, Method::GET, &endpoint).await;
        (read.json()["position"] == 4).then_some(())
    })
    .await;
    let edit = app.admin(Method::PATCH, &endpoint);
    let edited = fetch(edit.json(&json!({ "event_types": null, "description": null })))
        .await
        .ok(200);
    assert_eq!(
        (&edited["event_types"], &edited["description"]),
        (&Value::Null, &Value::Null)
    );
    // Events after the edit are matched with the new types, also by a dispatcher that learns of the
    // edit later.
    app.held(&drop, "bob").await;
    let received = eventually("the second type", || async {
        let received = in_order(&receiver.received());
        (received.len() == 2).then_some(received)
    });
    assert_eq!(
        kinds(&received.await),
        ["purchase.confirmed", "hold.placed"]
    );
    let read = call(&app, Method::GET, &endpoint).await;
    let etag = read.header("etag").to_owned();
    assert!(read.ok(200).get("secret").is_none(), "shown once");
    let settled = eventually("it is at the head", || async {
        let read = call(&app, Method::GET, &endpoint).await;
        (read.json()["position"] == 5).then_some(read)
    });
    let settled = settled.await;
    assert!(!etag.is_empty());
    let again = app
        .admin(Method::GET, &endpoint)
        .header("if-none-match", settled.header("etag"));
    assert_eq!(fetch(again).await.status, 304);
    let list = self::read(&app, WEBHOOKS).await;
    assert_eq!(
        (list["data"].as_array().unwrap().len(), &list["has_more"]),
        (1, &json!(false))
    );
    call(&app, Method::DELETE, &endpoint).await.ok(204);
    call(&app, Method::DELETE, &endpoint)
        .await
        .problem(404, "webhook_not_found");
    app.held(&drop, "carol").await;
    let other = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    app.held(&drop, "dave").await;
    let received = eventually("the event of the other endpoint", || async {
        let received = in_order(&receiver.received());
        (received.len() > 2).then_some(received)
    });
    assert_eq!(
        received.await[2].position(),
        7,
        "the deleted endpoint got nothing more"
    );
    assert_ne!(other, endpoint);
}

#[tokio::test]
async fn failing_delivery_holds_back_its_own_drop_only() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let failing = app.create_drop(9, json!({})).await;
    let healthy = app.create_drop(9, json!({})).await;
    let is_broken = Arc::new(AtomicBool::new(true));
    let (broken, of) = (Arc::clone(&is_broken), failing.clone());
    receiver.respond(move |one| {
        let fails = one.drop_id() == of && broken.load(Ordering::SeqCst);
        Answer::Status(if fails { 500 } else { 200 })
    });
    for buyer in 0..3 {
        app.held(&failing, &format!("a{buyer}")).await;
        app.held(&healthy, &format!("b{buyer}")).await;
    }
    receiver.wait_for(4).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0]["drop_id"], failing.as_str());
    assert_eq!(pending[0]["last_error"], "500 Internal Server Error");
    assert_eq!(pending[0]["attempts"], 1);
    let at_head = eventually("the endpoint is at the head", || async {
        let endpoint = read(&app, &endpoint).await;
        (endpoint["position"] == 10).then_some(endpoint)
    });
    assert_eq!(at_head.await["pending"], 1);
    let received = receiver.received();
    let of_failing = |received: &[Received]| -> Vec<u64> {
        let own = received.iter().filter(|one| one.drop_id() == failing);
        own.map(Received::position).collect()
    };
    assert_eq!(of_failing(&received), [5], "the later ones wait");
    // It is also a job, with the same id.
    let jobs = read(&app, "/v1/admin/jobs?kind=webhook&status=pending").await;
    assert_eq!(jobs["data"][0]["id"], pending[0]["id"]);
    assert_eq!(jobs["data"][0]["subject"], endpoint.as_str());
    assert_eq!(
        read(&app, "/v1/admin/jobs?kind=refund").await["data"],
        json!([])
    );
    is_broken.store(false, Ordering::SeqCst);
    let id = text(&pending[0]["id"]);
    let retried = call(
        &app,
        Method::POST,
        &format!("{endpoint}/deliveries/{id}/retry"),
    )
    .await;
    retried.ok(200);
    let received = receiver.wait_for(7).await;
    assert_eq!(of_failing(&received), [5, 5, 7, 9]);
    assert_eq!(in_order(&received).len(), 6);
    wait_for(&app, &endpoint, "done", 6).await;
    assert_eq!(
        deliveries(&app, &endpoint, "pending").await,
        [] as [Value; 0]
    );
    let jobs = read(&app, "/v1/admin/jobs?status=done").await;
    assert_eq!(
        jobs["data"].as_array().unwrap().len(),
        1,
        "those of one attempt are not jobs"
    );
    assert_eq!(jobs["data"][0]["attempts"], 2);
    let cancel = format!("/v1/admin/jobs/{id}/cancel");
    call(&app, Method::POST, &cancel)
        .await
        .problem(409, "job_done");
}

#[tokio::test]
async fn delivery_is_given_up_after_the_schedule_and_needs_attention() {
    let app = server("5ms,5ms,5ms").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let drop = app.create_drop(9, json!({})).await;
    receiver.respond(|one| Answer::Status(if one.position() == 3 { 422 } else { 200 }));
    app.held(&drop, "alice").await;
    app.held(&drop, "bob").await;
    let received = receiver.wait_for(5).await;
    let positions: Vec<u64> = received.iter().map(Received::position).collect();
    assert_eq!(
        positions,
        [3, 3, 3, 3, 4],
        "four attempts, and then the next event"
    );
    assert_eq!(distinct(received[..4].iter().map(Received::id)).len(), 1);
    let failed = wait_for(&app, &endpoint, "failed", 1).await;
    assert_eq!(
        (&failed[0]["attempts"], &failed[0]["next_attempt_at"]),
        (&json!(4), &Value::Null)
    );
    let matters = read(&app, "/v1/admin/needs-attention").await;
    let matter = &matters["data"][0];
    assert_eq!(
        (&matter["id"], &matter["kind"]),
        (&failed[0]["id"], &json!("webhook"))
    );
    assert_eq!(
        (&matter["position"], &matter["subject"]),
        (&json!(3), &json!(endpoint))
    );
    assert!(text(&matter["detail"]).contains("422"), "{matter}");
    assert_eq!(read(&app, &endpoint).await["failed"], 1);

    // Once more, by itself: accepted now.
    receiver.respond(|_| Answer::Status(200));
    let id = text(&failed[0]["id"]);
    call(&app, Method::POST, &format!("/v1/admin/jobs/{id}/retry"))
        .await
        .ok(200);
    let received = receiver.wait_for(6).await;
    assert_eq!(received[5].id(), received[0].id());
    assert_eq!(received[5].body, received[0].body);
    eventually("nothing needs attention", || async {
        let matters = read(&app, "/v1/admin/needs-attention").await;
        (matters["data"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cancelled_job_lets_its_drop_continue_and_needs_no_attention() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let drop = app.create_drop(9, json!({})).await;
    receiver.respond(|one| Answer::Status(if one.position() == 3 { 400 } else { 200 }));
    app.held(&drop, "alice").await;
    app.held(&drop, "bob").await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    let id = text(&pending[0]["id"]);
    let job = call(&app, Method::POST, &format!("/v1/admin/jobs/{id}/cancel"))
        .await
        .ok(200);
    assert_eq!(
        (&job["status"], &job["cancelled"]),
        (&json!("failed"), &json!(true))
    );
    let received = receiver.wait_for(2).await;
    assert_eq!(received[1].position(), 4, "3 is not sent again");
    assert_eq!(
        read(&app, "/v1/admin/needs-attention").await["data"],
        json!([])
    );
    for path in ["retry", "cancel"] {
        let unknown = format!("/v1/admin/jobs/{}/{path}", uuid::Uuid::nil());
        call(&app, Method::POST, &unknown)
            .await
            .problem(404, "job_not_found");
    }
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_enabling_continues_without_a_gap() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let drop = app.create_drop(9, json!({})).await;
    app.held(&drop, "alice").await;
    receiver.wait_for(1).await;
    receiver.respond(|_| Answer::Status(410));
    app.held(&drop, "bob").await;
    let disabled = eventually("the endpoint is disabled", || async {
        let endpoint = read(&app, &endpoint).await;
        (endpoint["status"] == "disabled").then_some(endpoint)
    })
    .await;
    assert_eq!(disabled["disabled_reason"], "gone");
    let matters = read(&app, "/v1/admin/needs-attention").await;
    assert_eq!(matters["data"][0]["kind"], "webhook_endpoint");
    assert_eq!(matters["data"][0]["id"], disabled["id"]);
    app.held(&drop, "carol").await;
    let test = format!("{endpoint}/test");
    call(&app, Method::POST, &test)
        .await
        .problem(409, "webhook_disabled");
    assert_eq!(receiver.received().len(), 2, "nothing is sent to it");
    receiver.respond(|_| Answer::Status(200));
    let enable = app
        .admin(Method::PATCH, &endpoint)
        .json(&json!({ "status": "enabled" }));
    assert_eq!(fetch(enable).await.ok(200)["disabled_reason"], Value::Null);
    let received = receiver.wait_for(4).await;
    let positions: Vec<u64> = received.iter().map(Received::position).collect();
    assert_eq!(positions, [3, 4, 4, 5]);
    assert_eq!(
        read(&app, "/v1/admin/needs-attention").await["data"],
        json!([])
    );
    let disable = app
        .admin(Method::PATCH, &endpoint)
        .json(&json!({ "status": "disabled" }));
    let disabled = fetch(disable).await.ok(200);
    assert_eq!(disabled["disabled_reason"], "administrator");
    assert_eq!(
        read(&app, "/v1/admin/needs-attention").await["data"],
        json!([])
    );
}

#[tokio::test]
async fn redirects_are_failures_and_are_not_followed() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let elsewhere = format!("http://{}/elsewhere", receiver.address());
    receiver.respond(move |one| match one.path.as_str() {
        "/hooks" => Answer::With(307, "location", elsewhere.clone()),
        _ => Answer::Status(200),
    });
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    app.create_drop(1, json!({})).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert_eq!(pending[0]["last_error"], "307 Temporary Redirect");
    assert!(receiver.received().iter().all(|one| one.path == "/hooks"));
}

#[tokio::test]
async fn retry_after_is_obeyed_in_both_forms() {
    let app = server("5ms,5ms").await;
    let receiver = Receiver::start().await;
    let in_two_hours = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let date = in_two_hours.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    receiver.respond(move |one| match one.kind().as_str() {
        "drop.scheduled" => Answer::With(500, "retry-after", "7200".to_owned()),
        _ => Answer::With(500, "retry-after", date.clone()),
    });
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    app.create_drop(1, json!({})).await;
    let test = format!("{endpoint}/test");
    let test = call(&app, Method::POST, &test).await.ok(202);
    assert_eq!(
        (&test["event_type"], &test["drop_id"]),
        (&json!("webhook.test"), &Value::Null)
    );
    let pending = eventually("both are attempted", || async {
        let pending = deliveries(&app, &endpoint, "pending").await;
        let is_attempted = |one: &Value| one["attempts"] == 1;
        (pending.len() == 2 && pending.iter().all(is_attempted)).then_some(pending)
    })
    .await;
    let (soon, late) = (harness::in_seconds(7_100), harness::in_seconds(7_300));
    for one in pending {
        let next = text(&one["next_attempt_at"]);
        assert!(soon < next && next < late, "{next}");
    }
}

#[tokio::test]
async fn request_without_a_response_times_out() {
    let launch = Launch::fresh().await;
    let launch = launch.with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.1");
    let app = launch
        .with("HOLDFAST_WEBHOOK_TIMEOUT_SECONDS", "1")
        .start()
        .await;
    let receiver = Receiver::start().await;
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    let hanging = app.create_drop(1, json!({})).await;
    let of = hanging.clone();
    receiver.respond(move |one| match one.drop_id() == of {
        true => Answer::Hang,
        false => Answer::Status(200),
    });
    app.held(&hanging, "alice").await;
    let other = app.create_drop(1, json!({})).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert_eq!(pending[0]["last_error"], "no response within 1 s");
    let received = receiver.wait_for(3).await;
    assert!(
        received.iter().any(|one| one.drop_id() == other),
        "other drops do not wait"
    );
    let metrics = app.get("/metrics").await.text();
    assert!(metrics.contains("holdfast_webhook_attempts_total{outcome=\"no_response\"} 1"));
    assert!(metrics.contains("holdfast_webhook_endpoints 1"));
}

#[tokio::test]
async fn endpoint_that_was_away_receives_everything_in_order() {
    let app =
        server("20ms,20ms,20ms,20ms,20ms,20ms,20ms,20ms,20ms,20ms,1s,1s,1s,1s,1s,1s,1s,1s,1m")
            .await;
    let mut receiver = Receiver::start().await;
    let endpoint = subscribe(&app, &receiver.url(), json!({})).await;
    let drops = [
        app.create_drop(50, json!({})).await,
        app.create_drop(50, json!({})).await,
    ];
    receiver.wait_for(4).await;
    receiver.stop().await;
    for buyer in 0..20 {
        app.held(&drops[buyer % 2], &format!("buyer-{buyer}")).await;
    }
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert!(
        text(&pending[0]["last_error"]).starts_with("cannot connect"),
        "{pending:?}"
    );
    receiver.start_again().await;
    let received = eventually("everything arrives", || async {
        let received = receiver.received();
        (in_order(&received).len() == 24).then_some(received)
    })
    .await;
    assert_eq!(in_order(&received).len(), 24);
    eventually("nothing is pending", || async {
        let endpoint = read(&app, &endpoint).await;
        (endpoint["pending"] == 0 && endpoint["position"] == 24).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replay_delivers_everything_after_a_position_again_with_the_same_ids() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let drop = app.create_drop(9, json!({})).await;
    for buyer in 0..4 {
        app.held(&drop, &format!("buyer-{buyer}")).await;
    }
    let endpoint = subscribe(
        &app,
        &receiver.url(),
        json!({ "event_types": ["hold.placed"] }),
    )
    .await;
    let ahead = post(&app, &format!("{endpoint}/replay"), &json!({ "after": 7 })).await;
    ahead.invalid("/after");
    let replayed = post(&app, &format!("{endpoint}/replay"), &json!({ "after": 0 })).await;
    assert_eq!(replayed.ok(202)["position"], 0);
    receiver.wait_for(4).await;
    eventually("the endpoint is at the head", || async {
        (read(&app, &endpoint).await["position"] == 6).then_some(())
    })
    .await;
    post(&app, &format!("{endpoint}/replay"), &json!({ "after": 4 }))
        .await
        .ok(202);
    let received = receiver.wait_for(6).await;
    let positions: Vec<u64> = received.iter().map(Received::position).collect();
    assert_eq!(positions, [3, 4, 5, 6, 5, 6]);
    assert_eq!(in_order(&received).len(), 4);
    let unknown = format!("{WEBHOOKS}/{}/replay", uuid::Uuid::nil());
    post(&app, &unknown, &json!({ "after": 0 }))
        .await
        .problem(404, "webhook_not_found");
    for body in [json!({}), json!({ "after": -1 }), json!({ "after": "x" })] {
        post(&app, &format!("{endpoint}/replay"), &body)
            .await
            .invalid("/after");
    }
    for after in [json!(-1), json!(1.5), json!("x"), json!(1_u64 << 53)] {
        let body = json!({ "after": after });
        let refused = post(&app, &format!("{endpoint}/replay"), &body).await;
        refused.invalid("/after");
        let words = "must be a position: a whole number from 0 to 9007199254740991";
        assert_eq!(refused.json()["errors"][0]["detail"], words, "{after}");
    }
}

#[tokio::test]
async fn rotation_signs_with_both_secrets() {
    let app = server("1h").await;
    let receiver = Receiver::start().await;
    let created = post(&app, WEBHOOKS, &json!({ "url": receiver.url() })).await;
    let endpoint = created.header("location").to_owned();
    let first = text(&created.ok(201)["secret"]);
    let rotated = call(&app, Method::POST, &format!("{endpoint}/rotate-secret"))
        .await
        .ok(200);
    let second = text(&rotated["secret"]);
    assert_ne!(first, second);
    let expires_at = text(&rotated["previous_secret_expires_at"]);
    assert!(harness::in_seconds(86_300) < expires_at && expires_at < harness::in_seconds(86_500));
    call(&app, Method::POST, &format!("{endpoint}/test"))
        .await
        .ok(202);
    let received = receiver.wait_for(1).await;
    let signatures: Vec<&str> = received[0].header("webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), 2);
    for secret in [&first, &second] {
        let base64 = secret.strip_prefix("whsec_").unwrap();
        let is_standard = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
        assert!(base64.chars().all(is_standard), "{secret}");
    }
    // The earlier secret signs until it expires.
    let sql = "UPDATE webhook_secrets SET expires_at = now() WHERE expires_at IS NOT NULL";
    sqlx::query(sql).execute(app.pool()).await.unwrap();
    call(&app, Method::POST, &format!("{endpoint}/test"))
        .await
        .ok(202);
    let received = receiver.wait_for(2).await;
    assert_eq!(
        received[1].header("webhook-signature").split(' ').count(),
        1
    );
    assert_eq!(received[1].kind(), "webhook.test");
    assert_ne!(received[0].id(), received[1].id());
}

#[tokio::test]
async fn internal_addresses_are_refused_at_creation_and_after_resolution() {
    let app = App::start().await;
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://8.8.2056/",
        "https://8.8.8.8:0/",
        "https://shop.example\\a",
        "https://shop.example/a b",
        "https://shop.example/a\u{202e}b",
        "https://shop.example/100%",
        "https://%73hop.example/",
        "https:/shop.example/",
        "/hooks",
        "data:image/png;base64,AA==",
        "https://[::ffff:10.0.0.1]/",
        "https://100.64.0.1/",
        "https://[fd00::1]/",
        "ftp://example.com/",
        "https://user:pass@example.com/",
        "https://example.com/#x",
        "example.com",
        "",
        "https://",
    ] {
        post(&app, WEBHOOKS, &json!({ "url": url }))
            .await
            .invalid("/url");
    }
    let long = format!("https://example.com/{}", "x".repeat(2_048));
    post(&app, WEBHOOKS, &json!({ "url": long }))
        .await
        .invalid("/url");
    // The stored text is the one that was sent, so that its length is bounded.
    for url in [
        format!("https://shop.example/{}", "😀".repeat(2_027)),
        "https://bücher.example/hook".to_owned(),
        "https://8.8.8.8:8443/hook?a=%20".to_owned(),
    ] {
        let created = post(&app, WEBHOOKS, &json!({ "url": url })).await.ok(201);
        assert_eq!(created["url"], json!(url));
        call(
            &app,
            Method::DELETE,
            &format!("{WEBHOOKS}/{}", text(&created["id"])),
        )
        .await
        .ok(204);
    }
    // A name is resolved when a webhook is sent.
    let endpoint = subscribe(&app, "https://localhost:9/", json!({})).await;
    app.create_drop(1, json!({})).await;
    let pending = wait_for(&app, &endpoint, "pending", 1).await;
    assert!(
        text(&pending[0]["last_error"]).contains("HOLDFAST_WEBHOOK_NETWORKS"),
        "{pending:?}"
    );
    let edit = app
        .admin(Method::PATCH, &endpoint)
        .json(&json!({ "url": "https://10.0.0.1/" }));
    fetch(edit).await.invalid("/url");
}

#[tokio::test]
async fn invalid_requests_get_precise_problems() {
    let app = server("1h").await;
    let url = "http://127.0.0.1:9/";
    for (body, pointer) in [
        (json!({}), "/url"),
        (json!({ "url": 7 }), "/url"),
        (json!({ "url": url, "event_types": [] }), "/event_types"),
        (
            json!({ "url": url, "event_types": "hold.placed" }),
            "/event_types",
        ),
        (
            json!({ "url": url, "event_types": ["hold.placed", "hold.eaten"] }),
            "/event_types/1",
        ),
        (
            json!({ "url": url, "description": "x".repeat(501) }),
            "/description",
        ),
        (
            json!({ "url": url, "description": "a\u{7}" }),
            "/description",
        ),
        (
            json!({ "url": url, "description": "a\u{202e}b" }),
            "/description",
        ),
        (
            json!({ "url": url, "description": "a\u{2028}b" }),
            "/description",
        ),
        (
            json!({ "url": url, "description": "\u{2800}" }),
            "/description",
        ),
        (json!({ "url": url, "secret": "whsec_x" }), "/secret"),
    ] {
        post(&app, WEBHOOKS, &body).await.invalid(pointer);
    }
    let endpoint = subscribe(&app, url, json!({ "description": "x".repeat(500) })).await;
    for (body, pointer) in [
        (json!({ "url": null }), "/url"),
        (json!({ "status": "gone" }), "/status"),
        (json!({ "event_types": ["x"] }), "/event_types/0"),
    ] {
        let edit = app.admin(Method::PATCH, &endpoint).json(&body);
        fetch(edit).await.invalid(pointer);
    }
    for query in ["?limit=0", "?limit=101", "?status=open", "?at_least=1"] {
        let list = call(&app, Method::GET, &format!("{endpoint}/deliveries{query}")).await;
        list.problem(400, "invalid_query");
    }
    let nil = uuid::Uuid::nil();
    for path in [format!("{WEBHOOKS}/{nil}"), format!("{WEBHOOKS}/x")] {
        for (method, path) in [
            (Method::GET, path.clone()),
            (Method::DELETE, path.clone()),
            (Method::GET, format!("{path}/deliveries")),
            (Method::POST, format!("{path}/test")),
            (Method::POST, format!("{path}/rotate-secret")),
            (Method::POST, format!("{path}/deliveries/{nil}/retry")),
        ] {
            call(&app, method, &path)
                .await
                .problem(404, "webhook_not_found");
        }
    }
    let unknown = format!("{endpoint}/deliveries/{nil}/retry");
    call(&app, Method::POST, &unknown)
        .await
        .problem(404, "delivery_not_found");
    for (method, path) in [
        (Method::GET, WEBHOOKS),
        (Method::GET, "/v1/admin/jobs"),
        (Method::GET, "/v1/admin/needs-attention"),
    ] {
        fetch(app.request(method.clone(), path))
            .await
            .problem(401, "unauthorized");
        let auditor = app.request(method, path).bearer_auth(AUDITOR_KEY);
        fetch(auditor).await.problem(403, "forbidden");
    }
}

#[tokio::test]
async fn endpoints_are_bounded_and_listed_by_page() {
    let app = server("1h").await;
    let body = json!({ "url": "http://127.0.0.1:9/" });
    for _ in 0..100 {
        post(&app, WEBHOOKS, &body).await.ok(201);
    }
    let refused = post(&app, WEBHOOKS, &body)
        .await
        .problem(409, "webhook_limit_reached");
    assert_eq!(number(&refused["limit"]), 100);
    let (mut seen, mut after) = (vec![], String::new());
    loop {
        let page = read(&app, &format!("{WEBHOOKS}?limit=40{after}")).await;
        let data = page["data"].as_array().unwrap();
        seen.extend(data.iter().map(|one| text(&one["id"])));
        if page["has_more"] == false {
            break;
        }
        after = format!("&starting_after={}", seen.last().unwrap());
    }
    assert_eq!((seen.len(), distinct(seen.clone()).len()), (100, 100));
}
