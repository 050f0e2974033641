//! Sends one request of a webhook.
//!
//! Promise: the connection goes to an address that was checked after resolution, directly and not
//! through a proxy of the environment. Redirects are not followed. The status of the response is
//! the outcome, and it must arrive within the timeout; a body that is slow or has no end changes
//! nothing about it. At most [`MOST_READ`] bytes of the body are read, for at most [`MOST_WAITED`].
//! Limit: HTTP/1.1; certificates are checked against the system's authorities.

use std::fmt;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use domain::values::Timestamp;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use telemetry::Call;
use tokio::time::timeout;
use tower::Service;
use tracing::warn;
use url::{Host, Url};

use crate::counts::Result as Counted;
use crate::networks::PermittedNetworks;
use crate::signature::{Secret, signatures};

/// Bytes of a response that are read, so that its connection can be used again.
const MOST_READ: usize = 64 * 1024;
/// How long the body of a response is waited for.
const MOST_WAITED: Duration = Duration::from_secs(1);
/// How long an idle connection is kept. Short, so that a changed DNS entry is followed.
const IDLE: Duration = Duration::from_secs(30);
/// The timeout for one connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Delivered,
    /// 410: the receiver wants nothing more.
    Gone,
    Failed(Failure),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub counted: Counted,
    /// The endpoint is unreachable or overloaded, so it gets fewer requests for a while.
    pub is_of_endpoint: bool,
    /// A description for administrators, without contents of the response.
    pub error: String,
    /// The pause that the receiver requested.
    pub retry_after: Option<Duration>,
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub url: Url,
    pub webhook_id: String,
    pub body: Bytes,
    pub secrets: Arc<Vec<Secret>>,
    /// The time of this attempt.
    pub at: Timestamp,
}

type Http<C> = Client<C, Full<Bytes>>;
type Tcp = HttpConnector<Resolver>;

/// Sends attempts. Clones share connections.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    /// The name of the setting with the networks, for messages.
    setting: &'static str,
    networks: PermittedNetworks,
    timeout: Duration,
    plain: Http<Tcp>,
    /// Built at the first use: it reads the system's certificate authorities.
    encrypted: OnceLock<Option<Http<HttpsConnector<Tcp>>>>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("networks", &self.0.networks)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// The purpose of its requests, for traces.
    fn purpose(&self) -> &'static str {
        match self.setting {
            WEBHOOK_NETWORKS => "webhook",
            _ => "push",
        }
    }
}

/// The setting with the networks of webhooks.
const WEBHOOK_NETWORKS: &str = "HOLDFAST_WEBHOOK_NETWORKS";

impl Sender {
    /// Returns a sender to these networks and to public addresses.
    #[must_use]
    pub fn new(networks: PermittedNetworks, timeout: Duration) -> Self {
        Self::configured(networks, timeout, WEBHOOK_NETWORKS)
    }

    /// Returns a sender to these networks, which are those of `setting`, and to public addresses.
    #[must_use]
    pub fn configured(
        networks: PermittedNetworks,
        timeout: Duration,
        setting: &'static str,
    ) -> Self {
        let plain = pooled().build(tcp(&networks, false, setting));
        Self(Arc::new(Inner {
            setting,
            networks,
            timeout,
            plain,
            encrypted: OnceLock::new(),
        }))
    }

