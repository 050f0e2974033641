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
    /// A buyer inside one drop, as the log knows them: random, and linked to nobody outside `private`.
    Pseudonym
);

impl HoldId {
    /// A hold id that carries its drop: the first four bytes are the drop's, the rest come from `random`.
    ///
    /// So a hold is found from its id alone, with no table from hold to drop. Ninety random bits remain.
    #[must_use]
    pub fn for_drop(drop_id: DropId, random: Uuid) -> Self {
        let mut bytes = *random.as_bytes();
        bytes[..4].copy_from_slice(&drop_id.prefix());
        Self(Uuid::from_bytes(bytes))
    }

    /// The four bytes that a hold id shares with its drop's.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        prefix(self.0)
    }
}

impl DropId {
    /// The four bytes that every hold id of this drop starts with.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        prefix(self.0)
    }
}

fn prefix(id: Uuid) -> [u8; 4] {
    let bytes = id.as_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}
