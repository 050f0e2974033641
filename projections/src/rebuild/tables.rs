//! The tables of a rebuild: creating or resuming them, and replacing the live table.

use std::pin::pin;

use domain::values::Position;
use futures::StreamExt;
use infrastructure::log::EventLog;
use infrastructure::log::postgres::{LogPool, PostgresLog};
use infrastructure::quarantine::Voids;
use infrastructure::sql_values::{from_sql, to_sql};
use sqlx::{PgConnection, PgPool};

use super::part::{hold, rebuild_table};
use super::{Rebuilding, Rebuilt, decoded, head, mark, missing, selection};
use crate::error::ProjectionError;
use crate::excluded::ExcludedDrops;

pub(super) async fn prepare(pool: &PgPool, table: &mut dyn Rebuilding) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let reached = match kept(&mut transaction, table).await? {
        Some(reached) => reached,
        None => {
            start_anew(&mut transaction, table).await?;
            Position::default()
        }
    };
    if table.needs_rows() {
        let sql = format!(
            "SELECT row_to_json(t)::text FROM {} t",
            rebuild_table(table.name())
        );
        let rows: Vec<String> = sqlx::query_scalar(&sql)
            .fetch_all(&mut *transaction)
            .await?;
        for row in rows {
            table
                .resume(&row)
                .map_err(|error| sqlx::Error::Decode(error.into()))?;
        }
    }
    let marks = ExcludedDrops::load(&mut transaction, &rebuild_table(table.name())).await?;
    transaction.commit().await?;
    let (left_out, marked) = table.left_out();
    (*left_out, *marked) = (marks.clone(), marks);
    table.resume_after(reached);
    Ok(())
}

/// Returns the checkpoint of an earlier rebuild if it can be resumed: the version of the fold is
/// the same, the log is long enough, and the rebuild table has the form of the live one, which a
/// migration may have changed in the meantime.
async fn kept(
    connection: &mut PgConnection,
    table: &dyn Rebuilding,
) -> Result<Option<Position>, sqlx::Error> {
    let (name, rebuild_table) = (table.name(), rebuild_table(table.name()));
    let position: Option<i64> = sqlx::query_scalar(
        "SELECT c.position FROM projection_checkpoints c JOIN log_head h ON c.position <= h.position
          WHERE c.name = $1 AND c.fold_version = $2",
    )
    .bind(&rebuild_table)
    .bind(table.version())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(position) = position else {
        return Ok(None);
    };
    let is_alike = form(connection, name).await? == form(connection, &rebuild_table).await?;
    Ok(is_alike.then(|| from_sql(position)))
}

/// Returns the form of a table: columns, constraints and indexes, by definition and without their
/// names; empty if the table does not exist.
async fn form(connection: &mut PgConnection, table: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT ARRAY(SELECT format('%s %s %s', attname, format_type(atttypid, atttypmod), attnotnull) FROM pg_attribute
                       WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
             || ARRAY(SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass($1) ORDER BY 1)
             || ARRAY(SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') FROM pg_index
                       WHERE indrelid = to_regclass($1) ORDER BY 1)",
    )
    .bind(table)
    .fetch_one(connection)
    .await
}

