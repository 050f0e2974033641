//! Every bound of `/openapi.json`, tested from both sides at the real server. The values come from
//! the document, so a new field is covered as soon as it is described.
//!
//! Promise: every documented maximum and minimum is accepted, for texts in characters of one to
//! four bytes, literal and escaped; the next value is rejected with its pointer; all texts of a
//! body may have their maximum length together; an unknown query parameter is rejected by name.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, Reply, fetch, key};
use reqwest::Method;
use serde_json::{Map, Value, json};

/// One character of each length in UTF-8.
const CHARACTERS: [char; 4] = ['a', 'é', '€', '😀'];
/// The maximum number of units of a drop.
const ALL_UNITS: i64 = 10_000_000;

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    described: Value,
}

fn operations() -> Vec<Operation> {
    let document = api::openapi::document();
    let mut all = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            all.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                described: described.clone(),
            });
        }
    }
    all
}

/// Resolves a reference; returns any other value unchanged.
fn resolve(document: &Value, value: &Value) -> Value {
    match value["$ref"].as_str() {
        Some(to) => resolve(
            document,
            document.pointer(to.trim_start_matches('#')).unwrap(),
        ),
        None => value.clone(),
    }
}

/// The schema without the alternative `null` and with its references resolved.
fn core(document: &Value, schema: &Value) -> Value {
    let schema = resolve(document, schema);
    let choices = schema["anyOf"].as_array().cloned().unwrap_or_default();
    let is_real = |choice: &&Value| choice["type"] != "null";
    match choices.iter().find(is_real) {
        Some(choice) => core(document, choice),
        None => schema,
    }
}

/// Every string and number of a body with a bound: its pointer and its schema.
fn bounded(document: &Value, schema: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    let schema = core(document, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        bounded(document, field, &format!("{at}/{name}"), found);
    }
    let bounds = ["minLength", "maxLength", "minimum", "maximum"];
    if bounds.iter().any(|bound| schema.get(bound).is_some()) {
        found.push((at.to_owned(), schema));
    }
}

/// Sets the value at `pointer` and creates missing parent objects.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let mut location = body;
    for name in pointer.split('/').skip(1) {
        if !location.is_object() {
            *location = json!({});
        }
        location = &mut location[name];
    }
    *location = value;
}

/// Adds the other fields that a throttle, a challenge and a price need.
fn complete(body: &mut Value, pointer: &str) {
    if pointer.starts_with("/throttle/") {
        body["throttle"] = json!({ "holds": 1, "window_seconds": 60 });
    }
    if pointer.starts_with("/challenge/") {
        body["challenge"] = json!({ "kind": "proof_of_work", "difficulty": 1 });
    }
    if pointer.starts_with("/price/") {
        body["price"] = json!({ "amount": 1, "currency": "EUR" });
    }
}

/// A text of `length` characters that the field accepts: a URL where required, and ASCII in an id
/// with a pattern.
fn text(pointer: &str, schema: &Value, character: char, length: usize) -> String {
    let character = schema.get("pattern").map_or(character, |_| 'x');
    let start = match (pointer, length) {
        ("/image_url", 0) => "",
        ("/image_url", 1..=100) => "/",
        ("/url" | "/endpoint", 0..=100) => "http://",
        ("/image_url" | "/url" | "/endpoint", _) => "https://shop.example/",
        _ => "",
    };
    let rest = character.to_string().repeat(length - start.len());
    format!("{start}{rest}")
}

/// A bound on the length of a text, if there is one.
fn length(bound: &Value) -> Option<usize> {
    bound.as_u64().map(|bound| usize::try_from(bound).unwrap())
}

/// The text as JSON with every character escaped.
fn escaped(text: &str) -> String {
    let units: String = text
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    format!("\"{units}\"")
}

/// Drops for every kind of request.
struct Shop {
    app: App,
    full: String,
    sold_out: String,
}

