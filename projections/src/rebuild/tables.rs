//! The tables of a rebuild: the one beside, and how it takes the live one's place.

use std::pin::pin;

use domain::values::Position;
use futures::StreamExt;
use sqlx::{PgConnection, PgPool};

use super::part::{beside, to_sql};
use super::{Rebuilding, Rebuilt, decoded, selection};
use crate::error::ProjectionError;

pub(super) async fn prepare(pool: &PgPool, table: &mut dyn Rebuilding) -> Result<(), sqlx::Error> {
    let (name, beside) = (table.name(), beside(table.name()));
    let mut transaction = pool.begin().await?;
    sqlx::query(&format!(
        "CREATE TABLE IF NOT EXISTS {beside} (LIKE {name} INCLUDING ALL)"
    ))
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO projection_checkpoints (name, position) VALUES ($1, 0) ON CONFLICT DO NOTHING",
    )
    .bind(&beside)
    .execute(&mut *transaction)
    .await?;
    let position: i64 =
        sqlx::query_scalar("SELECT position FROM projection_checkpoints WHERE name = $1")
            .bind(&beside)
            .fetch_one(&mut *transaction)
            .await?;
    if table.needs_rows() {
        let sql = format!("SELECT row_to_json(t)::text FROM {beside} t");
        let rows: Vec<String> = sqlx::query_scalar(&sql)
            .fetch_all(&mut *transaction)
            .await?;
        for row in rows {
            table
                .resume(&row)
                .map_err(|error| sqlx::Error::Decode(error.into()))?;
        }
    }
    transaction.commit().await?;
    table.set_reached(Position(position.unsigned_abs()));
    Ok(())
}

pub(super) enum SwapError {
    Sql(sqlx::Error),
    Projection(ProjectionError),
}

impl From<sqlx::Error> for SwapError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// The runner waits for its checkpoint's row meanwhile; readers wait for the renaming alone.
pub(super) async fn swap(pool: &PgPool, table: &mut dyn Rebuilding) -> Result<Rebuilt, SwapError> {
    let (name, beside) = (table.name(), beside(table.name()));
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO projection_checkpoints (name, position) VALUES ($1, 0) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .execute(&mut *transaction)
    .await?;
    let live: i64 = sqlx::query_scalar(
        "SELECT position FROM projection_checkpoints WHERE name = $1 FOR UPDATE",
    )
    .bind(name)
    .fetch_one(&mut *transaction)
    .await?;
    let live = Position(live.unsigned_abs());
    if live > table.reached() {
        catch_up(pool, table, live).await?;
        table.take().save(&mut transaction).await?;
    }
    let position = table.reached();
    let was_equal = if live == position {
        Some(are_equal(&mut transaction, name, &beside).await?)
    } else {
        None
    };
    let rows: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {beside}"))
        .fetch_one(&mut *transaction)
        .await?;
    for statement in [
        format!("DROP TABLE {name}"),
        format!("ALTER TABLE {beside} RENAME TO {name}"),
        "SELECT grant_holdfast_roles()".to_owned(),
    ] {
        sqlx::query(&statement).execute(&mut *transaction).await?;
    }
    sqlx::query(
        "UPDATE projection_checkpoints
            SET position = $2, stopped = NULL, generation = generation + 1, updated_at = now() WHERE name = $1",
    )
    .bind(name)
    .bind(to_sql(position))
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM projection_checkpoints WHERE name = $1")
        .bind(&beside)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Rebuilt {
        name,
        position,
        rows: rows.unsigned_abs(),
        was_equal,
    })
}

async fn catch_up(
    pool: &PgPool,
    table: &mut dyn Rebuilding,
    until: Position,
) -> Result<(), SwapError> {
    let name = table.name();
    let stopped = |source| SwapError::Projection(ProjectionError::Log { name, source });
    let mut pages = pin!(decoded(pool, selection(table.reached(), until)));
    while let Some(page) = pages.next().await {
        let page = page.map_err(stopped)?;
        for recorded in &page.recorded {
            table.apply(recorded).map_err(SwapError::Projection)?;
        }
        table.set_reached(table.reached().max(page.reached));
        if let Some(error) = page.broken {
            return Err(stopped(error));
        }
    }
    Ok(())
}

/// By number of rows and a checksum that does not depend on their order.
async fn are_equal(
    connection: &mut PgConnection,
    name: &str,
    beside: &str,
) -> Result<bool, sqlx::Error> {
    let checksum = |table: &str| {
        format!("SELECT count(*) AS rows, sum(hashtextextended(t::text, 0)) AS sum FROM {table} t")
    };
    let sql = format!(
        "SELECT a.rows = b.rows AND a.sum IS NOT DISTINCT FROM b.sum FROM ({}) a, ({}) b",
        checksum(name),
        checksum(beside)
    );
    sqlx::query_scalar(&sql).fetch_one(connection).await
}
