//! Changes of holds in place: the rules of a log, and what breaks them.

use serde_json::{Value, json};

use super::story::*;

const EXTENDED: usize = 4;
const GROWN: usize = 5;
const SHRUNK: usize = 6;
const BOUGHT: usize = 7;

fn extended(seconds: f64, hold: u8, from: f64, until: f64) -> TestEvent {
    test_event(
        A,
        seconds,
        "HoldExtended",
        json!({
            "hold_id": id(hold), "buyer": id(hold + 100), "previous_expires_at": at(from),
            "expires_at": at(until), "extended_at": at(seconds),
        }),
    )
}

fn changed(seconds: f64, hold: u8, from: u32, to: u32) -> TestEvent {
    test_event(
        A,
        seconds,
        "HoldChanged",
        json!({
            "hold_id": id(hold), "buyer": id(hold + 100), "previous_quantity": from,
            "quantity": to, "changed_at": at(seconds),
        }),
    )
}

/// Two holds of a drop; the first is extended twice as far as usual, changed, and purchased.
fn history() -> Vec<TestEvent> {
    let mut scheduled = scheduled(A, 0.0, 5);
    let terms = &mut scheduled.fields["terms"];
    terms["max_hold_seconds"] = json!(300);
    terms["max_per_buyer"] = json!(4);
    let money = json!({ "amount": 300, "currency": "USD" });
    let bought = json!({ "purchase_id": id(90), "total": money, "purchased_at": at(150.0) });
    vec![
        scheduled,
        placed(1.0, 1, 1),
        placed(2.0, 2, 1),
        extended(3.0, 1, 61.0, 180.0),
        changed(4.0, 1, 1, 4),
        changed(5.0, 1, 4, 3),
        resolved(150.0, "PurchaseConfirmed", 1, 3, bought),
        resolved(
            150.0,
            "HoldExpired",
            2,
            1,
            json!({ "expired_at": at(62.0) }),
        ),
    ]
}

fn set(event: &mut TestEvent, field: &str, value: Value) {
    event.fields[field] = value;
}

#[test]
fn hold_is_extended_and_changed_in_place() {
    verdict(&seal(&history()), &[]).unwrap();
    // Up to the limit, and in the last millisecond.
    let mut edge = history();
    edge[EXTENDED - 1] = extended(3.0, 1, 61.0, 301.0);
    verdict(&seal(&edge), &[]).unwrap();
}

#[test]
fn offer_lasts_as_long_as_the_terms_say() {
    let mut offered = placed(4.0, 3, 1);
    offered.fields["waitlist_entry"] = json!(id(51));
    offered.fields["expires_at"] = json!(at(94.0));
    let mut scheduled = scheduled(A, 0.0, 1);
    scheduled.fields["terms"]["offer_seconds"] = json!(90);
    let mut log = vec![
        scheduled,
        placed(1.0, 1, 1),
        joined(2.0, 51, 3),
        released(4.0, 1),
        offered,
    ];
    verdict(&seal(&log), &[]).unwrap();
    log[4].fields["expires_at"] = json!(at(64.0));
    assert_violated(&seal(&log), 5, "expires_at: expected");
    log[4].fields["expires_at"] = json!(at(94.0));
    log[1].fields["expires_at"] = json!(at(91.0));
    assert_violated(&seal(&log), 2, "expires_at: expected");
}

#[test]
fn impossible_changes_of_holds_are_found() {
    type Change = fn(&mut Vec<TestEvent>);
    let cases: Vec<(&str, usize, &str, Change)> = vec![
        (
            "extended past the limit",
            EXTENDED,
            "last 300 seconds at most",
            |s| set(&mut s[EXTENDED - 1], "expires_at", json!(at(301.001))),
        ),
        ("shortened", EXTENDED, "not later than its deadline", |s| {
            set(&mut s[EXTENDED - 1], "expires_at", json!(at(61.0)))
        }),
        (
            "extended from another deadline",
            EXTENDED,
            "previous_expires_at: expected",
            |s| set(&mut s[EXTENDED - 1], "previous_expires_at", json!(at(60.0))),
        ),
        (
            "extended when it was over",
            EXTENDED,
            "was extended at",
            |s| set(&mut s[EXTENDED - 1], "extended_at", json!(at(61.0))),
        ),
        (
            "extended for another buyer",
            EXTENDED,
            "buyer of the hold",
            |s| set(&mut s[EXTENDED - 1], "buyer", json!(id(102))),
        ),
        (
            "extended, but never placed",
            EXTENDED,
            "it is not open",
            |s| set(&mut s[EXTENDED - 1], "hold_id", json!(id(7))),
        ),
        (
            "extended after the purchase",
            BOUGHT + 1,
            "it is not open",
            |s| s.insert(BOUGHT, extended(150.0, 1, 180.0, 190.0)),
        ),
        (
            "extended after the drop was cancelled",
            EXTENDED + 1,
            "was cancelled before",
            |s| s.insert(EXTENDED - 1, cancelled(3.0)),
        ),
        (
            "an extension that is ignored",
            BOUGHT,
            "was purchased at",
            |s| {
                s.remove(EXTENDED - 1);
                s[BOUGHT - 2].fields["purchased_at"] = json!(at(61.0));
                s.insert(0, scheduled(B, 0.0, 1));
            },
        ),
        (
            "more units than are available",
            GROWN,
            "oversold: available -1",
            |s| set(&mut s[GROWN - 1], "quantity", json!(5)),
        ),
        ("changed to nothing else", GROWN, "same quantity", |s| {
            set(&mut s[GROWN - 1], "quantity", json!(1))
        }),
        (
            "changed from another quantity",
            SHRUNK,
            "previous_quantity: expected 4, found 2",
            |s| set(&mut s[SHRUNK - 1], "previous_quantity", json!(2)),
        ),
        (
            "more units than one hold may have",
            GROWN,
            "units in one hold",
            |s| {
                s[0].fields["total_stock"] = json!(20);
                set(&mut s[GROWN - 1], "quantity", json!(10));
                s.truncate(GROWN);
            },
        ),
        ("changed when it was over", GROWN, "was changed at", |s| {
            set(&mut s[GROWN - 1], "changed_at", json!(at(180.0)))
        }),
        (
            "units added after the end of the sale",
            GROWN,
            "after the sale ended",
            |s| s[0].fields["terms"]["ends_at"] = json!(at(4.0)),
        ),
        (
            "purchased with the former quantity",
            BOUGHT,
            "quantity of the hold: expected 3, found 4",
            |s| set(&mut s[BOUGHT - 1], "quantity", json!(4)),
        ),
        (
            "more units than one buyer may have",
            GROWN,
            "but at most 4 are allowed",
            |s| {
                s[0].fields["total_stock"] = json!(20);
                set(&mut s[GROWN - 1], "quantity", json!(5));
                set(&mut s[SHRUNK - 1], "previous_quantity", json!(5));
            },
        ),
    ];
    for (name, position, reason, change) in cases {
        let mut log = history();
        change(&mut log);
        println!("{name}");
        assert_violated(&seal(&log), position, reason);
    }
}
