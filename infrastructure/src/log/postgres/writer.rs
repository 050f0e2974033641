//! The session that appends: opened when needed, and replaced when its state is uncertain.
//!
//! Promise: at most one session of a writer is stuck on the server. Before an abandoned session is
//! replaced, it is ended: a backend that waits for the head's lock or for a synchronous standby
//! does not notice that its client has gone. Every commit waits for the disk and for the
//! synchronous standbys, independent of the settings of the database, the role or a connection
//! pooler: the setting is made in the same transaction.
//! Limit: sessions of a killed process end only when their wait ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::sync::Mutex;
use tracing::warn;
use uuid::Uuid;

use super::connect::LogPool;
use super::notices::Notices;
use super::session::{self, LOCK_TIMEOUT, notice_lost_clients};
use super::standbys;
use crate::log::Head;
use crate::log::failures::LastFailure;
use crate::sqlstate::is_of_connection;
use crate::unwritable::Unwritable;

/// Ends remaining sessions of a writer.
const END_SESSIONS: &str = "
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name = $1 AND usename = session_user AND datname = current_database() AND pid <> pg_backend_pid()";

/// A synchronous commit that changes nothing. Its record in the write-ahead log (PostgreSQL 9.6 and
/// later, with any `wal_level`, available to every role) comes after everything that was committed
/// before, and the log is flushed and replicated in order. A transaction with an id but without a
/// record would not wait. A read-only transaction may emit the record, but could not append.
const BARRIER: &str = "
SELECT set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true),
       set_config('client_min_messages', 'warning', true),
       pg_logical_emit_message(true, 'holdfast', '')
 WHERE NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'";

/// Every so many appends search for the row of the head: only a search removes its dead versions,
/// by the pruning of its page. Before a page is full, of some 85 versions: a page that the row has
/// left is not used again before a vacuum (findings/postgres-update-by-ctid-never-prunes.sh).
const SEARCH_EVERY: u32 = 64;

/// Opens, keeps and replaces the session. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    /// For ending stuck sessions, because opening one more session could exceed the server's limit;
    /// with the record of failures.
    readers: LogPool,
    /// The name of its sessions in `pg_stat_activity`; unique to this writer.
    name: Arc<str>,
    /// Timeout of one response of the server.
    pub(super) timeout: Duration,
    pub(super) slot: Arc<Mutex<Slot>>,
    pub(super) notices: Notices,
}

/// Holds the session while it is idle.
#[derive(Debug, Default)]
pub(super) struct Slot {
    idle: Option<(PgConnection, Instant)>,
    /// The head that the last append of this writer left, and the address of its row (`ctid`).
    head: Option<(Head, String)>,
    /// Addresses that were used since the last search.
    addressed: u32,
    /// A session was opened and not returned: it may be stuck.
    is_abandoned: bool,
}

impl Slot {
    /// Removes the session while it is used: a call that is abandoned leaves no session in an
    /// unknown state behind.
    pub(super) fn take(&mut self, last_failure: &LastFailure) -> Option<PgConnection> {
        let (connection, since) = self.idle.take()?;
        self.is_abandoned = true;
        (!last_failure.is_after(since)).then_some(connection)
    }

    /// Returns the session once it is idle.
    pub(super) fn put(&mut self, connection: PgConnection) {
        self.idle = Some((connection, Instant::now()));
        self.is_abandoned = false;
    }

    /// Returns the address of the row of the head `expected`, if it is known; only once, because an
    /// append that failed leaves it unknown.
    pub(super) fn address_of(&mut self, expected: &Head) -> Option<String> {
        let (head, at) = self.head.take()?;
        self.addressed = (self.addressed + 1) % SEARCH_EVERY;
        (head == *expected && self.addressed != 0).then_some(at)
    }

    /// Remembers the address of the row of `head`.
    pub(super) fn remember(&mut self, head: Head, at: Option<String>) {
        self.head = at.map(|at| (head, at));
    }
}

/// The append's plan does not depend on its arrays, so it is planned once. It is planned while the
/// table of the head is small, so a scan would look as cheap as an address; and the cost of a scan
/// that cannot be avoided would look worth compiling.
const PLAN_ONCE: &str =
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off";

