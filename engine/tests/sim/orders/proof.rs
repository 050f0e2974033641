//! The proof, from the log alone: each order has all of its holds or none, its money one outcome,
//! and each response was true.

use std::collections::{BTreeMap, BTreeSet};

use domain::event::{DropEvent, ReleaseCause};
use domain::order::{CancelCause, Order, OrderEvent, OrderItem, OrderStatus, RefundCause};
use domain::private::Private;
use domain::values::{DropId, HoldId, IntentDigest, KeyDigest, OrderId, Position, Timestamp};
use domain::{DropAggregate, Refusal};
use engine::{CancelOrder, CommandError, PaymentReport, PurchaseOrder};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent, decode_order};
use infrastructure::log::StoredEvent;

use super::super::World;
use super::super::fleet::Life;
use super::{OrderRequest, SentOrder};

/// All events of orders.
pub fn decoded_orders(events: &[StoredEvent]) -> Vec<RecordedOrderEvent> {
    let decoded = |event| decode_order(event).unwrap();
    events.iter().filter_map(decoded).collect()
}

/// The holds that belong to orders.
pub fn ordered_holds(events: &[RecordedEvent]) -> BTreeSet<HoldId> {
    let ordered = |recorded: &RecordedEvent| {
        let DropEvent::HoldPlaced(event) = &recorded.event else {
            return None;
        };
        event.order_id.map(|_| event.hold_id)
    };
    events.iter().filter_map(ordered).collect()
}

/// Panics at the first order that is not whole, or whose response was wrong.
pub fn check(world: &World, stored: &[StoredEvent], events: &[RecordedEvent], lives: &[Life]) {
    let orders = decoded_orders(stored);
    let drops: BTreeMap<Position, &RecordedEvent> =
        events.iter().map(|event| (event.position, event)).collect();
    let mut found = BTreeMap::<OrderId, (Order, Vec<&RecordedOrderEvent>)>::new();
    let mut expected_holds = BTreeSet::new();
    for recorded in &orders {
        let private = recorded.private.as_ref().map(Private::commitment);
        assert_eq!(recorded.event.commitment(), private);
        let (order, history) = found.entry(recorded.order_id).or_default();
        let deadline = order.placed().map(|placed| placed.expires_at);
        order.evolve(&recorded.event);
        assert_eq!(order.sequence(), recorded.sequence);
        history.push(recorded);
        let after = |n: usize| drops.get(&Position(recorded.position.0 + 1 + n as u64));
        batch_is_whole(recorded, order, deadline, after, &mut expected_holds);
    }
    assert_eq!(
        ordered_holds(events),
        expected_holds,
        "every hold belongs to its order"
    );
    every_order_ended(&found, &aggregates(events));
    money_has_one_outcome(&orders, events);
    let sent = world.sent_orders.lock().unwrap();
    for sent in sent.iter() {
        response_was_true(sent, &found);
    }
    only_sent_requests_are_recorded(&sent, &orders);
    for life in lives {
        let batches = life.seen.batches();
        let seen = batches.iter().flat_map(|batch| &batch.orders);
        let up_to = batches
            .last()
            .map_or(Position(0), |batch| batch.head.position);
        let known = orders.iter().filter(|order| order.position <= up_to);
        assert!(seen.eq(known), "each event of an order once and in order");
    }
    world.count(|tally| {
        for recorded in &orders {
            match &recorded.event {
                OrderEvent::OrderPlaced(_) => tally.orders += 1,
                OrderEvent::OrderPaid(event) => {
                    tally.orders_paid += 1;
                    tally.late_sales += usize::from(event.late);
                }
                OrderEvent::OrderCancelled(_) => tally.orders_cancelled += 1,
                OrderEvent::OrderExpired(_) => tally.orders_expired += 1,
                OrderEvent::OrderFulfilled(_) => tally.orders_fulfilled += 1,
                OrderEvent::PaymentStarted(_) => tally.payments += 1,
                OrderEvent::PaymentSucceeded(_) => tally.successes += 1,
                OrderEvent::PaymentFailed(_) => tally.failures += 1,
                OrderEvent::PaymentArrivedLate(_) => tally.late_payments += 1,
                OrderEvent::RefundRequested(_) => tally.money_refunds += 1,
                OrderEvent::RefundSettled(_) => tally.settlements += 1,
            }
        }
    });
}

