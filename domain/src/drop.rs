//! `DropAggregate`: the state that one decision about a drop depends on, rebuilt from the drop's
//! events alone.
//!
//! Promise: `available + held + sold == total` after every event, and a hold is resolved at most
//! once; both are asserted where the state changes. `decide` (in [`crate::decide`]) may refuse;
//! [`DropAggregate::evolve`] may not, because past events are facts: an event that history can
//! never contain panics.
//! Limit: the aggregate keeps every hold that was ever placed. One hold takes about 85 bytes, its
//! buyer 35, and the id of its order, if it has one, some 25 more.

mod changes;
pub mod codes;
mod first_fit;
mod group;
mod indexes;
mod packed;
mod pauses;
pub mod refunds;
mod revert;
mod stored;
pub mod waitlist;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use self::codes::Codes;
use self::indexes::{Keyed, PackedKeyed};
use self::packed::PackedHold;
use self::pauses::Pauses;
use self::refunds::{Refund, Refunded};
use self::stored::StoredAggregate;
use self::waitlist::{Waitlist, WaitlistEntry};
use crate::chunks::Chunks;
use crate::event::{
    DropCancelled, DropEnded, DropEvent, DropRescheduled, DropScheduled, DropStarted, HoldExpired,
    HoldPlaced, HoldReleased, PurchaseConfirmed, StockAdjusted,
};
use crate::lookup::Lookup;
use crate::packed::Link;
use crate::sale::{Sale, SaleFact};
use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{
    AdjustmentId, HoldId, KeyDigest, OrderId, Pseudonym, Quantity, Reason, Sequence, Timestamp,
    WaitlistId,
};

/// The state of a hold. Only `Held` may change, and only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldStatus {
    /// The units are set aside.
    Held,
    /// The hold was paid for.
    Purchased,
    /// The deadline passed.
    Expired,
    /// The buyer or a cancellation released it.
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub id: HoldId,
    /// The idempotency key that it was placed with.
    pub key: Option<KeyDigest>,
    /// Units set aside.
    pub quantity: Quantity,
    pub placed_at: Timestamp,
    /// The first instant at which the hold is over.
    pub expires_at: Timestamp,
    pub status: HoldStatus,
    /// The time of its resolution; meaningless while `Held`.
    pub resolved_at: Timestamp,
    /// Index of the buyer in the aggregate.
    buyer: u32,
    /// Index of the terms in force when it was placed; they set its price.
    terms: u32,
    /// Index of the same buyer's previous hold. The chain lists a buyer's holds, newest first.
    previous: Option<u32>,
}

/// A buyer's units in a drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buyer {
    pub id: Pseudonym,
    /// Units in unresolved holds.
    pub held: u32,
    /// Units purchased and not refunded.
    pub purchased: u32,
    last_hold: Link,
}

/// A recorded stock adjustment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    pub id: AdjustmentId,
    /// The idempotency key that it was made with.
    pub key: Option<KeyDigest>,
    /// Units added, or removed when negative.
    pub delta: i32,
    pub reason: Reason,
    /// The stock right after the adjustment.
    pub stock: Stock,
}

