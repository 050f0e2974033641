//! Remembers when a database failed last, to discard connections that are older.
//!
//! Promise: a connection that was idle while its database failed is not used again: a network
//! failure may have left it open at our end only, and a request on it would wait forever. Without
//! failures no round trips are added.
//! Limit: the users of a [`super::postgres::LogPool`] share its record, so they reconnect slightly
//! too often.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::timeout::within;
use crate::sqlstate::is_of_connection;

/// The last failure of one database. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastFailure(Arc<Mutex<Option<Instant>>>);

impl LastFailure {
    /// Gives up after `limit`, and records failures.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let outcome = within(limit, work).await;
        outcome.inspect_err(|error| self.note(error))
    }

    /// Reports whether the database failed after `instant`.
    pub(super) fn is_after(&self, instant: Instant) -> bool {
        let failed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed >= instant)
    }

    pub(super) fn note(&self, error: &sqlx::Error) {
        if is_of_connection(error) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> sqlx::Error {
        sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())
    }

    #[tokio::test]
    async fn connections_older_than_the_last_failure_are_suspect() {
        let last_failure = LastFailure::default();
        let before = Instant::now();
        let second = Duration::from_secs(1);
        let found_nothing =
            last_failure.within(second, async { Err::<(), _>(sqlx::Error::RowNotFound) });
        assert!(found_nothing.await.is_err());
        assert!(!last_failure.is_after(before), "an error of the request");
        assert!(
            last_failure
                .within(second, async { Err::<(), _>(lost()) })
                .await
                .is_err()
        );
        assert!(last_failure.is_after(before));
        assert!(!last_failure.is_after(Instant::now() + second));
    }
}
