//! Orders in a simulation: buyers who order several drops at once, and the proof that no order has
//! only a part of its holds.

mod proof;

use std::time::Duration;

use domain::order::{FulfilmentStep, OrderEvent, RefundOutcome};
use domain::testing::provider;
use domain::values::{
    FailureCode, Money, OrderId, PaymentId, PaymentReference, Position, RefundId,
};
use engine::{
    Accepted, CancelOrder, CommandError, FulfilOrder, OrderedItem, PaymentReport, PlaceOrder,
    PurchaseOrder, RecordPayment, RefundOrder, SettleRefund, StartPayment,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub use self::proof::{check, ordered_holds};
use super::World;
use crate::support::build::{buyer, key, quantity, reason};

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
    Start(StartPayment),
    Report(RecordPayment),
    Return(RefundOrder),
    Settle(SettleRefund),
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
                payments: vec![],
                refunds: vec![],
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
    /// With the price of the order.
    payments: Vec<(OrderId, PaymentId, Money)>,
    refunds: Vec<(OrderId, RefundId)>,
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
        // Money that arrives when every order is over.
        sleep(Duration::from_secs(10)).await;
        for (order_id, payment_id, amount) in std::mem::take(&mut self.payments) {
            let report = PaymentReport::Succeeded { amount };
            let request = self.report(order_id, payment_id, report);
            self.send_with_retries(request).await;
        }
    }

    fn next_request(&mut self) -> Option<OrderRequest> {
        let some = match self.orders[..] {
            [] => None,
            _ => Some(self.orders[self.random.random_range(0..self.orders.len())]),
        };
        if let Some(order_id) = some
            && self.random.random_bool(0.5)
        {
            return self.next_of_money(order_id);
        }
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

    /// A payment of an order, a provider's report about any payment, or a refund.
    fn next_of_money(&mut self, order_id: OrderId) -> Option<OrderRequest> {
        let some = match self.payments.len() {
            0 => None,
            len => Some(self.payments[self.random.random_range(0..len)]),
        };
        match (self.random.random_range(0..10), some) {
            (0..6, Some((order_id, payment_id, total))) => {
                let mut amount = total;
                if self.random.random_bool(0.1) {
                    amount.amount += 1;
                }
                let reason = FailureCode::new("card_declined").unwrap();
                let report = match self.random.random_bool(0.8) {
                    true => PaymentReport::Succeeded { amount },
                    false => PaymentReport::Failed { reason },
                };
                Some(self.report(order_id, payment_id, report))
            }
            (6, _) => {
                // Without a key, whose scope is the drop of a refund: it asks for all that is left.
                Some(OrderRequest::Return(RefundOrder {
                    order_id,
                    key: None,
                    other_key: None,
                    items: None,
                    restock: self.random.random_bool(0.5),
                    reason: reason("sent back"),
                }))
            }
            (7, _) => {
                let (order_id, refund_id) = self.refunds.pop()?;
                let outcomes = [RefundOutcome::Succeeded, RefundOutcome::Failed];
                Some(OrderRequest::Settle(SettleRefund {
                    order_id,
                    refund_id,
                    outcome: outcomes[self.random.random_range(0..2)],
                    reason: None,
                }))
            }
            _ => {
                self.requests += 1;
                Some(OrderRequest::Start(StartPayment {
                    order_id,
                    key: Some(key(&format!("payment-{}-{}", self.number, self.requests))),
                    other_key: None,
                    provider: provider(),
                }))
            }
        }
    }

    fn report(
        &mut self,
        order_id: OrderId,
        payment_id: PaymentId,
        report: PaymentReport,
    ) -> OrderRequest {
        let intent = format!("intent {} of {payment_id}", self.random.random_range(0..2));
        OrderRequest::Report(RecordPayment {
            order_id,
            payment_id,
            provider: provider(),
            reference: PaymentReference::new(&intent).unwrap(),
            report,
        })
    }

    /// Keeps what later requests refer to.
    fn remember(&mut self, answer: &Accepted<OrderId>) {
        for recorded in answer.order_events() {
            let order_id = recorded.order_id;
            if let OrderEvent::PaymentStarted(event) = &recorded.event {
                self.payments
                    .push((order_id, event.payment_id, event.amount));
            }
            if let OrderEvent::RefundRequested(event) = &recorded.event {
                self.refunds.push((order_id, event.refund_id));
            }
        }
        if self.payments.len() > 5 {
            self.payments.remove(0);
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
            codes: vec![],
            sees_hidden: false,
            solved: None,
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
            if let Ok(answer) = &outcome {
                self.remember(answer);
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
            OrderRequest::Start(request) => {
                let order_id = request.order_id;
                let started = engine.start_payment(request).await;
                started.map(|answer| answer.map(|_| order_id))
            }
            OrderRequest::Report(request) => {
                let order_id = request.order_id;
                let recorded = engine.record_payment(request).await;
                recorded.map(|answer| answer.map(|_| order_id))
            }
            OrderRequest::Return(request) => {
                let order_id = request.order_id;
                let refunded = engine.refund_order(request).await;
                refunded.map(|answer| answer.map(|_| order_id))
            }
            OrderRequest::Settle(request) => {
                let order_id = request.order_id;
                let settled = engine.settle_refund(request).await;
                settled.map(|answer| answer.map(|_| order_id))
            }
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
