//! Checks that the database's triggers still protect the log.
//!
//! Promise: a trigger that is missing or disabled is reported. Limit: a trigger that is enabled now
//! may have been disabled before; only the hash chain can show changes made meanwhile.

use sqlx::PgConnection;

/// The triggers that the migrations create, and that fire even in replication sessions.
const GUARDS: [(&str, &str); 9] = [
    ("events", "place_stock_event"),
    ("events", "refuse_beyond_head"),
    ("events", "refuse_later_than_head"),
    ("events", "refuse_rewriting"),
    ("events", "refuse_truncating"),
    ("log_head", "refuse_future"),
    ("log_head", "refuse_moving_back"),
    ("log_head", "refuse_second_head"),
    ("log_head", "refuse_truncating"),
];

/// Returns a sentence for each trigger that is not enabled.
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
            "the trigger {guard} of table {table} is missing or disabled: the database would accept changes that it must reject"
        )
    };
    Ok(missing.map(sentence).collect())
}
