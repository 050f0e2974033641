//! The log in Postgres: an append is one statement in one round trip, on its own connection.
//!
//! Promise: acknowledged appends were committed with `synchronous_commit` on, and their wait for a
//! standby was not interrupted.
//! Limit: durability depends on the server's `fsync` and `synchronous_standby_names`; [`connect()`]
//! warns when the former is off.

mod address;
mod connect;
mod faults;
mod notices;
mod pooler;
mod proof;
mod rows;
mod session;
mod standbys;
mod streams;
mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::values::{Position, Sequence, Timestamp};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{Executor, Postgres, Row};
use tokio::sync::OwnedMutexGuard;

pub use self::address::{Address, AddressError};
pub use self::connect::{
    ConnectionLimit, LogPool, Unfit, connect, connect_as_is, connect_for_commands,
    connect_to_primary, examine, migrate_at,
};
pub(super) use self::faults::no_head;
use self::faults::{append_error, corrupt, is_lock_timeout, unavailable};
pub use self::pooler::{POOLER, is_from_pooler};
pub use self::proof::CannotAppend;
pub(super) use self::rows::head_from;
use self::rows::{clock_from, event_from, to_sql};
use self::standbys::{Checked, SLOW_COMMIT};
pub use self::streams::voided;
use self::writer::{Slot, Writer};
use super::copy::{self, Selection};
use super::{Batch, EventLog, Head, MOST_BATCH_BYTES, Parts, StoredEvent, StreamId, Turn, parts};
use crate::erasure::{Erased, all_erased, erased_at};
use crate::error::{AppendError, LogError};
use crate::quarantine::Voided;
use crate::unwritable::Unwritable;

/// Timeout of a call. After it, the outcome of an append or a turn is unknown, and the next one
/// uses a new connection; a read fails as unavailable, so a silent server counts as unreachable and
/// callers do not wait for it.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// The server ends the turn of a holder that stalls for this long.
const STALLED_TURN_MS: &str = "2000";

/// The settings apply to the statement's own transaction: a pooler may have dropped those of the
/// session, and a role may have others. A stronger `synchronous_commit` is left as it is. Warnings
/// must be enabled, because one reports a commit whose wait for a standby was cancelled
/// ([`notices`]). It returns the address of the new head, or no row if the head is another one. The
/// next append uses the address: a search for the row would read all of its dead versions, of which
/// there are many next to a long snapshot.
const APPEND: &str = "
WITH head AS (
    UPDATE log_head SET position = $3, hash = $4, recorded_at = $5
     WHERE position = $1 AND hash = $2
       AND set_config('lock_timeout', $17, true) IS NOT NULL
       AND set_config('client_min_messages', 'warning', true) IS NOT NULL
       AND set_config('synchronous_commit',
                      CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
                      true) IS NOT NULL
    RETURNING ctid
), appended AS (
INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                    position, recorded_at, hash, private)
SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::json, e.metadata::json,
       e.position, e.recorded_at, e.hash, e.private::json
  FROM (SELECT unnest($6::text[]) AS aggregate_type, unnest($7::text[]) AS aggregate_id, unnest($8::bigint[]) AS sequence,
               unnest($9::text[]) AS event_type, unnest($10::text[]) AS event_version, unnest($11::text[]) AS payload,
               unnest($12::text[]) AS metadata, unnest($13::bigint[]) AS position, unnest($14::timestamptz[]) AS recorded_at,
               unnest($15::bytea[]) AS hash, unnest($16::text[]) AS private) e
 WHERE EXISTS (SELECT 1 FROM head))
SELECT ctid::text FROM head";

const HEAD: &str = "
SELECT position, hash, recorded_at, current_setting('transaction_read_only') = 'on' AS is_read_only FROM log_head";

const CLOCK: &str = "SELECT date_trunc('milliseconds', clock_timestamp()) AS clock";

const LOCK_HEAD: &str = "
SELECT position, hash, recorded_at, date_trunc('milliseconds', clock_timestamp()) AS clock FROM log_head
 WHERE set_config('lock_timeout', $1, true) IS NOT NULL
   AND set_config('idle_in_transaction_session_timeout', $2, true) IS NOT NULL
   AND set_config('client_min_messages', 'warning', true) IS NOT NULL
   AND set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END,
                  true) IS NOT NULL
   FOR UPDATE";

