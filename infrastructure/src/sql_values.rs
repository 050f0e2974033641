//! Positions and times in columns of tables next to the log.
//!
//! Limit: a position is `bigint` in SQL. A number that does not fit becomes the largest one, and
//! the sign of a stored one is ignored: both need more than 2^63 events. The log itself is read by
//! [`crate::log`], which reports such a row as damage.

use chrono::{DateTime, Utc};
use domain::values::{Position, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// Returns a position as a parameter of a statement.
#[must_use]
pub fn to_sql(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

/// Returns the position in a value that a statement returned.
#[must_use]
pub const fn from_sql(position: i64) -> Position {
    Position(position.unsigned_abs())
}

/// Returns the position in a column.
///
/// # Errors
/// [`sqlx::Error`]: no such column, another type, or NULL.
pub fn position_in(row: &PgRow, column: &str) -> Result<Position, sqlx::Error> {
    row.try_get(column).map(from_sql)
}

/// Returns the time in a column, in milliseconds; `None` if it is NULL.
///
/// # Errors
/// [`sqlx::Error`]: no such column, or another type.
pub fn time_in(row: &PgRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    let at: Option<DateTime<Utc>> = row.try_get(column)?;
    Ok(at.map(Timestamp::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_that_was_stored_is_read_again() {
        let last = Position(i64::MAX.unsigned_abs());
        for position in [Position(0), Position(1), last] {
            assert_eq!(from_sql(to_sql(position)), position);
        }
        assert_eq!(to_sql(Position(last.0 + 1)), i64::MAX);
    }
}