async fn start_anew(
    connection: &mut PgConnection,
    table: &dyn Rebuilding,
) -> Result<(), sqlx::Error> {
    let (name, rebuild_table) = (table.name(), rebuild_table(table.name()));
    for statement in [
        format!("DROP TABLE IF EXISTS {rebuild_table}"),
        format!("CREATE TABLE {rebuild_table} (LIKE {name} INCLUDING ALL)"),
    ] {
        sqlx::query(&statement).execute(&mut *connection).await?;
    }
    sqlx::query("DELETE FROM projection_quarantines WHERE name = $1")
        .bind(&rebuild_table)
        .execute(&mut *connection)
        .await?;
    for statement in [
        "DELETE FROM projection_checkpoints WHERE name = $1 AND (position, fold_version) <> (0, $2)",
        "INSERT INTO projection_checkpoints (name, position, fold_version) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
    ] {
        let statement = sqlx::query(statement).bind(&rebuild_table);
        let statement = statement.bind(table.version());
        statement.execute(&mut *connection).await?;
    }
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

/// The runner waits for the lock on its checkpoint meanwhile; readers wait only for the renaming.
pub(super) async fn swap(
    pool: &LogPool,
    table: &mut dyn Rebuilding,
    voids: &Voids,
) -> Result<Rebuilt, SwapError> {
    let (name, rebuild_table) = (table.name(), rebuild_table(table.name()));
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO projection_checkpoints (name, position, fold_version) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .bind(table.version())
    .execute(&mut *transaction)
    .await?;
    let live: i64 = sqlx::query_scalar(
        "SELECT position FROM projection_checkpoints WHERE name = $1 FOR UPDATE",
    )
    .bind(name)
    .fetch_one(&mut *transaction)
    .await?;
    let live = from_sql(live);
    if live > table.reached() {
        catch_up(pool, table, voids, live).await?;
        table.take().save(&mut transaction).await?;
    }
    hold(&mut transaction, name, table.version(), table.saved()).await?;
    let position = table.reached();
    let was_equal = if live == position {
        Some(are_equal(&mut transaction, name, &rebuild_table).await?)
    } else {
        None
    };
    let rows: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {rebuild_table}"))
        .fetch_one(&mut *transaction)
        .await?;
    for statement in [
        format!("DELETE FROM projection_quarantines WHERE name = '{name}'"),
        format!("UPDATE projection_quarantines SET name = '{name}' WHERE name = '{rebuild_table}'"),
        format!("DROP TABLE {name}"),
        format!("ALTER TABLE {rebuild_table} RENAME TO {name}"),
        "SELECT grant_holdfast_roles()".to_owned(),
    ] {
        sqlx::query(&statement).execute(&mut *transaction).await?;
    }
    sqlx::query(
        "UPDATE projection_checkpoints
            SET position = $2, fold_version = $3, stopped = NULL, generation = generation + 1, updated_at = now() WHERE name = $1",
    )
    .bind(name)
    .bind(to_sql(position))
    .bind(table.version())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM projection_checkpoints WHERE name = $1")
        .bind(&rebuild_table)
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
    pool: &LogPool,
    table: &mut dyn Rebuilding,
    voids: &Voids,
    until: Position,
) -> Result<(), SwapError> {
    let name = table.name();
    let stopped = |source| SwapError::Projection(ProjectionError::Log { name, source });
    let mut pages = pin!(decoded(pool, selection(table.reached(), until)));
    while let Some(page) = pages.next().await {
        let page = page.map_err(stopped)?.following(table.reached());
        page.apply_to(table, voids);
        if !page.voided.is_empty() {
            leave_out_late(pool, table, voids).await?;
        }
        if let Some(error) = page.broken {
            return Err(stopped(error));
        }
    }
    mark(pool, table).await?;
    // A live table may have a checkpoint beyond the head; a rebuild repairs that.
    let until = until.min(head(pool).await?);
    if table.reached() < until {
        return Err(SwapError::Projection(missing(name, table.reached())));
    }
    Ok(())
}

/// Excludes the drops of positions that were declared void after this rebuild had read them.
async fn leave_out_late(
    pool: &LogPool,
    table: &mut dyn Rebuilding,
    voids: &Voids,
) -> Result<(), SwapError> {
    let name = table.name();
    let all = PostgresLog::new(pool.clone()).voided().await;
    let all = all.map_err(|source| SwapError::Projection(ProjectionError::Log { name, source }))?;
    let (left_out, _) = table.left_out();
    for voided in all {
        if let Some(drop_id) = voided.drop_id()
            && !voids.contains(voided.position)
        {
            left_out.invalidate(drop_id);
        }
    }
    Ok(())
}

/// Compares the number of rows and a checksum that does not depend on their order.
async fn are_equal(
    connection: &mut PgConnection,
    name: &str,
    rebuild_table: &str,
) -> Result<bool, sqlx::Error> {
    let checksum = |table: &str| {
        format!("SELECT count(*) AS rows, sum(hashtextextended(t::text, 0)) AS sum FROM {table} t")
    };
    let sql = format!(
        "SELECT a.rows = b.rows AND a.sum IS NOT DISTINCT FROM b.sum FROM ({}) a, ({}) b",
        checksum(name),
        checksum(rebuild_table)
    );
    sqlx::query_scalar(&sql).fetch_one(connection).await
}