const READ: &str = "
SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
       metadata::text AS metadata, position, recorded_at, hash, private::text AS private
  FROM events WHERE position > $1 ORDER BY position LIMIT $2";

/// An [`EventLog`] in Postgres. Clones share its connections.
#[derive(Debug, Clone)]
pub struct PostgresLog {
    readers: LogPool,
    writer: Writer,
    statements: Arc<Checked>,
}

impl PostgresLog {
    /// A log that reads through `readers` and appends on its own connection to the same database.
    #[must_use]
    pub fn new(readers: LogPool) -> Self {
        Self::with_timeout(readers, APPEND_TIMEOUT)
    }

    /// As [`Self::new`], with a timeout for each response of the server.
    #[must_use]
    pub fn with_timeout(readers: LogPool, timeout: Duration) -> Self {
        Self {
            writer: Writer::new(readers.clone(), timeout),
            statements: Arc::new(Checked::new(readers.required_standbys())),
            readers,
        }
    }

    /// The random bytes that this log's idempotency keys are digested with.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn secret(&self) -> Result<Vec<u8>, LogError> {
        sqlx::query_scalar("SELECT secret FROM log_secret")
            .fetch_one(&*self.readers)
            .await
            .map_err(unavailable)
    }

    /// Gives up on a call that takes too long.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let last_failure = &self.readers.last_failure;
        last_failure.within(self.writer.timeout, work).await
    }

    async fn reader(&self) -> Result<PoolConnection<Postgres>, LogError> {
        let reader = self.in_time(self.readers.acquire()).await;
        reader.map_err(|error| unavailable(self.readers.last_failure.explained(error)))
    }

    /// Locks the head, and returns the connection with it; a connection on which that failed is
    /// closed.
    async fn lock_head(
        &self,
        mut connection: PgConnection,
    ) -> Result<(PgConnection, PgRow), sqlx::Error> {
        let lock_timeout = self.writer.lock_timeout();
        let locking = lock_head(&mut connection, &self.statements.lock_head, &lock_timeout);
        let row = self.in_time(locking).await?;
        Ok((connection, row))
    }

    /// Ends sessions that abandoned calls may have left on the server, also waiting ones. For
    /// processes that do not append any more.
    pub async fn end_sessions(&self) {
        let _away = self.writer.end_sessions().await;
    }

    /// The pool that it reads through.
    #[must_use]
    pub const fn pool(&self) -> &LogPool {
        &self.readers
    }
}

impl EventLog for PostgresLog {
    type Turn = PostgresTurn;

