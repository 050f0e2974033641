//! The log in memory: the same promise as Postgres, on the clock of the runtime, with faults on purpose.
//!
//! Promise: deterministic. On a paused, single-threaded runtime the same seed gives the same run, faults included. It has a
//! synchronous standby, which may be detached and promoted.
//! Limit: nothing outlives the process.

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

/// How often, of a thousand calls, something goes wrong, and how long a call takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A call takes up to this long.
    pub latency: Duration,
    /// An append lands, but its caller never hears of it.
    pub lost_answers: u32,
    /// An append does not land, and its caller does not know.
    pub lost_appends: u32,
    /// An append lands late: its caller has given up on it and may have sent it again.
    pub late_appends: u32,
    /// A read finds nobody.
    pub failed_reads: u32,
    /// From time to time, every call fails for this long.
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
    weather: Arc<Mutex<Weather>>,
    standby: Arc<Mutex<Standby>>,
    clock: Option<SharedClock>,
}

/// The other server, and how many events it has.
#[derive(Debug)]
struct Standby {
    is_attached: bool,
    events: usize,
}

/// The clock of the log itself.
#[derive(Clone)]
struct SharedClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedClock").field(&(self.0)()).finish()
    }
}

/// What is further in the future of the log's clock than this, in milliseconds, is refused, as the database does.
const MOST_AHEAD_MS: i64 = 2_000;

#[derive(Debug)]
struct Weather {
    faults: Faults,
    random: StdRng,
    away_until: Option<tokio::time::Instant>,
}

/// What will happen to one append.
enum Fate {
    Lands,
    LandsUnheard,
    IsLost,
    LandsLate(Duration),
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
        let weather = Weather {
            faults,
            random: StdRng::seed_from_u64(seed),
            away_until: None,
        };
        Self {
            events: Arc::default(),
            turn: Arc::default(),
            most_bytes: Arc::new(MOST_BATCH_BYTES.into()),
            weather: Arc::new(Mutex::new(weather)),
            standby: Arc::new(Mutex::new(Standby {
                is_attached: true,
                events: 0,
            })),
            clock: None,
        }
    }

    /// The same log with a clock of its own: all nodes can compare theirs with it, and it refuses the future.
    #[must_use]
    pub fn on_clock(self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let clock = Some(SharedClock(Arc::new(now)));
        Self { clock, ..self }
    }

    /// Every event, as an auditor would read them, whatever the weather.
    #[must_use]
    pub fn snapshot(&self) -> Vec<StoredEvent> {
        lock(&self.events).clone()
    }

    /// Nothing goes wrong from here on.
    pub fn calm(&self) {
        let mut weather = lock(&self.weather);
        weather.faults = Faults {
            latency: weather.faults.latency,
            ..Faults::default()
        };
        weather.away_until = None;
    }

    /// From here on, this is what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.weather).faults = faults;
    }

    /// From here on, one append takes no more than so many bytes.
    pub fn limit_batches(&self, most_bytes: usize) {
        self.most_bytes.store(most_bytes, Ordering::Relaxed);
    }

    fn within_limit(&self, batch: &Batch) -> Result<(), AppendError> {
        batch.within(self.most_bytes.load(Ordering::Relaxed))
    }

    /// Where the log ends, whatever the weather.
    #[must_use]
    pub fn peek(&self) -> Head {
        head_of(&lock(&self.events))
    }

    /// Rewrites history, as nobody may: an intruder, or a restored backup.
    pub fn tamper(&self, change: impl FnOnce(&mut Vec<StoredEvent>)) {
        change(&mut lock(&self.events));
    }

    /// Every call fails until [`MemoryLog::calm`].
    pub fn take_away(&self) {
        let far = tokio::time::Instant::now() + Duration::from_secs(86_400 * 365);
        lock(&self.weather).away_until = Some(far);
    }

    /// From here on, what is appended is visible and not replicated, as when each wait for the standby is cut short: an append
    /// lands with an unknown outcome, and no barrier is passed.
    pub fn detach_standby(&self) {
        lock(&self.standby).is_attached = false;
    }

    /// The standby is back, and catches up.
    pub fn attach_standby(&self) {
        lock(&self.standby).is_attached = true;
        self.replicate();
    }

    /// Fails over to the standby: what it does not have is gone.
    pub fn fail_over(&self) {
        let events = lock(&self.standby).events;
        lock(&self.events).truncate(events);
        self.attach_standby();
    }

    /// Whether the standby has everything now.
    fn replicate(&self) -> bool {
        let mut standby = lock(&self.standby);
        if standby.is_attached {
            standby.events = lock(&self.events).len();
        }
        standby.is_attached
    }

    /// Adds an event as a stock program would: at whatever the head is.
    pub fn append_stock(&self, event: StoredEvent) {
        let mut events = lock(&self.events);
        let head = head_of(&events);
        events.extend(Batch::seal(head, vec![event]).events);
        drop(events);
        self.replicate();
    }

    async fn travel(&self) {
        let latency = {
            let mut weather = lock(&self.weather);
            let most = u64::try_from(weather.faults.latency.as_micros()).unwrap_or(u64::MAX);
            Duration::from_micros(weather.random.random_range(0..=most))
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
    }

    fn is_away(&self) -> bool {
        let mut weather = lock(&self.weather);
        let now = tokio::time::Instant::now();
        let outages = weather.faults.outages;
        if weather.happens(outages) {
            weather.away_until = Some(now + weather.faults.outage);
        }
        weather.away_until.is_some_and(|until| now < until)
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
                Injected("the wait for the standby was cut short").into(),
            ));
        }
        Ok(())
    }

    async fn append_with_fate(&self, batch: &Batch) -> Result<(), AppendError> {
        if self.is_away() {
            return Err(AppendError::Unknown(Injected("away").into()));
        }
        let fate = lock(&self.weather).fate();
        match fate {
            Fate::Lands => self.commit(batch),
            Fate::LandsUnheard => {
                // A conflict is unheard as well.
                let _unheard = self.commit(batch);
                Err(AppendError::Unknown(Injected("the answer was lost").into()))
            }
            Fate::IsLost => Err(AppendError::Unknown(
                Injected("the request was lost").into(),
            )),
            Fate::IsRejected => Err(AppendError::Rejected(
                Injected("the request is not allowed").into(),
            )),
            Fate::LandsLate(delay) => {
                let (log, batch) = (self.clone(), batch.clone());
                tokio::spawn(async move {
                    sleep(delay).await;
                    let _turn = log.turn.lock().await;
                    let _unheard = log.commit(&batch);
                });
                Err(AppendError::Unknown(Injected("the request is late").into()))
            }
        }
    }
}

