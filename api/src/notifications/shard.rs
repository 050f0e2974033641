//! A shard of the streams of notifications: one task that finds the readers of each notification
//! and writes to their sockets.
//!
//! Promise: the cost of a notification is that of its readers. The notifications of one position
//! are one group: only the last of a reader's group has the position as its `id:`, the others the
//! position before, so a stream that is cut within a group resumes with the whole group. A slow
//! socket delays no other.
//! Limit: a hang-up is noticed within a second.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ::catalogue::notifications::{Audience, Notification, Notifications};
use ::catalogue::store::{Actor, Choices};
use bytes::{BufMut, Bytes, BytesMut};
use domain::values::{BuyerId, CatalogueId, DropId, Position};
use projections::views::Views;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::hub::{Connected, NotificationHub};
use super::queue::Queue;
use super::{NotificationBody, sources};
use crate::connections::Socket;
use crate::stream::framing::Framing;
use crate::stream::{HEARTBEAT_INTERVAL, Permit, Pipe};

/// Streams that are written to before other tasks get a turn.
const STRIDE: usize = 64;
/// Delay before sockets that were full are tried again.
const FULL_SOCKET_RETRY: Duration = Duration::from_millis(10);
/// Interval at which hang-ups are noticed.
const HANG_UP_CHECK: Duration = Duration::from_secs(1);
/// The most notifications that a stream which resumes is sent: the newest.
const MOST_MISSED: usize = 1_000;

/// A stream of one buyer.
#[derive(Debug)]
pub(super) struct Subscriber<P = Socket> {
    actor: Actor,
    choices: Choices,
    /// See [`NotificationBody::new`].
    sees_ids: bool,
    /// The client has everything up to here.
    complete: Position,
    queue: Queue<P>,
    _connected: Connected,
    _permit: Permit,
}

impl<P: Pipe> Subscriber<P> {
    pub(super) fn new(
        (actor, choices): (Actor, Choices),
        sees_ids: bool,
        complete: Position,
        (pipe, framing): (P, Framing),
        (connected, permit): (Connected, Permit),
    ) -> Self {
        Self {
            actor,
            choices,
            sees_ids,
            complete,
            queue: Queue::new(pipe, framing),
            _connected: connected,
            _permit: permit,
        }
    }

    /// Returns the buyer as buyers are compared.
    pub(super) fn buyer(&self) -> Arc<str> {
        self.actor.buyer_id.comparable()
    }

    pub(super) fn end(self) {
        self.queue.end();
    }
}

/// A message to a shard.
#[derive(Debug)]
pub(super) enum Message<P = Socket> {
    Add(Box<Subscriber<P>>),
    /// The present choices of a buyer.
    Choices(Arc<str>, Arc<Choices>),
    /// The buyer was erased.
    End(Arc<str>),
}

/// The number of a stream in its shard.
type Id = u64;

/// An index of streams, with the position after which each is notified.
type Index<K> = HashMap<K, BTreeMap<Id, Position>>;

/// The streams of a shard, without a clock.
#[derive(Debug)]
struct Subscribers<P> {
    notifications: Notifications,
    views: Views,
    /// Everything up to here was sent.
    seen: Position,
    next: Id,
    all: BTreeMap<Id, Subscriber<P>>,
    by_creator: Index<CatalogueId>,
    by_drop: Index<DropId>,
    by_buyer: HashMap<Arc<str>, BTreeSet<Id>>,
    /// Streams with bytes to send.
    unsent: BTreeSet<Id>,
}

/// One task's streams, its inbox and the position of the log.
#[derive(Debug)]
pub struct NotificationShard {
    inbox: UnboundedReceiver<Message>,
    head: watch::Receiver<Position>,
    subscribers: Subscribers<Socket>,
}

/// The frames of one position, serialized once for each form in which they are sent.
struct Group<'a> {
    all: &'a [Arc<Notification>],
    chunks: HashMap<(usize, Form), Bytes>,
}

impl Group<'_> {
    /// Returns a frame as one chunk. Only the last frame of a reader acknowledges the position.
    fn chunk(&mut self, index: usize, form: Form, views: &Views) -> Bytes {
        let notification = &self.all[index];
        let chunk = self.chunks.entry((index, form));
        let chunk = chunk.or_insert_with(|| frame(notification, form, views));
        chunk.clone()
    }
}

/// The form of a frame for one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    /// The last frame of the reader at its position, whose id is the position.
    is_last: bool,
    sees_ids: bool,
}

fn frame(notification: &Notification, form: Form, views: &Views) -> Bytes {
    let Position(position) = notification.position;
    let id = position - u64::from(!form.is_last);
    let kind = notification.kind.name();
    let body = NotificationBody::new(notification, views, form.sees_ids);
    let mut chunk = BytesMut::new();
    Framing::Chunked.write(&mut chunk, |to| {
        to.extend_from_slice(format!("event: {kind}\nid: {id}\ndata: ").as_bytes());
        if let Err(error) = serde_json::to_writer(to.writer(), &body) {
            // Not expected: the body consists of texts and numbers, and is written to memory.
            tracing::error!(%error, position, "cannot serialize a notification");
        }
        to.extend_from_slice(b"\n\n");
    });
    chunk.freeze()
}

