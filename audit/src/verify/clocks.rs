//! Signs in a log of a clock that was wrong: notes, for none of them proves it.
//!
//! Limit: a log knows no clock but the one of the server that wrote it. Holds that are recorded as expired long after they were
//! over look the same after an outage; a clock that was wrong by less than a minute leaves no sign.

use domain::values::{Position, Timestamp};

/// An expiry is recorded within milliseconds, unless nobody could record it.
const LATE_MS: i64 = 60_000;
/// So many holds that were paid for in the very millisecond in which they were placed are no coincidence: each buyer had to be
/// answered, after a commit, before paying.
const STANDSTILL: u32 = 10;

/// What times tell of the clocks that made them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockSigns {
    /// Holds recorded as expired more than a minute after they were over.
    pub late_expiries: u64,
    /// The first of those.
    pub first_late: Option<Position>,
    /// Milliseconds in which at least ten holds were both placed and paid for.
    pub standstills: u64,
    /// Where the first of those was recognised.
    pub first_standstill: Option<Position>,
}

/// Gathers [`ClockSigns`] along a log.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    pub(super) signs: ClockSigns,
    /// Where time is, and how many holds were placed and paid for there.
    now: (Timestamp, u32),
}

impl Clocks {
    /// A hold that was over at `over_at` was recorded as expired at `recorded_at`.
    pub(super) fn expired(
        &mut self,
        position: Position,
        recorded_at: Timestamp,
        over_at: Timestamp,
    ) {
        if recorded_at.millis() - over_at.millis() > LATE_MS {
            self.signs.late_expiries += 1;
            self.signs.first_late.get_or_insert(position);
        }
    }

    /// A hold that was recorded at `placed_at` was recorded as paid for at `recorded_at`.
    pub(super) fn purchased(
        &mut self,
        position: Position,
        recorded_at: Timestamp,
        placed_at: Timestamp,
    ) {
        if self.now.0 != recorded_at {
            self.now = (recorded_at, 0);
        }
        if placed_at != recorded_at {
            return;
        }
        self.now.1 += 1;
        if self.now.1 == STANDSTILL {
            self.signs.standstills += 1;
            self.signs.first_standstill.get_or_insert(position);
        }
    }
}

impl ClockSigns {
    /// In sentences.
    pub(super) fn sentences(self) -> impl Iterator<Item = String> {
        let late = self.first_late.map(|first| {
            format!(
                "{} holds were recorded as expired more than a minute after they were over, the first at position {first}: no server could record them in time, or a server's clock was wrong",
                self.late_expiries
            )
        });
        let standstill = self.first_standstill.map(|first| {
            format!(
                "in {} milliseconds {STANDSTILL} or more holds were both placed and paid for, first seen at position {first}: time stood still there, as it does after a clock that was ahead",
                self.standstills
            )
        });
        late.into_iter().chain(standstill)
    }
}