    /// Sends one attempt.
    pub async fn send(&self, attempt: &Attempt) -> Outcome {
        let request = match request(attempt) {
            Ok(request) => request,
            Err(error) => return Outcome::Failed(unreachable(&error.to_string())),
        };
        match self.exchange(&attempt.url, request).await {
            Ok((status, headers)) => outcome_of(status, &headers, attempt.at),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Sends a request to this URL, which it has, and returns the head of the response.
    ///
    /// # Errors
    /// [`Failure`] if no response arrived within the timeout.
    pub async fn exchange(
        &self,
        url: &Url,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap), Failure> {
        let host = url.host_str().unwrap_or_default();
        let call = Call::begin(self.0.purpose(), "POST", host);
        for (name, value) in call.headers() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers_mut().insert(name, value);
            }
        }
        let sent = timeout(self.0.timeout, self.respond(url, request)).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(Failure {
                counted: Counted::NoResponse,
                is_of_endpoint: false,
                error: format!("no response within {} s", self.0.timeout.as_secs_f32()),
                retry_after: None,
            })
        });
        let (parts, body) = sent?.into_parts();
        call.ended(parts.status.as_u16());
        let _cut_off = timeout(MOST_WAITED, drain(body)).await;
        Ok((parts.status, parts.headers))
    }

    /// Sends the request and returns the response, of which the head has arrived.
    async fn respond(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let is_encrypted = url.scheme() == "https";
        // The connector resolves only names, so an address in the URL is checked here.
        if let Some(address) = literal(url)
            && !self.0.networks.permit(address, is_encrypted)
        {
            return Err(unreachable(&NotPermitted(self.0.setting).to_string()));
        }
        let responded = if is_encrypted {
            let client = self.encrypted();
            let client =
                client.ok_or_else(|| unreachable("the system has no usable TLS configuration"))?;
            client.request(request).await
        } else {
            self.0.plain.request(request).await
        };
        responded.map_err(|error| match error.is_connect() {
            true => unreachable(&innermost(&error)),
            false => Failure {
                counted: Counted::NoResponse,
                is_of_endpoint: false,
                error: format!("no complete response: {}", innermost(&error)),
                retry_after: None,
            },
        })
    }

    fn encrypted(&self) -> Option<&Http<HttpsConnector<Tcp>>> {
        let build = || {
            let config = tls()
                .inspect_err(|error| warn!(%error, "webhooks cannot use TLS: {error}"))
                .ok()?;
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(config)
                .https_only()
                .enable_http1()
                .wrap_connector(tcp(&self.0.networks, true, self.0.setting));
            Some(pooled().build(connector))
        };
        self.0.encrypted.get_or_init(build).as_ref()
    }
}

/// Reads a body, so that its connection can be used again.
async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MOST_READ {
            break;
        }
    }
}

fn request(attempt: &Attempt) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let Attempt {
        url,
        webhook_id,
        body,
        secrets,
        at,
    } = attempt;
    let timestamp = at.millis().div_euclid(1000);
    let request = Request::post(url.as_str());
    request
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("Holdfast/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", webhook_id)
        .header("webhook-timestamp", timestamp)
        .header(
            "webhook-signature",
            signatures(secrets, webhook_id, timestamp, body),
        )
        .body(Full::new(body.clone()))
}

fn outcome_of(status: StatusCode, headers: &HeaderMap, at: Timestamp) -> Outcome {
    if status.is_success() {
        return Outcome::Delivered;
    }
    if status == StatusCode::GONE {
        return Outcome::Gone;
    }
    let is_of_endpoint = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    let retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let name = status.canonical_reason().unwrap_or_default();
    Outcome::Failed(Failure {
        counted: Counted::Rejected,
        is_of_endpoint,
        error: format!("{} {name}", status.as_u16()).trim_end().to_owned(),
        retry_after: retry_after.and_then(|value| retry_after_in(value, at)),
    })
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
#[must_use]
pub fn retry_after_in(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let at = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now.millis()).ok()?);
    Some(at.saturating_sub(now))
}

fn unreachable(error: &str) -> Failure {
    Failure {
        counted: Counted::Unreachable,
        is_of_endpoint: true,
        error: format!("cannot connect: {error}"),
        retry_after: None,
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let of_system = innermost.downcast_ref::<std::io::Error>();
    let of_system = of_system.filter(|error| error.get_ref().is_none());
    of_system
        .and_then(|error| reason(error.kind()))
        .map_or_else(|| innermost.to_string(), str::to_owned)
}

/// Returns the usual causes of a failed connection in words that an administrator understands.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other kinds keep the system's words"
)]
fn reason(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ConnectionRefused => "the connection was refused",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            "the receiver closed the connection"
        }
        ErrorKind::TimedOut => "the receiver did not respond in time",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "the receiver's network cannot be reached"
        }
        _ => return None,
    })
}

/// Returns the address in a URL; `None` if it names a host.
#[must_use]
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

fn pooled() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE);
    builder
}

