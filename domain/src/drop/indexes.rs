//! The indexes of an aggregate: holds and buyers by id, and operations by idempotency key.
//!
//! Promise: an entry is found by the key that it carries, and a key is used once.
//! Limit: see [`crate::lookup::Lookup`].

use super::codes::Codes;
use super::packed::PackedHold;
use super::refunds::Refund;
use super::waitlist::Waitlist;
use super::{Adjustment, DropAggregate};
use crate::chunks::Chunks;
use crate::values::{HoldId, KeyDigest, Pseudonym};

/// The operation that an idempotency key was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Keyed {
    Hold(u32),
    Adjustment(u32),
    Entry(u32),
    Refund(u32),
    /// The codes that were created by one event.
    Codes(u32),
}

/// [`Keyed`] in four bytes: three bits for the kind, the rest for the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackedKeyed(u32);

const KINDS: u32 = 8;

impl From<Keyed> for PackedKeyed {
    fn from(keyed: Keyed) -> Self {
        let (kind, index) = match keyed {
            Keyed::Hold(index) => (0, index),
            Keyed::Adjustment(index) => (1, index),
            Keyed::Entry(index) => (2, index),
            Keyed::Refund(index) => (3, index),
            Keyed::Codes(index) => (4, index),
        };
        let packed = index
            .checked_mul(KINDS)
            .expect("fewer than half a billion entries in one drop");
        Self(packed + kind)
    }
}

impl PackedKeyed {
    const fn unpack(self) -> Keyed {
        let index = self.0 / KINDS;
        match self.0 % KINDS {
            0 => Keyed::Hold(index),
            1 => Keyed::Adjustment(index),
            2 => Keyed::Entry(index),
            3 => Keyed::Refund(index),
            _ => Keyed::Codes(index),
        }
    }

    fn key<'a>(
        self,
        holds: &'a Chunks<PackedHold>,
        adjustments: &'a [Adjustment],
        waitlist: &'a Waitlist,
        refunds: &'a [Refund],
        codes: &'a Codes,
    ) -> &'a KeyDigest {
        let key = match self.unpack() {
            Keyed::Hold(index) => holds[index].key.as_ref(),
            Keyed::Adjustment(index) => adjustments[index as usize].key.as_ref(),
            Keyed::Entry(index) => waitlist.at(index).key.as_ref(),
            Keyed::Refund(index) => refunds[index as usize].key.as_ref(),
            Keyed::Codes(index) => codes.batch_key(index),
        };
        key.expect("an entry that was found by its key has a key")
    }
}

impl DropAggregate {
    /// Returns the index of a buyer. It stays the same unless the event that introduced the buyer
    /// is reverted.
    #[must_use]
    pub fn index_of_buyer(&self, buyer: Pseudonym) -> Option<u32> {
        self.buyer_index(buyer)
    }

    /// Returns the buyer at `index`.
    ///
    /// # Panics
    /// If the index is out of range.
    #[must_use]
    pub fn pseudonym_at(&self, index: u32) -> Pseudonym {
        self.buyer_at(index).id
    }

    pub(super) fn buyer_index(&self, buyer: Pseudonym) -> Option<u32> {
        self.buyer_index
            .find(&buyer, |index| &self.buyer_at(index).id)
    }

    /// Removes the newest buyer.
    pub(super) fn remove_buyer(&mut self, buyer: Pseudonym) {
        let buyers = &self.buyers;
        self.buyer_index.remove(&buyer, |index| &buyers[index].id);
        self.buyers.pop();
    }

    pub(super) fn index_hold(&mut self, hold_id: HoldId, index: u32) {
        let holds = &self.holds;
        let before = self
            .hold_index
            .insert(&hold_id, index, |index| &holds[index].id);
        assert!(before.is_none(), "a hold was placed twice");
    }

    /// Returns the buyer's index if it was known before; otherwise adds `index`.
    pub(super) fn index_buyer(&mut self, buyer: Pseudonym, index: u32) -> Option<u32> {
        let buyers = &self.buyers;
        self.buyer_index
            .insert(&buyer, index, |index| &buyers[index].id)
    }

    pub(super) fn index_key(&mut self, key: Option<KeyDigest>, keyed: Keyed) {
        let Some(key) = key else { return };
        assert!(!self.knows_key(key), "a key was used twice");
        let (holds, adjustments, waitlist) = (&self.holds, &self.adjustments, &self.waitlist);
        let (refunds, codes) = (&self.refunds, &self.codes);
        self.key_index.insert(&key, keyed.into(), |keyed| {
            keyed.key(holds, adjustments, waitlist, refunds, codes)
        });
    }

    pub(super) fn remove_key(&mut self, key: Option<KeyDigest>) {
        let Some(key) = key else { return };
        let (holds, adjustments, waitlist) = (&self.holds, &self.adjustments, &self.waitlist);
        let (refunds, codes) = (&self.refunds, &self.codes);
        self.key_index.remove(&key, |keyed| {
            keyed.key(holds, adjustments, waitlist, refunds, codes)
        });
    }

    /// Returns the operation that `key` was used for, except scheduling the drop.
    pub(super) fn keyed(&self, key: KeyDigest) -> Option<Keyed> {
        let key_at = |keyed: PackedKeyed| {
            keyed.key(
                &self.holds,
                &self.adjustments,
                &self.waitlist,
                &self.refunds,
                &self.codes,
            )
        };
        self.key_index.find(&key, key_at).map(PackedKeyed::unpack)
    }

    pub(super) fn index_of_hold(&self, hold_id: HoldId) -> u32 {
        self.hold_index(hold_id)
            .expect("a hold was resolved or changed that was never placed")
    }
}
