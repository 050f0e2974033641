//! Starts and ends of drops: due work, derived from the state.

use domain::DropEvent;
use domain::terms::{DropTerms, TermsPatch};
use domain::values::{DropId, StockCount, Timestamp};
use engine::{Clock, NewTerms, VirtualClock};
use infrastructure::log::memory::MemoryLog;

use crate::support::build::{decoded, key, new_year, terms};
use crate::support::node::{Node, pass, settle};
use crate::support::request::Request;
use crate::support::shop::Shop;

/// A drop from `starts` to `ends`, in seconds from now.
fn timed(name: &str, clock: VirtualClock, starts: u32, ends: u32) -> Request {
    let now = clock.now();
    Request::ScheduleDrop {
        key: Some(key(name)),
        terms: Box::new(NewTerms {
            terms: DropTerms {
                starts_at: now.plus_seconds(starts),
                ends_at: Some(now.plus_seconds(ends)),
                ..terms(60)
            },
            starts_now: false,
        }),
        total_stock: StockCount::new(9).unwrap(),
    }
}

/// The starts and ends of a drop: `true` for a start, the time that it states, and when it was
/// recorded, in seconds since `from`.
fn facts(log: &MemoryLog, drop_id: DropId, from: Timestamp) -> Vec<(bool, i64, i64)> {
    let events = decoded(&log.snapshot()).into_iter();
    let own = events.filter(|recorded| recorded.drop_id == drop_id);
    let since = |at: Timestamp| (at.millis() - from.millis()) / 1_000;
    own.filter_map(|recorded| {
        let recorded_at = since(recorded.recorded_at);
        if let DropEvent::DropStarted(event) = recorded.event {
            Some((true, since(event.started_at), recorded_at))
        } else if let DropEvent::DropEnded(event) = recorded.event {
            Some((false, since(event.ended_at), recorded_at))
        } else {
            None
        }
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn start_and_end_are_recorded_at_their_time_by_one_of_two_nodes() {
    let shop = Shop::open(9, 60).await;
    let _second = shop.another_node(2).await;
    let from = shop.clock.now();
    let drop_id = shop.node.scheduled(timed("t", shop.clock, 10, 20)).await;
    pass(9_999).await;
    assert_eq!(facts(&shop.log, drop_id, from), []);
    pass(30_000).await;
    let expected = [(true, 10, 10), (false, 20, 20)];
    assert_eq!(facts(&shop.log, drop_id, from), expected);
}

#[tokio::test(start_paused = true)]
async fn start_that_no_engine_saw_is_recorded_by_the_next_with_its_own_time() {
    let shop = Shop::open(9, 60).await;
    let from = shop.clock.now();
    let drop_id = shop.node.scheduled(timed("t", shop.clock, 10, 20)).await;
    let Shop {
        log, clock, node, ..
    } = shop;
    node.crash().await;
    clock.sleep_until(from.plus_seconds(50)).await;
    let _next = Node::start(&log, clock, 2).await;
    settle().await;
    pass(100).await;
    let expected = [(true, 10, 50), (false, 20, 50)];
    assert_eq!(facts(&log, drop_id, from), expected);
}

#[tokio::test(start_paused = true)]
async fn edits_move_the_end_or_begin_a_new_sale() {
    let log = MemoryLog::default();
    let clock = VirtualClock::starting_at(new_year());
    let node = Node::start(&log, clock, 1).await;
    let from = clock.now();
    let drop_id = node.scheduled(timed("t", clock, 10, 20)).await;
    let edit = |patch| Request::RescheduleDrop {
        drop_id,
        expected_version: None,
        patch: Box::new(patch),
    };
    pass(12_000).await;
    let sooner = TermsPatch {
        ends_at: Some(Some(from.plus_seconds(15))),
        ..TermsPatch::default()
    };
    node.submit(edit(sooner)).await.unwrap();
    pass(13_000).await;
    let mut expected = vec![(true, 10, 10), (false, 15, 15)];
    assert_eq!(facts(&log, drop_id, from), expected);
    // Open again: the start is in the batch of the edit.
    let again = TermsPatch {
        ends_at: Some(None),
        ..TermsPatch::default()
    };
    node.submit(edit(again)).await.unwrap();
    expected.push((true, 25, 25));
    assert_eq!(facts(&log, drop_id, from), expected);
    let later = TermsPatch {
        starts_at: Some(from.plus_seconds(40)),
        ..TermsPatch::default()
    };
    node.submit(edit(later)).await.unwrap();
    pass(20_000).await;
    expected.push((true, 40, 40));
    assert_eq!(facts(&log, drop_id, from), expected);
    node.submit(Request::CancelDrop { drop_id }).await.unwrap();
    pass(60_000).await;
    assert_eq!(facts(&log, drop_id, from), expected);
}
