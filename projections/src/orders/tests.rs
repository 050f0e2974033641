//! The list of orders against events: filters, pages, and indexes.

use domain::order::{CancelCause, FulfilmentStep, RefundCause, RefundOutcome};
use domain::private::Private;
use domain::testing::*;
use domain::values::{Salt, Sequence};

use super::*;
use crate::order_payments::MoneyStatus;

const SALT: Salt = Salt([0; 16]);

fn recorded(order: &str, position: u64, event: OrderEvent) -> RecordedOrderEvent {
    RecordedOrderEvent {
        position: Position(position),
        recorded_at: second(0),
        order_id: order_id(order),
        sequence: Sequence(1),
        event,
        private: None,
    }
}

fn placed(order: &str, position: u64, buyer: &str, drops: &[&str]) -> RecordedOrderEvent {
    let item = |drop: &&str| order_item(drop, &format!("{order}{drop}"), 1);
    RecordedOrderEvent {
        private: Some(Private::buyer(SALT, BuyerId::new(buyer).unwrap(), None)),
        ..recorded(order, position, order_placed(drops.iter().map(item)))
    }
}

fn add(orders: &mut Orders, recorded: &RecordedOrderEvent) {
    orders.apply(recorded, recorded.position);
}

fn reference(text: &str) -> PaymentReference {
    PaymentReference::new(text).unwrap()
}

fn orders() -> Orders {
    let mut orders = Orders::default();
    add(&mut orders, &placed("a", 1, "ann", &["x", "y"]));
    add(&mut orders, &placed("b", 4, "bob", &["y"]));
    add(&mut orders, &placed("c", 6, "ANN", &["x"]));
    let mut paid = recorded(
        "a",
        8,
        order_paid([order_item("x", "ax", 1), order_item("y", "ay", 1)]),
    );
    paid.private = Some(Private::payment(SALT, reference("card 1")));
    add(&mut orders, &paid);
    add(
        &mut orders,
        &recorded("b", 11, order_cancelled(CancelCause::Buyer)),
    );
    let mut shipped = recorded("a", 13, order_fulfilled(FulfilmentStep::Shipped));
    shipped.private = Some(Private::shipment(SALT, Tracking::new("parcel").unwrap()));
    add(&mut orders, &shipped);
    orders
}

fn found(orders: &Orders, filter: &OrderFilter, now: i64) -> Vec<OrderId> {
    let mut all = vec![];
    let mut before = None;
    loop {
        let slice = orders.slice(filter, before, (2, 10), second(now));
        all.extend(slice.found.iter().map(|(id, _)| *id));
        before = slice.next;
        if before.is_none() {
            return all;
        }
    }
}

fn ids(names: &[&str]) -> Vec<OrderId> {
    names.iter().map(|name| order_id(name)).collect()
}

#[test]
fn every_filter_finds_its_orders_newest_first() {
    let orders = orders();
    let all = OrderFilter::default();
    assert_eq!(found(&orders, &all, 0), ids(&["c", "b", "a"]));
    let of_ann = OrderFilter {
        buyer_id: Some(BuyerId::new("Ann").unwrap()),
        ..OrderFilter::default()
    };
    assert_eq!(found(&orders, &of_ann, 0), ids(&["c", "a"]));
    let of_y = OrderFilter {
        drop_id: Some(drop_id("y")),
        ..OrderFilter::default()
    };
    assert_eq!(found(&orders, &of_y, 0), ids(&["b", "a"]));
    let with_card = OrderFilter {
        payment_reference: Some(reference("card 1")),
        ..OrderFilter::default()
    };
    assert_eq!(found(&orders, &with_card, 0), ids(&["a"]));
    let both = OrderFilter {
        drop_id: Some(drop_id("y")),
        ..of_ann.clone()
    };
    assert_eq!(found(&orders, &both, 0), ids(&["a"]));
    let of_cy = OrderFilter {
        buyer_id: Some(BuyerId::new("cy").unwrap()),
        ..OrderFilter::default()
    };
    assert!(found(&orders, &of_cy, 0).is_empty());
}

#[test]
fn refunds_set_the_status_and_are_applied_again_after_a_readmission() {
    let mut orders = orders();
    let refund = |orders: &mut Orders, hold: &str, position| {
        let DropEvent::PurchaseRefunded(event) = purchase_refunded("r", hold, 1) else {
            panic!("a refund");
        };
        orders.refund(&event, Position(position));
    };
    let status = |orders: &Orders| orders.get(order_id("a")).unwrap().status;
    assert_eq!(status(&orders), ShownStatus::Paid);
    // A hold without an order.
    refund(&mut orders, "other", 20);
    refund(&mut orders, "ax", 21);
    assert_eq!(status(&orders), ShownStatus::PartiallyRefunded);
    refund(&mut orders, "ay", 22);
    assert_eq!(status(&orders), ShownStatus::Refunded);
    assert_eq!(
        orders.get(order_id("a")).unwrap().position,
        Position(22),
        "the order changed there"
    );
    let refunded = OrderFilter {
        status: Some(ShownStatus::Refunded),
        ..OrderFilter::default()
    };
    assert_eq!(found(&orders, &refunded, 0), ids(&["a"]));
    orders.forget_refunds(drop_id("x"));
    assert_eq!(status(&orders), ShownStatus::PartiallyRefunded);
    assert!(found(&orders, &refunded, 0).is_empty());
    refund(&mut orders, "ax", 21);
    assert_eq!(status(&orders), ShownStatus::Refunded);
}

