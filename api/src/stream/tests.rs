//! Drops and their subscribers without a server, on a controlled clock.

mod orders;
mod pieces;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_broadcast::{Receiver, TryRecvError};
use domain::DropEvent;
use domain::testing::{
    drop_cancelled, drop_id, drop_opened, hold_placed, second, waitlist_id, waitlist_joined,
    waitlist_left,
};
use domain::values::{DropId, Position, Sequence};
use engine::Observer;
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::Committed;
use infrastructure::log::Head;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use super::entries::WatchedEntries;
use super::framing::Framing;
use super::orders::{Reader, WatchedOrders};
use super::shard::{Subscriber, Subscribers};
use super::subjects::Subjects;
use super::subscriber::{CompleteUpTo, SubscriberState, Watched};
use super::tick::Tick;
use super::*;

/// A socket with limited space, which records every write.
#[derive(Clone)]
struct FakeSocket {
    space: Rc<Cell<usize>>,
    received: Rc<RefCell<Vec<u8>>>,
    is_gone: Rc<Cell<bool>>,
}

impl Pipe for FakeSocket {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.space.get());
        if fits == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.space.set(self.space.get() - fits);
        self.received.borrow_mut().extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    fn discard(&self) {}
}

/// The client's end of a stream.
struct Client {
    socket: FakeSocket,
    first: Vec<u8>,
}

impl Client {
    /// Returns the frames since the last call: their ids, and the units held in each.
    fn received(&mut self) -> Vec<(u64, u64)> {
        let held =
            |(id, data): (u64, serde_json::Value)| (id, data["stock"]["held"].as_u64().unwrap());
        self.frames().into_iter().map(held).collect()
    }

    /// Returns the frames since the last call: their ids and data.
    fn frames(&mut self) -> Vec<(u64, serde_json::Value)> {
        let mut bytes = std::mem::take(&mut self.first);
        bytes.extend(plain(&self.socket.received.take()));
        let text = String::from_utf8(bytes).unwrap();
        let frames = text.split("\n\n").filter(|frame| frame.contains("data: "));
        let read = |frame: &str| {
            let (_, rest) = frame.split_once("id: ").unwrap();
            let (id, data) = rest.split_once("\ndata: ").unwrap();
            (id.parse().unwrap(), serde_json::from_str(data).unwrap())
        };
        frames.map(read).collect()
    }
}

/// Removes the chunk framing; every chunk must be complete.
fn plain(mut bytes: &[u8]) -> Vec<u8> {
    let mut text = vec![];
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let length = std::str::from_utf8(&bytes[..end - 1]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        text.extend_from_slice(&bytes[end + 1..end + 1 + length]);
        bytes = &bytes[end + 1 + length + 2..];
    }
    assert!(bytes.is_empty(), "a frame was cut");
    text
}

/// One drop and one shard, without a server.
struct World {
    hub: StreamHub,
    views: Views,
    ticks: Receiver<Arc<Tick>>,
    subscribers: Subscribers<FakeSocket>,
    count: usize,
    head: u64,
    /// The waitlist entries that the next subscriber watches.
    entries: WatchedEntries,
    /// The orders that it watches.
    orders: WatchedOrders,
}

impl World {
    fn new() -> Self {
        let views = Views::default();
        let (hub, _) = StreamHub::with_inboxes(10, 1);
        let mut world = Self {
            ticks: hub.new_receiver(),
            subscribers: Subscribers::new(views.clone(), &hub),
            views,
            hub,
            count: 0,
            head: 0,
            entries: WatchedEntries::default(),
            orders: WatchedOrders::default(),
        };
        world.record(drop_opened(1000));
        world.sweep();
        world
    }

    /// Records an event and publishes it immediately.
    fn record(&mut self, event: DropEvent) {
        self.commit("d", event);
        self.broadcast();
    }

    fn commit(&mut self, drop: &str, event: DropEvent) {
        self.head += 1;
        let position = Position(self.head);
        let recorded = RecordedEvent {
            position,
            recorded_at: second(0),
            drop_id: drop_id(drop),
            sequence: Sequence(self.head),
            event,
            private: None,
        };
        let head = Head {
            position,
            ..Head::default()
        };
        let committed = Arc::new(Committed {
            events: vec![recorded],
            head,
            ..Committed::default()
        });
        self.views.committed(&committed);
        self.hub.committed(&committed);
    }

    fn broadcast(&self) {
        let changed = self.hub.take_changed();
        self.hub.broadcast(&self.views, &changed, second(0));
    }

    fn hold(&mut self, number: u64) {
        self.record(hold_placed(&format!("h{number}"), 1));
    }

    /// A new subscriber, which is sent the present state.
    fn connect(&mut self) -> (Subscriber<FakeSocket>, Client) {
        self.reconnect(None)
    }