fn aggregates(events: &[RecordedEvent]) -> BTreeMap<DropId, DropAggregate> {
    let mut drops = BTreeMap::<DropId, DropAggregate>::new();
    for recorded in events {
        let drop = drops.entry(recorded.drop_id).or_default();
        drop.evolve(&recorded.event);
    }
    drops
}

/// The events of the order's drops follow immediately, in the order of its items.
fn batch_is_whole<'a>(
    recorded: &RecordedOrderEvent,
    order: &Order,
    deadline: Option<Timestamp>,
    after: impl Fn(usize) -> Option<&'a &'a RecordedEvent>,
    holds: &mut BTreeSet<HoldId>,
) {
    let same = |event: &RecordedEvent| event.recorded_at == recorded.recorded_at;
    match &recorded.event {
        OrderEvent::OrderPlaced(placed) => {
            for (n, item) in placed.items.iter().enumerate() {
                let event = after(n).expect("a hold follows");
                let DropEvent::HoldPlaced(hold) = &event.event else {
                    panic!("a hold is missing after {}", recorded.position);
                };
                assert_eq!(hold.order_id, Some(recorded.order_id));
                let found = (event.drop_id, hold.hold_id, hold.quantity);
                assert_eq!(found, (item.drop_id, item.hold_id, item.quantity));
                assert_eq!(hold.expires_at, placed.expires_at);
                assert!(same(event));
                assert!(holds.insert(item.hold_id));
            }
        }
        OrderEvent::OrderPaid(paid) => {
            let mut next = 0;
            for (n, item) in order.items().iter().enumerate() {
                if paid.late {
                    let event = after(next).expect("a hold follows");
                    let DropEvent::HoldPlaced(hold) = &event.event else {
                        panic!("a hold is missing after {}", recorded.position);
                    };
                    let found = (event.drop_id, hold.hold_id, hold.quantity, hold.order_id);
                    let order_id = Some(recorded.order_id);
                    assert_eq!(found, (item.drop_id, item.hold_id, item.quantity, order_id));
                    assert!(holds.insert(item.hold_id));
                    next += 1;
                }
                let event = after(next).expect("a purchase follows");
                let DropEvent::PurchaseConfirmed(purchase) = &event.event else {
                    panic!("a purchase is missing after {}", recorded.position);
                };
                assert_eq!(purchase.hold_id, item.hold_id);
                assert_eq!(purchase.purchase_id, paid.purchases[n].purchase_id);
                assert_eq!(purchase.total, item.total());
                assert!(same(event));
                next += 1;
            }
        }
        OrderEvent::PaymentStarted(started) => {
            let has_moved = deadline != Some(started.expires_at);
            let is_extension = |n: usize| {
                let event = after(n).map(|event| &event.event);
                let Some(DropEvent::HoldExtended(event)) = event else {
                    return false;
                };
                (event.extended_at, event.expires_at) == (started.started_at, started.expires_at)
                    && order.items().get(n).map(|item| item.hold_id) == Some(event.hold_id)
            };
            let extended = (0..).take_while(|n| is_extension(*n)).count();
            let expected = if has_moved { order.items().len() } else { 0 };
            assert_eq!(extended, expected, "at {}", recorded.position);
        }
        OrderEvent::RefundRequested(refund) => {
            let refunded = |n: usize| {
                let event = after(n).map(|event| &event.event);
                let Some(DropEvent::PurchaseRefunded(event)) = event else {
                    return None;
                };
                (event.refund_id == refund.refund_id).then_some(event.amount.amount)
            };
            let of_goods: i64 = (0..).map_while(refunded).sum();
            let is_return = refund.cause == RefundCause::Return;
            assert_eq!(of_goods, if is_return { refund.amount.amount } else { 0 });
        }
        OrderEvent::OrderCancelled(cancelled) => {
            let is_release = |n: &usize| {
                let Some(DropEvent::HoldReleased(release)) = after(*n).map(|event| &event.event)
                else {
                    return false;
                };
                let mut items = order.items().iter();
                release.cause == ReleaseCause::OrderCancelled
                    && items.any(|item| item.hold_id == release.hold_id)
            };
            let released = (0..).take_while(is_release).count();
            let items = order.items().len();
            match cancelled.cause {
                CancelCause::Buyer => assert_eq!(released, items),
                // The hold of the cancelled drop ends with the drop.
                CancelCause::DropCancelled => assert!(released < items),
            }
        }
        OrderEvent::OrderExpired(_)
        | OrderEvent::OrderFulfilled(_)
        | OrderEvent::PaymentSucceeded(_)
        | OrderEvent::PaymentFailed(_)
        | OrderEvent::PaymentArrivedLate(_)
        | OrderEvent::RefundSettled(_) => {}
    }
}

