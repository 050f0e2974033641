//! Values in as few bytes as they need, for lists with millions of entries.
//!
//! Promise: what was packed is unpacked equal. Limit: only what its own type has checked fits; anything else panics.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::values::{Position, Quantity, Timestamp};

/// A whole number below 2^48 in six bytes: an instant to the millisecond until the year 10889, or a position.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct U48([u8; 6]);

impl U48 {
    /// Packs a number.
    ///
    /// # Panics
    /// From 2^48 on.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        let [a, b, c, d, e, f, 0, 0] = number.to_le_bytes() else {
            panic!("fewer than 2^48");
        };
        Self([a, b, c, d, e, f])
    }

    /// The number.
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
        // An instant is never before 1970.
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

/// The place of another entry, or none, in four bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link(u32);

impl Link {
    /// To nowhere.
    pub const NONE: Self = Self(u32::MAX);

    /// The place, if there is one.
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
    fn from(place: u32) -> Self {
        assert!(place < u32::MAX, "fewer than four billion entries");
        Self(place)
    }
}

impl From<Option<u32>> for Link {
    fn from(place: Option<u32>) -> Self {
        place.map_or(Self::NONE, Self::from)
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

/// Units of one hold in two bytes.
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
        Self::new(packed.0.into()).expect("it was a quantity before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_up_to_the_last_that_fits_come_back() {
        for number in [0, 1, 255, 256, 1 << 40, (1 << 48) - 1] {
            assert_eq!(U48::new(number).get(), number);
        }
    }

    #[test]
    #[should_panic(expected = "fewer than 2^48")]
    fn a_number_that_does_not_fit_is_not_cut_off() {
        let _packed = U48::new(1 << 48);
    }

    #[test]
    fn every_value_comes_back() {
        for at in [Timestamp::default(), Timestamp::MAX] {
            assert_eq!(Timestamp::from(U48::from(at)), at);
        }
        for units in [Quantity::MIN, Quantity::MAX] {
            let quantity = Quantity::new(units.into()).unwrap();
            assert_eq!(Quantity::from(PackedQuantity::from(quantity)), quantity);
        }
        for place in [None, Some(0), Some(u32::MAX - 1)] {
            assert_eq!(Link::from(place).get(), place);
        }
    }
}
