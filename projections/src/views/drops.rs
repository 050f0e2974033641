//! The drops in memory, and the indexes for reading lists.
//!
//! Promise: the cost of a page is proportional to its rows, not to the number of drops: the first
//! row is found by an index, filtered by phases or not.
//! Limit: phases change with time as well as with events, and the index has them as of one instant,
//! which [`Drops::turn`] advances. A page for an instant outside the index's validity is found by a
//! scan, correct but slow; that happens when the clock has gone back past a start or an end.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::DropEvent;
use domain::status::DropStatus;
use domain::terms::DropTerms;
use domain::values::{DropId, Position, Timestamp};
use infrastructure::codec::RecordedEvent;
use uuid::Uuid;

use super::shown::{Seen, Shown};
use super::{DropView, ROWS_PER_LOCK, Views};
use crate::error::CannotApply;
use crate::fold::{Fold, Placed, Rows};
use crate::live_stock::{DropKey, LiveStock, LiveStockRow};

/// A drop's key in the order of lists, oldest first. It never changes.
type ListKey = (Timestamp, DropId);

#[derive(Debug, Default)]
pub(super) struct Drops {
    rows: Rows<LiveStock>,
    in_order: BTreeSet<ListKey>,
    /// The same by phase, as of `as_of`.
    in_phase: [BTreeSet<ListKey>; DropStatus::ALL.len()],
    /// The starts and ends of all drops that are neither drafts nor cancelled, at which phases
    /// change without an event.
    turns: BTreeSet<(Timestamp, DropId)>,
    /// Every drop by the position of its first event.
    scheduled: BTreeMap<Position, DropId>,
    /// How often the total of each drop changed, as [`domain::DropAggregate::stock_version`]
    /// counts; the drops whose total never changed have no entry.
    stock_versions: HashMap<DropId, u32>,
    shown: Shown,
    as_of: Timestamp,
}

/// Rows, and how many were visited to find them.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) rows: Vec<T>,
    pub(super) visited: usize,
}

impl<T> Found<T> {
    const NONE: Self = Self {
        rows: vec![],
        visited: 0,
    };
}

/// The indexed properties of one drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Indexed {
    phase: DropStatus,
    turns: [Option<Timestamp>; 2],
}

impl Indexed {
    fn of(row: &LiveStockRow, as_of: Timestamp) -> Self {
        let phase = row.status(as_of);
        let turns = match phase {
            DropStatus::Cancelled | DropStatus::Draft => [None, None],
            DropStatus::Scheduled
            | DropStatus::Live
            | DropStatus::SoldOut
            | DropStatus::Ended
            | DropStatus::Paused => [Some(row.terms.starts_at), row.terms.ends_at],
        };
        Self { phase, turns }
    }
}

impl Drops {
    pub(super) fn get(&self, drop_id: DropId) -> Option<&Placed<LiveStock>> {
        self.rows.get(&DropKey { drop_id })
    }

    pub(super) fn view(&self, placed: &Placed<LiveStock>) -> DropView {
        let (shown_at, listed_at) = self.shown.of(placed.key.drop_id);
        let view = DropView::from(placed);
        DropView {
            shown_at: shown_at.unwrap_or(view.shown_at),
            listed_at,
            ..view
        }
    }