/// Counts the money by the recorded events alone: each success has one outcome, which follows it in
/// the log, and returned money was paid before. The goods of an order that a provider was paid for
/// come back with their money only.
fn money_has_one_outcome(orders: &[RecordedOrderEvent], events: &[RecordedEvent]) {
    let mut paid = BTreeMap::<(OrderId, IntentDigest), (i64, u32)>::new();
    let mut returned = BTreeMap::<(OrderId, IntentDigest), i64>::new();
    let (mut by_provider, mut refunds) = (BTreeSet::new(), BTreeSet::new());
    let at = |position: Position| {
        let found = orders.binary_search_by_key(&position, |order| order.position);
        &orders[found.expect("an event of an order")]
    };
    for recorded in orders {
        let order_id = recorded.order_id;
        match &recorded.event {
            OrderEvent::PaymentSucceeded(event) => {
                let first = paid.insert((order_id, event.intent), (event.amount.amount, 0));
                assert_eq!(first, None, "an intent succeeded twice");
                let mut next = at(recorded.position.next());
                if let OrderEvent::PaymentArrivedLate(_) = next.event {
                    next = at(next.position.next());
                }
                let intent = if let OrderEvent::OrderPaid(event) = &next.event {
                    event.intent
                } else if let OrderEvent::RefundRequested(event) = &next.event {
                    Some(event.intent)
                } else {
                    panic!("no outcome follows {}: {next:?}", recorded.position);
                };
                assert_eq!((next.order_id, intent), (order_id, Some(event.intent)));
            }
            OrderEvent::OrderPaid(event) => {
                let Some(intent) = event.intent else { continue };
                let (amount, outcomes) = paid.get_mut(&(order_id, intent)).unwrap();
                assert_eq!(*amount, event.total.amount);
                *outcomes += 1;
                by_provider.extend(event.purchases.iter().map(|purchase| purchase.hold_id));
            }
            OrderEvent::RefundRequested(event) => {
                assert!(
                    refunds.insert(event.refund_id),
                    "a refund was requested twice"
                );
                let (amount, outcomes) = paid.get_mut(&(order_id, event.intent)).unwrap();
                let sum = returned.entry((order_id, event.intent)).or_default();
                *sum += event.amount.amount;
                assert!(*sum <= *amount, "more was returned than was paid");
                if event.cause != RefundCause::Return {
                    assert_eq!(*amount, event.amount.amount, "a part of the money");
                    *outcomes += 1;
                }
            }
            OrderEvent::OrderPlaced(_)
            | OrderEvent::OrderCancelled(_)
            | OrderEvent::OrderExpired(_)
            | OrderEvent::OrderFulfilled(_)
            | OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundSettled(_) => {}
        }
    }
    for (intent, (_, outcomes)) in paid {
        assert_eq!(outcomes, 1, "outcomes of {intent:?}");
    }
    for recorded in events {
        if let DropEvent::PurchaseRefunded(event) = &recorded.event
            && by_provider.contains(&event.hold_id)
        {
            assert!(refunds.contains(&event.refund_id), "goods without money");
        }
    }
}

