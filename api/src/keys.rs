//! The keys of administrators and auditors.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A bearer key, stored as its digest so that a comparison takes the same time for every guess.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Accepts visible ASCII, at least one character.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_usable.then(|| Self(digest(text)))
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, guess: &str) -> bool {
        self.0.ct_eq(&digest(guess)).into()
    }

    /// Derives a key for another purpose, from which this one cannot be computed.
    #[must_use]
    pub fn derive(&self, purpose: &[u8], secret: &[u8]) -> [u8; 32] {
        // The first two parts have fixed lengths, so different inputs never concatenate to the same
        // bytes.
        let purpose: [u8; 32] = Sha256::digest(purpose).into();
        Sha256::digest([purpose.as_slice(), &self.0, secret].concat()).into()
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[derive(Clone)]
pub struct Keys {
    /// Grants everything.
    pub admin: Key,
    /// Grants reading the log.
    pub auditor: Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_of_any_length() {
        assert!(Key::new("short").unwrap().matches("short"));
        assert!(!Key::new("short").unwrap().matches("Short"));
        for text in ["", "with spaces", "é", "a\nb"] {
            assert!(Key::new(text).is_none(), "{text:?}");
        }
    }
}
