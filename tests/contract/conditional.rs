//! A 304 never confirms a body that has changed, for any reason.
//!
//! Every GET of `/openapi.json` that has an entity tag is requested at every step of a drop's life.
//! The claim: a tag identifies one body of its address, apart from `server_time`, which also has a
//! header that a 304 renews.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::{BTreeMap, BTreeSet};

use harness::{App, Reply, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

/// The bodies that were received under each tag of an address.
#[derive(Default)]
struct TagHistory {
    bodies: BTreeMap<(String, String), String>,
    last: BTreeMap<String, String>,
    confirmed: BTreeSet<String>,
    changed: BTreeSet<String>,
}

/// The body without the fields that the tag does not cover.
fn timeless(reply: &Reply) -> String {
    fn remove(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| name != "server_time");
                members.values_mut().for_each(remove);
            }
            Value::Array(items) => items.iter_mut().for_each(remove),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else {
        return reply.text();
    };
    remove(&mut body);
    body.to_string()
}

impl TagHistory {
    /// Requests the address again with the latest tag: 304 is allowed only if nothing has changed.
    async fn check(&mut self, app: &App, template: &str, path: &str, accept: &str) {
        let check = || app.admin(Method::GET, path).header("accept", accept);
        let address = format!("{path} {accept}");
        let before = self.last.get(&address).cloned();
        if let Some(before) = &before {
            // Fields that depend on the time may move between the two requests, but not back.
            for attempt in 0.. {
                let known = fetch(check().header("if-none-match", before)).await;
                let now = fetch(check()).await;
                let tag = now.header("etag").to_owned();
                self.keep(&address, &tag, &now);
                if known.status != 304 {
                    self.changed.insert(template.to_owned());
                    break;
                }
                assert_eq!(known.header("etag"), before, "{address}");
                check_time(&known, &now);
                if tag == *before {
                    self.confirmed.insert(template.to_owned());
                    break;
                }
                assert!(
                    attempt < 9,
                    "304 for a body that has changed: {address} {now:?}"
                );
            }
        }
        let reply = fetch(check()).await;
        if reply.status == 200 {
            let tag = reply.header("etag").to_owned();
            self.keep(&address, &tag, &reply);
            self.last.insert(address, tag);
        }
    }

    fn keep(&mut self, address: &str, tag: &str, reply: &Reply) {
        if reply.status != 200 {
            return;
        }
        assert!(!tag.is_empty(), "{address}");
        let body = timeless(reply);
        let slot = (address.to_owned(), tag.to_owned());
        let history = self.bodies.entry(slot).or_insert_with(|| body.clone());
        assert_eq!(*history, body, "one tag, two bodies: {address}");
    }
}

/// The time of the response is in a header, on a 304 as well.
fn check_time(known: &Reply, now: &Reply) {
    let body = serde_json::from_slice::<Value>(&now.body).unwrap_or_default();
    let (history, header) = (
        known.header("holdfast-server-time"),
        now.header("holdfast-server-time"),
    );
    assert!(!history.is_empty() && !header.is_empty(), "{known:?}");
    assert!(history <= header, "{known:?}");
    for one in [&body, &body["data"][0]] {
        if let Some(time) = one["server_time"].as_str() {
            assert_eq!(header, time);
            assert!(!known.header("date").is_empty(), "{known:?}");
        }
    }
}

/// Every GET route with a tag, its placeholders filled with existing ids.
fn addresses(ids: &BTreeMap<&str, Vec<String>>) -> Vec<(String, String)> {
    let document = api::openapi::document();
    let mut all = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        let described = &item["get"]["responses"];
        if described.get("304").is_none() {
            continue;
        }
        let of = path.trim_start_matches("/v1");
        let of = of.trim_start_matches("/admin");
        let of = of.trim_start_matches('/').split('/').next().unwrap();
        let many = ids.get(of).cloned().unwrap_or_else(|| vec![String::new()]);
        for id in many {
            for buyer in ["ann", "BOB"] {
                let filled = path.replace("{id}", &id).replace("{buyer_id}", buyer);
                all.push((path.clone(), filled.replace("{path}", "style.css")));
            }
        }
    }
    for (path, query) in [
        ("/v1/drops", "?expand=top_purchasers"),
        ("/v1/drops", "?status=live&limit=1"),
        ("/v1/log", "?after=1&limit=2"),
    ] {
        all.push((path.to_owned(), format!("{path}{query}")));
    }
    all.sort();
    all.dedup();
    all
}

