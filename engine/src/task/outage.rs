//! When the log does not respond: resolving unknown outcomes, rejecting queued requests, and
//! recovering.
//!
//! Promise: no caller gets an outcome that is not known, and no caller waits for an unreachable
//! log.

use std::pin::pin;
use std::time::Duration;

use domain::values::Position;
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::{Batch, EventLog, append_or_confirm};
use infrastructure::ports::{Clock, Ids, Observer};
use infrastructure::unwritable::Unwritable;
use tokio::time::{sleep, sleep_until};
use tracing::{error, info, warn};

use super::{Engine, EngineError};
use crate::draft::Draft;
use crate::handle::Health;

/// Attempts to resolve an unknown outcome before the requests queued behind it are rejected.
const ATTEMPTS_BEFORE_REJECTING: u32 = 2;
/// If the log has not responded for this long, queued requests are rejected during an attempt.
const SLOW_FAILURE: Duration = Duration::from_secs(1);
/// During shutdown, attempts to resolve an unknown outcome; together they take about a third of a
/// second.
const LAST_ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// The outcome of `batch` is unknown: append the same batch again until the log reports it.
    pub(super) async fn resolve_unknown(
        &mut self,
        draft: Draft,
        batch: &Batch,
        mut cause: Box<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), EngineError> {
        warn!(
            error = &*cause as &dyn std::error::Error,
            "the outcome of an append is unknown; appending the same batch again"
        );
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.append_again(batch, &*cause).await {
                Ok(()) => {
                    self.become_live();
                    self.commit(draft, batch);
                    return Ok(());
                }
                Err(AppendError::Conflict) => {
                    self.become_live();
                    self.lose_race(draft);
                    return Ok(());
                }
                Err(too_large @ AppendError::TooLarge { .. }) => {
                    self.refuse_draft(draft, &too_large);
                    return Ok(());
                }
                Err(AppendError::FromFuture(_)) => {
                    self.reject_from_future_unknown(draft);
                    return Ok(());
                }
                Err(AppendError::Rejected(cause)) => {
                    self.stop_writing_unknown(draft, &*cause);
                    return Ok(());
                }
                Err(AppendError::Unknown(cause))
                    if attempt >= LAST_ATTEMPTS && self.must_stop() =>
                {
                    return Err(EngineError::LeftUnknown(cause));
                }
                Err(AppendError::Unknown(again)) => {
                    cause = again;
                    if attempt >= ATTEMPTS_BEFORE_REJECTING {
                        self.refuse_waiting(&*cause);
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.channels.stop.cancelled(), if attempt >= LAST_ATTEMPTS => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Appends `batch` again. If the log has not responded for a second, requests are rejected
    /// meanwhile: while no server accepts connections, an attempt takes as long as the log's
    /// timeout.
    async fn append_again(
        &mut self,
        batch: &Batch,
        cause: &(dyn std::error::Error + Send + Sync + 'static),
    ) -> Result<(), AppendError> {
        let log = self.log.clone();
        let mut appending = pin!(append_or_confirm(&log, batch));
        tokio::select! {
            biased;
            outcome = &mut appending => outcome,
            () = sleep_until(self.sent_at + SLOW_FAILURE) => {
                self.refuse_waiting(cause);
                appending.await
            }
        }
    }

    /// The log is unreachable or refused, and nothing is in flight: no queued request was recorded.
    pub(super) fn enter_outage(&mut self, error: LogError) {
        match error {
            LogError::Unavailable(cause) => self.refuse_waiting(&*cause),
            LogError::Corrupt { position, reason } => self.refuse_log(position, &reason),
        }
    }

    /// The log does not continue the history known to this node. Nothing more is written to it;
    /// views and streams are served from memory. It is polled further, because it may be repaired.
    fn refuse_log(&mut self, position: Position, reason: &str) {
        let refused = Health::Refused {
            position,
            is_final: false,
        };
        if *self.channels.health.borrow() != refused {
            error!(
                position = position.0,
                reason,
                "the event log is refused at position {position}: {reason}. No request is recorded until it is repaired; \
                 see `holdfast log check` and docs/LOG_REFUSED.md"
            );
        }
        self.reject_waiting_with(refused);
    }

    /// The log rejects a batch that was decided on its own head, and always will. Nothing of it was
    /// written, so it is rolled back; later batches would be rejected as well.
    pub(super) fn stop_writing(
        &mut self,
        draft: Draft,
        cause: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        self.set_draft_aside();
        self.requeue(draft);
        self.refuse_log_until_restart(cause);
    }

    /// As [`Self::stop_writing`], but an earlier attempt may have committed, or may do so yet: its
    /// callers get an unknown outcome. If it commits, its events are followed like another node's.
    fn stop_writing_unknown(
        &mut self,
        draft: Draft,
        cause: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        self.set_draft_aside();
        let undecided: Vec<_> = draft.roll_back(&mut self.state).collect();
        drop(undecided);
        self.refuse_log_until_restart(cause);
    }

    fn refuse_log_until_restart(
        &mut self,
        cause: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        let position = self.head.position.next();
        error!(
            position = position.0,
            error = cause as &dyn std::error::Error,
            "the database rejects the batch for position {position}: no request is recorded until this server is \
             restarted; see docs/LOG_REFUSED.md"
        );
        self.reject_waiting_with(Health::Refused {
            position,
            is_final: true,
        });
    }

    /// Rejects everything that is not in flight; the draft rests on a batch that may never commit.
    fn refuse_waiting(&mut self, cause: &(dyn std::error::Error + Send + Sync + 'static)) {
        let (reason, unwritable) = (cause.to_string(), Unwritable::of(cause));
        if *self.channels.health.borrow() == Health::Live {
            warn!(
                reason,
                "the event log is unreachable: rejecting queued requests; will keep retrying"
            );
        }
        self.reject_waiting_with(Health::Away { reason, unwritable });
    }

    /// Rejects everything that is not in flight, and every later request, with the error of
    /// `health`. A refusal that only a restart ends is not replaced.
    pub(super) fn reject_waiting_with(&mut self, health: Health) {
        if !self.is_final() {
            self.channels.health.send_replace(health);
        }
        self.set_draft_aside();
        let error = self.channels.health.borrow().command_error();
        for entry in self.backlog.drain(..) {
            entry.reject(error.clone());
        }
        while let Ok(submission) = self.channels.requests.try_recv() {
            submission.request.reject(error.clone());
        }
    }

    fn is_final(&self) -> bool {
        matches!(
            *self.channels.health.borrow(),
            Health::Refused { is_final: true, .. }
        )
    }

    /// The log is reachable and continues the known history: the engine is live again, if the
    /// clocks allow it.
    pub(super) fn become_live(&self) {
        if self.is_final() {
            return;
        }
        if let Some(fault) = self.clock_watch.fault() {
            self.channels.health.send_replace(Health::ClockFault(fault));
            return;
        }
        let before = self.channels.health.borrow().clone();
        match before {
            Health::Live => return,
            Health::ClockFault(_) => info!("the clocks agree again: deciding requests again"),
            Health::Away { .. } | Health::Refused { .. } | Health::Stopped => {
                info!("the event log is reachable again and continues the known history");
            }
        }
        self.channels.health.send_replace(Health::Live);
    }
}
