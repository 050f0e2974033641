//! Stories of orders whose money a provider takes, and the same with one fault each.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::private::Private;
use domain::values::{IntentDigest, PaymentReference, Position, ProviderName, Salt};
use infrastructure::log::StoredEvent;
use infrastructure::log::lines::LineWriter;
use serde_json::{Value, json};

use super::orders::*;
use super::story::*;
use crate::verify::{Notes, PaymentCounts};

type Story = Vec<TestEvent>;

/// The deadline of an order from second 1 after its payment started.
const MOVED: f64 = 91.0;

fn drops() -> Story {
    let mut a = scheduled(A, 0.0, 20);
    a.fields["terms"]["max_hold_seconds"] = json!(120);
    let mut b = scheduled(B, 0.0, 20);
    b.fields["terms"]["hold_seconds"] = json!(30);
    b.fields["terms"]["max_hold_seconds"] = json!(90);
    vec![a, b]
}

fn started(seconds: f64, payment: u8, until: f64) -> TestEvent {
    let fields = json!({
        "payment_id": id(payment), "key": key(payment), "provider": "demo", "amount": money(300),
        "started_at": at(seconds), "expires_at": at(until),
    });
    order_event(O, seconds, "PaymentStarted", fields)
}

fn extended(seconds: f64, drop: &str, hold: u8, from: f64, until: f64) -> TestEvent {
    let fields = json!({
        "hold_id": id(hold), "buyer": id(hold + 100), "previous_expires_at": at(from),
        "expires_at": at(until), "extended_at": at(seconds),
    });
    test_event(drop, seconds, "HoldExtended", fields)
}

fn reference(name: &str) -> PaymentReference {
    PaymentReference::new(name).unwrap()
}

/// The intent of the demo with this reference.
fn intent(name: &str) -> String {
    let demo = ProviderName::new("demo").unwrap();
    IntentDigest::new(&demo, &reference(name)).to_string()
}

fn succeeded(seconds: f64, payment: u8, name: &str, amount: u32) -> TestEvent {
    let private_data = Private::payment(Salt([7; 16]), reference(name));
    let fields = json!({
        "payment_id": id(payment), "intent": intent(name), "amount": money(amount),
        "succeeded_at": at(seconds), "commitment": private_data.commitment(),
    });
    TestEvent {
        private: private(&private_data),
        ..order_event(O, seconds, "PaymentSucceeded", fields)
    }
}

fn failed(seconds: f64, payment: u8) -> TestEvent {
    let fields = json!({
        "payment_id": id(payment), "intent": intent("x"), "reason": "card_declined",
        "failed_at": at(seconds),
    });
    order_event(O, seconds, "PaymentFailed", fields)
}

fn arrived_late(seconds: f64, payment: u8, name: &str) -> TestEvent {
    let fields = json!({
        "payment_id": id(payment), "intent": intent(name), "arrived_at": at(seconds),
    });
    order_event(O, seconds, "PaymentArrivedLate", fields)
}

fn refund(
    seconds: f64,
    refund: u8,
    (payment, name): (u8, &str),
    amount: u32,
    cause: &str,
) -> TestEvent {
    let mut fields = json!({
        "refund_id": id(refund), "payment_id": id(payment), "intent": intent(name),
        "amount": money(amount), "cause": cause, "requested_at": at(seconds),
    });
    if cause == "return" {
        fields["reason"] = json!("too small");
    }
    order_event(O, seconds, "RefundRequested", fields)
}

fn settled(seconds: f64, refund: u8, outcome: &str) -> TestEvent {
    let fields = json!({ "refund_id": id(refund), "outcome": outcome, "settled_at": at(seconds) });
    order_event(O, seconds, "RefundSettled", fields)
}

/// Units of a hold that was purchased at second 40 come back.
fn goods(seconds: f64, refund: u8, drop: &str, hold: u8, units: u32) -> TestEvent {
    let more = json!({
        "refund_id": id(refund), "purchase_id": id(hold + 50), "amount": money(units * 100),
        "restocked": true, "reason": "too small", "purchased_at": at(40.0),
        "refunded_at": at(seconds),
    });
    ended(seconds, "PurchaseRefunded", drop, hold, units, more)
}

/// An order whose payment moved the deadline.
fn begun() -> Story {
    let mut story = drops();
    story.extend(ordered(O, 1.0, [1, 2]));
    story.push(started(5.0, 61, MOVED));
    story.push(extended(5.0, A, 1, 31.0, MOVED));
    story.push(extended(5.0, B, 2, 31.0, MOVED));
    story
}

