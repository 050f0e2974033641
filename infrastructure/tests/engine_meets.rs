//! Where two of the engine's concerns meet: turns, due work, clocks and outages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::DropEvent;
use domain::values::{DropId, Position, Timestamp};
use infrastructure::engine::{
    Answer, Clock, CommandError, EngineConfig, EngineThread, Health, RandomIds, Request, load,
};
use infrastructure::feed::Feed;
use infrastructure::log::memory::{Faults, MemoryLog, MemoryTurn};
use infrastructure::log::{EventLog, Hash};
use support::build::{hold, new_year, sample, schedule};
use support::node::{Node, SetClock, pass, settle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Asked = JoinHandle<Result<Answer, CommandError>>;

/// A clock that no two readings find at the same millisecond.
#[derive(Debug, Clone, Default)]
struct Restless(Arc<AtomicI64>);

impl Restless {
    fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for Restless {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }

    async fn sleep_until(&self, at: Timestamp) {
        while self.now() < at {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Something that comes due between the last turn and the next batch is sent on its own, in the
/// middle of turns. While it is on its way nothing may be decided, so nothing that is due may wake
/// the engine: its thread has one task at a time, and the append is another.
#[tokio::test]
async fn what_is_due_while_a_batch_is_in_flight_between_turns_does_not_keep_the_engine_busy() {
    let (log, clock) = (MemoryLog::default(), Restless::default());
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
    let drop_id = handle
        .submit(schedule("drop", 10_000, 60))
        .await
        .unwrap()
        .drop_id;
    // It comes due after so many readings of the clock: one of these is between two decisions.
    for readings in 1..=24 {
        log.set_faults(Faults::default());
        let first = handle
            .submit(named(drop_id, &format!("{readings}-a")))
            .await;
        let second = handle
            .submit(named(drop_id, &format!("{readings}-b")))
            .await;
        second.unwrap();
        // Somebody else appends first, so turns are taken for a while.
        let turn = log.take_turn().await.unwrap();
        let (raced, lost) = (handle.clone(), named(drop_id, &format!("{readings}-c")));
        let raced = tokio::spawn(async move { raced.submit(lost).await });
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

/// A node whose request is in flight, behind a turn that somebody else has, and its clock.
async fn in_flight(log: &MemoryLog, clock: &SetClock) -> (Node, Asked, MemoryTurn) {
    let config = EngineConfig {
        requests_per_wake: 1,
        ..EngineConfig::default()
    };
    let node = Node::load(log, clock.clone(), 1, config).await.unwrap();
    let drop_id = node.scheduled(schedule("drop", 9, 60)).await;
    let turn = log.take_turn().await.unwrap();
    let asked = node.begin(named(drop_id, "ann")).await;
    (node, asked, turn)
}

fn clocked() -> (MemoryLog, SetClock) {
    let clock = SetClock::starting_at(new_year());
    let shared = clock.another(0);
    (MemoryLog::default().on_clock(move || shared.now()), clock)
}

/// Whoever else appends first, what is in flight has lost.
fn lose(log: &MemoryLog, turn: MemoryTurn) {
    log.append_stock(sample("elsewhere", 1));
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn a_race_that_is_lost_while_the_clocks_cannot_be_compared_does_not_keep_the_node_away() {
    let (log, clock) = clocked();
    let (node, asked, turn) = in_flight(&log, &clock).await;
    log.set_faults(Faults {
        failed_reads: 1_000,
        ..Faults::default()
    });
    // It is looked at when somebody asks.
    clock.set(500);
    let behind = node.begin(schedule("other", 9, 60)).await;
    let answered = behind.await.unwrap().unwrap_err();
    assert_eq!(answered, CommandError::Unavailable);
    lose(&log, turn);
    let answered = asked.await.unwrap().unwrap_err();
    assert_eq!(answered, CommandError::Unavailable);
    log.set_faults(Faults::default());
    pass(2_000).await;
    assert_eq!(node.handle.health(), Health::Live);
    assert_eq!(node.feed.head(), log.peek());
}

/// A node that is live again because its clock is, would begin to decide on a log that it refuses.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_refused_stays_refused_when_the_clock_is_right_again() {
    let (log, clock) = clocked();
    let node = Node::start(&log, clock.clone(), 1).await;
    node.scheduled(schedule("drop", 9, 60)).await;
    log.append_stock(sample("elsewhere", 1));
    log.tamper(|events| events[1].hash = Hash::default());
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

/// Whether an earlier attempt landed is not for the database to say that refuses a later one.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_rejected_after_an_unknown_outcome_is_not_said_to_be_unrecorded() {
    let (log, clock) = clocked();
    let (node, asked, turn) = in_flight(&log, &clock).await;
    // It lands late, and a database that allows nothing is asked meanwhile.
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
    let answered = asked.await.unwrap().unwrap_err();
    assert_eq!(answered, CommandError::Undecided);
    assert!(matches!(
        node.handle.health(),
        Health::Refused { is_final: true, .. }
    ));
    pass(1_000).await;
    assert_eq!(log.peek().position, Position(2), "it has landed");
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
