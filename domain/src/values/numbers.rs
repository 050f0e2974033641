//! Whole numbers within bounds.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::InvalidValue;

struct NumberVisitor<T> {
    accept: fn(i64) -> Result<T, InvalidValue>,
    bounds: fn() -> String,
}

impl<T> Visitor<'_> for NumberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.bounds)())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        (self.accept)(value).map_err(de::Error::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

macro_rules! bounded_number {
    ($(#[$doc:meta])* $name:ident, $min:literal ..= $max:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(into = "i64")]
        pub struct $name(u32);

        impl $name {
            /// The smallest value allowed.
            pub const MIN: u32 = $min;
            /// The largest value allowed.
            pub const MAX: u32 = $max;

            /// Accepts a whole number within the bounds.
            ///
            /// # Errors
            /// [`InvalidValue`] names the bounds.
            pub fn new(value: i64) -> Result<Self, InvalidValue> {
                match u32::try_from(value) {
                    Ok(value) if (Self::MIN..=Self::MAX).contains(&value) => Ok(Self(value)),
                    _ => Err(InvalidValue::new(format!("must be {}", Self::bounds()))),
                }
            }

            fn bounds() -> String {
                format!(
                    concat!("a whole number of ", $what, " from {} to {}"),
                    Self::MIN, Self::MAX
                )
            }

            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        /// A value of another type gets the same message as a number out of bounds.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_i64(NumberVisitor {
                    accept: Self::new,
                    bounds: Self::bounds,
                })
            }
        }

        impl TryFrom<i64> for $name {
            type Error = InvalidValue;
            fn try_from(value: i64) -> Result<Self, InvalidValue> {
                Self::new(value)
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> i64 {
                i64::from(value.0)
            }
        }
    };
}

bounded_number!(
    /// The number of units in one hold.
    Quantity, 1..=1_000, "units"
);
bounded_number!(
    /// The number of units that a drop offers.
    StockCount, 0..=10_000_000, "units"
);
bounded_number!(
    /// How long a hold lasts, in seconds.
    HoldSeconds, 1..=3_600, "seconds"
);
bounded_number!(
    /// How long a hold may last with all of its extensions, in seconds.
    MaxHoldSeconds, 1..=86_400, "seconds"
);
bounded_number!(
    /// How long a hold lasts that was offered to a waitlist entry, in seconds.
    OfferSeconds, 1..=604_800, "seconds"
);
bounded_number!(
    /// The most units that one buyer may hold and have purchased, across holds.
    BuyerLimit, 1..=10_000_000, "units"
);
bounded_number!(
    /// The number of available units at which a drop is low on stock.
    LowStock, 1..=10_000_000, "units"
);
bounded_number!(
    /// The number of access codes in one request.
    CodeCount, 1..=10_000, "codes"
);
bounded_number!(
    /// How many holds can be placed with one access code.
    CodeUses, 1..=1_000_000, "uses"
);
bounded_number!(
    /// How much work the challenge of a drop is: 1 is some 256,000 iterations of PBKDF2 with
    /// SHA-256 on average.
    Difficulty, 1..=20, "levels"
);
bounded_number!(
    /// The most holds that one buyer may place within a throttle's window.
    ThrottleHolds, 1..=10_000, "holds"
);
bounded_number!(
    /// The length of a throttle's window, in seconds.
    ThrottleSeconds, 1..=86_400, "seconds"
);

/// At most `holds` holds by one buyer within any `window_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Throttle {
    /// Holds allowed within the window.
    pub holds: ThrottleHolds,
    /// Length of the sliding window, in seconds.
    pub window_seconds: ThrottleSeconds,
}
