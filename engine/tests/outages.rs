//! Faults of the log: unknown outcomes, outages, and invalid contents, on a log in memory and a
//! virtual clock.

use std::time::Duration;

use domain::DropEvent;
use domain::values::Position;
use engine::{Clock, CommandError, EngineConfig, Health, VirtualClock};
use infrastructure::log::EventLog;
use infrastructure::log::memory::{Faults, MemoryLog};
use tokio::time::Instant;

use crate::support::build::{
    decoded, hold, key, kinds, new_year, purchase, sample, schedule, stock_adjust, stock_program,
};
use crate::support::counted::Counted;
use crate::support::node::{Node, pass, settle};
use crate::support::shop::{Shop, refusal, sold_out};

// Unknown outcomes.

/// Requests a hold while appends fail as given, then ends the faults.
async fn held_through(faults: Faults) {
    let shop = Shop::open(5, 60).await;
    shop.log.set_faults(faults);
    let sent = shop.node.begin(shop.hold("k", 2)).await;
    pass(300).await;
    assert!(!sent.is_finished(), "the outcome is not known yet");
    shop.log.calm();
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.position(), Position(3));
    pass(1_000).await;
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"], "one copy");
    let again = shop.node.submit(shop.hold("k", 2)).await.unwrap();
    assert!(again.is_replay());
    assert_eq!(again.subject, answer.subject);
}

