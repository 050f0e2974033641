//! Payments and their refunds: permitted stories pass, also in the independent verifier, and each
//! impossible one is found by both.

mod outcomes;
mod returns;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::private::Private;
use domain::values::{IntentDigest, PaymentReference, Position, ProviderName, Salt};
use infrastructure::log::StoredEvent;
use infrastructure::log::lines::LineWriter;
use serde_json::{Value, json};

use self::outcomes::{outcomes, starts};
use self::returns::{late_money, refunds_of_money};
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

/// The verdict of docs/verify_orders.py: its exit code and its output.
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
