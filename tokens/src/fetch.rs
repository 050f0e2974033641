//! One bounded GET of a small document.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use url::Url;

/// The maximum size of the document, in bytes.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// The maximum duration of the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(3);

type AnyError = Box<dyn Error + Send + Sync>;

/// A client for one document. Redirects are not followed.
#[derive(Debug)]
pub(crate) struct Fetch {
    pool: Pool<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Url,
}

impl Fetch {
    pub(crate) fn new(url: Url) -> Result<Self, AnyError> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(TIMEOUT));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(url.scheme() == "https")?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Ok(Self { pool, url })
    }

    pub(crate) async fn get(&self) -> Result<Bytes, AnyError> {
        let request = Request::get(self.url.as_str())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        let exchange = async {
            let response = self.pool.request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(format!("the response has status {}", response.status()).into());
            }
            let body = Limited::new(response.into_body(), MAX_BYTES).collect();
            Ok(body.await?.to_bytes())
        };
        timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| format!("no complete response within {} s", TIMEOUT.as_secs()))?
    }
}

fn tls(is_used: bool) -> Result<ClientConfig, AnyError> {
    let mut roots = RootCertStore::empty();
    if is_used {
        let of_system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(of_system.certs);
        if roots.is_empty() {
            return Err("the system has no certificate authorities".into());
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
