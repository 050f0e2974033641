//! A socket as hyper sees it, and what its task knows of it: what it waits for since when, and who takes it over.

use std::io;
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

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From the first byte of a request's head to its last, and from connecting to there.
    pub(crate) head: Duration,
    /// Between two requests, and between two bytes of an answer that is taken slowly.
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
    heir: Mutex<Option<Heir>>,
    /// Whether all but what the heir writes was given to hyper.
    is_leaving: AtomicBool,
    /// Whether all that was given to hyper has been written.
    is_written: AtomicBool,
}

impl Line {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            patience,
            began: Instant::now(),
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(0),
            heir: Mutex::new(None),
            is_leaving: AtomicBool::new(false),
            is_written: AtomicBool::new(false),
        })
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    fn enter(&self, phase: Phase) {
        let since = self.began.elapsed();
        let since = since.as_secs() * 1000 + u64::from(since.subsec_millis());
        self.since.store(since, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// A request has come in full; it is for a handler to answer.
    pub(super) fn answering(&self) {
        self.phase.store(Phase::Answer as u8, Ordering::Relaxed);
    }

    /// A handler has answered. Since when is noted with the first byte, which is next.
    pub(super) fn answered(&self) {
        self.phase.store(Phase::Idle as u8, Ordering::Relaxed);
    }

    /// When to look again whether the other side is too slow; none: it is.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let Patience { head, idle } = self.patience;
        // An idle one may begin a head any time, so that is looked for more often.
        let soon = now + head;
        let patience = if self.is(Phase::Answer) {
            return Some(soon);
        } else if self.is(Phase::Head) {
            head
        } else {
            idle
        };
        let since = self.began + Duration::from_millis(self.since.load(Ordering::Relaxed));
        let until = since + patience;
        (now < until).then(|| until.min(soon))
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
}

/// Lets the handler of a request take its connection over, after the head and the beginning of the answer.
#[derive(Clone)]
pub(crate) struct Handover(pub(super) Arc<Line>);

impl Handover {
    /// A body that begins with `first`, which must not be empty, and is written by `heir` from there on.
    pub(crate) fn after(self, first: Bytes, heir: impl FnOnce(Socket) + Send + 'static) -> Body {
        let line = self.0;
        *line.heir.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(heir));
        let mut first = Some(first);
        Body::from_stream(stream::poll_fn(move |_| match first.take() {
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
    io: TokioIo<TcpStream>,
    line: Arc<Line>,
}

impl Ear {
    pub(super) fn new(stream: TcpStream, line: Arc<Line>) -> Self {
        Self {
            io: TokioIo::new(stream),
            line,
        }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.io.into_inner()
    }

    fn wrote(&self) {
        self.line.is_written.store(false, Ordering::Relaxed);
        if self.line.is(Phase::Idle) {
            // A long answer that is being taken.
            self.line.enter(Phase::Idle);
        }
    }
}

impl Read for Ear {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if self.line.is(Phase::Idle) {
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
        self.wrote();
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper calls it when nothing is left to write, and only then.
        self.line.is_written.store(true, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        self.wrote();
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }
}
