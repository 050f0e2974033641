//! One running engine and its observable state.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::decide::Subject;
use domain::values::{DropId, HoldId, Timestamp};
use engine::{
    Clock, CommandError, EngineConfig, EngineError, EngineHandle, Observer, RandomIds,
    VirtualClock, load,
};
use infrastructure::error::LogError;
use infrastructure::feed::{Committed, Feed};
use infrastructure::log::EventLog;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::request::{Answer, Request, submit};

/// The runtime's clock plus an offset that can be changed, backwards too.
#[derive(Debug, Clone)]
pub struct SetClock {
    base: VirtualClock,
    off_by_millis: Arc<AtomicI64>,
}

impl SetClock {
    pub fn starting_at(now: Timestamp) -> Self {
        Self {
            base: VirtualClock::starting_at(now),
            off_by_millis: Arc::default(),
        }
    }

    /// The same time, but set independently from here on.
    pub fn another(&self, off_by_millis: i64) -> Self {
        Self {
            base: self.base,
            off_by_millis: Arc::new(off_by_millis.into()),
        }
    }

    pub fn set(&self, off_by_millis: i64) {
        self.off_by_millis.store(off_by_millis, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let off = self.off_by_millis.load(Ordering::Relaxed);
        self.base.now().plus_millis(off)
    }

    fn uptime(&self) -> Duration {
        self.base.uptime()
    }

    async fn sleep_until(&self, at: Timestamp) {
        // Like the system clock: it may be set while this sleeps.
        while let Ok(left @ 1..) = u64::try_from(at.millis() - self.now().millis()) {
            tokio::time::sleep(Duration::from_millis(left.min(1_000))).await;
        }
    }
}

/// Everything that an engine passed to its observer.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Arc<Committed>>>>);

impl Seen {
    pub fn batches(&self) -> Vec<Arc<Committed>> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Seen {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.0.lock().unwrap().push(Arc::clone(committed));
    }
}

#[derive(Debug)]
pub struct Node {
    pub handle: EngineHandle,
    pub feed: Feed,
    pub seen: Seen,
    stop: CancellationToken,
    task: JoinHandle<Result<(), EngineError>>,
}

impl Node {
    /// An engine on `log`, on this clock, with ids from `seed`.
    pub async fn start<L: EventLog, C: Clock>(log: &L, clock: C, seed: u64) -> Self {
        Self::load(log, clock, seed, EngineConfig::default())
            .await
            .expect("the log can be read")
    }

    pub async fn load<L: EventLog, C: Clock>(
        log: &L,
        clock: C,
        seed: u64,
        config: EngineConfig,
    ) -> Result<Self, LogError> {
        let (feed, seen) = (Feed::default(), Seen::default());
        let stop = CancellationToken::new();
        let (engine, handle) = load(
            log.clone(),
            clock,
            RandomIds::from_seed(seed),
            (feed.clone(), seen.clone()),
            config,
            stop.clone(),
        )
        .await?;
        let task = tokio::spawn(engine.run());
        Ok(Self {
            handle,
            feed,
            seen,
            stop,
            task,
        })
    }

    pub async fn submit(&self, request: Request) -> Result<Answer, CommandError> {
        submit(&self.handle, request).await
    }

    /// Submits a request without waiting for the outcome, and returns once the engine has done all
    /// that it can do now.
    pub async fn begin(&self, request: Request) -> JoinHandle<Result<Answer, CommandError>> {
        let handle = self.handle.clone();
        let sent = tokio::spawn(async move { submit(&handle, request).await });
        settle().await;
        sent
    }

    /// Schedules a drop and returns its id.
    pub async fn scheduled(&self, request: Request) -> DropId {
        self.submit(request).await.unwrap().drop_id
    }

    /// Places a hold and returns its id.
    pub async fn held(&self, request: Request) -> HoldId {
        hold_of(&self.submit(request).await.unwrap())
    }

    /// Shuts it down, and waits until it has stopped.
    pub async fn stop(self) -> Result<(), EngineError> {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    /// Requests a shutdown.
    pub fn request_stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has stopped by itself.
    pub async fn stopped(self) -> Result<(), EngineError> {
        self.task.await.unwrap()
    }

    /// The process dies: its task ends, but requests that it sent to the log continue.
    pub async fn crash(self) {
        self.task.abort();
        if let Ok(ended) = self.task.await {
            ended.expect("it ran until it crashed");
        }
    }
}

/// The hold that an answer is about.
#[track_caller]
pub fn hold_of(answer: &Answer) -> HoldId {
    match &answer.subject {
        Subject::Hold(hold_id) | Subject::Purchase(hold_id) => *hold_id,
        other @ (Subject::Drop
        | Subject::Waitlist(_)
        | Subject::Adjustment(_)
        | Subject::Refund(_)) => {
            panic!("about {other:?}, not a hold")
        }
    }
}

/// Lets all tasks run until they wait for time to pass: a paused clock moves only when all tasks
/// are waiting.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Advances the runtime's clock by `millis`.
pub async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
