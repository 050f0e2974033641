//! docs/CONTRACT.md on errors: every error is an `application/problem+json` document.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{ADMIN_KEY, AUDITOR_KEY, App, Raw, Reply, fetch, key, text};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

fn posts(drop: &str) -> Vec<(String, bool)> {
    vec![
        ("/v1/drops".to_owned(), true),
        (format!("/v1/drops/{drop}/stock-adjustments"), true),
        (format!("/v1/drops/{drop}/holds"), false),
    ]
}

fn post(app: &App, path: &str, is_admins: bool) -> RequestBuilder {
    let request = app
        .request(Method::POST, path)
        .header("idempotency-key", key());
    if is_admins {
        request.bearer_auth(ADMIN_KEY)
    } else {
        request
    }
}

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
async fn body_that_is_not_json_is_malformed() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    for (path, is_admins) in posts(&drop) {
        for body in [
            "",
            "{",
            "nonsense",
            "{\"name\":}",
            "{} {}",
            "{'buyer_id':'x'}",
            "\u{feff}{}",
        ] {
            let request = post(&app, &path, is_admins).header("content-type", "application/json");
            fetch(request.body(body))
                .await
                .problem(400, "malformed_json");
        }
        let bytes = post(&app, &path, is_admins)
            .header("content-type", "application/json")
            .body(vec![b'"', 0xff, 0xfe, b'"']);
        let reply = fetch(bytes).await;
        assert!(matches!(reply.status, 400 | 422), "{reply:?}");
        reply.any_problem();
        let deep = format!("{}{}", "[".repeat(8_000), "]".repeat(8_000));
        let reply = fetch(
            post(&app, &path, is_admins)
                .header("content-type", "application/json")
                .body(deep),
        )
        .await;
        assert!(matches!(reply.status, 400 | 422), "{reply:?}");
        reply.any_problem();
        for body in ["[]", "1", "null", "\"x\"", "true"] {
            let request = post(&app, &path, is_admins)
                .header("content-type", "application/json")
                .body(body);
            fetch(request).await.invalid("");
        }
    }
}

#[tokio::test]
async fn all_errors_of_a_body_are_reported_together() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let body = json!({
        "name": "", "price": { "amount": -1, "tax": 2 }, "hold_seconds": 0, "colour": "red", "starts_at": "soon",
        "throttle": { "holds": 1 },
    });
    let reply = app.post_drop(&body).await;
    assert_eq!(
        reply.invalid_pointers(),
        [
            "/colour",
            "/hold_seconds",
            "/name",
            "/price/amount",
            "/price/currency",
            "/price/tax",
            "/starts_at",
            "/throttle/window_seconds",
            "/total_stock",
        ]
    );
    assert_eq!(app.post_drop(&body).await.text(), reply.text());
    let hold = json!({ "quantity": 0, "display_name": "" });
    assert_eq!(
        app.hold_with(&drop, &key(), &hold).await.invalid_pointers(),
        ["/buyer_id", "/display_name", "/quantity"]
    );
    assert_eq!(
        app.join_with(&drop, &key(), &hold).await.invalid_pointers(),
        ["/buyer_id", "/display_name", "/quantity"]
    );
    let path = format!("/v1/drops/{drop}/stock-adjustments");
    let adjust = post(&app, &path, true).json(&json!({ "delta": 0 }));
    assert_eq!(
        fetch(adjust).await.invalid_pointers(),
        ["/delta", "/reason"]
    );
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    let edit = edit
        .header("if-match", "*")
        .json(&json!({ "name": null, "price": { "amount": 1.5 }, "max_per_hold": 0 }));
    assert_eq!(
        fetch(edit).await.invalid_pointers(),
        ["/max_per_hold", "/name", "/price/amount", "/price/currency"]
    );
    let many: serde_json::Map<_, _> = (0..500).map(|i| (format!("f{i}"), json!(i))).collect();
    let pointers = app.post_drop(&json!(many)).await.invalid_pointers();
    assert_eq!(pointers.len(), 20, "the list of errors is bounded");
    assert_eq!(app.requested_events().await, 1, "nothing was recorded");
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
            assert_eq!(page.header("vary"), "Accept");
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

