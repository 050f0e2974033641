//! One watcher: what it watches, how far it was told, and what it has to be told next.

use bytes::{Bytes, BytesMut};
use domain::values::{DropId, Position, Timestamp};
use infrastructure::engine::{Clock, SystemClock};
use projections::views::{DropView, Views};

use super::framing::Framing;
use super::hub::{Seat, StreamHub, Tick, in_order, newest, write_frame};
use super::room::Missed;
use crate::render::DropStatus;
use crate::waitlist::WatchedPlaces;

/// See the module. Kept small: a server has thousands.
#[derive(Debug)]
pub(super) struct Watcher {
    /// None: every drop.
    watched: Option<Box<[DropId]>>,
    places: WatchedPlaces,
    framing: Framing,
    /// The number of the last tick that it was told of, or that was older than the state it began with.
    seen: u64,
    /// None: nothing yet. A tick from before it is old news.
    told: Option<Told>,
    _seat: Seat,
}

/// What somebody has been told: every event up to this place, and of every drop where it was in its life at this time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) position: Position,
    pub(super) at: Timestamp,
}

impl Told {
    /// Who was told of `position`, then or later. That was after all that is recorded up to there; of that, the views know when
    /// each drop was scheduled.
    pub(super) fn up_to(position: Position, views: &Views) -> Self {
        let drops = views.drops();
        let seen = drops.iter().filter(|drop| drop.position <= position);
        let at = seen.map(|drop| drop.row.scheduled_at).max();
        Self {
            position,
            at: at.unwrap_or_default(),
        }
    }

    /// Whether `tick` may tell more than this.
    fn is_before(&self, tick: &Tick) -> bool {
        tick.told.position >= self.position || tick.told.at > self.at
    }

    /// Whether what became of `drop` may be news.
    fn is_behind(&self, drop: &DropView) -> bool {
        drop.position > self.position || !DropStatus::at(&drop.row, self.at).is_over()
    }
}

impl Watcher {
    /// Takes `seat`. Whoever comes now has been told nothing by it yet: see [`Watcher::write_present_state`].
    pub(super) fn new(
        hub: &StreamHub,
        watched: Option<Box<[DropId]>>,
        places: WatchedPlaces,
        framing: Framing,
        told: Option<Told>,
        seat: Seat,
    ) -> Self {
        Self {
            watched,
            places,
            framing,
            // Before the state is read: a change in between comes twice rather than never.
            seen: hub.told(),
            told,
            _seat: seat,
        }
    }

    /// The number of the last tick that it was told of.
    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    /// How it is sent to.
    pub(super) const fn framing(&self) -> Framing {
        self.framing
    }

    /// What it has missed, framed; nothing if that does not concern it. It counts as told then.
    pub(super) fn catch_up(&mut self, missed: &Missed<'_>, views: &Views) -> Bytes {
        match missed {
            Missed::Nothing => Bytes::new(),
            Missed::Ticks { ticks, last } => {
                self.seen = *last;
                self.news(ticks, views)
            }
            Missed::TooMuch { last } => {
                self.seen = *last;
                let framing = self.framing;
                let mut present = BytesMut::new();
                framing.write(&mut present, |to| self.write_present_state(views, to));
                present.freeze()
            }
        }
    }

    fn news(&mut self, ticks: &[&Tick], views: &Views) -> Bytes {
        let since = self.told;
        let is_news = |tick: &&&Tick| since.is_none_or(|told| told.is_before(tick));
        // Old news is rare, so that nothing is copied as a rule.
        let kept: Vec<&Tick>;
        let ticks = if ticks.iter().all(|tick| is_news(&tick)) {
            ticks
        } else {
            kept = ticks.iter().filter(is_news).copied().collect();
            &kept
        };
        let Some(last) = ticks.last() else {
            return Bytes::new();
        };
        self.told = Some(last.told);
        let news = newest(ticks, self.watched.as_deref(), self.framing);
        if !ticks.iter().any(|tick| self.places.are_in(tick)) {
            return news;
        }
        let mut joined = BytesMut::from(news);
        let (framing, id) = (self.framing, last.told.position);
        framing.write(&mut joined, |to| self.places.write_news(views, id, to));
        joined.freeze()
    }

    /// Writes the present state of what it watches, not framed. Of drops that are over, only those that were named, or that it
    /// may not have been told of.
    pub(super) fn write_present_state(&mut self, views: &Views, to: &mut BytesMut) {
        // Before the states, so that they are at least as new; and before the time, so that all up to there was recorded by then.
        let position = views.position();
        let at = SystemClock.now();
        let told = Told { position, at };
        let before = self.told.replace(told);
        let mut drops: Vec<DropView> = match &self.watched {
            Some(watched) => watched.iter().filter_map(|&id| views.drop(id)).collect(),
            None => views.drops(),
        };
        if self.watched.is_none() {
            drops.retain(|drop| {
                !DropStatus::at(&drop.row, at).is_over()
                    || before.is_some_and(|told| told.is_behind(drop))
            });
        }
        // Who comes for the first time needs nothing of what was over by now.
        let before = before.map_or(position, |told| told.position);
        for (drop, id) in in_order(drops, before, told) {
            write_frame(to, &drop, id, at);
        }
        self.places.write_news(views, position, to);
    }
}
