//! Watchers of the live stream: a process of its own that holds many connections open and counts frames.
//!
//! Latency is taken on the first [`PROBES`] connections: from the frame's `server_time` (when it was rendered) to its
//! receipt, and from when the event at the frame's `id` was recorded to the receipt of the frame (joined with the log
//! afterwards). The second contains the stream's own interval, which conflates changes on purpose.
//! Limit: the clock is this machine's, in whole milliseconds.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use uuid::Uuid;

use crate::error::{BenchError, Doing};
use crate::process::{Process, Reaper};
use crate::stats::quantile;

/// Connections whose frames are read and not only counted.
const PROBES: usize = 20;
/// Frames whose receipt is kept for joining with the log.
const MOST_RECEIPTS: usize = 2_000;
const CONNECTING: Duration = Duration::from_secs(120);
const ANSWERING: Duration = Duration::from_secs(30);
const EVENT: &[u8] = b"event: drop";

/// Options of the hidden command `watch`.
#[derive(Debug, Clone, Args)]
pub struct Watch {
    /// The server.
    #[arg(long)]
    pub address: SocketAddr,
    /// The drop to watch.
    #[arg(long)]
    pub drop_id: Uuid,
    /// Connections.
    #[arg(long)]
    pub watchers: usize,
}

/// What the watchers saw while measuring.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Connections open.
    pub watchers: usize,
    /// Frames received, on all connections.
    pub frames: u64,
    /// How long they were counted, in seconds.
    pub seconds: f64,
    /// From rendering to receipt, in milliseconds.
    pub delivery_p50_ms: f64,
    /// From rendering to receipt, in milliseconds.
    pub delivery_p99_ms: f64,
    /// From when the event at a frame's position was recorded to its receipt, in milliseconds.
    #[serde(default)]
    pub since_recorded_p50_ms: f64,
    /// From when the event at a frame's position was recorded to its receipt, in milliseconds.
    #[serde(default)]
    pub since_recorded_p99_ms: f64,
    /// Position and receipt (milliseconds since the Unix epoch) of some frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<(i64, i64)>,
    /// CPU of the watchers' process, in cores.
    pub cores: f64,
}

const SINCE_RECORDED: &str = "
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY late)
  FROM (SELECT received - extract(epoch FROM recorded_at)::float8 * 1000 AS late
          FROM UNNEST($1::bigint[], $2::bigint[]) AS receipt(position, received)
          JOIN events USING (position)) AS receipts";

impl Seen {
    /// Frames a second, on all connections.
    #[expect(clippy::cast_precision_loss, reason = "frames are far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.frames as f64 / self.seconds.max(f64::EPSILON)
    }

    /// Compares the receipts with when the log says that it happened.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn join(&mut self, log: &PgPool) -> Result<(), BenchError> {
        let (positions, received): (Vec<i64>, Vec<i64>) = self.receipts.drain(..).unzip();
        let late: Option<Vec<f64>> = sqlx::query_scalar(SINCE_RECORDED)
            .bind(positions)
            .bind(received)
            .fetch_one(log)
            .await
            .doing("compare frames with the log")?;
        if let Some([p50, p99]) = late.as_deref() {
            (self.since_recorded_p50_ms, self.since_recorded_p99_ms) = (*p50, *p99);
        }
        Ok(())
    }
}

/// The running process, as the run sees it.
#[derive(Debug)]
pub struct Watchers(Process);

impl Watchers {
    /// Starts it, and returns when all are connected.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn start(reaper: &Reaper, watch: &Watch) -> Result<Self, BenchError> {
        let mut command = Command::new(std::env::current_exe().doing("find this program")?);
        command
            .arg("watch")
            .args(["--address", &watch.address.to_string()])
            .args(["--drop-id", &watch.drop_id.to_string()])
            .args(["--watchers", &watch.watchers.to_string()]);
        let mut process = Process::spawn(reaper, "the watchers", command)?;
        process.line("connected", CONNECTING).await?;
        Ok(Self(process))
    }

    /// Counting begins.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn begin(&mut self) -> Result<(), BenchError> {
        self.0.tell("begin").await
    }

    /// Counting ends.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn end(mut self) -> Result<Seen, BenchError> {
        self.0.tell("end").await?;
        let text = self.0.line("result", ANSWERING).await?;
        serde_json::from_str(&text).doing("read the watchers' result")
    }
}

#[derive(Debug, Default)]
struct Tally {
    counting: AtomicBool,
    frames: AtomicU64,
    probed: Mutex<Probed>,
}

#[derive(Debug, Default)]
struct Probed {
    delivery_ms: Vec<f64>,
    receipts: Vec<(i64, i64)>,
}

