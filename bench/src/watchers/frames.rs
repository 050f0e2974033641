//! Splits the bytes of one stream into states. Cheap, because ten thousand streams share two cores
//! with the server.

use memchr::memmem;

/// One state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a> {
    /// Its position in the log.
    pub position: i64,
    /// The stock, as the server sent it.
    pub stock: &'a [u8],
}

const EVENT: &[u8] = b"event: drop\nid: ";
const STOCK: &[u8] = b"\"stock\":{";

/// The rest of a stream between two reads: an incomplete frame.
#[derive(Debug, Default)]
pub struct Frames {
    cut: Vec<u8>,
}

impl Frames {
    /// Passes each state that `bytes` completes to `each`.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(State<'_>)) {
        if self.cut.is_empty() {
            let rest = read_whole(bytes, &mut each);
            self.cut.extend_from_slice(&bytes[rest..]);
        } else {
            self.cut.extend_from_slice(bytes);
            let rest = read_whole(&self.cut, &mut each);
            self.cut.drain(..rest);
        }
        if self.cut == b"\r\n" {
            // The end of a chunk; usually there is nothing else between two reads.
            self.cut = Vec::new();
        }
    }
}

/// Passes whole frames to `each`, and returns the offset of the rest.
fn read_whole(bytes: &[u8], each: &mut impl FnMut(State<'_>)) -> usize {
    let mut from = 0;
    while let Some(end) = memmem::find(&bytes[from..], b"\n\n") {
        if let Some(state) = state(&bytes[from..from + end]) {
            each(state);
        }
        from += end + 2;
    }
    from
}

fn state(frame: &[u8]) -> Option<State<'_>> {
    // After the length of a chunk, comment lines, and in the first frame the head of the response.
    let name = memmem::find(frame, EVENT)?;
    let rest = &frame[name + EVENT.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let position = digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    let start = memmem::find(rest, STOCK)? + STOCK.len() - 1;
    let length = memchr::memchr(b'}', &rest[start..])?;
    Some(State {
        position,
        stock: &rest[start..=start + length],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nx-accel-buffering: no\r\n\r\nc\r\nretry: 1000\n\r\n\
        37\r\nevent: drop\nid: 41\ndata: {\"stock\":{\"held\":1}}\n\n\r\n\
        2\r\n:\n\r\n2\r\n:\n\r\n\
        3e\r\nevent: drop\nid: 42\ndata: {\"stock\":{\"held\":2},\"x\":{}}\n\n\r\n";

    fn states(parts: &[&[u8]]) -> Vec<(i64, String)> {
        let (mut frames, mut states) = (Frames::default(), vec![]);
        for part in parts {
            let note = |state: State<'_>| {
                states.push((
                    state.position,
                    String::from_utf8_lossy(state.stock).into_owned(),
                ));
            };
            frames.read(part, note);
        }
        assert!(frames.cut.is_empty());
        states
    }

    #[test]
    fn every_state_is_read_once_wherever_a_read_splits_the_stream() {
        let expected = [
            (41, r#"{"held":1}"#.to_owned()),
            (42, r#"{"held":2}"#.to_owned()),
        ];
        assert_eq!(states(&[STREAM]), expected);
        for cut in 0..STREAM.len() {
            assert_eq!(
                states(&[&STREAM[..cut], &STREAM[cut..]]),
                expected,
                "cut at {cut}"
            );
        }
    }
}
