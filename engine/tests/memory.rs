//! Recognition by the engine: buyers, retries and holds, on a log in memory and a virtual clock.

use domain::private::Private;
use domain::values::{DropId, HoldId, Pseudonym, Timestamp};
use domain::{DropEvent, Refusal};
use engine::{Clock, VirtualClock};
use infrastructure::codec::encode;
use infrastructure::log::EventLog;
use infrastructure::log::memory::MemoryLog;
use uuid::Uuid;

use crate::support::build::{
    adjust, assert_is_chain, decoded, hold, hold_as, kinds, new_year, purchase, release, schedule,
    stock_program, stock_schedule, stray_hold,
};
use crate::support::node::{Node, hold_of, pass};
use crate::support::shop::{Shop, refusal};

// Buyers.

/// A buyer's introduction: their id and display name.
type Introduction = Option<(String, Option<String>)>;

/// The buyer of each hold in the log, and their introduction.
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
async fn buyer_is_introduced_once_regardless_of_id_case() {
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
async fn buyer_has_another_pseudonym_in_another_drop() {
    let shop = Shop::open(9, 60).await;
    let other = shop.node.scheduled(schedule("other", 9, 60)).await;
    shop.node.held(hold(shop.drop_id, "1", "ann", 1)).await;
    shop.node.held(hold(other, "1", "ann", 1)).await;
    let found = placed(&shop.log);
    assert_ne!(found[0].0, found[1].0);
    assert_eq!(found[1].1, introduced("ann", None));
}

#[tokio::test(start_paused = true)]
async fn new_display_name_is_recorded_under_the_same_pseudonym() {
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
async fn refused_new_buyer_leaves_no_trace() {
    let shop = Shop::open(1, 60).await;
    refusal(shop.node.submit(hold(shop.drop_id, "1", "ann", 2)).await);
    assert_eq!(shop.kinds(), ["DropScheduled"]);
    shop.node.held(hold(shop.drop_id, "2", "ann", 1)).await;
    assert_eq!(placed(&shop.log)[0].1, introduced("ann", None));
}

#[tokio::test(start_paused = true)]
async fn new_buyer_of_a_failed_batch_is_introduced_again() {
    let shop = Shop::open(1, 60).await;
    let turn = shop.log.take_turn().await.unwrap();
    let sent = [
        shop.node.begin(hold(shop.drop_id, "1", "ann", 1)).await,
        shop.node.begin(hold(shop.drop_id, "2", "ann", 1)).await,
    ];
    shop.stock_adjusts(1);
    drop(turn);
    for task in sent {
        task.await.unwrap().unwrap();
    }
    let found = placed(&shop.log);
    assert_eq!(found[0].1, introduced("ann", None));
    assert_eq!(found[1], (found[0].0, None));
}

#[tokio::test(start_paused = true)]
async fn buyers_are_recognised_after_a_restart_and_on_another_node() {
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
async fn erased_buyer_is_unknown_after_a_restart() {
    let shop = Shop::open(9, 60).await;
    shop.node.held(hold(shop.drop_id, "1", "ann", 1)).await;
    shop.log.tamper(|events| events[2].private = None);
    let next = shop.another_node(2).await;
    next.held(hold(shop.drop_id, "2", "ann", 1)).await;
    let events = shop.log.snapshot();
    assert_is_chain(&events);
    let (first, second) = match &decoded(&events)[2..] {
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
async fn retries_are_recognised_after_a_restart_and_on_another_node() {
    let shop = Shop::open(9, 600).await;
    let held = shop.node.submit(shop.hold("hold", 2)).await.unwrap();
    let adjusted = shop.node.submit(adjust(shop.drop_id, "adjust", 3)).await;
    let bought = shop.node.submit(purchase(hold_of(&held))).await.unwrap();
    let before = shop.log.snapshot();
    pass(5_000).await;
    for node in [shop.another_node(2).await, shop.another_node(3).await] {
        let drop = node.submit(schedule("drop", 9, 600)).await.unwrap();
        assert!(drop.is_replay() && drop.drop_id == shop.drop_id);
        let again = node.submit(shop.hold("hold", 2)).await.unwrap();
        assert!(again.is_replay() && again.subject == held.subject);
        let same = node
            .submit(adjust(shop.drop_id, "adjust", 3))
            .await
            .unwrap();
        assert!(same.is_replay());
        assert_eq!(same.subject, adjusted.as_ref().unwrap().subject);
        let paid = node.submit(purchase(hold_of(&held))).await.unwrap();
        assert!(paid.is_replay() && paid.subject == bought.subject);
    }
    assert_eq!(shop.log.snapshot(), before, "something was recorded twice");
}

#[tokio::test(start_paused = true)]
async fn key_used_for_another_operation_is_refused() {
    let shop = Shop::open(9, 600).await;
    shop.node.held(shop.hold("hold", 2)).await;
    let node = shop.another_node(2).await;
    for other in [
        schedule("drop", 10, 600),
        shop.hold("hold", 3),
        hold(shop.drop_id, "hold", "another buyer", 2),
        adjust(shop.drop_id, "hold", 1),
    ] {
        assert_eq!(
            refusal(node.submit(other).await),
            Refusal::IdempotencyKeyReused
        );
    }
    assert_eq!(shop.log.snapshot().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn same_key_in_one_batch_is_one_hold() {
    let shop = Shop::open(9, 600).await;
    let both = futures::future::join(
        shop.node.submit(shop.hold("k", 2)),
        shop.node.submit(shop.hold("k", 2)),
    );
    let (one, other) = both.await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.subject, other.subject);
    assert!(!one.is_replay() && other.is_replay());
    assert!(other.position() >= one.position());
    assert_eq!(shop.log.snapshot().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn retry_returns_the_first_drop_scheduled_with_its_key() {
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
        let again = node.submit(schedule("drop", 9, 600)).await.unwrap();
        assert!(again.is_replay() && again.drop_id == shop.drop_id);
    }
}

// Finding holds.

#[tokio::test(start_paused = true)]
async fn hold_is_found_by_its_id_after_a_restart() {
    let shop = Shop::open(9, 600).await;
    let paid = shop.node.held(shop.hold("paid", 1)).await;
    let given_up = shop.node.held(shop.hold("given-up", 1)).await;
    let node = shop.another_node(2).await;
    node.submit(purchase(paid)).await.unwrap();
    node.submit(release(given_up)).await.unwrap();
    let unknown = HoldId::for_drop(shop.drop_id, Uuid::from_u128(1));
    assert_eq!(
        refusal(node.submit(purchase(unknown)).await),
        Refusal::HoldNotFound
    );
}

#[tokio::test(start_paused = true)]
async fn hold_with_a_stock_programs_id_is_found_and_expires() {
    let log = MemoryLog::default();
    let clock = VirtualClock::starting_at(new_year());
    let node = Node::start(&log, clock, 1).await;
    let drop_id = DropId(Uuid::from_u128(0xD << 120));
    stock_program(&log, drop_id, &stock_schedule(9, 60, clock.now()));
    for stray in 1..=3 {
        stock_program(&log, drop_id, &stray_hold(stray, 77, 1, clock.now()));
    }
    let stray = |n| HoldId(Uuid::from_u128(n));
    node.submit(purchase(stray(1))).await.unwrap();
    let next = Node::start(&log, clock, 2).await;
    next.submit(release(stray(2))).await.unwrap();
    pass(61_000).await;
    assert_eq!(
        kinds(&log.snapshot())[4..],
        ["PurchaseConfirmed", "HoldReleased", "HoldExpired"]
    );
}

#[tokio::test(start_paused = true)]
async fn drops_with_the_same_prefix_keep_their_holds_apart() {
    let log = MemoryLog::default();
    let clock = VirtualClock::starting_at(new_year());
    let node = Node::start(&log, clock, 1).await;
    let drops = [1, 2].map(|n| DropId(Uuid::from_u128((0xD << 120) + n)));
    for drop_id in drops {
        stock_program(&log, drop_id, &stock_schedule(9, 60, clock.now()));
    }
    for drop_id in drops {
        let held = node.held(hold(drop_id, "k", "ann", 1)).await;
        assert_eq!(node.submit(purchase(held)).await.unwrap().drop_id, drop_id);
    }
}
