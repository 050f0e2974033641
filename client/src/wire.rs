//! One call and its reply, free of any transport: what a route needs to be asked, and what came back.
//!
//! Promise: a call can be sent again byte for byte, on the same socket or another, and means the same.
//! Limit: bodies are small and whole; nothing here streams.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ClientError, Problem};

/// The header that makes a call safe to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that marks an answer as one that was given before.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// A request that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path and query on the server.
    pub path: String,
    /// The idempotency key, where the route wants one.
    pub key: Option<String>,
    /// The JSON body, if any.
    pub body: Option<Bytes>,
}

impl Call {
    /// A `GET`.
    #[must_use]
    pub fn get(path: String) -> Self {
        Self::bare(Method::GET, path)
    }

    /// A `DELETE`.
    #[must_use]
    pub fn delete(path: String) -> Self {
        Self::bare(Method::DELETE, path)
    }

    /// A `POST` of `body`.
    #[must_use]
    pub fn post(path: String, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("a request body is plain data");
        Self {
            body: Some(body.into()),
            ..Self::bare(Method::POST, path)
        }
    }

    /// This call under an idempotency key.
    #[must_use]
    pub fn keyed(self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self
        }
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

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Whether the server gave this answer before, to the same key.
    pub replayed: bool,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// From the parts of an HTTP response.
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

    /// The body as `T`, if the status says success.
    ///
    /// # Errors
    /// [`ClientError::Problem`] for any other status, [`ClientError::Unreadable`] when the body is not a `T`.
    pub fn read<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, ClientError> {
        self.succeeded()?;
        serde_json::from_slice(&self.body)
            .map_err(|source| ClientError::Unreadable { what, source })
    }

    /// Whether the status says success, whatever the body.
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
            detail: "without a problem document".into(),
            retry_after: None,
        });
        // The status line is what proxies and clients act on, so it wins over what the document says.
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
    fn a_problem_keeps_its_code_and_how_long_to_wait() {
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
            "the server answered 503 unavailable: the log is away"
        );
    }

    #[test]
    fn an_answer_that_is_no_problem_document_is_still_told() {
        let error = reply(502, &[], "<html>").succeeded().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server answered 502: without a problem document"
        );
    }

    #[test]
    fn a_replay_is_recognised() {
        assert!(reply(200, &[("idempotent-replayed", "true")], "{}").replayed);
        assert!(!reply(200, &[], "{}").replayed);
    }
}
