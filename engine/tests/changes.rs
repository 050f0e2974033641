//! Changes of holds in place: deadlines follow an extension, and units a change; on a log in memory
//! and a virtual clock.

use domain::drop::HoldStatus;
use domain::values::{HoldId, MaxHoldSeconds, Timestamp};
use domain::{DropEvent, Refusal};
use engine::Clock;
use infrastructure::log::memory::{Faults, MemoryLog};

use crate::support::build::{
    LONGEST_HOLD, aggregate, assert_is_chain, decoded, hold, join, purchase, quantity,
};
use crate::support::node::{Node, pass, settle};
use crate::support::request::Request;
use crate::support::shop::{Shop, refusal, sold_out};

fn extend(hold_id: HoldId, seconds: u32) -> Request {
    let seconds = MaxHoldSeconds::new(seconds.into()).unwrap();
    Request::ExtendHold { hold_id, seconds }
}

fn change(hold_id: HoldId, units: i64) -> Request {
    let quantity = quantity(units);
    Request::ChangeHold { hold_id, quantity }
}

/// The recorded expiries: each hold with the time of recording, in milliseconds after `from`.
fn expiries(log: &MemoryLog, from: Timestamp) -> Vec<(HoldId, i64)> {
    let events = decoded(&log.snapshot()).into_iter();
    let expired = events.filter_map(|recorded| match &recorded.event {
        DropEvent::HoldExpired(event) => {
            let at = recorded.recorded_at.millis() - from.millis();
            Some((event.hold_id, at))
        }
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => None,
    });
    expired.collect()
}

#[track_caller]
fn assert_expired(log: &MemoryLog, from: Timestamp, expected: &[(HoldId, i64)]) {
    let found = expiries(log, from);
    let holds: Vec<HoldId> = found.iter().map(|(hold_id, _)| *hold_id).collect();
    let order: Vec<HoldId> = expected.iter().map(|(hold_id, _)| *hold_id).collect();
    assert_eq!(holds, order, "{found:?}");
    for ((hold_id, at), (_, due)) in found.iter().zip(expected) {
        let late = at - due;
        assert!((0..10).contains(&late), "{hold_id} expired {late} ms late");
    }
    assert_is_chain(&log.snapshot());
}

#[tokio::test(start_paused = true)]
async fn extended_hold_expires_at_its_new_deadline_and_the_others_at_theirs() {
    let shop = Shop::open(9, 2).await;
    let start = shop.clock.now();
    let mut holds = vec![];
    for key in ["a", "b", "c"] {
        holds.push(shop.node.held(shop.hold(key, 1)).await);
    }
    let placed = aggregate(&shop.log.snapshot(), shop.drop_id);
    let due = |hold_id: HoldId| placed.hold(hold_id).unwrap().expires_at.millis() - start.millis();
    let [first, second, third] = holds[..] else {
        unreachable!()
    };
    // The first in line is extended to a time after all others, the second to one just after.
    let extended = shop.node.submit(extend(first, 5)).await.unwrap().at;
    let until = extended.millis() + 5_000 - start.millis();
    let again = shop.node.submit(extend(second, 3)).await.unwrap().at;
    let between = again.millis() + 3_000 - start.millis();
    pass(10_000).await;
    let expected = [(third, due(third)), (second, between), (first, until)];
    assert_expired(&shop.log, start, &expected);
}

#[tokio::test(start_paused = true)]
async fn extension_outlives_a_crash_and_is_known_to_another_node() {
    let shop = Shop::open(9, 2).await;
    let start = shop.clock.now();
    let second = shop.another_node(2).await;
    let kept = shop.node.held(shop.hold("a", 1)).await;
    let other = shop.node.held(shop.hold("b", 1)).await;
    let placed = aggregate(&shop.log.snapshot(), shop.drop_id);
    let due = placed.hold(other).unwrap().expires_at.millis() - start.millis();
    let at = second.submit(extend(kept, 6)).await.unwrap().at;
    let until = at.millis() + 6_000 - start.millis();
    let Shop {
        log, clock, node, ..
    } = shop;
    node.crash().await;
    second.crash().await;
    let _next = Node::start(&log, clock, 3).await;
    pass(9_000).await;
    assert_expired(&log, start, &[(other, due), (kept, until)]);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_record_one_expiry_of_an_extended_hold() {
    let shop = Shop::open(9, 2).await;
    let start = shop.clock.now();
    let _second = shop.another_node(2).await;
    let held = shop.node.held(shop.hold("a", 1)).await;
    let at = shop.node.submit(extend(held, 4)).await.unwrap().at;
    let until = at.millis() + 4_000 - start.millis();
    pass(8_000).await;
    let found = expiries(&shop.log, start);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        (until..until + 200).contains(&found[0].1),
        "{found:?} {until}"
    );
}

