//! What changed, and the one place where a change becomes bytes.
//!
//! Changes are told to the rooms as one [`Tick`] as soon as they happen, and gathered for [`SHORTEST`] after that: however many
//! watch, each changed drop is written once. How often a watcher hears of it is for its room to say ([`super::room`]).
//! A tick counts as one, however many drops it tells of, so that a shop with a thousand of them does not push its watchers out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_broadcast::{InactiveReceiver, Receiver, Sender};
use bytes::{BufMut, Bytes, BytesMut};
use domain::DropEvent;
use domain::values::{DropId, Position, Timestamp};
use infrastructure::engine::{Clock, Observer, SystemClock};
use infrastructure::feed::{Committed, Readmitted};
use projections::views::{DropView, Views};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::framing::Framing;
use super::present::Present;
use super::room::Guest;
use super::watcher::{Told, Watched};
use crate::connections::AddressPermit;
use crate::render::{DropBody, DropStatus};

/// Ticks that a watcher may lag behind before it is given the present state instead.
pub(super) const BACKLOG: usize = 16;
/// The shortest time between two ticks: a state that waits to be sent is at most so much older than the log.
const SHORTEST: Duration = Duration::from_millis(5);
/// The longest time between two looks at the clock for drops that start or end.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// What changed within one interval, ready to be written to any number of watchers.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Its number: 1, 2, 3 … A room that holds one number knows whether it has missed a tick.
    pub(super) number: u64,
    /// What whoever was told this and all ticks before it was told.
    pub(super) told: Told,
    /// One for each drop that changed, in the order of their ids.
    frames: Vec<Frame>,
    /// All of them, each a chunk ([`Framing::Chunked`]).
    all: Bytes,
}

#[derive(Debug)]
struct Frame {
    drop_id: DropId,
    /// Where it stands in the tick.
    place: usize,
    /// Set if the drop is new to subscribers of new drops.
    new: Option<NewAt>,
    /// A part of the tick's bytes: one chunk.
    bytes: Bytes,
}

/// From when on a drop counts as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewAt {
    /// Scheduled by the event at this position: not new to a subscriber whose state includes it.
    Scheduled(Position),
    /// Readmitted from quarantine: new to every subscriber.
    Readmitted,
}

impl NewAt {
    /// Whether the drop is new to a subscriber that has been sent everything up to `sent`.
    fn is_after(self, sent: Option<Position>) -> bool {
        match self {
            Self::Scheduled(position) => sent.is_none_or(|sent| position > sent),
            Self::Readmitted => true,
        }
    }
}

/// What changed since the last tick.
#[derive(Debug, Default)]
pub(super) struct Changed {
    drops: BTreeSet<DropId>,
    /// Those of them that were scheduled, or readmitted.
    new: BTreeMap<DropId, NewAt>,
    /// Every change up to here is among them, or was told before.
    position: Position,
    /// The same of the tick before.
    before: Position,
}

/// Tells the rooms what changed, and puts watchers into them. Clones are the same hub.
#[derive(Debug, Clone)]
pub struct StreamHub(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    sender: Sender<Arc<Tick>>,
    /// Keeps the room open while it is empty.
    _room: InactiveReceiver<Arc<Tick>>,
    changed: Mutex<Changed>,
    present: Arc<Present>,
    wake: Notify,
    doors: Vec<UnboundedSender<Guest>>,
    next_door: AtomicUsize,
    watchers: AtomicUsize,
    most_watchers: usize,
}

impl StreamHub {
    /// A hub for at most `most_watchers`, and what its `rooms` are entered by.
    #[must_use]
    pub(super) fn with_doors(
        most_watchers: usize,
        rooms: usize,
    ) -> (Self, Vec<UnboundedReceiver<Guest>>) {
        let (mut sender, receiver) = async_broadcast::broadcast(BACKLOG);
        // A slow room loses ticks; it never holds up the rest.
        sender.set_overflow(true);
        sender.set_await_active(false);
        let (doors, entrances) = (0..rooms).map(|_| unbounded_channel()).unzip();
        let hub = Hub {
            sender,
            _room: receiver.deactivate(),
            changed: Mutex::default(),
            present: Arc::default(),
            wake: Notify::new(),
            doors,
            next_door: AtomicUsize::new(0),
            watchers: AtomicUsize::new(0),
            most_watchers,
        };
        (Self(Arc::new(hub)), entrances)
    }

