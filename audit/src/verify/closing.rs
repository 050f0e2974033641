//! What a cancellation brings with it: every hold ended and every waitlist entry removed, at the
//! time of the cancellation, each once and in the order in which they came.
//!
//! Promise: a hold or an entry that was passed over is found, at the one that came before its turn,
//! or at the end. Limit: a log may end before all is done, since an engine records it in slices;
//! what is left is noted.

use domain::values::{Position, Timestamp};

use super::Check;
use super::account::Account;
use super::ledger::Ledger;
use crate::violation::{Violation, expect};

/// What cancelled drops still have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closing {
    /// Drops that have something.
    pub drops: u64,
    /// Holds to end.
    pub holds: u64,
    /// Waitlist entries to remove.
    pub entries: u64,
}

impl Closing {
    /// In a sentence; none when nothing is left.
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

/// How far the consequences of a cancellation were recorded.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    at: Timestamp,
    /// Where the last hold that it ended was placed.
    hold: Position,
    /// Where the last entry that it removed was recorded.
    entry: Position,
}

impl Cancelled {
    pub(super) fn at(at: Timestamp) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// A hold was released at `at` because of it.
    pub(super) fn released(&mut self, at: Timestamp, placed: Position) -> Check {
        expect("released_at of a cancelled drop's hold", self.at, at)?;
        in_order(&mut self.hold, placed)
    }

    /// A hold ran out, which it can only have done before.
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

    /// A waitlist entry was removed at `at` because of it.
    pub(super) fn removed(&mut self, at: Timestamp, taken: Position) -> Check {
        expect("left_at of a cancelled drop's entry", self.at, at)?;
        in_order(&mut self.entry, taken)
    }
}

fn in_order(last: &mut Position, next: Position) -> Check {
    if next < *last {
        return Err(format!(
            "of a cancelled drop, what came at position {next} ends after what came at position {last}"
        )
        .into());
    }
    *last = next;
    Ok(())
}

impl Ledger {
    /// What cancelled drops still have.
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

    /// Checks, at the end of a log, that nothing of a cancelled drop was passed over.
    pub(super) fn check_passed_over(&self, head: Position) -> Result<(), Violation> {
        let holds = self.open_of_cancelled(|cancelled| cancelled.hold);
        let entries = self.waiting_of_cancelled(|cancelled| cancelled.entry);
        match holds.into_iter().chain(entries).min() {
            None => Ok(()),
            Some(position) => {
                let reason = format!(
                    "a drop was cancelled, and what came at position {position} was passed over when later holds or entries ended"
                );
                Err(Violation::at(head, reason))
            }
        }
    }
}
