//! One client for one server: sockets are kept and shared, and every route is a method.
//!
//! Promise: each method sends one request and gives its typed answer; clones share the sockets.
//! Limit: nothing is retried here, because only the caller knows for how long it is worth it.

use std::time::Duration;

use domain::values::{DropId, HoldId, Position};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};

use super::access::AccessKey;
use super::address::ServerAddress;
use super::calls::{
    self, DropView, HoldView, LogHead, LogPage, NewAdjustment, NewDrop, NewHold, Page, PurchaseView,
};
use super::error::ClientError;
use super::wire::{Call, IDEMPOTENCY_KEY, Reply};

/// How long one answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    server: ServerAddress,
    key: AccessKey,
}

impl Client {
    /// A client for `server` with the admin key `key`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Connection`] when the machine's network cannot be used at all.
    pub fn new(server: ServerAddress, key: AccessKey) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy() // A proxy between would be measured along, and could answer in the server's name.
            .timeout(TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| connection(&server, error))?;
        Ok(Self { http, server, key })
    }

    /// Which server this is a client of.
    #[must_use]
    pub const fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// The key that it sends.
    #[must_use]
    pub const fn key(&self) -> &AccessKey {
        &self.key
    }

    /// Sends `call` once and takes the answer whole, whatever its status.
    ///
    /// # Errors
    /// [`ClientError::Connection`] or [`ClientError::Timeout`].
    pub async fn send(&self, call: &Call) -> Result<Reply, ClientError> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                return ClientError::Timeout {
                    server: self.server.to_string(),
                    after: TIMEOUT,
                };
            }
            // The address stands in our own message, so the cause need not say it again.
            connection(&self.server, error.without_url())
        };
        let mut request = self
            .http
            .request(call.method.clone(), self.server.url(&call.path))
            .header(AUTHORIZATION, self.key.bearer());
        if let Some(key) = &call.key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?;
        Ok(Reply::new(status, &headers, body))
    }

    /// Creates a drop, or finds the one that was created under this key.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn create_drop(&self, drop: &NewDrop, key: &str) -> Result<DropView, ClientError> {
        self.send(&calls::create_drop(drop, key))
            .await?
            .read("a drop")
    }

    /// Every drop.
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

    /// One drop.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn drop(&self, drop_id: DropId) -> Result<DropView, ClientError> {
        self.send(&calls::get_drop(drop_id)).await?.read("a drop")
    }

    /// Adds or takes away units.
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

    /// Sets units aside.
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

    /// Pays for a hold.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn purchase(&self, hold_id: HoldId) -> Result<PurchaseView, ClientError> {
        self.send(&calls::purchase(hold_id))
            .await?
            .read("a purchase")
    }

    /// Gives a hold up.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn release(&self, hold_id: HoldId) -> Result<(), ClientError> {
        self.send(&calls::release(hold_id)).await?.succeeded()
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn log_head(&self) -> Result<LogHead, ClientError> {
        self.send(&calls::log_head())
            .await?
            .read("the head of the log")
    }

    /// Up to `limit` events after `after`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn log_page(&self, after: Position, limit: usize) -> Result<LogPage, ClientError> {
        self.send(&calls::log_page(after, limit))
            .await?
            .read("a page of the log")
    }
}

fn connection(server: &ServerAddress, error: reqwest::Error) -> ClientError {
    ClientError::Connection {
        server: server.to_string(),
        source: Box::new(error),
    }
}
