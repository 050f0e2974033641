//! The definition of a projection: a pure fold of events into rows. Each event changes at most one
//! row.
//!
//! Promise: the same events in the same order give the same rows: in memory, in the tables, in a
//! rebuild and in a stock `cqrs-es` replay.
//! Limit: a fold sees one row at a time; anything that needs more rows is a query, not a fold.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;

use cqrs_es::{EventEnvelope, View};
use domain::private::Private;
use domain::values::{DropId, Position};
use domain::{DropAggregate, DropEvent};
use infrastructure::codec::RecordedEvent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::CannotApply;

/// The input of a fold: an event of a drop, and its personal data.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    pub drop_id: DropId,
    pub event: &'a DropEvent,
    /// The event's personal data, unless it has none or the data was erased.
    pub private: Option<&'a Private>,
}

impl<'a> From<&'a RecordedEvent> for Fact<'a> {
    fn from(recorded: &'a RecordedEvent) -> Self {
        Self {
            drop_id: recorded.drop_id,
            event: &recorded.event,
            private: recorded.private.as_ref(),
        }
    }
}

pub trait Fold: Debug + Default + Send + Sync + 'static {
    /// The key of a row.
    type Key: Clone + Copy + Debug + Eq + Ord + Hash + Serialize + DeserializeOwned + Send + Sync;
    type Row: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// Returns the key of the row that this event changes; `None` if it changes none.
    fn key(fact: Fact<'_>) -> Option<Self::Key>;

    /// Creates the row that begins with this event.
    ///
    /// # Errors
    /// [`CannotApply`] if history cannot contain this event without a preceding row.
    fn start(fact: Fact<'_>) -> Result<Self::Row, CannotApply>;

    /// Changes a row by a later event.
    ///
    /// # Errors
    /// [`CannotApply`] if history cannot contain this event for this row; then the row is
    /// unchanged.
    fn change(row: &mut Self::Row, fact: Fact<'_>) -> Result<(), CannotApply>;
}

/// A row with its key, and the position of the last event that changed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
pub struct Placed<F: Fold> {
    #[serde(flatten)]
    pub key: F::Key,
    #[serde(flatten)]
    pub row: F::Row,
    /// The position of the last event that changed the row.
    pub position: Position,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    bound(serialize = "", deserialize = ""),
    from = "Vec<Placed<F>>",
    into = "Vec<Placed<F>>"
)]
pub struct Rows<F: Fold + Clone>(pub BTreeMap<F::Key, Placed<F>>);

impl<F: Fold + Clone> Default for Rows<F> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<F: Fold + Clone> From<Vec<Placed<F>>> for Rows<F> {
    fn from(rows: Vec<Placed<F>>) -> Self {
        Self(
            rows.into_iter()
                .map(|placed| (placed.key, placed))
                .collect(),
        )
    }
}

impl<F: Fold + Clone> From<Rows<F>> for Vec<Placed<F>> {
    fn from(rows: Rows<F>) -> Self {
        rows.0.into_values().collect()
    }
}

impl<F: Fold + Clone> Rows<F> {
    #[must_use]
    pub fn get(&self, key: &F::Key) -> Option<&Placed<F>> {
        self.0.get(key)
    }

    /// Applies the event at `position` and returns the row that it changed.
    ///
    /// # Errors
    /// [`CannotApply`]; then nothing has changed.
    pub fn apply(
        &mut self,
        position: Position,
        fact: Fact<'_>,
    ) -> Result<Option<&Placed<F>>, CannotApply> {
        let Some(key) = F::key(fact) else {
            return Ok(None);
        };
        match self.0.entry(key) {
            Entry::Vacant(entry) => {
                let row = F::start(fact)?;
                Ok(Some(entry.insert(Placed { key, row, position })))
            }
            Entry::Occupied(entry) => {
                let placed = entry.into_mut();
                F::change(&mut placed.row, fact)?;
                placed.position = position;
                Ok(Some(placed))
            }
        }
    }
}

/// Lets stock replay tools run every fold. They have no positions, so a row's position is the
/// sequence in its stream.
impl<F: Fold + Clone> View<DropAggregate> for Rows<F> {
    /// # Panics
    /// If the event cannot be applied: a stock view cannot report an error.
    fn update(&mut self, envelope: &EventEnvelope<DropAggregate>) {
        let drop_id = envelope
            .aggregate_id
            .parse()
            .expect("a drop's stream is named by a UUID");
        let fact = Fact {
            drop_id,
            event: &envelope.payload,
            private: None,
        };
        let sequence = Position(envelope.sequence as u64);
        self.apply(sequence, fact)
            .expect("the event can be applied");
    }
}
