//! Whether the database still guards the log as our migrations told it to.
//!
//! Promise: a trigger that is gone, or switched off, is named. Limit: a guard that is in force now may have been off before; what
//! happened meanwhile is for the chain to tell.

use sqlx::PgConnection;

/// What our migrations put on the log: tables, and triggers that fire even where replication would switch them off.
const GUARDS: [(&str, &str); 8] = [
    ("events", "place_stock_event"),
    ("events", "refuse_beyond_head"),
    ("events", "refuse_later_than_head"),
    ("events", "refuse_rewriting"),
    ("events", "refuse_truncating"),
    ("log_head", "refuse_future"),
    ("log_head", "refuse_moving_back"),
    ("log_head", "refuse_truncating"),
];

/// A sentence for each guard that is not in force.
///
/// # Errors
/// [`sqlx::Error`].
pub async fn missing(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let in_force: Vec<(String, String)> = sqlx::query_as(
        "SELECT tgrelid::regclass::text, tgname::text FROM pg_trigger
          WHERE tgrelid IN (to_regclass('events'), to_regclass('log_head')) AND tgenabled = 'A'",
    )
    .fetch_all(connection)
    .await?;
    let is_missing = |(table, guard): &&(&str, &str)| {
        !in_force
            .iter()
            .any(|found| (found.0.as_str(), found.1.as_str()) == (*table, *guard))
    };
    let missing = GUARDS.iter().filter(is_missing);
    let sentence = |(table, guard): &(&str, &str)| {
        format!(
            "the guard {guard} of {table} is not in force: the database would accept what it is to refuse"
        )
    };
    Ok(missing.map(sentence).collect())
}
