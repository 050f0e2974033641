//! A receiver of webhooks on this machine, which records every request as it arrives.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{eventually, number, text};

/// One request of a webhook.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    /// The path of the URL.
    pub path: String,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Received {
    /// A header.
    ///
    /// # Panics
    /// If it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// The header `webhook-id`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `type` in the body.
    #[must_use]
    pub fn kind(&self) -> String {
        text(&self.json()["type"])
    }

    /// The log position in the body.
    #[must_use]
    pub fn position(&self) -> u64 {
        number(&self.json()["data"]["position"])
    }

    /// The drop or the order whose other webhooks it follows; empty for a test.
    #[must_use]
    pub fn lane(&self) -> String {
        let data = &self.json()["data"];
        let lane = data["drop_id"].as_str().or(data["order_id"].as_str());
        lane.unwrap_or_default().to_owned()
    }

    /// The drop in the body; empty for a test, and for an event of an order.
    #[must_use]
    pub fn drop_id(&self) -> String {
        self.json()["data"]["drop_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// The response to one request.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    /// With one header.
    With(u16, &'static str, String),
    /// Never.
    Hang,
}

type Decide = Box<dyn FnMut(&Received) -> Answer + Send>;

struct Shared {
    received: Vec<Received>,
    decide: Decide,
}

/// A receiver; it stops when dropped.
pub struct Receiver {
    address: String,
    shared: Arc<Mutex<Shared>>,
    server: JoinHandle<()>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Starts one that accepts everything.
    pub async fn start() -> Self {
        let shared = Shared {
            received: vec![],
            decide: Box::new(|_| Answer::Status(204)),
        };
        Self::listen("127.0.0.1:0", Arc::new(Mutex::new(shared))).await
    }

    async fn listen(address: &str, shared: Arc<Mutex<Shared>>) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&shared));
        let serve = async move {
            axum::serve(listener, router)
                .await
                .expect("it serves until it is stopped");
        };
        Self {
            address,
            shared,
            server: tokio::spawn(serve),
        }
    }

    /// The URL of an endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Responds as `decide` says from now on. The request is recorded before.
    pub fn respond(&self, decide: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.lock().decide = Box::new(decide);
    }

    /// Everything received so far, in order of arrival.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// Waits until there are this many requests, and returns them all.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let name = format!("{count} webhooks arrive");
        let enough = eventually(&name, || async {
            let received = self.received();
            (received.len() >= count).then_some(received)
        });
        enough.await
    }

    /// Closes the port.
    pub async fn stop(&mut self) {
        self.server.abort();
        let _aborted = (&mut self.server).await;
    }

    /// Listens again, on the same port.
    pub async fn start_again(&mut self) {
        let shared = Arc::clone(&self.shared);
        let again = Self::listen(&self.address.clone(), shared).await;
        *self = again;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = Received {
        headers,
        path: uri.path().to_owned(),
        body,
    };
    let answer = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = (shared.decide)(&received);
        shared.received.push(received);
        answer
    };
    let mut response = Response::new(Body::empty());
    match answer {
        Answer::Status(status) => *response.status_mut() = status_of(status),
        Answer::With(status, name, value) => {
            *response.status_mut() = status_of(status);
            let value = value.parse().expect("a header value");
            response.headers_mut().insert(name, value);
        }
        Answer::Hang => std::future::pending().await,
    }
    response
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status")
}

/// Asserts that each id always has the same body, and that the first arrivals of each drop and of
/// each order are in the order of the log. Returns them by id, without repetitions, in order
/// of arrival.
///
/// # Panics
/// If they are not.
#[track_caller]
#[must_use]
pub fn in_order(received: &[Received]) -> Vec<Received> {
    let mut bodies: BTreeMap<&str, &Bytes> = BTreeMap::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut first = vec![];
    for one in received {
        if let Some(body) = bodies.insert(one.id(), &one.body) {
            assert_eq!(body, &one.body, "{}", one.id());
            continue;
        }
        let (lane, position) = (one.lane(), one.position());
        let before = last.insert(lane, position).unwrap_or_default();
        assert!(
            before <= position,
            "{position} arrived after {before} of its drop or order"
        );
        first.push(one.clone());
    }
    first
}