/// The simulation ended long after every deadline.
fn every_order_ended(
    orders: &BTreeMap<OrderId, (Order, Vec<&RecordedOrderEvent>)>,
    drops: &BTreeMap<DropId, DropAggregate>,
) {
    use domain::drop::HoldStatus;
    for (order_id, (order, _)) in orders {
        let status = order.progress().status;
        let of = |item: &OrderItem| drops[&item.drop_id].hold(item.hold_id).unwrap().status;
        let sold = order
            .items()
            .iter()
            .filter(|item| of(item) == HoldStatus::Purchased);
        let sold = sold.count();
        match status {
            OrderStatus::Pending => panic!("order {order_id} never ended"),
            OrderStatus::Paid => assert_eq!(sold, order.items().len(), "{order_id}"),
            OrderStatus::Cancelled | OrderStatus::Expired => {
                assert_eq!(sold, 0, "a part of {order_id} was sold");
            }
        }
    }
}

fn response_was_true(
    sent: &SentOrder,
    orders: &BTreeMap<OrderId, (Order, Vec<&RecordedOrderEvent>)>,
) {
    let recorded_by = |order_id: &OrderId, is_it: fn(&OrderEvent) -> bool| {
        let history = &orders[order_id].1;
        let found = history.iter().find(|recorded| is_it(&recorded.event));
        found.is_some_and(|recorded| recorded.position <= sent.until)
    };
    let is_placed = |event: &OrderEvent| matches!(event, OrderEvent::OrderPlaced(_));
    let is_paid = |event: &OrderEvent| matches!(event, OrderEvent::OrderPaid(_));
    let is_cancelled = |event: &OrderEvent| matches!(event, OrderEvent::OrderCancelled(_));
    let is_expired = |event: &OrderEvent| matches!(event, OrderEvent::OrderExpired(_));
    match (&sent.request, &sent.outcome) {
        (OrderRequest::Report(request), Ok(answer)) => {
            if let PaymentReport::Succeeded { .. } = request.report {
                let intent = IntentDigest::new(&request.provider, &request.reference);
                let is_it = |recorded: &&RecordedOrderEvent| matches!(&recorded.event, OrderEvent::PaymentSucceeded(event) if event.intent == intent);
                let recorded = orders[&answer.subject]
                    .1
                    .iter()
                    .find(|recorded| is_it(recorded));
                let recorded = recorded.expect("money that was answered");
                assert!(recorded.position <= sent.until, "{sent:?}");
            }
        }
        (OrderRequest::Start(_), Ok(answer)) => {
            let is_started = |event: &OrderEvent| matches!(event, OrderEvent::PaymentStarted(_));
            assert!(recorded_by(&answer.subject, is_started), "{sent:?}");
        }
        (OrderRequest::Return(_) | OrderRequest::Settle(_), Ok(_)) => {}
        (OrderRequest::Place(request), Ok(answer)) => {
            assert!(recorded_by(&answer.subject, is_placed), "{sent:?}");
            let placed = orders[&answer.subject].0.placed().unwrap();
            assert_eq!(placed.key, request.key);
            let units: u32 = placed.items.iter().map(|item| item.quantity.get()).sum();
            let requested: u32 = request.items.iter().map(|item| item.quantity.get()).sum();
            assert_eq!(units, requested);
        }
        (OrderRequest::Purchase(request), Ok(_)) => {
            assert!(recorded_by(&request.order_id, is_paid), "{sent:?}");
        }
        (OrderRequest::Cancel(request), Ok(_)) => {
            assert!(recorded_by(&request.order_id, is_cancelled), "{sent:?}");
        }
        (
            OrderRequest::Purchase(PurchaseOrder { order_id, .. })
            | OrderRequest::Cancel(CancelOrder { order_id }),
            Err(CommandError::Refused { refusal, .. }),
        ) => {
            let is_true = if let Refusal::OrderExpired { .. } = refusal {
                recorded_by(order_id, is_expired)
            } else if let Refusal::OrderCancelled { .. } = refusal {
                recorded_by(order_id, is_cancelled)
            } else {
                let of_paid = matches!(
                    refusal,
                    Refusal::OrderPaid { .. } | Refusal::OrderReferenceConflict { .. }
                );
                of_paid && recorded_by(order_id, is_paid)
            };
            assert!(is_true, "{sent:?}");
        }
        (OrderRequest::Fulfil(_), Err(CommandError::Refused { refusal, .. })) => assert!(
            matches!(
                refusal,
                Refusal::OrderNotPaid { .. } | Refusal::FulfilmentOrder { .. }
            ),
            "{refusal:?}"
        ),
        (OrderRequest::Place(request), Err(CommandError::Refused { refusal, .. })) => {
            let Refusal::OfItem { item, refusal } = refusal else {
                panic!("impossible refusal: {refusal:?}");
            };
            assert!((*item as usize) < request.items.len());
            assert!(
                matches!(
                    **refusal,
                    Refusal::SoldOut { .. }
                        | Refusal::Paused { .. }
                        | Refusal::DropNotFound
                        | Refusal::LimitReached { .. }
                        | Refusal::Ended {
                            cancelled: true,
                            ..
                        }
                ),
                "{refusal:?}"
            );
        }
        (OrderRequest::Fulfil(_), Ok(_)) | (_, Err(_)) => {}
    }
}

