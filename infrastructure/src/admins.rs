//! The administrators of recorded changes, read from the metadata of their events.
//!
//! Limit: needs the database; no view keeps the names.

use std::collections::HashMap;

use domain::values::{AdminName, Position};
use sqlx::PgPool;

use crate::error::LogError;
use crate::sql_values::{from_sql, to_sql};

/// Returns the administrators whose requests recorded the events at these positions, where an
/// administrator did.
///
/// # Errors
/// [`LogError::Unavailable`].
pub async fn admin_names(
    pool: &PgPool,
    positions: &[Position],
) -> Result<HashMap<Position, AdminName>, LogError> {
    let wanted: Vec<i64> = positions.iter().map(|position| to_sql(*position)).collect();
    let rows: Vec<(i64, Option<String>)> = sqlx::query_as(
        "SELECT position, metadata ->> 'admin' FROM events WHERE position = ANY($1)",
    )
    .bind(wanted)
    .fetch_all(pool)
    .await
    .map_err(|error| LogError::Unavailable(error.into()))?;
    let names = rows.into_iter().filter_map(|(position, name)| {
        let name = AdminName::new(&name?).ok()?;
        Some((from_sql(position), name))
    });
    Ok(names.collect())
}
