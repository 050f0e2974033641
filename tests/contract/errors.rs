//! docs/CONTRACT.md on errors: every error is an `application/problem+json` document.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod bodies;
mod explanations;
mod words;

use harness::{ADMIN_KEY, AUDITOR_KEY, App, Raw, Reply, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn unknown_path_is_a_problem() {
    let app = App::start().await;
    for path in [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/drop",
        "/v1/drops/",
        "/v2/drops",
        "/v1/drops/x/y/z",
        "/assets/none.js",
        "/problems/none",
        "/%00",
        "/v1/holds",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let reply = fetch(app.request(method.clone(), path)).await;
            assert!(
                matches!(reply.status, 404 | 405),
                "{method} {path}: {reply:?}"
            );
            reply.any_problem();
        }
        app.get(path).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn unknown_method_is_a_problem_with_the_allowed_methods() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/drops".to_owned(), "GET"),
        (Method::PUT, "/v1/drops".to_owned(), "POST"),
        (Method::POST, format!("/v1/drops/{drop}"), "PATCH"),
        (Method::GET, format!("/v1/drops/{drop}/cancel"), "POST"),
        (Method::GET, format!("/v1/drops/{drop}/holds"), "POST"),
        (Method::PUT, format!("/v1/holds/{drop}"), "DELETE"),
        (Method::GET, format!("/v1/holds/{drop}/purchase"), "POST"),
        (Method::POST, "/v1/stream".to_owned(), "GET"),
        (Method::DELETE, "/v1/log".to_owned(), "GET"),
        (Method::POST, "/health/ready".to_owned(), "GET"),
        (Method::POST, "/".to_owned(), "GET"),
    ] {
        let reply = fetch(app.request(method.clone(), &path)).await;
        reply.problem(405, "method_not_allowed");
        assert!(
            reply.header("allow").contains(allowed),
            "{method} {path}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn invalid_query_is_reported_by_parameter() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let purchasers = format!("/v1/drops/{drop}/purchasers");
    for (path, pointers) in [
        ("/v1/drops?limit=0", vec!["/limit"]),
        ("/v1/drops?limit=x&status=open", vec!["/limit", "/status"]),
        ("/v1/drops?expand=all", vec!["/expand"]),
        ("/v1/drops?starting_after=x", vec!["/starting_after"]),
        (
            &format!("/v1/drops?starting_after={}", uuid::Uuid::new_v4()),
            vec!["/starting_after"],
        ),
        ("/v1/drops?at_least=x", vec!["/at_least"]),
        ("/v1/drops?at_least=9223372036854775808", vec!["/at_least"]),
        ("/v1/drops?limit=1&limit=2", vec!["/limit"]),
        (&format!("{purchasers}?limit=101"), vec!["/limit"]),
        (
            &format!("{purchasers}?order=name&limit=1.5"),
            vec!["/limit", "/order"],
        ),
        (
            "/v1/admin/metrics?window=1w&bucket=x",
            vec!["/bucket", "/window"],
        ),
        ("/v1/admin/timeline?window=1h&bucket=2h", vec!["/bucket"]),
        ("/v1/admin/timeline?window=31d&bucket=1m", vec!["/bucket"]),
        ("/v1/log?after=x&limit=-1", vec!["/after", "/limit"]),
        ("/v1/log?limit=10001", vec!["/limit"]),
    ] {
        let reply = fetch(app.admin(Method::GET, path)).await;
        assert_eq!(
            reply.error_pointers(400, "invalid_query"),
            pointers,
            "{path}"
        );
    }
    let reply = app.get("/v1/drops?limit=1&utm_source=mail").await;
    assert_eq!(
        reply.error_pointers(400, "invalid_query"),
        ["/utm_source"],
        "undeclared parameters are rejected"
    );
}

#[tokio::test]
async fn unknown_path_is_a_page_for_browsers_and_a_problem_for_programs() {
    let app = App::start().await;
    // The `Accept` that browsers send for a page.
    let browser =
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
    let send = |method: Method, path: &str, accept: Option<&str>| {
        let request = app.request(method, path);
        fetch(match accept {
            Some(accept) => request.header("accept", accept),
            None => request,
        })
    };
    for path in [
        "/nonsense",
        "/nonsense/",
        "/admin/nonsense",
        "/assets/nonsense.js",
    ] {
        for accept in [browser, "text/html"] {
            let page = send(Method::GET, path, Some(accept)).await;
            assert_eq!(page.status, 404, "{path}");
            assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
            assert_eq!(page.header("vary"), "Accept, Accept-Language, Cookie");
            assert!(
                page.header("content-security-policy")
                    .contains("script-src")
            );
            assert!(page.text().contains("<h1>Page not found</h1>"), "{path}");
        }
        for accept in [
            None,
            Some("*/*"),
            Some("application/json"),
            Some("text/html;q=0, */*"),
        ] {
            let problem = send(Method::GET, path, accept).await;
            problem.problem(404, "not_found");
            assert_eq!(problem.header("vary"), "Accept", "{path} {accept:?}");
        }
        let head = send(Method::HEAD, path, Some(browser)).await;
        assert_eq!(
            (head.status, head.header("content-type")),
            (404, "text/html; charset=utf-8")
        );
    }
    // Requests that do not come from a page view still get a problem.
    for (method, path) in [(Method::GET, "/v1/nonsense"), (Method::POST, "/nonsense")] {
        send(method, path, Some(browser))
            .await
            .problem(404, "not_found");
    }
}

/// Every operation that takes a body: its method, its path with `drop` for an id, and the members
/// of the body that are objects.
fn operations_with_bodies(drop: &str) -> Vec<(Method, String, Vec<String>)> {
    let document = api::openapi::document();
    let mut found = vec![];
    for (path, item) in document["paths"]
        .as_object()
        .expect("the document has paths")
    {
        for method in [Method::POST, Method::PATCH] {
            let operation = &item[method.as_str().to_lowercase()];
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            // A provider's webhook is not read before its signature is verified.
            let is_signed = path.starts_with("/v1/payments/webhooks/");
            if !schema.is_null() && !is_signed {
                let path = path.replace("{id}", drop);
                found.push((method, path, objects_in(&document, schema)));
            }
        }
    }
    found
}

fn objects_in(document: &Value, schema: &Value) -> Vec<String> {
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.trim_start_matches('#'))
            .cloned()
            .expect("the reference resolves"),
        None => schema.clone(),
    };
    let is_object = |schema: &Value| {
        let kinds = schema["anyOf"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![schema.clone()]);
        kinds.iter().any(|kind| resolved(kind)["type"] == "object")
    };
    let body = resolved(schema);
    let members = body["properties"].as_object().into_iter().flatten();
    let objects = members.filter(|(_, schema)| is_object(schema));
    objects.map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn missing_key_gets_401_and_insufficient_key_gets_403() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let body =
        json!({ "name": "n", "price": { "amount": 1, "currency": "USD" }, "total_stock": 1 });
    let admins = [
        (Method::POST, "/v1/drops".to_owned()),
        (Method::PATCH, format!("/v1/drops/{drop}")),
        (Method::POST, format!("/v1/drops/{drop}/cancel")),
        (Method::POST, format!("/v1/drops/{drop}/stock-adjustments")),
    ];
    let auditors = [
        (Method::GET, "/v1/log".to_owned()),
        (Method::GET, "/v1/log/head".to_owned()),
    ];
    for (method, path) in admins.iter().chain(&auditors) {
        let request = || {
            app.request(method.clone(), path)
                .header("idempotency-key", key())
                .json(&body)
        };
        for request in [
            request(),
            request().bearer_auth("wrong"),
            request().bearer_auth(""),
            request().basic_auth("admin", Some(ADMIN_KEY)),
            request().header("authorization", ADMIN_KEY),
        ] {
            let reply = fetch(request).await;
            reply.problem(401, "unauthorized");
            assert!(
                reply.header("www-authenticate").starts_with("Bearer"),
                "{reply:?}"
            );
        }
    }
    for (method, path) in &admins {
        let request = app.request(method.clone(), path).bearer_auth(AUDITOR_KEY);
        fetch(request.header("idempotency-key", key()).json(&body))
            .await
            .problem(403, "forbidden");
    }
    for (method, path) in &auditors {
        for key in [ADMIN_KEY, AUDITOR_KEY] {
            assert_eq!(
                fetch(app.request(method.clone(), path).bearer_auth(key))
                    .await
                    .status,
                200
            );
        }
    }
    let lower = app
        .request(Method::GET, "/v1/log/head")
        .header("authorization", format!("bearer {AUDITOR_KEY}"));
    assert_eq!(fetch(lower).await.status, 200, "the scheme has no case");
    assert_eq!(app.requested_events().await, 1, "nothing was recorded");
}

