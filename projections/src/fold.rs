//! What every projection is: a pure fold of events into rows, one row per event at most.
//!
//! Promise: the same events in the same order give the same rows: in memory, in the tables, in a rebuild and in a stock
//! `cqrs-es` replay. Limit: a fold sees one row at a time; what needs more is a query over rows, not a fold.

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

/// What a fold is told: what happened to which drop, and the personal data that came with it.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// The drop.
    pub drop_id: DropId,
    /// What happened.
    pub event: &'a DropEvent,
    /// Personal data beside the event, unless there was none or it was erased.
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

/// One projection.
pub trait Fold: Debug + Default + Send + Sync + 'static {
    /// Names one row.
    type Key: Clone + Copy + Debug + Eq + Ord + Hash + Serialize + DeserializeOwned + Send + Sync;
    /// One row.
    type Row: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// The row that this event changes; none when it changes nothing.
    fn key(fact: Fact<'_>) -> Option<Self::Key>;

    /// The row that begins with this event.
    ///
    /// # Errors
    /// [`CannotApply`] when history cannot contain this event where there is no row.
    fn start(fact: Fact<'_>) -> Result<Self::Row, CannotApply>;

    /// Changes a row by a later event.
    ///
    /// # Errors
    /// [`CannotApply`] when history cannot contain this event at this row, which has not changed then.
    fn change(row: &mut Self::Row, fact: Fact<'_>) -> Result<(), CannotApply>;
}

/// A row at its key, and the position of the last event that changed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
pub struct Placed<F: Fold> {
    /// Where.
    #[serde(flatten)]
    pub key: F::Key,
    /// What.
    #[serde(flatten)]
    pub row: F::Row,
    /// Since when.
    pub position: Position,
}

/// A projection's rows in memory.
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
    /// The row at `key`.
    #[must_use]
    pub fn get(&self, key: &F::Key) -> Option<&Placed<F>> {
        self.0.get(key)
    }

    /// Applies the event at `position`; returns the row that it changed.
    ///
    /// # Errors
    /// [`CannotApply`]; nothing has changed then.
    pub fn apply(
        &mut self,
        position: Position,
        fact: Fact<'_>,
    ) -> Result<Option<&Placed<F>>, CannotApply> {
        let Some(key) = F::key(fact) else {
            return Ok(None);
        };
        match self.0.entry(key) {
            Entry::Vacant(place) => {
                let row = F::start(fact)?;
                Ok(Some(place.insert(Placed { key, row, position })))
            }
            Entry::Occupied(place) => {
                let placed = place.into_mut();
                F::change(&mut placed.row, fact)?;
                placed.position = position;
                Ok(Some(placed))
            }
        }
    }
}

/// So that stock replay tools can run every fold. They know no positions, so a row's is its stream's sequence.
impl<F: Fold + Clone> View<DropAggregate> for Rows<F> {
    /// # Panics
    /// When the event cannot be applied: a stock view has no other way to say so.
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
        self.apply(sequence, fact).expect("history applies");
    }
}
