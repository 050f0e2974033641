//! Events that are permitted but unusual: verified, and noted.

use domain::private::Private;
use domain::values::{BuyerId, Position, Salt};
use serde_json::json;

use super::*;

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
