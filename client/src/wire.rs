//! One call and its reply, independent of the transport.
//!
//! Promise: a call can be sent again byte for byte, on the same socket or another, with the same
//! meaning.
//! Limit: bodies are small and complete; nothing here streams.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ClientError, Problem};

/// The header that makes a call safe to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that marks a response as a repetition of an earlier one.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// A request that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub method: Method,
    pub path: String,
    /// The idempotency key, if the route requires one.
    pub key: Option<String>,
    pub body: Option<Bytes>,
}

impl Call {
    #[must_use]
    pub fn get(path: String) -> Self {
        Self::bare(Method::GET, path)
    }

    #[must_use]
    pub fn delete(path: String) -> Self {
        Self::bare(Method::DELETE, path)
    }

    /// A `POST` with `body` as JSON.
    #[must_use]
    pub fn post(path: String, body: &impl Serialize) -> Self {
        Self::with_body(Method::POST, path, body)
    }

    /// A `PUT` with `body` as JSON.
    #[must_use]
    pub fn put(path: String, body: &impl Serialize) -> Self {
        Self::with_body(Method::PUT, path, body)
    }

    fn with_body(method: Method, path: String, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("a request body is plain data");
        Self {
            body: Some(body.into()),
            ..Self::bare(method, path)
        }
    }

    /// Adds an idempotency key.
    #[must_use]
    pub fn keyed(self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self
        }
    }

    /// Completes `request`, which has the address and the access key, with everything that does not
    /// depend on the transport.
    pub(super) fn complete(
        &self,
        request: Builder,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = request.method(self.method.clone());
        if let Some(key) = &self.key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(self.body.clone().unwrap_or_default()))
    }

    const fn bare(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            key: None,
            body: None,
        }
    }
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    /// The server returned this response before, to the same key.
    pub replayed: bool,
    /// The server's `Retry-After`.
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Reply {
    /// Reads the body of `response`.
    pub(super) async fn read_from(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self::new(head.status, &head.headers, body))
    }

    /// Builds a reply from the parts of an HTTP response.
    #[must_use]
    pub fn new(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            replayed: headers
                .get(IDEMPOTENT_REPLAYED)
                .is_some_and(|value| value == "true"),
            retry_after: retry_after(headers),
            body,
        }
    }

    /// Parses the body as `T` if the status is a success.
    ///
    /// # Errors
    /// [`ClientError::Problem`] for any other status, [`ClientError::Unreadable`] when the body is
    /// not a `T`.
    pub fn read<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, ClientError> {
        self.succeeded()?;
        serde_json::from_slice(&self.body)
            .map_err(|source| ClientError::Unreadable { what, source })
    }

    /// Checks that the status is a success; ignores the body.
    ///
    /// # Errors
    /// [`ClientError::Problem`] if not.
    pub fn succeeded(&self) -> Result<(), ClientError> {
        if self.status.is_success() {
            return Ok(());
        }
        Err(ClientError::Problem(self.problem()))
    }

    fn problem(&self) -> Problem {
        let mut problem = serde_json::from_slice(&self.body).unwrap_or_else(|_| Problem {
            status: 0,
            code: String::new(),
            detail: "no problem document".into(),
            retry_after: None,
        });
        // Proxies and clients act on the status line, so it overrides the document's status.
        problem.status = self.status.as_u16();
        problem.retry_after = self.retry_after;
        problem
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Reply {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    hyper::header::HeaderName::from_static(name),
                    value.parse().unwrap(),
                )
            })
            .collect();
        Reply::new(
            StatusCode::from_u16(status).unwrap(),
            &headers,
            Bytes::from_static(body.as_bytes()),
        )
    }

    #[test]
    fn problem_keeps_its_code_and_retry_after() {
        let reply = reply(
            503,
            &[("retry-after", "2")],
            r#"{"type":"about:blank","title":"x","status":503,"code":"unavailable","detail":"the log is away"}"#,
        );
        let error = reply.read::<()>("nothing").unwrap_err();
        let problem = error.problem().unwrap();
        assert_eq!(problem.code, "unavailable");
        assert_eq!(problem.retry_after, Some(Duration::from_secs(2)));
        assert_eq!(
            error.to_string(),
            "the server returned 503 unavailable: the log is away"
        );
    }

    #[test]
    fn response_without_a_problem_document_is_still_reported() {
        let error = reply(502, &[], "<html>").succeeded().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server returned 502: no problem document"
        );
    }

    #[test]
    fn a_replay_is_recognised() {
        assert!(reply(200, &[("idempotent-replayed", "true")], "{}").replayed);
        assert!(!reply(200, &[], "{}").replayed);
    }
}
