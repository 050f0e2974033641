//! The log in memory: the same guarantees as in Postgres, on the runtime's clock, with injected
//! faults.
//!
//! Promise: deterministic. On a paused, single-threaded runtime the same seed gives the same run,
//! faults included. It has a synchronous standby, which may be detached and promoted.
//! Limit: everything is lost with the process.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::values::{Position, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::OwnedMutexGuard;
use tokio::time::sleep;

use super::{Batch, EventLog, Head, MOST_BATCH_BYTES, Parts, StoredEvent, Turn, parts};
use crate::error::{AppendError, LogError};

/// Fault rates, per thousand calls, and the latency of calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A call takes up to this long.
    pub latency: Duration,
    /// An append commits, but its caller does not get the outcome.
    pub lost_responses: u32,
    /// An append does not commit, and its caller does not get the outcome.
    pub lost_appends: u32,
    /// An append commits late: its caller has given up and may have sent it again.
    pub late_appends: u32,
    /// A read fails.
    pub failed_reads: u32,
    /// During an outage, every call fails for this long.
    pub outage: Duration,
    /// An outage starts.
    pub outages: u32,
    /// An append is rejected, as by a database that this node may not write to.
    pub rejected_appends: u32,
}

/// An [`EventLog`] in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    events: Arc<Mutex<Vec<StoredEvent>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    most_bytes: Arc<AtomicUsize>,
    fault_state: Arc<Mutex<FaultState>>,
    standby: Arc<Mutex<Standby>>,
    clock: Option<SharedClock>,
}

/// The standby, and how many events it has.
#[derive(Debug)]
struct Standby {
    is_attached: bool,
    events: usize,
}

/// The log's own clock.
#[derive(Clone)]
struct SharedClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedClock").field(&(self.0)()).finish()
    }
}

/// Events further ahead of the log's clock than this, in milliseconds, are rejected, as the
/// database does.
const MOST_AHEAD_MS: i64 = 2_000;

#[derive(Debug)]
struct FaultState {
    faults: Faults,
    random: StdRng,
    away_until: Option<tokio::time::Instant>,
}

/// The fate of one append.
enum Fate {
    Commits,
    CommitsUnreported,
    IsLost,
    CommitsLate(Duration),
    IsRejected,
}

