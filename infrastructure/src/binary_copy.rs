//! PostgreSQL's binary `COPY`: bulk transfer of rows without a text form.
//!
//! Promise: [`Fields`] reads back rows of a [`RowWriter`], and PostgreSQL accepts them.
//! Limit: fields carry no names and no types; the reader must select the columns in the order in
//! which it reads them.
//! Source: PostgreSQL's documentation of `COPY`, «Binary Format», and of its types' `send`
//! functions.

use std::io::{self, Read};

use domain::values::Timestamp;
use uuid::Uuid;

pub const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Bytes before the first row: the signature, and two numbers that are zero, because no extension
/// is defined.
pub const HEADER_BYTES: usize = 19;
/// Marks the end, instead of another row.
pub const END: [u8; 2] = (-1_i16).to_be_bytes();
/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The bytes before the first row.
#[must_use]
pub fn header() -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.resize(HEADER_BYTES, 0);
    header
}

/// A `bigint`, or the microseconds of a `timestamptz`; `None` unless it is eight bytes.
#[must_use]
pub fn integer(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// A `timestamptz` as a time.
///
/// # Errors
/// A predicate without its subject, unless the value is one that Holdfast writes: whole
/// milliseconds between 1970 and 9999.
pub fn instant(bytes: &[u8]) -> Result<Timestamp, &'static str> {
    let micros = integer(bytes)
        .and_then(|micros| micros.checked_add(EPOCH_MICROS))
        .ok_or("is not a time")?;
    if micros % 1000 != 0 {
        return Err("is not in whole milliseconds");
    }
    let instant = Timestamp::from_millis(micros / 1000);
    if instant.millis() == micros / 1000 {
        Ok(instant)
    } else {
        Err("is not a time between 1970 and 9999")
    }
}

#[derive(Debug, Default)]
pub struct RowWriter {
    bytes: Vec<u8>,
}

impl RowWriter {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes written so far, and starts again.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Starts again, keeping the allocated memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a row with `fields` fields.
    pub fn row(&mut self, fields: usize) {
        let fields = i16::try_from(fields).unwrap_or(i16::MAX);
        self.bytes.extend(fields.to_be_bytes());
    }

    /// Writes NULL, or calls `write`.
    pub fn or_null<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.bytes.extend((-1_i32).to_be_bytes()),
        }
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.field(value.as_bytes());
    }

    /// An `integer`; a value that does not fit becomes the largest one.
    pub fn integer(&mut self, value: u32) {
        self.field(&i32::try_from(value).unwrap_or(i32::MAX).to_be_bytes());
    }

    /// A `bigint`; a value that does not fit becomes the largest one.
    pub fn bigint(&mut self, value: u64) {
        self.field(&i64::try_from(value).unwrap_or(i64::MAX).to_be_bytes());
    }

    pub fn instant(&mut self, value: Timestamp) {
        self.field(&(value.millis() * 1000 - EPOCH_MICROS).to_be_bytes());
    }

    pub fn text(&mut self, value: &str) {
        self.field(value.as_bytes());
    }

    fn field(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
    }
}

/// The fields of one row, from left to right. Each is `None` if it is missing or has another type.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a complete row.
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

    /// Returns `Some(None)` for NULL, otherwise the result of `read`.
    pub fn or_null<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        let mut ahead = *self;
        if ahead.field()?.is_none() {
            *self = ahead;
            return Some(None);
        }
        read(self).map(Some)
    }

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

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.field()??).ok()
    }

    /// Reports whether all fields were read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Skips the bytes before the first row.
///
/// # Errors
/// When the file is not a binary `COPY`, or cannot be read.
pub fn read_header(from: &mut impl Read) -> io::Result<()> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    if header.starts_with(SIGNATURE) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this is not a binary COPY",
        ))
    }
}

/// Reads the next row into `row`, for [`Fields::of`]; returns whether there was one.
///
/// # Errors
/// When it cannot be read, or when the file ends without its end marker.
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
    fn written_rows_are_read_back() {
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
    fn file_without_an_end_marker_is_an_error() {
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
    fn field_of_another_type_is_none() {
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
    fn instants_that_are_never_written_are_rejected() {
        let read = |micros: i64| instant(&(micros - EPOCH_MICROS).to_be_bytes());
        assert_eq!(read(0), Ok(Timestamp::from_millis(0)));
        assert_eq!(read(-1_000), Err("is not a time between 1970 and 9999"));
        assert_eq!(read(1), Err("is not in whole milliseconds"));
        let last = Timestamp::MAX.millis() * 1000;
        assert_eq!(read(last), Ok(Timestamp::MAX));
        assert_eq!(
            read(last + 1_000),
            Err("is not a time between 1970 and 9999")
        );
        // The value `infinity`.
        assert_eq!(instant(&i64::MAX.to_be_bytes()), Err("is not a time"));
        assert_eq!(instant(&[0; 7]), Err("is not a time"));
    }
}
