//! What is due without a request, drop by drop: holds that are over, offers to a waitlist, the end
//! of a cancelled drop.
//!
//! Promise: work comes up at its time, or earlier for nothing, never later; drops with work take
//! turns of [`SLICE`] events in the order in which their work came due, so a drop with a million
//! holds to end delays no other drop's by more than that.
//! Limit: these are hints, derived from the state and never stored; the aggregate decides whether
//! there is anything to do. A restart, or another node, derives the same.

use std::collections::{BTreeSet, VecDeque};

use domain::values::Timestamp;

use super::deadlines::Deadlines;
use super::state::DropSlot;

/// Events of one drop before the next drop has its turn.
const SLICE: usize = 32;

/// Work of every drop.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// By the number of the drop's slot.
    drops: Vec<DropAgenda>,
    /// When each drop comes up next, unless it is in turn.
    fronts: BTreeSet<(Timestamp, DropSlot)>,
    /// Drops whose time has come, in the order in which they are served.
    turns: VecDeque<DropSlot>,
    /// Events that the first of them has had in this turn.
    taken: usize,
}

/// Work of one drop.
#[derive(Debug, Default)]
pub(super) struct DropAgenda {
    pub(super) deadlines: Deadlines,
    /// When to look whether the waitlist can be served.
    pub(super) line_at: Option<Timestamp>,
    /// Another node was seen to do this drop's work; it is left to that node until then.
    pub(super) left_until: Timestamp,
    listed: Listed,
}

/// Where a drop stands.
#[derive(Debug, Default, Clone, Copy)]
enum Listed {
    #[default]
    Nowhere,
    Front(Timestamp),
    InTurn,
}

impl Agenda {
    pub(super) fn of(&mut self, slot: DropSlot) -> &mut DropAgenda {
        let number = slot.number();
        if self.drops.len() <= number {
            self.drops.resize_with(number + 1, DropAgenda::default);
        }
        &mut self.drops[number]
    }

    /// Sees to it that a drop comes up at `at` or earlier.
    pub(super) fn list(&mut self, slot: DropSlot, at: Timestamp) {
        let listed = &mut self.of(slot).listed;
        match *listed {
            Listed::InTurn => return,
            Listed::Front(before) if before <= at => return,
            Listed::Front(before) => {
                *listed = Listed::Front(at);
                self.fronts.remove(&(before, slot));
            }
            Listed::Nowhere => *listed = Listed::Front(at),
        }
        self.fronts.insert((at, slot));
    }

    /// When something may be due next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        match self.turns.is_empty() {
            true => self.fronts.first().map(|(at, _)| *at),
            false => Some(Timestamp::default()),
        }
    }

    /// The drop whose turn it is at `until`.
    pub(super) fn turn(&mut self, until: Timestamp) -> Option<DropSlot> {
        while let Some(&(at, slot)) = self.fronts.first()
            && at <= until
        {
            self.fronts.pop_first();
            self.drops[slot.number()].listed = Listed::InTurn;
            self.turns.push_back(slot);
        }
        if self.taken >= SLICE && !self.turns.is_empty() {
            self.turns.rotate_left(1);
            self.taken = 0;
        }
        self.turns.front().copied()
    }

    /// The drop whose turn it is has had one more event.
    pub(super) const fn count(&mut self) {
        self.taken += 1;
    }

    /// The drop whose turn it is has nothing more to do, until `next`.
    pub(super) fn rest(&mut self, next: Option<Timestamp>) {
        self.taken = 0;
        if let Some(slot) = self.turns.pop_front() {
            self.of(slot).listed = Listed::Nowhere;
            if let Some(at) = next {
                self.list(slot, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: i64) -> Timestamp {
        Timestamp::from_millis(at * 1_000)
    }

    /// Whose events they are, drops by number, each with so many left; until everybody rests.
    fn served(agenda: &mut Agenda, left: &mut [usize], until: i64) -> Vec<u32> {
        let mut served = vec![];
        while let Some(slot) = agenda.turn(second(until)) {
            match left[slot.number()].checked_sub(1) {
                Some(less) => {
                    left[slot.number()] = less;
                    agenda.count();
                    served.push(slot.0);
                }
                None => agenda.rest(None),
            }
        }
        served
    }

    #[test]
    fn drops_take_turns_so_a_long_one_delays_no_other() {
        let mut agenda = Agenda::default();
        for (number, at) in [(0, 1), (1, 2), (2, 3), (3, 9)] {
            agenda.list(DropSlot(number), second(at));
        }
        let mut left = [100_000, 3, SLICE + 1, 5];
        let served = served(&mut agenda, &mut left, 3);
        assert_eq!(left, [0, 0, 0, 5]);
        let first_of = |number| served.iter().position(|of| *of == number).unwrap();
        let last_of = |number| served.iter().rposition(|of| *of == number).unwrap();
        assert_eq!((first_of(1), last_of(1)), (SLICE, SLICE + 2));
        assert_eq!((first_of(2), last_of(2)), (SLICE + 3, 3 * SLICE + 3));
        assert_eq!(agenda.next(), Some(second(9)));
    }

    #[test]
    fn a_drop_comes_up_at_the_earliest_time_that_it_is_listed_for_and_once() {
        let mut agenda = Agenda::default();
        for at in [5, 3, 4] {
            agenda.list(DropSlot(0), second(at));
        }
        assert_eq!(agenda.next(), Some(second(3)));
        assert_eq!(agenda.turn(second(2)), None);
        assert_eq!(agenda.turn(second(3)), Some(DropSlot(0)));
        agenda.list(DropSlot(0), second(1));
        agenda.rest(Some(second(7)));
        assert_eq!(agenda.turn(second(6)), None);
        assert_eq!(agenda.turn(second(7)), Some(DropSlot(0)));
        agenda.rest(None);
        assert_eq!((agenda.next(), agenda.turn(second(99))), (None, None));
    }
}
