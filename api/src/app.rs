//! The parts of a running server, as its handlers see them.

use std::ops::Deref;
use std::sync::Arc;

use domain::values::{BuyerId, DropId, Timestamp};
use engine::{Clock, EngineHandle, SystemClock};
use infrastructure::log::postgres::PostgresLog;
use projections::runner::Progress;
use projections::views::Views;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connections::AddressLimit;
use crate::keys::Keys;
use crate::lateness::ReleaseLateness;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::refused::Refused;
use crate::session::Sessions;
use crate::stream::StreamHub;
use crate::tokens::BuyerTokens;

/// Shared by every handler. Clones are the same server.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// See [`App`].
pub struct Parts {
    /// Decides and records.
    pub engine: EngineHandle,
    /// Answers hot reads.
    pub views: Views,
    /// Answers auditors.
    pub log: PostgresLog,
    /// Tells watchers.
    pub hub: StreamHub,
    /// How many streams each client address has.
    pub streams: AddressLimit,
    /// Who may do what.
    pub keys: Keys,
    /// Browsers that signed in as admin.
    pub sessions: Sessions,
    /// Keeps idempotency keys from being guessed from their digests; the same for every process of this log.
    pub key_secret: Vec<u8>,
    /// What buyers' tokens must be, if buyers need any.
    pub buyer_tokens: Option<BuyerTokens>,
    /// How far each projection's table is.
    pub projections: Vec<(&'static str, watch::Receiver<Progress>)>,
    /// Counts what is refused.
    pub refused: Refused,
    /// Counts for Prometheus.
    pub metrics: Metrics,
    /// Bounds what one client address may do.
    pub limiter: Limiter,
    /// How late the units of holds that ran out came back.
    pub lateness: ReleaseLateness,
    /// Ends what would otherwise never end: exports.
    pub stop: CancellationToken,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// What an idempotency key of `resource` is digested with.
    #[must_use]
    pub fn key_scope(&self, resource: &[u8]) -> Vec<u8> {
        [self.key_secret.as_slice(), resource].concat()
    }

    /// What an idempotency key of one buyer of a drop is digested with.
    #[must_use]
    pub fn buyer_key_scope(&self, drop_id: DropId, buyer_id: &BuyerId) -> Vec<u8> {
        let buyer = buyer_id.comparable();
        let parts = [
            drop_id.0.as_bytes().as_slice(),
            b"/buyer/",
            buyer.as_bytes(),
        ];
        self.key_scope(&parts.concat())
    }

    /// The server's time; the database's while this node's clock is known to be wrong.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.engine.corrected(SystemClock.now())
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