/// A log on which appends take so long that a stock program can append in between.
fn slow() -> MemoryLog {
    let latency = std::time::Duration::from_millis(20);
    let faults = Faults {
        latency,
        ..Faults::default()
    };
    MemoryLog::with_faults(faults, 7)
}

#[tokio::test(start_paused = true)]
async fn extension_that_is_rolled_back_is_decided_again() {
    let shop = Shop::open_on(slow(), 9, 2).await;
    let start = shop.clock.now();
    let held = shop.node.held(shop.hold("a", 1)).await;
    let other = shop.node.held(shop.hold("b", 1)).await;
    let placed = aggregate(&shop.log.snapshot(), shop.drop_id);
    let due = placed.hold(other).unwrap().expires_at.millis() - start.millis();
    let sent = shop.node.begin(extend(held, 5)).await;
    shop.stock_adjusts(1);
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.events().len(), 1);
    pass(10_000).await;
    let stored = aggregate(&shop.log.snapshot(), shop.drop_id);
    let until = stored.hold(held).unwrap().expires_at.millis() - start.millis();
    assert!(until > due);
    let found = expiries(&shop.log, start);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].0, found[1].0), (other, held));
    assert!(found[0].1 < until && found[1].1 >= until, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn extension_that_a_cancellation_overtakes_is_refused() {
    let shop = Shop::open_on(slow(), 9, 2).await;
    let held = shop.node.held(shop.hold("a", 1)).await;
    let sent = shop.node.begin(extend(held, 5)).await;
    shop.stock_cancels();
    let refused = refusal(sent.await.unwrap());
    assert!(
        matches!(refused, Refusal::HoldReleased { .. }),
        "{refused:?}"
    );
    pass(10_000).await;
    let stored = aggregate(&shop.log.snapshot(), shop.drop_id);
    assert_eq!(stored.hold(held).unwrap().status, HoldStatus::Released);
    assert_eq!(stored.stock().held, 0);
}

#[tokio::test(start_paused = true)]
async fn hold_is_extended_to_the_limit_and_refused_when_over() {
    let shop = Shop::open(9, 2).await;
    let held = shop.node.held(shop.hold("a", 1)).await;
    let placed = aggregate(&shop.log.snapshot(), shop.drop_id);
    let placed_at = placed.hold(held).unwrap().placed_at;
    let expires_at_max = placed_at.plus_seconds(LONGEST_HOLD);
    let refused = refusal(shop.node.submit(extend(held, LONGEST_HOLD + 1)).await);
    assert_eq!(refused, Refusal::ExtensionLimit { expires_at_max });
    let expired_at = placed_at.plus_seconds(2);
    let left = expired_at.millis() - shop.clock.now().millis();
    pass(left.unsigned_abs()).await;
    let expired = Refusal::HoldExpired { expired_at };
    // The refusal rests on a recorded expiry.
    assert_eq!(refusal(shop.node.submit(extend(held, 3)).await), expired);
    assert_eq!(shop.kinds().last().unwrap(), "HoldExpired");
    assert_eq!(refusal(shop.node.submit(change(held, 2)).await), expired);
}

#[tokio::test(start_paused = true)]
async fn units_returned_are_offered_in_the_same_batch() {
    let shop = Shop::open(3, 600).await;
    let held = shop.node.held(shop.hold("a", 3)).await;
    let entry = join(shop.drop_id, "w", "bob", 2);
    shop.node.submit(entry).await.unwrap();
    let answer = shop.node.submit(change(held, 1)).await.unwrap();
    let kinds: Vec<&str> = answer
        .events()
        .iter()
        .map(|recorded| recorded.event.event_type())
        .collect();
    assert_eq!(kinds, ["HoldChanged", "HoldPlaced"]);
    let refused = refusal(shop.node.submit(change(held, 2)).await);
    assert_eq!(refused, sold_out(1, 0));
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.available, stock.held), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn expired_units_are_added_to_a_hold_without_waiting_for_their_turn() {
    let shop = Shop::open(3, 600).await;
    let lasting = shop.node.held(shop.hold("a", 1)).await;
    let brief = domain::terms::TermsPatch {
        hold_seconds: Some(domain::values::HoldSeconds::new(1).unwrap()),
        ..domain::terms::TermsPatch::default()
    };
    let edit = Request::RescheduleDrop {
        drop_id: shop.drop_id,
        expected_version: None,
        patch: Box::new(brief),
    };
    shop.node.submit(edit).await.unwrap();
    let other = hold(shop.drop_id, "b", "bob", 2);
    shop.node.held(other).await;
    pass(999).await;
    settle().await;
    let answer = shop.node.submit(change(lasting, 3)).await.unwrap();
    assert_eq!(answer.events().len(), 1);
    shop.node.submit(purchase(lasting)).await.unwrap();
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.available, stock.held, stock.sold), (0, 0, 3));
}
