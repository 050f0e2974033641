//! Comparison of tables, row by row, with a fresh fold of the log.
//!
//! Promise: a table is compared in the state of one instant, at its checkpoint of that instant,
//! however long the log takes to fold. The first different row by position is reported. Memory does
//! not grow with rows that can be joined from parts, only with the number of drops.
//! Limit: a table's rows wait on disk, as binary `COPY` sent them, until the log has been read.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::iter::Peekable;
use std::marker::PhantomData;

use domain::values::{DropId, Position};
use futures::TryStreamExt;
use infrastructure::binary_copy::{Fields, read_header, read_row};
use infrastructure::codec::RecordedEvent;
use infrastructure::log::postgres;
use serde_json::Value;
use sqlx::{Executor, PgConnection};

use crate::columns::{Columns, names, shown};
use crate::error::{ProjectionError, ReplayError, SnapshotError};
use crate::fold::{Fold, Placed};
use crate::live_stock::LiveStock;
use crate::rebuild::NAMES;
use crate::replay::LongReplay;
use crate::sales_timeline::SalesTimeline;
use crate::table::{Table, columns};
use crate::top_purchasers::TopPurchasers;

/// Size of the buffer for a scratch file.
const BUFFER: usize = 1 << 18;

/// A row that differs from that of a fresh fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The projection.
    pub table: &'static str,
    /// The position of the last event that changed the row: according to the fold, or to the table
    /// for a row that should not exist.
    pub position: Position,
    /// The row according to the log, as JSON; `None` if the row should not exist.
    pub expected: Option<String>,
    /// The row of the table, as JSON; `None` if it is missing.
    pub found: Option<String>,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The number of rows in the table.
    pub rows: u64,
    /// The first difference, by position.
    pub mismatch: Option<Mismatch>,
}

/// A table at its checkpoint, to be compared with a fold of the log up to there.
pub trait CheckedTable: Send {
    fn name(&self) -> &'static str;
    /// Returns the table's checkpoint.
    fn checkpoint(&self) -> Position;
    /// Returns why the projection had stopped at the checkpoint, if it had.
    fn stopped(&self) -> Option<&str>;
    /// Returns the number of drops that are not compared because their rows wait to be folded
    /// again.
    fn left_out(&self) -> usize;
    /// Returns an error if another version of the fold made the rows; then a comparison has no
    /// meaning.
    fn other_version(&self) -> Option<ProjectionError>;
    /// Folds the next event. Ignores events after the checkpoint.
    ///
    /// # Errors
    /// [`ReplayError`].
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), ReplayError>;
    /// Compares the rows, once every event up to the checkpoint is folded.
    ///
    /// # Errors
    /// If a scratch file cannot be read.
    fn compare(self: Box<Self>) -> io::Result<Comparison>;
    /// Returns the rows according to the log, in key order, as JSON.
    ///
    /// # Errors
    /// If a scratch file cannot be read; also each row.
    fn folded(self: Box<Self>) -> io::Result<Box<dyn Iterator<Item = io::Result<Value>>>>;
}

/// Prevents rebuilds from swapping a table until the connection's transaction ends. Call it before
/// the transaction takes a snapshot.
///
/// A snapshot has the rows of its instant, but a table's name is resolved when it is read: without
/// the lock, the rows of a table that was swapped in after the snapshot would be invisible.
///
/// # Errors
/// [`SnapshotError::Sql`].
pub async fn hold_tables(connection: &mut PgConnection) -> Result<(), SnapshotError> {
    for table in NAMES {
        let lock = format!("LOCK TABLE {table} IN ACCESS SHARE MODE");
        let locked = connection.execute(lock.as_str()).await;
        locked.map_err(|source| SnapshotError::Sql { table, source })?;
    }
    Ok(())
}

/// Returns the tables of every projection, in the snapshot of the connection's transaction; see
/// [`hold_tables`].
///
/// # Errors
/// [`SnapshotError`].
pub async fn checked_tables(
    connection: &mut PgConnection,
) -> Result<Vec<Box<dyn CheckedTable>>, SnapshotError> {
    Ok(vec![
        checked::<LiveStock>(connection).await?,
        checked::<TopPurchasers>(connection).await?,
        checked::<SalesTimeline>(connection).await?,
    ])
}

/// Returns every projection without a table, to be folded up to `until` and read.
#[must_use]
pub fn without_table(until: Position) -> Vec<Box<dyn CheckedTable>> {
    vec![
        Box::new(Checked::<LiveStock>::without_table(until)),
        Box::new(Checked::<TopPurchasers>::without_table(until)),
        Box::new(Checked::<SalesTimeline>::without_table(until)),
    ]
}

