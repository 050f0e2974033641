//! The programs of `examples/` against the real server.
//!
//! Promise: each runs to its end and prints the expected lines, although the first response to each
//! is 503 with `Retry-After`; the log then has one hold and one purchase. Limit: the 503 comes from
//! a proxy in front of the server.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::path::Path;
use std::process::Command;

use harness::{ADMIN_KEY, App, finish, install, on_path, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\n\
                           Connection: close\r\nContent-Length: 0\r\n\r\n";
const LINES: [&str; 6] = [
    "no result yet: the same request again in 0 s",
    "on sale: Lamp (1 available)",
    "replayed: true",
    "same hold: true",
    "sold out: 0 available",
    "the stream shows 1 unit sold",
];

/// Starts a proxy to a server and returns its address. The first connection gets 503; later ones
/// are forwarded.
async fn unavailable_at_first(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut request = vec![];
        while !request.ends_with(b"}") {
            assert_ne!(first.read_buf(&mut request).await.unwrap(), 0);
        }
        first.write_all(UNAVAILABLE.as_bytes()).await.unwrap();
        drop(first);
        while let Ok((mut connection, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(server).await.unwrap();
                // Ends with an error when the client leaves the stream.
                let _ended = copy_bidirectional(&mut connection, &mut onward).await;
            });
        }
    });
    format!("http://{address}")
}

async fn assert_sells_one_unit(mut example: Command) {
    let app = App::start().await;
    let url = unavailable_at_first(app.address().to_owned()).await;
    example.args([&url, ADMIN_KEY]);
    let finished = finish(example).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let (purchases, others): (Vec<&str>, Vec<&str>) = lines
        .into_iter()
        .partition(|line| line.starts_with("purchased: "));
    assert_eq!(others, LINES);
    assert!(
        purchases.len() == 1 && purchases[0].contains("4900"),
        "{purchases:?}"
    );
    let drops = app.get("/v1/drops").await.ok(200);
    assert_eq!(drops["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        app.stock(&text(&drops["data"][0]["id"])).await,
        [1, 0, 0, 1]
    );
    assert_eq!(
        app.requested_events().await,
        3,
        "scheduled, held, purchased"
    );
    app.audit_verify().await;
}

#[tokio::test]
async fn rust_example_sells_one_unit() {
    assert_sells_one_unit(Command::new(env!("CARGO_BIN_EXE_example-shop"))).await;
}

#[tokio::test]
async fn javascript_example_sells_one_unit() {
    if on_path("node").is_none() {
        spawn_blocking(|| install(&["nodejs"])).await.unwrap();
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut node = Command::new("node");
    node.arg(examples.join("shop.mjs"));
    assert_sells_one_unit(node).await;
}
