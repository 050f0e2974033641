//! docs/CONTRACT.md on `/openapi.json`: a valid OpenAPI 3.1 document of everything that the server
//! serves, and of nothing else.
//!
//! The harness checks in every other test that responses are as described.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;

use harness::{App, distinct, fetch, validator};
use reqwest::Method;
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

/// Every operation: its path, its method and its description.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = METHODS.iter().filter_map(|&method| {
            Some((path.clone(), method.to_owned(), item.get(method)?.clone()))
        });
        methods.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Visits every value in `value` with the pointer to it.
fn walk(value: &Value, pointer: &str, look: &mut impl FnMut(&str, &Value)) {
    look(pointer, value);
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| walk(value, &format!("{pointer}/{name}"), look)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, value)| walk(value, &format!("{pointer}/{i}"), look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_path_of_the_router_is_described_and_no_other() {
    let document = api::openapi::document_with_pages();
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let served = api::router::paths()
        .into_iter()
        .map(|path| path.replace("{*", "{"))
        .collect();
    assert_eq!(described, served);
    // Clients are generated from the document, so the pages for people are not among its
    // operations.
    let document = api::openapi::document();
    let pages: Vec<&String> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|path| !path.starts_with("/v1/"))
        .collect();
    assert_eq!(
        pages,
        ["/health/live", "/health/ready", "/metrics", "/openapi.json"]
    );
}

#[tokio::test]
async fn every_method_of_a_path_is_described_and_no_other() {
    let app = App::start().await;
    let document = api::openapi::document_with_pages();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled = path.replace(['{', '}'], "");
        let method = Method::from_bytes(b"NOSUCH").unwrap();
        let reply = fetch(app.request(method, &filled)).await;
        reply.problem(405, "method_not_allowed");
        let served = reply
            .header("allow")
            .split(',')
            .map(str::to_lowercase)
            .filter(|method| method != "head");
        let described = METHODS
            .iter()
            .filter(|&&method| item.get(method).is_some())
            .map(|&method| method.to_owned());
        assert_eq!(distinct(served), distinct(described), "{path}");
    }
}

/// The document states the credential that the handler checks, so a handler that checks none is
/// noticed here.
#[test]
fn operations_that_need_no_credential_are_listed() {
    let operations = operations(&api::openapi::document()).into_iter();
    let open = operations.filter(|(_, _, operation)| operation["security"] == json!([]));
    let open: Vec<String> = open
        .map(|(path, method, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(
        open,
        [
            "get /health/live",
            "get /health/ready",
            "get /metrics",
            "get /openapi.json",
            // They check the admin key and the session themselves.
            "post /v1/admin/session",
            "delete /v1/admin/session",
            "get /v1/creators",
            "get /v1/creators/{id}",
            "get /v1/drops",
            "get /v1/drops/{id}",
            "get /v1/drops/{id}/purchasers",
            "get /v1/feeds/google.tsv",
            "post /v1/payments/webhooks/{provider}",
            "get /v1/products",
            "get /v1/products/{id}",
            "get /v1/push/application-server-key",
        ]
    );
}

#[tokio::test]
async fn document_is_served_with_an_entity_tag() {
    let app = App::start().await;
    let reply = app.get("/openapi.json").await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.ok(200), api::openapi::document());
    let again = app
        .request(Method::GET, "/openapi.json")
        .header("if-none-match", reply.header("etag"));
    let again = fetch(again).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other = app
        .request(Method::GET, "/openapi.json")
        .header("if-none-match", "\"other\"");
    assert_eq!(fetch(other).await.status, 200);
}

#[test]
fn document_is_valid_openapi_3_1() {
    let spec = oas3::from_json(api::openapi::document().to_string()).unwrap();
    assert!(spec.openapi.starts_with("3.1."), "{}", spec.openapi);
    spec.validate_version().unwrap();
    let count = spec.operations().count();
    assert_eq!(count, operations(&api::openapi::document()).len());
}

#[test]
fn document_has_the_newest_version_of_the_changelog() {
    let changelog = include_str!("../../CHANGELOG.md");
    let versions = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "));
    let newest = versions.filter_map(|title| title.split_once(" (")).next();
    let document = api::openapi::document();
    assert_eq!(newest.unwrap().0, document["info"]["version"]);
}

#[test]
fn every_reference_resolves() {
    let document = api::openapi::document();
    let mut seen = 0;
    walk(&document, "", &mut |pointer, value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            seen += 1;
            let target = document.pointer(reference.trim_start_matches('#'));
            assert!(target.is_some(), "{reference} at {pointer}");
        }
    });
    assert!(seen > 100, "{seen}");
}

