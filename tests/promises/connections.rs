//! The connection limit holds, and slow heads and idle connections time out, without effect on
//! other connections.

use harness::{App, Launch, Raw, eventually};
use serde_json::json;

const REQUEST: &str = "GET /health/live HTTP/1.1\r\nhost: holdfast\r\n\r\n";

/// A server that waits one second for the head of a request.
async fn with_short_head_timeout() -> App {
    let launch = Launch::fresh().await.with("HOLDFAST_HEAD_SECONDS", "1");
    launch.start().await
}

#[tokio::test]
async fn late_head_closes_the_connection() {
    let app = with_short_head_timeout().await;
    let mut silent = Raw::connect(app.address()).await;
    let mut slow = Raw::connect(app.address()).await;
    slow.send(b"GET /health/live HTTP/1.1\r\nhost: ").await;
    let mut second = Raw::connect(app.address()).await;
    second.send(REQUEST.as_bytes()).await;
    assert_eq!(second.next_reply().await.status, 200);
    second.send(b"GET /health/live HTTP/1.1\r\n").await;
    silent.send(b"").await;
    for connection in [silent, slow, second] {
        assert_eq!(connection.closed().await, "", "closed without a response");
    }
}

#[tokio::test]
async fn fragmented_head_is_read_and_idle_connection_outlasts_a_slow_head() {
    let app = with_short_head_timeout().await;
    let mut idle = Raw::connect(app.address()).await;
    for piece in REQUEST.as_bytes().chunks(10) {
        idle.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(idle.next_reply().await.status, 200);
    // A connection whose head began later is closed, so the timeout for heads has passed.
    let mut slow = Raw::connect(app.address()).await;
    slow.send(b"GET ").await;
    slow.closed().await;
    idle.send(REQUEST.as_bytes()).await;
    assert_eq!(idle.next_reply().await.status, 200);
}

#[tokio::test]
async fn idle_connection_is_closed_and_quiet_stream_is_not() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_HEAD_SECONDS", "1")
        .with("HOLDFAST_IDLE_SECONDS", "2")
        .start()
        .await;
    let drop = app.create_drop(1, json!({})).await;
    let mut watcher = app.watch("").await;
    watcher.drop().await;
    let mut idle = Raw::connect(app.address()).await;
    idle.send(REQUEST.as_bytes()).await;
    assert_eq!(idle.next_reply().await.status, 200);
    assert_eq!(idle.closed().await, "");
    app.held(&drop, "alice").await;
    watcher.until(|state| state["stock"]["held"] == 1).await;
}

#[tokio::test]
async fn excess_connections_get_503_with_retry_after() {
    const MOST: usize = 6;
    let launch = Launch::fresh().await;
    let most = MOST.to_string();
    let app = launch.with("HOLDFAST_MAX_CONNECTIONS", &most).start().await;
    let mut kept = vec![];
    let refused = loop {
        let mut connection = Raw::connect(app.address()).await;
        connection.send(REQUEST.as_bytes()).await;
        let response = connection.next_reply().await;
        if response.status != 200 {
            connection.closed().await;
            break response;
        }
        kept.push(connection);
        assert!(kept.len() <= MOST, "one more than is allowed");
    };
    assert!(!kept.is_empty());
    assert_eq!(refused.header("connection"), "close");
    assert!(!refused.header("retry-after").is_empty());
    refused.problem(503, "unavailable");
    for connection in &mut kept {
        connection.send(REQUEST.as_bytes()).await;
        assert_eq!(
            connection.next_reply().await.status,
            200,
            "the others stay open"
        );
    }
    kept.pop();
    eventually("a connection is free again", || async {
        let mut connection = Raw::connect(app.address()).await;
        connection.send(REQUEST.as_bytes()).await;
        (connection.next_reply().await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn stream_counts_as_a_connection_until_its_client_leaves() {
    const MOST: usize = 6;
    let launch = Launch::fresh().await;
    let most = MOST.to_string();
    let app = launch.with("HOLDFAST_MAX_CONNECTIONS", &most).start().await;
    let watch = || async {
        let mut connection = Raw::connect(app.address()).await;
        let request = "GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n\r\n";
        connection.send(request.as_bytes()).await;
        let head = connection.read_until("\r\n\r\n").await;
        (connection, head.starts_with("HTTP/1.1 200 "))
    };
    let mut watchers = vec![];
    loop {
        let (connection, is_let_in) = watch().await;
        if !is_let_in {
            break;
        }
        watchers.push(connection);
        assert!(watchers.len() <= MOST, "one more than is allowed");
    }
    assert!(!watchers.is_empty());
    watchers.clear();
    eventually("a connection is free again", || async {
        watch().await.1.then_some(())
    })
    .await;
}

#[tokio::test]
async fn http_1_0_client_gets_the_stream_unchunked_and_its_end() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let mut old = Raw::connect(app.address()).await;
    old.send(b"GET /v1/stream HTTP/1.0\r\nhost: holdfast\r\n\r\n")
        .await;
    let first = old.read_until("\"held\":0").await;
    let (head, body) = first.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert!(
        body.starts_with("retry: 1000\nevent: drop\nid: 2\n"),
        "{body}"
    );
    app.held(&drop, "alice").await;
    let change = old.read_until("\"held\":1").await;
    assert!(change.contains("event: drop\nid: 3\n"), "{change}");
    assert!(!change.contains('\r'), "no chunks: {change:?}");
    app.terminate();
    assert!(!old.closed().await.contains('\r'));
    app.ended().await;
}

#[tokio::test]
async fn head_request_for_a_stream_takes_no_permit() {
    let launch = Launch::fresh().await;
    let app = launch.with("HOLDFAST_MAX_WATCHERS", "1").start().await;
    for _ in 0..3 {
        let request = app.request(reqwest::Method::HEAD, "/v1/stream");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
    }
    assert_eq!(app.watch("").await.status, 200);
}
