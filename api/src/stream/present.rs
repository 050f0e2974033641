//! The present state of many drops, in pieces of bounded size.
//!
//! Promise: a watcher holds at most one piece at a time of what it has not accepted, however many
//! drops there are; watchers that begin at the same position share the pieces, each rendered once.
//! Limit: only those who watch every drop share; a state may be up to [`FRESH`] old, with the
//! changes since then behind it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use domain::values::{DropId, Position};
use engine::{Clock, SystemClock};
use projections::live_stock::LiveStockRow;
use projections::views::{DropView, Views};

use super::framing::Framing;
use super::hub::write_frame;
use super::watcher::{Told, Watched};

/// A piece ends with the first drop that brings it to this size, in bytes.
pub(super) const PIECE: usize = 32 * 1024;
/// Drops that are copied out of the views at once.
const BATCH: usize = 16;
/// How long a state that was rendered for one is given to others.
const FRESH: Duration = Duration::from_millis(50);

/// What newcomers share.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// The number of the last tick that was told.
    ticks: AtomicU64,
    newest: Mutex<Option<Generation>>,
}

/// The state at one position.
#[derive(Debug)]
struct Generation {
    made: Instant,
    seen: u64,
    told: Told,
    /// By the drop after which they begin.
    pieces: HashMap<Option<DropId>, Piece>,
}

/// A part of a state.
#[derive(Debug, Clone)]
struct Piece {
    /// One chunk ([`Framing::Chunked`]).
    chunk: Bytes,
    /// The drop after which it goes on; none: that was all.
    next: Option<DropId>,
}

impl Present {
    /// The number of the last tick.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    /// Numbers a tick that is written. What was rendered before lacks it.
    pub(super) fn next_tick(&self) -> u64 {
        let number = self.ticks.fetch_add(1, Ordering::Release) + 1;
        *self.newest() = None;
        number
    }

    /// Gives back the memory of a state that is too old to be shared.
    pub(super) fn forget_old(&self) {
        let mut newest = self.newest();
        if newest.as_ref().is_some_and(|state| !state.is_fresh()) {
            *newest = None;
        }
    }

    /// What somebody who begins now will have been told, and the number of the tick that it
    /// follows.
    fn begin(&self, views: &Views) -> (u64, Told) {
        let mut newest = self.newest();
        // The number first: a change in between comes twice rather than never. Then the position,
        // so that the states are at least as new; and the time, so that all up to there was
        // recorded.
        let seen = self.ticks();
        let position = views.position();
        let shared = newest.as_ref().filter(|state| {
            state.is_fresh() && state.seen == seen && state.told.position == position
        });
        if let Some(state) = shared {
            return (state.seen, state.told);
        }
        let at = SystemClock.now();
        let state = Generation {
            made: Instant::now(),
            seen,
            told: Told { position, at },
            pieces: HashMap::new(),
        };
        let begun = (state.seen, state.told);
        *newest = Some(state);
        begun
    }

    /// The drops that are not over after `after`, for somebody who began with `told`.
    fn piece(&self, told: Told, after: Option<DropId>, views: &Views) -> Piece {
        let render = || {
            let at = SystemClock.now();
            let source =
                |after| views.drops_after(after, BATCH + 1, |row, _| !row.status(at).is_over());
            Piece::rendered(source, after, told.position, told.position)
        };
        let mut newest = self.newest();
        // An id claims what went over up to there, so a piece is for those who began at its
        // position.
        match newest
            .as_mut()
            .filter(|state| state.is_fresh() && state.told == told)
        {
            Some(state) => state.pieces.entry(after).or_insert_with(render).clone(),
            None => {
                drop(newest);
                render()
            }
        }
    }

    fn newest(&self) -> MutexGuard<'_, Option<Generation>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generation {
    fn is_fresh(&self) -> bool {
        self.made.elapsed() < FRESH
    }
}

impl Piece {
    /// Renders what `source` gives after `after`, [`BATCH`] drops and one to look ahead at a time:
    /// with the id `before`, the very last with the id `last`.
    fn rendered(
        source: impl Fn(Option<DropId>) -> Vec<DropView>,
        mut after: Option<DropId>,
        before: Position,
        last: Position,
    ) -> Self {
        let at = SystemClock.now();
        let mut text = BytesMut::new();
        let next = 'piece: loop {
            let mut batch = source(after);
            let is_end = batch.len() <= BATCH;
            batch.truncate(BATCH);
            let count = batch.len();
            for (place, drop) in batch.iter().enumerate() {
                let is_last = is_end && place + 1 == count;
                write_frame(&mut text, drop, if is_last { last } else { before }, at);
                after = Some(drop.drop_id);
                if !is_last && text.len() >= PIECE {
                    break 'piece after;
                }
            }
            if is_end {
                break None;
            }
        };
        let mut chunk = BytesMut::new();
        Framing::Chunked.write(&mut chunk, |to| to.unsplit(text));
        let chunk = chunk.freeze();
        Self { chunk, next }
    }
}

