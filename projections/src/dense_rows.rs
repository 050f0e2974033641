//! Rows of a fold that has very many of them, as small as they get.
//!
//! Promise: what [`crate::fold::Rows`] promises, with about ten bytes of overhead a row. Limit: in no order, and a row stays.

use std::hash::BuildHasher;

use domain::values::Position;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::error::CannotApply;
use crate::fold::{Fact, Fold, Placed};

/// Rows in a vector, found through a table of their places in it.
#[derive(Debug, Default)]
pub struct DenseRows<F: Fold> {
    rows: Vec<Placed<F>>,
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<F: Fold> DenseRows<F> {
    /// The row at `key`.
    #[must_use]
    pub fn get(&self, key: &F::Key) -> Option<&Placed<F>> {
        let hash = self.hasher.hash_one(key);
        let is_it = |&place: &u32| self.rows[place as usize].key == *key;
        let place = self.places.find(hash, is_it)?;
        self.rows.get(*place as usize)
    }

    /// Applies the event at `position`.
    ///
    /// # Errors
    /// [`CannotApply`]; nothing has changed then.
    ///
    /// # Panics
    /// At the four billionth row.
    pub fn apply(&mut self, position: Position, fact: Fact<'_>) -> Result<(), CannotApply> {
        let Some(key) = F::key(fact) else {
            return Ok(());
        };
        let (rows, hasher) = (&mut self.rows, &self.hasher);
        let entry = self.places.entry(
            hasher.hash_one(key),
            |&place| rows[place as usize].key == key,
            |&place| hasher.hash_one(rows[place as usize].key),
        );
        match entry {
            Entry::Occupied(place) => {
                let placed = &mut rows[*place.get() as usize];
                F::change(&mut placed.row, fact)?;
                placed.position = position;
            }
            Entry::Vacant(vacant) => {
                let row = F::start(fact)?;
                vacant.insert(u32::try_from(rows.len()).expect("fewer than four billion rows"));
                rows.push(Placed { key, row, position });
            }
        }
        Ok(())
    }
}
