//! docs/CONTRACT.md on orders in the SSE stream: the state first, then every change, for callers
//! that may read the order.

use harness::{ADMIN_KEY, Api, App, Launch, Watcher, fetch, key, number, text, token};
use reqwest::Method;
use serde_json::{Value, json};

async fn ordered(api: &Api, buyer: &str, drop: &str) -> String {
    let items = json!([{ "drop_id": drop, "quantity": 1 }]);
    let request = api.request(Method::POST, "/v1/orders");
    let request = request.header("idempotency-key", key());
    let order = fetch(request.json(&json!({ "buyer_id": buyer, "items": items }))).await;
    text(&order.ok(201)["id"])
}

async fn post(api: &Api, path: &str, body: Value) -> Value {
    let request = api.admin(Method::POST, path);
    let reply = fetch(request.header("idempotency-key", key()).json(&body)).await;
    assert!(reply.status < 300, "{path}: {}", reply.text());
    reply.json()
}

async fn purchase(api: &Api, order: &str) -> Value {
    post(api, &format!("/v1/orders/{order}/purchase"), json!({})).await
}

async fn with(api: &Api, query: &str, credential: &str) -> Watcher {
    let request = api.request(Method::GET, &format!("/v1/stream{query}"));
    Watcher::open(request.bearer_auth(credential)).await
}

fn untimed(mut order: Value) -> Value {
    order["server_time"].take();
    order
}

#[tokio::test]
async fn order_is_sent_as_the_route_returns_it_at_first_and_after_each_change() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    let id = ordered(&app, "ann", &drop).await;
    let path = format!("/v1/orders/{id}");
    let mut watcher = app.watch(&format!("?orders={id}")).await;
    let first = watcher.frame().await.expect("the stream continues");
    assert_eq!(
        (first.event.as_str(), first.retry.as_str()),
        ("order", "1000"),
        "no drop was named"
    );
    let read = app.get(&path).await.ok(200);
    assert_eq!(untimed(first.json()), untimed(read));
    assert_eq!(first.position(), number(&first.json()["position"]));

    // A payment with a provider: started, succeeded, sold.
    let payment = app.request(Method::POST, &format!("{path}/payments"));
    let payment = payment
        .header("idempotency-key", key())
        .json(&json!({ "scenario": "pays" }));
    fetch(payment).await.ok(201);
    let paid = watcher.order(|order| order["status"] == "paid").await;
    assert_eq!(
        (&paid.json()["payment"]["status"], &paid.json()["late"]),
        (&json!("succeeded"), &json!(false))
    );
    let read = app.get(&path).await.ok(200);
    assert_eq!(untimed(paid.json()), untimed(read));
    // The order may be newer than the id, from which a client that returns misses nothing.
    assert!(paid.position() >= first.position());

    let shipped = app.admin(Method::PATCH, &path);
    let shipped = shipped.json(&json!({ "fulfilment": "shipped", "tracking": "parcel 1" }));
    fetch(shipped).await.ok(200);
    let change = watcher
        .order(|order| order["fulfilment"] == "shipped")
        .await;
    assert_eq!(change.json()["tracking"], "parcel 1");

    // A refund is an event of the drop, not of the order.
    let purchase = text(&paid.json()["items"][0]["purchase_id"]);
    let refund = json!({ "reason": "returned" });
    post(&app, &format!("/v1/purchases/{purchase}/refunds"), refund).await;
    let refunded = watcher.order(|order| order["status"] == "refunded").await;
    assert_eq!(refunded.json()["items"][0]["refunded"]["quantity"], 1);

    // A client that returns is sent the present state in every case.
    let again = format!("?orders={id}&last_event_id={}", refunded.position());
    let mut watcher = app.watch(&again).await;
    let state = watcher.order(|_| true).await;
    assert_eq!(state.json()["status"], "refunded");
}

#[tokio::test]
async fn cancellation_and_expiry_are_sent_to_the_subscribers_of_the_order_only() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let short = app.create_drop(9, json!({ "hold_seconds": 1 })).await;
    let (cancelled, other) = (
        ordered(&app, "ann", &drop).await,
        ordered(&app, "bob", &drop).await,
    );
    let mut of_other = app.watch(&format!("?orders={other}")).await;
    of_other.order(|_| true).await;
    let expiring = ordered(&app, "cid", &short).await;
    let mut both = app
        .watch(&format!("?drops={drop}&orders={cancelled},{expiring}"))
        .await;
    let path = format!("/v1/orders/{cancelled}/cancel");
    fetch(app.request(Method::POST, &path)).await.ok(200);
    let (mut ended, mut has_drop) = (vec![], false);
    while ended.len() < 2 || !has_drop {
        let frame = both.frame().await.expect("the stream continues");
        has_drop |= frame.event == "drop" && frame.json()["id"] == drop.as_str();
        if frame.event == "order" {
            let order = frame.json();
            assert_ne!(order["id"], other.as_str());
            if order["status"] != "pending" {
                ended.push((text(&order["id"]), text(&order["status"])));
            }
        }
    }
    ended.sort_by_key(|(_, status)| status.clone());
    assert_eq!(
        ended,
        [
            (cancelled, "cancelled".to_owned()),
            (expiring, "expired".to_owned())
        ]
    );
    // The first event since the first state is that of its own order.
    purchase(&app, &other).await;
    let next = of_other.frame().await.expect("the stream continues");
    assert_eq!(
        (&next.json()["id"], &next.json()["status"]),
        (&json!(other), &json!("paid"))
    );
}

