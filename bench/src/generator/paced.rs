//! The paced load: holds at a fixed rate, each timed from the instant at which it was due.
//!
//! Promise: open loop. A request is due by the clock, whether or not earlier ones have a response,
//! and its latency starts when it was due. A server that stalls is charged for every request that
//! was due meanwhile (no coordinated omission), in the phase in which it was due.
//! Limits: a due request waits for a free connection, of which there are [`CONNECTIONS`] per node;
//! requests become due in steps of the timer, a millisecond, which is part of every latency.
//!
//! ```text
//!  "connected"   before ──── during ──── after ──── end   (read from standard input)
//!       warm-up │ one histogram a phase             │ responses awaited      │ "result {…}"
//! ```

mod tally;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use self::tally::{Due, Tally};
use super::template::Template;
use super::{DRAIN, PAUSE, Question, connect, say};
use crate::error::{BenchError, Doing};
use crate::process::{Process, Reaper, lines_of_stdin};
use crate::wire::read_response;

/// Connections to each node: ten times as many as are busy at 2,000 requests/s of 10 ms each.
const CONNECTIONS: usize = 200;
const TICK: Duration = Duration::from_millis(1);
const CONNECTING: Duration = Duration::from_secs(60);
/// A paced load, as options of the internal command `pace`.
#[derive(Debug, Clone, Args)]
pub struct Pacing {
    /// The nodes, in turn.
    #[arg(long, value_delimiter = ',')]
    pub addresses: Vec<SocketAddr>,
    /// The drops; at each node, in turn.
    #[arg(long, value_delimiter = ',')]
    pub drops: Vec<Uuid>,
    /// Requests per second, over all nodes.
    #[arg(long)]
    pub rate: u32,
}

/// The phase that a request is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Before,
    During,
    /// The recovery after the disturbance.
    After,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];

    const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// The holds that were due in one phase.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PhaseFigures {
    /// The duration of the phase, in seconds.
    pub seconds: f64,
    /// Requests that were due.
    pub due: u64,
    /// Responses with status 201.
    pub good: u64,
    /// Median latency of good responses from when they were due, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile of the same latency.
    pub p99_ms: f64,
    /// The slowest good response, in milliseconds.
    pub max_ms: f64,
    /// Responses by status.
    pub answers: BTreeMap<u16, u64>,
}

impl PhaseFigures {
    /// Returns the number of requests with another status or without a response.
    pub const fn failed(&self) -> u64 {
        self.due.saturating_sub(self.good)
    }
}

/// The result of a paced load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PacedOutcome {
    pub before: PhaseFigures,
    pub during: PhaseFigures,
    pub after: PhaseFigures,
    /// Responses with status 201, including the warm-up.
    pub acknowledged: u64,
    /// Requests that may or may not be stored, including the warm-up: lost, without a response, or
    /// with a status of 5xx.
    pub uncertain: u64,
    /// CPU that the generator used, in cores.
    pub cores: f64,
}

/// A running paced load, seen from the run.
#[derive(Debug)]
pub struct PacedLoad(Process);

impl PacedLoad {
    /// Starts it, and waits until it is connected and sending.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn start(reaper: &Reaper, pacing: &Pacing) -> Result<Self, BenchError> {
        let join = |texts: Vec<String>| texts.join(",");
        let addresses = join(pacing.addresses.iter().map(ToString::to_string).collect());
        let drops = join(pacing.drops.iter().map(Uuid::to_string).collect());
        let mut command = Command::new(std::env::current_exe().doing("find this program")?);
        command
            .arg("pace")
            .args(["--addresses", &addresses])
            .args(["--drops", &drops])
            .args(["--rate", &pacing.rate.to_string()]);
        let mut process = Process::spawn(reaper, "the paced load", command)?;
        process.line("connected", CONNECTING).await?;
        Ok(Self(process))
    }

    /// Counts the requests that are due from now on in `phase`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn enter(&mut self, phase: Phase) -> Result<(), BenchError> {
        self.0.send_line(phase.name()).await
    }

    /// Stops sending, waits for responses, and returns the figures.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn end(mut self) -> Result<PacedOutcome, BenchError> {
        self.0.send_line("end").await?;
        let text = self.0.line("result", DRAIN + CONNECTING).await?;
        serde_json::from_str(&text).doing("read the paced load's result")
    }
}

/// Runs the paced load.
pub fn pace(pacing: &Pacing) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, run(pacing)),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the paced load failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One node, and the requests that wait for a connection to it.
#[derive(Debug)]
struct NodeQueue {
    address: SocketAddr,
    queue: RefCell<VecDeque<Due>>,
    /// As many permits as requests in the queue.
    queued: Semaphore,
}

