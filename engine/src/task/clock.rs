//! Compares this node's clock with the log's, and decides nothing while it is wrong. See
//! [`super::super::skew`].
//!
//! Promise: the clocks are compared before the engine is live, in every turn, and once a second
//! while it runs, even when nothing is appended. Requests are not decided at a suspect time; they
//! wait for the comparison.

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

/// A comparison in progress; `None` when the log has no clock.
pub(super) type Comparing = JoinHandle<Compared>;
pub(super) type Compared = Result<Option<Comparison>, LogError>;

impl<L: EventLog, C: Clock, I: Ids, O: Observer> Engine<L, C, I, O> {
    /// The time to decide at: never before the log's last event, nor, if the clock is set back a
    /// little, before an earlier decision. `None` while the clock may not be used for decisions.
    pub(super) fn now(&mut self) -> Option<Timestamp> {
        let now = self.clock_watch.read(&self.clock)?;
        self.latest = self.latest.max(now).max(self.head.recorded_at);
        self.channels.stamp.advance(self.latest);
        Some(self.latest)
    }

    pub(super) async fn compare_at_start(&mut self) -> Result<(), LogError> {
        match compare(&self.log, &self.clock).await? {
            Some(comparison) => self.learn(&comparison),
            None => self.clock_watch.disable(),
        }
        Ok(())
    }

    /// Starts a comparison; deciding and appending continue meanwhile.
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
                // Appends and polls detect by themselves whether the log is unreachable.
                if self.clock_watch.is_suspect() && self.is_live() {
                    self.enter_outage(error);
                }
            }
        }
        Ok(())
    }

    /// Judges this node's clock, and stops or resumes decisions accordingly.
    pub(super) fn learn(&mut self, comparison: &Comparison) {
        let before = self.clock_watch.fault();
        self.clock_watch.learn(comparison, self.head.recorded_at);
        self.channels.skew.send_replace(Some(comparison.skew()));
        match self.clock_watch.fault() {
            Some(fault) => self.report_clock_fault(fault, before),
            // If the log is unreachable or refused, the engine becomes live again once that has
            // ended.
            None if self.is_stopped_by_clock() => self.become_live(),
            None => {}
        }
    }

    /// The log rejected a batch as being from the future, and certainly does not contain it.
    pub(super) fn reject_from_future(&mut self, refused: Draft) {
        self.set_draft_aside();
        self.requeue(refused);
        self.stop_at_refusal();
    }

    /// As [`Self::reject_from_future`], but an earlier attempt may still be in flight: its callers
    /// get an unknown outcome. If it commits, its events are followed like another node's.
    pub(super) fn reject_from_future_unknown(&mut self, refused: Draft) {
        self.set_draft_aside();
        let undecided: Vec<_> = refused.roll_back(&mut self.state).collect();
        drop(undecided);
        self.stop_at_refusal();
    }

    fn stop_at_refusal(&mut self) {
        let before = self.clock_watch.fault();
        self.clock_watch.refused();
        // Nothing that was decided at that time is valid.
        self.latest = self.head.recorded_at;
        self.channels.stamp.advance(self.latest);
        if let Some(fault) = self.clock_watch.fault() {
            self.report_clock_fault(fault, before);
        }
    }

    fn report_clock_fault(&mut self, fault: ClockFault, before: Option<ClockFault>) {
        // Logged once for each fault and direction, however long it lasts.
        let kind = |fault: ClockFault| (std::mem::discriminant(&fault), fault.seconds() < 0.0);
        if before.map(kind) != Some(kind(fault)) {
            let seconds = fault.seconds();
            match fault {
                ClockFault::Skewed { .. } => error!(
                    clock_skew_seconds = seconds,
                    "{fault}: deciding no requests and expiring no holds until the clock is right again"
                ),
                ClockFault::LogAhead { ahead_ms } => warn!(
                    log_ahead_seconds = seconds,
                    "{fault}: deciding no requests and expiring no holds until that time has passed; \
                     with HOLDFAST_MAX_CLOCK_SKEW_MS above {ahead_ms}, everything is decided at that \
                     time until then"
                ),
                ClockFault::Jumped { .. } => error!(
                    clock_jump_seconds = seconds,
                    "{fault}: deciding no requests and expiring no holds until they return, or have \
                     stayed there for {:?}; a server that is restarted believes them immediately",
                    self.config.clock_hold_off
                ),
            }
        }
        // A refused log stays refused independently of the clocks: only reading the log can change
        // that.
        if !matches!(*self.channels.health.borrow(), Health::Refused { .. }) {
            self.reject_waiting_with(Health::ClockFault(fault));
        }
    }

    fn is_stopped_by_clock(&self) -> bool {
        matches!(*self.channels.health.borrow(), Health::ClockFault(_))
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
