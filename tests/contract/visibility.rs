//! docs/CONTRACT.md on `visibility` and `show_stock`: the drops that exist for a reader, their
//! lists, and the public form of their stock.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{
    ADMIN_KEY, AUDITOR_KEY, Api, App, Reply, Watcher, eventually, fetch, key, number, text,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

async fn edit(api: &Api, drop: &str, body: Value) {
    let request = api.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    let request = request.header("if-match", "*").json(&body);
    fetch(request).await.ok(200);
}

async fn as_admin(api: &Api, path: &str) -> Reply {
    fetch(api.admin(Method::GET, path)).await
}

fn ids(page: &Value) -> Vec<String> {
    let data = page["data"].as_array().unwrap().iter();
    data.map(|drop| text(&drop["id"])).collect()
}

/// A public, an unlisted and a hidden drop.
async fn three(app: &App) -> [String; 3] {
    let mut drops = vec![];
    for visibility in ["public", "unlisted", "hidden"] {
        let more = json!({ "visibility": visibility });
        let request = app.admin(Method::POST, "/v1/drops");
        let mut body = json!({
            "name": visibility, "price": { "amount": 100, "currency": "USD" }, "total_stock": 5,
        });
        let members = body.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        let made = fetch(request.header("idempotency-key", key()).json(&body)).await;
        drops.push(text(&made.ok(201)["id"]));
    }
    drops.try_into().unwrap()
}

#[tokio::test]
async fn lists_of_the_public_have_public_drops_only() {
    let app = App::start().await;
    let [public, unlisted, hidden] = three(&app).await;
    let listed = ids(&app.get("/v1/drops").await.ok(200));
    assert_eq!(listed, [&*public]);
    let by_status = ids(&app.get("/v1/drops?status=live").await.ok(200));
    assert_eq!(by_status, [&*public]);
    let named = format!("/v1/drops?ids={public},{unlisted},{hidden}");
    let found = ids(&app.get(&named).await.ok(200));
    assert_eq!(found, [&*unlisted, &*public]);
    // The page of the public is full in spite of the drops between its own.
    let page = app.get("/v1/drops?limit=1").await.ok(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (vec![public.clone()], &json!(false))
    );

    for (path, expected) in [("/v1/drops", 3), (&*named, 3)] {
        assert_eq!(ids(&as_admin(&app, path).await.ok(200)).len(), expected);
        assert_eq!(ids(&app.audit(path).await.ok(200)).len(), expected);
    }
    let after = app
        .get(&format!("/v1/drops?starting_after={unlisted}"))
        .await;
    assert_eq!(ids(&after.ok(200)), [&*public]);
    let unknown = app.get(&format!("/v1/drops?starting_after={hidden}")).await;
    let never = app
        .get(&format!("/v1/drops?starting_after={}", Uuid::new_v4()))
        .await;
    assert_eq!(
        unknown.problem(400, "invalid_query")["errors"],
        never.problem(400, "invalid_query")["errors"]
    );
    let metrics = as_admin(&app, "/v1/admin/metrics?window=1h").await.ok(200);
    assert_eq!(metrics["drops"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn hidden_drop_does_not_exist_for_the_public() {
    let app = App::start().await;
    let [_, unlisted, hidden] = three(&app).await;
    let hold = async |drop: &str| app.hold(drop, "ann").await;
    let order = async |drop: &str| {
        let request = app.request(Method::POST, "/v1/orders");
        let body = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop }] });
        fetch(request.header("idempotency-key", key()).json(&body)).await
    };
    app.get(&format!("/v1/drops/{unlisted}")).await.ok(200);
    hold(&unlisted).await.ok(201);
    order(&unlisted).await.ok(201);

    let never = Uuid::new_v4().to_string();
    for path in ["", "/purchasers", "/buyers/ann"] {
        let found = app.get(&format!("/v1/drops/{hidden}{path}")).await;
        let found = found.problem(404, "drop_not_found");
        let unknown = app.get(&format!("/v1/drops/{never}{path}")).await;
        assert_eq!(found, unknown.problem(404, "drop_not_found"), "{path}");
    }
    let stream = app.get(&format!("/v1/stream?drops={hidden}")).await;
    stream.problem(404, "drop_not_found");
    let page = app.get(&format!("/drops/{hidden}")).await;
    assert_eq!(page.status, 404);
    hold(&hidden).await.problem(404, "drop_not_found");
    order(&hidden).await.problem(404, "drop_not_found");
    let joined = app.join(&hidden, "ann", 1).await;
    joined.problem(404, "drop_not_found");

    // Not even its currency is revealed, by an order that begins with another drop.
    let price = json!({ "amount": 1, "currency": "CHF" });
    let foreign = app
        .create_drop(1, json!({ "visibility": "hidden", "price": price }))
        .await;
    let items = json!([{ "drop_id": unlisted }, { "drop_id": foreign }]);
    let request = app.request(Method::POST, "/v1/orders");
    let body = json!({ "buyer_id": "ann", "items": items });
    let mixed = fetch(request.header("idempotency-key", key()).json(&body)).await;
    mixed.problem(404, "drop_not_found");

    // An auditor reads it, and holds nothing in it.
    let request = app.request(Method::POST, &format!("/v1/drops/{hidden}/holds"));
    let request = request
        .header("idempotency-key", key())
        .bearer_auth(AUDITOR_KEY);
    let held = fetch(request.json(&json!({ "buyer_id": "bob" }))).await;
    held.problem(404, "drop_not_found");

    for key in [ADMIN_KEY, AUDITOR_KEY] {
        let request = app.request(Method::GET, &format!("/v1/drops/{hidden}"));
        let read = fetch(request.bearer_auth(key)).await.ok(200);
        assert_eq!(read["visibility"], "hidden");
    }
    let path = format!("/v1/drops/{hidden}/holds");
    let request = app.admin(Method::POST, &path);
    let request = request.header("idempotency-key", key());
    let held = fetch(request.json(&json!({ "buyer_id": "bob" }))).await;
    // Existing holds stay.
    let held = text(&held.ok(201)["id"]);
    app.read_hold(&held).await.ok(200);
    app.purchase(&held).await.ok(201);
    app.audit_verify().await;
}

