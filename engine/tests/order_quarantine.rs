//! An order whose stream cannot be applied is put into quarantine alone, and leaves it as a drop
//! does: once the position is declared void, or the personal data that was unreadable is erased.

use std::borrow::Cow;

use domain::incident::{self, LogEvent, PositionVoided};
use domain::order::{FulfilmentStep, OrderEvent, OrderFulfilled};
use domain::values::{DropId, OrderId, Position, Sequence};
use engine::{
    CancelOrder, Clock as _, CommandError, FulfilOrder, OrderedItem, PlaceOrder, PurchaseOrder,
};
use infrastructure::codec::encode_order;
use infrastructure::log::StoredEvent;
use infrastructure::quarantine::Fault;

use crate::support::build::{buyer, key, quantity, reason, schedule};
use crate::support::node::{Node, pass};
use crate::support::shop::Shop;

/// A shop with one drop of nine units and holds of 60 seconds, and an order of two units.
struct Mall {
    shop: Shop,
    order_id: OrderId,
}

impl Mall {
    async fn open() -> Self {
        let shop = Shop::open(9, 60).await;
        let order_id = place(&shop.node, shop.drop_id, "o").await.unwrap();
        Self { shop, order_id }
    }

    /// An event that the order cannot have, or that cannot be decoded.
    fn bad(&self, sequence: u64, change: impl FnOnce(&mut StoredEvent)) -> StoredEvent {
        let event = OrderEvent::OrderFulfilled(OrderFulfilled {
            fulfilment: FulfilmentStep::Shipped,
            fulfilled_at: self.shop.clock.now(),
            commitment: None,
        });
        let at = self.shop.clock.now();
        let mut stored = encode_order(self.order_id, Sequence(sequence), at, &event, None);
        change(&mut stored);
        stored
    }

    fn append(&self, event: StoredEvent) -> Position {
        self.shop.log.append_stock(event);
        self.shop.log.peek().position
    }

    /// Declares a position void, as an operator.
    fn void(&self, position: Position) {
        let event = LogEvent::PositionVoided(PositionVoided {
            position,
            reason: reason("written by a test"),
            voided_at: self.shop.clock.now(),
        });
        let history = self.shop.log.snapshot();
        let before = history
            .iter()
            .filter(|event| event.aggregate_type == incident::AGGREGATE_TYPE);
        self.shop.log.append_stock(StoredEvent {
            aggregate_type: Cow::Borrowed(incident::AGGREGATE_TYPE),
            aggregate_id: incident::STREAM.to_owned(),
            sequence: Sequence(before.count() as u64 + 1),
            event_type: Cow::Borrowed(event.event_type()),
            event_version: Cow::Borrowed(incident::VERSION),
            payload: serde_json::to_string(&event).unwrap(),
            ..history[0].clone()
        });
    }

    async fn is_quarantined(&self, node: &Node, position: Position) {
        let order_id = self.order_id;
        let refused = CommandError::OrderQuarantined { order_id, position };
        assert_eq!(pay(node, order_id).await, Err(refused.clone()));
        let again = place(node, self.shop.drop_id, "o").await;
        assert_eq!(again, Err(refused), "its key is quarantined too");
    }
}

async fn place(node: &Node, drop_id: DropId, name: &str) -> Result<OrderId, CommandError> {
    let request = PlaceOrder {
        key: Some(key(name)),
        other_key: None,
        buyer_id: buyer("ann"),
        is_from_token: false,
        display_name: None,
        items: [OrderedItem {
            drop_id,
            quantity: quantity(2),
        }]
        .into(),
        codes: vec![],
        sees_hidden: false,
        solved: None,
    };
    node.handle
        .place_order(request)
        .await
        .map(|made| made.subject)
}

