//! Names of things: UUIDs, a type for each kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::InvalidValue;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidValue::new("must be a UUID"))
            }
        }
    };
}

uuid_id!(
    /// Names one drop; also the id of its stream in the log.
    DropId
);
uuid_id!(
    /// Names one hold. Unguessable: knowing it is the right to buy or to release.
    HoldId
);
uuid_id!(
    /// Names one purchase.
    PurchaseId
);
uuid_id!(
    /// Names one stock adjustment.
    AdjustmentId
);
uuid_id!(
    /// Names one place in a drop's line. Unguessable: knowing it is the right to look and to leave.
    WaitlistId
);
uuid_id!(
    /// A buyer inside one drop, as the log knows them: random, and linked to nobody outside `private`.
    Pseudonym
);

macro_rules! carries_its_drop {
    ($name:ident) => {
        impl $name {
            /// An id that carries its drop: the first four bytes are the drop's, the rest come from `random`.
            ///
            /// So its drop is found from the id alone, with no table. Ninety random bits remain.
            #[must_use]
            pub fn for_drop(drop_id: DropId, random: Uuid) -> Self {
                let mut bytes = *random.as_bytes();
                bytes[..4].copy_from_slice(&drop_id.prefix());
                Self(Uuid::from_bytes(bytes))
            }

            /// The four bytes that it shares with its drop's id.
            #[must_use]
            pub fn prefix(self) -> [u8; 4] {
                prefix(self.0)
            }
        }
    };
}
carries_its_drop!(HoldId);
carries_its_drop!(WaitlistId);

impl DropId {
    /// The four bytes that every hold id and every place in line of this drop starts with.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        prefix(self.0)
    }
}

fn prefix(id: Uuid) -> [u8; 4] {
    let bytes = id.as_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}
