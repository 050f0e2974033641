//! Projections replayed from the log alone, in memory: what auditors compare tables with, and what rebuilds fill them from.
//!
//! Promise: the rows are those of a fresh fold, whatever the tables hold. Limit: memory grows with the rows of the
//! projections (a drop, a purchaser, a minute that something happened in), not with the log.

use std::cmp::Ordering;
use std::hash::BuildHasher;

use domain::values::Position;
use futures::StreamExt;
use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};
use infrastructure::codec::RecordedEvent;
use serde_json::Value;
use sqlx::{PgConnection, Row};

use crate::error::CannotApply;
use crate::fold::{Fold, Placed};
use crate::live_stock::LiveStock;
use crate::sales_timeline::SalesTimeline;
use crate::table::Table;
use crate::top_purchasers::TopPurchasers;

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

/// A row that is not what a fresh fold gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Which projection.
    pub table: &'static str,
    /// The last event that changed the row: by the fold, or by the table for a row that should not be there.
    pub position: Position,
    /// What the log says, as JSON; none when there should be no such row.
    pub expected: Option<String>,
    /// What the table says; none when the row is missing.
    pub found: Option<String>,
}

/// A table as it was at its checkpoint, to be compared with a fold of the log up to there.
pub trait CheckedTable: Send {
    /// The projection's name.
    fn name(&self) -> &'static str;
    /// How far the table had read.
    fn checkpoint(&self) -> Position;
    /// Why it had stopped there, if it had.
    fn stopped(&self) -> Option<&str>;
    /// Rows of the table.
    fn rows(&self) -> usize;
    /// Folds the next event; what comes after the checkpoint is left out.
    ///
    /// # Errors
    /// [`CannotApply`].
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply>;
    /// Compares, once everything up to the checkpoint is folded.
    ///
    /// # Errors
    /// The first row, by position, that differs.
    fn compare(&self) -> Result<(), Mismatch>;
    /// What the log says, in key order, as JSON.
    fn folded(&self) -> Vec<Value>;
}

struct Checked<F: Table> {
    checkpoint: Position,
    stopped: Option<String>,
    /// In key order.
    table: Vec<Placed<F>>,
    /// Rows that no fold can give: they cannot even be read.
    unreadable: Vec<(Position, String)>,
    replay: Replay<F>,
}

/// The tables of every projection, as one snapshot of the connection's transaction has them.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn checked_tables(
    connection: &mut PgConnection,
) -> Result<Vec<Box<dyn CheckedTable>>, sqlx::Error> {
    Ok(vec![
        checked::<LiveStock>(connection).await?,
        checked::<TopPurchasers>(connection).await?,
        checked::<SalesTimeline>(connection).await?,
    ])
}

/// Every projection without a table, to be folded up to `until` and looked at.
#[must_use]
pub fn untabled(until: Position) -> Vec<Box<dyn CheckedTable>> {
    vec![
        Box::new(Checked::<LiveStock>::empty(until)),
        Box::new(Checked::<TopPurchasers>::empty(until)),
        Box::new(Checked::<SalesTimeline>::empty(until)),
    ]
}

async fn checked<F: Table>(
    connection: &mut PgConnection,
) -> Result<Box<dyn CheckedTable>, sqlx::Error> {
    let found: Option<(i64, Option<String>)> =
        sqlx::query_as("SELECT position, stopped FROM projection_checkpoints WHERE name = $1")
            .bind(F::NAME)
            .fetch_optional(&mut *connection)
            .await?;
    let (checkpoint, stopped) = found.unwrap_or_default();
    let mut checked = Checked::<F>::empty(place(checkpoint));
    checked.stopped = stopped;
    let sql = format!("SELECT position, row_to_json(t)::text FROM {} t", F::NAME);
    let mut rows = sqlx::query(&sql).fetch(connection);
    while let Some(row) = rows.next().await.transpose()? {
        let (position, text): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        match serde_json::from_str::<Placed<F>>(&text) {
            Ok(placed) => checked.table.push(placed),
            Err(_) => checked.unreadable.push((place(position), text)),
        }
    }
    drop(rows);
    checked.table.shrink_to_fit();
    checked.table.sort_unstable_by_key(|placed| placed.key);
    Ok(Box::new(checked))
}

fn place(position: i64) -> Position {
    Position(u64::try_from(position).unwrap_or_default())
}

impl<F: Table> Checked<F> {
    fn empty(checkpoint: Position) -> Self {
        Self {
            checkpoint,
            stopped: None,
            table: vec![],
            unreadable: vec![],
            replay: Replay::default(),
        }
    }

    fn mismatch(
        &self,
        position: Position,
        expected: Option<&Placed<F>>,
        found: Option<String>,
    ) -> Mismatch {
        Mismatch {
            table: F::NAME,
            position,
            expected: expected.map(text),
            found,
        }
    }
}

impl<F: Table> Checked<F> {
    /// Rows that are not what the fold gives, or that it does not give; of two at one key, the second.
    fn wrong(&self) -> impl Iterator<Item = Mismatch> {
        let mut before = None;
        self.table.iter().filter_map(move |found| {
            let is_second = before.replace(found.key) == Some(found.key);
            let expected = self.replay.get(&found.key).filter(|_| !is_second);
            let is_equal = expected.is_some_and(|expected| {
                (&found.row, found.position) == (&expected.row, expected.position)
            });
            let position = expected.map_or(found.position, |expected| expected.position);
            (!is_equal).then(|| self.mismatch(position, expected, Some(text(found))))
        })
    }

    /// Rows that the fold gives and the table has not.
    fn missing(&self) -> impl Iterator<Item = Mismatch> {
        let is_missing = |expected: &&Placed<F>| {
            let place = |found: &Placed<F>| found.key.cmp(&expected.key);
            self.table.binary_search_by(place).is_err()
        };
        let missing = self.replay.rows.iter().filter(is_missing);
        missing.map(|expected| self.mismatch(expected.position, Some(expected), None))
    }
}

fn earlier(a: &Mismatch, b: &Mismatch) -> Ordering {
    (a.position, &a.expected).cmp(&(b.position, &b.expected))
}

impl<F: Table> CheckedTable for Checked<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    fn rows(&self) -> usize {
        self.table.len()
    }

    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        if recorded.position > self.checkpoint {
            return Ok(());
        }
        self.replay.apply(recorded).map(drop)
    }

    fn compare(&self) -> Result<(), Mismatch> {
        let unreadable = self
            .unreadable
            .iter()
            .map(|(position, found)| self.mismatch(*position, None, Some(found.clone())));
        let first = unreadable.chain(self.wrong()).min_by(earlier);
        // As many rows as there should be, and every one as it should be: then none is missing.
        if first.is_none() && self.table.len() == self.replay.len() {
            return Ok(());
        }
        match first.into_iter().chain(self.missing()).min_by(earlier) {
            Some(first) => Err(first),
            None => Ok(()),
        }
    }

    fn folded(&self) -> Vec<Value> {
        let rows = self.replay.sorted().into_iter();
        rows.map(|placed| serde_json::to_value(placed).unwrap_or_default())
            .collect()
    }
}

fn text<F: Fold>(placed: &Placed<F>) -> String {
    serde_json::to_string(placed).unwrap_or_default()
}
