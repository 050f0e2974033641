//! The access codes of a drop, and their uses.
//!
//! Promise: a code has at most as many uses as it was created with. A use belongs to a hold or to a
//! waiting entry of the waitlist, which passes it on to its offer. It comes back when the hold
//! expires or is released and when the entry leaves; a purchase keeps it, refunded or not.
//! Limit: a code takes about 35 bytes, and a hold or entry with a code some 25 more. A drop without
//! codes pays nothing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::indexes::Keyed;
use super::{DropAggregate, Hold, index_of};
use crate::chunks::Chunks;
use crate::event::{CodesCreated, HoldPlaced, WaitlistJoined, WaitlistLeft};
use crate::lookup::Lookup;
use crate::values::{CodeDigest, CodeUses, HoldId, KeyDigest, Timestamp, WaitlistId};

/// Codes that were created by one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeBatch {
    /// The idempotency key that they were created with.
    pub key: Option<KeyDigest>,
    /// The number of codes of the same request in the events before.
    pub first: u32,
    /// The number of codes of the whole request.
    pub of: u32,
    /// How many holds can be placed with each.
    pub uses: CodeUses,
    pub opens_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// The index of its first code in the aggregate.
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Code {
    digest: CodeDigest,
    /// Index of its batch.
    batch: u32,
    /// Holds and waiting entries that use it, purchased holds included.
    used: u32,
}

/// The codes of one drop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Codes {
    batches: Vec<CodeBatch>,
    codes: Chunks<Code>,
    /// The code of each hold that has one, by the index of the hold.
    of_holds: HashMap<u32, u32>,
    /// The same for entries of the waitlist.
    of_entries: HashMap<u32, u32>,
    #[serde(skip)]
    index: Lookup<u32>,
}

/// A code, as a decision sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownCode {
    /// How many holds can still be placed with it.
    pub left: u32,
    /// How many holds can be placed with it in all.
    pub uses: u32,
    pub opens_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

impl Codes {
    /// Returns true if the drop has no codes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Returns how many codes were created.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.codes.len()
    }

    /// Returns a code; `None` if it was never created.
    #[must_use]
    pub fn find(&self, digest: CodeDigest) -> Option<KnownCode> {
        let code = self.codes[self.index_of(digest)?];
        let batch = &self.batches[code.batch as usize];
        let uses = batch.uses.get();
        Some(KnownCode {
            left: uses - code.used,
            uses,
            opens_at: batch.opens_at,
            expires_at: batch.expires_at,
        })
    }

    pub(super) fn batch_key(&self, index: u32) -> Option<&KeyDigest> {
        self.batches[index as usize].key.as_ref()
    }

    fn index_of(&self, digest: CodeDigest) -> Option<u32> {
        self.index.find(&digest, |index| &self.codes[index].digest)
    }

    fn push(&mut self, code: Code) {
        let codes = &self.codes;
        let taken = self
            .index
            .insert(&code.digest, index_of(codes.len()), |index| {
                &codes[index].digest
            });
        assert!(taken.is_none(), "an access code was created twice");
        self.codes.push(code);
    }

    /// Removes the newest code.
    fn pop(&mut self) {
        let codes = &self.codes;
        let digest = codes.last().expect("a code to revert").digest;
        self.index.remove(&digest, |index| &codes[index].digest);
        self.codes.pop();
    }

    fn take(&mut self, code: u32) {
        let uses = self.batches[self.codes[code].batch as usize].uses.get();
        let used = &mut self.codes[code].used;
        assert!(*used < uses, "an access code was used too often");
        *used += 1;
    }

    fn give_back(&mut self, code: u32) {
        self.codes[code].used -= 1;
    }

    fn known(&self, digest: CodeDigest) -> u32 {
        self.index_of(digest)
            .expect("an access code was used that was never created")
    }
}

impl DropAggregate {
    /// Returns the access codes.
    #[must_use]
    pub const fn codes(&self) -> &Codes {
        &self.codes
    }

    /// Returns the code that the hold was placed with.
    #[must_use]
    pub fn code_of(&self, hold_id: HoldId) -> Option<CodeDigest> {
        let code = self.code_index_of(hold_id)?;
        Some(self.codes.codes[code].digest)
    }

    /// Returns the code that the waitlist entry was joined with.
    #[must_use]
    pub fn code_of_entry(&self, entry_id: WaitlistId) -> Option<CodeDigest> {
        let code = self.code_index_of_entry(entry_id)?;
        Some(self.codes.codes[code].digest)
    }

    /// Returns the codes that were created with this key, and their digests.
    pub(crate) fn codes_by_key(
        &self,
        key: KeyDigest,
    ) -> Option<(&CodeBatch, impl Iterator<Item = CodeDigest>)> {
        let Some(Keyed::Codes(index)) = self.keyed(key) else {
            return None;
        };
        let batch = &self.codes.batches[index as usize];
        let digests =
            (batch.start..batch.start + batch.len).map(|code| self.codes.codes[code].digest);
        Some((batch, digests))
    }