/// How many drops that were scheduled meanwhile a watcher of new ones is sent at most, the newest.
/// Whoever missed more should read the list.
pub(super) const MOST_NEW: usize = 200;

/// How far a watcher has come in the present state.
#[derive(Debug)]
pub(super) struct Resync {
    /// The drops to give, in the order of their ids; none: every drop.
    named: Option<Box<[DropId]>>,
    /// What it had been told before.
    before: Option<Told>,
    /// What it will have been told at the end.
    told: Told,
    stage: Stage,
}

/// Drops that are over come first, so that the ids of the others may claim them. Each after an id.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Over(Option<DropId>),
    Live(Option<DropId>),
    Done,
}

impl Resync {
    /// Begins, and gives the number of the tick that the state follows, and what will have been
    /// told.
    pub(super) fn begin(
        present: &Present,
        views: &Views,
        before: Option<Told>,
        watched: &Watched,
    ) -> (Self, u64, Told) {
        let (seen, told) = present.begin(views);
        let named = match (watched, before) {
            (Watched::All, _) => None,
            (Watched::Named(drops), _) | (Watched::NamedAndNew(drops), None) => Some(drops.clone()),
            (Watched::NamedAndNew(drops), Some(before)) => {
                let mut all = views.scheduled_after(before.position, MOST_NEW);
                all.extend(drops);
                all.sort_unstable();
                all.dedup();
                Some(all.into())
            }
        };
        // A newcomer needs nothing of what was over by now, unless it was named.
        let stage = if named.is_none() && before.is_none() {
            Stage::Live(None)
        } else {
            Stage::Over(None)
        };
        let resync = Self {
            named,
            before,
            told,
            stage,
        };
        (resync, seen, told)
    }

    /// Whether all was given.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// The next piece in `framing`, which is empty when nothing is left, in the order of ids. Of
    /// drops that are over, only those that were named, or that it may not have been told of.
    pub(super) fn next(&mut self, present: &Present, views: &Views, framing: Framing) -> Bytes {
        let mut over = Bytes::new();
        if let Stage::Over(after) = self.stage {
            let piece = self.over(after, views);
            over = framing.of_chunk(&piece.chunk);
            if let Some(id) = piece.next {
                self.stage = Stage::Over(Some(id));
                return over;
            }
            self.stage = Stage::Live(None);
        }
        let Stage::Live(after) = self.stage else {
            return over;
        };
        let piece = self.live(after, present, views);
        self.stage = piece.next.map_or(Stage::Done, |id| Stage::Live(Some(id)));
        let live = framing.of_chunk(&piece.chunk);
        if over.is_empty() {
            return live;
        }
        let mut both = BytesMut::from(over);
        both.extend_from_slice(&live);
        both.freeze()
    }

    fn live(&self, after: Option<DropId>, present: &Present, views: &Views) -> Piece {
        let Some(watched) = self.named.as_deref() else {
            return present.piece(self.told, after, views);
        };
        let at = SystemClock.now();
        let source = |after| named(watched, after, views, |drop| !drop.row.status(at).is_over());
        Piece::rendered(source, after, self.told.position, self.told.position)
    }

    fn over(&self, after: Option<DropId>, views: &Views) -> Piece {
        let at = SystemClock.now();
        let last = self.told.position;
        let before = self.before.map_or(last, |told| told.position);
        match self.named.as_deref() {
            Some(watched) => {
                let source =
                    |after| named(watched, after, views, |drop| drop.row.status(at).is_over());
                Piece::rendered(source, after, before, last)
            }
            None => {
                let may_be_news = |row: &LiveStockRow, position| {
                    let before = self.before;
                    before.is_some_and(|told| told.is_behind(row, position))
                };
                let source = |after| {
                    views.drops_after(after, BATCH + 1, |row, position| {
                        row.status(at).is_over() && may_be_news(row, position)
                    })
                };
                Piece::rendered(source, after, before, last)
            }
        }
    }
}

/// The `watched` drops after `after` that `wanted` picks: a batch, and one to look ahead.
fn named(
    watched: &[DropId],
    after: Option<DropId>,
    views: &Views,
    wanted: impl Fn(&DropView) -> bool,
) -> Vec<DropView> {
    let start = after.map_or(0, |after| watched.partition_point(|id| *id <= after));
    let drops = watched[start..].iter().filter_map(|&id| views.drop(id));
    drops.filter(wanted).take(BATCH + 1).collect()
}
