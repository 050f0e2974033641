//! docs/CONTRACT.md on notifications: the list, and the stream.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{
    Api, App, Frame, Launch, Watcher, eventually, fetch, in_seconds, key, number, text, token,
};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn creator(app: &App, id: &str) {
    let request = app.admin(Method::PUT, &format!("/v1/creators/{id}"));
    fetch(request.json(&json!({ "name": id }))).await.ok(201);
}

async fn choose(api: &Api, method: Method, path: &str) {
    assert_eq!(fetch(api.request(method, path)).await.status, 204, "{path}");
}

async fn follow(api: &Api, buyer: &str, creator: &str) {
    choose(
        api,
        Method::PUT,
        &format!("/v1/buyers/{buyer}/follows/{creator}"),
    )
    .await;
}

/// The list of a buyer, with the position of each notification.
async fn listed(api: &Api, buyer: &str) -> Vec<(String, u64)> {
    let page = api
        .get(&format!("/v1/buyers/{buyer}/notifications?limit=100"))
        .await
        .ok(200);
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| (text(&row["type"]), number(&row["position"])))
        .collect()
}

async fn types(api: &Api, buyer: &str) -> Vec<String> {
    listed(api, buyer)
        .await
        .into_iter()
        .map(|(kind, _)| kind)
        .collect()
}

/// Waits until a buyer's newest notification is of this type.
async fn newest_is(api: &Api, buyer: &str, kind: &str) {
    eventually("the notification is listed", || async {
        let types = types(api, buyer).await;
        types
            .first()
            .is_some_and(|newest| newest == kind)
            .then_some(())
    })
    .await;
}

async fn open(api: &Api, buyer: &str, query: &str) -> Watcher {
    let path = format!("/v1/buyers/{buyer}/notifications/stream{query}");
    let watcher = Watcher::open(api.request(Method::GET, &path)).await;
    assert_eq!(watcher.status, 200);
    watcher
}

async fn next(watcher: &mut Watcher) -> Frame {
    watcher.frame().await.expect("the stream continues")
}

async fn post(api: &Api, path: &str, body: Value) -> Value {
    let request = api.admin(Method::POST, path);
    let reply = fetch(request.header("idempotency-key", key()).json(&body)).await;
    assert!(reply.status < 300, "{path}: {}", reply.text());
    reply.json()
}

#[tokio::test]
async fn followers_are_notified_of_a_drop_of_the_creator() {
    let app = App::start().await;
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    let terms =
        json!({ "creator_id": "nord", "low_stock_at": 1, "hold_seconds": 3600, "name": "Jacket" });
    let drop = app.create_drop(2, terms).await;
    newest_is(&app, "ann", "drop.started").await;
    follow(&app, "bob", "nord").await;
    app.held(&drop, "cid").await;
    app.held(&drop, "dan").await;
    newest_is(&app, "ann", "drop.sold_out").await;
    assert_eq!(
        types(&app, "ANN").await,
        ["drop.sold_out", "stock.low", "drop.started"]
    );
    assert_eq!(
        types(&app, "bob").await,
        ["drop.sold_out", "stock.low"],
        "since the follow"
    );
    assert_eq!(types(&app, "cid").await, [""; 0]);

    let reply = app.get("/v1/buyers/ann/notifications?limit=2").await;
    assert_eq!(reply.header("cache-control"), "private, no-cache");
    let position: u64 = reply.header("holdfast-position").parse().unwrap();
    let page = reply.ok(200);
    assert_eq!(page["has_more"], true);
    let low = &page["data"][1];
    assert!(position >= number(&low["position"]));
    assert_eq!(low["id"], format!("{}-stock.low", low["position"]));
    let expected = json!([drop, "Jacket", "nord", null, { "available": 1 }]);
    let shown = json!([
        low["drop_id"],
        low["drop_name"],
        low["creator_id"],
        low["order_id"],
        low["data"]
    ]);
    assert_eq!(shown, expected);
    let id = text(&low["id"]);
    let next = app
        .get(&format!("/v1/buyers/ann/notifications?starting_after={id}"))
        .await
        .ok(200);
    assert_eq!(next["data"][0]["type"], "drop.started");
    assert_eq!(
        (next["data"].as_array().unwrap().len(), &next["has_more"]),
        (1, &json!(false))
    );
    for unknown in ["1-stock.low", "x", "1-", "9999-drop.started"] {
        let path = format!("/v1/buyers/ann/notifications?starting_after={unknown}");
        app.get(&path).await.problem(400, "invalid_query");
    }

    choose(&app, Method::DELETE, "/v1/buyers/ann/follows/nord").await;
    assert_eq!(types(&app, "ann").await, [""; 0]);
}

