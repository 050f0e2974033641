//! Rows of a binary `COPY` of events, kept and read in their wire form.
//!
//! Promise: a [`Block`] holds whole rows, in order; an invalid row is an error that names its
//! position.

use bytes::{Buf, Bytes, BytesMut};
use domain::values::{Position, Sequence, Timestamp};

use crate::binary_copy::{HEADER_BYTES, SIGNATURE, instant, integer};
use crate::error::LogError;
use crate::log::{EventRef, Hash, StoredEvent};

/// Columns of a row, in the order of [`COLUMNS`].
const FIELDS: usize = 11;

/// The columns of a row; the last one is `private`, or NULL instead.
pub(super) const COLUMNS: &str = "position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, \
                                  event_version, payload, metadata, hash";

/// Consecutive events as the database sent them, to be processed by another task.
#[derive(Debug, Clone)]
pub struct Block {
    bytes: Bytes,
    rows: usize,
}

impl Block {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The events.
    ///
    /// # Errors
    /// For each event: [`LogError::Corrupt`] if its row is invalid.
    pub fn events(&self) -> impl Iterator<Item = Result<EventRef<'_>, LogError>> {
        self.rows().map(|fields| event(&fields))
    }

    /// The positions of the events, which are much faster to read; 0 for an invalid one.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.rows().map(|fields| position(&fields))
    }

    /// The events, each with its own texts.
    ///
    /// # Errors
    /// As [`Block::events`], for the first invalid one.
    pub fn to_stored(&self) -> Result<Vec<StoredEvent>, LogError> {
        let mut stored = Vec::with_capacity(self.rows);
        for event in self.events() {
            stored.push(event?.into());
        }
        Ok(stored)
    }

    fn rows(&self) -> impl Iterator<Item = Fields<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (fields, after) = split_row(rest)?;
            rest = after;
            Some(fields)
        })
    }
}

/// Cuts the received bytes into blocks. Protocol messages are whole rows, but nothing relies on it.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    buffer: BytesMut,
    is_begun: bool,
    /// Bytes of `buffer` that are whole rows, and the number of those rows.
    whole: usize,
    rows: usize,
}

impl Cutter {
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.buffer.extend_from_slice(bytes);
        if !self.is_begun {
            if self.buffer.len() < HEADER_BYTES {
                return Ok(());
            }
            if !self.buffer.starts_with(SIGNATURE) {
                return Err(LogError::Unavailable("this is not a binary COPY".into()));
            }
            self.buffer.advance(HEADER_BYTES);
            self.is_begun = true;
        }
        while let Some((_, after)) = split_row(&self.buffer[self.whole..]) {
            self.whole = self.buffer.len() - after.len();
            self.rows += 1;
        }
        Ok(())
    }

    /// The number of complete rows.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cut(&mut self) -> Block {
        let whole = self.buffer.split_to(std::mem::take(&mut self.whole));
        // The next block is about as large.
        self.buffer.reserve(whole.len());
        Block {
            bytes: whole.freeze(),
            rows: std::mem::take(&mut self.rows),
        }
    }
}

type Fields<'a> = [Option<&'a [u8]>; FIELDS];

/// The first row of `bytes` and the remainder; `None` if the first row is incomplete
/// or missing.
fn split_row(bytes: &[u8]) -> Option<(Fields<'_>, &[u8])> {
    let mut rest = bytes;
    let count = i16::from_be_bytes(take(&mut rest)?);
    if count < 0 {
        return None;
    }
    let mut fields = [None; FIELDS];
    for field in &mut fields {
        let length = i32::from_be_bytes(take(&mut rest)?);
        let Ok(length) = usize::try_from(length) else {
            continue; // NULL
        };
        let (value, after) = rest.split_at_checked(length)?;
        *field = Some(value);
        rest = after;
    }
    Some((fields, rest))
}

fn position(fields: &Fields<'_>) -> Position {
    let position = fields[0].and_then(integer).unwrap_or_default();
    Position(u64::try_from(position).unwrap_or_default())
}

fn event<'a>(fields: &Fields<'a>) -> Result<EventRef<'a>, LogError> {
    let corrupt = |reason| LogError::Corrupt {
        position: position(fields),
        reason,
    };
    read(fields).map_err(corrupt)
}

