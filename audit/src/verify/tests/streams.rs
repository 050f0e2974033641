//! The numbering of streams, and the end of the log.

use domain::values::{Position, Sequence};
use infrastructure::log::{Hash, StoredEvent};
use serde_json::json;

use super::*;
use crate::examine::examine;
use crate::source::Page;

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