/// An event, with the reference of an intent next to it.
fn with_reference(order: &str, position: u64, event: OrderEvent, text: &str) -> RecordedOrderEvent {
    RecordedOrderEvent {
        private: Some(Private::payment(SALT, reference(text))),
        ..recorded(order, position, event)
    }
}

fn items() -> [OrderItem; 2] {
    [order_item("x", "ax", 1), order_item("y", "ay", 1)]
}

#[test]
fn payments_move_the_deadline_and_are_listed_with_their_result() {
    let mut orders = Orders::default();
    add(&mut orders, &placed("a", 1, "ann", &["x", "y"]));
    let OrderEvent::PaymentStarted(mut started) = payment_started("p", items()) else {
        panic!("a start");
    };
    started.expires_at = second(500);
    add(
        &mut orders,
        &recorded("a", 4, OrderEvent::PaymentStarted(started)),
    );
    let row = |orders: &Orders| orders.get(order_id("a")).unwrap().clone();
    assert_eq!(row(&orders).status_at(second(499)), ShownStatus::Pending);
    assert_eq!(row(&orders).status_at(second(500)), ShownStatus::Expired);
    let shown = |orders: &Orders| row(orders).payments.shown().unwrap().clone();
    assert_eq!(shown(&orders).status(), MoneyStatus::Pending);
    add(&mut orders, &recorded("a", 7, payment_failed("p", "in 1")));
    assert_eq!(shown(&orders).status(), MoneyStatus::Failed);
    // A later payment is shown until one has bought the order.
    add(
        &mut orders,
        &recorded("a", 8, payment_started("q", items())),
    );
    assert_eq!(shown(&orders).id, payment_id("q"));
    let total = row(&orders).total;
    let success = payment_succeeded("p", "in 2", total);
    add(&mut orders, &with_reference("a", 9, success, "in 2"));
    let sale = order_paid_by("p", "in 2", items());
    add(&mut orders, &with_reference("a", 10, sale, "in 2"));
    let payment = shown(&orders);
    assert_eq!(payment.id, payment_id("p"));
    assert_eq!(payment.status(), MoneyStatus::Succeeded);
    assert_eq!(payment.reference(), Some(&reference("in 2")));
    assert!(payment.is_sale() && !payment.late());
    assert_eq!(row(&orders).status, ShownStatus::Paid);
}

#[test]
fn late_sale_replaces_the_holds_and_its_refunds_are_found() {
    let mut orders = Orders::default();
    add(&mut orders, &placed("a", 1, "ann", &["x", "y"]));
    add(
        &mut orders,
        &recorded("a", 4, payment_started("p", items())),
    );
    add(&mut orders, &recorded("a", 5, order_expired()));
    let total = orders.get(order_id("a")).unwrap().total;
    let success = payment_succeeded("p", "in 1", total);
    add(&mut orders, &with_reference("a", 6, success, "in 1"));
    add(
        &mut orders,
        &recorded("a", 7, payment_arrived_late("p", "in 1")),
    );
    let new = [order_item("x", "bx", 1), order_item("y", "by", 1)];
    let sale = order_paid_late("p", "in 1", new);
    add(&mut orders, &with_reference("a", 8, sale, "in 1"));
    let row = orders.get(order_id("a")).unwrap();
    assert_eq!((row.status, row.late), (ShownStatus::Paid, true));
    assert!(row.payments.shown().unwrap().late());
    let holds: Vec<HoldId> = row.items.iter().map(|item| item.hold_id).collect();
    assert_eq!(holds, [hold_id("bx"), hold_id("by")]);
    let refund = |orders: &mut Orders, hold: &str| {
        let DropEvent::PurchaseRefunded(event) = purchase_refunded("r", hold, 1) else {
            panic!("a refund");
        };
        orders.refund(&event, Position(20));
    };
    refund(&mut orders, "ax");
    let status = |orders: &Orders| orders.get(order_id("a")).unwrap().status;
    assert_eq!(status(&orders), ShownStatus::Paid, "the hold expired");
    refund(&mut orders, "bx");
    assert_eq!(status(&orders), ShownStatus::PartiallyRefunded);
    orders.remove(order_id("a"));
    assert!(orders.of_holds.is_empty() && orders.by_reference.is_empty());
}

