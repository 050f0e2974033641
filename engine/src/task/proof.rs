//! What others appended, held back until it is known to survive a failover.
//!
//! Promise: nothing that this engine found in the log, and did not append itself, is shown or rested an answer on before a
//! synchronous commit of its own has followed it. An append of its own is one; otherwise the log's barrier is.
//! Limit: a start reads the whole log and shows it at once, so it ends only when the barrier is passed.
//!
//! ```text
//!   follow ──▶ state (decides on it) ──▶ held back ──barrier, or an append with events──▶ observers, answers
//! ```

use std::sync::Arc;
use std::time::Duration;

use infrastructure::erasure::Erased;
use infrastructure::error::LogError;
use infrastructure::feed::{Committed, Readmitted};
use infrastructure::log::EventLog;
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::time::sleep;
use tracing::{info, warn};

use super::Engine;

/// Between two attempts of a start to pass the barrier.
const PAUSE: Duration = Duration::from_secs(1);

/// Something that observers have not been given yet. Their order counts: an erasure forgets what came before it.
#[derive(Debug)]
pub(super) enum HeldBack {
    Committed(Arc<Committed>),
    Erased(Vec<Erased>),
    Readmitted(Readmitted),
}

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// Whether everything up to our head is durable.
    pub(super) const fn is_proven(&self) -> bool {
        self.held_back.is_empty()
    }

    /// Passes the log's barrier, if there is anything to prove.
    pub(super) async fn prove(&mut self) -> Result<(), LogError> {
        if !self.is_proven() {
            self.log.barrier().await?;
            self.release();
        }
        Ok(())
    }

    /// Everything up to our head is durable: observers are given what was held back.
    pub(super) fn release(&mut self) {
        for held_back in std::mem::take(&mut self.held_back) {
            match held_back {
                HeldBack::Committed(committed) => self.observer.committed(&committed),
                HeldBack::Erased(erased) => self.observer.erased(&erased),
                HeldBack::Readmitted(readmitted) => self.observer.readmitted(&readmitted),
            }
        }
    }

    /// Passes the log's barrier at a start, which waits for it.
    pub(super) async fn prove_start(&self) -> Result<(), LogError> {
        let mut has_waited = false;
        loop {
            match self.log.barrier().await {
                Ok(()) => {
                    if has_waited {
                        info!("the event log accepts synchronous commits; starting");
                    }
                    return Ok(());
                }
                Err(error) if !error.is_away() || self.must_stop() => return Err(error),
                Err(error) if !has_waited => {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "waiting to start: the event log was read, but a synchronous commit does not succeed, so it may \
                         hold events that a failover would lose; will keep retrying"
                    );
                    has_waited = true;
                }
                Err(_) => {}
            }
            self.wires.stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }
}
