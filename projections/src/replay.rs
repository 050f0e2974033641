//! Projections replayed from the log alone, in memory: what auditors compare tables with, and what rebuilds fill them from.
//!
//! Promise: the rows are those of a fresh fold, whatever the tables hold. Limit: memory grows with the rows of the
//! projections (a drop, a purchaser, a minute that something happened in), not with the log.

use domain::values::Position;
use futures::StreamExt;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use infrastructure::codec::RecordedEvent;
use serde_json::Value;
use sqlx::{PgConnection, Row};

use crate::error::CannotApply;
use crate::fold::{Fold, Placed};
use crate::live_stock::LiveStock;
use crate::sales_timeline::SalesTimeline;
use crate::table::Table;
use crate::top_purchasers::TopPurchasers;

/// One projection's rows, as far as it was told.
#[derive(Debug)]
pub struct Replay<F: Fold> {
    rows: HashMap<F::Key, Placed<F>>,
}

impl<F: Fold> Default for Replay<F> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
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
        match self.rows.entry(key) {
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

    /// Takes over a row that an earlier replay came to.
    pub fn resume(&mut self, placed: Placed<F>) {
        self.rows.insert(placed.key, placed);
    }

    /// The row at `key`.
    #[must_use]
    pub fn get(&self, key: &F::Key) -> Option<&Placed<F>> {
        self.rows.get(key)
    }

    /// Every row, in key order.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Placed<F>> {
        let mut rows: Vec<_> = self.rows.values().collect();
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
    table: HashMap<F::Key, Placed<F>>,
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
            Ok(placed) => drop(checked.table.insert(placed.key, placed)),
            Err(_) => checked.unreadable.push((place(position), text)),
        }
    }
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
            table: HashMap::new(),
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
        let wrong = self.replay.rows.values().filter_map(|expected| {
            let found = self.table.get(&expected.key);
            let is_equal = found.is_some_and(|found| {
                (&found.row, found.position) == (&expected.row, expected.position)
            });
            (!is_equal).then(|| self.mismatch(expected.position, Some(expected), found.map(text)))
        });
        let extra = self
            .table
            .values()
            .filter(|found| self.replay.get(&found.key).is_none())
            .map(|found| self.mismatch(found.position, None, Some(text(found))));
        match unreadable
            .chain(wrong)
            .chain(extra)
            .min_by(|a, b| (a.position, &a.expected).cmp(&(b.position, &b.expected)))
        {
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
