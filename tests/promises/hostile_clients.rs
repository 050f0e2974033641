//! Clients that send without end, read nothing, or take more than their share: each is disconnected
//! or refused, what is held for it is bounded, and the others never notice.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{App, Launch, PATIENCE, Raw, at_once, eventually};
use serde_json::json;
use tokio::time::{sleep, timeout};

const ASK: &str = "GET /health/live HTTP/1.1\r\nhost: holdfast\r\n\r\n";
/// More than any bounded look at a connection reads, and than the buffers of two kernels take.
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
    // A few at a time: all at once is a test of the database.
    for few in (0..drops).collect::<Vec<_>>().chunks(10) {
        at_once(few.iter().map(|_| {
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

async fn hasty() -> Launch {
    let launch = Launch::fresh().await;
    launch
        .with("HOLDFAST_HEAD_SECONDS", "1")
        .with("HOLDFAST_IDLE_SECONDS", "2")
}

#[tokio::test]
async fn senders_on_streams_are_disconnected_while_the_shop_goes_on() {
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
        assert!(sent < WITHOUT_END, "a sender was read without end");
    }
}

#[tokio::test]
async fn a_request_behind_one_for_a_stream_ends_the_connection() {
    let app = App::start().await;
    app.create_drop(1, json!({})).await;
    let stream = "GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n\r\n";
    let mut pipelined = Raw::connect(app.address()).await;
    pipelined.send(format!("{stream}{ASK}").as_bytes()).await;
    let mut later = Raw::connect(app.address()).await;
    later.watch("").await;
    later.send(b"G").await;
    for connection in [pipelined, later] {
        let rest = timeout(PATIENCE, connection.closed()).await;
        let rest = rest.expect("it is disconnected");
        assert!(!rest.contains("HTTP/1.1 4"), "{rest}");
    }
    eventually("their seats are free", || async {
        (metric(&app, "holdfast_stream_watchers").await == 0.0).then_some(())
    })
    .await;
}

/// The server's end of a connection, as its kernel sees it.
#[cfg(target_os = "linux")]
struct ServerEnd {
    client_port: u16,
    is_established: bool,
    /// Bytes that were sent and that the client's kernel has not taken.
    unaccepted: u64,
}

#[cfg(target_os = "linux")]
fn server_ends(address: &str) -> Vec<ServerEnd> {
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let port = |address: &str| hexadecimal(address.rsplit_once(':')?.1)?.try_into().ok();
    let (_, listening) = address.rsplit_once(':').expect("a port");
    let listening: u16 = listening.parse().expect("a port");
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells it");
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
async fn clients_that_read_nothing_are_disconnected_whatever_they_asked_for() {
    let app = large_shop(hasty().await, 60).await;
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
        let mut connection = Raw::connect_narrow(app.address()).await;
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
async fn a_body_that_does_not_come_ends_the_connection() {
    let app = hasty().await.start().await;
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
        let answer = timeout(PATIENCE, slow.reply()).await;
        answer.expect("it is closed").problem(status, code);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_a_long_answer_in_full() {
    let app = large_shop(hasty().await, 60).await;
    let mut slow = Raw::connect_narrow(app.address()).await;
    let request = "GET /v1/drops?limit=100 HTTP/1.1\r\nhost: holdfast\r\nconnection: close\r\n\r\n";
    slow.send(request.as_bytes()).await;
    let mut answer = vec![];
    loop {
        let bytes = slow.some_bytes().await;
        if bytes.is_empty() {
            break;
        }
        answer.extend(bytes);
        // Slow enough that the whole takes longer than the limit for a client that takes nothing.
        sleep(std::time::Duration::from_millis(20)).await;
    }
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let drops: serde_json::Value = serde_json::from_str(body).expect("the answer is whole");
    assert_eq!(drops["data"].as_array().map(Vec::len), Some(60));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_held_for_streams_that_nobody_reads_is_bounded() {
    const UNREAD: usize = 60;
    const MIB: f64 = 1024.0 * 1024.0;
    harness::allow_open_files();
    // About 6 MB of present state: more than the kernel takes for one connection if it may.
    let app = large_shop(Launch::fresh().await, 400).await;
    let resident = "process_resident_memory_bytes";
    let before = metric(&app, resident).await;
    let mut unread = vec![];
    for _ in 0..UNREAD {
        let mut connection = Raw::connect_narrow(app.address()).await;
        let request = b"GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n\r\n";
        connection.send(request).await;
        unread.push(connection);
    }
    let held = eventually("all of them are sent something", || async {
        let held = server_ends(app.address());
        let held = held.iter().map(|end| end.unaccepted);
        let held: Vec<u64> = held.filter(|&bytes| bytes > 8 * 1024).collect();
        (held.len() == UNREAD).then_some(held)
    })
    .await;
    let most = held.into_iter().max().unwrap_or_default();
    assert!(most <= 256 * 1024, "the kernel holds {most} bytes for one");
    let grown = (metric(&app, resident).await - before) / MIB;
    assert!(grown < 64.0, "{grown} MiB for {UNREAD} unread streams");
}

#[tokio::test]
async fn an_id_is_watched_once_and_not_more_of_them_than_a_few() {
    let app = App::start().await;
    let drop = app.create_drop(0, json!({})).await;
    let place = app.waits(&drop, "alice", 1).await;
    let often = |id: &str, times: usize| vec![id.to_owned(); times].join(",");
    let mut watcher = Raw::connect(app.address()).await;
    let query = format!(
        "?drops={}&waitlist={}",
        often(&drop, 400),
        often(&place, 400)
    );
    let mut told = watcher.watch(&query).await;
    assert_eq!(app.leave(&place).await.status, 204);
    told += &watcher.read_until("\"status\":\"left\"").await;
    assert_eq!(told.matches("event: waitlist").count(), 2, "{told}");
    // The URI of one id 1,770 times is longer than a head may be.
    let mut long = Raw::connect(app.address()).await;
    let query = often(&place, 1_770);
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
        let places = refused.faulty_places(400, "invalid_query");
        assert_eq!(places, [format!("/{parameter}")]);
        assert_eq!(refused.json()["most"], most, "{}", refused.text());
        let path = format!("/v1/stream?{parameter}={}", distinct(most));
        assert_eq!(app.get(&path).await.status, 404, "so many may be named");
    }
}

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection from `from` that is open after one answer, or how it was refused.
async fn connected(app: &App, from: Ipv4Addr) -> Result<Raw, harness::Reply> {
    let mut connection = Raw::connect_from(from, app.address()).await;
    connection.send(ASK.as_bytes()).await;
    let answer = connection.answer().await;
    if answer.status == 200 {
        return Ok(connection);
    }
    connection.closed().await;
    Err(answer)
}

#[tokio::test]
async fn an_address_has_its_share_of_the_connections_and_the_others_have_theirs() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .with("HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", "3")
        .start()
        .await;
    let mut open = vec![];
    for _ in 0..3 {
        open.push(connected(&app, ONE).await.expect("within its share"));
    }
    for _ in 0..20 {
        let refused = connected(&app, ONE).await.expect_err("beyond its share");
        let problem = refused.problem(429, "too_many_connections");
        assert_eq!(problem["limit"], 3);
        assert!(!refused.header("retry-after").is_empty());
        assert_eq!(refused.header("connection"), "close");
    }
    connected(&app, OTHER).await.expect("another address");
    let lines = app.stderr();
    let told: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS"))
        .collect();
    assert_eq!(told.len(), 1, "{lines}");
    assert!(!told[0].contains("127.0.0.1"), "{}", told[0]);
    open.pop();
    eventually("there is room again", || async {
        connected(&app, ONE).await.ok().map(drop)
    })
    .await;
}

/// Asks for a stream from `from`, forwarded for `client` if that is said; the connection, and the
/// answer as far as it has come.
async fn streaming(app: &App, from: Ipv4Addr, client: &str) -> (Raw, String) {
    let mut connection = Raw::connect_from(from, app.address()).await;
    let forwarded = if client.is_empty() {
        String::new()
    } else {
        format!("x-forwarded-for: {client}\r\n")
    };
    let request = format!("GET /v1/stream HTTP/1.1\r\nhost: holdfast\r\n{forwarded}\r\n");
    connection.send(request.as_bytes()).await;
    let answer = connection.read_until("\r\n\r\n").await;
    (connection, answer)
}

async fn is_let_in(app: &App, open: &mut Vec<Raw>, from: Ipv4Addr, client: &str) -> bool {
    let (connection, answer) = streaming(app, from, client).await;
    let is_let_in = answer.starts_with("HTTP/1.1 200 ");
    if is_let_in {
        open.push(connection);
    } else {
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    }
    is_let_in
}

#[tokio::test]
async fn an_address_has_its_share_of_the_streams_and_a_proxy_stands_for_its_clients() {
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
        assert!(is_let_in(&app, &mut open, from, client).await, "{client}");
        assert!(is_let_in(&app, &mut open, from, client).await, "{client}");
        assert!(!is_let_in(&app, &mut open, from, client).await, "{client}");
    }
    let forged = is_let_in(&app, &mut open, ONE, "198.51.100.3").await;
    assert!(!forged, "only a trusted proxy is believed");
    for _ in 0..5 {
        assert!(
            is_let_in(&app, &mut open, OTHER, "").await,
            "the proxy's own"
        );
    }
    open.clear();
    eventually("there is room again", || async {
        is_let_in(&app, &mut vec![], ONE, "").await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn this_machine_is_without_limits_unless_that_is_changed() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", "1")
        .with("HOLDFAST_MAX_STREAMS_PER_ADDRESS", "1")
        .start()
        .await;
    let mut open = vec![];
    for _ in 0..5 {
        assert!(is_let_in(&app, &mut open, ONE, "").await);
        assert!(is_let_in(&app, &mut open, OTHER, "").await);
    }
}
