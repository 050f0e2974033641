//! One watcher: what it watches, how far it was told, and what it has to be told next.

use bytes::{Bytes, BytesMut};
use domain::values::{DropId, Position};
use infrastructure::engine::{Clock, SystemClock};
use projections::views::{DropView, Views};

use super::framing::Framing;
use super::hub::{Seat, StreamHub, Tick, newest, write_frame};
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
    /// The position that the present state was read at. A tick from before it is old news.
    since: Position,
    _seat: Seat,
}

impl Watcher {
    /// Takes `seat`. Whoever comes now has been told nothing yet: see [`Watcher::present_state`].
    pub(super) fn new(
        hub: &StreamHub,
        watched: Option<Box<[DropId]>>,
        places: WatchedPlaces,
        framing: Framing,
        seat: Seat,
    ) -> Self {
        Self {
            watched,
            places,
            framing,
            // Before the state is read: a change in between comes twice rather than never.
            seen: hub.told(),
            since: Position::default(),
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
        let is_news = |tick: &&&Tick| tick.position >= self.since;
        // Old news is rare, so that nothing is copied as a rule.
        let kept: Vec<&Tick>;
        let ticks = if ticks.iter().all(|tick| is_news(&tick)) {
            ticks
        } else {
            kept = ticks.iter().filter(is_news).copied().collect();
            &kept
        };
        let news = newest(ticks, self.watched.as_deref(), self.framing);
        if !ticks.iter().any(|tick| self.places.are_in(tick)) {
            return news;
        }
        let mut joined = BytesMut::from(news);
        let framing = self.framing;
        framing.write(&mut joined, |to| self.places.write_news(views, to));
        joined.freeze()
    }

    /// Writes the present state of what it watches, not framed.
    pub(super) fn write_present_state(&mut self, views: &Views, to: &mut BytesMut) {
        let now = SystemClock.now();
        let position = views.position();
        self.since = position;
        let drops = match &self.watched {
            Some(watched) => watched.iter().filter_map(|&id| views.drop(id)).collect(),
            None => views.drops(),
        };
        let is_wanted =
            |drop: &&DropView| self.watched.is_some() || !DropStatus::at(&drop.row, now).is_over();
        for drop in drops.iter().filter(is_wanted) {
            write_frame(to, drop, position, now);
        }
        self.places.write_news(views, to);
    }
}
