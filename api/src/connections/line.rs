//! A socket as hyper sees it, and what its task knows of it: what it waits for since when, and who takes it over.

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

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From the first byte of a request's head to its last, and from connecting to there.
    pub(crate) head: Duration,
    /// Between two requests, and between two bytes of a response that the client accepts.
    pub(crate) idle: Duration,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// The rest of a head, or the first one of all.
    Head,
    /// Our answer. Handlers have patience of their own.
    Answer,
    /// The next request, or that the answer is taken.
    Idle,
}

type Heir = Box<dyn FnOnce(Socket) + Send>;

/// What the task of a connection, its socket and its handler know in common.
///
/// All three run in that one task; atomics because the task may move between threads.
pub(super) struct Line {
    patience: Patience,
    began: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds after `began`.
    since: AtomicU64,
    /// Since when the socket has taken nothing of what is to be written, in milliseconds after
    /// `began`; [`NOT_STALLED`]: nothing waits to be written.
    stalled: AtomicU64,
    heir: Mutex<Option<Heir>>,
    /// Whether all but what the heir writes was given to hyper.
    is_leaving: AtomicBool,
    /// Whether all that was given to hyper has been written.
    is_written: AtomicBool,
    /// Whether a handler has answered and no byte of that is written yet.
    is_answer_due: AtomicBool,
    /// Whether hyper refused a head by itself; its own answer was held back.
    is_refused: AtomicBool,
}

const NOT_STALLED: u64 = u64::MAX;

impl Line {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            patience,
            began: Instant::now(),
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(NOT_STALLED),
            heir: Mutex::new(None),
            is_leaving: AtomicBool::new(false),
            is_written: AtomicBool::new(true),
            is_answer_due: AtomicBool::new(false),
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

    /// A request has come in full; it is for a handler to answer.
    pub(super) fn answering(&self) {
        self.phase.store(Phase::Answer as u8, Ordering::Relaxed);
    }

    /// A handler has answered.
    pub(super) fn answered(&self) {
        self.is_answer_due.store(true, Ordering::Relaxed);
        self.enter(Phase::Idle);
    }

    /// When to look again whether the other side is too slow; none: it is.
    ///
    /// Only bytes that the socket has taken count as progress of a response, never the attempt: the
    /// send buffer is bounded, so that of a client that reads nothing soon nothing is taken.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let Patience { head, idle } = self.patience;
        // An idle one may begin a head any time, so that is looked for more often.
        let soon = now + head;
        let at = |millis| self.began + Duration::from_millis(millis);
        let since = self.since.load(Ordering::Relaxed);
        let until = if self.is(Phase::Answer) {
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

    /// Whether something waits to be written that the socket does not take.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed) != NOT_STALLED
    }

    /// Whether hyper refused a head, which is still to be answered.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Who takes the socket over, once hyper has written all that comes before.
    pub(super) fn heir(&self) -> Option<Heir> {
        let is_due =
            self.is_leaving.load(Ordering::Relaxed) && self.is_written.load(Ordering::Relaxed);
        let take = || {
            self.heir
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        };
        is_due.then(take).flatten()
    }

    /// Whether bytes that hyper is about to write are a refusal of its own: they begin a response,
    /// all before was written, and no handler has answered.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        self.is_written.load(Ordering::Relaxed)
            && !self.is_answer_due.load(Ordering::Relaxed)
            && is_status_of_an_error(bytes)
    }

    /// Notes what came of a write of some bytes.
    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        self.is_written.store(false, Ordering::Relaxed);
        match outcome {
            Poll::Ready(Ok(0) | Err(_)) => {}
            Poll::Ready(Ok(_)) => {
                self.stalled.store(NOT_STALLED, Ordering::Relaxed);
                self.is_answer_due.store(false, Ordering::Relaxed);
                if self.is(Phase::Idle) {
                    // A long answer that is being taken.
                    self.enter(Phase::Idle);
                }
            }
            Poll::Pending if self.is_stalled() => {}
            Poll::Pending => self.stalled.store(self.now(), Ordering::Relaxed),
        }
    }
}

/// Lets the handler of a request take its connection over, after the head and the beginning of the answer.
#[derive(Clone)]
pub(crate) struct Handover {
    pub(super) line: Arc<Line>,
    /// Who is connected.
    pub(crate) peer: SocketAddr,
}

impl Handover {
    /// A body that begins with `first`, which must not be empty, and is written by `heir` from
    /// there on. The heir is dropped instead when the client has sent anything after its request.
    pub(crate) fn after(
        self,
        first: impl IntoIterator<Item = Bytes>,
        heir: impl FnOnce(Socket) + Send + 'static,
    ) -> Body {
        let line = self.line;
        *line.heir.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(heir));
        let mut first = first.into_iter().collect::<Vec<_>>().into_iter();
        Body::from_stream(stream::poll_fn(move |_| match first.next() {
            Some(first) => Poll::Ready(Some(io::Result::Ok(first))),
            None => {
                // Asked for more: the first was taken, and is flushed next.
                if !line.is_leaving.swap(true, Ordering::Relaxed) {
                    line.is_written.store(false, Ordering::Relaxed);
                }
                Poll::Pending
            }
        }))
    }
}

/// The socket, with an ear on what passes.
pub(super) struct Ear {
    io: TokioIo<Bounded>,
    line: Arc<Line>,
}

impl Ear {
    pub(super) fn new(stream: TcpStream, line: Arc<Line>) -> Self {
        Self {
            io: TokioIo::new(Bounded::new(stream)),
            line,
        }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.io.into_inner().into_stream()
    }
}

impl Read for Ear {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        // What comes while an answer is not taken is the next head, but hyper does not read on.
        if self.line.is(Phase::Idle) && !self.line.is_stalled() {
            self.line.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Ear {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.line.is_refused() || self.line.is_refusal(bytes) {
            self.line.is_refused.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.line.wrote(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper calls it when nothing is left to write, and only then.
        self.line.is_written.store(true, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.is_refused() {
            // The answer is still to be written.
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
        if self.line.is_refused() || self.line.is_refusal(first) {
            self.line.is_refused.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(bytes.iter().map(|part| part.len()).sum()));
        }
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.line.wrote(&outcome);
        outcome
    }
}
