//! PostgreSQL's binary `COPY`: rows as it sends and takes them in bulk, without a text form in between.
//!
//! Promise: what a [`RowWriter`] writes, [`Fields`] read back and PostgreSQL takes. Limit: fields carry no names and no types;
//! who reads must have asked for the columns in the order in which they are read.
//! Source: PostgreSQL's documentation of `COPY`, «Binary Format», and of its types' `send` functions.

use std::io::{self, Read};

use domain::values::Timestamp;
use uuid::Uuid;

/// What a file begins with.
pub const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Bytes before the first row: the signature, and two numbers that are zero, for nobody has defined an extension yet.
pub const HEADER_BYTES: usize = 19;
/// What comes where the next row would.
pub const END: [u8; 2] = (-1_i16).to_be_bytes();
/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What a file begins with.
#[must_use]
pub fn header() -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.resize(HEADER_BYTES, 0);
    header
}

/// A `bigint`, or the microseconds of a `timestamptz`; none when it is no eight bytes.
#[must_use]
pub fn integer(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// A `timestamptz`.
///
/// # Errors
/// A sentence without its subject, when it is none that we write: whole milliseconds between 1970 and 9999.
pub fn instant(bytes: &[u8]) -> Result<Timestamp, &'static str> {
    let micros = integer(bytes)
        .and_then(|micros| micros.checked_add(EPOCH_MICROS))
        .ok_or("is no time")?;
    if micros % 1000 != 0 {
        return Err("is not in whole milliseconds");
    }
    let instant = Timestamp::from_millis(micros / 1000);
    if instant.millis() == micros / 1000 {
        Ok(instant)
    } else {
        Err("is no time between 1970 and 9999")
    }
}

/// Writes one row after another.
#[derive(Debug, Default)]
pub struct RowWriter {
    bytes: Vec<u8>,
}

impl RowWriter {
    /// What was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written, to be sent on; the writer begins anew.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Begins anew, with the room that it has.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a row of so many fields.
    pub fn row(&mut self, fields: usize) {
        let fields = i16::try_from(fields).unwrap_or(i16::MAX);
        self.bytes.extend(fields.to_be_bytes());
    }

    /// NULL, or whatever `write` writes.
    pub fn or_null<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.bytes.extend((-1_i32).to_be_bytes()),
        }
    }

    /// A `uuid`.
    pub fn uuid(&mut self, value: Uuid) {
        self.field(value.as_bytes());
    }

    /// An `integer`. What does not fit is the largest one.
    pub fn integer(&mut self, value: u32) {
        self.field(&i32::try_from(value).unwrap_or(i32::MAX).to_be_bytes());
    }

    /// A `bigint`. What does not fit is the largest one.
    pub fn bigint(&mut self, value: u64) {
        self.field(&i64::try_from(value).unwrap_or(i64::MAX).to_be_bytes());
    }

    /// A `timestamptz`.
    pub fn instant(&mut self, value: Timestamp) {
        self.field(&(value.millis() * 1000 - EPOCH_MICROS).to_be_bytes());
    }

    /// A `text`, or `json`.
    pub fn text(&mut self, value: &str) {
        self.field(value.as_bytes());
    }

    fn field(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
    }
}

/// The fields of one row, from left to right. Each is none when it is not there, or not of that type.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Those of a row that is there in full.
    #[must_use]
    pub fn of(row: &'a [u8]) -> Self {
        Self {
            rest: row.get(size_of::<i16>()..).unwrap_or_default(),
        }
    }

    /// The next field; `Some(None)` for NULL.
    pub fn field(&mut self) -> Option<Option<&'a [u8]>> {
        let (length, after) = self.rest.split_first_chunk()?;
        self.rest = after;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            return Some(None);
        };
        let (field, after) = after.split_at_checked(length)?;
        self.rest = after;
        Some(Some(field))
    }

    /// NULL is `Some(None)`; else what `read` makes of these fields.
    pub fn or_null<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        let mut ahead = *self;
        if ahead.field()?.is_none() {
            *self = ahead;
            return Some(None);
        }
        read(self).map(Some)
    }

    /// A `uuid`.
    pub fn uuid(&mut self) -> Option<Uuid> {
        Uuid::from_slice(self.field()??).ok()
    }

    /// An `integer` that is not negative.
    pub fn integer(&mut self) -> Option<u32> {
        let bytes = self.field()??.try_into().ok()?;
        u32::try_from(i32::from_be_bytes(bytes)).ok()
    }

    /// A `bigint` that is not negative.
    pub fn bigint(&mut self) -> Option<u64> {
        u64::try_from(integer(self.field()??)?).ok()
    }

    /// A `timestamptz`, as [`instant`] reads it.
    pub fn instant(&mut self) -> Option<Timestamp> {
        instant(self.field()??).ok()
    }

    /// A `text`, or `json`.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.field()??).ok()
    }

    /// Whether all were read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Reads past what a file begins with.
