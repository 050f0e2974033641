//! Orders over several drops: all or none, and each order ends once.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;

use domain::drop::HoldStatus;
use domain::order::decide::{FulfilOrder, PurchaseOrder};
use domain::order::{CancelCause, FulfilmentStep, MAX_ITEMS, Order, OrderEvent, OrderStatus};
use domain::refusal::Limit;
use domain::terms::DropTerms;
use domain::testing::*;
use domain::values::{Commitment, Currency, DropId, Money, Quantity, Timestamp};
use domain::{DropAggregate, DropEvent, Refusal};
use proptest::prelude::*;

/// Two drops: ten lamps, and three chairs whose holds are shorter.
fn market() -> Market {
    let chairs = DropTerms {
        price: cents(25_00),
        hold_seconds: hold_seconds(30),
        max_per_hold: quantity(2),
        ..terms()
    };
    Market::default()
        .with("lamp", [drop_opened(10)])
        .with("chair", [drop_scheduled(chairs, 3)])
}

fn ordered() -> Market {
    let mut market = market();
    market
        .place_order("o", &[("lamp", 2), ("chair", 1)], second(5))
        .unwrap();
    market
}

fn of_item(item: u32, refusal: Refusal) -> Refusal {
    Refusal::OfItem {
        item,
        refusal: Box::new(refusal),
    }
}

#[test]
fn order_is_one_batch_with_the_order_first_and_one_deadline() {
    let batch = market()
        .decide_order("o", &[("lamp", 2), ("chair", 1)], second(5))
        .unwrap()
        .unwrap();
    let [OrderEvent::OrderPlaced(placed)] = &batch.orders[..] else {
        panic!("{batch:?}");
    };
    assert_eq!(placed.total, cents(45_00));
    assert_eq!(
        placed.expires_at,
        second(35),
        "the shorter of 60 and 30 seconds"
    );
    assert_eq!(batch.drops.len(), 2);
    for ((drop_id, event), item) in batch.drops.iter().zip(&placed.items) {
        let DropEvent::HoldPlaced(hold) = event else {
            panic!("{event:?}");
        };
        assert_eq!((*drop_id, hold.hold_id), (item.drop_id, item.hold_id));
        assert_eq!(hold.order_id, Some(order_id("o")));
        assert_eq!(hold.expires_at, placed.expires_at);
        assert_eq!(hold.quantity, item.quantity);
    }
}

#[test]
fn first_line_that_fails_refuses_the_whole_order() {
    let mut market = market();
    let before = market.clone();
    let refused = |market: &mut Market, lines: &[(&str, u32)]| {
        market.place_order("o", lines, second(5)).unwrap_err()
    };
    let limit = Refusal::LimitReached {
        limit: Limit::PerHold,
        max: 2,
        allowance: 2,
    };
    let sold_out = Refusal::SoldOut {
        requested: 11,
        available: 10,
    };
    assert_eq!(
        refused(&mut market, &[("lamp", 10), ("chair", 3)]),
        of_item(1, limit)
    );
    assert_eq!(
        refused(&mut market, &[("lamp", 11), ("chair", 3)]),
        of_item(0, sold_out)
    );
    assert_eq!(
        refused(&mut market, &[("lamp", 1), ("none", 1)]),
        of_item(1, Refusal::DropNotFound)
    );
    let most = Quantity::MAX;
    assert!(matches!(
        refused(&mut market, &[("lamp", most + 1)]),
        Refusal::OfItem { item: 0, refusal } if matches!(*refusal, Refusal::LimitReached { max, .. } if max == most)
    ));
    assert_eq!(market, before);
}

#[test]
fn order_has_one_currency() {
    let price = Money::price(900, Currency::new("EUR").unwrap()).unwrap();
    let terms = DropTerms { price, ..terms() };
    let mut market = market().with("stool", [drop_scheduled(terms, 5)]);
    let lines = [("lamp", 1), ("stool", 1)];
    let refusal = Refusal::MixedCurrencies {
        expected: Currency::new("USD").unwrap(),
        found: price.currency,
    };
    let refused = market.place_order("o", &lines, second(5));
    assert_eq!(refused, Err(of_item(1, refusal)));
    assert_eq!(market.place_order("o", &[("stool", 1)], second(5)), Ok(2));
}

#[test]
fn repeated_placement_replays_and_a_different_one_is_refused() {
    let mut market = ordered();
    let lines = [("lamp", 2), ("chair", 1)];
    assert_eq!(market.place_order("o", &lines, second(9)), Ok(0));
    for other in [vec![("lamp", 2)], vec![("lamp", 1), ("chair", 1)]] {
        let refused = market.place_order("o", &other, second(9));
        assert_eq!(refused, Err(Refusal::IdempotencyKeyReused));
    }
}

