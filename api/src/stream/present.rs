//! The present state of many drops, in pieces of bounded size.
//!
//! Promise: a subscriber holds at most one piece of unaccepted bytes, however many drops there are;
//! subscribers that begin at the same position share the pieces, each rendered once. Limit: only
//! subscribers of every drop share; a state may be up to [`FRESH`] old, followed by the changes
//! since then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use domain::values::{DropId, Position, Timestamp};
use engine::{Clock, EngineHandle, SystemClock};
use projections::live_stock::LiveStockRow;
use projections::views::{DropView, Views};

use super::framing::Framing;
use super::subjects::Subjects;
use super::subscriber::{CompleteUpTo, Watched};
use super::tick::write_frame;
use crate::viewer::Viewer;

/// A piece ends with the first drop that fills it to this size, in bytes.
pub(super) const PIECE: usize = 32 * 1024;
/// Number of drops that are copied out of the views in one batch.
const BATCH: usize = 16;
/// How long a rendered state is shared with new subscribers.
const FRESH: Duration = Duration::from_millis(50);

/// The present state that new subscribers share.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// The number of the last tick that was published.
    ticks: AtomicU64,
    newest: Mutex<Option<Generation>>,
    /// Knows how wrong this node's clock is; unset until the log is loaded.
    engine: OnceLock<EngineHandle>,
}

/// The state at one position.
#[derive(Debug)]
struct Generation {
    created: Instant,
    seen: u64,
    complete: CompleteUpTo,
    /// Pieces, keyed by their reader and the drop after which each begins.
    pieces: HashMap<(Viewer, Option<DropId>), Piece>,
}

/// A part of a state.
#[derive(Debug, Clone)]
struct Piece {
    /// One chunk ([`Framing::Chunked`]).
    chunk: Bytes,
    /// The drop after which the next piece begins; `None` after the last piece.
    next: Option<DropId>,
}

impl Present {
    /// Shows statuses by the database's clock from now on, as `engine` knows it.
    pub(super) fn follow_clock(&self, engine: EngineHandle) {
        // The first engine is the only one of this process.
        let _same = self.engine.set(engine);
    }

    /// Returns this node's time, corrected where the engine measured a skew.
    pub(super) fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        self.engine
            .get()
            .map_or(now, |engine| engine.corrected(now))
    }

    /// Returns the number of the last tick.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    /// Returns the number of a new tick, and discards the shared state, which lacks its
    /// changes.
    pub(super) fn next_tick(&self) -> u64 {
        let number = self.ticks.fetch_add(1, Ordering::Release) + 1;
        *self.newest() = None;
        number
    }

    /// Frees a state that is too old to be shared.
    pub(super) fn forget_old(&self) {
        let mut newest = self.newest();
        if newest.as_ref().is_some_and(|state| !state.is_fresh()) {
            *newest = None;
        }
    }

    /// Returns the number of the tick that a new subscriber's state follows, and the point up
    /// to which that state is complete.
    fn begin(&self, views: &Views) -> (u64, CompleteUpTo) {
        let mut newest = self.newest();
        // Read the number first: a change in between is sent twice rather than never. Then
        // the position, so that the states are at least as new. Then the time, so that
        // everything up to it is recorded.
        let seen = self.ticks();
        let position = views.position();
        let shared = newest.as_ref().filter(|state| {
            state.is_fresh() && state.seen == seen && state.complete.position == position
        });
        if let Some(state) = shared {
            return (state.seen, state.complete);
        }
        let at = self.now();
        let state = Generation {
            created: Instant::now(),
            seen,
            complete: CompleteUpTo { position, at },
            pieces: HashMap::new(),
        };
        let beginning = (state.seen, state.complete);
        *newest = Some(state);
        beginning
    }

    /// Returns the drops after `after` that are not over, for a subscriber that began at
    /// `complete`.
    fn piece(
        &self,
        viewer: Viewer,
        complete: CompleteUpTo,
        after: Option<DropId>,
        views: &Views,
    ) -> Piece {
        let render = || {
            let at = self.now();
            let source = |after| {
                views.drops_after(after, BATCH + 1, |row, _| {
                    viewer.lists_row(row) && !row.status(at).is_over()
                })
            };
            let ids = (complete.position, complete.position);
            Piece::rendered(viewer, source, after, ids, at)
        };
        let mut newest = self.newest();
        // An id acknowledges the drops that ended before it, so a piece is shared only
        // among subscribers that began at its position.
        match newest
            .as_mut()
            .filter(|state| state.is_fresh() && state.complete == complete)
        {
            Some(state) => {
                let piece = state.pieces.entry((viewer, after));
                piece.or_insert_with(render).clone()
            }
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
        self.created.elapsed() < FRESH
    }
}

