//! Scopes of idempotency keys: a buyer's own, and the scope shared by trusted callers.

use crate::support::build::{buyer, hold, key, quantity};
use crate::support::node::{Node, hold_of};
use crate::support::request::{Answer, Request};
use crate::support::shop::{Shop, refusal};
use domain::Refusal;
use domain::command::Pass;
use domain::values::{HoldId, KeyDigest};

/// A key in one buyer's scope, as the API digests it.
fn own(buyer_name: &str, text: &str) -> KeyDigest {
    key(&format!("{buyer_name}/{text}"))
}

/// A request with a buyer's token.
fn by_token(shop: &Shop, text: &str, buyer_name: &str, units: i64) -> Request {
    request(shop, [own(buyer_name, text), key(text)], buyer_name, units)
}

/// A request by a trusted caller.
fn by_shop(shop: &Shop, text: &str, buyer_name: &str, units: i64) -> Request {
    request(shop, [key(text), own(buyer_name, text)], buyer_name, units)
}

fn request(shop: &Shop, keys: [KeyDigest; 2], buyer_name: &str, units: i64) -> Request {
    Request::PlaceHold {
        drop_id: shop.drop_id,
        key: Some(keys[0]),
        other_key: Some(keys[1]),
        buyer_id: buyer(buyer_name),
        display_name: None,
        quantity: quantity(units),
        pass: Pass::default(),
    }
}

async fn placed(node: &Node, request: Request) -> HoldId {
    let answer = node.submit(request).await.unwrap();
    assert!(!answer.is_replay());
    hold_of(&answer)
}

#[track_caller]
fn assert_replayed(answer: &Answer, hold_id: HoldId) {
    assert!(answer.is_replay());
    assert_eq!(hold_of(answer), hold_id);
}

#[tokio::test(start_paused = true)]
async fn key_used_by_a_stranger_is_free_for_a_buyer_with_a_token() {
    let shop = Shop::open(9, 60).await;
    let anns = placed(&shop.node, by_token(&shop, "order-1001", "ann", 1)).await;
    let bobs = placed(&shop.node, by_token(&shop, "order-1001", "bob", 1)).await;
    assert_ne!(anns, bobs);
    for (name, hold_id) in [("ann", anns), ("bob", bobs)] {
        let again = by_token(&shop, "order-1001", name, 1);
        assert_replayed(&shop.node.submit(again).await.unwrap(), hold_id);
        // The shop's back end repeats a request that a browser sent first.
        let again = by_shop(&shop, "order-1001", name, 1);
        assert_replayed(&shop.node.submit(again).await.unwrap(), hold_id);
        for other in [by_token, by_shop].map(|by| by(&shop, "order-1001", name, 2)) {
            let refused = refusal(shop.node.submit(other).await);
            assert_eq!(refused, Refusal::IdempotencyKeyReused, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trusted_key_belongs_to_one_buyer_and_blocks_no_other_buyer() {
    let shop = Shop::open(9, 60).await;
    let anns = placed(&shop.node, by_shop(&shop, "k", "ann", 1)).await;
    let refused = refusal(shop.node.submit(by_shop(&shop, "k", "bob", 1)).await);
    assert_eq!(refused, Refusal::IdempotencyKeyReused);
    let bobs = placed(&shop.node, by_token(&shop, "k", "bob", 1)).await;
    // The browser repeats a request of the back end; and so does the back end, now that the key is
    // Bob's.
    let again = shop
        .node
        .submit(by_token(&shop, "k", "ann", 1))
        .await
        .unwrap();
    assert_replayed(&again, anns);
    let again = shop
        .node
        .submit(by_shop(&shop, "k", "bob", 1))
        .await
        .unwrap();
    assert_replayed(&again, bobs);
}

#[tokio::test(start_paused = true)]
async fn retries_are_recognised_in_a_log_older_than_tokens() {
    let shop = Shop::open(9, 60).await;
    let anns = placed(&shop.node, hold(shop.drop_id, "k", "ann", 1)).await;
    let next = Node::start(&shop.log, shop.clock, 2).await;
    assert_replayed(
        &next.submit(by_token(&shop, "k", "ann", 1)).await.unwrap(),
        anns,
    );
    assert_replayed(
        &next.submit(by_shop(&shop, "k", "ann", 1)).await.unwrap(),
        anns,
    );
    let refused = refusal(next.submit(by_token(&shop, "k", "ann", 2)).await);
    assert_eq!(refused, Refusal::IdempotencyKeyReused);
    placed(&next, by_token(&shop, "k", "bob", 1)).await;
    // A key that was used for a hold cannot be used for a waitlist entry.
    let join = Request::JoinWaitlist {
        drop_id: shop.drop_id,
        key: Some(own("ann", "k")),
        other_key: Some(key("k")),
        buyer_id: buyer("ann"),
        display_name: None,
        quantity: quantity(1),
        pass: Pass::default(),
    };
    let refused = refusal(next.submit(join).await);
    assert_eq!(refused, Refusal::IdempotencyKeyReused);
}
