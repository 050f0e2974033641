//! Places in line as pages ask for them.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it unwraps, helpers included"
)]

use domain::DropEvent;
use domain::drop::line::EntryStatus;
use domain::testing::*;
use domain::values::{Position, Sequence, Timestamp};
use infrastructure::codec::RecordedEvent;
use projections::error::CannotApply;
use projections::waitlist::Lines;

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

fn lines(history: impl IntoIterator<Item = DropEvent>) -> Lines {
    let mut lines = Lines::default();
    for (position, event) in (1..).zip(history) {
        lines.apply(&recorded(position, event)).unwrap();
    }
    lines
}

fn three() -> Vec<DropEvent> {
    let names = ["w1", "w2", "w3"];
    names
        .map(|name| waitlist_joined(name, 1).by(name))
        .into_iter()
        .collect()
}

fn places(lines: &Lines) -> [Option<u32>; 3] {
    ["w1", "w2", "w3"].map(|name| lines.place(waitlist_id(name)).unwrap().1)
}

#[test]
fn whoever_is_served_or_leaves_moves_up_those_behind() {
    let mut history = three();
    assert_eq!(places(&lines(history.clone())), [Some(1), Some(2), Some(3)]);
    history.push(waitlist_left("w2", 1).by("w2"));
    assert_eq!(places(&lines(history.clone())), [Some(1), None, Some(2)]);
    history.push(hold_offered("w1", 1).by("w1"));
    let lines = lines(history);
    assert_eq!(places(&lines), [None, None, Some(1)]);
    let (row, _) = lines.place(waitlist_id("w1")).unwrap();
    assert_eq!(
        (row.status, row.hold_id, row.position),
        (EntryStatus::Offered, hold_id("w1"), Position(5))
    );
    assert!(lines.place(waitlist_id("nobody")).is_none());
}

#[test]
fn a_line_that_was_called_off_is_told_from_one_that_was_left() {
    let mut history = three();
    history.push(waitlist_left("w1", 1).by("w1"));
    history.push(waitlist_called_off("w2", 1).by("w2"));
    let lines = lines(history);
    let called_off = |name| lines.place(waitlist_id(name)).unwrap().0.called_off;
    assert!(!called_off("w1") && called_off("w2"));
}

#[test]
fn a_place_is_settled_once() {
    let mut lines = lines(three());
    let mut refused = |event| lines.apply(&recorded(9, event)).unwrap_err();
    assert_eq!(
        refused(waitlist_joined("w1", 1)),
        CannotApply("the place in line was taken already")
    );
    assert_eq!(
        refused(hold_offered("w9", 1)),
        CannotApply("the place in line was never taken")
    );
    lines.apply(&recorded(10, waitlist_left("w1", 1))).unwrap();
    assert_eq!(
        lines
            .apply(&recorded(11, hold_offered("w1", 1)))
            .unwrap_err(),
        CannotApply("the place in line was settled already")
    );
}
