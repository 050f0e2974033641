//! Accepts connections and serves HTTP/1 on them, within limits.
//!
//! Promise: at most so many connections at the same time; one more gets 503 with `Retry-After`. At
//! most so many per client address; one more gets 429. A request whose head does not arrive in
//! time, and a connection that is idle or whose client accepts nothing for too long, are closed.
//! The buffers of a connection are bounded, in this process and in the kernel. On shutdown no new
//! connection is accepted, in-flight requests are completed, and [`serve`] returns after the last
//! one. Limit: HTTP/1 only (a proxy in front handles TLS and HTTP/2); bodies have their own timeout
//! (`extract.rs`). Beyond [`MOST_REFUSALS`] concurrent refusals, excess connections are closed
//! without a response. Bytes that a client's kernel has acknowledged count as accepted, because the
//! server cannot see further.
//!
//! A live stream leaves hyper after its head: a stream shard ([`crate::stream`]) writes to the
//! socket, of which only the kernel's buffers remain.
//!
//! Source: docs/decisions/0035-clients-hold-bounded-buffers.md.

mod address_limit;
mod bounded;
mod counts;
mod heads;
mod monitored;
mod socket;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::address_limit::AddressPermit;
pub use self::address_limit::{AddressLimit, Exemptions};
pub(crate) use self::counts::COUNTS;
use self::counts::{OpenConnection, Reason};
pub(crate) use self::monitored::Handover;
pub use self::monitored::Timeouts;
use self::monitored::{ConnectionState, MonitoredSocket};
pub(crate) use self::socket::Socket;
pub use self::socket::limit_buffers;
use crate::base_path::requests::place;
use crate::forwarded;
use crate::origins::{CrossOrigin, PermittedOrigins};
use crate::problem::Problem;
use crate::starting::Site;

/// Path of the SSE stream, whose handler takes the socket over.
pub(crate) const STREAM_PATH: &str = "/v1/stream";

/// Path of the stream of a buyer's notifications, as the router spells it.
pub(crate) const NOTIFICATION_STREAM_PATH: &str = "/v1/buyers/{buyer_id}/notifications/stream";

/// Returns true for the paths whose handlers take the socket over.
fn is_stream(path: &str) -> bool {
    let is_of_buyer = || path.starts_with("/v1/buyers/") && path.ends_with("/notifications/stream");
    path == STREAM_PATH || is_of_buyer()
}

/// Maximum number of excess connections that are sent a refusal at the same time.
const MOST_REFUSALS: usize = 256;

/// Responds to the requests of a connection.
#[derive(Clone)]
struct Responder {
    handler: Handler,
    cross_origin: CrossOrigin,
}

#[derive(Clone)]
enum Handler {
    Application {
        site: Site,
        /// True if handlers need the peer's address.
        with_peer: bool,
        /// True if the peer is a trusted proxy.
        is_proxy: bool,
    },
    /// Sends this problem to every request.
    TooMany(Problem),
}

/// The permits that a connection holds until it is closed.
#[derive(Debug)]
struct ConnectionPermit {
    _connection_permit: OwnedSemaphorePermit,
    _address_permit: Option<AddressPermit>,
    /// Not for a refused connection.
    _open: Option<OpenConnection>,
}

/// Limits on the number of connections and on their duration.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Maximum number of concurrent connections.
    pub most: usize,
    /// The limit per client address.
    pub address_limit: AddressLimit,
    pub timeouts: Timeouts,
    /// Origins of other pages that may use the API.
    pub origins: PermittedOrigins,
}

/// Accepts connections from `listener` and serves `site` within bounds until `closing`; returns
/// once all accepted requests are completed.
pub async fn serve(
    mut listener: TcpListener,
    site: Site,
    with_peer: bool,
    Bounds {
        most,
        address_limit,
        timeouts,
        origins,
    }: Bounds,
    closing: CancellationToken,
) {
    let connection_permits = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    COUNTS.set_limit(most);
    let refusals = Arc::new(Semaphore::new(MOST_REFUSALS));
    let tracker = TaskTracker::new();
    let (close, is_closing) = watch::channel(());
    let cross_origin = CrossOrigin::new(origins);
    // The trait's `accept` retries after errors, such as a client that is gone or a lack of file
    // descriptors.
    while let Some((stream, peer)) = closing
        .run_until_cancelled(Listener::accept(&mut listener))
        .await
    {
        // A small response must not wait until the previous one is acknowledged.
        let _already_gone = stream.set_nodelay(true);
        let admitted = admit(&connection_permits, &address_limit, peer);
        let (permit, handler) = match admitted {
            Ok(permit) => {
                let application = Handler::Application {
                    site: site.clone(),
                    with_peer,
                    is_proxy: address_limit.is_proxy(peer.ip()),
                };
                (permit, application)
            }
            Err(problem) => match Arc::clone(&refusals).try_acquire_owned() {
                Ok(refusal_permit) => (
                    ConnectionPermit::refused(refusal_permit),
                    Handler::TooMany(problem),
                ),
                Err(_full) => {
                    COUNTS.close_unanswered();
                    continue;
                }
            },
        };
        let responder = Responder {
            handler,
            cross_origin: cross_origin.clone(),
        };
        let state = ConnectionState::new(timeouts);
        tracker.spawn(serve_connection(
            stream,
            peer,
            timeouts,
            state,
            responder,
            permit,
            is_closing.clone(),
        ));
    }
    drop(listener);
    close.send_replace(());
    tracker.close();
    tracker.wait().await;
}