/// The detail of the first fault.
#[track_caller]
fn detail(reply: &Reply) -> String {
    text(&reply.json()["errors"][0]["detail"])
}

#[tokio::test]
async fn parameters_of_all_lists_have_the_same_rules() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    for (path, most) in [
        ("/v1/drops".to_owned(), 100),
        (format!("/v1/drops/{drop}/purchases"), 100),
        ("/v1/orders".to_owned(), 100),
        ("/v1/log".to_owned(), 10_000),
        ("/v1/admin/webhooks".to_owned(), 100),
        ("/v1/admin/jobs".to_owned(), 100),
        ("/v1/admin/needs-attention".to_owned(), 100),
    ] {
        let list = async |query: &str| {
            let path = format!("{path}?{query}");
            fetch(app.admin(Method::GET, &path)).await
        };
        for limit in ["-1", "0", "x", "1.5", "99999999999999999999999"] {
            let reply = list(&format!("limit={limit}")).await;
            let words = format!("must be a whole number from 1 to {most}");
            assert_eq!(detail(&reply), words, "{path} {limit}");
        }
        if path == "/v1/log" {
            continue;
        }
        let reply = list(&format!("starting_after={}", uuid::Uuid::new_v4())).await;
        let pointers = reply.error_pointers(400, "invalid_query");
        assert_eq!(pointers, ["/starting_after"], "{path}");
        assert!(detail(&reply).starts_with("must be the id of a"), "{path}");
    }
}

