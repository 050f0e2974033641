//! A head that is kept outside the log: on the command line, or in the file next to an export.
//!
//! An export that was truncated at a line end looks complete. Therefore a finished export writes
//! its last position and hash to a separate file, and the format of one event per line stays
//! unchanged. Source: docs/decisions/0038-tokens-are-checked-here.md, "Exports".

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use domain::values::Position;
use infrastructure::log::Hash;

use super::AuditError;

/// The longest head file that is read, in bytes.
const MOST_BYTES: u64 = 1024;

/// A position, and the hash of the log up to it: `POSITION:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    /// The last event's position; 0 for an empty log.
    pub position: Position,
    /// The last event's hash; zeroes for an empty log.
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

/// The head file of the export `file`: `FILE.head`.
#[must_use]
pub fn head_file(file: &Path) -> PathBuf {
    let mut name: OsString = file.into();
    name.push(".head");
    name.into()
}

/// Reads the head of the export `file`. Returns `None` if the file does not exist, and for standard
/// input (`-`).
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
/// When the file exists already, or cannot be written.
pub fn write_head(path: &Path, head: KnownHead) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    writeln!(file, "{head}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_file_round_trips() {
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
