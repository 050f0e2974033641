//! Access codes: short texts that let their bearer hold units.
//!
//! Promise: a created code has 80 bits that cannot be guessed, in 16 characters of Crockford's
//! base 32, which people read and type without confusion: no letter case, `O` is `0`, `I` and `L`
//! are `1`, hyphens and spaces are ignored. The log has keyed digests only.
//! Limit: a reader of the log that knows the secret of the digests can test guesses.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::InvalidValue;
use super::digests::KeyDigest;
use super::visitor::TextVisitor;

/// Crockford's base 32: the digits and the letters without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The characters of a created code: 80 bits.
const CHARS: usize = 16;
/// The characters between two hyphens.
const GROUP: usize = 4;

/// A code as a buyer enters it, in its canonical spelling: upper case, without hyphens and spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessCode(String);

impl AccessCode {
    /// The maximum length of a text, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Accepts any text of 1 to 64 characters: a text that no code has is a wrong code, not a
    /// malformed request.
    ///
    /// # Errors
    /// [`InvalidValue`] if the text is empty or too long.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let length = text.chars().count();
        if !(1..=Self::MAX_CHARS).contains(&length) {
            return Err(InvalidValue::new("must have 1 to 64 characters"));
        }
        let meant = |char: char| match char.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let counts = |char: &char| *char != '-' && !char.is_whitespace();
        Ok(Self(text.chars().filter(counts).map(meant).collect()))
    }

    /// Returns the code number `index` of those that `seed` stands for. The seed is secret: it
    /// reveals all of its codes.
    #[must_use]
    pub fn derived(seed: KeyDigest, index: u32) -> Self {
        let digest = Sha256::new()
            .chain_update(b"holdfast.code.v1")
            .chain_update(seed.bytes())
            .chain_update(index.to_be_bytes())
            .finalize();
        let bits = digest[..10].iter();
        let bits = bits.fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
        let char = |index: usize| {
            let digit = (bits >> (5 * (CHARS - 1 - index))) & 31;
            char::from(ALPHABET[usize::try_from(digit).unwrap_or_default()])
        };
        Self((0..CHARS).map(char).collect())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Groups of four characters: `7KQ2-M0XP-4T9B-ZC3V`.
impl fmt::Display for AccessCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, char) in self.0.chars().enumerate() {
            if index > 0 && index.is_multiple_of(GROUP) {
                f.write_str("-")?;
            }
            write!(f, "{char}")?;
        }
        Ok(())
    }
}

/// Hides the code: requests are written to logs in this form.
impl fmt::Debug for AccessCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessCode(hidden)")
    }
}

impl Serialize for AccessCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccessCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(Self::new))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn seed(name: &[u8]) -> KeyDigest {
        KeyDigest::new(b"secret", name).unwrap()
    }

    #[test]
    fn created_code_has_four_groups_of_four_characters() {
        let code = AccessCode::derived(seed(b"k"), 0).to_string();
        let groups: Vec<&str> = code.split('-').collect();
        assert_eq!(groups.len(), 4, "{code}");
        for group in groups {
            assert_eq!(group.len(), 4, "{code}");
            assert!(group.bytes().all(|byte| ALPHABET.contains(&byte)), "{code}");
        }
    }

    #[test]
    fn codes_depend_on_the_seed_and_the_index_and_every_character_varies() {
        let codes: BTreeSet<AccessCode> = (0..1_000)
            .map(|index| AccessCode::derived(seed(b"k"), index))
            .collect();
        assert_eq!(codes.len(), 1_000);
        assert!(!codes.contains(&AccessCode::derived(seed(b"other"), 0)));
        for index in 0..CHARS {
            let chars: BTreeSet<u8> = codes.iter().map(|code| code.0.as_bytes()[index]).collect();
            assert_eq!(chars.len(), ALPHABET.len(), "character {index}");
        }
    }

    #[test]
    fn typed_code_is_read_without_case_hyphens_and_confusable_letters() {
        let code = AccessCode::new("7KQ2-M0XP-419B-ZC31").unwrap();
        for typed in [
            "7kq2m0xp419bzc31",
            " 7KQ2 MOXP 4I9B ZC3L ",
            "7KQ2-m0xp-4l9b-zc3i",
        ] {
            assert_eq!(AccessCode::new(typed).unwrap(), code, "{typed}");
        }
        assert_eq!(code.to_string(), "7KQ2-M0XP-419B-ZC31");
        assert_ne!(AccessCode::new("7KQ2-M0XP-419B-ZC32").unwrap(), code);
    }

    #[test]
    fn text_has_1_to_64_characters_and_is_hidden_from_logs() {
        for text in ["", &"x".repeat(65)] {
            assert!(AccessCode::new(text).is_err(), "{text}");
        }
        assert!(AccessCode::new(&"é".repeat(64)).is_ok());
        let shown = format!("{:?}", AccessCode::new("secret").unwrap());
        assert!(!shown.to_lowercase().contains("secret"), "{shown}");
    }
}
