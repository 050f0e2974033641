//! The waitlist of a sold-out drop: requests for units, in order of arrival.
//!
//! Promise: an entry is settled at most once, by an offer or by leaving. The first entry that can
//! use a given number of units is found in logarithmic time, however many entries cannot: an entry
//! whose buyer may not hold that many is kept out of the index until the buyer's units or the terms
//! change.
//! Limit: every entry is kept, at about 150 bytes each; an edit of the limits assesses every
//! waiting entry.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::first_fit::FirstFit;
use super::indexes::Keyed;
use super::{DropAggregate, index_of};
use crate::event::{WaitlistJoined, WaitlistLeft};
use crate::values::{HoldId, KeyDigest, Quantity, Timestamp, WaitlistId};

/// The state of a waitlist entry. Only `Waiting` may change, and only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryStatus {
    Waiting,
    /// The entry received its hold.
    Offered,
    /// The buyer or a cancellation removed it.
    Left,
}

/// One buyer's request in the waitlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitlistEntry {
    pub id: WaitlistId,
    /// The hold that the entry receives with its offer.
    pub hold_id: HoldId,
    /// The idempotency key that it was joined with.
    pub key: Option<KeyDigest>,
    /// Units requested.
    pub quantity: Quantity,
    pub joined_at: Timestamp,
    pub status: EntryStatus,
    /// Index of the buyer in the aggregate.
    pub(super) buyer: u32,
    /// Index of the same buyer's previous entry.
    previous: Option<u32>,
}

/// Every entry that ever joined, and an index of those that can be served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<WaitlistEntry>", into = "Vec<WaitlistEntry>")]
pub struct Waitlist {
    /// In order of arrival.
    entries: Vec<WaitlistEntry>,
    index: HashMap<WaitlistId, u32>,
    /// The index of each buyer's newest entry.
    newest: HashMap<u32, u32>,
    waiting: usize,
    /// Index of the first waiting entry; the number of entries if none waits.
    first_waiting: usize,
    /// The units requested by each waiting entry that its buyer's limits allow. Such an entry can
    /// be served as soon as enough units are available.
    eligible: FirstFit,
    /// The sum of the units in `eligible`.
    wanted: u64,
}

impl From<Vec<WaitlistEntry>> for Waitlist {
    fn from(entries: Vec<WaitlistEntry>) -> Self {
        let mut waitlist = Self::default();
        for entry in entries {
            waitlist.push(entry);
        }
        waitlist
    }
}

impl From<Waitlist> for Vec<WaitlistEntry> {
    fn from(waitlist: Waitlist) -> Self {
        waitlist.entries
    }
}

impl Waitlist {
    /// Returns true if no entry waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Returns the number of waiting entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Returns the sum of the units requested by the waiting entries that their buyers' limits
    /// allow.
    #[must_use]
    pub const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Returns every entry that ever joined, in order of arrival.
    #[must_use]
    pub fn entries(&self) -> &[WaitlistEntry] {
        &self.entries
    }

    /// Iterates over the waiting entries, in order of arrival.
    pub fn waiting_entries(&self) -> impl Iterator<Item = &WaitlistEntry> {
        let waits = |entry: &&WaitlistEntry| entry.status == EntryStatus::Waiting;
        self.entries[self.first_waiting..].iter().filter(waits)
    }

    pub(crate) fn first_waiting(&self) -> Option<&WaitlistEntry> {
        self.entries.get(self.first_waiting)
    }

    /// Returns the first entry that requests at most `most` units and that its buyer's limits
    /// allow.
    pub(crate) fn first_eligible(&self, most: u32) -> Option<&WaitlistEntry> {
        let index = self.eligible.first_at_most(most)?;
        self.entries.get(index)
    }

    pub(super) fn entry(&self, entry_id: WaitlistId) -> Option<&WaitlistEntry> {
        self.index.get(&entry_id).map(|&index| self.at(index))
    }

    pub(super) fn index_of(&self, entry_id: WaitlistId) -> Option<u32> {
        self.index.get(&entry_id).copied()
    }

