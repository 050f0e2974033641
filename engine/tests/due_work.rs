//! Due work is recorded in bounded portions: expiries, offers, closing cancelled drops; on a log in
//! memory and a virtual clock.

use std::time::Duration;

use domain::decide::Subject;
use domain::drop::HoldStatus;
use domain::values::{DropId, HoldId, Timestamp};
use domain::{DropEvent, Refusal};
use engine::{Clock, CommandError, EngineConfig, OrderedItem, PlaceOrder, VirtualClock};
use infrastructure::codec::RecordedEvent;
use infrastructure::log::EventLog;
use infrastructure::log::memory::{Faults, MemoryLog};

use crate::support::build::{
    adjust, aggregate, assert_is_chain, buyer, decoded, hold, join, key, new_year, purchase,
    quantity, release, schedule,
};
use crate::support::node::{Node, hold_of, pass, settle};
use crate::support::request::{Answer, Request, submit};
use crate::support::shop::{Shop, refusal, sold_out};

/// More due work than the engine records in ten batches.
const MANY: usize = 6_000;

/// A log with latency, like a real one.
fn slow() -> MemoryLog {
    let faults = Faults {
        latency: Duration::from_millis(20),
        ..Faults::default()
    };
    MemoryLog::with_faults(faults, 7)
}

/// Places `many` holds of one unit, for as many buyers.
async fn fill(node: &Node, drop_id: DropId, many: usize) -> Vec<HoldId> {
    let sent = submit_all(node, many, |n| {
        hold(drop_id, &format!("h{n}"), &format!("b{n}"), 1)
    })
    .await;
    sent.iter().map(hold_of).collect()
}

async fn submit_all(node: &Node, many: usize, request: impl Fn(usize) -> Request) -> Vec<Answer> {
    let sent: Vec<_> = (0..many)
        .map(|n| {
            let (handle, request) = (node.handle.clone(), request(n));
            tokio::spawn(async move { submit(&handle, request).await })
        })
        .collect();
    let mut answers = vec![];
    for task in sent {
        answers.push(task.await.unwrap().unwrap());
    }
    answers
}

/// Waits until nothing more is recorded.
async fn wait_until_idle(log: &MemoryLog) {
    let mut last = None;
    while last != Some(log.peek()) {
        last = Some(log.peek());
        pass(1_000).await;
    }
}

fn cancel(drop_id: DropId) -> Request {
    Request::CancelDrop { drop_id }
}

fn held(log: &MemoryLog, drop_id: DropId) -> u32 {
    aggregate(&log.snapshot(), drop_id).stock().held
}

