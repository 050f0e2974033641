//! Tables compared, row by row, with a fresh fold of the log.
//!
//! Promise: a table is compared as it was at one instant, at its checkpoint of that instant, however long the log is that is
//! folded up to there; the first row that differs is named, by position. Memory does not grow with rows that can be joined from
//! parts: with drops alone. Limit: a table waits on disk, as binary `COPY` sent it, until the log was read.

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

/// Bytes of a scratch file in memory.
const BUFFER: usize = 1 << 18;

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

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Rows of the table.
    pub rows: u64,
    /// The first row, by position, that differs.
    pub mismatch: Option<Mismatch>,
}

/// A table as it was at its checkpoint, to be compared with a fold of the log up to there.
pub trait CheckedTable: Send {
    /// The projection's name.
    fn name(&self) -> &'static str;
    /// How far the table had read.
    fn checkpoint(&self) -> Position;
    /// Why it had stopped there, if it had.
    fn stopped(&self) -> Option<&str>;
    /// How many drops are not compared: their rows wait to be folded anew.
    fn left_out(&self) -> usize;
    /// That its rows were made by another version of the fold, if they were: then a comparison says nothing.
    fn other_version(&self) -> Option<ProjectionError>;
    /// Folds the next event; what comes after the checkpoint is left out.
    ///
    /// # Errors
    /// [`ReplayError`].
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), ReplayError>;
    /// Compares, once everything up to the checkpoint is folded.
    ///
    /// # Errors
    /// When a scratch file cannot be read.
    fn compare(self: Box<Self>) -> io::Result<Comparison>;
    /// What the log says, in key order, as JSON.
    ///
    /// # Errors
    /// When a scratch file cannot be read; each row as well.
    fn folded(self: Box<Self>) -> io::Result<Box<dyn Iterator<Item = io::Result<Value>>>>;
}

/// Keeps rebuilds from swapping a table until the connection's transaction ends; to be called before it has a snapshot.
///
/// A snapshot has the rows of its moment, but the names of tables mean what they mean when they are read: of a table that was
/// swapped in between, it would not see the rows.
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

/// The tables of every projection, as one snapshot of the connection's transaction has them; see [`hold_tables`].
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

/// Every projection without a table, to be folded up to `until` and looked at.
#[must_use]
pub fn untabled(until: Position) -> Vec<Box<dyn CheckedTable>> {
    vec![
        Box::new(Checked::<LiveStock>::untabled(until)),
        Box::new(Checked::<TopPurchasers>::untabled(until)),
        Box::new(Checked::<SalesTimeline>::untabled(until)),
    ]
}

struct Checked<F: Table> {
    checkpoint: Position,
    stopped: Option<String>,
    /// Of the fold that made the table.
    version: i32,
    /// Drops that are compared once their rows are folded anew.
    left_out: BTreeSet<DropId>,
    /// Its rows in key order, as binary `COPY`; none: it has none.
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
    // In the order of the rows themselves: an index that lost some would hide them.
    let without_indexes = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off";
    connection.execute(without_indexes).await.map_err(sql)?;
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

/// Drops whose rows are not those of the log at the checkpoint: the table says so, or a position of
/// theirs was declared void after it.
async fn left_out<F: Table>(
    connection: &mut PgConnection,
    checkpoint: i64,
) -> Result<BTreeSet<DropId>, sqlx::Error> {
    // A database that no server of this release has migrated yet has no marks.
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
    let late = late.filter_map(|voided| voided.drop_id);
    Ok(marked.into_iter().map(DropId).chain(late).collect())
}

impl<F: Table> Checked<F> {
    fn untabled(until: Position) -> Self {
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
        Judge::<F>::default().judge(self.replay.into_rows()?, found)
    }

    fn folded(self: Box<Self>) -> io::Result<Box<dyn Iterator<Item = io::Result<Value>>>> {
        let rows = self.replay.into_rows()?;
        let to_json = |placed: io::Result<Placed<F>>| Ok(serde_json::to_value(placed?)?);
        Ok(Box::new(rows.map(to_json)))
    }
}

/// A row of the table.
struct FoundRow<F: Table> {
    /// None when not even that can be read.
    key: Option<F::Key>,
    /// None when no fold can give such a row.
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

/// A table's rows from a scratch file.
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

/// Walks along what is expected and what is found, both in key order.
struct Judge<F: Table> {
    rows: u64,
    first: Option<Mismatch>,
    of: PhantomData<fn() -> F>,
}

impl<F: Table> Default for Judge<F> {
    fn default() -> Self {
        Self {
            rows: 0,
            first: None,
            of: PhantomData,
        }
    }
}

impl<F: Table> Judge<F> {
    fn judge(
        mut self,
        expected: impl Iterator<Item = io::Result<Placed<F>>>,
        found: impl Iterator<Item = io::Result<FoundRow<F>>>,
    ) -> io::Result<Comparison> {
        let mut expected = expected.peekable();
        for found in found {
            let found = found?;
            self.rows += 1;
            let partner = match found.key {
                Some(key) => self.partner(&mut expected, key)?,
                None => None,
            };
            let is_equal = partner.as_ref().is_some_and(|partner| found.is(partner));
            if !is_equal {
                self.differs(partner.as_ref(), Some(&found));
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

    /// The row that is expected at `key`, if there is one and it was not met before; those before it are missing.
    fn partner(
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

    /// Keeps the first, by position.
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
