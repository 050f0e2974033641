//! The connection of one stream of notifications, and the bytes that it has not accepted yet.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};

use crate::stream::Pipe;
use crate::stream::framing::Framing;

/// The most bytes that wait for a client. It resumes where it was disconnected, so more would only
/// keep memory.
const MOST_QUEUED: usize = 256 * 1024;

/// A connection with its queue of frames, which are shared with other connections.
#[derive(Debug)]
pub(super) struct Queue<P> {
    pipe: P,
    framing: Framing,
    unsent: VecDeque<Bytes>,
    length: usize,
    was_sent_to: bool,
}

impl<P: Pipe> Queue<P> {
    pub(super) const fn new(pipe: P, framing: Framing) -> Self {
        Self {
            pipe,
            framing,
            unsent: VecDeque::new(),
            length: 0,
            was_sent_to: true,
        }
    }

    /// Adds a frame, which is one chunk.
    pub(super) fn push(&mut self, chunk: &Bytes) {
        let frame = self.framing.of_chunk(chunk);
        self.length += frame.len();
        self.unsent.push_back(frame);
    }

    /// Writes as much as the socket accepts. Returns false if there is more.
    ///
    /// # Errors
    /// If the connection is broken, its client sent something, or too many bytes wait for it.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        if self.pipe.is_gone() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        while let Some(first) = self.unsent.front_mut() {
            match self.pipe.write(first) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    first.advance(written);
                    self.length -= written;
                    self.was_sent_to = true;
                    if first.is_empty() {
                        self.unsent.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.length > MOST_QUEUED {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(self.unsent.is_empty())
    }

    /// Sends a comment if nothing was sent since the last one.
    ///
    /// # Errors
    /// As [`Queue::flush`]; also if the client has accepted nothing since the last heartbeat.
    pub(super) fn heartbeat(&mut self) -> io::Result<bool> {
        let is_done = self.flush()?;
        if std::mem::take(&mut self.was_sent_to) {
            return Ok(is_done);
        }
        if !is_done {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let beat = Bytes::from_static(self.framing.heartbeat());
        self.length += beat.len();
        self.unsent.push_back(beat);
        self.flush()
    }

    /// Ends the stream, with a proper end of the body if the socket has space.
    pub(super) fn end(mut self) {
        match self.flush() {
            Ok(true) => {
                let _gone = self.pipe.write(&self.framing.end());
            }
            Ok(false) | Err(_) => self.abandon(),
        }
    }

    /// Drops the connection with the bytes that its client has not accepted.
    pub(super) fn abandon(self) {
        if !self.unsent.is_empty() {
            self.pipe.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A connection that accepts so many bytes.
    #[derive(Debug, Default)]
    struct Client {
        space: Cell<usize>,
        received: RefCell<Vec<u8>>,
        is_gone: Cell<bool>,
    }

    impl Pipe for &Client {
        fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            let accepted = bytes.len().min(self.space.get());
            if accepted == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.space.set(self.space.get() - accepted);
            self.received.borrow_mut().extend(&bytes[..accepted]);
            Ok(accepted)
        }

        fn is_gone(&self) -> bool {
            self.is_gone.get()
        }

        fn discard(&self) {}
    }

    fn chunk(text: &str) -> Bytes {
        format!("{:x}\r\n{text}\r\n", text.len()).into()
    }

    #[test]
    fn frames_are_sent_whole_and_in_order_as_the_socket_has_space() {
        let client = Client::default();
        let mut queue = Queue::new(&client, Framing::Plain);
        queue.push(&chunk("first\n"));
        queue.push(&chunk("second\n"));
        for space in [3, 4, 0] {
            client.space.set(space);
            assert!(!queue.flush().unwrap());
        }
        client.space.set(100);
        assert!(queue.flush().unwrap());
        assert_eq!(*client.received.borrow(), b"first\nsecond\n");
    }

    #[test]
    fn client_that_accepts_nothing_is_disconnected() {
        let client = Client::default();
        let mut queue = Queue::new(&client, Framing::Chunked);
        queue.push(&chunk("a\n"));
        // Its first bytes were sent with the head of the response.
        assert!(!queue.heartbeat().unwrap());
        assert!(queue.heartbeat().is_err());
        client.space.set(100);
        let mut idle = Queue::new(&client, Framing::Chunked);
        assert!(idle.heartbeat().unwrap() && idle.heartbeat().unwrap());
        assert_eq!(*client.received.borrow(), b"2\r\n:\n\r\n");
    }

    #[test]
    fn bytes_that_wait_are_bounded() {
        let client = Client::default();
        let mut queue = Queue::new(&client, Framing::Plain);
        let large = chunk(&"x".repeat(MOST_QUEUED));
        queue.push(&large);
        assert!(!queue.flush().unwrap());
        queue.push(&chunk("y"));
        assert!(queue.flush().is_err());
        client.is_gone.set(true);
        assert!(Queue::new(&client, Framing::Plain).flush().is_err());
    }
}
