//! Reads events from the lines that they were written as, out of an untrusted file.
//!
//! Promise: one pass, in time proportional to the bytes, however they are broken into lines; at
//! most [`MOST_EVENT_BYTES`] of one event are in memory.
//! Limit: reading stops at the first text that is not an event.

use std::io::{self, BufRead, Read};

use super::{LineError, MOST_EVENT_BYTES, parse};
use crate::log::StoredEvent;

/// Why the next event cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The text is not an event.
    #[error(transparent)]
    NoEvent(#[from] LineError),
}

/// Reads events one by one.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    most: usize,
    text: Vec<u8>,
    bytes: u64,
}

impl<R: BufRead> LineReader<R> {
    /// Reads `input` from its current offset.
    #[must_use]
    pub const fn new(input: R) -> Self {
        Self::with_most(input, MOST_EVENT_BYTES)
    }

    const fn with_most(input: R, most: usize) -> Self {
        Self {
            input,
            most,
            text: vec![],
            bytes: 0,
        }
    }

    /// The number of bytes read.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next event; `None` at the end. A stored text may contain line breaks, so an incomplete
    /// event continues in the next line.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&mut self) -> Result<Option<StoredEvent>, ReadError> {
        self.text.clear();
        while self.text.trim_ascii().is_empty() {
            self.text.clear();
            if self.line()? == 0 {
                return Ok(None);
            }
            self.is_short_enough()?;
        }
        // Nearly every event is one line, which is parsed without looking for its end first.
        match self.event() {
            Err(LineError::Unfinished) => self.rest(),
            event => Ok(Some(event?)),
        }
    }

    /// Reads the same event again, with the lines that continue it.
    fn rest(&mut self) -> Result<Option<StoredEvent>, ReadError> {
        let mut extent = Extent::default();
        let mut seen = 0;
        loop {
            extent.add(&self.text[seen..]);
            seen = self.text.len();
            if !extent.is_open() {
                return Ok(Some(self.event()?));
            }
            if self.text.len() > self.most {
                return Err(self.too_long().into());
            }
            if self.line()? == 0 {
                return Err(LineError::Unfinished.into());
            }
            self.is_short_enough()?;
        }
    }

    /// Adds the next line, with its line feed; returns its length in bytes.
    fn line(&mut self) -> io::Result<usize> {
        // One byte more than the limit: for the line feed, or to detect an event that is too long.
        let room = (self.most + 1).saturating_sub(self.text.len());
        let mut bounded = self.input.by_ref().take(room as u64);
        let read = bounded.read_until(b'\n', &mut self.text)?;
        self.bytes += read as u64;
        Ok(read)
    }

    fn is_short_enough(&self) -> Result<(), LineError> {
        if self.text.len() <= self.most || self.text.ends_with(b"\n") {
            return Ok(());
        }
        Err(self.too_long())
    }

    /// Text that was never an event is reported with its own reason.
    fn too_long(&self) -> LineError {
        let why = match self.event() {
            Err(LineError::Unreadable(why)) => why,
            Ok(_) | Err(LineError::Unfinished | LineError::TooLong { .. }) => "it continues".into(),
        };
        LineError::TooLong { why }
    }

    fn event(&self) -> Result<StoredEvent, LineError> {
        let not_utf8 = |_| LineError::Unreadable("the line is not UTF-8".to_owned());
        parse(std::str::from_utf8(&self.text).map_err(not_utf8)?)
    }
}

/// The nesting depth of a JSON text so far. The end of a text that spans many lines is found in one
/// pass, and the text is parsed once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
}

impl Extent {
    /// Scans the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_in_text => self.is_escaped = true,
                b'"' => self.is_in_text = !self.is_in_text,
                b'{' | b'[' if !self.is_in_text => self.depth += 1,
                b'}' | b']' if !self.is_in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Reports whether, at the end of a line, the text continues in the next one: not within a JSON
    /// string.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.depth > 0 && !self.is_in_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Hash;
    use crate::log::lines::LineWriter;
    use domain::values::{Position, Sequence, Timestamp};