/// Each of the avoided forms is misread by some generator: docs/decisions/0047.
#[test]
fn schemas_use_the_forms_that_client_generators_share() {
    let document = api::openapi::document();
    let mut seen = 0;
    walk(&document, "", &mut |pointer, schema| {
        let is_example = ["/example", "/properties"]
            .iter()
            .any(|end| pointer.ends_with(end));
        if !schema.is_object() || is_example || pointer.contains("/example") {
            return;
        }
        assert!(schema.get("discriminator").is_none(), "{pointer}");
        let is_body = pointer.starts_with("/components/schemas/");
        assert!(!is_body || schema.get("default").is_none(), "{pointer}");
        let has_values = schema.get("enum").or(schema.get("const")).is_some();
        let is_refusal = pointer.ends_with("/not");
        assert!(
            !has_values || is_refusal || schema["type"].is_string(),
            "{pointer} has no type"
        );
        let choices = schema["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        let are_names = choices.iter().all(|choice| choice.get("const").is_some());
        assert!(choices.is_empty() || !are_names, "{pointer} is an enum");
        let kinds = [&schema["type"], &schema["type"][0]];
        let is_whole = kinds.iter().any(|kind| **kind == "integer");
        if is_whole && schema.get("const").is_none() {
            let format = schema["format"].as_str();
            assert!(
                matches!(format, Some("int32" | "int64")),
                "{pointer}: {schema}"
            );
            seen += 1;
        }
    });
    assert!(seen > 50, "{seen}");
    let schemes = &document["components"]["securitySchemes"];
    for (path, method, operation) in operations(&document) {
        let choices = operation["security"].as_array().unwrap().iter();
        let names = choices.flat_map(|choice| choice.as_object().unwrap().keys());
        let bearers = names.filter(|name| schemes[name.as_str()]["scheme"] == "bearer");
        assert!(bearers.count() <= 1, "{method} {path}");
    }
}

#[test]
fn every_example_is_valid() {
    let document = api::openapi::document();
    let mut seen = 0;
    walk(&document["paths"], "", &mut |pointer, value| {
        let Some(schema) = value
            .get("schema")
            .filter(|_| pointer.contains("/content/"))
        else {
            return;
        };
        let single = value.get("example").into_iter();
        let several = value.get("examples").and_then(Value::as_object).into_iter();
        let examples: Vec<&Value> = single
            .chain(several.flat_map(|all| all.values().map(|example| &example["value"])))
            .collect();
        assert!(
            !pointer.ends_with("/application/json")
                || pointer.starts_with("//openapi.json/")
                || !examples.is_empty(),
            "no example at {pointer}"
        );
        let validator = validator(schema);
        for example in examples {
            seen += 1;
            let faults: Vec<String> = validator
                .iter_errors(example)
                .map(|error| error.to_string())
                .collect();
            assert!(faults.is_empty(), "{pointer}: {faults:?}\n{example}");
        }
    });
    assert!(seen > 100, "{seen}");
}

#[test]
fn every_operation_has_a_unique_name_a_tag_and_texts() {
    let document = api::openapi::document();
    let operations = operations(&document);
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let ids = operations
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap());
    assert_eq!(distinct(ids).len(), operations.len());
    for (path, method, operation) in &operations {
        assert!(
            tags.contains(operation["tags"][0].as_str().unwrap()),
            "{method} {path}"
        );
        assert!(
            !operation["summary"].as_str().unwrap().is_empty(),
            "{method} {path}"
        );
    }
}

#[test]
fn every_problem_is_described_where_it_can_occur() {
    let document = api::openapi::document();
    let text = document["paths"].to_string();
    // Possible on any path, so described once.
    let elsewhere = [
        "method_not_allowed",
        "not_found",
        "malformed_request",
        "uri_too_long",
        "head_too_large",
        "http_version_not_supported",
    ];
    let anywhere = document["components"]["responses"].to_string();
    for code in api::problem::Code::ALL
        .iter()
        .filter(|code| !elsewhere.contains(&code.name()))
    {
        assert!(text.contains(&format!("/{code:?}Problem")), "{code:?}");
    }
    for name in elsewhere {
        assert!(anywhere.contains(&format!("/problems/{name}\"")), "{name}");
    }
}

