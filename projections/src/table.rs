//! A projection's rows in its table: loaded by key, saved by key, all in one statement each.
//!
//! Rows cross as JSON, so that one piece of code serves every projection and a column is named once, in its row type.

use std::collections::BTreeMap;

use domain::DropEvent;
use serde::Serialize;
use sqlx::PgConnection;

use crate::fold::{Fold, Placed};

/// A projection that is kept in a table, whose columns are the fields of its key, of its row, and `position`.
pub trait Table: Fold {
    /// The projection's name, and its table's.
    const NAME: &'static str;
    /// The columns of the key, in order.
    const KEY_COLUMNS: &'static [&'static str];
    /// The columns of the row, in order.
    const ROW_COLUMNS: &'static [&'static str];

    /// Whether this event is the first of its row: then none is loaded, and the table refuses it if there is one.
    fn starts(_: &DropEvent) -> bool {
        false
    }
}

/// Rows by key.
pub type ByKey<F> = BTreeMap<<F as Fold>::Key, Placed<F>>;

/// Loads the rows at `keys`; a key without a row is left out.
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
        key = F::KEY_COLUMNS.join(", "),
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

/// Inserts rows at keys that have none.
///
/// # Errors
/// [`sqlx::Error`]; among others when there is one, or when a row breaks a `CHECK` of its table.
pub async fn insert<F: Table>(
    connection: &mut PgConnection,
    rows: &[&Placed<F>],
) -> Result<(), sqlx::Error> {
    write(connection, rows, "").await
}

/// Inserts or replaces rows.
///
/// # Errors
/// [`sqlx::Error`]; among others when a row breaks a `CHECK` of its table.
pub async fn save<F: Table>(
    connection: &mut PgConnection,
    rows: &[&Placed<F>],
) -> Result<(), sqlx::Error> {
    let changed = [F::ROW_COLUMNS, &["position"]].concat();
    let set: Vec<String> = changed
        .iter()
        .map(|column| format!("{column} = EXCLUDED.{column}"))
        .collect();
    let key = F::KEY_COLUMNS.join(", ");
    let or_replace = format!("ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "));
    write(connection, rows, &or_replace).await
}

async fn write<F: Table>(
    connection: &mut PgConnection,
    rows: &[&Placed<F>],
    on_conflict: &str,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [F::KEY_COLUMNS, F::ROW_COLUMNS, &["position"]].concat();
    let sql = format!(
        "INSERT INTO {table} ({columns}) \
         SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json) {on_conflict}",
        table = F::NAME,
        columns = columns.join(", "),
    );
    sqlx::query(&sql)
        .bind(to_json(rows)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Every row of a projection's table, in key order.
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
