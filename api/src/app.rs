//! The parts of a running server that its handlers share.
//!
//! The modules of these parts do not import this one. Their handlers do, in files of their own such
//! as `metrics/scrape.rs`, so that imports form no circle (`tests/contract/layers.rs`).

use std::ops::Deref;
use std::sync::Arc;

use ::catalogue::Catalogue;
use ::push::service::Push;
use domain::values::{AccessCode, BuyerId, CodeDigest, DropId, Timestamp};
use engine::{Clock, EngineHandle, SystemClock};
use infrastructure::head_keeper::HeadKeeper;
use infrastructure::log::postgres::PostgresLog;
use projections::runner::Progress;
use projections::views::Views;
use settlement::Settlement;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webhooks::service::Webhooks;

use crate::brand::Brand;
use crate::connections::AddressLimit;
use crate::demo_sign_in::DemoSignIn;
use crate::keys::Keys;
use crate::lateness::ReleaseLateness;
use crate::limiter::{Admission, BuyersKey, Limiter, Origin, RequestKind};
use crate::metrics::Metrics;
use crate::notifications::NotificationHub;
use crate::pages::catalogue_facts::CatalogueFacts;
use crate::pages::templates::Templates;
use crate::problem::Problem;
use crate::refused::{Reason, Refused};
use crate::session::Sessions;
use crate::stopped::StoppedTasks;
use crate::stream::StreamHub;
use tokens::buyers::BuyerTokens;
use tokens::sign_in::SignInUrl;

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
    /// Keeps the last acknowledged head outside the database.
    pub head_keeper: HeadKeeper,
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
    /// Where a buyer gets a token, if the shop has a page for it.
    pub sign_in_url: Option<SignInUrl>,
    /// The sign-in page of the demo; `None` in every other server.
    pub demo_sign_in: Option<DemoSignIn>,
    /// The progress of each projection's table.
    pub projections: Vec<(&'static str, watch::Receiver<Progress>)>,
    /// The background tasks that stopped unexpectedly.
    pub stopped: StoppedTasks,
    /// Outgoing webhooks.
    pub webhooks: Webhooks,
    /// Creators, products, follows and notifications.
    pub catalogue: Catalogue,
    /// Sends notifications to buyers.
    pub notification_hub: NotificationHub,
    /// Sends notifications to closed pages.
    pub push: Push,
    /// Payments of orders, and the jobs that follow from them.
    pub settlement: Settlement,
    /// Counts refusals.
    pub refused: Refused,
    pub metrics: Metrics,
    /// Limits the requests of each client address.
    pub limiter: Limiter,
    /// Measures the delay between a hold's expiry and the return of its units.
    pub lateness: ReleaseLateness,
    /// The name, the look and the languages of the shop.
    pub brand: Brand,
    /// The pages of this brand.
    pub templates: Templates,
    /// Facts of the catalogue about drops, for their description on other sites.
    pub facts: CatalogueFacts,
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
        // The spelling, because the log has digests of keys in this scope.
        let buyer = buyer_id.spelling();
        let parts = [
            drop_id.0.as_bytes().as_slice(),
            b"/buyer/",
            buyer.as_bytes(),
        ];
        self.key_scope(&parts.concat())
    }

    /// The digest that the log has of an access code of a drop.
    #[must_use]
    pub fn code_digest(&self, drop_id: DropId, code: &AccessCode) -> CodeDigest {
        CodeDigest::new(&self.key_secret, drop_id, code)
    }

    /// Admits a request for stock of a drop and counts it until it is settled. A refusal is counted
    /// for the drop.
    ///
    /// # Errors
    /// 429, with the limit of the address that is reached and the time to retry.
    pub(crate) fn admit(
        &self,
        origin: Origin,
        drop_id: DropId,
        kind: RequestKind,
        keys: BuyersKey,
    ) -> Result<Admission, Problem> {
        self.admit_many(origin, drop_id, (kind, 1), keys)
    }

    /// As [`App::admit`], for an order with holds of `holds` drops; `drop_id` is the first.
    ///
    /// # Errors
    /// 429, with the limit of the address that is reached and the time to retry.
    pub(crate) fn admit_order(
        &self,
        origin: Origin,
        drop_id: DropId,
        holds: usize,
        keys: BuyersKey,
    ) -> Result<Admission, Problem> {
        self.admit_many(origin, drop_id, (RequestKind::Hold, holds), keys)
    }

    fn admit_many(
        &self,
        origin: Origin,
        drop_id: DropId,
        requested: (RequestKind, usize),
        keys: BuyersKey,
    ) -> Result<Admission, Problem> {
        let admitted = self.limiter.admit(origin, requested, keys);
        if admitted.is_err() {
            self.refused
                .count_known(&self.views, drop_id, Reason::Throttled, self.now());
        }
        admitted
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
