//! Notices and messages of invented histories.

use domain::order::OrderEvent;
use domain::terms::DropTerms;
use domain::testing::{
    drop_cancelled, drop_id, drop_rescheduled, drop_scheduled, hold_expired, hold_placed,
    hold_released, low_stock, order_expired, order_id, order_item, order_paid, order_paid_late,
    order_placed, payment_arrived_late, payment_id, payment_started, purchase_confirmed,
    purchase_refunded, second, stock, stock_adjusted, terms,
};
use domain::values::Sequence;
use infrastructure::codec::RecordedOrderEvent;
use infrastructure::quarantine::{Fault, RefusedEvent};
use serde_json::{Value, json};

use super::*;
use crate::message::{messages, order_message};

/// The history of one drop, one event a second.
fn observed(events: Vec<DropEvent>) -> (Notices, Vec<RecordedEvent>) {
    let recorded = (1..).zip(events).map(|(position, event)| RecordedEvent {
        position: Position(position),
        recorded_at: second(i64::try_from(position).unwrap()),
        drop_id: drop_id("a"),
        sequence: Sequence(position),
        event,
        private: None,
    });
    let recorded: Vec<RecordedEvent> = recorded.collect();
    let mut notices = Notices::default();
    let committed = Committed {
        events: recorded.clone(),
        ..Committed::default()
    };
    notices.committed(&Arc::new(committed));
    (notices, recorded)
}

/// The types of messages of each event.
fn kinds(events: Vec<DropEvent>) -> Vec<Vec<&'static str>> {
    let (notices, recorded) = observed(events);
    let of = |recorded: &RecordedEvent| {
        let messages = messages(recorded, &notices.of(recorded));
        messages.iter().map(|message| message.event_type).collect()
    };
    recorded.iter().map(of).collect()
}

#[test]
fn selling_out_and_restocking_alternate() {
    let events = vec![
        drop_scheduled(terms(), 2),
        hold_placed("1", 1),
        hold_placed("2", 1),
        purchase_confirmed("1", 1),
        hold_expired("2", 1),
        hold_placed("3", 1),
        stock_adjusted("1", 2, stock(2, 1, 1)),
        stock_adjusted("2", 1, stock(3, 1, 1)),
        stock_adjusted("3", -3, stock(0, 1, 1)),
        hold_released("3", 1),
    ];
    assert_eq!(
        kinds(events),
        [
            vec!["drop.scheduled"],
            vec!["hold.placed"],
            vec!["hold.placed", "drop.sold_out"],
            vec!["purchase.confirmed"],
            vec!["hold.expired", "drop.restocked"],
            vec!["hold.placed", "drop.sold_out"],
            vec!["drop.restocked"],
            vec![],
            vec!["drop.sold_out"],
            vec!["hold.released", "drop.restocked"],
        ]
    );
}

#[test]
fn drop_that_is_over_is_neither_sold_out_nor_restocked() {
    let events = vec![
        drop_scheduled(terms(), 1),
        hold_placed("1", 1),
        drop_cancelled(),
        hold_released("1", 1),
    ];
    let expected = [
        vec!["drop.scheduled"],
        vec!["hold.placed", "drop.sold_out"],
        vec!["drop.cancelled"],
        vec!["hold.released"],
    ];
    assert_eq!(kinds(events), expected);
    let ending = DropTerms {
        ends_at: Some(second(3)),
        ..terms()
    };
    let events = vec![
        drop_scheduled(ending, 1),
        hold_placed("1", 1),
        hold_expired("1", 1),
    ];
    assert_eq!(kinds(events)[2], ["hold.expired"]);
}

/// The events with `stock.low`, by their number from 0.
fn lows(events: Vec<DropEvent>) -> Vec<usize> {
    let kinds = kinds(events).into_iter().enumerate();
    let low = kinds.filter(|(_, kinds)| kinds.contains(&"stock.low"));
    low.map(|(number, _)| number).collect()
}

fn low_at(units: u32) -> DropTerms {
    DropTerms {
        low_stock_at: Some(low_stock(units)),
        ..terms()
    }
}

#[test]
fn low_stock_is_noticed_once_for_each_fall_from_above() {
    let events = vec![
        drop_scheduled(low_at(2), 5),
        hold_placed("1", 2),
        hold_placed("2", 1),
        hold_placed("3", 1),
        hold_expired("3", 1),
        hold_placed("4", 2),
        hold_released("1", 2),
        hold_expired("2", 1),
        stock_adjusted("1", -1, stock(2, 1, 1)),
        purchase_confirmed("4", 2),
    ];
    // At 2 units, and again after 3 were available.
    assert_eq!(lows(events.clone()), [2, 8]);
    let (notices, recorded) = observed(events);
    let low = notices.of(&recorded[2]).low.unwrap();
    assert_eq!((low.available, low.low_stock_at.get()), (2, 2));
}

