//! Webhooks of orders: every type, with the order as it was, and one lane for each order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Answer, App, Received, Receiver, eventually, fetch, in_order, number, text};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    call, is_of_order, kinds, known_types, post, read, refunded, sent_types, server, subscribe,
    wait_for,
};

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
