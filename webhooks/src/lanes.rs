//! Which message of an endpoint is sent next: a pure state machine. Time and randomness are
//! arguments.
//!
//! Promise: within a drop or an order, one message is in flight at a time, in the order of the log.
//! The position never passes an event that is neither delivered nor recorded in [`Changes`].
//!
//! A lane is the events of one drop or of one order. It is *attached* while it keeps up with the
//! scan of the log: its messages are in memory and hold the position back. When a delivery fails,
//! or too many messages accumulate, the lane is *held back*: its progress is stored in a row of its
//! own, the position passes it, and it reads its stream by itself until it has caught up.

mod results;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use domain::values::{Position, Sequence, Timestamp};
use infrastructure::log::StreamId;
use rand::rngs::StdRng;
use uuid::Uuid;

use self::results::{later, withdrawn};
use crate::message::{Message, delivery_id};
use crate::schedule::{LONGEST_REQUESTED_SLOWDOWN, Schedule};

/// Requests of one endpoint at the same time.
const MOST_IN_FLIGHT: usize = 32;
/// Reads of streams at the same time.
const MOST_READS: usize = 4;
/// Messages of an attached lane; beyond it the lane is held back.
const MOST_IN_LANE: usize = 1_000;
/// Messages of an endpoint in memory; beyond it the scan of the log waits.
const MOST_QUEUED: usize = 20_000;
/// Changes that are not stored yet; beyond it nothing more is sent.
const MOST_UNSAVED: usize = 5_000;

/// The next message of a lane: part of an event.
pub(crate) type Progress = (Position, u8);

/// The subject of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// The first message of the lane of this stream.
    Lane(StreamId),
    /// A delivery that no other waits for: a test, or one that was repeated on request.
    Alone(Uuid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Failed,
    Done,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

/// A row of the table of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) webhook_id: String,
    pub(crate) event_type: String,
    pub(crate) stream: Option<StreamId>,
    pub(crate) position: Position,
    pub(crate) part: u8,
    pub(crate) status: Status,
    pub(crate) attempts: u32,
    pub(crate) next_attempt_at: Option<Timestamp>,
    pub(crate) last_error: Option<String>,
    pub(crate) holds_drop: bool,
    pub(crate) is_of_endpoint: bool,
    pub(crate) is_cancelled: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
}

/// Changes to store together with the position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) rows: BTreeMap<Uuid, Row>,
    /// `None`: the lane has caught up.
    pub(crate) lanes: BTreeMap<StreamId, Option<Progress>>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.lanes.is_empty()
    }

    /// Adds changes that could not be stored; newer ones replace them.
    fn restore(&mut self, older: Self) {
        for (id, row) in older.rows {
            self.rows.entry(id).or_insert(row);
        }
        for (stream, progress) in older.lanes {
            self.lanes.entry(stream).or_insert(progress);
        }
    }
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Send this message, and report to [`Lanes::delivered`] or [`Lanes::failed`].
    Send(Key, Message),
    /// Read events of a stream after this position, and report to [`Lanes::loaded`].
    Load {
        stream: StreamId,
        after: Position,
        sequence: Sequence,
        until: Position,
    },
    /// Build the message of this delivery, and report to [`Lanes::found`].
    Find(Row),
}

/// A part of a stream.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Message>,
    /// The last event that was read, if any.
    pub(crate) last: Option<(Position, Sequence)>,
    /// True if the part reaches the requested end.
    pub(crate) is_complete: bool,
    /// The drop or order is in quarantine.
    pub(crate) is_stuck: bool,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Message>,
    is_in_flight: bool,
    is_ready: bool,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    progress: Progress,
    /// Events up to here are in the queue or delivered.
    read: Position,
    sequence: Sequence,
    /// The earlier attempts of the first message.
    retry: Option<Row>,
    /// The stream has events after `read` that the scan has passed.
    has_more: bool,
    is_reading: bool,
    is_stuck: bool,
}

impl Held {
    const fn at(progress: Progress) -> Self {
        Self {
            progress,
            read: Position(progress.0.0.saturating_sub(1)),
            sequence: Sequence(0),
            retry: None,
            has_more: true,
            is_reading: false,
            is_stuck: false,
        }
    }
}

