//! Events that no engine writes, in a chain that is valid.

use serde_json::json;

use super::*;

#[test]
fn impossible_events_are_found_in_a_valid_chain() {
    type Change = fn(&mut Vec<TestEvent>);
    let cases: Vec<(&str, usize, &str, Change)> = vec![
        (
            "time runs back",
            BOUGHT,
            "earlier than the previous position",
            |s| s[BOUGHT - 1].at = 2.999,
        ),
        ("scheduled twice", OTHER_DROP, "was scheduled twice", |s| {
            s[OTHER_DROP - 1] = scheduled(A, 74.0, 1)
        }),
        ("never scheduled", 1, "was never scheduled", |s| {
            drop(s.remove(0))
        }),
        ("cancelled twice", ERASED, "was cancelled before", |s| {
            s[ERASED - 1] = test_event(
                A,
                76.0,
                "DropCancelled",
                json!({ "cancelled_at": at(76.0) }),
            )
        }),
        (
            "cancelled in the future",
            ERASED,
            "later than its recording",
            |s| {
                s[ERASED - 1] = test_event(
                    B,
                    76.0,
                    "DropCancelled",
                    json!({ "cancelled_at": at(79.0) }),
                )
            },
        ),
        ("held after the end", ERASED, "was cancelled before", |s| {
            s[ERASED - 1] = placed(76.0, 7, 1)
        }),
        (
            "rescheduled after the end",
            ERASED,
            "was cancelled before",
            |s| {
                let terms = s[0].fields["terms"].clone();
                s[ERASED - 1] = test_event(
                    A,
                    76.0,
                    "DropRescheduled",
                    json!({ "terms": terms, "rescheduled_at": at(76.0) }),
                );
            },
        ),
        (
            "adjusted after the end",
            ERASED,
            "was cancelled before",
            |s| {
                let again = TestEvent {
                    at: 76.0,
                    ..s[ADJUSTED - 1].clone()
                };
                s[ERASED - 1] = again;
            },
        ),
        ("oversold", 3, "oversold: available -1", |s| {
            s[2].fields["quantity"] = json!(3)
        }),
        ("placed twice, the first open", 3, "was placed twice", |s| {
            s[2] = placed(2.0, 1, 1)
        }),
        (
            "placed twice, the first resolved",
            CANCELLED,
            "was placed twice",
            |s| {
                s.insert(CANCELLED - 1, placed(74.5, 1, 1));
                s.insert(CANCELLED, released(74.6, 1));
            },
        ),
        ("resolved twice", RELEASED, "it is not open", |s| {
            s[RELEASED - 1] = s[EXPIRED - 1].clone().later(70.0)
        }),
        ("never placed", BOUGHT, "it is not open", |s| {
            s[BOUGHT - 1].fields["hold_id"] = json!(id(77))
        }),
        (
            "another quantity",
            BOUGHT,
            "quantity of the hold: expected 1, found 2",
            |s| s[BOUGHT - 1].fields["quantity"] = json!(2),
        ),
        ("another drop's hold", BOUGHT + 1, "drop of the hold", |s| {
            s[BOUGHT - 1].stream.1 = B.to_owned();
            s.insert(BOUGHT - 1, scheduled(B, 3.0, 9));
            s.remove(OTHER_DROP);
        }),
        (
            "purchased after the deadline",
            BOUGHT,
            "was purchased at",
            |s| s[BOUGHT - 1].fields["purchased_at"] = json!(at(61.0)),
        ),
        (
            "released after the deadline",
            RELEASED,
            "was released at",
            |s| s[RELEASED - 1].fields["released_at"] = json!(at(122.0)),
        ),
        ("expired too early", EXPIRED, "before its deadline", |s| {
            s[EXPIRED - 1].at = 61.999
        }),
        (
            "expired at another time",
            EXPIRED,
            "expired_at: expected",
            |s| s[EXPIRED - 1].fields["expired_at"] = json!(at(61.0)),
        ),
        (
            "adjusted by something else",
            ADJUSTED,
            "after the adjustment",
            |s| s[ADJUSTED - 1].fields["delta"] = json!(2),
        ),
        (
            "adjusted to something else",
            ADJUSTED,
            "after the adjustment",
            |s| s[ADJUSTED - 1].fields["stock"]["sold"] = json!(2),
        ),
        ("an entry joined twice", OFFERED, "was joined twice", |s| {
            s[OFFERED - 1] = s[JOINED - 1].clone().later(62.0)
        }),
        (
            "an entry that never joined",
            OFFERED,
            "it is not waiting",
            |s| s[OFFERED - 1].fields["waitlist_entry"] = json!(id(59)),
        ),
        (
            "an entry removed twice",
            OTHER_DROP,
            "it is not waiting",
            |s| s[OTHER_DROP - 1] = s[LEFT - 1].clone().later(74.0),
        ),
        (
            "an entry for another hold",
            OFFERED,
            "hold of the entry",
            |s| s[JOINED - 1].fields["hold_id"] = json!(id(60)),
        ),
        ("another buyer's entry", LEFT, "buyer of the entry", |s| {
            s[LEFT - 1].fields["buyer"] = json!(id(60))
        }),
        (
            "an entry for another quantity",
            LEFT,
            "quantity of the entry",
            |s| s[LEFT - 1].fields["quantity"] = json!(2),
        ),
        ("another drop's entry", LEFT + 1, "drop of the entry", |s| {
            s[LEFT - 1].stream.1 = B.to_owned();
            s.insert(LEFT - 1, scheduled(B, 72.5, 9));
            s.remove(OTHER_DROP);
        }),
        (
            "joined after the end",
            ERASED,
            "was cancelled before",
            |s| s[ERASED - 1] = joined(76.0, 53, 9),
        ),
        (
            "two entries of one buyer",
            JOINED + 1,
            "has two waiting entries",
            |s| s.insert(JOINED, joined(3.5, 53, 3)),
        ),
        (
            "an entry joined again after it was offered",
            LEFT + 1,
            "was joined twice",
            |s| {
                s.insert(LEFT, joined(73.5, 51, 3));
                let left = json!({ "left_at": at(73.6), "cause": "buyer" });
                s.insert(LEFT + 1, waits(73.6, "WaitlistLeft", 51, 3, left));
            },
        ),
        ("a key used twice", ADJUSTED, "was used before", |s| {
            s[2].fields["key"] = json!(key(1));
            s[ADJUSTED - 1].fields["key"] = json!(key(1));
        }),
        (
            "the key of the drop used again",
            3,
            "was used before",
            |s| {
                s[0].fields["key"] = json!(key(1));
                s[2].fields["key"] = json!(key(1));
            },
        ),
        ("a purchase made twice", RELEASED, "was made twice", |s| {
            let mut again = s[BOUGHT - 1].clone().later(70.0);
            again.fields["hold_id"] = json!(id(3));
            again.fields["buyer"] = json!(id(103));
            again.fields["purchased_at"] = json!(at(70.0));
            s[RELEASED - 1] = again;
            s.truncate(RELEASED);
        }),
        (
            "an adjustment made twice",
            ADJUSTED + 1,
            "was made twice",
            |s| {
                let mut again = s[ADJUSTED - 1].clone();
                again.fields["stock"] = json!({ "total": 5, "available": 4, "held": 0, "sold": 1 });
                s.insert(ADJUSTED, again);
            },
        ),
        ("another buyer's hold", BOUGHT, "buyer of the hold", |s| {
            s[BOUGHT - 1].fields["buyer"] = json!(id(60))
        }),
        (
            "purchased after the cancellation",
            BOUGHT,
            "was cancelled before",
            |s| s[JOINED - 1] = cancelled(3.0),
        ),
        (
            "released at another time than the drop was cancelled",
            JOINED + 3,
            "released_at of a cancelled drop's hold",
            |s| closing(s, [hold_ended(1, 1, 50.0), hold_ended(2, 2, 50.001)]),
        ),
        (
            "released by the buyer after the drop was cancelled",
            JOINED + 2,
            "the drop is cancelled",
            |s| {
                let mut released = hold_ended(1, 1, 50.0);
                released.fields["cause"] = json!("buyer");
                closing(s, [released, hold_ended(2, 2, 50.0)]);
            },
        ),
        (
            "expired after the drop was cancelled",
            JOINED + 2,
            "the drop was cancelled before",
            |s| {
                let over = json!({ "expired_at": at(61.0) });
                let over = resolved(70.0, "HoldExpired", 1, 1, over);
                closing(s, [over, hold_ended(2, 2, 50.0)]);
            },
        ),
        (
            "ended out of order",
            JOINED + 3,
            "ends after that of position 3",
            |s| closing(s, [hold_ended(2, 2, 50.0), hold_ended(1, 1, 50.0)]),
        ),
        (
            "removed at another time than the drop was cancelled",
            JOINED + 4,
            "left_at of a cancelled drop's entry",
            |s| {
                closing(s, [hold_ended(1, 1, 50.0), hold_ended(2, 2, 50.0)]);
                let cause = json!({ "left_at": at(50.5), "cause": "drop_cancelled" });
                s.push(waits(70.0, "WaitlistLeft", 51, 3, cause));
            },
        ),
        (
            "released for no reason",
            RELEASED,
            "the drop is not cancelled",
            |s| s[RELEASED - 1].fields["cause"] = json!("drop_cancelled"),
        ),
        (
            "removed for no reason",
            LEFT,
            "the drop is not cancelled",
            |s| s[LEFT - 1].fields["cause"] = json!("drop_cancelled"),
        ),
        ("held for too long", 3, "expires_at: expected", |s| {
            s[2].fields["expires_at"] = json!(at(62.001))
        }),
        (
            "sold for less",
            BOUGHT,
            "total: expected 100 USD, found 99 USD",
            |s| s[BOUGHT - 1].fields["total"]["amount"] = json!(99),
        ),
        (
            "sold for other money",
            BOUGHT,
            "total: expected 100 USD, found 100 EUR",
            |s| s[BOUGHT - 1].fields["total"]["currency"] = json!("EUR"),
        ),
        (
            "held before the sale",
            INTRODUCED,
            "before the sale started",
            |s| s[0].fields["terms"]["starts_at"] = json!(at(1.001)),
        ),
        ("held after the sale", 3, "after the sale ended", |s| {
            s[0].fields["terms"]["ends_at"] = json!(at(2.0))
        }),
        (
            "joined after the sale",
            JOINED,
            "after the sale ended",
            |s| s[0].fields["terms"]["ends_at"] = json!(at(3.0)),
        ),
        (
            "offered after the sale",
            OFFERED,
            "after the sale ended",
            |s| s[0].fields["terms"]["ends_at"] = json!(at(62.0)),
        ),
        (
            "too many in one hold",
            3,
            "2 units in one hold, but at most 1",
            |s| s[0].fields["terms"]["max_per_hold"] = json!(1),
        ),
        (
            "too many in one waitlist entry",
            JOINED,
            "2 units in one hold, but at most 1",
            |s| {
                s[2] = placed(2.0, 2, 1);
                s[0].fields["terms"]["max_per_hold"] = json!(1);
                s[JOINED - 1].fields["quantity"] = json!(2);
            },
        ),
        ("ends before it starts", 1, "ends before it starts", |s| {
            s[0].fields["terms"]["ends_at"] = json!(at(0.0))
        }),
        (
            "impossible terms",
            OTHER_DROP,
            "ends before it starts",
            |s| {
                let mut terms = s[0].fields["terms"].clone();
                terms["ends_at"] = terms["starts_at"].clone();
                let fields = json!({ "terms": terms, "rescheduled_at": at(74.0) });
                s[OTHER_DROP - 1] = test_event(A, 74.0, "DropRescheduled", fields);
            },
        ),
        ("negative price", 1, "price must be", |s| {
            s[0].fields["terms"]["price"]["amount"] = json!(-1)
        }),
        (
            "more than a drop may offer",
            ADJUSTED,
            "exceed the largest stock of a drop",
            |s| {
                s[ADJUSTED - 1].fields["delta"] = json!(9_999_998);
                let stock =
                    json!({ "total": 10_000_001, "available": 10_000_000, "held": 0, "sold": 1 });
                s[ADJUSTED - 1].fields["stock"] = stock;
            },
        ),
        (
            "more than the limit per buyer",
            3,
            "at most 2 are allowed",
            |s| {
                s[0].fields["terms"]["max_per_buyer"] = json!(2);
                s[2].fields["buyer"] = json!(id(101));
                s.truncate(3);
            },
        ),
        (
            "too soon for one buyer",
            3,
            "more than 1 holds within 60 seconds",
            |s| {
                s[0].fields["terms"]["throttle"] = json!({ "holds": 1, "window_seconds": 60 });
                s[2].fields["buyer"] = json!(id(101));
                s.truncate(3);
            },
        ),
        (
            "purchase recorded much too late",
            BOUGHT,
            "more than a minute after",
            |s| {
                s.truncate(BOUGHT);
                s[BOUGHT - 1].at = 121.0;
            },
        ),
        (
            "release recorded much too late",
            RELEASED,
            "more than a minute after",
            |s| {
                s.truncate(RELEASED);
                s[RELEASED - 1].at = 182.0;
            },
        ),
        (
            "an erasure with an additional field",
            ERASED,
            "unknown field `who`",
            |s| s[ERASED - 1].fields["who"] = json!("alice"),
        ),
        (
            "an erasure of another type",
            ERASED,
            "event_type: expected BuyerErased",
            |s| s[ERASED - 1].kind = "BuyerForgotten",
        ),
        (
            "an erasure of another version",
            ERASED,
            "event_version: expected 1.0",
            |s| s[ERASED - 1].version = "1.1",
        ),
        (
            "an erasure in another stream",
            ERASED,
            "aggregate_id: expected buyers",
            |s| s[ERASED - 1].stream.1 = "others".to_owned(),
        ),
        (
            "personal data of an erasure",
            ERASED,
            "without a commitment",
            |s| s[ERASED - 1].private = private(&alice(1)),
        ),
        (
            "personal data of a foreign event",
            ERASED,
            "without a commitment",
            |s| {
                s[ERASED - 1].stream = ("Invoice", "one".to_owned());
                s[ERASED - 1].private = private(&alice(1));
            },
        ),
        ("one person, two buyers", 3, "was buyer", |s| {
            s[2].fields["commitment"] = json!(alice(2).commitment());
            s[2].private = private(&alice(2));
            s.truncate(3);
        }),
        (
            "other personal data",
            INTRODUCED,
            "commitment to private",
            |s| s[INTRODUCED - 1].private = private(&alice(2)),
        ),
        ("uncommitted personal data", 3, "does not commit to", |s| {
            s[2].private = private(&alice(1))
        }),
        (
            "unreadable personal data",
            INTRODUCED,
            "the private data cannot be read",
            |s| s[INTRODUCED - 1].private = Some("{}".to_owned()),
        ),
        (
            "a stream by another name",
            BOUGHT,
            "aggregate_id: expected",
            |s| s[BOUGHT - 1].stream.1 = A.to_uppercase(),
        ),
        (
            "stored under another type",
            BOUGHT,
            "the payload cannot be read",
            |s| s[BOUGHT - 1].kind = "HoldExpired",
        ),
        (
            "an unknown event type",
            BOUGHT,
            "the payload cannot be read",
            |s| s[BOUGHT - 1].kind = "SomethingElse",
        ),
    ];
    for (name, position, reason, change) in cases {
        let mut changed = story();
        change(&mut changed);
        println!("{name}");
        assert_violated(&seal(&changed), position, reason);
    }
}
