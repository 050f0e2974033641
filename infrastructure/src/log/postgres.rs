//! The log in Postgres: an append is one statement in one round trip, on a connection of its own.
//!
//! Promise: what `append` acknowledged was committed with `synchronous_commit` on. Limit: durable means what the server's
//! `fsync` setting makes of it; [`connect`] warns when that is off.

mod connect;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::values::{Position, Sequence, Timestamp};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgRow};
use sqlx::{ColumnIndex, Connection, Executor, Postgres, Row};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use self::connect::{connect, connect_as_is};
use super::copy::{self, Selection};
use super::doubt::Doubt;
use super::{Batch, EventLog, Hash, Head, Parts, StoredEvent, Turn, parts};
use crate::binary_copy::instant;
use crate::erasure::{Erased, erased_at};
use crate::error::{AppendError, LogError};

/// A call that takes longer than this is given up: an append or a turn as unknown, on a new connection next time; a read
/// as unavailable, so that a server that went silent counts as away and nobody waits for it.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// A turn whose holder stalls is taken away by the server after this.
const STALLED_TURN_MS: &str = "2000";

const APPEND: &str = "
WITH head AS (
    UPDATE log_head SET position = $3, hash = $4, recorded_at = $5
     WHERE position = $1 AND hash = $2 RETURNING 1
)
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                    position, recorded_at, hash, private)
SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::json, e.metadata::json,
       e.position, e.recorded_at, e.hash, e.private::json
  FROM (SELECT unnest($6::text[]) AS aggregate_type, unnest($7::text[]) AS aggregate_id, unnest($8::bigint[]) AS sequence,
               unnest($9::text[]) AS event_type, unnest($10::text[]) AS event_version, unnest($11::text[]) AS payload,
               unnest($12::text[]) AS metadata, unnest($13::bigint[]) AS position, unnest($14::timestamptz[]) AS recorded_at,
               unnest($15::bytea[]) AS hash, unnest($16::text[]) AS private) e
 WHERE EXISTS (SELECT 1 FROM head)";

const CLOCK: &str = "SELECT date_trunc('milliseconds', clock_timestamp()) AS clock";

const LOCK_HEAD: &str = "
SELECT position, hash, recorded_at, date_trunc('milliseconds', clock_timestamp()) AS clock
  FROM log_head FOR UPDATE";

/// What the server answers to events whose time its own clock has not reached by far; see migrations/0008_clock.sql.
const FROM_FUTURE: &str = "TF001";

const READ: &str = "
SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
       metadata::text AS metadata, position, recorded_at, hash, private::text AS private
  FROM events WHERE position > $1 ORDER BY position LIMIT $2";

/// An [`EventLog`] in Postgres. Clones share its connections.
#[derive(Debug, Clone)]
pub struct PostgresLog {
    readers: PgPool,
    writer: Writer,
    doubt: Doubt,
}

/// The one connection that appends: opened when needed, thrown away when in doubt.
#[derive(Debug, Clone)]
struct Writer {
    options: PgConnectOptions,
    slot: Arc<Mutex<Slot>>,
}

/// Where the connection lies while nobody appends, and since when.
#[derive(Debug, Default)]
struct Slot(Option<(PgConnection, Instant)>);

impl Slot {
    /// Taken out while in use: a call that is given up half way leaves no connection in an unknown state behind.
    fn take(&mut self, doubt: &Doubt) -> Option<PgConnection> {
        let (connection, since) = self.0.take()?;
        (!doubt.arose_after(since)).then_some(connection)
    }

    fn put(&mut self, connection: PgConnection) {
        self.0 = Some((connection, Instant::now()));
    }
}

impl PostgresLog {
    /// A log that reads through `readers` and appends on a connection of its own to the same database.
    #[must_use]
    pub fn new(readers: PgPool) -> Self {
        let options = readers.connect_options();
        let doubt = Doubt::about(&options);
        let options = options.as_ref().clone().options([
            ("synchronous_commit", "on"),
            // The append is the same work whatever its arrays hold, so it is planned once.
            ("plan_cache_mode", "force_generic_plan"),
            ("idle_in_transaction_session_timeout", STALLED_TURN_MS),
        ]);
        Self {
            readers,
            writer: Writer {
                options,
                slot: Arc::default(),
            },
            doubt,
        }
    }

