//! Clients that send without end, read nothing, or use more than their share: each is disconnected
//! or rejected, its buffers are bounded, and other clients are unaffected.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{App, Launch, Raw, TIMEOUT, concurrently, eventually};
use serde_json::json;
use tokio::time::{sleep, timeout};

const REQUEST: &str = "GET /health/live HTTP/1.1\r\nhost: holdfast\r\n\r\n";
/// More than the server reads from any connection, and more than the buffers of both kernels hold.
const WITHOUT_END: usize = 200 * 1024 * 1024;

/// The value of a metric without labels.
async fn metric(app: &App, name: &str) -> f64 {
    let figures = app.get("/metrics").await.text();
    let line = figures
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no {name}"))
}

/// A shop with `drops` drops whose state is about 15 kB each.
async fn large_shop(launch: Launch, drops: usize) -> App {
    let app = launch.start().await;
    let description = "\u{1f9e5}".repeat(3_800);
    // A few at a time: all together would be a load test of the database.
    for few in (0..drops).collect::<Vec<_>>().chunks(10) {
        concurrently(few.iter().map(|_| {
            let (api, description) = (app.api(), description.clone());
            async move {
                api.create_drop(1, json!({ "description": description }))
                    .await
            }
        }))
        .await;
    }
    app
}

async fn with_short_timeouts() -> Launch {
    let launch = Launch::fresh().await;
    launch
        .with("HOLDFAST_HEAD_SECONDS", "1")
        .with("HOLDFAST_IDLE_SECONDS", "2")
}

#[tokio::test]
async fn clients_that_send_on_streams_are_disconnected() {
    const HOLDS: u32 = 30;
    let app = App::start().await;
    let drop = app
        .create_drop(HOLDS, json!({ "hold_seconds": 3600 }))
        .await;
    let mut watcher = app.watch("").await;
    watcher.drop().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (address, is_over) = (app.address().to_owned(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut most = 0;
                loop {
                    let mut sender = Raw::connect(&address).await;
                    sender.watch("").await;
                    most = most.max(sender.flood(WITHOUT_END).await);
                    if is_over.load(Ordering::Relaxed) {
                        return most;
                    }
                }
            })
        })
        .collect();
    for held in 1..=HOLDS {
        app.held(&drop, &format!("buyer-{held}")).await;
        assert_eq!(app.get("/health/live").await.status, 200);
        watcher.until(|state| state["stock"]["held"] == held).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for sender in senders {
        let sent = sender.await.expect("a sender ends");
        assert!(
            sent < WITHOUT_END,
            "the server read from a sender without limit"
        );
    }
}

#[tokio::test]
async fn request_pipelined_after_a_stream_ends_the_connection() {
    let app = App::start().await;
    app.create_drop(1, json!({})).await;
    let stream = "GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n\r\n";
    let mut pipelined = Raw::connect(app.address()).await;
    pipelined
        .send(format!("{stream}{REQUEST}").as_bytes())
        .await;
    let mut later = Raw::connect(app.address()).await;
    later.watch("").await;
    later.send(b"G").await;
    for connection in [pipelined, later] {
        let rest = timeout(TIMEOUT, connection.closed()).await;
        let rest = rest.expect("it disconnects");
        assert!(!rest.contains("HTTP/1.1 4"), "{rest}");
    }
    eventually("their permits are free", || async {
        (metric(&app, "holdfast_stream_watchers").await == 0.0).then_some(())
    })
    .await;
}

/// The server's end of a connection, as its kernel reports it.
#[cfg(target_os = "linux")]
struct ServerEnd {
    client_port: u16,
    is_established: bool,
    /// Bytes that were sent and that the client's kernel has not acknowledged.
    unaccepted: u64,
}

