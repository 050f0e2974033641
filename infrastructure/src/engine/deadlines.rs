//! When the next hold is over: a heap of deadlines, checked against the hold when they come up.
//!
//! Promise: every unresolved hold has an entry at its `expires_at`. Limit: a resolved hold's entry stays until its time
//! comes, when the engine finds that there is nothing to do; so an entry is a hint, and the aggregate decides.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use domain::values::Timestamp;

use super::state::HoldSlot;

/// Deadlines, earliest first.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Timestamp, HoldSlot)>>);

impl Deadlines {
    /// Remembers that the hold in `slot` is over at `at`.
    pub(super) fn push(&mut self, at: Timestamp, slot: HoldSlot) {
        self.0.push(Reverse((at, slot)));
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the earliest entry out if its time has come.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<HoldSlot> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, slot))| slot)
    }
}