#[test]
fn hold_of_an_order_is_neither_purchased_nor_released_alone() {
    let mut market = ordered();
    let hold = "o.lamp";
    let refused = Err(Refusal::HoldInOrder {
        order_id: order_id("o"),
    });
    for command in [confirm_purchase(hold), release_hold(hold)] {
        assert_eq!(market.decide("lamp", &command), refused);
    }
    market.purchase_order("o", second(6)).unwrap();
    for command in [confirm_purchase(hold), release_hold(hold)] {
        assert_eq!(market.decide("lamp", &command), refused);
    }
}

#[test]
fn purchase_sells_every_item_up_to_the_last_millisecond() {
    let mut market = ordered();
    let over = Refusal::OrderExpired {
        expired_at: second(35),
    };
    assert_eq!(market.clone().purchase_order("o", second(35)), Err(over));
    assert_eq!(market.purchase_order("o", millisecond(34_999)), Ok(3));
    assert_eq!(market.stock_of("lamp"), stock(8, 0, 2));
    assert_eq!(market.stock_of("chair"), stock(2, 0, 1));
    assert_eq!(market.purchase_order("o", second(90)), Ok(0), "a replay");
    let paid = Refusal::OrderPaid {
        paid_at: millisecond(34_999),
    };
    assert_eq!(market.cancel_order("o", second(34)), Err(paid));
}

#[test]
fn paid_order_rejects_another_payment() {
    let mut market = ordered();
    market.purchase_order("o", second(6)).unwrap();
    let order = &market.orders[&order_id("o")];
    let pay = |commitment: Option<Commitment>, is_recorded| {
        let command = PurchaseOrder {
            purchase_ids: &[],
            commitment,
            commitments: &[],
            is_recorded,
            at: second(7),
        };
        order.purchase(&command, |_| None)
    };
    let reference = Some(Commitment([7; 32]));
    let conflict = Refusal::OrderReferenceConflict { paid_at: second(6) };
    assert_eq!(pay(reference, false), Err(conflict));
    assert_eq!(pay(reference, true), Ok(None));
    assert_eq!(pay(None, false), Ok(None));
}

#[test]
fn cancelled_order_frees_every_item_once() {
    let mut market = ordered();
    let over = Refusal::OrderExpired {
        expired_at: second(35),
    };
    assert_eq!(market.clone().cancel_order("o", second(35)), Err(over));
    assert_eq!(market.cancel_order("o", millisecond(34_999)), Ok(3));
    assert_eq!(market.stock_of("lamp"), stock(10, 0, 0));
    assert_eq!(market.stock_of("chair"), stock(3, 0, 0));
    assert_eq!(market.cancel_order("o", second(50)), Ok(0));
    let cancelled = Refusal::OrderCancelled {
        cancelled_at: millisecond(34_999),
    };
    assert_eq!(market.purchase_order("o", second(20)), Err(cancelled));
}

#[test]
fn order_expires_with_its_first_hold() {
    let mut market = ordered();
    let at = |seconds| expire_hold("o.lamp").at(second(seconds));
    assert_eq!(market.decide("lamp", &at(34)), Ok(0));
    assert_eq!(market.conclude_order("o", second(34)), 0);
    assert_eq!(market.decide("lamp", &at(35)), Ok(1));
    assert_eq!(market.conclude_order("o", second(35)), 1);
    let progress = market.orders[&order_id("o")].progress();
    assert_eq!(
        (progress.status, progress.ended_at),
        (OrderStatus::Expired, second(35))
    );
    assert_eq!(
        market.conclude_order("o", second(36)),
        0,
        "an order ends once"
    );
    let over = Refusal::OrderExpired {
        expired_at: second(35),
    };
    assert_eq!(market.purchase_order("o", second(20)), Err(over.clone()));
    assert_eq!(market.cancel_order("o", second(20)), Err(over));
}

