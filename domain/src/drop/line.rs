//! The line of a drop that is sold out: who waits for how many units, in the order in which they came.
//!
//! Promise: a place is settled at most once, by an offer or by leaving, and the first who could use
//! a number of units is found in logarithmic time, however many wait who could not: an entry whose
//! buyer may not hold that many is kept out of the index until what the buyer has, or the terms,
//! change. Limit: everybody who ever waited is kept, at about 150 bytes each; an edit of the limits
//! looks at every entry that waits.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::first_fit::FirstFit;
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
    /// How many wait.
    waiting: usize,
    /// The first entry that waits; the number of all when none does.
    first_waiting: usize,
    /// The units wanted by each entry that waits and that its buyer's limits allow: it can be
    /// served once the units are there.
    eligible: FirstFit,
    /// The sum of those.
    wanted: u64,
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
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Units wanted by all entries that wait and that their buyers' limits allow.
    #[must_use]
    pub const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Everybody who ever waited, in the order in which they came.
    #[must_use]
    pub fn entries(&self) -> &[WaitlistEntry] {
        &self.entries
    }

    /// Who waits now, first come first.
    pub fn in_line(&self) -> impl Iterator<Item = &WaitlistEntry> {
        let waits = |entry: &&WaitlistEntry| entry.status == EntryStatus::Waiting;
        self.entries[self.first_waiting..].iter().filter(waits)
    }

    /// The first entry that waits.
    pub(crate) fn first_waiting(&self) -> Option<&WaitlistEntry> {
        self.entries.get(self.first_waiting)
    }

    /// The first entry that wants at most `most` units and that its buyer's limits allow.
    pub(crate) fn first_eligible(&self, most: u32) -> Option<&WaitlistEntry> {
        let place = self.eligible.first_at_most(most)?;
        self.entries.get(place)
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

    fn push(&mut self, entry: WaitlistEntry) {
        let index = index_of(self.entries.len());
        let taken = self.index.insert(entry.id, index);
        assert!(taken.is_none(), "a place in line was taken twice");
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

    /// Moves on to the first entry that waits.
    fn pass_settled(&mut self) {
        let settled = self.entries[self.first_waiting..]
            .iter()
            .take_while(|entry| entry.status != EntryStatus::Waiting);
        self.first_waiting += settled.count();
    }

    /// Enters in the index, or takes out of it, what an entry wants.
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
        let index = index.expect("a waitlist entry was settled that was never made") as usize;
        let entry = &mut self.entries[index];
        assert!(
            entry.status == EntryStatus::Waiting,
            "place {entry_id} was settled twice"
        );
        entry.status = status;
        self.waiting -= 1;
        self.set_eligible(index, false);
        self.pass_settled();
        &self.entries[index]
    }

    /// Takes back an offer, or leaving; whether its buyer's limits allow it is to be assessed anew.
    pub(super) fn wait_again(&mut self, entry_id: WaitlistId) {
        let index = self.index[&entry_id] as usize;
        let entry = &mut self.entries[index];
        assert!(
            entry.status != EntryStatus::Waiting,
            "nothing to take back of place {entry_id}"
        );
        entry.status = EntryStatus::Waiting;
        self.waiting += 1;
        self.first_waiting = self.first_waiting.min(index);
    }

    /// Takes back a place, which waits; returns it.
    fn pop(&mut self) -> WaitlistEntry {
        let entry = self.entries.pop().expect("a place to take back");
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
        self.assess(buyer);
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

    pub(super) fn unleave(&mut self, event: &WaitlistLeft) {
        self.line.wait_again(event.entry_id);
        self.assess(self.line.entries[self.line.index[&event.entry_id] as usize].buyer);
    }

    /// Decides anew whether a buyer's limits allow the place that they wait in: what they hold or
    /// bought has changed.
    pub(super) fn assess(&mut self, buyer: u32) {
        if self.line.is_empty() {
            return;
        }
        let Some(entry) = self.line.place_of(buyer) else {
            return;
        };
        let index = self.line.index[&entry.id] as usize;
        let is_allowed = self.is_allowed(entry);
        self.line.set_eligible(index, is_allowed);
    }

    /// The same for everybody who waits: the limits have changed, or the line was just read.
    pub(super) fn assess_all(&mut self) {
        for index in self.line.first_waiting..self.line.entries.len() {
            let entry = &self.line.entries[index];
            let is_eligible = entry.status == EntryStatus::Waiting && self.is_allowed(entry);
            self.line.set_eligible(index, is_eligible);
        }
    }

    fn is_allowed(&self, entry: &WaitlistEntry) -> bool {
        let buyer = self.buyer_at(entry.buyer);
        let allowance = self
            .terms()
            .map_or(0, |terms| terms.allowance(buyer.held + buyer.purchased));
        entry.quantity.get() <= allowance
    }
}