#[test]
fn sold_out_drop_is_low_in_the_same_event_after_it() {
    let events = vec![drop_scheduled(low_at(2), 3), hold_placed("1", 3)];
    let expected = ["hold.placed", "drop.sold_out", "stock.low"];
    assert_eq!(kinds(events)[1], expected);
}

#[test]
fn edit_is_no_fall_but_decides_about_the_next_one() {
    let raised = vec![
        drop_scheduled(terms(), 5),
        hold_placed("1", 1),
        drop_rescheduled(low_at(4)),
        hold_placed("2", 1),
        drop_rescheduled(low_at(1)),
        hold_placed("3", 2),
        drop_rescheduled(terms()),
        hold_placed("4", 1),
    ];
    assert_eq!(lows(raised), [3, 5]);
    let few = vec![drop_scheduled(low_at(9), 5), hold_placed("1", 1)];
    assert_eq!(lows(few), [1], "few units from the start are no fall");
}

#[test]
fn cancelled_drop_does_not_become_low() {
    let events = vec![
        drop_scheduled(low_at(1), 2),
        drop_cancelled(),
        stock_adjusted("1", -1, stock(1, 0, 0)),
    ];
    assert_eq!(lows(events), [] as [usize; 0]);
}

#[test]
fn ids_are_distinct_without_dots_and_the_same_every_time() {
    let events = || vec![drop_scheduled(terms(), 1), hold_placed("1", 1)];
    let ids = || {
        let (notices, recorded) = observed(events());
        let of = |recorded: &RecordedEvent| messages(recorded, &notices.of(recorded));
        let all: Vec<_> = recorded.iter().flat_map(of).collect();
        all
    };
    let (first, again) = (ids(), ids());
    assert_eq!(first, again);
    let mut names: Vec<&str> = first
        .iter()
        .map(|message| message.webhook_id.as_str())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| !name.contains('.') && name.len() <= 64),
        "{names:?}"
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[test]
fn drop_that_is_applied_again_has_the_notices_of_its_new_history() {
    let (mut notices, recorded) = observed(vec![
        drop_scheduled(terms(), 2),
        hold_placed("1", 1),
        hold_placed("2", 1),
    ]);
    let id = drop_id("a");
    assert_eq!(notices.of(&recorded[2]).stock, Some(StockNotice::SoldOut));
    let without_the_void_one = vec![recorded[0].clone(), recorded[2].clone()];
    notices.readmitted(&Readmitted {
        drop_id: id,
        events: without_the_void_one,
        refused: None,
        observed: Position(3),
    });
    assert_eq!(notices.of(&recorded[2]).stock, None);
    let other = RecordedEvent {
        drop_id: drop_id("b"),
        ..recorded[2].clone()
    };
    assert_eq!(notices.of(&other), Notice::default());
}

/// An order of two drops, paid at position 2, and a refund of each item at 3 and 4.
fn refunded_order() -> (Notices, [RecordedEvent; 2]) {
    let items = [order_item("a", "h1", 1), order_item("b", "h2", 2)];
    let of_order = |position, event| RecordedOrderEvent {
        position: Position(position),
        recorded_at: second(9),
        order_id: order_id("o"),
        sequence: Sequence(position),
        event,
        private: None,
    };
    let refund = |position, drop: &str, hold: &str, quantity| RecordedEvent {
        position: Position(position),
        recorded_at: second(9),
        drop_id: drop_id(drop),
        sequence: Sequence(1),
        event: purchase_refunded(hold, hold, quantity),
        private: None,
    };
    let refunds = [refund(3, "a", "h1", 1), refund(4, "b", "h2", 1)];
    let committed = Committed {
        orders: vec![
            of_order(1, order_placed(items)),
            of_order(2, order_paid(items)),
        ],
        events: refunds.to_vec(),
        ..Committed::default()
    };
    let mut notices = Notices::default();
    notices.committed(&Arc::new(committed));
    (notices, refunds)
}

/// The status and the refunded units of each item, as a webhook shows them.
fn shown(order: &OrderFacts) -> (Value, Vec<Value>) {
    let shown = serde_json::to_value(order).unwrap();
    let items = shown["items"].as_array().unwrap();
    let refunded = items.iter().map(|item| item["refunded"].clone()).collect();
    (shown["status"].clone(), refunded)
}

#[test]
fn order_is_shown_as_each_event_left_it() {
    let (notices, refunds) = refunded_order();
    let at = |position| shown(&notices.order_at(order_id("o"), Position(position)).unwrap());
    assert_eq!(at(1), (json!("pending"), vec![json!(0), json!(0)]));
    assert_eq!(at(2), (json!("paid"), vec![json!(0), json!(0)]));
    let partly = (json!("partially_refunded"), vec![json!(1), json!(0)]);
    assert_eq!(shown(&notices.of(&refunds[0]).order.unwrap()), partly);
    assert_eq!(at(4).1, [json!(1), json!(1)]);
    assert_eq!(notices.order_at(order_id("p"), Position(4)), None);
}

