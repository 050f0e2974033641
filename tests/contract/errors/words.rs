//! Messages are in the words of the contract, not of a library, and name the value that is allowed.

use harness::{App, Reply, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

use super::{detail, operations_with_bodies};

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
            "is unknown here; the members are `buyer_id`, `quantity`, `display_name`, `code`",
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
            "must be one of `scheduled`, `live`, `sold_out`, `ended`, `cancelled`, `paused`, \
             `draft`",
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