    /// The random bytes that this log's idempotency keys are digested with.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn secret(&self) -> Result<Vec<u8>, LogError> {
        sqlx::query_scalar("SELECT secret FROM log_secret")
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)
    }

    /// Gives up on a call that takes too long.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.doubt.within(APPEND_TIMEOUT, work).await
    }

    async fn reader(&self) -> Result<PoolConnection<Postgres>, LogError> {
        let reader = self.in_time(self.readers.acquire()).await;
        reader.map_err(unavailable)
    }

    /// Locks the head, and gives the connection back with it; one on which that failed is closed.
    async fn lock_head(
        &self,
        mut connection: PgConnection,
    ) -> Result<(PgConnection, PgRow), sqlx::Error> {
        let row = self.in_time(lock_head(&mut connection)).await?;
        Ok((connection, row))
    }

    /// The pool that it reads through.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.readers
    }
}

impl EventLog for PostgresLog {
    type Turn = PostgresTurn;

    async fn head(&self) -> Result<Head, LogError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT position, hash, recorded_at FROM log_head");
        let row = self.in_time(row.fetch_one(&mut *reader)).await;
        head_from(&answered(reader, row).map_err(no_head)?)
    }

    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query(CLOCK);
        let row = self.in_time(row.fetch_one(&mut *reader)).await;
        let row = answered(reader, row).map_err(unavailable)?;
        clock_from(&row).map(Some)
    }

    async fn read(&self, after: Position, limit: usize) -> Result<Vec<StoredEvent>, LogError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(READ)
            .bind(to_sql(after.0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *reader);
        let rows = self.in_time(rows).await;
        let rows = answered(reader, rows).map_err(unavailable)?;
        let mut events = Vec::with_capacity(rows.len());
        let mut expected = after.next();
        for row in &rows {
            let event = event_from(row).map_err(|error| corrupt(expected, &error))?;
            if event.position != expected {
                let reason = format!("the next event found is at position {}", event.position);
                return Err(LogError::Corrupt {
                    position: expected,
                    reason,
                });
            }
            expected = expected.next();
            events.push(event);
        }
        Ok(events)
    }

    fn parts(&self, after: Position, until: Position) -> Parts {
        let all = Selection {
            after,
            until,
            drop: None,
            private: true,
        };
        parts::decoded(copy::blocks(self.readers.clone(), all), after)
    }

    async fn erased(&self, positions: &[Position]) -> Result<Vec<Erased>, LogError> {
        self.in_time(erased_at(&self.readers, positions))
            .await
            .map_err(unavailable)
    }

    async fn append(&self, batch: &Batch) -> Result<(), AppendError> {
        let mut slot = self.writer.slot.lock().await;
        let mut connection = match slot.take(&self.doubt) {
            Some(connection) => connection,
            None => self
                .in_time(self.writer.open())
                .await
                .map_err(append_error)?,
        };
        let outcome = self
            .in_time(insert(&mut connection, batch))
            .await
            .map_err(append_error);
        if !matches!(outcome, Err(AppendError::Unknown(_))) {
            slot.put(connection);
        }
        drop(slot);
        landed(outcome?)
    }

    async fn take_turn(&self) -> Result<PostgresTurn, LogError> {
        let mut slot = Arc::clone(&self.writer.slot).lock_owned().await;
        let locked = match slot.take(&self.doubt) {
            Some(kept) => self.lock_head(kept).await.ok(),
            None => None,
        };
        // The connection that was kept may have died unnoticed. Nothing was asked on it yet but to wait.
        let (connection, row) = match locked {
            Some(locked) => locked,
            None => {
                let opened = self
                    .in_time(self.writer.open())
                    .await
                    .map_err(unavailable)?;
                self.lock_head(opened).await.map_err(unavailable)?
            }
        };
        Ok(PostgresTurn {
            head: head_from(&row)?,
            clock: clock_from(&row)?,
            connection,
            doubt: self.doubt.clone(),
            slot,
        })
    }
}

