//! The engine as its callers see it: hand in a request, wait for the answer, and be told at once when there is no point.

use std::sync::Arc;
use std::time::Duration;

use domain::values::Position;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::request::{Answer, CommandError, Request};

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
    /// The engine has ended.
    Stopped {
        /// Why, for people.
        reason: String,
    },
}

impl Health {
    /// What a request is answered while nothing can be recorded.
    pub(super) fn why_not(&self) -> CommandError {
        match self {
            Self::Refused { position, .. } => CommandError::LogRefused {
                position: *position,
            },
            Self::Live | Self::Away { .. } | Self::Stopped { .. } => CommandError::Unavailable,
        }
    }
}

pub(super) type Submission = (Request, oneshot::Sender<Result<Answer, CommandError>>);

/// Hands requests to the engine. Clones share it.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    pub(super) queue: mpsc::Sender<Submission>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) nudge: Arc<Notify>,
    pub(super) crowd: Arc<Notify>,
    /// See [`super::EngineConfig::crowd`].
    pub(super) crowd_size: usize,
    pub(super) patience: Duration,
}

impl EngineHandle {
    /// Asks for `request`, and returns once its outcome is in the log.
    ///
    /// # Errors
    /// [`CommandError`]: `Refused` by the rules; `Overloaded`, `Unavailable`, `LogRefused` and
    /// `Quarantined` at once, with nothing recorded;
    /// `Undecided` after the engine's patience, when the log has not said.
    pub async fn submit(&self, request: Request) -> Result<Answer, CommandError> {
        {
            let health = self.health.borrow();
            if *health != Health::Live {
                return Err(health.why_not());
            }
        }
        let (reply, answer) = oneshot::channel();
        self.queue
            .try_send((request, reply))
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

    /// Requests that wait for the engine now.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}