#[derive(Debug)]
struct Alone {
    row: Row,
    message: Option<Message>,
    is_busy: bool,
}

/// All lanes of one endpoint.
#[derive(Debug)]
pub(crate) struct Lanes {
    endpoint_id: Uuid,
    schedule: Schedule,
    rng: StdRng,
    scanned: Position,
    lanes: HashMap<StreamId, Lane>,
    alone: HashMap<Uuid, Alone>,
    /// Lanes whose first message can be sent.
    ready: VecDeque<Key>,
    timers: BTreeSet<(Timestamp, Key)>,
    /// Positions of attached messages, with their number.
    outstanding: BTreeMap<Position, u32>,
    queued: usize,
    in_flight: usize,
    reads: usize,
    /// Failures of the whole endpoint in a row.
    slow: u32,
    resume_at: Timestamp,
    changes: Changes,
}

impl Lanes {
    /// Returns the lanes as they are stored: everything up to `position` was handled, except these.
    pub(crate) fn new(
        endpoint_id: Uuid,
        position: Position,
        held: Vec<(StreamId, Progress)>,
        pending: Vec<Row>,
        schedule: Schedule,
        rng: StdRng,
    ) -> Self {
        let mut lanes = Self {
            endpoint_id,
            schedule,
            rng,
            scanned: position,
            lanes: HashMap::new(),
            alone: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            outstanding: BTreeMap::new(),
            queued: 0,
            in_flight: 0,
            reads: 0,
            slow: 0,
            resume_at: Timestamp::default(),
            changes: Changes::default(),
        };
        for (stream, progress) in held {
            let lane = Lane {
                held: Some(Held::at(progress)),
                ..Lane::default()
            };
            lanes.lanes.insert(stream, lane);
        }
        for row in pending {
            lanes.resume(row);
        }
        let without_timer: Vec<StreamId> = lanes
            .lanes
            .iter()
            .filter(|(_, lane)| lane.held.as_ref().is_some_and(|held| held.retry.is_none()))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in without_timer {
            lanes.make_ready(stream);
        }
        lanes
    }

    fn resume(&mut self, row: Row) {
        let at = row.next_attempt_at.unwrap_or_default();
        let held = row
            .stream
            .filter(|_| row.holds_drop)
            .and_then(|stream| Some((stream, self.lanes.get_mut(&stream)?.held.as_mut()?)));
        match held {
            Some((stream, held)) if held.retry.is_none() => {
                held.retry = Some(row);
                self.timers.insert((at, Key::Lane(stream)));
            }
            Some(_) | None => {
                self.timers.insert((at, Key::Alone(row.id)));
                let alone = Alone {
                    row,
                    message: None,
                    is_busy: false,
                };
                self.alone.insert(alone.row.id, alone);
            }
        }
    }

    /// Returns the position up to which the log was scanned.
    pub(crate) const fn scanned(&self) -> Position {
        self.scanned
    }

    /// Returns the position to store: everything up to here is delivered, or in the changes.
    pub(crate) fn position(&self) -> Position {
        match self.outstanding.first_key_value() {
            Some((first, _)) => Position(first.0 - 1),
            None => self.scanned,
        }
    }

