//! One simulated stretch of time: engines that crash, clients that retry, stock programs, and a log that misbehaves.

mod check;
mod client;
mod fleet;
mod line;
mod stock;
pub mod tally;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::values::{DropId, HoldId, Position};
use infrastructure::engine::Clock;
use infrastructure::log::StoredEvent;
use infrastructure::log::memory::{Faults, MemoryLog};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use self::client::Asked;
use self::fleet::Fleet;
use self::tally::Tally;
use crate::support::build::new_year;
use crate::support::counted::Counted;
use crate::support::node::SetClock;

/// After the storm: every hold that was placed is over by then, on the slowest clock as well, and so is every hold that one of
/// them became for those who waited in line.
const SETTLING: Duration = Duration::from_secs(60);

/// How it ended.
pub struct Outcome {
    /// The whole log.
    pub events: Vec<StoredEvent>,
    /// What was tried.
    pub tally: Tally,
}

/// What everybody in a simulation shares.
#[derive(Clone)]
struct World {
    log: Counted<MemoryLog>,
    /// The right time, and the log's where it has a clock.
    clock: SetClock,
    /// Whether the log has a clock, and the nodes' clocks are now and then far off.
    is_compared: bool,
    fleet: Arc<Fleet>,
    /// How many of all requests go to the first engine without asking around.
    affinity: f64,
    /// Everything that any client asked, and what it was told.
    asked: Arc<Mutex<Vec<Asked>>>,
    /// The positions of what stock programs appended.
    stock: Arc<Mutex<BTreeSet<Position>>>,
    /// The drops that anybody heard of.
    drops: Arc<Mutex<Vec<DropId>>>,
    /// Holds that stock programs placed, under ids of their own.
    strays: Arc<Mutex<Vec<HoldId>>>,
    tally: Arc<Mutex<Tally>>,
    /// Cancelled when the storm is over.
    over: CancellationToken,
}

impl World {
    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap());
    }
}

/// Runs `seed` to its end and checks every promise.
pub fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(simulate(seed))
}

async fn simulate(seed: u64) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let clock = SetClock::starting_at(new_year());
    let mut log = MemoryLog::with_faults(storm(&mut random), random.random());
    let is_compared = random.random_bool(0.5);
    if is_compared {
        let shared = clock.clone();
        log = log.on_clock(move || shared.now());
    }
    let world = World {
        log: Counted::new(log),
        clock,
        is_compared,
        // One alone never loses a race to another engine: that is where it speculates most.
        fleet: Arc::new(Fleet::new([1, 2, 2, 3][random.random_range(0..4)])),
        affinity: [0.0, 0.95][random.random_range(0..2)],
        asked: Arc::default(),
        stock: Arc::default(),
        drops: Arc::default(),
        strays: Arc::default(),
        tally: Arc::default(),
        over: CancellationToken::new(),
    };
    let nodes = fleet::start(&world, &mut random);
    let mut people = client::start(&world, &mut random);
    people.extend(stock::start(&world, &mut random));
    tokio::time::sleep(Duration::from_secs(random.random_range(4..=12))).await;
    world.over.cancel();
    world.log.log.calm();
    for person in people {
        person.await.unwrap();
    }
    tokio::time::sleep(SETTLING).await;
    fleet::assert_all_work(&world).await;
    let mut lives = vec![];
    for node in nodes {
        lives.extend(node.await.unwrap());
    }
    let events = world.log.log.snapshot();
    check::everything(&world, &events, &lives);
    let mut tally = world.tally.lock().unwrap().clone();
    tally.events += events.len();
    Outcome { events, tally }
}

/// The weather of one simulation: mild in some, everything at once in others.
fn storm(random: &mut StdRng) -> Faults {
    let mut now_and_then = |most: u32| match random.random_range(0..3) {
        0 => 0,
        1 => random.random_range(0..=most / 10),
        _ => random.random_range(0..=most),
    };
    Faults {
        lost_responses: now_and_then(200),
        lost_appends: now_and_then(200),
        late_appends: now_and_then(200),
        failed_reads: now_and_then(100),
        outages: now_and_then(15),
        latency: Duration::from_micros(u64::from(now_and_then(30_000))),
        outage: Duration::from_millis(u64::from(now_and_then(2_500))),
        // It ends an engine's work until a restart.
        rejected_appends: 0,
    }
}
