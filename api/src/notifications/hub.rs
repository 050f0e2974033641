//! Connects the streams to the log and to the choices of their buyers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::catalogue::store::{Choices, Store};
use domain::values::{BuyerId, Position};
use engine::Observer;
use infrastructure::feed::Committed;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shard::{Message, Subscriber};

/// The longest time until a choice that was made on another server is known to a stream here.
pub(super) const REFRESH: Duration = Duration::from_secs(30);
/// How often a part of the buyers is read again.
const REFRESH_TICK: Duration = Duration::from_secs(1);
/// The most buyers whose choices one statement reads.
const MOST_PER_READ: usize = 500;
/// How long a request waits until the streams of its buyer know its effect.
const MOST_WAIT: Duration = Duration::from_secs(2);

/// Clones are the same hub.
#[derive(Debug, Clone)]
pub struct NotificationHub(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    /// The position up to which notifications can be read.
    head: watch::Sender<Position>,
    inboxes: Vec<UnboundedSender<Message>>,
    next_shard: AtomicUsize,
    /// The number of streams of each connected buyer.
    connected: Mutex<BTreeMap<Arc<str>, usize>>,
    reloads: UnboundedSender<Reload>,
    requested: Mutex<Option<UnboundedReceiver<Reload>>>,
}

/// A request to read the choices of a buyer again.
#[derive(Debug)]
struct Reload {
    buyer: Arc<str>,
    /// Notified once the shards have them.
    done: Option<oneshot::Sender<()>>,
}

/// Counts a stream of a buyer until it is dropped.
#[derive(Debug)]
pub(super) struct Connected {
    hub: NotificationHub,
    buyer: Arc<str>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connected = self.hub.connected();
        if let Some(streams) = connected.get_mut(&self.buyer) {
            *streams -= 1;
            if *streams == 0 {
                connected.remove(&self.buyer);
            }
        }
    }
}

impl NotificationHub {
    /// Returns a hub and the inboxes of its shards.
    pub(super) fn with_inboxes(shards: usize) -> (Self, Vec<UnboundedReceiver<Message>>) {
        let (inboxes, receivers) = (0..shards).map(|_| unbounded_channel()).unzip();
        let (reloads, requested) = unbounded_channel();
        let hub = Hub {
            head: watch::Sender::new(Position::default()),
            inboxes,
            next_shard: AtomicUsize::new(0),
            connected: Mutex::default(),
            reloads,
            requested: Mutex::new(Some(requested)),
        };
        (Self(Arc::new(hub)), receivers)
    }

    /// Returns a receiver that is notified when there may be new notifications.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.0.head.subscribe()
    }

    /// Counts a stream of a buyer. From then on its choices are kept up to date.
    pub(super) fn connect(&self, buyer_id: &BuyerId) -> Connected {
        let buyer = buyer_id.comparable();
        *self.connected().entry(Arc::clone(&buyer)).or_default() += 1;
        let hub = self.clone();
        Connected { hub, buyer }
    }

    /// Assigns a stream to a shard. Its choices are read once more, because they may have changed
    /// between their first read and now.
    pub(super) fn assign(&self, subscriber: Subscriber) {
        let buyer = subscriber.buyer();
        let turn = self.0.next_shard.fetch_add(1, Ordering::Relaxed);
        let inbox = &self.0.inboxes[turn % self.0.inboxes.len()];
        if let Err(closed) = inbox.send(Message::Add(Box::new(subscriber))) {
            if let Message::Add(subscriber) = closed.0 {
                subscriber.end();
            }
            return;
        }
        let _stopping = self.0.reloads.send(Reload { buyer, done: None });
    }

    /// Returns once the streams of a buyer know the buyer's choices as they are now.
    pub(crate) async fn reload(&self, buyer_id: &BuyerId) {
        let buyer = buyer_id.comparable();
        if !self.connected().contains_key(&buyer) {
            return;
        }
        let (done, is_done) = oneshot::channel();
        let done = Some(done);
        if self.0.reloads.send(Reload { buyer, done }).is_ok() {
            // A failed read is logged, and repeated by the refresh.
            let _late = timeout(MOST_WAIT, is_done).await;
        }
    }

    /// Ends the streams of an erased buyer.
    pub(crate) fn end(&self, buyer_id: &BuyerId) {
        self.send(|| Message::End(buyer_id.comparable()));
    }

    fn send(&self, message: impl Fn() -> Message) {
        for inbox in &self.0.inboxes {
            let _stopping = inbox.send(message());
        }
    }

    fn connected(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, usize>> {
        self.0
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the choices of connected buyers up to date until `stop`. One task reads all of them,
    /// so a shard never replaces a newer state by an older one.
    pub async fn run(self, store: Store, stop: CancellationToken) {
        let requested = self.0.requested.lock();
        let requested = requested.unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut requested) = requested else {
            return;
        };
        let mut ticks = interval(REFRESH_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refreshed: Option<Arc<str>> = None;
        let mut is_away = false;
        loop {
            let (mut buyers, mut waiting) = (BTreeSet::new(), vec![]);
            tokio::select! {
                () = stop.cancelled() => return,
                Some(first) = requested.recv() => {
                    let mut next = Some(first);
                    while let Some(Reload { buyer, done }) = next {
                        buyers.insert(buyer);
                        waiting.extend(done);
                        next = match buyers.len() < MOST_PER_READ {
                            true => requested.try_recv().ok(),
                            false => None,
                        };
                    }
                }
                _ = ticks.tick() => {
                    buyers.extend(self.part_after(refreshed.as_ref()));
                    refreshed = buyers.last().cloned();
                }
            }
            let buyers: Vec<Arc<str>> = buyers.into_iter().collect();
            for part in buyers.chunks(MOST_PER_READ) {
                match self.read(&store, part).await {
                    Ok(()) => is_away = false,
                    Err(error) if !std::mem::replace(&mut is_away, true) => {
                        warn!(%error, "cannot read whom buyers follow; retrying");
                    }
                    Err(_) => {}
                }
            }
            for done in waiting {
                let _gone = done.send(());
            }
        }
    }

    /// Returns the next part of the connected buyers: all of them in [`REFRESH`].
    fn part_after(&self, last: Option<&Arc<str>>) -> Vec<Arc<str>> {
        let connected = self.connected();
        let parts = usize::try_from(REFRESH.as_secs() / REFRESH_TICK.as_secs()).unwrap_or(1);
        let most = connected.len().div_ceil(parts.saturating_sub(1).max(1));
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = connected.range::<Arc<str>, _>((from, Bound::Unbounded));
        next.take(most)
            .map(|(buyer, _)| Arc::clone(buyer))
            .collect()
    }

    async fn read(&self, store: &Store, buyers: &[Arc<str>]) -> Result<(), sqlx::Error> {
        let mut found = store.choices(buyers).await?;
        for buyer in buyers {
            // Absent: the buyer has none any more.
            let choices: Choices = found.remove(buyer).unwrap_or_default();
            let choices = Arc::new(choices);
            self.send(|| Message::Choices(Arc::clone(buyer), Arc::clone(&choices)));
        }
        Ok(())
    }
}

/// After the notifications and the views, which the shards read.
impl Observer for NotificationHub {
    fn committed(&mut self, committed: &Arc<Committed>) {
        self.0.head.send_replace(committed.head.position);
    }
}
