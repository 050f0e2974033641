//! docs/CONTRACT.md on access codes: creation, use, early access, the waitlist and orders.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;

use harness::{Api, App, Launch, Reply, eventually, fetch, key, number, text};
use reqwest::Method;
use serde_json::{Value, json};

async fn create(api: &Api, drop: &str, key: &str, body: &Value) -> Reply {
    let request = api.admin(Method::POST, &format!("/v1/drops/{drop}/codes"));
    fetch(request.header("idempotency-key", key).json(body)).await
}

async fn codes(api: &Api, drop: &str, body: Value) -> Vec<String> {
    let made = create(api, drop, &key(), &body).await.ok(201);
    made["codes"].as_array().unwrap().iter().map(text).collect()
}

async fn hold(api: &Api, drop: &str, buyer: &str, code: &str) -> Reply {
    let body = json!({ "buyer_id": buyer, "code": code });
    api.hold_with(drop, &key(), &body).await
}

async fn edit(api: &Api, drop: &str, body: Value) -> Value {
    let request = api.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    fetch(request.header("if-match", "*").json(&body))
        .await
        .ok(200)
}

fn for_code_holders() -> Value {
    json!({ "access": "code" })
}

#[tokio::test]
async fn hold_of_a_drop_for_code_holders_takes_one_of_its_codes() {
    let app = App::start().await;
    let drop = app.create_drop(5, for_code_holders()).await;
    let other = app.create_drop(5, for_code_holders()).await;
    assert_eq!(app.drop(&drop).await["access"], "code");
    let made = create(&app, &drop, &key(), &json!({ "count": 2 })).await;
    assert_eq!(made.header("cache-control"), "private, no-cache");
    let made = made.ok(201);
    assert_eq!(
        (&made["uses"], &made["opens_at"]),
        (&json!(1), &json!(null))
    );
    let list = made["codes"].as_array().unwrap();
    let (first, second) = (text(&list[0]), text(&list[1]));
    assert_ne!(first, second);

    app.hold(&drop, "ann").await.problem(403, "code_required");
    let wrong = hold(&app, &drop, "ann", "nonsense").await;
    wrong.problem(403, "code_invalid");
    hold(&app, &other, "ann", &first)
        .await
        .problem(403, "code_invalid");
    assert_eq!(app.stock(&drop).await, [5, 5, 0, 0]);

    // As people type it.
    let typed = first.to_lowercase().replace('-', " ");
    let held = hold(&app, &drop, "ann", &typed).await.ok(201);
    let spent = hold(&app, &drop, "bob", &first).await;
    let spent = spent.problem(409, "code_spent");
    assert_eq!(spent["uses"], 1);
    app.release(&text(&held["id"])).await.ok(204);
    let again = hold(&app, &drop, "bob", &first).await.ok(201);
    app.purchase(&text(&again["id"])).await.ok(201);
    hold(&app, &drop, "ann", &first)
        .await
        .problem(409, "code_spent");
    hold(&app, &drop, "ann", &second).await.ok(201);

    // The log has digests, under which the codes cannot be recognised.
    let log = app.audit("/v1/log").await.ok(200).to_string();
    assert!(log.contains("CodesCreated"));
    for code in [&first, &second] {
        assert!(!log.contains(&**code) && !log.contains(&code.replace('-', "")));
    }
    let stderr = app.stderr();
    assert!(!stderr.contains(&*first), "a code in the server's log");
    app.audit_verify().await;
}

#[tokio::test]
async fn creation_is_for_administrators_and_bounded() {
    let app = App::start().await;
    let drop = app.create_drop(5, for_code_holders()).await;
    let path = format!("/v1/drops/{drop}/codes");
    let body = json!({ "count": 1 });
    let request = app.request(Method::POST, &path);
    let anonymous = fetch(request.header("idempotency-key", key()).json(&body)).await;
    anonymous.problem(401, "unauthorized");
    let keyless = fetch(app.admin(Method::POST, &path).json(&body)).await;
    keyless.problem(400, "idempotency_key_required");
    for (body, pointer) in [
        (json!({}), "/count"),
        (json!({ "count": 0 }), "/count"),
        (json!({ "count": 10_001 }), "/count"),
        (json!({ "count": 1, "uses": 0 }), "/uses"),
        (json!({ "count": 1, "uses": 1_000_001 }), "/uses"),
        (json!({ "count": 1, "expires_at": "soon" }), "/expires_at"),
        (
            json!({ "count": 1, "opens_at": "2030-01-01T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z" }),
            "/expires_at",
        ),
    ] {
        create(&app, &drop, &key(), &body).await.invalid(pointer);
    }
    let unknown = create(&app, &key(), &key(), &body).await;
    unknown.problem(404, "drop_not_found");
    for code in [json!(""), json!("x".repeat(65)), json!(7)] {
        let body = json!({ "buyer_id": "ann", "code": code });
        app.hold_with(&drop, &key(), &body).await.invalid("/code");
    }
}

