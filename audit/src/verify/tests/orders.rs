//! A story of orders, and the same with one fault each.

use domain::order::AGGREGATE_TYPE;
use serde_json::{Value, json};

use super::story::*;
use crate::verify::{Notes, Verifier};

pub(super) const O: &str = "cccccccc-0000-4000-8000-000000000003";
pub(super) const P: &str = "dddddddd-0000-4000-8000-000000000004";

pub(super) fn money(amount: u32) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

pub(super) fn order_event(
    order: &str,
    seconds: f64,
    kind: &'static str,
    fields: Value,
) -> TestEvent {
    TestEvent {
        stream: (AGGREGATE_TYPE, order.to_owned()),
        ..test_event("", seconds, kind, fields)
    }
}

/// One unit of A and two of B, whose holds last 60 and 30 seconds.
pub(super) fn ordered(order: &str, seconds: f64, holds: [u8; 2]) -> Vec<TestEvent> {
    let item = |drop: &str, hold: u8, quantity: u32| json!({ "drop_id": drop, "hold_id": id(hold), "quantity": quantity, "price": money(100) });
    let until = at(seconds + 30.0);
    let mut of_a = placed(seconds, holds[0], 1);
    let mut of_b = placed(seconds, holds[1], 2);
    of_b.stream.1 = B.to_owned();
    for hold in [&mut of_a, &mut of_b] {
        hold.fields["expires_at"] = json!(until);
        hold.fields["order_id"] = json!(order);
    }
    let items = json!([item(A, holds[0], 1), item(B, holds[1], 2)]);
    let fields = json!({
        "key": key(holds[0]), "buyer": id(99), "items": items, "total": money(300), "placed_at": at(seconds), "expires_at": until,
    });
    vec![
        order_event(order, seconds, "OrderPlaced", fields),
        of_a,
        of_b,
    ]
}

pub(super) fn ended(
    seconds: f64,
    kind: &'static str,
    drop: &str,
    hold: u8,
    units: u32,
    more: Value,
) -> TestEvent {
    let mut event = resolved(seconds, kind, hold, units, more);
    event.stream.1 = drop.to_owned();
    event
}

pub(super) fn paid(order: &str, seconds: f64, holds: [u8; 2]) -> Vec<TestEvent> {
    let purchase = |hold: u8| json!({ "hold_id": id(hold), "purchase_id": id(hold + 50) });
    let fields =
        json!({ "paid_at": at(seconds), "total": money(300), "purchases": holds.map(purchase) });
    let bought = |drop, hold: u8, units: u32| {
        let more = json!({
            "purchase_id": id(hold + 50), "total": money(units * 100), "purchased_at": at(seconds),
        });
        ended(seconds, "PurchaseConfirmed", drop, hold, units, more)
    };
    vec![
        order_event(order, seconds, "OrderPaid", fields),
        bought(A, holds[0], 1),
        bought(B, holds[1], 2),
    ]
}

pub(super) fn released_with(
    seconds: f64,
    drop: &str,
    hold: u8,
    units: u32,
    cause: &str,
) -> TestEvent {
    let more = json!({ "released_at": at(seconds), "cause": cause });
    ended(seconds, "HoldReleased", drop, hold, units, more)
}

pub(super) fn cancelled_order(order: &str, seconds: f64, cause: &str) -> TestEvent {
    let fields = json!({ "cancelled_at": at(seconds), "cause": cause });
    order_event(order, seconds, "OrderCancelled", fields)
}

pub(super) fn expired(seconds: f64, drop: &str, hold: u8, units: u32, deadline: f64) -> TestEvent {
    let more = json!({ "expired_at": at(deadline) });
    ended(seconds, "HoldExpired", drop, hold, units, more)
}

fn drops() -> Vec<TestEvent> {
    let mut b = scheduled(B, 0.0, 20);
    b.fields["terms"]["hold_seconds"] = json!(30);
    vec![scheduled(A, 0.0, 20), b]
}

