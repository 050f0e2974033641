//! Collects changed drops and serializes them, once for all subscribers; and the changed orders
//! that anyone watches, which each of their subscribers reads.
//!
//! The hub broadcasts changes to the shards as one [`Tick`] as soon as they happen, and then
//! gathers changes for [`SHORTEST`]. Each shard decides how often it sends to its subscribers
//! ([`super::shard`]). A tick counts as one, however many drops it contains, so that a shop with a
//! thousand changing drops does not make its subscribers resync.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_broadcast::{InactiveReceiver, Receiver, Sender};
use bytes::BytesMut;
use domain::DropEvent;
use domain::values::{DropId, HoldId, OrderId, Position, Timestamp};
use engine::{EngineHandle, Observer};
use infrastructure::codec::RecordedEvent;
use infrastructure::erasure::Erased;
use infrastructure::feed::{Committed, Readmitted};
use projections::views::{DropView, Views};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::framing::Framing;
use super::orders::Registry;
use super::present::Present;
use super::shard::Subscriber;
use super::tick::{NewAt, PublicFrame, Tick, write_frame};
use crate::connections::AddressPermit;
use crate::viewer::Viewer;

/// Number of ticks that a subscriber may lag before it is resynchronized.
pub(super) const BACKLOG: usize = 16;
/// The shortest time between two ticks: a state that waits to be sent is older than the log by at
/// most this.
const SHORTEST: Duration = Duration::from_millis(5);
/// The longest time between two checks for drops that start or end, and for watched orders that
/// are over.
const CLOCK_CHECK: Duration = Duration::from_secs(1);

/// The changes since the last tick.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) drops: BTreeSet<DropId>,
    /// The drops among them that were scheduled or readmitted.
    pub(super) new: BTreeMap<DropId, NewAt>,
    /// The drops among them that started or ended.
    turned: BTreeSet<DropId>,
    /// The watched orders that changed.
    orders: BTreeSet<OrderId>,
    /// The holds that were refunded, whose orders may be watched.
    refunded: Vec<HoldId>,
    /// Every change up to this position is among them or was in an earlier tick.
    pub(super) position: Position,
    /// The `position` of the tick before.
    pub(super) before: Position,
}

/// Broadcasts changes to the shards, and assigns subscribers to them. Clones are the same hub.
#[derive(Debug, Clone)]
pub struct StreamHub(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    sender: Sender<Arc<Tick>>,
    /// Keeps the channel open while there are no shards.
    _keeps_open: InactiveReceiver<Arc<Tick>>,
    changed: Mutex<Changed>,
    present: Arc<Present>,
    watched_orders: Registry,
    wake: Notify,
    inbox_senders: Vec<UnboundedSender<Subscriber>>,
    next_shard: AtomicUsize,
    watchers: AtomicUsize,
    max_subscribers: usize,
}

impl StreamHub {
    /// Returns a hub for at most `max_subscribers`, and the inboxes of its shards.
    #[must_use]
    pub(super) fn with_inboxes(
        max_subscribers: usize,
        shards: usize,
    ) -> (Self, Vec<UnboundedReceiver<Subscriber>>) {
        let (mut sender, receiver) = async_broadcast::broadcast(BACKLOG);
        // A slow shard loses ticks; it never delays the others.
        sender.set_overflow(true);
        sender.set_await_active(false);
        let (inbox_senders, inboxes) = (0..shards).map(|_| unbounded_channel()).unzip();
        let hub = Hub {
            sender,
            _keeps_open: receiver.deactivate(),
            changed: Mutex::default(),
            present: Arc::default(),
            watched_orders: Registry::default(),
            wake: Notify::new(),
            inbox_senders,
            next_shard: AtomicUsize::new(0),
            watchers: AtomicUsize::new(0),
            max_subscribers,
        };
        (Self(Arc::new(hub)), inboxes)
    }

