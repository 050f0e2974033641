//! Holds back other nodes' events until they are known to survive a failover.
//!
//! Promise: events that this engine found in the log and did not append itself are neither shown to
//! observers nor used for a response before a later synchronous commit of its own. An append of its
//! own is such a commit; otherwise the log's barrier is.
//! Limit: a start reads and shows the whole log, so it completes only after the barrier.
//!
//! ```text
//!   follow ──▶ state (decides on it) ──▶ held back ──barrier or own append──▶ observers, responses
//! ```

use std::sync::Arc;
use std::time::Duration;

use infrastructure::erasure::Erased;
use infrastructure::error::LogError;
use infrastructure::feed::{Committed, Readmitted, ReadmittedOrder};
use infrastructure::log::EventLog;
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::time::sleep;
use tracing::{info, warn};

use super::Engine;

/// Between two attempts to pass the barrier at a start.
const PAUSE: Duration = Duration::from_secs(1);

/// Something that observers have not received yet. The order matters: an erasure removes data of
/// earlier events.
#[derive(Debug)]
pub(super) enum HeldBack {
    Committed(Arc<Committed>),
    Erased(Vec<Erased>),
    Readmitted(Readmitted),
    OrderReadmitted(ReadmittedOrder),
}

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// Reports whether everything up to our head is durable.
    pub(super) const fn is_durable(&self) -> bool {
        self.held_back.is_empty()
    }

    /// Passes the log's barrier, if anything is held back.
    pub(super) async fn pass_barrier(&mut self) -> Result<(), LogError> {
        if !self.is_durable() {
            self.log.barrier().await?;
            self.release();
        }
        Ok(())
    }

    /// Everything up to our head is durable: passes the held-back events to the observers.
    pub(super) fn release(&mut self) {
        for held_back in std::mem::take(&mut self.held_back) {
            match held_back {
                HeldBack::Committed(committed) => self.observer.committed(&committed),
                HeldBack::Erased(erased) => self.observer.erased(&erased),
                HeldBack::Readmitted(readmitted) => self.observer.readmitted(&readmitted),
                HeldBack::OrderReadmitted(readmitted) => {
                    self.observer.order_readmitted(&readmitted)
                }
            }
        }
    }

    /// Waits at a start until the log's barrier is passed.
    pub(super) async fn pass_barrier_at_start(&self) -> Result<(), LogError> {
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
            self.channels.stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }
}