async fn list(api: &Api, drop: &str, query: &str) -> Reply {
    let path = format!("/v1/drops/{drop}/codes{query}");
    fetch(api.admin(Method::GET, &path)).await
}

async fn used(api: &Api, drop: &str) -> Vec<u64> {
    let found = list(api, drop, "").await.ok(200);
    let rows = found["data"].as_array().unwrap();
    rows.iter().map(|row| number(&row["used"])).collect()
}

#[tokio::test]
async fn list_has_the_uses_of_codes_and_no_code() {
    let app = App::start().await;
    let drop = app.create_drop(2, for_code_holders()).await;
    let body = json!({ "count": 2, "uses": 2, "expires_at": "2099-01-01T00:00:00Z" });
    let made = codes(&app, &drop, body).await;
    codes(&app, &drop, json!({ "count": 1 })).await;
    assert_eq!(used(&app, &drop).await, [0, 0, 0]);

    // A hold uses its code until it ends without a purchase; an offer has the use of its entry.
    let ann = hold(&app, &drop, "ann", &made[0]).await.ok(201);
    let bob = hold(&app, &drop, "bob", &made[1]).await.ok(201);
    let entry = json!({ "buyer_id": "cid", "code": &made[0] });
    let entry = app.join_with(&drop, &key(), &entry).await.ok(201);
    assert_eq!(used(&app, &drop).await, [2, 1, 0]);
    app.purchase(&text(&bob["id"])).await.ok(201);
    app.release(&text(&ann["id"])).await.ok(204);
    let id = text(&entry["id"]);
    eventually("the offer", async || {
        let entry = app.waitlist_entry(&id).await;
        (entry["status"] == "offered").then_some(())
    })
    .await;
    assert_eq!(used(&app, &drop).await, [1, 1, 0]);

    let whole = list(&app, &drop, "").await;
    assert_eq!(whole.header("cache-control"), "private, no-cache");
    for code in &made {
        let body = whole.json().to_string();
        assert!(!body.contains(&**code) && !body.contains(&code.replace('-', "")));
    }
    let whole = whole.ok(200);
    let first = &whole["data"][0];
    assert_eq!(
        (&first["uses"], &first["opens_at"]),
        (&json!(2), &json!(null))
    );
    assert_eq!(first["expires_at"], "2099-01-01T00:00:00.000Z");
    assert_eq!(whole["data"][2]["expires_at"], json!(null));
    let log = app.audit("/v1/log").await.ok(200).to_string();
    assert!(log.contains(&text(&first["id"])), "the digest of the log");

    // Pages, and what is no page.
    let one = list(&app, &drop, "?limit=2").await.ok(200);
    assert_eq!(one["has_more"], true);
    let query = format!("?starting_after={}", text(&one["data"][1]["id"]));
    let two = list(&app, &drop, &query).await.ok(200);
    assert_eq!(two["data"], json!([whole["data"][2]]));
    for query in [
        "?limit=0",
        "?limit=101",
        "?starting_after=x",
        &format!("?starting_after={}", "0".repeat(32)),
    ] {
        list(&app, &drop, query).await.problem(400, "invalid_query");
    }
    let anonymous = app.get(&format!("/v1/drops/{drop}/codes")).await;
    anonymous.problem(401, "unauthorized");
    list(&app, &key(), "").await.problem(404, "drop_not_found");

    let app = app.restart().await;
    assert_eq!(list(&app, &drop, "").await.ok(200)["data"], whole["data"]);
}

#[tokio::test]
async fn repeated_creation_shows_the_same_codes_even_after_a_restart() {
    let app = App::start().await;
    let drop = app.create_drop(9, for_code_holders()).await;
    let (name, body) = (key(), json!({ "count": 3, "uses": 2 }));
    let first = create(&app, &drop, &name, &body).await;
    assert!(!first.is_replay());
    let again = create(&app, &drop, &name, &body).await;
    assert!(again.is_replay());
    assert_eq!(first.json()["codes"], again.json()["codes"]);
    for other in [json!({ "count": 4, "uses": 2 }), json!({ "count": 3 })] {
        let reused = create(&app, &drop, &name, &other).await;
        reused.problem(422, "idempotency_key_reused");
    }
    let code = text(&first.json()["codes"][0]);
    hold(&app, &drop, "ann", &code).await.ok(201);
    let events = app.log().await.len();

    let app = app.restart().await;
    let again = create(&app, &drop, &name, &body).await;
    assert!(again.is_replay());
    assert_eq!(first.json()["codes"], again.json()["codes"]);
    assert_eq!(app.log().await.len(), events);
    hold(&app, &drop, "bob", &code).await.ok(201);
    hold(&app, &drop, "cid", &code)
        .await
        .problem(409, "code_spent");
    app.audit_verify().await;
}

