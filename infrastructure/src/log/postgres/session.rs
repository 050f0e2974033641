//! The kind of server behind a session, and the settings of every session.
//!
//! Promise: timeouts that a database or a role sets for interactive users end no statement and no
//! session of ours: every call has a timeout of its own. They are set in the session after it is
//! opened, because poolers refuse or drop settings of the start-up message.

use sqlx::{Executor, PgConnection};
use tracing::debug;

use crate::unwritable::Unwritable;

/// Timeouts of later versions are not in `pg_settings` of earlier ones.
const BOUND: &str = "
SELECT count(set_config(name, CASE name WHEN 'lock_timeout' THEN $1 ELSE '0' END, false)) FROM pg_settings
 WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout',
                'idle_in_transaction_session_timeout')";

/// How often the server checks whether the client of a running statement is still connected. A
/// setting of PostgreSQL 14 and later; a value other than 0 is an error where the platform cannot
/// detect it.
const NOTICE_LOST_CLIENTS: &str = "
SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'";

/// Less than the caller's own timeout, so that the server ends a statement before its caller
/// abandons it.
pub(super) const LOCK_TIMEOUT: &str = "4s";
/// A migration, or an auditor, may wait for locks.
pub(super) const NO_TIMEOUT: &str = "0";

/// The kind of server behind a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_standby: bool,
    /// True for each session of a standby.
    pub(super) is_read_only: bool,
}

impl State {
    pub(super) async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let (is_standby, is_read_only) = sqlx::query_as(
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'",
        )
        .persistent(false)
        .fetch_one(connection)
        .await?;
        Ok(Self {
            is_standby,
            is_read_only,
        })
    }

    /// Why the session cannot write.
    pub(super) const fn unwritable(self) -> Option<Unwritable> {
        match self {
            Self {
                is_standby: true, ..
            } => Some(Unwritable::Standby),
            Self {
                is_read_only: true, ..
            } => Some(Unwritable::ReadOnly),
            Self { .. } => None,
        }
    }
}

/// Replaces the timeouts of the database and the role.
pub(super) async fn bound(
    connection: &mut PgConnection,
    lock_timeout: &str,
) -> Result<(), sqlx::Error> {
    // The next statement takes longer than this one.
    connection.execute("SET statement_timeout = 0").await?;
    let bound = sqlx::query(BOUND).bind(lock_timeout).persistent(false);
    bound.execute(connection).await?;
    Ok(())
}

/// Makes the server end statements whose client has gone, where it can detect that.
pub(super) async fn notice_lost_clients(connection: &mut PgConnection) {
    if let Err(error) = connection.execute(NOTICE_LOST_CLIENTS).await {
        debug!(%error, "the server cannot check for lost clients");
    }
}