#[tokio::test]
async fn stream_of_unknown_orders_is_refused_before_it_starts() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let order = ordered(&app, "ann", &drop).await;
    let unknown = "0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4";
    let path = format!("/v1/stream?orders={order},{unknown}");
    app.get(&path).await.problem(404, "order_not_found");
    for malformed in ["x", "0197d3f2", &format!("{order},x")] {
        let refused = app.get(&format!("/v1/stream?orders={malformed}")).await;
        let problem = refused.problem(400, "invalid_query");
        assert_eq!(problem["errors"][0]["pointer"], "/orders", "{problem}");
    }
    let path = format!("/v1/stream?orders={order}&drops={unknown}");
    app.get(&path).await.problem(404, "drop_not_found");
}

#[tokio::test]
async fn order_is_sent_to_those_who_may_read_it_until_its_buyer_is_erased() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let drop = app.create_drop(5, json!({ "hold_seconds": 3600 })).await;
    let (ann, bob) = (token(SECRET, "ann", 600), token(SECRET, "bob", 600));
    let place = app.request(Method::POST, "/v1/orders").bearer_auth(&ann);
    let place = place.header("idempotency-key", key());
    let body = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop }] });
    let order = text(&fetch(place.json(&body)).await.ok(201)["id"]);
    let query = format!("?orders={order}");
    let path = format!("/v1/stream{query}");
    app.get(&path).await.problem(401, "unauthorized");
    let as_bob = app.request(Method::GET, &path).bearer_auth(&bob);
    fetch(as_bob).await.problem(403, "forbidden");
    let as_auditor = app.audit(&path).await;
    as_auditor.problem(403, "forbidden");
    // Without orders the stream needs no credentials.
    assert_eq!(app.watch(&format!("?drops={drop}")).await.status, 200);

    let mut own = with(&app, &format!("{query}&drops={drop}"), &ann).await;
    let mut admin = with(&app, &query, ADMIN_KEY).await;
    let seen = own.order(|_| true).await.json();
    assert_eq!(seen["buyer_id"], "ann");
    assert_eq!(seen.get("payment_reference"), None);
    let seen = admin.order(|_| true).await.json();
    assert_eq!(seen["payment_reference"], json!(null));

    let paid = json!({ "payment_reference": "pi_1" });
    post(&app, &format!("/v1/orders/{order}/purchase"), paid).await;
    own.order(|order| order["status"] == "paid").await;
    let seen = admin.order(|order| order["status"] == "paid").await.json();
    assert_eq!(seen["payment_reference"], "pi_1");

    let erase = app.admin(Method::DELETE, "/v1/admin/buyers/ann");
    assert_eq!(fetch(erase).await.status, 204);
    let seen = admin
        .order(|order| order["buyer_id"].is_null())
        .await
        .json();
    assert_eq!(seen["payment_reference"], json!(null));
    // The drop is sent further, and the order is not.
    let hold = json!({ "buyer_id": "cid" });
    post(&app, &format!("/v1/drops/{drop}/holds"), hold).await;
    loop {
        let frame = own.frame().await.expect("the stream continues");
        assert_eq!(frame.event, "drop");
        if frame.json()["stock"]["held"] == 1 {
            break;
        }
    }
}

#[tokio::test]
async fn twenty_large_orders_are_sent_in_pieces_and_completely() {
    let app = App::start().await;
    let mut drops = vec![];
    for _ in 0..20 {
        drops.push(app.create_drop(20, json!({ "hold_seconds": 3600 })).await);
    }
    let items: Vec<Value> = drops
        .iter()
        .map(|drop| json!({ "drop_id": drop }))
        .collect();
    let mut orders = vec![];
    for number in 0..20 {
        let request = app.request(Method::POST, "/v1/orders");
        let request = request.header("idempotency-key", key());
        let body = json!({ "buyer_id": format!("buyer {number}"), "items": items });
        orders.push(text(&fetch(request.json(&body)).await.ok(201)["id"]));
    }
    let mut watcher = app.watch(&format!("?orders={}", orders.join(","))).await;
    let mut sent = vec![];
    while sent.len() < orders.len() {
        let order = watcher.order(|_| true).await.json();
        assert_eq!(order["items"].as_array().map(Vec::len), Some(20));
        sent.push(text(&order["id"]));
    }
    sent.sort();
    orders.sort();
    assert_eq!(sent, orders, "each once");
    purchase(&app, &orders[7]).await;
    let paid = watcher.order(|order| order["status"] == "paid").await;
    assert_eq!(paid.json()["id"], orders[7].as_str());
}
