//! The one session that appends: opened when needed, replaced when in doubt.
//!
//! Promise: at most one session of a writer is left stuck on the server. Before a session is opened in place of one that
//! was given up, that one is ended: a backend that waits for the head's lock or for a synchronous standby does not notice
//! that its client has gone. Every commit waits for the disk and for the synchronous standbys, whatever the database, the
//! role or a connection pooler says: the setting is made in the same transaction.
//! Limit: the waits of sessions of a process that was killed end with what they wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{Connection, Executor};
use tokio::sync::Mutex;
use tracing::warn;
use uuid::Uuid;

use super::connect::notice_lost_clients;
use super::notices::Notices;
use crate::log::doubt::{Doubt, is_of_connection};

/// Ends the sessions of a writer that are still there.
const END_SESSIONS: &str = "
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name = $1 AND usename = session_user AND datname = current_database() AND pid <> pg_backend_pid()";

/// A commit that changes nothing and is synchronous. Its record in the write-ahead log (PostgreSQL 9.6 and later, with any
/// `wal_level`, open to every role) comes after everything that was committed before, and the log is flushed and replicated
/// in order. A transaction that has only an id and no record would not wait.
const BARRIER: &str = "
SELECT set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true),
       set_config('client_min_messages', 'warning', true),
       pg_logical_emit_message(true, 'holdfast', '')
 WHERE NOT pg_is_in_recovery()";

/// Opens, keeps and replaces the session. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    /// For ending what is stuck: a session more may be one too many.
    readers: PgPool,
    options: PgConnectOptions,
    /// What its sessions are called in `pg_stat_activity`; nobody else's are.
    name: Arc<str>,
    doubt: Doubt,
    /// How long one answer of the server is waited for.
    pub(super) timeout: Duration,
    pub(super) slot: Arc<Mutex<Slot>>,
    pub(super) notices: Notices,
}

/// Where the session lies while nobody appends.
#[derive(Debug, Default)]
pub(super) struct Slot {
    idle: Option<(PgConnection, Instant)>,
    /// A session was opened and not put back: it may be stuck.
    is_abandoned: bool,
}

impl Slot {
    /// Taken out while in use: a call that is given up half way leaves no session in an unknown state behind.
    pub(super) fn take(&mut self, doubt: &Doubt) -> Option<PgConnection> {
        let (connection, since) = self.idle.take()?;
        self.is_abandoned = true;
        (!doubt.arose_after(since)).then_some(connection)
    }

    /// Back in, once nothing is under way on it.
    pub(super) fn put(&mut self, connection: PgConnection) {
        self.idle = Some((connection, Instant::now()));
        self.is_abandoned = false;
    }
}

/// Settings that a session of the writer begins with.
pub(super) const SETTINGS: [(&str, &str); 1] = [
    // The append is the same work whatever its arrays hold, so it is planned once.
    ("plan_cache_mode", "force_generic_plan"),
];

impl Writer {
    pub(super) fn new(readers: PgPool, doubt: Doubt, timeout: Duration) -> Self {
        let options = readers.connect_options().as_ref().clone();
        let name = format!("holdfast writer {}", Uuid::new_v4().simple());
        let options = options.application_name(&name).options(SETTINGS);
        Self {
            readers,
            options,
            name: name.into(),
            doubt,
            timeout,
            slot: Arc::default(),
            notices: Notices::default(),
        }
    }

    /// The server gives up waiting for a lock before we give up on the server, in milliseconds.
    pub(super) fn lock_timeout(&self) -> String {
        (self.timeout.as_millis() * 4 / 5).max(1).to_string()
    }

    /// A new session, after the end of one that was given up.
    pub(super) async fn open(&self, slot: &mut Slot) -> Result<PgConnection, sqlx::Error> {
        if slot.is_abandoned {
            self.end_sessions().await?;
        }
        slot.is_abandoned = true;
        let opening = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            notice_lost_clients(&mut connection).await;
            Ok(connection)
        };
        self.doubt.within(self.timeout, opening).await
    }

    /// Ends every session of this writer on the server, whatever it waits for. Ending one that waits for a standby makes its
    /// commit visible without being replicated, which [`Writer::pass_barrier`] is for.
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
        match self.doubt.within(self.timeout, ending).await {
            Ok(0_i64) => Ok(()),
            Ok(ended) => {
                warn!(
                    ended,
                    "ended {ended} database session(s) of ours that did not answer in time"
                );
                Ok(())
            }
            Err(error) if is_of_connection(&error) => Err(error),
            // Not allowed to, somewhere: going on without is better than not going on.
            Err(error) => {
                warn!(%error, "cannot end a database session of ours that did not answer in time");
                Ok(())
            }
        }
    }

    /// Returns once a synchronous commit of its own has succeeded: everything that was visible before is flushed, and
    /// replicated to the synchronous standbys.
    pub(super) async fn pass_barrier(&self) -> Result<(), sqlx::Error> {
        let mut slot = self.slot.lock().await;
        if let Some(mut kept) = slot.take(&self.doubt) {
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
        // Executed, not fetched: CommandComplete follows the commit, the row need not.
        let commit = self.notices.unwarned(connection.execute(BARRIER));
        let done = self.doubt.within(self.timeout, commit).await;
        let done = done.map_err(|error| {
            if is_timeout(&error) {
                let why = "no synchronous commit within the time limit; is the synchronous standby attached?";
                return sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why));
            }
            error
        })?;
        if done.rows_affected() == 0 {
            let in_recovery = "the server is in recovery: a standby, which takes no writes";
            return Err(sqlx::Error::Protocol(in_recovery.to_owned()));
        }
        Ok(())
    }
}

/// Whether a session ended, before or while it was used; rather than that it was too slow, or warned.
fn has_died(error: &sqlx::Error) -> bool {
    is_of_connection(error) && !is_timeout(error) && !matches!(error, sqlx::Error::Protocol(_))
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::TimedOut)
}
