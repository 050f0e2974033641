//! Copies everything that a database keeps into an empty one, through a session on each.
//!
//! Promise: the copy is complete or absent. It is one transaction, committed only after every table
//! was compared with its original, in one snapshot of the source. The guards of the log stay
//! switched on: the head moves forward first, so that no event is beyond it.
//! Limit: both have the schema of this release. Roles, other schemas and other tables stay behind;
//! the result names those tables. The schema has no sequences, so none are copied.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use futures::future::try_join;
use sqlx::{Executor, PgConnection, PgPool, Row};
use terminal::progress::{EVENTS, bar};
use tracing::info;

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("cannot read the database that is copied")]
    Source(#[source] sqlx::Error),
    #[error("cannot write the copy")]
    Target(#[source] sqlx::Error),
    #[error(
        "the database that is copied does not have the schema of this program: run \
         `holdfast migrate` on it first, with the version of its servers"
    )]
    OtherSchema,
    #[error(
        "the database to copy into is not empty: the table {table} has rows; create a database for \
         the copy"
    )]
    NotEmpty { table: String },
    #[error("the columns of the table {table} are not those of this program's schema")]
    OtherColumns { table: String },
    #[error(
        "the copy of the table {table} differs from the original, so nothing was copied: {copied} \
         rows of {original}"
    )]
    Differs {
        table: String,
        original: i64,
        copied: i64,
    },
}

/// The extent of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Events of the log.
    pub events: u64,
    /// Tables, that of the events included.
    pub tables: usize,
    /// Tables of the source that are not part of the schema, and were not copied.
    pub left: Vec<String>,
}

/// Events per `COPY`: a trigger keeps the rows of a statement until its end.
const SLICE: i64 = 10_240;

/// Interval of log lines about a long copy.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Its rows are of the database and not of the shop.
const MIGRATIONS: &str = "_sqlx_migrations";

/// Tables that have a row after the migrations.
const SEEDED: [&str; 4] = [
    "log_head",
    "log_secret",
    "payment_follower",
    "push_follower",
];

/// Refuses a database that has a log with events. One without any table is accepted.
pub(crate) async fn require_no_log(pool: &PgPool) -> Result<(), CopyError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('events') IS NOT NULL")
        .fetch_one(pool)
        .await
        .map_err(CopyError::Target)?;
    let mut connection = pool.acquire().await.map_err(CopyError::Target)?;
    match exists {
        true => require_no_rows(&mut connection, "events").await,
        false => Ok(()),
    }
}

/// Copies all tables of `source` into `target`, which has the schema and no rows. A server may
/// write to the source meanwhile; the copy is its state at the beginning.
///
/// # Errors
/// [`CopyError`]; nothing was copied.
pub async fn copy(source: &PgPool, target: &PgPool) -> Result<Copied, CopyError> {
    let mut from = source.begin().await.map_err(CopyError::Source)?;
    let mut to = target.begin().await.map_err(CopyError::Target)?;
    let snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    from.execute(snapshot).await.map_err(CopyError::Source)?;
    from.execute(FORMATS).await.map_err(CopyError::Source)?;
    to.execute(FORMATS).await.map_err(CopyError::Target)?;
    let (tables, left) = tables(&mut from, &mut to).await?;
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "));
    to.execute(&*lock).await.map_err(CopyError::Target)?;
    for table in names.iter().filter(|name| !SEEDED.contains(name)) {
        require_no_rows(&mut to, table).await?;
    }
    let events = copy_log(&mut from, &mut to, &tables).await?;
    copy_others(&mut from, &mut to, &tables).await?;
    info!("copied {} tables; comparing them", tables.len());
    for table in &tables {
        compare(&mut from, &mut to, table).await?;
    }
    to.commit().await.map_err(CopyError::Target)?;
    from.rollback().await.map_err(CopyError::Source)?;
    info!("every row of the copy equals its original");
    // Without statistics the first queries would be planned badly.
    target.execute("ANALYZE").await.map_err(CopyError::Target)?;
    Ok(Copied {
        events,
        tables: tables.len(),
        left,
    })
}

