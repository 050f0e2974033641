//! `DropAggregate`: all that one decision about a drop must see, rebuilt from its events alone.
//!
//! Promise: `available + held + sold == total` after every event, and a hold is resolved at most once; both are
//! asserted where they are made. `decide` (in [`crate::decide`]) may refuse; [`DropAggregate::evolve`] may not, for the
//! past cannot be declined: an event that history can never contain panics.
//! Limit: the aggregate knows every hold it ever had; one hold costs about 85 bytes, and its buyer 35.

mod first_fit;
mod indexes;
pub mod line;
mod packed;
mod stored;
mod take_back;

use serde::{Deserialize, Serialize};

use self::indexes::{Keyed, PackedKeyed};
use self::line::{Line, WaitlistEntry};
use self::packed::PackedHold;
use self::stored::StoredAggregate;
use crate::chunks::Chunks;
use crate::event::{
    DropCancelled, DropEvent, DropRescheduled, DropScheduled, HoldExpired, HoldPlaced,
    HoldReleased, PurchaseConfirmed, StockAdjusted,
};
use crate::lookup::Lookup;
use crate::packed::Link;
use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{
    AdjustmentId, HoldId, KeyDigest, Pseudonym, Quantity, Reason, Sequence, Timestamp, WaitlistId,
};

/// How far a hold has come. Only `Held` may change, and only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldStatus {
    /// Units are set aside.
    Held,
    /// It was paid for.
    Purchased,
    /// It ran out.
    Expired,
    /// It was given up.
    Released,
}

/// One hold of a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// The idempotency key it was placed with.
    pub key: Option<KeyDigest>,
    /// Units set aside.
    pub quantity: Quantity,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
    /// How far it has come.
    pub status: HoldStatus,
    /// When it was resolved; meaningless while `Held`.
    pub resolved_at: Timestamp,
    /// Index of the buyer in the aggregate.
    buyer: u32,
    /// Index of the terms in force when it was placed: they set its price.
    terms: u32,
    /// Index of the same buyer's hold before this one: the buyer's history, newest first.
    previous: Option<u32>,
}

/// What one buyer has in a drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buyer {
    /// Who, as the log knows them.
    pub id: Pseudonym,
    /// Units in unresolved holds.
    pub held: u32,
    /// Units paid for.
    pub purchased: u32,
    last_hold: Link,
}

/// A stock adjustment that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// Its id.
    pub id: AdjustmentId,
    /// The idempotency key it was made with.
    pub key: Option<KeyDigest>,
    /// Units added, or taken away when negative.
    pub delta: i32,
    /// Why.
    pub reason: Reason,
    /// Where the units were right after.
    pub stock: Stock,
}

/// How and when a drop came to be: what a repeated request to schedule it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The idempotency key it was scheduled with.
    pub key: Option<KeyDigest>,
    /// Units offered at first.
    pub total: u32,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
}

/// The state of one drop. `Default` is a drop that was never scheduled.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "StoredAggregate")]
pub struct DropAggregate {
    sequence: Sequence,
    origin: Option<Origin>,
    /// Every version of the terms; the last is in force.
    terms: Vec<DropTerms>,
    cancelled_at: Option<Timestamp>,
    stock: Stock,
    holds: Chunks<PackedHold>,
    /// The first hold that is not resolved; the number of all when each is.
    #[serde(skip)]
    first_held: u32,
    buyers: Chunks<Buyer>,
    adjustments: Vec<Adjustment>,
    line: Line,
    #[serde(skip)]
    hold_index: Lookup<u32>,
    #[serde(skip)]
    buyer_index: Lookup<u32>,
    #[serde(skip)]
    key_index: Lookup<PackedKeyed>,
}

impl PartialEq for DropAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.origin == other.origin
            && self.terms == other.terms
            && self.cancelled_at == other.cancelled_at
            && self.stock == other.stock
            && self.holds == other.holds
            && self.first_held == other.first_held
            && self.buyers == other.buyers
            && self.adjustments == other.adjustments
            && self.line == other.line
            && self.hold_index == other.hold_index
            && self.buyer_index == other.buyer_index
            && self.key_index == other.key_index
    }
}

impl DropAggregate {
    /// The sequence of the last event applied; 0: never scheduled.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// How the drop came to be; none: it was never scheduled.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The terms in force; none: never scheduled.
    #[must_use]
    pub fn terms(&self) -> Option<&DropTerms> {
        self.terms.last()
    }

    /// The terms that the drop was scheduled with.
    #[must_use]
    pub fn first_terms(&self) -> Option<&DropTerms> {
        self.terms.first()
    }

    /// How often the terms were set: 1 after scheduling, one more for each edit and for cancelling.
    #[must_use]
    pub fn terms_version(&self) -> u32 {
        index_of(self.terms.len()) + u32::from(self.cancelled_at.is_some())
    }