    fn code_index_of(&self, hold_id: HoldId) -> Option<u32> {
        if self.codes.of_holds.is_empty() {
            return None;
        }
        self.codes.of_holds.get(&self.hold_index(hold_id)?).copied()
    }

    fn code_index_of_entry(&self, entry_id: WaitlistId) -> Option<u32> {
        if self.codes.of_entries.is_empty() {
            return None;
        }
        let entry = self.waitlist.index_of(entry_id)?;
        self.codes.of_entries.get(&entry).copied()
    }

    pub(super) fn codes_created(&mut self, event: &CodesCreated) {
        assert!(
            self.origin.is_some(),
            "access codes were created before their drop was scheduled"
        );
        assert!(
            self.cancelled_at.is_none(),
            "access codes of a cancelled drop were created"
        );
        assert!(
            (1..=CodesCreated::MAX_CODES).contains(&event.digests.len()),
            "an event has no access codes, or too many"
        );
        let batch = index_of(self.codes.batches.len());
        self.index_key(event.key, Keyed::Codes(batch));
        self.codes.batches.push(CodeBatch {
            key: event.key,
            first: event.first,
            of: event.of,
            uses: event.uses,
            opens_at: event.opens_at,
            expires_at: event.expires_at,
            start: index_of(self.codes.len()),
            len: index_of(event.digests.len()),
        });
        for &digest in &event.digests {
            self.codes.push(Code {
                digest,
                batch,
                used: 0,
            });
        }
    }

    pub(super) fn uncreate_codes(&mut self, event: &CodesCreated) {
        self.remove_key(event.key);
        for _ in &event.digests {
            self.codes.pop();
        }
        self.codes.batches.pop();
    }

    /// Notes the code of the hold at `index`: a new use, or that of the entry that was offered the
    /// hold.
    pub(super) fn use_code(&mut self, index: u32, event: &HoldPlaced) {
        let of_entry = event
            .waitlist_entry
            .and_then(|entry_id| self.code_of_entry(entry_id));
        assert!(
            event.waitlist_entry.is_none() || event.code == of_entry,
            "a hold was offered with another access code than that of its entry"
        );
        let Some(digest) = event.code else { return };
        let code = self.codes.known(digest);
        if of_entry.is_none() {
            self.codes.take(code);
        }
        self.codes.of_holds.insert(index, code);
    }

    /// Reverts [`DropAggregate::use_code`].
    pub(super) fn unuse_code(&mut self, index: u32, event: &HoldPlaced) {
        if event.code.is_none() {
            return;
        }
        let code = self.codes.of_holds.remove(&index);
        let code = code.expect("a use of an access code to revert");
        if event.waitlist_entry.is_none() {
            self.codes.give_back(code);
        }
    }

    /// The hold ended without a purchase: its code can be used again.
    pub(super) fn return_code(&mut self, hold_id: HoldId) {
        if let Some(code) = self.code_index_of(hold_id) {
            self.codes.give_back(code);
        }
    }

    /// Reverts [`DropAggregate::return_code`].
    pub(super) fn unreturn_code(&mut self, hold_id: HoldId) {
        if let Some(code) = self.code_index_of(hold_id) {
            self.codes.take(code);
        }
    }

    /// Notes the code of the entry at `index`.
    pub(super) fn reserve_code(&mut self, index: u32, event: &WaitlistJoined) {
        let Some(digest) = event.code else { return };
        let code = self.codes.known(digest);
        self.codes.take(code);
        self.codes.of_entries.insert(index, code);
    }

    /// Reverts [`DropAggregate::reserve_code`].
    pub(super) fn unreserve_code(&mut self, index: u32) {
        if let Some(code) = self.codes.of_entries.remove(&index) {
            self.codes.give_back(code);
        }
    }

    /// The entry left: its code can be used again.
    pub(super) fn return_code_of_entry(&mut self, event: &WaitlistLeft) {
        if let Some(code) = self.code_index_of_entry(event.entry_id) {
            self.codes.give_back(code);
        }
    }

    /// Reverts [`DropAggregate::return_code_of_entry`].
    pub(super) fn unreturn_code_of_entry(&mut self, event: &WaitlistLeft) {
        if let Some(code) = self.code_index_of_entry(event.entry_id) {
            self.codes.take(code);
        }
    }

    /// Rebuilds the indexes of a loaded aggregate.
    pub(super) fn index_codes(&mut self) {
        for index in 0..index_of(self.codes.len()) {
            let codes = &self.codes.codes;
            let digest = codes[index].digest;
            self.codes
                .index
                .insert(&digest, index, |index| &codes[index].digest);
        }
        for index in 0..index_of(self.codes.batches.len()) {
            let key = self.codes.batches[index as usize].key;
            self.index_key(key, Keyed::Codes(index));
        }
    }

    /// Returns the time from which a hold may receive units: that of its code, or the drop's start.
    pub(crate) fn opened_for(&self, hold: &Hold, starts_at: Timestamp) -> Timestamp {
        let code = self.code_of(hold.id).and_then(|code| self.codes.find(code));
        code.and_then(|code| code.opens_at).unwrap_or(starts_at)
    }
}
