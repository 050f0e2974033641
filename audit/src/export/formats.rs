//! The text formats.

use std::io::{self, BufWriter};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use infrastructure::log::EventRef;
use infrastructure::log::lines::{LineWriter, number, one_line, string};

use super::{Encoder, Output};

/// One event per line; lines are independent of each other.
pub trait LineFormat {
    /// Appends an event with its line feed.
    fn line(&mut self, event: EventRef<'_>, lines: &mut Vec<u8>);
}

/// One JSON object per line.
#[derive(Debug, Default)]
pub struct Ndjson(LineWriter);

impl LineFormat for Ndjson {
    fn line(&mut self, event: EventRef<'_>, lines: &mut Vec<u8>) {
        self.0.write(event, lines);
    }
}

/// One CloudEvent 1.0 in JSON per line. Extension attributes have lower-case names, and numbers
/// beyond 32 bits are texts. Hashed content that the event does not contain byte for byte is added
/// in base64 (type Binary; a String must not contain control characters): payloads with line
/// breaks, which `data` replaces by spaces, and metadata.
#[derive(Debug)]
pub struct CloudEvents {
    times: LineWriter,
    /// The source as a JSON string.
    source: Vec<u8>,
}

impl CloudEvents {
    pub fn new(source: &str) -> Self {
        let mut text = vec![];
        string(&mut text, source);
        Self {
            times: LineWriter::default(),
            source: text,
        }
    }
}

impl LineFormat for CloudEvents {
    fn line(&mut self, event: EventRef<'_>, line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
        number(line, event.position.0);
        line.extend_from_slice(b"\",\"source\":");
        line.extend_from_slice(&self.source);
        line.extend_from_slice(b",\"type\":");
        string(line, &format!("holdfast.{}", event.event_type));
        // A subject must not be empty (CloudEvents 1.0.2, "subject"), and other programs may name
        // streams arbitrarily.
        if !event.aggregate_id.is_empty() {
            line.extend_from_slice(b",\"subject\":");
            string(line, event.aggregate_id);
        }
        line.extend_from_slice(b",\"time\":\"");
        line.extend_from_slice(self.times.time(event.recorded_at).as_bytes());
        line.extend_from_slice(b"\",\"datacontenttype\":\"application/json\",\"aggregatetype\":");
        string(line, event.aggregate_type);
        line.extend_from_slice(b",\"eventversion\":");
        string(line, event.event_version);
        line.extend_from_slice(b",\"position\":\"");
        number(line, event.position.0);
        line.extend_from_slice(b"\",\"sequence\":\"");
        number(line, event.sequence.0);
        line.extend_from_slice(b"\",\"hash\":\"");
        line.extend_from_slice(event.hash.to_string().as_bytes());
        line.push(b'"');
        if event.payload.contains(['\n', '\r']) {
            binary(line, b",\"payloadbase64\":\"", event.payload);
        }
        if event.metadata != "{}" {
            binary(line, b",\"metadatabase64\":\"", event.metadata);
        }
        // The last member, so that its text is easy to find.
        line.extend_from_slice(b",\"data\":");
        one_line(line, event.payload);
        line.extend_from_slice(b"}\n");
    }
}

fn binary(line: &mut Vec<u8>, name: &[u8], text: &str) {
    line.extend_from_slice(name);
    line.extend_from_slice(BASE64_STANDARD.encode(text).as_bytes());
    line.push(b'"');
}

pub const COLUMNS: [&str; 10] = [
    "position",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "recorded_at",
    "payload",
    "metadata",
    "hash",
];

/// A table with a header.
pub struct Csv {
    output: csv::Writer<BufWriter<Output>>,
    times: LineWriter,
}

impl Csv {
    pub fn new(output: BufWriter<Output>, with_header: bool) -> io::Result<Self> {
        let mut output = csv::Writer::from_writer(output);
        if with_header {
            output.write_record(COLUMNS)?;
        }
        Ok(Self {
            output,
            times: LineWriter::default(),
        })
    }
}

impl Encoder for Csv {
    fn event(&mut self, event: EventRef<'_>) -> io::Result<()> {
        self.output.write_record([
            event.position.to_string().as_str(),
            event.aggregate_type,
            event.aggregate_id,
            &event.sequence.to_string(),
            event.event_type,
            event.event_version,
            self.times.time(event.recorded_at),
            event.payload,
            event.metadata,
            &event.hash.to_string(),
        ])?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.output.flush()
    }
}