#[tokio::test]
async fn pages_of_unlisted_drops_are_not_for_search_engines() {
    let app = App::start().await;
    let [public, unlisted, _] = three(&app).await;
    for (drop, expected) in [(public, ""), (unlisted, "noindex")] {
        let page = app.get(&format!("/drops/{drop}")).await;
        assert_eq!((page.status, page.header("x-robots-tag")), (200, expected));
    }
}

#[tokio::test]
async fn stream_of_every_drop_has_those_that_its_reader_lists() {
    let app = App::start().await;
    let [public, unlisted, hidden] = three(&app).await;
    let mut watcher = app.watch("").await;
    assert_eq!(watcher.drop().await.json()["id"], public.as_str());
    let mut named = app.watch(&format!("?drops={unlisted}&new=true")).await;
    assert_eq!(named.drop().await.json()["id"], unlisted.as_str());
    let mut staff = Watcher::open(app.admin(Method::GET, "/v1/stream")).await;
    let mut seen = vec![];
    for _ in 0..3 {
        seen.push(text(&staff.drop().await.json()["id"]));
    }
    seen.sort();
    let mut all = vec![public.clone(), unlisted.clone(), hidden.clone()];
    all.sort();
    assert_eq!(seen, all);

    // Changes of the others are not sent; the marker shows that they would have been.
    app.held(&unlisted, "ann").await;
    let request = app.admin(Method::POST, &format!("/v1/drops/{hidden}/holds"));
    let request = request.header("idempotency-key", key());
    fetch(request.json(&json!({ "buyer_id": "ann" })))
        .await
        .ok(201);
    app.held(&public, "ann").await;
    let only = watcher
        .until(|drop| {
            assert_eq!(drop["id"], public.as_str());
            drop["stock"]["held"] == 1
        })
        .await;
    assert_eq!(only.json()["id"], public.as_str());
    let of_unlisted = named.until(|drop| drop["stock"]["held"] == 1).await;
    assert_eq!(of_unlisted.json()["id"], unlisted.as_str());
    staff
        .until(|drop| drop["id"] == hidden.as_str() && drop["stock"]["held"] == 1)
        .await;

    // A published drop is new to the subscribers of new drops.
    edit(&app, &hidden, json!({ "visibility": "public" })).await;
    let published = named.until(|drop| drop["id"] == hidden.as_str()).await;
    assert_eq!(published.json()["visibility"], "public");
    watcher.until(|drop| drop["id"] == hidden.as_str()).await;
}

