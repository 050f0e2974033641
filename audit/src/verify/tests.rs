//! Every check of the verifier, from both sides: a valid story, and the same story with one fault,
//! chained again as a forger in control of the log would chain it.

mod changes;
mod codes;
mod decided;
mod erasures;
mod groups;
mod impossible;
mod noted;
mod orders;
mod pauses;
mod payments;
mod refunds;
mod sales;
mod story;
mod streams;
mod tampered;

use domain::values::Position;
use infrastructure::erasure::Erased;
use infrastructure::log::{Hash, StoredEvent};
use serde_json::json;

use self::story::*;
use super::*;

#[test]
fn valid_story_is_verified() {
    let events = seal(&story());
    let proved = verdict(&events, &[]).unwrap();
    let expected = Proved {
        events: 15,
        head: events[14].head(),
        drops: 2,
        open_holds: 0,
        payments: PaymentCounts::default(),
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
