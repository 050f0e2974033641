//! The cost of one client: a bounded turn, and a present state in pieces that new subscribers
//! share.

use super::*;

/// A pipe that accepts a few bytes per write, and counts the calls.
#[derive(Clone, Default)]
struct Counting {
    writes: Rc<Cell<usize>>,
    looks: Rc<Cell<usize>>,
}

impl Pipe for Counting {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.set(self.writes.get() + 1);
        Ok(bytes.len().min(10))
    }

    fn is_gone(&self) -> bool {
        self.looks.set(self.looks.get() + 1);
        false
    }

    fn discard(&self) {}
}

#[test]
fn turn_costs_two_writes_and_one_read_however_much_a_client_accepts() {
    let mut world = World::new();
    let (hub, views) = (&world.hub, &world.views);
    let permit = hub.try_admit(None).unwrap();
    let subscriber = SubscriberState::new(
        hub,
        views,
        Subjects::drops(Watched::All),
        Framing::Chunked,
        None,
        permit,
    );
    let pipe = Counting::default();
    let mut subscribers = Subscribers::new(views.clone(), hub);
    subscribers.add(Subscriber::new(pipe.clone(), subscriber));
    for turn in 1..=20 {
        assert!(pipe.writes.get() <= 2 * turn);
        assert_eq!(pipe.looks.get(), turn);
        world.hold(turn as u64);
        while let Ok(tick) = world.ticks.try_recv() {
            subscribers.receive(tick);
        }
        subscribers.serve(1, usize::MAX);
    }
}

/// Enough drops for a present state of several pieces; the first piece contains the world's own
/// drop.
const MANY: usize = 170;

fn name(number: usize) -> String {
    format!("drop-{number:04}")
}

fn with_many_drops() -> World {
    let mut world = World::new();
    for number in 0..MANY {
        world.commit(&name(number), drop_opened(1000));
    }
    world.broadcast();
    world.sweep();
    world
}

#[test]
fn new_subscribers_at_one_position_share_each_piece_and_none_is_large() {
    let world = with_many_drops();
    let (hub, views) = (&world.hub, &world.views);
    let newcomer = || {
        let permit = hub.try_admit(None).unwrap();
        SubscriberState::new(
            hub,
            views,
            Subjects::drops(Watched::All),
            Framing::Chunked,
            None,
            permit,
        )
    };
    // A state is shared only for a limited time, so a slow machine may need more than one
    // attempt.
    let is_shared = (0..1_000).any(|_| {
        let mut both = [newcomer(), newcomer()];
        let mut pieces = 0;
        loop {
            let [one, other] = both
                .each_mut()
                .map(|subscriber| subscriber.next_piece(hub.present(), views, Framing::Chunked));
            match (one, other) {
                (Some(one), Some(other)) => {
                    assert!(one.len() < 2 * present::PIECE, "{}", one.len());
                    pieces += 1;
                    if one.as_ptr() != other.as_ptr() {
                        return false;
                    }
                }
                (None, None) => break,
                (one, other) => panic!("pieces differ: {one:?} and {other:?}"),
            }
        }
        assert!(pieces >= 3, "{pieces}");
        true
    });
    assert!(is_shared, "each subscriber has its own copy");
}

#[test]
fn state_in_pieces_misses_no_change_and_acknowledges_nothing_unsent() {
    let doomed: Vec<String> = [0, 1, MANY / 2, MANY - 1].map(name).to_vec();
    let doomed: Vec<&str> = doomed.iter().map(String::as_str).collect();
    // The cancellations may precede the subscriber's first state or follow it, by this many
    // ticks.
    for ticks in [1, hub::BACKLOG as u64 + 5] {
        for last in [None, Some(3)] {
            let mut world = with_many_drops();
            let before = world.head;
            let (hub, views) = (&world.hub, &world.views);
            let permit = hub.try_admit(None).unwrap();
            let sent = last.map(|last| CompleteUpTo::up_to(Position(last), views));
            let subscriber = SubscriberState::new(
                hub,
                views,
                Subjects::drops(Watched::All),
                Framing::Chunked,
                sent,
                permit,
            );
            let socket = FakeSocket {
                space: Rc::new(Cell::new(usize::MAX)),
                received: Rc::default(),
                is_gone: Rc::default(),
            };
            let first = vec![];
            let mut client = Client {
                socket: socket.clone(),
                first,
            };
            // The first piece is sent when it is added; each sweep sends one more.
            world.add(Subscriber::new(socket, subscriber));
            for drop in &doomed {
                world.commit(drop, drop_cancelled());
            }
            for _ in 0..ticks {
                world.commit("d", hold_placed(&format!("h{}", world.head), 1));
                world.broadcast();
            }
            for _ in 0..MANY {
                world.sweep();
            }
            let frames = client.frames();
            assert!(frames.is_sorted_by_key(|(id, _)| *id), "{last:?}, {ticks}");
            may_be_cut_anywhere(&mut world, before, &frames, &doomed);
            let newest = |wanted: &str| {
                let id = drop_id(wanted).to_string();
                let is_it = |(_, state): &&(u64, serde_json::Value)| state["id"] == id.as_str();
                frames.iter().rfind(is_it).map(|(_, state)| state.clone())
            };
            for number in 0..MANY {
                let name = name(number);
                let state = newest(&name).unwrap_or_else(|| panic!("{name} was never sent"));
                let is_doomed = doomed.contains(&name.as_str());
                assert_eq!(state["status"] == "cancelled", is_doomed, "{name}");
            }
            assert_eq!(newest("d").unwrap()["stock"]["held"], ticks);
        }
    }
}
