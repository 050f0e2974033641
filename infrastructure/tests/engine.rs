//! What the engine promises its callers, one promise a test, on a log in memory and a clock that is moved by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod support;

use std::time::Duration;

use domain::command::CancelDrop;
use domain::private::Private;
use domain::values::{DropId, HoldId, Position, Pseudonym, Timestamp};
use domain::{DropCommand, DropEvent, Refusal};
use infrastructure::codec::encode;
use infrastructure::engine::{
    Clock, CommandError, EngineConfig, EngineError, Health, Request, VirtualClock,
};
use infrastructure::error::LogError;
use infrastructure::log::memory::{Faults, MemoryLog};
use infrastructure::log::{EventLog, StoredEvent};
use support::build::{
    adjust, aggregate, assert_is_chain, decoded, hold, hold_as, key, kinds, new_year, purchase,
    release, sample, schedule, stock_adjust, stock_event, stock_program, stock_schedule,
    stray_hold,
};
use support::counted::Counted;
use support::node::{Node, SetClock, hold_of, pass, settle};
use tokio::time::Instant;
use uuid::Uuid;

/// One drop, one engine, one log.
struct Shop {
    log: MemoryLog,
    clock: VirtualClock,
    node: Node,
    drop_id: DropId,
}

impl Shop {
    async fn open(total: i64, hold_seconds: i64) -> Self {
        Self::open_on(MemoryLog::default(), total, hold_seconds).await
    }

    async fn open_on(log: MemoryLog, total: i64, hold_seconds: i64) -> Self {
        let clock = VirtualClock::starting_at(new_year());
        let node = Node::start(&log, clock, 1).await;
        let drop_id = node.scheduled(schedule("drop", total, hold_seconds)).await;
        Self {
            log,
            clock,
            node,
            drop_id,
        }
    }

    fn hold(&self, key: &str, units: i64) -> Request {
        hold(self.drop_id, key, key, units)
    }

    fn kinds(&self) -> Vec<String> {
        kinds(&self.log.snapshot())
    }

    /// The same log and clock, another engine.
    async fn another_node(&self, seed: u64) -> Node {
        Node::start(&self.log, self.clock, seed).await
    }

    /// A stock program adds so many units.
    fn stock_adjusts(&self, delta: i32) {
        stock_program(
            &self.log,
            self.drop_id,
            &stock_adjust(delta, self.clock.now()),
        );
    }

    fn stock_cancels(&self) {
        let at = self.clock.now();
        let command = DropCommand::CancelDrop(CancelDrop { at });
        stock_program(&self.log, self.drop_id, &command);
    }
}