    /// Returns true if more of the log may be scanned.
    pub(crate) fn has_room(&self) -> bool {
        self.queued < MOST_QUEUED && (self.slow == 0 || self.ready.is_empty())
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn restore(&mut self, changes: Changes) {
        self.changes.restore(changes);
    }

    /// Adds the messages of the next event of the log that the endpoint subscribes to.
    pub(crate) fn scan(&mut self, stream: StreamId, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        let lane = self.lanes.entry(stream).or_default();
        if let Some(held) = &mut lane.held {
            held.has_more = true;
            self.make_ready(stream);
            return;
        }
        self.queued += messages.len();
        for message in messages {
            *self.outstanding.entry(message.position).or_default() += 1;
            lane.queue.push_back(message);
        }
        if lane.queue.len() > MOST_IN_LANE {
            self.hold_back(stream);
        }
        self.make_ready(stream);
    }

    /// Records an event of a drop or order in quarantine, which is delivered when that is applied
    /// again.
    pub(crate) fn withhold(&mut self, stream: StreamId, position: Position) {
        let lane = self.lanes.entry(stream).or_default();
        if lane.queue.is_empty() && lane.held.is_none() {
            lane.held = Some(Held::at((position, 0)));
            self.changes.lanes.insert(stream, Some((position, 0)));
        } else {
            self.hold_back(stream);
        }
        if let Some(held) = self
            .lanes
            .get_mut(&stream)
            .and_then(|lane| lane.held.as_mut())
        {
            held.has_more = true;
        }
        self.make_ready(stream);
    }

    /// Records that the log was scanned up to `position`.
    pub(crate) fn scanned_to(&mut self, position: Position) {
        self.scanned = self.scanned.max(position);
    }

    /// Continues with the drops and orders that are not in quarantine any more.
    pub(crate) fn readmit(&mut self, is_quarantined: impl Fn(StreamId) -> bool, now: Timestamp) {
        let mut free = vec![];
        for (stream, lane) in &mut self.lanes {
            if let Some(held) = &mut lane.held
                && held.is_stuck
                && !is_quarantined(*stream)
            {
                held.is_stuck = false;
                free.push(*stream);
            }
        }
        for stream in free {
            self.timers.insert((now, Key::Lane(stream)));
        }
    }

    /// Detaches a lane: its messages do not hold the position back any more. Keeps the first
    /// message.
    fn hold_back(&mut self, stream: StreamId) {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        let Some(first) = lane.queue.front().filter(|_| lane.held.is_none()) else {
            return;
        };
        let progress = (first.position, first.part);
        for message in &lane.queue {
            if let Some(count) = self.outstanding.get_mut(&message.position) {
                *count -= 1;
                if *count == 0 {
                    self.outstanding.remove(&message.position);
                }
            }
        }
        self.queued -= lane.queue.len() - 1;
        lane.queue.truncate(1);
        lane.held = Some(Held::at(progress));
        self.changes.lanes.insert(stream, Some(progress));
    }

    fn make_ready(&mut self, stream: StreamId) {
        if let Some(lane) = self.lanes.get_mut(&stream)
            && !lane.is_ready
            && !lane.is_in_flight
            && lane.held.as_ref().is_none_or(|held| held.retry.is_none())
        {
            lane.is_ready = true;
            self.ready.push_back(Key::Lane(stream));
        }
    }

    /// Returns the next step; `None` if there is none before [`Lanes::wakes_at`] or a report.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Work> {
        // The clock was ahead: no slowdown is that long.
        if self.resume_at > later(now, LONGEST_REQUESTED_SLOWDOWN) {
            self.resume_at = now;
        }
        while now >= self.resume_at && self.may_start() {
            let key = match self.timers.first() {
                Some(&(at, key)) if at <= now => {
                    self.timers.pop_first();
                    key
                }
                Some(_) | None => self.ready.pop_front()?,
            };
            let work = match key {
                Key::Lane(stream) => self.next_of_lane(stream),
                Key::Alone(id) => self.next_alone(id),
            };
            if work.is_some() {
                return work;
            }
        }
        None
    }

    /// Returns true if another step may start before the next report.
    fn may_start(&self) -> bool {
        let most = if self.slow > 0 { 1 } else { MOST_IN_FLIGHT };
        self.in_flight < most && self.reads < MOST_READS && self.changes.rows.len() < MOST_UNSAVED
    }

    fn next_of_lane(&mut self, stream: StreamId) -> Option<Work> {
        let lane = self.lanes.get_mut(&stream)?;
        lane.is_ready = false;
        if lane.is_in_flight {
            return None;
        }
        if let Some(message) = lane.queue.front() {
            lane.is_in_flight = true;
            self.in_flight += 1;
            return Some(Work::Send(Key::Lane(stream), message.clone()));
        }
        match &mut lane.held {
            Some(held) if held.is_reading || held.is_stuck => None,
            Some(held) if held.has_more => {
                held.has_more = false;
                held.is_reading = true;
                self.reads += 1;
                Some(Work::Load {
                    stream,
                    after: held.read,
                    sequence: held.sequence,
                    until: self.scanned,
                })
            }
            Some(_) => {
                self.lanes.remove(&stream);
                self.changes.lanes.insert(stream, None);
                None
            }
            None => {
                self.lanes.remove(&stream);
                None
            }
        }
    }

