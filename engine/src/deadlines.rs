//! Hold deadlines of one drop.
//!
//! Promise: an unresolved hold is returned at its `expires_at`, or earlier (a check that finds
//! nothing), but never later.
//! Limit: entries are hints, and the aggregate decides: a hold that was resolved meanwhile is
//! returned all the same.
//!
//! Holds of one drop nearly always expire in the order in which they were placed, so one cursor
//! that walks the holds is enough. Two kinds of hold have an entry of their own: a hold that
//! expires before an earlier one (the hold time was shortened), and a hold that was extended. The
//! cursor skips the latter, because it would wait there while later holds expire.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use domain::values::Timestamp;

/// Deadlines of one drop's holds, which are identified by index.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// The first hold that the cursor has not passed.
    next: u32,
    /// The latest deadline before the end of the holds.
    latest: Timestamp,
    /// A lower bound of the next deadline at the cursor; `None` while it is at the end.
    front: Option<Timestamp>,
    /// Holds that expire before the cursor reaches them.
    out_of_order: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// Holds whose deadline has moved, beyond the cursor.
    moved: HashSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CursorHold {
    /// Unresolved, with its deadline.
    Held(Timestamp),
    Resolved,
}

impl Deadlines {
    /// Adds the newest hold of the drop.
    pub(super) fn placed(&mut self, at: Timestamp, hold: u32) {
        // A hold that was rolled back may have moved at this index.
        let is_skipped = hold < self.next || self.moved.contains(&hold);
        if is_skipped || at < self.latest {
            return self.push(at, hold);
        }
        self.latest = at;
        self.front.get_or_insert(at);
    }

    /// Schedules a hold at `at` instead of its former deadline.
    pub(super) fn moved(&mut self, at: Timestamp, hold: u32) {
        if hold >= self.next {
            self.moved.insert(hold);
        }
        self.push(at, hold);
    }

    /// Schedules a hold at `at`, independently of the cursor.
    pub(super) fn push(&mut self, at: Timestamp, hold: u32) {
        self.out_of_order.push(Reverse((at, hold)));
    }

