//! Every check of the verifier, from both sides: a valid story, and the same story with one fault,
//! chained again as a forger in control of the log would chain it.

mod changes;
mod orders;
mod refunds;
mod story;
mod tampered;

use domain::private::Private;
use domain::values::{BuyerId, Position, Salt, Sequence};
use infrastructure::erasure::Erased;
use infrastructure::log::{Hash, StoredEvent};
use serde_json::json;

use self::story::*;
use super::*;
use crate::examine::examine;
use crate::source::Page;

#[test]
fn valid_story_is_verified() {
    let events = seal(&story());
    let proved = verdict(&events, &[]).unwrap();
    let expected = Proved {
        events: 15,
        head: events[14].head(),
        drops: 2,
        open_holds: 0,
        introductions: 1,
        incidents: vec![],
        erasures: 2,
        erased: Some(0),
        notes: Notes::default(),
    };
    assert_eq!(proved, expected);
    // A hold may be purchased or released until its last millisecond.
    let mut late = story();
    late[BOUGHT - 1].fields["purchased_at"] = json!(at(60.999));
    late[RELEASED - 1].fields["released_at"] = json!(at(121.999));
    assert!(verdict(&seal(&late), &[]).is_ok());
}

#[test]
fn alteration_without_rechaining_is_found_at_its_position() {
    let honest = seal(&story());
    for index in 0..honest.len() {
        let alterations: [fn(&mut StoredEvent); 8] = [
            |event| event.payload.push(' '),
            |event| event.metadata = "{ }".into(),
            |event| event.recorded_at = event.recorded_at.plus_millis(1),
            |event| event.aggregate_type = "Other".into(),
            |event| event.aggregate_id.push('0'),
            |event| event.event_type = "Another".into(),
            |event| event.event_version = "1.1".into(),
            |event| event.sequence = event.sequence.next(),
        ];
        for alter in alterations {
            let mut events = honest.clone();
            alter(&mut events[index]);
            assert_violated(&events, index + 1, "hash: expected");
        }
        let mut events = honest.clone();
        events[index].hash = Hash([7; 32]);
        assert_violated(&events, index + 1, "hash: expected");
        let mut events = honest.clone();
        events.remove(index);
        if index + 1 < honest.len() {
            assert_violated(&events, index + 1, "position: expected");
        }
        let mut events = honest.clone();
        events[index].position = events[index].position.next();
        assert_violated(&events, index + 1, "position: expected");
    }
}

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

#[test]
fn permitted_stories_are_verified() {
    type Change = fn(&mut Vec<TestEvent>);
    let cases: [(&str, Change); 9] = [
        ("one key in two drops", |s| {
            s[0].fields["key"] = json!(key(1));
            s[OTHER_DROP - 1].fields["key"] = json!(key(1));
        }),
        ("a hold of an old version has its own length", |s| {
            s[2].version = "0.9";
            let fields = s[2].fields.as_object_mut().unwrap();
            fields.remove("expires_at");
            fields.insert("hold_seconds".to_owned(), json!(59));
            s[EXPIRED - 1].fields["expired_at"] = json!(at(61.0));
        }),
        ("a cancelled drop returns all units", |s| {
            s.truncate(JOINED);
            s.push(cancelled(61.0));
            let over = json!({ "expired_at": at(61.0) });
            s.push(resolved(61.0, "HoldExpired", 1, 1, over));
            let cause = json!({ "released_at": at(61.0), "cause": "drop_cancelled" });
            s.push(resolved(61.0, "HoldReleased", 2, 2, cause));
            let cause = json!({ "left_at": at(61.0), "cause": "drop_cancelled" });
            s.push(waits(61.0, "WaitlistLeft", 51, 3, cause));
            s.push(scheduled(B, 62.0, 1));
        }),
        (
            "a cancelled drop is cleared between other events, and much later",
            |s| {
                closing(s, [scheduled(B, 60.0, 1), hold_ended(1, 1, 50.0)]);
                s.push(hold_ended(2, 2, 50.0).later(3_600.0));
                let cause = json!({ "left_at": at(50.0), "cause": "drop_cancelled" });
                s.push(waits(3_600.0, "WaitlistLeft", 51, 3, cause));
            },
        ),
        ("a price that changed after the hold", |s| {
            let mut terms = s[0].fields["terms"].clone();
            terms["price"]["amount"] = json!(250);
            let fields = json!({ "terms": terms, "rescheduled_at": at(3.5) });
            s.insert(JOINED, test_event(A, 3.5, "DropRescheduled", fields));
        }),
        ("a hold until the last millisecond of the sale", |s| {
            s[0].fields["terms"]["ends_at"] = json!(at(62.001));
            s.truncate(OFFERED);
        }),
        ("exactly the limit per buyer", |s| {
            s[0].fields["terms"]["max_per_buyer"] = json!(3);
            s[2].fields["buyer"] = json!(id(101));
            s.truncate(3);
        }),
        ("a buyer introduced again", |s| {
            s[2].fields["buyer"] = json!(id(101));
            s[2].fields["commitment"] = json!(alice(2).commitment());
            s[2].private = private(&alice(2));
            s.truncate(3);
        }),
        ("a buyer who joins again after an offer", |s| {
            s.insert(OFFERED, joined(63.0, 53, 3));
            let left = json!({ "left_at": at(64.0), "cause": "buyer" });
            s.insert(OFFERED + 1, waits(64.0, "WaitlistLeft", 53, 3, left));
        }),
    ];
    for (name, change) in cases {
        let mut changed = story();
        change(&mut changed);
        let proved = verdict(&seal(&changed), &[]);
        let proved = proved.unwrap_or_else(|violation| panic!("{name}: {violation}"));
        assert_eq!(proved.notes, Notes::default(), "{name}");
    }
}

