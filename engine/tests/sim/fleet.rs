//! The engines: started, crashed and restarted, each on a clock with a skew that changes at times.

use std::sync::Mutex;
use std::time::Duration;

use engine::{EngineConfig, EngineHandle, Health};
use infrastructure::feed::Feed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{SETTLING, World};
use crate::support::build::schedule;
use crate::support::node::{Node, Seen, SetClock};
use crate::support::request::{Request, submit};

/// Far enough that every hold would have expired, or none.
const FAR_OFF_MS: i64 = 600_000;

/// The running engines by index. An entry is empty while its engine is down.
pub struct Fleet {
    slots: Vec<Mutex<Option<(EngineHandle, Feed)>>>,
}

/// Everything that one engine passed to its observer from its start to its end.
pub struct Life {
    pub seen: Seen,
    /// It ran until the simulation ended.
    pub survived: bool,
}

impl Fleet {
    pub fn new(engines: usize) -> Self {
        let slots = (0..engines).map(|_| Mutex::default()).collect();
        Self { slots }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn at(&self, index: usize) -> Option<(EngineHandle, Feed)> {
        self.slots[index].lock().unwrap().clone()
    }
}

/// Starts all engines; each task returns the lives of its engine.
pub fn start(world: &World, random: &mut StdRng) -> Vec<JoinHandle<Vec<Life>>> {
    (0..world.fleet.len())
        .map(|index| {
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(keep(world.clone(), index, random))
        })
        .collect()
}

async fn keep(world: World, index: usize, mut random: StdRng) -> Vec<Life> {
    let skew = random.random_range(-1_500..=1_500);
    let clock = world.clock.another(skew);
    let config = config(&mut random);
    let mut lives = vec![];
    loop {
        let loaded = Node::load(&world.log, clock.clone(), random.random(), config).await;
        let Ok(node) = loaded else {
            world.count(|tally| tally.failed_starts += 1);
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        *world.fleet.slots[index].lock().unwrap() = Some((node.handle.clone(), node.feed.clone()));
        let seen = node.seen.clone();
        live(&world, &clock, skew, &mut random).await;
        let survived = world.over.is_cancelled();
        if survived {
            // All clocks are repaired.
            clock.set(skew);
            lives.push(Life { seen, survived });
            wait_for_the_end().await;
            node.stop().await.unwrap();
            return lives;
        }
        *world.fleet.slots[index].lock().unwrap() = None;
        node.crash().await;
        world.count(|tally| tally.crashes += 1);
        lives.push(Life { seen, survived });
        sleep(Duration::from_millis(random.random_range(0..1_500))).await;
    }
}

fn config(random: &mut StdRng) -> EngineConfig {
    EngineConfig {
        queue: random.random_range(1..=12),
        response_timeout: Duration::from_millis(random.random_range(200..=2_000)),
        follow_every: Duration::from_millis(random.random_range(20..=200)),
        // Small batches are decided and sent while others are in flight.
        requests_per_wake: random.random_range(1..=4),
        max_waitlist: random.random_range(2..=12),
        // Small portions leave consequences of events to later batches, through conflicts and
        // crashes.
        due_events: random.random_range(1..=3) * random.random_range(1..=3),
        ..EngineConfig::default()
    }
}

/// Runs until the faults end or the engine is to crash; meanwhile its clock is changed.
async fn live(world: &World, clock: &SetClock, skew: i64, random: &mut StdRng) {
    let crashes = random.random_bool(0.8);
    let lifetime = Duration::from_millis(random.random_range(0..6_000));
    let crash = async {
        sleep(lifetime).await;
        if !crashes {
            std::future::pending::<()>().await;
        }
    };
    // Most clocks change rarely; one in five changes constantly, also while a batch is in flight.
    let at_most = if random.random_bool(0.2) { 40 } else { 8_000 };
    let set = async {
        loop {
            sleep(Duration::from_millis(random.random_range(1..at_most))).await;
            let far = if world.is_compared && random.random_bool(0.05) {
                [FAR_OFF_MS, -FAR_OFF_MS][random.random_range(0..2)]
            } else {
                0
            };
            clock.set(skew + far + random.random_range(-800..=800));
            world.count(|tally| tally.clocks_set += 1);
        }
    };
    tokio::select! {
        biased;
        () = world.over.cancelled() => {}
        () = crash => {}
        () = set => {}
    }
}

/// As long as the simulation settles, and a little longer.
async fn wait_for_the_end() {
    // And for the money that arrives after the faults.
    sleep(SETTLING + Duration::from_secs(30)).await;
}

/// Without a key, so it is not counted for any client.
fn last_request() -> Request {
    let Request::ScheduleDrop {
        terms, total_stock, ..
    } = schedule("last", 1, 1)
    else {
        unreachable!("it returns a ScheduleDrop")
    };
    Request::ScheduleDrop {
        key: None,
        terms,
        total_stock,
    }
}

/// Panics unless every engine is live and records a request.
pub async fn assert_all_work(world: &World) {
    for index in 0..world.fleet.len() {
        let (handle, _) = world.fleet.at(index).expect("every engine is running");
        assert_eq!(handle.health(), Health::Live);
        let answer = submit(&handle, last_request()).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
    sleep(Duration::from_secs(1)).await;
    for index in 0..world.fleet.len() {
        let (_, feed) = world.fleet.at(index).unwrap();
        assert_eq!(feed.head(), world.log.log.peek(), "all have the same head");
    }
}
