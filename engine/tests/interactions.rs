//! Interactions of the engine's concerns: turns, due work, clocks and outages.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::support::build::{hold, new_year, sample, schedule};
use crate::support::node::{Node, SetClock, pass, settle};
use crate::support::request::{Answer, Request, submit};
use domain::DropEvent;
use domain::values::{DropId, Position, Timestamp};
use engine::{Clock, CommandError, EngineConfig, EngineThread, Health, RandomIds, load};
use infrastructure::feed::Feed;
use infrastructure::log::memory::{Faults, MemoryLog, MemoryTurn};
use infrastructure::log::{EventLog, Hash};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Pending = JoinHandle<Result<Answer, CommandError>>;

/// A clock on which every reading returns a new millisecond.
#[derive(Debug, Clone, Default)]
struct EverNewClock(Arc<AtomicI64>);

impl EverNewClock {
    fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for EverNewClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).unsigned_abs())
    }

    async fn sleep_until(&self, at: Timestamp) {
        while self.now() < at {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Work that becomes due between the last turn and the next batch is sent on its own, in the middle
/// of turns. While it is in flight nothing may be decided, so due work must not wake the engine:
/// its thread runs one task at a time, and the append is another one.
#[tokio::test]
async fn due_work_during_a_batch_between_turns_does_not_spin() {
    let (log, clock) = (MemoryLog::default(), EverNewClock::default());
    clock.set(new_year().millis());
    let (engine, handle) = load(
        log.clone(),
        clock.clone(),
        RandomIds::from_seed(1),
        Feed::default(),
        EngineConfig::default(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let _thread = EngineThread::start(engine).unwrap();
    let drop_id = submit(&handle, schedule("drop", 10_000, 60))
        .await
        .unwrap()
        .drop_id;
    // The work becomes due after this many readings of the clock: one of these is between two
    // decisions.
    for readings in 1..=24 {
        log.set_faults(Faults::default());
        let first = submit(&handle, named(drop_id, &format!("{readings}-a"))).await;
        let second = submit(&handle, named(drop_id, &format!("{readings}-b"))).await;
        second.unwrap();
        // Another node appends first, so the engine takes turns for a while.
        let turn = log.take_turn().await.unwrap();
        let (raced, lost) = (handle.clone(), named(drop_id, &format!("{readings}-c")));
        let raced = tokio::spawn(async move { submit(&raced, lost).await });
        pass(5).await;
        log.append_stock(sample("elsewhere", readings));
        log.set_faults(Faults {
            latency: Duration::from_millis(20),
            ..Faults::default()
        });
        clock.set(expiry_of(&first.unwrap()).millis() - i64::try_from(readings).unwrap());
        drop(turn);
        raced.await.unwrap().unwrap();
        pass(60).await;
        clock.set(clock.now().millis() + 60_000);
    }
}

/// A node whose request is in flight, blocked by another node's turn, and that turn.
async fn in_flight(log: &MemoryLog, clock: &SetClock) -> (Node, Pending, MemoryTurn) {
    let config = EngineConfig {
        requests_per_wake: 1,
        ..EngineConfig::default()
    };
    let node = Node::load(log, clock.clone(), 1, config).await.unwrap();
    let drop_id = node.scheduled(schedule("drop", 9, 60)).await;
    let turn = log.take_turn().await.unwrap();
    let sent = node.begin(named(drop_id, "ann")).await;
    (node, sent, turn)
}

fn clocked() -> (MemoryLog, SetClock) {
    let clock = SetClock::starting_at(new_year());
    let shared = clock.another(0);
    (MemoryLog::default().on_clock(move || shared.now()), clock)
}

/// Makes the batch in flight conflict, by an append of another program.
fn lose(log: &MemoryLog, turn: MemoryTurn) {
    log.append_stock(sample("elsewhere", 1));
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn conflict_without_clock_comparison_does_not_block_the_node() {
    let (log, clock) = clocked();
    let (node, sent, turn) = in_flight(&log, &clock).await;
    log.set_faults(Faults {
        failed_reads: 1_000,
        ..Faults::default()
    });
    // The engine polls the log on the next request.
    clock.set(500);
    let behind = node.begin(schedule("other", 9, 60)).await;
    let answered = behind.await.unwrap().unwrap_err();
    assert_eq!(answered, CommandError::Unavailable);
    lose(&log, turn);
    let answered = sent.await.unwrap().unwrap_err();
    assert_eq!(answered, CommandError::Unavailable);
    log.set_faults(Faults::default());
    pass(2_000).await;
    assert_eq!(node.handle.health(), Health::Live);
    assert_eq!(node.feed.head(), log.peek());
}

/// Regression: a node that became live because its clock did would decide on a log that it refuses.
#[tokio::test(start_paused = true)]
async fn refused_log_stays_refused_when_the_clock_is_right_again() {
    let (log, clock) = clocked();
    let node = Node::start(&log, clock.clone(), 1).await;
    node.scheduled(schedule("drop", 9, 60)).await;
    log.append_stock(sample("elsewhere", 1));
    log.tamper(|events| events[2].hash = Hash::default());
    pass(500).await;
    let refused = node.handle.health();
    assert!(matches!(refused, Health::Refused { .. }), "{refused:?}");
    for off_by in [600_000, 0] {
        clock.set(off_by);
        for _ in 0..500 {
            pass(10).await;
            assert_eq!(node.handle.health(), refused, "{off_by}");
        }
    }
}

/// A database that rejects a later attempt cannot know whether an earlier one was committed.
#[tokio::test(start_paused = true)]
async fn rejection_after_an_unknown_outcome_is_reported_as_undecided() {
    let (log, clock) = clocked();
    let (node, sent, turn) = in_flight(&log, &clock).await;
    // The batch commits late, and meanwhile a database that rejects everything is used.
    log.set_faults(Faults {
        late_appends: 1_000,
        ..Faults::default()
    });
    drop(turn);
    settle().await;
    log.set_faults(Faults {
        rejected_appends: 1_000,
        ..Faults::default()
    });
    let answered = sent.await.unwrap().unwrap_err();
    assert_eq!(answered, CommandError::Undecided);
    assert!(matches!(
        node.handle.health(),
        Health::Refused { is_final: true, .. }
    ));
    pass(1_000).await;
    assert_eq!(log.peek().position, Position(3), "it was committed");
    assert_eq!(node.feed.head(), log.peek(), "and is followed");
}

fn named(drop_id: DropId, name: &str) -> Request {
    hold(drop_id, name, name, 1)
}

fn expiry_of(answer: &Answer) -> Timestamp {
    let DropEvent::HoldPlaced(event) = &answer.events()[0].event else {
        panic!("expected a hold, got {answer:?}");
    };
    event.expires_at
}