    /// When the drop was called off, if it was.
    #[must_use]
    pub const fn cancelled_at(&self) -> Option<Timestamp> {
        self.cancelled_at
    }

    /// Where the units are, counting a hold until its expiry is recorded.
    #[must_use]
    pub const fn stock(&self) -> Stock {
        self.stock
    }

    /// The hold with this id.
    #[must_use]
    pub fn hold(&self, hold_id: HoldId) -> Option<Hold> {
        self.hold_index(hold_id).map(|index| self.hold_at(index))
    }

    /// Where the hold with this id stands in [`DropAggregate::holds`].
    #[must_use]
    pub fn hold_index(&self, hold_id: HoldId) -> Option<u32> {
        self.hold_index
            .find(&hold_id, |index| &self.holds[index].id)
    }

    /// Every hold, in the order in which they were placed.
    pub fn holds(&self) -> impl Iterator<Item = Hold> {
        self.holds.iter().map(PackedHold::unpack)
    }

    /// How many holds were ever placed.
    #[must_use]
    pub const fn holds_len(&self) -> usize {
        self.holds.len()
    }

    /// Where the hold placed last stands, see [`DropAggregate::nth_hold`].
    #[must_use]
    pub fn newest_hold(&self) -> Option<u32> {
        self.holds.len().checked_sub(1).map(index_of)
    }

    /// The hold that was placed as the `index`-th, from 0.
    #[must_use]
    pub fn nth_hold(&self, index: u32) -> Option<Hold> {
        self.holds.get(index as usize).map(PackedHold::unpack)
    }

    /// The unresolved hold that was placed first.
    #[must_use]
    pub fn first_held(&self) -> Option<Hold> {
        self.nth_hold(self.first_held)
    }