impl Shop {
    async fn open() -> Self {
        // So that a webhook's URL may be the shortest one, which has no TLS.
        let launch = Launch::fresh().await;
        let launch = launch
            .with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8")
            .with("HOLDFAST_PUSH_NETWORKS", "127.0.0.0/8");
        let app = launch.start().await;
        let wide = |stock: i64| json!({ "max_per_hold": 1_000, "total_stock": stock });
        let full = app.create_drop(0, wide(ALL_UNITS)).await;
        let sold_out = app.create_drop(0, wide(0)).await;
        Self {
            app,
            full,
            sold_out,
        }
    }

    /// The path, filled for a request that contains `value`.
    async fn filled(&self, path: &str, value: &Value) -> String {
        let id = match path {
            "/v1/drops/{id}/waitlist" => self.sold_out.clone(),
            "/v1/drops/{id}/stock-adjustments" => {
                let stock = if value.as_i64() < Some(0) {
                    ALL_UNITS
                } else {
                    0
                };
                let units = json!({ "total_stock": stock });
                self.app.create_drop(0, units).await
            }
            path if path.starts_with("/v1/holds/") => {
                // By an administrator: an edit may have given the drop a challenge.
                let path = format!("/v1/drops/{}/holds", self.full);
                let request = self.app.admin(Method::POST, &path);
                let request = request.header("idempotency-key", key());
                let body = json!({ "buyer_id": format!("buyer {}", key()) });
                let held = fetch(request.json(&body)).await.ok(201);
                held["id"].as_str().unwrap().to_owned()
            }
            _ => self.full.clone(),
        };
        path.replace("{id}", &id)
    }

    async fn send(&self, operation: &Operation, value: &Value, body: String) -> Reply {
        let path = self.filled(&operation.path, value).await;
        let request = self.app.admin(operation.method.clone(), &path);
        let request = request
            .header("idempotency-key", key())
            .header("if-match", "*");
        fetch(
            request
                .header("content-type", "application/json")
                .body(body),
        )
        .await
    }
}

/// Asserts that the value was accepted, even if the drop then refused the command.
#[track_caller]
fn assert_accepted(reply: &Reply, location: &str) {
    let is_refused = matches!(reply.status, 400 | 413 | 422);
    let is_of_terms = location.contains("/v1/drops /") || location.contains("/v1/drops/{id} /");
    let is_done = !is_of_terms || reply.status < 300;
    assert!(!is_refused && is_done, "{location}: {}", reply.text());
}

#[tokio::test]
async fn every_bound_of_a_body_is_accepted_and_the_next_value_rejected() {
    let shop = Shop::open().await;
    let document = api::openapi::document();
    let mut seen = vec![];
    for operation in operations() {
        let media = &operation.described["requestBody"]["content"]["application/json"];
        let mut fields = vec![];
        bounded(&document, &media["schema"], "", &mut fields);
        for (pointer, schema) in fields {
            let location = format!("{} {} {pointer}", operation.method, operation.path);
            let body = |literal: &str| {
                let mut body = media["example"].clone();
                complete(&mut body, &pointer);
                set(&mut body, &pointer, json!("@@"));
                body.to_string().replace("\"@@\"", literal)
            };
            let least = length(&schema["minLength"]).unwrap_or(0);
            if let Some(most) = length(&schema["maxLength"]) {
                for character in CHARACTERS {
                    for length in [least.max(1), most] {
                        let text = text(&pointer, &schema, character, length);
                        for literal in [json!(text).to_string(), escaped(&text)] {
                            let reply = shop.send(&operation, &json!(0), body(&literal)).await;
                            assert_accepted(
                                &reply,
                                &format!("{location}, {length} of {character}"),
                            );
                        }
                    }
                    let text = text(&pointer, &schema, character, most + 1);
                    for literal in [json!(text).to_string(), escaped(&text)] {
                        let reply = shop.send(&operation, &json!(0), body(&literal)).await;
                        reply.invalid(&pointer);
                    }
                }
                if least > 0 {
                    let reply = shop.send(&operation, &json!(0), body("\"\"")).await;
                    reply.invalid(&pointer);
                }
                seen.push(location);
                continue;
            }
            for (bound, beyond) in [("minimum", -1), ("maximum", 1)] {
                let value = schema[bound].as_i64();
                let value = value.unwrap_or_else(|| panic!("{location} has no {bound}"));
                let reply = shop
                    .send(&operation, &json!(value), body(&value.to_string()))
                    .await;
                assert_accepted(&reply, &format!("{location} = {value}"));
                let value = value + beyond;
                let reply = shop
                    .send(&operation, &json!(value), body(&value.to_string()))
                    .await;
                reply.invalid(&pointer);
            }
            seen.push(location);
        }
    }
    assert!(seen.len() >= 26, "{seen:#?}");
}

