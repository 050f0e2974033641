//! A log whose synchronous standby is unreachable: commits are visible, and a failover would lose
//! them. On a log in memory.

use domain::values::Position;
use engine::{CommandError, EngineConfig, Health};
use infrastructure::log::EventLog;

use crate::support::node::{Node, pass};
use crate::support::shop::{Shop, refusal, sold_out};

/// Longer than the engine's timeout.
const LONG: u64 = 20_000;

#[tokio::test(start_paused = true)]
async fn batch_found_in_the_log_gets_a_response_once_replicated() {
    let shop = Shop::open(9, 60).await;
    shop.log.detach_standby();
    let first = shop.node.submit(shop.hold("k", 1)).await;
    assert_eq!(first.unwrap_err(), CommandError::Undecided);
    assert_eq!(
        shop.kinds(),
        ["DropScheduled", "HoldPlaced"],
        "the batch is visible"
    );
    let again = shop.node.submit(shop.hold("k", 1)).await;
    assert_eq!(again.unwrap_err(), CommandError::Unavailable);
    assert_eq!(shop.node.feed.head().position, Position(2), "it was shown");

    shop.log.attach_standby();
    pass(2_000).await;
    assert_eq!(shop.node.handle.health(), Health::Live);
    assert!(
        shop.node
            .submit(shop.hold("k", 1))
            .await
            .unwrap()
            .is_replay()
    );
    shop.log.fail_over();
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
}

#[tokio::test(start_paused = true)]
async fn start_waits_until_the_log_is_replicated() {
    let shop = Shop::open(9, 60).await;
    shop.log.detach_standby();
    let lost = shop.node.submit(shop.hold("k", 1)).await;
    assert_eq!(lost.unwrap_err(), CommandError::Undecided);
    let (log, clock) = (shop.log.clone(), shop.clock);
    let starting =
        tokio::spawn(async move { Node::load(&log, clock, 2, EngineConfig::default()).await });
    pass(LONG).await;
    assert!(!starting.is_finished(), "the start ended early");
    shop.log.attach_standby();
    let node = starting.await.unwrap().unwrap();
    assert!(node.submit(shop.hold("k", 1)).await.unwrap().is_replay());
    shop.log.fail_over();
    assert_eq!(shop.kinds(), ["DropScheduled", "HoldPlaced"]);
}

/// Another node on the log of `shop`, which follows an event that is not replicated.
async fn follower_of(shop: &Shop) -> Node {
    let other = Node::start(&shop.log, shop.clock, 2).await;
    shop.log.detach_standby();
    let cut_short = shop.node.submit(shop.hold("k", 9)).await;
    assert_eq!(cut_short.unwrap_err(), CommandError::Undecided);
    other
}

#[tokio::test(start_paused = true)]
async fn events_of_other_nodes_are_not_used_before_replication() {
    let shop = Shop::open(9, 60).await;
    let other = follower_of(&shop).await;
    pass(1_000).await;
    assert_eq!(other.feed.head().position, Position(2));
    assert!(matches!(other.handle.health(), Health::Away { .. }));
    let replay = other.submit(shop.hold("k", 9)).await;
    assert_eq!(replay.unwrap_err(), CommandError::Unavailable);

    shop.log.attach_standby();
    pass(2_000).await;
    assert_eq!(other.feed.head(), shop.log.peek());
    assert!(other.submit(shop.hold("k", 9)).await.unwrap().is_replay());
    assert_eq!(
        refusal(other.submit(shop.hold("l", 1)).await),
        sold_out(1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn replay_or_refusal_in_turn_waits_for_replication() {
    for (key, quantity) in [("k", 9), ("another", 1)] {
        let shop = Shop::open(9, 60).await;
        let other = Node::start(&shop.log, shop.clock, 2).await;
        // After the conflict, the other node takes turns.
        let turn = shop.log.take_turn().await.unwrap();
        let raced = other.begin(shop.hold("raced", 1)).await;
        shop.stock_adjusts(1);
        drop(turn);
        raced.await.unwrap().unwrap();
        shop.log.detach_standby();
        let cut_short = shop.node.begin(shop.hold("k", 9)).await;
        let sent = other.submit(shop.hold(key, quantity)).await.unwrap_err();
        assert_eq!(sent, CommandError::Unavailable, "{key}");
        shop.log.attach_standby();
        cut_short.await.unwrap().unwrap();
        pass(2_000).await;
        match other.submit(shop.hold(key, quantity)).await {
            Ok(answer) => assert!(answer.is_replay()),
            refused => assert_eq!(refusal(refused), sold_out(1, 0)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn own_append_releases_events_that_were_followed_before_it() {
    let shop = Shop::open(9, 60).await;
    let other = Node::start(&shop.log, shop.clock, 2).await;
    // Both decide on the same head; the one with the conflict follows, and appends in turn.
    let (first, second) = tokio::join!(
        shop.node.submit(shop.hold("k", 1)),
        other.submit(shop.hold("l", 1))
    );
    first.unwrap();
    second.unwrap();
    pass(1_000).await;
    for node in [&shop.node, &other] {
        assert_eq!(node.feed.head(), shop.log.peek());
        let seen = node.seen.batches();
        let positions: Vec<u64> = seen
            .iter()
            .flat_map(|batch| batch.events.iter().map(|event| event.position.0))
            .collect();
        assert_eq!(positions, [1, 2, 3, 4], "in order, each once");
    }
}