    /// A subscriber that received `last` before, and is sent the present state.
    fn reconnect(&mut self, last: Option<u64>) -> (Subscriber<FakeSocket>, Client) {
        self.subscribe_to(Watched::All, last)
    }

    fn subscribe_to(
        &mut self,
        watched: Watched,
        last: Option<u64>,
    ) -> (Subscriber<FakeSocket>, Client) {
        let permit = self.hub.try_admit(None).unwrap();
        let entries = std::mem::take(&mut self.entries);
        let sent = last.map(|last| CompleteUpTo::up_to(Position(last), &self.views));
        let (hub, views) = (&self.hub, &self.views);
        let framing = Framing::Chunked;
        let subjects = Subjects {
            entries,
            orders: std::mem::take(&mut self.orders),
            ..Subjects::drops(watched)
        };
        let mut subscriber = SubscriberState::new(hub, views, subjects, framing, sent, permit);
        let mut first = vec![];
        while let Some(piece) = subscriber.next_piece(hub.present(), views, Framing::Plain) {
            first.extend_from_slice(&piece);
        }
        let socket = FakeSocket {
            space: Rc::new(Cell::new(usize::MAX)),
            received: Rc::default(),
            is_gone: Rc::default(),
        };
        let client = Client {
            socket: socket.clone(),
            first,
        };
        (Subscriber::new(socket, subscriber), client)
    }

    fn subscribe(&mut self) -> Client {
        let (subscriber, client) = self.connect();
        self.add(subscriber);
        client
    }

    fn add(&mut self, subscriber: Subscriber<FakeSocket>) {
        self.subscribers.add(subscriber);
        self.count += 1;
    }

