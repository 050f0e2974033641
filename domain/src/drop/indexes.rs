//! How an aggregate finds what it knows: holds and buyers by id, and whatever was done with an idempotency key.
//!
//! Promise: an entry is found by the key that it carries, and a key is used once. Limit: see [`crate::lookup::Lookup`].

use super::line::Line;
use super::packed::PackedHold;
use super::{Adjustment, DropAggregate};
use crate::chunks::Chunks;
use crate::values::{HoldId, KeyDigest, Pseudonym};

/// What was done with an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Keyed {
    Hold(u32),
    Adjustment(u32),
    Entry(u32),
}

/// [`Keyed`] in four bytes: two bits for the kind, the rest for the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackedKeyed(u32);

const KINDS: u32 = 4;

impl From<Keyed> for PackedKeyed {
    fn from(keyed: Keyed) -> Self {
        let (kind, index) = match keyed {
            Keyed::Hold(index) => (0, index),
            Keyed::Adjustment(index) => (1, index),
            Keyed::Entry(index) => (2, index),
        };
        let packed = index
            .checked_mul(KINDS)
            .expect("fewer than a billion entries in one drop");
        Self(packed + kind)
    }
}

impl PackedKeyed {
    const fn unpack(self) -> Keyed {
        let index = self.0 / KINDS;
        match self.0 % KINDS {
            0 => Keyed::Hold(index),
            1 => Keyed::Adjustment(index),
            _ => Keyed::Entry(index),
        }
    }

    fn key<'a>(
        self,
        holds: &'a Chunks<PackedHold>,
        adjustments: &'a [Adjustment],
        line: &'a Line,
    ) -> &'a KeyDigest {
        let key = match self.unpack() {
            Keyed::Hold(index) => &holds[index].key,
            Keyed::Adjustment(index) => &adjustments[index as usize].key,
            Keyed::Entry(index) => &line.at(index).key,
        };
        key.as_ref().expect("what is found by its key has one")
    }
}

impl DropAggregate {
    /// Where a buyer stands among those whom the drop has met; it stays the same unless the meeting is taken back.
    #[must_use]
    pub fn buyer_place(&self, buyer: Pseudonym) -> Option<u32> {
        self.buyer_index(buyer)
    }

    /// The buyer who stands at `place`.
    ///
    /// # Panics
    /// When nobody does.
    #[must_use]
    pub fn pseudonym_at(&self, place: u32) -> Pseudonym {
        self.buyer_at(place).id
    }

    pub(super) fn buyer_index(&self, buyer: Pseudonym) -> Option<u32> {
        self.buyer_index
            .find(&buyer, |index| &self.buyer_at(index).id)
    }

    /// Takes back the meeting of the buyer who was met last.
    pub(super) fn unmeet(&mut self, buyer: Pseudonym) {
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

    /// The buyer's index, if they were met before.
    pub(super) fn index_buyer(&mut self, buyer: Pseudonym, index: u32) -> Option<u32> {
        let buyers = &self.buyers;
        self.buyer_index
            .insert(&buyer, index, |index| &buyers[index].id)
    }

    pub(super) fn index_key(&mut self, key: Option<KeyDigest>, keyed: Keyed) {
        let Some(key) = key else { return };
        assert!(!self.knows_key(key), "a key was used twice");
        let (holds, adjustments, line) = (&self.holds, &self.adjustments, &self.line);
        self.key_index.insert(&key, keyed.into(), |keyed| {
            keyed.key(holds, adjustments, line)
        });
    }

    pub(super) fn forget_key(&mut self, key: Option<KeyDigest>) {
        let Some(key) = key else { return };
        let (holds, adjustments, line) = (&self.holds, &self.adjustments, &self.line);
        self.key_index
            .remove(&key, |keyed| keyed.key(holds, adjustments, line));
    }

    /// What was done with `key`, scheduling the drop aside.
    pub(super) fn keyed(&self, key: KeyDigest) -> Option<Keyed> {
        let key_at = |keyed: PackedKeyed| keyed.key(&self.holds, &self.adjustments, &self.line);
        self.key_index.find(&key, key_at).map(PackedKeyed::unpack)
    }

    pub(super) fn index_of_hold(&self, hold_id: HoldId) -> u32 {
        self.hold_index(hold_id)
            .expect("a hold was resolved that was never placed")
    }
}
