//! The difference between this node's clock and the database's, which all nodes of a log share.
//!
//! Promise: nothing is decided at a time that is known to be wrong. A node stops deciding when its
//! clock is certainly off by more than the bound, and resumes once it is certainly within it.
//! Between two comparisons the wall clock is checked against the monotonic clock: after a jump
//! nothing is decided until the clocks have been compared again. If the database's clock jumped as
//! well, because it is that of the same machine, the new time is believed only after a hold-off.
//! Limit: a comparison is as uncertain as its round trip is long. A start has no earlier reading,
//! so it believes clocks that agree. See docs/decisions/0034 and 0097.

use std::fmt;
use std::time::Duration;

use domain::values::Timestamp;
use tokio::time::Instant;

use infrastructure::ports::Clock;

/// The database rejects events further in the future, in milliseconds (migrations/0008_clock.sql).
const DATABASE_BOUND_MS: i64 = 2_000;
/// If the wall clock moves more than this against the monotonic clock, in milliseconds, the clocks
/// are compared again.
const JUMP_MS: i64 = 250;
/// A comparison that took longer can prove a clock wrong, but not clear one that is
/// suspected.
const PRECISE: Duration = Duration::from_secs(1);
/// From one comparison to the next; [`COMPARE_AGAIN`] after one that failed or was inconclusive.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
const COMPARE_AGAIN: Duration = Duration::from_millis(100);

/// A clock fault: nothing is decided although the log is reachable.
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
    /// This node's clock and the database's jumped together, and their time is not believed yet.
    Jumped {
        /// Milliseconds; positive for a jump into the future.
        jump_ms: i64,
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
                    "the newest event of the log is {seconds} s ahead of the database's clock"
                )
            }
            Self::Jumped { jump_ms } => {
                let direction = if jump_ms < 0 { "back" } else { "ahead" };
                let seconds = seconds(jump_ms.abs());
                write!(
                    f,
                    "the clocks of this server and of the database jumped {seconds} s {direction} \
                     together"
                )
            }
        }
    }
}

/// Milliseconds as seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "285,000 years fit into the 53 bits"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

impl ClockFault {
    /// The skew, the lead or the jump in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        match self {
            Self::Skewed { skew_ms: millis }
            | Self::LogAhead { ahead_ms: millis }
            | Self::Jumped { jump_ms: millis } => seconds(millis),
        }
    }
}

/// This node's clock minus the database's, as measured: between `least_ms` and `most_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// Milliseconds; negative when this node's clock is behind.
    pub least_ms: i64,
    pub most_ms: i64,
}

impl ClockSkew {
    /// The middle of the range.
    #[must_use]
    pub const fn estimate_ms(self) -> i64 {
        self.least_ms.midpoint(self.most_ms)
    }

    #[must_use]
    pub fn estimate_seconds(self) -> f64 {
        seconds(self.estimate_ms())
    }
}

/// The wall clock and the monotonic clock of this node, read together.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    at: Instant,
    /// Counts while the machine is suspended, unlike `at`.
    uptime: Duration,
}

impl Reading {
    fn of(clock: &impl Clock) -> Self {
        Self {
            wall: clock.now(),
            at: Instant::now(),
            uptime: clock.uptime(),
        }
    }

    /// The wall clock at the uptime of zero, in milliseconds: it changes when the clock is set.
    fn offset_ms(self) -> i64 {
        self.wall.millis() - millis(self.uptime)
    }

    fn millis_since(self, earlier: Instant) -> i64 {
        millis(self.at.saturating_duration_since(earlier))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The shared clock, read at some moment during a call, and this node's clock after the call.
///
/// A jump of this node's clock during the call is harmless: the monotonic clock measures the call's
/// duration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    shared: Timestamp,
    took: Duration,
    after: Reading,
}

impl Comparison {
    /// The call that read `shared` began at `sent` and has just returned.
    pub(super) fn since(sent: Instant, shared: Timestamp, clock: &impl Clock) -> Self {
        let after = Reading::of(clock);
        Self {
            shared,
            took: after.at.saturating_duration_since(sent),
            after,
        }
    }

    /// When this node's clock was read, the shared clock was between `shared` and `shared` plus the
    /// duration of the call. One millisecond is added for each clock, because readings are
    /// truncated to whole milliseconds.
    pub(super) fn skew(&self) -> ClockSkew {
        let most_ms = self.after.wall.millis() - self.shared.millis();
        ClockSkew {
            least_ms: most_ms - millis(self.took) - 1,
            most_ms: most_ms + 1,
        }
    }

    /// By how much `instant` was certainly ahead of the shared clock, in milliseconds.
    fn certainly_ahead(&self, instant: Timestamp) -> i64 {
        instant.millis() - self.shared.millis() - millis(self.took) - 1
    }
}

/// The state of this node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClockState {
    Sound,
    /// Jumped since the last comparison.
    Suspect,
    Faulty(ClockFault),
}

/// A jump of both clocks.
#[derive(Debug, Clone, Copy)]
struct Jump {
    /// See [`Reading::offset_ms`].
    offset_ms: i64,
    /// When it was noticed.
    since: Instant,
}

/// Monitors this node's clock; see the module.
#[derive(Debug)]
pub(super) struct ClockWatch {
    bound_ms: i64,
    /// How long the clocks must stay at a new time before it is believed.
    hold_off: Duration,
    /// The offset of the clock when something could be decided last; see [`Reading::offset_ms`].
    believed_ms: Option<i64>,
    jump: Option<Jump>,
    standing: ClockState,
    /// This node's clock at the last comparison; `None` before the first, and when the log has no
    /// clock.
    anchor: Option<Reading>,
    next_comparison: Instant,
}

