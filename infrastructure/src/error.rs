//! Errors below the rules: the log is unreachable, or its contents are invalid.

use domain::values::Position;

use crate::sqlstate::is_temporary;

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
            Self::Unavailable(source) => source.downcast_ref().is_none_or(is_temporary),
            Self::Corrupt { .. } => false,
        }
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