    async fn head(&self) -> Result<Head, LogError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query(&self.statements.head);
        let row = self.in_time(row.fetch_one(&mut *reader)).await;
        let row = answered(reader, row).map_err(no_head)?;
        // A process that appends finds out before a client's request does.
        if self.readers.is_for_writes() && row.try_get("is_read_only").unwrap_or(false) {
            return Err(unavailable(Unwritable::ReadOnly.into()));
        }
        head_from(&row)
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
        parts::decoded(copy::blocks(PgPool::clone(&self.readers), all), after)
    }

    async fn erased(&self, positions: &[Position]) -> Result<Vec<Erased>, LogError> {
        self.in_time(erased_at(&self.readers, positions))
            .await
            .map_err(unavailable)
    }

    async fn all_erased(&self) -> Result<Vec<Erased>, LogError> {
        self.in_time(all_erased(&self.readers))
            .await
            .map_err(unavailable)
    }

    async fn voided(&self) -> Result<Vec<Voided>, LogError> {
        self.in_time(streams::voided(&*self.readers))
            .await
            .map_err(unavailable)
    }

    async fn stream(
        &self,
        stream: StreamId,
        until: Position,
    ) -> Result<Vec<StoredEvent>, LogError> {
        let mut events = vec![];
        let mut after = -1;
        loop {
            let page = self
                .in_time(streams::page(&self.readers, stream, after, until))
                .await
                .map_err(unavailable)?;
            let Some(last) = page.last() else { break };
            after = to_sql(last.sequence.0);
            events.extend(page);
        }
        events.sort_by_key(|event| event.position);
        Ok(events)
    }

    async fn stream_after(
        &self,
        stream: StreamId,
        after: Position,
        sequence: Sequence,
        until: Position,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, LogError> {
        let page = streams::part(&self.readers, stream, after, sequence, until, limit);
        self.in_time(page).await.map_err(unavailable)
    }

    async fn append(&self, batch: &Batch) -> Result<(), AppendError> {
        batch.within(MOST_BATCH_BYTES)?;
        let mut slot = self.writer.slot.lock().await;
        let at = slot.address_of(&batch.expected);
        let mut connection = match slot.take(&self.readers.last_failure) {
            Some(connection) => connection,
            None => self.writer.open(&mut slot).await.map_err(append_error)?,
        };
        let lock_timeout = self.writer.lock_timeout();
        let appending = async {
            let sent = Instant::now();
            let statements = &self.statements;
            let appended = insert(&mut connection, statements, batch, at, &lock_timeout).await?;
            if sent.elapsed() >= SLOW_COMMIT {
                standbys::required(&mut connection, &self.readers).await?;
            }
            Ok(appended)
        };
        let appending = self.writer.notices.unwarned(appending);
        let outcome = self.in_time(self.readers.nudging(appending)).await;
        let is_locked = outcome.as_ref().is_err_and(is_lock_timeout);
        let outcome = outcome.map_err(append_error);
        if is_locked || !matches!(outcome, Err(AppendError::Unknown(_))) {
            slot.put(connection);
        }
        let landed = landed(outcome?)?;
        slot.remember(batch.head(), landed);
        Ok(())
    }

    async fn barrier(&self) -> Result<(), LogError> {
        self.writer.pass_barrier().await.map_err(unavailable)
    }

    async fn take_turn(&self) -> Result<PostgresTurn, LogError> {
        let mut slot = Arc::clone(&self.writer.slot).lock_owned().await;
        let locked = match slot.take(&self.readers.last_failure) {
            Some(kept) => match self.lock_head(kept).await {
                Err(error) if is_lock_timeout(&error) => return Err(unavailable(error)),
                locked => locked.ok(),
            },
            None => None,
        };
        // The kept connection may have died unnoticed. So far it has only been used to wait for the
        // lock.
        let (connection, row) = match locked {
            Some(locked) => locked,
            None => {
                let opened = self.writer.open(&mut slot).await.map_err(unavailable)?;
                self.lock_head(opened).await.map_err(unavailable)?
            }
        };
        Ok(PostgresTurn {
            head: head_from(&row)?,
            clock: clock_from(&row)?,
            connection,
            readers: self.readers.clone(),
            writer: self.writer.clone(),
            statements: Arc::clone(&self.statements),
            slot,
        })
    }
}

/// The append turn: an open transaction that holds the head's row lock. Dropping it closes its
/// connection, and the server rolls it back.
#[derive(Debug)]
pub struct PostgresTurn {
    head: Head,
    clock: Timestamp,
    connection: PgConnection,
    readers: LogPool,
    writer: Writer,
    statements: Arc<Checked>,
    slot: OwnedMutexGuard<Slot>,
}

impl PostgresTurn {
    /// Its transaction, for statements that [`PostgresTurn::commit`] commits.
    pub(crate) const fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Commits the transaction as durably as an append, and ends the turn.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let committing = async {
            self.connection.execute("COMMIT").await?;
            standbys::required(&mut self.connection, &self.readers).await
        };
        let committing = self
            .readers
            .nudging(self.writer.notices.unwarned(committing));
        self.readers
            .last_failure
            .within(self.writer.timeout, committing)
            .await?;
        self.slot.put(self.connection);
        Ok(())
    }
}

impl Turn for PostgresTurn {
    fn head(&self) -> Head {
        self.head
    }

    fn clock(&self) -> Option<Timestamp> {
        Some(self.clock)
    }

