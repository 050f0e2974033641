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

use tokio::sync::watch;

use super::timeout::within;
use crate::sqlstate::is_of_connection;
use crate::unwritable::Unwritable;

/// How long a refusal explains why there is no connection. Longer than a pool tries to open one.
const EXPLAINS: Duration = Duration::from_secs(10);

/// The last failure of one database. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastFailure {
    at: watch::Sender<Option<Instant>>,
    /// Why a session that was opened could not be used.
    refused: Arc<Mutex<Option<(Instant, Unwritable)>>>,
}

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
        let failed = *self.at.borrow();
        failed.is_some_and(|failed| failed >= instant)
    }

    pub(super) fn note(&self, error: &sqlx::Error) {
        if is_of_connection(error) {
            self.at.send_replace(Some(Instant::now()));
        }
    }

    /// Follows the failures.
    pub(super) fn follow(&self) -> watch::Receiver<Option<Instant>> {
        self.at.subscribe()
    }

    /// Records that a session was opened that cannot write, or `None` for one that can.
    pub(super) fn note_session(&self, reason: Option<Unwritable>) {
        let noted = reason.map(|reason| (Instant::now(), reason));
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }

    /// Replaces the timeout of a pool by the reason for it, which a pool does not pass on.
    pub(super) fn explained(&self, error: sqlx::Error) -> sqlx::Error {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = refused.filter(|(at, _)| at.elapsed() < EXPLAINS);
        match (error, recent) {
            (sqlx::Error::PoolTimedOut, Some((_, reason))) => reason.into(),
            (error, _) => error,
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
