//! Bodies that are not JSON, of another media type or too long, and all faults of a body at once.

use harness::{ADMIN_KEY, App, Raw, fetch, key, text};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::operations_with_bodies;

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
    assert_eq!(
        seen, 7,
        "price, throttle and challenge, of a new drop and of an edit; keys of a subscription"
    );
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