    async fn append(mut self, batch: &Batch) -> Result<(), AppendError> {
        if let Err(too_large) = batch.within(MOST_BATCH_BYTES) {
            self.pass().await;
            return Err(too_large);
        }
        let lock_timeout = self.writer.lock_timeout();
        let appending = async {
            let statements = &self.statements;
            // The row is locked already, and was searched for.
            let appended =
                insert(&mut self.connection, statements, batch, None, &lock_timeout).await?;
            let sent = Instant::now();
            self.connection.execute("COMMIT").await?;
            if sent.elapsed() >= SLOW_COMMIT {
                standbys::required(&mut self.connection, &self.readers).await?;
            }
            Ok(appended)
        };
        let appending = self
            .readers
            .nudging(self.writer.notices.unwarned(appending));
        let last_failure = &self.readers.last_failure;
        let outcome = last_failure.within(self.writer.timeout, appending).await;
        let outcome = outcome.map_err(append_error);
        if outcome.is_ok() {
            self.slot.put(self.connection);
        }
        let landed = landed(outcome?)?;
        self.slot.remember(batch.head(), landed);
        Ok(())
    }

    async fn pass(mut self) {
        let rolled_back = async { self.connection.execute("ROLLBACK").await };
        let last_failure = &self.readers.last_failure;
        let rolled_back = last_failure.within(self.writer.timeout, rolled_back).await;
        if rolled_back.is_ok() {
            self.slot.put(self.connection);
        }
    }
}

async fn lock_head(
    connection: &mut PgConnection,
    statement: &str,
    lock_timeout: &str,
) -> Result<PgRow, sqlx::Error> {
    // Independent of the database's default: the lock must see the head that the previous
    // transaction committed.
    connection
        .execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await?;
    // The clock may be read before the lock is granted: the caller allows for the duration of the
    // whole call.
    sqlx::query(statement)
        .bind(lock_timeout)
        .bind(STALLED_TURN_MS)
        .fetch_one(connection)
        .await
}

/// The result of an append.
enum Appended {
    /// The head was another one.
    Conflict,
    /// The batch had no events, and the head was the expected one.
    Confirmed,
    /// The address of the row of the new head.
    Head(String),
}

/// Appends `batch`. The row of the expected head is read at the address `at`, and searched for if
/// it is not there.
async fn insert(
    connection: &mut PgConnection,
    statements: &Checked,
    batch: &Batch,
    at: Option<String>,
    lock_timeout: &str,
) -> Result<Appended, sqlx::Error> {
    if batch.events.is_empty() {
        let found = sqlx::query("SELECT 1 FROM log_head WHERE position = $1 AND hash = $2")
            .bind(to_sql(batch.expected.position.0))
            .bind(&batch.expected.hash.0[..])
            .fetch_optional(connection)
            .await?;
        return Ok(found.map_or(Appended::Conflict, |_| Appended::Confirmed));
    }
    if let Some(at) = at {
        let append = &statements.append_at;
        let head = append_rows(connection, append, batch, Some(&at), lock_timeout).await?;
        if let Some(head) = head {
            return Ok(Appended::Head(head));
        }
    }
    let head = append_rows(connection, &statements.append, batch, None, lock_timeout).await?;
    Ok(head.map_or(Appended::Conflict, Appended::Head))
}

/// Returns the address of the row of the new head; `None` if the head is another one than expected.
async fn append_rows(
    connection: &mut PgConnection,
    append: &str,
    batch: &Batch,
    at: Option<&str>,
    lock_timeout: &str,
) -> Result<Option<String>, sqlx::Error> {
    let head = batch.head();
    let events = &batch.events;
    let column = |text: fn(&StoredEvent) -> &str| events.iter().map(text).collect::<Vec<_>>();
    let append = sqlx::query_scalar(append)
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
        .bind(lock_timeout);
    let append = match at {
        Some(at) => append.bind(at),
        None => append,
    };
    // All of them: the end of the response follows the commit, the row may not.
    Ok(append.fetch_all(connection).await?.pop())
}

/// Returns the address of the new head, if there is one.
fn landed(appended: Appended) -> Result<Option<String>, AppendError> {
    match appended {
        Appended::Conflict => Err(AppendError::Conflict),
        Appended::Confirmed => Ok(None),
        Appended::Head(at) => Ok(Some(at)),
    }
}

/// Returns the reader to the pool if it received a response. Otherwise it is closed, because the
/// pool would wait for the response, and count the connection, forever.
fn answered<T>(
    mut reader: PoolConnection<Postgres>,
    answer: Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    if answer.is_err() {
        reader.close_on_drop();
    }
    answer
}