    /// Returns the number of connected subscribers.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.0.watchers.load(Ordering::Relaxed)
    }

    /// Shows statuses by the database's clock from now on, as `engine` knows it.
    pub fn follow_clock(&self, engine: EngineHandle) {
        self.0.present.follow_clock(engine);
    }

    /// Publishes changes until `stop`.
    pub async fn publish(self, views: Views, stop: CancellationToken) {
        let mut last_check = self.0.present.now();
        let mut orders_checked = last_check;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = sleep(CLOCK_CHECK) => {}
            }
            self.0.present.forget_old();
            let mut changed = self.take_changed();
            // Read the clock afterwards: all that is recorded up to `now` was recorded
            // before.
            let now = self.0.present.now();
            // Drops that start or end change without an event.
            changed.turned.extend(views.turned(last_check, now));
            changed.drops.extend(&changed.turned);
            last_check = now;
            // So do orders past their deadline, while their expiry cannot be recorded.
            let since_check = (now.millis() - orders_checked.millis()).max(0);
            if u128::from(since_check.unsigned_abs()) >= CLOCK_CHECK.as_millis() {
                let watched = self.0.watched_orders.all();
                let over = views.orders_over(&watched, orders_checked, now);
                changed.orders.extend(over);
                orders_checked = now;
            }
            if self.broadcast(&views, &changed, now) {
                sleep(SHORTEST).await;
            }
        }
    }

    /// Takes the changes since the last call.
    pub(super) fn take_changed(&self) -> Changed {
        let mut changed = self.changed();
        let position = changed.position;
        let next = Changed {
            position,
            before: position,
            ..Changed::default()
        };
        std::mem::replace(&mut *changed, next)
    }

    /// Broadcasts `changed` as a tick; returns false if nothing has changed.
    pub(super) fn broadcast(&self, views: &Views, changed: &Changed, now: Timestamp) -> bool {
        let mut orders = changed.orders.clone();
        let refunded = changed.refunded.iter();
        let refunded = refunded.filter_map(|&hold_id| views.order_of_hold(hold_id));
        orders.extend(self.0.watched_orders.among(refunded));
        if changed.drops.is_empty() && orders.is_empty() {
            return false;
        }
        let mut tick = Tick::of(views, changed, now);
        tick.orders = orders.into_iter().collect();
        // Numbered after serialization: a subscriber that sees this number before it reads
        // the views has missed nothing of the tick.
        tick.number = self.0.present.next_tick();
        // An error means that there are no shards.
        let _no_receiver = self.0.sender.try_broadcast(Arc::new(tick));
        true
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.0
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver of all further ticks.
    pub(super) fn new_receiver(&self) -> Receiver<Arc<Tick>> {
        self.0.sender.new_receiver()
    }

    /// Returns the present state, which new subscribers share.
    pub(super) fn present(&self) -> &Arc<Present> {
        &self.0.present
    }

    /// Returns the orders that are watched.
    pub(super) fn watched_orders(&self) -> &Registry {
        &self.0.watched_orders
    }

    /// Assigns `subscriber` to the next shard. If that shard has closed, ends the stream here.
    pub(super) fn assign(&self, subscriber: Subscriber) {
        let turn = self.0.next_shard.fetch_add(1, Ordering::Relaxed);
        let inbox = &self.0.inbox_senders[turn % self.0.inbox_senders.len()];
        if let Err(closed) = inbox.send(subscriber) {
            closed.0.end_stream();
        }
    }

    /// Returns a permit for one more subscriber, or `None` at the limit. Dropping the permit
    /// also releases the permit of its address.
    pub(crate) fn try_admit(&self, address_permit: Option<AddressPermit>) -> Option<Permit> {
        let hub = Arc::clone(&self.0);
        let admitted =
            hub.watchers
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |watchers| {
                    (watchers < hub.max_subscribers).then_some(watchers + 1)
                });
        admitted.ok().map(|_| Permit {
            hub,
            _address_permit: address_permit,
        })
    }
}

impl Observer for StreamHub {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let orders = committed.orders.iter().map(|recorded| recorded.order_id);
        let orders = self.0.watched_orders.among(orders);
        let has_watched_orders = !self.0.watched_orders.is_empty();
        let is_quiet = committed.events.is_empty() && orders.is_empty();
        let mut changed = self.changed();
        changed.orders.extend(orders);
        if has_watched_orders {
            changed.refunded.extend(refunded(&committed.events));
        }
        for recorded in &committed.events {
            changed.drops.insert(recorded.drop_id);
            if matches!(
                recorded.event,
                DropEvent::DropScheduled(_) | DropEvent::DropDrafted(_)
            ) {
                let new_at = NewAt::Scheduled(recorded.position);
                changed.new.insert(recorded.drop_id, new_at);
            }
        }
        changed.position = committed.head.position;
        drop(changed);
        if !is_quiet {
            self.0.wake.notify_one();
        }
    }

    /// Publishes the state of watched orders without their buyer.
    fn erased(&mut self, erased: &[Erased]) {
        // The id of an order stands where that of a drop does.
        let ids = erased.iter().map(|erased| OrderId(erased.drop_id.0));
        let orders = self.0.watched_orders.among(ids);
        if !orders.is_empty() {
            self.changed().orders.extend(orders);
            self.0.wake.notify_one();
        }
    }

    /// Publishes the state of a readmitted drop. A drop in quarantine is not sent.
    fn readmitted(&mut self, readmitted: &Readmitted) {
        let mut changed = self.changed();
        changed.drops.insert(readmitted.drop_id);
        changed.new.insert(readmitted.drop_id, NewAt::Readmitted);
        if !self.0.watched_orders.is_empty() {
            changed.refunded.extend(refunded(&readmitted.events));
        }
        drop(changed);
        self.0.wake.notify_one();
    }
}

/// Returns the holds whose purchases these events refund.
fn refunded(events: &[RecordedEvent]) -> impl Iterator<Item = HoldId> {
    events.iter().filter_map(|recorded| {
        let DropEvent::PurchaseRefunded(event) = &recorded.event else {
            return None;
        };
        Some(event.hold_id)
    })
}

/// The right to be one of the concurrent subscribers.
#[derive(Debug)]
pub(crate) struct Permit {
    hub: Arc<Hub>,
    _address_permit: Option<AddressPermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.hub.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Changed {
    /// Returns the frame of a changed drop as the public sees it.
    pub(super) fn public_frame(
        &self,
        drop: &DropView,
        id: Position,
        now: Timestamp,
    ) -> PublicFrame {
        let (viewer, terms) = (Viewer::Public, &drop.row.terms);
        if !viewer.finds(terms) {
            return PublicFrame::Absent;
        }
        if viewer.sees_numbers(terms) {
            return PublicFrame::Same;
        }
        let has_turned = self.turned.contains(&drop.drop_id);
        let is_new = self.new.contains_key(&drop.drop_id);
        if !has_turned && !is_new && drop.shown_at <= self.before {
            return PublicFrame::Absent;
        }
        let mut bytes = BytesMut::new();
        Framing::Chunked.write(&mut bytes, |to| write_frame(to, viewer, drop, id, now));
        PublicFrame::Other(bytes.freeze())
    }
}
