//! The parts of a running server that its handlers share.

use std::ops::Deref;
use std::sync::Arc;

use domain::values::{BuyerId, DropId, Timestamp};
use engine::{Clock, EngineHandle, SystemClock};
use infrastructure::log::postgres::PostgresLog;
use projections::runner::Progress;
use projections::views::Views;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webhooks::service::Webhooks;

use crate::connections::AddressLimit;
use crate::keys::Keys;
use crate::lateness::ReleaseLateness;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::refused::Refused;
use crate::session::Sessions;
use crate::stream::StreamHub;
use crate::tokens::BuyerTokens;

/// Shared by every handler. Clones refer to the same server.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    /// Decides and records commands.
    pub engine: EngineHandle,
    /// Serves frequent reads from memory.
    pub views: Views,
    /// Serves the auditors' reads.
    pub log: PostgresLog,
    /// Sends changes to stream subscribers.
    pub hub: StreamHub,
    /// Counts the streams of each client address.
    pub streams: AddressLimit,
    /// The admin key and the auditor key.
    pub keys: Keys,
    /// Browsers that are signed in as administrators.
    pub sessions: Sessions,
    /// Keyed into the digests of idempotency keys, so that a key cannot be guessed from its digest.
    /// Every process on this log uses the same secret.
    pub key_secret: Vec<u8>,
    /// How buyers' tokens are verified; `None` when buyers send none.
    pub buyer_tokens: Option<BuyerTokens>,
    /// The progress of each projection's table.
    pub projections: Vec<(&'static str, watch::Receiver<Progress>)>,
    /// Outgoing webhooks.
    pub webhooks: Webhooks,
    /// Counts refusals.
    pub refused: Refused,
    pub metrics: Metrics,
    /// Limits the requests of each client address.
    pub limiter: Limiter,
    /// Measures the delay between a hold's expiry and the return of its units.
    pub lateness: ReleaseLateness,
    /// Ends responses that have no end of their own, such as exports.
    pub stop: CancellationToken,
}

impl App {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The secret with which idempotency keys of `resource` are digested.
    #[must_use]
    pub fn key_scope(&self, resource: &[u8]) -> Vec<u8> {
        [self.key_secret.as_slice(), resource].concat()
    }

    /// The secret with which idempotency keys of one buyer of a drop are digested.
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
