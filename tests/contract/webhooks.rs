//! docs/CONTRACT.md on outgoing webhooks: endpoints, their secrets and their event types.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod failures;
mod orders;

use std::collections::BTreeSet;

use harness::{
    AUDITOR_KEY, App, Launch, Received, Receiver, Reply, distinct, eventually, fetch, in_order,
    in_seconds, number, text,
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
    let paused = app.create_drop(1, json!({})).await;
    for how in ["pause", "resume"] {
        let request = app.admin(Method::POST, &format!("/v1/drops/{paused}/{how}"));
        fetch(request).await.ok(200);
    }
    let received = receiver.wait_for(29).await;
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

async fn refunded(app: &App, purchase: &Value, quantity: u32) {
    let body = json!({ "quantity": quantity, "reason": "returned" });
    let path = format!("/v1/purchases/{}/refunds", text(purchase));
    let request = app.admin(Method::POST, &path);
    let request = request.header("idempotency-key", harness::key());
    fetch(request.json(&body)).await.ok(201);
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