async fn pay(node: &Node, order_id: OrderId) -> Result<(), CommandError> {
    let request = PurchaseOrder {
        order_id,
        payment_reference: None,
    };
    node.handle.purchase_order(request).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn order_leaves_quarantine_on_every_node_when_the_position_is_void() {
    type Change = fn(&mut StoredEvent);
    let faults: [(Fault, Change); 5] = [
        (Fault::Contradiction, |_| {}),
        (Fault::UnknownType, |event| {
            event.event_type = "OrderPainted".into();
        }),
        (Fault::UnknownVersion, |event| {
            event.event_version = "7.0".into();
        }),
        (Fault::Unreadable, |event| {
            event.payload = r#"{"OrderFulfilled":7}"#.to_owned();
        }),
        (Fault::WrongSequence, |event| event.sequence = Sequence(9)),
    ];
    for (fault, change) in faults {
        let mall = Mall::open().await;
        let second = mall.shop.another_node(2).await;
        let position = mall.append(mall.bad(2, change));
        pass(200).await;
        let third = mall.shop.another_node(3).await;
        for node in [&mall.shop.node, &second, &third] {
            mall.is_quarantined(node, position).await;
            let batches = node.seen.batches();
            let mut reported = batches.iter().flat_map(|batch| &batch.quarantined);
            assert_eq!(reported.next().map(|refused| refused.fault), Some(fault));
        }
        mall.void(position);
        pass(200).await;
        let fourth = mall.shop.another_node(4).await;
        pay(&second, mall.order_id).await.unwrap();
        pass(200).await;
        for node in [&mall.shop.node, &third, &fourth] {
            let request = CancelOrder {
                order_id: mall.order_id,
            };
            let refused = node.handle.cancel_order(request).await;
            let is_paid = matches!(refused, Err(CommandError::Refused { .. }));
            assert!(is_paid, "{fault:?}: {refused:?}");
            let again = place(node, mall.shop.drop_id, "o").await;
            assert_eq!(again, Ok(mall.order_id), "{fault:?}: its key is known");
        }
        let step = FulfilOrder {
            order_id: mall.order_id,
            fulfilment: FulfilmentStep::Shipped,
            tracking: None,
        };
        third.handle.fulfil_order(step).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn second_invalid_event_keeps_its_order_in_quarantine() {
    let mall = Mall::open().await;
    let first = mall.append(mall.bad(2, |_| {}));
    let second = mall.append(mall.bad(3, |event| event.event_version = "7.0".into()));
    pass(200).await;
    mall.is_quarantined(&mall.shop.node, first).await;
    mall.void(first);
    pass(200).await;
    mall.is_quarantined(&mall.shop.node, second).await;
    mall.void(second);
    pass(200).await;
    pay(&mall.shop.node, mall.order_id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn order_whose_holds_expired_in_quarantine_ends_when_it_is_readmitted() {
    let mall = Mall::open().await;
    let position = mall.append(mall.bad(2, |_| {}));
    pass(61_000).await;
    assert_eq!(mall.shop.kinds().last().unwrap(), "HoldExpired");
    mall.void(position);
    pass(1_000).await;
    assert_eq!(mall.shop.kinds().last().unwrap(), "OrderExpired");
    let request = CancelOrder {
        order_id: mall.order_id,
    };
    let refused = mall.shop.node.handle.cancel_order(request).await;
    assert!(matches!(refused, Err(CommandError::Refused { .. })));
}

#[tokio::test(start_paused = true)]
async fn applied_event_of_an_order_is_undone_on_every_node_when_declared_void() {
    let mall = Mall::open().await;
    let second = mall.shop.another_node(2).await;
    pay(&mall.shop.node, mall.order_id).await.unwrap();
    let step = |fulfilment| FulfilOrder {
        order_id: mall.order_id,
        fulfilment,
        tracking: None,
    };
    let shipped = step(FulfilmentStep::Shipped);
    mall.shop.node.handle.fulfil_order(shipped).await.unwrap();
    mall.void(mall.shop.log.peek().position);
    pass(200).await;
    let third = mall.shop.another_node(3).await;
    for node in [&second, &third, &mall.shop.node] {
        let processing = node.handle.fulfil_order(step(FulfilmentStep::Processing));
        processing.await.unwrap();
    }
    let other = mall.shop.node.scheduled(schedule("other", 1, 60)).await;
    assert_ne!(other, mall.shop.drop_id);
}
