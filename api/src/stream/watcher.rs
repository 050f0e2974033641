//! One watcher: what it watches, how far it was told, and what it has to be told next.

use bytes::{Bytes, BytesMut};
use domain::values::{DropId, Position, Timestamp};
use projections::live_stock::LiveStockRow;
use projections::views::Views;

use super::framing::Framing;
use super::hub::{Seat, StreamHub, Tick, newest};
use super::present::{PIECE, Present, Resync};
use super::room::Missed;
use crate::waitlist::WatchedPlaces;

/// See the module. Kept small: a server has thousands.
#[derive(Debug)]
pub(super) struct Watcher {
    watched: Watched,
    places: WatchedPlaces,
    framing: Framing,
    /// The number of the last tick that it was told of, or that was older than the state it began with.
    seen: u64,
    /// None: nothing yet. A tick from before it is old news.
    told: Option<Told>,
    /// What is left of the present state, which comes before anything else.
    resync: Option<Box<Resync>>,
    _seat: Seat,
}

/// Which drops a watcher is sent. Ids are in their order, each once.
#[derive(Debug)]
pub(super) enum Watched {
    /// Every drop; those that were over before it came are left out.
    All,
    /// These.
    Named(Box<[DropId]>),
    /// These, and each that is scheduled from then on, as it is when that is told.
    NamedAndNew(Box<[DropId]>),
}

/// The most of what several ticks tell that is copied together for one watcher, in bytes.
const MOST_JOINED: usize = 2 * PIECE;

/// What somebody has been told: every event up to this place, and of every drop where it was in its life at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) position: Position,
    pub(super) at: Timestamp,
}

impl Told {
    /// Who was told of `position`, then or later. That was after all that is recorded up to there; of that, the views know when
    /// each drop was scheduled.
    pub(super) fn up_to(position: Position, views: &Views) -> Self {
        let at = views.scheduled_by(position).unwrap_or_default();
        Self { position, at }
    }

    /// Whether `tick` may tell more than this.
    fn is_before(&self, tick: &Tick) -> bool {
        tick.told.position >= self.position || tick.told.at > self.at
    }

    /// Whether the state of a drop that is over, whose last event is at `position`, may be news.
    pub(super) fn is_behind(&self, drop: &LiveStockRow, position: Position) -> bool {
        position > self.position || !drop.status(self.at).is_over()
    }
}

impl Watcher {
    /// Takes `seat`, and begins with the present state: see [`Watcher::next_piece`].
    pub(super) fn new(
        hub: &StreamHub,
        views: &Views,
        watched: Watched,
        places: WatchedPlaces,
        framing: Framing,
        told: Option<Told>,
        seat: Seat,
    ) -> Self {
        let mut watcher = Self {
            watched,
            places,
            framing,
            seen: 0,
            told,
            resync: None,
            _seat: seat,
        };
        watcher.begin_resync(hub.present(), views);
        watcher
    }

    /// The number of the last tick that it was told of.
    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    /// How it is sent to.
    pub(super) const fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether a part of the present state is still to be sent.
    pub(super) const fn is_resyncing(&self) -> bool {
        self.resync.is_some()
    }

    fn begin_resync(&mut self, present: &Present, views: &Views) {
        let (resync, seen, told) = Resync::begin(present, views, self.told, &self.watched);
        self.seen = seen;
        self.told = Some(told);
        self.resync = Some(Box::new(resync));
    }

    /// The next piece of the present state, in `framing`; none once it was given in full. With the
    /// last comes the news of places in line.
    pub(super) fn next_piece(
        &mut self,
        present: &Present,
        views: &Views,
        framing: Framing,
    ) -> Option<Bytes> {
        let resync = self.resync.as_mut()?;
        let piece = resync.next(present, views, framing);
        if !resync.is_done() {
            return Some(piece);
        }
        self.resync = None;
        Some(self.with_places(piece, views, framing))
    }

    /// `news` of drops, and behind it that of the places.
    fn with_places(&mut self, news: Bytes, views: &Views, framing: Framing) -> Bytes {
        let (Some(told), false) = (self.told, self.places.is_empty()) else {
            return news;
        };
        let mut joined = BytesMut::from(news);
        framing.write(&mut joined, |to| {
            self.places.write_news(views, told.position, to);
        });
        joined.freeze()
    }

    /// What it has missed, framed, or as much of it as is sent at once; nothing if that does not
    /// concern it. It counts as told then.
    pub(super) fn catch_up(
        &mut self,
        missed: &Missed<'_>,
        present: &Present,
        views: &Views,
    ) -> Bytes {
        match missed {
            Missed::Nothing => Bytes::new(),
            Missed::Ticks { ticks, first } => {
                let ticks = &ticks[..at_once(ticks)];
                self.seen = first + ticks.len() as u64 - 1;
                self.news(ticks, views)
            }
            Missed::TooMuch => {
                self.begin_resync(present, views);
                let framing = self.framing;
                let piece = self.next_piece(present, views, framing);
                piece.unwrap_or_default()
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
        let sent = since.map(|told| told.position);
        let news = newest(ticks, &self.watched, sent, self.framing);
        if !ticks.iter().any(|tick| self.places.are_in(tick)) {
            return news;
        }
        self.with_places(news, views, self.framing)
    }
}

/// How many of `ticks` are told together: at least one, whose bytes are shared; more only if they
/// are small.
fn at_once(ticks: &[&Tick]) -> usize {
    let mut size = 0;
    let fits = |tick: &&&Tick| {
        size += tick.size();
        size <= MOST_JOINED
    };
    ticks.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_joined_while_they_are_small_and_a_large_one_goes_alone() {
        let joined = |sizes: &[usize]| {
            let ticks = sizes.iter().map(|&size| Tick::of_size(1, size));
            let ticks: Vec<Tick> = ticks.collect();
            at_once(&ticks.iter().collect::<Vec<_>>())
        };
        assert_eq!(joined(&[1; 16]), 16);
        assert_eq!(joined(&[MOST_JOINED / 2, MOST_JOINED / 2, 1]), 2);
        assert_eq!(joined(&[MOST_JOINED / 2, MOST_JOINED]), 1);
        assert_eq!(joined(&[2 * MOST_JOINED, 1]), 1);
    }
}
