//! Starts a dispatcher for each endpoint that no other server dispatches.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::values::Position;
use infrastructure::feed::Feed;
use infrastructure::log::EventLog;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::counts::Counts;
use crate::dispatcher::{Positions, Shared, dispatch};
use crate::networks::PermittedNetworks;
use crate::notices::Notices;
use crate::schedule::Schedule;
use crate::sender::Sender;
use crate::store::Store;

/// How often endpoints without a dispatcher are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The settings of outgoing webhooks.
#[derive(Debug, Clone)]
pub struct Settings {
    pub networks: PermittedNetworks,
    pub schedule: Schedule,
    /// The timeout of one request.
    pub timeout: Duration,
}

/// The administrators' side of webhooks. Clones share it.
#[derive(Debug, Clone)]
pub struct Webhooks {
    store: Store,
    networks: PermittedNetworks,
    counts: Counts,
    positions: Positions,
    wake: Arc<watch::Sender<u64>>,
}

impl Webhooks {
    /// Webhooks of the log in this database.
    #[must_use]
    pub fn new(pool: PgPool, settings: &Settings) -> Self {
        Self {
            store: Store::new(pool),
            networks: settings.networks.clone(),
            counts: Counts::default(),
            positions: Positions::default(),
            wake: Arc::new(watch::Sender::new(0)),
        }
    }

    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub const fn networks(&self) -> &PermittedNetworks {
        &self.networks
    }

    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Lets the dispatchers of this process notice a change now; those of others notice it within
    /// a second.
    pub fn wake(&self) {
        self.wake.send_modify(|changes| *changes += 1);
    }

    /// Returns the number of endpoints that this process dispatches.
    #[must_use]
    pub fn dispatched(&self) -> usize {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Returns how many positions the endpoints that this process dispatches are behind `head`, in
    /// total.
    #[must_use]
    pub fn lag(&self, head: Position) -> u64 {
        let positions = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lags = positions
            .values()
            .map(|position| head.0.saturating_sub(position.0));
        lags.sum()
    }

    /// Dispatches until `stop`.
    pub async fn run<L: EventLog>(
        self,
        settings: Settings,
        log: L,
        feed: Feed,
        notices: Notices,
        stop: CancellationToken,
    ) {
        let mut wake = self.wake.subscribe();
        let shared = Shared {
            sender: Sender::new(settings.networks, settings.timeout),
            schedule: settings.schedule,
            store: self.store.clone(),
            log,
            feed,
            notices,
            counts: self.counts.clone(),
            positions: Arc::clone(&self.positions),
            holder: Uuid::new_v4(),
            wake: self.wake.subscribe(),
            stop: stop.clone(),
        };
        let mut running: HashMap<Id, Uuid> = HashMap::new();
        let mut dispatchers: JoinSet<()> = JoinSet::new();
        let mut is_away = false;
        while !stop.is_cancelled() {
            match shared.store.available(shared.holder).await {
                Ok(ids) => {
                    is_away = false;
                    for id in ids {
                        if !running.values().any(|running| *running == id) {
                            let dispatcher = dispatchers.spawn(dispatch(shared.clone(), id));
                            running.insert(dispatcher.id(), id);
                        }
                    }
                }
                Err(error) if !is_away => {
                    is_away = true;
                    warn!(%error, "cannot read the webhook endpoints; retrying");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
                _ = wake.changed() => {}
                Some(ended) = dispatchers.join_next_with_id() => {
                    let task = match ended {
                        Ok((task, ())) => task,
                        Err(error) => {
                            warn!(%error, "a webhook dispatcher ended unexpectedly");
                            error.id()
                        }
                    };
                    running.remove(&task);
                    // An endpoint that cannot be dispatched is not tried without a pause.
                    stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
                }
            }
        }
        while dispatchers.join_next().await.is_some() {}
    }
}