/// Returns the permits for a connection from `peer`.
fn admit(
    connection_permits: &Arc<Semaphore>,
    address_limit: &AddressLimit,
    peer: SocketAddr,
) -> Result<ConnectionPermit, Problem> {
    let address_permit = address_limit.of_peer(peer.ip());
    let address_permit = address_permit.inspect_err(|_| COUNTS.refuse(Reason::Address))?;
    let full = |_| {
        COUNTS.refuse(Reason::Limit);
        Problem::unavailable("Limit of concurrent connections reached (HOLDFAST_MAX_CONNECTIONS).")
    };
    let connection_permit = Arc::clone(connection_permits)
        .try_acquire_owned()
        .map_err(full)?;
    Ok(ConnectionPermit {
        _connection_permit: connection_permit,
        _address_permit: address_permit,
        _open: Some(OpenConnection::accepted()),
    })
}

impl ConnectionPermit {
    const fn refused(refusal_permit: OwnedSemaphorePermit) -> Self {
        Self {
            _connection_permit: refusal_permit,
            _address_permit: None,
            _open: None,
        }
    }
}

/// The reason why hyper stops serving a connection.
enum Ended {
    /// It is closed, or is to be closed.
    Closed,
    /// hyper failed: the client disconnected, or sent a head that cannot be parsed.
    Failed(hyper::Error),
    TimedOut,
    /// A handler takes the socket over.
    HandedOver(Box<dyn FnOnce(Socket) + Send>),
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    timeouts: Timeouts,
    state: Arc<ConnectionState>,
    responder: Responder,
    permit: ConnectionPermit,
    mut closing: watch::Receiver<()>,
) {
    let socket = MonitoredSocket::new(stream, Arc::clone(&state));
    let service_state = Arc::clone(&state);
    let is_refused = matches!(responder.handler, Handler::TooMany(_));
    let service = service_fn(move |request| {
        service_state.request_received();
        let response = responder
            .clone()
            .respond(request, peer, Arc::clone(&service_state));
        let state = Arc::clone(&service_state);
        async move {
            let response = response.await;
            state.response_ready();
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .keep_alive(!is_refused)
        .max_buf_size(heads::MOST_HEAD)
        .max_header_size(heads::MOST_HEAD)
        // `max_headers` is not set: its default equals `MOST_FIELDS` (a test sends one more), and
        // once it is set, hyper 1.12 fills two arrays of that length for every request.
        .serve_connection(socket, service);
    let mut stopping = closing.clone();
    let ended = {
        let first_check = state
            .next_check()
            .map_or_else(Instant::now, Instant::from_std);
        let mut check = pin!(sleep_until(first_check));
        let closing_seen = closing.clone();
        let mut closing_received = pin!(closing.changed());
        let (mut is_first, mut is_closing) = (true, false);
        poll_fn(|cx| {
            // Both wake this task when they are due. Polling them each time would take locks that
            // all connections share.
            if std::mem::take(&mut is_first) {
                let _registered = closing_received.as_mut().poll(cx);
                let _registered = check.as_mut().poll(cx);
            }
            loop {
                if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(ended.map_or_else(Ended::Failed, |()| Ended::Closed));
                }
                if let Some(takeover) = state.takeover() {
                    return Poll::Ready(Ended::HandedOver(takeover));
                }
                if is_closing || !closing_seen.has_changed().unwrap_or(true) {
                    break;
                }
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            while check.is_elapsed() {
                let Some(next) = state.next_check() else {
                    return Poll::Ready(Ended::TimedOut);
                };
                check.as_mut().reset(Instant::from_std(next));
                let _registered = check.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    };
    let parts = connection.into_parts();
    let (stream, unread) = (parts.io.into_stream(), parts.read_buf);
    match ended {
        Ended::Closed => {}
        Ended::TimedOut => {
            if state.is_stalled() {
                socket::discard(&stream);
            }
        }
        Ended::Failed(error) => {
            if state.is_refused() || error.is_parse_version_h2() {
                let problem = heads::fault_of(&error, &unread);
                tokio::select! {
                    () = heads::refuse(stream, problem, timeouts.head) => {}
                    _ = stopping.changed() => {}
                }
            }
        }
        Ended::HandedOver(takeover) => {
            // A client must not send anything after a request for a stream: it would never be read.
            if unread.is_empty() {
                takeover(Socket::new(stream, permit));
            }
        }
    }
}

impl Responder {
    async fn respond(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
        state: Arc<ConnectionState>,
    ) -> Response {
        let Self {
            handler,
            cross_origin,
        } = self;
        let respond = move |request| {
            let response = handler.clone().respond(request, peer, Arc::clone(&state));
            async { Ok::<_, Infallible>(response.await) }
        };
        let respond = tower::service_fn(respond);
        cross_origin.respond(respond, request).await
    }
}

impl Handler {
    async fn respond(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
        state: Arc<ConnectionState>,
    ) -> Response {
        let is_large = heads::is_large(&request);
        let fault = heads::host_fault(request.version(), request.headers());
        let has_fault = fault.is_some();
        let (mut response, is_ending) = match (self, fault) {
            (Self::TooMany(problem), _) | (Self::Application { .. }, Some(problem)) => {
                (problem.into_response(), false)
            }
            (
                Self::Application {
                    site,
                    with_peer,
                    is_proxy,
                },
                None,
            ) => {
                let mut request = request.map(Body::new);
                forwarded::keep_trusted(request.headers_mut(), is_proxy);
                if with_peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                let placed = place(&mut request);
                if is_stream(request.uri().path()) {
                    request.extensions_mut().insert(Handover { state, peer });
                }
                let response = match placed {
                    Ok(()) => site.respond(request).await,
                    Err(response) => *response,
                };
                (response, site.is_ending())
            }
        };
        if is_large || has_fault || is_ending {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}