async fn by_level(app: &App, units: u32) -> String {
    let more = json!({ "show_stock": "level", "max_per_hold": 100, "low_stock_at": 2 });
    app.create_drop(units, more).await
}

async fn take(app: &App, drop: &str, units: u32) -> Value {
    let body = json!({ "buyer_id": key(), "quantity": units });
    app.hold_with(drop, &key(), &body).await.ok(201)
}

#[tokio::test]
async fn public_sees_a_level_where_the_staff_sees_numbers() {
    let app = App::start().await;
    let drop = by_level(&app, 5).await;
    let path = format!("/v1/drops/{drop}");
    let stock = async || app.get(&path).await.ok(200)["stock"].clone();
    assert_eq!(stock().await, json!({ "level": "in_stock" }));
    let body = app.get(&path).await.ok(200);
    assert_eq!(
        (&body["show_stock"], &body["low_stock_at"]),
        (&json!("level"), &json!(null))
    );
    let held = take(&app, &drop, 3).await;
    assert_eq!(stock().await, json!({ "level": "low" }));
    take(&app, &drop, 2).await;
    assert_eq!(stock().await, json!({ "level": "sold_out" }));
    assert_eq!(app.get(&path).await.ok(200)["status"], "sold_out");
    let listed = app.get("/v1/drops?expand=top_purchasers").await.ok(200);
    assert_eq!(listed["data"][0]["stock"], json!({ "level": "sold_out" }));

    app.purchase(&text(&held["id"])).await.ok(201);
    let exact = json!({ "total": 5, "available": 0, "held": 2, "sold": 3 });
    assert_eq!(as_admin(&app, &path).await.ok(200)["stock"], exact);
    assert_eq!(app.audit(&path).await.ok(200)["stock"], exact);
    let as_list = as_admin(&app, "/v1/drops?expand=top_purchasers")
        .await
        .ok(200);
    assert_eq!(as_list["data"][0]["stock"], exact);
    assert_eq!(as_list["data"][0]["top_purchasers"][0]["quantity"], 3);
    // The units of the purchasers add up to the sold ones.
    let listed = app.get("/v1/drops?expand=top_purchasers").await.ok(200);
    assert_eq!(listed["data"][0]["top_purchasers"], json!([]));
    let purchasers = app.get(&format!("{path}/purchasers")).await.ok(200);
    assert_eq!(purchasers["data"], json!([]));
}

#[tokio::test]
async fn refusals_have_no_number_that_the_public_does_not_see() {
    let app = App::start().await;
    let drop = by_level(&app, 5).await;
    let path = format!("/v1/drops/{drop}/holds");
    let body = json!({ "buyer_id": "ann", "quantity": 7 });
    let by_admin = async || {
        let request = app.admin(Method::POST, &path);
        fetch(request.header("idempotency-key", key()).json(&body)).await
    };
    let refused = app.hold_with(&drop, &key(), &body).await;
    let refused = refused.problem(409, "sold_out");
    assert_eq!(
        (&refused["requested"], refused.get("available")),
        (&json!(7), None)
    );
    assert!(!text(&refused["detail"]).contains('5'), "{refused}");
    assert_eq!(by_admin().await.problem(409, "sold_out")["available"], 5);
    let joined = app.join(&drop, "ann", 1).await.problem(409, "not_sold_out");
    assert_eq!(joined.get("available"), None);
    assert!(!text(&joined["detail"]).contains('5'), "{joined}");
    let order = app.request(Method::POST, "/v1/orders");
    let items = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop, "quantity": 7 }] });
    let order = fetch(order.header("idempotency-key", key()).json(&items)).await;
    let refused = order.problem(409, "sold_out");
    assert_eq!(
        (&refused["pointer"], refused.get("available")),
        (&json!("/items/0"), None)
    );
    let held = take(&app, &drop, 1).await;
    let more = app.request(Method::PATCH, &format!("/v1/holds/{}", text(&held["id"])));
    let more = fetch(more.json(&json!({ "quantity": 9 }))).await;
    let refused = more.problem(409, "sold_out");
    assert_eq!(refused.get("available"), None);
}