#[derive(Debug, thiserror::Error)]
#[error("injected fault: {0}")]
struct Injected(&'static str);

impl Default for MemoryLog {
    fn default() -> Self {
        Self::with_faults(Faults::default(), 0)
    }
}

impl MemoryLog {
    /// An empty log whose faults are drawn from `seed`.
    #[must_use]
    pub fn with_faults(faults: Faults, seed: u64) -> Self {
        let fault_state = FaultState {
            faults,
            random: StdRng::seed_from_u64(seed),
            away_until: None,
        };
        Self {
            events: Arc::default(),
            turn: Arc::default(),
            most_bytes: Arc::new(MOST_BATCH_BYTES.into()),
            fault_state: Arc::new(Mutex::new(fault_state)),
            standby: Arc::new(Mutex::new(Standby {
                is_attached: true,
                events: 0,
            })),
            clock: None,
        }
    }

    /// The same log with a clock of its own: all nodes can compare theirs with it, and it rejects
    /// future events.
    #[must_use]
    pub fn on_clock(self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let clock = Some(SharedClock(Arc::new(now)));
        Self { clock, ..self }
    }

    /// Every event, as an auditor would read them; never fails.
    #[must_use]
    pub fn snapshot(&self) -> Vec<StoredEvent> {
        lock(&self.events).clone()
    }

    /// Ends all faults.
    pub fn calm(&self) {
        let mut fault_state = lock(&self.fault_state);
        fault_state.faults = Faults {
            latency: fault_state.faults.latency,
            ..Faults::default()
        };
        fault_state.away_until = None;
    }

    /// Sets the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.fault_state).faults = faults;
    }

    /// Limits the size of an append from now on.
    pub fn limit_batches(&self, most_bytes: usize) {
        self.most_bytes.store(most_bytes, Ordering::Relaxed);
    }

    fn within_limit(&self, batch: &Batch) -> Result<(), AppendError> {
        batch.within(self.most_bytes.load(Ordering::Relaxed))
    }

    /// The head; never fails.
    #[must_use]
    pub fn peek(&self) -> Head {
        head_of(&lock(&self.events))
    }

    /// Rewrites history, as an intruder or a restored backup would.
    pub fn tamper(&self, change: impl FnOnce(&mut Vec<StoredEvent>)) {
        change(&mut lock(&self.events));
    }

    /// Every call fails until [`MemoryLog::calm`].
    pub fn make_unreachable(&self) {
        let far = tokio::time::Instant::now() + Duration::from_secs(86_400 * 365);
        lock(&self.fault_state).away_until = Some(far);
    }

    /// From now on, appended events are visible and not replicated, as when each wait for the
    /// standby is interrupted: an append commits with an unknown outcome, and no barrier is passed.
    pub fn detach_standby(&self) {
        lock(&self.standby).is_attached = false;
    }

    /// Attaches the standby again; it catches up.
    pub fn attach_standby(&self) {
        lock(&self.standby).is_attached = true;
        self.replicate();
    }

    /// Fails over to the standby: events that it does not have are lost.
    pub fn fail_over(&self) {
        let events = lock(&self.standby).events;
        lock(&self.events).truncate(events);
        self.attach_standby();
    }

    /// Reports whether the standby now has everything.
    fn replicate(&self) -> bool {
        let mut standby = lock(&self.standby);
        if standby.is_attached {
            standby.events = lock(&self.events).len();
        }
        standby.is_attached
    }

    /// Adds an event as a stock program would: at the current head.
    pub fn append_stock(&self, event: StoredEvent) {
        let mut events = lock(&self.events);
        let head = head_of(&events);
        events.extend(Batch::seal(head, vec![event]).events);
        drop(events);
        self.replicate();
    }

    async fn delay(&self) {
        let latency = {
            let mut fault_state = lock(&self.fault_state);
            let most = u64::try_from(fault_state.faults.latency.as_micros()).unwrap_or(u64::MAX);
            Duration::from_micros(fault_state.random.random_range(0..=most))
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
    }

    fn is_away(&self) -> bool {
        let mut fault_state = lock(&self.fault_state);
        let now = tokio::time::Instant::now();
        let outages = fault_state.faults.outages;
        if fault_state.happens(outages) {
            fault_state.away_until = Some(now + fault_state.faults.outage);
        }
        fault_state.away_until.is_some_and(|until| now < until)
    }

    fn commit(&self, batch: &Batch) -> Result<(), AppendError> {
        let mut events = lock(&self.events);
        if head_of(&events) != batch.expected {
            return Err(AppendError::Conflict);
        }
        if let Some(SharedClock(now)) = &self.clock {
            let (at, head_at) = (batch.head().recorded_at, batch.expected.recorded_at);
            if at > head_at && at > now().plus_millis(MOST_AHEAD_MS) {
                return Err(AppendError::FromFuture(Injected("from the future").into()));
            }
        }
        events.extend(batch.events.iter().cloned());
        drop(events);
        if !self.replicate() && !batch.events.is_empty() {
            return Err(AppendError::Unknown(
                Injected("the wait for the standby was interrupted").into(),
            ));
        }
        Ok(())
    }

    async fn append_with_fate(&self, batch: &Batch) -> Result<(), AppendError> {
        if self.is_away() {
            return Err(AppendError::Unknown(Injected("away").into()));
        }
        let fate = lock(&self.fault_state).fate();
        match fate {
            Fate::Commits => self.commit(batch),
            Fate::CommitsUnreported => {
                // A conflict is not reported either.
                let _unreported = self.commit(batch);
                Err(AppendError::Unknown(
                    Injected("the response was lost").into(),
                ))
            }
            Fate::IsLost => Err(AppendError::Unknown(
                Injected("the request was lost").into(),
            )),
            Fate::IsRejected => Err(AppendError::Rejected(
                Injected("the request is not allowed").into(),
            )),
            Fate::CommitsLate(delay) => {
                let (log, batch) = (self.clone(), batch.clone());
                tokio::spawn(async move {
                    sleep(delay).await;
                    let _turn = log.turn.lock().await;
                    let _unreported = log.commit(&batch);
                });
                Err(AppendError::Unknown(Injected("the request is late").into()))
            }
        }
    }
}

impl FaultState {
    fn happens(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.random.random_ratio(per_thousand.min(1000), 1000)
    }

    fn fate(&mut self) -> Fate {
        let faults = self.faults;
        if self.happens(faults.lost_responses) {
            Fate::CommitsUnreported
        } else if self.happens(faults.lost_appends) {
            Fate::IsLost
        } else if self.happens(faults.late_appends) {
            Fate::CommitsLate(Duration::from_millis(self.random.random_range(0..200)))
        } else if self.happens(faults.rejected_appends) {
            Fate::IsRejected
        } else {
            Fate::Commits
        }
    }
}

impl EventLog for MemoryLog {
    type Turn = MemoryTurn;

    async fn head(&self) -> Result<Head, LogError> {
        self.delay().await;
        self.refuse_if_unreadable()?;
        Ok(head_of(&lock(&self.events)))
    }

    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        let Some(SharedClock(now)) = &self.clock else {
            return Ok(None);
        };
        self.delay().await;
        self.refuse_if_unreadable()?;
        let now = now();
        self.delay().await;
        Ok(Some(now))
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.delay().await;
        self.refuse_if_unreadable()?;
        let events = lock(&self.events);
        let start = usize::try_from(after.0).unwrap_or(usize::MAX);
        Ok(events.iter().skip(start).take(limit).cloned().collect())
    }

    fn parts(&self, after: Position, until: Position) -> Parts {
        parts::read(self.clone(), after, until)
    }

    async fn append(&self, batch: &Batch) -> Result<(), AppendError> {
        self.within_limit(batch)?;
        self.delay().await;
        let outcome = {
            let _turn = self.turn.lock().await;
            self.append_with_fate(batch).await
        };
        self.delay().await;
        outcome
    }

    async fn barrier(&self) -> Result<(), LogError> {
        self.delay().await;
        self.refuse_if_unreadable()?;
        if !self.replicate() {
            return Err(LogError::Unavailable(Injected("no standby").into()));
        }
        Ok(())
    }

    async fn take_turn(&self) -> Result<MemoryTurn, LogError> {
        self.delay().await;
        let guard = Arc::clone(&self.turn).lock_owned().await;
        self.refuse_if_unreadable()?;
        let head = head_of(&lock(&self.events));
        Ok(MemoryTurn {
            log: self.clone(),
            head,
            clock: self.clock.as_ref().map(|SharedClock(now)| now()),
            _guard: guard,
        })
    }
}

impl MemoryLog {
    fn refuse_if_unreadable(&self) -> Result<(), LogError> {
        let fails = {
            let mut fault_state = lock(&self.fault_state);
            let failed_reads = fault_state.faults.failed_reads;
            fault_state.happens(failed_reads)
        };
        if fails || self.is_away() {
            return Err(LogError::Unavailable(Injected("no response").into()));
        }
        Ok(())
    }
}

/// The append turn of a [`MemoryLog`].
#[derive(Debug)]
pub struct MemoryTurn {
    log: MemoryLog,
    head: Head,
    clock: Option<Timestamp>,
    _guard: OwnedMutexGuard<()>,
}

impl Turn for MemoryTurn {
    fn head(&self) -> Head {
        self.head
    }

    fn clock(&self) -> Option<Timestamp> {
        self.clock
    }

    async fn append(self, batch: &Batch) -> Result<(), AppendError> {
        self.log.within_limit(batch)?;
        self.log.delay().await;
        self.log.append_with_fate(batch).await
    }

    async fn pass(self) {}
}

fn head_of(events: &[StoredEvent]) -> Head {
    events.last().map_or_else(Head::default, StoredEvent::head)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
