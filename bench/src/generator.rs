//! The load generator: a separate process that keeps a number of connections busy, closed loop, and
//! counts responses.
//!
//! Promise: every request has its own buyer and key. Every response is counted, also during the
//! warm-up and at the end, so acknowledgements can be compared with the store.
//! Limit: one thread. Its CPU is reported: near one core, the figures measure the generator and not
//! the server.
//!
//! ```text
//!  connect ── "measuring" ──────────── "measured" ── "result {…}"
//!      warm-up │ counted for rates      │ requests in flight are waited for
//! ```

pub mod paced;
mod template;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use self::template::Template;
use crate::error::{BenchError, Doing};
use crate::process::{Process, Reaper};
use crate::wire::read_response;

/// The longest wait for requests in flight at the end. The slowest contender rejects requests after
/// ten seconds.
const DRAIN: Duration = Duration::from_secs(15);
/// The longest time for connecting all clients.
const CONNECTING: Duration = Duration::from_secs(60);
/// The pause after a lost connection.
const PAUSE: Duration = Duration::from_millis(20);

/// The kind of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Question {
    /// Place a hold, expecting 201.
    Hold,
    /// Place a hold on a drop that is sold out, expecting 409.
    Refusal,
    /// Read a drop, expecting 200.
    Read,
    /// Read the first entry of the list of drops, expecting 200.
    List,
    /// Order one unit of each drop, expecting 201.
    Order,
}

impl Question {
    /// Returns the status of a good response.
    pub const fn expected(self) -> u16 {
        match self {
            Self::Hold | Self::Order => 201,
            Self::Refusal => 409,
            Self::Read | Self::List => 200,
        }
    }

    /// Returns the holds that one good response acknowledges, of a load on `drops` drops.
    pub const fn holds(self, drops: usize) -> u64 {
        match self {
            Self::Hold => 1,
            Self::Order => drops as u64,
            Self::Refusal | Self::Read | Self::List => 0,
        }
    }
}

/// A load, as options of the internal command `generate`.
#[derive(Debug, Clone, Args)]
pub struct Load {
    #[arg(long)]
    pub address: SocketAddr,
    #[arg(long)]
    pub question: Question,
    /// The drops, in turn.
    #[arg(long, value_delimiter = ',')]
    pub drops: Vec<Uuid>,
    #[arg(long)]
    pub clients: usize,
    /// Measured seconds.
    #[arg(long)]
    pub seconds: f64,
    /// Seconds of warm-up, not measured.
    #[arg(long)]
    pub warm_up: f64,
}

/// The result of a load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Good responses per second.
    pub per_second: f64,
    /// Median latency of good responses, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile of the latency of good responses, in milliseconds.
    pub p99_ms: f64,
    /// The slowest good response, in milliseconds.
    pub max_ms: f64,
    /// Measured responses by status.
    pub answers: BTreeMap<u16, u64>,
    /// Connections lost during a request, measured or not.
    pub lost: u64,
    /// Responses with status 201, measured or not.
    pub acknowledged: u64,
    /// Requests without a response, measured or not.
    pub unanswered: u64,
    /// CPU that the generator used while measuring, in cores.
    pub generator_cores: f64,
}

/// A running generator, seen from the run.
#[derive(Debug)]
pub struct Generator {
    process: Process,
    limit: Duration,
}

impl Generator {
    /// # Errors
    /// [`BenchError`].
    pub fn start(reaper: &Reaper, load: &Load) -> Result<Self, BenchError> {
        let drops: Vec<String> = load.drops.iter().map(Uuid::to_string).collect();
        let question = load.question.to_possible_value();
        let program = std::env::current_exe().doing("find this program")?;
        let mut command = Command::new(program);
        command
            .arg("generate")
            .args(["--address", &load.address.to_string()])
            .args(["--question", question.as_ref().map_or("", |q| q.get_name())])
            .args(["--drops", &drops.join(",")])
            .args(["--clients", &load.clients.to_string()])
            .args(["--seconds", &load.seconds.to_string()])
            .args(["--warm-up", &load.warm_up.to_string()]);
        let process = Process::spawn(reaper, "the load generator", command)?;
        let busy = Duration::from_secs_f64(load.warm_up + load.seconds);
        Ok(Self {
            process,
            limit: CONNECTING + busy + DRAIN + DRAIN,
        })
    }

    /// Waits until the measurement begins.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn begun(&mut self) -> Result<(), BenchError> {
        self.process.line("measuring", self.limit).await.map(drop)
    }

    /// Waits until the measurement ends.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn measured(&mut self) -> Result<(), BenchError> {
        self.process.line("measured", self.limit).await.map(drop)
    }

    /// Waits for the responses to all requests, or their timeout.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn outcome(mut self) -> Result<Outcome, BenchError> {
        let text = self.process.line("result", self.limit).await?;
        serde_json::from_str(&text).doing("read the generator's result")
    }
}

/// Runs the generator.
pub fn generate(load: &Load) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(load)),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the load generator failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The period in which responses are measured.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

#[derive(Debug)]
struct Tally {
    window: Window,
    expected: u16,
    latencies: Histogram<u64>,
    answers: BTreeMap<u16, u64>,
    lost: u64,
    acknowledged: u64,
}