#[tokio::test]
async fn position_and_tag_of_a_level_do_not_count_the_holds() {
    let app = App::start().await;
    let drop = by_level(&app, 9).await;
    let path = format!("/v1/drops/{drop}");
    let before = app.get(&path).await;
    take(&app, &drop, 1).await;
    let held = take(&app, &drop, 2).await;
    app.release(&text(&held["id"])).await.ok(204);
    let after = app.get(&path).await;
    assert_eq!(before.json()["position"], after.json()["position"]);
    assert_eq!(before.header("etag"), after.header("etag"));
    let exact = as_admin(&app, &path).await.ok(200);
    assert!(number(&exact["position"]) > number(&after.json()["position"]));
    // A change of the level is one, at the position of the event that changed it.
    let low = take(&app, &drop, 6).await;
    let after = app.get(&path).await.ok(200);
    assert_eq!(after["position"], low["position"]);
}

#[tokio::test]
async fn stream_of_a_level_is_silent_about_holds_that_do_not_change_it() {
    let app = App::start().await;
    let drop = by_level(&app, 9).await;
    let marker = app.create_drop(9, json!({})).await;
    let mut watcher = app.watch(&format!("?drops={drop},{marker}")).await;
    for _ in 0..2 {
        watcher.drop().await;
    }
    let mut staff =
        Watcher::open(app.admin(Method::GET, &format!("/v1/stream?drops={drop}"))).await;
    let first = staff.drop().await.json();
    assert_eq!(first["stock"]["available"], 9);
    for taken in 1..=3 {
        take(&app, &drop, 1).await;
        staff.until(|drop| drop["stock"]["held"] == taken).await;
    }
    // Sent after the holds, so that they would have been sent before.
    app.held(&marker, "ann").await;
    let next = watcher.drop().await.json();
    assert_eq!(next["id"], marker.as_str());
    take(&app, &drop, 4).await;
    let low = watcher
        .until(|sent| sent["id"] == drop.as_str())
        .await
        .json();
    assert_eq!(low["stock"], json!({ "level": "low" }));
    take(&app, &drop, 2).await;
    let none = watcher
        .until(|sent| sent["id"] == drop.as_str())
        .await
        .json();
    assert_eq!(none["stock"], json!({ "level": "sold_out" }));
    // With numbers again for everyone.
    edit(&app, &drop, json!({ "show_stock": "exact" })).await;
    let exact = watcher
        .until(|sent| sent["id"] == drop.as_str())
        .await
        .json();
    assert_eq!(exact["stock"]["held"], 9);
}

#[tokio::test]
async fn start_of_a_drop_with_a_level_is_sent() {
    let app = App::start().await;
    let starts_at = harness::in_seconds(1);
    let more = json!({ "show_stock": "level", "starts_at": starts_at });
    let drop = app.create_drop(5, more).await;
    let mut watcher = app.watch(&format!("?drops={drop}")).await;
    let live = watcher.until(|sent| sent["status"] == "live").await.json();
    assert_eq!(live["stock"], json!({ "level": "in_stock" }));
    eventually("the start to be recorded", async || {
        let log = app.audit("/v1/log").await.ok(200).to_string();
        log.contains("DropStarted").then_some(())
    })
    .await;
    app.audit_verify().await;
}