impl Piece {
    /// Renders the drops of `source` after `after` as `viewer` sees them, in batches of [`BATCH`]
    /// and one to look ahead: with the id `before`, the very last with the id `last`, as of `at`.
    fn rendered(
        viewer: Viewer,
        source: impl Fn(Option<DropId>) -> Vec<DropView>,
        mut after: Option<DropId>,
        (before, last): (Position, Position),
        at: Timestamp,
    ) -> Self {
        let mut text = BytesMut::new();
        let next = 'piece: loop {
            let mut batch = source(after);
            let is_end = batch.len() <= BATCH;
            batch.truncate(BATCH);
            let count = batch.len();
            for (index, drop) in batch.iter().enumerate() {
                let is_last = is_end && index + 1 == count;
                let id = if is_last { last } else { before };
                write_frame(&mut text, viewer, drop, id, at);
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

/// Maximum number of drops scheduled meanwhile that a reconnecting subscriber of new drops is sent:
/// the newest. A client that missed more reads the list.
pub(super) const MOST_NEW: usize = 200;

/// Progress of one subscriber through the present state.
#[derive(Debug)]
pub(super) struct Resync {
    viewer: Viewer,
    /// The drops to send, sorted by id; `None`: every drop.
    named: Option<Box<[DropId]>>,
    /// The point up to which the subscriber's state was complete before.
    before: Option<CompleteUpTo>,
    /// The point up to which it is complete at the end.
    complete: CompleteUpTo,
    stage: Stage,
}

/// Drops that are over are sent first, so that the ids of the others acknowledge them. Each stage
/// continues after a drop.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Over(Option<DropId>),
    Live(Option<DropId>),
    Done,
}

impl Resync {
    /// Begins a resync. Returns the number of the tick that the state follows, and the point up
    /// to which the state is complete.
    pub(super) fn begin(
        present: &Present,
        views: &Views,
        before: Option<CompleteUpTo>,
        subjects: &Subjects,
    ) -> (Self, u64, CompleteUpTo) {
        let viewer = subjects.viewer;
        let (seen, complete) = present.begin(views);
        let named = match (&subjects.drops, before) {
            (Watched::All, _) => None,
            (Watched::Named(drops), _) | (Watched::NamedAndNew(drops), None) => Some(drops.clone()),
            (Watched::NamedAndNew(drops), Some(before)) => {
                let mut all = views.scheduled_after(before.position, MOST_NEW);
                let is_listed = |id: &DropId| {
                    let terms = views.terms(*id);
                    terms.is_some_and(|terms| viewer.lists(&terms))
                };
                all.retain(is_listed);
                all.extend(drops);
                all.sort_unstable();
                all.dedup();
                Some(all.into())
            }
        };
        // A new subscriber needs only named drops among those that are over.
        let stage = if named.is_none() && before.is_none() {
            Stage::Live(None)
        } else {
            Stage::Over(None)
        };
        let resync = Self {
            viewer,
            named,
            before,
            complete,
            stage,
        };
        (resync, seen, complete)
    }

    /// Returns true after the last piece.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns the next piece in `framing`, in the order of ids; empty when nothing is left. Of
    /// drops that are over, only those that are named or that the subscriber may not know of.
    pub(super) fn next(&mut self, present: &Present, views: &Views, framing: Framing) -> Bytes {
        let mut over = Bytes::new();
        if let Stage::Over(after) = self.stage {
            let piece = self.over(after, present, views);
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
            return present.piece(self.viewer, self.complete, after, views);
        };
        let at = present.now();
        let viewer = self.viewer;
        let is_live =
            |drop: &DropView| viewer.finds(&drop.row.terms) && !drop.row.status(at).is_over();
        let source = |after| named(watched, after, views, is_live);
        let ids = (self.complete.position, self.complete.position);
        Piece::rendered(viewer, source, after, ids, at)
    }

    fn over(&self, after: Option<DropId>, present: &Present, views: &Views) -> Piece {
        let (at, viewer) = (present.now(), self.viewer);
        let last = self.complete.position;
        let before = self.before.map_or(last, |complete| complete.position);
        match self.named.as_deref() {
            Some(watched) => {
                let is_over = |drop: &DropView| {
                    viewer.finds(&drop.row.terms) && drop.row.status(at).is_over()
                };
                let source = |after| named(watched, after, views, is_over);
                Piece::rendered(viewer, source, after, (before, last), at)
            }
            None => {
                let may_be_unknown = |row: &LiveStockRow, position| {
                    let before = self.before;
                    before.is_some_and(|complete| complete.is_behind(row, position))
                };
                let source = |after| {
                    views.drops_after(after, BATCH + 1, |row, position| {
                        viewer.lists_row(row)
                            && row.status(at).is_over()
                            && may_be_unknown(row, position)
                    })
                };
                Piece::rendered(viewer, source, after, (before, last), at)
            }
        }
    }
}

/// Returns the `watched` drops after `after` for which `wanted` is true: a batch, and one to look
/// ahead.
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