struct Checked<F: Table> {
    checkpoint: Position,
    stopped: Option<String>,
    version: i32,
    /// Drops that are not compared until their rows are folded again.
    left_out: BTreeSet<DropId>,
    /// The rows in key order, as binary `COPY`; `None` without a table.
    table: Option<File>,
    replay: LongReplay<F>,
}

async fn checked<F: Table>(
    connection: &mut PgConnection,
) -> Result<Box<dyn CheckedTable>, SnapshotError> {
    let sql = |source| SnapshotError::Sql {
        table: F::NAME,
        source,
    };
    let found: Option<(i64, Option<String>, i32)> = sqlx::query_as(
        "SELECT position, stopped, fold_version FROM projection_checkpoints WHERE name = $1",
    )
    .bind(F::NAME)
    .fetch_optional(&mut *connection)
    .await
    .map_err(sql)?;
    let (checkpoint, stopped, version) = found.unwrap_or((0, None, F::VERSION));
    let left_out = left_out::<F>(connection, checkpoint).await.map_err(sql)?;
    let listed: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    // Sequential scans read the rows themselves: an index with missing entries would hide rows.
    let sequential_scans = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off";
    connection.execute(sequential_scans).await.map_err(sql)?;
    let statement = format!(
        "COPY (SELECT {} FROM {} WHERE drop_id <> ALL ('{{{}}}'::uuid[]) ORDER BY {}) TO STDOUT (FORMAT binary)",
        names(&columns::<F>()),
        F::NAME,
        listed.join(","),
        names(&F::Key::columns()),
    );
    let mut file = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
    let mut chunks = connection.copy_out_raw(&statement).await.map_err(sql)?;
    while let Some(chunk) = chunks.try_next().await.map_err(sql)? {
        file.write_all(&chunk)?;
    }
    let table = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(Box::new(Checked::<F> {
        checkpoint: Position(u64::try_from(checkpoint).unwrap_or_default()),
        stopped,
        version,
        left_out,
        table: Some(table),
        replay: LongReplay::default(),
    }))
}

/// Returns the drops whose rows are not those of the log at the checkpoint: the table marks them as
/// excluded, or one of their positions was declared void later.
async fn left_out<F: Table>(
    connection: &mut PgConnection,
    checkpoint: i64,
) -> Result<BTreeSet<DropId>, sqlx::Error> {
    // A database that was not yet migrated by a server of this release has no marks.
    let sql = "SELECT to_regclass('projection_quarantines') IS NOT NULL";
    let has_marks: bool = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    if !has_marks {
        return Ok(BTreeSet::new());
    }
    let marked: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT drop_id FROM projection_quarantines WHERE name = $1")
            .bind(F::NAME)
            .fetch_all(&mut *connection)
            .await?;
    let voided = postgres::voided(connection).await?.into_iter();
    let late = voided.filter(|voided| i64::try_from(voided.at.0).is_ok_and(|at| at > checkpoint));
    let late = late.filter_map(|voided| voided.drop_id());
    Ok(marked.into_iter().map(DropId).chain(late).collect())
}

impl<F: Table> Checked<F> {
    fn without_table(until: Position) -> Self {
        Self {
            checkpoint: until,
            stopped: None,
            version: F::VERSION,
            left_out: BTreeSet::new(),
            table: None,
            replay: LongReplay::default(),
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

    fn left_out(&self) -> usize {
        self.left_out.len()
    }

    fn other_version(&self) -> Option<ProjectionError> {
        (self.version != F::VERSION).then_some(ProjectionError::OtherVersion {
            name: F::NAME,
            checkpoint: self.checkpoint,
            found: self.version,
            version: F::VERSION,
        })
    }

    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), ReplayError> {
        if recorded.position > self.checkpoint || self.left_out.contains(&recorded.drop_id) {
            return Ok(());
        }
        self.replay.apply(recorded)
    }

    fn compare(self: Box<Self>) -> io::Result<Comparison> {
        let found = self.table.map(Found::of).transpose()?;
        let found = found.into_iter().flatten();
        RowComparison::<F>::default().compare(self.replay.into_rows()?, found)
    }

    fn folded(self: Box<Self>) -> io::Result<Box<dyn Iterator<Item = io::Result<Value>>>> {
        let rows = self.replay.into_rows()?;
        let to_json = |placed: io::Result<Placed<F>>| Ok(serde_json::to_value(placed?)?);
        Ok(Box::new(rows.map(to_json)))
    }
}

struct FoundRow<F: Table> {
    /// `None` if not even the key can be read.
    key: Option<F::Key>,
    /// `None` if no fold can produce such a row.
    placed: Option<Placed<F>>,
    position: Position,
    bytes: Vec<u8>,
}

impl<F: Table> FoundRow<F> {
    fn of(bytes: Vec<u8>) -> Self {
        let fields = || Fields::of(&bytes);
        let mut last = fields();
        for _ in 1..columns::<F>().len() {
            last.field();
        }
        Self {
            key: F::Key::read(&mut fields()),
            placed: Placed::read_from(fields()),
            position: Position(last.bigint().unwrap_or_default()),
            bytes,
        }
    }

