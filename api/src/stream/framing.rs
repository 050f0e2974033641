//! Framing of the stream's body on its connection: chunked (RFC 9112, section 7.1), or plain for
//! HTTP/1.0.

use bytes::{Bytes, BytesMut};

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

    /// Returns the bytes that end the body.
    pub(crate) const fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => LAST_CHUNK,
            Self::Plain => b"",
        }
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
}