    fn line(position: u64, payload: &str) -> String {
        let event = StoredEvent {
            position: Position(position),
            recorded_at: Timestamp::default(),
            aggregate_type: "Other".into(),
            aggregate_id: "x".to_owned(),
            sequence: Sequence(1),
            event_type: "Happened".into(),
            event_version: "1.0".into(),
            payload: payload.to_owned(),
            metadata: "{}".into(),
            hash: Hash::default(),
            private: None,
        };
        let mut line = vec![];
        LineWriter::default().write(&event, &mut line);
        String::from_utf8(line).unwrap()
    }

    /// The positions of all events, and the error at which reading stopped.
    fn read(text: &[u8], most: usize) -> (Vec<u64>, Option<ReadError>) {
        let (mut reader, mut positions) = (LineReader::with_most(text, most), vec![]);
        loop {
            match reader.read() {
                Ok(Some(event)) => positions.push(event.position.0),
                Ok(None) => return (positions, None),
                Err(error) => return (positions, Some(error)),
            }
        }
    }

    fn error(text: &[u8], most: usize) -> String {
        let (_, error) = read(text, most);
        error.expect("an error").to_string()
    }

    #[test]
    fn events_are_read_however_they_are_broken_into_lines() {
        let broken = "{\n\"a\": [\n\"}]\\\"{\",\n{}\n,1]\n}";
        let text = [
            line(1, "{}"),
            "\n  \n".to_owned(),
            line(2, broken),
            line(3, "{\"[\":1}"),
            line(4, "[\n]"),
        ]
        .concat();
        assert!(matches!(
            read(text.as_bytes(), 1_000),
            (positions, None) if positions == [1, 2, 3, 4]
        ));
        assert!(matches!(
            read(text.trim_end().as_bytes(), 1_000),
            (positions, None) if positions == [1, 2, 3, 4]
        ));
    }

    #[test]
    fn event_may_be_as_long_as_the_limit_and_no_longer() {
        for payload in ["{\"a\":1}", "{\n\"a\":\n1\n}"] {
            let text = [line(1, payload), line(2, "{}")].concat();
            let length = line(1, payload).len() - 1;
            assert!(
                matches!(read(text.as_bytes(), length), (positions, None) if positions == [1, 2])
            );
            let (positions, error) = read(text.as_bytes(), length - 1);
            assert_eq!(positions, [0; 0]);
            assert!(
                matches!(error, Some(ReadError::NoEvent(LineError::TooLong { .. }))),
                "{payload}: {error:?}"
            );
        }
    }

    #[test]
    fn endless_event_is_read_up_to_the_limit_only() {
        let endless = |byte: u8| io::BufReader::new(io::repeat(byte));
        for (byte, why) in [
            (0, "not a JSON object"),
            (b'[', "not a JSON object"),
            (b' ', "continues"),
        ] {
            let mut reader = LineReader::with_most(endless(byte), 5_000);
            let error = reader.read().unwrap_err().to_string();
            assert!(error.contains("16 MiB") && error.contains(why), "{error}");
            assert_eq!(reader.bytes(), 5_001);
        }
        let lines = "{\n".repeat(10_000);
        assert!(error(lines.as_bytes(), 5_000).contains("16 MiB"));
    }

    #[test]
    fn invalid_events_are_reported_with_their_reason() {
        let cut = &line(1, "{}")[..20];
        for (text, reason) in [
            (cut, "cut off"),
            ("{\"position\":1,\n", "cut off"),
            ("{\"position\":\"\n\"}", "not valid JSON at column"),
            ("{\"position\":1}{", "missing field"),
            ("[]\n", "not a JSON object"),
            ("}", "not a JSON object"),
        ] {
            let error = error(text.as_bytes(), 1_000);
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(error(b"{\"\xff\"}", 1_000).contains("not UTF-8"));
    }
}
