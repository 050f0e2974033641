//! Events as lines of JSON: streamed by `GET /v1/log`, written by `audit export`, and read by
//! `audit verify --file`.
//!
//! Promise: an event is one line; reading a written line returns an equal event, so a line proves
//! its hash. `payload` and `metadata` are the stored text byte for byte, unless it contains a line
//! break between two tokens, as JSON allows: then each becomes a space, and `payload_text` or
//! `metadata_text` after the hash is the stored text (docs/decisions/0048-an-event-is-one-line.md).
//! Limit: a line never contains personal data. Older exports may have events that span several
//! lines, which are accepted as well.

mod reader;

use std::borrow::Cow;

use domain::values::{Position, Sequence, Timestamp};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

pub use self::reader::{Extent, LineReader, ReadError};
use super::copy::shared;
use super::{EventRef, Hash, StoredEvent};

/// The longest event that is read, in bytes, without its line feed. Holdfast's own events have a
/// few hundred; stock programs may store larger ones, and a file may contain anything.
pub const MOST_EVENT_BYTES: usize = 16 << 20;

/// The length of `2026-01-31T18:00:00.000Z`, the only form of a time.
const TIME_LENGTH: usize = 24;

/// Writes events as lines. Caches the last formatted time, because neighbouring events often share
/// it.
#[derive(Debug, Clone, Default)]
pub struct LineWriter {
    written: Option<(Timestamp, String)>,
}

impl LineWriter {
    /// Appends `event` and a line feed to `line`.
    pub fn write<'a>(&mut self, event: impl Into<EventRef<'a>>, line: &mut Vec<u8>) {
        let event: EventRef<'a> = event.into();
        let start = line.len();
        self.write_as(event, one_line, line);
        if line.len() - start > MOST_EVENT_BYTES {
            // Both forms of a text together exceed the limit of one event: write the older form.
            line.truncate(start);
            self.write_as(event, as_stored, line);
        }
    }

    /// `text` writes a JSON text and returns whether that is the stored text.
    fn write_as(
        &mut self,
        event: EventRef<'_>,
        text: fn(&mut Vec<u8>, &str) -> bool,
        line: &mut Vec<u8>,
    ) {
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
        let is_payload_stored = text(line, event.payload);
        line.extend_from_slice(b",\"metadata\":");
        let is_metadata_stored = text(line, event.metadata);
        line.extend_from_slice(b",\"hash\":\"");
        let digits = line.len();
        line.resize(digits + 64, 0);
        let _infallible = hex::encode_to_slice(event.hash.0, &mut line[digits..]);
        line.push(b'"');
        if !is_payload_stored {
            line.extend_from_slice(b",\"payload_text\":");
            string(line, event.payload);
        }
        if !is_metadata_stored {
            line.extend_from_slice(b",\"metadata_text\":");
            string(line, event.metadata);
        }
        line.extend_from_slice(b"}\n");
    }

    /// Formats a time as in the log.
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

/// Characters that a line reader may treat as the end of a line. In a JSON text they occur only
/// between tokens.
const LINE_BREAKS: [char; 2] = ['\n', '\r'];

/// Appends a JSON text with a space for each line break, which is the same value. Returns whether
/// that is the text byte for byte.
pub fn one_line(line: &mut Vec<u8>, text: &str) -> bool {
    let start = line.len();
    line.extend_from_slice(text.as_bytes());
    if !(text.as_bytes().contains(&b'\n') || text.as_bytes().contains(&b'\r')) {
        return true;
    }
    let breaks = |byte: &&mut u8| LINE_BREAKS.contains(&char::from(**byte));
    line[start..]
        .iter_mut()
        .filter(breaks)
        .for_each(|byte| *byte = b' ');
    false
}

fn as_stored(line: &mut Vec<u8>, text: &str) -> bool {
    line.extend_from_slice(text.as_bytes());
    true
}

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
    payload_text: Option<String>,
    metadata_text: Option<String>,
}

impl Line<'_> {
    /// The stored text of the `shown` one: `text`, if present, which may differ only in its line
    /// breaks.
    fn stored(name: &str, shown: &RawValue, text: Option<String>) -> Result<String, LineError> {
        let Some(text) = text else {
            return Ok(shown.get().to_owned());
        };
        if text.contains(LINE_BREAKS) && text.replace(LINE_BREAKS, " ") == shown.get() {
            return Ok(text);
        }
        let reason = format!("{name}_text differs from {name} in more than its line breaks");
        Err(LineError::Unreadable(reason))
    }
}

