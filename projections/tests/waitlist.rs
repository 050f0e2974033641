//! Waitlist entries and their ranks, as pages read them.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it unwraps, helpers included"
)]

use domain::DropEvent;
use domain::drop::waitlist::EntryStatus;
use domain::testing::*;
use domain::values::{Position, Sequence, Timestamp};
use infrastructure::codec::RecordedEvent;
use projections::error::CannotApply;
use projections::waitlist::Waitlists;

fn recorded(position: u64, event: DropEvent) -> RecordedEvent {
    RecordedEvent {
        position: Position(position),
        recorded_at: Timestamp::default(),
        drop_id: drop_id("d"),
        sequence: Sequence(position),
        event,
        private: None,
    }
}

fn waitlists(history: impl IntoIterator<Item = DropEvent>) -> Waitlists {
    let mut waitlists = Waitlists::default();
    for (position, event) in (1..).zip(history) {
        waitlists.apply(&recorded(position, event)).unwrap();
    }
    waitlists
}

fn three() -> Vec<DropEvent> {
    let names = ["w1", "w2", "w3"];
    names
        .map(|name| waitlist_joined(name, 1).by(name))
        .into_iter()
        .collect()
}

fn ranks(waitlists: &Waitlists) -> [Option<u32>; 3] {
    ["w1", "w2", "w3"].map(|name| waitlists.entry(waitlist_id(name)).unwrap().1)
}

#[test]
fn served_and_removed_entries_move_up_the_later_ones() {
    let mut history = three();
    assert_eq!(
        ranks(&waitlists(history.clone())),
        [Some(1), Some(2), Some(3)]
    );
    history.push(waitlist_left("w2", 1).by("w2"));
    assert_eq!(ranks(&waitlists(history.clone())), [Some(1), None, Some(2)]);
    history.push(hold_offered("w1", 1).by("w1"));
    let waitlists = waitlists(history);
    assert_eq!(ranks(&waitlists), [None, None, Some(1)]);
    let (row, _) = waitlists.entry(waitlist_id("w1")).unwrap();
    assert_eq!(
        (row.status, row.hold_id, row.position),
        (EntryStatus::Offered, hold_id("w1"), Position(5))
    );
    assert!(waitlists.entry(waitlist_id("nobody")).is_none());
}

#[test]
fn entries_removed_by_cancellation_and_by_leaving_are_distinct() {
    let mut history = three();
    history.push(waitlist_left("w1", 1).by("w1"));
    history.push(entry_cancelled("w2", 1).by("w2"));
    let waitlists = waitlists(history);
    let removed_by_cancellation = |name| {
        waitlists
            .entry(waitlist_id(name))
            .unwrap()
            .0
            .removed_by_cancellation
    };
    assert!(!removed_by_cancellation("w1") && removed_by_cancellation("w2"));
}

#[test]
fn entry_is_settled_once() {
    let mut waitlists = waitlists(three());
    let mut refused = |event| waitlists.apply(&recorded(9, event)).unwrap_err();
    assert_eq!(
        refused(waitlist_joined("w1", 1)),
        CannotApply("the waitlist entry already exists")
    );
    assert_eq!(
        refused(hold_offered("w9", 1)),
        CannotApply("the waitlist entry does not exist")
    );
    waitlists
        .apply(&recorded(10, waitlist_left("w1", 1)))
        .unwrap();
    assert_eq!(
        waitlists
            .apply(&recorded(11, hold_offered("w1", 1)))
            .unwrap_err(),
        CannotApply("the waitlist entry was settled already")
    );
}