fn enter<K: Hash + Eq + Clone>(index: &mut Index<K>, id: Id, chosen: &[(K, Position)]) {
    for (key, after) in chosen {
        index.entry(key.clone()).or_default().insert(id, *after);
    }
}

fn leave<K: Hash + Eq>(index: &mut Index<K>, id: Id, chosen: &[(K, Position)]) {
    for (key, _) in chosen {
        if let Some(ids) = index.get_mut(key) {
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(key);
            }
        }
    }
}

impl<P: Pipe> Subscribers<P> {
    fn new(notifications: Notifications, views: Views, seen: Position) -> Self {
        Self {
            notifications,
            views,
            seen,
            next: 0,
            all: BTreeMap::new(),
            by_creator: Index::new(),
            by_drop: Index::new(),
            by_buyer: HashMap::new(),
            unsent: BTreeSet::new(),
        }
    }

    fn receive(&mut self, message: Message<P>) {
        match message {
            Message::Add(subscriber) => self.add(*subscriber),
            Message::Choices(buyer, choices) => {
                let ids = self.by_buyer.get(&buyer).cloned().unwrap_or_default();
                for id in ids {
                    self.choose(id, &choices);
                }
            }
            Message::End(buyer) => {
                for id in self.by_buyer.get(&buyer).cloned().unwrap_or_default() {
                    if let Some(subscriber) = self.remove(id) {
                        subscriber.end();
                    }
                }
            }
        }
    }

    /// Adds a stream, and sends the notifications that it missed.
    fn add(&mut self, mut subscriber: Subscriber<P>) {
        let id = self.next;
        self.next += 1;
        let choices = subscriber.choices.clone();
        enter(&mut self.by_creator, id, &choices.creators);
        enter(&mut self.by_drop, id, &choices.drops);
        self.by_buyer
            .entry(subscriber.buyer())
            .or_default()
            .insert(id);
        if subscriber.complete < self.seen {
            let of = sources(&self.views, &subscriber.actor, choices);
            let after = subscriber.complete;
            let missed = self
                .notifications
                .between(&of, after, self.seen, MOST_MISSED);
            for group in missed.chunk_by(|one, other| one.position == other.position) {
                for (index, notification) in group.iter().enumerate() {
                    let form = Form {
                        is_last: index + 1 == group.len(),
                        sees_ids: subscriber.sees_ids,
                    };
                    let chunk = frame(notification, form, &self.views);
                    subscriber.queue.push(&chunk);
                }
            }
            subscriber.complete = self.seen;
        }
        self.all.insert(id, subscriber);
        self.flush_one(id);
    }

    /// Replaces the choices of a stream.
    fn choose(&mut self, id: Id, choices: &Choices) {
        let Some(subscriber) = self.all.get_mut(&id) else {
            return;
        };
        let choices = choices.clone().of(&subscriber.actor);
        let before = std::mem::replace(&mut subscriber.choices, choices);
        leave(&mut self.by_creator, id, &before.creators);
        leave(&mut self.by_drop, id, &before.drops);
        enter(&mut self.by_creator, id, &subscriber.choices.creators);
        enter(&mut self.by_drop, id, &subscriber.choices.drops);
    }