#[test]
fn refunds_of_a_drop_that_is_applied_again_count_once() {
    let (mut notices, refunds) = refunded_order();
    let again = |events: Vec<RecordedEvent>| Readmitted {
        drop_id: drop_id("b"),
        events,
        refused: None,
        observed: Position(4),
    };
    let mut refunded = |events| {
        notices.readmitted(&again(events));
        shown(&notices.order_at(order_id("o"), Position(9)).unwrap()).1
    };
    assert_eq!(refunded(vec![refunds[1].clone()]), [json!(1), json!(1)]);
    assert_eq!(refunded(vec![]), [json!(1), json!(0)], "its refund is void");
}

#[test]
fn order_that_is_applied_again_keeps_the_refunds_of_its_drops() {
    let (mut notices, refunds) = refunded_order();
    let items = [order_item("a", "h1", 1), order_item("b", "h2", 2)];
    let of_order = |position, event| RecordedOrderEvent {
        position: Position(position),
        recorded_at: second(9),
        order_id: order_id("o"),
        sequence: Sequence(position),
        event,
        private: None,
    };
    let whole = [
        of_order(1, order_placed(items)),
        of_order(2, order_paid(items)),
    ];
    let again = |events: &[RecordedOrderEvent]| ReadmittedOrder {
        order_id: order_id("o"),
        events: events.to_vec(),
        refused: None,
        observed: Position(4),
    };
    notices.order_readmitted(&again(&whole));
    let at = |notices: &Notices| shown(&notices.order_at(order_id("o"), Position(9)).unwrap()).1;
    assert_eq!(at(&notices), [json!(1), json!(1)]);

    // This server does not know the sale when the refunds are recorded.
    let mut notices = Notices::default();
    let bad = of_order(2, order_paid(items));
    let refused = RefusedEvent::recorded_of_order(&bad, Fault::UnknownVersion, "");
    notices.committed(&Arc::new(Committed {
        orders: vec![whole[0].clone()],
        quarantined: vec![Arc::new(refused)],
        events: refunds.to_vec(),
        ..Committed::default()
    }));
    assert_eq!(at(&notices), [json!(0), json!(0)]);
    notices.order_readmitted(&again(&whole));
    assert_eq!(at(&notices), [json!(1), json!(1)]);
}

/// The messages of an order's history, one event a position.
fn of_order(events: Vec<OrderEvent>) -> Vec<Option<Value>> {
    let recorded = (1..)
        .zip(events)
        .map(|(position, event)| RecordedOrderEvent {
            position: Position(position),
            recorded_at: second(9),
            order_id: order_id("o"),
            sequence: Sequence(position),
            event,
            private: None,
        });
    let recorded: Vec<RecordedOrderEvent> = recorded.collect();
    let mut notices = Notices::default();
    notices.committed(&Arc::new(Committed {
        orders: recorded.clone(),
        ..Committed::default()
    }));
    let message = |recorded: &RecordedOrderEvent| {
        let order = notices.order_at(recorded.order_id, recorded.position)?;
        let message = order_message(recorded, &order)?;
        Some(serde_json::from_slice(&message.body).unwrap())
    };
    recorded.iter().map(message).collect()
}

#[test]
fn late_payment_is_told_before_the_sale_of_new_holds() {
    let (placed, sold) = (order_item("a", "h1", 1), order_item("a", "h2", 1));
    let sent = of_order(vec![
        order_placed([placed]),
        payment_started("p", [placed]),
        order_expired(),
        payment_arrived_late("p", "pi_1"),
        order_paid_late("p", "pi_1", [sold]),
    ]);
    let kinds: Vec<Option<&str>> = sent
        .iter()
        .map(|body| body.as_ref()?["type"].as_str())
        .collect();
    let expected = [
        Some("order.placed"),
        None,
        Some("order.expired"),
        Some("payment.late"),
        Some("order.confirmed"),
    ];
    assert_eq!(kinds, expected);
    let data = |index: usize| sent[index].as_ref().unwrap()["data"].clone();
    let hold = |index: usize| data(index)["items"][0]["hold_id"].clone();
    assert_eq!(data(3)["status"], "expired");
    assert_eq!(data(3)["payment_id"], json!(payment_id("p")));
    assert!(data(3).get("intent").is_none());
    assert_eq!(
        (data(4)["status"].clone(), data(4)["late"].clone()),
        (json!("paid"), json!(true))
    );
    assert_eq!(hold(3), json!(placed.hold_id));
    assert_eq!(hold(4), json!(sold.hold_id));
}
