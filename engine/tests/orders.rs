//! Orders over several drops: one batch each, on a log in memory and a virtual clock.

use std::time::Duration;

use domain::order::{CancelCause, FulfilmentStep, OrderEvent, OrderStatus};
use domain::values::{
    BuyerId, DropId, HoldId, OrderId, PaymentReference, Position, Sequence, Timestamp, Tracking,
};
use domain::{DropCommand, DropEvent, Refusal};
use engine::{
    Accepted, CancelOrder, Clock, CommandError, EngineConfig, EngineHandle, FulfilOrder,
    OrderedItem, PlaceOrder, PurchaseOrder, VirtualClock,
};
use infrastructure::codec::{decode_order, encode_order};
use infrastructure::log::EventLog;
use infrastructure::log::memory::{Faults, MemoryLog};
use infrastructure::quarantine::Fault;

use crate::support::build::{
    aggregate, assert_is_chain, buyer, decoded, hold, key, kinds, new_year, purchase, quantity,
    release, schedule, stock_program,
};
use crate::support::node::{Node, pass, settle};
use crate::support::request::Request;
use crate::support::shop::{refusal, sold_out};

/// Two drops: lamps with holds of 60 seconds, and chairs with holds of 30.
struct Mall {
    log: MemoryLog,
    clock: VirtualClock,
    node: Node,
    lamp: DropId,
    chair: DropId,
}

impl Mall {
    async fn open() -> Self {
        let (log, clock) = (MemoryLog::default(), VirtualClock::starting_at(new_year()));
        let node = Node::start(&log, clock, 1).await;
        let lamp = node.scheduled(schedule("lamp", 5, 60)).await;
        let chair = node.scheduled(schedule("chair", 3, 30)).await;
        Self {
            log,
            clock,
            node,
            lamp,
            chair,
        }
    }

    /// One lamp and one chair.
    fn both(&self, name: &str) -> PlaceOrder {
        order(name, "ann", &[(self.lamp, 1), (self.chair, 1)])
    }

    async fn ordered(&self, name: &str) -> Accepted<OrderId> {
        self.node.handle.place_order(self.both(name)).await.unwrap()
    }

    /// The types of the events after the two drops.
    fn kinds(&self) -> Vec<String> {
        kinds(&self.log.snapshot()).split_off(2)
    }

    fn units(&self, drop_id: DropId) -> (u32, u32, u32) {
        let stock = aggregate(&self.log.snapshot(), drop_id).stock();
        (stock.available, stock.held, stock.sold)
    }
}

fn order(name: &str, buyer_name: &str, items: &[(DropId, i64)]) -> PlaceOrder {
    let item = |(drop_id, units): &(DropId, i64)| OrderedItem {
        drop_id: *drop_id,
        quantity: quantity(*units),
    };
    PlaceOrder {
        key: Some(key(name)),
        other_key: None,
        buyer_id: buyer(buyer_name),
        is_from_token: false,
        display_name: None,
        items: items.iter().map(item).collect(),
        codes: vec![],
        sees_hidden: false,
        solved: None,
    }
}

async fn pay(
    handle: &EngineHandle,
    order_id: OrderId,
    reference: Option<&str>,
) -> Result<Accepted<OrderId>, CommandError> {
    let request = PurchaseOrder {
        order_id,
        payment_reference: reference.map(|text| PaymentReference::new(text).unwrap()),
    };
    handle.purchase_order(request).await
}

async fn cancel(
    handle: &EngineHandle,
    order_id: OrderId,
) -> Result<Accepted<OrderId>, CommandError> {
    handle.cancel_order(CancelOrder { order_id }).await
}

async fn fulfil(
    handle: &EngineHandle,
    order_id: OrderId,
    fulfilment: FulfilmentStep,
    tracking: Option<&str>,
) -> Result<Accepted<OrderId>, CommandError> {
    let request = FulfilOrder {
        order_id,
        fulfilment,
        tracking: tracking.map(|text| Tracking::new(text).unwrap()),
    };
    handle.fulfil_order(request).await
}

fn of_item(item: u32, refusal: Refusal) -> Refusal {
    Refusal::OfItem {
        item,
        refusal: Box::new(refusal),
    }
}

