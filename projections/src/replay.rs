//! Replays of projections from the log alone, for audits (which compare tables with them) and
//! rebuilds (which fill tables from them).
//!
//! Promise: the rows are those of a fresh fold, independent of the tables.
//! Limit: a [`Replay`] keeps every row in memory. A [`LongReplay`] does so only for projections
//! whose rows cannot be joined (one per drop); of the others it keeps [`MOST_ROWS`] in memory, and
//! the rest on disk.

use std::hash::BuildHasher;
use std::io;
use std::iter::Peekable;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};
use infrastructure::codec::RecordedEvent;
use infrastructure::sorted_runs::{Merged, SortedRuns};

use crate::error::{CannotApply, ReplayError};
use crate::fold::{Fold, Placed};
use crate::table::Table;

/// The most rows of one projection in memory, if they can be joined.
const MOST_ROWS: usize = 1 << 17;

/// One projection's rows up to the last applied event. A row contains its key, so the table does
/// not store a copy of it.
#[derive(Debug)]
pub struct Replay<F: Fold> {
    rows: HashTable<Placed<F>>,
    hasher: DefaultHashBuilder,
}

impl<F: Fold> Default for Replay<F> {
    fn default() -> Self {
        Self {
            rows: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<F: Fold> Replay<F> {
    /// Applies the next event and returns the key of the row that it changed.
    ///
    /// # Errors
    /// [`CannotApply`].
    pub fn apply(&mut self, recorded: &RecordedEvent) -> Result<Option<F::Key>, CannotApply> {
        let Some(key) = F::key(recorded.into()) else {
            return Ok(None);
        };
        let position = recorded.position;
        match self.entry(key) {
            Entry::Vacant(entry) => {
                let row = F::start(recorded.into())?;
                entry.insert(Placed { key, row, position });
            }
            Entry::Occupied(mut entry) => {
                let placed = entry.get_mut();
                F::change(&mut placed.row, recorded.into())?;
                placed.position = position;
            }
        }
        Ok(Some(key))
    }

    fn entry(&mut self, key: F::Key) -> Entry<'_, Placed<F>> {
        let hasher = &self.hasher;
        self.rows.entry(
            hasher.hash_one(key),
            |placed| placed.key == key,
            |placed| hasher.hash_one(placed.key),
        )
    }

    /// Adds a row of an earlier replay.
    pub fn resume(&mut self, placed: Placed<F>) {
        match self.entry(placed.key) {
            Entry::Vacant(entry) => drop(entry.insert(placed)),
            Entry::Occupied(mut entry) => *entry.get_mut() = placed,
        }
    }

    #[must_use]
    pub fn get(&self, key: &F::Key) -> Option<&Placed<F>> {
        let hash = self.hasher.hash_one(key);
        self.rows.find(hash, |placed| placed.key == *key)
    }

    /// Returns every row, in key order.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Placed<F>> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|placed| placed.key);
        rows
    }

    /// Removes and returns every row, in key order.
    pub fn take(&mut self) -> Vec<Placed<F>> {
        let mut rows: Vec<_> = self.rows.drain().collect();
        rows.sort_unstable_by_key(|placed| placed.key);
        rows
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// One projection's rows, for a log of any length.
///
/// ```text
///   log ──fold──▶ rows in memory ──too many: in key order──▶ a run on disk ─┐
///                      ▲ start again ◀──────────────────────────────────────┤
///                                                                           └─▶ merged by key
/// ```
#[derive(Debug)]
pub struct LongReplay<F: Table> {
    most: usize,
    part: Replay<F>,
    runs: SortedRuns<Placed<F>>,
}

impl<F: Table> Default for LongReplay<F> {
    fn default() -> Self {
        Self::with_most(MOST_ROWS)
    }
}

impl<F: Table> LongReplay<F> {
    /// Keeps at most this many rows in memory.
    #[must_use]
    pub fn with_most(most: usize) -> Self {
        Self {
            most,
            part: Replay::default(),
            runs: SortedRuns::default(),
        }
    }

    /// # Errors
    /// [`ReplayError`].
    pub fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), ReplayError> {
        self.part.apply(recorded)?;
        if F::JOIN.is_some() && self.part.len() >= self.most {
            self.runs.add(self.part.take())?;
        }
        Ok(())
    }

    /// Returns every row, in key order.
    ///
    /// # Errors
    /// If the scratch file cannot be read.
    pub fn into_rows(mut self) -> io::Result<JoinedRows<F>> {
        let parts = self.runs.merge(self.part.take())?;
        Ok(JoinedRows {
            parts: parts.peekable(),
        })
    }
}

/// Whole rows in key order, joined from their parts.
#[derive(Debug)]
pub struct JoinedRows<F: Table> {
    parts: Peekable<Merged<Placed<F>>>,
}

impl<F: Table> Iterator for JoinedRows<F> {
    type Item = io::Result<Placed<F>>;

    fn next(&mut self) -> Option<io::Result<Placed<F>>> {
        let mut whole = match self.parts.next()? {
            Ok(first) => first,
            Err(error) => return Some(Err(error)),
        };
        let key = whole.key;
        let is_more =
            |part: &io::Result<Placed<F>>| part.as_ref().is_ok_and(|part| part.key == key);
        while let Some(Ok(later)) = self.parts.next_if(is_more) {
            whole.join(later);
        }
        Some(Ok(whole))
    }
}
