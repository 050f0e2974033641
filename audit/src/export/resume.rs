//! Resumes a file that an earlier export did not finish.
//!
//! Promise: the result equals an uninterrupted export; a partly written last event is removed
//! first. A file whose last event differs from the log is left unchanged.
//! Limit: events before the last one are not checked. A CSV file is read from its beginning,
//! because a line break may be part of a text.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use domain::values::Position;
use infrastructure::log::lines::{self, Extent, MOST_EVENT_BYTES};
use infrastructure::log::{EventRef, Hash};
use serde::Deserialize;

use super::super::kept_head::KnownHead;
use super::Format;
use super::formats::COLUMNS;

/// The size of the tail that is searched for the last complete event: that event, and a truncated
/// one after it, with the format's overhead for each.
const MOST_TAIL: u64 = 2 * (MOST_EVENT_BYTES as u64) + (1 << 20);

/// The last complete event of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// Its end in the file, in bytes.
    end: u64,
    pub position: Position,
    hash: Hash,
    /// The source, in a CloudEvent.
    pub cloud_source: Option<String>,
}

/// The position, hash and CloudEvents source of an event in a file.
type EventHead = (Position, Hash, Option<String>);

impl LastEvent {
    /// Its position and hash.
    pub const fn head(&self) -> KnownHead {
        KnownHead {
            position: self.position,
            hash: self.hash,
        }
    }

    /// The reason not to resume after it, if any; `event` is the first event to export from there
    /// on.
    pub fn differs_from(&self, event: Option<EventRef<'_>>) -> Option<String> {
        match event.filter(|event| event.position == self.position) {
            None => Some(self.is_not_selected()),
            Some(event) if event.hash != self.hash => Some(format!(
                "its last event, at position {}, has the hash {}, and in the log that is {}",
                self.position, self.hash, event.hash
            )),
            Some(_) => None,
        }
    }

    /// The reason for a file that goes beyond the log or the selection, or contains something else.
    pub fn is_not_selected(&self) -> String {
        let position = self.position;
        format!("its last event, at position {position}, is not in the selection to export")
    }
}

/// Returns the last complete event of a file; `None` if the file does not exist or is empty.
pub fn last_event(path: &Path, format: Format) -> io::Result<Option<LastEvent>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match format {
        Format::Ndjson => last_line(&mut file, ndjson),
        Format::Cloudevents => last_line(&mut file, cloud_event),
        Format::Csv => last_record(&file),
        Format::Parquet => {
            let reason = "a Parquet file has its index at its end and cannot be resumed: export the rest to another file with --after";
            Err(io::Error::new(io::ErrorKind::Unsupported, reason))
        }
    }
}

/// Opens a file for appending after its last complete event; without one, from its beginning.
pub fn reopen(path: &Path, last: Option<&LastEvent>) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.set_len(last.map_or(0, |last| last.end))?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

fn ndjson(text: &str) -> Option<EventHead> {
    let event = lines::parse(text).ok()?;
    Some((event.position, event.hash, None))
}

fn cloud_event(text: &str) -> Option<EventHead> {
    #[derive(Deserialize)]
    struct CloudEvent<'a> {
        id: &'a str,
        hash: &'a str,
        source: String,
    }
    let event: CloudEvent<'_> = serde_json::from_str(text).ok()?;
    let position = Position(event.id.parse().ok()?);
    Some((position, event.hash.parse().ok()?, Some(event.source)))
}

/// Older exports may contain events of several lines.
fn last_line(
    file: &mut File,
    read: impl Fn(&str) -> Option<EventHead>,
) -> io::Result<Option<LastEvent>> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(None);
    }
    let start = length.saturating_sub(MOST_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = vec![];
    file.take(MOST_TAIL).read_to_end(&mut tail)?;
    let whole = objects(&tail).into_iter().rev().find_map(|(begin, end)| {
        let text = std::str::from_utf8(&tail[begin..end]).ok()?;
        let (position, hash, cloud_source) = read(text)?;
        let end = start + end as u64;
        Some(LastEvent {
            end,
            position,
            hash,
            cloud_source,
        })
    });
    let reason = "it does not end with an event of such an export";
    let nothing = || io::Error::new(io::ErrorKind::InvalidData, reason);
    whole.map(Some).ok_or_else(nothing)
}

/// Finds the objects that consist of whole lines. Objects nested in one whose beginning is not in
/// the tail may be found too, but they end before it does, so the last one is right.
fn objects(tail: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut begun) = (vec![], None);
    let mut start = 0;
    for line in tail.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        let fresh = || line.starts_with(b"{").then(|| (start, Extent::default()));
        if let Some((begin, mut extent)) = begun.take().or_else(fresh) {
            extent.add(line);
            if extent.is_open() {
                begun = Some((begin, extent));
            } else if line.ends_with(b"\n") {
                found.push((begin, end));
            }
        }
        start = end;
    }
    found
}

fn last_record(file: &File) -> io::Result<Option<LastEvent>> {
    let remaining = Rc::new(Cell::new(MOST_TAIL));
    let mut records = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(Bounded {
            file: BufReader::new(file),
            remaining: Rc::clone(&remaining),
        });
    let (mut record, mut last, mut is_first) = (csv::ByteRecord::new(), None, true);
    let length = file.metadata()?.len();
    while records.read_byte_record(&mut record)? {
        let end = records.position().byte();
        remaining.set(MOST_TAIL);
        if is_first {
            if record != *COLUMNS.as_slice() {
                let reason = "it does not begin with the header of such an export";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            is_first = false;
            continue;
        }
        // The last field has a known length, so truncation is visible; its line feed must be
        // present too.
        match read_record(&record) {
            Some((position, hash)) if end < length || ends_with_line_feed(file)? => {
                last = Some(LastEvent {
                    end,
                    position,
                    hash,
                    cloud_source: None,
                });
            }
            Some(_) | None => break,
        }
    }
    Ok(last)
}

/// Limits the size of one record: without its closing quote, a record would extend to the end of
/// the file.
struct Bounded<'a> {
    file: BufReader<&'a File>,
    remaining: Rc<Cell<u64>>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        match self.remaining.get().checked_sub(read as u64) {
            Some(remaining) => self.remaining.set(remaining),
            None => {
                let reason = "it contains a record longer than any in such an export";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        Ok(read)
    }
}

fn read_record(record: &csv::ByteRecord) -> Option<(Position, Hash)> {
    let field = |index: usize| std::str::from_utf8(record.get(index)?).ok();
    let position = field(0)?.parse().ok()?;
    let hash = field(COLUMNS.len() - 1)?.parse().ok()?;
    Some((Position(position), hash))
}

fn ends_with_line_feed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    file.read_exact_at(&mut last, file.metadata()?.len().saturating_sub(1))?;
    Ok(last == [b'\n'])
}