/// The sale of an order to a payment, at its arrival.
fn sold(seconds: f64, payment: u8, name: &str) -> Story {
    let mut sale = paid(O, seconds, [1, 2]);
    sale[0].fields["payment_id"] = json!(id(payment));
    sale[0].fields["intent"] = json!(intent(name));
    sale.insert(0, succeeded(seconds, payment, name, 300));
    sale
}

/// Positions of the story of an order that was paid, after its first deadline, and twice.
const STARTED: usize = 6;
const EXTENDED: usize = 7;
const SUCCEEDED: usize = 9;
const SOLD: usize = 10;
const BOUGHT: usize = 11;
const RETURNED: usize = 13;
const BACK: usize = 14;
const SETTLED: usize = 15;
const AGAIN: usize = 17;
const DOUBLE: usize = 18;
const REST: usize = 19;

pub(super) fn sold_story() -> Story {
    let mut story = begun();
    story.extend(sold(40.0, 61, "x"));
    story.push(refund(50.0, 71, (61, "x"), 100, "return"));
    story.push(goods(50.0, 71, B, 2, 1));
    story.push(settled(51.0, 71, "failed"));
    story.push(settled(52.0, 71, "succeeded"));
    story.push(succeeded(53.0, 61, "y", 300));
    story.push(refund(53.0, 72, (61, "y"), 300, "double"));
    story.push(refund(54.0, 73, (61, "x"), 200, "return"));
    story.push(goods(54.0, 73, A, 1, 1));
    story.push(goods(54.0, 73, B, 2, 1));
    story
}

fn over() -> Story {
    let mut story = begun();
    story.push(failed(10.0, 61));
    story.push(expired(MOVED, B, 2, 2, MOVED));
    let fields = json!({ "expired_at": at(MOVED) });
    story.push(order_event(O, MOVED, "OrderExpired", fields));
    story.push(expired(MOVED, A, 1, 1, MOVED));
    story.push(succeeded(95.0, 61, "x", 300));
    story
}

/// Positions of the story of an order that was paid late.
const OVER: usize = 11;
const ARRIVED: usize = 13;
const LATE: usize = 14;
const PAID_LATE: usize = 15;
const HELD_LATE: usize = 16;

pub(super) fn late_story() -> Story {
    let mut story = over();
    story.push(arrived_late(95.0, 61, "x"));
    let mut sale = paid(O, 96.0, [21, 22]);
    sale[0].fields["payment_id"] = json!(id(61));
    sale[0].fields["intent"] = json!(intent("x"));
    sale[0].fields["late"] = json!(true);
    let [paid, mut bought_a, mut bought_b] = sale.try_into().unwrap();
    let mut of_a = placed(96.0, 21, 1);
    let mut of_b = placed(96.0, 22, 2);
    of_b.stream.1 = B.to_owned();
    of_b.fields["expires_at"] = json!(at(126.0));
    for event in [&mut of_a, &mut of_b] {
        event.fields["order_id"] = json!(O);
    }
    for (event, buyer) in [
        (&mut of_a, 101),
        (&mut bought_a, 101),
        (&mut of_b, 102),
        (&mut bought_b, 102),
    ] {
        event.fields["buyer"] = json!(id(buyer));
    }
    story.extend([paid, of_a, bought_a, of_b, bought_b]);
    story
}

pub(super) fn refused_story() -> Story {
    let mut story = over();
    story.push(arrived_late(95.0, 61, "x"));
    story.push(refund(96.0, 71, (61, "x"), 300, "late"));
    story.push(succeeded(97.0, 61, "y", 200));
    story.push(arrived_late(97.0, 61, "y"));
    story.push(refund(97.0, 72, (61, "y"), 200, "wrong_amount"));
    story
}

pub(super) fn cancelled_story() -> Story {
    let mut story = begun();
    story.push(succeeded(20.0, 61, "w", 200));
    story.push(refund(20.0, 70, (61, "w"), 200, "wrong_amount"));
    story.push(cancelled_order(O, 80.0, "buyer"));
    story.push(released_with(80.0, A, 1, 1, "order_cancelled"));
    story.push(released_with(80.0, B, 2, 2, "order_cancelled"));
    story.push(succeeded(81.0, 61, "x", 300));
    story.push(arrived_late(81.0, 61, "x"));
    story.push(refund(81.0, 71, (61, "x"), 300, "order_over"));
    story
}