#[tokio::test]
async fn reminder_notifies_of_one_drop_and_hidden_numbers_stay_hidden() {
    let app = App::start().await;
    let later = in_seconds(2);
    let terms = json!({
        "starts_at": later, "low_stock_at": 1, "show_stock": "level", "visibility": "unlisted",
        "creator_id": "nord",
    });
    let drop = app.create_drop(2, terms).await;
    creator(&app, "nord").await;
    follow(&app, "bob", "nord").await;
    choose(
        &app,
        Method::PUT,
        &format!("/v1/buyers/ann/reminders/{drop}"),
    )
    .await;
    newest_is(&app, "ann", "drop.started").await;
    app.held(&drop, "cid").await;
    newest_is(&app, "ann", "stock.low").await;
    let page = app.get("/v1/buyers/ann/notifications").await.ok(200);
    assert_eq!(page["data"][0]["data"], json!({}));
    assert_eq!(types(&app, "ann").await.len(), 2);
    assert_eq!(types(&app, "bob").await, [""; 0], "the drop is in no list");
}

#[tokio::test]
async fn buyer_is_notified_of_offers_and_orders() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 3600 })).await;
    let order = json!({ "buyer_id": "Ann", "items": [{ "drop_id": drop }] });
    let request = app
        .request(Method::POST, "/v1/orders")
        .header("idempotency-key", key());
    let order = fetch(request.json(&order)).await.ok(201);
    let order_id = text(&order["id"]);
    let mut stream = open(&app, "ann", "").await;
    let mut of_bob = open(&app, "bob", "").await;
    let paid = post(&app, &format!("/v1/orders/{order_id}/purchase"), json!({})).await;
    let confirmed = next(&mut stream).await;
    assert_eq!(confirmed.event, "order.confirmed");
    // Where buyers are believed, only the shop sees the ids: they are the right to buy.
    let newest = async |buyer: &str| {
        let path = format!("/v1/buyers/{buyer}/notifications");
        fetch(app.admin(Method::GET, &path)).await.ok(200)["data"][0].clone()
    };
    assert_eq!(confirmed.json()["order_id"], json!(null));
    assert_eq!(newest("ann").await["order_id"], order_id.as_str());
    assert_eq!(confirmed.json()["drop_id"], json!(null));
    assert_eq!(confirmed.json()["data"]["late"], false);

    let entry = app.joined(&drop, "bob", 1).await;
    let purchase = text(&paid["items"][0]["purchase_id"]);
    let path = format!("/v1/purchases/{purchase}/refunds");
    let refund = post(&app, &path, json!({ "reason": "returned" })).await;
    let refunded = next(&mut stream).await;
    assert_eq!(refunded.event, "order.refunded");
    assert_eq!(refunded.json()["data"]["amount"], refund["amount"]);
    assert_eq!(newest("ann").await["data"]["refund_id"], refund["id"]);
    let offered = next(&mut of_bob).await;
    assert_eq!(offered.event, "waitlist.offered");
    let data = &offered.json()["data"];
    assert_eq!((&data["quantity"], data.get("hold_id")), (&json!(1), None));
    assert_eq!(data.get("waitlist_entry_id"), None);
    let data = &newest("bob").await["data"];
    assert_eq!(data["waitlist_entry_id"], entry.as_str());
    let hold = app.waitlist_entry(&entry).await["hold_id"].clone();
    assert_eq!(data["hold_id"], hold);
    assert_eq!(
        types(&app, "ann").await,
        ["order.refunded", "order.confirmed"]
    );
    assert_eq!(types(&app, "BOB").await, ["waitlist.offered"]);

    // An erased buyer has no list, and the streams end.
    let erase = fetch(app.admin(Method::DELETE, "/v1/admin/buyers/ann")).await;
    assert_eq!(erase.status, 204);
    assert!(stream.frame().await.is_none());
    assert_eq!(types(&app, "ann").await, [""; 0]);
    assert_eq!(types(&app, "bob").await.len(), 1);
}

#[tokio::test]
async fn stream_sends_each_notification_and_follows_every_change_of_choices() {
    let app = App::start().await;
    creator(&app, "nord").await;
    let mut stream = open(&app, "ann", "").await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    follow(&app, "Ann", "nord").await;
    let drop = app
        .create_drop(1, json!({ "creator_id": "nord", "low_stock_at": 1 }))
        .await;
    let first = next(&mut stream).await;
    assert_eq!(
        (first.event.as_str(), first.retry.as_str()),
        ("drop.started", "1000")
    );
    assert_eq!(
        first.json()["drop_id"],
        drop.as_str(),
        "not the drop before the follow"
    );
    assert_eq!(first.position(), number(&first.json()["position"]));
    let list = app.get("/v1/buyers/ann/notifications").await.ok(200);
    assert_eq!(list["data"][0], first.json(), "as in the list");

    // One event, two notifications: only the last acknowledges the position.
    app.held(&drop, "bob").await;
    let sold_out = next(&mut stream).await;
    let low = next(&mut stream).await;
    assert_eq!(
        (sold_out.event.as_str(), low.event.as_str()),
        ("drop.sold_out", "stock.low")
    );
    assert_eq!(sold_out.json()["position"], low.json()["position"]);
    assert_eq!(low.position(), number(&low.json()["position"]));
    assert_eq!(sold_out.position(), low.position() - 1);

    choose(&app, Method::DELETE, "/v1/buyers/ann/follows/nord").await;
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    let reminded = app
        .create_drop(1, json!({ "starts_at": in_seconds(3600) }))
        .await;
    choose(
        &app,
        Method::PUT,
        &format!("/v1/buyers/ann/reminders/{reminded}"),
    )
    .await;
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{reminded}"));
    let edit = edit
        .header("if-match", "*")
        .json(&json!({ "starts_at": in_seconds(0) }));
    fetch(edit).await.ok(200);
    assert_eq!(next(&mut stream).await.json()["drop_id"], reminded.as_str());
}

