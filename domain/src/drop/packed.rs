//! A hold as the aggregate stores it: 68 bytes instead of the 80 of [`Hold`], because a drop may
//! have millions.
//!
//! Promise: packing and unpacking preserves the hold, and the stored form is that of [`Hold`].

use serde::{Deserialize, Serialize};

use super::{Hold, HoldStatus};
use crate::packed::{Link, PackedQuantity, U48};
use crate::values::{HoldId, KeyDigest, Quantity, Timestamp};

/// See [`Hold`] for the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Hold", into = "Hold")]
pub(super) struct PackedHold {
    pub(super) id: HoldId,
    pub(super) key: Option<KeyDigest>,
    pub(super) status: HoldStatus,
    quantity: PackedQuantity,
    placed_at: U48,
    expires_at: U48,
    resolved_at: U48,
    buyer: u32,
    terms: u32,
    previous: Link,
}

const _: () = assert!(size_of::<PackedHold>() <= 68);

impl From<Hold> for PackedHold {
    fn from(hold: Hold) -> Self {
        Self {
            id: hold.id,
            key: hold.key,
            status: hold.status,
            quantity: hold.quantity.into(),
            placed_at: hold.placed_at.into(),
            expires_at: hold.expires_at.into(),
            resolved_at: hold.resolved_at.into(),
            buyer: hold.buyer,
            terms: hold.terms,
            previous: hold.previous.into(),
        }
    }
}

impl From<PackedHold> for Hold {
    fn from(packed: PackedHold) -> Self {
        packed.unpack()
    }
}

impl PackedHold {
    pub(super) fn unpack(&self) -> Hold {
        Hold {
            id: self.id,
            key: self.key,
            quantity: self.quantity.into(),
            placed_at: self.placed_at.into(),
            expires_at: self.expires_at.into(),
            status: self.status,
            resolved_at: self.resolved_at.into(),
            buyer: self.buyer,
            terms: self.terms,
            previous: self.previous.get(),
        }
    }

    pub(super) fn set_expiry(&mut self, expires_at: Timestamp) {
        self.expires_at = expires_at.into();
    }

    pub(super) fn set_quantity(&mut self, quantity: Quantity) {
        self.quantity = quantity.into();
    }

    /// Also sets the hold back to `Held` when an event is reverted.
    pub(super) fn resolve(&mut self, status: HoldStatus, at: Timestamp) {
        self.status = status;
        self.resolved_at = at.into();
    }
}