    fn remove(&mut self, id: Id) -> Option<Subscriber<P>> {
        let subscriber = self.all.remove(&id)?;
        leave(&mut self.by_creator, id, &subscriber.choices.creators);
        leave(&mut self.by_drop, id, &subscriber.choices.drops);
        let buyer = subscriber.buyer();
        if let Some(ids) = self.by_buyer.get_mut(&buyer) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_buyer.remove(&buyer);
            }
        }
        self.unsent.remove(&id);
        Some(subscriber)
    }

    /// Queues the new notifications for their readers.
    fn announce(&mut self) {
        if self.all.is_empty() {
            self.seen = self.notifications.position();
            return;
        }
        let (found, position) = self.notifications.since(self.seen);
        for group in found.chunk_by(|one, other| one.position == other.position) {
            self.announce_group(group);
        }
        self.seen = position;
    }

    /// Queues the notifications of one position.
    fn announce_group(&mut self, all: &[Arc<Notification>]) {
        let mut readers = BTreeMap::<Id, Vec<usize>>::new();
        for (index, notification) in all.iter().enumerate() {
            for id in self.readers(notification) {
                readers.entry(id).or_default().push(index);
            }
        }
        let chunks = HashMap::new();
        let mut group = Group { all, chunks };
        for (id, indexes) in readers {
            let Some(subscriber) = self.all.get_mut(&id) else {
                continue;
            };
            // The client has it already, from a server that was ahead of this one.
            if all[0].position <= subscriber.complete {
                continue;
            }
            for (nth, &index) in indexes.iter().enumerate() {
                let form = Form {
                    is_last: nth + 1 == indexes.len(),
                    sees_ids: subscriber.sees_ids,
                };
                let chunk = group.chunk(index, form, &self.views);
                subscriber.queue.push(&chunk);
            }
            self.unsent.insert(id);
        }
    }

    /// Returns the streams whose buyers are notified.
    fn readers(&self, notification: &Notification) -> BTreeSet<Id> {
        let buyer_id = match &notification.audience {
            Audience::Drop(drop_id, creator_id) => {
                let creator_id = creator_id.as_ref();
                let followers = creator_id.and_then(|id| self.by_creator.get(id));
                let reminded = self.by_drop.get(drop_id);
                let chosen = followers.into_iter().chain(reminded).flatten();
                let chosen = chosen.filter(|&(_, after)| notification.position > *after);
                return chosen.map(|(id, _)| *id).collect();
            }
            Audience::Buyer(drop_id, buyer) => self.views.buyer_id(*drop_id, *buyer),
            Audience::Order(order_id) => self.views.buyer_of_order(*order_id),
        };
        let Some(buyer_id) = buyer_id else {
            return BTreeSet::new();
        };
        let ids = self.by_buyer.get(&buyer_id.comparable());
        let ids = ids.into_iter().flatten().copied();
        ids.filter(|id| self.is_of(*id, &buyer_id)).collect()
    }

    /// Returns true if the stream is of this buyer, and not of another account that only case
    /// folding makes equal.
    fn is_of(&self, id: Id, buyer_id: &BuyerId) -> bool {
        self.all.get(&id).is_some_and(|subscriber| {
            let Actor {
                buyer_id: own,
                is_account,
            } = &subscriber.actor;
            !is_account || own.spelling() == buyer_id.spelling()
        })
    }

    fn flush_one(&mut self, id: Id) {
        let Some(subscriber) = self.all.get_mut(&id) else {
            return;
        };
        match subscriber.queue.flush() {
            Ok(true) => {
                self.unsent.remove(&id);
            }
            Ok(false) => {
                self.unsent.insert(id);
            }
            Err(_) => self.abandon(id),
        }
    }

    fn abandon(&mut self, id: Id) {
        if let Some(subscriber) = self.remove(id) {
            subscriber.queue.abandon();
        }
    }

    fn heartbeat_one(&mut self, id: Id) {
        let beat = self.all.get_mut(&id);
        match beat.map(|subscriber| subscriber.queue.heartbeat()) {
            Some(Ok(false)) => {
                self.unsent.insert(id);
            }
            Some(Err(_)) => self.abandon(id),
            Some(Ok(true)) | None => {}
        }
    }
}

impl NotificationShard {
    pub(super) fn new(
        hub: &NotificationHub,
        notifications: Notifications,
        views: Views,
        inbox: UnboundedReceiver<Message>,
    ) -> Self {
        Self {
            inbox,
            head: hub.watch(),
            subscribers: Subscribers::new(notifications, views, Position::default()),
        }
    }

    /// Serves streams until `stop`, then ends them.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.serve()).await;
        self.inbox.close();
        while let Some(message) = self.inbox.recv().await {
            if let Message::Add(subscriber) = message {
                subscriber.end();
            }
        }
        for subscriber in std::mem::take(&mut self.subscribers.all).into_values() {
            subscriber.end();
        }
    }

    async fn serve(&mut self) {
        let [mut hang_up_check, mut heartbeats] =
            [interval(HANG_UP_CHECK), interval(HEARTBEAT_INTERVAL)];
        hang_up_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.subscribers.announce();
        loop {
            tokio::select! {
                biased;
                _ = heartbeats.tick() => self.each(Subscribers::heartbeat_one).await,
                Some(message) = self.inbox.recv() => self.subscribers.receive(message),
                changed = self.head.changed() => if changed.is_err() { return },
                _ = hang_up_check.tick() => self.each(Subscribers::flush_one).await,
                () = sleep(FULL_SOCKET_RETRY), if !self.subscribers.unsent.is_empty() => {}
            }
            // Choices first: a buyer that follows a creator is sent the notifications that follow.
            while let Ok(message) = self.inbox.try_recv() {
                self.subscribers.receive(message);
            }
            self.head.mark_unchanged();
            self.subscribers.announce();
            let unsent = self.subscribers.unsent.iter().copied().collect();
            self.each_of(unsent, Subscribers::flush_one).await;
        }
    }

    async fn each(&mut self, with: fn(&mut Subscribers<Socket>, Id)) {
        let all = self.subscribers.all.keys().copied().collect();
        self.each_of(all, with).await;
    }

    async fn each_of(&mut self, ids: Vec<Id>, with: fn(&mut Subscribers<Socket>, Id)) {
        for stride in ids.chunks(STRIDE) {
            for id in stride {
                with(&mut self.subscribers, *id);
            }
            yield_now().await;
        }
    }
}
