//! Connections: how many, how patiently, and until when.
//!
//! Promise: at most so many at once, and one more is told 503 with `Retry-After`; so many of one
//! address at most, and one more is told 429; a request whose head does not arrive in time, and a
//! connection that lies idle for long or whose client accepts nothing for long, are closed; the
//! buffers of a connection are bounded, ours and the kernel's; once stopping, no connection is
//! accepted, those in mid-request are answered, and [`serve`] returns when all are. Limit: HTTP/1
//! (a proxy in front speaks TLS and HTTP/2); bodies have their own patience (`extract.rs`); beyond
//! [`MOST_REFUSALS`] at once, those that are too many are closed without a word. What a client's
//! kernel has acknowledged counts as accepted, for nobody can see further.
//!
//! A live stream leaves hyper after its head: its socket, of which only the kernel's buffers are left, is written to by a
//! room ([`crate::stream`]).
//!
//! Source: docs/decisions/0035-clients-hold-bounded-buffers.md.

mod bounded;
mod heads;
mod line;
mod shares;
mod socket;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
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
use tower::ServiceExt;

pub(crate) use self::line::Handover;
pub use self::line::Patience;
use self::line::{Ear, Line};
pub(crate) use self::shares::Share;
pub use self::shares::{Exemptions, Shares};
pub(crate) use self::socket::Socket;
pub use self::socket::limit_buffers;
use crate::problem::Problem;

/// Connections over the bound that are told so at the same time.
const MOST_REFUSALS: usize = 256;

/// What answers a connection.
#[derive(Clone)]
enum Answers {
    /// The application.
    All {
        router: Router,
        /// Whether handlers ask who called.
        with_peer: bool,
    },
    /// That there are too many.
    TooMany(Problem),
}

/// What a connection counts as while it is there.
#[derive(Debug)]
struct Place {
    _among_all: OwnedSemaphorePermit,
    _of_address: Option<Share>,
}

/// How many connections, and how patiently.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The most at once.
    pub most: usize,
    /// What each address may have of them.
    pub shares: Shares,
    /// How long each may take.
    pub patience: Patience,
}

/// Accepts from `listener` and answers with `router`, within bounds, until `closing`; returns once all that were accepted
/// are answered.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    with_peer: bool,
    Bounds {
        most,
        shares,
        patience,
    }: Bounds,
    closing: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let refusals = Arc::new(Semaphore::new(MOST_REFUSALS));
    let tracker = TaskTracker::new();
    let (close, is_closing) = watch::channel(());
    let application = Answers::All { router, with_peer };
    // The trait's `accept` goes on through whatever fails: a client that is gone, or files that have run out.
    while let Some((stream, peer)) = closing
        .run_until_cancelled(Listener::accept(&mut listener))
        .await
    {
        // A small answer must not wait for the one before to be acknowledged.
        let _already_gone = stream.set_nodelay(true);
        let admitted = admit(&places, &shares, peer);
        let (place, answers) = match admitted {
            Ok(place) => (place, application.clone()),
            Err(problem) => match Arc::clone(&refusals).try_acquire_owned() {
                Ok(among_refusals) => (Place::refused(among_refusals), Answers::TooMany(problem)),
                Err(_full) => continue,
            },
        };
        let line = Line::new(patience);
        tracker.spawn(converse(
            stream,
            peer,
            patience,
            line,
            answers,
            place,
            is_closing.clone(),
        ));
    }
    drop(listener);
    close.send_replace(());
    tracker.close();
    tracker.wait().await;
}

/// A place for a connection from `peer`.
fn admit(places: &Arc<Semaphore>, shares: &Shares, peer: SocketAddr) -> Result<Place, Problem> {
    let of_address = shares.of_peer(peer.ip())?;
    let full = |_| {
        Problem::unavailable("Limit of concurrent connections reached (HOLDFAST_MAX_CONNECTIONS).")
    };
    let among_all = Arc::clone(places).try_acquire_owned().map_err(full)?;
    Ok(Place {
        _among_all: among_all,
        _of_address: of_address,
    })
}