#[test]
fn standstill_of_time_is_noted_but_a_quick_buyer_is_not() {
    let standstills = |buyers: u8, paid_at: f64| {
        let mut changed = vec![scheduled(A, 0.0, 100)];
        changed.extend((1..=buyers).map(|hold| placed(1.0, hold, 1)));
        changed.extend((1..=buyers).map(|hold| {
            let money = json!({ "amount": 100, "currency": "USD" });
            let purchase = json!({ "purchase_id": id(hold + 50), "total": money, "purchased_at": at(paid_at) });
            resolved(paid_at, "PurchaseConfirmed", hold, 1, purchase)
        }));
        verdict(&seal(&changed), &[]).unwrap().notes
    };
    let still = standstills(10, 1.0);
    let clocks = still.times.clocks;
    assert_eq!(
        (clocks.standstills, clocks.first_standstill),
        (1, Some(Position(21)))
    );
    assert!(
        still.sentences()[0].contains("time stood still"),
        "{still:?}"
    );
    assert_eq!(standstills(9, 1.0).times.clocks.standstills, 0);
    assert_eq!(standstills(10, 1.001).times.clocks.standstills, 0);
}

#[test]
fn unusual_but_permitted_events_are_noted() {
    let notes = |change: fn(&mut Vec<TestEvent>)| {
        let mut changed = story();
        change(&mut changed);
        verdict(&seal(&changed), &[]).unwrap().notes
    };
    let late = notes(|s| {
        s.truncate(BOUGHT);
        s[BOUGHT - 1].at = 61.0;
        s[BOUGHT - 1].fields["purchased_at"] = json!(at(60.999));
    });
    assert_eq!((late.times.late_purchases, late.times.far), (1, 0));
    let far = notes(|s| {
        s[INTRODUCED - 1].at = 61.001;
        s[2].at = 61.001;
        s.truncate(3);
    });
    assert_eq!((far.times.far, far.times.first_far), (1, Some(Position(2))));
    let ahead = notes(|s| {
        s.truncate(ADJUSTED);
        s[ADJUSTED - 1].fields["adjusted_at"] = json!(at(131.001));
    });
    assert_eq!(
        (ahead.times.far, ahead.times.first_far),
        (1, Some(Position(9)))
    );
    let late_expiry = notes(|s| {
        s.truncate(EXPIRED);
        s[EXPIRED - 1].at += 300.0;
    });
    let clocks = late_expiry.times.clocks;
    assert_eq!(
        (clocks.late_expiries, clocks.standstills),
        (1, 0),
        "{late_expiry:?}"
    );
    let foreign = notes(|s| {
        s[ERASED - 1].stream = ("drop", "one".to_owned());
        s[ERASED].stream = ("Invoice", "two".to_owned());
    });
    let events = ["Invoice", "drop"].map(|kind| (kind.to_owned(), 1));
    assert_eq!(foreign.foreign, BTreeMap::from(events));
    let vanished = notes(|s| {
        s[INTRODUCED - 1].private = None;
        s.truncate(ERASED - 1);
    });
    assert_eq!(vanished.vanished, 1);
    assert_eq!(notes(|s| s[INTRODUCED - 1].private = None).vanished, 0);
    assert_eq!(late.sentences().len(), 1);
    assert_eq!(foreign.sentences().len(), 2);
}

