//! A socket that has left hyper, and the kernel buffers of all sockets.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tracing::warn;

use super::ConnectionPermit;

/// Size of the kernel's send buffer in bytes (Linux doubles it for bookkeeping). Without the
/// setting it grows to 4 MiB per connection. A response of any size still passes, in more round
/// trips.
const SEND_BUFFER: u32 = 64 * 1024;
/// The same for a live stream: under load a subscriber is sent one state of some 700 bytes per
/// interval.
const STREAM_SEND_BUFFER: usize = 32 * 1024;
/// Size of the kernel's receive buffer in bytes: the initial size, without growth.
const RECEIVE_BUFFER: u32 = 64 * 1024;

/// Bounds the kernel's buffers for each connection that `listener` accepts, and how long a
/// client's kernel may acknowledge nothing. Accepted sockets inherit the settings.
///
/// # Errors
/// If the operating system rejects a setting.
pub fn limit_buffers(listener: &TcpSocket, idle: Duration) -> io::Result<()> {
    listener.set_send_buffer_size(SEND_BUFFER)?;
    listener.set_recv_buffer_size(RECEIVE_BUFFER)?;
    #[cfg(target_os = "linux")]
    SockRef::from(listener).set_tcp_user_timeout(Some(idle))?;
    #[cfg(not(target_os = "linux"))]
    let _not_offered = idle;
    Ok(())
}

/// Discards unaccepted bytes as soon as `stream` is closed.
pub(super) fn discard(stream: &TcpStream) {
    let _closed_already = stream.set_zero_linger();
}

/// A socket that has left hyper, and its connection permit.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    _permit: ConnectionPermit,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, permit: ConnectionPermit) -> Self {
        if let Err(error) = SockRef::from(&stream).set_send_buffer_size(STREAM_SEND_BUFFER) {
            warn!(%error, "cannot bound the send buffer of a stream");
        }
        Self {
            stream,
            _permit: permit,
        }
    }

    /// Writes as many bytes as the socket accepts without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    /// Returns true if the client has hung up or sent anything, which is never read. Reads a
    /// few bytes at most.
    pub(crate) fn is_gone(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 8]);
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Discards the bytes that the client has not accepted as soon as this is dropped.
    pub(crate) fn discard(&self) {
        discard(&self.stream);
    }
}
