//! Going on with a file that an earlier export did not finish.
//!
//! Promise: what follows is what would have followed; a last event that was written in part is taken away first.
//! Limit: a CSV is read from its beginning, for a line break in it may be part of a text.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use domain::values::Position;
use infrastructure::log::lines;
use serde::Deserialize;

use super::Format;
use super::formats::COLUMNS;

/// The longest last event that is looked for, in bytes.
const MOST_TAIL: u64 = 16 << 20;

/// Opens a file to append to, after its last whole event, and tells that event's position; none when there is none, and
/// the file is empty now.
pub fn reopen(path: &Path, format: Format) -> io::Result<(File, Option<Position>)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let last = match format {
        Format::Ndjson => last_line(&mut file, |text| {
            lines::parse(text).ok().map(|event| event.position)
        })?,
        Format::Cloudevents => last_line(&mut file, cloud_event)?,
        Format::Csv => last_record(&file)?,
        Format::Parquet => {
            let reason = "a Parquet file has its index at its end: export what comes --after into another file";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
    };
    let (length, position) = last.unzip();
    file.set_len(length.unwrap_or_default())?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, position))
}

fn cloud_event(text: &str) -> Option<Position> {
    #[derive(Deserialize)]
    struct CloudEvent<'a> {
        id: &'a str,
    }
    let event: CloudEvent<'_> = serde_json::from_str(text).ok()?;
    event.id.parse().ok().map(Position)
}

/// Where the last whole event ends, and its position. A stored text may hold line breaks, so it may take several lines.
fn last_line(
    file: &mut File,
    read: impl Fn(&str) -> Option<Position>,
) -> io::Result<Option<(u64, Position)>> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(MOST_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = vec![];
    file.read_to_end(&mut tail)?;
    let breaks = |within: &[u8]| within.iter().rposition(|byte| *byte == b'\n');
    let mut end = tail.len();
    while let Some(last_break) = breaks(&tail[..end]) {
        let mut begin = last_break;
        loop {
            let line_start = breaks(&tail[..begin]).map_or(0, |at| at + 1);
            let whole = std::str::from_utf8(&tail[line_start..=last_break]);
            if let Some(position) = whole.ok().and_then(&read) {
                return Ok(Some((start + last_break as u64 + 1, position)));
            }
            if line_start == 0 {
                break;
            }
            begin = line_start - 1;
        }
        end = last_break;
    }
    if length == 0 {
        return Ok(None);
    }
    let reason = "there is no event of such an export at its end";
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

fn last_record(file: &File) -> io::Result<Option<(u64, Position)>> {
    let mut records = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(io::BufReader::new(file));
    let (mut record, mut last, mut is_first) = (csv::ByteRecord::new(), None, true);
    let length = file.metadata()?.len();
    while records.read_byte_record(&mut record)? {
        let end = records.position().byte();
        if is_first {
            if record != *COLUMNS.as_slice() {
                let reason = "there is no header of such an export at its beginning";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            is_first = false;
            continue;
        }
        // The last field is of known length, so one that was cut off shows; its line feed must be there as well.
        let hash = record.get(COLUMNS.len() - 1).map(<[u8]>::len);
        let is_whole = hash == Some(64) && (end < length || ends_with_line_feed(file)?);
        let position = record
            .get(0)
            .and_then(|field| std::str::from_utf8(field).ok()?.parse().ok());
        match position {
            Some(position) if is_whole => last = Some((end, Position(position))),
            Some(_) | None => break,
        }
    }
    Ok(last)
}

fn ends_with_line_feed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    file.read_exact_at(&mut last, file.metadata()?.len().saturating_sub(1))?;
    Ok(last == [b'\n'])
}