    fn receive(&mut self) {
        loop {
            match self.ticks.try_recv() {
                Ok(tick) => self.subscribers.receive(tick),
                Err(TryRecvError::Overflowed(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn sweep(&mut self) {
        self.receive();
        self.subscribers.serve(self.count, usize::MAX);
    }

    fn heartbeat(&mut self) {
        self.subscribers.heartbeat(self.count, usize::MAX);
    }
}

#[test]
fn each_sweep_sends_the_newest_state_and_nothing_twice() {
    let mut world = World::new();
    let mut subscriber = world.subscribe();
    assert_eq!(subscriber.received(), [(1, 0)]);
    world.hold(1);
    world.sweep();
    assert_eq!(subscriber.received(), [(2, 1)]);
    for number in 2..=5 {
        world.hold(number);
    }
    world.sweep();
    assert_eq!(subscriber.received(), [(6, 5)]);
    world.sweep();
    assert_eq!(subscriber.received(), [], "nothing twice");
}

#[test]
fn shard_that_misses_more_than_the_backlog_continues_from_the_present_state() {
    for missed in [hub::BACKLOG, hub::BACKLOG + 1, 10 * hub::BACKLOG] {
        let mut world = World::new();
        let mut subscriber = world.subscribe();
        assert_eq!(subscriber.received(), [(1, 0)]);
        let missed = missed as u64;
        for number in 1..=missed {
            world.hold(number);
        }
        world.sweep();
        assert_eq!(subscriber.received(), [(missed + 1, missed)]);
        world.hold(missed + 1);
        world.sweep();
        assert_eq!(
            subscriber.received(),
            [(missed + 2, missed + 1)],
            "and follows"
        );
    }
}

#[test]
fn full_socket_delays_no_other_subscriber_and_then_gets_the_newest() {
    for missed in [1, hub::BACKLOG as u64 + 5] {
        let mut world = World::new();
        let (mut slow, mut quick) = (world.subscribe(), world.subscribe());
        assert_eq!(
            (slow.received(), quick.received()),
            (vec![(1, 0)], vec![(1, 0)])
        );
        slow.socket.space.set(10);
        world.hold(1);
        world.sweep();
        for number in 2..=missed + 1 {
            world.hold(number);
            world.sweep();
        }
        assert_eq!(quick.received().len() as u64, missed + 1);
        slow.socket.space.set(usize::MAX);
        world.sweep();
        // A frame that was begun is finished, because frames are never cut. Then comes
        // the newest.
        assert_eq!(slow.received(), [(2, 1), (missed + 2, missed + 1)]);
    }
}

#[test]
fn cancelled_drop_is_sent_to_lagging_and_returning_but_not_to_new_clients() {
    let mut world = World::new();
    let mut asleep = world.subscribe();
    assert_eq!(asleep.received(), [(1, 0)]);
    let held = hub::BACKLOG as u64 + 5;
    for number in 1..=held {
        world.hold(number);
    }
    world.record(drop_cancelled());
    let last = world.head;
    world.sweep();
    assert_eq!(
        asleep.received(),
        [(last, held)],
        "more was missed than is kept"
    );
    for (sent, frames) in [
        (Some(0), vec![(last, held)]),
        (Some(last - 1), vec![(last, held)]),
        (Some(last), vec![]),
        (Some(last + 1), vec![]),
        (None, vec![]),
    ] {
        let (_, mut client) = world.reconnect(sent);
        assert_eq!(client.received(), frames, "{sent:?}");
    }
}

/// A stream may be cut between any two of its frames, which are `frames` after the id `before`: a
/// client that reconnects with the last id that arrived is sent everything that did not arrive.
#[track_caller]
fn may_be_cut_anywhere(
    world: &mut World,
    before: u64,
    frames: &[(u64, serde_json::Value)],
    cancelled: &[&str],
) {
    for cut in 0..=frames.len() {
        let arrived = &frames[..cut];
        let last = arrived.last().map_or(before, |(id, _)| *id);
        let (_, mut client) = world.reconnect(Some(last));
        let rest = client.frames();
        let sent = |drop: &str| {
            let id = drop_id(drop).to_string();
            let is_it = |(_, sent): &&(u64, serde_json::Value)| sent["id"] == id.as_str();
            let last = arrived.iter().chain(&rest).rfind(is_it);
            last.map(|(_, sent)| sent["status"].clone())
        };
        for drop in cancelled {
            let status = sent(drop).unwrap_or_default();
            assert_eq!(status, "cancelled", "{drop}, cut after {cut} of {frames:?}");
        }
    }
}

#[test]
fn id_acknowledges_nothing_that_is_still_to_be_sent() {
    let drops = ["b", "c", "e"];
    // The number of ticks that contain the cancellations, and of ticks that follow before a
    // sweep: none, some, or more than the backlog.
    for (ticks, more) in [(1, 0), (1, 3), (3, 0), (3, 3), (3, hub::BACKLOG as u64)] {
        let mut world = World::new();
        for drop in drops {
            world.commit(drop, drop_opened(1));
        }
        world.broadcast();
        world.sweep();
        let before = world.head;
        let mut subscriber = world.subscribe();
        subscriber.frames();
        world.hold(0);
        for drop in drops {
            world.commit(drop, drop_cancelled());
            if ticks > 1 {
                world.broadcast();
            }
        }
        world.broadcast();
        for number in 1..=more {
            world.hold(number);
        }
        world.sweep();
        let sent = subscriber.frames();
        assert!(sent.len() > drops.len(), "{sent:?}");
        assert!(sent.is_sorted_by_key(|(id, _)| *id), "{sent:?}");
        assert_eq!(sent.last().unwrap().0, world.head);
        may_be_cut_anywhere(&mut world, before, &sent, &drops);
        // The same for the present state that a returning client is sent.
        let (_, mut client) = world.reconnect(Some(before));
        may_be_cut_anywhere(&mut world, before, &client.frames(), &drops);
    }
}

#[test]
fn waitlist_frame_acknowledges_no_drop_that_was_not_sent() {
    let mut world = World::new();
    world.commit("b", drop_opened(1));
    world.commit("d", waitlist_joined("entry", 1));
    world.entries = WatchedEntries::new([(waitlist_id("entry"), drop_id("d"))]);
    world.broadcast();
    let mut subscriber = world.subscribe();
    subscriber.frames();
    world.record(waitlist_left("entry", 1));
    let sent = world.head;
    world.commit("b", drop_cancelled());
    world.sweep();
    let frames = subscriber.frames();
    let kinds: Vec<_> = frames.iter().map(|(_, data)| &data["status"]).collect();
    assert_eq!(kinds, ["live", "left"]);
    assert!(frames.iter().all(|(id, _)| *id == sent), "{frames:?}");
    may_be_cut_anywhere(&mut world, sent - 1, &frames, &["b"]);
}

#[test]
fn ticks_before_the_first_state_are_not_sent_again() {
    let mut world = World::new();
    let mut early = world.subscribe();
    world.hold(1);
    let mut late = world.subscribe();
    world.sweep();
    assert_eq!(late.received(), [(2, 1)]);
    assert_eq!(early.received(), [(1, 0), (2, 1)]);
}

#[test]
fn changes_between_the_first_state_and_the_shard_are_not_missed() {
    for missed in [1, hub::BACKLOG as u64 + 5] {
        let mut world = World::new();
        let (subscriber, mut client) = world.connect();
        for number in 1..=missed {
            world.hold(number);
            world.receive();
        }
        world.add(subscriber);
        assert_eq!(client.received(), [(1, 0), (missed + 1, missed)]);
    }
}

#[test]
fn stuck_client_is_disconnected_and_quiet_client_gets_heartbeats() {
    let mut world = World::new();
    let (stuck, mut quiet) = (world.subscribe(), world.subscribe());
    stuck.socket.space.set(3);
    world.heartbeat();
    world.heartbeat();
    world.sweep();
    assert_eq!(world.hub.watchers(), 2);
    assert_eq!(plain(&quiet.socket.received.take()), b":\n");
    world.heartbeat();
    world.heartbeat();
    world.sweep();
    assert_eq!(
        world.hub.watchers(),
        1,
        "the client that accepted three bytes is disconnected"
    );
    assert_eq!(plain(&quiet.socket.received.take()), b":\n");
    assert_eq!(quiet.received(), [(1, 0)]);
}

/// On a clock that advances only when every task waits for it.
#[tokio::test(start_paused = true)]
async fn busy_drop_does_not_starve_heartbeats_or_keep_stuck_clients() {
    for shortest in [Duration::from_millis(50), Duration::from_secs(10)] {
        let mut world = World::new();
        let (sender, inbox) = unbounded_channel();
        // A frame is sent when it is added; it accepts three bytes of it.
        let (subscriber, stuck) = world.connect();
        sender.send(subscriber).unwrap();
        stuck.socket.space.set(3);
        world.hold(0);
        let mut shard = StreamShard::new(&world.hub, world.views.clone(), inbox);
        let (subscriber, quiet) =
            world.subscribe_to(Watched::Named([drop_id("quiet")].into()), None);
        sender.send(subscriber).unwrap();
        // The longest silence that the contract allows.
        let stampede = async {
            for number in 1..=750 {
                world.hold(number);
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = shard.serve_changes(shortest) => panic!("the shard closed"),
            () = stampede => {}
        }
        assert_eq!(plain(&quiet.socket.received.take()), b":\n");
        assert_eq!(world.hub.watchers(), 1, "{shortest:?}");
    }
}

#[test]
fn hang_up_returns_the_permit_and_the_others_are_served() {
    let mut world = World::new();
    let mut subscribers = [world.subscribe(), world.subscribe(), world.subscribe()];
    subscribers[0].socket.is_gone.set(true);
    world.hold(1);
    world.sweep();
    assert_eq!(world.hub.watchers(), 2);
    for subscriber in &mut subscribers[1..] {
        assert_eq!(subscriber.received(), [(1, 0), (2, 1)]);
    }
}

/// Returns the names of the drops that were sent since the last call.
fn names(client: &mut Client, known: &[&str]) -> Vec<String> {
    let name = |(_, data): (u64, serde_json::Value)| {
        let id: DropId = data["id"].as_str().unwrap().parse().unwrap();
        let known = known.iter().find(|name| drop_id(name) == id);
        (*known.unwrap()).to_owned()
    };
    let mut names: Vec<String> = client.frames().into_iter().map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn returning_subscriber_of_new_drops_gets_those_scheduled_meanwhile() {
    let mut world = World::new();
    world.commit("old", drop_opened(5));
    world.commit("gone", drop_opened(5));
    let known = ["d", "old", "gone", "new", "over", "later"];
    let left_at = world.head;
    world.commit("old", hold_placed("h", 1));
    world.commit("new", drop_opened(5));
    world.commit("over", drop_opened(5));
    world.commit("over", drop_cancelled());
    world.broadcast();

    let watched = || Watched::NamedAndNew([drop_id("d")].into());
    let (subscriber, mut back) = world.subscribe_to(watched(), Some(left_at));
    world.add(subscriber);
    let (subscriber, mut first) = world.subscribe_to(watched(), None);
    world.add(subscriber);
    assert_eq!(names(&mut back, &known), ["d", "new", "over"]);
    assert_eq!(names(&mut first, &known), ["d"]);

    world.commit("later", drop_opened(5));
    world.commit("new", hold_placed("h2", 1));
    world.broadcast();
    world.sweep();
    assert_eq!(
        names(&mut back, &known),
        ["later"],
        "`new` is new only once"
    );
    assert_eq!(names(&mut first, &known), ["later"]);
}

#[test]
fn lagging_subscriber_of_new_drops_gets_those_that_it_missed() {
    let mut world = World::new();
    let (subscriber, mut slow) =
        world.subscribe_to(Watched::NamedAndNew([drop_id("d")].into()), None);
    world.add(subscriber);
    let known = ["d", "new"];
    assert_eq!(names(&mut slow, &known), ["d"]);
    world.commit("new", drop_opened(5));
    world.broadcast();
    for number in 0..3 * hub::BACKLOG as u64 {
        world.hold(number);
    }
    world.sweep();
    assert_eq!(names(&mut slow, &known), ["d", "new"]);
}