fn tcp(networks: &PermittedNetworks, is_encrypted: bool, setting: &'static str) -> Tcp {
    let mut tcp = HttpConnector::new_with_resolver(Resolver {
        networks: networks.clone(),
        is_encrypted,
        setting,
    });
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

fn tls() -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    let of_system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(of_system.certs);
    if roots.is_empty() {
        return Err("the system has no trusted certificate authorities".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Resolves a name to the addresses that may be connected to.
#[derive(Debug, Clone)]
struct Resolver {
    networks: PermittedNetworks,
    is_encrypted: bool,
    setting: &'static str,
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the address is not public, or not encrypted and not in {0}")]
struct NotPermitted(&'static str);

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the host name cannot be resolved")]
struct Unresolved;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(|_| std::io::Error::other(Unresolved))?;
            let is_permitted = |address: &SocketAddr| {
                resolver
                    .networks
                    .permit(address.ip(), resolver.is_encrypted)
            };
            let permitted: Vec<SocketAddr> = found.filter(is_permitted).collect();
            if permitted.is_empty() {
                return Err(std::io::Error::other(NotPermitted(resolver.setting)));
            }
            Ok(permitted.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn failed_connections_are_described_in_words() {
        let refused = std::io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(innermost(&refused), "the connection was refused");
        let unresolved = std::io::Error::other(Unresolved);
        assert_eq!(innermost(&unresolved), "the host name cannot be resolved");
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now: Timestamp = "2026-03-01T12:00:00.000Z".parse().unwrap();
        let seconds = |value: &str| retry_after_in(value, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("Sun, 01 Mar 2026 12:01:30 GMT"), Some(90));
        assert_eq!(seconds("Sunday, 01-Mar-26 12:01:30 GMT"), Some(90));
        assert_eq!(seconds("Sun Mar  1 12:01:30 2026"), Some(90));
        assert_eq!(
            seconds("Sun, 01 Mar 2026 11:00:00 GMT"),
            Some(0),
            "in the past"
        );
        assert_eq!(seconds("99999999999999999999"), Some(u64::MAX));
        for other in ["", "-1", "1.5", "soon", "2026-03-01T12:01:30Z"] {
            assert_eq!(seconds(other), None, "{other}");
        }
    }

    #[test]
    fn statuses_have_their_meaning() {
        let none = HeaderMap::new();
        let of = |status: u16| {
            outcome_of(
                StatusCode::from_u16(status).unwrap(),
                &none,
                Timestamp::default(),
            )
        };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(status), Outcome::Delivered, "{status}");
        }
        assert_eq!(of(410), Outcome::Gone);
        for (status, is_of_endpoint) in [
            (301, false),
            (302, false),
            (307, false),
            (308, false),
            (400, false),
            (401, false),
            (404, false),
            (409, false),
            (422, false),
            (429, true),
            (500, false),
            (501, false),
            (502, true),
            (503, true),
            (504, true),
        ] {
            let Outcome::Failed(failure) = of(status) else {
                panic!("{status}");
            };
            assert_eq!(failure.is_of_endpoint, is_of_endpoint, "{status}");
            assert!(
                failure.error.starts_with(&status.to_string()),
                "{}",
                failure.error
            );
        }
    }

    /// Regression: a receiver that had accepted a webhook got it again, because the body of its
    /// response had no end.
    #[tokio::test]
    async fn status_is_the_outcome_whatever_follows_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let receiver = tokio::spawn(async move {
            let mut open = vec![];
            for head in [
                "200 OK\r\ncontent-length: 9",
                "204 No Content",
                "500 Broken\r\ntransfer-encoding: chunked",
            ] {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 4_096];
                let _read = socket.read(&mut request).await.unwrap();
                let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
                socket.write_all(head.as_bytes()).await.unwrap();
                // Neither the body nor the end of the connection follows.
                open.push(socket);
            }
            std::future::pending::<()>().await;
        });
        let sender = Sender::new("127.0.0.0/8".parse().unwrap(), Duration::from_secs(1));
        for is_delivered in [true, true, false] {
            let outcome = sender.send(&attempt(url.clone())).await;
            match outcome {
                Outcome::Delivered => assert!(is_delivered),
                Outcome::Failed(failure) => {
                    assert!(!is_delivered, "{failure:?}");
                    assert!(failure.error.starts_with("500"), "{failure:?}");
                }
                Outcome::Gone => panic!("gone"),
            }
        }
        receiver.abort();
    }

    fn attempt(url: Url) -> Attempt {
        Attempt {
            url,
            webhook_id: "evt_1".to_owned(),
            body: Bytes::from_static(b"{}"),
            secrets: Arc::new(vec![Secret::random()]),
            at: Timestamp::default(),
        }
    }

    /// Every spelling that a URL parser of the web platform accepts for an IPv4 address.
    #[tokio::test]
    async fn addresses_in_urls_are_checked_in_every_spelling() {
        let sender = Sender::new(PermittedNetworks::default(), Duration::from_secs(5));
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[fe80::1]",
            "[fd00::1]",
            "10.0.0.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "localhost",
            "LOCALHOST",
        ] {
            for scheme in ["http", "https"] {
                let url: Url = format!("{scheme}://{host}:1/").parse().unwrap();
                let Outcome::Failed(failure) = sender.send(&attempt(url)).await else {
                    panic!("{scheme}://{host} was permitted");
                };
                assert_eq!(failure.counted, Counted::Unreachable, "{host}");
                assert!(
                    failure.error.contains("HOLDFAST_WEBHOOK_NETWORKS"),
                    "{scheme}://{host}: {}",
                    failure.error
                );
            }
        }
    }
}