/// The right to append next: an open transaction that holds the head's row lock. Dropped, its connection closes and the
/// server rolls it back.
#[derive(Debug)]
pub struct PostgresTurn {
    head: Head,
    clock: Timestamp,
    connection: PgConnection,
    doubt: Doubt,
    slot: OwnedMutexGuard<Slot>,
}

impl Turn for PostgresTurn {
    fn head(&self) -> Head {
        self.head
    }

    fn clock(&self) -> Option<Timestamp> {
        Some(self.clock)
    }

    async fn append(mut self, batch: &Batch) -> Result<(), AppendError> {
        let outcome = self
            .doubt
            .within(APPEND_TIMEOUT, async {
                let rows = insert(&mut self.connection, batch).await?;
                self.connection.execute("COMMIT").await?;
                Ok(rows)
            })
            .await
            .map_err(append_error);
        if outcome.is_ok() {
            self.slot.put(self.connection);
        }
        landed(outcome?)
    }

    async fn pass(mut self) {
        let rolled_back = async { self.connection.execute("ROLLBACK").await };
        let rolled_back = self.doubt.within(APPEND_TIMEOUT, rolled_back).await;
        if rolled_back.is_ok() {
            self.slot.put(self.connection);
        }
    }
}

impl Writer {
    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&self.options).await
    }
}

async fn lock_head(connection: &mut PgConnection) -> Result<PgRow, sqlx::Error> {
    // Whatever the database defaults to: the lock must see the head that the one before us committed.
    connection
        .execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await?;
    // The clock may be read before the lock is granted: its reader allows for how long the whole call took.
    sqlx::query(LOCK_HEAD).fetch_one(connection).await
}

/// Rows inserted; for a batch without events, whether the head is the expected one: 1 or 0.
async fn insert(connection: &mut PgConnection, batch: &Batch) -> Result<u64, sqlx::Error> {
    if batch.events.is_empty() {
        let found = sqlx::query("SELECT 1 FROM log_head WHERE position = $1 AND hash = $2")
            .bind(to_sql(batch.expected.position.0))
            .bind(&batch.expected.hash.0[..])
            .fetch_optional(connection)
            .await?;
        return Ok(u64::from(found.is_some()));
    }
    let head = batch.head();
    let events = &batch.events;
    let column = |text: fn(&StoredEvent) -> &str| events.iter().map(text).collect::<Vec<_>>();
    let done = sqlx::query(APPEND)
        .bind(to_sql(batch.expected.position.0))
        .bind(&batch.expected.hash.0[..])
        .bind(to_sql(head.position.0))
        .bind(&head.hash.0[..])
        .bind(DateTime::<Utc>::from(head.recorded_at))
        .bind(column(|event| &event.aggregate_type))
        .bind(column(|event| &event.aggregate_id))
        .bind(
            events
                .iter()
                .map(|event| to_sql(event.sequence.0))
                .collect::<Vec<_>>(),
        )
        .bind(column(|event| &event.event_type))
        .bind(column(|event| &event.event_version))
        .bind(column(|event| &event.payload))
        .bind(column(|event| &event.metadata))
        .bind(
            events
                .iter()
                .map(|event| to_sql(event.position.0))
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| DateTime::<Utc>::from(event.recorded_at))
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| &event.hash.0[..])
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| event.private.as_deref())
                .collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

fn landed(rows: u64) -> Result<(), AppendError> {
    if rows == 0 {
        Err(AppendError::Conflict)
    } else {
        Ok(())
    }
}

/// Gives the reader back if it was answered. Otherwise it is closed, for the pool would wait for its answer, and count it, for ever.
fn answered<T>(
    mut reader: PoolConnection<Postgres>,
    answer: Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    if answer.is_err() {
        reader.close_on_drop();
    }
    answer
}

/// The row arrived, but holds what no row of the log can.
fn corrupt(position: Position, error: &sqlx::Error) -> LogError {
    LogError::Corrupt {
        position,
        reason: error.to_string(),
    }
}