#[test]
fn cancelled_drop_cancels_the_order_and_frees_its_other_items() {
    let mut market = ordered();
    market
        .decide("lamp", &cancel_drop().at(second(10)))
        .unwrap();
    let cancelled = Refusal::OrderCancelled {
        cancelled_at: second(10),
    };
    // Also before the release is recorded.
    let refused = market.clone().purchase_order("o", second(9));
    assert_eq!(refused, Err(cancelled));
    market.decide("lamp", &settle_cancelled()).unwrap();
    assert_eq!(market.conclude_order("o", second(12)), 2);
    assert_eq!(market.stock_of("chair"), stock(3, 0, 0));
    assert_eq!(
        market.orders[&order_id("o")].progress().ended_at,
        second(10)
    );
    // When the other hold is over, it expires by itself.
    let mut late = ordered();
    late.decide("lamp", &cancel_drop().at(second(10))).unwrap();
    late.decide("lamp", &settle_cancelled()).unwrap();
    assert_eq!(late.conclude_order("o", second(35)), 1);
    assert_eq!(late.stock_of("chair"), stock(2, 1, 0));
}

#[test]
fn fulfilment_goes_forward_only_and_needs_a_payment() {
    use FulfilmentStep::{Delivered, Processing, Shipped};
    let step = |fulfilment, is_recorded| FulfilOrder {
        fulfilment,
        commitment: None,
        is_recorded,
        at: second(9),
    };
    let mut market = ordered();
    let unpaid = Refusal::OrderNotPaid {
        status: OrderStatus::Pending,
    };
    let order = |market: &Market| market.orders[&order_id("o")].clone();
    assert_eq!(order(&market).fulfil(step(Shipped, true)), Err(unpaid));
    market.purchase_order("o", second(6)).unwrap();
    let mut paid = order(&market);
    let fulfil = |order: &mut Order, fulfilment, is_recorded| {
        let decided = order.fulfil(step(fulfilment, is_recorded))?;
        let events = decided.map_or_else(Vec::new, |batch| batch.orders);
        events.iter().for_each(|event| order.evolve(event));
        Ok(!events.is_empty())
    };
    assert_eq!(fulfil(&mut paid, Processing, true), Ok(true));
    assert_eq!(fulfil(&mut paid, Shipped, true), Ok(true));
    assert_eq!(fulfil(&mut paid, Shipped, true), Ok(false), "a replay");
    assert_eq!(fulfil(&mut paid, Shipped, false), Ok(true), "new tracking");
    let back = Err(Refusal::FulfilmentOrder { current: Shipped });
    assert_eq!(fulfil(&mut paid, Processing, true), back);
    assert_eq!(fulfil(&mut paid, Delivered, true), Ok(true));
}

#[test]
fn impossible_histories_panic() {
    let items = [order_item("d1", "h1", 2), order_item("d2", "h2", 1)];
    let twice = [order_item("d1", "h1", 2), order_item("d1", "h2", 1)];
    let many =
        (0..=MAX_ITEMS).map(|index| order_item(&format!("d{index}"), &format!("h{index}"), 1));
    let histories: Vec<Vec<OrderEvent>> = vec![
        vec![order_paid(items)],
        vec![order_placed(items), order_placed(items)],
        vec![order_placed(items), order_paid([items[0]])],
        vec![order_placed(items), order_expired(), order_paid(items)],
        vec![
            order_placed(items),
            order_cancelled(CancelCause::Buyer),
            order_expired(),
        ],
        vec![
            order_placed(items),
            order_fulfilled(FulfilmentStep::Shipped),
        ],
        vec![order_placed(twice)],
        vec![order_placed([])],
        vec![order_placed(many)],
    ];
    for history in histories {
        let load = || {
            history.iter().fold(Order::default(), |mut order, event| {
                order.evolve(event);
                order
            })
        };
        let outcome = std::panic::catch_unwind(load);
        assert!(outcome.is_err(), "{history:?}");
    }
}

// ---- random histories ----

#[derive(Debug, Clone)]
enum Step {
    /// An order of some units of each drop; 0 leaves a drop out.
    Order([u32; 3]),
    Purchase(usize),
    Cancel(usize),
    Hold(usize, u32),
    CancelDrop(usize),
    Wait(i64),
}

