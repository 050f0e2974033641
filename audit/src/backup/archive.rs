//! Recognises the form of a backup in a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The form of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// For `pg_restore`: the custom, tar or directory format.
    Archived,
    /// A script for `psql`.
    Plain,
    /// An export of `audit export` (ndjson).
    Export,
}

/// Enough to recognise all forms, in bytes.
const BEGINNING: usize = 4096;

impl Archive {
    /// Recognises the form by the contents.
    ///
    /// # Errors
    /// When the file cannot be read, or is none of the forms.
    pub fn of(path: &Path) -> io::Result<Self> {
        let other = |reason| Err(io::Error::other(reason));
        if path.is_dir() {
            if path.join("toc.dat").exists() {
                return Ok(Self::Archived);
            }
            if path.join("PG_VERSION").exists() {
                return other(
                    "it is a base backup: start PostgreSQL on a copy of it, and give its URL",
                );
            }
            return other("the directory is not a dump of pg_dump");
        }
        let mut beginning = vec![0; BEGINNING];
        let mut file = File::open(path)?;
        let mut length = 0;
        while length < BEGINNING {
            match file.read(&mut beginning[length..])? {
                0 => break,
                read => length += read,
            }
        }
        beginning.truncate(length);
        Self::beginning_with(&beginning)
    }

    fn beginning_with(bytes: &[u8]) -> io::Result<Self> {
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        if bytes.starts_with(b"PGDMP") || bytes.starts_with(b"toc.dat\0") {
            return Ok(Self::Archived);
        }
        if bytes.starts_with(b"{\"position\":") {
            return Ok(Self::Export);
        }
        if has(b"\n-- PostgreSQL database dump\n") {
            return Ok(Self::Plain);
        }
        Err(io::Error::other(
            "it is neither an uncompressed dump of pg_dump nor an export of the log as ndjson",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_recognised_by_their_beginning() {
        for (beginning, archive) in [
            ("PGDMP\u{1}", Some(Archive::Archived)),
            ("toc.dat\0\0", Some(Archive::Archived)),
            (
                "--\n-- PostgreSQL database dump\n--\n",
                Some(Archive::Plain),
            ),
            ("{\"position\":1,", Some(Archive::Export)),
            ("", None),
            ("-- something else\n", None),
            ("\u{1f}\u{8b}", None),
        ] {
            let found = Archive::beginning_with(beginning.as_bytes()).ok();
            assert_eq!(found, archive, "{beginning:?}");
        }
    }
}
