//! The receiver of the demo's webhooks: verifies each signature and counts the types.
//!
//! Limit: it verifies with this program's own implementation. The tests verify with the libraries
//! of Standard Webhooks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use client::wire::Call;
use client::{Client, ClientError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;
use webhooks::networks::PermittedNetworks;
use webhooks::signature::Secret;

/// How long the last webhooks may take to arrive.
const LAST: Duration = Duration::from_secs(2);

/// The networks that the receiver needs.
pub(super) fn networks() -> PermittedNetworks {
    "127.0.0.1".parse().unwrap_or_default()
}

/// Why no webhooks are received.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiverError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot listen on this machine")]
    Listen(#[from] std::io::Error),
    #[error("cannot read the secret")]
    Secret(#[from] base64::DecodeError),
}

/// A registered endpoint and its listener.
pub(super) struct Receiver {
    endpoint: Uuid,
    inbox: Inbox,
    serving: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    /// Known once the endpoint is registered; earlier requests are refused, and repeated.
    secret: Option<Secret>,
    verified: BTreeMap<String, u64>,
    rejected: u64,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Created {
    id: Uuid,
    secret: String,
}

impl Receiver {
    /// Listens on a free port of this machine and registers it as an endpoint for all types.
    pub(super) async fn start(client: &Client) -> Result<Self, ReceiverError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let inbox = Inbox::default();
        let router = Router::new().fallback(receive).with_state(inbox.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the receiver of the demo's webhooks stopped");
            }
        });
        let body = json!({ "url": format!("http://{address}/"), "description": "the demo" });
        let call =
            Call::post("/v1/admin/webhooks".into(), &body).keyed(&Uuid::new_v4().to_string());
        let created: Created = client.send(&call).await?.read("a webhook endpoint")?;
        let secret = created.secret.strip_prefix("whsec_").unwrap_or_default();
        let secret = BASE64_STANDARD.decode(secret)?;
        inbox.lock().secret = Some(Secret::stored(secret));
        Ok(Self {
            endpoint: created.id,
            inbox,
            serving,
        })
    }

    /// Deletes the endpoint, and returns the webhooks that were verified, in words.
    pub(super) async fn finish(self, client: &Client) -> Result<String, ClientError> {
        sleep(LAST).await;
        let path = format!("/v1/admin/webhooks/{}", self.endpoint);
        client.send(&Call::delete(path)).await?.succeeded()?;
        self.serving.abort();
        let received = self.inbox.lock();
        let total: u64 = received.verified.values().sum();
        let types = received.verified.iter();
        let types: Vec<String> = types
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        Ok(format!(
            "{total} signatures verified, {} rejected: {}",
            received.rejected,
            types.join(", ")
        ))
    }
}

async fn receive(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut received = inbox.lock();
    let Some(secret) = received.secret.clone() else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    match verified_type(&secret, &headers, &body) {
        Some(name) => {
            *received.verified.entry(name).or_default() += 1;
            StatusCode::NO_CONTENT
        }
        None => {
            received.rejected += 1;
            StatusCode::BAD_REQUEST
        }
    }
}

/// The `type` of a webhook whose signature is valid.
fn verified_type(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let timestamp: i64 = header("webhook-timestamp")?.parse().ok()?;
    let expected = secret.sign(header("webhook-id")?, timestamp, body);
    let is_valid = header("webhook-signature")?
        .split(' ')
        .any(|one| one == expected);
    let body: Value = serde_json::from_slice(body).ok().filter(|_| is_valid)?;
    Some(body["type"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(signature: &str) -> HeaderMap {
        let all = [
            ("webhook-id", "evt_1"),
            ("webhook-timestamp", "1"),
            ("webhook-signature", signature),
        ];
        all.into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn webhook_is_counted_only_if_one_of_its_signatures_is_valid() {
        let secret = Secret::random();
        let body = br#"{"type":"order.placed"}"#;
        let signed = secret.sign("evt_1", 1, body);
        let both = format!("v1,AAAA {signed}");
        for valid in [signed.as_str(), both.as_str()] {
            let name = verified_type(&secret, &headers(valid), body);
            assert_eq!(name.as_deref(), Some("order.placed"));
        }
        assert_eq!(verified_type(&secret, &headers("v1,AAAA"), body), None);
        assert_eq!(verified_type(&secret, &headers(&signed), b"{}"), None);
        assert_eq!(verified_type(&secret, &HeaderMap::new(), body), None);
    }
}