#[tokio::test]
async fn all_texts_of_a_body_may_have_their_maximum_length_together() {
    let shop = Shop::open().await;
    let document = api::openapi::document();
    let mut seen = 0;
    for operation in operations() {
        let media = &operation.described["requestBody"]["content"]["application/json"];
        let mut fields = vec![];
        bounded(&document, &media["schema"], "", &mut fields);
        let texts: Vec<(String, String)> = fields
            .into_iter()
            .filter_map(|(pointer, schema)| {
                let text = text(&pointer, &schema, '😀', length(&schema["maxLength"])?);
                Some((pointer, text))
            })
            .collect();
        if texts.is_empty() {
            continue;
        }
        let mut body = media["example"].clone();
        for (index, (pointer, _)) in texts.iter().enumerate() {
            set(&mut body, pointer, json!(format!("@{index}@")));
        }
        let mut body = body.to_string();
        for (index, (_, text)) in texts.iter().enumerate() {
            body = body.replace(&format!("\"@{index}@\""), &escaped(text));
        }
        let reply = shop.send(&operation, &json!(0), body).await;
        assert_accepted(
            &reply,
            &format!("{} {} /", operation.method, operation.path),
        );
        seen += 1;
    }
    assert_eq!(
        seen, 18,
        "new drop, edit, adjustment, count, hold, entry, payment, refund; new order, payment, \
         shipment, refund; new webhook, edit; creator, product; subscription, its end"
    );
}

