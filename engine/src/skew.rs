//! How far this node's clock is from the clock that all nodes of a log share: the database's.
//!
//! Promise: nothing is decided at a time that is known to be wrong. A node stops deciding when its clock is certainly further
//! from the shared one than the bound, and decides again once it is certainly within. Between two comparisons the wall
//! clock is held to the monotonic one: after a jump nothing is decided until the clocks have been compared again.
//! Limit: what a comparison can tell is as uncertain as its round trip takes. See docs/decisions/0034.

use std::fmt;
use std::time::Duration;

use domain::values::Timestamp;
use tokio::time::Instant;

use infrastructure::ports::Clock;

/// The database refuses what is further in the future than this, in milliseconds (migrations/0008_clock.sql).
const DATABASE_BOUND_MS: i64 = 2_000;
/// The wall clock may move by this much against the monotonic one, in milliseconds, before the clocks are compared again.
const JUMP_MS: i64 = 250;
/// A comparison that took longer can condemn a clock, but not clear one that is suspected.
const SHARP: Duration = Duration::from_secs(1);
/// From one comparison to the next, and to the next attempt where one told nothing.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
const COMPARE_AGAIN: Duration = Duration::from_millis(100);

/// Why nothing is decided although the log can be reached: the clocks do not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// This node's clock differs from the database's.
    Skewed {
        /// Milliseconds; positive when this node's clock is ahead.
        skew_ms: i64,
    },
    /// The log ends in the future: its last event was recorded by a clock that was ahead.
    LogAhead {
        /// Milliseconds from the database's clock to the head's `recorded_at`.
        ahead_ms: i64,
    },
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Skewed { skew_ms } => {
                let direction = if skew_ms < 0 { "behind" } else { "ahead of" };
                let seconds = seconds(skew_ms.abs());
                write!(
                    f,
                    "this server's clock is {seconds} s {direction} the database's clock"
                )
            }
            Self::LogAhead { ahead_ms } => {
                let seconds = seconds(ahead_ms);
                write!(
                    f,
                    "the newest event of the log is {seconds} s in the future of the database's clock"
                )
            }
        }
    }
}

/// Milliseconds as seconds, for people and for programs.
#[expect(
    clippy::cast_precision_loss,
    reason = "285,000 years fit into the 53 bits"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

impl ClockFault {
    /// The skew or the lead in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        match self {
            Self::Skewed { skew_ms: millis } | Self::LogAhead { ahead_ms: millis } => {
                seconds(millis)
            }
        }
    }
}

/// This node's clock minus the database's, as a comparison found it: somewhere from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// Milliseconds; negative when this node's clock is behind.
    pub least_ms: i64,
    /// Milliseconds.
    pub most_ms: i64,
}

impl ClockSkew {
    /// The middle of what is possible.
    #[must_use]
    pub const fn estimate_ms(self) -> i64 {
        self.least_ms.midpoint(self.most_ms)
    }

    /// The same in seconds.
    #[must_use]
    pub fn estimate_seconds(self) -> f64 {
        seconds(self.estimate_ms())
    }
}

/// Both clocks of this node, read together.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    at: Instant,
}

impl Reading {
    fn of(clock: &impl Clock) -> Self {
        Self {
            wall: clock.now(),
            at: Instant::now(),
        }
    }

    fn millis_since(self, earlier: Instant) -> i64 {
        millis(self.at.saturating_duration_since(earlier))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The shared clock as it was read at some moment of a call, and this node's clock after the call.
///
/// A jump of this node's clock during the call does no harm: how long the call took is told by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    shared: Timestamp,
    took: Duration,
    after: Reading,
}

impl Comparison {
    /// The call that read `shared` began at `asked` and has just returned.
    pub(super) fn since(asked: Instant, shared: Timestamp, clock: &impl Clock) -> Self {
        let after = Reading::of(clock);
        Self {
            shared,
            took: after.at.saturating_duration_since(asked),
            after,
        }
    }

    /// When this node's clock was read, the shared one was between `shared` and as much later as the call took. A millisecond
    /// is allowed for each clock, whose readings are cut to whole ones.
    pub(super) fn skew(&self) -> ClockSkew {
        let most_ms = self.after.wall.millis() - self.shared.millis();
        ClockSkew {
            least_ms: most_ms - millis(self.took) - 1,
            most_ms: most_ms + 1,
        }
    }