#[tokio::test]
async fn optional_body_follows_the_same_rules_when_present() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    let paths = [
        format!("/v1/drops/{drop}/cancel"),
        format!("/v1/holds/{hold}/purchase"),
    ];
    for path in &paths {
        let send = |kind: &'static str, body: String| {
            fetch(
                app.admin(Method::POST, path)
                    .header("content-type", kind)
                    .body(body),
            )
        };
        let json = |body: &str| send("application/json", body.to_owned());
        assert_eq!(
            json(r#"{"colour":"red","size":1}"#)
                .await
                .invalid_pointers(),
            ["/colour", "/size"]
        );
        for body in ["[]", "1", "\"null\"", "[null]"] {
            json(body).await.invalid("");
        }
        for body in ["{", " ", "{} {}", "nonsense"] {
            json(body).await.problem(400, "malformed_json");
        }
        json(&" ".repeat(16 * 1024 + 1))
            .await
            .problem(413, "body_too_large");
        let unlike = send("text/plain", "{}".to_owned()).await;
        unlike.problem(415, "unsupported_media_type");
        fetch(app.admin(Method::POST, path).body("{}"))
            .await
            .problem(415, "unsupported_media_type");
    }
    assert_eq!(app.requested_events().await, 2, "nothing more was recorded");
    for (path, body, kind) in [
        (&paths[1], "{}", "application/json"),
        (&paths[1], "null", "application/json"),
        (&paths[0], "", "text/plain"),
        (&paths[0], " null\n", "application/json"),
        (&paths[0], "{}", "application/json"),
    ] {
        let request = app.admin(Method::POST, path).header("content-type", kind);
        assert!(
            fetch(request.body(body)).await.status < 300,
            "{path} {body:?}"
        );
    }
    assert_eq!(app.drop(&drop).await["status"], "cancelled");
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
async fn array_instead_of_an_object_is_rejected_at_any_depth() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let mut seen = 0;
    for (method, path, objects) in operations_with_bodies(&drop) {
        let send = |body: &Value| {
            let request = app
                .admin(method.clone(), &path)
                .header("idempotency-key", key());
            fetch(request.header("if-match", "*").json(body))
        };
        send(&json!([])).await.invalid("");
        send(&json!([null, null, null])).await.invalid("");
        for name in objects {
            seen += 1;
            for value in [json!([]), json!([1, 60]), json!([1000, "USD"]), json!(7)] {
                let pointers = send(&json!({ name.clone(): value }))
                    .await
                    .invalid_pointers();
                assert!(
                    pointers.contains(&format!("/{name}")),
                    "{method} {path}: {pointers:?}"
                );
            }
        }
    }
    assert_eq!(seen, 4, "price and throttle, of a new drop and of an edit");
    let mut body =
        json!({ "name": "[n]", "price": [1000, "USD"], "total_stock": 1, "throttle": [1, 60] });
    assert_eq!(
        app.post_drop(&body).await.invalid_pointers(),
        ["/price", "/throttle"]
    );
    body["price"] = json!({ "amount": 1000, "currency": "USD" });
    body["throttle"] = json!({ "holds": 1, "window_seconds": 60 });
    assert_eq!(
        app.post_drop(&body).await.ok(201)["name"],
        "[n]",
        "a bracket in a text is fine"
    );
}

