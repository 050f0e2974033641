//! Money that arrived late or goes back in a way that the rules do not permit.

use serde_json::json;

use super::super::orders::*;
use super::super::story::*;
use super::{
    ARRIVED, BACK, BOUGHT, Case, HELD_LATE, LATE, PAID_LATE, REST, RETURNED, SETTLED, SOLD,
    STARTED, SUCCEEDED, arrived_late, assert_found, cancelled_story, field, intent, late_story,
    refund, refused_story, settled, sold_story,
};

pub(super) fn late_money() -> Vec<Case> {
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

pub(super) fn refunds_of_money() -> Vec<Case> {
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