/// The request headers that decide the language of a page.
const LANGUAGE: &str = "Accept-Language, Cookie";

/// The `cache-control` of each GET route, and the request headers on which its response depends.
const CACHES: [(&str, &str, &str); 62] = [
    ("/v1/drops", "no-cache", ""),
    ("/v1/drops/{id}", "no-cache", ""),
    ("/v1/drops/{id}/purchasers", "no-cache", ""),
    ("/v1/drops/{id}/buyers/{buyer_id}", "private, no-cache", ""),
    ("/v1/drops/{id}/codes", "private, no-cache", ""),
    ("/v1/drops/{id}/purchases", "private, no-cache", "Accept"),
    ("/v1/holds/{id}", "private, no-cache", ""),
    ("/v1/purchases/{id}", "private, no-cache", ""),
    ("/v1/orders", "private, no-cache", "Accept"),
    ("/v1/orders/{id}", "private, no-cache", ""),
    ("/v1/waitlist/{id}", "private, no-cache", ""),
    ("/v1/stream", "no-store", ""),
    ("/v1/creators", "no-cache", ""),
    ("/v1/creators/{id}", "no-cache", ""),
    ("/v1/creators/{id}/followers", "private, no-cache", ""),
    ("/v1/products", "no-cache", ""),
    ("/v1/products/{id}", "no-cache", ""),
    ("/v1/buyers/{buyer_id}/follows", "private, no-cache", ""),
    ("/v1/buyers/{buyer_id}/reminders", "private, no-cache", ""),
    (
        "/v1/buyers/{buyer_id}/notifications",
        "private, no-cache",
        "",
    ),
    ("/v1/buyers/{buyer_id}/notifications/stream", "no-store", ""),
    ("/v1/push/application-server-key", "no-cache", ""),
    ("/creators", "no-cache", LANGUAGE),
    ("/creators/{id}", "no-cache", LANGUAGE),
    ("/products/{id}", "no-cache", LANGUAGE),
    ("/v1/admin/metrics", "private, no-cache", ""),
    ("/v1/admin/timeline", "private, no-cache", "Accept"),
    ("/v1/admin/revenue", "private, no-cache", "Accept"),
    ("/v1/admin/buyers/{buyer_id}", "private, no-cache", ""),
    ("/v1/admin/drops/{id}/report", "private, no-cache", ""),
    ("/v1/admin/webhooks", "private, no-cache", ""),
    ("/v1/admin/webhooks/{id}", "private, no-cache", ""),
    (
        "/v1/admin/webhooks/{id}/deliveries",
        "private, no-cache",
        "",
    ),
    ("/v1/admin/jobs", "private, no-cache", ""),
    ("/v1/admin/needs-attention", "private, no-cache", ""),
    ("/v1/admin/session", "private, no-cache", ""),
    ("/v1/log", "private, no-cache", "Accept"),
    ("/v1/log/head", "private, no-cache", ""),
    ("/metrics", "no-store", ""),
    ("/openapi.json", "no-cache", ""),
    ("/health/live", "no-store", ""),
    ("/health/ready", "no-store", ""),
    ("/", "no-cache", LANGUAGE),
    ("/drops/{id}", "no-cache", LANGUAGE),
    ("/cart", "no-cache", LANGUAGE),
    ("/orders/{id}", "no-cache", LANGUAGE),
    ("/admin", "no-cache", "Cookie"),
    ("/admin/{room}", "no-cache", "Cookie"),
    ("/admin/orders/{id}", "no-cache", "Cookie"),
    ("/admin/drops/{id}", "no-cache", "Cookie"),
    ("/docs", "no-cache", ""),
    ("/docs/{page}", "no-cache", ""),
    ("/assets/{path}", "no-cache", ""),
    ("/theme.css", "no-cache", ""),
    ("/favicon.ico", "no-cache", ""),
    ("/robots.txt", "no-cache", ""),
    ("/sitemap.xml", "no-cache", ""),
    ("/v1/feeds/google.tsv", "no-cache", ""),
    ("/embed.js", "no-cache", ""),
    ("/push.js", "no-cache", ""),
    ("/problems", "no-cache", "Accept"),
    ("/problems/{code}", "no-cache", "Accept"),
];

