//! Where two of the engine's concerns meet: turns, due work, clocks and outages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::DropEvent;
use domain::values::{DropId, Timestamp};
use infrastructure::engine::{Answer, Clock, EngineConfig, EngineThread, RandomIds, Request, load};
use infrastructure::feed::Feed;
use infrastructure::log::EventLog;
use infrastructure::log::memory::{Faults, MemoryLog};
use support::build::{hold, new_year, sample, schedule};
use support::node::pass;
use tokio_util::sync::CancellationToken;

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

fn named(drop_id: DropId, name: &str) -> Request {
    hold(drop_id, name, name, 1)
}

fn expiry_of(answer: &Answer) -> Timestamp {
    match &answer.events()[0].event {
        DropEvent::HoldPlaced(event) => event.expires_at,
        other => panic!("expected a hold, got {other:?}"),
    }
}
