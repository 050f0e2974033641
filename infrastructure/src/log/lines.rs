//! Events as lines of JSON: what `GET /v1/log` streams, `audit export` writes, and `audit verify --file` reads.
//!
//! Promise: payload and metadata are the stored text byte for byte, and what is written reads back equal, so that a line
//! proves its hash. Limit: personal data is never in a line. A stored text may hold a line break between two tokens, as
//! JSON allows; then its event takes more than one line.

mod reader;

use std::borrow::Cow;

use domain::values::{Position, Sequence, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::reader::{Extent, LineReader, ReadError};
use super::copy::shared;
use super::{EventRef, Hash, StoredEvent};

/// The longest event that is read back, in bytes, without its line feed. Ours have some hundreds; what a stock program stores may
/// have more, and whoever gives us a file may have put anything into it.
pub const MOST_EVENT_BYTES: usize = 16 << 20;

/// `2026-01-31T18:00:00.000Z`: nothing shorter or longer stands for the same millisecond.
const TIME_LENGTH: usize = 24;

/// Writes events as lines. Keeps the last time that it wrote, because neighbours share it.
#[derive(Debug, Clone, Default)]
pub struct LineWriter {
    written: Option<(Timestamp, String)>,
}

impl LineWriter {
    /// Appends `event` and a line feed to `line`.
    pub fn write<'a>(&mut self, event: impl Into<EventRef<'a>>, line: &mut Vec<u8>) {
        let event: EventRef<'a> = event.into();
        line.extend_from_slice(b"{\"position\":");
        number(line, event.position.0);
        line.extend_from_slice(b",\"aggregate_type\":");
        string(line, event.aggregate_type);
        line.extend_from_slice(b",\"aggregate_id\":");
        string(line, event.aggregate_id);
        line.extend_from_slice(b",\"sequence\":");
        number(line, event.sequence.0);
        line.extend_from_slice(b",\"event_type\":");
        string(line, event.event_type);
        line.extend_from_slice(b",\"event_version\":");
        string(line, event.event_version);
        line.extend_from_slice(b",\"recorded_at\":\"");
        line.extend_from_slice(self.time(event.recorded_at).as_bytes());
        line.extend_from_slice(b"\",\"payload\":");
        line.extend_from_slice(event.payload.as_bytes());
        line.extend_from_slice(b",\"metadata\":");
        line.extend_from_slice(event.metadata.as_bytes());
        line.extend_from_slice(b",\"hash\":\"");
        let digits = line.len();
        line.resize(digits + 64, 0);
        let _infallible = hex::encode_to_slice(event.hash.0, &mut line[digits..]);
        line.extend_from_slice(b"\"}\n");
    }

    /// A time as the log writes it.
    pub fn time(&mut self, at: Timestamp) -> &str {
        if self.written.as_ref().is_none_or(|(last, _)| *last != at) {
            self.written = Some((at, at.to_string()));
        }
        self.written.as_ref().map_or("", |(_, text)| text)
    }
}

/// Appends a number, without a formatter.
pub fn number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[first..]);
}

/// Appends a JSON string.
pub fn string(line: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    } else {
        let _infallible = serde_json::to_writer(line, text);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    position: Position,
    #[serde(borrow)]
    aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    aggregate_id: Cow<'a, str>,
    sequence: Sequence,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    event_version: Cow<'a, str>,
    #[serde(borrow)]
    recorded_at: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow)]
    metadata: &'a RawValue,
    #[serde(borrow)]
    hash: Cow<'a, str>,
}

/// Why a line is no event.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It stops in the middle: the rest may be in the next line, or was cut off.
    #[error("the line is cut off")]
    Unfinished,
    /// It has not ended after as many bytes as one event may have.
    #[error("it does not end within {} MiB, the most that is read of one event ({why})", MOST_EVENT_BYTES >> 20)]
    TooLong {
        /// What can be said of these bytes.
        why: String,
    },
    /// It is no event.
    #[error("{0}")]
    Unreadable(String),
}

/// Reads one line, without its line feed.
///
/// # Errors
/// [`LineError`].
pub fn parse(line: &str) -> Result<StoredEvent, LineError> {
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| {
        if error.is_eof() {
            LineError::Unfinished
        } else {
            LineError::Unreadable(error.to_string())
        }
    })?;
    let unreadable = |what: &str| LineError::Unreadable(what.to_owned());
    if line.recorded_at.len() != TIME_LENGTH || !line.recorded_at.ends_with('Z') {
        return Err(unreadable("recorded_at must be UTC with three decimals"));
    }
    let recorded_at = line
        .recorded_at
        .parse()
        .map_err(|error| LineError::Unreadable(format!("recorded_at {error}")))?;
    let hash: Hash = line
        .hash
        .parse()
        .map_err(|_| unreadable("hash must be 64 hexadecimal digits"))?;
    Ok(StoredEvent {
        position: line.position,
        recorded_at,
        aggregate_type: shared(&line.aggregate_type),
        aggregate_id: line.aggregate_id.into_owned(),
        sequence: line.sequence,
        event_type: shared(&line.event_type),
        event_version: shared(&line.event_version),
        payload: line.payload.get().to_owned(),
        metadata: shared(line.metadata.get()),
        hash,
        private: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(payload: &str) -> StoredEvent {
        StoredEvent {
            position: Position(7),
            recorded_at: Timestamp::from_millis(1_700_000_000_120),
            aggregate_type: "Öther\"".into(),
            aggregate_id: "a b".to_owned(),
            sequence: Sequence(3),
            event_type: "Happened".into(),
            event_version: "1.0".into(),
            payload: payload.to_owned(),
            metadata: "{ }".into(),
            hash: Hash([0xab; 32]),
            private: None,
        }
    }

    #[test]
    fn an_event_is_written_and_read_back_byte_for_byte() {
        for payload in ["{}", "{ \"b\": 1.0,  \"a\": \"\\u00e9\" }", "{\n}"] {
            let mut line = vec![];
            LineWriter::default().write(&event(payload), &mut line);
            let text = std::str::from_utf8(&line).unwrap();
            assert!(text.ends_with("}\n"));
            assert_eq!(parse(text).unwrap(), event(payload));
        }
    }

    #[test]
    fn numbers_are_written_to_the_last_digit() {
        for value in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut text = vec![];
            number(&mut text, value);
            assert_eq!(text, value.to_string().into_bytes());
        }
    }

    #[test]
    fn a_line_is_exact_or_refused() {
        let mut line = vec![];
        LineWriter::default().write(&event("{}"), &mut line);
        let text = String::from_utf8(line).unwrap();
        let cut = &text[..text.len() - 10];
        assert!(matches!(parse(cut), Err(LineError::Unfinished)));
        for (from, to) in [
            (".120Z", ".1200Z"),
            (".120Z", ".120+00:00"),
            ("abab\"}", "ab\"}"),
            ("\"sequence\":3", "\"sequence\":3,\"sequence\":4"),
            ("\"sequence\":3", "\"sequence\":3,\"more\":4"),
            ("\"sequence\":3", "\"sequence\":-3"),
        ] {
            let altered = text.replace(from, to);
            assert_ne!(altered, text);
            assert!(
                matches!(parse(&altered), Err(LineError::Unreadable(_))),
                "{altered}"
            );
        }
    }
}
