//! Measures the engine's log: the duration and size of appends, and outages of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use domain::values::{Position, Timestamp};
use domain::{DropEvent, OrderEvent};
use hashbrown::HashMap;
use infrastructure::erasure::Erased;
use infrastructure::error::{AppendError, LogError};
use infrastructure::log::{Batch, EventLog, Head, Parts, StoredEvent, StreamId, Turn};
use infrastructure::quarantine::Voided;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use super::registered;

/// Buckets in seconds, from a commit on a fast disk to the engine's timeout.
const DURATIONS: [f64; 21] = [
    0.000_25, 0.000_5, 0.001, 0.001_5, 0.002, 0.002_5, 0.003, 0.004, 0.005, 0.006, 0.007_5, 0.01,
    0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 5.0,
];
/// Buckets of events per append.
const SIZES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0];

/// Counters of appends. Clones share them.
#[derive(Debug, Clone)]
pub struct Appends {
    duration: Histogram,
    events: Histogram,
    committed: IntCounter,
    confirmed: IntCounter,
    conflict: IntCounter,
    unknown: IntCounter,
    rejected: IntCounter,
    from_future: IntCounter,
    outages: IntCounter,
    turn_wait: Histogram,
    /// By type, in this process.
    appended: Arc<HashMap<&'static str, IntCounter>>,
    is_away: Arc<AtomicBool>,
}

impl Appends {
    pub(super) fn new(registry: &Registry) -> Self {
        let duration = HistogramOpts::new(
            "holdfast_log_append_duration_seconds",
            "Duration of an append until its outcome, for batches with events.",
        );
        let events =
            HistogramOpts::new("holdfast_log_append_events", "Events per committed append.");
        let turn_wait = HistogramOpts::new(
            "holdfast_log_turn_wait_seconds",
            "Wait for an append turn, while several instances append to one log.",
        );
        let help = "Appends by outcome: committed, confirmed (nothing to append, the head is as \
                    expected), conflict, unknown, rejected, from_future (this clock is ahead of \
                    the database's).";
        let outcomes = registered(
            registry,
            IntCounterVec::new(Opts::new("holdfast_log_appends_total", help), &["outcome"]),
        );
        let outcome = |name| outcomes.with_label_values(&[name]);
        Self {
            duration: registered(
                registry,
                Histogram::with_opts(duration.buckets(DURATIONS.into())),
            ),
            events: registered(registry, Histogram::with_opts(events.buckets(SIZES.into()))),
            committed: outcome("committed"),
            confirmed: outcome("confirmed"),
            conflict: outcome("conflict"),
            unknown: outcome("unknown"),
            rejected: outcome("rejected"),
            from_future: outcome("from_future"),
            outages: registered(
                registry,
                IntCounter::new(
                    "holdfast_log_outages_total",
                    "Outages: how often the log became unreachable for the engine.",
                ),
            ),
            turn_wait: registered(
                registry,
                Histogram::with_opts(turn_wait.buckets(DURATIONS.into())),
            ),
            appended: Arc::new(appended_by_type(registry)),
            is_away: Arc::default(),
        }
    }

    fn appended(&self, batch: &Batch, since: Instant, outcome: &Result<(), AppendError>) {
        if !batch.events.is_empty() {
            self.duration.observe(since.elapsed().as_secs_f64());
        }
        match outcome {
            Ok(()) if batch.events.is_empty() => self.confirmed.inc(),
            Ok(()) => {
                self.committed.inc();
                for event in &batch.events {
                    if let Some(counter) = self.appended.get(&*event.event_type) {
                        counter.inc();
                    }
                }
                self.events.observe(f64::from(
                    u32::try_from(batch.events.len()).unwrap_or(u32::MAX),
                ));
            }
            Err(AppendError::Conflict) => self.conflict.inc(),
            Err(AppendError::Unknown(_)) => self.unknown.inc(),
            Err(AppendError::Rejected(_) | AppendError::TooLarge { .. }) => self.rejected.inc(),
            Err(AppendError::FromFuture(_)) => self.from_future.inc(),
        }
        self.reached(!matches!(outcome, Err(AppendError::Unknown(_))));
    }

    fn observed<T>(&self, result: &Result<T, LogError>) {
        self.reached(!matches!(result, Err(LogError::Unavailable(_))));
    }

