//! Classifies database errors by the engine's next step: decide again, append again, or stop.
//!
//! Promise: an append is rejected for good only when the server objects to the data itself. Every
//! error that a failover can cause (a lost connection; a server that shuts down, starts, recovers,
//! is read-only or full; an unknown statement of a pooled session) leaves the outcome unknown, and
//! the same batch is appended again on another connection.

use domain::values::Position;

use crate::error::{AppendError, LogError};

/// The server's error for events ahead of its own clock; see migrations/0008_clock.sql.
const FROM_FUTURE: &str = "TF001";

/// The row arrived, but its contents are invalid.
pub(super) fn corrupt(position: Position, error: &sqlx::Error) -> LogError {
    LogError::Corrupt {
        position,
        reason: error.to_string(),
    }
}

pub(super) fn unavailable(error: sqlx::Error) -> LogError {
    LogError::Unavailable(error.into())
}

/// Only an objection to the data itself is final; in all other cases the append may have committed,
/// or may do so yet.
pub(super) fn append_error(error: sqlx::Error) -> AppendError {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.as_deref() == Some(FROM_FUTURE) {
        AppendError::FromFuture(error.into())
    } else if code.is_some_and(|code| is_about_data(&code)) {
        AppendError::Rejected(error.into())
    } else {
        AppendError::Unknown(error.into())
    }
}

/// Reports whether an SQLSTATE objects to the data: a value (22), a constraint (23), or the
/// statement and its rights (42, except for a prepared statement that a pooled session already
/// has).
fn is_about_data(code: &str) -> bool {
    ["22", "23", "42"]
        .iter()
        .any(|class| code.starts_with(class))
        && code != "42P05"
}

/// Reports whether the server ended the statement because of a lock timeout: nothing was written,
/// and the session continues.
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "55P03")
}

/// Why the head could not be read. A missing row is not an outage: it was removed.
pub(in crate::log) fn no_head(error: sqlx::Error) -> LogError {
    if !matches!(error, sqlx::Error::RowNotFound) {
        return unavailable(error);
    }
    LogError::Corrupt {
        position: Position::default(),
        reason: "log_head has no row, so the end of the log is unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failover_errors_do_not_reject_an_append() {
        for code in [
            "08000", "08001", "08003", "08004", "08006", "08007", "08P01", // connections
            "0A000", "26000", "42P05", // prepared statements of another session
            "25006", "25001", "25P02", "25P03", // read-only, or a transaction that was ended
            "28000", "28P01", "3D000", // a promoted server that is not set up yet
            "40001", "40003", "40P01", // a standby's recovery came first, or a deadlock
            "53000", "53100", "53200", "53300", "53400", // out of resources
            "55000", "55006", "55P03", // not in a state to, or locked
            "57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05", // shutting down
            "58000", "58030", "58P01", // files
            "XX000", "XX001", "XX002",
        ] {
            assert!(!is_about_data(code), "{code}");
        }
        for code in ["22P02", "22001", "23001", "23505", "42501", "42P01"] {
            assert!(is_about_data(code), "{code}");
        }
    }
}
