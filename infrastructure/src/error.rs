//! What can go wrong below the rules: the log is away, or it holds what it never should.

use domain::values::Position;

/// Why reading from the log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log cannot be reached; asking again later is right.
    #[error("the event log is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log holds what it never should; nobody should go on from here.
    #[error("the event log is corrupt at position {position}: {reason}")]
    Corrupt {
        /// The first position that is wrong.
        position: Position,
        /// What is wrong there.
        reason: String,
    },
}

/// Why an append did not certainly land.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first. Nothing was written.
    #[error("the log moved on")]
    Conflict,
    /// Nobody knows whether it landed. Append the same batch again.
    #[error("the outcome of an append is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log refuses this batch and always will. Nothing was written.
    #[error("the log refuses the batch")]
    Rejected(#[source] Box<dyn std::error::Error + Send + Sync>),
}