impl Weather {
    fn happens(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.random.random_ratio(per_thousand.min(1000), 1000)
    }

    fn fate(&mut self) -> Fate {
        let faults = self.faults;
        if self.happens(faults.lost_answers) {
            Fate::LandsUnheard
        } else if self.happens(faults.lost_appends) {
            Fate::IsLost
        } else if self.happens(faults.late_appends) {
            Fate::LandsLate(Duration::from_millis(self.random.random_range(0..200)))
        } else if self.happens(faults.rejected_appends) {
            Fate::IsRejected
        } else {
            Fate::Lands
        }
    }
}

impl EventLog for MemoryLog {
    type Turn = MemoryTurn;

    async fn head(&self) -> Result<Head, LogError> {
        self.travel().await;
        self.refuse_if_unreadable()?;
        Ok(head_of(&lock(&self.events)))
    }

    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        let Some(SharedClock(now)) = &self.clock else {
            return Ok(None);
        };
        self.travel().await;
        self.refuse_if_unreadable()?;
        let now = now();
        self.travel().await;
        Ok(Some(now))
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        self.travel().await;
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
        self.travel().await;
        let outcome = {
            let _turn = self.turn.lock().await;
            self.append_with_fate(batch).await
        };
        self.travel().await;
        outcome
    }

    async fn barrier(&self) -> Result<(), LogError> {
        self.travel().await;
        self.refuse_if_unreadable()?;
        if !self.replicate() {
            return Err(LogError::Unavailable(Injected("no standby").into()));
        }
        Ok(())
    }

    async fn take_turn(&self) -> Result<MemoryTurn, LogError> {
        self.travel().await;
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
            let mut weather = lock(&self.weather);
            let failed_reads = weather.faults.failed_reads;
            weather.happens(failed_reads)
        };
        if fails || self.is_away() {
            return Err(LogError::Unavailable(Injected("nobody answers").into()));
        }
        Ok(())
    }
}

/// The right to append next to a [`MemoryLog`].
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
        self.log.travel().await;
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
