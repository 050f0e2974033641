//! The engine: one task that owns every drop and is the only code that decides.
//!
//! Promise: a caller is answered only when the outcome is in the log, acceptances and refusals
//! alike; nobody else's events are missed; a hold's expiry is recorded when it is due, unless a
//! request that arrived before it is still to be decided. What follows from events (expiries,
//! offers, the end of a cancelled drop's holds) is recorded in slices beside the requests, so that
//! no event keeps the shop waiting, whatever follows from it.
//! Limit: one node decides one request at a time. Throughput comes from batches: while one commits,
//! the next is decided on top of it.
//!
//! ```text
//!  requests ──▶ draft ──seal──▶ in flight ──committed──▶ followers, then answers
//!                 ▲                 │
//!                 │                 ├─ conflict: take everything back, follow the log, decide again (in turn)
//!                 └─ deadlines      └─ unknown: append the same batch again until it is known
//! ```

mod acquaintances;
mod agenda;
mod deadlines;
mod draft;
mod handle;

mod quarantine;
mod request;
mod skew;
mod state;
mod task;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::handle::Stamp;
pub use self::handle::{EngineHandle, Health};
pub use self::request::{Answer, CommandError, NewTerms, Request};
pub use self::skew::{ClockFault, ClockSkew};
pub use self::task::{Engine, EngineError};
pub use self::thread::{EnginePanicked, EngineThread};
use infrastructure::error::LogError;
use infrastructure::log::EventLog;
pub use infrastructure::ports::{Clock, Ids, Observer, RandomIds, SystemClock, VirtualClock};

/// The engine's bounds.
#[derive(Debug, Clone, Copy)]
pub struct EngineConfig {
    /// Requests that may wait; one more is refused at once.
    pub queue: usize,
    /// How long a caller waits for an outcome before it is told that it is not known yet.
    pub patience: Duration,
    /// How often the log is looked at for what other nodes appended, when there is nothing to append.
    pub follow_every: Duration,
    /// While a batch is on its way, the engine wakes up for so many requests at a time: waking it costs more than deciding
    /// one. At least 1.
    pub crowd: usize,
    /// Entries that may wait in one drop's waitlist; one more is refused.
    pub max_waitlist: u32,
    /// Events of work that is due without a request in one batch, and as many that follow from its
    /// requests. A batch that is on its way delays every request that comes meanwhile, so this
    /// holds when nobody waits, too. At least 1.
    pub due_events: usize,
    /// How far this node's clock may be from the database's before the engine stops deciding. The database never accepts
    /// what is more than two seconds in the future.
    pub max_clock_skew: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            queue: 16_384,
            patience: Duration::from_secs(5),
            follow_every: Duration::from_millis(100),
            crowd: 16,
            max_waitlist: 200_000,
            due_events: 512,
            max_clock_skew: Duration::from_secs(2),
        }
    }
}

/// Reads the whole log, then returns the engine, to be run, and a handle to it.
///
/// `observer` is told of all that is read and, later, of all that is committed.
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
    let (nudge, crowd) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let stamp = Stamp::new(clock.clone());
    let handle = EngineHandle {
        queue,
        health,
        skew,
        nudge: Arc::clone(&nudge),
        crowd: Arc::clone(&crowd),
        crowd_size: config.crowd,
        patience: config.patience,
        stamp: stamp.clone(),
    };
    let mut engine = Engine::new(
        log,
        clock,
        ids,
        observer,
        config,
        task::Wires {
            requests,
            health: health_sender,
            skew: skew_sender,
            nudge,
            crowd,
            stamp,
            stop,
        },
    );
    engine.load().await?;
    Ok((engine, handle))
}
