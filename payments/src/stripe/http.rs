//! HTTP calls to Stripe's API.
//!
//! Promise: one call is one request, and its outcome is classified by the caller's next step;
//! redirects are not followed; certificates are checked against the system's authorities.
//! Limit: it never repeats a request, because only the caller knows how long a repeat is useful.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use telemetry::Call;
use tokio::time::timeout;
use url::Url;

use super::NAME;
use super::settings::StripeSettings;
use crate::error::PaymentError;
use crate::object::{ErrorBody, ErrorObject, MAX_BODY_BYTES, plain};

/// The version of the API whose objects this crate reads: that of Stripe's own library 23.1 for
/// Node.
pub const API_VERSION: &str = "2026-10-28.endive";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest pause that a `Retry-After` may require.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// Form fields, in order.
pub type Fields<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug)]
pub struct Http {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    authorization: HeaderValue,
    base: String,
    /// The host of the API.
    host: String,
    timeout: Duration,
}

impl Http {
    pub fn new(settings: &StripeSettings) -> Result<Self, PaymentError> {
        let misconfigured = |reason: &str| PaymentError::Misconfigured {
            provider: NAME,
            reason: reason.to_owned(),
        };
        let tls = tls(settings.is_encrypted).map_err(misconfigured)?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = if settings.is_encrypted {
            connector.https_only()
        } else {
            connector.https_or_http()
        };
        let connector = connector.enable_http1().wrap_connector(tcp);
        let bearer = format!("Bearer {}", settings.secret_key.expose());
        let mut authorization = HeaderValue::from_str(&bearer)
            .map_err(|_| misconfigured("the secret key cannot be sent"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            authorization,
            host: host_of(&settings.api_base),
            base: settings.api_base.clone(),
            timeout: settings.timeout,
        })
    }

    /// Posts a form.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: Fields<'_>,
        idempotency_key: Option<&str>,
    ) -> Result<T, PaymentError> {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.send(request, form.into()).await
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, PaymentError> {
        let request = Request::builder().uri(format!("{}{path}", self.base));
        self.send(request, Bytes::new()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        mut request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<T, PaymentError> {
        let method = match request.method_ref() {
            Some(&Method::POST) => "POST",
            _ => "GET",
        };
        let call = Call::begin("payment", method, &self.host);
        for (name, value) in call.headers() {
            request = request.header(name, value);
        }
        let request = request
            .header(AUTHORIZATION, self.authorization.clone())
            .header("stripe-version", API_VERSION)
            .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            // A reference that is not part of a URL.
            .map_err(|_| declined("resource_missing"))?;
        let exchange = async {
            let response = self.pool.request(request).await.map_err(unsent)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect();
            let body = body.await.map_err(unknown)?.to_bytes();
            Ok((head, body))
        };
        let (head, body) = timeout(self.timeout, exchange).await.map_err(unknown)??;
        call.ended(head.status.as_u16());
        if head.status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(unknown);
        }
        Err(refusal(head.status, &head.headers, &body))
    }
}

/// Returns the host of a URL.
fn host_of(base: &str) -> String {
    let url = Url::parse(base).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or_default().to_owned()
}

/// A failed connection has sent nothing; later failures may have.
fn unsent(error: hyper_util::client::legacy::Error) -> PaymentError {
    if error.is_connect() {
        return PaymentError::Retryable {
            provider: NAME,
            cause: "no connection".to_owned(),
            retry_after: None,
        };
    }
    unknown(error)
}

fn unknown(source: impl Into<Box<dyn Error + Send + Sync>>) -> PaymentError {
    PaymentError::UnknownOutcome {
        provider: NAME,
        source: source.into(),
    }
}

pub fn declined(code: &str) -> PaymentError {
    PaymentError::Declined {
        provider: NAME,
        code: code.to_owned(),
    }
}

/// Classifies a response other than 200.
///
/// Source: Stripe's documentation, «Error handling» and «Idempotent requests»: 409 is a concurrent
/// request with the same key, 424 and 429 were not processed, and the outcome of a 5xx is
/// indeterminate.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> PaymentError {
    let error: ErrorObject = serde_json::from_slice(body)
        .map(|body: ErrorBody| body.error)
        .unwrap_or_default();
    let code = error.code().unwrap_or("unknown");
    let retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    let misconfigured = |reason: String| PaymentError::Misconfigured {
        provider: NAME,
        reason,
    };
    match status.as_u16() {
        400 if error.kind.as_deref() == Some("idempotency_error") => {
            misconfigured("the idempotency key was used with other parameters".to_owned())
        }
        400 if code.starts_with("parameter_") => {
            let parameter = plain(error.param.as_deref().unwrap_or_default());
            misconfigured(format!("{code}: {parameter}"))
        }
        400 | 402 | 404 => declined(code),
        409 | 424 | 429 => PaymentError::Retryable {
            provider: NAME,
            cause: format!("status {} ({code})", status.as_u16()),
            retry_after,
        },
        500.. => unknown(format!("status {} ({code})", status.as_u16())),
        _ => misconfigured(format!("status {} ({code})", status.as_u16())),
    }
}

fn tls(is_used: bool) -> Result<ClientConfig, &'static str> {
    let mut roots = RootCertStore::empty();
    if is_used {
        let of_system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(of_system.certs);
        if roots.is_empty() {
            return Err("the system has no certificate authorities");
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS cannot be initialized")?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