    /// How many watch now.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.0.watchers.load(Ordering::Relaxed)
    }

    /// Tells what changed, until `stop`.
    pub async fn publish(self, views: Views, stop: CancellationToken) {
        let mut last_look = SystemClock.now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = sleep(LOOK_AT_CLOCK) => {}
            }
            self.0.present.forget_old();
            let mut changed = self.take_changed();
            // After it, so that all that is recorded up to there was recorded before.
            let now = SystemClock.now();
            // Drops that start or end change without an event.
            changed.drops.extend(views.turned(last_look, now));
            last_look = now;
            if self.tell(&views, &changed, now) {
                sleep(SHORTEST).await;
            }
        }
    }

    /// Takes what has changed since the last time.
    pub(super) fn take_changed(&self) -> Changed {
        let mut changed = self.changed();
        let position = changed.position;
        let next = Changed {
            drops: BTreeSet::new(),
            new: BTreeMap::new(),
            position,
            before: position,
        };
        std::mem::replace(&mut *changed, next)
    }

    /// Tells what has changed; says whether anything has.
    pub(super) fn tell(&self, views: &Views, changed: &Changed, now: Timestamp) -> bool {
        if changed.drops.is_empty() {
            return false;
        }
        let mut tick = Tick::of(views, changed, now);
        // Numbered once it is written: who has seen this number before reading the views has missed nothing of it.
        tick.number = self.0.present.next_tick();
        // An error means that there is no room.
        let _nobody = self.0.sender.try_broadcast(Arc::new(tick));
        true
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.0
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told from now on.
    pub(super) fn listen(&self) -> Receiver<Arc<Tick>> {
        self.0.sender.new_receiver()
    }

    /// The present state, as newcomers share it.
    pub(super) fn present(&self) -> &Arc<Present> {
        &self.0.present
    }

    /// Puts `guest` into the next room. One that has closed says goodbye in its place.
    pub(super) fn seat(&self, guest: Guest) {
        let turn = self.0.next_door.fetch_add(1, Ordering::Relaxed);
        let door = &self.0.doors[turn % self.0.doors.len()];
        if let Err(closed) = door.send(guest) {
            closed.0.say_goodbye();
        }
    }

    /// A place for one more watcher, given back when dropped, as is what its address has of them.
    pub(super) fn enter(&self, of_address: Option<AddressPermit>) -> Option<Seat> {
        let hub = Arc::clone(&self.0);
        let taken = hub
            .watchers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |watchers| {
                (watchers < hub.most_watchers).then_some(watchers + 1)
            });
        taken.ok().map(|_| Seat {
            hub,
            _of_address: of_address,
        })
    }
}

impl Observer for StreamHub {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let mut changed = self.changed();
        for recorded in &committed.events {
            changed.drops.insert(recorded.drop_id);
            if matches!(recorded.event, DropEvent::DropScheduled(_)) {
                let new_at = NewAt::Scheduled(recorded.position);
                changed.new.insert(recorded.drop_id, new_at);
            }
        }
        changed.position = committed.head.position;
        drop(changed);
        if !committed.events.is_empty() {
            self.0.wake.notify_one();
        }
    }

    /// A drop in quarantine is left out; once it is readmitted, its watchers are sent its state.
    fn readmitted(&mut self, readmitted: &Readmitted) {
        let mut changed = self.changed();
        changed.drops.insert(readmitted.drop_id);
        changed.new.insert(readmitted.drop_id, NewAt::Readmitted);
        drop(changed);
        self.0.wake.notify_one();
    }
}

/// One watcher's place.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Arc<Hub>,
    _of_address: Option<AddressPermit>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tick {
    fn of(views: &Views, changed: &Changed, now: Timestamp) -> Self {
        let told = Told {
            position: changed.position,
            at: now,
        };
        let drops = changed
            .drops
            .iter()
            .filter_map(|&drop_id| views.drop(drop_id));
        let (mut all, mut places) = (BytesMut::new(), vec![]);
        for (drop, id) in in_order(drops.collect(), changed.before, told) {
            let start = all.len();
            Framing::Chunked.write(&mut all, |to| write_frame(to, &drop, id, now));
            places.push((drop.drop_id, start..all.len()));
        }
        Self::made(told, places, &changed.new, all.freeze())
    }

    fn made(
        told: Told,
        places: Vec<(DropId, Range<usize>)>,
        new: &BTreeMap<DropId, NewAt>,
        all: Bytes,
    ) -> Self {
        let frame = |(place, (drop_id, range))| Frame {
            drop_id,
            place,
            new: new.get(&drop_id).copied(),
            bytes: all.slice(range),
        };
        let mut frames: Vec<Frame> = places.into_iter().enumerate().map(frame).collect();
        frames.sort_unstable_by_key(|frame| frame.drop_id);
        Self {
            number: 0,
            told,
            frames,
            all,
        }
    }

    /// One that tells nothing.
    #[cfg(test)]
    pub(super) fn empty(number: u64) -> Self {
        let told = Told {
            position: Position(number),
            at: Timestamp::from_millis(0),
        };
        Self {
            number,
            told,
            frames: vec![],
            all: Bytes::new(),
        }
    }

    /// One of so many bytes.
    #[cfg(test)]
    pub(super) fn of_size(number: u64, size: usize) -> Self {
        Self {
            all: vec![b' '; size].into(),
            ..Self::empty(number)
        }
    }

    /// How many bytes it is, of all drops.
    pub(super) fn size(&self) -> usize {
        self.all.len()
    }

    /// Whether this drop changed.
    pub(crate) fn is_about(&self, drop_id: DropId) -> bool {
        self.of_drop(drop_id).is_some()
    }

    fn of_drop(&self, drop_id: DropId) -> Option<&Frame> {
        let place = self
            .frames
            .binary_search_by_key(&drop_id, |frame| frame.drop_id);
        place.ok().map(|index| &self.frames[index])
    }
}

