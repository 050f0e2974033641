//! Requests that are rejected because of their head: each gets a problem document, and the
//! connection is closed.

use harness::{App, Raw, Reply};

/// Sends `head` and reads the response until the connection is closed.
async fn response_to(app: &App, head: &[u8]) -> Reply {
    let mut connection = Raw::connect(app.address()).await;
    connection.send(head).await;
    connection.reply().await
}

fn get(path: &str, fields: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: holdfast\r\n{fields}\r\n").into_bytes()
}

#[tokio::test]
async fn request_that_is_not_http_gets_a_problem_and_is_disconnected() {
    let app = App::start().await;
    let live = "GET /health/live HTTP/1.1\r\n";
    for (head, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_request"),
        (
            "GET  / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            400,
            "malformed_request",
        ),
        (
            format!("{live}host: x\r\nno colon\r\n\r\n"),
            400,
            "malformed_request",
        ),
        (
            format!("{live}host: x\r\ncontent-length: x\r\n\r\n"),
            400,
            "malformed_request",
        ),
        (
            format!("{live}host: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
            400,
            "malformed_request",
        ),
        (
            format!("{live}host: x\r\ntransfer-encoding: gzip\r\n\r\n"),
            400,
            "malformed_request",
        ),
        (
            "GET / HTTP/2.0\r\nhost: x\r\n\r\n".to_owned(),
            505,
            "http_version_not_supported",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            505,
            "http_version_not_supported",
        ),
    ] {
        let reply = response_to(&app, head.as_bytes()).await;
        reply.problem(status, code);
        assert_eq!(reply.header("connection"), "close", "{head:?}");
        assert!(!reply.header("date").is_empty(), "{head:?}");
        let length = reply.body.len().to_string();
        assert_eq!(reply.header("content-length"), length, "{head:?}");
    }
}

#[tokio::test]
async fn http_1_1_needs_exactly_one_host_and_http_1_0_none() {
    let app = App::start().await;
    for hosts in [
        "",
        "host: shop\r\nhost: shop\r\n",
        "host: shop\r\nHost: other\r\n",
        "host: shop, other\r\n",
        "host: user@shop\r\n",
    ] {
        let head = format!("GET /health/live HTTP/1.1\r\n{hosts}\r\n");
        let reply = response_to(&app, head.as_bytes()).await;
        reply.problem(400, "malformed_request");
        assert_eq!(reply.header("connection"), "close", "{hosts:?}");
    }
    for head in [
        "GET /health/live HTTP/1.0\r\n\r\n",
        "GET /health/live HTTP/1.0\r\nhost: shop:80\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nhost: [::1]:80\r\nconnection: close\r\n\r\n",
        "GET http://shop/health/live HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n",
    ] {
        assert_eq!(
            response_to(&app, head.as_bytes()).await.status,
            200,
            "{head}"
        );
    }
}

#[tokio::test]
async fn head_has_at_most_32_kib_and_100_fields() {
    const KIB: usize = 1024;
    let app = App::start().await;
    let long = |bytes: usize| format!("x-padding: {}\r\n", "x".repeat(bytes));
    for (head, status, code) in [
        (get("/health/live", &long(33 * KIB)), 431, "head_too_large"),
        (get("/health/live", &long(420 * KIB)), 431, "head_too_large"),
        (
            get("/health/live", &long(KIB).repeat(33)),
            431,
            "head_too_large",
        ),
        (
            get("/health/live", &"a: b\r\n".repeat(100)),
            431,
            "head_too_large",
        ),
        (
            get(&format!("/{}", "x".repeat(33 * KIB)), ""),
            414,
            "uri_too_long",
        ),
    ] {
        let reply = response_to(&app, &head).await;
        let problem = reply.problem(status, code);
        assert_eq!(problem["max_bytes"], 32 * KIB, "{problem}");
        assert_eq!(reply.header("connection"), "close");
    }
    // Allowed heads get a response; only a small head leaves the connection open, because its
    // buffer is kept.
    for (fields, stays_open) in [
        (long(31 * KIB), false),
        ("a: b\r\n".repeat(99), true),
        (long(4 * KIB), true),
    ] {
        let mut connection = Raw::connect(app.address()).await;
        connection.send(&get("/health/live", &fields)).await;
        let reply = connection.next_reply().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("connection") != "close", stays_open);
        if stays_open {
            connection.send(&get("/health/live", "")).await;
            assert_eq!(connection.next_reply().await.status, 200);
        } else {
            assert_eq!(connection.closed().await, "");
        }
    }
}

#[tokio::test]
async fn bad_pipelined_request_is_rejected_after_the_good_ones() {
    let app = App::start().await;
    let mut connection = Raw::connect(app.address()).await;
    let good = String::from_utf8(get("/health/live", "")).expect("ASCII");
    let all = format!("{good}{good}GET / HTTP/1.1\r\nno colon\r\n\r\n{good}");
    connection.send(all.as_bytes()).await;
    let responses = connection.closed().await;
    let statuses: Vec<&str> = responses
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|response| &response[..3])
        .collect();
    assert_eq!(statuses, ["200", "200", "400"], "{responses}");
    assert!(
        responses.contains("\"code\":\"malformed_request\""),
        "{responses}"
    );
}
