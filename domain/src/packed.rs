//! Values in as few bytes as possible, for lists with millions of entries.
//!
//! Promise: unpacking returns the packed value.
//! Limit: only values that their own type has checked fit; any other value panics.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::values::{Position, Quantity, Timestamp};

/// A whole number below 2^48 in six bytes: a time in milliseconds until the year 10889, or a
/// position.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct U48([u8; 6]);

impl U48 {
    /// # Panics
    /// If `number` is 2^48 or more.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        let [a, b, c, d, e, f, 0, 0] = number.to_le_bytes() else {
            panic!("fewer than 2^48");
        };
        Self([a, b, c, d, e, f])
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

impl fmt::Debug for U48 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl From<Timestamp> for U48 {
    fn from(at: Timestamp) -> Self {
        // A timestamp is never before 1970.
        Self::new(at.millis().unsigned_abs())
    }
}

impl From<U48> for Timestamp {
    fn from(packed: U48) -> Self {
        Self::from_millis(packed.get().cast_signed())
    }
}

impl From<Position> for U48 {
    fn from(position: Position) -> Self {
        Self::new(position.0)
    }
}

impl From<U48> for Position {
    fn from(packed: U48) -> Self {
        Self(packed.get())
    }
}

/// An optional index of another entry, in four bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link(u32);

impl Link {
    /// No entry.
    pub const NONE: Self = Self(u32::MAX);

    #[must_use]
    pub const fn get(self) -> Option<u32> {
        if self.0 == u32::MAX {
            None
        } else {
            Some(self.0)
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl From<u32> for Link {
    fn from(index: u32) -> Self {
        assert!(index < u32::MAX, "fewer than four billion entries");
        Self(index)
    }
}

impl From<Option<u32>> for Link {
    fn from(index: Option<u32>) -> Self {
        index.map_or(Self::NONE, Self::from)
    }
}

impl Serialize for Link {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<u32>::deserialize(deserializer).map(Self::from)
    }
}

/// The units of one hold in two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedQuantity(u16);

const _: () = assert!(Quantity::MAX <= u16::MAX as u32);

impl From<Quantity> for PackedQuantity {
    fn from(quantity: Quantity) -> Self {
        Self(u16::try_from(quantity.get()).expect("at most a thousand units"))
    }
}

impl From<PackedQuantity> for Quantity {
    fn from(packed: PackedQuantity) -> Self {
        Self::new(packed.0.into()).expect("a packed quantity is valid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_2_to_the_48_survive_packing() {
        for number in [0, 1, 255, 256, 1 << 40, (1 << 48) - 1] {
            assert_eq!(U48::new(number).get(), number);
        }
    }

    #[test]
    #[should_panic(expected = "fewer than 2^48")]
    fn number_that_does_not_fit_is_not_truncated() {
        let _packed = U48::new(1 << 48);
    }

    #[test]
    fn every_quantity_survives_packing() {
        for at in [Timestamp::default(), Timestamp::MAX] {
            assert_eq!(Timestamp::from(U48::from(at)), at);
        }
        for units in [Quantity::MIN, Quantity::MAX] {
            let quantity = Quantity::new(units.into()).unwrap();
            assert_eq!(Quantity::from(PackedQuantity::from(quantity)), quantity);
        }
        for index in [None, Some(0), Some(u32::MAX - 1)] {
            assert_eq!(Link::from(index).get(), index);
        }
    }
}
