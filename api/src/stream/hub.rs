//! Collects changed drops and serializes them, once for all subscribers; and the changed orders
//! that anyone watches, which each of their subscribers reads.
//!
//! The hub broadcasts changes to the shards as one [`Tick`] as soon as they happen, and then
//! gathers changes for [`SHORTEST`]. Each shard decides how often it sends to its subscribers
//! ([`super::shard`]). A tick counts as one, however many drops it contains, so that a shop with a
//! thousand changing drops does not make its subscribers resync.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_broadcast::{InactiveReceiver, Receiver, Sender};
use bytes::{BufMut, Bytes, BytesMut};
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
use super::subjects::Subjects;
use super::subscriber::{CompleteUpTo, Watched};
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

/// The drops that changed within one interval, serialized for any number of subscribers.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Its number: 1, 2, 3 … A shard that knows one number knows whether it has missed a tick.
    pub(super) number: u64,
    /// The state of a subscriber that was sent this tick and all before it is complete up to
    /// here.
    pub(super) complete: CompleteUpTo,
    /// One for each changed drop, sorted by drop id.
    frames: Vec<Frame>,
    /// The watched orders that changed, sorted.
    orders: Box<[OrderId]>,
    /// The bytes of all frames, each as a chunk ([`Framing::Chunked`]): for the staff.
    all: Bytes,
    /// Those of the drops that the public lists, as it sees them: the same bytes, if it sees
    /// everything.
    all_public: Bytes,
}

#[derive(Debug)]
struct Frame {
    drop_id: DropId,
    /// Its index in the tick.
    index: usize,
    /// Set if the drop is new to subscribers of new drops.
    new: Option<NewAt>,
    /// A part of the tick's bytes: one chunk.
    bytes: Bytes,
    public: PublicFrame,
    is_listed: bool,
}

/// The frame of a drop as the public sees it.
#[derive(Debug, Clone)]
enum PublicFrame {
    Same,
    /// With a level in the stead of numbers.
    Other(Bytes),
    /// The drop is hidden, or its public state has not changed: a frame would show that units are
    /// held.
    Absent,
}

impl Frame {
    /// Returns the bytes for a reader; `None` if there is nothing for them.
    fn of(&self, viewer: Viewer) -> Option<&Bytes> {
        match (viewer, &self.public) {
            (Viewer::Staff, _) | (Viewer::Public, PublicFrame::Same) => Some(&self.bytes),
            (Viewer::Public, PublicFrame::Other(bytes)) => Some(bytes),
            (Viewer::Public, PublicFrame::Absent) => None,
        }
    }

    fn is_listed_for(&self, viewer: Viewer) -> bool {
        viewer == Viewer::Staff || self.is_listed
    }
}

/// A frame that is not a part of a tick yet.
struct Rendered {
    drop_id: DropId,
    /// Its bytes within those of the tick.
    range: Range<usize>,
    public: PublicFrame,
    is_listed: bool,
}

/// The point from which on a drop counts as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewAt {
    /// Scheduled by the event at this position: not new to a subscriber whose state includes it.
    Scheduled(Position),
    /// Readmitted from quarantine: new to every subscriber.
    Readmitted,
}

impl NewAt {
    /// Returns true if the drop is new to a subscriber that has been sent everything up to `sent`.
    fn is_after(self, sent: Option<Position>) -> bool {
        match self {
            Self::Scheduled(position) => sent.is_none_or(|sent| position > sent),
            Self::Readmitted => true,
        }
    }
}

