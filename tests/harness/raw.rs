//! HTTP over bare sockets, for behaviour that a client library hides: one socket per client, and
//! bytes sent at chosen times.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::reply::Reply;
use crate::{concurrently, key};

#[derive(Debug)]
pub struct Raw(TcpStream);

impl Raw {
    /// Connects to `127.0.0.1:PORT`.
    ///
    /// # Panics
    /// If the connection fails.
    pub async fn connect(address: &str) -> Self {
        Self(
            TcpStream::connect(address)
                .await
                .expect("the server accepts connections"),
        )
    }

    /// Connects from one of this machine's addresses, `127.0.0.0/8`.
    ///
    /// # Panics
    /// If the connection fails.
    pub async fn connect_from(from: Ipv4Addr, address: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be created");
        socket
            .bind(SocketAddr::new(from.into(), 0))
            .expect("the address is local");
        Self::connect_with(socket, address).await
    }

    /// Connects with a small receive buffer, for clients that read nothing.
    ///
    /// # Panics
    /// If the connection fails.
    pub async fn connect_with_small_buffer(address: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be created");
        socket
            .set_recv_buffer_size(4096)
            .expect("a small buffer is allowed");
        Self::connect_with(socket, address).await
    }

    async fn connect_with(socket: TcpSocket, address: &str) -> Self {
        let address = address.parse().expect("the address is valid");
        let connected = socket.connect(address).await;
        Self(connected.expect("the server accepts connections"))
    }

    /// Requests a stream and reads through the first state.
    ///
    /// # Panics
    /// If the server does not respond with a stream.
    pub async fn watch(&mut self, query: &str) -> String {
        let request = format!("GET /v1/stream{query} HTTP/1.1\r\nhost: holdfast\r\n\r\n");
        self.send(request.as_bytes()).await;
        let first = self.read_until("retry: 1000").await;
        assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
        first
    }

    /// Sends zeros at full speed until the server disconnects or `most` bytes are sent. Returns the
    /// number of bytes sent.
    pub async fn flood(&mut self, most: usize) -> usize {
        let block = [0; 64 * 1024];
        let mut sent = 0;
        while sent < most {
            match self.0.write(&block).await {
                Ok(0) | Err(_) => break,
                Ok(written) => sent += written,
            }
        }
        sent
    }

    /// The local port.
    ///
    /// # Panics
    /// If the system does not report it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("a socket has an address").port()
    }

    /// Reads some bytes; returns none if the server has closed the connection.
    ///
    /// # Panics
    /// If the connection is reset.
    pub async fn read_some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let read = self
            .0
            .read(&mut bytes)
            .await
            .expect("the connection is not reset");
        bytes.truncate(read);
        bytes
    }

    /// # Panics
    /// If the server has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0
            .write_all(bytes)
            .await
            .expect("the connection is open");
    }

    /// Reads the interim response 100, which means that a handler waits for the body.
    ///
    /// # Panics
    /// If the server sends something else.
    pub async fn expect_continue(&mut self) {
        let mut interim = [0; 25];
        self.0
            .read_exact(&mut interim)
            .await
            .expect("an interim response arrives");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Reads one response with a `content-length` and leaves the connection open.
    ///
    /// # Panics
    /// If the connection is closed first.
    pub async fn next_reply(&mut self) -> Reply {
        let mut bytes = vec![];
        loop {
            let read = self
                .0
                .read_buf(&mut bytes)
                .await
                .expect("the response arrives");
            assert_ne!(
                read,
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&bytes)
            );
            if let Some(length) = response_length(&bytes)
                && bytes.len() >= length
            {
                return parse(&bytes);
            }
        }
    }

    /// Reads until `words` have arrived. Returns everything read, which may include bytes after
    /// them.
    ///
    /// # Panics
    /// If the connection is closed first.
    pub async fn read_until(&mut self, words: &str) -> String {
        let mut bytes = vec![];
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if text.contains(words) {
                return text.into_owned();
            }
            let read = self
                .0
                .read_buf(&mut bytes)
                .await
                .expect("more bytes arrive");
            assert_ne!(read, 0, "closed before {words:?}");
        }
    }

    /// Reads until the server closes the connection.
    pub async fn closed(mut self) -> String {
        let mut bytes = vec![];
        // A reset closes it as well.
        let _reset = self.0.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until the server closes the connection; the response must be complete.
    ///
    /// # Panics
    /// If it is not complete.
    pub async fn reply(mut self) -> Reply {
        let mut bytes = vec![];
        self.0
            .read_to_end(&mut bytes)
            .await
            .expect("the response is complete");
        parse(&bytes)
    }
}

/// One buyer per socket: connects all, then requests one unit for each of them concurrently.
pub async fn concurrent_holds(address: &str, drop: &str, buyers: usize) -> Vec<Reply> {
    allow_open_files();
    let connections = concurrently((0..buyers).map(|_| {
        let address = address.to_owned();
        async move { Raw::connect(&address).await }
    }))
    .await;
    concurrently(
        connections
            .into_iter()
            .enumerate()
            .map(|(buyer, mut connection)| {
                let request = hold_request(drop, &format!("buyer-{buyer}"));
                async move {
                    connection.send(request.as_bytes()).await;
                    connection.reply().await
                }
            }),
    )
    .await
}

/// Raises the limit of open files to the hard limit: each of many clients has a socket.
///
/// # Panics
/// If the limit cannot be raised.
pub fn allow_open_files() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be raised");
}

fn hold_request(drop: &str, buyer: &str) -> String {
    let body = json!({ "buyer_id": buyer }).to_string();
    let (key, length) = (key(), body.len());
    format!(
        "POST /v1/drops/{drop}/holds HTTP/1.1\r\nhost: holdfast\r\nconnection: close\r\nidempotency-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The length of head and body, or `None` while the head is incomplete.
fn response_length(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let body = lengths
        .next()
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    Some(head.len() + 4 + body.unwrap_or_default())
}

fn parse(bytes: &[u8]) -> Reply {
    let whole = String::from_utf8_lossy(bytes);
    let (head, body) = whole
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("incomplete response: {whole:?}"));
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_str(name),
            HeaderValue::from_str(value.trim()),
        ) {
            headers.append(name, value);
        }
    }
    Reply {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}
