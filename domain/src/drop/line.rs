//! The line of a drop that is sold out: who waits for how many units, in the order in which they came.
//!
//! Promise: a place is settled at most once, by an offer or by leaving, and the first who could use a number of units is found
//! without walking past those who could not. Limit: everybody who ever waited is kept, at about 150 bytes each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::indexes::Keyed;
use super::{DropAggregate, index_of};
use crate::event::{WaitlistJoined, WaitlistLeft};
use crate::values::{HoldId, KeyDigest, Quantity, Timestamp, WaitlistId};

/// How far a place in line has come. Only `Waiting` may change, and only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryStatus {
    /// In line.
    Waiting,
    /// It became its hold.
    Offered,
    /// It was given up.
    Left,
}

/// One place in line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitlistEntry {
    /// Its id.
    pub id: WaitlistId,
    /// The hold that it will become, or became.
    pub hold_id: HoldId,
    /// The idempotency key it was taken with.
    pub key: Option<KeyDigest>,
    /// Units wanted.
    pub quantity: Quantity,
    /// When it was taken.
    pub joined_at: Timestamp,
    /// How far it has come.
    pub status: EntryStatus,
    /// Index of the buyer in the aggregate.
    pub(super) buyer: u32,
    /// Index of the same buyer's place before this one.
    previous: Option<u32>,
}

/// Everybody who ever waited, and who does now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<WaitlistEntry>", into = "Vec<WaitlistEntry>")]
pub struct Line {
    /// In the order in which they came.
    entries: Vec<WaitlistEntry>,
    index: HashMap<WaitlistId, u32>,
    /// Each buyer's newest place.
    newest: HashMap<u32, u32>,
    /// Who waits, by the number of units that they want; so that one free unit passes a thousand who want two at once.
    waiting: BTreeMap<u32, BTreeSet<u32>>,
}

impl From<Vec<WaitlistEntry>> for Line {
    fn from(entries: Vec<WaitlistEntry>) -> Self {
        let mut line = Self::default();
        for entry in entries {
            line.push(entry);
        }
        line
    }
}

impl From<Line> for Vec<WaitlistEntry> {
    fn from(line: Line) -> Self {
        line.entries
    }
}

impl Line {
    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }

    /// Everybody who ever waited, in the order in which they came.
    #[must_use]
    pub fn entries(&self) -> &[WaitlistEntry] {
        &self.entries
    }

    /// Who waits now, first come first.
    pub fn in_line(&self) -> impl Iterator<Item = &WaitlistEntry> {
        let waits = |entry: &&WaitlistEntry| entry.status == EntryStatus::Waiting;
        self.entries.iter().filter(waits)
    }

    pub(super) fn entry(&self, entry_id: WaitlistId) -> Option<&WaitlistEntry> {
        self.index.get(&entry_id).map(|&index| self.at(index))
    }

    pub(super) fn at(&self, index: u32) -> &WaitlistEntry {
        &self.entries[index as usize]
    }

    /// Whether a buyer ever waited.
    pub(super) fn knows(&self, buyer: u32) -> bool {
        self.newest.contains_key(&buyer)
    }

    /// The place that a buyer waits in.
    fn place_of(&self, buyer: u32) -> Option<&WaitlistEntry> {
        let entry = self.at(*self.newest.get(&buyer)?);
        (entry.status == EntryStatus::Waiting).then_some(entry)
    }

    /// The first place from `from` on that wants at most `most` units.
    fn first_within(&self, from: u32, most: u32) -> Option<u32> {
        let sizes = self.waiting.range(..=most);
        let firsts = sizes.filter_map(|(_, places)| places.range(from..).next());
        firsts.min().copied()
    }

    /// Who wants at most `most` units, first come first; `most` may shrink from one to the next.
    pub(crate) fn next_within(&self, from: &mut u32, most: u32) -> Option<&WaitlistEntry> {
        let index = self.first_within(*from, most)?;
        *from = index + 1;
        Some(self.at(index))
    }

    fn push(&mut self, entry: WaitlistEntry) {
        let index = index_of(self.entries.len());
        let taken = self.index.insert(entry.id, index);
        assert!(taken.is_none(), "a place in line was taken twice");
        self.newest.insert(entry.buyer, index);
        if entry.status == EntryStatus::Waiting {
            self.queue(index, entry.quantity);
        }
        self.entries.push(entry);
    }

    fn queue(&mut self, index: u32, quantity: Quantity) {
        self.waiting
            .entry(quantity.get())
            .or_default()
            .insert(index);
    }

    fn unqueue(&mut self, index: u32, quantity: Quantity) {
        if let Some(places) = self.waiting.get_mut(&quantity.get()) {
            places.remove(&index);
            if places.is_empty() {
                self.waiting.remove(&quantity.get());
            }
        }
    }

    fn settle(&mut self, entry_id: WaitlistId, status: EntryStatus) -> &WaitlistEntry {
        let index = self.index.get(&entry_id).copied();
        let index = index.expect("a waitlist entry was settled that was never made");
        let entry = &mut self.entries[index as usize];
        assert!(
            entry.status == EntryStatus::Waiting,
            "place {entry_id} was settled twice"
        );
        entry.status = status;
        let quantity = entry.quantity;
        self.unqueue(index, quantity);
        self.at(index)
    }

    /// Takes back an offer, or leaving.
    pub(super) fn wait_again(&mut self, entry_id: WaitlistId) {
        let index = self.index[&entry_id];
        let entry = &mut self.entries[index as usize];
        assert!(
            entry.status != EntryStatus::Waiting,
            "nothing to take back of place {entry_id}"
        );
        entry.status = EntryStatus::Waiting;
        let quantity = entry.quantity;
        self.queue(index, quantity);
    }

    /// Takes back a place; returns it.
    fn pop(&mut self) -> WaitlistEntry {
        let entry = self.entries.pop().expect("a place to take back");
        self.index.remove(&entry.id);
        self.unqueue(index_of(self.entries.len()), entry.quantity);
        match entry.previous {
            Some(previous) => self.newest.insert(entry.buyer, previous),
            None => self.newest.remove(&entry.buyer),
        };
        entry
    }
}