    /// Applies an event, and updates the indexes.
    ///
    /// # Errors
    /// [`CannotApply`]; then nothing has changed.
    pub(super) fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        let (drop_id, position) = (recorded.drop_id, recorded.position);
        let key = DropKey { drop_id };
        let (before, seen, row) = match self.rows.0.entry(key) {
            Entry::Vacant(free) => {
                let row = LiveStock::start(recorded.into())?;
                let placed = free.insert(Placed { key, row, position });
                self.scheduled.insert(position, drop_id);
                (None, None, &placed.row)
            }
            Entry::Occupied(found) => {
                let placed = found.into_mut();
                let before = Indexed::of(&placed.row, self.as_of);
                let seen = Seen::of(&placed.row);
                LiveStock::change(&mut placed.row, recorded.into())?;
                placed.position = position;
                (Some(before), Some(seen), &placed.row)
            }
        };
        self.shown
            .follow(drop_id, &recorded.event, position, seen, row);
        let (key, after) = ((row.scheduled_at, drop_id), Indexed::of(row, self.as_of));
        if before != Some(after) {
            self.index(key, before, after);
        }
        if changes_total(&recorded.event) {
            *self.stock_versions.entry(drop_id).or_default() += 1;
        }
        Ok(())
    }

    fn stock_version(&self, drop_id: DropId) -> u32 {
        self.stock_versions.get(&drop_id).copied().unwrap_or(0)
    }

    fn index(&mut self, key: ListKey, before: Option<Indexed>, after: Indexed) {
        let (_, drop_id) = key;
        match before {
            None => drop(self.in_order.insert(key)),
            Some(before) => {
                self.in_phase[before.phase as usize].remove(&key);
                for at in before.turns.into_iter().flatten() {
                    self.turns.remove(&(at, drop_id));
                }
            }
        }
        self.in_phase[after.phase as usize].insert(key);
        for at in after.turns.into_iter().flatten() {
            self.turns.insert((at, drop_id));
        }
    }

    /// Removes a drop.
    pub(super) fn remove(&mut self, drop_id: DropId) {
        let Some(placed) = self.rows.0.remove(&DropKey { drop_id }) else {
            return;
        };
        self.stock_versions.remove(&drop_id);
        self.shown.remove(drop_id);
        let key = (placed.row.scheduled_at, drop_id);
        let Indexed { phase, turns } = Indexed::of(&placed.row, self.as_of);
        self.in_order.remove(&key);
        self.in_phase[phase as usize].remove(&key);
        for at in turns.into_iter().flatten() {
            self.turns.remove(&(at, drop_id));
        }
        // A quarantine is rare: a scan is then cheaper than storing a position in every row.
        self.scheduled.retain(|_, scheduled| *scheduled != drop_id);
    }

    /// Returns true if a drop starts or ends after the instant of the index and up to `now`.
    pub(super) fn must_turn(&self, now: Timestamp) -> bool {
        now > self.as_of && self.turns_between(self.as_of, now).next().is_some()
    }

    /// Advances the index to `now`, never back.
    pub(super) fn turn(&mut self, now: Timestamp) {
        if !self.must_turn(now) {
            return;
        }
        let turned: Vec<DropId> = self.turns_between(self.as_of, now).collect();
        for drop_id in turned {
            if let Some(placed) = self.rows.get(&DropKey { drop_id }) {
                let key = (placed.row.scheduled_at, drop_id);
                let (before, after) = (placed.row.status(self.as_of), placed.row.status(now));
                self.in_phase[before as usize].remove(&key);
                self.in_phase[after as usize].insert(key);
            }
        }
        self.as_of = now;
    }

    /// Returns the drops that start or end after `from` and up to `until`; a drop that does both is
    /// returned twice.
    fn turns_between(
        &self,
        from: Timestamp,
        until: Timestamp,
    ) -> impl Iterator<Item = DropId> + use<'_> {
        let last = DropId(Uuid::max());
        let range = (
            Bound::Excluded((from, last)),
            Bound::Included((until, last)),
        );
        self.turns.range(range).map(|&(_, drop_id)| drop_id)
    }

    /// Returns the drops whose phases at the two instants differ.
    pub(super) fn turned(&self, one: Timestamp, other: Timestamp) -> Found<DropId> {
        let mut found = Found::NONE;
        if one == other {
            return found;
        }
        for drop_id in self.turns_between(one.min(other), one.max(other)) {
            found.visited += 1;
            let row = self.get(drop_id).map(|placed| &placed.row);
            if row.is_some_and(|row| row.status(one) != row.status(other)) {
                found.rows.push(drop_id);
            }
        }
        found.rows.sort_unstable();
        found.rows.dedup();
        found
    }

    /// See [`Views::drops_page`].
    ///
    /// # Errors
    /// [`NoSuchDrop`] if `after` does not exist.
    pub(super) fn page(
        &self,
        phases: &[DropStatus],
        after: Option<DropId>,
        limit: usize,
        now: Timestamp,
        shows: &impl Fn(&LiveStockRow) -> bool,
    ) -> Result<Found<DropView>, NoSuchDrop> {
        let below = match after.map(|drop_id| self.get(drop_id).ok_or(NoSuchDrop)) {
            Some(placed) => {
                let placed = placed?;
                Bound::Excluded((placed.row.scheduled_at, placed.key.drop_id))
            }
            None => Bound::Unbounded,
        };
        let is_wanted = |phase| phases.is_empty() || phases.contains(&phase);
        let (earlier, later) = (now.min(self.as_of), now.max(self.as_of));
        let is_exact = earlier == later || self.turns_between(earlier, later).next().is_none();
        let indexes: Vec<&BTreeSet<ListKey>> = if is_exact && !phases.is_empty() {
            let wanted = DropStatus::ALL
                .into_iter()
                .filter(|&phase| is_wanted(phase));
            wanted.map(|phase| &self.in_phase[phase as usize]).collect()
        } else {
            vec![&self.in_order]
        };
        let newest_first = indexes.into_iter().map(|index| {
            let range = index.range((Bound::Unbounded, below));
            range.rev().copied().peekable()
        });
        let mut sources: Vec<_> = newest_first.collect();
        let mut found = Found::NONE;
        while found.rows.len() < limit {
            // A drop is in one phase only, so the sources have no key in common.
            let newest = (0..sources.len()).max_by_key(|&index| sources[index].peek().copied());
            let Some((_, drop_id)) = newest.and_then(|index| sources[index].next()) else {
                break;
            };
            found.visited += 1;
            if let Some(placed) = self.get(drop_id)
                && is_wanted(placed.row.status(now))
                && shows(&placed.row)
            {
                found.rows.push(self.view(placed));
            }
        }
        Ok(found)
    }

    /// Returns the newest of the drops whose first event is at or before `position`.
    fn last_scheduled_by(&self, position: Position) -> Option<&Placed<LiveStock>> {
        let (_, &drop_id) = self.scheduled.range(..=position).next_back()?;
        self.get(drop_id)
    }

    /// Returns up to `most` of the drops whose first event is after `position`: the newest, newest
    /// first.
    fn scheduled_after(&self, position: Position, most: usize) -> Vec<DropId> {
        let after = (Bound::Excluded(position), Bound::Unbounded);
        let newest_first = self.scheduled.range(after).rev();
        newest_first
            .take(most)
            .map(|(_, &drop_id)| drop_id)
            .collect()
    }
}