#[tokio::test]
async fn thousands_of_codes_are_recorded_in_parts_and_counted_as_one_request() {
    let app = App::start().await;
    let drop = app.create_drop(9, for_code_holders()).await;
    let (name, body) = (key(), json!({ "count": 2_500 }));
    let made = create(&app, &drop, &name, &body).await.ok(201);
    let all: BTreeSet<String> = made["codes"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(all.len(), 2_500);
    let log = app.audit("/v1/log").await.ok(200);
    let parts = log["data"].as_array().unwrap().iter();
    let parts = parts.filter(|event| event["event_type"] == "CodesCreated");
    assert_eq!(parts.count(), 3);
    let last = text(&made["codes"][2_499]);
    hold(&app, &drop, "ann", &last).await.ok(201);
    let again = create(&app, &drop, &name, &body).await;
    assert!(again.is_replay());
    let fewer = create(&app, &drop, &name, &json!({ "count": 1_000 })).await;
    fewer.problem(422, "idempotency_key_reused");
    app.audit_verify().await;
}

#[tokio::test]
async fn code_opens_a_drop_before_its_start() {
    let app = App::start().await;
    let drop = app
        .create_drop(5, json!({ "starts_at": "2090-01-01T00:00:00Z" }))
        .await;
    let early = codes(
        &app,
        &drop,
        json!({ "count": 1, "opens_at": "2020-01-01T00:00:00Z" }),
    )
    .await;
    let normal = codes(&app, &drop, json!({ "count": 1 })).await;
    let later = json!({ "count": 1, "opens_at": "2080-01-01T00:00:00Z" });
    let later = codes(&app, &drop, later).await;
    let over = json!({ "count": 1, "opens_at": "2020-01-01T00:00:00Z", "expires_at": "2021-01-01T00:00:00Z" });
    let over = codes(&app, &drop, over).await;

    let refused = app.hold(&drop, "ann").await.problem(409, "not_live");
    assert_eq!(refused["starts_at"], "2090-01-01T00:00:00.000Z");
    let refused = hold(&app, &drop, "ann", &normal[0]).await;
    refused.problem(409, "not_live");
    let refused = hold(&app, &drop, "ann", &later[0]).await;
    let refused = refused.problem(409, "not_live");
    assert_eq!(refused["starts_at"], "2080-01-01T00:00:00.000Z");
    let refused = hold(&app, &drop, "ann", &over[0]).await;
    let refused = refused.problem(403, "code_invalid");
    assert_eq!(refused["expired_at"], "2021-01-01T00:00:00.000Z");

    let held = hold(&app, &drop, "ann", &early[0]).await.ok(201);
    assert_eq!(app.drop(&drop).await["status"], "scheduled");
    app.purchase(&text(&held["id"])).await.ok(201);
    app.audit_verify().await;
}

#[tokio::test]
async fn expired_hold_returns_the_use_of_its_code() {
    let app = App::start().await;
    let drop = app
        .create_drop(5, json!({ "access": "code", "hold_seconds": 1 }))
        .await;
    let code = codes(&app, &drop, json!({ "count": 1 })).await.remove(0);
    hold(&app, &drop, "ann", &code).await.ok(201);
    eventually("the code to be free", async || {
        (hold(&app, &drop, "bob", &code).await.status == 201).then_some(())
    })
    .await;
    app.audit_verify().await;
}

#[tokio::test]
async fn waitlist_of_a_drop_for_code_holders_takes_a_code() {
    let app = App::start().await;
    let drop = app.create_drop(1, for_code_holders()).await;
    let two = codes(&app, &drop, json!({ "count": 2 })).await;
    let held = hold(&app, &drop, "ann", &two[0]).await.ok(201);
    let join = async |code: Option<&str>| {
        let body = match code {
            Some(code) => json!({ "buyer_id": "bob", "code": code }),
            None => json!({ "buyer_id": "bob" }),
        };
        app.join_with(&drop, &key(), &body).await
    };
    join(None).await.problem(403, "code_required");
    join(Some("wrong")).await.problem(403, "code_invalid");
    join(Some(&two[0])).await.problem(409, "code_spent");
    let entry = text(&join(Some(&two[1])).await.ok(201)["id"]);
    hold(&app, &drop, "cid", &two[1])
        .await
        .problem(409, "code_spent");
    app.release(&text(&held["id"])).await.ok(204);
    let offered = text(&app.waitlist_entry(&entry).await["hold_id"]);
    app.purchase(&offered).await.ok(201);
    app.audit_verify().await;
}

#[tokio::test]
async fn edit_of_the_access_keeps_holds() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({ "max_per_hold": 3 })).await;
    let held = app.held(&drop, "ann").await;
    edit(&app, &drop, for_code_holders()).await;
    app.hold(&drop, "bob").await.problem(403, "code_required");
    let more = app.request(Method::PATCH, &format!("/v1/holds/{held}"));
    let more = fetch(more.json(&json!({ "quantity": 2 }))).await;
    more.problem(403, "code_required");
    app.purchase(&held).await.ok(201);
    edit(&app, &drop, json!({ "access": "open" })).await;
    app.hold(&drop, "bob").await.ok(201);
    app.audit_verify().await;
}

