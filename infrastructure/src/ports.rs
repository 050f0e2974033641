//! The engine's dependencies, which a simulation can replace: time, ids, and
//! observers.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use domain::values::{Salt, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trace_context::Trace;
use uuid::{Builder, Uuid};

use crate::erasure::Erased;
use crate::feed::{Committed, Feed, Readmitted, ReadmittedOrder};

/// A source of time.
pub trait Clock: Clone + Send + Sync + 'static {
    fn now(&self) -> Timestamp;

    /// The time since some moment, which no setting of the clock changes. It counts while the
    /// machine is suspended, as [`Clock::now`] does.
    fn uptime(&self) -> Duration;

    /// Returns at `at` or shortly after; immediately if it has passed.
    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()> + Send;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }

    fn uptime(&self) -> Duration {
        uptime()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // At most one second at a time: the wall clock may be set meanwhile.
        while let Some(left) = left_until(self.now(), at) {
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        }
    }
}

/// Unlike [`std::time::Instant`], it counts while the machine is suspended.
#[cfg(target_os = "linux")]
fn uptime() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or_else(|_| process_time(), Duration::from)
}

#[cfg(not(target_os = "linux"))]
fn uptime() -> Duration {
    process_time()
}

/// The time since the first call.
fn process_time() -> Duration {
    static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}

/// A clock that follows the runtime's, which a test can pause and advance, plus an offset `skew`.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    epoch: Timestamp,
    started: tokio::time::Instant,
}

impl VirtualClock {
    /// A clock that reads `now` at this moment.
    #[must_use]
    pub fn starting_at(now: Timestamp) -> Self {
        Self {
            epoch: now,
            started: tokio::time::Instant::now(),
        }
    }

    /// The same clock, off by `millis`.
    #[must_use]
    pub fn skewed(self, millis: i64) -> Self {
        Self {
            epoch: self.epoch.plus_millis(millis),
            ..self
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed().as_millis();
        self.epoch
            .plus_millis(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep_until(&self, at: Timestamp) {
        while let Some(left) = left_until(self.now(), at) {
            tokio::time::sleep(left).await;
        }
    }
}

fn left_until(now: Timestamp, at: Timestamp) -> Option<Duration> {
    u64::try_from(at.millis() - now.millis())
        .ok()
        .filter(|&left| left > 0)
        .map(Duration::from_millis)
}

/// Draws ids and salts. In production they must be unguessable.
pub trait Ids: Send + 'static {
    fn bytes(&mut self) -> [u8; 16];

    fn uuid(&mut self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    fn salt(&mut self) -> Salt {
        Salt(self.bytes())
    }
}

/// Ids from a cryptographic generator, seeded by the operating system, or by a number in a
/// simulation.
#[derive(Debug, Clone)]
pub struct RandomIds(StdRng);

impl RandomIds {
    /// Unguessable ids.
    #[must_use]
    pub fn from_os() -> Self {
        Self(StdRng::from_os_rng())
    }

    /// The same ids for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }
}

impl Ids for RandomIds {
    fn bytes(&mut self) -> [u8; 16] {
        self.0.random()
    }
}

/// Receives everything that is committed, in order, before the callers get their responses.
pub trait Observer: Send + 'static {
    /// `committed` is in the log. Called on the engine's task, so it must be quick.
    fn committed(&mut self, committed: &Arc<Committed>);

    /// These buyers were erased: everything that identifies them must be removed.
    fn erased(&mut self, _: &[Erased]) {}

    /// A drop was applied again from its first event, up to the position of the last
    /// [`Observer::committed`].
    fn readmitted(&mut self, _: &Readmitted) {}

    /// The same for an order.
    fn order_readmitted(&mut self, _: &ReadmittedOrder) {}

    /// The batch that a request was decided for is sent to the log. The request has waited this
    /// long in the queue; one that is decided again after a conflict is reported again.
    fn waited(&mut self, _: Duration) {}

    /// A step of a request that belongs to a trace is over.
    fn traced(&mut self, _: &Trace, _: Step) {}
}

/// A step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It waited in the queue until its batch was sent to the log.
    Queued { took: Duration },
    /// Its batch was appended, or was not.
    Appended {
        took: Duration,
        /// The events of the batch, those of other requests included.
        events: usize,
        /// `committed`, `conflict` (another server was first: the request is decided again),
        /// `unknown`, or `refused`.
        outcome: &'static str,
    },
}

impl Observer for Feed {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.publish(committed);
    }

    fn erased(&mut self, _: &[Erased]) {
        self.forget();
    }

    fn readmitted(&mut self, readmitted: &Readmitted) {
        self.readmit(readmitted);
    }

    fn order_readmitted(&mut self, readmitted: &ReadmittedOrder) {
        self.readmit_order(readmitted);
    }
}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.0.committed(committed);
        self.1.committed(committed);
    }

    fn erased(&mut self, erased: &[Erased]) {
        self.0.erased(erased);
        self.1.erased(erased);
    }

    fn readmitted(&mut self, readmitted: &Readmitted) {
        self.0.readmitted(readmitted);
        self.1.readmitted(readmitted);
    }

    fn order_readmitted(&mut self, readmitted: &ReadmittedOrder) {
        self.0.order_readmitted(readmitted);
        self.1.order_readmitted(readmitted);
    }

    fn waited(&mut self, wait: Duration) {
        self.0.waited(wait);
        self.1.waited(wait);
    }

    fn traced(&mut self, trace: &Trace, step: Step) {
        self.0.traced(trace, step);
        self.1.traced(trace, step);
    }
}