/// The watchers' own program.
pub fn watch(watch: &Watch) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(watch)),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the watchers failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(watch: &Watch) -> std::io::Result<()> {
    let tally = Arc::new(Tally::default());
    for index in 0..watch.watchers {
        let stream = open(watch).await?;
        tokio::spawn(follow(stream, Arc::clone(&tally), index < PROBES));
    }
    println!("connected");
    wait_for_line().await?;
    let me = std::process::id();
    let (began, cpu) = (tokio::time::Instant::now(), crate::procfs::cpu_of(me));
    tally.counting.store(true, Ordering::Relaxed);
    wait_for_line().await?;
    tally.counting.store(false, Ordering::Relaxed);
    let used = crate::procfs::cpu_of(me).saturating_sub(cpu);
    let seconds = began.elapsed().as_secs_f64();
    let probed = std::mem::take(&mut *tally.probed.lock().unwrap_or_else(PoisonError::into_inner));
    let seen = Seen {
        watchers: watch.watchers,
        frames: tally.frames.load(Ordering::Relaxed),
        seconds,
        delivery_p50_ms: quantile(&probed.delivery_ms, 0.5).unwrap_or_default(),
        delivery_p99_ms: quantile(&probed.delivery_ms, 0.99).unwrap_or_default(),
        since_recorded_p50_ms: 0.0,
        since_recorded_p99_ms: 0.0,
        receipts: probed.receipts,
        cores: used.as_secs_f64() / seconds,
    };
    println!("result {}", serde_json::to_string(&seen)?);
    Ok(())
}

async fn wait_for_line() -> std::io::Result<()> {
    let read = || std::io::stdin().read_line(&mut String::new()).map(drop);
    tokio::task::spawn_blocking(read)
        .await
        .map_err(std::io::Error::other)?
}

/// Connects and reads up to the end of the answer's head.
async fn open(watch: &Watch) -> std::io::Result<TcpStream> {
    let Watch {
        address, drop_id, ..
    } = watch;
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /v1/stream?drops={drop_id} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if &head[9..] != b"200" {
        let said = String::from_utf8_lossy(&head).into_owned();
        return Err(std::io::Error::other(format!("refused: {said}")));
    }
    Ok(stream)
}

async fn follow(mut stream: TcpStream, tally: Arc<Tally>, is_probe: bool) {
    let mut buffer = [0; 2_048];
    let mut text = Frames::default();
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        if !tally.counting.load(Ordering::Relaxed) {
            text = Frames::default();
            continue;
        }
        let frames = text.count(&buffer[..read]);
        tally.frames.fetch_add(frames, Ordering::Relaxed);
        if is_probe && let Some(receipt) = text.newest() {
            let mut probed = tally.probed.lock().unwrap_or_else(PoisonError::into_inner);
            probed.note(receipt, Utc::now());
        }
    }
}

impl Probed {
    fn note(&mut self, frame: FrameTimes, now: DateTime<Utc>) {
        let delivery = now.signed_duration_since(frame.rendered);
        self.delivery_ms
            .push(delivery.as_seconds_f64().max(0.0) * 1000.0);
        if self.receipts.len() < MOST_RECEIPTS {
            self.receipts.push((frame.position, now.timestamp_millis()));
        }
    }
}

/// What one frame says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameTimes {
    position: i64,
    rendered: DateTime<Utc>,
}

/// The tail of one stream: enough to count frames that are cut between two reads, and to read the newest.
#[derive(Debug, Default)]
struct Frames {
    tail: Vec<u8>,
    newest: Option<FrameTimes>,
}

impl Frames {
    /// Frames that begin in `bytes`, or began before and are told apart only now.
    fn count(&mut self, bytes: &[u8]) -> u64 {
        self.tail.extend_from_slice(bytes);
        let mut found = 0;
        let mut from = 0;
        while let Some(at) = find(&self.tail[from..], EVENT) {
            found += 1;
            from += at + EVENT.len();
        }
        if found > 0 {
            self.newest = frame_times(&self.tail[from..]);
        }
        // A name that is cut in two is counted next time, a whole one never again.
        let keep = (self.tail.len() - from).min(EVENT.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
        found
    }

    fn newest(&mut self) -> Option<FrameTimes> {
        self.newest.take()
    }
}

fn frame_times(frame: &[u8]) -> Option<FrameTimes> {
    let text = std::str::from_utf8(frame).ok()?;
    let after = |name: &str| text.split_once(name).map(|(_, rest)| rest);
    let position = after("id: ")?.split('\n').next()?.trim().parse().ok()?;
    let rendered = after("\"server_time\":\"")?.split('"').next()?;
    Some(FrameTimes {
        position,
        rendered: rendered.parse().ok()?,
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] =
        b"1a\r\nevent: drop\nid: 42\ndata: {\"server_time\":\"2026-01-31T18:00:00.250Z\"}\n\n\r\n";

    #[test]
    fn frames_are_counted_once_wherever_a_read_cuts_them() {
        for cut in 0..FRAME.len() {
            let mut frames = Frames::default();
            let counted = frames.count(&FRAME[..cut]) + frames.count(&FRAME[cut..]);
            assert_eq!(counted, 1, "cut at {cut}");
        }
        let mut frames = Frames::default();
        assert_eq!(frames.count(&[FRAME, FRAME].concat()), 2);
        assert_eq!(frames.count(b": still here\n\n"), 0);
    }

    #[test]
    fn a_frame_tells_its_position_and_when_it_was_rendered() {
        let mut frames = Frames::default();
        frames.count(FRAME);
        let times = frames.newest().unwrap();
        assert_eq!(times.position, 42);
        assert_eq!(times.rendered.timestamp_subsec_millis(), 250);
        assert!(frames.newest().is_none());
    }
}