/// The changes since the last tick.
#[derive(Debug, Default)]
pub(super) struct Changed {
    drops: BTreeSet<DropId>,
    /// The drops among them that were scheduled or readmitted.
    new: BTreeMap<DropId, NewAt>,
    /// The drops among them that started or ended.
    turned: BTreeSet<DropId>,
    /// The watched orders that changed.
    orders: BTreeSet<OrderId>,
    /// The holds that were refunded, whose orders may be watched.
    refunded: Vec<HoldId>,
    /// Every change up to this position is among them or was in an earlier tick.
    position: Position,
    /// The `position` of the tick before.
    before: Position,
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
    fn public_frame(&self, drop: &DropView, id: Position, now: Timestamp) -> PublicFrame {
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

impl Tick {
    fn of(views: &Views, changed: &Changed, now: Timestamp) -> Self {
        let complete = CompleteUpTo {
            position: changed.position,
            at: now,
        };
        let drops = changed
            .drops
            .iter()
            .filter_map(|&drop_id| views.drop(drop_id));
        let (mut all, mut rendered) = (BytesMut::new(), vec![]);
        let mut new = changed.new.clone();
        for (drop, id) in in_order(drops.collect(), changed.before, complete) {
            let start = all.len();
            Framing::Chunked.write(&mut all, |to| {
                write_frame(to, Viewer::Staff, &drop, id, now);
            });
            if let Some(listed_at) = drop.listed_at.filter(|at| *at > changed.before) {
                new.entry(drop.drop_id)
                    .or_insert(NewAt::Scheduled(listed_at));
            }
            rendered.push(Rendered {
                drop_id: drop.drop_id,
                range: start..all.len(),
                public: changed.public_frame(&drop, id, now),
                is_listed: drop.row.terms.are_listed(),
            });
        }
        Self::from_parts(complete, rendered, &new, all.freeze())
    }

    fn from_parts(
        complete: CompleteUpTo,
        rendered: Vec<Rendered>,
        new: &BTreeMap<DropId, NewAt>,
        all: Bytes,
    ) -> Self {
        let frame = |(index, rendered): (usize, Rendered)| Frame {
            drop_id: rendered.drop_id,
            index,
            new: new.get(&rendered.drop_id).copied(),
            bytes: all.slice(rendered.range),
            public: rendered.public,
            is_listed: rendered.is_listed,
        };
        let mut frames: Vec<Frame> = rendered.into_iter().enumerate().map(frame).collect();
        let shows_all =
            |frame: &Frame| frame.is_listed && matches!(frame.public, PublicFrame::Same);
        let all_public = if frames.iter().all(shows_all) {
            all.clone()
        } else {
            let listed = frames.iter().filter(|frame| frame.is_listed);
            join(
                listed.filter_map(|frame| frame.of(Viewer::Public)),
                Framing::Chunked,
            )
        };
        frames.sort_unstable_by_key(|frame| frame.drop_id);
        Self {
            number: 0,
            complete,
            frames,
            orders: Box::default(),
            all,
            all_public,
        }
    }

    /// A tick without drops.
    #[cfg(test)]
    pub(super) fn empty(number: u64) -> Self {
        let complete = CompleteUpTo {
            position: Position(number),
            at: Timestamp::from_millis(0),
        };
        Self {
            number,
            complete,
            frames: vec![],
            orders: Box::default(),
            all: Bytes::new(),
            all_public: Bytes::new(),
        }
    }

    /// A tick of `size` bytes.
    #[cfg(test)]
    pub(super) fn of_size(number: u64, size: usize) -> Self {
        Self {
            all: vec![b' '; size].into(),
            ..Self::empty(number)
        }
    }

    /// Returns the size of all frames in bytes.
    pub(super) fn size(&self) -> usize {
        self.all.len()
    }

    /// Returns true if the tick contains `drop_id`.
    pub(crate) fn contains(&self, drop_id: DropId) -> bool {
        self.frame_of(drop_id).is_some()
    }

    pub(super) const fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Returns true if `order_id` is watched and changed.
    pub(super) fn contains_order(&self, order_id: OrderId) -> bool {
        self.orders.binary_search(&order_id).is_ok()
    }

    fn frame_of(&self, drop_id: DropId) -> Option<&Frame> {
        let index = self
            .frames
            .binary_search_by_key(&drop_id, |frame| frame.drop_id);
        index.ok().map(|index| &self.frames[index])
    }
}

/// Returns the newest state of each watched drop in `ticks`, oldest tick first.
///
/// A subscriber that fell behind is sent a drop that changed many times only once. Frames are in
/// the order of their ticks, so that an id never acknowledges a tick whose other frames are still
/// to be sent. A single tick is returned unchanged.
///
/// A subscriber of new drops is sent those scheduled after `sent`, the position up to which its
/// state is complete: a tick can repeat drops that its first state already included.
pub(super) fn newest(
    ticks: &[&Tick],
    subjects: &Subjects,
    sent: Option<Position>,
    framing: Framing,
) -> Bytes {
    let viewer = subjects.viewer;
    let frames = || ticks.iter().flat_map(|tick| &tick.frames);
    let listed = || frames().filter(|frame| frame.is_listed_for(viewer));
    let drop_ids: Vec<DropId> = match (ticks, &subjects.drops) {
        ([], _) => return Bytes::new(),
        ([tick], Watched::All) if framing == Framing::Chunked => {
            return match viewer {
                Viewer::Staff => tick.all.clone(),
                Viewer::Public => tick.all_public.clone(),
            };
        }
        (_, Watched::All) => {
            let changed: BTreeSet<DropId> = listed().map(|frame| frame.drop_id).collect();
            changed.into_iter().collect()
        }
        (_, Watched::Named(drops)) => drops.to_vec(),
        (_, Watched::NamedAndNew(drops)) => {
            let is_unnamed = |frame: &&Frame| drops.binary_search(&frame.drop_id).is_err();
            let new = listed()
                .filter(|frame| frame.new.is_some_and(|new| new.is_after(sent)))
                .filter(is_unnamed);
            // A drop can be new twice, after a readmission.
            let new: BTreeSet<DropId> = new.map(|frame| frame.drop_id).collect();
            new.into_iter().chain(drops.iter().copied()).collect()
        }
    };
    let newest_of = |drop_id| {
        let mut newest_first = ticks.iter().rev();
        newest_first.find_map(|tick| {
            let frame = tick.frame_of(drop_id)?;
            Some((tick.number, frame.index, frame.of(viewer)?))
        })
    };
    let mut newest: Vec<(u64, usize, &Bytes)> =
        drop_ids.into_iter().filter_map(newest_of).collect();
    newest.sort_unstable_by_key(|(tick, index, _)| (*tick, *index));
    join(newest.into_iter().map(|(_, _, bytes)| bytes), framing)
}

/// Joins frames. One frame is shared; several are copied, so that the socket is written to once.
fn join<'a>(mut frames: impl Iterator<Item = &'a Bytes>, framing: Framing) -> Bytes {
    let Some(first) = frames.next() else {
        return Bytes::new();
    };
    let Some(second) = frames.next() else {
        return framing.of_chunk(first);
    };
    let mut joined = BytesMut::new();
    for frame in [first, second].into_iter().chain(frames) {
        joined.extend_from_slice(&framing.of_chunk(frame));
    }
    joined.freeze()
}

/// Returns drops in the order in which they are sent, each with its SSE id. Drops that are over
/// come first. Their id is `before`, except for the last one, which completes the tick.
///
/// A subscriber that reconnects is sent every drop that is not over, whatever its id; a drop that
/// is over only if its last event may be newer than the id. So an id acknowledges drops that are
/// over, and must not acknowledge one that was not sent yet: a stream may be cut between any two
/// frames.
pub(super) fn in_order(
    mut drops: Vec<DropView>,
    before: Position,
    complete: CompleteUpTo,
) -> impl Iterator<Item = (DropView, Position)> {
    let is_over = |drop: &DropView| drop.row.status(complete.at).is_over();
    drops.sort_by_key(|drop| !is_over(drop));
    let last_over = drops.partition_point(is_over);
    let id_at = move |index: usize| {
        if index + 1 < last_over {
            before
        } else {
            complete.position
        }
    };
    (0..).map(id_at).zip(drops).map(|(id, drop)| (drop, id))
}

/// Writes one `drop` event with the whole drop, as `viewer` sees it.
pub(super) fn write_frame(
    to: &mut BytesMut,
    viewer: Viewer,
    drop: &DropView,
    position: Position,
    now: Timestamp,
) {
    to.extend_from_slice(format!("event: drop\nid: {position}\ndata: ").as_bytes());
    if let Err(error) = serde_json::to_writer(to.writer(), &viewer.body(drop, now)) {
        // Not expected: the body consists of texts and numbers, and is written to memory.
        tracing::error!(%error, drop.id = %drop.drop_id, "cannot serialize a drop for the stream");
    }
    to.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> DropId {
        DropId(uuid::Uuid::from_u128(number))
    }

    /// A text that begins with `new` stands for a drop that was scheduled since the previous
    /// tick.
    fn tick(position: u64, frames: &[(u128, &'static str)]) -> Tick {
        let (mut all, mut rendered) = (BytesMut::new(), vec![]);
        let mut new = BTreeMap::new();
        for (drop, text) in frames {
            let start = all.len();
            if text.starts_with("new") {
                new.insert(id(*drop), NewAt::Scheduled(Position(position)));
            }
            Framing::Chunked.write(&mut all, |to| to.extend_from_slice(text.as_bytes()));
            rendered.push(Rendered {
                drop_id: id(*drop),
                range: start..all.len(),
                public: PublicFrame::Same,
                is_listed: true,
            });
        }
        let complete = CompleteUpTo {
            position: Position(position),
            at: Timestamp::from_millis(0),
        };
        Tick {
            number: position,
            ..Tick::from_parts(complete, rendered, &new, all.freeze())
        }
    }

    fn sent(ticks: &[Tick], watched: &Subjects, framing: Framing) -> Bytes {
        newest(&ticks.iter().collect::<Vec<_>>(), watched, None, framing)
    }

    fn named(drops: &[u128]) -> Subjects {
        let drops = drops.iter().copied().map(id).collect();
        Subjects::drops(Watched::Named(drops))
    }

    fn all_drops() -> Subjects {
        Subjects::drops(Watched::All)
    }

    #[test]
    fn subscriber_that_keeps_up_gets_the_shared_bytes() {
        let ticks = [tick(1, &[(1, "a1;"), (2, "b1;")])];
        let all = sent(&ticks, &all_drops(), Framing::Chunked);
        assert_eq!(all, "3\r\na1;\r\n3\r\nb1;\r\n");
        assert_eq!(all.as_ptr(), ticks[0].all.as_ptr(), "not copied");
        let one = sent(&ticks, &named(&[2]), Framing::Chunked);
        assert_eq!(one, "3\r\nb1;\r\n");
        let frame = &ticks[0].frames[1].bytes;
        assert_eq!(one.as_ptr(), frame.as_ptr(), "not copied");
        let plain = sent(&ticks, &named(&[2]), Framing::Plain);
        assert_eq!(plain, "b1;");
        assert_eq!(plain.as_ptr(), frame[3..].as_ptr(), "not copied either");
        assert!(sent(&ticks, &named(&[3]), Framing::Chunked).is_empty());
    }

    #[test]
    fn subscriber_that_fell_behind_gets_the_newest_state_of_each_drop_once() {
        let ticks = [
            tick(1, &[(1, "a1;"), (2, "b1;")]),
            tick(2, &[(1, "a2;"), (3, "c2;")]),
            tick(3, &[(1, "a3;")]),
        ];
        let two = named(&[1, 2]);
        assert_eq!(sent(&ticks, &all_drops(), Framing::Plain), "b1;c2;a3;");
        assert_eq!(sent(&ticks, &two, Framing::Plain), "b1;a3;");
        assert_eq!(sent(&ticks[..2], &named(&[1]), Framing::Plain), "a2;");
        assert_eq!(
            sent(&ticks, &two, Framing::Chunked),
            "3\r\nb1;\r\n3\r\na3;\r\n"
        );
    }

    #[test]
    fn subscriber_of_new_drops_gets_the_newest_of_each_and_of_named_ones() {
        let ticks = [
            tick(1, &[(1, "a1;"), (2, "b1;"), (3, "new c1;")]),
            tick(2, &[(2, "b2;"), (3, "c2;"), (4, "new d2;")]),
        ];
        let watched = Subjects::drops(Watched::NamedAndNew([id(1)].into()));
        let all = sent(&ticks, &watched, Framing::Plain);
        assert_eq!(all, "a1;c2;new d2;");
        let later = sent(&ticks[1..], &watched, Framing::Plain);
        assert_eq!(
            later, "new d2;",
            "drop 3 was not new in this tick, and is not named"
        );
        assert_eq!(sent(&ticks, &named(&[1]), Framing::Plain), "a1;");
    }

    #[test]
    fn drop_in_the_subscribers_first_state_is_not_new_to_it() {
        let ticks = [tick(7, &[(1, "a;"), (2, "new b;")])];
        let ticks: Vec<&Tick> = ticks.iter().collect();
        let watched = Subjects::drops(Watched::NamedAndNew([id(1)].into()));
        let after = |sent| newest(&ticks, &watched, Some(Position(sent)), Framing::Plain);
        assert_eq!(after(6), "a;new b;");
        assert_eq!(
            after(7),
            "a;",
            "its first state was taken at 7, without drop 2"
        );
    }

    #[test]
    fn readmitted_drop_is_new_to_every_subscriber() {
        assert!(NewAt::Readmitted.is_after(Some(Position(9))));
    }
}