pub(super) fn fulfilled(order: &str, seconds: f64, step: &str) -> TestEvent {
    let fields = json!({ "fulfilment": step, "fulfilled_at": at(seconds) });
    order_event(order, seconds, "OrderFulfilled", fields)
}

/// Positions of the story of a paid order.
const PLACED: usize = 3;
const HOLD: usize = 4;
const PAID: usize = 6;
const BOUGHT: usize = 7;

fn paid_story() -> Vec<TestEvent> {
    let mut story = drops();
    story.extend(ordered(O, 1.0, [1, 2]));
    story.extend(paid(O, 5.0, [1, 2]));
    story.push(fulfilled(O, 6.0, "processing"));
    story.push(fulfilled(O, 7.0, "shipped"));
    story.push(fulfilled(O, 8.0, "shipped"));
    story
}

fn expired_story() -> Vec<TestEvent> {
    let mut story = drops();
    story.extend(ordered(O, 1.0, [1, 2]));
    story.push(expired(31.0, B, 2, 2, 31.0));
    story.push(order_event(
        O,
        31.0,
        "OrderExpired",
        json!({ "expired_at": at(31.0) }),
    ));
    story.push(expired(31.0, A, 1, 1, 31.0));
    story
}

fn cancelled_story() -> Vec<TestEvent> {
    let mut story = drops();
    story.extend(ordered(O, 1.0, [1, 2]));
    story.push(cancelled_order(O, 3.0, "buyer"));
    story.push(released_with(3.0, A, 1, 1, "order_cancelled"));
    story.push(released_with(3.0, B, 2, 2, "order_cancelled"));
    story
}

fn drop_cancelled_story() -> Vec<TestEvent> {
    let mut story = drops();
    story.extend(ordered(O, 1.0, [1, 2]));
    story.push(cancelled(3.0));
    story.push(released_with(3.0, A, 1, 1, "drop_cancelled"));
    story.push(cancelled_order(O, 3.0, "drop_cancelled"));
    story.push(released_with(3.0, B, 2, 2, "order_cancelled"));
    story
}

#[test]
fn valid_stories_of_orders_are_verified() {
    for story in [
        paid_story(),
        expired_story(),
        cancelled_story(),
        drop_cancelled_story(),
    ] {
        let proved =
            verdict(&seal(&story), &[]).unwrap_or_else(|found| panic!("{found}: {story:#?}"));
        assert_eq!((proved.open_holds, proved.notes), (0, Notes::default()));
    }
}

#[test]
fn order_that_has_to_end_is_noted() {
    let mut story = expired_story();
    story.truncate(6);
    let proved = verdict(&seal(&story), &[]).unwrap();
    assert_eq!(proved.notes.ending_orders, 1);
    assert_eq!(proved.notes.sentences().len(), 1);
}

