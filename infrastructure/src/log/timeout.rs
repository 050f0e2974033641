//! Timeouts for database calls.

use std::future::Future;
use std::time::Duration;

/// Gives up on a server that does not respond within `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let error = std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "Postgres did not respond in time",
        );
        Err(sqlx::Error::Io(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silent_server_times_out_and_slow_server_does_not() {
        let limit = Duration::from_secs(5);
        let slow = async |millis| {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(())
        };
        assert!(within(limit, slow(4_999)).await.is_ok());
        let outcome = within(limit, slow(5_001)).await;
        assert!(
            matches!(&outcome, Err(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut),
            "{outcome:?}"
        );
    }
}
