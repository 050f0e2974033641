//! An invalid stream of one drop does not stop the shop: the drop is put into quarantine, and
//! readmitted once the position is declared void.

use std::borrow::Cow;

use domain::command::ConfirmPurchase;
use domain::event::{DropCancelled, HoldExpired, HoldReleased, ReleaseCause};
use domain::incident::{self, LogEvent, PositionVoided};
use domain::values::{DropId, HoldId, Position, Pseudonym, PurchaseId, Sequence};
use domain::{DropCommand, DropEvent};
use engine::{Clock, CommandError, Health};
use infrastructure::codec::encode;
use infrastructure::log::StoredEvent;
use infrastructure::quarantine::Fault;
use uuid::Uuid;

use crate::support::build::{
    aggregate, hold, purchase, reason, schedule, stock_adjust, stock_event, stray_hold,
};
use crate::support::node::{Node, hold_of, pass};
use crate::support::shop::Shop;

/// A shop with two drops, and a hold in the first.
struct TwoDrops {
    shop: Shop,
    other: DropId,
    held: HoldId,
}

impl TwoDrops {
    async fn open() -> Self {
        let shop = Shop::open(9, 3600).await;
        let other = shop.node.scheduled(schedule("other", 9, 3600)).await;
        let held = shop.node.held(shop.hold("first", 2)).await;
        Self { shop, other, held }
    }

    fn next_sequence(&self) -> Sequence {
        aggregate(&self.shop.log.snapshot(), self.shop.drop_id)
            .sequence()
            .next()
    }

    /// The next event of the first drop, changed by `change`.
    fn bad(&self, change: impl FnOnce(&mut StoredEvent)) -> StoredEvent {
        let history = self.shop.log.snapshot();
        let more = aggregate(&history, self.shop.drop_id)
            .decide(&stock_adjust(1, self.shop.clock.now()))
            .unwrap();
        let mut event = stock_event(&history, self.shop.drop_id, &more.events[0]);
        change(&mut event);
        event
    }

    fn bad_event(&self, event: &DropEvent) -> StoredEvent {
        let at = self.shop.clock.now();
        encode(self.shop.drop_id, self.next_sequence(), at, event, None)
    }

