//! The HTTP API as a client uses it. Clones share connections.
//!
//! Why not the crate `client`: it is a part of the product, so an error in the code that it shares
//! with the server would be on both sides of a test. Tests also send requests that a typed client
//! cannot express. [`crate::Raw`] is for those that a library cannot express either.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{ADMIN_KEY, AUDITOR_KEY};
use crate::described::SentRequest;
use crate::events::{Event, Ledger};
use crate::reply::Reply;
use crate::watcher::Watcher;
use crate::{TIMEOUT, text};

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: Client,
}

/// A new idempotency key.
#[must_use]
pub fn key() -> String {
    Uuid::new_v4().to_string()
}

impl Api {
    /// A client of the server at this address: `http://HOST:PORT`, with its base path, if any.
    ///
    /// # Panics
    /// If the HTTP client cannot be built.
    #[must_use]
    pub fn new(base: String) -> Self {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .expect("an HTTP client can be built");
        Self { base, client }
    }

    /// The address on which the server listens: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        let address = self.base.trim_start_matches("http://");
        address.split('/').next().unwrap_or(address)
    }

    /// Starts building a request.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Starts building a request with the admin key.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(ADMIN_KEY)
    }

    /// Sends `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        fetch(self.request(Method::GET, path)).await
    }

    /// Sends `GET path`; `None` while nothing listens.
    pub async fn try_get(&self, path: &str) -> Option<Reply> {
        try_send(self.request(Method::GET, path)).await.ok()
    }

    /// Sends `GET path` with the auditor key.
    pub async fn audit(&self, path: &str) -> Reply {
        fetch(self.request(Method::GET, path).bearer_auth(AUDITOR_KEY)).await
    }

    /// Sends `POST /v1/drops` with the admin key and a new idempotency key.
    pub async fn post_drop(&self, body: &Value) -> Reply {
        fetch(
            self.admin(Method::POST, "/v1/drops")
                .header("idempotency-key", key())
                .json(body),
        )
        .await
    }

    /// Schedules a drop of `units` that is live immediately and returns its id. `more` is added to
    /// the request.
    pub async fn create_drop(&self, units: u32, more: Value) -> String {
        let mut body = json!({
            "name": "Test drop", "price": { "amount": 19_999, "currency": "USD" }, "total_stock": units,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        text(&self.post_drop(&body).await.ok(201)["id"])
    }

    pub async fn drop(&self, drop: &str) -> Value {
        self.get(&format!("/v1/drops/{drop}")).await.ok(200)
    }

    /// The drop's units: total, available, held, sold.
    pub async fn stock(&self, drop: &str) -> [u64; 4] {
        stock_in(&self.drop(drop).await)
    }

    /// Requests a hold of one unit with a new key.
    pub async fn hold(&self, drop: &str, buyer: &str) -> Reply {
        self.hold_with(drop, &key(), &json!({ "buyer_id": buyer }))
            .await
    }

    /// Requests a hold.
    pub async fn hold_with(&self, drop: &str, key: &str, body: &Value) -> Reply {
        self.try_hold_with(drop, key, body)
            .await
            .expect("the server responds")
    }

    /// Requests a hold; returns an error if the server does not respond.
    ///
    /// # Errors
    /// [`reqwest::Error`].
    pub async fn try_hold_with(
        &self,
        drop: &str,
        key: &str,
        body: &Value,
    ) -> Result<Reply, reqwest::Error> {
        let path = format!("/v1/drops/{drop}/holds");
        try_send(
            self.request(Method::POST, &path)
                .header("idempotency-key", key)
                .json(body),
        )
        .await
    }

    /// Requests a hold of one unit with a new key, which must succeed; returns the hold's id.
    pub async fn held(&self, drop: &str, buyer: &str) -> String {
        text(&self.hold(drop, buyer).await.ok(201)["id"])
    }

    pub async fn read_hold(&self, hold: &str) -> Reply {
        self.get(&format!("/v1/holds/{hold}")).await
    }

    /// Pays for a hold.
    pub async fn purchase(&self, hold: &str) -> Reply {
        self.try_purchase(hold).await.expect("the server responds")
    }

    /// Pays for a hold; returns an error if the server does not respond.
    ///
    /// # Errors
    /// [`reqwest::Error`].
    pub async fn try_purchase(&self, hold: &str) -> Result<Reply, reqwest::Error> {
        try_send(self.request(Method::POST, &format!("/v1/holds/{hold}/purchase"))).await
    }

    /// Releases a hold.
    pub async fn release(&self, hold: &str) -> Reply {
        fetch(self.request(Method::DELETE, &format!("/v1/holds/{hold}"))).await
    }

    /// Joins the waitlist with a new key.
    pub async fn join(&self, drop: &str, buyer: &str, quantity: u32) -> Reply {
        let body = json!({ "buyer_id": buyer, "quantity": quantity });
        self.join_with(drop, &key(), &body).await
    }

    /// Joins the waitlist.
    pub async fn join_with(&self, drop: &str, key: &str, body: &Value) -> Reply {
        let path = format!("/v1/drops/{drop}/waitlist");
        let request = self.request(Method::POST, &path);
        fetch(request.header("idempotency-key", key).json(body)).await
    }

    /// Joins the waitlist with a new key, which must succeed; returns the entry's id.
    pub async fn joined(&self, drop: &str, buyer: &str, quantity: u32) -> String {
        text(&self.join(drop, buyer, quantity).await.ok(201)["id"])
    }

    /// Reads a waitlist entry.
    pub async fn waitlist_entry(&self, entry: &str) -> Value {
        self.get(&format!("/v1/waitlist/{entry}")).await.ok(200)
    }

    /// Leaves the waitlist.
    pub async fn leave(&self, entry: &str) -> Reply {
        fetch(self.request(Method::DELETE, &format!("/v1/waitlist/{entry}"))).await
    }

    /// Adjusts the stock with a new key.
    pub async fn adjust(&self, drop: &str, delta: i32) -> Reply {
        let path = format!("/v1/drops/{drop}/stock-adjustments");
        let request = self.admin(Method::POST, &path);
        let request = request.header("idempotency-key", key());
        fetch(request.json(&json!({ "delta": delta, "reason": "for a test" }))).await
    }

    /// Counts the events of the log, without the starts and ends of drops, which no request causes.
    pub async fn requested_events(&self) -> usize {
        let log = self.log().await;
        let is_of_request =
            |event: &&Event| !["DropStarted", "DropEnded"].contains(&event.event_type.as_str());
        log.iter().filter(is_of_request).count()
    }

    /// Reads the whole log, in order.
    pub async fn log(&self) -> Vec<Event> {
        let request = self
            .request(Method::GET, "/v1/log")
            .bearer_auth(AUDITOR_KEY);
        let reply = fetch(request.header("accept", "application/x-ndjson")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text().lines().map(Event::parse).collect()
    }

    /// Reads the whole log and adds it up.
    pub async fn ledger(&self) -> Ledger {
        Ledger::of(&self.log().await)
    }

    /// Subscribes to the SSE stream; `query` starts with `?` or is empty.
    pub async fn watch(&self, query: &str) -> Watcher {
        Watcher::open(self.request(Method::GET, &format!("/v1/stream{query}"))).await
    }
}

/// Sends a request and reads the whole response, which must be as `/openapi.json` describes it.
///
/// # Panics
/// If the server does not respond, or not as described.
pub async fn fetch(request: RequestBuilder) -> Reply {
    try_send(request).await.expect("the server responds")
}

pub(crate) async fn try_send(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let (client, request) = request.build_split();
    let request = request?;
    let sent = SentRequest::of(&request);
    let response = client.execute(request).await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await?;
    let reply = Reply {
        status,
        headers,
        body,
    };
    sent.check_reply(&reply);
    Ok(reply)
}

pub(crate) fn stock_in(drop: &Value) -> [u64; 4] {
    ["total", "available", "held", "sold"].map(|units| crate::number(&drop["stock"][units]))
}