async fn run(pacing: &Pacing) -> std::io::Result<()> {
    let tally = Rc::new(RefCell::new(Tally::new()?));
    let lanes = open_lanes(pacing, &tally).await?;
    say("connected");
    let (me, began) = (std::process::id(), Instant::now());
    let cpu = crate::procfs::cpu_of(me);
    send_until_end(pacing.rate, &lanes, &tally).await;
    wait_for_answers(&tally).await;
    let used = crate::procfs::cpu_of(me).saturating_sub(cpu);
    let cores = used.as_secs_f64() / began.elapsed().as_secs_f64();
    let result = tally.borrow().outcome(cores);
    say(&format!("result {}", serde_json::to_string(&result)?));
    Ok(())
}

async fn open_lanes(
    pacing: &Pacing,
    tally: &Rc<RefCell<Tally>>,
) -> std::io::Result<Vec<Rc<NodeQueue>>> {
    let mut lanes = vec![];
    for &address in &pacing.addresses {
        let lane = Rc::new(NodeQueue {
            address,
            queue: RefCell::default(),
            queued: Semaphore::new(0),
        });
        let template = Template::new(Question::Hold, address, &pacing.drops);
        for _connection in 0..CONNECTIONS {
            let (lane, tally) = (Rc::clone(&lane), Rc::clone(tally));
            let stream = connect(address).await?;
            spawn_local(client(lane, tally, stream, template.clone()));
        }
        lanes.push(lane);
    }
    Ok(lanes)
}

/// Makes requests due at `rate` per second until it is stopped or the run is gone.
async fn send_until_end(rate: u32, lanes: &[Rc<NodeQueue>], tally: &RefCell<Tally>) {
    let mut commands = lines_of_stdin();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (began, mut number) = (Instant::now(), 0);
    loop {
        let command = tokio::select! {
            _now = ticks.tick() => None,
            command = commands.recv() => Some(command),
        };
        let now = Instant::now();
        // Requests that were due before a phase began belong to the previous phase.
        number = make_due(began, now, rate, number, lanes, &mut tally.borrow_mut());
        if let Some(command) = command {
            let named = |phase: &Phase| command.as_deref() == Some(phase.name());
            let phase = Phase::ALL.into_iter().find(named);
            tally.borrow_mut().enter(phase, now);
            if phase.is_none() {
                return;
            }
        }
    }
}

/// Queues every request that is due by `now`, from `number` on; returns the next number.
fn make_due(
    began: Instant,
    now: Instant,
    rate: u32,
    mut number: u64,
    lanes: &[Rc<NodeQueue>],
    tally: &mut Tally,
) -> u64 {
    let nodes = lanes.len() as u64;
    loop {
        let at = began + Duration::from_secs(number) / rate;
        if at > now {
            return number;
        }
        let lane = &lanes[usize::try_from(number % nodes).unwrap_or_default()];
        let due = tally.due(at, number / nodes);
        lane.queue.borrow_mut().push_back(due);
        lane.queued.add_permits(1);
        number += 1;
    }
}

async fn client(
    lane: Rc<NodeQueue>,
    tally: Rc<RefCell<Tally>>,
    mut stream: TcpStream,
    mut template: Template,
) {
    let mut buffer = vec![0; 4_096];
    while let Ok(permit) = lane.queued.acquire().await {
        permit.forget();
        let Some(due) = lane.queue.borrow_mut().pop_front() else {
            continue;
        };
        let response = match stream.write_all(template.numbered(due.number)).await {
            Ok(()) => read_response(&mut stream, &mut buffer).await,
            Err(error) => Err(error),
        };
        let status = response.ok().map(|head| head.status);
        tally.borrow_mut().record(due, status, Instant::now());
        while status.is_none() {
            sleep(PAUSE).await;
            if let Ok(fresh) = connect(lane.address).await {
                stream = fresh;
                break;
            }
        }
    }
}

/// Requests without a response by then count as failed.
async fn wait_for_answers(tally: &RefCell<Tally>) {
    let until = Instant::now() + DRAIN;
    let is_pending = || tally.borrow().ended < tally.borrow().due;
    while is_pending() && Instant::now() < until {
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_are_due_by_the_clock_and_alternate_between_nodes() {
        let lane = |port| {
            Rc::new(NodeQueue {
                address: ([127, 0, 0, 1], port).into(),
                queue: RefCell::default(),
                queued: Semaphore::new(0),
            })
        };
        let (lanes, mut tally) = (vec![lane(1), lane(2)], Tally::new().unwrap());
        let began = Instant::now();
        let number = make_due(began, began + 10 * MS, 1000, 0, &lanes, &mut tally);
        assert_eq!(
            number, 11,
            "the first immediately, then one per millisecond"
        );
        assert_eq!(
            make_due(began, began + 10 * MS, 1000, number, &lanes, &mut tally),
            11
        );
        let queued = |lane: &NodeQueue| {
            let queue = lane.queue.borrow();
            assert_eq!(lane.queued.available_permits(), queue.len());
            queue.iter().map(|due| due.number).collect::<Vec<_>>()
        };
        assert_eq!(queued(&lanes[0]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(queued(&lanes[1]), [0, 1, 2, 3, 4]);
    }
}