impl Tally {
    fn record(&mut self, status: u16, sent: Instant, now: Instant) {
        self.acknowledged += u64::from(status == 201);
        if now < self.window.from || now >= self.window.to {
            return;
        }
        *self.answers.entry(status).or_default() += 1;
        if status == self.expected {
            let micros = u64::try_from((now - sent).as_micros()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(micros);
        }
    }
}

/// Shared by the clients, which all run on one thread: the lock is never contended.
struct Shared {
    tally: Mutex<Tally>,
    sent: AtomicU64,
    answered: AtomicU64,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(load: &Load) -> std::io::Result<()> {
    let mut streams = Vec::with_capacity(load.clients);
    for _client in 0..load.clients {
        streams.push(connect(load.address).await?);
    }
    let from = Instant::now() + Duration::from_secs_f64(load.warm_up);
    let window = Window {
        from,
        to: from + Duration::from_secs_f64(load.seconds),
    };
    let shared = Arc::new(Shared {
        tally: Mutex::new(Tally {
            window,
            expected: load.question.expected(),
            latencies: Histogram::new_with_max(60_000_000, 3).map_err(std::io::Error::other)?,
            answers: BTreeMap::new(),
            lost: 0,
            acknowledged: 0,
        }),
        sent: AtomicU64::new(0),
        answered: AtomicU64::new(0),
    });
    let template = Template::new(load.question, load.address, &load.drops);
    let mut clients = JoinSet::new();
    for stream in streams {
        clients.spawn(client(
            load.address,
            stream,
            template.clone(),
            window.to,
            Arc::clone(&shared),
        ));
    }
    let cores = measure(window).await;
    // Requests without a response by then are cut off and counted as unanswered.
    let _in_time = timeout(DRAIN, async {
        while clients.join_next().await.is_some() {}
    })
    .await;
    clients.shutdown().await;
    let result = outcome(load, &shared, cores);
    say(&format!("result {}", serde_json::to_string(&result)?));
    Ok(())
}

/// Announces the window, and returns the CPU used in it, in cores.
async fn measure(window: Window) -> f64 {
    let me = std::process::id();
    sleep_until(window.from).await;
    say("measuring");
    let before = crate::procfs::cpu_of(me);
    sleep_until(window.to).await;
    say("measured");
    let used = crate::procfs::cpu_of(me).saturating_sub(before);
    used.as_secs_f64() / (window.to - window.from).as_secs_f64()
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // If the reader is gone, nothing needs the output.
    let _gone = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn outcome(load: &Load, shared: &Shared, generator_cores: f64) -> Outcome {
    let tally = shared.tally();
    let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
    let sent = shared.sent.load(Ordering::Relaxed);
    let good = Duration::from_secs(tally.latencies.len()).as_secs_f64();
    Outcome {
        per_second: good / load.seconds,
        p50_ms: millis(tally.latencies.value_at_quantile(0.5)),
        p99_ms: millis(tally.latencies.value_at_quantile(0.99)),
        max_ms: millis(tally.latencies.max()),
        answers: tally.answers.clone(),
        lost: tally.lost,
        acknowledged: tally.acknowledged,
        unanswered: sent - shared.answered.load(Ordering::Relaxed),
        generator_cores,
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn client(
    address: SocketAddr,
    mut stream: TcpStream,
    mut template: Template,
    end: Instant,
    shared: Arc<Shared>,
) {
    let mut buffer = vec![0; 4_096];
    let mut sent = Instant::now();
    while sent < end {
        let number = shared.sent.fetch_add(1, Ordering::Relaxed);
        let request = template.numbered(number);
        let response = match stream.write_all(request).await {
            Ok(()) => read_response(&mut stream, &mut buffer).await,
            Err(error) => Err(error),
        };
        let now = Instant::now();
        match response {
            Ok(head) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
                shared.tally().record(head.status, sent, now);
            }
            Err(_lost) => {
                shared.tally().lost += 1;
                match reconnect(address, end).await {
                    Some(fresh) => stream = fresh,
                    None => return,
                }
            }
        }
        sent = now;
    }
}

async fn reconnect(address: SocketAddr, end: Instant) -> Option<TcpStream> {
    while Instant::now() < end {
        sleep(PAUSE).await;
        if let Ok(stream) = connect(address).await {
            return Some(stream);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_responses_in_the_window_are_timed_but_all_are_counted() {
        let from = Instant::now();
        let mut tally = Tally {
            window: Window {
                from,
                to: from + Duration::from_secs(1),
            },
            expected: 201,
            latencies: Histogram::new(3).unwrap(),
            answers: BTreeMap::new(),
            lost: 0,
            acknowledged: 0,
        };
        tally.record(201, from, from + Duration::from_millis(5));
        tally.record(503, from, from + Duration::from_millis(5));
        tally.record(201, from, from + Duration::from_secs(2));
        assert_eq!(tally.acknowledged, 2);
        assert_eq!(tally.latencies.len(), 1);
        assert_eq!(tally.answers, BTreeMap::from([(201, 1), (503, 1)]));
    }
}
