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

impl LogError {
    /// Whether the log is away, or says that it cannot answer now. Anything else is a fault, which asking again does not mend.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unavailable(source) => source.downcast_ref().is_none_or(is_away),
            Self::Corrupt { .. } => false,
        }
    }
}

/// SQLSTATE classes of a server that cannot answer now: of the connection (08), read-only or out of its transaction (25), not
/// set up for us yet (28, 3D), rolled back for another's sake (40), out of room (53), not in a state to (55), told to stop (57),
/// of its files (58). A failover goes through all of them.
const NOT_NOW: [&str; 9] = ["08", "25", "28", "3D", "40", "53", "55", "57", "58"];

fn is_away(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(said) => said
            .code()
            .is_some_and(|code| NOT_NOW.iter().any(|class| code.starts_with(class))),
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

/// Why an append did not certainly land.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first. Nothing was written.
    #[error("the log moved on")]
    Conflict,
    /// Nobody knows whether it landed. Append the same batch again.
    #[error("the outcome of an append is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The batch is larger than the log takes at once. Nothing was sent, and nothing ever is: what
    /// it holds is to be refused.
    #[error("a batch of {bytes} bytes is more than the log takes at once, {most}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// The log refuses this batch and always will. Nothing was written.
    #[error("the log refuses the batch")]
    Rejected(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The batch is stamped more than two seconds in the future of the log's own clock: the writer's clock is ahead. This
    /// attempt wrote nothing; the batch must be decided again at the right time.
    #[error("the log refuses a batch from the future")]
    FromFuture(#[source] Box<dyn std::error::Error + Send + Sync>),
}
