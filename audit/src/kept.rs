//! A head that was kept outside the log: on a command line, or in the file that an export leaves
//! beside itself.
//!
//! An export that was cut off at the end of a line is a whole log to whoever reads it alone. So a
//! finished export writes its last position and hash to a file of its own, and every reader of one
//! event a line stays as it is.
//! Source: docs/decisions/0038-tokens-are-checked-here.md, "Exports".

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use domain::values::Position;
use infrastructure::log::Hash;

use super::AuditError;

/// The most that is read of such a file, in bytes.
const MOST_BYTES: u64 = 1024;

/// A position, and the hash that the history up to there comes to: `POSITION:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    /// The last event's; 0: there is none.
    pub position: Position,
    /// The last event's; zeroes before the first.
    pub hash: Hash,
}

impl fmt::Display for KnownHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position, self.hash)
    }
}

impl FromStr for KnownHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (position, hash) = text.trim().split_once(':')?;
            Some(Self {
                position: Position(position.parse().ok()?),
                hash: hash.parse().ok()?,
            })
        };
        read().ok_or_else(|| "must be a position, a colon, and 64 hexadecimal digits".to_owned())
    }
}

/// Where the head of the export `file` is kept: `FILE.head`.
#[must_use]
pub fn head_file(file: &Path) -> PathBuf {
    let mut name: OsString = file.into();
    name.push(".head");
    name.into()
}

/// Reads the head of the export `file`; none when there is no such file, as for standard input
/// (`-`).
///
/// # Errors
/// [`AuditError::File`].
pub fn read_head(file: &Path) -> Result<Option<KnownHead>, AuditError> {
    if file == Path::new("-") {
        return Ok(None);
    }
    let path = head_file(file);
    let read = || {
        let length = fs::metadata(&path)?.len();
        if length > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "is too long"));
        }
        let text = fs::read_to_string(&path)?;
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
        text.parse().map_err(invalid)
    };
    match read() {
        Ok(head) => Ok(Some(head)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuditError::File { path, source }),
    }
}

/// Writes a head to a new file.
///
/// # Errors
/// When the file is there already, or cannot be written.
pub fn write_head(path: &Path, head: KnownHead) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    writeln!(file, "{head}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log.ndjson");
        assert_eq!(read_head(&file).unwrap(), None);
        let head = KnownHead {
            position: Position(17),
            hash: Hash([0x5e; 32]),
        };
        let path = head_file(&file);
        assert!(path.ends_with("log.ndjson.head"));
        write_head(&path, head).unwrap();
        assert_eq!(read_head(&file).unwrap(), Some(head));
        assert!(write_head(&path, head).is_err(), "never over another");
        for text in ["", "17", "17:5e", "x", &"1".repeat(2000)] {
            fs::write(&path, text).unwrap();
            assert!(read_head(&file).is_err(), "{text}");
        }
    }
}