/// The story with hold 1 by `first` and hold 2, of another pseudonym, by `second`.
fn introduced_twice(first: &str, second: &str) -> Result<Proved, Violation> {
    let mut story = story();
    for (event, id) in [(1, first), (2, second)] {
        let buyer_id = BuyerId::stored(id).unwrap();
        let named = Private::buyer(Salt([7; 16]), buyer_id, None);
        story[event].fields["commitment"] = json!(named.commitment());
        story[event].private = private(&named);
    }
    story.truncate(3);
    verdict(&seal(&story), &[])
}

#[test]
fn spellings_that_an_earlier_release_took_for_two_buyers_are_noted() {
    for (first, second) in [
        ("maß", "MASS"),
        ("mass", "maß"),
        ("σας", "σασ"),
        ("ſam", "sam"),
        ("ϐίος", "βίοσ"),
        ("\u{e9}va", "e\u{301}va"),
    ] {
        let notes = introduced_twice(first, second).unwrap().notes;
        let respelled = Respelled {
            spellings: 1,
            first: Some(Position(3)),
        };
        assert_eq!(notes.respelled, respelled, "{first} {second}");
        let [sentence] = &notes.sentences()[..] else {
            panic!("one note");
        };
        assert!(sentence.contains("the first at position 3"), "{sentence}");
    }
    let other = introduced_twice("maß", "mas").unwrap();
    assert_eq!(other.notes.respelled, Respelled::default());
    // One spelling was one buyer in every release.
    for (first, second) in [("maß", "MAß"), ("ΣΑΣ", "σας"), ("Sam", "sAM")] {
        let double = introduced_twice(first, second).unwrap_err();
        assert_eq!(double.position, Position(3));
        assert!(double.reason.contains("was buyer"), "{double}");
    }
}

/// The verdict on the story together with this table of erasures.
fn verdict_with_erasures(story: &[TestEvent], table: &[(usize, u8)]) -> Result<Proved, Violation> {
    let erased = table.iter().map(|(position, buyer)| {
        let erased = Erased {
            drop_id: A.parse().unwrap(),
            buyer: id(*buyer).parse().unwrap(),
        };
        (Position(*position as u64), erased)
    });
    let verifier = Verifier::new(vec![], true).with_erasures(erased.collect());
    judged_by(verifier, &seal(story), 4)
}

#[test]
fn log_and_table_of_erasures_must_agree() {
    let mut honest = story();
    honest[INTRODUCED - 1].private = None;
    let both = [(ERASED, 101), (ERASED + 1, 102), (ERASED + 1, 103)];
    assert!(verdict_with_erasures(&honest, &both).is_ok());

    let restored = verdict_with_erasures(&story(), &both).unwrap_err();
    assert_eq!(restored.position, Position(INTRODUCED as u64));
    assert!(
        restored.reason.contains("buyer erased at position 14"),
        "{restored}"
    );
    let other_buyer = [(ERASED, 104), (ERASED + 1, 102)];
    assert!(verdict_with_erasures(&story(), &other_buyer).is_ok());
    // Personal data that was added under the same pseudonym afterwards was not erased.
    let mut paid = honest.clone();
    paid.insert(1, paid[ERASED - 1].clone().later(0.5));
    paid[INTRODUCED] = story()[INTRODUCED - 1].clone();
    assert!(
        verdict_with_erasures(&paid, &[(2, 101), (ERASED + 1, 102), (ERASED + 2, 103)]).is_ok()
    );

    let missing = verdict_with_erasures(&honest, &both[..1]).unwrap_err();
    assert_eq!(missing.position, Position(ERASED as u64 + 1));
    assert!(missing.reason.contains("does not list it"), "{missing}");
    let more = [both.as_slice(), &[(3, 101), (99, 101)]].concat();
    let more = verdict_with_erasures(&honest, &more).unwrap_err();
    assert_eq!(more.position, Position(3));
    assert!(
        more.reason.contains("the event is not an erasure"),
        "{more}"
    );
}

