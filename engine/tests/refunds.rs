//! Refunds: units come back once, in spite of crashes and conflicts; on a log in memory and a
//! virtual clock.

use domain::decide::Subject;
use domain::values::{HoldId, PurchaseId};
use domain::{DropEvent, Refusal};
use engine::CommandError;
use infrastructure::log::memory::{Faults, MemoryLog};

use crate::support::build::{aggregate, decoded, join, key, purchase, quantity, reason};
use crate::support::node::Node;
use crate::support::request::{Answer, Request};
use crate::support::shop::{Shop, refusal};

/// A purchase of three units, and its hold.
async fn sold(shop: &Shop) -> (PurchaseId, HoldId) {
    let hold_id = shop.node.held(shop.hold("a", 3)).await;
    shop.node.submit(purchase(hold_id)).await.unwrap();
    let events = decoded(&shop.log.snapshot());
    let Some(DropEvent::PurchaseConfirmed(event)) = events.last().map(|last| &last.event) else {
        panic!("not purchased")
    };
    (event.purchase_id, hold_id)
}

fn refund(
    shop: &Shop,
    (purchase_id, hold_id): (PurchaseId, HoldId),
    key_text: &str,
    units: Option<i64>,
) -> Request {
    Request::RefundPurchase {
        drop_id: shop.drop_id,
        purchase_id,
        hold_id,
        key: Some(key(key_text)),
        quantity: units.map(quantity),
        restock: true,
        reason: reason("returned"),
    }
}

fn kinds(answer: &Answer) -> Vec<&'static str> {
    let events = answer.events().iter();
    events.map(|recorded| recorded.event.event_type()).collect()
}

#[tokio::test(start_paused = true)]
async fn restocked_units_are_offered_in_the_same_batch() {
    let shop = Shop::open(3, 60).await;
    let bought = sold(&shop).await;
    let entry = join(shop.drop_id, "w", "bob", 2);
    shop.node.submit(entry).await.unwrap();
    let answer = shop.node.submit(refund(&shop, bought, "r", None)).await;
    let answer = answer.unwrap();
    assert_eq!(kinds(&answer), ["PurchaseRefunded", "HoldPlaced"]);
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.available, stock.held, stock.sold), (1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn repeated_refund_has_one_effect_on_every_node_and_after_a_restart() {
    let shop = Shop::open(9, 60).await;
    let second = shop.another_node(2).await;
    let bought = sold(&shop).await;
    let request = refund(&shop, bought, "r", Some(2));
    let first = shop.node.submit(request.clone()).await.unwrap();
    let again = second.submit(request.clone()).await.unwrap();
    assert!(again.is_replay());
    assert_eq!(again.subject, first.subject);
    assert!(matches!(first.subject, Subject::Refund(_)));
    let third = Node::start(&shop.log, shop.clock, 3).await;
    let again = third.submit(request).await.unwrap();
    assert_eq!((again.is_replay(), &again.subject), (true, &first.subject));
    let refused = refusal(third.submit(refund(&shop, bought, "s", Some(2))).await);
    assert_eq!(refused, Refusal::NothingToRefund { refundable: 1 });
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.available, stock.sold), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn refund_that_is_rolled_back_is_decided_again() {
    let faults = Faults {
        latency: std::time::Duration::from_millis(20),
        ..Faults::default()
    };
    let shop = Shop::open_on(MemoryLog::with_faults(faults, 7), 9, 60).await;
    let bought = sold(&shop).await;
    let sent = shop.node.begin(refund(&shop, bought, "r", None)).await;
    // Another program appends while the refund is in flight.
    shop.stock_adjusts(1);
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(kinds(&answer), ["PurchaseRefunded"]);
    let again = shop.node.submit(refund(&shop, bought, "r", None)).await;
    assert!(again.unwrap().is_replay());
    let stock = aggregate(&shop.log.snapshot(), shop.drop_id).stock();
    assert_eq!((stock.total, stock.available, stock.sold), (10, 10, 0));
}

#[tokio::test(start_paused = true)]
async fn unknown_purchase_is_refused() {
    let shop = Shop::open(9, 60).await;
    let held = shop.node.held(shop.hold("a", 1)).await;
    let nothing = PurchaseId(uuid::Uuid::from_u128(7));
    let refused = shop.node.submit(refund(&shop, (nothing, held), "r", None));
    assert_eq!(refusal(refused.await), Refusal::PurchaseNotFound);
    let unknown = HoldId(uuid::Uuid::from_u128(8));
    let refused = shop
        .node
        .submit(refund(&shop, (nothing, unknown), "r", None))
        .await;
    assert!(matches!(
        refused,
        Err(CommandError::Refused {
            refusal: Refusal::PurchaseNotFound,
            ..
        })
    ));
}
