//! The columns of a projection's table, each named once: for SQL, and for rows in bulk as binary
//! `COPY`.
//!
//! Promise: the table accepts rows that [`Columns::write`] writes, and [`Columns::read`] reads them
//! back unchanged. Other contents of a table cannot be read, but can still be displayed.
//! Limit: single rows are sent as JSON (decision 0010) with the names of the fields, so a column
//! has the name of its field.

use domain::stock::Stock;
use infrastructure::binary_copy::{Fields, RowWriter, instant, integer};
use serde_json::{Map, Value};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

/// The column types in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `uuid`
    Uuid,
    /// `integer`
    Integer,
    /// `bigint`
    Bigint,
    /// `timestamptz`
    Instant,
    /// `json`
    Json,
}

/// A key, a row, or a part of one: some columns of a table, in order.
pub trait Columns: Sized {
    fn columns() -> Vec<Column>;

    fn write(&self, row: &mut RowWriter);

    /// Reads the fields; `None` if they are not in the form that `write` produces.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// Implements [`Columns`] for a struct whose fields are columns:
/// `columns!(Key { drop_id: Uuid, minute: Instant })`.
macro_rules! columns {
    ($type:ident { $($field:ident: $kind:ident),+ $(,)? }) => {
        impl $crate::columns::Columns for $type {
            fn columns() -> Vec<$crate::columns::Column> {
                vec![$($crate::columns::Column {
                    name: stringify!($field),
                    kind: $crate::columns::Kind::$kind,
                }),+]
            }

            fn write(&self, row: &mut ::infrastructure::binary_copy::RowWriter) {
                $($crate::columns::columns!(@write row, $kind, self.$field);)+
            }

            fn read(fields: &mut ::infrastructure::binary_copy::Fields<'_>) -> Option<Self> {
                $(let $field = $crate::columns::columns!(@read fields, $kind);)+
                Some(Self { $($field),+ })
            }
        }
    };
    (@write $row:ident, Uuid, $value:expr) => { $row.uuid($value.into()) };
    (@write $row:ident, Bigint, $value:expr) => { $row.bigint($value.into()) };
    (@write $row:ident, Instant, $value:expr) => { $row.instant($value) };
    (@read $fields:ident, Uuid) => { $fields.uuid()?.into() };
    (@read $fields:ident, Bigint) => { $fields.bigint()?.try_into().ok()? };
    (@read $fields:ident, Instant) => { $fields.instant()? };
}
pub(crate) use columns;

columns!(Stock {
    total: Bigint,
    available: Bigint,
    held: Bigint,
    sold: Bigint,
});

/// Returns the names as a SQL list, in order.
#[must_use]
pub fn names(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    names.join(", ")
}

/// Formats a row of these columns, readable or not, as JSON for people.
#[must_use]
pub fn shown(columns: &[Column], mut fields: Fields<'_>) -> String {
    let shown: Map<String, Value> = columns
        .iter()
        .map(|column| {
            let field = fields.field().flatten();
            let value = field.map_or(Value::Null, |bytes| value(column.kind, bytes));
            (column.name.to_owned(), value)
        })
        .collect();
    Value::Object(shown).to_string()
}

fn value(kind: Kind, bytes: &[u8]) -> Value {
    let known = match kind {
        Kind::Uuid => Uuid::from_slice(bytes).ok().map(|id| id.to_string().into()),
        Kind::Integer => bytes
            .try_into()
            .ok()
            .map(|bytes| i32::from_be_bytes(bytes).into()),
        Kind::Bigint => integer(bytes).map(Value::from),
        Kind::Instant => instant(bytes).ok().map(|at| at.to_string().into()),
        Kind::Json => serde_json::from_slice(bytes).ok(),
    };
    known.unwrap_or_else(|| unknown(bytes))
}

/// Formats a value of a type that the column should not have: as text if possible.
fn unknown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.into(),
        Ok(_) | Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{digits}").into()
        }
    }
}
