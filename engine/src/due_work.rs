//! Due work of each drop: its start and end, expired holds, offers to its waitlist, closing a
//! cancelled drop.
//!
//! Promise: work is scheduled at its deadline, or earlier (a check that finds nothing), but never
//! later. Drops with work take turns of [`SLICE`] events, in the order in which their work became
//! due, so a drop with a million holds to end delays other drops by at most one turn.
//! Limit: entries are hints, derived from state and never stored; the aggregate decides whether
//! there is anything to do. After a restart, or on another node, the same hints are derived again.

use std::collections::{BTreeSet, VecDeque};

use domain::values::Timestamp;

use super::deadlines::Deadlines;
use super::state::DropSlot;

/// Events of one drop before the next drop takes its turn.
const SLICE: usize = 32;

/// Due work of all drops.
#[derive(Debug, Default)]
pub(super) struct DueWork {
    /// By slot number.
    drops: Vec<DropDueWork>,
    /// The next deadline of each drop that is not in `turns`.
    fronts: BTreeSet<(Timestamp, DropSlot)>,
    /// Drops whose deadline has passed, in serving order.
    turns: VecDeque<DropSlot>,
    /// Events that the first drop in `turns` has recorded in this turn.
    taken: usize,
}

/// Due work of one drop.
#[derive(Debug, Default)]
pub(super) struct DropDueWork {
    pub(super) deadlines: Deadlines,
    /// When to check whether the waitlist can be served.
    pub(super) waitlist_at: Option<Timestamp>,
    /// When to check whether the drop has started or ended.
    pub(super) sale_at: Option<Timestamp>,
    /// Another node is doing this drop's due work; leave it to that node until then.
    pub(super) left_until: Timestamp,
    listed: Listed,
}

/// Where a drop is scheduled.
#[derive(Debug, Default, Clone, Copy)]
enum Listed {
    #[default]
    Unscheduled,
    Front(Timestamp),
    InTurn,
}

impl DueWork {
    /// When to check whether a drop has started or ended.
    pub(super) fn sale_at(&self, slot: DropSlot) -> Option<Timestamp> {
        self.drops.get(slot.number())?.sale_at
    }

    pub(super) fn of(&mut self, slot: DropSlot) -> &mut DropDueWork {
        let number = slot.number();
        if self.drops.len() <= number {
            self.drops.resize_with(number + 1, DropDueWork::default);
        }
        &mut self.drops[number]
    }

    /// Schedules a drop at `at`, unless it is scheduled earlier.
    pub(super) fn list(&mut self, slot: DropSlot, at: Timestamp) {
        let listed = &mut self.of(slot).listed;
        match *listed {
            Listed::InTurn => return,
            Listed::Front(before) if before <= at => return,
            Listed::Front(before) => {
                *listed = Listed::Front(at);
                self.fronts.remove(&(before, slot));
            }
            Listed::Unscheduled => *listed = Listed::Front(at),
        }
        self.fronts.insert((at, slot));
    }

    /// The next time at which work may be due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        match self.turns.is_empty() {
            true => self.fronts.first().map(|(at, _)| *at),
            false => Some(Timestamp::default()),
        }
    }

    /// The drop that is served next, of those due by `until`.
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

    /// Counts one more event of the drop that is being served.
    pub(super) const fn count(&mut self) {
        self.taken += 1;
    }

    /// Ends the turn of the drop that is being served; it is scheduled again at `next`.
    pub(super) fn rest(&mut self, next: Option<Timestamp>) {
        self.taken = 0;
        if let Some(slot) = self.turns.pop_front() {
            self.of(slot).listed = Listed::Unscheduled;
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

    /// Serves the drops until none has events left; returns the drop number of each event.
    fn served(due_work: &mut DueWork, left: &mut [usize], until: i64) -> Vec<u32> {
        let mut served = vec![];
        while let Some(slot) = due_work.turn(second(until)) {
            match left[slot.number()].checked_sub(1) {
                Some(less) => {
                    left[slot.number()] = less;
                    due_work.count();
                    served.push(slot.0);
                }
                None => due_work.rest(None),
            }
        }
        served
    }

    #[test]
    fn drops_take_turns_so_a_long_one_does_not_delay_others() {
        let mut due_work = DueWork::default();
        for (number, at) in [(0, 1), (1, 2), (2, 3), (3, 9)] {
            due_work.list(DropSlot(number), second(at));
        }
        let mut left = [100_000, 3, SLICE + 1, 5];
        let served = served(&mut due_work, &mut left, 3);
        assert_eq!(left, [0, 0, 0, 5]);
        let first_of = |number| served.iter().position(|of| *of == number).unwrap();
        let last_of = |number| served.iter().rposition(|of| *of == number).unwrap();
        assert_eq!((first_of(1), last_of(1)), (SLICE, SLICE + 2));
        assert_eq!((first_of(2), last_of(2)), (SLICE + 3, 3 * SLICE + 3));
        assert_eq!(due_work.next(), Some(second(9)));
    }

    #[test]
    fn drop_is_served_once_at_its_earliest_scheduled_time() {
        let mut due_work = DueWork::default();
        for at in [5, 3, 4] {
            due_work.list(DropSlot(0), second(at));
        }
        assert_eq!(due_work.next(), Some(second(3)));
        assert_eq!(due_work.turn(second(2)), None);
        assert_eq!(due_work.turn(second(3)), Some(DropSlot(0)));
        due_work.list(DropSlot(0), second(1));
        due_work.rest(Some(second(7)));
        assert_eq!(due_work.turn(second(6)), None);
        assert_eq!(due_work.turn(second(7)), Some(DropSlot(0)));
        due_work.rest(None);
        assert_eq!((due_work.next(), due_work.turn(second(99))), (None, None));
    }
}
