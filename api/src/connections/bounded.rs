//! A socket that is read in small pieces: hyper's buffer grows with the size of one read, and an
//! idle connection keeps it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;

/// Maximum size of one read in bytes: one less than hyper's initial buffer, because a
/// read that fills the buffer doubles it.
const MOST_READ: u64 = 8 * 1024 - 1;

/// A TCP stream whose reads are limited to [`MOST_READ`] bytes.
pub(super) struct Bounded(Take<TcpStream>);

impl Bounded {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream.take(MOST_READ))
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.0.into_inner()
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.0.get_mut())
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.set_limit(MOST_READ);
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.get_ref().is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bytes)
    }
}
