//! The engine's guarantees for its callers, one per test: responses, expiry, conflicts and
//! shutdown, on a log in memory and a virtual clock.

use std::time::Duration;

use domain::values::{Position, Timestamp};
use domain::{DropEvent, Refusal};
use engine::{Clock, CommandError, EngineError, Health, VirtualClock};
use infrastructure::log::EventLog;
use infrastructure::log::memory::{Faults, MemoryLog};

use crate::support::build::{
    adjust, aggregate, assert_is_chain, decoded, hold, kinds, new_year, purchase, schedule,
};
use crate::support::counted::Counted;
use crate::support::node::{Node, SetClock, hold_of, pass, settle};
use crate::support::request::submit;
use crate::support::shop::{Shop, refusal, sold_out};

// Responses.

#[tokio::test(start_paused = true)]
async fn response_is_sent_only_after_the_request_is_in_the_log() {
    let shop = Shop::open(5, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let sent = shop.node.begin(shop.hold("k", 2)).await;
    pass(1_000).await;
    assert!(!sent.is_finished(), "no append succeeds during a turn");
    assert_eq!(shop.kinds(), ["DropScheduled"]);
    drop(turn);
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.position(), Position(3));
    assert_eq!(shop.log.peek().position, Position(3));
    assert_eq!(answer.events(), &decoded(&shop.log.snapshot())[2..]);
}

