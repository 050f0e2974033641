//! One simulation: engines that crash, clients that retry, stock programs, and a log with faults.

mod check;
mod client;
mod fleet;
mod groups;
mod orders;
mod pauses;
mod stock;
pub mod tally;
mod waitlist;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::values::{DropId, HoldId, Position};
use engine::Clock;
use infrastructure::log::StoredEvent;
use infrastructure::log::memory::{Faults, MemoryLog};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use self::client::SentRequest;
use self::fleet::Fleet;
use self::orders::SentOrder;
use self::tally::Tally;
use crate::support::build::new_year;
use crate::support::counted::Counted;
use crate::support::node::SetClock;

/// The fault-free end: long enough for every hold to expire, on the slowest clock as well, and for
/// every hold that an offer turned it into.
const SETTLING: Duration = Duration::from_secs(60);

/// The result of a simulation.
pub struct Outcome {
    /// The whole log.
    pub events: Vec<StoredEvent>,
    pub tally: Tally,
}

/// Shared state of a simulation.
#[derive(Clone)]
struct World {
    log: Counted<MemoryLog>,
    /// The correct time; also the log's, where it has a clock.
    clock: SetClock,
    /// The log has a clock, and the nodes' clocks are sometimes far off.
    is_compared: bool,
    fleet: Arc<Fleet>,
    /// The share of requests that go to the first engine.
    affinity: f64,
    /// Every request of every client, with its outcome.
    sent: Arc<Mutex<Vec<SentRequest>>>,
    /// The same for requests about orders.
    sent_orders: Arc<Mutex<Vec<SentOrder>>>,
    /// The positions of events appended by stock programs.
    stock: Arc<Mutex<BTreeSet<Position>>>,
    /// The drops known to clients.
    drops: Arc<Mutex<Vec<DropId>>>,
    /// Holds of stock programs, whose ids do not carry their drop.
    strays: Arc<Mutex<Vec<HoldId>>>,
    tally: Arc<Mutex<Tally>>,
    /// Cancelled when the faults end.
    over: CancellationToken,
}

impl World {
    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap());
    }
}

/// Runs `seed` to its end and checks every invariant.
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
    let mut log = MemoryLog::with_faults(random_faults(&mut random), random.random());
    let is_compared = random.random_bool(0.5);
    if is_compared {
        let shared = clock.clone();
        log = log.on_clock(move || shared.now());
    }
    let world = World {
        log: Counted::new(log),
        clock,
        is_compared,
        // A single engine never conflicts with another one: it speculates most.
        fleet: Arc::new(Fleet::new([1, 2, 2, 3][random.random_range(0..4)])),
        affinity: [0.0, 0.95][random.random_range(0..2)],
        sent: Arc::default(),
        sent_orders: Arc::default(),
        stock: Arc::default(),
        drops: Arc::default(),
        strays: Arc::default(),
        tally: Arc::default(),
        over: CancellationToken::new(),
    };
    let nodes = fleet::start(&world, &mut random);
    let mut people = client::start(&world, &mut random);
    people.extend(stock::start(&world, &mut random));
    people.extend(orders::start(&world, &mut random));
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

/// The faults of one simulation: few in some, all kinds together in others.
fn random_faults(random: &mut StdRng) -> Faults {
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
        // A rejection stops an engine's work until a restart.
        rejected_appends: 0,
    }
}
