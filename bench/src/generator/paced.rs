//! The paced load: holds at a fixed rate, each timed from the instant at which it was due.
//!
//! Promise: open loop. A request is due by the clock, whether or not earlier ones have been
//! answered, and its latency starts when it was due. A server that stalls is charged for every
//! request that was due meanwhile (no coordinated omission), in the phase in which it was due.
//! Limits: a request that is due waits for a free connection, of which there are [`CONNECTIONS`] a
//! node; requests become due in steps of the timer, a millisecond, which is part of every latency.
//!
//! ```text
//!  "connected"   before ──── during ──── after ──── end   (read from standard input)
//!       warm-up │ one histogram a phase             │ answers are waited for │ "result {…}"
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
use crate::wire::read_answer;

/// Connections to each node: ten times as many as are busy at 2,000 requests/s of 10 ms each.
const CONNECTIONS: usize = 200;
const TICK: Duration = Duration::from_millis(1);
const CONNECTING: Duration = Duration::from_secs(60);
/// A paced load, as options of the hidden command `pace`.
#[derive(Debug, Clone, Args)]
pub struct Pacing {
    /// The nodes; requests take turns.
    #[arg(long, value_delimiter = ',')]
    pub addresses: Vec<SocketAddr>,
    /// The drops; at each node, requests take turns.
    #[arg(long, value_delimiter = ',')]
    pub drops: Vec<Uuid>,
    /// Requests a second, over all nodes.
    #[arg(long)]
    pub rate: u32,
}

/// What a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The undisturbed server.
    Before,
    /// The disturbance.
    During,
    /// What it leaves behind.
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
    /// How long the phase was, in seconds.
    pub seconds: f64,
    /// Requests that were due.
    pub due: u64,
    /// Answers 201.
    pub good: u64,
    /// Median latency of good answers from when they were due, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 good answers were faster, in milliseconds.
    pub p99_ms: f64,
    /// The slowest good answer, in milliseconds.
    pub max_ms: f64,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
}

impl PhaseFigures {
    /// Requests that were answered with another status, or not at all.
    pub const fn failed(&self) -> u64 {
        self.due.saturating_sub(self.good)
    }
}

/// What came of a paced load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PacedOutcome {
    /// The undisturbed server.
    pub before: PhaseFigures,
    /// The disturbance.
    pub during: PhaseFigures,
    /// What it left behind.
    pub after: PhaseFigures,
    /// Answers 201, in the warm-up too.
    pub acknowledged: u64,
    /// Requests that may or may not be stored, in the warm-up too: lost, unanswered, or answered
    /// 5xx.
    pub uncertain: u64,
    /// CPU that the generator used, in cores.
    pub cores: f64,
}

/// A running paced load, as the run sees it.
#[derive(Debug)]
pub struct PacedLoad(Process);

impl PacedLoad {
    /// Starts it, and returns when it is connected and sending.
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

    /// Requests that are due from now on count for `phase`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn enter(&mut self, phase: Phase) -> Result<(), BenchError> {
        self.0.tell(phase.name()).await
    }

    /// Stops sending, waits for answers, and returns the figures.
    ///
    /// # Errors
    /// [`BenchError`].
    pub async fn end(mut self) -> Result<PacedOutcome, BenchError> {
        self.0.tell("end").await?;
        let text = self.0.line("result", DRAIN + CONNECTING).await?;
        serde_json::from_str(&text).doing("read the paced load's result")
    }
}

/// The paced load's own program.
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
struct Lane {
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

async fn open_lanes(pacing: &Pacing, tally: &Rc<RefCell<Tally>>) -> std::io::Result<Vec<Rc<Lane>>> {
    let mut lanes = vec![];
    for &address in &pacing.addresses {
        let lane = Rc::new(Lane {
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

/// Makes requests due at `rate` a second until told to end, or until the run is gone.
async fn send_until_end(rate: u32, lanes: &[Rc<Lane>], tally: &RefCell<Tally>) {
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
        // What was due before a phase began belongs to the one before it.
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

/// Queues every request that is due by `now`, from `number` on; returns the number of the next.
fn make_due(
    began: Instant,
    now: Instant,
    rate: u32,
    mut number: u64,
    lanes: &[Rc<Lane>],
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
    lane: Rc<Lane>,
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
        let answer = match stream.write_all(template.numbered(due.number)).await {
            Ok(()) => read_answer(&mut stream, &mut buffer).await,
            Err(error) => Err(error),
        };
        let status = answer.ok().map(|head| head.status);
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

/// Whatever is not answered by then counts as failed.
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
    fn requests_are_due_by_the_clock_and_take_turns_at_the_nodes() {
        let lane = |port| {
            Rc::new(Lane {
                address: ([127, 0, 0, 1], port).into(),
                queue: RefCell::default(),
                queued: Semaphore::new(0),
            })
        };
        let (lanes, mut tally) = (vec![lane(1), lane(2)], Tally::new().unwrap());
        let began = Instant::now();
        let number = make_due(began, began + 10 * MS, 1000, 0, &lanes, &mut tally);
        assert_eq!(number, 11, "the first at once, then one a millisecond");
        assert_eq!(
            make_due(began, began + 10 * MS, 1000, number, &lanes, &mut tally),
            11
        );
        let queued = |lane: &Lane| {
            let queue = lane.queue.borrow();
            assert_eq!(lane.queued.available_permits(), queue.len());
            queue.iter().map(|due| due.number).collect::<Vec<_>>()
        };
        assert_eq!(queued(&lanes[0]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(queued(&lanes[1]), [0, 1, 2, 3, 4]);
    }
}