impl Writer {
    pub(super) fn new(readers: LogPool, timeout: Duration) -> Self {
        let name = format!("holdfast writer {}", Uuid::new_v4().simple());
        Self {
            readers,
            name: name.into(),
            timeout,
            slot: Arc::default(),
            notices: Notices::default(),
        }
    }

    /// The server's lock timeout in milliseconds: shorter than our own timeout.
    pub(super) fn lock_timeout(&self) -> String {
        (self.timeout.as_millis() * 4 / 5).max(1).to_string()
    }

    /// Opens a session, after ending an abandoned one.
    pub(super) async fn open(&self, slot: &mut Slot) -> Result<PgConnection, sqlx::Error> {
        if slot.is_abandoned {
            self.end_sessions().await?;
        }
        slot.is_abandoned = true;
        let opening = async {
            // At present: another host may have been promoted.
            let options = self.readers.connect_options().as_ref().clone();
            let options = options.application_name(&self.name);
            let mut connection = PgConnection::connect_with(&options).await?;
            connection.execute(PLAN_ONCE).await?;
            session::bound(&mut connection, LOCK_TIMEOUT).await?;
            notice_lost_clients(&mut connection).await;
            Ok(connection)
        };
        self.readers
            .last_failure
            .within(self.timeout, opening)
            .await
    }

    /// Ends every session of this writer on the server, even one that waits. Ending one that
    /// waits for a standby makes its commit visible without being replicated, which is why
    /// [`Writer::pass_barrier`] exists.
    pub(super) async fn end_sessions(&self) -> Result<(), sqlx::Error> {
        let ending = async {
            let mut reader = self.readers.acquire().await?;
            let ended = sqlx::query_scalar(END_SESSIONS)
                .bind(&*self.name)
                .fetch_one(&mut *reader)
                .await;
            if ended.is_err() {
                reader.close_on_drop();
            }
            ended
        };
        match self.readers.last_failure.within(self.timeout, ending).await {
            Ok(0_i64) => Ok(()),
            Ok(ended) => {
                warn!(
                    ended,
                    "ended {ended} database session(s) of this process that did not respond in time"
                );
                Ok(())
            }
            Err(error) if is_of_connection(&error) => Err(error),
            // Ending sessions may not be permitted; continuing is better than stopping.
            Err(error) => {
                warn!(%error, "cannot end a database session of this process that did not respond in time");
                Ok(())
            }
        }
    }

    /// Returns once a synchronous commit of its own has succeeded: everything that was visible
    /// before is flushed, and replicated to the synchronous standbys.
    pub(super) async fn pass_barrier(&self) -> Result<(), sqlx::Error> {
        let mut slot = self.slot.lock().await;
        if let Some(mut kept) = slot.take(&self.readers.last_failure) {
            match self.commit_barrier(&mut kept).await {
                Ok(()) => {
                    slot.put(kept);
                    return Ok(());
                }
                Err(error) if !has_died(&error) => return Err(error),
                Err(_unnoticed) => {}
            }
        }
        let mut connection = self.open(&mut slot).await?;
        self.commit_barrier(&mut connection).await?;
        slot.put(connection);
        Ok(())
    }

    async fn commit_barrier(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // Executed, not fetched: CommandComplete follows the commit, the row may not.
        standbys::required(connection, &self.readers).await?;
        let commit = self.notices.unwarned(connection.execute(BARRIER));
        let commit = self.readers.nudging(commit);
        let done = self.readers.last_failure.within(self.timeout, commit).await;
        let done = done.map_err(|error| {
            if is_timeout(&error) {
                let why = "no synchronous commit within the time limit; is the synchronous standby attached?";
                return sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why));
            }
            error
        })?;
        if done.rows_affected() == 0 {
            let state = session::State::of(connection).await?;
            return Err(state.unwritable().unwrap_or(Unwritable::ReadOnly).into());
        }
        // A wait that ended because the setting was taken away is not a replicated commit.
        standbys::required(connection, &self.readers).await
    }
}

/// Reports whether the session ended, before or during its use, as opposed to a timeout or a
/// warning.
fn has_died(error: &sqlx::Error) -> bool {
    is_of_connection(error) && !is_timeout(error) && !matches!(error, sqlx::Error::Protocol(_))
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::TimedOut)
}
