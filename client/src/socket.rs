//! One TCP socket that belongs to one buyer, with HTTP/1.1 and without a pool.
//!
//! Promise: sockets share nothing but the address, so N sockets are N clients to the server.
//! Limit: one request at a time; after any error the socket is unusable and a new one must be
//! opened. One machine can open about 28,000 sockets to one port (the range of local ports).
//!
//! Why not a pooled client per buyer: with 2,000 of each against a server in the same process,
//! pooled clients took 88 against 37 MiB, and 45 against 30 µs of processor time per request,
//! server and kernel included.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access::AccessKey;
use super::address::ServerAddress;
use super::error::ClientError;
use super::wire::{Call, Reply};

/// The data that every socket to one server needs; resolved once and shared.
pub struct Target {
    server: ServerAddress,
    resolved: SocketAddr,
    host: HeaderValue,
    bearer: HeaderValue,
    timeout: Duration,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("server", &self.server)
            .field("resolved", &self.resolved)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Resolves `server`. Sockets send `key` and, if the address uses TLS, trust the authorities of
    /// `tls`. Connecting and each response may take up to `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Connection`] when the host has no address, [`ClientError::InvalidKey`], or
    /// [`ClientError::Address`] when no certificate can be issued for it.
    pub(super) async fn resolve(
        server: ServerAddress,
        key: &AccessKey,
        tls: &Arc<ClientConfig>,
        timeout: Duration,
    ) -> Result<Arc<Self>, ClientError> {
        let resolved = server.resolve().await?;
        let tls = match server.has_tls() {
            true => Some((
                TlsConnector::from(Arc::clone(tls)),
                server.certified_name()?,
            )),
            false => None,
        };
        let host = HeaderValue::from_str(&server.authority())
            .map_err(|error| ClientError::connection(&server, error))?;
        let mut bearer =
            HeaderValue::from_str(&key.bearer()).map_err(|_| ClientError::InvalidKey)?;
        bearer.set_sensitive(true);
        Ok(Arc::new(Self {
            server,
            resolved,
            host,
            bearer,
            timeout,
            tls,
        }))
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, ClientError> {
        let request = Request::builder()
            .uri(self.server.request_target(&call.path))
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.bearer);
        let request = call.complete(request);
        request.map_err(|error| ClientError::connection(&self.server, error))
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(ClientError::Timeout {
                server: self.server.to_string(),
                after: self.timeout,
            })
        })
    }
}

#[derive(Debug)]
pub struct Socket {
    target: Arc<Target>,
    sender: SendRequest<Full<Bytes>>,
}

impl Socket {
    /// Connects to the target.
    ///
    /// # Errors
    /// [`ClientError::Connection`] or [`ClientError::Timeout`].
    pub async fn open(target: Arc<Target>) -> Result<Self, ClientError> {
        let sender = target.within(connect(&target)).await?;
        Ok(Self { target, sender })
    }

    /// Sends `call` once and reads the complete response, whatever its status.
    ///
    /// # Errors
    /// [`ClientError::Connection`] or [`ClientError::Timeout`]; do not use the socket again after
    /// either.
    pub async fn send(&mut self, call: &Call) -> Result<Reply, ClientError> {
        let target = Arc::clone(&self.target);
        let request = target.request(call)?;
        target.within(self.exchange(request)).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, ClientError> {
        let lost = |error| ClientError::connection(&self.target.server, error);
        self.sender.ready().await.map_err(lost)?;
        let response = self.sender.send_request(request).await.map_err(lost)?;
        Reply::read_from(response).await.map_err(lost)
    }
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = TcpStream::connect(target.resolved)
        .await
        .map_err(|error| ClientError::connection(&target.server, error))?;
    stream
        .set_nodelay(true)
        .map_err(|error| ClientError::connection(&target.server, error))?;
    let Some((connector, name)) = &target.tls else {
        return handshake(target, stream).await;
    };
    let stream = connector
        .connect(name.clone(), stream)
        .await
        .map_err(|error| ClientError::connection(&target.server, error))?;
    handshake(target, stream).await
}

async fn handshake(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ClientError::connection(&target.server, error))?;
    // Ends when the sender is dropped or the server closes the connection; the sender's user gets
    // the error.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::{calls, tls};
    use super::*;

    /// A socket to a server that reads one request and then sends `answer`, or, for `None`,
    /// nothing.
    async fn socket_to(answer: Option<&'static str>) -> Socket {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let read = stream.read(&mut [0; 4_096]).await.unwrap();
            assert!(read > 0);
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let key = AccessKey::new("key").unwrap();
        let timeout = Duration::from_millis(300);
        let tls = tls::none().unwrap();
        let target = Target::resolve(address.parse().unwrap(), &key, &tls, timeout).await;
        Socket::open(target.unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn complete_response_is_read() {
        let mut socket = socket_to(Some(
            "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"position\":7}",
        ))
        .await;
        let reply = socket.send(&calls::log_head()).await.unwrap();
        let head: calls::LogHead = reply.read("a head").unwrap();
        assert_eq!(head.position.0, 7);
    }

    #[tokio::test]
    async fn server_that_closes_the_connection_is_a_connection_error() {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"pos"] {
            let mut socket = socket_to(Some(answer)).await;
            let error = socket.send(&calls::log_head()).await.unwrap_err();
            assert!(matches!(error, ClientError::Connection { .. }), "{error}");
            assert!(error.is_passing());
        }
    }

    #[tokio::test]
    async fn silent_server_causes_a_timeout() {
        let mut socket = socket_to(None).await;
        let error = socket.send(&calls::log_head()).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    }
}