    /// Whether the drop was cancelled and still has holds or waitlist entries to end.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.cancelled_at.is_some() && (self.stock.held > 0 || !self.line.is_empty())
    }

    /// How far a hold has come and since when, taking into account that a cancellation has ended
    /// it, recorded or not: the hold expired if its time was over by then, and was released at that
    /// instant otherwise.
    #[must_use]
    pub fn outcome_of(&self, hold: &Hold) -> (HoldStatus, Timestamp) {
        match (hold.status, self.cancelled_at) {
            (HoldStatus::Held, Some(at)) if hold.expires_at <= at => {
                (HoldStatus::Expired, hold.expires_at)
            }
            (HoldStatus::Held, Some(at)) => (HoldStatus::Released, at),
            (status, _) => (status, hold.resolved_at),
        }
    }

    /// The hold that was placed with this key.
    #[must_use]
    pub fn hold_by_key(&self, key: KeyDigest) -> Option<Hold> {
        match self.keyed(key) {
            Some(Keyed::Hold(index)) => Some(self.hold_at(index)),
            Some(Keyed::Adjustment(_) | Keyed::Entry(_)) | None => None,
        }
    }

    /// The adjustment with this id. A walk over all of them: a drop has few, and an admin waits for each.
    #[must_use]
    pub fn adjustment(&self, id: AdjustmentId) -> Option<&Adjustment> {
        self.adjustments.iter().find(|made| made.id == id)
    }

    /// The adjustment that was made with this key.
    #[must_use]
    pub fn adjustment_by_key(&self, key: KeyDigest) -> Option<&Adjustment> {
        match self.keyed(key) {
            Some(Keyed::Adjustment(index)) => self.adjustments.get(index as usize),
            Some(Keyed::Hold(_) | Keyed::Entry(_)) | None => None,
        }
    }

    /// The line: everybody who ever waited.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// The place in line with this id.
    #[must_use]
    pub fn entry(&self, entry_id: WaitlistId) -> Option<&WaitlistEntry> {
        self.line.entry(entry_id)
    }

    /// The place in line that was taken with this key.
    #[must_use]
    pub fn entry_by_key(&self, key: KeyDigest) -> Option<&WaitlistEntry> {
        match self.keyed(key) {
            Some(Keyed::Entry(index)) => Some(self.line.at(index)),
            Some(Keyed::Hold(_) | Keyed::Adjustment(_)) | None => None,
        }
    }

    /// Whether `key` was used for anything in this drop, scheduling it included.
    #[must_use]
    pub fn knows_key(&self, key: KeyDigest) -> bool {
        let scheduled_with = self.origin.as_ref().and_then(|origin| origin.key);
        scheduled_with == Some(key) || self.keyed(key).is_some()
    }

    /// Whose hold or waitlist entry was made with `key`; none: neither was.
    #[must_use]
    pub fn key_holder(&self, key: KeyDigest) -> Option<Pseudonym> {
        match self.keyed(key)? {
            Keyed::Hold(index) => Some(self.buyer_of(&self.hold_at(index))),
            Keyed::Entry(index) => Some(self.buyer_in_line(self.line.at(index)).id),
            Keyed::Adjustment(_) => None,
        }
    }

    /// What this buyer has here; none: they never held anything.
    #[must_use]
    pub fn buyer(&self, buyer: Pseudonym) -> Option<&Buyer> {
        self.buyer_index(buyer).map(|index| self.buyer_at(index))
    }

    /// Whose hold it is.
    #[must_use]
    pub fn buyer_of(&self, hold: &Hold) -> Pseudonym {
        self.buyer_at(hold.buyer).id
    }

    /// The terms in force when the hold was placed.
    #[must_use]
    pub fn terms_of(&self, hold: &Hold) -> &DropTerms {
        &self.terms[hold.terms as usize]
    }

    /// A buyer's holds, newest first.
    pub fn holds_of(&self, buyer: Pseudonym) -> impl Iterator<Item = Hold> {
        let newest = self.buyer(buyer).and_then(|buyer| buyer.last_hold.get());
        std::iter::successors(newest.map(|index| self.hold_at(index)), |hold| {
            hold.previous.map(|index| self.hold_at(index))
        })
    }

    /// Applies one recorded event. The next event of the stream, and no other.
    ///
    /// # Panics
    /// When history cannot contain the event: it would oversell, resolve a hold twice, or name what is not there.
    pub fn evolve(&mut self, event: &DropEvent) {
        match event {
            DropEvent::DropScheduled(event) => self.scheduled(event),
            DropEvent::DropRescheduled(event) => self.rescheduled(event),
            DropEvent::DropCancelled(event) => self.cancelled(event),
            DropEvent::HoldPlaced(event) => self.placed(event),
            DropEvent::HoldExpired(event) => self.expired(event),
            DropEvent::HoldReleased(event) => self.released(event),
            DropEvent::PurchaseConfirmed(event) => self.purchased(event),
            DropEvent::StockAdjusted(event) => self.adjusted(event),
            DropEvent::WaitlistJoined(event) => self.joined(event),
            DropEvent::WaitlistLeft(event) => self.left(event),
        }
        self.sequence = self.sequence.next();
    }

    /// Passes over an event of the stream that has no effect, because it was declared void: the
    /// event keeps its place, and the stream continues after it.
    pub fn pass_over(&mut self, sequence: Sequence) {
        self.sequence = self.sequence.max(sequence);
    }

    fn scheduled(&mut self, event: &DropScheduled) {
        assert!(self.origin.is_none(), "a drop was scheduled twice");
        let total = event.total_stock.get();
        self.origin = Some(Origin {
            key: event.key,
            total,
            scheduled_at: event.scheduled_at,
        });
        self.terms.push(event.terms.clone());
        self.stock = Stock::new(total);
    }

    fn rescheduled(&mut self, event: &DropRescheduled) {
        assert!(
            self.origin.is_some(),
            "a drop was rescheduled before it was scheduled"
        );
        assert!(
            self.cancelled_at.is_none(),
            "a cancelled drop was rescheduled"
        );
        self.terms.push(event.terms.clone());
        self.assess_if_limits_changed(&event.terms, self.terms.len() - 2);
    }

    /// Assesses who may be served, unless the terms at `index` of all had the same limits.
    fn assess_if_limits_changed(&mut self, terms: &DropTerms, index: usize) {
        let limits = |terms: &DropTerms| (terms.max_per_hold, terms.max_per_buyer);
        if !self.line.is_empty() && limits(terms) != limits(&self.terms[index]) {
            self.assess_all();
        }
    }

    fn cancelled(&mut self, event: &DropCancelled) {
        assert!(
            self.origin.is_some(),
            "a drop was cancelled before it was scheduled"
        );
        assert!(self.cancelled_at.is_none(), "a drop was cancelled twice");
        self.cancelled_at = Some(event.cancelled_at);
    }

    fn placed(&mut self, event: &HoldPlaced) {
        assert!(
            self.origin.is_some(),
            "a hold was placed before its drop was scheduled"
        );
        assert!(
            self.cancelled_at.is_none(),
            "a hold was placed in a cancelled drop"
        );
        self.stock.hold(event.quantity.get());
        let index = index_of(self.holds.len());
        let buyer = self.meet(event.buyer);
        let held = &mut self.buyers[buyer];
        held.held += event.quantity.get();
        let previous = std::mem::replace(&mut held.last_hold, index.into());
        self.index_hold(event.hold_id, index);
        self.index_key(event.key, Keyed::Hold(index));
        if let Some(entry_id) = event.waitlist_entry {
            self.offered(entry_id, event.hold_id, buyer, event.quantity);
        }
        let hold = Hold {
            id: event.hold_id,
            key: event.key,
            quantity: event.quantity,
            placed_at: event.placed_at,
            expires_at: event.expires_at,
            status: HoldStatus::Held,
            resolved_at: Timestamp::default(),
            buyer,
            terms: index_of(self.terms.len()) - 1,
            previous: previous.get(),
        };
        self.holds.push(hold.into());
        self.assess(buyer);
    }

    fn expired(&mut self, event: &HoldExpired) {
        let at = event.expired_at;
        let hold = self.resolve(event.hold_id, HoldStatus::Expired, at);
        self.check_terms_of(&hold, event.buyer, event.quantity);
        let (buyer, quantity) = (hold.buyer, hold.quantity.get());
        assert!(at >= hold.expires_at, "a hold expired early");
        self.stock.free(quantity);
        self.buyers[buyer].held -= quantity;
        self.assess(buyer);
    }

    fn released(&mut self, event: &HoldReleased) {
        let hold = self.resolve(event.hold_id, HoldStatus::Released, event.released_at);
        self.check_terms_of(&hold, event.buyer, event.quantity);
        let (buyer, quantity) = (hold.buyer, hold.quantity.get());
        assert!(
            event.released_at < hold.expires_at,
            "a hold was released after it expired"
        );
        self.stock.free(quantity);
        self.buyers[buyer].held -= quantity;
        self.assess(buyer);
    }

    fn purchased(&mut self, event: &PurchaseConfirmed) {
        let hold = self.resolve(event.hold_id, HoldStatus::Purchased, event.purchased_at);
        self.check_terms_of(&hold, event.buyer, event.quantity);
        let (buyer, quantity) = (hold.buyer, hold.quantity.get());
        assert!(
            event.purchased_at < hold.expires_at,
            "a hold was purchased after it expired"
        );
        assert!(
            self.cancelled_at.is_none(),
            "a hold of a cancelled drop was purchased"
        );
        self.stock.sell(quantity);
        let buyer = &mut self.buyers[buyer];
        buyer.held -= quantity;
        buyer.purchased += quantity;
    }

    fn adjusted(&mut self, event: &StockAdjusted) {
        assert!(
            self.origin.is_some(),
            "stock was adjusted before its drop was scheduled"
        );
        assert!(
            self.cancelled_at.is_none(),
            "the stock of a cancelled drop was adjusted"
        );
        self.stock.adjust(event.delta);
        assert!(
            self.stock == event.stock,
            "an adjustment states another stock than it leads to"
        );
        let index = index_of(self.adjustments.len());
        self.index_key(event.key, Keyed::Adjustment(index));
        self.adjustments.push(Adjustment {
            id: event.adjustment_id,
            key: event.key,
            delta: event.delta,
            reason: event.reason.clone(),
            stock: self.stock,
        });
    }

    fn resolve(&mut self, hold_id: HoldId, status: HoldStatus, at: Timestamp) -> Hold {
        let index = self.index_of_hold(hold_id);
        let hold = &mut self.holds[index];
        assert!(
            hold.status == HoldStatus::Held,
            "hold {hold_id} was resolved twice"
        );
        hold.resolve(status, at);
        let resolved = hold.unpack();
        if index == self.first_held {
            self.pass_resolved();
        }
        resolved
    }

    /// Moves on to the first hold that is not resolved.
    fn pass_resolved(&mut self) {
        let is_resolved = |hold: &PackedHold| hold.status != HoldStatus::Held;
        while self
            .holds
            .get(self.first_held as usize)
            .is_some_and(is_resolved)
        {
            self.first_held += 1;
        }
    }

    /// The read models count what an event states, and this aggregate what the hold says: the two
    /// must not differ.
    fn check_terms_of(&self, hold: &Hold, buyer: Pseudonym, quantity: Quantity) {
        assert!(
            hold.quantity == quantity,
            "a hold was resolved with another quantity"
        );
        assert!(
            self.buyer_at(hold.buyer).id == buyer,
            "a hold was resolved by another buyer"
        );
    }

    fn meet(&mut self, buyer: Pseudonym) -> u32 {
        let next = index_of(self.buyers.len());
        if let Some(known) = self.index_buyer(buyer, next) {
            return known;
        }
        self.buyers.push(Buyer {
            id: buyer,
            held: 0,
            purchased: 0,
            last_hold: Link::NONE,
        });
        next
    }

    fn hold_at(&self, index: u32) -> Hold {
        self.holds[index].unpack()
    }

    fn buyer_at(&self, index: u32) -> &Buyer {
        &self.buyers[index]
    }
}

fn index_of(length: usize) -> u32 {
    u32::try_from(length).expect("fewer than four billion entries in one drop")
}