#[tokio::test(start_paused = true)]
async fn order_and_its_holds_are_one_batch_without_names_in_the_payloads() {
    let mall = Mall::open().await;
    let lines = [(mall.lamp, 1), (mall.chair, 2), (mall.lamp, 2)];
    let accepted = mall.node.handle.place_order(order("o", "ann", &lines));
    let accepted = accepted.await.unwrap();
    assert_eq!(mall.kinds(), ["OrderPlaced", "HoldPlaced", "HoldPlaced"]);
    assert_eq!(accepted.position(), Position(7));
    assert_eq!(
        (accepted.order_events().len(), accepted.events().len()),
        (1, 2)
    );
    let log = mall.log.snapshot();
    assert_is_chain(&log);
    let placed = decode_order(&log[4]).unwrap().unwrap();
    assert_eq!(
        (placed.order_id, placed.sequence),
        (accepted.subject, Sequence(1))
    );
    let OrderEvent::OrderPlaced(event) = &placed.event else {
        panic!("{placed:?}");
    };
    let items: Vec<_> = event
        .items
        .iter()
        .map(|item| (item.drop_id, item.quantity.get()))
        .collect();
    assert_eq!(
        items,
        [(mall.lamp, 3), (mall.chair, 2)],
        "items of one drop are added up"
    );
    assert_eq!(event.expires_at, accepted.at.plus_seconds(30));
    let private = placed.private.as_ref().unwrap();
    assert_eq!(event.commitment, Some(private.commitment()));
    assert_eq!(private.buyer_id, Some(buyer("ann")));
    assert!(log.iter().all(|event| !event.payload.contains("ann")));
    assert_eq!(
        (mall.units(mall.lamp), mall.units(mall.chair)),
        ((2, 3, 0), (1, 2, 0))
    );
    let batches = mall.node.seen.batches();
    let batch = batches.last().unwrap();
    assert_eq!((batch.orders.len(), batch.events.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn refused_item_refuses_the_order_and_records_nothing() {
    let mall = Mall::open().await;
    let too_many = [(mall.lamp, 1), (mall.chair, 2), (mall.chair, 2)];
    let refused = mall.node.handle.place_order(order("o", "ann", &too_many));
    assert_eq!(refusal(refused.await), of_item(1, sold_out(4, 3)));
    let unknown = [(mall.lamp, 9), (DropId(uuid::Uuid::nil()), 1)];
    let refused = mall.node.handle.place_order(order("o", "ann", &unknown));
    assert_eq!(refusal(refused.await), of_item(0, sold_out(9, 5)));
    assert!(mall.kinds().is_empty());
    assert_eq!(mall.units(mall.lamp), (5, 0, 0));
    // The key is still free.
    mall.ordered("o").await;
}

#[tokio::test(start_paused = true)]
async fn retry_returns_the_order_on_every_node_and_after_a_restart() {
    let mall = Mall::open().await;
    let first = mall.ordered("o").await;
    let other = Node::start(&mall.log, mall.clock, 2).await;
    for node in [&mall.node, &other] {
        let again = node.handle.place_order(mall.both("o")).await.unwrap();
        assert!(again.is_replay());
        assert_eq!(again.subject, first.subject);
        let mut renamed = mall.both("o");
        renamed.buyer_id = BuyerId::new(" ANN").unwrap();
        let again = node.handle.place_order(renamed).await.unwrap();
        assert_eq!(again.subject, first.subject);
        for different in [
            order("o", "bob", &[(mall.lamp, 1), (mall.chair, 1)]),
            order("o", "ann", &[(mall.lamp, 1)]),
        ] {
            let refused = node.handle.place_order(different).await;
            assert_eq!(refusal(refused), Refusal::IdempotencyKeyReused);
        }
    }
    pay(&mall.node.handle, first.subject, None).await.unwrap();
    let again = other.handle.place_order(mall.both("o")).await.unwrap();
    assert_eq!(again.subject, first.subject, "also once it is paid");
}

#[tokio::test(start_paused = true)]
async fn retry_is_recognised_by_its_key_in_the_other_scope() {
    let mall = Mall::open().await;
    let first = mall.ordered("o").await;
    let mut again = mall.both("scoped");
    again.other_key = Some(key("o"));
    let again = mall.node.handle.place_order(again).await.unwrap();
    assert_eq!((again.subject, again.is_replay()), (first.subject, true));
}

#[tokio::test(start_paused = true)]
async fn payment_sells_all_items_in_one_batch_and_is_compared_later() {
    let mall = Mall::open().await;
    let order_id = mall.ordered("o").await.subject;
    let paid = pay(&mall.node.handle, order_id, Some("card 1"))
        .await
        .unwrap();
    assert_eq!((paid.order_events().len(), paid.events().len()), (1, 2));
    let all = ["OrderPaid", "PurchaseConfirmed", "PurchaseConfirmed"];
    assert_eq!(mall.kinds()[3..], all);
    assert_eq!(
        (mall.units(mall.lamp), mall.units(mall.chair)),
        ((4, 0, 1), (2, 0, 1))
    );
    let log = mall.log.snapshot();
    for event in &log[7..] {
        assert!(!event.payload.contains("card"));
        assert!(event.private.as_ref().unwrap().contains("card 1"));
    }
    let recorded = decoded(&log[8..]);
    for event in &recorded {
        let private = event.private.as_ref().unwrap();
        assert_eq!(event.event.commitment(), Some(private.commitment()));
    }
    let other = Node::start(&mall.log, mall.clock, 2).await;
    for node in [&mall.node, &other] {
        assert!(
            pay(&node.handle, order_id, Some("card 1"))
                .await
                .unwrap()
                .is_replay()
        );
        assert!(pay(&node.handle, order_id, None).await.unwrap().is_replay());
        let conflict = refusal(pay(&node.handle, order_id, Some("card 2")).await);
        assert_eq!(
            conflict,
            Refusal::OrderReferenceConflict { paid_at: paid.at }
        );
        let refused = refusal(cancel(&node.handle, order_id).await);
        assert_eq!(refused, Refusal::OrderPaid { paid_at: paid.at });
    }
    assert_eq!(mall.log.snapshot().len(), log.len());
}

#[tokio::test(start_paused = true)]
async fn unknown_order_is_refused() {
    let mall = Mall::open().await;
    let handle = &mall.node.handle;
    let unknown = OrderId(uuid::Uuid::from_u128(7));
    assert_eq!(
        refusal(pay(handle, unknown, None).await),
        Refusal::OrderNotFound
    );
    assert_eq!(
        refusal(cancel(handle, unknown).await),
        Refusal::OrderNotFound
    );
    let step = FulfilmentStep::Shipped;
    let refused = fulfil(handle, unknown, step, None).await;
    assert_eq!(refusal(refused), Refusal::OrderNotFound);
}

#[tokio::test(start_paused = true)]
async fn hold_of_an_order_is_not_purchased_or_released_alone() {
    let mall = Mall::open().await;
    let accepted = mall.ordered("o").await;
    let order_id = accepted.subject;
    let holds: Vec<HoldId> = accepted.events().iter().map(hold_in).collect();
    assert_eq!(holds.len(), 2);
    for hold_id in holds {
        for request in [purchase(hold_id), release(hold_id)] {
            let refused = refusal(mall.node.submit(request).await);
            assert_eq!(refused, Refusal::HoldInOrder { order_id });
        }
    }
}

fn hold_in(recorded: &infrastructure::codec::RecordedEvent) -> HoldId {
    let DropEvent::HoldPlaced(event) = &recorded.event else {
        panic!("not a hold: {recorded:?}");
    };
    event.hold_id
}

#[tokio::test(start_paused = true)]
async fn order_expires_with_its_first_hold_in_the_same_batch() {
    let mall = Mall::open().await;
    let accepted = mall.ordered("o").await;
    let over = accepted.at.plus_seconds(30);
    mall.clock.sleep_until(over.plus_millis(-1)).await;
    assert_eq!(mall.kinds().len(), 3);
    mall.clock.sleep_until(over).await;
    settle().await;
    let ends = ["HoldExpired", "OrderExpired", "HoldExpired"];
    assert_eq!(mall.kinds()[3..], ends);
    assert_eq!(
        (mall.units(mall.lamp), mall.units(mall.chair)),
        ((5, 0, 0), (3, 0, 0))
    );
    let expired = Refusal::OrderExpired { expired_at: over };
    let handle = &mall.node.handle;
    assert_eq!(refusal(pay(handle, accepted.subject, None).await), expired);
    assert_eq!(refusal(cancel(handle, accepted.subject).await), expired);
}

#[tokio::test(start_paused = true)]
async fn payment_counts_from_its_arrival_and_a_late_one_ends_the_order_first() {
    let mall = Mall::open().await;
    let accepted = mall.ordered("o").await;
    let over = accepted.at.plus_seconds(30);
    mall.clock.sleep_until(over.plus_millis(-2)).await;
    let turn = mall.log.take_turn().await.unwrap();
    let handle = mall.node.handle.clone();
    let id = accepted.subject;
    let sent = tokio::spawn(async move { pay(&handle, id, None).await });
    pass(2_000).await;
    drop(turn);
    sent.await.unwrap().unwrap();
    assert_eq!(mall.units(mall.chair), (2, 0, 1));

    let late = mall.ordered("late").await;
    let over = late.at.plus_seconds(30);
    let turn = mall.log.take_turn().await.unwrap();
    mall.clock.sleep_until(over).await;
    let handle = mall.node.handle.clone();
    let id = late.subject;
    let sent = tokio::spawn(async move { pay(&handle, id, None).await });
    pass(100).await;
    drop(turn);
    let expired = Refusal::OrderExpired { expired_at: over };
    assert_eq!(refusal(sent.await.unwrap()), expired);
    assert!(
        mall.kinds().contains(&"OrderExpired".to_owned()),
        "the refusal rests on it"
    );
}

#[tokio::test(start_paused = true)]
async fn cancelled_order_frees_its_units_for_the_waitlist_first() {
    let mall = Mall::open().await;
    let order_id = {
        let lines = [(mall.lamp, 1), (mall.chair, 3)];
        let placed = mall.node.handle.place_order(order("o", "ann", &lines));
        placed.await.unwrap().subject
    };
    let join = crate::support::build::join(mall.chair, "w", "bob", 2);
    mall.node.submit(join).await.unwrap();
    cancel(&mall.node.handle, order_id).await.unwrap();
    let ends = [
        "OrderCancelled",
        "HoldReleased",
        "HoldReleased",
        "HoldPlaced",
    ];
    assert_eq!(mall.kinds()[4..], ends);
    assert_eq!(
        (mall.units(mall.lamp), mall.units(mall.chair)),
        ((5, 0, 0), (1, 2, 0))
    );
    assert!(
        cancel(&mall.node.handle, order_id)
            .await
            .unwrap()
            .is_replay()
    );
    let refused = refusal(pay(&mall.node.handle, order_id, None).await);
    assert!(
        matches!(refused, Refusal::OrderCancelled { .. }),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn cancelled_drop_cancels_its_orders_and_frees_their_other_items() {
    let mall = Mall::open().await;
    mall.ordered("o").await;
    let drop_id = mall.lamp;
    let at = mall
        .node
        .submit(Request::CancelDrop { drop_id })
        .await
        .unwrap()
        .at;
    settle().await;
    let ends = [
        "DropCancelled",
        "HoldReleased",
        "OrderCancelled",
        "HoldReleased",
    ];
    assert_eq!(mall.kinds()[3..], ends);
    let log = mall.log.snapshot();
    let cancelled = decode_order(&log[9]).unwrap().unwrap().event;
    let OrderEvent::OrderCancelled(cancelled) = cancelled else {
        panic!("{cancelled:?}");
    };
    assert_eq!(
        (cancelled.cause, cancelled.cancelled_at),
        (CancelCause::DropCancelled, at)
    );
    assert_eq!(mall.units(mall.chair), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn order_ends_after_a_stock_program_expired_one_of_its_holds() {
    let mall = Mall::open().await;
    let accepted = mall.ordered("o").await;
    let hold_id = hold_in(&accepted.events()[1]);
    let over = accepted.at.plus_seconds(30);
    // No engine runs when the stock program records the expiry.
    mall.node.stop().await.unwrap();
    mall.clock.sleep_until(over).await;
    let expire = DropCommand::ExpireHold(domain::command::ExpireHold { hold_id, at: over });
    stock_program(&mall.log, mall.chair, &expire);
    let node = Node::start(&mall.log, mall.clock, 2).await;
    settle().await;
    let kinds = kinds(&mall.log.snapshot()).split_off(5);
    assert_eq!(kinds[0], "HoldExpired");
    assert_eq!(
        kinds.iter().filter(|kind| *kind == "OrderExpired").count(),
        1,
        "{kinds:?}"
    );
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert_is_chain(&mall.log.snapshot());
    node.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_orders_end_in_bounded_portions_across_a_crash() {
    let faults = Faults {
        latency: Duration::from_millis(20),
        ..Faults::default()
    };
    let (log, clock) = (
        MemoryLog::with_faults(faults, 7),
        VirtualClock::starting_at(new_year()),
    );
    let node = Node::start(&log, clock, 1).await;
    let drop_id = node.scheduled(schedule("wide", 900, 30)).await;
    for n in 0..40 {
        let request = order(&format!("o{n}"), &format!("b{n}"), &[(drop_id, 1)]);
        node.handle.place_order(request).await.unwrap();
    }
    let over = clock.now().plus_seconds(30);
    node.crash().await;
    clock.sleep_until(over).await;
    let config = EngineConfig {
        due_events: 3,
        ..EngineConfig::default()
    };
    let node = Node::load(&log, clock, 2, config).await.unwrap();
    // It crashes in the middle of this work.
    pass(90).await;
    let count = |kind: &str| {
        let kinds = kinds(&log.snapshot());
        kinds.iter().filter(|found| *found == kind).count()
    };
    let before = count("OrderExpired");
    assert!((1..40).contains(&before), "{before}");
    let mut batches = node.seen.batches();
    node.crash().await;
    let node = Node::load(&log, clock, 3, config).await.unwrap();
    pass(5_000).await;
    assert_eq!((count("HoldExpired"), count("OrderExpired")), (40, 40));
    assert_eq!(log.snapshot().len(), 162);
    batches.extend(node.seen.batches());
    for batch in batches {
        let first = batch.events.first().map(|event| event.position);
        // A start passes the whole log on at once.
        assert!(batch.events.len() <= 3 || first == Some(Position(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn conflicting_append_decides_the_order_again_as_a_whole() {
    let mall = Mall::open().await;
    let other = Node::start(&mall.log, mall.clock, 2).await;
    let turn = mall.log.take_turn().await.unwrap();
    let (first, second) = (mall.node.handle.clone(), other.handle.clone());
    let three = |name| order(name, name, &[(mall.lamp, 2), (mall.chair, 2)]);
    let (one, two) = (three("one"), three("two"));
    let first = tokio::spawn(async move { first.place_order(one).await });
    let second = tokio::spawn(async move { second.place_order(two).await });
    pass(50).await;
    drop(turn);
    let outcomes = [first.await.unwrap(), second.await.unwrap()];
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1));
    let refused = refusal(lost.into_iter().next().unwrap());
    assert_eq!(refused, of_item(1, sold_out(2, 1)));
    assert_eq!(
        (mall.units(mall.lamp), mall.units(mall.chair)),
        ((3, 2, 0), (1, 2, 0))
    );
    assert_eq!(mall.kinds(), ["OrderPlaced", "HoldPlaced", "HoldPlaced"]);
    assert_is_chain(&mall.log.snapshot());
}

#[tokio::test(start_paused = true)]
async fn overdue_holds_give_way_to_an_order() {
    let mall = Mall::open().await;
    mall.node
        .submit(hold(mall.chair, "h", "bob", 3))
        .await
        .unwrap();
    let over = mall.clock.now().plus_seconds(30);
    let turn = mall.log.take_turn().await.unwrap();
    mall.clock.sleep_until(over).await;
    let handle = mall.node.handle.clone();
    let request = order("o", "ann", &[(mall.chair, 3)]);
    let sent = tokio::spawn(async move { handle.place_order(request).await });
    pass(100).await;
    drop(turn);
    sent.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn fulfilment_goes_forward_and_keeps_tracking_out_of_the_chain() {
    let mall = Mall::open().await;
    let handle = &mall.node.handle;
    let order_id = mall.ordered("o").await.subject;
    let shipped = FulfilmentStep::Shipped;
    let refused = refusal(fulfil(handle, order_id, shipped, None).await);
    let unpaid = Refusal::OrderNotPaid {
        status: OrderStatus::Pending,
    };
    assert_eq!(refused, unpaid);
    pay(handle, order_id, None).await.unwrap();
    fulfil(handle, order_id, shipped, Some("parcel 9"))
        .await
        .unwrap();
    let stored = mall.log.snapshot().pop().unwrap();
    assert!(!stored.payload.contains("parcel"));
    assert!(stored.private.unwrap().contains("parcel 9"));
    for replay in [None, Some("parcel 9")] {
        let again = fulfil(handle, order_id, shipped, replay).await.unwrap();
        assert!(again.is_replay());
    }
    let corrected = fulfil(handle, order_id, shipped, Some("parcel 8")).await;
    assert!(!corrected.unwrap().is_replay());
    let back = fulfil(handle, order_id, FulfilmentStep::Processing, None).await;
    assert_eq!(refusal(back), Refusal::FulfilmentOrder { current: shipped });
    fulfil(handle, order_id, FulfilmentStep::Delivered, None)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn order_with_an_impossible_event_is_quarantined_alone() {
    let mall = Mall::open().await;
    let order_id = mall.ordered("o").await.subject;
    let other = mall.ordered("other").await.subject;
    let impossible = OrderEvent::OrderFulfilled(domain::order::OrderFulfilled {
        fulfilment: FulfilmentStep::Shipped,
        fulfilled_at: mall.clock.now(),
        commitment: None,
    });
    let at = mall.clock.now();
    let stored = encode_order(order_id, Sequence(2), at, &impossible, None);
    mall.log.append_stock(stored);
    let position = mall.log.peek().position;
    pass(500).await;
    let restarted = Node::start(&mall.log, mall.clock, 2).await;
    for node in [&mall.node, &restarted] {
        let quarantined = CommandError::OrderQuarantined { order_id, position };
        let outcome = pay(&node.handle, order_id, None).await;
        assert_eq!(outcome.unwrap_err(), quarantined);
        let outcome = node.handle.place_order(mall.both("o")).await;
        assert_eq!(outcome.unwrap_err(), quarantined);
        let refused = node.seen.batches();
        let refused = refused.iter().flat_map(|batch| &batch.quarantined).next();
        assert_eq!(refused.unwrap().fault, Fault::Contradiction);
    }
    pay(&mall.node.handle, other, None).await.unwrap();
    // Its holds stay with their drops, and expire.
    pass(31_000).await;
    assert_eq!(
        (mall.units(mall.lamp), mall.units(mall.chair)),
        ((4, 0, 1), (2, 0, 1))
    );
}

#[tokio::test(start_paused = true)]
async fn order_with_an_item_of_a_quarantined_drop_is_refused_as_a_whole() {
    let mall = Mall::open().await;
    let order_id = mall.ordered("o").await.subject;
    let mut bad = mall.log.snapshot().pop().unwrap();
    bad.sequence = Sequence(9);
    bad.aggregate_id = mall.chair.to_string();
    mall.log.append_stock(bad);
    pass(500).await;
    let handle = &mall.node.handle;
    let quarantined = |error: CommandError| {
        let CommandError::Quarantined { drop_id, .. } = error else {
            panic!("{error}");
        };
        drop_id
    };
    let placed = handle.place_order(mall.both("another")).await;
    assert_eq!(quarantined(placed.unwrap_err()), mall.chair);
    let paid = pay(handle, order_id, None).await;
    assert_eq!(quarantined(paid.unwrap_err()), mall.chair);
    let cancelled = cancel(handle, order_id).await;
    assert_eq!(quarantined(cancelled.unwrap_err()), mall.chair);
    assert_eq!(mall.units(mall.lamp).2, 0, "nothing is sold");
    handle
        .place_order(order("lamp-only", "ann", &[(mall.lamp, 1)]))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn restarted_engine_has_the_same_orders() {
    let mall = Mall::open().await;
    let paid = mall.ordered("paid").await.subject;
    let open = mall.ordered("open").await;
    pay(&mall.node.handle, paid, Some("card")).await.unwrap();
    mall.node.crash().await;
    let node = Node::start(&mall.log, mall.clock, 9).await;
    assert!(
        pay(&node.handle, paid, Some("card"))
            .await
            .unwrap()
            .is_replay()
    );
    pass(100).await;
    let accepted = pay(&node.handle, open.subject, Some("card")).await.unwrap();
    assert!(!accepted.is_replay());
    let at: Timestamp = accepted.at;
    assert!(at > open.at);
}
