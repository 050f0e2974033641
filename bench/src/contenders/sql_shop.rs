//! The tables of the two SQL rivals: stock counted in a row, one row per hold, the idempotency key
//! unique within its drop.
//!
//! In their favour: no foreign key, free space in the page for the versions of the hot row, and no
//! replay of a retry (it would be a 503 here, where a shop would look up the first response).

use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};
use uuid::Uuid;

use super::http::{NewDrop, RivalError, Stock};

const SCHEMA: &str = "
CREATE TABLE drops (
    id           uuid    PRIMARY KEY,
    name         text    NOT NULL,
    total        bigint  NOT NULL,
    available    bigint  NOT NULL CHECK (available >= 0),
    hold_seconds integer NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE holds (
    id         uuid        PRIMARY KEY,
    drop_id    uuid        NOT NULL,
    buyer_id   text        NOT NULL,
    key        text        NOT NULL,
    quantity   bigint      NOT NULL CHECK (quantity > 0),
    status     text        NOT NULL,
    placed_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    UNIQUE (drop_id, key)
)";

#[derive(Debug, Clone)]
pub struct SqlShop(pub PgPool);

/// Connects and creates the tables.
///
/// # Errors
/// [`RivalError`].
pub async fn open(url: &str, connections: u32) -> Result<SqlShop, RivalError> {
    // All connections stay open from the start, because the CPU time of a backend that ends would
    // be lost.
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect(url)
        .await?;
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;
    Ok(SqlShop(pool))
}

impl SqlShop {
    /// # Errors
    /// [`RivalError`].
    pub async fn open_drop(&self, drop: NewDrop) -> Result<Uuid, RivalError> {
        let id = Uuid::new_v4();
        let total = i64::from(drop.total_stock);
        sqlx::query("INSERT INTO drops VALUES ($1, $2, $3, $3, $4)")
            .bind(id)
            .bind(drop.name.as_str())
            .bind(total)
            .bind(i32::try_from(drop.hold_seconds.get())?)
            .execute(&self.0)
            .await?;
        Ok(id)
    }

    /// # Errors
    /// [`RivalError`].
    pub async fn stock(&self, drop_id: Uuid) -> Result<Option<Stock>, RivalError> {
        let row = sqlx::query("SELECT total, available FROM drops WHERE id = $1")
            .bind(drop_id)
            .fetch_optional(&self.0)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let number = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        let (total, available) = (number("total")?, number("available")?);
        Ok(Some(Stock {
            total,
            available,
            held: total - available,
            sold: 0,
        }))
    }
}