const DROPS: [&str; 3] = ["a", "b", "c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::array::uniform3(0..4_u32).prop_map(Step::Order),
        4 => (0..6_usize).prop_map(Step::Purchase),
        2 => (0..6_usize).prop_map(Step::Cancel),
        3 => (0..3_usize, 1..4_u32).prop_map(|(drop, units)| Step::Hold(drop, units)),
        1 => (0..3_usize).prop_map(Step::CancelDrop),
        5 => (0..25_000_i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

/// The drops and orders, and the engine's due work, done by hand.
struct Run {
    market: Market,
    now: Timestamp,
    orders: Vec<String>,
    holds: usize,
}

impl Run {
    fn new() -> Self {
        let opened = |seconds| {
            let terms = DropTerms {
                hold_seconds: hold_seconds(seconds),
                ..terms()
            };
            [drop_scheduled(terms, 12)]
        };
        let market = Market::default()
            .with("a", opened(20))
            .with("b", opened(40))
            .with("c", opened(60));
        Self {
            market,
            now: second(0),
            orders: vec![],
            holds: 0,
        }
    }

    /// Records one overdue expiry or release at a time, and the consequences for its order.
    fn work(&mut self) {
        loop {
            let due = |(id, drop): (&DropId, &DropAggregate)| {
                let overdue = |hold: &domain::drop::Hold| {
                    hold.status == HoldStatus::Held
                        && (hold.expires_at <= self.now || drop.cancelled_at().is_some())
                };
                drop.holds().find(overdue).map(|hold| (*id, hold.id))
            };
            let Some((id, hold)) = self.market.drops.iter().find_map(due) else {
                return;
            };
            let drop = self.market.drops.get_mut(&id).unwrap();
            let decision = match drop.cancelled_at() {
                Some(_) => drop.settle_cancelled().unwrap(),
                None => drop
                    .expire_hold(&domain::command::ExpireHold {
                        hold_id: hold,
                        at: self.now,
                    })
                    .unwrap(),
            };
            assert_eq!(decision.events.len(), 1);
            drop.evolve(&decision.events[0]);
            for order in self.orders.clone() {
                self.market.conclude_order(&order, self.now);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        let order = |index: usize| self.orders.iter().rev().nth(index).cloned();
        match step {
            Step::Order(units) => {
                let lines: Vec<(&str, u32)> = DROPS
                    .into_iter()
                    .zip(*units)
                    .filter(|(_, units)| *units > 0)
                    .collect();
                let name = format!("o{}", self.orders.len());
                if !lines.is_empty() && self.market.place_order(&name, &lines, self.now).is_ok() {
                    self.orders.push(name);
                }
            }
            Step::Purchase(index) => {
                if let Some(order) = order(*index) {
                    let _refused = self.market.purchase_order(&order, self.now);
                }
            }
            Step::Cancel(index) => {
                if let Some(order) = order(*index) {
                    let _refused = self.market.cancel_order(&order, self.now);
                }
            }
            Step::Hold(drop, units) => {
                self.holds += 1;
                let command = place_hold(&format!("h{}", self.holds), *units).at(self.now);
                let _refused = self.market.decide(DROPS[*drop], &command);
            }
            Step::CancelDrop(drop) => {
                let command = cancel_drop().at(self.now);
                let _refused = self.market.decide(DROPS[*drop], &command);
            }
            Step::Wait(millis) => self.now = self.now.plus_millis(*millis),
        }
        self.work();
        self.check();
    }

    fn check(&self) {
        for drop in self.market.drops.values() {
            let stock = drop.stock();
            assert_eq!(stock.available + stock.held + stock.sold, stock.total);
        }
        for order in self.market.orders.values() {
            let of = |item: &domain::order::OrderItem| {
                let drop = &self.market.drops[&item.drop_id];
                drop.hold(item.hold_id)
                    .expect("every item has its hold")
                    .status
            };
            let mut statuses = BTreeMap::<String, usize>::new();
            for item in order.items() {
                *statuses.entry(format!("{:?}", of(item))).or_default() += 1;
            }
            let all = |status: &str| statuses.get(status) == Some(&order.items().len());
            let sold = statuses.contains_key("Purchased");
            match order.progress().status {
                OrderStatus::Pending => assert!(all("Held"), "{statuses:?}"),
                OrderStatus::Paid => assert!(all("Purchased"), "{statuses:?}"),
                OrderStatus::Cancelled => assert!(all("Released"), "{statuses:?}"),
                OrderStatus::Expired => assert!(all("Expired") && !sold, "{statuses:?}"),
            }
        }
    }
}

#[test]
fn random_orders_are_whole_and_conserve_units() {
    let mut ends = BTreeMap::<&str, u32>::new();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let seen = std::cell::RefCell::new(&mut ends);
    runner
        .run(&steps(), |steps| {
            let mut run = Run::new();
            for step in &steps {
                run.take(step);
            }
            for order in run.market.orders.values() {
                let mut seen = seen.borrow_mut();
                *seen.entry(order.progress().status.name()).or_default() += 1;
            }
            Ok(())
        })
        .unwrap();
    for status in ["pending", "paid", "cancelled", "expired"] {
        assert!(
            ends.get(status).is_some_and(|count| *count >= 50),
            "{ends:?}"
        );
    }
}
