//! Keys, commitments and salts: fixed-length bytes, in text as hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use sha2::{Digest, Sha256};

use super::visitor::TextVisitor;
use super::{AccessCode, DropId, InvalidValue, PaymentReference, ProviderName};

/// An idempotency key as the log stores it: the first 16 bytes of a SHA-256, so that the contents
/// of a key never reach the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 16]);

impl KeyDigest {
    /// The maximum length of a key, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Digests `key`, which is 1 to 255 visible ASCII characters, within `scope` (the domain in
    /// which the key is unique).
    ///
    /// # Errors
    /// [`InvalidValue`] if the key is empty, too long, or has other characters.
    pub fn new(scope: &[u8], key: &[u8]) -> Result<Self, InvalidValue> {
        let visible = key.iter().all(u8::is_ascii_graphic);
        if key.is_empty() || key.len() > Self::MAX_CHARS || !visible {
            return Err(InvalidValue::new(
                "must have 1 to 255 visible ASCII characters",
            ));
        }
        let digest = Sha256::new()
            .chain_update(b"holdfast.key.v1")
            .chain_update((scope.len() as u64).to_be_bytes())
            .chain_update(scope)
            .chain_update(key)
            .finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Ok(Self(short))
    }

    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

/// The value of every hexadecimal digit; 16 for other bytes.
const DIGITS: [u8; 256] = {
    let mut values = [16; 256];
    let (mut value, lower, upper) = (0, b"0123456789abcdef", b"0123456789ABCDEF");
    while value < 16 {
        values[lower[value as usize] as usize] = value;
        values[upper[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Reads two digits per byte. Returns true if `text` has exactly that many digits and nothing else.
/// Uses a table: with the generic decoder, hexadecimal digits took a sixteenth of the start-up
/// time, because they are most of an event's text.
fn read_digits(text: &[u8], bytes: &mut [u8]) -> bool {
    let (pairs, rest) = text.as_chunks::<2>();
    let mut wrong = 0;
    for ([high, low], byte) in pairs.iter().zip(bytes.iter_mut()) {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        wrong |= (high | low) & 16;
        *byte = (high << 4) | (low & 15);
    }
    pairs.len() == bytes.len() && rest.is_empty() && wrong == 0
}

macro_rules! hex_bytes {
    ($name:ident, $length:literal) => {
        impl $name {
            fn digits<'a>(&self, text: &'a mut [u8; $length * 2]) -> Result<&'a str, fmt::Error> {
                hex::encode_to_slice(self.0, text).map_err(|_| fmt::Error)?;
                std::str::from_utf8(text).map_err(|_| fmt::Error)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.digits(&mut [0; $length * 2])?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                let mut bytes = [0u8; $length];
                if read_digits(text.as_bytes(), &mut bytes) {
                    return Ok(Self(bytes));
                }
                let reason = format!("must be {} hexadecimal digits", $length * 2);
                Err(InvalidValue::new(reason))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut text = [0; $length * 2];
                serializer.serialize_str(self.digits(&mut text).map_err(ser::Error::custom)?)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(|text| text.parse()))
            }
        }
    };
}

hex_bytes!(KeyDigest, 16);

/// Recognises a provider's payment intent without its reference: the first 16 bytes of a SHA-256
/// over the name of the provider and the reference.
///
/// It is no personal data, so it stays when a buyer is erased: an intent that is reported again
/// afterwards is still known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentDigest([u8; 16]);

impl IntentDigest {
    #[must_use]
    pub fn new(provider: &ProviderName, reference: &PaymentReference) -> Self {
        let mut hasher = Sha256::new().chain_update(b"holdfast.intent.v1");
        for part in [provider.as_str(), reference.as_str()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize()[..16]);
        Self(short)
    }

    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

hex_bytes!(IntentDigest, 16);

/// An access code as the log stores it: the first 16 bytes of a SHA-256, keyed with a secret that
/// the log does not contain, so that an auditor cannot test guesses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeDigest([u8; 16]);

impl CodeDigest {
    /// Digests a code of one drop. `secret` has any length.
    #[must_use]
    pub fn new(secret: &[u8], drop_id: DropId, code: &AccessCode) -> Self {
        let mut hasher = Sha256::new().chain_update(b"holdfast.code.digest.v1");
        for part in [secret, drop_id.0.as_bytes(), code.as_str().as_bytes()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize()[..16]);
        Self(short)
    }

    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

hex_bytes!(CodeDigest, 16);

/// A salted SHA-256 that commits the log to personal data that it does not contain. See
/// [`crate::private`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);
hex_bytes!(Commitment, 32);

/// The random salt of a [`Commitment`]. Without it, a guess cannot be checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; 16]);
hex_bytes!(Salt, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_decoding_matches_the_generic_decoder() {
        let salt = Salt([0x0f; 16]);
        let upper = salt.to_string().to_uppercase();
        assert_eq!(upper.parse(), Ok(salt));
        for byte in 0..=255_u8 {
            let text = hex::encode([byte; 16]);
            assert_eq!(text.parse(), Ok(Salt([byte; 16])));
        }
    }

    #[test]
    fn anything_except_two_hex_digits_per_byte_is_rejected() {
        let digits = "0f".repeat(16);
        let (short, long) = (&digits[1..], format!("{digits}0"));
        for text in [
            "",
            short,
            &long,
            &format!("{digits}00"),
            &format!("0x{}", &digits[2..]),
        ] {
            assert!(text.parse::<Salt>().is_err(), "{text}");
        }
        for byte in (0..=127_u8).filter(|byte| !byte.is_ascii_hexdigit()) {
            for index in [0, 1, 31] {
                let mut text = digits.clone();
                text.replace_range(index..=index, &char::from(byte).to_string());
                assert!(text.parse::<Salt>().is_err(), "{text:?}");
            }
        }
    }
}
