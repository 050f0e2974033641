//! Connections: how many, how patiently, and until when.
//!
//! Promise: at most so many at once, and one more is told 503 with `Retry-After`; a request whose head does not arrive in time,
//! and a connection that lies idle for long, are closed; once stopping, no connection is accepted, those in mid-request are
//! answered, and [`serve`] returns when all are. Limit: HTTP/1 (a proxy in front speaks TLS and HTTP/2); bodies have their
//! own patience (`extract.rs`); beyond [`MOST_REFUSALS`] at once, those that are too many are closed without a word.
//!
//! A live stream leaves hyper after its head: its socket, of which only the kernel's buffers are left, is written to by a
//! room ([`crate::stream`]).

mod line;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
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

use self::line::{Ear, Line};
pub(crate) use self::line::{Handover, Patience};
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
    TooMany,
}

/// How many connections, and how patiently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The most at once.
    pub(crate) most: usize,
    /// How long each may take.
    pub(crate) patience: Patience,
}

/// Accepts from `listener` and answers with `router`, within bounds, until `closing`; returns once all that were accepted
/// are answered.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    with_peer: bool,
    Bounds { most, patience }: Bounds,
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
        let (place, answers) = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => (place, application.clone()),
            Err(_full) => match Arc::clone(&refusals).try_acquire_owned() {
                Ok(place) => (place, Answers::TooMany),
                Err(_full) => continue,
            },
        };
        let line = Line::new(patience);
        tracker.spawn(converse(
            stream,
            peer,
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

/// A socket that has left hyper, and its place among the connections.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Socket {
    /// Writes what fits now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    /// Whether the other side has hung up. What it says is not listened to.
    pub(crate) fn is_gone(&self) -> bool {
        let mut unheard = [0; 64];
        loop {
            match self.stream.try_read(&mut unheard) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// How a conversation by HTTP ends.
enum Ended {
    /// It is closed, or is to be.
    Closed,
    /// The socket goes on without hyper.
    Inherited(Box<dyn FnOnce(Socket) + Send>),
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    line: Arc<Line>,
    answers: Answers,
    place: OwnedSemaphorePermit,
    mut closing: watch::Receiver<()>,
) {
    let ear = Ear::new(stream, Arc::clone(&line));
    let caller = Arc::clone(&line);
    let is_refused = matches!(answers, Answers::TooMany);
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
        .serve_connection(ear, service);
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
                // A client that broke off is none of our business.
                if Pin::new(&mut connection).poll(cx).is_ready() {
                    return Poll::Ready(Ended::Closed);
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
                    return Poll::Ready(Ended::Closed);
                };
                look.as_mut().reset(Instant::from_std(next));
                let _registered = look.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    };
    if let Ended::Inherited(heir) = ended {
        heir(Socket {
            stream: connection.into_parts().io.into_stream(),
            _place: place,
        });
    }
}

impl Answers {
    async fn answer(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
        line: Arc<Line>,
    ) -> Response {
        match self {
            Self::All { router, with_peer } => {
                let mut request = request.map(Body::new);
                if with_peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                if request.uri().path() == crate::stream::PATH {
                    request.extensions_mut().insert(Handover(line));
                }
                let Ok(answer) = router.oneshot(request).await;
                answer
            }
            Self::TooMany => {
                Problem::unavailable("As many connections are open as this server allows.")
                    .into_response()
            }
        }
    }
}
