//! Errors below the rules: the log is unreachable, or its contents are invalid.

use domain::values::Position;

/// Why reading from the log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is unreachable; a later retry may succeed.
    #[error("the event log is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log's contents are invalid; nothing may be decided from here on.
    #[error("the event log is corrupt at position {position}: {reason}")]
    Corrupt {
        /// The first invalid position.
        position: Position,
        reason: String,
    },
}

impl LogError {
    /// Reports whether the log is unreachable or temporarily unable to respond. Anything else is a
    /// fault that a retry does not fix.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unavailable(source) => source.downcast_ref().is_none_or(is_away),
            Self::Corrupt { .. } => false,
        }
    }
}

/// SQLSTATE classes of a server that is temporarily unable to respond: connection (08), read-only
/// or transaction ended (25), not set up for this user yet (28, 3D), rolled back because of others
/// (40), out of resources (53), object not in the required state (55), shutting down (57), file
/// errors (58). A failover causes all of them.
const TEMPORARY: [&str; 9] = ["08", "25", "28", "3D", "40", "53", "55", "57", "58"];

fn is_away(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(said) => said
            .code()
            .is_some_and(|code| TEMPORARY.iter().any(|class| code.starts_with(class))),
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
        ),
    }
}

/// Why an append did not certainly succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another node appended first. Nothing was written.
    #[error("conflict: the log has moved on")]
    Conflict,
    /// The outcome is unknown. Append the same batch again.
    #[error("the outcome of an append is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The batch is larger than the log accepts. Nothing was sent, and a retry cannot succeed: its
    /// requests must be rejected.
    #[error("a batch of {bytes} bytes exceeds the limit of one append, {most} bytes")]
    TooLarge { bytes: usize, most: usize },
    /// The log rejects this batch and always will. Nothing was written.
    #[error("the log rejects the batch")]
    Rejected(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The batch's time is more than two seconds ahead of the log's own clock: the writer's clock
    /// is ahead. This attempt wrote nothing; the batch must be decided again at the right time.
    #[error("the log rejects a batch from the future")]
    FromFuture(#[source] Box<dyn std::error::Error + Send + Sync>),
}
