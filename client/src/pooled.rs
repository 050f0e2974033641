//! A client for one server with shared, kept-alive sockets and a method per route.
//!
//! Promise: each method sends one request and returns its typed response; clones share the sockets.
//! Limit: it never retries, because only the caller knows how long a retry is worth it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::values::{DropId, HoldId, Position};
use http_body_util::Full;
use hyper::Request;
use hyper::header::AUTHORIZATION;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::access::AccessKey;
use super::address::ServerAddress;
use super::calls::{
    self, DropView, HoldView, LogHead, LogPage, NewAdjustment, NewDrop, NewHold, Page, PurchaseView,
};
use super::error::ClientError;
use super::tls;
use super::wire::{Call, Reply};

/// The longest wait for one response.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Client {
    http: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    server: ServerAddress,
    key: AccessKey,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// A client for `server`, an address without TLS, with the admin key `key`. Sends nothing yet.
    ///
    /// # Errors
    /// [`ClientError::Authorities`] when TLS cannot be initialized.
    pub fn new(server: ServerAddress, key: AccessKey) -> Result<Self, ClientError> {
        Self::with_tls(server, key, tls::none()?)
    }

    /// Like [`Self::new`], with the certificate authorities of `tls` if the address uses TLS.
    ///
    /// # Errors
    /// The same as for [`Self::new`].
    pub(super) fn with_tls(
        server: ServerAddress,
        key: AccessKey,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, ClientError> {
        // No proxy: it would be part of the measurement, and could respond in the server's name.
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Pool::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            http,
            server,
            key,
            tls,
        })
    }

    /// The TLS configuration.
    pub(super) const fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    #[must_use]
    pub const fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// The key that it sends.
    #[must_use]
    pub const fn key(&self) -> &AccessKey {
        &self.key
    }

    /// Sends `call` once and reads the complete response, whatever its status.
    ///
    /// # Errors
    /// [`ClientError::Connection`] or [`ClientError::Timeout`].
    pub async fn send(&self, call: &Call) -> Result<Reply, ClientError> {
        let too_late = |_| ClientError::Timeout {
            server: self.server.to_string(),
            after: TIMEOUT,
        };
        timeout(TIMEOUT, self.exchange(call))
            .await
            .map_err(too_late)?
    }

    async fn exchange(&self, call: &Call) -> Result<Reply, ClientError> {
        let request = Request::builder()
            .uri(self.server.url(&call.path))
            .header(AUTHORIZATION, self.key.bearer());
        let request = call.complete(request);
        let request = request.map_err(|error| ClientError::connection(&self.server, error))?;
        let response = self.http.request(request).await;
        let response = response.map_err(|error| ClientError::connection(&self.server, error))?;
        let reply = Reply::read_from(response).await;
        reply.map_err(|error| ClientError::connection(&self.server, error))
    }

    /// Creates a drop, or returns the one that was created under this key.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn create_drop(&self, drop: &NewDrop, key: &str) -> Result<DropView, ClientError> {
        self.send(&calls::create_drop(drop, key))
            .await?
            .read("a drop")
    }

    /// Returns every drop.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn drops(&self) -> Result<Vec<DropView>, ClientError> {
        let mut drops: Vec<DropView> = vec![];
        loop {
            let after = drops.last().map(|drop| drop.id);
            let reply = self.send(&calls::list_drops(after)).await?;
            let page: Page<DropView> = reply.read("a list of drops")?;
            let done = !page.has_more || page.data.is_empty();
            drops.extend(page.data);
            if done {
                return Ok(drops);
            }
        }
    }

    /// Returns one drop.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn drop(&self, drop_id: DropId) -> Result<DropView, ClientError> {
        self.send(&calls::get_drop(drop_id)).await?.read("a drop")
    }

    /// Cancels a drop. Safe to repeat.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn cancel_drop(&self, drop_id: DropId) -> Result<(), ClientError> {
        self.send(&calls::cancel_drop(drop_id)).await?.succeeded()
    }

    /// Adds or removes units.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn adjust_stock(
        &self,
        drop_id: DropId,
        adjustment: &NewAdjustment,
        key: &str,
    ) -> Result<(), ClientError> {
        self.send(&calls::adjust_stock(drop_id, adjustment, key))
            .await?
            .succeeded()
    }

    /// Places a hold.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn place_hold(
        &self,
        drop_id: DropId,
        hold: &NewHold,
        key: &str,
    ) -> Result<HoldView, ClientError> {
        self.send(&calls::place_hold(drop_id, hold, key))
            .await?
            .read("a hold")
    }

    /// Purchases a hold.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn purchase(&self, hold_id: HoldId) -> Result<PurchaseView, ClientError> {
        self.send(&calls::purchase(hold_id))
            .await?
            .read("a purchase")
    }

    /// Releases a hold.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn release(&self, hold_id: HoldId) -> Result<(), ClientError> {
        self.send(&calls::release(hold_id)).await?.succeeded()
    }

    /// Returns the head of the log.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn log_head(&self) -> Result<LogHead, ClientError> {
        self.send(&calls::log_head())
            .await?
            .read("the head of the log")
    }

    /// Returns up to `limit` events after `after`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn log_page(&self, after: Position, limit: usize) -> Result<LogPage, ClientError> {
        self.send(&calls::log_page(after, limit))
            .await?
            .read("a page of the log")
    }
}