#[cfg(target_os = "linux")]
fn server_ends(address: &str) -> Vec<ServerEnd> {
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let port = |address: &str| hexadecimal(address.rsplit_once(':')?.1)?.try_into().ok();
    let (_, listening) = address.rsplit_once(':').expect("the address has a port");
    let listening: u16 = listening.parse().expect("the port is a number");
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux provides this file");
    let end = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, queues, ..] = columns[..] else {
            return None;
        };
        let (unaccepted, _) = queues.split_once(':')?;
        (port(local)? == listening).then_some(ServerEnd {
            client_port: port(remote)?,
            is_established: state == "01",
            unaccepted: hexadecimal(unaccepted)?,
        })
    };
    let ends = sockets.lines().skip(1).filter_map(end);
    ends.filter(|end| end.client_port != 0).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn clients_that_read_nothing_are_disconnected_on_every_route() {
    let app = large_shop(with_short_timeouts().await, 60).await;
    let lines = "accept: application/x-ndjson\r\n";
    let key = format!("authorization: Bearer {}\r\n", harness::AUDITOR_KEY);
    let page = "GET /openapi.json HTTP/1.1\r\nhost: holdfast\r\n\r\n";
    let requests = [
        "GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n\r\n".to_owned(),
        "GET /v1/stream HTTP/1.0\r\n\r\n".to_owned(),
        "GET /v1/drops?limit=100 HTTP/1.1\r\nhost: holdfast\r\n\r\n".to_owned(),
        format!("GET /v1/log HTTP/1.1\r\nhost: holdfast\r\n{key}\r\n"),
        format!("GET /v1/log HTTP/1.1\r\nhost: holdfast\r\n{key}{lines}\r\n"),
        page.repeat(50),
    ];
    let mut unread = vec![];
    for request in requests {
        let mut connection = Raw::connect_with_small_buffer(app.address()).await;
        connection.send(request.as_bytes()).await;
        unread.push((request, connection));
    }
    for (request, connection) in &unread {
        let first_line = request.lines().next().unwrap_or_default();
        eventually(&format!("disconnected: {first_line}"), || async {
            let client_port = connection.port();
            let is_there = server_ends(app.address()).iter().any(|end| {
                let is_held = end.is_established || end.unaccepted > 0;
                is_held && end.client_port == client_port
            });
            (!is_there).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn missing_body_ends_the_connection() {
    let app = with_short_timeouts().await.start().await;
    let drop = app.create_drop(1, json!({})).await;
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: holdfast\r\nidempotency-key: k\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        )
    };
    for (path, status, code) in [
        (format!("/v1/drops/{drop}/holds"), 408, "request_timeout"),
        ("/nothing".to_owned(), 404, "not_found"),
    ] {
        let mut slow = Raw::connect(app.address()).await;
        slow.send(head(&path).as_bytes()).await;
        let response = timeout(TIMEOUT, slow.reply()).await;
        response
            .expect("the connection is closed")
            .problem(status, code);
    }
}

#[tokio::test]
async fn slow_reader_gets_a_long_response_completely() {
    let app = large_shop(with_short_timeouts().await, 60).await;
    let mut slow = Raw::connect_with_small_buffer(app.address()).await;
    let request = "GET /v1/drops?limit=100 HTTP/1.1\r\nhost: holdfast\r\nconnection: close\r\n\r\n";
    slow.send(request.as_bytes()).await;
    let mut response = vec![];
    loop {
        let bytes = slow.read_some().await;
        if bytes.is_empty() {
            break;
        }
        response.extend(bytes);
        // Slow enough that the whole response takes longer than the timeout for clients that read
        // nothing.
        sleep(std::time::Duration::from_millis(20)).await;
    }
    let response = String::from_utf8_lossy(&response);
    let (_, body) = response
        .split_once("\r\n\r\n")
        .expect("the response has a head");
    let drops: serde_json::Value = serde_json::from_str(body).expect("the response is complete");
    assert_eq!(drops["data"].as_array().map(Vec::len), Some(60));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_for_unread_streams_is_bounded() {
    const UNREAD: usize = 60;
    const MIB: f64 = 1024.0 * 1024.0;
    harness::allow_open_files();
    // About 6 MB of present state: more than the kernel would buffer for one connection if allowed.
    let app = large_shop(Launch::fresh().await, 400).await;
    let resident = "process_resident_memory_bytes";
    let before = metric(&app, resident).await;
    let mut unread = vec![];
    for _ in 0..UNREAD {
        let mut connection = Raw::connect_with_small_buffer(app.address()).await;
        let request = b"GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n\r\n";
        connection.send(request).await;
        unread.push(connection);
    }
    let held = eventually("all of them have data to send", || async {
        let held = server_ends(app.address());
        let held = held.iter().map(|end| end.unaccepted);
        let held: Vec<u64> = held.filter(|&bytes| bytes > 8 * 1024).collect();
        (held.len() == UNREAD).then_some(held)
    })
    .await;
    let most = held.into_iter().max().unwrap_or_default();
    assert!(
        most <= 256 * 1024,
        "the kernel buffers {most} bytes for one connection"
    );
    let grown = (metric(&app, resident).await - before) / MIB;
    assert!(grown < 64.0, "{grown} MiB for {UNREAD} unread streams");
}

#[tokio::test]
async fn ids_on_a_stream_are_deduplicated_and_limited() {
    let app = App::start().await;
    let drop = app.create_drop(0, json!({})).await;
    let entry = app.joined(&drop, "alice", 1).await;
    let often = |id: &str, times: usize| vec![id.to_owned(); times].join(",");
    let mut watcher = Raw::connect(app.address()).await;
    let query = format!(
        "?drops={}&waitlist={}",
        often(&drop, 200),
        often(&entry, 20)
    );
    let mut received = watcher.watch(&query).await;
    assert_eq!(app.leave(&entry).await.status, 204);
    received += &watcher.read_until("\"status\":\"left\"").await;
    assert_eq!(received.matches("event: waitlist").count(), 2, "{received}");
    // Repeated ids count: each costs the same to read.
    for (parameter, ids) in [
        ("drops", often(&drop, 201)),
        ("waitlist", often(&entry, 21)),
    ] {
        let refused = app.get(&format!("/v1/stream?{parameter}={ids}")).await;
        let pointers = refused.error_pointers(400, "invalid_query");
        assert_eq!(pointers, [format!("/{parameter}")]);
    }
    // The URI with one id 1,770 times is longer than a head may be.
    let mut long = Raw::connect(app.address()).await;
    let query = often(&entry, 1_770);
    let request = format!("GET /v1/stream?waitlist={query} HTTP/1.1\r\nhost: holdfast\r\n\r\n");
    long.send(request.as_bytes()).await;
    long.reply().await.problem(414, "uri_too_long");
    let distinct = |count: usize| {
        let ids = (0..count).map(|_| uuid::Uuid::new_v4().to_string());
        ids.collect::<Vec<_>>().join(",")
    };
    for (parameter, most) in [("waitlist", 20), ("drops", 200)] {
        let path = format!("/v1/stream?{parameter}={}", distinct(most + 1));
        let refused = app.get(&path).await;
        let pointers = refused.error_pointers(400, "invalid_query");
        assert_eq!(pointers, [format!("/{parameter}")]);
        assert_eq!(refused.json()["most"], most, "{}", refused.text());
        let path = format!("/v1/stream?{parameter}={}", distinct(most));
        assert_eq!(
            app.get(&path).await.status,
            404,
            "this number of ids is allowed"
        );
    }
}

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection from `from` that is open after one response, or the response that rejected it.
async fn connected(app: &App, from: Ipv4Addr) -> Result<Raw, harness::Reply> {
    let mut connection = Raw::connect_from(from, app.address()).await;
    connection.send(REQUEST.as_bytes()).await;
    let response = connection.next_reply().await;
    if response.status == 200 {
        return Ok(connection);
    }
    connection.closed().await;
    Err(response)
}

#[tokio::test]
async fn connections_are_limited_per_address() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .with("HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", "3")
        .start()
        .await;
    let mut open = vec![];
    for _ in 0..3 {
        open.push(connected(&app, ONE).await.expect("within the limit"));
    }
    for _ in 0..20 {
        let refused = connected(&app, ONE).await.expect_err("beyond the limit");
        let problem = refused.problem(429, "too_many_connections");
        assert_eq!(problem["limit"], 3);
        assert!(!refused.header("retry-after").is_empty());
        assert_eq!(refused.header("connection"), "close");
    }
    connected(&app, OTHER)
        .await
        .expect("another address is not limited");
    let lines = app.stderr();
    let received: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS"))
        .collect();
    assert_eq!(received.len(), 1, "{lines}");
    assert!(!received[0].contains("127.0.0.1"), "{}", received[0]);
    open.pop();
    eventually("a connection is free again", || async {
        connected(&app, ONE).await.ok().map(drop)
    })
    .await;
}

/// Requests a stream from `from`, forwarded for `client` if not empty. Returns the connection and
/// the response so far.
async fn streaming(app: &App, from: Ipv4Addr, client: &str) -> (Raw, String) {
    let mut connection = Raw::connect_from(from, app.address()).await;
    let forwarded = if client.is_empty() {
        String::new()
    } else {
        format!("x-forwarded-for: {client}\r\n")
    };
    let request = format!("GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n{forwarded}\r\n");
    connection.send(request.as_bytes()).await;
    let response = connection.read_until("\r\n\r\n").await;
    (connection, response)
}

async fn is_accepted(app: &App, open: &mut Vec<Raw>, from: Ipv4Addr, client: &str) -> bool {
    let (connection, response) = streaming(app, from, client).await;
    let is_accepted = response.starts_with("HTTP/1.1 200 ");
    if is_accepted {
        open.push(connection);
    } else {
        assert!(response.starts_with("HTTP/1.1 429 "), "{response}");
    }
    is_accepted
}

#[tokio::test]
async fn streams_are_limited_per_address_also_behind_a_proxy() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .with("HOLDFAST_TRUSTED_PROXIES", "127.0.0.2")
        .with("HOLDFAST_MAX_STREAMS_PER_ADDRESS", "2")
        .start()
        .await;
    let mut open = vec![];
    for client in ["", "198.51.100.1", "198.51.100.2"] {
        let from = if client.is_empty() { ONE } else { OTHER };
        assert!(is_accepted(&app, &mut open, from, client).await, "{client}");
        assert!(is_accepted(&app, &mut open, from, client).await, "{client}");
        assert!(
            !is_accepted(&app, &mut open, from, client).await,
            "{client}"
        );
    }
    let forged = is_accepted(&app, &mut open, ONE, "198.51.100.3").await;
    assert!(!forged, "only a trusted proxy may forward");
    for _ in 0..5 {
        assert!(
            is_accepted(&app, &mut open, OTHER, "").await,
            "the proxy's own"
        );
    }
    open.clear();
    eventually("a stream is free again", || async {
        is_accepted(&app, &mut vec![], ONE, "").await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn this_machine_has_no_address_limits_by_default() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", "1")
        .with("HOLDFAST_MAX_STREAMS_PER_ADDRESS", "1")
        .start()
        .await;
    let mut open = vec![];
    for _ in 0..5 {
        assert!(is_accepted(&app, &mut open, ONE, "").await);
        assert!(is_accepted(&app, &mut open, OTHER, "").await);
    }
}
