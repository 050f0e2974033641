//! How the body of a stream stands on its connection: in chunks (RFC 9112, section 7.1), or as it is for HTTP/1.0.

use bytes::{Bytes, BytesMut};

/// What ends a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Each piece behind its length; the end is told.
    Chunked,
    /// The end of the connection is the end of the body.
    Plain,
}

impl Framing {
    /// Writes what `write` writes, framed; nothing if that is nothing, for an empty chunk would be the end.
    pub(super) fn write(self, to: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
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

    /// One chunk in this framing, not copied.
    pub(super) fn of_chunk(self, chunk: &Bytes) -> Bytes {
        match self {
            Self::Chunked => chunk.clone(),
            Self::Plain => {
                let head = chunk.iter().position(|&byte| byte == b'\n');
                let start = head.map_or(0, |end| end + 1);
                chunk.slice(start..chunk.len().saturating_sub(LINE_END.len()))
            }
        }
    }

    /// What is sent last.
    pub(super) const fn end(self) -> &'static [u8] {
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
    fn a_chunk_tells_its_length_in_hexadecimal_and_an_empty_one_is_not_sent() {
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