#[tokio::test(start_paused = true)]
async fn lost_response_is_resolved_by_appending_the_same_batch_again() {
    held_through(Faults {
        lost_responses: 1_000,
        ..Faults::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lost_append_is_repaired_by_appending_the_same_batch_again() {
    held_through(Faults {
        lost_appends: 1_000,
        ..Faults::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn late_append_and_its_repetition_are_committed_once() {
    held_through(Faults {
        late_appends: 1_000,
        ..Faults::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn lost_append_that_was_overtaken_is_decided_again() {
    let shop = Shop::open(1, 60).await;
    shop.log.set_faults(Faults {
        lost_appends: 1_000,
        ..Faults::default()
    });
    let sent = shop.node.begin(shop.hold("k", 1)).await;
    shop.stock_adjusts(-1);
    shop.log.calm();
    assert_eq!(refusal(sent.await.unwrap()), sold_out(1, 0));
    assert_eq!(shop.kinds(), ["DropScheduled", "StockAdjusted"]);
}

// Limits and outages.

#[tokio::test(start_paused = true)]
async fn requests_behind_a_silent_log_do_not_wait_for_a_second_attempt() {
    let shop = Shop::open(5, 60).await;
    shop.log.set_faults(Faults {
        latency: Duration::from_secs(3),
        lost_appends: 1_000,
        ..Faults::default()
    });
    let in_flight = shop.node.begin(shop.hold("flying", 1)).await;
    let behind = shop.node.begin(shop.hold("behind", 1)).await;
    let refused = behind.await.unwrap().unwrap_err();
    assert_eq!(
        refused,
        CommandError::Unavailable,
        "rejected immediately, with nothing recorded"
    );
    assert_eq!(
        shop.node.submit(shop.hold("later", 1)).await.unwrap_err(),
        CommandError::Unavailable
    );
    shop.log.set_faults(Faults::default());
    assert!(matches!(
        in_flight.await.unwrap(),
        Ok(_) | Err(CommandError::Undecided)
    ));
    pass(30_000).await;
    assert_eq!(
        shop.kinds(),
        ["DropScheduled", "HoldPlaced"],
        "the request in flight, once"
    );
    shop.node.submit(shop.hold("later", 1)).await.unwrap();
}

/// A database that is down fails the first attempt at once, and the next one waits for a server.
#[tokio::test(start_paused = true)]
async fn requests_are_rejected_while_an_attempt_at_a_failed_log_waits() {
    let shop = Shop::open(5, 60).await;
    shop.log.set_faults(Faults {
        lost_appends: 1_000,
        ..Faults::default()
    });
    let in_flight = shop.node.begin(shop.hold("flying", 1)).await;
    settle().await;
    shop.log.set_faults(Faults {
        latency: Duration::from_secs(3_600),
        ..Faults::default()
    });
    pass(100).await;
    let behind = shop.node.begin(shop.hold("behind", 1)).await;
    let before = Instant::now();
    assert_eq!(
        behind.await.unwrap().unwrap_err(),
        CommandError::Unavailable
    );
    assert!(
        before.elapsed() <= Duration::from_secs(1),
        "of virtual time"
    );
    assert!(matches!(shop.node.handle.health(), Health::Away { .. }));
    assert!(matches!(
        in_flight.await.unwrap(),
        Ok(_) | Err(CommandError::Undecided)
    ));
    pass(7_200_000).await;
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
    assert_eq!(shop.node.handle.health(), Health::Live);
}

#[tokio::test(start_paused = true)]
async fn full_queue_rejects_immediately_and_records_nothing() {
    let log = MemoryLog::default();
    let clock = VirtualClock::starting_at(new_year());
    let config = EngineConfig {
        queue: 4,
        ..EngineConfig::default()
    };
    let node = Node::load(&log, clock, 1, config).await.unwrap();
    let drop_id = node.scheduled(schedule("drop", 100, 60)).await;
    let before = Instant::now();
    let sent = futures::future::join_all(
        (0..10).map(|n| node.submit(hold(drop_id, &format!("k{n}"), "ann", 1))),
    );
    let outcomes = sent.await;
    assert_eq!(Instant::now(), before, "no time passed");
    let (accepted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((accepted.len(), refused.len()), (4, 6));
    for outcome in refused {
        assert_eq!(outcome.unwrap_err(), CommandError::Overloaded);
    }
    pass(1_000).await;
    assert_eq!(log.snapshot().len(), 2 + 4);
}

#[tokio::test(start_paused = true)]
async fn outage_rejects_requests_immediately_and_reads_continue() {
    let shop = Shop::open(9, 60).await;
    shop.log.make_unreachable();
    pass(500).await;
    assert!(matches!(shop.node.handle.health(), Health::Away { .. }));
    let before = Instant::now();
    let refused = shop.node.submit(shop.hold("refused", 1)).await.unwrap_err();
    assert_eq!(refused, CommandError::Unavailable);
    assert_eq!(Instant::now(), before, "at once");
    let known = shop.node.feed.after(&shop.log, Position(0), 10).await;
    assert_eq!(known.unwrap()[0].events.len(), 2, "known events are served");
    shop.log.calm();
    pass(500).await;
    assert_eq!(shop.node.handle.health(), Health::Live);
    shop.node.submit(shop.hold("k", 1)).await.unwrap();
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
    let only = decoded(&shop.log.snapshot()).pop().unwrap().event;
    assert!(matches!(only, DropEvent::HoldPlaced(event) if event.key == Some(key("k"))));
}

#[tokio::test(start_paused = true)]
async fn outage_during_an_append_rejects_the_queue_and_resolves_in_flight() {
    let shop = Shop::open(9, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let in_flight = shop.node.begin(shop.hold("in-flight", 1)).await;
    let behind = shop.node.begin(shop.hold("behind", 1)).await;
    shop.log.make_unreachable();
    drop(turn);
    assert_eq!(
        behind.await.unwrap().unwrap_err(),
        CommandError::Unavailable
    );
    assert!(matches!(shop.node.handle.health(), Health::Away { .. }));
    shop.log.calm();
    in_flight.await.unwrap().unwrap();
    assert_eq!(shop.node.handle.health(), Health::Live);
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
}

#[tokio::test(start_paused = true)]
async fn timeout_is_undecided_and_a_retry_with_the_key_resolves_it() {
    let shop = Shop::open(9, 60).await;
    shop.log.make_unreachable();
    let outcome = shop.node.submit(shop.hold("k", 1)).await;
    assert_eq!(outcome.unwrap_err(), CommandError::Undecided);
    shop.log.calm();
    pass(2_000).await;
    let again = shop.node.submit(shop.hold("k", 1)).await.unwrap();
    assert!(again.is_replay(), "it was recorded after all");
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
}

#[tokio::test(start_paused = true)]
async fn outage_over_a_deadline_neither_spins_nor_loses_the_expiry() {
    let log = Counted::new(MemoryLog::default());
    let clock = VirtualClock::starting_at(new_year());
    let node = Node::start(&log, clock, 1).await;
    let drop_id = node.scheduled(schedule("drop", 9, 1)).await;
    let turn = log.take_turn().await.unwrap();
    let sent = node.begin(hold(drop_id, "k", "ann", 1)).await;
    stock_program(&log.log, drop_id, &stock_adjust(1, clock.now()));
    drop(turn);
    let held = sent.await.unwrap().unwrap();
    // After the conflict, appends are made in turn; now the log is unreachable, so no turn can be
    // taken.
    log.log.make_unreachable();
    clock.sleep_until(held.at.plus_seconds(3)).await;
    assert!(matches!(node.handle.health(), Health::Away { .. }));
    log.log.calm();
    pass(2_000).await;
    assert_eq!(kinds(&log.log.snapshot())[3..], ["HoldExpired"]);
    assert_eq!(node.handle.health(), Health::Live);
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_resolved_holds_do_not_delay_following_the_log() {
    let shop = Shop::open(100, 1).await;
    for n in 0..40 {
        let held = shop.node.held(shop.hold(&format!("k{n}"), 1)).await;
        shop.node.submit(purchase(held)).await.unwrap();
        pass(50).await;
        // From the second second on, every fifty milliseconds a deadline of a resolved hold is
        // reached.
        if n == 30 {
            break;
        }
    }
    shop.stock_adjusts(1);
    pass(500).await;
    assert_eq!(shop.node.feed.head(), shop.log.peek());
}

#[tokio::test(start_paused = true)]
async fn nudge_makes_the_engine_poll_immediately() {
    let shop = Shop::open(1, 60).await;
    settle().await;
    shop.stock_adjusts(1);
    shop.node.handle.nudge();
    settle().await;
    assert_eq!(shop.node.feed.head(), shop.log.peek());
}

// Invalid contents.

/// Nothing more is recorded, requests are rejected with the reason, and the engine keeps running.
async fn refuses_the_log(shop: &Shop, corrupted: Position) {
    pass(1_000).await;
    let Health::Refused { position, .. } = shop.node.handle.health() else {
        panic!("{:?}", shop.node.handle.health());
    };
    assert_eq!(position, corrupted);
    let before = shop.log.snapshot();
    let refused = shop.node.submit(shop.hold("k", 1)).await.unwrap_err();
    assert_eq!(refused, CommandError::LogRefused { position });
    assert_eq!(shop.log.snapshot(), before, "the log was changed");
}

#[tokio::test(start_paused = true)]
async fn broken_hash_stops_writes_until_the_log_is_repaired() {
    let shop = Shop::open(9, 60).await;
    shop.stock_adjusts(1);
    shop.stock_adjusts(2);
    shop.log.tamper(|events| events[2].payload.push(' '));
    refuses_the_log(&shop, Position(3)).await;
    shop.log
        .tamper(|events| assert!(events[2].payload.pop().is_some()));
    pass(2_000).await;
    assert_eq!(shop.node.handle.health(), Health::Live);
    shop.node.submit(shop.hold("k2", 1)).await.unwrap();
    shop.node.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn log_changed_at_the_head_stops_writes() {
    let shop = Shop::open(9, 60).await;
    shop.log.tamper(|events| events[1].hash.0[0] ^= 1);
    refuses_the_log(&shop, Position(2)).await;
}

#[tokio::test(start_paused = true)]
async fn shortened_log_stops_writes() {
    let shop = Shop::open(9, 60).await;
    shop.node.submit(shop.hold("k0", 1)).await.unwrap();
    shop.log.tamper(|events| drop(events.pop()));
    refuses_the_log(&shop, Position(2)).await;
}

#[tokio::test(start_paused = true)]
async fn events_of_other_streams_are_skipped() {
    let shop = Shop::open(9, 60).await;
    shop.log.append_stock(sample("other", 1));
    shop.node.submit(shop.hold("k", 1)).await.unwrap();
    assert_eq!(shop.kinds(), ["DropScheduled", "Sampled", "HoldPlaced"]);
    assert_eq!(shop.node.feed.head(), shop.log.peek());
}