fn changes_total(event: &DropEvent) -> bool {
    match event {
        DropEvent::StockAdjusted(_) => true,
        DropEvent::PurchaseRefunded(event) => !event.restocked,
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => false,
    }
}

/// The drop after which a list should continue does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchDrop;

impl Views {
    #[must_use]
    pub fn drop(&self, drop_id: DropId) -> Option<DropView> {
        let hot = self.read();
        let placed = hot.drops.get(drop_id)?;
        Some(hot.drops.view(placed))
    }

    /// Returns the present terms of a drop.
    #[must_use]
    pub fn terms(&self, drop_id: DropId) -> Option<Arc<DropTerms>> {
        let hot = self.read();
        let placed = hot.drops.get(drop_id)?;
        Some(Arc::clone(&placed.row.terms))
    }

    /// Returns a drop with the version of its stock, as
    /// [`domain::DropAggregate::stock_version`] counts.
    #[must_use]
    pub fn drop_and_stock_version(&self, drop_id: DropId) -> Option<(DropView, u32)> {
        let hot = self.read();
        let placed = hot.drops.get(drop_id)?;
        Some((hot.drops.view(placed), hot.drops.stock_version(drop_id)))
    }

    /// Returns up to `limit` drops, newest first, that follow `after` in that order and are in one
    /// of these phases at `now`; an empty list of phases allows all.
    ///
    /// # Errors
    /// [`NoSuchDrop`] if `after` does not exist.
    pub fn drops_page(
        &self,
        phases: &[DropStatus],
        after: Option<DropId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<DropView>, NoSuchDrop> {
        self.drops_page_of(phases, after, limit, now, |_| true)
    }

    /// [`Views::drops_page`] of the drops that `shows` accepts.
    ///
    /// # Errors
    /// [`NoSuchDrop`] if `after` does not exist.
    pub fn drops_page_of(
        &self,
        phases: &[DropStatus],
        after: Option<DropId>,
        limit: usize,
        now: Timestamp,
        shows: impl Fn(&LiveStockRow) -> bool,
    ) -> Result<Vec<DropView>, NoSuchDrop> {
        if !phases.is_empty() && self.read().drops.must_turn(now) {
            self.write().drops.turn(now);
        }
        let found = self.read().drops.page(phases, after, limit, now, &shows);
        found.map(|found| self.counted(found))
    }

    /// Returns a page of up to `most` drops that `wanted` accepts, newest first, starting after
    /// `after`. Other drops are not copied, and a writer waits for a bounded number of them only.
    #[must_use]
    pub fn drops_after(
        &self,
        after: Option<DropId>,
        most: usize,
        wanted: impl Fn(&LiveStockRow, Position) -> bool,
    ) -> Vec<DropView> {
        let mut page = vec![];
        self.scan_drops(after, |drops, placed| {
            if wanted(&placed.row, placed.position) {
                page.push(drops.view(placed));
            }
            page.len() < most
        });
        page
    }

    /// Returns when the last of the drops was scheduled whose first event is at or before
    /// `position`.
    #[must_use]
    pub fn scheduled_by(&self, position: Position) -> Option<Timestamp> {
        let hot = self.read();
        let last = hot.drops.last_scheduled_by(position)?;
        Some(last.row.scheduled_at)
    }

    /// Returns up to `most` of the drops that were scheduled after `position`: the newest, newest
    /// first.
    #[must_use]
    pub fn scheduled_after(&self, position: Position, most: usize) -> Vec<DropId> {
        self.read().drops.scheduled_after(position, most)
    }

    /// Passes every drop after `after` to `visit`, newest first, until it returns false; the lock
    /// is released regularly. If `after` was removed in the meantime, starts at the newest drop
    /// again: visiting a drop twice is harmless.
    fn scan_drops(
        &self,
        mut after: Option<DropId>,
        mut visit: impl FnMut(&Drops, &Placed<LiveStock>) -> bool,
    ) {
        loop {
            let hot = self.read();
            let last = after.and_then(|drop_id| hot.drops.get(drop_id));
            let below = last.map_or(Bound::Unbounded, |placed| {
                Bound::Excluded((placed.row.scheduled_at, placed.key.drop_id))
            });
            let keys = hot.drops.in_order.range((Bound::Unbounded, below)).rev();
            let mut seen = 0;
            for &(_, drop_id) in keys.take(ROWS_PER_LOCK) {
                let placed = hot.drops.get(drop_id);
                if placed.is_some_and(|placed| !visit(&hot.drops, placed)) {
                    return;
                }
                after = Some(drop_id);
                seen += 1;
            }
            if seen < ROWS_PER_LOCK {
                return;
            }
        }
    }

    /// Returns the drops whose phases at the two instants differ.
    #[must_use]
    pub fn turned(&self, one: Timestamp, other: Timestamp) -> Vec<DropId> {
        let found = self.read().drops.turned(one, other);
        self.counted(found)
    }

    /// Returns the number of rows that lists and charts have visited so far. Tests bound their cost
    /// with it.
    #[must_use]
    pub fn rows_visited(&self) -> u64 {
        self.visited.load(Ordering::Relaxed)
    }

    pub(super) fn counted<T>(&self, Found { rows, visited }: Found<T>) -> Vec<T> {
        self.visited.fetch_add(visited as u64, Ordering::Relaxed);
        rows
    }
}
