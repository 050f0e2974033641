//! The rows that a rebuild folded since its last save: written into the rebuild table, joined with
//! the rows that are there.
//!
//! Promise: rows and checkpoint are saved together, directly after the previous save, or not at
//! all.
//! Limit: a part is sent in one `COPY`, so all of it is in memory.

use std::collections::BTreeMap;

use domain::values::Position;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use infrastructure::binary_copy::{self, Fields, RowWriter, read_header, read_row};
use infrastructure::sql_values::to_sql;
use sqlx::{Acquire, Executor, PgConnection, PgPool};

use crate::columns::{Columns, names};
use crate::error::ProjectionError;
use crate::fold::Placed;
use crate::table::{Table, columns, or_replace};

/// Bytes of rows per message.
const CHUNK: usize = 1 << 18;

/// Returns the name of the table that a rebuild fills.
pub(super) fn rebuild_table(name: &str) -> String {
    format!("{name}_rebuild")
}

/// Locks the checkpoint of the rebuild table, which must be where this rebuild left it. Otherwise
/// another rebuild has saved or restarted in the meantime, and owns the table.
pub(super) async fn hold(
    connection: &mut PgConnection,
    name: &str,
    version: i32,
    saved: Position,
) -> Result<(), sqlx::Error> {
    let found: Option<(i64, i32)> = sqlx::query_as(
        "SELECT position, fold_version FROM projection_checkpoints WHERE name = $1 FOR UPDATE",
    )
    .bind(rebuild_table(name))
    .fetch_optional(connection)
    .await?;
    if found == Some((to_sql(saved), version)) {
        return Ok(());
    }
    let reason = "another process is rebuilding it at the same time";
    Err(sqlx::Error::Protocol(reason.to_owned()))
}

pub(super) trait Saving: Send {
    fn name(&self) -> &'static str;
    /// Saves within a transaction of the connection.
    fn save(
        self: Box<Self>,
        connection: &mut PgConnection,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>>;
}

pub(super) struct Part<F: Table> {
    /// The position of the previous save.
    pub(super) after: Position,
    pub(super) reached: Position,
    pub(super) rows: Vec<Placed<F>>,
}

/// Saves each part in its own transaction.
pub(super) async fn save(pool: PgPool, parts: Vec<Box<dyn Saving>>) -> Result<(), ProjectionError> {
    for part in parts {
        let name = part.name();
        let saved = async {
            let mut connection = pool.acquire().await?;
            let mut transaction = connection.begin().await?;
            part.save(&mut transaction).await?;
            transaction.commit().await
        };
        saved
            .await
            .map_err(|source| ProjectionError::Tables { name, source })?;
    }
    Ok(())
}

impl<F: Table> Saving for Part<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn save(
        self: Box<Self>,
        connection: &mut PgConnection,
    ) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let Self {
                after,
                reached,
                rows,
            } = *self;
            hold(connection, F::NAME, F::VERSION, after).await?;
            if !rows.is_empty() {
                put_all(connection, rows).await?;
            }
            sqlx::query(
                "UPDATE projection_checkpoints SET position = $2, updated_at = now() WHERE name = $1",
            )
            .bind(rebuild_table(F::NAME))
            .bind(to_sql(reached))
            .execute(connection)
            .await?;
            Ok(())
        })
    }
}

async fn put_all<F: Table>(
    connection: &mut PgConnection,
    rows: Vec<Placed<F>>,
) -> Result<(), sqlx::Error> {
    let create = format!(
        "CREATE TEMPORARY TABLE part (LIKE {}) ON COMMIT DROP",
        rebuild_table(F::NAME)
    );
    connection.execute(create.as_str()).await?;
    if F::JOIN.is_none() {
        return put(connection, &rows, &or_replace::<F>()).await.map(drop);
    }
    let new = put(connection, &rows, "ON CONFLICT DO NOTHING").await?;
    if new < rows.len() as u64 {
        let joined = join(earlier(connection).await?, rows);
        connection.execute("TRUNCATE part").await?;
        put(connection, &joined, &or_replace::<F>()).await?;
    }
    Ok(())
}

/// Joins the existing rows with the additions of this part.
fn join<F: Table>(earlier: Vec<Placed<F>>, part: Vec<Placed<F>>) -> Vec<Placed<F>> {
    let earlier = earlier.into_iter().map(|placed| (placed.key, placed));
    let mut earlier: BTreeMap<_, _> = earlier.collect();
    let joined = part.into_iter().filter_map(|later| {
        let mut whole = earlier.remove(&later.key)?;
        whole.join(later);
        Some(whole)
    });
    joined.collect()
}

/// Writes rows through the temporary table. Returns the number of inserted or replaced rows.
async fn put<F: Table>(
    connection: &mut PgConnection,
    rows: &[Placed<F>],
    on_conflict: &str,
) -> Result<u64, sqlx::Error> {
    let columns = names(&columns::<F>());
    let statement = format!("COPY part ({columns}) FROM STDIN (FORMAT binary)");
    let mut copy = connection.copy_in_raw(&statement).await?;
    copy.send(binary_copy::header()).await?;
    let mut writer = RowWriter::default();
    for placed in rows {
        placed.write_to(&mut writer);
        if writer.bytes().len() >= CHUNK {
            copy.send(writer.bytes()).await?;
            writer.clear();
        }
    }
    copy.send(writer.bytes()).await?;
    copy.send(binary_copy::END.as_slice()).await?;
    copy.finish().await?;
    let insert = format!(
        "INSERT INTO {} ({columns}) SELECT {columns} FROM part {on_conflict}",
        rebuild_table(F::NAME)
    );
    Ok(connection.execute(insert.as_str()).await?.rows_affected())
}

/// Returns the existing rows at the part's keys.
async fn earlier<F: Table>(connection: &mut PgConnection) -> Result<Vec<Placed<F>>, sqlx::Error> {
    // A part is small compared with its table, so looking up each key is cheaper than reading the
    // table.
    connection
        .execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        .await?;
    let of_table: Vec<String> = columns::<F>()
        .iter()
        .map(|column| format!("t.{}", column.name))
        .collect();
    let statement = format!(
        "COPY (SELECT {} FROM {} t JOIN part USING ({}) WHERE t.position < part.position) TO STDOUT (FORMAT binary)",
        of_table.join(", "),
        rebuild_table(F::NAME),
        names(&F::Key::columns()),
    );
    let mut bytes = vec![];
    let mut chunks = connection.copy_out_raw(&statement).await?;
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    let (mut reader, mut row, mut rows) = (bytes.as_slice(), vec![], vec![]);
    read_header(&mut reader)?;
    while read_row(&mut reader, &mut row)? {
        let placed = Placed::read_from(Fields::of(&row));
        rows.push(
            placed.ok_or_else(|| sqlx::Error::Decode("a row that no fold can produce".into()))?,
        );
    }
    Ok(rows)
}