fn unavailable(error: sqlx::Error) -> LogError {
    LogError::Unavailable(error.into())
}

/// Only what the server says about the data itself is final; everything else may have landed, or may land yet.
fn append_error(error: sqlx::Error) -> AppendError {
    let code = error.as_database_error().and_then(|error| error.code());
    let is_from_future = code.as_deref() == Some(FROM_FUTURE);
    let is_about_data = code.is_some_and(|code| {
        code.starts_with("22")
            || code.starts_with("23")
            || (code.starts_with("42") && code != "42P05")
    });
    if is_from_future {
        AppendError::FromFuture(error.into())
    } else if is_about_data {
        AppendError::Rejected(error.into())
    } else {
        AppendError::Unknown(error.into())
    }
}

/// Why the head could not be read. That there is none is no outage: somebody removed it.
pub(super) fn no_head(error: sqlx::Error) -> LogError {
    if !matches!(error, sqlx::Error::RowNotFound) {
        return unavailable(error);
    }
    LogError::Corrupt {
        position: Position::default(),
        reason: "log_head has no row: nothing tells where the log ends".to_owned(),
    }
}

/// What `log_head` says.
pub(super) fn head_from(row: &PgRow) -> Result<Head, LogError> {
    let position: i64 = row.try_get("position").unwrap_or_default();
    let read = || -> Result<Head, String> {
        let hash: &[u8] = row.try_get("hash").map_err(|_| "hash is NULL")?;
        Ok(Head {
            position: Position(u64::try_from(position).map_err(|_| "position is no place")?),
            hash: Hash::from_slice(hash)
                .map_err(|_| format!("hash: expected 32 bytes, found {}", hash.len()))?,
            recorded_at: instant_from(row, "recorded_at")?,
        })
    };
    read().map_err(|reason| LogError::Corrupt {
        position: Position(u64::try_from(position).unwrap_or_default()),
        reason: format!("log_head is damaged: {reason}"),
    })
}

/// The server's clock.
fn clock_from(row: &PgRow) -> Result<Timestamp, LogError> {
    instant_from(row, "clock").map_err(|reason| LogError::Unavailable(reason.into()))
}

/// As the bytes that came: chrono panics at times that it has no room for, such as `infinity`.
fn instant_from(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Timestamp, String> {
    let value = row.try_get_raw(column).map_err(|error| error.to_string())?;
    let bytes = value.as_bytes().map_err(|_| "recorded_at is NULL")?;
    instant(bytes).map_err(|reason| format!("recorded_at {reason}"))
}

/// A row of [`READ`], by the places of its columns: a million of them are read at a start.
fn event_from(row: &PgRow) -> Result<StoredEvent, sqlx::Error> {
    let hash = Hash::from_slice(row.try_get(9)?).map_err(|error| sqlx::Error::Decode(error.into()));
    Ok(StoredEvent {
        aggregate_type: known(row.try_get(0)?),
        aggregate_id: row.try_get(1)?,
        sequence: Sequence(from_sql(row.try_get(2)?)?),
        event_type: known(row.try_get(3)?),
        event_version: known(row.try_get(4)?),
        payload: row.try_get(5)?,
        metadata: known(row.try_get(6)?),
        position: Position(from_sql(row.try_get(7)?)?),
        recorded_at: instant_from(row, 8).map_err(|reason| sqlx::Error::Decode(reason.into()))?,
        hash: hash?,
        private: row.try_get(10)?,
    })
}

/// The texts that nearly every event has are not copied.
fn known(text: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 7] = [
        "Drop",
        "HoldPlaced",
        "HoldExpired",
        "HoldReleased",
        "PurchaseConfirmed",
        "1.0",
        "{}",
    ];
    match KNOWN.iter().find(|known| **known == text) {
        Some(known) => Cow::Borrowed(*known),
        None => Cow::Owned(text.to_owned()),
    }
}

/// Positions and sequences are `bigint` in SQL; one that does not fit is 9 × 10^18 events away.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).expect("fewer than 2^63 events")
}

fn from_sql(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}
