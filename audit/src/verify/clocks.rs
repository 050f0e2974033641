//! Signs of a wrong clock in a log. They are notes, because none of them is proof.
//!
//! Limit: a log knows only the clock of the server that wrote it. Holds recorded as expired long
//! after their deadline look the same after an outage; a clock that was wrong by less than a minute
//! leaves no sign.

use domain::values::{Position, Timestamp};

/// Expiries are normally recorded within milliseconds, unless no server was running.
const LATE_MS: i64 = 60_000;
/// This many holds that were purchased in the same millisecond in which they were placed cannot be
/// a coincidence: each buyer needed a response, after a commit, before paying.
const STANDSTILL: u32 = 10;

/// The signs of wrong clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockSigns {
    /// Holds recorded as expired more than a minute after their deadline.
    pub late_expiries: u64,
    /// The first of those.
    pub first_late: Option<Position>,
    /// Milliseconds in which at least ten holds were both placed and purchased.
    pub standstills: u64,
    /// The position at which the first of those was recognized.
    pub first_standstill: Option<Position>,
}

/// Collects [`ClockSigns`] along a log.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    pub(super) signs: ClockSigns,
    /// The present millisecond, and the number of holds placed and purchased in it.
    now: (Timestamp, u32),
}

impl Clocks {
    /// Notes that a hold with the deadline `over_at` was recorded as expired at `recorded_at`.
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

    /// Notes that a hold recorded at `placed_at` was recorded as purchased at `recorded_at`.
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
    /// Describes the signs in sentences.
    pub(super) fn sentences(self) -> impl Iterator<Item = String> {
        let late = self.first_late.map(|first| {
            format!(
                "{} holds were recorded as expired more than a minute after their deadline, the first at position {first}: no server was able to record them in time, or a server's clock was wrong",
                self.late_expiries
            )
        });
        let standstill = self.first_standstill.map(|first| {
            format!(
                "in {} milliseconds {STANDSTILL} or more holds were both placed and purchased, first at position {first}: recorded time stood still, as happens after a clock was ahead",
                self.standstills
            )
        });
        late.into_iter().chain(standstill)
    }
}
