//! The keys of administrators and auditors.

use domain::values::AdminName;
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

/// The key of an administrator.
#[derive(Clone)]
pub struct AdminKey {
    /// Its holder. Several keys may have one name, for example while a key is replaced.
    pub name: AdminName,
    pub key: Key,
}

#[derive(Clone)]
pub struct Keys {
    /// Each grants everything.
    pub admins: Vec<AdminKey>,
    /// Grants reading the log.
    pub auditor: Key,
}

impl Keys {
    /// Returns the holder of an admin key. Compares with every key, so that the time does not
    /// depend on which one is right.
    #[must_use]
    pub fn admin(&self, guess: &str) -> Option<&AdminKey> {
        let mut found = None;
        for admin in &self.admins {
            if admin.key.matches(guess) {
                found = Some(admin);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_admin_key_names_its_holder() {
        let admin = |name, key| AdminKey {
            name: AdminName::new(name).unwrap(),
            key: Key::new(key).unwrap(),
        };
        let keys = Keys {
            admins: vec![
                admin("ops-1", "old"),
                admin("ops-2", "other"),
                admin("ops-1", "new"),
            ],
            auditor: Key::new("auditor").unwrap(),
        };
        let holder = |guess| keys.admin(guess).map(|admin| admin.name.to_string());
        for (guess, name) in [("old", "ops-1"), ("other", "ops-2"), ("new", "ops-1")] {
            assert_eq!(holder(guess).as_deref(), Some(name));
        }
        assert_eq!(holder("auditor"), None);
    }

    #[test]
    fn a_key_is_visible_ascii_of_any_length() {
        assert!(Key::new("short").unwrap().matches("short"));
        assert!(!Key::new("short").unwrap().matches("Short"));
        for text in ["", "with spaces", "é", "a\nb"] {
            assert!(Key::new(text).is_none(), "{text:?}");
        }
    }
}