fn counts(
    succeeded: u64,
    sales: u64,
    (refunds_settled, refunds_open): (u64, u64),
) -> PaymentCounts {
    PaymentCounts {
        started: 1,
        succeeded,
        sales,
        refunds_settled,
        refunds_open,
    }
}

#[test]
fn valid_stories_of_payments_are_verified_and_counted() {
    let stories = [
        (sold_story(), counts(2, 1, (1, 2))),
        (late_story(), counts(1, 1, (0, 0))),
        (refused_story(), counts(2, 0, (0, 2))),
        (cancelled_story(), counts(2, 0, (0, 2))),
    ];
    for (story, expected) in stories {
        let proved =
            verdict(&seal(&story), &[]).unwrap_or_else(|found| panic!("{found}: {story:#?}"));
        assert_eq!(proved.payments, expected);
        assert_eq!((proved.open_holds, proved.notes), (0, Notes::default()));
    }
}

/// A name, a valid story, and a change of it.
type Permitted = (&'static str, fn() -> Story, fn(&mut Story));

fn permitted() -> [Permitted; 7] {
    [
        ("references are erased", sold_story, |s| {
            s.iter_mut().for_each(|event| event.private = None);
        }),
        ("a second payment moves nothing", begun, |s| {
            s.push(started(6.0, 62, MOVED));
        }),
        ("the terms allow no extension", begun, |s| {
            s[1].fields["terms"]["max_hold_seconds"] = json!(30);
            s[STARTED - 1].fields["expires_at"] = json!(at(31.0));
            s.truncate(STARTED);
        }),
        ("money in the last millisecond", begun, |s| {
            s.extend(sold(90.999, 61, "x"));
        }),
        ("the shop takes the money after a start", begun, |s| {
            s.extend(paid(O, 40.0, [1, 2]));
            s.push(goods(50.0, 71, A, 1, 1));
            s.push(goods(50.0, 71, B, 2, 1));
            s.push(succeeded(60.0, 61, "x", 300));
            s.push(refund(60.0, 72, (61, "x"), 300, "double"));
        }),
        ("the sale has ended before late money", late_story, |s| {
            s[0].fields["terms"]["ends_at"] = json!(at(50.0));
        }),
        ("a late sale is refunded", late_story, |s| {
            s.push(refund(99.0, 71, (61, "x"), 200, "return"));
            let mut back = goods(99.0, 71, B, 22, 2);
            back.fields["buyer"] = json!(id(102));
            back.fields["purchased_at"] = json!(at(96.0));
            s.push(back);
        }),
    ]
}

#[test]
fn permitted_stories_of_payments_are_verified() {
    for (name, story, change) in permitted() {
        let mut changed = story();
        change(&mut changed);
        let proved = verdict(&seal(&changed), &[]);
        let proved = proved.unwrap_or_else(|violation| panic!("{name}: {violation}"));
        let lost = proved.notes.vanished;
        let notes = Notes {
            vanished: lost,
            ..Notes::default()
        };
        assert_eq!(proved.notes, notes, "{name}");
    }
}

/// A story, the change that breaks it, and where and why it must be found.
type Case = (
    &'static str,
    fn() -> Story,
    usize,
    &'static str,
    fn(&mut Story),
);

#[track_caller]
fn assert_found(cases: Vec<Case>) {
    for (name, story, position, reason, change) in cases {
        let mut changed = story();
        change(&mut changed);
        let Err(violation) = verdict(&seal(&changed), &[]) else {
            panic!("{name}: verified");
        };
        assert_eq!(
            (violation.position, violation.to_string().contains(reason)),
            (Position(position as u64), true),
            "{name}: {violation}"
        );
    }
}

fn field(story: &mut Story, position: usize, name: &str, value: impl Into<Value>) {
    story[position - 1].fields[name] = value.into();
}

fn starts() -> Vec<Case> {
    vec![
        (
            "another amount",
            begun,
            STARTED,
            "amount of the payment",
            |s| {
                field(s, STARTED, "amount", money(299));
            },
        ),
        (
            "a deadline that the terms do not allow",
            begun,
            STARTED,
            "expires_at of the order",
            |s| {
                field(s, STARTED, "expires_at", at(92.0));
            },
        ),
        (
            "a deadline that did not move",
            begun,
            STARTED,
            "expires_at of the order",
            |s| {
                field(s, STARTED, "expires_at", at(31.0));
                s.truncate(STARTED);
            },
        ),
        (
            "an extension is missing",
            begun,
            EXTENDED + 1,
            "the extension of hold",
            |s| {
                s.pop();
            },
        ),
        (
            "extensions in another order",
            begun,
            EXTENDED,
            "drop of the item",
            |s| {
                s.swap(EXTENDED - 1, EXTENDED);
            },
        ),
        (
            "one hold is extended further",
            begun,
            EXTENDED,
            "expires_at of the order",
            |s| {
                field(s, EXTENDED, "expires_at", at(100.0));
            },
        ),
        (
            "extended without a payment",
            begun,
            STARTED,
            "was changed alone",
            |s| {
                s.remove(STARTED - 1);
            },
        ),
        (
            "extended at another time",
            begun,
            EXTENDED,
            "extended_at",
            |s| {
                field(s, EXTENDED, "extended_at", at(6.0));
            },
        ),
        (
            "started at the deadline",
            begun,
            STARTED,
            "its deadline was",
            |s| {
                field(s, STARTED, "started_at", at(31.0));
            },
        ),
        (
            "started before the order",
            begun,
            STARTED,
            "was placed at",
            |s| {
                field(s, STARTED, "started_at", at(0.5));
            },
        ),
        (
            "of an order that was never placed",
            begun,
            STARTED,
            "never placed",
            |s| {
                s[STARTED - 1].stream.1 = P.to_owned();
            },
        ),
        (
            "of an order that is over",
            cancelled_story,
            17,
            "it is cancelled",
            |s| {
                s.push(started(82.0, 62, MOVED));
            },
        ),
        ("of a paid order", sold_story, 13, "it is paid", |s| {
            s.insert(12, started(41.0, 62, MOVED));
        }),
        ("started twice", begun, 9, "was started twice", |s| {
            s.push(started(6.0, 61, MOVED));
            field(s, 9, "key", key(9));
        }),
        (
            "a key used twice",
            begun,
            9,
            "idempotency key was used before",
            |s| {
                s.push(started(6.0, 62, MOVED));
                field(s, 9, "key", key(61));
            },
        ),
        (
            "too many payments",
            begun,
            18,
            "more than 10 payments",
            |s| {
                s.extend((62..=71).map(|payment| started(6.0, payment, MOVED)));
            },
        ),
        (
            "of an order in a cancelled drop",
            begun,
            10,
            "was cancelled before",
            |s| {
                s.push(cancelled(6.0));
                s.push(started(7.0, 62, MOVED));
            },
        ),
        (
            "expired at the first deadline",
            over,
            OVER,
            "expired_at",
            |s| {
                field(s, OVER, "expired_at", at(31.0));
            },
        ),
    ]
}

#[test]
fn impossible_starts_are_found() {
    assert_found(starts());
}

fn outcomes() -> Vec<Case> {
    vec![
        (
            "no outcome",
            sold_story,
            SOLD,
            "neither a sale nor a refund",
            |s| {
                s.remove(SOLD - 1);
            },
        ),
        (
            "the log ends before the outcome",
            sold_story,
            SOLD,
            "neither a sale nor a refund",
            |s| {
                s.truncate(SUCCEEDED);
            },
        ),
        (
            "the outcome follows later",
            sold_story,
            SOLD,
            "neither a sale nor a refund",
            |s| {
                s.insert(
                    SOLD - 1,
                    scheduled("dddddddd-0000-4000-8000-000000000009", 40.0, 1),
                );
            },
        ),
        (
            "sold without a success",
            sold_story,
            SUCCEEDED,
            "whose success does not precede",
            |s| {
                s.remove(SUCCEEDED - 1);
            },
        ),
        (
            "sold for another intent",
            sold_story,
            SOLD,
            "neither a sale nor a refund",
            |s| {
                field(s, SOLD, "intent", intent("y"));
            },
        ),
        (
            "sold for another payment",
            sold_story,
            SOLD,
            "payment of the intent",
            |s| {
                field(s, SOLD, "payment_id", id(62));
            },
        ),
        (
            "sold for a payment alone",
            sold_story,
            SUCCEEDED,
            "an intent alone",
            |s| {
                s[SOLD - 1].fields.as_object_mut().unwrap().remove("intent");
                s.remove(SUCCEEDED - 1);
            },
        ),
        (
            "sold at another time than the arrival",
            sold_story,
            SOLD,
            "paid_at",
            |s| {
                field(s, SOLD, "paid_at", at(41.0));
            },
        ),
        (
            "sold for too little",
            sold_story,
            SOLD,
            "amount paid",
            |s| {
                field(s, SUCCEEDED, "amount", money(299));
            },
        ),
        (
            "sold for another currency",
            sold_story,
            SOLD,
            "amount paid",
            |s| {
                field(
                    s,
                    SUCCEEDED,
                    "amount",
                    json!({ "amount": 300, "currency": "EUR" }),
                );
            },
        ),
        (
            "sold and returned",
            sold_story,
            13,
            "its success does not precede",
            |s| {
                s.insert(12, refund(41.0, 75, (61, "x"), 300, "late"));
            },
        ),
        (
            "sold twice",
            sold_story,
            DOUBLE,
            "it was paid before",
            |s| {
                let mut again = paid(O, 53.0, [1, 2]).remove(0);
                again.fields["payment_id"] = json!(id(61));
                again.fields["intent"] = json!(intent("y"));
                s[DOUBLE - 1] = again;
            },
        ),
        (
            "an intent succeeds twice",
            sold_story,
            AGAIN,
            "succeeded twice",
            |s| {
                s[AGAIN - 1] = succeeded(53.0, 61, "x", 300);
            },
        ),
        (
            "an intent of another order",
            sold_story,
            28,
            "succeeded twice",
            |s| {
                s.extend(ordered(P, 60.0, [11, 12]));
                let mut again = started(61.0, 62, 90.0);
                again.fields["expires_at"] = json!(at(150.0));
                s.push(again);
                s.push(extended(61.0, A, 11, 90.0, 150.0));
                s.push(extended(61.0, B, 12, 90.0, 150.0));
                s.push(succeeded(62.0, 62, "x", 300));
                let mut sale = paid(P, 62.0, [11, 12]);
                sale[0].fields["payment_id"] = json!(id(62));
                sale[0].fields["intent"] = json!(intent("x"));
                s.extend(sale);
                for event in &mut s[21..] {
                    if event.stream.1 == O {
                        P.clone_into(&mut event.stream.1);
                    }
                }
            },
        ),
        (
            "an unknown payment succeeds",
            sold_story,
            SUCCEEDED,
            "was never started",
            |s| {
                field(s, SUCCEEDED, "payment_id", id(62));
            },
        ),
        (
            "succeeds before its start",
            sold_story,
            SUCCEEDED,
            "it succeeded at",
            |s| {
                field(s, SUCCEEDED, "succeeded_at", at(4.0));
            },
        ),
        (
            "another intent than its reference",
            sold_story,
            SUCCEEDED,
            "stored reference",
            |s| {
                field(s, SUCCEEDED, "intent", intent("z"));
            },
        ),
        (
            "sold for another reference",
            sold_story,
            SOLD,
            "stored reference",
            |s| {
                let other = Private::payment(Salt([8; 16]), reference("z"));
                field(s, SOLD, "commitment", json!(other.commitment()));
                s[SOLD - 1].private = private(&other);
            },
        ),
        (
            "money in time is returned",
            sold_story,
            SOLD,
            "is returned as late",
            |s| {
                s[SOLD - 1] = refund(41.0, 75, (61, "x"), 300, "late");
            },
        ),
        (
            "money of the right amount is returned",
            sold_story,
            SOLD,
            "its order is pending",
            |s| {
                s[SOLD - 1] = refund(41.0, 75, (61, "x"), 300, "wrong_amount");
            },
        ),
        (
            "a failure after the success",
            sold_story,
            13,
            "had ended before",
            |s| {
                s.insert(12, failed(41.0, 61));
            },
        ),
        ("a second failure", over, 10, "had ended before", |s| {
            s.insert(9, failed(11.0, 61));
        }),
        ("fails before its start", over, 9, "it failed at", |s| {
            field(s, 9, "failed_at", at(4.0));
        }),
    ]
}

#[test]
fn impossible_outcomes_are_found() {
    assert_found(outcomes());
}

fn late_money() -> Vec<Case> {
    vec![
        (
            "late for a pending order",
            sold_story,
            SOLD,
            "order cccccccc-0000-4000-8000-000000000003 is pending",
            |s| {
                s.insert(SOLD - 1, arrived_late(40.0, 61, "x"));
            },
        ),
        (
            "late without a success",
            late_story,
            ARRIVED,
            "its success does not precede",
            |s| {
                s.remove(ARRIVED - 1);
            },
        ),
        (
            "late at another time",
            late_story,
            LATE,
            "arrived_at",
            |s| {
                field(s, LATE, "arrived_at", at(96.0));
            },
        ),
        (
            "late twice",
            late_story,
            PAID_LATE,
            "neither a sale nor a refund",
            |s| {
                s.insert(LATE, arrived_late(95.0, 61, "x"));
            },
        ),
        (
            "sold after the expiry without being late",
            late_story,
            PAID_LATE,
            "late: expected true",
            |s| {
                field(s, PAID_LATE, "late", false);
            },
        ),
        (
            "sold late before the lateness is recorded",
            late_story,
            LATE,
            "late: expected false",
            |s| {
                s.remove(LATE - 1);
            },
        ),
        (
            "sold late by no payment",
            late_story,
            ARRIVED,
            "paid late by no payment",
            |s| {
                let fields = s[PAID_LATE - 1].fields.as_object_mut().unwrap();
                fields.remove("payment_id");
                fields.remove("intent");
                s.drain(ARRIVED - 1..LATE);
            },
        ),
        (
            "sold before the money",
            late_story,
            PAID_LATE,
            "it was paid at",
            |s| {
                field(s, PAID_LATE, "paid_at", at(94.0));
            },
        ),
        (
            "a cancelled order is sold",
            cancelled_story,
            16,
            "but it is cancelled",
            |s| {
                let mut sale = paid(O, 82.0, [21, 22]).remove(0);
                sale.fields["payment_id"] = json!(id(61));
                sale.fields["intent"] = json!(intent("x"));
                sale.fields["late"] = json!(true);
                s[15] = sale;
            },
        ),
        (
            "a late hold is missing",
            late_story,
            HELD_LATE,
            "does not follow it",
            |s| {
                s.remove(HELD_LATE - 1);
            },
        ),
        (
            "a late hold of another buyer",
            late_story,
            HELD_LATE,
            "buyer of the order's hold",
            |s| {
                field(s, HELD_LATE, "buyer", id(109));
            },
        ),
        (
            "a late hold of other units",
            late_story,
            HELD_LATE,
            "quantity of the item",
            |s| {
                field(s, HELD_LATE, "quantity", 2);
            },
        ),
        (
            "a late hold under another id",
            late_story,
            HELD_LATE,
            "hold of the item",
            |s| {
                field(s, HELD_LATE, "hold_id", id(23));
            },
        ),
        (
            "a late hold of another length",
            late_story,
            HELD_LATE,
            "expires_at",
            |s| {
                field(s, HELD_LATE, "expires_at", at(157.0));
            },
        ),
        (
            "a late hold is not purchased",
            late_story,
            HELD_LATE + 1,
            "does not follow",
            |s| {
                s.remove(HELD_LATE);
            },
        ),
        (
            "units that others hold are sold",
            late_story,
            19,
            "oversold",
            |s| {
                s[1].fields["total_stock"] = json!(2);
                let mut other = placed(93.0, 33, 1);
                other.stream.1 = B.to_owned();
                other.fields["expires_at"] = json!(at(123.0));
                s.insert(ARRIVED - 1, other);
            },
        ),
        (
            "sold late at a new price",
            late_story,
            PAID_LATE + 1,
            "price of the item",
            |s| {
                let mut terms = s[0].fields["terms"].clone();
                terms["price"]["amount"] = json!(250);
                let fields = json!({ "terms": terms, "rescheduled_at": at(93.0) });
                s.insert(ARRIVED - 1, test_event(A, 93.0, "DropRescheduled", fields));
            },
        ),
        (
            "more units than the limit per hold",
            late_story,
            HELD_LATE + 3,
            "in one hold",
            |s| {
                let mut terms = s[1].fields["terms"].clone();
                terms["max_per_hold"] = json!(1);
                let fields = json!({ "terms": terms, "rescheduled_at": at(93.0) });
                s.insert(ARRIVED - 1, test_event(B, 93.0, "DropRescheduled", fields));
            },
        ),
        (
            "more units than the limit per buyer",
            late_story,
            HELD_LATE + 3,
            "at most 2 are allowed",
            |s| {
                s[1].fields["terms"]["max_per_buyer"] = json!(2);
                let mut other = placed(93.0, 33, 1);
                other.stream.1 = B.to_owned();
                other.fields["expires_at"] = json!(at(123.0));
                other.fields["buyer"] = json!(id(102));
                s.insert(ARRIVED - 1, other);
            },
        ),
        (
            "late money is kept",
            refused_story,
            LATE + 1,
            "neither a sale nor a refund",
            |s| {
                s.remove(LATE);
            },
        ),
        (
            "late money is returned without being late",
            refused_story,
            LATE,
            "is returned as late",
            |s| {
                s.remove(LATE - 1);
            },
        ),
        (
            "late money of another amount is returned as late",
            refused_story,
            18,
            "cause of the refund",
            |s| {
                field(s, 18, "cause", "late");
            },
        ),
        (
            "money of a cancelled order is returned as late",
            cancelled_story,
            16,
            "cause of the refund",
            |s| {
                field(s, 16, "cause", "late");
            },
        ),
    ]
}

#[test]
fn impossible_late_money_is_found() {
    assert_found(late_money());
}

fn refunds_of_money() -> Vec<Case> {
    vec![
        (
            "a part is returned",
            refused_story,
            LATE + 1,
            "amount returned",
            |s| {
                field(s, LATE + 1, "amount", money(299));
            },
        ),
        (
            "more than the money",
            refused_story,
            LATE + 1,
            "but 300 USD were paid",
            |s| {
                field(s, LATE + 1, "amount", money(301));
            },
        ),
        (
            "another currency",
            refused_story,
            LATE + 1,
            "but 300 USD were paid",
            |s| {
                field(
                    s,
                    LATE + 1,
                    "amount",
                    json!({ "amount": 300, "currency": "EUR" }),
                );
            },
        ),
        (
            "of another payment",
            refused_story,
            LATE + 1,
            "payment of the intent",
            |s| {
                field(s, LATE + 1, "payment_id", id(62));
            },
        ),
        (
            "of an unknown intent",
            sold_story,
            RETURNED,
            "which never succeeded",
            |s| {
                field(s, RETURNED, "intent", intent("z"));
            },
        ),
        (
            "before the money",
            refused_story,
            LATE + 1,
            "it was returned at",
            |s| {
                field(s, LATE + 1, "requested_at", at(94.0));
            },
        ),
        (
            "with a reason of an administrator",
            refused_story,
            LATE + 1,
            "a key or a reason",
            |s| {
                field(s, LATE + 1, "reason", "why not");
            },
        ),
        (
            "returned twice",
            refused_story,
            LATE + 2,
            "but 300 USD were paid",
            |s| {
                s.insert(LATE + 1, refund(96.0, 75, (61, "x"), 300, "late"));
            },
        ),
        (
            "a return of money that bought nothing",
            sold_story,
            REST,
            "300 of that returned",
            |s| {
                field(s, REST, "intent", intent("y"));
            },
        ),
        (
            "a return of unsold money",
            cancelled_story,
            17,
            "did not buy order",
            |s| {
                s.push(refund(82.0, 75, (61, "x"), 0, "return"));
            },
        ),
        (
            "goods without their money",
            sold_story,
            RETURNED,
            "no return of its money precedes",
            |s| {
                s.remove(RETURNED - 1);
            },
        ),
        (
            "money without its goods",
            sold_story,
            BACK,
            "do not follow it",
            |s| {
                s.remove(BACK - 1);
            },
        ),
        (
            "the log ends before the goods",
            sold_story,
            BACK,
            "do not follow it",
            |s| {
                s.truncate(RETURNED);
            },
        ),
        (
            "goods for less than the money",
            sold_story,
            BACK + 1,
            "do not follow it",
            |s| {
                field(s, RETURNED, "amount", money(101));
            },
        ),
        (
            "goods for more than the money",
            sold_story,
            BACK,
            "only 99 USD are left",
            |s| {
                field(s, RETURNED, "amount", money(99));
            },
        ),
        (
            "goods of another purchase",
            sold_story,
            BACK,
            "purchase of the item",
            |s| {
                field(s, BACK, "purchase_id", id(99));
            },
        ),
        (
            "goods of another hold",
            sold_story,
            BACK,
            "not a later item",
            |s| {
                field(s, BACK, "hold_id", id(99));
            },
        ),
        (
            "goods at another time",
            sold_story,
            BACK,
            "refunded_at",
            |s| {
                field(s, BACK, "refunded_at", at(51.0));
            },
        ),
        (
            "goods for another reason",
            sold_story,
            BACK,
            "two reasons",
            |s| {
                field(s, BACK, "reason", "too large");
            },
        ),
        (
            "goods of another refund",
            sold_story,
            BACK,
            "do not follow it",
            |s| {
                field(s, BACK, "refund_id", id(99));
            },
        ),
        (
            "goods in another order",
            sold_story,
            REST + 2,
            "not a later item",
            |s| {
                s.swap(REST, REST + 1);
            },
        ),
        (
            "the same goods twice",
            sold_story,
            REST + 2,
            "not a later item",
            |s| {
                s[REST + 1] = s[REST].clone();
            },
        ),
        (
            "goods at another price",
            sold_story,
            BACK,
            "amount of the refund",
            |s| {
                field(s, RETURNED, "amount", money(90));
                field(s, BACK, "amount", money(90));
                field(s, REST, "amount", money(200));
            },
        ),
        (
            "a refund id used twice",
            sold_story,
            REST,
            "was requested twice",
            |s| {
                field(s, REST, "refund_id", id(71));
            },
        ),
        (
            "settled without a request",
            sold_story,
            SETTLED,
            "never requested",
            |s| {
                field(s, SETTLED, "refund_id", id(79));
            },
        ),
        (
            "settled after it had succeeded",
            sold_story,
            SETTLED + 1,
            "after it had succeeded",
            |s| {
                field(s, SETTLED, "outcome", "succeeded");
            },
        ),
        (
            "failed twice",
            sold_story,
            SETTLED + 1,
            "failed twice",
            |s| {
                field(s, SETTLED + 1, "outcome", "failed");
            },
        ),
        (
            "settled before its request",
            sold_story,
            SETTLED,
            "it was settled at",
            |s| {
                field(s, SETTLED, "settled_at", at(49.0));
            },
        ),
        (
            "of an order without payments",
            sold_story,
            1 + 2 + 3,
            "was ever started",
            |s| {
                s.drain(STARTED - 1..SUCCEEDED);
                s.insert(STARTED - 1, settled(40.0, 71, "failed"));
            },
        ),
        (
            "of a purchase that a later sale made",
            sold_story,
            BOUGHT,
            "hold of the item",
            |s| {
                s[BOUGHT - 1].fields["hold_id"] = json!(id(2));
                s[BOUGHT - 1].fields["buyer"] = json!(id(102));
            },
        ),
    ]
}

#[test]
fn impossible_refunds_of_money_are_found() {
    assert_found(refunds_of_money());
}

/// The verdict of docs/verify_orders.py: its exit code, and what it prints.
pub(super) fn in_python(log: &[StoredEvent]) -> (Option<i32>, String) {
    let mut lines = vec![];
    for event in log {
        LineWriter::default().write(event, &mut lines);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify_orders.py");
    let mut python = Command::new("python3")
        .args(["-B".as_ref(), script.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&lines).unwrap();
    let output = python.wait_with_output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

/// Faults that the Python page leaves to the other verifier, or to docs/verify.py.
const NOT_IN_PYTHON: &[&str] = &[
    // An export has no references.
    "another intent than its reference",
    "sold for another reference",
    // The rules of drops.
    "units that others hold are sold",
    "more units than the limit per hold",
    "more units than the limit per buyer",
];

#[test]
fn independent_verifier_reaches_the_same_verdict() {
    type Valid<'a> = (fn() -> Story, &'a str);
    let valid: [Valid<'_>; 4] = [
        (
            sold_story,
            "2 succeeded, 1 sales, 1 refunds settled, 2 refunds open",
        ),
        (
            late_story,
            "1 succeeded, 1 sales, 0 refunds settled, 0 refunds open",
        ),
        (
            refused_story,
            "2 succeeded, 0 sales, 0 refunds settled, 2 refunds open",
        ),
        (
            cancelled_story,
            "2 succeeded, 0 sales, 0 refunds settled, 2 refunds open",
        ),
    ];
    for (story, counts) in valid {
        let expected = format!("verified 1 orders\npayments: {counts}\n");
        assert_eq!(in_python(&seal(&story())), (Some(0), expected));
    }
    for (name, story, change) in permitted() {
        let mut changed = story();
        change(&mut changed);
        let (code, printed) = in_python(&seal(&changed));
        assert_eq!(code, Some(0), "{name}: {printed}");
    }
    let cases = [starts(), outcomes(), late_money(), refunds_of_money()].concat();
    let mut missed = vec![];
    for (name, story, position, _, change) in cases {
        let mut changed = story();
        change(&mut changed);
        let (code, printed) = in_python(&seal(&changed));
        let place = format!("position {position}: ");
        let is_at_end = position > changed.len() && printed.contains("ends within an order");
        let is_there = printed.contains(&place) || is_at_end;
        if (code, is_there) != (Some(1), true) {
            missed.push(name);
            println!("{name}, at position {position}: {code:?} {printed}");
        }
    }
    assert_eq!(missed, NOT_IN_PYTHON);
}
