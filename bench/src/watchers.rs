//! Watchers of the live stream: a separate process that holds many connections open and reads every
//! frame.
//!
//! The receipt of every frame is stored by position and millisecond, and joined with the log
//! afterwards ([`receipts`]). The last state of each connection is stored as well, so that a run
//! can check it for every watcher.
//! Limit: the process shares the machine with the server, so its own delay is part of every figure.

mod frames;
mod receipts;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::LocalSet;
use uuid::Uuid;

use self::frames::{Frames, State};
pub use self::receipts::Latency;
use self::receipts::{Receipt, Receipts, latencies, recorded};
use crate::error::{BenchError, Doing};
use crate::process::{Process, Reaper};
use crate::wire::open_stream;

const CONNECTING: Duration = Duration::from_secs(120);
const ANSWERING: Duration = Duration::from_secs(60);

/// Options of the internal command `watch`.
#[derive(Debug, Clone, Args)]
pub struct Watch {
    #[arg(long)]
    pub address: SocketAddr,
    #[arg(long)]
    pub drop_id: Uuid,
    #[arg(long)]
    pub watchers: usize,
}

/// The result of the watchers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Open connections.
    pub watchers: usize,
    /// Frames received, on all connections.
    pub frames: u64,
    /// The duration, in seconds.
    pub seconds: f64,
    /// Latency from the recording of the event at a frame's position to the frame's receipt.
    #[serde(default)]
    pub of_frames: Latency,
    /// Latency from the recording of a change to the first frame that contains it.
    #[serde(default)]
    pub of_changes: Latency,
    /// The receipts, with their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<(Receipt, u64)>,
    /// CPU of the watchers' process, in cores.
    pub cores: f64,
}

/// The number of connections by the last stock that they received.
pub type LastStates = BTreeMap<String, usize>;

impl Seen {
    /// Returns the frames per second, on all connections.
    #[expect(clippy::cast_precision_loss, reason = "frames are far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.frames as f64 / self.seconds.max(f64::EPSILON)
    }

    /// Compares the receipts with the recorded times in the log.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn join(&mut self, log: &PgPool, drop_id: Uuid) -> Result<(), BenchError> {
        let recorded = recorded(log, drop_id).await?;
        (self.of_frames, self.of_changes) = latencies(&self.receipts, &recorded)?;
        self.receipts = vec![];
        Ok(())
    }
}

/// The running process, seen from the run.
#[derive(Debug)]
pub struct Watchers(Process);

impl Watchers {
    /// Starts it, and waits until all watchers are connected.
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

    /// Starts counting.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn begin(&mut self) -> Result<(), BenchError> {
        self.0.send_line("begin").await
    }

    /// Ends counting.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn end(&mut self) -> Result<Seen, BenchError> {
        self.ask("end").await
    }

    /// Returns the last state of every connection.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn last_states(&mut self) -> Result<LastStates, BenchError> {
        self.ask("last").await
    }

    async fn ask<T: serde::de::DeserializeOwned>(&mut self, what: &str) -> Result<T, BenchError> {
        self.0.send_line(what).await?;
        let text = self.0.line("result", ANSWERING).await?;
        serde_json::from_str(&text).doing("read the watchers' result")
    }
}

/// Runs the watchers.
pub fn watch(watch: &Watch) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, run(watch)),
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

/// State shared by all connections; one thread, so no lock.
#[derive(Debug)]
struct Tally {
    is_counting: bool,
    frames: u64,
    receipts: Receipts,
    last: Vec<Vec<u8>>,
    /// One buffer for all: it is never used across an await.
    buffer: Vec<u8>,
}

async fn run(watch: &Watch) -> std::io::Result<()> {
    let tally = Rc::new(RefCell::new(Tally {
        is_counting: false,
        frames: 0,
        receipts: Receipts::new(),
        last: vec![vec![]; watch.watchers],
        buffer: vec![0; 64 * 1024],
    }));
    for index in 0..watch.watchers {
        let stream = open_stream(watch.address, watch.drop_id).await?;
        tokio::task::spawn_local(follow(stream, Rc::clone(&tally), index));
    }
    println!("connected");
    let me = std::process::id();
    let (mut began, mut cpu) = (tokio::time::Instant::now(), Duration::ZERO);
    loop {
        match next_line().await?.trim() {
            "begin" => {
                (began, cpu) = (tokio::time::Instant::now(), crate::procfs::cpu_of(me));
                let mut tally = tally.borrow_mut();
                (tally.is_counting, tally.frames) = (true, 0);
                tally.receipts.clear();
            }
            "end" => {
                let used = crate::procfs::cpu_of(me).saturating_sub(cpu);
                let seconds = began.elapsed().as_secs_f64();
                let mut tally = tally.borrow_mut();
                tally.is_counting = false;
                let seen = Seen {
                    watchers: watch.watchers,
                    frames: tally.frames,
                    seconds,
                    receipts: tally.receipts.drain().collect(),
                    cores: used.as_secs_f64() / seconds,
                    ..Seen::default()
                };
                println!("result {}", serde_json::to_string(&seen)?);
            }
            "last" => {
                let mut states = LastStates::new();
                for stock in &tally.borrow().last {
                    let text = String::from_utf8_lossy(stock).into_owned();
                    *states.entry(text).or_default() += 1;
                }
                println!("result {}", serde_json::to_string(&states)?);
            }
            _ => return Ok(()),
        }
    }
}

/// Returns the next command; an empty line if the run is gone.
async fn next_line() -> std::io::Result<String> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(std::io::Error::other)?
}

async fn follow(stream: TcpStream, tally: Rc<RefCell<Tally>>, index: usize) {
    let (mut frames, mut after) = (Frames::default(), 0);
    while stream.readable().await.is_ok() {
        let tally = &mut *tally.borrow_mut();
        let read = match stream.try_read(&mut tally.buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_broken) => return,
        };
        let at_ms = Utc::now().timestamp_millis();
        let (last, receipts) = (&mut tally.last[index], &mut tally.receipts);
        let (is_counting, count) = (tally.is_counting, &mut tally.frames);
        frames.read(&tally.buffer[..read], |State { position, stock }| {
            last.clear();
            last.extend_from_slice(stock);
            if is_counting {
                *count += 1;
                let receipt = Receipt {
                    after,
                    position,
                    at_ms,
                };
                *receipts.entry(receipt).or_default() += 1;
            }
            after = position;
        });
    }
}