/// How and when the drop was scheduled. A repeated request to schedule it is compared with this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub key: Option<KeyDigest>,
    /// Units offered when it was scheduled.
    pub total: u32,
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
    /// The sale under each version of the terms.
    sales: Vec<Sale>,
    cancelled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Pauses::is_empty")]
    pauses: Pauses,
    stock: Stock,
    holds: Chunks<PackedHold>,
    /// Index of the first unresolved hold; the number of holds if all are resolved.
    #[serde(skip)]
    first_held: u32,
    /// The units with which a hold was placed, by its index, if it has another number of units now.
    placed_quantities: BTreeMap<u32, Quantity>,
    buyers: Chunks<Buyer>,
    adjustments: Vec<Adjustment>,
    refunds: Vec<Refund>,
    /// The refunds of each purchase together, by the index of its hold.
    #[serde(skip)]
    refunded: HashMap<u32, Refunded>,
    #[serde(rename = "line")]
    waitlist: Waitlist,
    /// The orders that holds belong to, by the index of the hold. Holds that were requested alone
    /// have no entry.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    orders: HashMap<u32, OrderId>,
    /// The units that buyers have taken in the other drops of the limit group, see [`group`]. Empty
    /// for a drop without a group.
    #[serde(skip)]
    elsewhere: HashMap<Pseudonym, u32>,
    #[serde(default, skip_serializing_if = "Codes::is_empty")]
    codes: Codes,
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
            && self.sales == other.sales
            && self.cancelled_at == other.cancelled_at
            && self.pauses == other.pauses
            && self.stock == other.stock
            && self.holds == other.holds
            && self.first_held == other.first_held
            && self.placed_quantities == other.placed_quantities
            && self.buyers == other.buyers
            && self.adjustments == other.adjustments
            && self.refunds == other.refunds
            && self.refunded == other.refunded
            && self.waitlist == other.waitlist
            && self.orders == other.orders
            && self.elsewhere == other.elsewhere
            && self.codes == other.codes
            && self.hold_index == other.hold_index
            && self.buyer_index == other.buyer_index
            && self.key_index == other.key_index
    }
}

impl DropAggregate {
    /// Returns the sequence of the last applied event; 0 if there is none.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Returns how the drop was scheduled; `None` if it was not.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Returns the terms in force; `None` if the drop was never scheduled.
    #[must_use]
    pub fn terms(&self) -> Option<&DropTerms> {
        self.terms.last()
    }

    #[must_use]
    pub fn first_terms(&self) -> Option<&DropTerms> {
        self.terms.first()
    }

    /// Returns the version of the terms: 1 after scheduling, plus one for each edit, for the
    /// publication and for the cancellation.
    #[must_use]
    pub fn terms_version(&self) -> u32 {
        index_of(self.terms.len()) + u32::from(self.cancelled_at.is_some())
    }

    /// Returns the start or the end of the drop that is recorded next; `None` if there is none, as
    /// in a draft and in a cancelled drop.
    #[must_use]
    pub fn next_sale_fact(&self) -> Option<SaleFact> {
        let sale = self.sales.last().filter(|_| self.cancelled_at.is_none());
        sale.filter(|_| !self.is_draft())?.next()
    }

    /// Returns the event of the start or the end that is true at `at` and not recorded yet.
    #[must_use]
    pub fn start_or_end(&self, at: Timestamp) -> Option<DropEvent> {
        let fact = self.next_sale_fact().filter(|fact| fact.at() <= at)?;
        Some(match fact {
            SaleFact::Started(started_at) => DropEvent::DropStarted(DropStarted { started_at }),
            SaleFact::Ended(ended_at) => DropEvent::DropEnded(DropEnded { ended_at }),
        })
    }

    #[must_use]
    pub const fn cancelled_at(&self) -> Option<Timestamp> {
        self.cancelled_at
    }

    /// Returns the stock. A hold counts as held until its expiry is recorded.
    #[must_use]
    pub const fn stock(&self) -> Stock {
        self.stock
    }

    #[must_use]
    pub fn hold(&self, hold_id: HoldId) -> Option<Hold> {
        self.hold_index(hold_id).map(|index| self.hold_at(index))
    }

    /// Returns the index of this hold in [`DropAggregate::holds`].
    #[must_use]
    pub fn hold_index(&self, hold_id: HoldId) -> Option<u32> {
        self.hold_index
            .find(&hold_id, |index| &self.holds[index].id)
    }

    /// Iterates over every hold, in the order of placement.
    pub fn holds(&self) -> impl Iterator<Item = Hold> {
        self.holds.iter().map(PackedHold::unpack)
    }

    /// Returns how many holds were ever placed.
    #[must_use]
    pub const fn holds_len(&self) -> usize {
        self.holds.len()
    }