/// Why a line is not an event.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It ends in the middle: the rest may be in the next line, or was cut off.
    #[error("the line is cut off")]
    Unfinished,
    /// It is longer than one event may be.
    #[error("it is longer than {} MiB, the limit for one event ({why})", MOST_EVENT_BYTES >> 20)]
    TooLong {
        /// Details about these bytes.
        why: String,
    },
    /// It is not an event.
    #[error("{0}")]
    Unreadable(String),
}

/// Describes why a line is not an event. The messages of the JSON library about members are kept:
/// they name the member.
fn in_words(error: &serde_json::Error, line: &str) -> String {
    if !line.trim_start().starts_with('{') {
        return "it is not a JSON object (an export in ndjson has one on each line)".to_owned();
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    match error.classify() {
        Category::Data => message.to_owned(),
        Category::Io | Category::Syntax | Category::Eof => {
            format!("it is not valid JSON at column {}", error.column())
        }
    }
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
            LineError::Unreadable(in_words(&error, line))
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
    let payload = Line::stored("payload", line.payload, line.payload_text)?;
    let metadata = Line::stored("metadata", line.metadata, line.metadata_text)?;
    Ok(StoredEvent {
        position: line.position,
        recorded_at,
        aggregate_type: shared(&line.aggregate_type),
        aggregate_id: line.aggregate_id.into_owned(),
        sequence: line.sequence,
        event_type: shared(&line.event_type),
        event_version: shared(&line.event_version),
        payload,
        metadata: shared(&metadata),
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
    fn events_are_read_back_byte_for_byte() {
        for payload in [
            "{}",
            "{ \"b\": 1.0,  \"a\": \"\\u00e9\" }",
            "{\n}",
            "{\r\n \"a\\n\":\r\"b\"}",
        ] {
            for metadata in ["{ }", "{\n\t}"] {
                let mut stored = event(payload);
                stored.metadata = metadata.into();
                let mut line = vec![];
                LineWriter::default().write(&stored, &mut line);
                let text = std::str::from_utf8(&line).unwrap();
                assert!(text.ends_with("}\n"));
                let one = text.trim_end_matches('\n');
                assert!(!one.contains(['\n', '\r']), "{one}");
                assert_eq!(parse(text).unwrap(), stored);
                let same = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
                assert_eq!(same(one)["payload"], same(payload));
                // The older form: as it is stored, on several lines.
                let mut old = one.to_owned();
                for (name, text) in [("payload", payload), ("metadata", metadata)] {
                    let shown = text.replace(['\n', '\r'], " ");
                    let escaped = serde_json::to_string(text).unwrap();
                    old = old.replace(&format!(",\"{name}_text\":{escaped}"), "");
                    old = old.replace(
                        &format!("\"{name}\":{shown}"),
                        &format!("\"{name}\":{text}"),
                    );
                }
                assert_eq!(parse(&old).unwrap(), stored);
            }
        }
    }

    #[test]
    fn event_too_long_for_one_line_is_written_on_several() {
        let payload = format!("[1{}]", "\n,1".repeat(MOST_EVENT_BYTES / 8));
        for (payload, lines) in [(&payload[..], 1), (&payload.replace(',', "\n,"), 4_194_305)] {
            let mut line = vec![];
            LineWriter::default().write(&event(payload), &mut line);
            assert!(line.len() <= MOST_EVENT_BYTES);
            let text = std::str::from_utf8(&line).unwrap();
            assert_eq!(text.lines().count(), lines);
            assert_eq!(parse(text).unwrap(), event(payload));
        }
    }

    #[test]
    fn stored_text_that_differs_from_the_shown_one_is_rejected() {
        let mut line = vec![];
        LineWriter::default().write(&event("{\n\"a\":1}"), &mut line);
        let text = String::from_utf8(line).unwrap();
        let stored = r#","payload_text":"{\n\"a\":1}""#;
        assert!(text.contains(stored), "{text}");
        for other in [
            r#","payload_text":"{\n\"a\":2}""#,
            // Without a line break there is no stored text to give.
            r#","payload_text":"{ \"a\":1}""#,
            r#","metadata_text":"{ }""#,
        ] {
            let reason = parse(&text.replace(stored, other)).unwrap_err().to_string();
            assert!(reason.contains("_text differs from "), "{other}: {reason}");
        }
    }

    #[test]
    fn numbers_are_written_exactly() {
        for value in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut text = vec![];
            number(&mut text, value);
            assert_eq!(text, value.to_string().into_bytes());
        }
    }

    #[test]
    fn inexact_lines_are_rejected() {
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
