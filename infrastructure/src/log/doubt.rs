//! When a database failed last, and what is connected to it since before.
//!
//! Promise: a connection that lay idle while its database failed is not used again: a network that went away may have left it open
//! at our end alone, and whoever asks on it waits for nobody. Where nothing fails, nothing is asked.
//! Limit: whoever connects to one database in one process shares its doubt, and so connects anew a few times too often.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;

use super::patience::within;

/// Doubt about one database. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt(Arc<Mutex<Option<Instant>>>);

/// Where a database is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    host: String,
    socket: Option<PathBuf>,
    port: u16,
    database: Option<String>,
}

/// A pool and the log that reads through it are made one after the other, and know of each other only where they connect to.
static DOUBTS: Mutex<Option<HashMap<Place, Doubt>>> = Mutex::new(None);

impl Doubt {
    /// The one about the database that `options` lead to.
    pub(super) fn about(options: &PgConnectOptions) -> Self {
        let place = Place {
            host: options.get_host().to_owned(),
            socket: options.get_socket().cloned(),
            port: options.get_port(),
            database: options.get_database().map(str::to_owned),
        };
        let mut doubts = DOUBTS.lock().unwrap_or_else(PoisonError::into_inner);
        let doubts = doubts.get_or_insert_default();
        doubts.entry(place).or_default().clone()
    }

    /// Gives up after `limit`, and takes note of what fails.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let outcome = within(limit, work).await;
        outcome.inspect_err(|error| self.note(error))
    }

    /// Whether the database has failed after `instant`.
    pub(super) fn arose_after(&self, instant: Instant) -> bool {
        let failed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed >= instant)
    }

    fn note(&self, error: &sqlx::Error) {
        if is_of_connection(error) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// Whether `error` is the connection's and not the request's. Classes 08 (connection) and 57P (the server is shut down, or starts)
/// are what a server says while it goes or comes, and 25006 (read-only) is what one says that is not the primary any more.
pub(super) fn is_of_connection(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    match code {
        Some(code) => code.starts_with("08") || code.starts_with("57P") || code == "25006",
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> sqlx::Error {
        sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())
    }

    #[tokio::test]
    async fn what_was_idle_when_the_database_failed_is_in_doubt_and_what_came_later_is_not() {
        let doubt = Doubt::default();
        let before = Instant::now();
        let second = Duration::from_secs(1);
        let found_nothing = doubt.within(second, async { Err::<(), _>(sqlx::Error::RowNotFound) });
        assert!(found_nothing.await.is_err());
        assert!(!doubt.arose_after(before), "an answer about the request");
        assert!(
            doubt
                .within(second, async { Err::<(), _>(lost()) })
                .await
                .is_err()
        );
        assert!(doubt.arose_after(before));
        assert!(!doubt.arose_after(Instant::now() + second));
    }

    #[test]
    fn doubt_is_about_one_database_and_shared_by_all_who_connect_to_it() {
        let of = |url: &str| Doubt::about(&url.parse().unwrap());
        let start = Instant::now();
        of("postgres://me@host:5433/one").note(&lost());
        assert!(of("postgres://other@host:5433/one?sslmode=disable").arose_after(start));
        for other in [
            "postgres://me@host:5433/two",
            "postgres://me@host/one",
            "postgres://me@there:5433/one",
        ] {
            assert!(!of(other).arose_after(start), "{other}");
        }
    }
}