    /// Returns the order that the hold belongs to.
    #[must_use]
    pub fn order_of(&self, hold_id: HoldId) -> Option<OrderId> {
        if self.orders.is_empty() {
            return None;
        }
        self.orders.get(&self.hold_index(hold_id)?).copied()
    }

    /// Returns the index of the newest hold, see [`DropAggregate::nth_hold`].
    #[must_use]
    pub fn newest_hold(&self) -> Option<u32> {
        self.holds.len().checked_sub(1).map(index_of)
    }

    /// Returns the hold at `index` in the order of placement, from 0.
    #[must_use]
    pub fn nth_hold(&self, index: u32) -> Option<Hold> {
        self.holds.get(index as usize).map(PackedHold::unpack)
    }

    /// Returns the oldest unresolved hold.
    #[must_use]
    pub fn first_held(&self) -> Option<Hold> {
        self.nth_hold(self.first_held)
    }

    /// Returns true if the drop was cancelled and still has holds or waitlist entries to resolve.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.cancelled_at.is_some() && (self.stock.held > 0 || !self.waitlist.is_empty())
    }

    /// Returns a hold's status and the time of its resolution. A cancellation resolves every hold,
    /// recorded or not: the hold expired if its deadline had passed by then, and was released at
    /// that instant otherwise.
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

    /// Returns the hold that was placed with this key.
    #[must_use]
    pub fn hold_by_key(&self, key: KeyDigest) -> Option<Hold> {
        match self.keyed(key) {
            Some(Keyed::Hold(index)) => Some(self.hold_at(index)),
            Some(Keyed::Adjustment(_) | Keyed::Entry(_) | Keyed::Refund(_) | Keyed::Codes(_))
            | None => None,
        }
    }

    /// Returns the version of the total number of units: how often it was changed, by adjustments
    /// and by refunds without restocking. It never decreases, so that changes that cancel each
    /// other are noticed.
    #[must_use]
    pub fn stock_version(&self) -> u32 {
        let unrestocked = self.refunds.iter().filter(|made| !made.restocked);
        index_of(self.adjustments.len() + unrestocked.count())
    }

    /// Returns the adjustment with this id. A linear search suffices: a drop has few adjustments,
    /// and only an administrator's request looks for one.
    #[must_use]
    pub fn adjustment(&self, id: AdjustmentId) -> Option<&Adjustment> {
        self.adjustments.iter().find(|made| made.id == id)
    }

    /// Returns the adjustment that was made with this key.
    #[must_use]
    pub fn adjustment_by_key(&self, key: KeyDigest) -> Option<&Adjustment> {
        match self.keyed(key) {
            Some(Keyed::Adjustment(index)) => self.adjustments.get(index as usize),
            Some(Keyed::Hold(_) | Keyed::Entry(_) | Keyed::Refund(_) | Keyed::Codes(_)) | None => {
                None
            }
        }
    }

    /// Returns the waitlist, with every entry that ever joined.
    #[must_use]
    pub const fn waitlist(&self) -> &Waitlist {
        &self.waitlist
    }

    #[must_use]
    pub fn entry(&self, entry_id: WaitlistId) -> Option<&WaitlistEntry> {
        self.waitlist.entry(entry_id)
    }

    /// Returns the waitlist entry that was joined with this key.
    #[must_use]
    pub fn entry_by_key(&self, key: KeyDigest) -> Option<&WaitlistEntry> {
        match self.keyed(key) {
            Some(Keyed::Entry(index)) => Some(self.waitlist.at(index)),
            Some(Keyed::Hold(_) | Keyed::Adjustment(_) | Keyed::Refund(_) | Keyed::Codes(_))
            | None => None,
        }
    }

    /// Returns true if `key` was used for any operation in this drop, including scheduling it.
    #[must_use]
    pub fn knows_key(&self, key: KeyDigest) -> bool {
        let scheduled_with = self.origin.as_ref().and_then(|origin| origin.key);
        scheduled_with == Some(key) || self.keyed(key).is_some()
    }

    /// Returns the buyer whose hold or waitlist entry was made with `key`.
    #[must_use]
    pub fn key_holder(&self, key: KeyDigest) -> Option<Pseudonym> {
        match self.keyed(key)? {
            Keyed::Hold(index) => Some(self.buyer_of(&self.hold_at(index))),
            Keyed::Entry(index) => Some(self.buyer_of_entry(self.waitlist.at(index)).id),
            Keyed::Adjustment(_) | Keyed::Refund(_) | Keyed::Codes(_) => None,
        }
    }

    /// Returns this buyer's units in the drop; `None` if they never held or waited.
    #[must_use]
    pub fn buyer(&self, buyer: Pseudonym) -> Option<&Buyer> {
        self.buyer_index(buyer).map(|index| self.buyer_at(index))
    }

    #[must_use]
    pub fn buyer_of(&self, hold: &Hold) -> Pseudonym {
        self.buyer_at(hold.buyer).id
    }

    /// Returns the terms in force when the hold was placed.
    #[must_use]
    pub fn terms_of(&self, hold: &Hold) -> &DropTerms {
        &self.terms[hold.terms as usize]
    }

    /// Iterates over a buyer's holds, newest first.
    pub fn holds_of(&self, buyer: Pseudonym) -> impl Iterator<Item = Hold> {
        let newest = self.buyer(buyer).and_then(|buyer| buyer.last_hold.get());
        std::iter::successors(newest.map(|index| self.hold_at(index)), |hold| {
            hold.previous.map(|index| self.hold_at(index))
        })
    }

    /// Applies one recorded event, which must be the next event of the stream.
    ///
    /// # Panics
    /// If history cannot contain the event: it would oversell, resolve a hold twice, or refer to an
    /// unknown object.
    pub fn evolve(&mut self, event: &DropEvent) {
        match event {
            DropEvent::DropScheduled(event) => self.scheduled(event, false),
            DropEvent::DropDrafted(event) => self.scheduled(event, true),
            DropEvent::DropPublished(event) => self.published(event),
            DropEvent::DropPaused(event) => self.paused(*event),
            DropEvent::DropResumed(event) => self.resumed(*event),
            DropEvent::DropRescheduled(event) => self.rescheduled(event),
            DropEvent::DropCancelled(event) => self.cancelled(event),
            DropEvent::DropStarted(event) => self.started(*event),
            DropEvent::DropEnded(event) => self.ended(*event),
            DropEvent::HoldPlaced(event) => self.placed(event),
            DropEvent::HoldExtended(event) => self.extended(event),
            DropEvent::HoldChanged(event) => self.changed(event),
            DropEvent::HoldExpired(event) => self.expired(event),
            DropEvent::HoldReleased(event) => self.released(event),
            DropEvent::PurchaseConfirmed(event) => self.purchased(event),
            DropEvent::PurchaseRefunded(event) => self.refund_purchase_of(event),
            DropEvent::StockAdjusted(event) => self.adjusted(event),
            DropEvent::WaitlistJoined(event) => self.joined(event),
            DropEvent::WaitlistLeft(event) => self.left(event),
            DropEvent::CodesCreated(event) => self.codes_created(event),
        }
        self.sequence = self.sequence.next();
    }

    /// Skips a void event of the stream: it keeps its sequence but has no effect.
    pub fn skip_void(&mut self, sequence: Sequence) {
        self.sequence = self.sequence.max(sequence);
    }

    fn scheduled(&mut self, event: &DropScheduled, is_draft: bool) {
        assert!(self.origin.is_none(), "a drop was scheduled twice");
        assert!(
            event.terms.draft == is_draft,
            "the terms of a drop are those of a draft, and it is none, or the reverse"
        );
        let total = event.total_stock.get();
        self.origin = Some(Origin {
            key: event.key,
            total,
            scheduled_at: event.scheduled_at,
        });
        self.terms.push(event.terms.clone());
        self.sales
            .push(Sale::scheduled(&event.terms, event.scheduled_at));
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
        assert!(
            event.terms.draft == self.is_draft(),
            "an edit published a draft, or made a drop a draft"
        );
        self.terms.push(event.terms.clone());
        let sale = self.sales.last().copied();
        let sale = sale.map(|sale| sale.rescheduled(&event.terms, event.rescheduled_at));
        self.sales.extend(sale);
        self.assess_if_limits_changed(&event.terms, self.terms.len() - 2);
    }

    /// Assesses all waiting entries again, unless the terms at `index` had the same limits.
    fn assess_if_limits_changed(&mut self, terms: &DropTerms, index: usize) {
        let limits = |terms: &DropTerms| (terms.max_per_hold, terms.max_per_buyer);
        if !self.waitlist.is_empty() && limits(terms) != limits(&self.terms[index]) {
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

    fn started(&mut self, event: DropStarted) {
        assert!(
            self.next_sale_fact() == Some(SaleFact::Started(event.started_at)),
            "a drop started twice, at another time, or after it was cancelled"
        );
        self.sale().is_started = true;
    }

    fn ended(&mut self, event: DropEnded) {
        assert!(
            self.next_sale_fact() == Some(SaleFact::Ended(event.ended_at)),
            "a drop ended twice, at another time, before it started, or after it was cancelled"
        );
        self.sale().is_ended = true;
    }

    fn sale(&mut self) -> &mut Sale {
        self.sales.last_mut().expect("a drop that was scheduled")
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
        self.assert_is_selling("a hold was placed");
        self.stock.hold(event.quantity.get());
        let index = index_of(self.holds.len());
        let buyer = self.intern_buyer(event.buyer);
        let held = &mut self.buyers[buyer];
        held.held += event.quantity.get();
        let previous = std::mem::replace(&mut held.last_hold, index.into());
        self.index_hold(event.hold_id, index);
        self.index_key(event.key, Keyed::Hold(index));
        if let Some(entry_id) = event.waitlist_entry {
            self.offered(entry_id, event.hold_id, buyer, event.quantity);
        }
        if let Some(order_id) = event.order_id {
            self.orders.insert(index, order_id);
        }
        self.use_code(index, event);
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
        self.check_resolution(&hold, event.buyer, event.quantity);
        let (buyer, quantity) = (hold.buyer, hold.quantity.get());
        assert!(at >= hold.expires_at, "a hold expired early");
        self.return_code(hold.id);
        self.stock.free(quantity);
        self.buyers[buyer].held -= quantity;
        self.assess(buyer);
    }

    fn released(&mut self, event: &HoldReleased) {
        let hold = self.resolve(event.hold_id, HoldStatus::Released, event.released_at);
        self.check_resolution(&hold, event.buyer, event.quantity);
        let (buyer, quantity) = (hold.buyer, hold.quantity.get());
        assert!(
            event.released_at < hold.expires_at,
            "a hold was released after it expired"
        );
        self.return_code(hold.id);
        self.stock.free(quantity);
        self.buyers[buyer].held -= quantity;
        self.assess(buyer);
    }

    fn purchased(&mut self, event: &PurchaseConfirmed) {
        let hold = self.resolve(event.hold_id, HoldStatus::Purchased, event.purchased_at);
        self.check_resolution(&hold, event.buyer, event.quantity);
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
            "a stock adjustment states a different stock than it results in"
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

    /// Advances `first_held` to the next unresolved hold.
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

    /// Projections use the numbers in the event, and this aggregate those of the hold: the two must
    /// not differ.
    fn check_resolution(&self, hold: &Hold, buyer: Pseudonym, quantity: Quantity) {
        assert!(
            hold.quantity == quantity,
            "a hold was resolved with a different quantity"
        );
        assert!(
            self.buyer_at(hold.buyer).id == buyer,
            "a hold was resolved for a different buyer"
        );
    }

    fn intern_buyer(&mut self, buyer: Pseudonym) -> u32 {
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
