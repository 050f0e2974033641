//! A projection's rows in its table: loaded and saved by key, in one statement each; and in bulk,
//! as binary `COPY`.
//!
//! The few rows of a step are sent as JSON, so that the same code serves every projection. Large
//! numbers of rows, in rebuilds and audits, are sent in the form of [`crate::columns`], which
//! scratch files use as well.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use domain::DropEvent;
use domain::values::Position;
use infrastructure::binary_copy::{Fields, RowWriter, read_row};
use infrastructure::sorted_runs::Record;
use serde::Serialize;
use sqlx::PgConnection;

use crate::columns::{Column, Columns, Kind, names};
use crate::fold::{Fold, Placed};

/// Extends a row that was folded from one part of the log by `later`, the row of the following
/// part.
pub type Join<F> = fn(row: &mut <F as Fold>::Row, later: <F as Fold>::Row);

/// A projection with a table, whose columns are those of its key, of its row, and `position`.
pub trait Table: Fold<Key: Columns, Row: Columns> {
    /// The name of the projection and of its table.
    const NAME: &'static str;

    /// Increased by one with every change after which the same log gives different rows, so that no
    /// program continues with rows of another version. Source:
    /// docs/decisions/0028-rows-know-the-version-of-their-fold.md.
    const VERSION: i32;

    /// Joins rows that were folded from separate parts of the log, each as if it were the first
    /// part. For projections with too many rows to keep them all in memory. `None` if a row can
    /// only be folded from the whole log.
    const JOIN: Option<Join<Self>> = None;

    /// Returns true if this event is the first of its row: then no row is loaded, and the table
    /// rejects a second one.
    fn starts(_: &DropEvent) -> bool {
        false
    }
}

/// Returns all columns of `F`'s table: first those of the key, last `position`.
#[must_use]
pub fn columns<F: Table>() -> Vec<Column> {
    let position = Column {
        name: "position",
        kind: Kind::Bigint,
    };
    [F::Key::columns(), F::Row::columns(), vec![position]].concat()
}

impl<F: Table> Placed<F> {
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            key: self.key,
            row: self.row.clone(),
            position: self.position,
        }
    }

    /// Adds the result of a later part of the log for the same key.
    ///
    /// # Panics
    /// If the rows of `F` cannot be joined: they have no parts then.
    pub fn join(&mut self, later: Self) {
        assert!(
            self.key == later.key && self.position < later.position,
            "parts of one row, in order"
        );
        let join = F::JOIN.expect("only rows that can be joined are folded in parts");
        join(&mut self.row, later.row);
        self.position = later.position;
    }

    /// Writes the row, in the order of [`columns`].
    pub fn write_to(&self, row: &mut RowWriter) {
        row.row(columns::<F>().len());
        self.key.write(row);
        self.row.write(row);
        row.bigint(self.position.0);
    }

    /// Reads the form that [`Placed::write_to`] writes; `None` for anything else.
    #[must_use]
    pub fn read_from(mut fields: Fields<'_>) -> Option<Self> {
        let placed = Self {
            key: F::Key::read(&mut fields)?,
            row: F::Row::read(&mut fields)?,
            position: Position(fields.bigint()?),
        };
        fields.is_at_end().then_some(placed)
    }
}

impl<F: Table> Record for Placed<F> {
    type Key = F::Key;

    fn key(&self) -> F::Key {
        self.key
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut row = RowWriter::default();
        self.write_to(&mut row);
        to.write_all(row.bytes())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut row = vec![];
        let is_row = read_row(from, &mut row)?;
        let placed = is_row.then(|| Self::read_from(Fields::of(&row))).flatten();
        placed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is not a row"))
    }
}

/// Returns the clause that makes an `INSERT` into `F`'s table replace an existing row.
#[must_use]
pub fn or_replace<F: Table>() -> String {
    let key = F::Key::columns();
    let set: Vec<String> = columns::<F>()[key.len()..]
        .iter()
        .map(|Column { name, .. }| format!("{name} = EXCLUDED.{name}"))
        .collect();
    format!(
        "ON CONFLICT ({}) DO UPDATE SET {}",
        names(&key),
        set.join(", ")
    )
}

pub type ByKey<F> = BTreeMap<<F as Fold>::Key, Placed<F>>;

/// Loads the rows at `keys`; keys without a row are omitted.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn load<F: Table>(
    connection: &mut PgConnection,
    keys: &[F::Key],
) -> Result<ByKey<F>, sqlx::Error> {
    let sql = format!(
        "SELECT row_to_json(t)::text FROM {table} t \
         JOIN json_populate_recordset(NULL::{table}, $1::json) k USING ({key})",
        table = F::NAME,
        key = names(&F::Key::columns()),
    );
    let found: Vec<String> = sqlx::query_scalar(&sql)
        .bind(to_json(keys)?)
        .fetch_all(connection)
        .await?;
    found
        .iter()
        .map(|text| parse::<F>(text).map(|placed| (placed.key, placed)))
        .collect()
}

/// Inserts rows at new keys.
///
/// # Errors
/// [`sqlx::Error`], for example if a key exists, or if a row violates a `CHECK` of its table.
pub async fn insert<F: Table>(
    connection: &mut PgConnection,
    rows: &[&Placed<F>],
) -> Result<(), sqlx::Error> {
    write(connection, rows, "").await
}

/// # Errors
/// [`sqlx::Error`], for example if a row violates a `CHECK` of its table.
pub async fn save<F: Table>(
    connection: &mut PgConnection,
    rows: &[&Placed<F>],
) -> Result<(), sqlx::Error> {
    write(connection, rows, &or_replace::<F>()).await
}

async fn write<F: Table>(
    connection: &mut PgConnection,
    rows: &[&Placed<F>],
    on_conflict: &str,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO {table} ({columns}) \
         SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json) {on_conflict}",
        table = F::NAME,
        columns = names(&columns::<F>()),
    );
    sqlx::query(&sql)
        .bind(to_json(rows)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Returns every row of a projection's table, in key order.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn load_all<F: Table>(connection: &mut PgConnection) -> Result<ByKey<F>, sqlx::Error> {
    let sql = format!("SELECT row_to_json(t)::text FROM {} t", F::NAME);
    let found: Vec<String> = sqlx::query_scalar(&sql).fetch_all(connection).await?;
    found
        .iter()
        .map(|text| parse::<F>(text).map(|placed| (placed.key, placed)))
        .collect()
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn parse<F: Fold>(text: &str) -> Result<Placed<F>, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}
