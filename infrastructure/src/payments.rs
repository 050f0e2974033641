//! Payment references, for authorized readers: read from the column next to their events.
//!
//! Promise: an erased reference is not returned, on any node.
//! Limit: needs the database; no view keeps payment references.

use std::collections::HashMap;

use domain::values::{PaymentReference, Position};
use sqlx::PgPool;

use crate::error::LogError;
use crate::sql_values::{from_sql, to_sql};

/// The payment references of the purchases at these positions, where present.
///
/// # Errors
/// [`LogError::Unavailable`].
pub async fn payment_references(
    pool: &PgPool,
    positions: &[Position],
) -> Result<HashMap<Position, PaymentReference>, LogError> {
    let wanted: Vec<i64> = positions.iter().map(|position| to_sql(*position)).collect();
    let rows: Vec<(i64, Option<String>)> = sqlx::query_as(
        "SELECT position, private ->> 'payment_reference' FROM events
          WHERE position = ANY($1) AND private IS NOT NULL",
    )
    .bind(wanted)
    .fetch_all(pool)
    .await
    .map_err(|error| LogError::Unavailable(error.into()))?;
    let references = rows.into_iter().filter_map(|(position, reference)| {
        let reference = PaymentReference::stored(&reference?).ok()?;
        Some((from_sql(position), reference))
    });
    Ok(references.collect())
}