#[tokio::test]
async fn body_of_another_media_type_is_rejected() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    for (path, is_admins) in posts(&drop) {
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "application/json; profile=x; Charset=\"ISO-8859-1\"",
            "application/json; charset=",
            "",
        ] {
            let request = post(&app, &path, is_admins)
                .header("content-type", kind)
                .body("{}");
            fetch(request).await.problem(415, "unsupported_media_type");
        }
        fetch(post(&app, &path, is_admins).body("{}"))
            .await
            .problem(415, "unsupported_media_type");
        for coding in ["gzip", "identity, br", "zstd", "x-unknown"] {
            let request = post(&app, &path, is_admins).header("content-encoding", coding);
            let reply = fetch(request.json(&json!({}))).await;
            let problem = reply.problem(415, "unsupported_media_type");
            assert!(text(&problem["detail"]).contains("identity"), "{problem}");
            assert_eq!(reply.header("accept-encoding"), "identity");
        }
    }
    for coding in ["identity", "Identity", ""] {
        let request = post(&app, &format!("/v1/drops/{drop}/holds"), false);
        let request = request.header("content-encoding", coding);
        let body = json!({ "buyer_id": key() });
        fetch(request.json(&body)).await.ok(201);
    }
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json; charset=\"utf-8\"",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
    ] {
        let request =
            post(&app, &format!("/v1/drops/{drop}/holds"), false).header("content-type", kind);
        assert_eq!(
            fetch(request.body("{\"buyer_id\":\"a\"}")).await.status,
            201,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn body_over_16_kib_is_rejected_and_one_of_16_kib_is_read() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    for (path, is_admins) in posts(&drop) {
        let request = |size: usize| {
            post(&app, &path, is_admins)
                .header("content-type", "application/json")
                .body(" ".repeat(size))
        };
        fetch(request(16 * 1024 + 1))
            .await
            .problem(413, "body_too_large");
        fetch(request(200_000)).await.problem(413, "body_too_large");
        fetch(request(16 * 1024))
            .await
            .problem(400, "malformed_json");
    }
    let hold = app.held(&drop, "alice").await;
    let request = app
        .request(Method::POST, &format!("/v1/holds/{hold}/purchase"))
        .header("content-type", "application/json");
    fetch(request.body(" ".repeat(16 * 1024 + 1)))
        .await
        .problem(413, "body_too_large");
    let mut chunked = Raw::connect(app.address()).await;
    let head = format!(
        "POST /v1/drops/{drop}/holds HTTP/1.1\r\nhost: x\r\nconnection: close\r\nidempotency-key: k\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n4001\r\n{}\r\n0\r\n\r\n",
        " ".repeat(0x4001)
    );
    chunked.send(head.as_bytes()).await;
    let reply = chunked.reply().await;
    assert_eq!(reply.status, 413, "{reply:?}");
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

#[tokio::test]
async fn problem_type_links_to_its_explanation() {
    let app = App::start().await;
    let drop = app.create_drop(0, json!({})).await;
    let problem = app.hold(&drop, "alice").await.problem(409, "sold_out");
    let explanation = app.get(problem["type"].as_str().unwrap()).await;
    assert_eq!(explanation.status, 200);
    assert!(explanation.text().contains("sold_out"));
    for code in api::problem::Code::ALL {
        let page = app.get(&format!("/problems/{}", code.name())).await;
        assert!(page.text().contains(code.remedy()), "{}", page.text());
    }
}

#[tokio::test]
async fn unknown_problem_code_gets_404_with_all_codes() {
    let app = App::start().await;
    for path in ["/problems/zzz", "/problems/sold_out2", "/problems/%F0"] {
        let problem = app.get(path).await.problem(404, "not_found");
        let detail = text(&problem["detail"]);
        let page = app.request(Method::GET, path).header("accept", "text/html");
        let page = fetch(page).await;
        assert_eq!(
            (
                page.status,
                page.header("content-type"),
                page.header("vary")
            ),
            (404, "text/html; charset=utf-8", "Accept")
        );
        assert!(
            page.header("content-security-policy")
                .contains("script-src")
        );
        for code in api::problem::Code::ALL {
            let name = code.name();
            assert!(detail.contains(name), "{name}: {detail}");
            let link = format!("<a href=\"/problems/{name}\">");
            assert!(page.text().contains(&link), "{name}: {}", page.text());
        }
        assert!(page.text().contains("<h1>No problem has this code</h1>"));
        assert!(!page.text().contains("zzz"), "the path is not repeated");
    }
}

/// Words of libraries, which a client cannot act on and an upgrade may change.
const LIBRARY_WORDS: [&str; 24] = [
    "invalid type",
    "invalid value",
    "invalid length",
    "invalid digit",
    "invalid character",
    "invalid port",
    "expected",
    "unknown variant",
    "missing field",
    "duplicate field",
    "urn:uuid",
    "parsing failed",
    "found in string",
    "provided string",
    "fit in target",
    "floating point",
    "i64",
    "u32",
    "u64",
    "usize",
    "struct",
    "EOF",
    "RFC 3986",
    "relative URL",
];

/// The detail of the first fault.
#[track_caller]
fn detail(reply: &Reply) -> String {
    text(&reply.json()["errors"][0]["detail"])
}

#[track_caller]
fn in_our_words(reply: &Reply, location: &str) -> usize {
    let problem = reply.any_problem();
    let faults = problem["errors"].as_array().cloned().unwrap_or_default();
    // With faults, the detail of the problem begins with a pointer, which a client wrote.
    let of_faults = faults.iter().map(|fault| &fault["detail"]);
    let whole = [&problem["detail"]];
    let whole = whole.into_iter().filter(|_| faults.is_empty());
    for detail in of_faults.chain(whole) {
        let detail = text(detail);
        let found = LIBRARY_WORDS.iter().find(|words| detail.contains(**words));
        assert_eq!(found, None, "{location}: {detail}");
    }
    for fault in &faults {
        let detail = text(&fault["detail"]);
        let starts = ["must ", "is ", "unknown ", "lists ", "yields "];
        let is_ours = starts.iter().any(|start| detail.starts_with(start));
        assert!(is_ours, "{location}: {detail}");
    }
    faults.len()
}

#[tokio::test]
async fn faults_of_bodies_queries_and_paths_are_in_our_own_words() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let document = api::openapi::document();
    let values = [
        "null",
        "true",
        "1.5",
        "-1",
        "1e300",
        "99999999999999999999",
        "\"\"",
        "\"x\"",
        "\"must, expected i64\"",
        "[]",
        "[1]",
        "{}",
        "{\"colour, expected `x`\":1}",
    ];
    let mut seen = 0;
    for (method, path, objects) in operations_with_bodies(&drop) {
        let send = |body: String| {
            let request = app.admin(method.clone(), &path);
            let request = request.header("idempotency-key", key());
            let request = request.header("if-match", "*");
            fetch(
                request
                    .header("content-type", "application/json")
                    .body(body),
            )
        };
        let template = path.replace(&drop, "{id}");
        let operation = &document["paths"][&template][method.as_str().to_lowercase()];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let mut names = members_of(&document, schema);
        names.extend(["colour".to_owned(), "a`, there are no fields".to_owned()]);
        for name in names {
            for value in values {
                let mut bodies = vec![
                    format!("{{{}:{value}}}", json!(name)),
                    format!("{{{0}:{value},{0}:{value}}}", json!(name)),
                ];
                if objects.contains(&name) {
                    for inner in ["amount", "currency", "holds", "window_seconds"] {
                        bodies.push(format!("{{{}:{{\"{inner}\":{value}}}}}", json!(name)));
                    }
                }
                for body in bodies {
                    let reply = send(body.clone()).await;
                    if reply.status == 400 || reply.status == 422 {
                        seen += in_our_words(&reply, &format!("{method} {path} {body}"));
                    }
                }
            }
        }
        for body in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1",
            "nul",
            "{} {}",
            "\"\\x\"",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":1e999}",
            "\"\\ud800\"",
            "01",
            "\u{feff}{}",
        ] {
            let reply = send(body.to_owned()).await;
            if reply.status != 400 {
                continue;
            }
            reply.problem(400, "malformed_json");
            in_our_words(&reply, &format!("{method} {path} {body}"));
        }
    }
    assert!(seen > 500, "{seen}");

    let mut seen = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template.replace("{id}", &drop).replace("{buyer_id}", "ann");
        let parameters = item["get"]["parameters"].as_array().cloned();
        for parameter in parameters.unwrap_or_default() {
            let name = match parameter["$ref"].as_str() {
                Some(_) => "at_least".to_owned(),
                None if parameter["in"] == "query" => text(&parameter["name"]),
                None => continue,
            };
            for value in [
                "x",
                "-1",
                "1.5",
                "99999999999999999999",
                "+1",
                "%FF",
                "%00",
                "a,b",
                ",",
                "true,",
                "1&{}=1",
                "urn:uuid:x",
                "0197d3f2-6b1e-4c55-9a3e",
            ] {
                let value = value.replace("{}", &name);
                let reply = fetch(app.admin(Method::GET, &format!("{path}?{name}={value}")));
                let reply = reply.await;
                if reply.status == 400 {
                    seen += in_our_words(&reply, &format!("{path}?{name}={value}"));
                } else {
                    assert!(matches!(reply.status, 200 | 404), "{path}?{name}={value}");
                }
            }
        }
    }
    assert!(seen > 200, "{seen}");
    for path in [
        "/v1/drops/x",
        "/v1/drops/%FF",
        "/v1/holds/x",
        "/v1/purchases/urn:uuid:x",
        "/v1/waitlist/%FF",
        "/v1/drops/x/buyers/%FF",
        &format!("/v1/drops/{drop}/buyers/%00"),
    ] {
        in_our_words(&app.get(path).await, path);
    }
}