///
/// # Errors
/// When it is no binary `COPY`, or cannot be read.
pub fn read_header(from: &mut impl Read) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    if header.starts_with(SIGNATURE) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this is no binary COPY",
        ))
    }
}

/// Reads the next row into `row`, to be looked at by [`Fields::of`]; tells whether there was one.
///
/// # Errors
/// When it cannot be read; also when the file stops without its end.
pub fn read_row(from: &mut impl Read, row: &mut Vec<u8>) -> io::Result<bool> {
    row.clear();
    let mut count = [0; size_of::<i16>()];
    from.read_exact(&mut count)?;
    let fields = i16::from_be_bytes(count);
    if fields < 0 {
        return Ok(false);
    }
    row.extend(count);
    for _ in 0..fields {
        let mut length = [0; size_of::<i32>()];
        from.read_exact(&mut length)?;
        row.extend(length);
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
        let before = row.len();
        row.resize(before + length, 0);
        from.read_exact(&mut row[before..])?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> RowWriter {
        let mut row = RowWriter::default();
        row.row(6);
        row.uuid(Uuid::from_u128(7));
        row.integer(3);
        row.bigint(u64::MAX);
        row.instant(Timestamp::from_millis(1_234));
        row.or_null(None, RowWriter::text);
        row.or_null(Some("é"), RowWriter::text);
        row
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = [header().as_slice(), row().bytes(), row().bytes(), &END].concat();
        let (mut file, mut read) = (file.as_slice(), vec![]);
        read_header(&mut file).unwrap();
        for _ in 0..2 {
            assert!(read_row(&mut file, &mut read).unwrap());
            let mut fields = Fields::of(&read);
            assert_eq!(fields.uuid(), Some(Uuid::from_u128(7)));
            assert_eq!(fields.integer(), Some(3));
            assert_eq!(fields.bigint(), Some(i64::MAX.unsigned_abs()));
            assert_eq!(fields.instant(), Some(Timestamp::from_millis(1_234)));
            assert_eq!(fields.or_null(Fields::text), Some(None));
            assert_eq!(fields.or_null(Fields::text), Some(Some("é")));
            assert!(fields.is_at_end());
            assert_eq!(fields.field(), None);
        }
        assert!(!read_row(&mut file, &mut read).unwrap());
    }

    #[test]
    fn a_file_that_stops_without_its_end_is_an_error() {
        let file = [header().as_slice(), row().bytes(), &END].concat();
        for length in 0..file.len() {
            let (mut file, mut read) = (&file[..length], vec![]);
            let whole = read_header(&mut file).and_then(|()| {
                while read_row(&mut file, &mut read)? {}
                Ok(())
            });
            assert!(whole.is_err(), "{length} bytes");
        }
        assert!(read_header(&mut [0; HEADER_BYTES].as_slice()).is_err());
    }

    #[test]
    fn a_field_of_another_type_is_none() {
        let written = row();
        let fields = || Fields::of(written.bytes());
        assert_eq!(fields().integer(), None);
        assert_eq!(fields().bigint(), None);
        assert_eq!(fields().instant(), None);
        let mut negative = RowWriter::default();
        negative.row(1);
        negative.field(&(-1_i64).to_be_bytes());
        assert_eq!(Fields::of(negative.bytes()).bigint(), None);
    }

    #[test]
    fn an_instant_that_we_never_write_is_refused() {
        let read = |micros: i64| instant(&(micros - EPOCH_MICROS).to_be_bytes());
        assert_eq!(read(0), Ok(Timestamp::from_millis(0)));
        assert_eq!(read(-1_000), Err("is no time between 1970 and 9999"));
        assert_eq!(read(1), Err("is not in whole milliseconds"));
        let last = Timestamp::MAX.millis() * 1000;
        assert_eq!(read(last), Ok(Timestamp::MAX));
        assert_eq!(read(last + 1_000), Err("is no time between 1970 and 9999"));
        // «infinity».
        assert_eq!(instant(&i64::MAX.to_be_bytes()), Err("is no time"));
        assert_eq!(instant(&[0; 7]), Err("is no time"));
    }
}