#[test]
fn impossible_orders_are_found() {
    type Change = fn(&mut Vec<TestEvent>);
    type Story = fn() -> Vec<TestEvent>;
    let cases: Vec<(&str, Story, usize, &str, Change)> = vec![
        (
            "a hold is missing",
            paid_story,
            PAID - 1,
            "does not follow it",
            |s| drop(s.remove(4)),
        ),
        (
            "the log ends within an order",
            paid_story,
            5,
            "does not follow it",
            |s| s.truncate(4),
        ),
        (
            "a hold without its order",
            paid_story,
            PLACED,
            "belongs to an order that it does not follow",
            |s| drop(s.remove(2)),
        ),
        (
            "a hold of another order",
            paid_story,
            HOLD,
            "is of another order",
            |s| s[HOLD - 1].fields["order_id"] = json!(P),
        ),
        (
            "a hold that is not of the order",
            paid_story,
            HOLD,
            "does not follow it",
            |s| {
                s[HOLD - 1]
                    .fields
                    .as_object_mut()
                    .unwrap()
                    .remove("order_id");
            },
        ),
        (
            "another quantity",
            paid_story,
            HOLD,
            "quantity of the item",
            |s| s[HOLD - 1].fields["quantity"] = json!(2),
        ),
        ("another hold", paid_story, HOLD, "hold of the item", |s| {
            s[HOLD - 1].fields["hold_id"] = json!(id(9))
        }),
        ("another deadline", paid_story, HOLD, "expires_at", |s| {
            s[HOLD - 1].fields["expires_at"] = json!(at(61.0))
        }),
        (
            "a longer deadline than the drops allow",
            paid_story,
            PLACED,
            "expires_at of the order",
            |s| {
                s[PLACED - 1].fields["expires_at"] = json!(at(61.0));
            },
        ),
        (
            "another price",
            paid_story,
            PLACED,
            "price of the item",
            |s| {
                s[PLACED - 1].fields["items"][0]["price"] = money(200);
                s[PLACED - 1].fields["total"] = money(400);
            },
        ),
        ("another total", paid_story, PLACED, "do not add up", |s| {
            s[PLACED - 1].fields["total"] = money(200)
        }),
        ("no items", paid_story, PLACED, "are none", |s| {
            s[PLACED - 1].fields["items"] = json!([])
        }),
        (
            "two items of one drop",
            paid_story,
            PLACED,
            "two of one drop",
            |s| {
                s[PLACED - 1].fields["items"][1]["drop_id"] = json!(A);
            },
        ),
        ("placed twice", paid_story, PAID, "was placed twice", |s| {
            s[PAID - 1] = s[PLACED - 1].clone().later(5.0)
        }),
        ("paid twice", paid_story, 9, "it was paid before", |s| {
            s.insert(8, s[PAID - 1].clone().later(5.5))
        }),
        (
            "never placed",
            paid_story,
            PAID,
            "it was never placed before",
            |s| s[PAID - 1].stream.1 = P.to_owned(),
        ),
        ("a part is sold", paid_story, 8, "purchase of hold", |s| {
            drop(s.remove(7))
        }),
        (
            "sold without the order",
            paid_story,
            PAID,
            "was purchased without its order",
            |s| drop(s.remove(PAID - 1)),
        ),
        (
            "paid another total",
            paid_story,
            PAID,
            "total: expected",
            |s| s[PAID - 1].fields["total"] = money(100),
        ),
        (
            "paid for other holds",
            paid_story,
            PAID,
            "other holds",
            |s| {
                s[PAID - 1].fields["purchases"][0]["hold_id"] = json!(id(9));
            },
        ),
        (
            "another purchase",
            paid_story,
            BOUGHT,
            "purchase of the item",
            |s| {
                s[BOUGHT - 1].fields["purchase_id"] = json!(id(9));
            },
        ),
        (
            "paid late without saying so",
            paid_story,
            PAID,
            "late = false",
            |s| {
                s[PAID - 1].fields["paid_at"] = json!(at(31.0));
            },
        ),
        (
            "paid in time, but called late",
            paid_story,
            PAID,
            "late = true",
            |s| s[PAID - 1].fields["late"] = json!(true),
        ),
        (
            "paid before it was placed",
            paid_story,
            PAID,
            "before it was placed",
            |s| {
                s[PAID - 1].fields["paid_at"] = json!(at(0.5));
            },
        ),
        (
            "fulfilled before the payment",
            paid_story,
            PAID,
            "but not paid",
            |s| s.insert(PAID - 1, fulfilled(O, 4.0, "shipped")),
        ),
        ("fulfilment goes back", paid_story, 12, "went back", |s| {
            s.push(fulfilled(O, 9.0, "processing"))
        }),
        (
            "released alone",
            cancelled_story,
            6,
            "was released alone",
            |s| {
                s.remove(5);
                s[5].fields["cause"] = json!("buyer");
            },
        ),
        (
            "released with no cancelled order",
            cancelled_story,
            6,
            "whose end it does not follow",
            |s| drop(s.remove(5)),
        ),
        (
            "a release is missing",
            cancelled_story,
            8,
            "does not follow the end",
            |s| drop(s.remove(7)),
        ),
        (
            "cancelled after the deadline",
            cancelled_story,
            6,
            "after its deadline",
            |s| {
                s[5].fields["cancelled_at"] = json!(at(31.0));
            },
        ),
        (
            "cancelled twice",
            cancelled_story,
            9,
            "it was cancelled before",
            |s| s.push(cancelled_order(O, 4.0, "buyer")),
        ),
        (
            "cancelled with a drop that goes on",
            cancelled_story,
            6,
            "none of its drops is cancelled",
            |s| {
                s[5].fields["cause"] = json!("drop_cancelled");
            },
        ),
        (
            "paid after it was cancelled",
            cancelled_story,
            9,
            "it was cancelled before",
            |s| {
                s.push(paid(O, 4.0, [1, 2]).remove(0));
            },
        ),
        (
            "expired early",
            expired_story,
            6,
            "before its deadline",
            |s| {
                drop(s.remove(5));
                s[5].at = 30.0;
            },
        ),
        (
            "expired at another time",
            expired_story,
            7,
            "expired_at",
            |s| s[6].fields["expired_at"] = json!(at(32.0)),
        ),
        (
            "paid after it expired",
            expired_story,
            9,
            "paid late by no payment",
            |s| {
                let mut paid = paid(O, 31.5, [1, 2]).remove(0);
                paid.fields["late"] = json!(true);
                s.push(paid);
            },
        ),
        (
            "a key used twice",
            paid_story,
            12,
            "idempotency key was used before for an order",
            |s| {
                let mut again = ordered(P, 9.0, [11, 12]);
                again[0].fields["key"] = json!(key(1));
                s.extend(again);
            },
        ),
    ];
    for (name, story, position, reason, change) in cases {
        let mut changed = story();
        change(&mut changed);
        let found = verdict(&seal(&changed), &[]);
        let Err(violation) = found else {
            panic!("{name}: verified");
        };
        assert_eq!(violation.position.0, position as u64, "{name}: {violation}");
        assert!(
            violation.to_string().contains(reason),
            "{name}: {violation}"
        );
    }
}