impl ClockWatch {
    /// Tolerates a difference of `bound` between this node's clock and the shared one. A jump of
    /// both is believed after `hold_off`.
    pub(super) fn new(bound: Duration, hold_off: Duration) -> Self {
        Self {
            bound_ms: millis(bound),
            hold_off,
            believed_ms: None,
            jump: None,
            standing: ClockState::Sound,
            anchor: None,
            next_comparison: Instant::now(),
        }
    }

    /// The current time, if the clock may be used for decisions.
    pub(super) fn read(&mut self, clock: &impl Clock) -> Option<Timestamp> {
        if self.standing != ClockState::Sound {
            return None;
        }
        let now = Reading::of(clock);
        if let Some(anchor) = self.anchor {
            let moved = now.wall.millis() - anchor.wall.millis();
            if (moved - now.millis_since(anchor.at)).abs() > JUMP_MS {
                self.standing = ClockState::Suspect;
                self.next_comparison = now.at;
                return None;
            }
        }
        Some(now.wall)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.standing == ClockState::Sound
    }

    /// Reports whether decisions must wait for the next comparison.
    pub(super) fn is_suspect(&self) -> bool {
        self.standing == ClockState::Suspect
    }

    pub(super) fn fault(&self) -> Option<ClockFault> {
        match self.standing {
            ClockState::Faulty(fault) => Some(fault),
            ClockState::Sound | ClockState::Suspect => None,
        }
    }

    pub(super) const fn next_comparison(&self) -> Instant {
        self.next_comparison
    }

    /// The log has no clock: comparisons never happen.
    pub(super) fn disable(&mut self) {
        const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);
        self.standing = ClockState::Sound;
        self.next_comparison = Instant::now() + FOR_EVER;
    }

    /// Records that the shared clock could not be read.
    pub(super) fn comparison_failed(&mut self) {
        self.next_comparison = Instant::now() + COMPARE_AGAIN;
    }

    /// Records a comparison; the log ends at `head_at`.
    pub(super) fn learn(&mut self, comparison: &Comparison, head_at: Timestamp) {
        self.anchor = Some(comparison.after);
        self.standing = self.judge(comparison, head_at);
        if self.is_sound() {
            self.believed_ms = Some(comparison.after.offset_ms());
            self.jump = None;
        }
        let pause = if self.is_suspect() {
            COMPARE_AGAIN
        } else {
            COMPARE_EVERY
        };
        self.next_comparison = Instant::now() + pause;
    }

    fn judge(&mut self, comparison: &Comparison, head_at: Timestamp) -> ClockState {
        let skew = comparison.skew();
        let (behind, ahead) = (-self.bound_ms, self.bound_ms.min(DATABASE_BOUND_MS));
        let skew_ms = skew.estimate_ms();
        if skew.least_ms > ahead || skew.most_ms < behind {
            return ClockState::Faulty(ClockFault::Skewed { skew_ms });
        }
        let is_certain = skew.most_ms <= ahead && skew.least_ms >= behind;
        match self.standing {
            // Cleared only when certain, so that a clock near the bound does not alternate between
            // states.
            ClockState::Faulty(ClockFault::Skewed { .. }) if !is_certain => {
                return ClockState::Faulty(ClockFault::Skewed { skew_ms });
            }
            ClockState::Suspect if comparison.took > PRECISE => return ClockState::Suspect,
            ClockState::Faulty(_) | ClockState::Suspect | ClockState::Sound => {}
        }
        if let Some(jump_ms) = self.unbelieved(comparison.after) {
            return ClockState::Faulty(ClockFault::Jumped { jump_ms });
        }
        let ahead_ms = comparison.certainly_ahead(head_at);
        if ahead_ms > self.bound_ms {
            return ClockState::Faulty(ClockFault::LogAhead { ahead_ms });
        }
        ClockState::Sound
    }

    /// How far this node's clock, which agrees with the shared one, jumped from the time that was
    /// believed, until it has stayed there for the hold-off. A return to that time is believed
    /// immediately.
    fn unbelieved(&mut self, now: Reading) -> Option<i64> {
        let jump_ms = now.offset_ms() - self.believed_ms?;
        // Not the setting, which is raised for a log that ends in the future.
        let bound_ms = self.bound_ms.min(DATABASE_BOUND_MS);
        if jump_ms.abs() <= bound_ms {
            self.jump = None;
            return None;
        }
        let seen = self.jump.filter(|jump| {
            let moved_ms = now.offset_ms() - jump.offset_ms;
            moved_ms.abs() <= bound_ms
        });
        let jump = seen.unwrap_or(Jump {
            offset_ms: now.offset_ms(),
            since: now.at,
        });
        self.jump = Some(jump);
        let stayed = now.at.saturating_duration_since(jump.since);
        (stayed < self.hold_off).then_some(jump_ms)
    }

    /// The log rejected a batch as being from the future.
    pub(super) fn refused(&mut self) {
        // The exact skew is unknown until the next comparison; it is at least this much.
        let skew_ms = DATABASE_BOUND_MS;
        self.standing = ClockState::Faulty(ClockFault::Skewed { skew_ms });
        self.next_comparison = Instant::now();
    }
}
