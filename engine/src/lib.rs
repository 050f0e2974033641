//! The engine: one task that owns every drop and is the only code that decides.
//!
//! Promise: a caller gets a response, acceptance or refusal, only after its outcome is in the log.
//! Events of other nodes are never missed. A hold's expiry is recorded when it is due, unless a
//! request that arrived earlier is still undecided. Due work (expiries, offers, closing a cancelled
//! drop) is recorded in bounded portions alongside requests, so no event can stall the shop.
//! Limit: one node decides one request at a time. Throughput comes from batches: while one batch
//! commits, the next is decided on top of it.
//!
//! ```text
//!  requests ──▶ draft ──seal──▶ in flight ──committed──▶ observers, then responses
//!                 ▲                 │
//!                 │                 ├─ conflict: roll back, follow the log, decide again (in turn)
//!                 └─ deadlines      └─ unknown: append the same batch again until it is known
//! ```

mod buyer_index;
mod deadlines;
mod draft;
mod due_work;
mod groups;
mod handle;
mod orders;
mod quarantine;
mod request;
mod skew;
mod state;
mod submission;
mod task;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::handle::Stamp;
pub use self::handle::{EngineHandle, Health};
pub use self::request::{
    Accepted, AdjustStock, CancelDrop, CancelOrder, ChangeHold, ChangeSale, CommandError,
    ConfirmPurchase, CreateCodes, ExtendHold, FulfilOrder, JoinWaitlist, LeaveWaitlist,
    LookUpBuyer, NewTerms, OrderedItem, PlaceHold, PlaceOrder, PurchaseOrder, RecordPayment,
    RefundOrder, RefundPurchase, ReleaseHold, RescheduleDrop, SaleChange, ScheduleDrop, SetStock,
    SettleRefund, StartPayment,
};
pub use self::skew::{ClockFault, ClockSkew};
pub use self::task::{Engine, EngineError};
pub use self::thread::{EnginePanicked, EngineThread};
pub use domain::command::Pass;
pub use domain::order::pay::{LatePayments, PaymentReport};
use infrastructure::error::LogError;
use infrastructure::log::EventLog;
pub use infrastructure::ports::{Clock, Ids, Observer, RandomIds, Step, SystemClock, VirtualClock};

/// Limits and intervals of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineConfig {
    /// Capacity of the request queue; a request beyond it is rejected immediately.
    pub queue: usize,
    /// How long a caller waits for an outcome before it gets [`CommandError::Undecided`].
    pub response_timeout: Duration,
    /// How often the engine polls the log for other nodes' events when it has nothing to append.
    pub follow_every: Duration,
    /// While a batch is in flight, the engine wakes once per this many queued requests: waking it
    /// costs more than deciding one request. At least 1.
    pub requests_per_wake: usize,
    /// Capacity of one drop's waitlist; a request to join beyond it is refused.
    pub max_waitlist: u32,
    /// Maximum due-work events per batch; the events that follow from its requests have a separate
    /// limit of the same size. An in-flight batch delays every request that arrives meanwhile, so
    /// the limit applies even when no request is queued. At least 1.
    pub due_events: usize,
    /// Largest tolerated difference between this node's clock and the database's; beyond it the
    /// engine stops deciding. The database rejects events more than two seconds in the future.
    pub max_clock_skew: Duration,
    /// How long this node's clock and the database's, if they jump together, must stay at the new
    /// time before anything is decided at it.
    pub clock_hold_off: Duration,
    /// The policy for money that arrives after its order has expired.
    pub late_payments: LatePayments,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            queue: 16_384,
            response_timeout: Duration::from_secs(5),
            follow_every: Duration::from_millis(100),
            requests_per_wake: 16,
            max_waitlist: 200_000,
            due_events: 512,
            max_clock_skew: Duration::from_secs(2),
            clock_hold_off: Duration::from_secs(60),
            late_payments: LatePayments::Honour,
        }
    }
}

/// Reads the whole log, then returns the engine, ready to run, and a handle to it.
///
/// `observer` receives every event that is read here and every batch that is committed later.
///
/// # Errors
/// [`LogError`] when the log cannot be read.
pub async fn load<L: EventLog, C: Clock, I: Ids, O: Observer>(
    log: L,
    clock: C,
    ids: I,
    observer: O,
    config: EngineConfig,
    stop: CancellationToken,
) -> Result<(Engine<L, C, I, O>, EngineHandle), LogError> {
    let (queue, requests) = mpsc::channel(config.queue);
    let (health_sender, health) = watch::channel(Health::Live);
    let (skew_sender, skew) = watch::channel(None);
    let (nudge, many_queued) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let stamp = Stamp::new(clock.clone());
    let handle = EngineHandle {
        queue,
        health,
        skew,
        nudge: Arc::clone(&nudge),
        many_queued: Arc::clone(&many_queued),
        wake_every: config.requests_per_wake,
        response_timeout: config.response_timeout,
        stamp: stamp.clone(),
        author: None,
    };
    let mut engine = Engine::new(
        log,
        clock,
        ids,
        observer,
        config,
        task::EngineChannels {
            requests,
            health: health_sender,
            skew: skew_sender,
            nudge,
            many_queued,
            stamp,
            stop,
        },
    );
    engine.load().await?;
    Ok((engine, handle))
}
