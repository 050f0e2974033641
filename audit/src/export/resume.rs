//! Going on with a file that an earlier export did not finish.
//!
//! Promise: what follows is what would have followed; a last event that was written in part is taken away first. A file whose
//! last event is not in the log as it stands there is left as it is.
//! Limit: what comes before that event is believed. A CSV is read from its beginning, for a line break in it may be part of a text.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use domain::values::Position;
use infrastructure::log::lines::{self, Extent, MOST_EVENT_BYTES};
use infrastructure::log::{EventRef, Hash};
use serde::Deserialize;

use super::super::kept::KnownHead;
use super::Format;
use super::formats::COLUMNS;

/// Where the last whole event is looked for: it, and after it one that was cut off, with what a form adds to each.
const MOST_TAIL: u64 = 2 * (MOST_EVENT_BYTES as u64) + (1 << 20);

/// The last whole event of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// Where it ends, in bytes.
    end: u64,
    /// Its place in the log.
    pub position: Position,
    hash: Hash,
    /// Of a CloudEvent.
    pub cloud_source: Option<String>,
}

/// What one event of a file says.
type Said = (Position, Hash, Option<String>);

impl LastEvent {
    /// Its place and its hash.
    pub const fn head(&self) -> KnownHead {
        KnownHead {
            position: self.position,
            hash: self.hash,
        }
    }

    /// What speaks against going on after it, when what was asked for begins with `event` from there on.
    pub fn differs_from(&self, event: Option<EventRef<'_>>) -> Option<String> {
        match event.filter(|event| event.position == self.position) {
            None => Some(self.is_not_asked_for()),
            Some(event) if event.hash != self.hash => Some(format!(
                "its last event, at position {}, has the hash {}, and in the log that is {}",
                self.position, self.hash, event.hash
            )),
            Some(_) => None,
        }
    }

    /// Said of a file that holds more than the log, or than was asked for, or something else.
    pub fn is_not_asked_for(&self) -> String {
        let position = self.position;
        format!("its last event, at position {position}, is not among what is to be exported")
    }
}

/// The last whole event of a file; none when there is no file, or nothing in it yet.
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
            let reason = "a Parquet file has its index at its end: export what comes --after into another file";
            Err(io::Error::new(io::ErrorKind::Unsupported, reason))
        }
    }
}

/// Opens a file to append to after its last whole event; without one, from its beginning.
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

fn ndjson(text: &str) -> Option<Said> {
    let event = lines::parse(text).ok()?;
    Some((event.position, event.hash, None))
}

fn cloud_event(text: &str) -> Option<Said> {
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

/// In an export of before, an event may take several lines.
fn last_line(
    file: &mut File,
    read: impl Fn(&str) -> Option<Said>,
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
    let reason = "there is no event of such an export at its end";
    let nothing = || io::Error::new(io::ErrorKind::InvalidData, reason);
    whole.map(Some).ok_or_else(nothing)
}

/// Where objects begin and end that take whole lines, one or several. Within one that is not seen from its beginning there may be
/// others, but what comes after it is met again: all that is nested ends before it does.
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
    let room = Rc::new(Cell::new(MOST_TAIL));
    let mut records = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(Bounded {
            file: BufReader::new(file),
            room: Rc::clone(&room),
        });
    let (mut record, mut last, mut is_first) = (csv::ByteRecord::new(), None, true);
    let length = file.metadata()?.len();
    while records.read_byte_record(&mut record)? {
        let end = records.position().byte();
        room.set(MOST_TAIL);
        if is_first {
            if record != *COLUMNS.as_slice() {
                let reason = "there is no header of such an export at its beginning";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            is_first = false;
            continue;
        }
        // The last field is of known length, so one that was cut off shows; its line feed must be there as well.
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

/// Reads only so much of one record: without its closing quote it would be the rest of the file.
struct Bounded<'a> {
    file: BufReader<&'a File>,
    room: Rc<Cell<u64>>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        match self.room.get().checked_sub(read as u64) {
            Some(room) => self.room.set(room),
            None => {
                let reason = "a record of it is longer than any of such an export";
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
