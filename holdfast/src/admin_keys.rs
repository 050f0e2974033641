//! The keys of several administrators: pairs of a name and a key, from a setting or from a file.

use std::fs;

use api::keys::{AdminKey, Key};
use domain::values::AdminName;

/// The setting.
pub const VARIABLE: &str = "HOLDFAST_ADMIN_KEYS";

/// A name and a key, as text.
#[derive(Clone)]
pub struct Pair {
    pub name: AdminName,
    pub key: String,
}

/// Why the setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminKeysError {
    #[error("{VARIABLE} cannot be read from {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{VARIABLE} has no key; unset it, or set pairs NAME=KEY")]
    Empty,
    /// The key itself must not be printed.
    #[error("entry {number} of {VARIABLE} must be NAME=KEY")]
    NoPair { number: usize },
    #[error("the name in entry {number} of {VARIABLE} {reason}")]
    Name { number: usize, reason: String },
    #[error("the key of {name} in {VARIABLE} must be visible ASCII, at least one character")]
    NoKey { name: AdminName },
    /// Otherwise the log could not name the author of a change.
    #[error("{first} and {second} have the same key in {VARIABLE}")]
    SameKey { first: AdminName, second: AdminName },
}

/// Parses the value: pairs `NAME=KEY`, separated by white space, or `@FILE` with one pair on each
/// line. In a file, lines that begin with `#` are comments.
///
/// # Errors
/// [`AdminKeysError`].
pub fn parse(value: &str) -> Result<Vec<Pair>, AdminKeysError> {
    let text = match value.trim().strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|source| AdminKeysError::File {
            path: path.to_owned(),
            source,
        })?,
        None => value.to_owned(),
    };
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut pairs: Vec<Pair> = vec![];
    for (index, entry) in lines.flat_map(str::split_whitespace).enumerate() {
        let number = index + 1;
        let (name, key) = entry
            .split_once('=')
            .ok_or(AdminKeysError::NoPair { number })?;
        let name = AdminName::new(name).map_err(|error| AdminKeysError::Name {
            number,
            reason: error.to_string(),
        })?;
        if Key::new(key).is_none() {
            return Err(AdminKeysError::NoKey { name });
        }
        if let Some(first) = pairs.iter().find(|pair| pair.key == key) {
            return Err(AdminKeysError::SameKey {
                first: first.name,
                second: name,
            });
        }
        pairs.push(Pair {
            name,
            key: key.to_owned(),
        });
    }
    match pairs.is_empty() {
        true => Err(AdminKeysError::Empty),
        false => Ok(pairs),
    }
}

/// Returns the key of a pair.
pub(crate) fn key_of(pair: &Pair) -> Option<AdminKey> {
    Some(AdminKey {
        name: pair.name,
        key: Key::new(&pair.key)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str) -> Vec<(String, String)> {
        let pairs = parse(value).unwrap().into_iter();
        pairs
            .map(|pair| (pair.name.to_string(), pair.key))
            .collect()
    }

    #[test]
    fn pairs_are_separated_by_white_space_or_lines_of_a_file() {
        let expected = [("ops-1", "a=b"), ("ops-2", "c"), ("ops-1", "d")];
        let expected = expected.map(|(name, key)| (name.to_owned(), key.to_owned()));
        assert_eq!(names("ops-1=a=b ops-2=c\tops-1=d"), expected);
        let file = std::env::temp_dir().join(format!("holdfast-admins-{}", uuid::Uuid::new_v4()));
        fs::write(&file, "# night shift\nops-1=a=b\n\nops-2=c\nops-1=d\n").unwrap();
        assert_eq!(names(&format!("@{}", file.display())), expected);
        fs::remove_file(&file).unwrap();
        let missing = parse(&format!("@{}", file.display())).err().unwrap();
        assert!(missing.to_string().contains("cannot be read from"));
    }

    #[test]
    fn faults_name_the_entry_and_never_a_key() {
        for (value, words) in [
            (" ", "has no key"),
            (
                "ops-1=secret-1 secret-2",
                "entry 2 of HOLDFAST_ADMIN_KEYS must be NAME=KEY",
            ),
            ("o/ps=secret-1", "the name in entry 1"),
            ("ops-1=", "the key of ops-1"),
            (
                "ops-1=secret-1 ops-2=secret-1",
                "ops-1 and ops-2 have the same key",
            ),
        ] {
            let error = parse(value).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
