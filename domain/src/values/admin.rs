//! The name of an administrator.

use std::fmt;

use serde::{Serialize, Serializer};

use super::InvalidValue;

/// The label by which an operator knows the holder of an admin key: 1 to 32 of `A-Za-z0-9._-`. It
/// is stored in the log permanently, so it should be a role or a pseudonym, never a person's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdminName {
    bytes: [u8; AdminName::MAX_CHARS],
    length: u8,
}

impl AdminName {
    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 32;

    /// Accepts a name.
    ///
    /// # Errors
    /// [`InvalidValue`] names the form.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_name = (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(is_allowed);
        if !is_name {
            return Err(InvalidValue::new(
                "must be 1 to 32 of the characters A-Z a-z 0-9 . _ -",
            ));
        }
        let mut bytes = [0; Self::MAX_CHARS];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let length = u8::try_from(text.len()).unwrap_or_default();
        Ok(Self { bytes, length })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl Default for AdminName {
    /// The name of the holder of `HOLDFAST_ADMIN_KEY`.
    fn default() -> Self {
        let mut bytes = [0; Self::MAX_CHARS];
        bytes[..5].copy_from_slice(b"admin");
        Self { bytes, length: 5 }
    }
}

impl fmt::Display for AdminName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AdminName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminName({self})")
    }
}

impl Serialize for AdminName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_short_and_has_few_characters() {
        for name in ["a", "ops-1", "Night.Shift_2", &"x".repeat(32)] {
            assert_eq!(AdminName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "two words", "é", "a=b", "a\"b", &"x".repeat(33)] {
            assert!(AdminName::new(name).is_err(), "{name:?}");
        }
        assert_eq!(AdminName::default(), AdminName::new("admin").unwrap());
    }
}
