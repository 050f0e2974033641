//! The consequences of a cancellation: every hold ends and every waitlist entry is removed, at the
//! time of the cancellation, each once and in order.
//!
//! Promise: a skipped hold or entry is found, at the event that came before its turn, or at the
//! end. Limit: the engine records the consequences in slices, so a log may end before all are
//! recorded; the rest is noted.

use domain::values::{Position, Timestamp};

use super::Check;
use super::account::Account;
use super::ledger::Ledger;
use crate::violation::{Violation, expect};

/// Open holds and entries of cancelled drops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closing {
    /// Drops with open holds or entries.
    pub drops: u64,
    /// Holds to end.
    pub holds: u64,
    /// Waitlist entries to remove.
    pub entries: u64,
}

impl Closing {
    /// Describes them in a sentence; `None` if nothing is left.
    pub(super) fn sentence(self) -> Option<String> {
        let Self {
            drops,
            holds,
            entries,
        } = self;
        let is = if drops == 1 {
            "cancelled drop still has"
        } else {
            "cancelled drops still have"
        };
        (drops > 0).then(|| {
            format!(
                "{drops} {is} {holds} holds to release and {entries} waitlist entries to remove"
            )
        })
    }
}

/// How far the consequences of a cancellation are recorded.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    at: Timestamp,
    /// The position at which the last ended hold was placed.
    hold: Position,
    /// The position at which the last removed entry joined.
    entry: Position,
}

impl Cancelled {
    pub(super) fn at(at: Timestamp) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// Notes that the cancellation released a hold at `at`.
    pub(super) fn released(&mut self, at: Timestamp, placed: Position) -> Check {
        expect("released_at of a cancelled drop's hold", self.at, at)?;
        in_order(&mut self.hold, placed)
    }

    /// Notes that a hold expired, which is possible only before the cancellation.
    pub(super) fn expired(&mut self, at: Timestamp, placed: Position) -> Check {
        if at > self.at {
            return Err(format!(
                "a hold expired at {at}, but the drop was cancelled before, at {}",
                self.at
            )
            .into());
        }
        in_order(&mut self.hold, placed)
    }

    /// Notes that the cancellation removed a waitlist entry at `at`.
    pub(super) fn removed(&mut self, at: Timestamp, joined: Position) -> Check {
        expect("left_at of a cancelled drop's entry", self.at, at)?;
        in_order(&mut self.entry, joined)
    }
}

fn in_order(last: &mut Position, next: Position) -> Check {
    if next < *last {
        return Err(format!(
            "in a cancelled drop, the hold or entry of position {next} ends after that of position {last}"
        )
        .into());
    }
    *last = next;
    Ok(())
}

impl Ledger {
    /// Counts the open holds and entries of cancelled drops.
    pub(super) fn closing(&self) -> Closing {
        let left = |account: &&Account| {
            account.cancelled.is_some() && (account.open > 0 || account.waiting > 0)
        };
        let mut closing = Closing::default();
        for account in self.accounts().filter(left) {
            closing.drops += 1;
            closing.holds += account.open;
            closing.entries += account.waiting;
        }
        closing
    }

    /// Checks, at the end of a log, that no hold or entry of a cancelled drop was skipped.
    pub(super) fn check_skipped(&self, head: Position) -> Result<(), Violation> {
        let holds = self.open_of_cancelled(|cancelled| cancelled.hold);
        let entries = self.waiting_of_cancelled(|cancelled| cancelled.entry);
        match holds.into_iter().chain(entries).min() {
            None => Ok(()),
            Some(position) => {
                let reason = format!(
                    "a drop was cancelled, and the hold or entry of position {position} was skipped when later ones ended"
                );
                Err(Violation::at(head, reason))
            }
        }
    }
}