    /// Every kind of invalid event that keeps the chain valid.
    fn every_bad_event(&self) -> Vec<(Fault, StoredEvent)> {
        let at = self.shop.clock.now();
        let history = self.shop.log.snapshot();
        let decided = |first: &DropCommand, second: &DropCommand| {
            let mut other = aggregate(&history, self.shop.drop_id);
            let before = other.decide(first).unwrap();
            other.evolve(&before.events[0]);
            let after = other.decide(second).unwrap();
            self.bad_event(&after.events[0])
        };
        let oversold = decided(&stock_adjust(90, at), &stray_hold(1, 2, 90, at));
        let buy = DropCommand::ConfirmPurchase(ConfirmPurchase {
            purchase_id: PurchaseId(Uuid::from_u128(5)),
            hold_id: HoldId(Uuid::from_u128(1)),
            commitment: None,
            is_recorded: false,
            at,
        });
        let bought = decided(&stray_hold(1, 2, 1, at), &buy);
        let first = aggregate(&history, self.shop.drop_id)
            .hold(self.held)
            .unwrap();
        let buyer = aggregate(&history, self.shop.drop_id).buyer_of(&first);
        let too_many = self.bad_event(&DropEvent::HoldReleased(HoldReleased {
            hold_id: self.held,
            buyer,
            quantity: crate::support::build::quantity(7),
            released_at: at,
            cause: ReleaseCause::Buyer,
        }));
        let somebody_else = self.bad_event(&DropEvent::HoldReleased(HoldReleased {
            hold_id: self.held,
            buyer: Pseudonym(Uuid::from_u128(77)),
            quantity: first.quantity,
            released_at: at,
            cause: ReleaseCause::Buyer,
        }));
        let tomorrow = at.plus_seconds(24 * 3600);
        let from_the_future = self.bad_event(&DropEvent::DropCancelled(DropCancelled {
            cancelled_at: tomorrow,
        }));
        let expired_early = self.bad_event(&DropEvent::HoldExpired(HoldExpired {
            hold_id: self.held,
            buyer,
            quantity: first.quantity,
            expired_at: first.expires_at,
        }));
        let change = |change: fn(&mut StoredEvent)| self.bad(change);
        vec![
            (
                Fault::UnknownType,
                change(|event| event.event_type = "DropPainted".into()),
            ),
            (
                Fault::UnknownVersion,
                change(|event| event.event_version = "7.0".into()),
            ),
            (
                Fault::Unreadable,
                change(|event| event.payload = r#"{"StockAdjusted":{"delta":"many"}}"#.to_owned()),
            ),
            (
                Fault::Unreadable,
                change(|event| event.payload = "[]".to_owned()),
            ),
            (
                Fault::Unreadable,
                change(|event| event.private = Some("7".to_owned())),
            ),
            (
                Fault::WrongSequence,
                change(|event| event.sequence = event.sequence.next()),
            ),
            (
                Fault::WrongSequence,
                change(|event| event.sequence = Sequence(0)),
            ),
            (Fault::Contradiction, oversold),
            (Fault::Contradiction, bought),
            (Fault::Contradiction, too_many),
            (Fault::Contradiction, somebody_else),
            (Fault::Contradiction, from_the_future),
            (Fault::Contradiction, expired_early),
        ]
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
        let drop_id = self.shop.drop_id;
        let refused = Err(CommandError::Quarantined { drop_id, position });
        let key = Uuid::new_v4().to_string();
        let held = node.submit(hold(drop_id, &key, "ann", 1)).await.map(drop);
        assert_eq!(held, refused);
        let bought = node.submit(purchase(self.held)).await.map(drop);
        assert_eq!(bought, refused);
        let again = node.submit(schedule("drop", 9, 3600)).await.map(drop);
        assert_eq!(again, refused, "its key is quarantined too");
        assert_eq!(node.handle.health(), Health::Live);
        node.submit(hold(self.other, &key, "ann", 1)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_event_quarantines_its_drop_and_nothing_else() {
    let count = TwoDrops::open().await.every_bad_event().len();
    for number in 0..count {
        let street = TwoDrops::open().await;
        let second = street.shop.another_node(2).await;
        let (fault, event) = street.every_bad_event().swap_remove(number);
        street.shop.log.append_stock(event);
        let position = street.shop.log.peek().position;
        pass(200).await;
        for node in [&street.shop.node, &second] {
            street.is_quarantined(node, position).await;
            let reported: Vec<_> = node
                .seen
                .batches()
                .iter()
                .flat_map(|batch| batch.quarantined.clone())
                .map(|refused| (refused.position, refused.fault))
                .collect();
            assert_eq!(reported, [(position, fault)]);
        }
        // The same at a start.
        let third = street.shop.another_node(3).await;
        street.is_quarantined(&third, position).await;

        street.void(position);
        pass(200).await;
        let fourth = street.shop.another_node(4).await;
        let nodes = [&street.shop.node, &second, &third, &fourth];
        for (node, key) in nodes.into_iter().zip(["a", "b", "c", "d"]) {
            let placed = node.submit(street.shop.hold(key, 1)).await.unwrap();
            node.submit(purchase(hold_of(&placed))).await.unwrap();
        }
        second.submit(purchase(street.held)).await.unwrap();
        third.submit(street.shop.hold("e", 4)).await.unwrap_err();
        third.submit(street.shop.hold("f", 3)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_quarantined_drop_are_applied_after_readmission() {
    let street = TwoDrops::open().await;
    let bad = street.bad(|event| event.event_version = "7.0".into());
    let sequence = bad.sequence;
    street.shop.log.append_stock(bad);
    let position = street.shop.log.peek().position;
    pass(200).await;
    // A newer program continues the drop.
    let history: Vec<StoredEvent> = street.shop.log.snapshot();
    let readable = &history[..history.len() - 1];
    let at = street.shop.clock.now();
    let stray = aggregate(readable, street.shop.drop_id)
        .decide(&stray_hold(1, 2, 3, at))
        .unwrap();
    let mut stored = stock_event(readable, street.shop.drop_id, &stray.events[0]);
    stored.sequence = sequence.next();
    street.shop.log.append_stock(stored);
    pass(200).await;
    let node = &street.shop.node;
    let refused = node.submit(purchase(HoldId(Uuid::from_u128(1)))).await;
    assert!(
        matches!(refused, Err(CommandError::Quarantined { .. })),
        "{refused:?}"
    );
    street.void(position);
    pass(200).await;
    node.submit(purchase(HoldId(Uuid::from_u128(1))))
        .await
        .unwrap();
    let left = node.submit(street.shop.hold("k", 5)).await;
    assert!(left.is_err(), "9 - 2 - 3 = 4: {left:?}");
    node.submit(street.shop.hold("k", 4)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn holds_of_a_quarantined_drop_expire_only_after_readmission() {
    let street = TwoDrops::open().await;
    let bad = street.bad(|event| event.event_type = "DropPainted".into());
    street.shop.log.append_stock(bad);
    let position = street.shop.log.peek().position;
    pass(200).await;
    let before = street.shop.log.peek();
    pass(2 * 3_600_000).await;
    assert_eq!(street.shop.log.peek(), before, "no due work");
    street.void(position);
    pass(1_000).await;
    let kinds = street.shop.kinds();
    assert_eq!(kinds.last().map(String::as_str), Some("HoldExpired"));
}

#[tokio::test(start_paused = true)]
async fn second_invalid_event_keeps_its_drop_in_quarantine() {
    let street = TwoDrops::open().await;
    let painted = street.bad(|event| event.event_type = "DropPainted".into());
    let renamed = street.bad(|event| {
        event.event_type = "DropRenamed".into();
        event.sequence = event.sequence.next();
    });
    for bad in [painted, renamed] {
        street.shop.log.append_stock(bad);
    }
    let last = street.shop.log.peek().position;
    let first = Position(last.0 - 1);
    pass(200).await;
    street.is_quarantined(&street.shop.node, first).await;
    street.void(first);
    pass(200).await;
    street.is_quarantined(&street.shop.node, last).await;
    street.void(last);
    pass(200).await;
    street
        .shop
        .node
        .submit(street.shop.hold("k", 1))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn applied_event_is_undone_on_every_node_when_declared_void() {
    let street = TwoDrops::open().await;
    let second = street.shop.another_node(2).await;
    let sold_out = street.shop.hold("all", 7);
    street.shop.node.submit(sold_out.clone()).await.unwrap();
    let position = street.shop.log.peek().position;
    pass(200).await;
    street.void(position);
    pass(200).await;
    let third = street.shop.another_node(3).await;
    let free = [(&street.shop.node, 3), (&second, 3), (&third, 1)];
    for ((node, units), key) in free.into_iter().zip(["a", "b", "c"]) {
        node.submit(street.shop.hold(key, units)).await.unwrap();
    }
    third.submit(street.shop.hold("d", 1)).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn event_of_a_stream_without_a_drop_stops_nothing() {
    let street = TwoDrops::open().await;
    let bad = street.bad(|event| event.aggregate_id = "no uuid".to_owned());
    street.shop.log.append_stock(bad);
    pass(200).await;
    street
        .shop
        .node
        .submit(street.shop.hold("k", 1))
        .await
        .unwrap();
    let second = street.shop.another_node(2).await;
    second.submit(street.shop.hold("k2", 1)).await.unwrap();
}