impl Place {
    const fn refused(among_refusals: OwnedSemaphorePermit) -> Self {
        Self {
            _among_all: among_refusals,
            _of_address: None,
        }
    }
}

/// How a conversation by HTTP ends.
enum Ended {
    /// It is closed, or is to be.
    Closed,
    /// hyper could not go on: the client broke off, or sent a head that cannot be read.
    Failed(hyper::Error),
    /// The client was too slow.
    TimedOut,
    /// The socket goes on without hyper.
    Inherited(Box<dyn FnOnce(Socket) + Send>),
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    patience: Patience,
    line: Arc<Line>,
    answers: Answers,
    place: Place,
    mut closing: watch::Receiver<()>,
) {
    let ear = Ear::new(stream, Arc::clone(&line));
    let caller = Arc::clone(&line);
    let is_refused = matches!(answers, Answers::TooMany(_));
    let service = service_fn(move |request| {
        caller.answering();
        let answer = answers.clone().answer(request, peer, Arc::clone(&caller));
        let caller = Arc::clone(&caller);
        async move {
            let answer = answer.await;
            caller.answered();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = http1::Builder::new()
        .keep_alive(!is_refused)
        .max_buf_size(heads::MOST_HEAD)
        .max_header_size(heads::MOST_HEAD)
        // Not `max_headers`: its default is `MOST_FIELDS` (a test sends one more), and once it is
        // set, hyper 1.12 fills two arrays of that length for every request.
        .serve_connection(ear, service);
    let mut stopping = closing.clone();
    let ended = {
        let first_look = line
            .next_look()
            .map_or_else(Instant::now, Instant::from_std);
        let mut look = pin!(sleep_until(first_look));
        let closing_seen = closing.clone();
        let mut closing_told = pin!(closing.changed());
        let (mut is_first, mut is_closing) = (true, false);
        poll_fn(|cx| {
            // Both wake this task when they are due. To poll them each time would take locks that all connections share.
            if std::mem::take(&mut is_first) {
                let _registered = closing_told.as_mut().poll(cx);
                let _registered = look.as_mut().poll(cx);
            }
            loop {
                if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(ended.map_or_else(Ended::Failed, |()| Ended::Closed));
                }
                if let Some(heir) = line.heir() {
                    return Poll::Ready(Ended::Inherited(heir));
                }
                if is_closing || !closing_seen.has_changed().unwrap_or(true) {
                    break;
                }
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            while look.is_elapsed() {
                let Some(next) = line.next_look() else {
                    return Poll::Ready(Ended::TimedOut);
                };
                look.as_mut().reset(Instant::from_std(next));
                let _registered = look.as_mut().poll(cx);
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
            if line.is_stalled() {
                socket::discard(&stream);
            }
        }
        Ended::Failed(error) => {
            if line.is_refused() || error.is_parse_version_h2() {
                let problem = heads::fault_of(&error, &unread);
                tokio::select! {
                    () = heads::refuse(stream, problem, patience.head) => {}
                    _ = stopping.changed() => {}
                }
            }
        }
        Ended::Inherited(heir) => {
            // Nothing may follow a request for a stream: what is sent there would never be read.
            if unread.is_empty() {
                heir(Socket::new(stream, place));
            }
        }
    }
}

impl Answers {
    async fn answer(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
        line: Arc<Line>,
    ) -> Response {
        let is_large = heads::is_large(&request);
        let fault = heads::host_fault(request.version(), request.headers());
        let is_faulty = fault.is_some();
        let mut answer = match (self, fault) {
            (Self::TooMany(problem), _) | (Self::All { .. }, Some(problem)) => {
                problem.into_response()
            }
            (Self::All { router, with_peer }, None) => {
                let mut request = request.map(Body::new);
                if with_peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                if request.uri().path() == crate::stream::PATH {
                    request.extensions_mut().insert(Handover { line, peer });
                }
                let Ok(answer) = router.oneshot(request).await;
                answer
            }
        };
        if is_large || is_faulty {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }
}