    /// Counts an outage once: it lasts until the log is reached again, however many attempts fail.
    fn reached(&self, is_reached: bool) {
        let was_away = self.is_away.swap(!is_reached, Ordering::Relaxed);
        if !is_reached && !was_away {
            self.outages.inc();
        }
    }
}

/// Returns the counters of the events that this process appends, by type. In contrast to the counts
/// of the whole log, their sum over all processes counts no event twice.
fn appended_by_type(registry: &Registry) -> HashMap<&'static str, IntCounter> {
    let help = "Events that this instance has appended to the log, by type. The rare append whose \
                outcome was unknown at first is not counted.";
    let counters = registered(
        registry,
        IntCounterVec::new(Opts::new("holdfast_events_appended_total", help), &["type"]),
    );
    let types = DropEvent::TYPES.iter().chain(OrderEvent::TYPES);
    types
        .map(|&name| (name, counters.with_label_values(&[name])))
        .collect()
}

/// An [`EventLog`] that counts its use.
#[derive(Debug, Clone)]
pub struct MeasuredLog<L> {
    log: L,
    appends: Appends,
}

impl<L> MeasuredLog<L> {
    pub const fn new(log: L, appends: Appends) -> Self {
        Self { log, appends }
    }
}

impl<L: EventLog> EventLog for MeasuredLog<L> {
    type Turn = MeasuredTurn<L::Turn>;

    async fn head(&self) -> Result<Head, LogError> {
        let head = self.log.head().await;
        self.appends.observed(&head);
        head
    }

    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        let clock = self.log.clock().await;
        self.appends.observed(&clock);
        clock
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        let read = self.log.read(after, limit).await;
        self.appends.observed(&read);
        read
    }

    fn parts(&self, after: Position, until: Position) -> Parts {
        self.log.parts(after, until)
    }

    async fn erased(&self, positions: &[Position]) -> Result<Vec<Erased>, LogError> {
        self.log.erased(positions).await
    }

    async fn all_erased(&self) -> Result<Vec<Erased>, LogError> {
        self.log.all_erased().await
    }

    async fn voided(&self) -> Result<Vec<Voided>, LogError> {
        let voided = self.log.voided().await;
        self.appends.observed(&voided);
        voided
    }

    async fn stream(
        &self,
        stream: StreamId,
        until: Position,
    ) -> Result<Vec<StoredEvent>, LogError> {
        let stream = self.log.stream(stream, until).await;
        self.appends.observed(&stream);
        stream
    }

    async fn append(&self, batch: &Batch) -> Result<(), AppendError> {
        let since = Instant::now();
        let outcome = self.log.append(batch).await;
        self.appends.appended(batch, since, &outcome);
        outcome
    }

    async fn barrier(&self) -> Result<(), LogError> {
        let passed = self.log.barrier().await;
        self.appends.observed(&passed);
        passed
    }

    async fn take_turn(&self) -> Result<Self::Turn, LogError> {
        let since = Instant::now();
        let turn = self.log.take_turn().await;
        if turn.is_ok() {
            let wait = since.elapsed().as_secs_f64();
            self.appends.turn_wait.observe(wait);
        }
        self.appends.observed(&turn);
        let appends = self.appends.clone();
        turn.map(|turn| MeasuredTurn { turn, appends })
    }
}

/// An append turn of a [`MeasuredLog`].
#[derive(Debug)]
pub struct MeasuredTurn<T> {
    turn: T,
    appends: Appends,
}

impl<T: Turn> Turn for MeasuredTurn<T> {
    fn head(&self) -> Head {
        self.turn.head()
    }

    fn clock(&self) -> Option<Timestamp> {
        self.turn.clock()
    }

    async fn append(self, batch: &Batch) -> Result<(), AppendError> {
        let since = Instant::now();
        let outcome = self.turn.append(batch).await;
        self.appends.appended(batch, since, &outcome);
        outcome
    }

    async fn pass(self) {
        self.turn.pass().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_counts_once_until_the_log_is_back() {
        let appends = Appends::new(&Registry::new());
        for (is_reached, outages) in [(true, 0), (false, 1), (false, 1), (true, 1), (false, 2)] {
            appends.reached(is_reached);
            assert_eq!(appends.outages.get(), outages);
        }
    }
}
