//! A minimal HTTP/1.1 client for benchmarks: writes a request, reads a whole response.
//!
//! Why not the crate `client`: the load generator shares the machine with the server that it
//! measures, so a request must cost little (docs/PERFORMANCE.md has its share). It writes bytes
//! that were prepared before and parses only the head of a response. Calls between the measurements
//! use the same parser.
//! Limit: responses must have a length (`content-length`, or no body); chunked bodies are rejected.
//! The owner of a live stream reads it ([`open_stream`]).

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::error::{BenchError, Doing, within};

/// The timeout of a single call: a server that loads a long log responds late.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_HEADERS: usize = 32;

/// The length and the status of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Bytes before the body.
    pub length: usize,
    /// Bytes of the body.
    pub body: usize,
}

/// Parses the head of a response; `None` if it is incomplete.
///
/// # Errors
/// If it is not HTTP, or has no length.
pub fn head(bytes: &[u8]) -> std::io::Result<Option<Head>> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(bytes)
        .map_err(|error| invalid(&error.to_string()))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let mut body = 0;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).unwrap_or_default();
            body = text
                .trim()
                .parse()
                .map_err(|_| invalid("no usable content-length"))?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("a body without a length"));
        }
    }
    Ok(Some(Head {
        status: response.code.unwrap_or_default(),
        length,
        body,
    }))
}

/// Reads one response from `stream` into `buffer`, which grows as needed.
///
/// # Errors
/// [`std::io::Error`] if the connection ends or the response is invalid.
pub async fn read_response(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Head> {
    let mut filled = 0;
    let mut known = None;
    loop {
        if filled == buffer.len() {
            buffer.resize(buffer.len().max(2_048) * 2, 0);
        }
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if known.is_none() {
            known = head(&buffer[..filled])?;
        }
        if let Some(head) = known.filter(|head| filled >= head.length + head.body) {
            return Ok(head);
        }
    }
}

/// Opens the live stream of a drop, and reads up to the status of the response.
///
/// # Errors
/// [`std::io::Error`] if the connection fails or the server refuses the stream.
pub async fn open_stream(address: SocketAddr, drop_id: Uuid) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /v1/stream?drops={drop_id} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if &head[9..] != b"200" {
        let response = String::from_utf8_lossy(&head).into_owned();
        return Err(std::io::Error::other(format!("refused: {response}")));
    }
    Ok(stream)
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the body, if the status is `expected`.
    ///
    /// # Errors
    /// [`BenchError`] with the body otherwise.
    pub fn read<T: DeserializeOwned>(&self, expected: u16) -> Result<T, BenchError> {
        if self.status != expected {
            let body = String::from_utf8_lossy(&self.body);
            let status = self.status;
            return Err(BenchError::Unexpected(format!(
                "expected {expected}, got {status}: {body}"
            )));
        }
        serde_json::from_slice(&self.body).doing("read a response body")
    }
}

/// A request on its own connection.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub key: Option<&'a str>,
}

/// Sends `call` with `body` to `address` and reads the response.
///
/// # Errors
/// [`BenchError`].
pub async fn send(
    address: SocketAddr,
    call: Call<'_>,
    body: Option<&impl Serialize>,
) -> Result<Response, BenchError> {
    let body = body
        .map(serde_json::to_vec)
        .transpose()
        .doing("write a request's body")?
        .unwrap_or_default();
    let request = request(address, call, &body);
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&request).await?;
        let mut buffer = Vec::new();
        let head = read_response(&mut stream, &mut buffer).await?;
        let body = buffer[head.length..head.length + head.body].to_vec();
        Ok::<_, std::io::Error>(Response {
            status: head.status,
            body,
        })
    };
    let what = format!("{} {}", call.method, call.path);
    within(&what, CALL_TIMEOUT, async {
        exchange.await.doing(format!("send {what} to {address}"))
    })
    .await
}

/// The admin key of every server in a run.
pub const ADMIN_KEY: &str = "bench-admin-key-of-no-value";

/// Returns the bytes of a request.
pub fn request(address: SocketAddr, call: Call<'_>, body: &[u8]) -> Vec<u8> {
    let Call { method, path, key } = call;
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
    );
    if let Some(key) = key {
        text += &format!("idempotency-key: {key}\r\n");
    }
    if !body.is_empty() {
        text += &format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_parsed_when_complete() {
        let bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
        let expected = Head {
            status: 201,
            length: bytes.len() - 2,
            body: 2,
        };
        assert_eq!(head(bytes).unwrap(), Some(expected));
        assert_eq!(head(&bytes[..20]).unwrap(), None);
    }

    #[test]
    fn response_without_a_length_is_rejected() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }

    #[test]
    fn response_without_a_body_ends_with_its_head() {
        let head = head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, head.body), (204, 0));
    }
}