    fn is(&self, expected: &Placed<F>) -> bool {
        self.placed.as_ref().is_some_and(|placed| {
            (placed.key, &placed.row, placed.position)
                == (expected.key, &expected.row, expected.position)
        })
    }

    fn text(&self) -> String {
        match &self.placed {
            Some(placed) => text(placed),
            None => shown(&columns::<F>(), Fields::of(&self.bytes)),
        }
    }
}

/// Reads a table's rows from a scratch file.
struct Found<F> {
    reader: BufReader<File>,
    of: PhantomData<fn() -> F>,
}

impl<F: Table> Found<F> {
    fn of(mut table: File) -> io::Result<Self> {
        table.rewind()?;
        let mut reader = BufReader::with_capacity(BUFFER, table);
        read_header(&mut reader)?;
        Ok(Self {
            reader,
            of: PhantomData,
        })
    }
}

impl<F: Table> Iterator for Found<F> {
    type Item = io::Result<FoundRow<F>>;

    fn next(&mut self) -> Option<io::Result<FoundRow<F>>> {
        let mut row = vec![];
        match read_row(&mut self.reader, &mut row) {
            Ok(true) => Some(Ok(FoundRow::of(row))),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Merges the expected and the found rows, both in key order.
struct RowComparison<F: Table> {
    rows: u64,
    first: Option<Mismatch>,
    of: PhantomData<fn() -> F>,
}

impl<F: Table> Default for RowComparison<F> {
    fn default() -> Self {
        Self {
            rows: 0,
            first: None,
            of: PhantomData,
        }
    }
}

impl<F: Table> RowComparison<F> {
    fn compare(
        mut self,
        expected: impl Iterator<Item = io::Result<Placed<F>>>,
        found: impl Iterator<Item = io::Result<FoundRow<F>>>,
    ) -> io::Result<Comparison> {
        let mut expected = expected.peekable();
        for found in found {
            let found = found?;
            self.rows += 1;
            let counterpart = match found.key {
                Some(key) => self.counterpart(&mut expected, key)?,
                None => None,
            };
            let is_equal = counterpart
                .as_ref()
                .is_some_and(|counterpart| found.is(counterpart));
            if !is_equal {
                self.differs(counterpart.as_ref(), Some(&found));
            }
        }
        for missing in expected {
            self.differs(Some(&missing?), None);
        }
        Ok(Comparison {
            rows: self.rows,
            mismatch: self.first,
        })
    }

    /// Returns the expected row at `key`, unless it was returned before; expected rows before it
    /// are missing.
    fn counterpart(
        &mut self,
        expected: &mut Peekable<impl Iterator<Item = io::Result<Placed<F>>>>,
        key: F::Key,
    ) -> io::Result<Option<Placed<F>>> {
        let is_due =
            |next: &io::Result<Placed<F>>| next.as_ref().map_or(true, |next| next.key <= key);
        while let Some(next) = expected.next_if(is_due) {
            let next = next?;
            match next.key.cmp(&key) {
                Ordering::Equal => return Ok(Some(next)),
                Ordering::Less | Ordering::Greater => self.differs(Some(&next), None),
            }
        }
        Ok(None)
    }

    /// Records the difference with the lowest position.
    fn differs(&mut self, expected: Option<&Placed<F>>, found: Option<&FoundRow<F>>) {
        let position = match (expected, found) {
            (Some(expected), _) => expected.position,
            (None, Some(found)) => found.position,
            (None, None) => return,
        };
        if self
            .first
            .as_ref()
            .is_none_or(|first| position < first.position)
        {
            self.first = Some(Mismatch {
                table: F::NAME,
                position,
                expected: expected.map(text),
                found: found.map(FoundRow::text),
            });
        }
    }
}

fn text<F: Fold>(placed: &Placed<F>) -> String {
    serde_json::to_string(placed).unwrap_or_default()
}
