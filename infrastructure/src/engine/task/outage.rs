//! When the log says nothing: finding out what became of a batch, refusing what waits, and coming back.
//!
//! Promise: nobody is told an outcome that is not known, and nobody waits for a log that is gone.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::{Engine, EngineError};
use crate::engine::draft::Draft;
use crate::engine::handle::Health;
use crate::engine::ports::{Clock, Ids, Observer};
use crate::engine::request::CommandError;
use crate::error::{AppendError, LogError};
use crate::log::{Batch, EventLog, append_surely};

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
                Err(AppendError::Rejected(cause)) => return Err(EngineError::Rejected(cause)),
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

    /// The log is away and nothing is in flight: whatever waits was not recorded.
    pub(super) fn be_away(&mut self, error: LogError) -> Result<(), EngineError> {
        match error {
            LogError::Unavailable(cause) => {
                self.refuse_waiting(&cause.to_string());
                Ok(())
            }
            corrupt @ LogError::Corrupt { .. } => Err(EngineError::Log(corrupt)),
        }
    }

    /// Refuses everything that is not in flight; what is drafted was decided on top of what may never be.
    fn refuse_waiting(&mut self, reason: &str) {
        if *self.wires.health.borrow() == Health::Live {
            warn!(
                reason,
                "the event log cannot be reached: refusing what waits, and trying on"
            );
        }
        self.wires.health.send_replace(Health::Away {
            reason: reason.to_owned(),
        });
        self.set_draft_aside();
        for entry in self.backlog.drain(..) {
            entry.answer(Err(CommandError::Unavailable));
        }
        while let Ok(submission) = self.wires.requests.try_recv() {
            let _gone = submission.reply.send(Err(CommandError::Unavailable));
        }
    }

    pub(super) fn be_live(&self) {
        if *self.wires.health.borrow() != Health::Live {
            info!("the event log is reachable again");
            self.wires.health.send_replace(Health::Live);
        }
    }
}