#[tokio::test(start_paused = true)]
async fn callers_read_their_own_write_in_the_log_and_in_the_feed() {
    let slow = Faults {
        latency: Duration::from_millis(40),
        ..Faults::default()
    };
    let shop = Shop::open_on(MemoryLog::with_faults(slow, 3), 50, 60).await;
    for n in 0..20 {
        let answer = shop
            .node
            .submit(shop.hold(&format!("k{n}"), 1))
            .await
            .unwrap();
        assert!(shop.log.peek().position >= answer.position());
        assert!(shop.node.feed.head().position >= answer.position());
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_is_sent_only_after_the_commit_that_it_rests_on() {
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
async fn refusal_that_rests_on_a_rolled_back_draft_is_never_sent() {
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
async fn refusal_is_checked_against_events_of_other_nodes() {
    let shop = Shop::open(0, 60).await;
    shop.stock_adjusts(1);
    let answer = shop.node.submit(shop.hold("k", 1)).await;
    assert!(answer.is_ok(), "the unit was already available: {answer:?}");
}

// Expiry.

#[tokio::test(start_paused = true)]
async fn hold_expires_at_its_millisecond_without_any_request() {
    let shop = Shop::open(1, 60).await;
    let placed_at = shop.node.submit(shop.hold("k", 1)).await.unwrap().at;
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
async fn five_thousand_simultaneous_expiries_are_recorded_once_each() {
    let shop = Shop::open(5_000, 60).await;
    let mut sent = vec![];
    for n in 0..5_000 {
        let (handle, request) = (shop.node.handle.clone(), shop.hold(&format!("k{n}"), 1));
        sent.push(tokio::spawn(async move { submit(&handle, request).await }));
    }
    let mut last = Timestamp::default();
    for task in sent {
        last = last.max(task.await.unwrap().unwrap().at);
    }
    let deadline = last.plus_seconds(60);
    shop.clock.sleep_until(deadline).await;
    settle().await;
    let events = decoded(&shop.log.snapshot());
    assert_eq!(events.len(), 10_002);
    assert_eq!(shop.log.peek().recorded_at, deadline);
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!(stock.available, 5_000);
}

#[tokio::test(start_paused = true)]
async fn expiries_precede_later_decisions() {
    let shop = Shop::open(1, 2).await;
    let placed_at = shop.node.submit(shop.hold("k", 1)).await.unwrap().at;
    // The log is busy beyond the deadline, so the next request is decided after it.
    let turn = shop.log.take_turn().await.unwrap();
    let busy = shop.node.begin(schedule("other", 1, 60)).await;
    shop.clock.sleep_until(placed_at.plus_seconds(2)).await;
    let sent = shop.node.begin(shop.hold("next", 1)).await;
    drop(turn);
    busy.await.unwrap().unwrap();
    sent.await.unwrap().unwrap();
    assert_eq!(
        shop.kinds()[2..],
        ["DropScheduled", "HoldExpired", "HoldPlaced"]
    );
}

#[tokio::test(start_paused = true)]
async fn hold_can_be_purchased_until_its_last_millisecond() {
    let shop = Shop::open(2, 60).await;
    let early = shop.node.submit(shop.hold("early", 1)).await.unwrap();
    let late = shop.node.submit(shop.hold("late", 1)).await.unwrap();
    let expires_at = early.at.plus_seconds(60);
    assert_eq!(late.at, early.at);
    shop.clock.sleep_until(expires_at.plus_millis(-1)).await;
    shop.node.submit(purchase(hold_of(&early))).await.unwrap();
    shop.clock.sleep_until(expires_at).await;
    let outcome = shop.node.submit(purchase(hold_of(&late))).await;
    let expired = Refusal::HoldExpired {
        expired_at: expires_at,
    };
    assert_eq!(refusal(outcome), expired);
}

#[tokio::test(start_paused = true)]
async fn overdue_holds_expire_after_a_restart_at_original_deadlines() {
    let shop = Shop::open(2, 60).await;
    let first = shop.node.submit(shop.hold("first", 1)).await.unwrap().at;
    pass(10_000).await;
    let second = shop.node.submit(shop.hold("second", 1)).await.unwrap().at;
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
    let expired: Vec<_> = events[4..]
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
async fn two_engines_record_the_expiry_of_a_hold_once() {
    let log = Counted::new(MemoryLog::default());
    let clock = VirtualClock::starting_at(new_year());
    let (one, other) = (
        Node::start(&log, clock, 1).await,
        Node::start(&log, clock, 2).await,
    );
    let drop_id = one.scheduled(schedule("drop", 3, 1)).await;
    let held = one.submit(hold(drop_id, "k", "ann", 1)).await.unwrap();
    pass(500).await;
    clock.sleep_until(held.at.plus_seconds(1)).await;
    pass(500).await;
    assert_eq!(
        kinds(&log.log.snapshot()),
        ["DropScheduled", "HoldPlaced", "HoldExpired"]
    );
    assert_eq!(one.feed.head(), other.feed.head());
    one.submit(hold(drop_id, "k2", "ann", 1)).await.unwrap();
    other.submit(hold(drop_id, "k3", "ann", 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn clock_set_back_does_not_reorder_decision_times() {
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

// Conflicts.

#[tokio::test(start_paused = true)]
async fn conflicting_request_is_decided_again_on_the_new_log() {
    let shop = Shop::open(2, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let first = shop.node.begin(shop.hold("first", 1)).await;
    let second = shop.node.begin(shop.hold("second", 1)).await;
    shop.stock_adjusts(-1);
    drop(turn);
    assert_eq!(first.await.unwrap().unwrap().position(), Position(4));
    assert_eq!(refusal(second.await.unwrap()), sold_out(1, 0));
    assert_eq!(
        shop.kinds(),
        ["DropScheduled", "StockAdjusted", "HoldPlaced"]
    );
    assert_is_chain(&shop.log.snapshot());
}

#[tokio::test(start_paused = true)]
async fn draft_on_top_of_a_failed_batch_is_never_committed() {
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
async fn requests_queued_behind_a_conflict_get_a_response() {
    let shop = Shop::open(10_000, 600).await;
    let turn = shop.log.take_turn().await.unwrap();
    let first = shop.node.begin(shop.hold("first", 1)).await;
    let mut sent = vec![];
    // As many as fit into one batch: with the first, one more than can be decided in one turn.
    for n in 0..1_024 {
        let (handle, request) = (shop.node.handle.clone(), shop.hold(&format!("k{n}"), 1));
        sent.push(tokio::spawn(async move { submit(&handle, request).await }));
    }
    settle().await;
    shop.stock_adjusts(1);
    drop(turn);
    first.await.unwrap().unwrap();
    for task in sent {
        task.await.unwrap().unwrap();
    }
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.held, stock.total), (1_025, 10_001));
}

#[tokio::test(start_paused = true)]
async fn engines_under_contention_all_get_a_turn() {
    let slow = Faults {
        latency: Duration::from_millis(5),
        ..Faults::default()
    };
    let shop = Shop::open_on(MemoryLog::with_faults(slow, 9), 1_000, 600).await;
    let nodes = [shop.another_node(2).await, shop.another_node(3).await];
    let mut sent = vec![];
    for n in 0..300 {
        let handle = nodes[n % 2].handle.clone();
        let request = shop.hold(&format!("k{n}"), 1);
        sent.push(tokio::spawn(async move { submit(&handle, request).await }));
        pass(1).await;
    }
    for task in sent {
        task.await.unwrap().unwrap();
    }
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!(stock.held, 300);
}

// Shutdown.

#[tokio::test(start_paused = true)]
async fn shutdown_completes_pending_requests_and_accepts_no_new_ones() {
    let shop = Shop::open(9, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let sent = [
        shop.node.begin(shop.hold("in-flight", 1)).await,
        shop.node.begin(shop.hold("drafted", 1)).await,
        shop.node.begin(shop.hold("drafted-too", 1)).await,
    ];
    shop.node.request_stop();
    settle().await;
    let late = shop.node.submit(shop.hold("late", 1)).await.unwrap_err();
    assert_eq!(late, CommandError::Unavailable);
    drop(turn);
    for task in sent {
        task.await.unwrap().unwrap();
    }
    let handle = shop.node.handle.clone();
    shop.node.stopped().await.unwrap();
    assert!(matches!(handle.health(), Health::Stopped));
    assert_eq!(shop.log.snapshot().len(), 2 + 3);
}

#[tokio::test(start_paused = true)]
async fn idle_engine_shuts_down_on_request() {
    let shop = Shop::open(9, 60).await;
    shop.node.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn engine_shuts_down_while_the_log_is_unreachable() {
    let shop = Shop::open(9, 60).await;
    shop.log.make_unreachable();
    let sent = shop.node.begin(shop.hold("k", 1)).await;
    let ended = shop.node.stop().await;
    assert!(
        matches!(ended, Err(EngineError::LeftUnknown(_))),
        "{ended:?}"
    );
    assert_eq!(sent.await.unwrap().unwrap_err(), CommandError::Undecided);
}

#[tokio::test(start_paused = true)]
async fn crashed_engine_leaves_callers_undecided_and_health_stopped() {
    let shop = Shop::open(9, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let sent = shop.node.begin(shop.hold("k", 1)).await;
    let handle = shop.node.handle.clone();
    shop.node.crash().await;
    assert_eq!(sent.await.unwrap().unwrap_err(), CommandError::Undecided);
    assert!(matches!(handle.health(), Health::Stopped));
    drop(turn);
    // The batch that it had sent is committed all the same; the next engine finds it.
    settle().await;
    let next = Node::start(&shop.log, shop.clock, 2).await;
    let again = next.submit(hold(shop.drop_id, "k", "k", 1)).await.unwrap();
    assert!(again.is_replay());
}
