//! The keys of administrators and auditors.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A secret, kept as its digest so that comparing takes the same time whatever was guessed.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Accepts visible ASCII, at least one character.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_usable.then(|| Self(digest(text)))
    }

    /// Whether `guess` is this key.
    #[must_use]
    pub fn matches(&self, guess: &str) -> bool {
        self.0.ct_eq(&digest(guess)).into()
    }

    /// A key for another purpose, which does not give this one away.
    #[must_use]
    pub fn derive(&self, purpose: &[u8], secret: &[u8]) -> [u8; 32] {
        // The two digests have fixed lengths, so no two inputs run together to the same text.
        let purpose: [u8; 32] = Sha256::digest(purpose).into();
        Sha256::digest([purpose.as_slice(), &self.0, secret].concat()).into()
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Who may do what.
#[derive(Clone)]
pub struct Keys {
    /// May do everything.
    pub admin: Key,
    /// May read the log.
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
