//! Orders in a simulation: buyers who order several drops at once, and the proof that no order has
//! only a part of its holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::event::{DropEvent, ReleaseCause};
use domain::order::{CancelCause, FulfilmentStep, Order, OrderEvent, OrderItem, OrderStatus};
use domain::private::Private;
use domain::values::{DropId, HoldId, KeyDigest, OrderId, PaymentReference, Position};
use domain::{DropAggregate, Refusal};
use engine::{
    Accepted, CancelOrder, CommandError, FulfilOrder, OrderedItem, PlaceOrder, PurchaseOrder,
};
use infrastructure::codec::{RecordedEvent, RecordedOrderEvent, decode_order};
use infrastructure::log::StoredEvent;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::World;
use super::fleet::Life;
use crate::support::build::{buyer, key, quantity};

/// One request about an order and its outcome.
#[derive(Debug, Clone)]
pub struct SentOrder {
    request: OrderRequest,
    /// The head when the response arrived.
    until: Position,
    outcome: Result<Accepted<OrderId>, CommandError>,
}

#[derive(Debug, Clone)]
enum OrderRequest {
    Place(PlaceOrder),
    Purchase(PurchaseOrder),
    Cancel(CancelOrder),
    Fulfil(FulfilOrder),
}

/// Starts the buyers who order.
pub fn start(world: &World, random: &mut StdRng) -> Vec<JoinHandle<()>> {
    (0..random.random_range(0..=3))
        .map(|number| {
            let buyer = Buyer {
                world: world.clone(),
                number,
                random: StdRng::seed_from_u64(random.random()),
                requests: 0,
                orders: vec![],
            };
            tokio::spawn(buyer.shop())
        })
        .collect()
}

struct Buyer {
    world: World,
    number: u32,
    random: StdRng,
    requests: u32,
    orders: Vec<OrderId>,
}

impl Buyer {
    async fn shop(mut self) {
        let longest_pause = self.random.random_range(2..200);
        while !self.world.over.is_cancelled() {
            let pause = self.random.random_range(0..longest_pause);
            sleep(Duration::from_millis(pause)).await;
            if let Some(request) = self.next_request() {
                self.send_with_retries(request).await;
            }
        }
    }

    fn next_request(&mut self) -> Option<OrderRequest> {
        let some = match self.orders[..] {
            [] => None,
            _ => Some(self.orders[self.random.random_range(0..self.orders.len())]),
        };
        match (self.random.random_range(0..10), some) {
            (0..3, Some(order_id)) => {
                let card = format!("card {}", self.random.random_range(0..2));
                let reference = PaymentReference::new(&card).unwrap();
                let has_one = self.random.random_bool(0.5);
                Some(OrderRequest::Purchase(PurchaseOrder {
                    order_id,
                    payment_reference: has_one.then_some(reference),
                }))
            }
            (3, Some(order_id)) => Some(OrderRequest::Cancel(CancelOrder { order_id })),
            (4, Some(order_id)) => {
                let steps = [FulfilmentStep::Processing, FulfilmentStep::Shipped];
                Some(OrderRequest::Fulfil(FulfilOrder {
                    order_id,
                    fulfilment: steps[self.random.random_range(0..2)],
                    tracking: None,
                }))
            }
            _ => self.place(),
        }
    }

    fn place(&mut self) -> Option<OrderRequest> {
        let drops = self.world.drops.lock().unwrap().clone();
        if drops.is_empty() {
            return None;
        }
        self.requests += 1;
        let items = (0..self.random.random_range(1..=4)).map(|_| OrderedItem {
            drop_id: drops[self.random.random_range(0..drops.len())],
            quantity: quantity(self.random.random_range(1..=2)),
        });
        let items = items.collect();
        let buyers = ["ann", "ANN", "bob", "cy"];
        Some(OrderRequest::Place(PlaceOrder {
            key: Some(key(&format!("order-{}-{}", self.number, self.requests))),
            other_key: None,
            buyer_id: buyer(buyers[self.random.random_range(0..buyers.len())]),
            is_from_token: false,
            display_name: None,
            items,
        }))
    }

