//! The socket that hyper uses, and the state of its connection: timeouts, and the handover of the
//! socket.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Socket;
use super::bounded::Bounded;
use super::heads::is_status_of_an_error;

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last; also from connecting to the first
    /// head's end.
    pub head: Duration,
    /// Between two requests, and between two writes of a response that the client accepts.
    pub idle: Duration,
}

/// The event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// The rest of a head, or the first head.
    Head,
    /// The response of a handler. Handlers have their own timeouts.
    Response,
    /// The next request, or the client's acceptance of the response.
    Idle,
}

type Takeover = Box<dyn FnOnce(Socket) + Send>;

/// State that the task of a connection, its socket and its handler share.
///
/// All three run in one task. The fields are atomic because the task may move between threads.
pub(super) struct ConnectionState {
    timeouts: Timeouts,
    began: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds after `began`.
    since: AtomicU64,
    /// The time since which the socket has accepted none of the pending bytes, in milliseconds
    /// after `began`; [`NOT_STALLED`] if no write is pending.
    stalled: AtomicU64,
    takeover: Mutex<Option<Takeover>>,
    /// Set when hyper has received everything that precedes the handover.
    is_handing_over: AtomicBool,
    /// Set when everything that hyper received has been written.
    is_written: AtomicBool,
    /// Set after a handler has responded, until the first byte of its response is written.
    is_response_unsent: AtomicBool,
    /// Set when hyper rejected a head by itself; its own response was withheld.
    is_refused: AtomicBool,
}

const NOT_STALLED: u64 = u64::MAX;

impl ConnectionState {
    pub(super) fn new(timeouts: Timeouts) -> Arc<Self> {
        Arc::new(Self {
            timeouts,
            began: Instant::now(),
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(NOT_STALLED),
            takeover: Mutex::new(None),
            is_handing_over: AtomicBool::new(false),
            is_written: AtomicBool::new(true),
            is_response_unsent: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
        })
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    fn now(&self) -> u64 {
        let elapsed = self.began.elapsed();
        elapsed.as_secs() * 1000 + u64::from(elapsed.subsec_millis())
    }

    fn enter(&self, phase: Phase) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Records that a complete request was passed to a handler.
    pub(super) fn request_received(&self) {
        self.phase.store(Phase::Response as u8, Ordering::Relaxed);
    }

    /// Records that a handler has responded.
    pub(super) fn response_ready(&self) {
        self.is_response_unsent.store(true, Ordering::Relaxed);
        self.enter(Phase::Idle);
    }

    /// Returns the time of the next timeout check, or `None` if the client is too slow.
    ///
    /// Only bytes that the socket has accepted count as progress of a response, never the attempt
    /// to write. The send buffer is bounded, so the socket soon accepts nothing for a client that
    /// does not read.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let now = Instant::now();
        let Timeouts { head, idle } = self.timeouts;
        // A head may begin at any time on an idle connection, so check at least this often.
        let soon = now + head;
        let at = |millis| self.began + Duration::from_millis(millis);
        let since = self.since.load(Ordering::Relaxed);
        let until = if self.is(Phase::Response) {
            None
        } else if self.is(Phase::Head) {
            Some(at(since) + head)
        } else {
            Some(at(since) + idle)
        };
        let stalled = self.stalled.load(Ordering::Relaxed);
        let stall_ends = (stalled != NOT_STALLED).then(|| at(stalled) + idle);
        let until = until.into_iter().chain(stall_ends).min();
        let until = until.unwrap_or(soon).min(soon);
        (now < until).then_some(until)
    }

    /// Returns true if the socket does not accept pending bytes.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed) != NOT_STALLED
    }

    /// Returns true if hyper rejected a head, for which a problem is still to be sent.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Takes the handover, once hyper has written everything that precedes it.
    pub(super) fn takeover(&self) -> Option<Takeover> {
        let is_due =
            self.is_handing_over.load(Ordering::Relaxed) && self.is_written.load(Ordering::Relaxed);
        let take = || {
            self.takeover
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        };
        is_due.then(take).flatten()
    }

    /// Returns true if the bytes that hyper is about to write are its own rejection: they begin a
    /// response, everything before was written, and no handler has responded.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        self.is_written.load(Ordering::Relaxed)
            && !self.is_response_unsent.load(Ordering::Relaxed)
            && is_status_of_an_error(bytes)
    }

    /// Records the outcome of a write.
    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        self.is_written.store(false, Ordering::Relaxed);
        match outcome {
            Poll::Ready(Ok(0) | Err(_)) => {}
            Poll::Ready(Ok(_)) => {
                self.stalled.store(NOT_STALLED, Ordering::Relaxed);
                self.is_response_unsent.store(false, Ordering::Relaxed);
                if self.is(Phase::Idle) {
                    // A long response makes progress.
                    self.enter(Phase::Idle);
                }
            }
            Poll::Pending if self.is_stalled() => {}
            Poll::Pending => self.stalled.store(self.now(), Ordering::Relaxed),
        }
    }
}

/// Lets the handler of a request take its socket over, after the head and the beginning of the
/// response.
#[derive(Clone)]
pub(crate) struct Handover {
    pub(super) state: Arc<ConnectionState>,
    pub(crate) peer: SocketAddr,
}

impl Handover {
    /// Returns a body that begins with `first`, which must not be empty; `takeover` then takes the
    /// socket over and writes the rest. It is dropped instead if the client has sent anything after
    /// its request.
    pub(crate) fn after(
        self,
        first: impl IntoIterator<Item = Bytes>,
        takeover: impl FnOnce(Socket) + Send + 'static,
    ) -> Body {
        let state = self.state;
        *state
            .takeover
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Box::new(takeover));
        let mut first = first.into_iter().collect::<Vec<_>>().into_iter();
        Body::from_stream(stream::poll_fn(move |_| match first.next() {
            Some(first) => Poll::Ready(Some(io::Result::Ok(first))),
            None => {
                // hyper polls for more: it has taken the first part and flushes it next.
                if !state.is_handing_over.swap(true, Ordering::Relaxed) {
                    state.is_written.store(false, Ordering::Relaxed);
                }
                Poll::Pending
            }
        }))
    }
}

/// The socket that hyper uses. It records reads and writes in the connection's state.
pub(super) struct MonitoredSocket {
    io: TokioIo<Bounded>,
    state: Arc<ConnectionState>,
}

impl MonitoredSocket {
    pub(super) fn new(stream: TcpStream, state: Arc<ConnectionState>) -> Self {
        Self {
            io: TokioIo::new(Bounded::new(stream)),
            state,
        }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.io.into_inner().into_stream()
    }
}

impl Read for MonitoredSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        // Bytes that arrive while a response is not accepted belong to the next head, but hyper
        // does not read on.
        if self.state.is(Phase::Idle) && !self.state.is_stalled() {
            self.state.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for MonitoredSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.state.is_refused() || self.state.is_refusal(bytes) {
            self.state.is_refused.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.state.wrote(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper calls this only when nothing is left to write.
        self.state.is_written.store(true, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.is_refused() {
            // The response is still to be written.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bytes.first().map_or(&[][..], |first| first);
        if self.state.is_refused() || self.state.is_refusal(first) {
            self.state.is_refused.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(bytes.iter().map(|part| part.len()).sum()));
        }
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.state.wrote(&outcome);
        outcome
    }
}
