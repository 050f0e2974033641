//! When the log says nothing: finding out what became of a batch, refusing what waits, and coming back.
//!
//! Promise: nobody is told an outcome that is not known, and nobody waits for a log that is gone.

use std::time::Duration;

use domain::values::Position;
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::{Batch, EventLog, append_surely};
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{Engine, EngineError};
use crate::draft::Draft;
use crate::handle::Health;

/// An unknown outcome is asked for this often before what waits behind it is refused.
const PATIENT_ATTEMPTS: u32 = 2;
/// A log that took this long to say nothing is not asked in anybody's time: what waits is refused before the next attempt.
const SILENCE: Duration = Duration::from_secs(1);
/// Once asked to stop, an unknown outcome is asked for up to this often, which takes about a third of a second.
const LAST_ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// Nobody knows whether `batch` landed: append the same batch again until the log says so.
    pub(super) async fn find_out(
        &mut self,
        draft: Draft,
        batch: &Batch,
        cause: Box<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), EngineError> {
        warn!(
            error = &*cause as &dyn std::error::Error,
            "the outcome of an append is unknown; asking again"
        );
        if self.sent_at.elapsed() >= SILENCE {
            self.refuse_waiting(&cause.to_string());
        }
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match append_surely(&self.log, batch).await {
                Ok(()) => {
                    self.be_live();
                    self.commit(draft, batch);
                    return Ok(());
                }
                Err(AppendError::Conflict) => {
                    self.be_live();
                    self.lose_race(draft);
                    return Ok(());
                }
                Err(too_large @ AppendError::TooLarge { .. }) => {
                    self.refuse_draft(draft, &too_large);
                    return Ok(());
                }
                Err(AppendError::FromFuture(_)) => {
                    self.be_refused_perhaps(draft);
                    return Ok(());
                }
                Err(AppendError::Rejected(cause)) => {
                    self.be_rejected_perhaps(draft, &*cause);
                    return Ok(());
                }
                Err(AppendError::Unknown(cause))
                    if attempt >= LAST_ATTEMPTS && self.must_stop() =>
                {
                    return Err(EngineError::LeftUnknown(cause));
                }
                Err(AppendError::Unknown(cause)) if attempt >= PATIENT_ATTEMPTS => {
                    self.refuse_waiting(&cause.to_string());
                }
                Err(AppendError::Unknown(_)) => {}
            }
            tokio::select! {
                biased;
                () = self.wires.stop.cancelled(), if attempt >= LAST_ATTEMPTS => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// The log is away, or is not accepted, and nothing is in flight: whatever waits was not
    /// recorded.
    pub(super) fn be_away(&mut self, error: LogError) {
        match error {
            LogError::Unavailable(cause) => self.refuse_waiting(&cause.to_string()),
            LogError::Corrupt { position, reason } => self.refuse_log(position, &reason),
        }
    }

    /// The log does not continue what this node knows. Nothing more is written to it; views and
    /// streams are served from memory. It is looked at again, for it may be repaired.
    fn refuse_log(&mut self, position: Position, reason: &str) {
        let refused = Health::Refused {
            position,
            is_final: false,
        };
        if *self.wires.health.borrow() != refused {
            error!(
                position = position.0,
                reason,
                "the event log is refused at position {position}: {reason}. No request is recorded until it is repaired; \
                 see `holdfast log check` and docs/LOG_REFUSED.md"
            );
        }
        self.turn_away(refused);
    }

    /// The log refuses a batch that was decided on its own head, and always will. Nothing of it was
    /// written, so it is taken back; what comes next would be refused as well.
    pub(super) fn be_rejected(
        &mut self,
        draft: Draft,
        cause: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        self.set_draft_aside();
        self.wait_again(draft);
        self.refuse_for_good(cause);
    }

    /// As [`Self::be_rejected`], but an earlier attempt may have landed, or may yet: the outcome
    /// stays unknown to its callers. If it lands, its events are followed like another node's.
    fn be_rejected_perhaps(
        &mut self,
        draft: Draft,
        cause: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        self.set_draft_aside();
        let undecided: Vec<_> = draft.take_back(&mut self.state).collect();
        drop(undecided);
        self.refuse_for_good(cause);
    }

    fn refuse_for_good(&mut self, cause: &(dyn std::error::Error + Send + Sync + 'static)) {
        let position = self.head.position.next();
        error!(
            position = position.0,
            error = cause as &dyn std::error::Error,
            "the database refuses what was decided for position {position}: no request is recorded until this server is \
             restarted; see docs/LOG_REFUSED.md"
        );
        self.turn_away(Health::Refused {
            position,
            is_final: true,
        });
    }

    /// Refuses everything that is not in flight; what is drafted was decided on top of what may never be.
    fn refuse_waiting(&mut self, reason: &str) {
        if *self.wires.health.borrow() == Health::Live {
            warn!(
                reason,
                "the event log cannot be reached: refusing what waits, and trying on"
            );
        }
        self.turn_away(Health::Away {
            reason: reason.to_owned(),
        });
    }

    /// Answers everything that is not in flight with what `health` says, and so what is asked from
    /// now on. A refusal that only a restart ends stays.
    pub(super) fn turn_away(&mut self, health: Health) {
        if !self.is_final() {
            self.wires.health.send_replace(health);
        }
        self.set_draft_aside();
        let error = self.wires.health.borrow().command_error();
        for entry in self.backlog.drain(..) {
            entry.answer(Err(error.clone()));
        }
        while let Ok(submission) = self.wires.requests.try_recv() {
            let _gone = submission.reply.send(Err(error.clone()));
        }
    }

    fn is_final(&self) -> bool {
        matches!(
            *self.wires.health.borrow(),
            Health::Refused { is_final: true, .. }
        )
    }

    /// The log is reachable and continues what is known here: live again, if the clocks allow it.
    pub(super) fn be_live(&self) {
        if self.is_final() {
            return;
        }
        if let Some(fault) = self.clock_watch.fault() {
            self.wires.health.send_replace(Health::ClockFault(fault));
            return;
        }
        let before = self.wires.health.borrow().clone();
        match before {
            Health::Live => return,
            Health::ClockFault(_) => info!("the clocks agree again: requests are decided again"),
            Health::Away { .. } | Health::Refused { .. } | Health::Stopped { .. } => {
                info!("the event log is reachable again, and continues what is known here");
            }
        }
        self.wires.health.send_replace(Health::Live);
    }
}
