//! The hash chain: every event's hash commits to the event and to the hash before it.
//!
//! Promise: a head hash commits to every byte of history that the chain covers; two different
//! histories have two different encodings.
//! Limit: the chain proves that history changed, not by whom.
//!
//! `hash(n)` is SHA-256 over these bytes, in this order (integers are 64-bit, signed, big-endian; a
//! text is the length of its UTF-8 form in bytes as such an integer, and then that form):
//!
//! | bytes | meaning |
//! |---|---|
//! | `holdfast.event.v1` | 17 ASCII bytes that distinguish this encoding from any other |
//! | `hash(n - 1)` | 32 bytes; zeroes before the first event |
//! | position | integer |
//! | `recorded_at` | integer, milliseconds since the Unix epoch |
//! | `aggregate_type`, `aggregate_id` | texts |
//! | sequence | integer |
//! | `event_type`, `event_version`, payload, metadata | texts, as stored |
//!
//! The function `event_hash` in `migrations/0001_log.sql` computes the same in SQL.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use domain::values::Position;

use super::EventRef;
use crate::error::LogError;

/// A hash of the chain: 32 bytes of SHA-256. In text, 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Reads the 32 bytes that the database stores.
    ///
    /// # Errors
    /// When there are not 32 of them.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, std::array::TryFromSliceError> {
        bytes.try_into().map(Self)
    }
}

impl FromStr for Hash {
    type Err = hex::FromHexError;

    fn from_str(digits: &str) -> Result<Self, hex::FromHexError> {
        let mut hash = Self::default();
        hex::decode_to_slice(digits, &mut hash.0)?;
        Ok(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The hash of `event` after `previous`. The event's own hash is ignored.
#[must_use]
pub fn link<'a>(previous: &Hash, event: impl Into<EventRef<'a>>) -> Hash {
    link_in(&mut Vec::new(), previous, event.into())
}

/// As [`link`], encoding into `scratch`, whose contents are discarded. Hashing one buffer takes
/// half the time of hashing the parts, and a caller that links many events needs one buffer for
/// all.
#[must_use]
pub fn link_in(scratch: &mut Vec<u8>, previous: &Hash, event: EventRef<'_>) -> Hash {
    scratch.clear();
    scratch.reserve(NUMBERS + event.payload.len() + TEXTS);
    scratch.extend_from_slice(b"holdfast.event.v1");
    scratch.extend_from_slice(&previous.0);
    scratch.extend_from_slice(&event.position.0.to_be_bytes());
    scratch.extend_from_slice(&event.recorded_at.millis().to_be_bytes());
    text(scratch, event.aggregate_type);
    text(scratch, event.aggregate_id);
    scratch.extend_from_slice(&event.sequence.0.to_be_bytes());
    text(scratch, event.event_type);
    text(scratch, event.event_version);
    text(scratch, event.payload);
    text(scratch, event.metadata);
    Hash(Sha256::digest(&scratch).into())
}

/// The error for the event at `position` when its hash is not [`link`] of the one before.
pub fn broken(position: Position) -> LogError {
    LogError::Corrupt {
        position,
        reason: "its hash does not follow from the one before".to_owned(),
    }
}

/// Bytes of an encoding without its texts.
const NUMBERS: usize = 17 + 32 + 3 * 8 + 6 * 8;
/// Typical bytes of the texts without the payload.
const TEXTS: usize = 80;

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
