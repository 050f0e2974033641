//! Rows of a fold that has very many of them, as small as they get.
//!
//! Promise: what [`crate::fold::Rows`] promises, with about ten bytes of overhead a row. Limit: in no order, and a row stays.

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