#[test]
fn every_stream_is_numbered_from_one_without_gaps() {
    for index in [0, BOUGHT - 1, OTHER_DROP - 1, ERASED - 1, ERASED] {
        for by in [-1_i64, 1] {
            let mut events = seal(&story());
            let sequence = events[index].sequence.0.checked_add_signed(by).unwrap();
            events[index].sequence = Sequence(sequence);
            assert_violated(&chained(events), index + 1, "sequence: expected");
        }
    }
}

#[test]
fn foreign_streams_are_checked_for_gaps_and_counted_by_kind() {
    let of = |kind: &str, stream: &str, sequence: u64| {
        let mut event = seal(&story())[ERASED].clone();
        event.aggregate_type = kind.to_owned().into();
        event.aggregate_id = stream.to_owned();
        event.sequence = Sequence(sequence);
        event
    };
    let chained = |mut events: Vec<StoredEvent>| {
        for (position, event) in (1..).zip(&mut events) {
            event.position = Position(position);
        }
        chained(events)
    };
    let alike = vec![
        of("ab", "c", 1),
        of("a", "bc", 1),
        of("ab", "c", 2),
        of("a", "bc", 2),
    ];
    let proved = verdict(&chained(alike.clone()), &[]).unwrap();
    let kinds = ["a", "ab"].map(|kind| (kind.to_owned(), 2));
    assert_eq!(proved.notes.foreign, BTreeMap::from(kinds));
    for (index, sequence) in [(0, 2), (1, 0), (2, 1), (2, 3), (3, u64::MAX / 2)] {
        let mut gap = alike.clone();
        gap[index].sequence = Sequence(sequence);
        assert_violated(&chained(gap), index + 1, "sequence: expected");
    }

    let many = (0..100).map(|kind| of(&format!("kind {kind}"), "one", 1));
    let proved = verdict(&chained(many.collect()), &[]).unwrap();
    let foreign = proved.notes.foreign;
    assert_eq!((foreign.len(), foreign.values().sum::<u64>()), (33, 100));
    assert_eq!(foreign["(others)"], 68);
}

#[test]
fn violations_found_at_the_end_are_ordered_by_position() {
    let mut changed = story();
    changed[OTHER_DROP - 1].fields["key"] = json!(key(1));
    changed[0].fields["key"] = json!(key(1));
    changed[2].fields["key"] = json!(key(1));
    let reason = "used before in the same drop";
    assert_violated(&seal(&changed), 3, reason);
    // Independent of how the later violation is found: while reading, or at the end.
    let mut broken = seal(&changed);
    broken[BOUGHT - 1].hash = Hash([7; 32]);
    assert_violated(&broken, 3, reason);
    let claim = Claim {
        position: Position(99),
        hash: Hash([9; 32]),
        source: "an auditor".to_owned(),
    };
    let violation = verdict(&seal(&changed), &[claim]).unwrap_err();
    assert_eq!(violation.position, Position(3), "{violation}");
    let violation = verdict_with_erasures(&changed, &[(BOUGHT, 199)]).unwrap_err();
    assert_eq!(violation.position, Position(3), "{violation}");
    // An earlier violation comes first.
    let mut broken = seal(&changed);
    broken[1].hash = Hash([7; 32]);
    assert_violated(&broken, 2, "hash: expected");
}

/// Cancels the drop at second 50, with two open holds and a waitlist entry, and appends these
/// events.
fn closing<const N: usize>(story: &mut Vec<TestEvent>, then: [TestEvent; N]) {
    story.truncate(JOINED);
    story.push(cancelled(50.0));
    story.extend(then);
}

/// A hold that the cancellation ended, recorded later.
fn hold_ended(number: u8, units: u32, released_at: f64) -> TestEvent {
    let fields = json!({ "released_at": at(released_at), "cause": "drop_cancelled" });
    resolved(70.0, "HoldReleased", number, units, fields)
}

