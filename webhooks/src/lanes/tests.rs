//! The state machine with a simulated log, receiver and table, at invented times.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use domain::values::{DropId, OrderId};
use rand::{Rng, SeedableRng};

use super::*;
use crate::counts::Result as Counted;
use crate::sender::Failure;

const ENDPOINT: Uuid = Uuid::from_u128(7);

/// The streams of even numbers are those of orders.
fn stream(number: u8) -> StreamId {
    let id = Uuid::from_u128(number.into());
    match number % 2 {
        0 => StreamId::Order(OrderId(id)),
        _ => StreamId::Drop(DropId(id)),
    }
}

fn message(position: u64, part: u8) -> Message {
    Message {
        webhook_id: format!("evt_{position}_{part}"),
        event_type: "hold.placed",
        position: Position(position),
        part,
        body: Bytes::new(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000 + seconds * 1000)
}

fn lanes(position: u64) -> Lanes {
    let rng = StdRng::seed_from_u64(1);
    Lanes::new(
        ENDPOINT,
        Position(position),
        vec![],
        vec![],
        Schedule::default(),
        rng,
    )
}

fn failure(is_of_endpoint: bool, retry_after: Option<u64>) -> Failure {
    Failure {
        counted: Counted::Rejected,
        is_of_endpoint,
        error: "500 Internal Server Error".to_owned(),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

/// Scans events with one message each.
fn scan(lanes: &mut Lanes, events: &[(u64, u8)]) {
    for &(position, drop) in events {
        lanes.scan(stream(drop), vec![message(position, 0)]);
        lanes.scanned_to(Position(position));
    }
}

/// Starts everything that can be sent, and returns the positions. Streams have no more events.
fn sent(lanes: &mut Lanes, now: Timestamp) -> Vec<(Key, u64)> {
    let mut sent = vec![];
    while let Some(work) = lanes.next(now) {
        match work {
            Work::Send(key, message) => sent.push((key, message.position.0)),
            Work::Load { stream, .. } => {
                let page = Page {
                    is_complete: true,
                    ..Page::default()
                };
                lanes.loaded(stream, page, now);
            }
            Work::Find(_) => panic!("{work:?}"),
        }
    }
    sent
}

fn lane(drop: u8) -> Key {
    Key::Lane(stream(drop))
}

#[test]
fn one_message_of_a_drop_is_in_flight_and_drops_are_parallel() {
    let mut lanes = lanes(0);
    scan(&mut lanes, &[(1, 1), (2, 1), (3, 2), (4, 1)]);
    assert_eq!(sent(&mut lanes, at(0)), [(lane(1), 1), (lane(2), 3)]);
    assert_eq!(lanes.position(), Position(0));
    lanes.delivered(lane(2), at(0));
    assert_eq!(lanes.position(), Position(0), "3 is delivered, 1 is not");
    lanes.delivered(lane(1), at(0));
    assert_eq!(lanes.position(), Position(1));
    assert_eq!(sent(&mut lanes, at(0)), [(lane(1), 2)]);
    lanes.delivered(lane(1), at(0));
    assert_eq!(sent(&mut lanes, at(0)), [(lane(1), 4)]);
    assert_eq!(lanes.position(), Position(3));
    lanes.delivered(lane(1), at(0));
    assert_eq!(lanes.position(), Position(4));
}

#[test]
fn several_messages_of_one_event_hold_the_position() {
    let mut lanes = lanes(0);
    lanes.scan(stream(1), vec![message(1, 0), message(1, 2)]);
    lanes.scanned_to(Position(1));
    assert_eq!(sent(&mut lanes, at(0)).len(), 1);
    lanes.delivered(lane(1), at(0));
    assert_eq!(lanes.position(), Position(0));
    assert_eq!(sent(&mut lanes, at(0)).len(), 1);
    lanes.delivered(lane(1), at(0));
    assert_eq!(lanes.position(), Position(1));
}

/// The whole schedule, without waiting for it.
#[test]
fn failing_delivery_holds_its_drop_alone_and_is_given_up_after_the_schedule() {
    let mut lanes = lanes(0);
    scan(&mut lanes, &[(1, 1), (2, 2), (3, 1)]);
    let mut now = at(0);
    let mut pauses = vec![];
    assert_eq!(sent(&mut lanes, now).len(), 2);
    lanes.delivered(lane(2), now);
    loop {
        let is_given_up = lanes.failed(lane(1), failure(false, None), now);
        assert_eq!(lanes.position(), Position(3), "only its own drop waits");
        let changes = lanes.take_changes();
        let row = changes
            .rows
            .values()
            .find(|row| row.position == Position(1))
            .unwrap();
        assert_eq!(row.attempts as usize, pauses.len() + 1);
        if is_given_up {
            assert_eq!((row.status, row.next_attempt_at), (Status::Failed, None));
            break;
        }
        let next = row.next_attempt_at.unwrap();
        assert_eq!(lanes.next(next.plus_millis(-1)), None);
        assert_eq!(lanes.wakes_at(), Some(next));
        pauses.push((next.millis() - now.millis()) / 1000);
        now = next;
        assert_eq!(sent(&mut lanes, now), [(lane(1), 1)]);
        // Another drop is delivered meanwhile.
        let position = 3 + pauses.len() as u64;
        scan(&mut lanes, &[(position, 2)]);
        assert_eq!(sent(&mut lanes, now), [(lane(2), position)]);
        lanes.delivered(lane(2), now);
        assert_eq!(lanes.position(), Position(position));
        lanes.scanned = Position(3);
    }
    let nominal = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
    assert_eq!(pauses.len(), nominal.len());
    for (pause, nominal) in pauses.iter().zip(nominal) {
        assert!(
            (nominal * 9 / 10 - 1..=nominal * 11 / 10 + 1).contains(pause),
            "{pauses:?}"
        );
    }
    // Then the drop continues.
    let load = lanes.next(now);
    let Some(Work::Load { after, until, .. }) = load else {
        panic!("{load:?}");
    };
    assert_eq!((after, until), (Position(0), Position(3)));
    let page = Page {
        messages: vec![message(1, 0), message(3, 0)],
        last: Some((Position(3), Sequence(2))),
        is_complete: true,
        is_stuck: false,
    };
    lanes.loaded(stream(1), page, now);
    assert_eq!(sent(&mut lanes, now), [(lane(1), 3)], "1 is not sent again");
    lanes.delivered(lane(1), now);
    assert_eq!(lanes.next(now), None);
    assert_eq!(lanes.take_changes().lanes[&stream(1)], None, "caught up");
}

#[test]
fn retry_after_is_obeyed_within_its_bound() {
    for (requested, least, most) in [
        (0, 4, 6),
        (3, 4, 6),
        (100, 100, 101),
        (86_400, 86_400, 86_401),
        (u64::MAX / 1000, 86_400, 86_401),
    ] {
        let mut lanes = lanes(0);
        scan(&mut lanes, &[(1, 1)]);
        sent(&mut lanes, at(0));
        lanes.failed(lane(1), failure(false, Some(requested)), at(0));
        let wait = (lanes.wakes_at().unwrap().millis() - at(0).millis()) / 1000;
        assert!((least..=most).contains(&wait), "{requested}: {wait}");
    }
}

#[test]
fn overloaded_endpoint_gets_one_request_at_a_time_until_it_recovers() {
    let mut lanes = lanes(0);
    let events: Vec<(u64, u8)> = (1..=6).map(|n| (n, u8::try_from(n).unwrap())).collect();
    scan(&mut lanes, &events);
    assert_eq!(sent(&mut lanes, at(0)).len(), 6);
    for drop in 1..=3 {
        lanes.failed(lane(drop), failure(true, None), at(0));
    }
    for drop in 4..=6 {
        lanes.failed(lane(drop), failure(true, Some(20)), at(0));
    }
    let resume = lanes.wakes_at().unwrap();
    assert!((19_000..=36_000).contains(&(resume.millis() - at(0).millis())));
    assert_eq!(lanes.next(resume.plus_millis(-1)), None);
    assert_eq!(sent(&mut lanes, resume).len(), 1, "one at a time");
    assert!(
        lanes.has_room(),
        "with nothing else to send, the log is scanned on"
    );
    let (key, _) = (lane(1), ());
    let probe = lanes
        .lanes
        .iter()
        .find(|(_, lane)| lane.is_in_flight)
        .map(|(id, _)| *id);
    lanes.delivered(probe.map_or(key, Key::Lane), resume);
    assert_eq!(
        sent(&mut lanes, resume).len(),
        5,
        "all others are due again"
    );
}

#[test]
fn slowdown_is_bounded_even_if_the_receiver_requests_a_year() {
    let mut lanes = lanes(0);
    scan(&mut lanes, &[(1, 1)]);
    sent(&mut lanes, at(0));
    lanes.failed(lane(1), failure(true, Some(365 * 86_400)), at(0));
    scan(&mut lanes, &[(2, 2)]);
    let resume = lanes.wakes_at().unwrap();
    assert_eq!(resume, at(3_600));
    assert_eq!(sent(&mut lanes, resume), [(lane(2), 2)]);
}

#[test]
fn lane_that_grows_too_long_lets_the_position_pass() {
    let mut lanes = lanes(0);
    let most = MOST_IN_LANE as u64;
    let events: Vec<(u64, u8)> = (1..=most).map(|position| (position, 1)).collect();
    scan(&mut lanes, &events);
    assert_eq!(sent(&mut lanes, at(0)), [(lane(1), 1)]);
    assert_eq!(lanes.position(), Position(0));
    scan(&mut lanes, &[(most + 1, 1), (most + 2, 2)]);
    assert_eq!(sent(&mut lanes, at(0)), [(lane(2), most + 2)]);
    lanes.delivered(lane(2), at(0));
    assert_eq!(lanes.position(), Position(most + 2));
    assert_eq!(
        lanes.take_changes().lanes[&stream(1)],
        Some((Position(1), 0))
    );
    lanes.delivered(lane(1), at(0));
    let load = lanes.next(at(0));
    assert!(
        matches!(
            load,
            Some(Work::Load {
                after: Position(0),
                ..
            })
        ),
        "{load:?}"
    );
}

#[test]
fn drop_in_quarantine_is_delivered_after_it() {
    let mut lanes = lanes(0);
    lanes.withhold(stream(1), Position(1));
    scan(&mut lanes, &[(2, 2)]);
    assert_eq!(
        lanes.take_changes().lanes[&stream(1)],
        Some((Position(1), 0))
    );
    let load = lanes.next(at(0));
    assert!(matches!(load, Some(Work::Load { .. })), "{load:?}");
    let stuck = Page {
        is_stuck: true,
        ..Page::default()
    };
    lanes.loaded(stream(1), stuck, at(0));
    assert_eq!(sent(&mut lanes, at(0)), [(lane(2), 2)]);
    lanes.readmit(|_| true, at(1));
    assert_eq!(lanes.next(at(1)), None);
    lanes.readmit(|_| false, at(1));
    let load = lanes.next(at(1));
    assert!(matches!(load, Some(Work::Load { .. })), "{load:?}");
    let page = Page {
        messages: vec![message(1, 0)],
        last: Some((Position(1), Sequence(1))),
        is_complete: true,
        is_stuck: false,
    };
    lanes.loaded(stream(1), page, at(1));
    assert_eq!(sent(&mut lanes, at(1)), [(lane(1), 1)]);
}

/// The table, the log and the receiver. It survives a crash.
struct World {
    rng: StdRng,
    /// The messages of each position, from 1: all of one drop.
    log: Vec<(StreamId, Vec<Message>)>,
    position: Position,
    held: BTreeMap<StreamId, Progress>,
    rows: BTreeMap<Uuid, Row>,
    /// Messages that were accepted or given up at least once.
    handled: BTreeSet<(u64, u8)>,
    given_up: BTreeSet<(u64, u8)>,
    accepted: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let events = rng.random_range(1..60);
        let drops = rng.random_range(1..6);
        let event = |position: u64| {
            let parts = rng.random_range(0..4);
            let messages = (0..parts).filter(|_| rng.random_bool(0.8));
            let messages = messages.map(|part| message(position, part)).collect();
            (stream(rng.random_range(1..=drops)), messages)
        };
        let log = (1..=events).map(event).collect();
        Self {
            rng: StdRng::seed_from_u64(seed + 1),
            log,
            position: Position(0),
            held: BTreeMap::new(),
            rows: BTreeMap::new(),
            handled: BTreeSet::new(),
            given_up: BTreeSet::new(),
            accepted: 0,
        }
    }

    fn restart(&self) -> Lanes {
        let pending = self
            .rows
            .values()
            .filter(|row| row.status == Status::Pending);
        let held = self.held.iter().map(|(id, progress)| (*id, *progress));
        let schedule: Schedule = "10s,20s".parse().unwrap();
        let rng = StdRng::seed_from_u64(3);
        Lanes::new(
            ENDPOINT,
            self.position,
            held.collect(),
            pending.cloned().collect(),
            schedule,
            rng,
        )
    }

    fn save(&mut self, lanes: &mut Lanes) {
        self.position = lanes.position();
        let changes = lanes.take_changes();
        self.rows.extend(changes.rows);
        for (stream, progress) in changes.lanes {
            match progress {
                Some(progress) => drop(self.held.insert(stream, progress)),
                None => drop(self.held.remove(&stream)),
            }
        }
    }

    fn page(&mut self, of: StreamId, after: Position, until: Position) -> Page {
        let limit = self.rng.random_range(1..5);
        let events = (1..).zip(&self.log).filter(|(position, (stream, _))| {
            *stream == of && *position > after.0 && *position <= until.0
        });
        let events: Vec<_> = events.take(limit).collect();
        Page {
            last: events
                .last()
                .map(|(position, _)| (Position(*position), Sequence(0))),
            is_complete: events.len() < limit,
            messages: events
                .iter()
                .flat_map(|(_, (_, messages))| messages.clone())
                .collect(),
            is_stuck: false,
        }
    }

    /// The receiver accepts a message. Every earlier one of its drop was handled before.
    fn accept(&mut self, message: &Message, seed: u64) {
        let own = (message.position.0, message.part);
        let stream = self.log[usize::try_from(own.0).unwrap() - 1].0;
        let earlier = self.log.iter().filter(|(other, _)| *other == stream);
        let earlier = earlier.flat_map(|(_, messages)| messages);
        for earlier in earlier.map(|earlier| (earlier.position.0, earlier.part)) {
            assert!(
                earlier >= own || self.handled.contains(&earlier),
                "seed {seed}: {own:?} before {earlier:?}"
            );
        }
        self.handled.insert(own);
        self.accepted += 1;
    }
}

/// Random histories with failures, crashes and lost commits: nothing is skipped, and the order
/// within each drop is kept.
#[test]
fn every_message_arrives_in_order_through_any_crash() {
    let mut crashes = 0;
    for seed in 0..400 {
        let mut world = World::new(seed);
        let mut lanes = world.restart();
        let mut now = at(0);
        let mut in_flight: Vec<(Key, Message)> = vec![];
        // Failures and crashes end after a while, so that everything can be delivered.
        for step in 0.. {
            assert!(step < 20_000, "seed {seed} does not end");
            let is_rough = step < 300;
            match world.rng.random_range(0..7) {
                0 | 1 if lanes.has_room() => {
                    let next = lanes.scanned().0 + 1;
                    let index = usize::try_from(next).unwrap() - 1;
                    if let Some((stream, messages)) = world.log.get(index) {
                        lanes.scan(*stream, messages.clone());
                        lanes.scanned_to(Position(next));
                    }
                }
                2 => match lanes.next(now) {
                    Some(Work::Send(key, message)) => in_flight.push((key, message)),
                    Some(Work::Load {
                        stream,
                        after,
                        until,
                        ..
                    }) => {
                        if is_rough && world.rng.random_bool(0.1) {
                            lanes.not_loaded(stream, now);
                        } else {
                            let page = world.page(stream, after, until);
                            lanes.loaded(stream, page, now);
                        }
                    }
                    Some(work @ Work::Find(_)) => panic!("seed {seed}: {work:?}"),
                    None => now = lanes.wakes_at().map_or(now, |next| next.max(now)),
                },
                3 | 4 if !in_flight.is_empty() => {
                    let index = world.rng.random_range(0..in_flight.len());
                    let (key, message) = in_flight.swap_remove(index);
                    if is_rough && world.rng.random_bool(0.4) {
                        let is_of_endpoint = world.rng.random_bool(0.5);
                        // Sometimes it was accepted, and the response was lost.
                        if world.rng.random_bool(0.3) {
                            world.accept(&message, seed);
                        }
                        if lanes.failed(key, failure(is_of_endpoint, None), now) {
                            world.handled.insert((message.position.0, message.part));
                            world.given_up.insert((message.position.0, message.part));
                        }
                    } else {
                        world.accept(&message, seed);
                        lanes.delivered(key, now);
                    }
                }
                5 => {
                    if is_rough && world.rng.random_bool(0.1) {
                        let changes = lanes.take_changes();
                        lanes.restore(changes);
                    } else {
                        world.save(&mut lanes);
                    }
                }
                6 if is_rough && world.rng.random_bool(0.2) => {
                    crashes += 1;
                    in_flight.clear();
                    lanes = world.restart();
                }
                _ => {}
            }
            let is_idle = in_flight.is_empty() && !lanes.has_changes();
            let is_at_end = lanes.position().0 == world.log.len() as u64;
            if !is_rough && is_idle && is_at_end && world.held.is_empty() {
                break;
            }
        }
        for (_, messages) in &world.log {
            for message in messages {
                let key = (message.position.0, message.part);
                assert!(
                    world.handled.contains(&key),
                    "seed {seed}: {key:?} was skipped"
                );
            }
        }
        let open = world
            .rows
            .values()
            .filter(|row| row.status == Status::Pending);
        assert_eq!(open.count(), 0, "seed {seed}");
    }
    assert!(crashes > 1_000, "{crashes}");
}
