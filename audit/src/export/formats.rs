//! The forms that are text.

use std::io::{self, BufWriter};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use infrastructure::log::EventRef;
use infrastructure::log::lines::{LineWriter, number, one_line, string};

use super::{Encoder, Output};

/// An event a line; a line knows nothing of those around it.
pub trait LineFormat {
    /// Appends one, with its line feed.
    fn line(&mut self, event: EventRef<'_>, lines: &mut Vec<u8>);
}

/// A JSON object a line.
#[derive(Debug, Default)]
pub struct Ndjson(LineWriter);

impl LineFormat for Ndjson {
    fn line(&mut self, event: EventRef<'_>, lines: &mut Vec<u8>) {
        self.0.write(event, lines);
    }
}

/// A CloudEvent 1.0 in JSON a line. Extension attributes have lower case names, numbers beyond 32
/// bits are texts, and what is hashed and cannot be read off the event byte for byte is there in
/// base64 (type Binary; a String must not hold control characters): a payload with line breaks, for
/// each of which `data` has a space, and metadata.
#[derive(Debug)]
pub struct CloudEvents {
    times: LineWriter,
    /// As a JSON string.
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
        // Not empty, if it is there: CloudEvents 1.0.2, "subject". Other programs name streams as
        // they like.
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
        // Last, so that its text is easily found.
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

/// The columns of the table.
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
