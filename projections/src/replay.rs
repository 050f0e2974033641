//! Projections replayed from the log alone: what auditors compare tables with, and what rebuilds fill them from.
//!
//! Promise: the rows are those of a fresh fold, whatever the tables hold. Limit: a [`Replay`] keeps every row in memory. A
//! [`LongReplay`] does so only for projections whose rows cannot be joined (one for each drop); of the others it keeps
//! [`MOST_ROWS`], and the rest on disk.

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

/// Rows of one projection in memory, where they can be joined.
const MOST_ROWS: usize = 1 << 17;

/// One projection's rows, as far as it was told. A row has its key in it, so the table keeps none beside it.
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
    /// Applies the next event; returns the key of the row that it changed.
    ///
    /// # Errors
    /// [`CannotApply`].
    pub fn apply(&mut self, recorded: &RecordedEvent) -> Result<Option<F::Key>, CannotApply> {
        let Some(key) = F::key(recorded.into()) else {
            return Ok(None);
        };
        let position = recorded.position;
        match self.entry(key) {
            Entry::Vacant(place) => {
                let row = F::start(recorded.into())?;
                place.insert(Placed { key, row, position });
            }
            Entry::Occupied(mut place) => {
                let placed = place.get_mut();
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

    /// Takes over a row that an earlier replay came to.
    pub fn resume(&mut self, placed: Placed<F>) {
        match self.entry(placed.key) {
            Entry::Vacant(place) => drop(place.insert(placed)),
            Entry::Occupied(mut place) => *place.get_mut() = placed,
        }
    }

    /// The row at `key`.
    #[must_use]
    pub fn get(&self, key: &F::Key) -> Option<&Placed<F>> {
        let hash = self.hasher.hash_one(key);
        self.rows.find(hash, |placed| placed.key == *key)
    }

    /// Every row, in key order.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Placed<F>> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|placed| placed.key);
        rows
    }

    /// Every row, in key order; none is left.
    pub fn take(&mut self) -> Vec<Placed<F>> {
        let mut rows: Vec<_> = self.rows.drain().collect();
        rows.sort_unstable_by_key(|placed| placed.key);
        rows
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// One projection's rows, of a log of any length.
///
/// ```text
///   log ──fold──▶ rows in memory ──too many: in key order──▶ a run on disk ─┐
///                      ▲ begin anew ◀───────────────────────────────────────┤
///                                                                           └─▶ merged by key, equal keys joined
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
    /// With so many rows in memory.
    #[must_use]
    pub fn with_most(most: usize) -> Self {
        Self {
            most,
            part: Replay::default(),
            runs: SortedRuns::default(),
        }
    }

    /// Applies the next event.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), ReplayError> {
        self.part.apply(recorded)?;
        if F::JOIN.is_some() && self.part.len() >= self.most {
            self.runs.add(self.part.take())?;
        }
        Ok(())
    }

    /// Every row, in key order.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
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
