//! A separate database with the current schema.

use infrastructure::log::postgres::{LogPool, connect};
use private_postgres::testing;

/// An empty, migrated database for one test.
pub async fn fresh_database() -> LogPool {
    let database = testing::fresh_database().await;
    connect(database.url.parse().unwrap(), 12).await.unwrap()
}
