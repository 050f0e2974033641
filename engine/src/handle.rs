//! The engine as its callers see it: hand in a request, wait for the answer, and be told at once when there is no point.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::values::{Position, Timestamp};
use infrastructure::ports::Clock;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::request::{Answer, CommandError, Request};
use super::skew::{ClockFault, ClockSkew};

/// Whether the engine can record anything right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Live,
    /// The log cannot be reached; the engine keeps trying.
    Away {
        /// Why, for people.
        reason: String,
    },
    /// The log does not continue what is known here, or refused what was decided on its own head:
    /// the engine writes nothing to it. The log of the server says why.
    Refused {
        /// The first position that is wrong.
        position: Position,
        /// Whether a repaired log is recognised at a restart only.
        is_final: bool,
    },
    /// The log can be reached, but this node's clock, or the log's last time, is wrong: nothing is decided meanwhile.
    ClockFault(ClockFault),
    /// The engine has ended.
    Stopped {
        /// Why, for people.
        reason: String,
    },
}

impl Health {
    /// What is answered to a request while the engine is not live. Nothing was recorded for it.
    #[must_use]
    pub(super) fn command_error(&self) -> CommandError {
        match self {
            Self::Refused { position, .. } => CommandError::LogRefused {
                position: *position,
            },
            Self::ClockFault(fault) => CommandError::ClockFault(*fault),
            Self::Live | Self::Away { .. } | Self::Stopped { .. } => CommandError::Unavailable,
        }
    }
}

/// A request on its way to the engine.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Result<Answer, CommandError>>,
    /// When it arrived: what it is decided by, should it have to wait.
    pub(super) arrived: Timestamp,
}

/// Stamps requests when they arrive: with the engine's clock, but never before what the engine has
/// decided already.
#[derive(Clone)]
pub(super) struct Stamp {
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// In milliseconds.
    latest: Arc<AtomicI64>,
}

impl Stamp {
    pub(super) fn new(clock: impl Clock) -> Self {
        Self {
            clock: Arc::new(move || clock.now()),
            latest: Arc::default(),
        }
    }

    /// Something was decided at `at`.
    pub(super) fn advance(&self, at: Timestamp) {
        self.latest.store(at.millis(), Ordering::Relaxed);
    }

    fn now(&self) -> Timestamp {
        let latest = Timestamp::from_millis(self.latest.load(Ordering::Relaxed));
        (self.clock)().max(latest)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latest = &self.latest;
        f.debug_struct("Stamp")
            .field("latest", latest)
            .finish_non_exhaustive()
    }
}

/// Hands requests to the engine. Clones share it.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    pub(super) queue: mpsc::Sender<Submission>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) skew: watch::Receiver<Option<ClockSkew>>,
    pub(super) nudge: Arc<Notify>,
    pub(super) crowd: Arc<Notify>,
    /// See [`super::EngineConfig::crowd`].
    pub(super) crowd_size: usize,
    pub(super) patience: Duration,
    pub(super) stamp: Stamp,
}

impl EngineHandle {
    /// Asks for `request`, and returns once its outcome is in the log.
    ///
    /// # Errors
    /// [`CommandError`]: `Refused` by the rules; `Overloaded`, `Unavailable`, `ClockFault`,
    /// `LogRefused` and `Quarantined` at once, with nothing recorded;
    /// `Undecided` after the engine's patience, when the log has not said.
    pub async fn submit(&self, request: Request) -> Result<Answer, CommandError> {
        {
            let health = self.health.borrow();
            if *health != Health::Live {
                return Err(health.command_error());
            }
        }
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            request,
            reply,
            arrived: self.stamp.now(),
        };
        self.queue
            .try_send(submission)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommandError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => CommandError::Unavailable,
            })?;
        if self.queued().is_multiple_of(self.crowd_size) {
            self.crowd.notify_one();
        }
        match timeout(self.patience, answer).await {
            Ok(Ok(answer)) => answer,
            // An engine that stopped half way may have recorded it.
            Ok(Err(_)) | Err(_) => Err(CommandError::Undecided),
        }
    }

    /// Asks the engine to look at the log now, because somebody knows of a later position.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Whether the engine can record anything right now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// How far this node's clock is from the database's, as last compared; none for a log without a clock.
    #[must_use]
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        *self.skew.borrow()
    }

    /// `now`, read from this node's clock, as the database's clock has it where this node's is known to be wrong. So reads
    /// go on by the clock that decides.
    #[must_use]
    pub fn corrected(&self, now: Timestamp) -> Timestamp {
        if let Health::ClockFault(ClockFault::Skewed { skew_ms }) = *self.health.borrow() {
            return Timestamp::from_millis(now.millis().saturating_sub(skew_ms));
        }
        now
    }

    /// Requests that wait for the engine now.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}
