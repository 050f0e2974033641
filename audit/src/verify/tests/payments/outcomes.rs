//! Starts and outcomes of payments that the rules do not permit.

use domain::private::Private;
use domain::values::Salt;
use serde_json::json;

use super::super::orders::*;
use super::super::story::*;
use super::{
    AGAIN, Case, DOUBLE, EXTENDED, MOVED, OVER, SOLD, STARTED, SUCCEEDED, assert_found, begun,
    cancelled_story, extended, failed, field, intent, over, reference, refund, sold_story, started,
    succeeded,
};

pub(super) fn starts() -> Vec<Case> {
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

pub(super) fn outcomes() -> Vec<Case> {
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
