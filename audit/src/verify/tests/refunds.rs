//! Refunds: the rules of a log, and what breaks them.

use serde_json::{Value, json};

use super::story::*;

const BOUGHT: usize = 3;
const FIRST: usize = 4;
const SECOND: usize = 5;

fn money(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

fn refunded(seconds: f64, refund: u8, units: u32, restocked: bool) -> TestEvent {
    test_event(
        A,
        seconds,
        "PurchaseRefunded",
        json!({
            "refund_id": id(refund), "purchase_id": id(90), "hold_id": id(1), "buyer": id(101),
            "quantity": units, "amount": money(i64::from(units) * 100), "restocked": restocked,
            "reason": "broken", "purchased_at": at(3.0), "refunded_at": at(seconds),
        }),
    )
}

/// Three units are purchased, and refunded in two steps; the buyer then holds as many again.
fn history() -> Vec<TestEvent> {
    let mut scheduled = scheduled(A, 0.0, 5);
    scheduled.fields["terms"]["max_per_buyer"] = json!(3);
    let bought = json!({ "purchase_id": id(90), "total": money(300), "purchased_at": at(3.0) });
    let mut again = placed(6.0, 2, 3);
    again.fields["buyer"] = json!(id(101));
    vec![
        scheduled,
        placed(1.0, 1, 3),
        resolved(3.0, "PurchaseConfirmed", 1, 3, bought),
        refunded(4.0, 80, 2, true),
        refunded(5.0, 81, 1, false),
        again,
    ]
}

#[test]
fn purchase_is_refunded_in_parts_and_the_allowance_comes_back() {
    verdict(&seal(&history()), &[]).unwrap();
    // In a cancelled drop as well.
    let mut log = history();
    log.truncate(BOUGHT);
    log.push(cancelled(4.0));
    log.push(refunded(5.0, 80, 3, true));
    verdict(&seal(&log), &[]).unwrap();
}

#[test]
fn refunds_of_a_purchase_do_not_exceed_it_while_others_are_sold() {
    let other = json!({ "purchase_id": id(91), "total": money(200), "purchased_at": at(3.0) });
    let mut log = history();
    log.truncate(BOUGHT);
    log.insert(2, placed(2.0, 2, 2));
    log.push(resolved(3.0, "PurchaseConfirmed", 2, 2, other));
    log.push(refunded(4.0, 80, 2, true));
    log.push(refunded(5.0, 81, 1, true));
    verdict(&seal(&log), &[]).unwrap();
    log.pop();
    log.push(refunded(5.0, 81, 2, true));
    assert_violated(&seal(&log), 7, "4 units of purchase");
}

#[test]
fn impossible_refunds_are_found() {
    type Change = fn(&mut Vec<TestEvent>);
    let cases: Vec<(&str, usize, &str, Change)> = vec![
        ("more than is sold", FIRST, "oversold: available", |s| {
            s[FIRST - 1] = refunded(4.0, 80, 4, true);
        }),
        (
            "another amount",
            FIRST,
            "amount of the refund: expected 200 USD, found 201 USD",
            |s| s[FIRST - 1].fields["amount"] = money(201),
        ),
        (
            "another currency",
            FIRST,
            "expected 200 USD, found 200 EUR",
            |s| s[FIRST - 1].fields["amount"]["currency"] = json!("EUR"),
        ),
        ("another buyer", FIRST, "buyer of the purchase", |s| {
            s[FIRST - 1].fields["buyer"] = json!(id(102))
        }),
        ("another hold", FIRST, "hold of the purchase", |s| {
            s[FIRST - 1].fields["hold_id"] = json!(id(2))
        }),
        ("another time", FIRST, "purchased_at of the purchase", |s| {
            s[FIRST - 1].fields["purchased_at"] = json!(at(3.001))
        }),
        ("never purchased", FIRST, "was not made before", |s| {
            s[FIRST - 1].fields["purchase_id"] = json!(id(92))
        }),
        (
            "before the purchase",
            FIRST,
            "before the purchase at",
            |s| s[FIRST - 1].fields["refunded_at"] = json!(at(2.999)),
        ),
        ("a refund made twice", SECOND, "was made twice", |s| {
            s[SECOND - 1].fields["refund_id"] = json!(id(80))
        }),
        ("a key used twice", SECOND, "was used before", |s| {
            s[FIRST - 1].fields["key"] = json!(key(1));
            s[SECOND - 1].fields["key"] = json!(key(1));
        }),
        (
            "units held again that were not refunded",
            SECOND,
            "but at most 3 are allowed",
            |s| drop(s.remove(SECOND - 1)),
        ),
    ];
    for (name, position, reason, change) in cases {
        let mut log = history();
        change(&mut log);
        println!("{name}");
        assert_violated(&seal(&log), position, reason);
    }
}
