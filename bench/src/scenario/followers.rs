//! Creators with many followers: the cost of a list's first page, compared with a creator with a
//! thousand, and the delay until every connected follower knows that a drop has started.
//!
//! The followers are inserted as rows, as the server would insert them. The delay is measured from
//! `created_at`, the time of the engine's decision, to receipt, by one clock; so it includes the
//! commit.
//! Limit: that time has whole milliseconds, and the readers share the machine with the server.

use std::net::SocketAddr;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use memchr::memmem;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};
use uuid::Uuid;

use super::Play;
use crate::contenders::Contender;
use crate::error::{BenchError, Doing};
use crate::report::{Figure, grouped, rounded};
use crate::stage::Running;
use crate::stats::{median, quantile};
use crate::wire::{Call, read_response, request, send};

/// Followers of the small creator.
const FEW: u32 = 1_000;
/// First pages of each list, alternately.
const PAGES: usize = 300;
/// Drops that start one after another.
const STARTS: usize = 10;
/// The longest time until all followers know of a start.
const LONGEST: Duration = Duration::from_secs(30);
/// Connections that are opened at a time.
const OPENING: usize = 200;

/// The figure of lists.
pub const FIRST_PAGE: &str = "first page of many followers ÷ of 1,000";
/// The figure of the stream; its number of followers follows.
pub const STARTED: &str = "drop.started p99, connected followers: ";

/// # Errors
/// [`BenchError`].
pub async fn play(play: &mut Play<'_>) -> Result<(), BenchError> {
    let server = play.stage.start(Contender::Holdfast).await?;
    for creator in ["few", "many", "live"] {
        let path = format!("/v1/creators/{creator}");
        let call = Call {
            method: "PUT",
            path: &path,
            key: None,
        };
        let body = json!({ "name": creator });
        send(server.address, call, Some(&body))
            .await?
            .read::<Value>(201)?;
    }
    let many = play.settings.followers;
    let pool = server.pool()?;
    insert_followers(pool, "few", FEW).await?;
    insert_followers(pool, "many", many).await?;
    let connected = play.settings.stream_watchers;
    insert_followers(pool, "live", u32::try_from(connected).unwrap_or(u32::MAX)).await?;
    sqlx::query("VACUUM ANALYZE follows, following_buyers, creator_followers")
        .execute(pool)
        .await
        .doing("analyse the followers")?;
    first_pages(play, &server, many).await?;
    starts(play, &server, connected).await?;
    play.stage.end(server).await
}

/// Lets the buyers `b1`, `b2` … follow a creator.
async fn insert_followers(pool: &PgPool, creator: &str, count: u32) -> Result<(), BenchError> {
    println!(
        "followers: {} of the creator {creator}",
        grouped(count.into())
    );
    for sql in [
        "INSERT INTO following_buyers (buyer, account, buyer_id) \
         SELECT 'b' || n, 'b' || n, 'b' || n FROM generate_series(1::bigint, $2::bigint) n \
          WHERE $1 <> '' ON CONFLICT DO NOTHING",
        "INSERT INTO follows (buyer, creator, shard, position) \
         SELECT 'b' || n, c.uid, n % 16, 0 FROM generate_series(1::bigint, $2::bigint) n, creators c WHERE c.id = $1",
        "INSERT INTO creator_followers (creator, shard, followers) \
         SELECT f.creator, f.shard, count(*) FROM follows f JOIN creators c ON c.uid = f.creator \
          WHERE c.id = $1 AND $2::bigint > 0 GROUP BY f.creator, f.shard",
    ] {
        let inserted = sqlx::query(sql).bind(creator).bind(i64::from(count));
        inserted.execute(pool).await.doing("insert followers")?;
    }
    Ok(())
}

async fn first_pages(play: &mut Play<'_>, server: &Running, many: u32) -> Result<(), BenchError> {
    let mut stream = TcpStream::connect(server.address).await.doing("connect")?;
    let mut buffer = vec![];
    for (of, path) in [("followers", "/followers?limit=100"), ("creator", "")] {
        let mut took = [vec![], vec![]];
        for _page in 0..PAGES {
            for (creator, took) in ["few", "many"].iter().zip(&mut took) {
                let path = format!("/v1/creators/{creator}{path}");
                let call = Call {
                    method: "GET",
                    path: &path,
                    key: None,
                };
                let began = Instant::now();
                let sent = stream.write_all(&request(server.address, call, &[])).await;
                sent.doing("request a page")?;
                let head = read_response(&mut stream, &mut buffer).await;
                let head = head.doing("read a page")?;
                took.push(began.elapsed().as_secs_f64() * 1_000.0);
                if head.status != 200 {
                    let status = head.status;
                    return Err(BenchError::Unexpected(format!("{path} returned {status}")));
                }
            }
        }
        let [few, large] = took.map(|took| median(&took).unwrap_or_default());
        let name = match of {
            "followers" => FIRST_PAGE.to_owned(),
            _ => "creator with many followers ÷ with 1,000".to_owned(),
        };
        let detail = format!(
            "median {} ms with {}, {} ms with {}",
            rounded(large),
            grouped(many.into()),
            rounded(few),
            grouped(FEW.into())
        );
        keep(play, name, large / few, "×", detail);
    }
    Ok(())
}