/// The same text for the same value on both sides.
const FORMATS: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; \
     SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL bytea_output = 'hex'; \
     SET LOCAL extra_float_digits = 1";

/// A table; its names are quoted where SQL requires it.
#[derive(Debug)]
struct Table {
    name: String,
    /// Name and type, in the order of the table.
    columns: Vec<(String, String)>,
}

impl Table {
    fn column_names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }
}

const COLUMNS: &str = "
SELECT quote_ident(c.relname), quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND a.attnum > 0
   AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY c.relname, a.attnum";

async fn columns(
    connection: &mut PgConnection,
) -> Result<BTreeMap<String, Vec<(String, String)>>, sqlx::Error> {
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in sqlx::query(COLUMNS).fetch_all(connection).await? {
        let (table, column) = (row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
        tables.entry(table).or_default().push(column);
    }
    Ok(tables)
}

async fn migrations(connection: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
    let applied = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    sqlx::query_as(applied).fetch_all(connection).await
}

/// Returns the tables of the schema, and the names of others in the source.
async fn tables(
    from: &mut PgConnection,
    to: &mut PgConnection,
) -> Result<(Vec<Table>, Vec<String>), CopyError> {
    let expected = migrations(to).await.map_err(CopyError::Target)?;
    match migrations(from).await {
        Ok(applied) if applied == expected => {}
        // The table is missing where nothing was ever migrated.
        Ok(_) | Err(sqlx::Error::Database(_)) => return Err(CopyError::OtherSchema),
        Err(error) => return Err(CopyError::Source(error)),
    }
    let mut original = columns(from).await.map_err(CopyError::Source)?;
    let mut tables = columns(to).await.map_err(CopyError::Target)?;
    original.remove(MIGRATIONS);
    tables.remove(MIGRATIONS);
    for (table, columns) in &tables {
        // A rebuilt table may have them in another order.
        let of_source = original.remove(table).unwrap_or_default();
        if BTreeSet::from_iter(&of_source) != BTreeSet::from_iter(columns) {
            return Err(CopyError::OtherColumns {
                table: table.clone(),
            });
        }
    }
    let tables = tables.into_iter();
    let tables = tables.map(|(name, columns)| Table { name, columns });
    Ok((tables.collect(), original.into_keys().collect()))
}

async fn require_no_rows(connection: &mut PgConnection, table: &str) -> Result<(), CopyError> {
    let any = format!("SELECT EXISTS (SELECT FROM {table})");
    let any: bool = sqlx::query_scalar(&any)
        .fetch_one(connection)
        .await
        .map_err(CopyError::Target)?;
    match any {
        true => Err(CopyError::NotEmpty {
            table: table.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Moves the head of the copy, then copies the events up to it. Returns the number of events.
async fn copy_log(
    from: &mut PgConnection,
    to: &mut PgConnection,
    tables: &[Table],
) -> Result<u64, CopyError> {
    let head = sqlx::query("SELECT position, hash, recorded_at::text FROM log_head");
    let head = head
        .fetch_one(&mut *from)
        .await
        .map_err(CopyError::Source)?;
    let head: Result<(i64, Vec<u8>, String), sqlx::Error> =
        (|| Ok((head.try_get(0)?, head.try_get(1)?, head.try_get(2)?)))();
    let (position, hash, recorded_at) = head.map_err(CopyError::Source)?;
    if position > 0 {
        let moved = "UPDATE log_head SET position = $1, hash = $2, recorded_at = $3::timestamptz";
        let moved = sqlx::query(moved).bind(position).bind(hash);
        let moved = moved.bind(recorded_at).execute(&mut *to);
        moved.await.map_err(CopyError::Target)?;
    }
    let Some(events) = tables.iter().find(|table| table.name == "events") else {
        return Err(CopyError::OtherSchema);
    };
    info!("copying {position} events");
    let progress = bar(position.unsigned_abs(), EVENTS, "copying");
    let mut reported = Instant::now();
    let (mut copied, mut after) = (0, 0);
    while after < position {
        // An event beyond the head is not copied, and found by the comparison.
        let until = position.min(after + SLICE);
        let slice = format!(
            "SELECT {} FROM events WHERE position > {after} AND position <= {until} ORDER BY position",
            events.column_names()
        );
        copied += stream(from, to, events, &slice).await?;
        after = until;
        progress.set_position(after.unsigned_abs());
        if reported.elapsed() > REPORT_EVERY {
            info!("copied the events up to position {after} of {position}");
            reported = Instant::now();
        }
    }
    progress.finish_and_clear();
    info!("copied the events");
    Ok(copied)
}

const REFERENCES: &str = "
SELECT quote_ident(t.relname), quote_ident(r.relname)
  FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
 WHERE k.contype = 'f' AND n.nspname = current_schema() AND t.oid <> r.oid";

/// Copies all tables but those of the log; a table after those that it refers to.
async fn copy_others(
    from: &mut PgConnection,
    to: &mut PgConnection,
    tables: &[Table],
) -> Result<(), CopyError> {
    let references: Vec<(String, String)> = sqlx::query_as(REFERENCES)
        .fetch_all(&mut *to)
        .await
        .map_err(CopyError::Target)?;
    let is_of_log = |table: &&Table| ["events", "log_head"].contains(&table.name.as_str());
    let mut left: Vec<&Table> = tables.iter().filter(|table| !is_of_log(table)).collect();
    let names: Vec<&str> = left.iter().map(|table| table.name.as_str()).collect();
    // The rows that the migrations inserted.
    let clear = format!("TRUNCATE {}", names.join(", "));
    to.execute(&*clear).await.map_err(CopyError::Target)?;
    while !left.is_empty() {
        let is_waiting = |table: &Table| {
            let mut needed = references.iter().filter(|(name, _)| *name == table.name);
            needed.any(|(_, needed)| left.iter().any(|other| other.name == *needed))
        };
        let (mut later, mut next): (Vec<_>, Vec<_>) =
            left.iter().copied().partition(|table| is_waiting(table));
        if next.is_empty() {
            // Tables that refer to each other: PostgreSQL decides.
            next = std::mem::take(&mut later);
        }
        for table in next {
            let all = format!("SELECT {} FROM {}", table.column_names(), table.name);
            stream(from, to, table, &all).await?;
        }
        left = later;
    }
    Ok(())
}

/// Copies the rows of `select` into `table`, in PostgreSQL's binary form: exact for every type.
async fn stream(
    from: &mut PgConnection,
    to: &mut PgConnection,
    table: &Table,
    select: &str,
) -> Result<u64, CopyError> {
    let read = format!("COPY ({select}) TO STDOUT (FORMAT binary)");
    let write = format!(
        "COPY {} ({}) FROM STDIN (FORMAT binary)",
        table.name,
        table.column_names()
    );
    let chunks = from.copy_out_raw(&read).await;
    let mut chunks = chunks.map_err(CopyError::Source)?;
    let rows = to.copy_in_raw(&write).await;
    let mut rows = rows.map_err(CopyError::Target)?;
    while let Some(chunk) = chunks.try_next().await.map_err(CopyError::Source)? {
        rows.send(chunk).await.map_err(CopyError::Target)?;
    }
    rows.finish().await.map_err(CopyError::Target)
}

/// Compares the number of rows and the sum of their digests, which does not depend on their order.
async fn compare(
    from: &mut PgConnection,
    to: &mut PgConnection,
    table: &Table,
) -> Result<(), CopyError> {
    let digest = format!(
        "SELECT count(*), coalesce(sum(('x' || left(encode(sha256(textsend(ROW({})::text)), 'hex'), 15))\
         ::bit(60)::bigint), 0)::text FROM {}",
        table.column_names(),
        table.name
    );
    let of_source = async {
        let row: Result<(i64, String), _> = sqlx::query_as(&digest).fetch_one(from).await;
        row.map_err(CopyError::Source)
    };
    let of_target = async {
        let row: Result<(i64, String), _> = sqlx::query_as(&digest).fetch_one(to).await;
        row.map_err(CopyError::Target)
    };
    let (original, copied) = try_join(of_source, of_target).await?;
    match original == copied {
        true => Ok(()),
        false => Err(CopyError::Differs {
            table: table.name.clone(),
            original: original.0,
            copied: copied.0,
        }),
    }
}