/// Asserts that every hold of the drop was released at `at`, in the order of placing, without other
/// events in between.
#[track_caller]
fn assert_released_in_order(events: &[RecordedEvent], drop_id: DropId, at: Timestamp, many: usize) {
    let mut placed = vec![];
    let mut released = vec![];
    for recorded in events.iter().filter(|event| event.drop_id == drop_id) {
        match &recorded.event {
            DropEvent::HoldPlaced(event) => placed.push(event.hold_id),
            DropEvent::HoldReleased(event) => {
                assert_eq!(event.released_at, at);
                assert!(recorded.recorded_at >= at);
                released.push(event.hold_id);
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropCancelled(_) => {}
            other @ (DropEvent::DropRescheduled(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_)) => panic!("unexpected in a cancelled drop: {other:?}"),
        }
    }
    assert_eq!(placed.len(), many);
    assert_eq!(released, placed);
}

// Cancelling.

#[tokio::test(start_paused = true)]
async fn small_drop_is_closed_in_the_batch_that_cancels_it() {
    let shop = Shop::open(300, 60).await;
    fill(&shop.node, shop.drop_id, 300).await;
    shop.node
        .submit(join(shop.drop_id, "w", "eve", 1))
        .await
        .unwrap();
    let answer = shop.node.submit(cancel(shop.drop_id)).await.unwrap();
    assert_eq!(answer.events().len(), 302);
    let batch = shop.node.seen.batches().last().unwrap().clone();
    assert_eq!(batch.events.len(), 302);
    assert_eq!(answer.position(), shop.log.peek().position);
    assert_eq!(held(&shop.log, shop.drop_id), 0);
}

#[tokio::test(start_paused = true)]
async fn large_drop_is_closed_while_other_drops_continue() {
    let shop = Shop::open_on(slow(), MANY as i64, 600).await;
    let holds = fill(&shop.node, shop.drop_id, MANY).await;
    let other = shop.node.scheduled(schedule("other", 100, 600)).await;
    let answer = shop.node.submit(cancel(shop.drop_id)).await.unwrap();
    let cancelled_at = answer.at;
    assert!(
        held(&shop.log, shop.drop_id) > 0,
        "everything fitted into one batch"
    );

    // From then on none of its holds can be purchased, recorded as released or not.
    let last = *holds.last().unwrap();
    let released_at = cancelled_at;
    let refused = refusal(shop.node.submit(purchase(last)).await);
    assert_eq!(refused, Refusal::HoldReleased { released_at });
    assert!(shop.node.submit(release(last)).await.unwrap().is_replay());
    assert_eq!(
        refusal(shop.node.submit(shop.hold("late", 1)).await),
        Refusal::Ended {
            ended_at: cancelled_at,
            cancelled: true
        }
    );

    shop.node.held(hold(other, "k", "ann", 1)).await;
    assert!(
        held(&shop.log, shop.drop_id) > 0,
        "the other drop had to wait until the end"
    );
    wait_until_idle(&shop.log).await;
    let events = decoded(&shop.log.snapshot());
    assert_is_chain(&shop.log.snapshot());
    let of_drop: Vec<_> = events
        .iter()
        .filter(|event| event.drop_id == shop.drop_id)
        .cloned()
        .collect();
    assert_released_in_order(&of_drop, shop.drop_id, cancelled_at, MANY);
    for batch in shop.node.seen.batches() {
        assert!(
            batch.events.len() <= 2_048 + 512,
            "{} events",
            batch.events.len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_engine_continues_the_due_work_of_a_crashed_one() {
    let shop = Shop::open_on(slow(), MANY as i64, 600).await;
    fill(&shop.node, shop.drop_id, MANY).await;
    let Shop {
        log,
        clock,
        node,
        drop_id,
    } = shop;
    let cancelled_at = node.submit(cancel(drop_id)).await.unwrap().at;
    node.crash().await;
    pass(10_000).await;
    assert!(held(&log, drop_id) > 0, "it crashed too late");
    let _next = Node::start(&log, clock, 2).await;
    wait_until_idle(&log).await;
    assert_released_in_order(&decoded(&log.snapshot()), drop_id, cancelled_at, MANY);
}

#[tokio::test(start_paused = true)]
async fn two_engines_close_a_drop_and_serve_requests_meanwhile() {
    let shop = Shop::open_on(slow(), 2 * MANY as i64, 600).await;
    let second = shop.another_node(2).await;
    fill(&shop.node, shop.drop_id, 2 * MANY).await;
    let other = shop.node.scheduled(schedule("other", 1_000, 600)).await;
    let cancelled_at = shop.node.submit(cancel(shop.drop_id)).await.unwrap().at;
    let mut answered = 0;
    while held(&shop.log, shop.drop_id) > 0 {
        for (name, node) in [("a", &shop.node), ("b", &second)] {
            let sent_at = shop.clock.now();
            let key = format!("{name}{answered}");
            node.held(hold(other, &key, &key, 1)).await;
            let waited = shop.clock.now().millis() - sent_at.millis();
            // A few appends and reads, each of which takes up to 40 ms here.
            assert!(waited < 1_000, "{waited} ms");
            answered += 1;
        }
    }
    assert!(
        answered > 4,
        "it ended before enough requests were sent: {answered}"
    );
    let events = decoded(&shop.log.snapshot());
    let of_drop: Vec<_> = events
        .into_iter()
        .filter(|event| event.drop_id == shop.drop_id)
        .collect();
    assert_released_in_order(&of_drop, shop.drop_id, cancelled_at, 2 * MANY);
}

// Expiries.

#[tokio::test(start_paused = true)]
async fn many_expiries_of_one_drop_do_not_delay_other_drops() {
    let shop = Shop::open(10_000, 600).await;
    fill(&shop.node, shop.drop_id, 10_000).await;
    let other = shop.node.scheduled(schedule("other", 10, 600)).await;
    let last = shop.node.submit(hold(other, "k", "ann", 1)).await.unwrap();
    shop.clock.sleep_until(last.at.plus_seconds(600)).await;
    wait_until_idle(&shop.log).await;
    let events = decoded(&shop.log.snapshot());
    let expired: Vec<DropId> = events
        .iter()
        .filter(|recorded| matches!(recorded.event, DropEvent::HoldExpired(_)))
        .map(|recorded| recorded.drop_id)
        .collect();
    assert_eq!(expired.len(), 10_001);
    let delayed_by = expired
        .iter()
        .position(|drop_id| *drop_id == other)
        .unwrap();
    assert!(delayed_by < 100, "only after {delayed_by} others");
}

/// Regression: ten purchases on another drop, sent 1.7 s before their holds expired, were refused
/// as expired.
#[tokio::test(start_paused = true)]
async fn purchase_that_arrived_in_time_counts_after_any_wait() {
    let shop = Shop::open(3, 60).await;
    let first = shop.node.submit(shop.hold("bought", 1)).await.unwrap();
    let second = shop.node.held(shop.hold("released", 1)).await;
    let third = shop.node.held(shop.hold("late", 1)).await;
    let expires_at = first.at.plus_seconds(60);
    shop.clock.sleep_until(expires_at.plus_millis(-10)).await;

    // The log is busy, so these wait until the holds have expired.
    let turn = shop.log.take_turn().await.unwrap();
    let other = shop.node.begin(schedule("other", 1, 60)).await;
    let bought = shop.node.begin(purchase(hold_of(&first))).await;
    let released = shop.node.begin(release(second)).await;
    shop.clock.sleep_until(expires_at).await;
    let late = shop.node.begin(purchase(third)).await;
    pass(100).await;
    drop(turn);

    other.await.unwrap().unwrap();
    let bought = bought.await.unwrap().unwrap();
    let DropEvent::PurchaseConfirmed(purchased) = &bought.events()[0].event else {
        panic!("{bought:?}");
    };
    assert!(purchased.purchased_at < expires_at);
    assert!(purchased.purchased_at >= expires_at.plus_millis(-10));
    released.await.unwrap().unwrap();
    let expired_at = expires_at;
    assert_eq!(
        refusal(late.await.unwrap()),
        Refusal::HoldExpired { expired_at }
    );
    let drop = aggregate(&shop.log.snapshot(), shop.drop_id);
    let statuses: Vec<_> = drop.holds().map(|hold| hold.status).collect();
    assert_eq!(
        statuses,
        [
            HoldStatus::Purchased,
            HoldStatus::Released,
            HoldStatus::Expired
        ]
    );
    let recorded = decoded(&shop.log.snapshot());
    assert!(recorded.is_sorted_by_key(|event| event.recorded_at));
}

#[tokio::test(start_paused = true)]
async fn units_of_expired_holds_are_available_before_their_record() {
    let (log, clock) = (MemoryLog::default(), VirtualClock::starting_at(new_year()));
    // One expiry per batch, so that nearly all are unrecorded when these requests arrive.
    let config = EngineConfig {
        due_events: 1,
        ..EngineConfig::default()
    };
    let node = Node::load(&log, clock, 1, config).await.unwrap();
    let drop_id = node.scheduled(schedule("drop", 1_000, 60)).await;
    fill(&node, drop_id, 1_000).await;
    log.make_unreachable();
    clock.sleep_until(new_year().plus_seconds(61)).await;
    log.calm();
    node.handle.nudge();
    settle().await;
    node.held(hold(drop_id, "new", "new", 500)).await;
    let taken = node.submit(adjust(drop_id, "fewer", -400)).await;
    assert!(matches!(taken.unwrap().subject, Subject::Adjustment(_)));
    assert_eq!(
        refusal(node.submit(hold(drop_id, "more", "more", 101)).await),
        sold_out(101, 100)
    );
    wait_until_idle(&log).await;
    assert_eq!(aggregate(&log.snapshot(), drop_id).stock().available, 100);
}

// Orders, whose end has an event for each item.

/// The most items of an order.
const ITEMS: usize = 20;
/// Orders that end together: more events than two batches take.
const ORDERS: usize = 200;

/// Places orders of one unit of each drop, for as many buyers.
async fn fill_with_orders(node: &Node, drops: &[DropId]) {
    let sent: Vec<_> = (0..ORDERS)
        .map(|n| {
            let item = |drop_id: &DropId| OrderedItem {
                drop_id: *drop_id,
                quantity: quantity(1),
            };
            let request = PlaceOrder {
                key: Some(key(&format!("o{n}"))),
                other_key: None,
                buyer_id: buyer(&format!("b{n}")),
                is_from_token: false,
                display_name: None,
                items: drops.iter().map(item).collect(),
                codes: vec![],
                sees_hidden: false,
                solved: None,
            };
            let handle = node.handle.clone();
            tokio::spawn(async move { handle.place_order(request).await })
        })
        .collect();
    for task in sent {
        task.await.unwrap().unwrap();
    }
}

/// Twenty drops with orders over all of them, and a drop that no order names.
async fn shop_with_orders() -> (Shop, Vec<DropId>, DropId) {
    let shop = Shop::open_on(slow(), ORDERS as i64, 600).await;
    let mut drops = vec![shop.drop_id];
    for n in 1..ITEMS {
        let request = schedule(&format!("drop{n}"), ORDERS as i64, 600);
        drops.push(shop.node.scheduled(request).await);
    }
    fill_with_orders(&shop.node, &drops).await;
    let other = shop.node.scheduled(schedule("other", 100, 600)).await;
    (shop, drops, other)
}

/// Asserts that the due work of each batch since `first` was about `due_events`: the end of one
/// order may exceed it.
fn assert_bounded(shop: &Shop, first: usize) {
    for batch in &shop.node.seen.batches()[first..] {
        let events = batch.events.len() + batch.orders.len();
        assert!(events <= 2 * (512 + ITEMS) + 2, "{events} events");
    }
}

/// Regression: due work was counted by orders, 21 events each. It filled every batch, so requests
/// on all drops waited until the last order had ended.
#[tokio::test(start_paused = true)]
async fn orders_that_end_with_a_drop_do_not_delay_requests() {
    let (shop, drops, other) = shop_with_orders().await;
    let first = shop.node.seen.batches().len();
    shop.node.submit(cancel(shop.drop_id)).await.unwrap();
    assert!(held(&shop.log, drops[1]) > 0, "everything fitted");
    shop.node.held(hold(other, "k", "ann", 1)).await;
    assert!(
        held(&shop.log, drops[1]) as usize > ORDERS / 4,
        "the other drop had to wait"
    );
    wait_until_idle(&shop.log).await;
    for drop_id in drops {
        assert_eq!(held(&shop.log, drop_id), 0);
    }
    assert_is_chain(&shop.log.snapshot());
    assert_bounded(&shop, first);
}

// The waitlist.

#[tokio::test(start_paused = true)]
async fn restock_serves_a_long_waitlist_in_order() {
    let shop = Shop::open_on(slow(), 0, 600).await;
    let joined = submit_all(&shop.node, MANY, |n| {
        join(shop.drop_id, &format!("w{n}"), &format!("b{n}"), 1)
    });
    joined.await;
    let more = i32::try_from(MANY - 1).unwrap();
    shop.node
        .submit(adjust(shop.drop_id, "more", more))
        .await
        .unwrap();
    let waiting = |log: &MemoryLog| aggregate(&log.snapshot(), shop.drop_id).waitlist().len();
    assert!(waiting(&shop.log) > 1, "everything fitted into one batch");
    assert_eq!(
        refusal(shop.node.submit(shop.hold("direct", 1)).await),
        sold_out(1, 0)
    );
    wait_until_idle(&shop.log).await;
    let drop = aggregate(&shop.log.snapshot(), shop.drop_id);
    assert_eq!((drop.waitlist().len(), drop.stock().available), (1, 0));
    let promised = drop.waitlist().entries().iter().map(|entry| entry.hold_id);
    let placed: Vec<HoldId> = drop.holds().map(|hold| hold.id).collect();
    assert!(placed.iter().copied().eq(promised.take(MANY - 1)));
}

// The limit of an append.

#[tokio::test(start_paused = true)]
async fn too_large_batch_is_rejected_and_never_sent_again() {
    let shop = Shop::open(5, 60).await;
    let before = shop.log.peek();
    shop.log.limit_batches(100);
    let refused = shop.node.submit(shop.hold("k", 1)).await;
    assert!(
        matches!(refused, Err(CommandError::TooLarge)),
        "{refused:?}"
    );
    pass(10_000).await;
    assert_eq!(shop.log.peek(), before);
    shop.log
        .limit_batches(infrastructure::log::MOST_BATCH_BYTES);
    let held = shop.node.submit(shop.hold("k", 1)).await.unwrap();
    assert!(!held.is_replay(), "the rejected request was recorded");
    let drop = aggregate(&shop.log.snapshot(), shop.drop_id);
    assert_eq!(drop.stock().held, 1);
}