async fn order(api: &Api, key: &str, items: &Value) -> Reply {
    let request = api.request(Method::POST, "/v1/orders");
    let body = json!({ "buyer_id": "ann", "items": items });
    fetch(request.header("idempotency-key", key).json(&body)).await
}

#[tokio::test]
async fn items_of_orders_take_codes() {
    let app = App::start().await;
    let open = app.create_drop(9, json!({ "max_per_hold": 5 })).await;
    let closed = app
        .create_drop(9, json!({ "access": "code", "max_per_hold": 5 }))
        .await;
    let two = codes(&app, &closed, json!({ "count": 2 })).await;
    let items = |code: &str| json!([{ "drop_id": open }, { "drop_id": closed, "code": code }]);

    let missing = json!([{ "drop_id": open }, { "drop_id": closed }]);
    let refused = order(&app, &key(), &missing).await;
    let refused = refused.problem(403, "code_required");
    assert_eq!(refused["pointer"], "/items/1");
    let refused = order(&app, &key(), &items("wrong")).await;
    let refused = refused.problem(403, "code_invalid");
    assert_eq!(refused["pointer"], "/items/1");
    assert_eq!(app.stock(&open).await, [9, 9, 0, 0], "all or none");

    let name = key();
    let placed = order(&app, &name, &items(&two[0])).await.ok(201);
    assert!(order(&app, &name, &items(&two[0])).await.is_replay());
    let reused = order(&app, &name, &items(&two[1])).await;
    reused.problem(422, "idempotency_key_reused");
    let spent = order(&app, &key(), &items(&two[0])).await;
    assert_eq!(spent.problem(409, "code_spent")["pointer"], "/items/1");
    let cancel = format!("/v1/orders/{}/cancel", text(&placed["id"]));
    fetch(app.request(Method::POST, &cancel)).await.ok(200);

    // Items of one drop share one hold, and so one code.
    let both = json!([
        { "drop_id": closed, "code": two[0] }, { "drop_id": closed, "code": two[1] },
    ]);
    order(&app, &key(), &both).await.invalid("/items/1/code");
    let shared =
        json!([{ "drop_id": closed }, { "drop_id": closed, "code": two[0], "quantity": 2 }]);
    let placed = order(&app, &key(), &shared).await.ok(201);
    assert_eq!(placed["items"][0]["quantity"], 3);
    let pay = format!("/v1/orders/{}/purchase", text(&placed["id"]));
    fetch(app.request(Method::POST, &pay)).await.ok(200);
    let spent = order(&app, &key(), &items(&two[0])).await;
    spent.problem(409, "code_spent");
    app.audit_verify().await;
}

#[tokio::test]
async fn wrong_codes_of_an_address_are_limited() {
    let launch = Launch::fresh()
        .await
        .with("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1");
    let app = launch.start().await;
    let drop = app.create_drop(5, for_code_holders()).await;
    let code = codes(&app, &drop, json!({ "count": 1 })).await.remove(0);
    let from = async |address: &str, code: &str| {
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.header("x-forwarded-for", address);
        let request = request.header("idempotency-key", key());
        fetch(request.json(&json!({ "buyer_id": key(), "code": code }))).await
    };
    let mut wrong = 0;
    let refused = loop {
        let reply = from("203.0.113.1", "wrong").await;
        match reply.status {
            403 => wrong += 1,
            _ => break reply,
        }
        assert!(wrong < 1_000, "never limited");
    };
    let refused = refused.problem(429, "too_many_attempts");
    assert!(number(&refused["retry_after"]) > 0);
    assert!(wrong > 0);
    // Not even a right one, but other addresses are unaffected, and a right code is no attempt.
    let right = from("203.0.113.1", &code).await;
    right.problem(429, "too_many_attempts");
    from("203.0.113.2", &code).await.ok(201);
}