#[tokio::test]
async fn every_bound_of_a_query_is_accepted_and_the_next_value_rejected() {
    let shop = Shop::open().await;
    let document = api::openapi::document();
    let mut seen = 0;
    for operation in operations() {
        let parameters = operation.described["parameters"].as_array().cloned();
        for parameter in parameters.unwrap_or_default() {
            let parameter = resolve(&document, &parameter);
            let name = parameter["name"].as_str().unwrap();
            let schema = resolve(&document, &parameter["schema"]);
            let path = shop.filled(&operation.path, &json!(0)).await;
            let path = path.replace("{buyer_id}", "ann");
            let send_value = |value: String| {
                let path = format!("{path}?{name}={value}");
                fetch(shop.app.admin(operation.method.clone(), &path))
            };
            let is_query = parameter["in"] == "query";
            for (bound, beyond) in [("minimum", -1), ("maximum", 1)] {
                let Some(value) = schema[bound].as_i64().filter(|_| is_query) else {
                    continue;
                };
                // Waiting for the last position ends with 503.
                if value < i64::MAX {
                    let reply = send_value(value.to_string()).await;
                    let is_known = !matches!(reply.status, 400 | 422);
                    assert!(is_known, "{path}?{name}={value}: {}", reply.text());
                }
                let value = i128::from(value) + beyond;
                let reply = send_value(value.to_string()).await;
                assert_eq!(
                    reply.error_pointers(400, "invalid_query"),
                    [format!("/{name}")]
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "{seen}");
    let last = shop
        .app
        .get(&format!("/v1/drops?at_least={}", i64::MAX))
        .await;
    last.problem(503, "unavailable");
}

#[tokio::test]
async fn unknown_parameter_is_rejected_by_name_with_all_other_errors() {
    let shop = Shop::open().await;
    let mut seen = 0;
    for operation in operations() {
        let path = shop.filled(&operation.path, &json!(0)).await;
        let path = path.replace("{buyer_id}", "ann");
        let before = shop.app.log().await.len();
        for (query, pointers) in [
            ("surprise=1", vec!["/surprise"]),
            ("surprise=&%74wo", vec!["/surprise", "/two"]),
        ] {
            let path = format!("{path}?{query}");
            let request = shop.app.admin(operation.method.clone(), &path);
            let request = request
                .header("idempotency-key", key())
                .header("if-match", "*");
            let example =
                &operation.described["requestBody"]["content"]["application/json"]["example"];
            let request = if example.is_null() {
                request
            } else {
                request.json(example)
            };
            let found = fetch(request).await.error_pointers(400, "invalid_query");
            assert_eq!(found, pointers, "{} {path}", operation.method);
        }
        let after = shop.app.log().await.len();
        assert_eq!(
            after, before,
            "{} {path}: nothing is recorded",
            operation.method
        );
        seen += 1;
    }
    assert!(seen >= 20, "{seen}");
    for (path, pointers) in [
        ("/v1/drops?limit=0&status=foo", vec!["/limit", "/status"]),
        (
            "/v1/drops?at_least=x&expand=all&limit=101&colour=red",
            vec!["/at_least", "/colour", "/expand", "/limit"],
        ),
        (
            "/v1/log?after=x&limit=10001&at_least=-1",
            vec!["/after", "/at_least", "/limit"],
        ),
        (
            "/v1/admin/metrics?window=1w&buckets=2",
            vec!["/buckets", "/window"],
        ),
        ("/v1/stream?at_least=1&drop=x", vec!["/at_least", "/drop"]),
    ] {
        let reply = fetch(shop.app.admin(Method::GET, path)).await;
        assert_eq!(
            reply.error_pointers(400, "invalid_query"),
            pointers,
            "{path}"
        );
    }
    // Campaigns, mail programs and messengers add parameters to links to pages.
    let page = format!("/drops/{}", shop.full);
    for path in [
        "/",
        &page,
        "/cart",
        "/docs",
        "/docs/drops",
        "/admin",
        "/admin/orders",
        "/assets/style.css",
        "/problems",
        "/problems/sold_out",
    ] {
        let reply = shop
            .app
            .get(&format!("{path}?utm_source=mail&fbclid=1"))
            .await;
        assert_eq!(reply.status, 200, "{path}");
    }
}

/// Every query parameter of every operation: the path, filled, and the name.
async fn query_parameters(shop: &Shop) -> Vec<(Method, String, String)> {
    let document = api::openapi::document();
    let mut found = vec![];
    for operation in operations() {
        let path = shop.filled(&operation.path, &json!(0)).await;
        let path = path.replace("{buyer_id}", "ann");
        let parameters = operation.described["parameters"].as_array().cloned();
        for parameter in parameters.unwrap_or_default() {
            let parameter = resolve(&document, &parameter);
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap().to_owned();
                found.push((operation.method.clone(), path.clone(), name));
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

#[tokio::test]
async fn empty_parameter_is_rejected_by_name_wherever_it_is() {
    let shop = Shop::open().await;
    for (method, path, name) in query_parameters(&shop).await {
        for query in [
            format!("{name}="),
            name.clone(),
            format!("&{name}=&"),
            format!("{name}=&{name}=1"),
        ] {
            let reply = fetch(shop.app.admin(method.clone(), &format!("{path}?{query}"))).await;
            let problem = reply.problem(400, "invalid_query");
            let only = json!([{
                "pointer": format!("/{name}"),
                "detail": "must not be empty; omit the parameter instead",
            }]);
            assert_eq!(problem["errors"], only, "{path}?{query}");
        }
    }
    let reply = shop.app.get("/v1/drops?limit=&status=open&colour=").await;
    assert_eq!(
        reply.error_pointers(400, "invalid_query"),
        ["/colour", "/limit", "/status"]
    );
    for nothing in ["", "?", "?&", "?&&"] {
        shop.app.get(&format!("/v1/drops{nothing}")).await.ok(200);
    }
}

#[tokio::test]
async fn lists_in_a_query_are_bounded_by_their_length_and_have_no_empty_entry() {
    let shop = Shop::open().await;
    let entry = shop.app.joined(&shop.sold_out, "ann", 1).await;
    let order = shop.app.request(Method::POST, "/v1/orders");
    let stocked = shop.app.create_drop(1, json!({})).await;
    let items = json!([{ "drop_id": stocked }]);
    let order = order
        .header("idempotency-key", key())
        .json(&json!({ "buyer_id": "ann", "items": items }));
    let order = harness::text(&fetch(order).await.ok(201)["id"]);
    for (path, id, most) in [
        ("/v1/drops?ids", &shop.full, 100),
        ("/v1/stream?drops", &shop.full, 200),
        ("/v1/stream?waitlist", &entry, 20),
        ("/v1/stream?orders", &order, 20),
    ] {
        let name = path.split('?').next_back().unwrap();
        let list = |count: usize| vec![id.as_str(); count].join(",");
        let send = |value: String| {
            let request = shop.app.request(Method::GET, &format!("{path}={value}"));
            async { request.send().await.unwrap() }
        };
        assert_eq!(send(list(most)).await.status(), 200, "{name}");
        let refused = shop.app.get(&format!("{path}={}", list(most + 1))).await;
        let problem = refused.problem(400, "invalid_query");
        assert_eq!(problem["most"], most, "{problem}");
        let detail = harness::text(&problem["errors"][0]["detail"]);
        assert_eq!(
            detail,
            format!("lists {} ids; send at most {most}", most + 1)
        );
        for list in [
            ",",
            "%20",
            &format!("{id},"),
            &format!(",{id}"),
            &format!("{id},,{id}"),
        ] {
            let reply = shop.app.get(&format!("{path}={list}")).await;
            assert_eq!(
                reply.error_pointers(400, "invalid_query"),
                [format!("/{name}")],
                "{list}"
            );
        }
    }
}

#[tokio::test]
async fn keys_and_buyers_in_paths_may_have_their_documented_length() {
    let shop = Shop::open().await;
    for (length, is_one) in [(1, true), (255, true), (256, false)] {
        let path = format!("/v1/drops/{}/holds", shop.full);
        let request = shop.app.request(Method::POST, &path);
        // Different keys of the same length.
        let key = format!("{}{}", length % 10, "k".repeat(length - 1));
        let request = request.header("idempotency-key", key);
        let reply = fetch(request.json(&json!({ "buyer_id": "ann" }))).await;
        if is_one {
            reply.ok(201);
        } else {
            reply.problem(400, "invalid_idempotency_key");
        }
    }
    for character in CHARACTERS {
        let standing = |length: usize| {
            let buyer: String = character
                .to_string()
                .repeat(length)
                .bytes()
                .map(|byte| format!("%{byte:02X}"))
                .collect();
            let path = format!("/v1/drops/{}/buyers/{buyer}", shop.full);
            fetch(shop.app.request(Method::GET, &path))
        };
        standing(128).await.ok(200);
        standing(129).await.invalid("/buyer_id");
    }
}

#[tokio::test]
async fn escaped_body_is_counted_in_characters_and_still_bounded() {
    let shop = Shop::open().await;
    let new_drop = |filler: &str| {
        let body = json!({
            "name": "n", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 1,
        });
        body.to_string().replace('}', &format!("}}{filler}"))
    };
    let send = |path: &str, body: String| {
        let request = shop
            .app
            .admin(Method::POST, path)
            .header("idempotency-key", key());
        fetch(
            request
                .header("content-type", "application/json")
                .body(body),
        )
    };
    // White space between values: more than 16 KiB of it is still rejected.
    let refused = send("/v1/drops", new_drop(&" ".repeat(8 * 1024 + 1))).await;
    let problem = refused.problem(413, "body_too_large");
    assert_eq!(
        (&problem["max_bytes"], &problem["max_characters"]),
        (&json!(98_304), &json!(16_384)),
        "{problem}"
    );
    let wide = json!({ "buyer_id": "ann", "display_name": "@@" }).to_string();
    let wide = wide.replace("\"@@\"", &escaped(&"😀".repeat(1_400)));
    let refused = send(&format!("/v1/drops/{}/holds", shop.full), wide).await;
    let problem = refused.problem(413, "body_too_large");
    assert_eq!(problem["max_bytes"], 16_384);
    assert_eq!(problem["max_characters"], serde_json::Value::Null);
    let escapes = escaped(&"😀".repeat(9_000));
    let long = json!({ "name": "@@" })
        .to_string()
        .replace("\"@@\"", &escapes);
    let refused = send("/v1/drops", long).await;
    assert_eq!(refused.problem(413, "body_too_large")["max_bytes"], 98_304);
}

#[tokio::test]
async fn image_is_a_url_or_a_path_on_this_server() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let edit = |url: &str| {
        let request = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
        let body = json!({ "image_url": url });
        fetch(request.header("if-match", "*").json(&body))
    };
    for url in [
        "https://shop.example/a.jpg",
        "/assets/mark.svg",
        "data:image/png;base64,AA==",
        "https://shop.example/a%20b.jpg?q=%22#a",
        "https://bücher.example/é/😀.jpg",
    ] {
        assert_eq!(edit(url).await.ok(200)["image_url"], url);
    }
    for (url, stored) in [
        ("HTTPS://shop.example/A.jpg", "https://shop.example/A.jpg"),
        ("Http://Shop.Example/", "http://Shop.Example/"),
        ("DATA:Image/PNG;base64,AA==", "data:image/PNG;base64,AA=="),
    ] {
        assert_eq!(edit(url).await.ok(200)["image_url"], stored);
    }
    for (url, words) in [
        ("/\\evil.example/a.jpg", "must not have a backslash"),
        ("https:\\\\shop.example", "must not have a backslash"),
        (
            "https://shop.example/a b.jpg",
            "must not have a space; write it as %20",
        ),
        ("/a b.jpg", "must not have a space; write it as %20"),
        (
            "https://shop.example/\"a",
            "must not have \"; write it as %22",
        ),
        (
            "https://shop.example/<a>",
            "must not have <; write it as %3C",
        ),
        (
            "https://shop.example/a\tb",
            "must not have a tab or line break",
        ),
        (
            "https:/shop.example/a",
            "must have two slashes after the scheme",
        ),
        (
            "https://u:p@shop.example/a",
            "must not have a user name or password",
        ),
        ("https://", "must have a host name"),
        (
            "https://shop.example:99999/a",
            "must have a port from 1 to 65535",
        ),
        (
            "https://shop.example:0/a",
            "must have a port from 1 to 65535",
        ),
        (
            "http://127.1/a.jpg",
            "must have an IPv4 address as four decimal numbers: 127.0.0.1",
        ),
        (
            "/100%.jpg",
            "must have two hexadecimal digits after each %; write the sign itself as %25",
        ),
        (
            "https://shop.example/\u{202e}gpj.exe",
            "must not contain U+202E, which changes the direction of text",
        ),
        (
            "data:image/png",
            "must have a comma between the media type and the data",
        ),
        (
            "//evil.example/a.jpg",
            "must not begin with two slashes, which lead to another server",
        ),
        ("", "must have 1 to 2048 characters"),
    ] {
        let refused = edit(url).await;
        refused.invalid("/image_url");
        assert_eq!(refused.json()["errors"][0]["detail"], words, "{url}");
    }
    for url in [
        "https://",
        "https://[::1",
        "https://shop.example:99999/a.jpg",
        "https://user:secret@shop.example/a.jpg",
        "//other.example/a.jpg",
        "/\\other.example/a.jpg",
        "javascript:alert(1)",
        "a.jpg",
    ] {
        edit(url).await.invalid("/image_url");
        let mut new = Map::new();
        new.insert("image_url".to_owned(), json!(url));
        let reply = app.post_drop(&json!(new)).await;
        assert!(
            reply.invalid_pointers().contains(&"/image_url".to_owned()),
            "{url}"
        );
    }
}