/// The newest state of each watched drop in `ticks`, oldest tick first.
///
/// A watcher that fell behind is told once of a drop that changed many times, in the order of the ticks, so that an id claims no
/// tick of which the rest is still to come. A single tick is passed on as it is.
///
/// A subscriber of new drops is sent those scheduled after `sent`, the position up to which its
/// state is complete: a tick can repeat drops that its first state already took into account.
pub(super) fn newest(
    ticks: &[&Tick],
    watched: &Watched,
    sent: Option<Position>,
    framing: Framing,
) -> Bytes {
    let frames = || ticks.iter().flat_map(|tick| &tick.frames);
    let drop_ids: Vec<DropId> = match (ticks, watched) {
        ([], _) => return Bytes::new(),
        ([tick], Watched::All) if framing == Framing::Chunked => return tick.all.clone(),
        (_, Watched::All) => {
            let changed: BTreeSet<DropId> = frames().map(|frame| frame.drop_id).collect();
            changed.into_iter().collect()
        }
        (_, Watched::Named(drops)) => drops.to_vec(),
        (_, Watched::NamedAndNew(drops)) => {
            let is_unnamed = |frame: &&Frame| drops.binary_search(&frame.drop_id).is_err();
            let new = frames()
                .filter(|frame| frame.new.is_some_and(|new| new.is_after(sent)))
                .filter(is_unnamed);
            // One can be new twice, by a readmission.
            let new: BTreeSet<DropId> = new.map(|frame| frame.drop_id).collect();
            new.into_iter().chain(drops.iter().copied()).collect()
        }
    };
    let newest_of = |drop_id| {
        let mut newest_first = ticks.iter().rev();
        newest_first.find_map(|tick| Some((tick.number, tick.of_drop(drop_id)?)))
    };
    let mut newest: Vec<(u64, &Frame)> = drop_ids.into_iter().filter_map(newest_of).collect();
    newest.sort_unstable_by_key(|(tick, frame)| (*tick, frame.place));
    join(newest.into_iter().map(|(_, frame)| &frame.bytes), framing)
}

/// One is shared, several are copied together: one write to the socket rather than one for each.
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

/// Drops in the order in which they are told, each with the id that it is told with: `before`, until the last of those that are over.
///
/// Who comes back is told of every drop that is not over, whatever the id; of one that is over, only if it may be newer than the id.
/// So an id claims what is over, and must not claim what is still to come: a stream may be cut between any two frames.
pub(super) fn in_order(
    mut drops: Vec<DropView>,
    before: Position,
    told: Told,
) -> impl Iterator<Item = (DropView, Position)> {
    let is_over = |drop: &DropView| DropStatus::at(&drop.row, told.at).is_over();
    drops.sort_by_key(|drop| !is_over(drop));
    let last_over = drops.partition_point(is_over);
    let id_at = move |place: usize| {
        if place + 1 < last_over {
            before
        } else {
            told.position
        }
    };
    (0..).map(id_at).zip(drops).map(|(id, drop)| (drop, id))
}

