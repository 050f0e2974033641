//! Classifies database errors by the engine's next step: decide again, append again, or stop.
//!
//! Promise: an append is rejected for good only when the server objects to the data itself. Every
//! error that a failover can cause (a lost connection; a server that shuts down, starts, recovers,
//! is read-only or full; an unknown statement of a pooled session) leaves the outcome unknown, and
//! the same batch is appended again on another connection.

use domain::values::Position;

use crate::error::{AppendError, LogError};
use crate::sqlstate::SqlState;

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
    let code = SqlState::of(&error);
    if code.as_ref().is_some_and(SqlState::is_from_future) {
        AppendError::FromFuture(error.into())
    } else if code.as_ref().is_some_and(SqlState::rejects_request) {
        AppendError::Rejected(error.into())
    } else {
        AppendError::Unknown(error.into())
    }
}

/// Reports whether the server ended the statement because of a lock timeout: nothing was written,
/// and the session continues.
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    SqlState::of(error).is_some_and(|code| code.is_lock_timeout())
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
