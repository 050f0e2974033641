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

/// By a table, without a branch for each digit: an auditor reads them by the ten million, and the crate `hex` takes thrice as
/// long.
fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let (mut bytes, mut seen) = ([0; N], 0);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| DIGITS[usize::from(digit)]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen & NO_DIGIT == 0).then_some(bytes)
}

const NO_DIGIT: u8 = 0x80;

/// What each byte means as a hexadecimal digit.
#[expect(clippy::cast_possible_truncation, reason = "a digit is less than 16")]
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digits[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

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
                let bytes = from_hex(text.as_bytes()).ok_or_else(|| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_the_crate_hex_reads_them() {
        for byte in 0..=u8::MAX {
            for digits in [[b'0', byte], [byte, b'0'], [byte, byte], [b'f', byte]] {
                let expected = hex::decode(digits).ok();
                assert_eq!(
                    from_hex::<1>(&digits).map(Vec::from),
                    expected,
                    "{digits:?}"
                );
            }
        }
        assert_eq!(from_hex(b"00fFa9"), Some([0x00, 0xff, 0xa9]));
        assert_eq!(from_hex::<2>(b"000"), None);
        assert_eq!(from_hex::<2>(b"00000"), None);
    }
}