async fn starts(play: &mut Play<'_>, server: &Running, connected: usize) -> Result<(), BenchError> {
    let (sender, mut received) = unbounded_channel();
    let mut streams = JoinSet::new();
    let mut opened = 0;
    while opened < connected {
        let mut opening = JoinSet::new();
        for buyer in opened + 1..=connected.min(opened + OPENING) {
            opening.spawn(open(server.address, buyer));
        }
        opened += opening.len();
        while let Some(stream) = opening.join_next().await {
            let stream = stream.doing("wait for a stream")?.doing("open a stream")?;
            streams.spawn(follow(stream, sender.clone()));
        }
    }
    println!("followers: {connected} connected");
    // Each stream's choices are read once more after it was opened.
    sleep(Duration::from_secs(2)).await;
    let (mut all, mut slowest) = (vec![], vec![]);
    for _start in 0..STARTS {
        let delays = start(server, &mut received, connected).await?;
        slowest.push(quantile(&delays, 1.0).unwrap_or_default());
        all.extend(delays);
    }
    streams.abort_all();
    let p50 = quantile(&all, 0.5).unwrap_or_default();
    let p99 = quantile(&all, 0.99).unwrap_or_default();
    let detail = format!(
        "{STARTS} drops; p50 {} ms, slowest follower of a drop {} ms (median)",
        rounded(p50),
        rounded(median(&slowest).unwrap_or_default())
    );
    keep(play, format!("{STARTED}{connected}"), p99, "ms", detail);
    Ok(())
}

/// Starts a drop, and returns the delay of each follower in milliseconds.
async fn start(
    server: &Running,
    received: &mut UnboundedReceiver<f64>,
    connected: usize,
) -> Result<Vec<f64>, BenchError> {
    let body = json!({
        "name": "A limited drop", "price": { "amount": 19_999, "currency": "USD" },
        "total_stock": 10, "creator_id": "live",
    });
    let key = Uuid::new_v4().to_string();
    let call = Call {
        method: "POST",
        path: "/v1/drops",
        key: Some(&key),
    };
    send(server.address, call, Some(&body))
        .await?
        .read::<Value>(201)?;
    let mut delays = vec![];
    while delays.len() < connected {
        match timeout(LONGEST, received.recv()).await {
            Ok(Some(delay)) => delays.push(delay),
            Ok(None) | Err(_) => {
                let missing = connected - delays.len();
                let error = format!("{missing} of {connected} followers were not notified");
                return Err(BenchError::Unexpected(error));
            }
        }
    }
    Ok(delays)
}

async fn open(address: SocketAddr, buyer: usize) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let path = format!("/v1/buyers/b{buyer}/notifications/stream");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    match &head[9..] {
        b"200" => Ok(stream),
        _ => Err(std::io::Error::other(format!(
            "refused: {}",
            String::from_utf8_lossy(&head)
        ))),
    }
}

/// Reads a stream until it ends, and reports the delay of each start.
async fn follow(mut stream: TcpStream, delays: UnboundedSender<f64>) {
    let (mut rest, mut buffer) = (Vec::new(), vec![0; 1_024]);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => rest.extend_from_slice(&buffer[..read]),
        }
        let now = DateTime::<Utc>::from(SystemTime::now());
        while let Some(end) = memmem::find(&rest, b"\n\n") {
            let delay = delay(&rest[..end], now);
            rest.drain(..end + 2);
            if delay.is_some_and(|delay| delays.send(delay).is_err()) {
                return;
            }
        }
    }
}

/// Returns the milliseconds from the decision of a start until `now`.
fn delay(frame: &[u8], now: DateTime<Utc>) -> Option<f64> {
    memmem::find(frame, b"event: drop.started\n")?;
    let data = memmem::find(frame, b"data: ")? + b"data: ".len();
    let body: Value = serde_json::from_slice(&frame[data..]).ok()?;
    let decided: DateTime<Utc> = body["created_at"].as_str()?.parse().ok()?;
    Some((now - decided).as_seconds_f64() * 1_000.0)
}

fn keep(play: &mut Play<'_>, name: String, value: f64, unit: &str, detail: String) {
    println!("followers: {name} {}{unit}; {detail}", rounded(value));
    play.report.figure(Figure {
        scenario: "followers".into(),
        name,
        value,
        unit: unit.into(),
        detail,
    });
}