/// A webhook endpoint that nothing is sent to: no drop is cancelled before the last steps.
async fn endpoint_of(app: &App) -> String {
    let endpoint = json!({ "url": "https://shop.example/", "event_types": ["drop.cancelled"] });
    let request = app
        .admin(Method::POST, "/v1/admin/webhooks")
        .json(&endpoint);
    text(&fetch(request).await.ok(201)["id"])
}

/// The id of a creator and of a product.
async fn catalogued(app: &App) -> String {
    for (path, body) in [
        ("/v1/creators/nord", json!({ "name": "Nord" })),
        ("/v1/products/nord", json!({ "title": "Boot" })),
    ] {
        let put = fetch(app.admin(Method::PUT, path).json(&body)).await;
        assert!(matches!(put.status, 200 | 201), "{put:?}");
    }
    "nord".to_owned()
}

#[tokio::test]
async fn not_modified_never_confirms_a_changed_body() {
    let app = App::start().await;
    let mut ids = BTreeMap::from([
        (
            "drops",
            vec![app.create_drop(3, json!({ "hold_seconds": 3600 })).await],
        ),
        ("holds", vec![]),
        ("waitlist", vec![]),
        ("purchases", vec![]),
        ("orders", vec![]),
        ("webhooks", vec![endpoint_of(&app).await]),
        ("creators", vec![catalogued(&app).await]),
        ("products", vec![catalogued(&app).await]),
    ]);
    let drop = ids["drops"][0].clone();
    let mut history = TagHistory::default();
    let steps = 13;
    for step in 0..steps {
        match step {
            0 => {}
            1 => {
                for (buyer, shown) in [("ann", Some("Ann")), ("bob", None), ("carl", None)] {
                    let body = json!({ "buyer_id": buyer, "display_name": shown });
                    let body = match shown {
                        Some(_) => body,
                        None => json!({ "buyer_id": buyer }),
                    };
                    let hold = app.hold_with(&drop, &key(), &body).await.ok(201);
                    ids.get_mut("holds").unwrap().push(text(&hold["id"]));
                }
            }
            2 => {
                for buyer in ["ann", "dora"] {
                    let entry = app.joined(&drop, buyer, 1).await;
                    ids.get_mut("waitlist").unwrap().push(entry);
                }
            }
            3 => {
                let path = format!("/v1/holds/{}/purchase", ids["holds"][0]);
                let request = app.request(Method::POST, &path);
                let request = request.json(&json!({ "payment_reference": "pi_1" }));
                let bought = fetch(request).await.ok(201);
                ids.get_mut("purchases").unwrap().push(text(&bought["id"]));
            }
            // The same buyers in another spelling and with another name: no event of their holds.
            4 => {
                app.adjust(&drop, 9).await.ok(201);
                for (buyer, shown) in [("ANN", "Annie"), ("Bob", "Bobby"), ("Dora", "D.")] {
                    let body = json!({ "buyer_id": buyer, "display_name": shown });
                    app.hold_with(&drop, &key(), &body).await.ok(201);
                }
            }
            5 => {
                let request = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
                let edit =
                    json!({ "name": "Another", "price": { "amount": 7, "currency": "EUR" } });
                fetch(request.header("if-match", "*").json(&edit))
                    .await
                    .ok(200);
            }
            6 => assert_eq!(app.release(&ids["holds"][1]).await.status, 204),
            7 => {
                for turn in 0..30 {
                    app.hold(&drop, &format!("buyer {turn}")).await;
                }
            }
            8 => {
                let other = app.create_drop(1, json!({ "name": "Other" })).await;
                let order = app.request(Method::POST, "/v1/orders");
                let order = order
                    .header("idempotency-key", key())
                    .json(&json!({ "buyer_id": "ann", "items": [{ "drop_id": other }] }));
                let order = text(&fetch(order).await.ok(201)["id"]);
                ids.get_mut("orders").unwrap().push(order);
                ids.get_mut("drops").unwrap().push(other);
            }
            9 | 11 => {
                let buyer = if step == 9 { "ann" } else { "dora" };
                let path = format!("/v1/admin/buyers/{buyer}");
                assert_eq!(fetch(app.admin(Method::DELETE, &path)).await.status, 204);
            }
            10 => {
                let request = app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"));
                fetch(request).await.ok(200);
            }
            _ => {}
        }
        for (template, path) in addresses(&ids) {
            for accept in ["application/json", "text/csv"] {
                if accept == "text/csv" && !template.ends_with("/timeline") {
                    continue;
                }
                history.check(&app, &template, &path, accept).await;
            }
        }
    }
    // The walk has seen both outcomes for resources that change in a drop's life.
    for template in [
        "/v1/drops",
        "/v1/drops/{id}",
        "/v1/drops/{id}/purchasers",
        "/v1/drops/{id}/purchases",
        "/v1/drops/{id}/buyers/{buyer_id}",
        "/v1/holds/{id}",
        "/v1/purchases/{id}",
        "/v1/orders",
        "/v1/orders/{id}",
        "/v1/waitlist/{id}",
        "/v1/log",
        "/v1/log/head",
    ] {
        assert!(
            history.confirmed.contains(template),
            "never confirmed: {template}"
        );
        assert!(
            history.changed.contains(template),
            "never changed: {template}"
        );
    }
}

