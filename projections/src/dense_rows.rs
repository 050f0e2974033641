//! Rows of a fold that has very many of them, as small as they get.
//!
//! Promise: what [`crate::fold::Rows`] promises, with about ten bytes of overhead a row. Limit: in no order.

use domain::lookup::Lookup;
use domain::values::Position;

use crate::error::CannotApply;
use crate::fold::{Fact, Fold, Placed};

/// Rows in a vector, found through a table of their places in it.
#[derive(Debug, Default)]
pub struct DenseRows<F: Fold> {
    rows: Vec<Placed<F>>,
    places: Lookup<u32>,
}

impl<F: Fold> DenseRows<F> {
    /// The row at `key`.
    #[must_use]
    pub fn get(&self, key: &F::Key) -> Option<&Placed<F>> {
        let place = self
            .places
            .find(key, |place| &self.rows[place as usize].key)?;
        self.rows.get(place as usize)
    }

    /// Removes the row at `key`; the last row takes its place.
    pub fn remove(&mut self, key: &F::Key) {
        let rows = &self.rows;
        let key_at = |place: u32| &rows[place as usize].key;
        let Some(place) = self.places.remove(key, key_at) else {
            return;
        };
        let moved = rows
            .last()
            .map(|last| last.key)
            .filter(|moved| moved != key);
        if let Some(moved) = &moved {
            self.places.remove(moved, key_at);
        }
        self.rows.swap_remove(place as usize);
        if let Some(moved) = &moved {
            let rows = &self.rows;
            self.places
                .insert(moved, place, |place| &rows[place as usize].key);
        }
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
        let rows = &self.rows;
        if let Some(place) = self.places.find(&key, |place| &rows[place as usize].key) {
            let placed = &mut self.rows[place as usize];
            F::change(&mut placed.row, fact)?;
            placed.position = position;
            return Ok(());
        }
        let row = F::start(fact)?;
        let next = u32::try_from(rows.len()).expect("fewer than four billion rows");
        self.places
            .insert(&key, next, |place| &rows[place as usize].key);
        self.rows.push(Placed { key, row, position });
        Ok(())
    }
}