    pub(super) fn at(&self, index: u32) -> &WaitlistEntry {
        &self.entries[index as usize]
    }

    /// Returns true if the buyer ever had an entry.
    pub(super) fn has_entry_of(&self, buyer: u32) -> bool {
        self.newest.contains_key(&buyer)
    }

    /// Returns the buyer's waiting entry.
    fn waiting_entry_of(&self, buyer: u32) -> Option<&WaitlistEntry> {
        let entry = self.at(*self.newest.get(&buyer)?);
        (entry.status == EntryStatus::Waiting).then_some(entry)
    }

    fn push(&mut self, entry: WaitlistEntry) {
        let index = index_of(self.entries.len());
        let taken = self.index.insert(entry.id, index);
        assert!(taken.is_none(), "a waitlist entry was joined twice");
        self.newest.insert(entry.buyer, index);
        self.eligible.push();
        let waits = entry.status == EntryStatus::Waiting;
        self.entries.push(entry);
        if waits {
            self.waiting += 1;
        } else {
            self.pass_settled();
        }
    }

    /// Advances `first_waiting` to the next waiting entry.
    fn pass_settled(&mut self) {
        let settled = self.entries[self.first_waiting..]
            .iter()
            .take_while(|entry| entry.status != EntryStatus::Waiting);
        self.first_waiting += settled.count();
    }

    /// Adds an entry's units to the index of eligible entries, or removes them.
    fn set_eligible(&mut self, index: usize, is_eligible: bool) {
        if self.eligible.is_set(index) == is_eligible {
            return;
        }
        let units = self.entries[index].quantity.get();
        if is_eligible {
            self.wanted += u64::from(units);
        } else {
            self.wanted -= u64::from(units);
        }
        self.eligible.set(index, is_eligible.then_some(units));
    }

    fn settle(&mut self, entry_id: WaitlistId, status: EntryStatus) -> &WaitlistEntry {
        let index = self.index.get(&entry_id).copied();
        let index = index.expect("a waitlist entry was settled that never joined") as usize;
        let entry = &mut self.entries[index];
        assert!(
            entry.status == EntryStatus::Waiting,
            "waitlist entry {entry_id} was settled twice"
        );
        entry.status = status;
        self.waiting -= 1;
        self.set_eligible(index, false);
        self.pass_settled();
        &self.entries[index]
    }

    /// Reverts an offer or a leave. The caller must assess the buyer's limits again.
    pub(super) fn reopen(&mut self, entry_id: WaitlistId) {
        let index = self.index[&entry_id] as usize;
        let entry = &mut self.entries[index];
        assert!(
            entry.status != EntryStatus::Waiting,
            "nothing to revert for waitlist entry {entry_id}"
        );
        entry.status = EntryStatus::Waiting;
        self.waiting += 1;
        self.first_waiting = self.first_waiting.min(index);
    }

    /// Removes the newest entry, which must be waiting.
    fn pop(&mut self) -> WaitlistEntry {
        let entry = self.entries.pop().expect("a waitlist entry to revert");
        self.index.remove(&entry.id);
        self.waiting -= 1;
        if self.eligible.is_set(self.entries.len()) {
            self.wanted -= u64::from(entry.quantity.get());
        }
        self.eligible.pop();
        match entry.previous {
            Some(previous) => self.newest.insert(entry.buyer, previous),
            None => self.newest.remove(&entry.buyer),
        };
        entry
    }
}

impl DropAggregate {
    /// Returns this buyer's waiting entry.
    #[must_use]
    pub fn waiting_entry_of(&self, buyer: crate::values::Pseudonym) -> Option<&WaitlistEntry> {
        self.waitlist.waiting_entry_of(self.buyer_index(buyer)?)
    }

    #[must_use]
    pub fn buyer_of_entry(&self, entry: &WaitlistEntry) -> &super::Buyer {
        self.buyer_at(entry.buyer)
    }