#[tokio::test]
async fn every_tagged_read_has_the_servers_time_in_a_header() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({ "hold_seconds": 3600 })).await;
    let empty = app.create_drop(0, json!({})).await;
    let bought = app.held(&drop, "ann").await;
    let purchase = text(&app.purchase(&bought).await.ok(201)["id"]);
    let hold = app.held(&drop, "BOB").await;
    let entry = app.joined(&empty, "ann", 1).await;
    let endpoint = endpoint_of(&app).await;
    let catalogued = catalogued(&app).await;
    let items = json!([{ "drop_id": drop, "quantity": 1 }]);
    let order = app
        .request(Method::POST, "/v1/orders")
        .header("idempotency-key", "order")
        .json(&json!({ "buyer_id": "dora", "items": items }));
    let order = text(&fetch(order).await.ok(201)["id"]);
    let document = api::openapi::document_with_pages();
    let mut tagged = BTreeSet::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        if item.get("get").is_none() || template.ends_with("/stream") {
            continue;
        }
        let id = match template.as_str() {
            "/v1/holds/{id}" => &hold,
            "/v1/purchases/{id}" => &purchase,
            "/v1/waitlist/{id}" => &entry,
            "/v1/orders/{id}" => &order,
            _ if template.contains("webhooks") => &endpoint,
            _ if template.contains("/creators") || template.contains("/products") => &catalogued,
            _ => &drop,
        };
        let path = template
            .replace("{id}", id)
            .replace("{buyer_id}", "ann")
            .replace("{path}", "style.css")
            .replace("{room}", "orders")
            .replace("{page}", "drops")
            .replace("{code}", "sold_out");
        for accept in ["*/*", "text/csv", "application/x-ndjson"] {
            for method in [Method::GET, Method::HEAD] {
                let read = || app.admin(method.clone(), &path).header("accept", accept);
                let reply = fetch(read()).await;
                assert_eq!(reply.status, 200, "{path}");
                let tag = reply.header("etag").to_owned();
                let time = reply.header("holdfast-server-time").to_owned();
                assert_eq!(
                    tag.is_empty(),
                    time.is_empty(),
                    "{path} {accept}: {reply:?}"
                );
                if tag.is_empty() {
                    continue;
                }
                assert!(time.len() == 24 && time.ends_with('Z'), "{path}: {time}");
                tagged.insert(template.clone());
                let again = fetch(read().header("if-none-match", "*")).await;
                assert_eq!(again.status, 304, "{path} {accept}");
                assert!(
                    again.header("holdfast-server-time") >= time.as_str(),
                    "{path}"
                );
            }
        }
    }
    let untagged = ["/health/live", "/health/ready", "/metrics"];
    for (template, item) in document["paths"].as_object().unwrap() {
        let is_untagged = untagged.contains(&template.as_str()) || template.ends_with("/stream");
        let is_tagged = item.get("get").is_some() && !is_untagged;
        assert_eq!(tagged.contains(template), is_tagged, "{template}");
    }
    let created = app.post_drop(&json!({})).await;
    assert_eq!(created.header("holdfast-server-time"), "", "not a read");
}