/// Header fields that have one value (their RFCs define no list) and that the server reads.
const SINGLE: [(&str, &str); 6] = [
    ("Authorization", "Bearer admin-key-of-the-tests"),
    ("Content-Type", "application/json"),
    ("Last-Event-ID", "1"),
    ("Origin", "http://shop.example"),
    ("Sec-Fetch-Site", "none"),
    ("Content-Length", "20"),
];

#[tokio::test]
async fn repeated_header_with_one_value_is_rejected_by_name() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    let before = app.log().await.len();
    let holds = format!("/v1/drops/{drop}/holds");
    let body = "{\"buyer_id\": \"ann\"} ";
    assert_eq!(body.len(), 20);
    let send = async |method: &str, path: &str, lines: &[(&str, &str)]| {
        let has = |name: &str| lines.iter().any(|(other, _)| *other == name);
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: holdfast\r\nConnection: close\r\n");
        for (name, value) in lines {
            head += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            head += &format!("Idempotency-Key: {}\r\n", key());
            if !has("Content-Type") {
                head += "Content-Type: application/json\r\n";
            }
            if !has("Content-Length") {
                head += "Content-Length: 20\r\n";
            }
        }
        let mut raw = Raw::connect(app.address()).await;
        raw.send(format!("{head}\r\n").as_bytes()).await;
        if method == "POST" {
            raw.send(body.as_bytes()).await;
        }
        raw.reply().await
    };
    for (name, value) in SINGLE {
        for second in [value, "2"] {
            let twice = [(name, value), (name, second)];
            for (method, path) in [("GET", "/v1/drops"), ("GET", "/"), ("POST", &holds)] {
                // hyper accepts the same length twice, as RFC 9112, section 6.3, permits.
                if name == "Content-Length" && (second == value || method == "GET") {
                    continue;
                }
                let reply = send(method, path, &twice).await;
                let detail = text(&reply.problem(400, "malformed_request")["detail"]);
                let is_named = detail.contains(name) || name == "Content-Length";
                assert!(is_named, "{method} {path} {name}: {detail}");
            }
        }
    }
    let keys = [("Idempotency-Key", "another")];
    let reply = send("POST", &holds, &keys).await;
    reply.problem(400, "invalid_idempotency_key");
    assert_eq!(app.log().await.len(), before, "nothing was recorded");
    // Lists may be split over several lines (RFC 9110, section 5.3), and proxies split cookies.
    for (name, value) in [
        ("Accept", "application/json"),
        ("If-None-Match", "\"a\""),
        ("If-Match", "\"a\""),
        ("X-Forwarded-For", "203.0.113.1"),
        ("Cookie", "a=b"),
    ] {
        let reply = send("GET", "/v1/drops", &[(name, value), (name, value)]).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
    }
    let reply = send("POST", &holds, &[("Content-Type", "application/json")]).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[tokio::test]
async fn health_endpoints_report_liveness_and_readiness() {
    let app = App::start().await;
    assert_eq!(app.get("/health/live").await.status, 200);
    let ready = app.get("/health/ready").await.ok(200);
    assert_eq!(
        (&ready["status"], &ready["position"]),
        (&json!("ready"), &json!(0))
    );
}

#[tokio::test]
async fn full_queue_is_reported_immediately_and_loses_nothing() {
    let app = harness::Launch::fresh()
        .await
        .with("HOLDFAST_QUEUE", "1")
        .start()
        .await;
    let drop = app.create_drop(10_000, json!({})).await;
    let replies = harness::concurrently((0..500).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.hold(&drop, &format!("buyer-{buyer}")).await }
    }))
    .await;
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.problem(503, "unavailable");
        assert!(!reply.header("retry-after").is_empty());
    }
    let placed = replies.iter().filter(|reply| reply.status == 201).count();
    assert!(placed > 0);
    assert_eq!(app.ledger().await.count(&drop, "HoldPlaced"), placed);
}