#[tokio::test]
async fn every_route_has_the_right_cache_headers() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    let entry = app.joined(&drop, "bob", 1).await;
    let other = app.create_drop(1, json!({})).await;
    let bought = app.held(&other, "carl").await;
    let purchase = app.purchase(&bought).await.ok(201);
    let purchase = harness::text(&purchase["id"]);
    let third = app.create_drop(1, json!({})).await;
    let order = app
        .request(Method::POST, "/v1/orders")
        .header("idempotency-key", "order")
        .json(&json!({ "buyer_id": "dora", "items": [{ "drop_id": third }] }));
    let order = harness::text(&fetch(order).await.ok(201)["id"]);
    // Nothing is sent to it: no drop is cancelled.
    let endpoint = json!({ "url": "https://shop.example/", "event_types": ["drop.cancelled"] });
    let endpoint = app
        .admin(Method::POST, "/v1/admin/webhooks")
        .json(&endpoint);
    let endpoint = harness::text(&fetch(endpoint).await.ok(201)["id"]);
    let listed_id = "nord".to_owned();
    for (kind, body) in [
        ("creators", json!({ "name": "Nord" })),
        ("products", json!({ "title": "Jacket" })),
    ] {
        let put = app.admin(Method::PUT, &format!("/v1/{kind}/{listed_id}"));
        fetch(put.json(&body)).await.ok(201);
    }
    let document = api::openapi::document_with_pages();
    let gets = operations(&document).into_iter();
    let gets = gets.filter(|(_, method, _)| method == "get");
    let listed: BTreeSet<String> = gets.map(|(path, ..)| path).collect();
    let known: BTreeSet<String> = CACHES.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(listed, known);
    for (path, cache_control, vary) in CACHES {
        let id = match path {
            "/v1/holds/{id}" => &hold,
            "/v1/waitlist/{id}" => &entry,
            "/v1/purchases/{id}" => &purchase,
            "/v1/orders/{id}" | "/orders/{id}" | "/admin/orders/{id}" => &order,
            _ if path.contains("webhooks") => &endpoint,
            _ if path.contains("creators") || path.contains("products") => &listed_id,
            _ => &drop,
        };
        let filled = path
            .replace("{id}", id)
            .replace("{buyer_id}", "alice")
            .replace("{path}", "style.css")
            .replace("{room}", "orders")
            .replace("{page}", "drops")
            .replace("{code}", "sold_out");
        if path.ends_with("/stream") {
            // The response does not end: only its head is read.
            let reply = app.request(Method::GET, &filled).send().await.unwrap();
            assert_eq!(reply.headers()["cache-control"], cache_control);
            continue;
        }
        let request = || app.admin(Method::GET, &filled);
        let reply = fetch(request()).await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("cache-control"), cache_control, "{path}");
        assert_eq!(reply.header("vary"), vary, "{path}");
        if reply.headers.contains_key("etag") {
            let again = fetch(request().header("if-none-match", reply.header("etag"))).await;
            // Some bodies contain the time or a changing count; they are sent again.
            assert!(matches!(again.status, 200 | 304), "{path}: {again:?}");
            assert_eq!(again.header("cache-control"), cache_control, "{path}");
            assert_eq!(again.header("vary"), vary, "{path}");
        }
        let refused = fetch(app.request(Method::DELETE, "/v1/drops")).await;
        assert_eq!(refused.header("cache-control"), "no-store");
    }
    // A 404 and a CSV file must not be stored either.
    let placed = app
        .hold(&app.create_drop(1, json!({})).await, "carol")
        .await;
    assert_eq!(placed.header("cache-control"), "no-store");
    let absent = format!("/v1/holds/{}", uuid::Uuid::nil());
    assert_eq!(app.get(&absent).await.header("cache-control"), "no-store");
    assert_eq!(
        app.get("/nowhere").await.header("cache-control"),
        "no-store"
    );
    let csv = app.admin(Method::GET, "/v1/admin/timeline");
    let csv = fetch(csv.header("accept", "text/csv")).await;
    assert_eq!(csv.header("cache-control"), "private, no-cache");
    let lines = app.admin(Method::GET, "/v1/log");
    let lines = fetch(lines.header("accept", "application/x-ndjson")).await;
    assert_eq!(lines.header("cache-control"), "private, no-cache");
}
