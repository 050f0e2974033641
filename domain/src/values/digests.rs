//! Bytes that stand for something else: keys, commitments, salts. In text, hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use sha2::{Digest, Sha256};

use super::InvalidValue;
use super::texts::FromText;

/// An idempotency key as the log keeps it: the first 16 bytes of a SHA-256, so that what a caller
/// writes into a key never reaches the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 16]);

impl KeyDigest {
    /// The longest key accepted, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Digests `key`, which is 1 to 255 visible ASCII characters, within `scope` (what the key is unique in).
    ///
    /// # Errors
    /// [`InvalidValue`] when the key is empty, too long, or has other characters.
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
}

macro_rules! hex_bytes {
    ($name:ident, $length:literal) => {
        impl $name {
            /// Writes the digits to `text`.
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
                hex::decode_to_slice(text, &mut bytes).map_err(|_| {
                    InvalidValue::new(format!("must be {} hexadecimal digits", $length * 2))
                })?;
                Ok(Self(bytes))
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
                deserializer.deserialize_str(FromText::new(Self::from_str))
            }
        }
    };
}

hex_bytes!(KeyDigest, 16);

/// A salted SHA-256 that commits the log to personal data it does not contain. See [`crate::private`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);
hex_bytes!(Commitment, 32);

/// The random salt of a [`Commitment`]: without it, a guess cannot be checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; 16]);
hex_bytes!(Salt, 16);