fn read<'a>(fields: &Fields<'a>) -> Result<EventRef<'a>, String> {
    let field = |index: usize, name: &str| fields[index].ok_or_else(|| format!("{name} is NULL"));
    let number = |index: usize, name: &str| {
        field(index, name)
            .map(integer)?
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| format!("{name} is out of range"))
    };
    let text = |index: usize, name: &str| {
        std::str::from_utf8(field(index, name)?).map_err(|_| format!("{name} is not UTF-8"))
    };
    Ok(EventRef {
        position: Position(number(0, "position")?),
        recorded_at: timestamp(field(1, "recorded_at")?)?,
        aggregate_type: text(2, "aggregate_type")?,
        aggregate_id: text(3, "aggregate_id")?,
        sequence: Sequence(number(4, "sequence")?),
        event_type: text(5, "event_type")?,
        event_version: text(6, "event_version")?,
        payload: text(7, "payload")?,
        metadata: text(8, "metadata")?,
        hash: hash(field(9, "hash")?)?,
        private: match fields[10] {
            Some(_) => Some(text(10, "private")?),
            None => None,
        },
    })
}

fn hash(bytes: &[u8]) -> Result<Hash, String> {
    Hash::from_slice(bytes).map_err(|_| format!("hash: expected 32 bytes, found {}", bytes.len()))
}

/// The chain covers milliseconds, so smaller differences could be changed unnoticed: they are
/// rejected.
fn timestamp(bytes: &[u8]) -> Result<Timestamp, String> {
    instant(bytes).map_err(|reason| format!("recorded_at {reason}"))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(position: i64, micros: i64, payload: &[u8]) -> Vec<u8> {
        let numbers = [position, micros, 3].map(i64::to_be_bytes);
        let hash = [7; 32];
        let fields: [Option<&[u8]>; FIELDS] = [
            Some(&numbers[0]),
            Some(&numbers[1]),
            Some(b"Drop"),
            Some(b"a"),
            Some(&numbers[2]),
            Some(b"HoldPlaced"),
            Some(b"1.0"),
            Some(payload),
            Some(b"{}"),
            Some(&hash),
            None,
        ];
        let mut row = 11_i16.to_be_bytes().to_vec();
        for field in fields {
            let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap());
            row.extend(length.to_be_bytes());
            row.extend(field.unwrap_or_default());
        }
        row
    }

    fn copied(rows: &[Vec<u8>]) -> Vec<u8> {
        let header = [SIGNATURE, &[0; 8]].concat();
        [header, rows.concat(), (-1_i16).to_be_bytes().to_vec()].concat()
    }

    fn cut(bytes: &[u8], piece: usize) -> Block {
        let mut cutter = Cutter::default();
        for piece in bytes.chunks(piece) {
            cutter.add(piece).unwrap();
        }
        cutter.cut()
    }

    #[test]
    fn rows_are_whole_however_the_bytes_are_split() {
        let bytes = copied(&[
            row(1, 1_000, b"{}"),
            row(2, 2_000, b"{ }"),
            row(3, 3_000, b""),
        ]);
        for piece in 1..=bytes.len() {
            let block = cut(&bytes, piece);
            let stored = block.to_stored().unwrap();
            assert_eq!((block.len(), stored.len()), (3, 3));
            assert_eq!(stored[1].payload, "{ }");
            assert_eq!(stored[1].recorded_at.millis(), 946_684_800_002);
            assert_eq!(stored[1].private, None);
            let positions: Vec<u64> = block.positions().map(|position| position.0).collect();
            assert_eq!(positions, [1, 2, 3]);
        }
    }

    #[test]
    fn blocks_are_cut_between_rows() {
        let bytes = copied(&[row(1, 0, b"{}"), row(2, 0, b"{}")]);
        let mut cutter = Cutter::default();
        let (first, rest) = bytes.split_at(HEADER_BYTES + row(1, 0, b"{}").len() + 5);
        cutter.add(first).unwrap();
        assert_eq!(cutter.rows(), 1);
        assert_eq!(cutter.cut().positions().collect::<Vec<_>>(), [Position(1)]);
        cutter.add(rest).unwrap();
        assert_eq!(cutter.cut().positions().collect::<Vec<_>>(), [Position(2)]);
        assert!(cutter.cut().is_empty());
    }

    #[test]
    fn invalid_rows_are_rejected_with_their_position() {
        let refused = |row: Vec<u8>| match cut(&copied(&[row]), 64).to_stored() {
            Err(LogError::Corrupt { position, reason }) => (position.0, reason),
            outcome => panic!("{outcome:?}"),
        };
        let finer = refused(row(5, 1_001, b"{}"));
        assert_eq!(
            finer,
            (5, "recorded_at is not in whole milliseconds".to_owned())
        );
        assert_eq!(
            refused(row(5, 0, b"\xff")),
            (5, "payload is not UTF-8".to_owned())
        );
        assert_eq!(
            refused(row(-5, 0, b"")),
            (0, "position is out of range".to_owned())
        );
        assert!(Cutter::default().add(&[0; HEADER_BYTES]).is_err());
    }
}
