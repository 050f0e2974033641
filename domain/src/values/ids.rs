//! Identifiers: UUIDs, with a type for each kind of object.

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
    /// Identifies a drop; also the id of its stream in the log.
    DropId
);
uuid_id!(
    /// Identifies a hold. It cannot be guessed: knowing it grants the right to purchase or release
    /// the hold.
    HoldId
);
uuid_id!(
    /// Identifies a purchase.
    PurchaseId
);
uuid_id!(
    /// Identifies a payment of an order: an attempt to pay it, with a provider.
    PaymentId
);
uuid_id!(
    /// Identifies a refund, of units, of money, or of both: events that record one refund share it.
    RefundId
);
uuid_id!(
    /// Identifies a stock adjustment.
    AdjustmentId
);
uuid_id!(
    /// Identifies an order; also the id of its stream in the log. It cannot be guessed: knowing it
    /// grants the right to read, pay and cancel the order.
    OrderId
);
uuid_id!(
    /// Identifies a waitlist entry. It cannot be guessed: knowing it grants the right to read and
    /// remove the entry.
    WaitlistId
);
uuid_id!(
    /// Identifies a buyer inside one drop, or the buyer of one order, in the log. It is random, and
    /// linked to a person only by `private`.
    Pseudonym
);

macro_rules! carries_its_drop {
    ($name:ident) => {
        impl $name {
            /// Creates an id that contains its drop: the first four bytes are the drop's, the rest
            /// come from `random`.
            ///
            /// The drop is therefore found from the id alone, without a table. Ninety random bits
            /// remain.
            #[must_use]
            pub fn for_drop(drop_id: DropId, random: Uuid) -> Self {
                let mut bytes = *random.as_bytes();
                bytes[..4].copy_from_slice(&drop_id.prefix());
                Self(Uuid::from_bytes(bytes))
            }

            /// Returns the four bytes that it shares with its drop's id.
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
    /// Returns the four bytes that the ids of this drop's holds and waitlist entries start with.
    #[must_use]
    pub fn prefix(self) -> [u8; 4] {
        prefix(self.0)
    }
}

fn prefix(id: Uuid) -> [u8; 4] {
    let bytes = id.as_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}
