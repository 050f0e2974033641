//! When the next hold of one drop is over.
//!
//! Promise: an unresolved hold comes up at its `expires_at`, or earlier for nothing, never later. Limit: these are hints, and
//! the aggregate decides: a hold that was resolved meanwhile comes up all the same.
//!
//! Holds of one drop nearly always run out in the order in which they were placed, so a drop needs one cursor, which walks
//! its holds; only a hold that is over before an earlier one (the hold time was shortened) has an entry of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use domain::values::Timestamp;

/// Deadlines of one drop, whose holds are known by their places in it.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// The first hold that the cursor has not passed.
    next: u32,
    /// The latest deadline before the end.
    latest: Timestamp,
    /// When the cursor comes up next, or earlier; none while it stands at the end.
    front: Option<Timestamp>,
    /// Holds that the cursor will not meet in time.
    odd: BinaryHeap<Reverse<(Timestamp, u32)>>,
}

/// A hold as the cursor meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// Unresolved, and over then.
    Held(Timestamp),
    Resolved,
}

impl Deadlines {
    /// A hold was placed, the newest of the drop.
    pub(super) fn placed(&mut self, at: Timestamp, hold: u32) {
        let is_passed = hold < self.next;
        if is_passed || at < self.latest {
            return self.push(at, hold);
        }
        self.latest = at;
        self.front.get_or_insert(at);
    }

    /// Remembers that a hold is over at `at`, wherever the cursor stands.
    pub(super) fn push(&mut self, at: Timestamp, hold: u32) {
        self.odd.push(Reverse((at, hold)));
    }

    /// When something may come up.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let odd = self.odd.peek().map(|Reverse((at, _))| *at);
        odd.into_iter().chain(self.front).min()
    }

    /// Takes out the earliest hold whose time has come. `meet` returns the hold at a place; none:
    /// there is none.
    pub(super) fn pop_due(
        &mut self,
        until: Timestamp,
        meet: impl Fn(u32) -> Option<Met>,
    ) -> Option<u32> {
        loop {
            let at = self.next().filter(|at| *at <= until)?;
            if self.odd.peek().is_some_and(|Reverse((odd, _))| *odd == at) {
                return self.odd.pop().map(|Reverse((_, hold))| hold);
            }
            if let Some(hold) = self.walk(at, &meet) {
                return Some(hold);
            }
        }
    }

    /// Moves the cursor to the next unresolved hold, and past it if that is over at `at`.
    fn walk(&mut self, at: Timestamp, meet: impl Fn(u32) -> Option<Met>) -> Option<u32> {
        loop {
            match meet(self.next) {
                None => {
                    self.front = None;
                    return None;
                }
                Some(Met::Resolved) => self.next += 1,
                Some(Met::Held(over_at)) => {
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

    /// The holds of one drop: when each is over, and whether it is unresolved.
    type Holds = Vec<(i64, bool)>;

    fn slot(hold: usize) -> u32 {
        u32::try_from(hold).unwrap()
    }

    fn second(at: i64) -> Timestamp {
        Timestamp::from_millis(at * 1_000)
    }

    fn watched(holds: &Holds) -> Deadlines {
        let mut deadlines = Deadlines::default();
        for (place, (at, _)) in holds.iter().enumerate() {
            deadlines.placed(second(*at), slot(place));
        }
        deadlines
    }

    /// What comes up until `now` and is unresolved, in order; it is resolved then.
    fn due(deadlines: &mut Deadlines, holds: &mut Holds, now: i64) -> Vec<u32> {
        let mut due = vec![];
        loop {
            let meet = |hold: u32| {
                let &(at, is_held) = holds.get(hold as usize)?;
                let held = is_held.then_some(Met::Held(second(at)));
                Some(held.unwrap_or(Met::Resolved))
            };
            let Some(hold) = deadlines.pop_due(second(now), meet) else {
                return due;
            };
            if std::mem::take(&mut holds[hold as usize].1) {
                due.push(hold);
            }
        }
    }

    #[test]
    fn holds_come_up_when_they_are_over_and_not_before_each_once() {
        let mut holds = vec![(10, true), (10, true), (20, true)];
        let mut deadlines = watched(&holds);
        assert_eq!(deadlines.next(), Some(second(10)));
        assert_eq!(due(&mut deadlines, &mut holds, 9), NONE);
        assert_eq!(due(&mut deadlines, &mut holds, 10), [0, 1]);
        assert_eq!(due(&mut deadlines, &mut holds, 19), NONE);
        assert_eq!(deadlines.next(), Some(second(20)));
        assert_eq!(due(&mut deadlines, &mut holds, 30), [2]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_hold_that_is_over_before_an_earlier_one_comes_up_in_time() {
        let mut holds = vec![(60, true), (10, true), (60, true), (59, true), (5, true)];
        let mut deadlines = watched(&holds);
        assert_eq!(due(&mut deadlines, &mut holds, 4), NONE);
        assert_eq!(due(&mut deadlines, &mut holds, 10), [4, 1]);
        assert_eq!(due(&mut deadlines, &mut holds, 59), [3]);
        assert_eq!(due(&mut deadlines, &mut holds, 60), [0, 2]);
    }

    #[test]
    fn what_was_resolved_is_passed_over_and_what_is_taken_back_comes_up_again() {
        let mut holds = vec![(10, false), (20, true), (30, true)];
        let mut deadlines = watched(&holds);
        assert_eq!(due(&mut deadlines, &mut holds, 25), [1]);
        holds[0].1 = true;
        deadlines.push(second(10), slot(0));
        assert_eq!(due(&mut deadlines, &mut holds, 25), [0]);
        assert_eq!(due(&mut deadlines, &mut holds, 30), [2]);
    }

    #[test]
    fn a_hold_in_the_place_of_one_that_was_taken_back_comes_up_too() {
        for (over, now) in [(10, 10), (40, 40)] {
            // It had come up already, or not yet.
            for come_up in [true, false] {
                let mut holds = vec![(10, true)];
                let mut deadlines = watched(&holds);
                if come_up {
                    assert_eq!(due(&mut deadlines, &mut holds, 10), [0]);
                }
                holds[0] = (over, true);
                deadlines.placed(second(over), slot(0));
                assert_eq!(due(&mut deadlines, &mut holds, now - 1), NONE);
                let up = due(&mut deadlines, &mut holds, now);
                assert!(up.contains(&0), "{over} {come_up}");
            }
        }
    }

    #[test]
    fn a_drop_that_had_none_left_is_watched_again() {
        let mut holds = vec![(10, true)];
        let mut deadlines = watched(&holds);
        assert_eq!(due(&mut deadlines, &mut holds, 10), [0]);
        holds.push((20, true));
        deadlines.placed(second(20), slot(1));
        assert_eq!(due(&mut deadlines, &mut holds, 20), [1]);
    }
}