#[test]
fn gap_in_the_stream_of_an_order_is_found() {
    let mut events = seal(&paid_story());
    events[PAID - 1].sequence = domain::values::Sequence(3);
    assert_violated(&chained(events), PAID, "sequence: expected 2, found 3");
}

#[test]
fn personal_data_of_an_order_is_checked_and_counted() {
    let mut story = paid_story();
    story[PLACED - 1].fields["commitment"] = json!(alice(3).commitment());
    story[PLACED - 1].private = private(&alice(3));
    let proved = verdict(&seal(&story), &[]).unwrap();
    assert_eq!((proved.introductions, proved.erased), (1, Some(0)));
    let mut other = story.clone();
    other[PLACED - 1].private = private(&alice(4));
    assert_violated(&seal(&other), PLACED, "commitment to private");
    let mut bare = story.clone();
    bare[PAID - 1].private = private(&alice(4));
    assert_violated(&seal(&bare), PAID, "does not commit to");
    // Data that remains although the buyer was erased.
    let mut erased = story.clone();
    let erasure = TestEvent {
        stream: (
            domain::erasure::AGGREGATE_TYPE,
            domain::erasure::STREAM.to_owned(),
        ),
        ..test_event(
            "",
            9.0,
            domain::erasure::BUYER_ERASED,
            json!({ "events": 1 }),
        )
    };
    erased.push(erasure);
    let events = seal(&erased);
    let listed = [(
        domain::values::Position(12),
        infrastructure::erasure::Erased {
            drop_id: O.parse().unwrap(),
            buyer: id(99).parse().unwrap(),
        },
    )];
    let verifier = Verifier::new(vec![], true).with_erasures(listed.into_iter().collect());
    let violation = judged_by(verifier, &events, 100).unwrap_err();
    assert_eq!(violation.position.0, PLACED as u64);
    assert!(
        violation.reason.contains("personal data remains"),
        "{violation}"
    );
}