    /// The next time at which a hold may be due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let out_of_order = self.out_of_order.peek().map(|Reverse((at, _))| *at);
        out_of_order.into_iter().chain(self.front).min()
    }

    /// Removes and returns the earliest hold that is due. `hold_at` returns the hold at an index,
    /// or `None` past the last.
    pub(super) fn pop_due(
        &mut self,
        until: Timestamp,
        hold_at: impl Fn(u32) -> Option<CursorHold>,
    ) -> Option<u32> {
        loop {
            let at = self.next().filter(|at| *at <= until)?;
            if self
                .out_of_order
                .peek()
                .is_some_and(|Reverse((out_of_order, _))| *out_of_order == at)
            {
                return self.out_of_order.pop().map(|Reverse((_, hold))| hold);
            }
            if let Some(hold) = self.walk(at, &hold_at) {
                return Some(hold);
            }
        }
    }

    /// Moves the cursor to the next unresolved hold, and past it if it expires at `at`.
    fn walk(&mut self, at: Timestamp, hold_at: impl Fn(u32) -> Option<CursorHold>) -> Option<u32> {
        loop {
            match hold_at(self.next) {
                None => {
                    self.front = None;
                    return None;
                }
                Some(_) if self.moved.remove(&self.next) => self.next += 1,
                Some(CursorHold::Resolved) => self.next += 1,
                Some(CursorHold::Held(over_at)) => {
                    self.front = Some(over_at);
                    if over_at > at {
                        return None;
                    }
                    self.next += 1;
                    return Some(self.next - 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u32; 0] = [];

    /// The holds of one drop: the deadline of each, and whether it is unresolved.
    type Holds = Vec<(i64, bool)>;

    fn slot(hold: usize) -> u32 {
        u32::try_from(hold).unwrap()
    }

    fn second(at: i64) -> Timestamp {
        Timestamp::from_millis(at * 1_000)
    }

    fn deadlines_of(holds: &Holds) -> Deadlines {
        let mut deadlines = Deadlines::default();
        for (index, (at, _)) in holds.iter().enumerate() {
            deadlines.placed(second(*at), slot(index));
        }
        deadlines
    }

    /// Returns the unresolved holds that are due at `now`, in order, and resolves them.
    fn due(deadlines: &mut Deadlines, holds: &mut Holds, now: i64) -> Vec<u32> {
        let mut due = vec![];
        loop {
            let hold_at = |hold: u32| {
                let &(at, is_held) = holds.get(hold as usize)?;
                let held = is_held.then_some(CursorHold::Held(second(at)));
                Some(held.unwrap_or(CursorHold::Resolved))
            };
            let Some(hold) = deadlines.pop_due(second(now), hold_at) else {
                return due;
            };
            if std::mem::take(&mut holds[hold as usize].1) {
                due.push(hold);
            }
        }
    }

    #[test]
    fn holds_are_due_at_their_deadline_each_once() {
        let mut holds = vec![(10, true), (10, true), (20, true)];
        let mut deadlines = deadlines_of(&holds);
        assert_eq!(deadlines.next(), Some(second(10)));
        assert_eq!(due(&mut deadlines, &mut holds, 9), NONE);
        assert_eq!(due(&mut deadlines, &mut holds, 10), [0, 1]);
        assert_eq!(due(&mut deadlines, &mut holds, 19), NONE);
        assert_eq!(deadlines.next(), Some(second(20)));
        assert_eq!(due(&mut deadlines, &mut holds, 30), [2]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn hold_that_expires_before_an_earlier_one_is_due_in_time() {
        let mut holds = vec![(60, true), (10, true), (60, true), (59, true), (5, true)];
        let mut deadlines = deadlines_of(&holds);
        assert_eq!(due(&mut deadlines, &mut holds, 4), NONE);
        assert_eq!(due(&mut deadlines, &mut holds, 10), [4, 1]);
        assert_eq!(due(&mut deadlines, &mut holds, 59), [3]);
        assert_eq!(due(&mut deadlines, &mut holds, 60), [0, 2]);
    }

    #[test]
    fn resolved_hold_is_skipped_and_reverted_one_is_due_again() {
        let mut holds = vec![(10, false), (20, true), (30, true)];
        let mut deadlines = deadlines_of(&holds);
        assert_eq!(due(&mut deadlines, &mut holds, 25), [1]);
        holds[0].1 = true;
        deadlines.push(second(10), slot(0));
        assert_eq!(due(&mut deadlines, &mut holds, 25), [0]);
        assert_eq!(due(&mut deadlines, &mut holds, 30), [2]);
    }

    #[test]
    fn hold_at_the_index_of_a_reverted_one_is_due_too() {
        for (over, now) in [(10, 10), (40, 40)] {
            // Returned as due already, or not yet.
            for was_returned in [true, false] {
                let mut holds = vec![(10, true)];
                let mut deadlines = deadlines_of(&holds);
                if was_returned {
                    assert_eq!(due(&mut deadlines, &mut holds, 10), [0]);
                }
                holds[0] = (over, true);
                deadlines.placed(second(over), slot(0));
                assert_eq!(due(&mut deadlines, &mut holds, now - 1), NONE);
                let up = due(&mut deadlines, &mut holds, now);
                assert!(up.contains(&0), "{over} {was_returned}");
            }
        }
    }

    /// Moves the deadline of a hold.
    fn move_to(deadlines: &mut Deadlines, holds: &mut Holds, hold: usize, at: i64) {
        holds[hold].0 = at;
        deadlines.moved(second(at), slot(hold));
    }

    /// As [`due`], but only the holds that are over, as the aggregate decides.
    fn over(deadlines: &mut Deadlines, holds: &mut Holds, now: i64) -> Vec<u32> {
        let mut over = vec![];
        loop {
            let hold_at = |hold: u32| {
                let &(at, is_held) = holds.get(hold as usize)?;
                let held = is_held.then_some(CursorHold::Held(second(at)));
                Some(held.unwrap_or(CursorHold::Resolved))
            };
            let Some(hold) = deadlines.pop_due(second(now), hold_at) else {
                return over;
            };
            let (at, is_held) = &mut holds[hold as usize];
            if *is_held && *at <= now {
                *is_held = false;
                over.push(hold);
            }
        }
    }

    #[test]
    fn extended_hold_is_due_at_its_new_deadline_and_delays_no_other() {
        for extended in 0..4 {
            let mut holds = vec![(10, true), (10, true), (20, true), (30, true)];
            let mut deadlines = deadlines_of(&holds);
            move_to(&mut deadlines, &mut holds, extended, 50);
            let mut seen = vec![];
            for now in 0..60 {
                for hold in over(&mut deadlines, &mut holds, now) {
                    seen.push((hold, now));
                }
            }
            let mut expected = vec![(0, 10), (1, 10), (2, 20), (3, 30)];
            expected.remove(extended);
            expected.push((slot(extended), 50));
            assert_eq!(seen, expected);
            assert_eq!(deadlines.next(), None);
        }
    }

    #[test]
    fn hold_can_be_extended_repeatedly_and_the_extension_reverted() {
        for passed in [false, true] {
            let mut holds = vec![(10, true), (20, true)];
            let mut deadlines = deadlines_of(&holds);
            move_to(&mut deadlines, &mut holds, 0, 30);
            if passed {
                assert_eq!(over(&mut deadlines, &mut holds, 20), [1]);
            }
            move_to(&mut deadlines, &mut holds, 0, 40);
            // Rolled back.
            move_to(&mut deadlines, &mut holds, 0, 30);
            assert!(!over(&mut deadlines, &mut holds, 29).contains(&0));
            assert_eq!(over(&mut deadlines, &mut holds, 30), [0]);
            assert_eq!(over(&mut deadlines, &mut holds, 99), NONE);
        }
    }

    #[test]
    fn hold_at_the_index_of_an_extended_and_reverted_one_is_due() {
        let mut holds = vec![(10, true)];
        let mut deadlines = deadlines_of(&holds);
        move_to(&mut deadlines, &mut holds, 0, 50);
        // Both were rolled back, and another hold was placed.
        holds[0] = (15, true);
        deadlines.placed(second(15), slot(0));
        holds.push((20, true));
        deadlines.placed(second(20), slot(1));
        assert_eq!(over(&mut deadlines, &mut holds, 14), NONE);
        assert_eq!(over(&mut deadlines, &mut holds, 15), [0]);
        assert_eq!(over(&mut deadlines, &mut holds, 20), [1]);
    }

    #[test]
    fn hold_after_all_others_ended_is_due() {
        let mut holds = vec![(10, true)];
        let mut deadlines = deadlines_of(&holds);
        assert_eq!(due(&mut deadlines, &mut holds, 10), [0]);
        holds.push((20, true));
        deadlines.placed(second(20), slot(1));
        assert_eq!(due(&mut deadlines, &mut holds, 20), [1]);
    }
}
