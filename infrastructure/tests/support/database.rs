//! A separate database with the current schema.

use infrastructure::log::postgres::connect;
use private_postgres::testing;
use sqlx::postgres::PgPool;

/// An empty, migrated database for one test.
pub async fn fresh_database() -> PgPool {
    let database = testing::fresh_database().await;
    connect(database.url.parse().unwrap(), 12).await.unwrap()
}
