//! Framing of the stream's body on its connection: chunked (RFC 9112, section 7.1), or plain for
//! HTTP/1.0.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

/// The shortest delay of the hint at the end of a stream, in milliseconds.
const RETRY_MS: u32 = 1_000;
/// The hints of many streams are spread over so many milliseconds.
const SPREAD_MS: u32 = 2_000;
/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each piece is preceded by its length; a last chunk marks the end.
    Chunked,
    /// The end of the connection is the end of the body.
    Plain,
}

impl Framing {
    /// Frames the output of `write`. Empty output writes nothing, because an empty chunk ends
    /// the body.
    pub(crate) fn write(self, to: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        let mut piece = BytesMut::new();
        write(&mut piece);
        if piece.is_empty() {
            return;
        }
        match self {
            Self::Chunked => {
                to.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                to.extend_from_slice(&piece);
                to.extend_from_slice(LINE_END);
            }
            Self::Plain => to.extend_from_slice(&piece),
        }
    }

    /// Returns one chunk in this framing, without copying.
    pub(crate) fn of_chunk(self, chunk: &Bytes) -> Bytes {
        match self {
            Self::Chunked => chunk.clone(),
            Self::Plain => {
                let head = chunk.iter().position(|&byte| byte == b'\n');
                let start = head.map_or(0, |end| end + 1);
                chunk.slice(start..chunk.len().saturating_sub(LINE_END.len()))
            }
        }
    }

    /// Returns a comment line, which keeps an idle stream open. It is complete without an empty
    /// line after it (see [`super::watch::RETRY`]). It has no text, because a client may keep it
    /// until the next event, and some keep 64 KiB at most.
    pub(crate) const fn heartbeat(self) -> &'static [u8] {
        match self {
            Self::Chunked => b"2\r\n:\n\r\n",
            Self::Plain => b":\n",
        }
    }

    /// Returns the bytes that end the body. They make the client reconnect after one to three
    /// seconds, each client after another time: thousands of streams that end together must not
    /// come back together. Like a heartbeat the line has no empty line after it, and a parser that
    /// discards an unfinished block has read it already.
    pub(crate) fn end(self) -> Bytes {
        let spread = Uuid::new_v4().as_u128() % u128::from(SPREAD_MS);
        let mut bytes = BytesMut::new();
        self.write(&mut bytes, |to| {
            to.extend_from_slice(format!("retry: {}\n", u128::from(RETRY_MS) + spread).as_bytes());
        });
        if self == Self::Chunked {
            bytes.extend_from_slice(LAST_CHUNK);
        }
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_length_is_hexadecimal_and_an_empty_chunk_is_not_sent() {
        let mut sent = BytesMut::new();
        let text = [b'x'; 26];
        Framing::Chunked.write(&mut sent, |to| to.extend_from_slice(&text));
        assert_eq!(sent, format!("1a\r\n{}\r\n", "x".repeat(26)));
        let chunk = sent.clone().freeze();
        assert_eq!(Framing::Plain.of_chunk(&chunk), "x".repeat(26));
        Framing::Chunked.write(&mut sent, |_| {});
        Framing::Plain.write(&mut sent, |to| to.extend_from_slice(b"y"));
        assert_eq!(&sent[chunk.len()..], b"y");
    }

    #[test]
    fn end_of_a_stream_spreads_the_return_of_its_clients() {
        let delays = (0..50).map(|_| {
            let end = Framing::Plain.end();
            let line = std::str::from_utf8(&end)
                .unwrap()
                .strip_suffix('\n')
                .unwrap();
            line.strip_prefix("retry: ")
                .unwrap()
                .parse::<u32>()
                .unwrap()
        });
        let delays: std::collections::BTreeSet<u32> = delays.collect();
        assert!(delays.len() > 10, "{delays:?}");
        assert!(delays.iter().all(|delay| (1_000..3_000).contains(delay)));
        let chunked = Framing::Chunked.end();
        assert!(chunked.starts_with(b"c\r\nretry: "), "{chunked:?}");
        assert!(chunked.ends_with(b"\n\r\n0\r\n\r\n"), "{chunked:?}");
    }
}
