//! Comparing this node's clock with the log's, and deciding nothing while it is wrong. See [`super::super::skew`].
//!
//! Promise: the clocks are compared before the engine is live, in every turn, and once a second while it runs, whether or not
//! anything is appended; requests are not decided at a time that is suspect, they wait for the comparison.

use domain::values::Timestamp;
use infrastructure::error::LogError;
use infrastructure::log::EventLog;
use infrastructure::ports::{Clock, Ids, Observer};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, warn};

use super::{Engine, EngineError};
use crate::draft::Draft;
use crate::handle::Health;
use crate::skew::{ClockFault, Comparison};

/// A comparison on its way; none when the log has no clock.
pub(super) type Comparing = JoinHandle<Compared>;
/// The outcome of a comparison.
pub(super) type Compared = Result<Option<Comparison>, LogError>;

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// The time to decide at; never before what the log holds already, nor, should the clock be set back a little, before an
    /// earlier decision. None while the clock may not be decided by.
    pub(super) fn now(&mut self) -> Option<Timestamp> {
        let now = self.clock_watch.read(&self.clock)?;
        self.latest = self.latest.max(now).max(self.head.recorded_at);
        self.wires.stamp.advance(self.latest);
        Some(self.latest)
    }

    /// Compares the clocks before the first decision.
    pub(super) async fn compare_at_start(&mut self) -> Result<(), LogError> {
        match compare(&self.log, &self.clock).await? {
            Some(comparison) => self.learn(&comparison),
            None => self.clock_watch.disable(),
        }
        Ok(())
    }

    /// Starts to compare the clocks; deciding and appending go on meanwhile.
    pub(super) fn begin_to_compare(&mut self) {
        let (log, clock) = (self.log.clone(), self.clock.clone());
        self.comparing = Some(tokio::spawn(async move { compare(&log, &clock).await }));
    }

    pub(super) fn compared(&mut self, compared: Compared) -> Result<(), EngineError> {
        match compared {
            Ok(Some(comparison)) => self.learn(&comparison),
            Ok(None) => self.clock_watch.disable(),
            Err(error) => {
                self.clock_watch.comparison_failed();
                // Appends and looks find out by themselves whether the log is away.
                if self.clock_watch.is_suspect() && self.is_live() {
                    self.be_away(error);
                }
            }
        }
        Ok(())
    }

    /// Judges this node's clock, and stops or begins to decide accordingly.
    pub(super) fn learn(&mut self, comparison: &Comparison) {
        let before = self.clock_watch.fault();
        self.clock_watch.learn(comparison, self.head.recorded_at);
        self.wires.skew.send_replace(Some(comparison.skew()));
        match self.clock_watch.fault() {
            Some(fault) => self.be_faulty(fault, before),
            // Away or refused for another reason, it is live again once that has gone.
            None if self.is_stopped_by_clock() => self.be_live(),
            None => {}
        }
    }

    /// The log has refused a batch as from the future, and certainly does not hold it.
    pub(super) fn be_refused(&mut self, refused: Draft) {
        self.set_draft_aside();
        self.wait_again(refused);
        self.stop_at_refusal();
    }

    /// As [`Self::be_refused`], but an earlier attempt may still be on its way: the outcome stays unknown to its callers. If it
    /// lands, its events are followed like another node's.
    pub(super) fn be_refused_perhaps(&mut self, refused: Draft) {
        self.set_draft_aside();
        let undecided: Vec<_> = refused.take_back(&mut self.state).collect();
        drop(undecided);
        self.stop_at_refusal();
    }

    fn stop_at_refusal(&mut self) {
        let before = self.clock_watch.fault();
        self.clock_watch.refused();
        // Nothing that was decided at that time stands.
        self.latest = self.head.recorded_at;
        self.wires.stamp.advance(self.latest);
        if let Some(fault) = self.clock_watch.fault() {
            self.be_faulty(fault, before);
        }
    }

    fn be_faulty(&mut self, fault: ClockFault, before: Option<ClockFault>) {
        // Once for each fault and direction, however long it lasts.
        let kind = |fault: ClockFault| (std::mem::discriminant(&fault), fault.seconds() < 0.0);
        if before.map(kind) != Some(kind(fault)) {
            let seconds = fault.seconds();
            match fault {
                ClockFault::Skewed { .. } => error!(
                    clock_skew_seconds = seconds,
                    "{fault}: no request is decided and no hold expires here until it is right again"
                ),
                ClockFault::LogAhead { .. } => warn!(
                    log_ahead_seconds = seconds,
                    "{fault}: no request is decided and no hold expires here until that time has come"
                ),
            }
        }
        // A log that is refused stays so, whatever the clocks say: only a look at it can tell.
        if !matches!(*self.wires.health.borrow(), Health::Refused { .. }) {
            self.turn_away(Health::ClockFault(fault));
        }
    }

    fn is_stopped_by_clock(&self) -> bool {
        matches!(*self.wires.health.borrow(), Health::ClockFault(_))
    }
}

async fn compare<L: EventLog, C: Clock>(log: &L, clock: &C) -> Compared {
    let asked = Instant::now();
    let shared = log.clock().await?;
    Ok(shared.map(|shared| Comparison::since(asked, shared, clock)))
}

pub(super) async fn compared(comparing: &mut Option<Comparing>) -> Compared {
    let Some(task) = comparing else {
        return std::future::pending().await;
    };
    let compared = task.await;
    *comparing = None;
    compared.unwrap_or_else(|ended| Err(LogError::Unavailable(ended.into())))
}