/// One `drop` event: the whole public drop.
pub(super) fn write_frame(to: &mut BytesMut, drop: &DropView, position: Position, now: Timestamp) {
    to.extend_from_slice(format!("event: drop\nid: {position}\ndata: ").as_bytes());
    if let Err(error) = serde_json::to_writer(to.writer(), &DropBody::new(drop, now)) {
        // A body of texts and numbers, written to memory.
        tracing::error!(%error, drop.id = %drop.drop_id, "a drop cannot be written");
    }
    to.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> DropId {
        DropId(uuid::Uuid::from_u128(number))
    }

    /// Texts that begin with `new` tell of drops that were scheduled since the tick before.
    fn tick(position: u64, frames: &[(u128, &'static str)]) -> Tick {
        let (mut all, mut places) = (BytesMut::new(), vec![]);
        let mut new = BTreeMap::new();
        for (drop, text) in frames {
            let start = all.len();
            if text.starts_with("new") {
                new.insert(id(*drop), NewAt::Scheduled(Position(position)));
            }
            Framing::Chunked.write(&mut all, |to| to.extend_from_slice(text.as_bytes()));
            places.push((id(*drop), start..all.len()));
        }
        let told = Told {
            position: Position(position),
            at: Timestamp::from_millis(0),
        };
        Tick {
            number: position,
            ..Tick::made(told, places, &new, all.freeze())
        }
    }

    fn told(ticks: &[Tick], watched: &Watched, framing: Framing) -> Bytes {
        newest(&ticks.iter().collect::<Vec<_>>(), watched, None, framing)
    }

    fn named(drops: &[u128]) -> Watched {
        Watched::Named(drops.iter().copied().map(id).collect())
    }

    #[test]
    fn a_watcher_who_keeps_up_gets_the_shared_bytes() {
        let ticks = [tick(1, &[(1, "a1;"), (2, "b1;")])];
        let all = told(&ticks, &Watched::All, Framing::Chunked);
        assert_eq!(all, "3\r\na1;\r\n3\r\nb1;\r\n");
        assert_eq!(all.as_ptr(), ticks[0].all.as_ptr(), "not copied");
        let one = told(&ticks, &named(&[2]), Framing::Chunked);
        assert_eq!(one, "3\r\nb1;\r\n");
        let place = &ticks[0].frames[1].bytes;
        assert_eq!(one.as_ptr(), place.as_ptr(), "not copied");
        let plain = told(&ticks, &named(&[2]), Framing::Plain);
        assert_eq!(plain, "b1;");
        assert_eq!(plain.as_ptr(), place[3..].as_ptr(), "not copied either");
        assert!(told(&ticks, &named(&[3]), Framing::Chunked).is_empty());
    }

    #[test]
    fn a_watcher_who_fell_behind_is_told_the_newest_of_each_drop_once() {
        let ticks = [
            tick(1, &[(1, "a1;"), (2, "b1;")]),
            tick(2, &[(1, "a2;"), (3, "c2;")]),
            tick(3, &[(1, "a3;")]),
        ];
        let two = named(&[1, 2]);
        assert_eq!(told(&ticks, &Watched::All, Framing::Plain), "b1;c2;a3;");
        assert_eq!(told(&ticks, &two, Framing::Plain), "b1;a3;");
        assert_eq!(told(&ticks[..2], &named(&[1]), Framing::Plain), "a2;");
        assert_eq!(
            told(&ticks, &two, Framing::Chunked),
            "3\r\nb1;\r\n3\r\na3;\r\n"
        );
    }

    #[test]
    fn a_watcher_of_new_drops_is_sent_the_newest_of_each_and_no_other_that_it_did_not_name() {
        let ticks = [
            tick(1, &[(1, "a1;"), (2, "b1;"), (3, "new c1;")]),
            tick(2, &[(2, "b2;"), (3, "c2;"), (4, "new d2;")]),
        ];
        let watched = Watched::NamedAndNew([id(1)].into());
        let all = told(&ticks, &watched, Framing::Plain);
        assert_eq!(all, "a1;c2;new d2;");
        let later = told(&ticks[1..], &watched, Framing::Plain);
        assert_eq!(
            later, "new d2;",
            "drop 3 was not new then, and is not named"
        );
        assert_eq!(told(&ticks, &named(&[1]), Framing::Plain), "a1;");
    }

    #[test]
    fn a_drop_scheduled_before_the_subscribers_first_state_is_not_new_to_it() {
        let ticks = [tick(7, &[(1, "a;"), (2, "new b;")])];
        let ticks: Vec<&Tick> = ticks.iter().collect();
        let watched = Watched::NamedAndNew([id(1)].into());
        let after = |sent| newest(&ticks, &watched, Some(Position(sent)), Framing::Plain);
        assert_eq!(after(6), "a;new b;");
        assert_eq!(
            after(7),
            "a;",
            "its first state was taken at 7, without drop 2"
        );
    }

    #[test]
    fn a_readmitted_drop_is_new_to_every_subscriber() {
        assert!(NewAt::Readmitted.is_after(Some(Position(9))));
    }
}
