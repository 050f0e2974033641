//! The engine's interface for callers: submit a request, wait for its outcome, and fail fast when
//! the engine cannot record anything.

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

/// The engine's ability to record events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Live,
    /// The log is unreachable; the engine keeps retrying.
    Away {
        /// For people.
        reason: String,
    },
    /// The log does not continue the history known to this node, or rejected a batch that was
    /// decided on its own head. The engine writes nothing to it. The server's log has the reason.
    Refused {
        /// The first invalid position.
        position: Position,
        /// True if only a restart makes the engine accept a repaired log.
        is_final: bool,
    },
    /// The log is reachable, but this node's clock, or the log's last time, is wrong: nothing is
    /// decided meanwhile.
    ClockFault(ClockFault),
    /// The engine has ended. The server's log has the reason.
    Stopped,
}

impl Health {
    /// The error of a request while the engine is not live. Nothing was recorded for it.
    #[must_use]
    pub(super) fn command_error(&self) -> CommandError {
        match self {
            Self::Refused { position, .. } => CommandError::LogRefused {
                position: *position,
            },
            Self::ClockFault(fault) => CommandError::ClockFault(*fault),
            Self::Live | Self::Away { .. } | Self::Stopped => CommandError::Unavailable,
        }
    }
}

#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Result<Answer, CommandError>>,
    /// The arrival time, which decides if the request has to wait.
    pub(super) arrived: Timestamp,
}

/// Stamps arriving requests with the engine's clock, but never earlier than the latest decision.
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

    /// Records that a decision was made at `at`.
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
    pub(super) many_queued: Arc<Notify>,
    /// See [`super::EngineConfig::requests_per_wake`].
    pub(super) wake_every: usize,
    pub(super) response_timeout: Duration,
    pub(super) stamp: Stamp,
}

impl EngineHandle {
    /// Submits `request` and returns once its outcome is in the log.
    ///
    /// # Errors
    /// [`CommandError`]: `Refused` by the rules. `Overloaded`, `Unavailable`, `ClockFault`,
    /// `LogRefused` and `Quarantined` are returned immediately, with nothing recorded. `Undecided`
    /// when the outcome is not known within [`super::EngineConfig::response_timeout`].
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
        if self.queued().is_multiple_of(self.wake_every) {
            self.many_queued.notify_one();
        }
        match timeout(self.response_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            // An engine that stopped in between may have recorded it.
            Ok(Err(_)) | Err(_) => Err(CommandError::Undecided),
        }
    }

    /// Makes the engine poll the log now, because a later position is known to exist.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// The difference between this node's clock and the database's, as last measured; `None` for a
    /// log without a clock.
    #[must_use]
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        *self.skew.borrow()
    }

    /// Corrects `now`, read from this node's clock, to the database's clock while this node's is
    /// known to be wrong, so that reads use the clock that decides.
    #[must_use]
    pub fn corrected(&self, now: Timestamp) -> Timestamp {
        if let Health::ClockFault(ClockFault::Skewed { skew_ms }) = *self.health.borrow() {
            return Timestamp::from_millis(now.millis().saturating_sub(skew_ms));
        }
        now
    }

    /// The number of queued requests.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}