    pub(super) fn joined(&mut self, event: &WaitlistJoined) {
        assert!(
            self.origin.is_some(),
            "a waitlist entry was joined before its drop was scheduled"
        );
        assert!(
            self.cancelled_at.is_none(),
            "a waitlist entry was joined in a cancelled drop"
        );
        assert!(!self.is_draft(), "a waitlist entry was joined in a draft");
        let buyer = self.intern_buyer(event.buyer);
        assert!(
            self.waitlist.waiting_entry_of(buyer).is_none(),
            "a buyer has two waiting entries"
        );
        let index = index_of(self.waitlist.entries.len());
        self.index_key(event.key, Keyed::Entry(index));
        self.reserve_code(index, event);
        let previous = self.waitlist.newest.get(&buyer).copied();
        self.waitlist.push(WaitlistEntry {
            id: event.entry_id,
            hold_id: event.hold_id,
            key: event.key,
            quantity: event.quantity,
            joined_at: event.joined_at,
            status: EntryStatus::Waiting,
            buyer,
            previous,
        });
        self.assess(buyer);
    }

    pub(super) fn unjoin(&mut self, event: &WaitlistJoined) {
        self.remove_key(event.key);
        let entry = self.waitlist.pop();
        assert!(
            entry.id == event.entry_id,
            "waitlist entries are reverted newest first"
        );
        self.unreserve_code(index_of(self.waitlist.entries.len()));
        let held_before = self.buyer_at(entry.buyer).last_hold.get().is_some();
        if entry.previous.is_none() && !held_before {
            self.remove_buyer(event.buyer);
        }
    }

    pub(super) fn offered(
        &mut self,
        entry_id: WaitlistId,
        hold_id: HoldId,
        buyer: u32,
        quantity: Quantity,
    ) {
        let entry = self.waitlist.settle(entry_id, EntryStatus::Offered);
        let promised = (entry.hold_id, entry.buyer, entry.quantity);
        assert!(
            promised == (hold_id, buyer, quantity),
            "the offer does not match waitlist entry {entry_id}"
        );
    }

    pub(super) fn left(&mut self, event: &WaitlistLeft) {
        let entry = self.waitlist.settle(event.entry_id, EntryStatus::Left);
        let stated = (entry.buyer, entry.quantity);
        let buyer = self.buyer_index(event.buyer);
        assert!(
            buyer.map(|buyer| (buyer, event.quantity)) == Some(stated),
            "a waitlist entry was left with a different buyer or quantity"
        );
        self.return_code_of_entry(event);
    }

    pub(super) fn unleave(&mut self, event: &WaitlistLeft) {
        self.unreturn_code_of_entry(event);
        self.waitlist.reopen(event.entry_id);
        self.assess(self.waitlist.entries[self.waitlist.index[&event.entry_id] as usize].buyer);
    }

    /// Assesses again if the limits allow the buyer's waiting entry, after the buyer's units
    /// changed.
    pub(super) fn assess(&mut self, buyer: u32) {
        if self.waitlist.is_empty() {
            return;
        }
        let Some(entry) = self.waitlist.waiting_entry_of(buyer) else {
            return;
        };
        let index = self.waitlist.index[&entry.id] as usize;
        let is_allowed = self.is_allowed(entry);
        self.waitlist.set_eligible(index, is_allowed);
    }

    /// Assesses every waiting entry, after the limits changed or the aggregate was loaded.
    pub(super) fn assess_all(&mut self) {
        for index in self.waitlist.first_waiting..self.waitlist.entries.len() {
            let entry = &self.waitlist.entries[index];
            let is_eligible = entry.status == EntryStatus::Waiting && self.is_allowed(entry);
            self.waitlist.set_eligible(index, is_eligible);
        }
    }

    fn is_allowed(&self, entry: &WaitlistEntry) -> bool {
        let buyer = self.buyer_at(entry.buyer);
        let taken = buyer.taken().saturating_add(self.taken_elsewhere(buyer.id));
        let allowance = self.terms().map_or(0, |terms| terms.allowance(taken));
        entry.quantity.get() <= allowance
    }
}
