//! The forms that are text.

use std::io::{self, BufWriter, Write};

use infrastructure::log::StoredEvent;
use infrastructure::log::lines::{LineWriter, string};

use super::{Encoder, Output};

/// A JSON object a line.
pub struct Ndjson {
    output: BufWriter<Output>,
    lines: LineWriter,
    line: Vec<u8>,
}

impl Ndjson {
    pub fn new(output: BufWriter<Output>) -> Self {
        Self {
            output,
            lines: LineWriter::default(),
            line: vec![],
        }
    }
}

impl Encoder for Ndjson {
    fn event(&mut self, event: &StoredEvent) -> io::Result<()> {
        self.line.clear();
        self.lines.write(event, &mut self.line);
        self.output.write_all(&self.line)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.output.flush()
    }
}

/// A CloudEvent 1.0 in JSON a line. Extension attributes have lower case names, and numbers beyond 32 bits are texts.
pub struct CloudEvents {
    output: BufWriter<Output>,
    times: LineWriter,
    source: String,
    line: Vec<u8>,
}

impl CloudEvents {
    pub fn new(output: BufWriter<Output>, source: String) -> Self {
        Self {
            output,
            times: LineWriter::default(),
            source,
            line: vec![],
        }
    }
}

impl Encoder for CloudEvents {
    fn event(&mut self, event: &StoredEvent) -> io::Result<()> {
        let line = &mut self.line;
        line.clear();
        write!(
            line,
            "{{\"specversion\":\"1.0\",\"id\":\"{}\",\"source\":",
            event.position.0
        )?;
        string(line, &self.source);
        line.extend_from_slice(b",\"type\":");
        string(line, &format!("holdfast.{}", event.event_type));
        line.extend_from_slice(b",\"subject\":");
        string(line, &event.aggregate_id);
        write!(
            line,
            ",\"time\":\"{}\",\"datacontenttype\":\"application/json\",\"aggregatetype\":",
            self.times.time(event.recorded_at)
        )?;
        string(line, &event.aggregate_type);
        line.extend_from_slice(b",\"eventversion\":");
        string(line, &event.event_version);
        write!(
            line,
            ",\"position\":\"{}\",\"sequence\":\"{}\",\"hash\":\"{}\",\"data\":",
            event.position.0, event.sequence.0, event.hash
        )?;
        line.extend_from_slice(event.payload.as_bytes());
        line.extend_from_slice(b"}\n");
        self.output.write_all(line)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.output.flush()
    }
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
    fn event(&mut self, event: &StoredEvent) -> io::Result<()> {
        self.output.write_record([
            event.position.to_string().as_str(),
            &event.aggregate_type,
            &event.aggregate_id,
            &event.sequence.to_string(),
            &event.event_type,
            &event.event_version,
            self.times.time(event.recorded_at),
            &event.payload,
            &event.metadata,
            &event.hash.to_string(),
        ])?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.output.flush()
    }
}
