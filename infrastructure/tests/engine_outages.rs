//! When the log misbehaves: unknown outcomes, outages, and what no log should hold, on a log in memory and a clock that is moved by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod support;

use std::time::Duration;

use domain::DropEvent;
use domain::values::Position;
use infrastructure::engine::{Clock, CommandError, EngineConfig, Health, VirtualClock};
use infrastructure::log::EventLog;
use infrastructure::log::memory::{Faults, MemoryLog};
use support::build::{
    decoded, hold, key, kinds, new_year, purchase, sample, schedule, stock_adjust, stock_program,
};
use support::counted::Counted;
use support::node::{Node, pass, settle};
use support::shop::{Shop, refusal, sold_out};
use tokio::time::Instant;

// Unknown outcomes.

/// Asks for a hold while appends go wrong in this way, then calms the log.
async fn held_through(faults: Faults) {
    let shop = Shop::open(5, 60).await;
    shop.log.set_faults(faults);
    let asked = shop.node.begin(shop.hold("k", 2)).await;
    pass(300).await;
    assert!(!asked.is_finished(), "nobody knows yet");
    shop.log.calm();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.position(), Position(2));
    pass(1_000).await;
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"], "one copy");
    let again = shop.node.ask(shop.hold("k", 2)).await.unwrap();
    assert!(again.is_replay());
    assert_eq!(again.subject, answer.subject);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out_by_appending_the_same_batch_again() {
    held_through(Faults {
        lost_responses: 1_000,
        ..Faults::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_append_is_made_good_by_appending_the_same_batch_again() {
    held_through(Faults {
        lost_appends: 1_000,
        ..Faults::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_append_that_lands_late_beside_its_repetition_lands_once() {
    held_through(Faults {
        late_appends: 1_000,
        ..Faults::default()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_append_that_somebody_overtook_is_decided_again() {
    let shop = Shop::open(1, 60).await;
    shop.log.set_faults(Faults {
        lost_appends: 1_000,
        ..Faults::default()
    });
    let asked = shop.node.begin(shop.hold("k", 1)).await;
    shop.stock_adjusts(-1);
    shop.log.calm();
    assert_eq!(refusal(asked.await.unwrap()), sold_out(1, 0));
    assert_eq!(shop.kinds(), ["DropScheduled", "StockAdjusted"]);
}

// Bounds and outages.

#[tokio::test(start_paused = true)]
async fn behind_a_log_that_says_nothing_for_long_nobody_waits_for_a_second_attempt() {
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
        "at once, and nothing recorded"
    );
    assert_eq!(
        shop.node.ask(shop.hold("later", 1)).await.unwrap_err(),
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
        "what was in flight, once"
    );
    shop.node.ask(shop.hold("later", 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_records_nothing_of_it() {
    let log = MemoryLog::default();
    let clock = VirtualClock::starting_at(new_year());
    let config = EngineConfig {
        queue: 4,
        ..EngineConfig::default()
    };
    let node = Node::load(&log, clock, 1, config).await.unwrap();
    let drop_id = node.scheduled(schedule("drop", 100, 60)).await;
    let before = Instant::now();
    let asked = futures::future::join_all(
        (0..10).map(|n| node.ask(hold(drop_id, &format!("k{n}"), "ann", 1))),
    );
    let outcomes = asked.await;
    assert_eq!(Instant::now(), before, "no time went by");
    let (accepted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((accepted.len(), refused.len()), (4, 6));
    for outcome in refused {
        assert_eq!(outcome.unwrap_err(), CommandError::Overloaded);
    }
    pass(1_000).await;
    assert_eq!(log.snapshot().len(), 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn while_the_log_is_away_requests_are_refused_at_once_and_reads_go_on() {
    let shop = Shop::open(9, 60).await;
    shop.log.make_unreachable();
    pass(500).await;
    assert!(matches!(shop.node.handle.health(), Health::Away { .. }));
    let before = Instant::now();
    let refused = shop.node.ask(shop.hold("refused", 1)).await.unwrap_err();
    assert_eq!(refused, CommandError::Unavailable);
    assert_eq!(Instant::now(), before, "at once");
    let known = shop.node.feed.after(&shop.log, Position(0), 10).await;
    assert_eq!(known.unwrap()[0].events.len(), 1, "what is known is served");
    shop.log.calm();
    pass(500).await;
    assert_eq!(shop.node.handle.health(), Health::Live);
    shop.node.ask(shop.hold("k", 1)).await.unwrap();
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
    let only = decoded(&shop.log.snapshot()).pop().unwrap().event;
    assert!(matches!(only, DropEvent::HoldPlaced(event) if event.key == Some(key("k"))));
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_mid_append_refuses_what_waits_and_still_answers_what_was_in_flight() {
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
async fn patience_ends_in_undecided_and_the_same_key_finds_out() {
    let shop = Shop::open(9, 60).await;
    shop.log.make_unreachable();
    let outcome = shop.node.ask(shop.hold("k", 1)).await;
    assert_eq!(outcome.unwrap_err(), CommandError::Undecided);
    shop.log.calm();
    pass(2_000).await;
    let again = shop.node.ask(shop.hold("k", 1)).await.unwrap();
    assert!(again.is_replay(), "it was recorded after all");
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_over_a_deadline_in_a_contended_log_neither_spins_nor_loses_the_expiry() {
    let log = Counted::new(MemoryLog::default());
    let clock = VirtualClock::starting_at(new_year());
    let node = Node::start(&log, clock, 1).await;
    let drop_id = node.scheduled(schedule("drop", 9, 1)).await;
    let turn = log.take_turn().await.unwrap();
    let asked = node.begin(hold(drop_id, "k", "ann", 1)).await;
    stock_program(&log.log, drop_id, &stock_adjust(1, clock.now()));
    drop(turn);
    let held = asked.await.unwrap().unwrap();
    // From the lost race on, appends are made in turn; and now there is nobody to take a turn from.
    log.log.make_unreachable();
    clock.sleep_until(held.at.plus_seconds(3)).await;
    assert!(matches!(node.handle.health(), Health::Away { .. }));
    log.log.calm();
    pass(2_000).await;
    assert_eq!(kinds(&log.log.snapshot())[3..], ["HoldExpired"]);
    assert_eq!(node.handle.health(), Health::Live);
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_resolved_holds_do_not_keep_the_engine_from_following_the_log() {
    let shop = Shop::open(100, 1).await;
    for n in 0..40 {
        let held = shop.node.held(shop.hold(&format!("k{n}"), 1)).await;
        shop.node.ask(purchase(held)).await.unwrap();
        pass(50).await;
        // Every fifty milliseconds from the second second on, a deadline that means nothing comes up.
        if n == 30 {
            break;
        }
    }
    shop.stock_adjusts(1);
    pass(500).await;
    assert_eq!(shop.node.feed.head(), shop.log.peek());
}

#[tokio::test(start_paused = true)]
async fn a_nudge_makes_the_engine_look_at_once() {
    let shop = Shop::open(1, 60).await;
    settle().await;
    shop.stock_adjusts(1);
    shop.node.handle.nudge();
    settle().await;
    assert_eq!(shop.node.feed.head(), shop.log.peek());
}

// What must never be.

/// Nothing is recorded any more, and whoever asks is told why; the engine runs on.
async fn refuses_the_log(shop: &Shop, corrupted: Position) {
    pass(1_000).await;
    let Health::Refused { position, .. } = shop.node.handle.health() else {
        panic!("{:?}", shop.node.handle.health());
    };
    assert_eq!(position, corrupted);
    let before = shop.log.snapshot();
    let refused = shop.node.ask(shop.hold("k", 1)).await.unwrap_err();
    assert_eq!(refused, CommandError::LogRefused { position });
    assert_eq!(shop.log.snapshot(), before, "and left the log as it was");
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_hash_does_not_follow_stops_writes_until_the_log_is_repaired() {
    let shop = Shop::open(9, 60).await;
    shop.stock_adjusts(1);
    shop.stock_adjusts(2);
    shop.log.tamper(|events| events[2].payload.push(' '));
    refuses_the_log(&shop, Position(3)).await;
    shop.log
        .tamper(|events| assert!(events[2].payload.pop().is_some()));
    pass(2_000).await;
    assert_eq!(shop.node.handle.health(), Health::Live);
    shop.node.ask(shop.hold("k2", 1)).await.unwrap();
    shop.node.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_history_that_changed_at_the_head_stops_writes() {
    let shop = Shop::open(9, 60).await;
    shop.log.tamper(|events| events[0].hash.0[0] ^= 1);
    refuses_the_log(&shop, Position(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_history_that_grew_shorter_stops_writes() {
    let shop = Shop::open(9, 60).await;
    shop.node.ask(shop.hold("k0", 1)).await.unwrap();
    shop.log.tamper(|events| drop(events.pop()));
    refuses_the_log(&shop, Position(1)).await;
}

#[tokio::test(start_paused = true)]
async fn events_of_other_streams_are_passed_over() {
    let shop = Shop::open(9, 60).await;
    shop.log.append_stock(sample("somebody else's", 1));
    shop.node.ask(shop.hold("k", 1)).await.unwrap();
    assert_eq!(shop.kinds(), ["DropScheduled", "Sampled", "HoldPlaced"]);
    assert_eq!(shop.node.feed.head(), shop.log.peek());
}