    /// How far `instant` certainly was in the future of the shared clock.
    fn certainly_ahead(&self, instant: Timestamp) -> i64 {
        instant.millis() - self.shared.millis() - millis(self.took) - 1
    }
}

/// Whether the clock may be decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Sound,
    /// It has jumped since it was compared.
    Suspect,
    Faulty(ClockFault),
}

/// Watches this node's clock; see the module.
#[derive(Debug)]
pub(super) struct ClockWatch {
    bound_ms: i64,
    standing: Standing,
    /// As it was when it was compared last; none before, and where the log has no clock.
    anchor: Option<Reading>,
    next_comparison: Instant,
}

impl ClockWatch {
    /// Tolerates `bound` between this node's clock and the shared one.
    pub(super) fn new(bound: Duration) -> Self {
        Self {
            bound_ms: millis(bound),
            standing: Standing::Sound,
            anchor: None,
            next_comparison: Instant::now(),
        }
    }

    /// The time now, if it may be decided by.
    pub(super) fn read(&mut self, clock: &impl Clock) -> Option<Timestamp> {
        if self.standing != Standing::Sound {
            return None;
        }
        let now = Reading::of(clock);
        if let Some(anchor) = self.anchor {
            let moved = now.wall.millis() - anchor.wall.millis();
            if (moved - now.millis_since(anchor.at)).abs() > JUMP_MS {
                self.standing = Standing::Suspect;
                self.next_comparison = now.at;
                return None;
            }
        }
        Some(now.wall)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.standing == Standing::Sound
    }

    /// Whether nothing is to be decided until the clocks have been compared again.
    pub(super) fn is_suspect(&self) -> bool {
        self.standing == Standing::Suspect
    }

    pub(super) fn fault(&self) -> Option<ClockFault> {
        match self.standing {
            Standing::Faulty(fault) => Some(fault),
            Standing::Sound | Standing::Suspect => None,
        }
    }

    /// When the clocks are to be compared next.
    pub(super) const fn next_comparison(&self) -> Instant {
        self.next_comparison
    }

    /// The log has no clock of its own: there is nothing to compare with, ever.
    pub(super) fn disable(&mut self) {
        const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);
        self.standing = Standing::Sound;
        self.next_comparison = Instant::now() + FOR_EVER;
    }

    /// The shared clock could not be read.
    pub(super) fn comparison_failed(&mut self) {
        self.next_comparison = Instant::now() + COMPARE_AGAIN;
    }

    /// The clocks were compared; the log ends at `head_at`.
    pub(super) fn learn(&mut self, comparison: &Comparison, head_at: Timestamp) {
        self.anchor = Some(comparison.after);
        self.standing = self.judge(comparison, head_at);
        let pause = if self.is_suspect() {
            COMPARE_AGAIN
        } else {
            COMPARE_EVERY
        };
        self.next_comparison = Instant::now() + pause;
    }

    fn judge(&self, comparison: &Comparison, head_at: Timestamp) -> Standing {
        let skew = comparison.skew();
        let (behind, ahead) = (-self.bound_ms, self.bound_ms.min(DATABASE_BOUND_MS));
        let skew_ms = skew.estimate_ms();
        if skew.least_ms > ahead || skew.most_ms < behind {
            return Standing::Faulty(ClockFault::Skewed { skew_ms });
        }
        let is_certain = skew.most_ms <= ahead && skew.least_ms >= behind;
        match self.standing {
            // Cleared by certainty only, so that a clock at the bound does not come and go.
            Standing::Faulty(ClockFault::Skewed { .. }) if !is_certain => {
                return Standing::Faulty(ClockFault::Skewed { skew_ms });
            }
            Standing::Suspect if comparison.took > SHARP => return Standing::Suspect,
            Standing::Faulty(_) | Standing::Suspect | Standing::Sound => {}
        }
        let ahead_ms = comparison.certainly_ahead(head_at);
        if ahead_ms > self.bound_ms {
            return Standing::Faulty(ClockFault::LogAhead { ahead_ms });
        }
        Standing::Sound
    }

    /// The log refused a batch as from the future.
    pub(super) fn refused(&mut self) {
        // How far is not known before the next comparison; at least this far.
        let skew_ms = DATABASE_BOUND_MS;
        self.standing = Standing::Faulty(ClockFault::Skewed { skew_ms });
        self.next_comparison = Instant::now();
    }
}