    fn next_alone(&mut self, id: Uuid) -> Option<Work> {
        let alone = self.alone.get_mut(&id).filter(|alone| !alone.is_busy)?;
        alone.is_busy = true;
        if let Some(message) = &alone.message {
            self.in_flight += 1;
            return Some(Work::Send(Key::Alone(id), message.clone()));
        }
        self.reads += 1;
        Some(Work::Find(alone.row.clone()))
    }

    /// Returns when [`Lanes::next`] may return more, if nothing else happens.
    pub(crate) fn wakes_at(&self) -> Option<Timestamp> {
        if !self.may_start() {
            return None;
        }
        let next = self.timers.first().map(|(at, _)| *at);
        let next = match self.ready.is_empty() {
            true => next,
            false => Some(Timestamp::default()),
        };
        next.map(|at| at.max(self.resume_at))
    }

    /// Adds a part of a stream.
    pub(crate) fn loaded(&mut self, stream: StreamId, page: Page, now: Timestamp) {
        self.reads -= 1;
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        let Some(held) = &mut lane.held else {
            return;
        };
        held.is_reading = false;
        held.is_stuck = page.is_stuck;
        held.has_more |= !page.is_complete;
        if let Some((position, sequence)) = page.last {
            held.read = position;
            held.sequence = sequence;
        }
        for message in page.messages {
            let key = (message.position, message.part);
            let is_next = |last: &Message| key > (last.position, last.part);
            if key >= held.progress && lane.queue.back().is_none_or(is_next) {
                lane.queue.push_back(message);
                self.queued += 1;
            }
        }
        // A failed delivery whose message is not the first: its event was declared void, or the
        // endpoint does not subscribe to its type any more.
        let first = lane.queue.front();
        let id = first.map(|first| delivery_id(self.endpoint_id, &first.webhook_id));
        let is_exhausted = !held.has_more && !held.is_stuck;
        let is_stale = |row: &mut Row| id.map_or(is_exhausted, |id| id != row.id);
        if let Some(row) = held.retry.take_if(is_stale) {
            let row = withdrawn(row, now);
            self.changes.rows.insert(row.id, row);
        }
        if held.retry.is_some() && !held.is_stuck {
            // It was due, or it would not have been read.
            self.timers.insert((now, Key::Lane(stream)));
        } else {
            self.make_ready(stream);
        }
    }

    /// Reports that a part of a stream could not be read; it is read again later.
    pub(crate) fn not_loaded(&mut self, stream: StreamId, now: Timestamp) {
        self.reads -= 1;
        if let Some(held) = self
            .lanes
            .get_mut(&stream)
            .and_then(|lane| lane.held.as_mut())
        {
            held.is_reading = false;
            held.has_more = true;
            let at = now.plus_millis(1_000);
            self.timers.insert((at, Key::Lane(stream)));
        }
    }

    /// Adds the message of a delivery; `None` if its event cannot be delivered any more.
    pub(crate) fn found(&mut self, id: Uuid, message: Option<Message>, now: Timestamp) {
        self.reads -= 1;
        let Some(alone) = self.alone.get_mut(&id) else {
            return;
        };
        if message.is_some() {
            alone.message = message;
            alone.is_busy = false;
            self.timers.insert((now, Key::Alone(id)));
        } else if let Some(alone) = self.alone.remove(&id) {
            let row = withdrawn(alone.row, now);
            self.changes.rows.insert(row.id, row);
        }
    }

    /// Reports that the event of a delivery could not be read; it is read again later.
    pub(crate) fn not_found(&mut self, id: Uuid, now: Timestamp) {
        self.reads -= 1;
        if let Some(alone) = self.alone.get_mut(&id) {
            alone.is_busy = false;
            self.timers.insert((now.plus_millis(1_000), Key::Alone(id)));
        }
    }
}

#[cfg(test)]
mod tests;
