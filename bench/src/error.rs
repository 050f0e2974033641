//! The error type of the benchmark.

use std::error::Error;
use std::time::Duration;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A step failed.
    #[error("cannot {doing}")]
    Step {
        /// Completes "cannot …".
        doing: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// An unexpected response or output.
    #[error("{0}")]
    Unexpected(String),
    /// The store does not contain the acknowledged holds: the figures of this contender are
    /// invalid.
    #[error(
        "{contender} acknowledged {acknowledged} holds ({unanswered} requests had no response), \
            but its store has {stored}"
    )]
    Mismatch {
        contender: String,
        /// Responses with status 201.
        acknowledged: u64,
        /// Requests without a response: each may or may not be stored.
        unanswered: u64,
        stored: u64,
    },
    #[error("{what} took longer than {limit:?}")]
    Timeout { what: String, limit: Duration },
}

/// Names the step that failed.
pub trait Doing<T> {
    /// Adds the step; `doing` completes "cannot …".
    fn doing(self, doing: impl Into<String>) -> Result<T, BenchError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T, BenchError> {
        self.map_err(|source| BenchError::Step {
            doing: doing.into(),
            source: source.into(),
        })
    }
}

/// Waits for `work`, at most for `limit`.
///
/// # Errors
/// [`BenchError::Timeout`], or the error of `work`.
pub async fn within<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, BenchError>>,
) -> Result<T, BenchError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(BenchError::Timeout {
            what: what.to_owned(),
            limit,
        })
    })
}