#[test]
fn money_that_bought_nothing_is_found_by_its_reference_until_an_erasure() {
    let mut orders = orders();
    let of = |text: &str| OrderFilter {
        payment_reference: Some(reference(text)),
        ..OrderFilter::default()
    };
    add(
        &mut orders,
        &recorded("c", 20, payment_started("p", items())),
    );
    let total = orders.get(order_id("c")).unwrap().total;
    let success = payment_succeeded("p", "in 1", total);
    add(&mut orders, &with_reference("c", 21, success, "in 1"));
    let requested = refund_requested("r", ("p", "in 1"), total, RefundCause::Late);
    add(&mut orders, &recorded("c", 22, requested));
    assert_eq!(found(&orders, &of("in 1"), 0), ids(&["c"]));
    let refund = |orders: &Orders| {
        let row = orders.get(order_id("c")).unwrap();
        row.payments.refunds[0].clone()
    };
    assert_eq!(refund(&orders).status, MoneyStatus::Pending);
    for (outcome, status) in [
        (RefundOutcome::Failed, MoneyStatus::Failed),
        (RefundOutcome::Succeeded, MoneyStatus::Succeeded),
    ] {
        add(
            &mut orders,
            &recorded("c", 23, refund_settled("r", outcome)),
        );
        assert_eq!(refund(&orders).status, status);
    }
    assert_eq!(refund(&orders).failure, None);
    orders.forget(order_id("c"));
    assert!(found(&orders, &of("in 1"), 0).is_empty());
    let row = orders.get(order_id("c")).unwrap();
    assert_eq!(row.payments.references().count(), 0);
    assert_eq!(row.payments.refunds.len(), 1, "the facts stay");
}

#[test]
fn overdue_order_is_listed_as_expired_before_that_is_recorded() {
    let orders = orders();
    let with = |status| OrderFilter {
        status: Some(status),
        ..OrderFilter::default()
    };
    let over = i64::from(HOLD_SECONDS);
    assert_eq!(
        found(&orders, &with(ShownStatus::Pending), over - 1),
        ids(&["c"])
    );
    assert!(found(&orders, &with(ShownStatus::Expired), over - 1).is_empty());
    assert!(found(&orders, &with(ShownStatus::Pending), over).is_empty());
    assert_eq!(
        found(&orders, &with(ShownStatus::Expired), over),
        ids(&["c"])
    );
    assert_eq!(found(&orders, &with(ShownStatus::Paid), over), ids(&["a"]));
    assert_eq!(
        found(&orders, &with(ShownStatus::Cancelled), over),
        ids(&["b"])
    );
}

#[test]
fn erased_buyer_is_in_no_row_and_no_index() {
    let mut orders = orders();
    orders.forget(order_id("a"));
    orders.forget(order_id("c"));
    let debug = format!("{orders:?}").to_lowercase();
    for text in ["ann", "card 1", "parcel"] {
        assert!(!debug.contains(text), "{text} remains");
    }
    assert_eq!(found(&orders, &OrderFilter::default(), 0).len(), 3);
    assert!(debug.contains("bob"));
}

#[test]
fn batch_ends_with_the_last_event_of_its_drops() {
    let event = |position: u64, event: DropEvent| RecordedEvent {
        position: Position(position),
        recorded_at: second(0),
        drop_id: drop_id("x"),
        sequence: Sequence(1),
        event,
        private: None,
    };
    let order = placed("a", 5, "ann", &["x", "y"]);
    let events = [
        event(4, hold_ordered("a", "h", 1)),
        event(6, hold_ordered("a", "h1", 1)),
        event(7, hold_ordered("a", "h2", 1)),
        event(8, hold_placed("h3", 1)),
    ];
    assert_eq!(last_of_batch(&order, &events), Position(7));
    assert_eq!(last_of_batch(&order, &events[..2]), Position(6));
    assert_eq!(last_of_batch(&order, &[]), Position(5));
    let cancelled = recorded("a", 9, order_cancelled(CancelCause::Buyer));
    let events = [
        event(10, hold_of_cancelled_order("h1", 1)),
        event(11, hold_released("h3", 1)),
    ];
    assert_eq!(last_of_batch(&cancelled, &events), Position(10));
}

#[test]
fn removed_order_leaves_nothing() {
    let mut orders = orders();
    for name in ["a", "b", "c"] {
        orders.remove(order_id(name));
    }
    assert!(orders.rows.is_empty() && orders.by_position.is_empty());
    assert!(orders.by_buyer.is_empty() && orders.by_drop.is_empty());
    assert!(orders.by_status.is_empty() && orders.by_reference.is_empty());
}
