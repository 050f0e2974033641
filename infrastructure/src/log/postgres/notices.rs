//! Detects warnings of the server, which its client library only logs.
//!
//! Promise: work during which the server warned does not count as done. The case that matters is a
//! commit whose wait for a synchronous standby was cancelled: the server reports success, and a
//! warning that it may not have been replicated.
//! Limit: the library passes notices only to `tracing`, so they are caught there, by a subscriber
//! that is the default only while the work is polled, and forwards everything else.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher, span};

/// The target under which sqlx logs server notices.
const TARGET: &str = "sqlx::postgres::notice";

/// Catches warnings. Clones share the flag, so use it for one piece of work at a time.
#[derive(Debug, Clone)]
pub(super) struct Notices {
    dispatch: Dispatch,
    warned: Arc<AtomicBool>,
}

impl Default for Notices {
    fn default() -> Self {
        let warned = Arc::<AtomicBool>::default();
        let dispatch = Dispatch::new(Catcher {
            outer: dispatcher::get_default(Dispatch::clone),
            most: LevelFilter::current().max(LevelFilter::WARN),
            warned: Arc::clone(&warned),
        });
        Self { dispatch, warned }
    }
}

impl Notices {
    /// Runs `work` to completion.
    ///
    /// # Errors
    /// Errors of `work`, and [`sqlx::Error::Protocol`] when it succeeded and the server warned
    /// meanwhile.
    pub(super) async fn unwarned<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.warned.store(false, Ordering::Relaxed);
        let done = work.with_subscriber(self.dispatch.clone()).await?;
        if self.warned.load(Ordering::Relaxed) {
            let what = "the server warned during a commit, so the commit may not be replicated";
            return Err(sqlx::Error::Protocol(what.to_owned()));
        }
        Ok(done)
    }
}

struct Catcher {
    outer: Dispatch,
    most: LevelFilter,
    warned: Arc<AtomicBool>,
}

fn is_warning(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET && *metadata.level() <= Level::WARN
}

impl Subscriber for Catcher {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_warning(metadata) {
            return Interest::sometimes();
        }
        self.outer.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_warning(metadata) || self.outer.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if is_warning(metadata) {
            self.warned.store(true, Ordering::Relaxed);
            if !self.outer.enabled(metadata) {
                return;
            }
        }
        self.outer.event(event);
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.outer.new_span(span)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.outer.record(span, values);
    }

    fn record_follows_from(&self, span: &span::Id, follows: &span::Id) {
        self.outer.record_follows_from(span, follows);
    }

    fn enter(&self, span: &span::Id) {
        self.outer.enter(span);
    }

    fn exit(&self, span: &span::Id) {
        self.outer.exit(span);
    }

    fn clone_span(&self, span: &span::Id) -> span::Id {
        self.outer.clone_span(span)
    }

    fn try_close(&self, span: span::Id) -> bool {
        self.outer.try_close(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn logging(level: Level) -> Result<u8, sqlx::Error> {
        tokio::task::yield_now().await;
        match level {
            Level::WARN => tracing::warn!(target: TARGET, "cancelled"),
            _ => tracing::info!(target: TARGET, "already exists"),
        }
        Ok(1)
    }

    #[tokio::test]
    async fn work_with_a_server_warning_does_not_count_as_done() {
        let notices = Notices::default();
        assert!(notices.unwarned(logging(Level::WARN)).await.is_err());
        assert!(notices.unwarned(logging(Level::INFO)).await.is_ok());
        logging(Level::WARN).await.unwrap();
        assert!(
            notices.unwarned(async { Ok(()) }).await.is_ok(),
            "a warning about other work"
        );
    }
}
