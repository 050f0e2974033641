//! A shop and its watchers without a server around them, and without a clock.

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
use domain::values::Sequence;
use engine::Observer;
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::Committed;
use infrastructure::log::Head;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use super::room::Audience;
use super::*;

/// A socket with so much space, and what came out of it.
#[derive(Clone)]
struct Wire {
    space: Rc<Cell<usize>>,
    received: Rc<RefCell<Vec<u8>>>,
    is_gone: Rc<Cell<bool>>,
}

impl Pipe for Wire {
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

/// What a watcher holds in its hands.
struct Hands {
    wire: Wire,
    first: Vec<u8>,
}

impl Hands {
    /// What came since the last look: the ids of its frames, and the units held in each.
    fn told(&mut self) -> Vec<(u64, u64)> {
        let held =
            |(id, data): (u64, serde_json::Value)| (id, data["stock"]["held"].as_u64().unwrap());
        self.frames().into_iter().map(held).collect()
    }

    /// What came since the last look: the ids of its frames, and what they tell.
    fn frames(&mut self) -> Vec<(u64, serde_json::Value)> {
        let mut bytes = std::mem::take(&mut self.first);
        bytes.extend(plain(&self.wire.received.take()));
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

/// Takes the chunks off; they must be whole.
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

/// A shop with one drop and one room, without a server around them.
struct World {
    hub: StreamHub,
    views: Views,
    ticks: Receiver<Arc<Tick>>,
    room: Audience<Wire>,
    guests: usize,
    head: u64,
    /// What the next one to come waits for.
    places: WatchedPlaces,
}

impl World {
    fn new() -> Self {
        let views = Views::default();
        let (hub, _) = StreamHub::with_doors(10, 1);
        let mut world = Self {
            ticks: hub.listen(),
            room: Audience::new(views.clone(), &hub),
            views,
            hub,
            guests: 0,
            head: 0,
            places: WatchedPlaces::default(),
        };
        world.record(drop_opened(1000));
        world.sweep();
        world
    }

    /// Something happens, and is told at once.
    fn record(&mut self, event: DropEvent) {
        self.commit("d", event);
        self.tell();
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

    fn tell(&self) {
        let changed = self.hub.take_changed();
        self.hub.tell(&self.views, &changed, second(0));
    }

    fn hold(&mut self, number: u64) {
        self.record(hold_placed(&format!("h{number}"), 1));
    }

    /// Somebody is told the present state.
    fn arrive(&mut self) -> (Guest<Wire>, Hands) {
        self.come_back(None)
    }

    /// Somebody who was told of `last` before is told the present state.
    fn come_back(&mut self, last: Option<u64>) -> (Guest<Wire>, Hands) {
        self.come(Watched::All, last)
    }

    fn come(&mut self, watched: Watched, last: Option<u64>) -> (Guest<Wire>, Hands) {
        let seat = self.hub.enter(None).unwrap();
        let places = std::mem::take(&mut self.places);
        let told = last.map(|last| Told::up_to(Position(last), &self.views));
        let (hub, views) = (&self.hub, &self.views);
        let framing = Framing::Chunked;
        let mut watcher = Watcher::new(hub, views, watched, places, framing, told, seat);
        let mut first = vec![];
        while let Some(piece) = watcher.next_piece(hub.present(), views, Framing::Plain) {
            first.extend_from_slice(&piece);
        }
        let wire = Wire {
            space: Rc::new(Cell::new(usize::MAX)),
            received: Rc::default(),
            is_gone: Rc::default(),
        };
        let hands = Hands {
            wire: wire.clone(),
            first,
        };
        (Guest::new(wire, watcher), hands)
    }

    fn watch(&mut self) -> Hands {
        let (guest, hands) = self.arrive();
        self.enter(guest);
        hands
    }

    fn enter(&mut self, guest: Guest<Wire>) {
        self.room.admit(guest);
        self.guests += 1;
    }

    fn hear(&mut self) {
        loop {
            match self.ticks.try_recv() {
                Ok(tick) => self.room.hear(tick),
                Err(TryRecvError::Overflowed(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn sweep(&mut self) {
        self.hear();
        self.room.serve(self.guests, usize::MAX);
    }

    fn beat(&mut self) {
        self.room.beat(self.guests, usize::MAX);
    }
}

#[test]
fn a_watcher_is_told_every_tick_when_swept_for_each_and_otherwise_the_newest() {
    let mut world = World::new();
    let mut watcher = world.watch();
    assert_eq!(watcher.told(), [(1, 0)]);
    world.hold(1);
    world.sweep();
    assert_eq!(watcher.told(), [(2, 1)]);
    for number in 2..=5 {
        world.hold(number);
    }
    world.sweep();
    assert_eq!(watcher.told(), [(6, 5)]);
    world.sweep();
    assert_eq!(watcher.told(), [], "nothing twice");
}

#[test]
fn a_room_that_sleeps_through_more_than_is_kept_goes_on_from_the_present_state() {
    for missed in [hub::BACKLOG, hub::BACKLOG + 1, 10 * hub::BACKLOG] {
        let mut world = World::new();
        let mut watcher = world.watch();
        assert_eq!(watcher.told(), [(1, 0)]);
        let missed = missed as u64;
        for number in 1..=missed {
            world.hold(number);
        }
        world.sweep();
        assert_eq!(watcher.told(), [(missed + 1, missed)]);
        world.hold(missed + 1);
        world.sweep();
        assert_eq!(watcher.told(), [(missed + 2, missed + 1)], "and follows");
    }
}

#[test]
fn a_watcher_whose_socket_is_full_holds_up_nobody_and_gets_the_newest_when_there_is_space() {
    for missed in [1, hub::BACKLOG as u64 + 5] {
        let mut world = World::new();
        let (mut slow, mut quick) = (world.watch(), world.watch());
        assert_eq!((slow.told(), quick.told()), (vec![(1, 0)], vec![(1, 0)]));
        slow.wire.space.set(10);
        world.hold(1);
        world.sweep();
        for number in 2..=missed + 1 {
            world.hold(number);
            world.sweep();
        }
        assert_eq!(quick.told().len() as u64, missed + 1);
        slow.wire.space.set(usize::MAX);
        world.sweep();
        // What was begun is finished, for a frame is never cut; then comes the newest.
        assert_eq!(slow.told(), [(2, 1), (missed + 2, missed + 1)]);
    }
}

#[test]
fn a_drop_that_was_called_off_is_told_to_who_was_away_or_asleep_and_to_no_newcomer() {
    let mut world = World::new();
    let mut asleep = world.watch();
    assert_eq!(asleep.told(), [(1, 0)]);
    let held = hub::BACKLOG as u64 + 5;
    for number in 1..=held {
        world.hold(number);
    }
    world.record(drop_cancelled());
    let last = world.head;
    world.sweep();
    assert_eq!(
        asleep.told(),
        [(last, held)],
        "more was missed than is kept"
    );
    for (told, frames) in [
        (Some(0), vec![(last, held)]),
        (Some(last - 1), vec![(last, held)]),
        (Some(last), vec![]),
        (Some(last + 1), vec![]),
        (None, vec![]),
    ] {
        let (_, mut hands) = world.come_back(told);
        assert_eq!(hands.told(), frames, "{told:?}");
    }
}

/// A stream may be cut between any two of its frames, which are `frames` after the id `before`: who
/// comes back by the last id that arrived is told whatever did not.
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
        let (_, mut hands) = world.come_back(Some(last));
        let rest = hands.frames();
        let told = |drop: &str| {
            let id = drop_id(drop).to_string();
            let is_it = |(_, told): &&(u64, serde_json::Value)| told["id"] == id.as_str();
            let last = arrived.iter().chain(&rest).rfind(is_it);
            last.map(|(_, told)| told["status"].clone())
        };
        for drop in cancelled {
            let status = told(drop).unwrap_or_default();
            assert_eq!(status, "cancelled", "{drop}, cut after {cut} of {frames:?}");
        }
    }
}

#[test]
fn an_id_claims_nothing_that_is_still_to_come() {
    let drops = ["b", "c", "e"];
    // How many ticks tell it, and how many more come before it is heard: none, some, or more than
    // are kept.
    for (ticks, more) in [(1, 0), (1, 3), (3, 0), (3, 3), (3, hub::BACKLOG as u64)] {
        let mut world = World::new();
        for drop in drops {
            world.commit(drop, drop_opened(1));
        }
        world.tell();
        world.sweep();
        let before = world.head;
        let mut watcher = world.watch();
        watcher.frames();
        world.hold(0);
        for drop in drops {
            world.commit(drop, drop_cancelled());
            if ticks > 1 {
                world.tell();
            }
        }
        world.tell();
        for number in 1..=more {
            world.hold(number);
        }
        world.sweep();
        let told = watcher.frames();
        assert!(told.len() > drops.len(), "{told:?}");
        assert!(told.is_sorted_by_key(|(id, _)| *id), "{told:?}");
        assert_eq!(told.last().unwrap().0, world.head);
        may_be_cut_anywhere(&mut world, before, &told, &drops);
        // The same of the present state, for who was away.
        let (_, mut hands) = world.come_back(Some(before));
        may_be_cut_anywhere(&mut world, before, &hands.frames(), &drops);
    }
}

#[test]
fn news_of_a_place_in_line_claims_no_drop_that_was_not_told_of() {
    let mut world = World::new();
    world.commit("b", drop_opened(1));
    world.commit("d", waitlist_joined("place", 1));
    world.places = WatchedPlaces::of(waitlist_id("place"), drop_id("d"));
    world.tell();
    let mut watcher = world.watch();
    watcher.frames();
    world.record(waitlist_left("place", 1));
    let told = world.head;
    world.commit("b", drop_cancelled());
    world.sweep();
    let frames = watcher.frames();
    let kinds: Vec<_> = frames.iter().map(|(_, news)| &news["status"]).collect();
    assert_eq!(kinds, ["live", "left"]);
    assert!(frames.iter().all(|(id, _)| *id == told), "{frames:?}");
    may_be_cut_anywhere(&mut world, told - 1, &frames, &["b"]);
}

#[test]
fn what_was_told_before_somebody_came_is_not_told_to_them() {
    let mut world = World::new();
    let mut early = world.watch();
    world.hold(1);
    let mut late = world.watch();
    world.sweep();
    assert_eq!(late.told(), [(2, 1)]);
    assert_eq!(early.told(), [(1, 0), (2, 1)]);
}

#[test]
fn what_happens_between_the_present_state_and_the_room_is_not_missed() {
    for missed in [1, hub::BACKLOG as u64 + 5] {
        let mut world = World::new();
        let (guest, mut hands) = world.arrive();
        for number in 1..=missed {
            world.hold(number);
            world.hear();
        }
        world.enter(guest);
        assert_eq!(hands.told(), [(1, 0), (missed + 1, missed)]);
    }
}

#[test]
fn who_takes_nothing_is_let_go_and_who_is_told_nothing_hears_that_we_are_here() {
    let mut world = World::new();
    let (stuck, mut quiet) = (world.watch(), world.watch());
    stuck.wire.space.set(3);
    world.beat();
    world.beat();
    world.sweep();
    assert_eq!(world.hub.watchers(), 2);
    assert_eq!(plain(&quiet.wire.received.take()), b":\n");
    world.beat();
    world.beat();
    world.sweep();
    assert_eq!(
        world.hub.watchers(),
        1,
        "the one who took three bytes is gone"
    );
    assert_eq!(plain(&quiet.wire.received.take()), b":\n");
    assert_eq!(quiet.told(), [(1, 0)]);
}

/// By a clock that moves only when everybody waits for it.
#[tokio::test(start_paused = true)]
async fn beside_a_drop_that_changes_all_the_time_the_quiet_hear_of_us_and_the_stuck_are_let_go() {
    for shortest in [Duration::from_millis(50), Duration::from_secs(10)] {
        let mut world = World::new();
        let (door, entrance) = unbounded_channel();
        // It is told something as it enters, and takes three bytes of it.
        let (guest, stuck) = world.arrive();
        door.send(guest).unwrap();
        stuck.wire.space.set(3);
        world.hold(0);
        let mut room = Room::new(&world.hub, world.views.clone(), entrance);
        let (guest, quiet) = world.come(Watched::Named([drop_id("quiet")].into()), None);
        door.send(guest).unwrap();
        // As long as the contract allows silence.
        let stampede = async {
            for number in 1..=750 {
                world.hold(number);
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = room.tell(shortest) => panic!("the room closed"),
            () = stampede => {}
        }
        assert_eq!(plain(&quiet.wire.received.take()), b":\n");
        assert_eq!(world.hub.watchers(), 1, "{shortest:?}");
    }
}

#[test]
fn who_hangs_up_gives_the_seat_back_and_the_rest_are_served() {
    let mut world = World::new();
    let mut watchers = [world.watch(), world.watch(), world.watch()];
    watchers[0].wire.is_gone.set(true);
    world.hold(1);
    world.sweep();
    assert_eq!(world.hub.watchers(), 2);
    for watcher in &mut watchers[1..] {
        assert_eq!(watcher.told(), [(1, 0), (2, 1)]);
    }
}

/// The drops that came since the last look, by name.
fn names(hands: &mut Hands, known: &[&str]) -> Vec<String> {
    let name = |(_, data): (u64, serde_json::Value)| {
        let id: DropId = data["id"].as_str().unwrap().parse().unwrap();
        let known = known.iter().find(|name| drop_id(name) == id);
        (*known.unwrap()).to_owned()
    };
    let mut names: Vec<String> = hands.frames().into_iter().map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn who_watches_new_drops_is_sent_those_that_were_scheduled_while_it_was_away_and_no_others() {
    let mut world = World::new();
    world.commit("old", drop_opened(5));
    world.commit("gone", drop_opened(5));
    let known = ["d", "old", "gone", "new", "over", "later"];
    let left_at = world.head;
    world.commit("old", hold_placed("h", 1));
    world.commit("new", drop_opened(5));
    world.commit("over", drop_opened(5));
    world.commit("over", drop_cancelled());
    world.tell();

    let watched = || Watched::NamedAndNew([drop_id("d")].into());
    let (guest, mut back) = world.come(watched(), Some(left_at));
    world.enter(guest);
    let (guest, mut first) = world.come(watched(), None);
    world.enter(guest);
    assert_eq!(names(&mut back, &known), ["d", "new", "over"]);
    assert_eq!(names(&mut first, &known), ["d"]);

    world.commit("later", drop_opened(5));
    world.commit("new", hold_placed("h2", 1));
    world.tell();
    world.sweep();
    assert_eq!(names(&mut back, &known), ["later"], "new was new once");
    assert_eq!(names(&mut first, &known), ["later"]);
}

#[test]
fn who_watches_new_drops_and_fell_far_behind_is_sent_those_that_it_missed() {
    let mut world = World::new();
    let (guest, mut slow) = world.come(Watched::NamedAndNew([drop_id("d")].into()), None);
    world.enter(guest);
    let known = ["d", "new"];
    assert_eq!(names(&mut slow, &known), ["d"]);
    world.commit("new", drop_opened(5));
    world.tell();
    for number in 0..3 * hub::BACKLOG as u64 {
        world.hold(number);
    }
    world.sweep();
    assert_eq!(names(&mut slow, &known), ["d", "new"]);
}