#[test]
fn incomplete_cancellation_is_noted() {
    let mut changed = story();
    closing(
        &mut changed,
        [hold_ended(1, 1, 50.0), hold_ended(2, 2, 50.0)],
    );
    let left = [(2, 1), (1, 1), (0, 1)];
    for (count, (holds, entries)) in (JOINED + 1..=JOINED + 3).zip(left) {
        let proved = verdict(&seal(&changed[..count]), &[]).unwrap();
        let expected = Closing {
            drops: 1,
            holds,
            entries,
        };
        assert_eq!(proved.notes.closing, expected);
        let sentences = proved.notes.sentences();
        let expected = format!(
            "1 cancelled drop still has {holds} holds to release and {entries} waitlist entries to remove"
        );
        assert!(sentences.contains(&expected), "{sentences:?}");
    }
}

#[test]
fn hold_skipped_by_a_cancellation_is_found_at_the_end() {
    let mut changed = story();
    closing(&mut changed, [hold_ended(2, 2, 50.0)]);
    let mut verifier = Verifier::new(vec![], true);
    for event in examine(&Page::Events(seal(&changed)), true).events {
        verifier.check(event).unwrap();
    }
    let violation = verifier.check_closing().unwrap_err();
    assert_eq!(violation.position, Position(changed.len() as u64));
    assert!(
        violation.to_string().contains("position 2 was skipped"),
        "{violation}"
    );
}

#[test]
fn event_under_a_wrong_type_is_a_violation() {
    let mut events = seal(&story());
    events[BOUGHT - 1].event_type = "HoldExpired".into();
    assert_violated(
        &chained(events),
        BOUGHT,
        "filed as HoldExpired, but it is a PurchaseConfirmed",
    );
    let mut events = seal(&story());
    events[BOUGHT - 1].event_version = "2.0".into();
    assert_violated(
        &chained(events),
        BOUGHT,
        "version 2.0 of PurchaseConfirmed is not known here",
    );
}

#[test]
fn erased_data_is_counted_only_if_readable() {
    let mut changed = story();
    changed[INTRODUCED - 1].private = None;
    let proved = verdict(&seal(&changed), &[]).unwrap();
    assert_eq!((proved.introductions, proved.erased), (1, Some(1)));
    let unseen = judged(&seal(&changed), 4, &[], false).unwrap();
    assert_eq!((unseen.introductions, unseen.erased), (1, None));
}

#[test]
fn claims_are_checked_against_the_log() {
    let events = seal(&story());
    let claim = |position: u64, hash: Hash| Claim {
        position: Position(position),
        hash,
        source: "an auditor".to_owned(),
    };
    let mut honest: Vec<Claim> = events
        .iter()
        .map(|event| claim(event.position.0, event.hash))
        .collect();
    honest.push(claim(0, Hash::default()));
    assert!(verdict(&events, &honest).is_ok());
    for position in 0..=events.len() as u64 {
        let violation = verdict(&events, &[claim(position, Hash([9; 32]))]).unwrap_err();
        assert_eq!(violation.position, Position(position));
        assert!(
            violation.reason.contains("hash claimed by an auditor"),
            "{violation}"
        );
    }
    let beyond = verdict(&events, &[claim(16, Hash([9; 32]))]).unwrap_err();
    assert_eq!(beyond.position, Position(16));
    assert!(
        beyond.reason.contains("the log ends at position 15"),
        "{beyond}"
    );
}

#[test]
fn head_must_match_the_last_event() {
    let events = seal(&story());
    let mut verifier = Verifier::new(vec![], true);
    for event in examine(&Page::Events(events.clone()), true).events {
        verifier.check(event).unwrap();
    }
    let head = events[14].head();
    assert!(verifier.check_head(head).is_ok());
    let others = [
        Head {
            hash: Hash([1; 32]),
            ..head
        },
        Head {
            recorded_at: head.recorded_at.plus_millis(1),
            ..head
        },
        Head {
            position: Position(14),
            ..head
        },
    ];
    for other in others {
        assert!(verifier.check_head(other).is_err());
    }
}