#[track_caller]
fn refusal<T: std::fmt::Debug>(outcome: Result<T, CommandError>) -> Refusal {
    match outcome {
        Err(CommandError::Refused { refusal, .. }) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn sold_out(requested: u32, available: u32) -> Refusal {
    Refusal::SoldOut {
        requested,
        available,
    }
}

// Answers.

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_once_it_is_in_the_log_and_not_before() {
    let shop = Shop::open(5, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let asked = shop.node.begin(shop.hold("k", 2)).await;
    pass(1_000).await;
    assert!(!asked.is_finished(), "nobody can append during a turn");
    assert_eq!(shop.kinds(), ["DropScheduled"]);
    drop(turn);
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.position(), Position(2));
    assert_eq!(shop.log.peek().position, Position(2));
    assert_eq!(answer.events(), &decoded(&shop.log.snapshot())[1..]);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_answered_finds_their_own_write_in_the_log_and_in_the_feed() {
    let slow = Faults {
        latency: Duration::from_millis(40),
        ..Faults::default()
    };
    let shop = Shop::open_on(MemoryLog::with_faults(slow, 3), 50, 60).await;
    for n in 0..20 {
        let answer = shop.node.ask(shop.hold(&format!("k{n}"), 1)).await.unwrap();
        assert!(shop.log.peek().position >= answer.position());
        assert!(shop.node.feed.head().position >= answer.position());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_answered_only_after_the_commit_that_it_rests_on() {
    let shop = Shop::open(1, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let first = shop.node.begin(shop.hold("first", 1)).await;
    let second = shop.node.begin(shop.hold("second", 1)).await;
    pass(1_000).await;
    assert!(!first.is_finished() && !second.is_finished());
    drop(turn);
    first.await.unwrap().unwrap();
    assert_eq!(refusal(second.await.unwrap()), sold_out(1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_rests_on_what_never_came_to_be_is_never_given() {
    let shop = Shop::open(1, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let first = shop.node.begin(shop.hold("first", 1)).await;
    let second = shop.node.begin(shop.hold("second", 1)).await;
    shop.stock_adjusts(1);
    drop(turn);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_checked_against_what_other_nodes_appended() {
    let shop = Shop::open(0, 60).await;
    shop.stock_adjusts(1);
    let answer = shop.node.ask(shop.hold("k", 1)).await;
    assert!(answer.is_ok(), "the unit was there already: {answer:?}");
}

// Expiry.

#[tokio::test(start_paused = true)]
async fn a_hold_expires_at_its_millisecond_without_any_request() {
    let shop = Shop::open(1, 60).await;
    let placed_at = shop.node.ask(shop.hold("k", 1)).await.unwrap().at;
    let expires_at = placed_at.plus_seconds(60);
    shop.clock.sleep_until(expires_at.plus_millis(-1)).await;
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
    shop.clock.sleep_until(expires_at).await;
    settle().await;
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced", "HoldExpired"]);
    assert_eq!(shop.log.peek().recorded_at, expires_at);
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.available, stock.held), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn five_thousand_holds_that_end_together_are_back_at_once_and_once_each() {
    let shop = Shop::open(5_000, 60).await;
    let mut asked = vec![];
    for n in 0..5_000 {
        let (handle, request) = (shop.node.handle.clone(), shop.hold(&format!("k{n}"), 1));
        asked.push(tokio::spawn(async move { handle.submit(request).await }));
    }
    let mut last = Timestamp::default();
    for task in asked {
        last = last.max(task.await.unwrap().unwrap().at);
    }
    let deadline = last.plus_seconds(60);
    shop.clock.sleep_until(deadline).await;
    settle().await;
    let events = decoded(&shop.log.snapshot());
    assert_eq!(events.len(), 10_001);
    assert_eq!(shop.log.peek().recorded_at, deadline);
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!(stock.available, 5_000);
}

#[tokio::test(start_paused = true)]
async fn expiries_come_before_whatever_is_decided_at_their_time() {
    let shop = Shop::open(1, 2).await;
    let placed_at = shop.node.ask(shop.hold("k", 1)).await.unwrap().at;
    // The log is busy over the deadline, so that the next request is decided at a time that is past it.
    let turn = shop.log.take_turn().await.unwrap();
    let busy = shop.node.begin(schedule("other", 1, 60)).await;
    shop.clock.sleep_until(placed_at.plus_seconds(2)).await;
    let asked = shop.node.begin(shop.hold("next", 1)).await;
    drop(turn);
    busy.await.unwrap().unwrap();
    asked.await.unwrap().unwrap();
    assert_eq!(
        shop.kinds()[2..],
        ["DropScheduled", "HoldExpired", "HoldPlaced"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hold_can_be_paid_for_until_its_last_millisecond_and_not_at_its_end() {
    let shop = Shop::open(2, 60).await;
    let early = shop.node.ask(shop.hold("early", 1)).await.unwrap();
    let late = shop.node.ask(shop.hold("late", 1)).await.unwrap();
    let expires_at = early.at.plus_seconds(60);
    assert_eq!(late.at, early.at);
    shop.clock.sleep_until(expires_at.plus_millis(-1)).await;
    shop.node.ask(purchase(hold_of(&early))).await.unwrap();
    shop.clock.sleep_until(expires_at).await;
    let outcome = shop.node.ask(purchase(hold_of(&late))).await;
    let expired = Refusal::HoldExpired {
        expired_at: expires_at,
    };
    assert_eq!(refusal(outcome), expired);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_overdue_holds_expire_at_once_on_their_original_deadlines() {
    let shop = Shop::open(2, 60).await;
    let first = shop.node.ask(shop.hold("first", 1)).await.unwrap().at;
    pass(10_000).await;
    let second = shop.node.ask(shop.hold("second", 1)).await.unwrap().at;
    let Shop {
        log, clock, node, ..
    } = shop;
    node.crash().await;
    clock.sleep_until(first.plus_seconds(65)).await;
    let restarted = clock.now();
    let _node = Node::start(&log, clock, 2).await;
    clock.sleep_until(second.plus_seconds(60)).await;
    settle().await;
    let events = decoded(&log.snapshot());
    let expired: Vec<_> = events[3..]
        .iter()
        .map(|recorded| {
            let DropEvent::HoldExpired(event) = &recorded.event else {
                panic!("{recorded:?}");
            };
            (event.expired_at, recorded.recorded_at)
        })
        .collect();
    let (due, later) = (first.plus_seconds(60), second.plus_seconds(60));
    assert_eq!(expired, [(due, restarted), (later, later)]);
}

#[tokio::test(start_paused = true)]
async fn two_engines_that_expire_the_same_hold_record_it_once_and_go_on() {
    let log = Counted::new(MemoryLog::default());
    let clock = VirtualClock::starting_at(new_year());
    let (one, other) = (
        Node::start(&log, clock, 1).await,
        Node::start(&log, clock, 2).await,
    );
    let drop_id = one.scheduled(schedule("drop", 3, 1)).await;
    let held = one.ask(hold(drop_id, "k", "ann", 1)).await.unwrap();
    pass(500).await;
    clock.sleep_until(held.at.plus_seconds(1)).await;
    pass(500).await;
    assert_eq!(
        kinds(&log.log.snapshot()),
        ["DropScheduled", "HoldPlaced", "HoldExpired"]
    );
    assert_eq!(one.feed.head(), other.feed.head());
    one.ask(hold(drop_id, "k2", "ann", 1)).await.unwrap();
    other.ask(hold(drop_id, "k3", "ann", 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_moves_no_decision_before_the_one_before_it() {
    let log = MemoryLog::default();
    let clock = SetClock::starting_at(new_year());
    let node = Node::start(&log, clock.clone(), 1).await;
    let drop_id = node.scheduled(schedule("drop", 5, 60)).await;
    let turn = log.take_turn().await.unwrap();
    let first = node.begin(hold(drop_id, "first", "ann", 1)).await;
    clock.set(-30_000);
    let second = node.begin(hold(drop_id, "second", "bob", 1)).await;
    drop(turn);
    let (first, second) = (
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    );
    assert!(
        second.at >= first.at,
        "{} is before {}",
        second.at,
        first.at
    );
    for recorded in decoded(&log.snapshot()) {
        if let DropEvent::HoldPlaced(event) = &recorded.event {
            assert_eq!(event.placed_at, recorded.recorded_at);
        }
    }
}

// Lost races.

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_decided_again_on_the_new_history() {
    let shop = Shop::open(2, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let first = shop.node.begin(shop.hold("first", 1)).await;
    let second = shop.node.begin(shop.hold("second", 1)).await;
    shop.stock_adjusts(-1);
    drop(turn);
    assert_eq!(first.await.unwrap().unwrap().position(), Position(3));
    assert_eq!(refusal(second.await.unwrap()), sold_out(1, 0));
    assert_eq!(
        shop.kinds(),
        ["DropScheduled", "StockAdjusted", "HoldPlaced"]
    );
    assert_is_chain(&shop.log.snapshot());
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_on_a_batch_that_failed_never_lands_on_its_own() {
    let shop = Shop::open(0, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let added = shop.node.begin(adjust(shop.drop_id, "add", 5)).await;
    let held = shop.node.begin(shop.hold("k", 5)).await;
    shop.stock_cancels();
    drop(turn);
    for outcome in [added.await.unwrap(), held.await.unwrap()] {
        assert!(matches!(refusal(outcome), Refusal::Ended { .. }));
    }
    assert_eq!(shop.kinds(), ["DropScheduled", "DropCancelled"]);
}

#[tokio::test(start_paused = true)]
async fn everything_that_waited_behind_a_lost_race_is_answered() {
    let shop = Shop::open(10_000, 600).await;
    let turn = shop.log.take_turn().await.unwrap();
    let first = shop.node.begin(shop.hold("first", 1)).await;
    let mut asked = vec![];
    // As many as one batch takes: with the first, one more than can be decided in one turn.
    for n in 0..1_024 {
        let (handle, request) = (shop.node.handle.clone(), shop.hold(&format!("k{n}"), 1));
        asked.push(tokio::spawn(async move { handle.submit(request).await }));
    }
    settle().await;
    shop.stock_adjusts(1);
    drop(turn);
    first.await.unwrap().unwrap();
    for task in asked {
        task.await.unwrap().unwrap();
    }
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.held, stock.total), (1_025, 10_001));
}

#[tokio::test(start_paused = true)]
async fn engines_under_contention_all_get_their_turn() {
    let slow = Faults {
        latency: Duration::from_millis(5),
        ..Faults::default()
    };
    let shop = Shop::open_on(MemoryLog::with_faults(slow, 9), 1_000, 600).await;
    let nodes = [shop.another_node(2).await, shop.another_node(3).await];
    let mut asked = vec![];
    for n in 0..300 {
        let handle = nodes[n % 2].handle.clone();
        let request = shop.hold(&format!("k{n}"), 1);
        asked.push(tokio::spawn(async move { handle.submit(request).await }));
        pass(1).await;
    }
    for task in asked {
        task.await.unwrap().unwrap();
    }
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!(stock.held, 300);
}

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
        lost_answers: 1_000,
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
    shop.log.take_away();
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
    shop.log.take_away();
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
    shop.log.take_away();
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
    log.log.take_away();
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

async fn stops_with(shop: Shop, corrupted: Position) {
    pass(1_000).await;
    let Health::Stopped { reason } = shop.node.handle.health() else {
        panic!("{:?}", shop.node.handle.health());
    };
    assert!(
        reason.contains(&format!("position {corrupted}")),
        "{reason}"
    );
    let before = shop.log.snapshot();
    let refused = shop.node.ask(shop.hold("k", 1)).await.unwrap_err();
    assert_eq!(refused, CommandError::Unavailable);
    assert_eq!(shop.log.snapshot(), before, "and left the log as it was");
    match shop.node.stopped().await {
        Err(EngineError::Log(LogError::Corrupt { position, .. })) => {
            assert_eq!(position, corrupted)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_hash_does_not_follow_stops_the_engine() {
    let shop = Shop::open(9, 60).await;
    shop.stock_adjusts(1);
    shop.stock_adjusts(2);
    shop.log.tamper(|events| events[2].payload.push(' '));
    stops_with(shop, Position(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_history_that_changed_at_the_head_stops_the_engine() {
    let shop = Shop::open(9, 60).await;
    shop.log.tamper(|events| events[0].hash.0[0] ^= 1);
    stops_with(shop, Position(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_history_that_grew_shorter_stops_the_engine() {
    let shop = Shop::open(9, 60).await;
    shop.node.ask(shop.hold("k0", 1)).await.unwrap();
    shop.log.tamper(|events| drop(events.pop()));
    stops_with(shop, Position(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_stops_the_engine() {
    let shop = Shop::open(9, 60).await;
    let mut unreadable = sample("", 2);
    unreadable.aggregate_type = "Drop".into();
    unreadable.aggregate_id = shop.drop_id.to_string();
    shop.log.append_stock(unreadable);
    stops_with(shop, Position(2)).await;
}

/// An event that no history of this drop can contain: it holds more than there is.
fn oversold(shop: &Shop) -> StoredEvent {
    let history = shop.log.snapshot();
    let mut other = aggregate(&history, shop.drop_id);
    let at = shop.clock.now();
    let more = other.decide(&stock_adjust(90, at)).unwrap();
    other.evolve(&more.events[0]);
    let held = other.decide(&stray_hold(1, 2, 90, at)).unwrap();
    stock_event(&history, shop.drop_id, &held.events[0])
}

#[tokio::test(start_paused = true)]
async fn an_event_that_history_cannot_contain_stops_the_engine() {
    let shop = Shop::open(9, 60).await;
    shop.log.append_stock(oversold(&shop));
    stops_with(shop, Position(2)).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_history_cannot_contain_is_named_when_the_log_is_loaded() {
    let shop = Shop::open(9, 60).await;
    shop.log.append_stock(oversold(&shop));
    let loaded = Node::load(&shop.log, shop.clock, 2, EngineConfig::default()).await;
    match loaded.map(|_| ()) {
        Err(LogError::Corrupt { position, .. }) => assert_eq!(position, Position(2)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_a_stream_stops_the_engine() {
    let shop = Shop::open(9, 60).await;
    let history = shop.log.snapshot();
    let more = aggregate(&history, shop.drop_id)
        .decide(&stock_adjust(1, shop.clock.now()))
        .unwrap();
    let mut event = stock_event(&history, shop.drop_id, &more.events[0]);
    event.sequence = event.sequence.next();
    shop.log.append_stock(event);
    stops_with(shop, Position(2)).await;
}

#[tokio::test(start_paused = true)]
async fn events_of_other_streams_are_passed_over() {
    let shop = Shop::open(9, 60).await;
    shop.log.append_stock(sample("somebody else's", 1));
    shop.node.ask(shop.hold("k", 1)).await.unwrap();
    assert_eq!(shop.kinds(), ["DropScheduled", "Sampled", "HoldPlaced"]);
    assert_eq!(shop.node.feed.head(), shop.log.peek());
}

// Shutdown.

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_is_in_flight_and_what_waits_and_takes_nothing_new() {
    let shop = Shop::open(9, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let asked = [
        shop.node.begin(shop.hold("in-flight", 1)).await,
        shop.node.begin(shop.hold("drafted", 1)).await,
        shop.node.begin(shop.hold("drafted-too", 1)).await,
    ];
    shop.node.ask_to_stop();
    settle().await;
    let late = shop.node.ask(shop.hold("late", 1)).await.unwrap_err();
    assert_eq!(late, CommandError::Unavailable);
    drop(turn);
    for task in asked {
        task.await.unwrap().unwrap();
    }
    let handle = shop.node.handle.clone();
    shop.node.stopped().await.unwrap();
    assert!(matches!(handle.health(), Health::Stopped { .. }));
    assert_eq!(shop.log.snapshot().len(), 1 + 3);
}

#[tokio::test(start_paused = true)]
async fn an_engine_at_rest_stops_when_asked() {
    let shop = Shop::open(9, 60).await;
    shop.node.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_engine_stops_when_asked_though_the_log_is_away() {
    let shop = Shop::open(9, 60).await;
    shop.log.take_away();
    let asked = shop.node.begin(shop.hold("k", 1)).await;
    let ended = shop.node.stop().await;
    assert!(
        matches!(ended, Err(EngineError::LeftUnknown(_))),
        "{ended:?}"
    );
    assert_eq!(asked.await.unwrap().unwrap_err(), CommandError::Undecided);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_engine_leaves_its_callers_undecided_and_its_handle_stopped() {
    let shop = Shop::open(9, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let asked = shop.node.begin(shop.hold("k", 1)).await;
    let handle = shop.node.handle.clone();
    shop.node.crash().await;
    assert_eq!(asked.await.unwrap().unwrap_err(), CommandError::Undecided);
    assert!(matches!(handle.health(), Health::Stopped { .. }));
    drop(turn);
    // What it had sent lands all the same; the next engine finds it.
    settle().await;
    let next = Node::start(&shop.log, shop.clock, 2).await;
    let again = next.ask(hold(shop.drop_id, "k", "k", 1)).await.unwrap();
    assert!(again.is_replay());
}

// Buyers.

/// What a buyer's introduction says: their id, and the name they agreed to show.
type Introduction = Option<(String, Option<String>)>;

/// Who placed each hold of the log, and how they were introduced.
fn placed(log: &MemoryLog) -> Vec<(Pseudonym, Introduction)> {
    let mut found = vec![];
    for recorded in decoded(&log.snapshot()) {
        let DropEvent::HoldPlaced(event) = recorded.event else {
            continue;
        };
        let private = recorded.private;
        assert_eq!(event.commitment, private.as_ref().map(Private::commitment));
        let introduction = private.map(|private| {
            let id = private.buyer_id.unwrap().as_str().to_owned();
            (
                id,
                private.display_name.map(|name| name.as_str().to_owned()),
            )
        });
        found.push((event.buyer, introduction));
    }
    found
}

fn introduced(id: &str, name: Option<&str>) -> Introduction {
    Some((id.to_owned(), name.map(str::to_owned)))
}

#[tokio::test(start_paused = true)]
async fn a_buyer_is_introduced_once_whatever_the_case_of_their_id() {
    let shop = Shop::open(9, 60).await;
    for (key, buyer) in [
        ("1", "Ann@Example"),
        ("2", "ann@example"),
        ("3", " ANN@EXAMPLE "),
    ] {
        shop.node.held(hold(shop.drop_id, key, buyer, 1)).await;
    }
    let found = placed(&shop.log);
    assert_eq!(found[0].1, introduced("Ann@Example", None));
    assert_eq!((&found[1].1, &found[2].1), (&None, &None));
    assert!(found.iter().all(|(buyer, _)| *buyer == found[0].0));
}

#[tokio::test(start_paused = true)]
async fn a_buyer_is_another_in_another_drop() {
    let shop = Shop::open(9, 60).await;
    let other = shop.node.scheduled(schedule("other", 9, 60)).await;
    shop.node.held(hold(shop.drop_id, "1", "ann", 1)).await;
    shop.node.held(hold(other, "1", "ann", 1)).await;
    let found = placed(&shop.log);
    assert_ne!(found[0].0, found[1].0);
    assert_eq!(found[1].1, introduced("ann", None));
}

#[tokio::test(start_paused = true)]
async fn a_buyer_with_a_new_name_is_introduced_again_and_stays_who_they_are() {
    let shop = Shop::open(9, 60).await;
    for (key, name) in [
        ("1", Some("Ann")),
        ("2", Some("Ann")),
        ("3", None),
        ("4", Some("Annie")),
        ("5", Some("Annie")),
    ] {
        let request = hold_as(shop.drop_id, key, "ann", name, 1);
        shop.node.held(request).await;
    }
    let found = placed(&shop.log);
    let introductions: Vec<_> = found.iter().map(|(_, private)| private.clone()).collect();
    let expected = [
        introduced("ann", Some("Ann")),
        None,
        None,
        introduced("ann", Some("Annie")),
        None,
    ];
    assert_eq!(introductions, expected);
    assert!(found.iter().all(|(buyer, _)| *buyer == found[0].0));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_who_was_refused_leaves_no_trace() {
    let shop = Shop::open(1, 60).await;
    refusal(shop.node.ask(hold(shop.drop_id, "1", "ann", 2)).await);
    assert_eq!(shop.kinds(), ["DropScheduled"]);
    shop.node.held(hold(shop.drop_id, "2", "ann", 1)).await;
    assert_eq!(placed(&shop.log)[0].1, introduced("ann", None));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_whose_batch_was_lost_is_introduced_again() {
    let shop = Shop::open(1, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let asked = [
        shop.node.begin(hold(shop.drop_id, "1", "ann", 1)).await,
        shop.node.begin(hold(shop.drop_id, "2", "ann", 1)).await,
    ];
    shop.stock_adjusts(1);
    drop(turn);
    for task in asked {
        task.await.unwrap().unwrap();
    }
    let found = placed(&shop.log);
    assert_eq!(found[0].1, introduced("ann", None));
    assert_eq!(found[1], (found[0].0, None));
}

#[tokio::test(start_paused = true)]
async fn buyers_are_known_again_after_a_restart_and_on_another_node() {
    let shop = Shop::open(9, 60).await;
    let request = hold_as(shop.drop_id, "1", "Ann", Some("A."), 1);
    shop.node.held(request).await;
    let next = shop.another_node(2).await;
    next.held(hold_as(shop.drop_id, "2", "ann", Some("A."), 1))
        .await;
    let found = placed(&shop.log);
    assert_eq!(found[1], (found[0].0, None));
}

#[tokio::test(start_paused = true)]
async fn a_buyer_who_was_erased_is_a_stranger_after_a_restart() {
    let shop = Shop::open(9, 60).await;
    shop.node.held(hold(shop.drop_id, "1", "ann", 1)).await;
    shop.log.tamper(|events| events[1].private = None);
    let next = shop.another_node(2).await;
    next.held(hold(shop.drop_id, "2", "ann", 1)).await;
    let events = shop.log.snapshot();
    assert_is_chain(&events);
    let (first, second) = match &decoded(&events)[1..] {
        [first, second] => (first.event.clone(), second.event.clone()),
        other => panic!("{other:?}"),
    };
    let (DropEvent::HoldPlaced(first), DropEvent::HoldPlaced(second)) = (first, second) else {
        panic!("two holds");
    };
    assert_ne!(first.buyer, second.buyer);
}

// Retries.

#[tokio::test(start_paused = true)]
async fn retries_are_answered_from_history_after_a_restart_and_on_another_node() {
    let shop = Shop::open(9, 600).await;
    let held = shop.node.ask(shop.hold("hold", 2)).await.unwrap();
    let adjusted = shop.node.ask(adjust(shop.drop_id, "adjust", 3)).await;
    let bought = shop.node.ask(purchase(hold_of(&held))).await.unwrap();
    let before = shop.log.snapshot();
    pass(5_000).await;
    for node in [shop.another_node(2).await, shop.another_node(3).await] {
        let drop = node.ask(schedule("drop", 9, 600)).await.unwrap();
        assert!(drop.is_replay() && drop.drop_id == shop.drop_id);
        let again = node.ask(shop.hold("hold", 2)).await.unwrap();
        assert!(again.is_replay() && again.subject == held.subject);
        let same = node.ask(adjust(shop.drop_id, "adjust", 3)).await.unwrap();
        assert!(same.is_replay());
        assert_eq!(same.subject, adjusted.as_ref().unwrap().subject);
        let paid = node.ask(purchase(hold_of(&held))).await.unwrap();
        assert!(paid.is_replay() && paid.subject == bought.subject);
    }
    assert_eq!(
        shop.log.snapshot(),
        before,
        "and nothing was recorded twice"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_used_for_something_else_is_refused() {
    let shop = Shop::open(9, 600).await;
    shop.node.held(shop.hold("hold", 2)).await;
    let node = shop.another_node(2).await;
    for other in [
        schedule("drop", 10, 600),
        shop.hold("hold", 3),
        hold(shop.drop_id, "hold", "somebody else", 2),
        adjust(shop.drop_id, "hold", 1),
    ] {
        assert_eq!(
            refusal(node.ask(other).await),
            Refusal::IdempotencyKeyReused
        );
    }
    assert_eq!(shop.log.snapshot().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_in_one_batch_is_one_hold() {
    let shop = Shop::open(9, 600).await;
    let both = futures::future::join(
        shop.node.ask(shop.hold("k", 2)),
        shop.node.ask(shop.hold("k", 2)),
    );
    let (one, other) = both.await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.subject, other.subject);
    assert!(!one.is_replay() && other.is_replay());
    assert!(other.position() >= one.position());
    assert_eq!(shop.log.snapshot().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_drop_scheduled_with_a_key_is_the_one_that_a_retry_gets() {
    let shop = Shop::open(9, 600).await;
    let second = DropId(Uuid::from_u128(5));
    let first = decoded(&shop.log.snapshot()).remove(0).event;
    let copy = encode(
        second,
        domain::values::Sequence(1),
        Timestamp::default(),
        &first,
        None,
    );
    shop.log.append_stock(copy);
    for node in [&shop.node, &shop.another_node(2).await] {
        let again = node.ask(schedule("drop", 9, 600)).await.unwrap();
        assert!(again.is_replay() && again.drop_id == shop.drop_id);
    }
}

// Finding holds.

#[tokio::test(start_paused = true)]
async fn a_hold_is_found_by_its_id_after_a_restart() {
    let shop = Shop::open(9, 600).await;
    let paid = shop.node.held(shop.hold("paid", 1)).await;
    let given_up = shop.node.held(shop.hold("given-up", 1)).await;
    let node = shop.another_node(2).await;
    node.ask(purchase(paid)).await.unwrap();
    node.ask(release(given_up)).await.unwrap();
    let unknown = HoldId::for_drop(shop.drop_id, Uuid::from_u128(1));
    assert_eq!(
        refusal(node.ask(purchase(unknown)).await),
        Refusal::HoldNotFound
    );
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_a_stock_program_placed_under_an_id_of_its_own_is_found_and_expires() {
    let log = MemoryLog::default();
    let clock = VirtualClock::starting_at(new_year());
    let node = Node::start(&log, clock, 1).await;
    let drop_id = DropId(Uuid::from_u128(0xD << 120));
    stock_program(&log, drop_id, &stock_schedule(9, 60, clock.now()));
    for stray in 1..=3 {
        stock_program(&log, drop_id, &stray_hold(stray, 77, 1, clock.now()));
    }
    let stray = |n| HoldId(Uuid::from_u128(n));
    node.ask(purchase(stray(1))).await.unwrap();
    let next = Node::start(&log, clock, 2).await;
    next.ask(release(stray(2))).await.unwrap();
    pass(61_000).await;
    assert_eq!(
        kinds(&log.snapshot())[4..],
        ["PurchaseConfirmed", "HoldReleased", "HoldExpired"]
    );
}

#[tokio::test(start_paused = true)]
async fn drops_that_share_their_first_bytes_do_not_mix_up_their_holds() {
    let log = MemoryLog::default();
    let clock = VirtualClock::starting_at(new_year());
    let node = Node::start(&log, clock, 1).await;
    let drops = [1, 2].map(|n| DropId(Uuid::from_u128((0xD << 120) + n)));
    for drop_id in drops {
        stock_program(&log, drop_id, &stock_schedule(9, 60, clock.now()));
    }
    for drop_id in drops {
        let held = node.held(hold(drop_id, "k", "ann", 1)).await;
        assert_eq!(node.ask(purchase(held)).await.unwrap().drop_id, drop_id);
    }
}
