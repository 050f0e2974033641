//! Positions and sequences of events.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of an event in the log: dense, in commit order, from 1. 0 is before the first event.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

/// The number of an event in its stream: from 1, without gaps. 0 is before the first event.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

macro_rules! log_number {
    ($name:ident) => {
        impl $name {
            /// Returns the following number.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
log_number!(Position);
log_number!(Sequence);
