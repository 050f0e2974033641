//! Detects a connection pooler between the process and its server that assigns each transaction any
//! free connection. Prepared statements, settings and advisory locks of a session are then lost, or
//! visible to other sessions.
//!
//! Promise: a start or a command behind a pooler that loses the prepared statements, the settings
//! or the transactions of a session fails; [`is_from_pooler`] recognises every error that only a
//! pooler produces.
//! Limit: shared connections are detected as long as the pooler reuses the connection that was used
//! last, as PgBouncer does.

use std::error::Error;
use std::iter::successors;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use uuid::Uuid;

use super::APPEND_TIMEOUT;
use crate::log::timeout::within;
use crate::sqlstate::SqlState;

/// Advice about a pooler, which replaces the library's error message.
pub const POOLER: &str = "DATABASE_URL leads to a connection pooler, such as PgBouncer, that does not \
    keep a session as it is: set HOLDFAST_DIRECT_URL to the PostgreSQL server's own address, or \
    DATABASE_URL to a pool with pool_mode = session";

/// The pooler mixes sessions up, without an error.
#[derive(Debug, thiserror::Error)]
#[error("{POOLER}")]
pub struct MixesSessions;

/// Uses two sessions in turn, as a process will, and fails if a pooler mixes them up.
///
/// # Errors
/// [`sqlx::Error`], for which [`is_from_pooler`] holds if a pooler is the cause.
pub(super) async fn look_for_pooler(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let connect = || within(APPEND_TIMEOUT, PgConnection::connect_with(options));
    let (mut first, mut second) = (connect().await?, connect().await?);
    if !within(APPEND_TIMEOUT, keeps_session(&mut first, &mut second)).await? {
        return Err(sqlx::Error::Configuration(MixesSessions.into()));
    }
    first.close().await?;
    second.close().await
}

/// Reports whether `first` keeps its own session after `second` has begun a transaction, for which
/// a pooler uses the server connection that was used last.
async fn keeps_session(
    first: &mut PgConnection,
    second: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let mark = Uuid::new_v4().to_string();
    let set = |mark| {
        sqlx::query_scalar::<_, String>("SELECT set_config('holdfast.session', $1, false)")
            .bind(mark)
    };
    set(mark.clone()).fetch_one(&mut *first).await?;
    let mut transaction = second.begin().await?;
    set(Uuid::new_v4().to_string())
        .fetch_one(&mut *transaction)
        .await?;
    let found: Option<String> =
        sqlx::query_scalar("SELECT current_setting('holdfast.session', true)")
            .fetch_one(&mut *first)
            .await?;
    transaction.rollback().await?;
    for session in [first, second] {
        session.execute("RESET holdfast.session").await?;
    }
    Ok(found == Some(mark))
}

/// Reports whether `error`, or a cause of it, is one that only a pooler, or a server behind one,
/// produces.
#[must_use]
pub fn is_from_pooler(error: &(dyn Error + 'static)) -> bool {
    let causes = || successors(Some(error), |error| (*error).source());
    let mixes_sessions = || causes().any(|error| error.is::<MixesSessions>());
    let mut causes_of_server = causes()
        .filter_map(|error| error.downcast_ref::<sqlx::Error>())
        .filter_map(|error| Some((SqlState::of(error)?, error.as_database_error()?.message())));
    causes_of_server.any(|(code, message)| is_of_pooler(&code, message)) || mixes_sessions()
}

/// Messages of PgBouncer about something that every server accepts: a setting at the start of a
/// session, and a transaction of more than one statement.
const REJECTED_BY_POOLER: [&str; 2] = [
    "unsupported startup parameter",
    "transaction blocks not allowed",
];

/// A prepared statement of another session, or something that only a pooler rejects.
fn is_of_pooler(code: &SqlState<'_>, message: &str) -> bool {
    let rejected = || {
        let mut all = REJECTED_BY_POOLER.iter();
        all.any(|rejected| message.starts_with(rejected))
    };
    code.is_of_other_session() || (code.is_protocol_violation() && rejected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooler_errors_are_recognised() {
        // PgBouncer 1.18.0 with pool_mode = transaction, before PostgreSQL 15.
        for (code, message) in [
            ("42P05", "prepared statement \"sqlx_s_1\" already exists"),
            ("26000", "prepared statement \"sqlx_s_2\" does not exist"),
            ("08P01", "unsupported startup parameter: extra_float_digits"),
            ("08P01", "unsupported startup parameter: options"),
            (
                "08P01",
                "unsupported startup parameter in options: plan_cache_mode",
            ),
            (
                "08P01",
                "transaction blocks not allowed in statement pooling mode",
            ),
        ] {
            assert!(is_of_pooler(&code.into(), message), "{code} {message}");
        }
        for (code, message) in [
            ("08P01", "invalid message format"),
            ("28P01", "password authentication failed"),
            ("42P01", "relation \"events\" does not exist"),
        ] {
            assert!(!is_of_pooler(&code.into(), message), "{code} {message}");
        }
    }
}
