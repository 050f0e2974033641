//! The state of one subscriber: its selected drops, and the position up to which its state is
//! complete.

use bytes::{Bytes, BytesMut};
use domain::values::{DropId, Position, Timestamp};
use projections::live_stock::LiveStockRow;
use projections::views::Views;

use super::framing::Framing;
use super::hub::{Permit, StreamHub};
use super::present::{PIECE, Present, Resync};
use super::shard::Missed;
use super::subjects::Subjects;
use super::tick::{Tick, newest};

/// The state of one subscriber. Kept small: a server has thousands.
#[derive(Debug)]
pub(super) struct SubscriberState {
    subjects: Subjects,
    framing: Framing,
    /// The number of the last tick that was sent, or that was older than its first state.
    seen: u64,
    /// `None` before the first state. Older ticks are skipped.
    complete: Option<CompleteUpTo>,
    /// The rest of the present state, which is sent before anything else.
    resync: Option<Box<Resync>>,
    _permit: Permit,
}

/// The drops that a subscriber watches. Ids are sorted and unique.
#[derive(Debug)]
pub(super) enum Watched {
    /// Every drop, except those that were over before it subscribed.
    All,
    Named(Box<[DropId]>),
    /// These, and each drop that is scheduled from then on, in its state at that time.
    NamedAndNew(Box<[DropId]>),
}

/// Maximum size of several ticks that are copied together for one subscriber, in bytes.
const MAX_JOINED: usize = 2 * PIECE;

/// The point up to which a subscriber's state is complete: every event up to `position`, and the
/// status of every drop at time `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompleteUpTo {
    pub(super) position: Position,
    pub(super) at: Timestamp,
}

impl CompleteUpTo {
    /// Returns the point for a client that received `position`, at that time or later. The
    /// views know when each drop up to there was scheduled, which bounds the time from below.
    pub(super) fn up_to(position: Position, views: &Views) -> Self {
        let at = views.scheduled_by(position).unwrap_or_default();
        Self { position, at }
    }

    /// Returns true if `tick` may contain a newer state.
    fn is_before(&self, tick: &Tick) -> bool {
        tick.complete.position >= self.position || tick.complete.at > self.at
    }

    /// Returns true if the state of a drop that is over, whose last event is at `position`, may
    /// be unknown to the subscriber.
    pub(super) fn is_behind(&self, drop: &LiveStockRow, position: Position) -> bool {
        position > self.position || !drop.status(self.at).is_over()
    }
}

impl SubscriberState {
    /// Begins with the present state: see [`SubscriberState::next_piece`].
    pub(super) fn new(
        hub: &StreamHub,
        views: &Views,
        subjects: Subjects,
        framing: Framing,
        complete: Option<CompleteUpTo>,
        permit: Permit,
    ) -> Self {
        let mut state = Self {
            subjects,
            framing,
            seen: 0,
            complete,
            resync: None,
            _permit: permit,
        };
        state.begin_resync(hub.present(), views);
        state
    }

    /// Returns the number of the last tick that was sent.
    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) const fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns true while a part of the present state is still to be sent, or changes of orders
    /// that did not fit into the last piece.
    pub(super) fn is_resyncing(&self) -> bool {
        self.resync.is_some() || self.subjects.orders.has_more()
    }

    fn begin_resync(&mut self, present: &Present, views: &Views) {
        let (resync, seen, complete) = Resync::begin(present, views, self.complete, &self.subjects);
        self.seen = seen;
        self.complete = Some(complete);
        self.resync = Some(Box::new(resync));
    }

    /// Returns the next piece of the present state in `framing`; `None` after the last. The
    /// states of waitlist entries and orders follow the last piece of drops.
    pub(super) fn next_piece(
        &mut self,
        present: &Present,
        views: &Views,
        framing: Framing,
    ) -> Option<Bytes> {
        let Some(resync) = self.resync.as_mut() else {
            let has_more = self.subjects.orders.has_more();
            return has_more.then(|| self.with_others(Bytes::new(), present, views, framing));
        };
        let piece = resync.next(present, views, framing);
        if !resync.is_done() {
            return Some(piece);
        }
        self.resync = None;
        Some(self.with_others(piece, present, views, framing))
    }

    /// Appends the changed states of waitlist entries and orders to `frames`, the frames of drops.
    fn with_others(
        &mut self,
        frames: Bytes,
        present: &Present,
        views: &Views,
        framing: Framing,
    ) -> Bytes {
        let (Some(complete), false) = (self.complete, self.subjects.is_drops_only()) else {
            return frames;
        };
        let mut joined = BytesMut::from(frames);
        framing.write(&mut joined, |to| {
            self.subjects
                .write_others(views, complete.position, present.now(), to);
        });
        joined.freeze()
    }

    /// Returns the missed ticks, framed, up to [`MAX_JOINED`] bytes; empty if none of them
    /// concerns this subscriber. They count as sent from then on.
    pub(super) fn catch_up(
        &mut self,
        missed: &Missed<'_>,
        present: &Present,
        views: &Views,
    ) -> Bytes {
        match missed {
            Missed::Nothing => Bytes::new(),
            Missed::Ticks { ticks, first } => {
                let ticks = &ticks[..joined_count(ticks)];
                self.seen = first + ticks.len() as u64 - 1;
                self.frames(ticks, present, views)
            }
            Missed::TooMuch => {
                self.begin_resync(present, views);
                let framing = self.framing;
                let piece = self.next_piece(present, views, framing);
                piece.unwrap_or_default()
            }
        }
    }

    fn frames(&mut self, ticks: &[&Tick], present: &Present, views: &Views) -> Bytes {
        let since = self.complete;
        let is_newer = |tick: &&&Tick| since.is_none_or(|complete| complete.is_before(tick));
        // Outdated ticks are rare, so the slice is normally not copied.
        let kept: Vec<&Tick>;
        let ticks = if ticks.iter().all(|tick| is_newer(&tick)) {
            ticks
        } else {
            kept = ticks.iter().filter(is_newer).copied().collect();
            &kept
        };
        let Some(last) = ticks.last() else {
            return Bytes::new();
        };
        self.complete = Some(last.complete);
        let sent = since.map(|complete| complete.position);
        let frames = newest(ticks, &self.subjects, sent, self.framing);
        if !ticks.iter().any(|tick| self.subjects.others_in(tick)) {
            return frames;
        }
        self.with_others(frames, present, views, self.framing)
    }
}

/// Returns how many of `ticks` are sent together: at least one, whose bytes are shared; more only
/// if they are small.
fn joined_count(ticks: &[&Tick]) -> usize {
    let mut size = 0;
    let fits = |tick: &&&Tick| {
        size += tick.size();
        size <= MAX_JOINED
    };
    ticks.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ticks_are_joined_and_a_large_one_is_sent_alone() {
        let joined = |sizes: &[usize]| {
            let ticks = sizes.iter().map(|&size| Tick::of_size(1, size));
            let ticks: Vec<Tick> = ticks.collect();
            joined_count(&ticks.iter().collect::<Vec<_>>())
        };
        assert_eq!(joined(&[1; 16]), 16);
        assert_eq!(joined(&[MAX_JOINED / 2, MAX_JOINED / 2, 1]), 2);
        assert_eq!(joined(&[MAX_JOINED / 2, MAX_JOINED]), 1);
        assert_eq!(joined(&[2 * MAX_JOINED, 1]), 1);
    }
}