#[tokio::test]
async fn stream_resumes_after_its_last_id_without_loss_and_repetition() {
    let app = App::start().await;
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    let reply = app.get("/v1/buyers/ann/notifications").await;
    let start = reply.header("holdfast-position").to_owned();
    for _ in 0..3 {
        let terms = json!({ "creator_id": "nord", "low_stock_at": 1, "hold_seconds": 3600 });
        let drop = app.create_drop(1, terms).await;
        eventually("the drop has started", || async {
            let listed = app
                .get("/v1/buyers/ann/notifications?limit=100")
                .await
                .ok(200);
            let mut rows = listed["data"].as_array().unwrap().iter();
            rows.any(|row| row["drop_id"] == drop.as_str())
                .then_some(())
        })
        .await;
        app.held(&drop, "bob").await;
    }
    let expected = eventually("all are listed", || async {
        let listed = listed(&app, "ann").await;
        (listed.len() == 9).then_some(listed)
    })
    .await;
    let expected: Vec<String> = expected
        .into_iter()
        .rev()
        .map(|(kind, at)| format!("{at}-{kind}"))
        .collect();
    // However often the stream is cut, after each frame.
    let (mut received, mut last) = (vec![], start);
    while received.len() < expected.len() {
        let mut stream = open(&app, "ann", &format!("?last_event_id={last}")).await;
        let frame = next(&mut stream).await;
        last = frame.id.clone();
        let id = text(&frame.json()["id"]);
        if received.contains(&id) {
            // The group is sent again; its second frame follows.
            let second = next(&mut stream).await;
            last = second.id.clone();
            received.push(text(&second.json()["id"]));
        } else {
            received.push(id);
        }
    }
    assert_eq!(received, expected);
    let header = app.request(
        Method::GET,
        "/v1/buyers/ann/notifications/stream?last_event_id=0",
    );
    let mut stream = Watcher::open(header.header("last-event-id", &last)).await;
    let drop = app.create_drop(1, json!({ "creator_id": "nord" })).await;
    assert_eq!(
        next(&mut stream).await.json()["drop_id"],
        drop.as_str(),
        "the header counts"
    );
    let malformed = app
        .get("/v1/buyers/ann/notifications/stream?last_event_id=x")
        .await;
    malformed.problem(400, "invalid_query");
}

#[tokio::test]
async fn stream_is_for_the_buyer_and_for_administrators() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    creator(&app, "nord").await;
    let (own, other) = (token(SECRET, "maß", 600), token(SECRET, "mass", 600));
    let stream = |id: &str, credential: &str| {
        let path = format!("/v1/buyers/{id}/notifications/stream");
        Watcher::open(app.request(Method::GET, &path).bearer_auth(credential))
    };
    let mut of_own = stream("ma%C3%9F", &own).await;
    let mut of_other = stream("mass", &other).await;
    let mut of_admin = stream("mass", harness::ADMIN_KEY).await;
    let path = "/v1/buyers/ma%C3%9F/follows/nord";
    let followed = fetch(app.request(Method::PUT, path).bearer_auth(&own)).await;
    assert_eq!(followed.status, 204);
    let drop = app.create_drop(1, json!({ "creator_id": "nord" })).await;
    for stream in [&mut of_own, &mut of_admin] {
        assert_eq!(next(stream).await.json()["drop_id"], drop.as_str());
    }
    // The first event of the other account is its own.
    let place = app.request(Method::POST, "/v1/orders").bearer_auth(&other);
    let place = place.header("idempotency-key", key());
    let free = app
        .create_drop(1, json!({ "price": { "amount": 0, "currency": "EUR" } }))
        .await;
    let body = json!({ "buyer_id": "mass", "items": [{ "drop_id": free }] });
    let order = text(&fetch(place.json(&body)).await.ok(201)["id"]);
    post(&app, &format!("/v1/orders/{order}/purchase"), json!({})).await;
    assert_eq!(next(&mut of_other).await.event, "order.confirmed");
}

#[tokio::test]
async fn streams_of_notifications_count_among_all_streams() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_MAX_WATCHERS", "1")
        .start()
        .await;
    let first = open(&app, "ann", "").await;
    let refused = app.get("/v1/buyers/ann/notifications/stream").await;
    refused.problem(503, "unavailable");
    drop(first);
    eventually("the hang-up is noticed", || async {
        let path = "/v1/buyers/ann/notifications/stream";
        let head = fetch(app.request(Method::HEAD, path)).await;
        (head.status == 200).then_some(())
    })
    .await;
}