/// Nothing is recorded for a request that was rejected, and a key has one order.
fn only_sent_requests_are_recorded(sent: &[SentOrder], orders: &[RecordedOrderEvent]) {
    let may_be = |sent: &&SentOrder| matches!(sent.outcome, Ok(_) | Err(CommandError::Undecided));
    let keys: BTreeSet<KeyDigest> = sent
        .iter()
        .filter(may_be)
        .filter_map(|sent| {
            let OrderRequest::Place(request) = &sent.request else {
                return None;
            };
            request.key
        })
        .collect();
    let paid: BTreeSet<OrderId> = sent
        .iter()
        .filter(may_be)
        .filter_map(|sent| {
            if let OrderRequest::Purchase(request) = &sent.request {
                Some(request.order_id)
            } else if let OrderRequest::Report(request) = &sent.request {
                Some(request.order_id)
            } else {
                None
            }
        })
        .collect();
    let reported: BTreeSet<(OrderId, IntentDigest)> = sent
        .iter()
        .filter(may_be)
        .filter_map(|sent| {
            let OrderRequest::Report(request) = &sent.request else {
                return None;
            };
            let intent = IntentDigest::new(&request.provider, &request.reference);
            Some((request.order_id, intent))
        })
        .collect();
    let mut used = BTreeSet::new();
    for recorded in orders {
        match &recorded.event {
            OrderEvent::OrderPlaced(event) => {
                let key = event.key.expect("every order has a key");
                assert!(used.insert(key), "a key was used for two orders");
                assert!(keys.contains(&key), "rejected but recorded");
            }
            OrderEvent::OrderPaid(_) => {
                assert!(paid.contains(&recorded.order_id), "rejected but paid");
            }
            OrderEvent::PaymentSucceeded(event) => {
                let intent = (recorded.order_id, event.intent);
                assert!(reported.contains(&intent), "rejected but recorded");
            }
            OrderEvent::OrderCancelled(_)
            | OrderEvent::OrderExpired(_)
            | OrderEvent::OrderFulfilled(_)
            | OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => {}
        }
    }
}
