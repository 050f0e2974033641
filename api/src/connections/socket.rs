//! A socket that has left hyper, and what the kernel holds for any socket.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tracing::warn;

use super::Place;

/// What the kernel may hold of what one client has not accepted, in bytes (Linux doubles it, for
/// its own bookkeeping). Without it, it grows to 4 MiB a connection. A response of any size passes,
/// in as many round trips.
const SEND_BUFFER: u32 = 64 * 1024;
/// The same of a live stream: a stampede sends each watcher one state of some 700 bytes per
/// interval.
const STREAM_SEND_BUFFER: usize = 32 * 1024;
/// What the kernel may hold of what one client sends: as it begins with, but never more.
const RECEIVE_BUFFER: u32 = 64 * 1024;

/// Bounds what the kernel holds for each connection that `listener` accepts, and for how long a
/// client's kernel may acknowledge nothing. Accepted sockets inherit it.
///
/// # Errors
/// What the system says.
pub fn limit_buffers(listener: &TcpSocket, idle: Duration) -> io::Result<()> {
    listener.set_send_buffer_size(SEND_BUFFER)?;
    listener.set_recv_buffer_size(RECEIVE_BUFFER)?;
    #[cfg(target_os = "linux")]
    SockRef::from(listener).set_tcp_user_timeout(Some(idle))?;
    #[cfg(not(target_os = "linux"))]
    let _not_offered = idle;
    Ok(())
}

/// Throws away what was not accepted as soon as `stream` is closed.
pub(super) fn discard(stream: &TcpStream) {
    let _closed_already = stream.set_zero_linger();
}

/// A socket that has left hyper, and its place among the connections.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    _place: Place,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, place: Place) -> Self {
        if let Err(error) = SockRef::from(&stream).set_send_buffer_size(STREAM_SEND_BUFFER) {
            warn!(%error, "cannot bound the send buffer of a stream");
        }
        Self {
            stream,
            _place: place,
        }
    }

    /// Writes what fits now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    /// Whether the other side has hung up, or sent anything, which nobody would read. One read of a
    /// few bytes, whatever was sent.
    pub(crate) fn is_gone(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 8]);
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Throws away what the other side has not accepted as soon as this is dropped.
    pub(crate) fn discard(&self) {
        discard(&self.stream);
    }
}