    async fn send_with_retries(&mut self, request: OrderRequest) {
        for _ in 0..self.random.random_range(1..=5) {
            let Some(outcome) = self.submit(&request).await else {
                continue;
            };
            if let (Ok(answer), OrderRequest::Place(_)) = (&outcome, &request) {
                self.orders.push(answer.subject);
                if self.orders.len() > 5 {
                    self.orders.remove(0);
                }
            }
            let is_over = matches!(outcome, Ok(_) | Err(CommandError::Refused { .. }));
            if is_over && self.random.random_bool(0.8) {
                return;
            }
            let pause = self.random.random_range(0..300);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn submit(
        &mut self,
        request: &OrderRequest,
    ) -> Option<Result<Accepted<OrderId>, CommandError>> {
        let index = match self.random.random_bool(self.world.affinity) {
            true => 0,
            false => self.random.random_range(0..self.world.fleet.len()),
        };
        let (engine, feed) = self.world.fleet.at(index)?;
        let outcome = match request.clone() {
            OrderRequest::Place(request) => engine.place_order(request).await,
            OrderRequest::Purchase(request) => engine.purchase_order(request).await,
            OrderRequest::Cancel(request) => engine.cancel_order(request).await,
            OrderRequest::Fulfil(request) => engine.fulfil_order(request).await,
        };
        let until = self.world.log.log.peek().position;
        if let Ok(answer) = &outcome {
            assert!(answer.position() <= until, "not in the log yet");
            let observed = feed.head().position;
            assert!(observed >= answer.position(), "observers come first");
        }
        self.world.count(|tally| match &outcome {
            Ok(answer) if answer.is_replay() => tally.order_replays += 1,
            Ok(_) => tally.orders_accepted += 1,
            Err(CommandError::Refused { .. }) => tally.orders_refused += 1,
            Err(CommandError::Undecided) => tally.orders_undecided += 1,
            Err(
                refused @ (CommandError::Quarantined { .. }
                | CommandError::OrderQuarantined { .. }
                | CommandError::LogRefused { .. }
                | CommandError::TooLarge),
            ) => panic!("a valid log is refused: {refused}"),
            Err(
                CommandError::Unavailable | CommandError::ClockFault(_) | CommandError::Overloaded,
            ) => {}
        });
        self.world.sent_orders.lock().unwrap().push(SentOrder {
            request: request.clone(),
            until,
            outcome: outcome.clone(),
        });
        Some(outcome)
    }
}

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
        order.evolve(&recorded.event);
        assert_eq!(order.sequence(), recorded.sequence);
        history.push(recorded);
        let after = |n: usize| drops.get(&Position(recorded.position.0 + 1 + n as u64));
        batch_is_whole(recorded, order, after, &mut expected_holds);
    }
    assert_eq!(
        ordered_holds(events),
        expected_holds,
        "every hold belongs to its order"
    );
    every_order_ended(&found, &aggregates(events));
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
            match recorded.event {
                OrderEvent::OrderPlaced(_) => tally.orders += 1,
                OrderEvent::OrderPaid(_) => tally.orders_paid += 1,
                OrderEvent::OrderCancelled(_) => tally.orders_cancelled += 1,
                OrderEvent::OrderExpired(_) => tally.orders_expired += 1,
                OrderEvent::OrderFulfilled(_) => tally.orders_fulfilled += 1,
                OrderEvent::PaymentStarted(_)
                | OrderEvent::PaymentSucceeded(_)
                | OrderEvent::PaymentFailed(_)
                | OrderEvent::PaymentArrivedLate(_)
                | OrderEvent::RefundRequested(_)
                | OrderEvent::RefundSettled(_) => {}
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
            for (n, item) in order.items().iter().enumerate() {
                let event = after(n).expect("a purchase follows");
                let DropEvent::PurchaseConfirmed(purchase) = &event.event else {
                    panic!("a purchase is missing after {}", recorded.position);
                };
                assert_eq!(purchase.hold_id, item.hold_id);
                assert_eq!(purchase.purchase_id, paid.purchases[n].purchase_id);
                assert_eq!(purchase.total, item.total());
                assert!(same(event));
            }
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
        | OrderEvent::PaymentStarted(_)
        | OrderEvent::PaymentSucceeded(_)
        | OrderEvent::PaymentFailed(_)
        | OrderEvent::PaymentArrivedLate(_)
        | OrderEvent::RefundRequested(_)
        | OrderEvent::RefundSettled(_) => {}
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
            let OrderRequest::Purchase(request) = &sent.request else {
                return None;
            };
            Some(request.order_id)
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
            OrderEvent::OrderCancelled(_)
            | OrderEvent::OrderExpired(_)
            | OrderEvent::OrderFulfilled(_)
            | OrderEvent::PaymentStarted(_)
            | OrderEvent::PaymentSucceeded(_)
            | OrderEvent::PaymentFailed(_)
            | OrderEvent::PaymentArrivedLate(_)
            | OrderEvent::RefundRequested(_)
            | OrderEvent::RefundSettled(_) => {}
        }
    }
}