impl DropAggregate {
    /// The place that this buyer waits in.
    #[must_use]
    pub fn place_of(&self, buyer: crate::values::Pseudonym) -> Option<&WaitlistEntry> {
        self.line.place_of(self.buyer_index(buyer)?)
    }

    /// Whose place in line it is.
    #[must_use]
    pub fn buyer_in_line(&self, entry: &WaitlistEntry) -> &super::Buyer {
        self.buyer_at(entry.buyer)
    }

    pub(super) fn joined(&mut self, event: &WaitlistJoined) {
        assert!(
            self.origin.is_some(),
            "a place in line was taken before its drop was scheduled"
        );
        assert!(
            self.cancelled_at.is_none(),
            "a place in line was taken in a cancelled drop"
        );
        let buyer = self.meet(event.buyer);
        assert!(
            self.line.place_of(buyer).is_none(),
            "a buyer waits in two places"
        );
        self.index_key(event.key, Keyed::Entry(index_of(self.line.entries.len())));
        let previous = self.line.newest.get(&buyer).copied();
        self.line.push(WaitlistEntry {
            id: event.entry_id,
            hold_id: event.hold_id,
            key: event.key,
            quantity: event.quantity,
            joined_at: event.joined_at,
            status: EntryStatus::Waiting,
            buyer,
            previous,
        });
    }

    pub(super) fn unjoin(&mut self, event: &WaitlistJoined) {
        self.forget_key(event.key);
        let entry = self.line.pop();
        assert!(
            entry.id == event.entry_id,
            "places in line are taken back newest first"
        );
        let held_before = self.buyer_at(entry.buyer).last_hold.get().is_some();
        if entry.previous.is_none() && !held_before {
            self.unmeet(event.buyer);
        }
    }

    pub(super) fn offered(
        &mut self,
        entry_id: WaitlistId,
        hold_id: HoldId,
        buyer: u32,
        quantity: Quantity,
    ) {
        let entry = self.line.settle(entry_id, EntryStatus::Offered);
        let promised = (entry.hold_id, entry.buyer, entry.quantity);
        assert!(
            promised == (hold_id, buyer, quantity),
            "an offer is not what place {entry_id} waited for"
        );
    }

    pub(super) fn left(&mut self, event: &WaitlistLeft) {
        let entry = self.line.settle(event.entry_id, EntryStatus::Left);
        let stated = (entry.buyer, entry.quantity);
        let buyer = self.buyer_index(event.buyer);
        assert!(
            buyer.map(|buyer| (buyer, event.quantity)) == Some(stated),
            "a waitlist entry was left with another buyer or quantity"
        );
    }
}