fn members_of(document: &Value, schema: &Value) -> Vec<String> {
    let body = match schema["$ref"].as_str() {
        Some(to) => document.pointer(to.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let members = body["properties"].as_object().into_iter().flatten();
    members.map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn messages_name_the_value_that_is_allowed() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    for (body, words) in [
        (
            r#"{"buyer_id":"a","quantity":"1"}"#,
            "must be a whole number of units from 1 to 1000",
        ),
        (
            r#"{"buyer_id":"a","quantity":1.5}"#,
            "must be a whole number of units from 1 to 1000",
        ),
        (
            r#"{"buyer_id":"a","quantity":99999999999999999999}"#,
            "must be a whole number of units from 1 to 1000",
        ),
        (r#"{"buyer_id":1}"#, "must be a text"),
        (r#"{}"#, "is missing"),
        (r#"{"buyer_id":"a","buyer_id":"a"}"#, "must occur once"),
        (
            r#"{"buyer_id":"a","colour":1}"#,
            "is unknown here; the members are `buyer_id`, `quantity`, `display_name`",
        ),
    ] {
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.header("idempotency-key", key());
        let reply = fetch(
            request
                .header("content-type", "application/json")
                .body(body),
        )
        .await;
        assert_eq!(detail(&reply), words, "{body}");
    }
    for (query, words) in [
        ("limit=x", "must be a whole number from 1 to 100"),
        ("limit=-1", "must be a whole number from 1 to 100"),
        ("limit=1&limit=1", "must occur once"),
        ("starting_after=x", "must be a UUID"),
        (
            "at_least=x",
            "must be a position: a whole number from 0 to 9223372036854775807",
        ),
        (
            "status=open",
            "must be one of `scheduled`, `live`, `sold_out`, `ended`, `cancelled`",
        ),
        ("expand=all", "must be `top_purchasers`"),
    ] {
        let reply = app.get(&format!("/v1/drops?{query}")).await;
        assert_eq!(detail(&reply), words, "{query}");
    }
    let reply = app.get("/v1/stream?new=yes").await;
    assert_eq!(detail(&reply), "must be `true` or `false`");
    for (body, words) in [
        ("", "The body is empty. Send a JSON document."),
        (
            "{\"buyer_id\":}",
            "The body cannot be read as JSON at line 1, column 13. Send one JSON document in UTF-8.",
        ),
        (
            "{\"buyer_id\":",
            "The body ends within its JSON document, at line 1, column 12. Send the whole document.",
        ),
    ] {
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.header("idempotency-key", key());
        let reply = fetch(
            request
                .header("content-type", "application/json")
                .body(body),
        )
        .await;
        assert_eq!(reply.problem(400, "malformed_json")["detail"], words);
    }
}

#[tokio::test]
async fn valid_json_that_no_field_accepts_is_an_invalid_value() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let send = |body: String| {
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.header("idempotency-key", key());
        let request = request.header("content-type", "application/json");
        fetch(request.body(body))
    };
    let digits = "9".repeat(400);
    for number in ["1e309", "-1E+400", "1.5e999", &digits] {
        let body = format!("{{\"buyer_id\":\"1e309\",\"quantity\":{number}}}");
        let reply = send(body).await;
        reply.invalid("/quantity");
        assert_eq!(
            detail(&reply),
            "must be a whole number of units from 1 to 1000"
        );
        let body = format!("{{\"buyer_id\":{number},\"x\\\"1e309\":1}}");
        let pointers = send(body).await.invalid_pointers();
        assert_eq!(pointers, ["/buyer_id", "/x\"1e309"]);
        send(number.to_owned()).await.invalid("");
    }
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for body in [deep(130), format!("{{\"buyer_id\":{}}}", deep(130))] {
        let reply = send(body).await;
        reply.invalid("");
        assert_eq!(
            detail(&reply),
            "must not be nested more than 127 levels deep"
        );
    }
    send(format!("{{\"buyer_id\":{}}}", deep(100)))
        .await
        .invalid("/buyer_id");
    for half in [
        "\\ud83d",
        "\\ude00",
        "\\ud83d\\ud83d",
        "\\ud83dx",
        "\\ud83d\\n",
    ] {
        let reply = send(format!("{{\"buyer_id\":\"{half}\"}}")).await;
        let words = text(&reply.problem(400, "malformed_json")["detail"]);
        assert!(
            words.contains("half of a surrogate pair"),
            "{half}: {words}"
        );
    }
    assert_eq!(app.requested_events().await, 1, "nothing was recorded");
}

#[tokio::test]
async fn other_notations_of_ids_and_times_are_refused() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let plain = drop.replace('-', "");
    app.get(&format!("/v1/drops/{plain}")).await.ok(200);
    for other in [
        format!("%7B{drop}%7D"),
        format!("urn:uuid:{drop}"),
        "x".to_owned(),
    ] {
        let reply = app.get(&format!("/v1/drops/{other}")).await;
        reply.problem(404, "drop_not_found");
        for (path, name) in [
            ("/v1/drops", "starting_after"),
            ("/v1/drops", "ids"),
            ("/v1/orders", "drop_id"),
            ("/v1/orders", "starting_after"),
            ("/v1/admin/timeline", "drop_id"),
            ("/v1/admin/webhooks", "starting_after"),
            ("/v1/admin/jobs", "starting_after"),
            ("/v1/stream", "drops"),
            ("/v1/stream", "waitlist"),
            ("/v1/stream", "orders"),
            ("/v1/admin/revenue", "drop_id"),
            ("/v1/admin/revenue", "starting_after"),
            ("/v1/admin/buyers/ann", "starting_after"),
        ] {
            let request = app.admin(Method::GET, &format!("{path}?{name}={other}"));
            let reply = fetch(request).await;
            let pointers = reply.error_pointers(400, "invalid_query");
            assert_eq!(pointers, [format!("/{name}")], "{path}?{name}={other}");
        }
    }
    for other in [format!("{{{drop}}}"), format!("urn:uuid:{drop}")] {
        let items = json!([{ "drop_id": other, "quantity": 1 }]);
        let request = app.request(Method::POST, "/v1/orders");
        let request = request.header("idempotency-key", key());
        let body = json!({ "buyer_id": "ann", "items": items });
        fetch(request.json(&body)).await.invalid("/items/0/drop_id");
    }
    for time in ["2030-06-30T23:59:60Z", "2030-06-30T23:59:60.000+00:00"] {
        let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
        let edit = edit.header("if-match", "*");
        let reply = fetch(edit.json(&json!({ "starts_at": time }))).await;
        reply.invalid("/starts_at");
        let words = detail(&reply);
        assert!(words.contains("leap seconds"), "{words}");
    }
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
