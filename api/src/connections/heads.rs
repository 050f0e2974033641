//! Rejects request heads before a handler sees them, each with a problem document.
//!
//! Promise: a head has at most [`MOST_HEAD`] bytes and [`MOST_FIELDS`] fields, one `Host` (RFC
//! 9112, section 3.2) and a supported version; any other gets a problem, and
//! the connection is closed. Limit: hyper itself responds to heads that it cannot parse, with an
//! empty body and without a hook. Its response is withheld ([`super::monitored`]) and the problem
//! is written instead. Only a client that sends a further, unreadable request while it does not
//! read the previous response gets hyper's.

use std::time::Duration;

use axum::body::to_bytes;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use hyper::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::problem::{Code, Problem};

/// Maximum size of a request's head in bytes, request line included.
pub(super) const MOST_HEAD: usize = 32 * 1024;
/// Maximum number of header fields of a request.
pub(super) const MOST_FIELDS: usize = 100;
/// A head above this size leaves a buffer that an idle connection must not keep, so
/// its connection is closed after the response.
const MOST_KEPT: usize = 8 * 1024;
/// Maximum number of bytes that are read and discarded after a rejected head.
const MOST_DRAINED: u64 = 1024 * 1024;

/// Returns true if `bytes` begin a response with a client error status: `HTTP/1.1 4..`.
pub(super) fn is_status_of_an_error(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.") && bytes.get(8..10) == Some(b" 4")
}

/// Returns a problem if the `Host` of a request is missing, repeated or malformed.
pub(super) fn host_fault(version: Version, headers: &HeaderMap) -> Option<Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let detail = match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => return None,
        (None, _) => "The request has no Host header; HTTP/1.1 requires one.",
        (Some(_), Some(_)) => "The request has more than one Host header.",
        (Some(host), None) if is_host(host) => return None,
        (Some(_), None) => "The Host header is not a host with an optional port.",
    };
    Some(Problem::new(Code::MalformedRequest, detail))
}

/// An empty value is valid: the target has no authority then.
fn is_host(value: &HeaderValue) -> bool {
    let is_authority = |host: &[u8]| Authority::try_from(host).is_ok() && !host.contains(&b'@');
    value.is_empty() || is_authority(value.as_bytes())
}

/// Returns true if the buffer that holds the request's head is too large to keep.
pub(super) fn is_large<B>(request: &Request<B>) -> bool {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 4);
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    target + fields.sum::<usize>() > MOST_KEPT
}

/// Returns the problem for a head that hyper rejected. `unread` begins with the head, as far as it
/// was read.
pub(super) fn fault_of(error: &hyper::Error, unread: &[u8]) -> Problem {
    if error.is_parse_too_large() {
        return too_large(unread);
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let parsed = httparse::Request::new(&mut fields).parse(unread);
    if parsed == Err(httparse::Error::Version) || error.is_parse_version_h2() {
        let detail = "This server speaks HTTP/1.1 and HTTP/1.0; a proxy in front may speak others.";
        return Problem::new(Code::HttpVersionNotSupported, detail);
    }
    let detail = match parsed {
        Err(error) => format!("The request cannot be read as HTTP/1.1: {error}."),
        Ok(_) => "The request cannot be read as HTTP/1.1: a header contradicts it.".to_owned(),
    };
    Problem::new(Code::MalformedRequest, detail)
}

fn too_large(unread: &[u8]) -> Problem {
    let has_request_line = unread.contains(&b'\n');
    if has_request_line {
        let detail = format!(
            "The head of a request has at most {MOST_HEAD} bytes and {MOST_FIELDS} header fields."
        );
        Problem::new(Code::HeadTooLarge, detail)
            .with("max_bytes", MOST_HEAD)
            .with("max_fields", MOST_FIELDS)
    } else {
        let detail = format!("The request line alone has more than {MOST_HEAD} bytes.");
        Problem::new(Code::UriTooLong, detail).with("max_bytes", MOST_HEAD)
    }
}

/// Responds to a head that cannot be parsed, within `timeout_after`, and closes the connection.
pub(super) async fn refuse(mut stream: TcpStream, problem: Problem, timeout_after: Duration) {
    let response = async {
        let bytes = serialize(problem.into_response()).await;
        stream.write_all(&bytes).await?;
        stream.shutdown().await?;
        // Closing with unread bytes resets the connection, and the client may lose the response.
        copy(&mut stream.take(MOST_DRAINED), &mut sink()).await
    };
    let _gone_or_too_slow = timeout(timeout_after, response).await;
}

/// Serializes a response for a connection that is closed after it.
async fn serialize(response: Response) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    // The body of a problem is already in memory.
    let body = to_bytes(body, MOST_HEAD).await.unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    let fields = parts.headers.iter();
    let fields = fields.filter(|(name, _)| *name != header::CONTENT_LENGTH);
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let date = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
    let rest = format!(
        "content-length: {}\r\nconnection: close\r\ndate: {date}\r\n\r\n",
        body.len()
    );
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        let host = |host: &&str| (header::HOST, HeaderValue::from_str(host).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in hosts.iter().map(host) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn http_1_1_needs_exactly_one_valid_host_and_http_1_0_at_most_one() {
        let is_refused = |version, hosts: &[&str]| host_fault(version, &headers(hosts)).is_some();
        for valid in ["shop", "shop:8080", "127.0.0.1:1", "[::1]:8080", ""] {
            assert!(!is_refused(Version::HTTP_11, &[valid]), "{valid}");
        }
        for invalid in ["a b", "shop:port:1", "user@shop", "shop/path", "a, b"] {
            assert!(is_refused(Version::HTTP_11, &[invalid]), "{invalid}");
        }
        assert!(is_refused(Version::HTTP_11, &[]));
        assert!(!is_refused(Version::HTTP_10, &[]));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert!(is_refused(version, &["shop", "shop"]), "{version:?}");
        }
    }

    #[test]
    fn only_the_beginning_of_a_4xx_response_matches() {
        assert!(is_status_of_an_error(b"HTTP/1.1 400 Bad Request\r\n"));
        assert!(is_status_of_an_error(b"HTTP/1.0 431 x\r\n"));
        for other in [
            &b"HTTP/1.1 100 Continue\r\n"[..],
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1",
            b"",
        ] {
            assert!(!is_status_of_an_error(other));
        }
    }
}
