//! The one error of the benchmark: what could not be done, or what did not add up.

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
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Something answered what it should not.
    #[error("{0}")]
    Unexpected(String),
    /// The store does not hold what was acknowledged: the figures of this contender are worth nothing.
    #[error(
        "{contender} acknowledged {acknowledged} holds ({unanswered} requests were left unanswered), \
         but its store has {stored}"
    )]
    Mismatch {
        /// Who.
        contender: String,
        /// Answers with 201.
        acknowledged: u64,
        /// Requests whose outcome the generator never learned: each may or may not be stored.
        unanswered: u64,
        /// What was counted.
        stored: u64,
    },
    /// Something took too long.
    #[error("{what} took longer than {limit:?}")]
    Timeout {
        /// What.
        what: String,
        /// The bound.
        limit: Duration,
    },
}

/// Names the step that failed.
pub trait Doing<T> {
    /// `doing` completes "cannot …".
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

/// An error and its causes, on one line.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let parts: Vec<String> = causes.map(ToString::to_string).collect();
    parts.join(": ")
}

/// `work`, within `limit`.
///
/// # Errors
/// [`BenchError::Timeout`], or what `work` ends with.
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
