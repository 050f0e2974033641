//! The state that the engine decides on: each drop's aggregate, its buyers, and the indexes that
//! find them.
//!
//! Promise: `apply` in log order gives the same state on every node. `revert` is its exact inverse,
//! newest event first, except for due work, which consists of hints (see [`super::due_work`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use domain::drop::{Hold, HoldStatus};
use domain::private::Private;
use domain::sale::SaleFact;
use domain::values::{
    BuyerId, DisplayName, DropId, HoldId, KeyDigest, OrderId, PaymentReference, Pseudonym,
    Sequence, Timestamp, WaitlistId,
};
use domain::{DropAggregate, DropEvent, OrderEvent};
use infrastructure::quarantine::RefusedEvent;

use super::buyer_index::{BuyerIndex, DigestKey, Introduced, Known, Match};
use super::deadlines::CursorHold;
use super::due_work::DueWork;
use super::groups::{GroupSlot, Groups};
use super::orders::{OrderUndo, Orders};

/// A drop's index in the engine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DropSlot(pub(super) u32);

impl DropSlot {
    pub(super) const fn number(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(super) struct DropState {
    pub(super) id: DropId,
    pub(super) aggregate: DropAggregate,
    pub(super) buyers: BuyerIndex,
    /// Waiting entries of erased buyers: nothing is offered to them any more.
    pub(super) leaving: BTreeSet<WaitlistId>,
    /// The drops with which it shares the limit per buyer.
    pub(super) group: Option<GroupSlot>,
}

impl DropState {
    /// The buyer with this id, if the drop knows one.
    pub(super) fn buyer(&self, buyer_id: &BuyerId) -> Option<(Known, Match)> {
        self.buyers.find(buyer_id)
    }

    /// Reports whether the buyer already has this display name.
    pub(super) fn shows(&self, known: Known, name: &DisplayName) -> bool {
        self.buyers.shows(known, name)
    }

    pub(super) fn pseudonym(&self, known: Known) -> Pseudonym {
        self.aggregate.pseudonym_at(known.buyer)
    }

    /// Reports whether the purchase of a hold is known to have been recorded with this payment
    /// reference.
    pub(super) fn was_paid_by(&self, hold_id: HoldId, reference: &PaymentReference) -> bool {
        let hold = self.aggregate.hold_index(hold_id);
        hold.is_some_and(|hold| self.buyers.was_paid_by(hold, reference))
    }

    /// Remembers the payment reference that was recorded with a purchase.
    fn keep_payment(&mut self, hold_id: HoldId, private: Option<&Private>) {
        let reference = private.and_then(|private| private.payment_reference.as_ref());
        let hold = self.aggregate.hold_index(hold_id);
        if let Some((hold, reference)) = hold.zip(reference) {
            self.buyers.keep_payment(hold, reference);
        }
    }

    fn revert_payment(&mut self, hold_id: HoldId) {
        if let Some(hold) = self.aggregate.hold_index(hold_id) {
            self.buyers.remove_payment(hold);
        }
    }

    /// Remembers the buyer introduced by an event that the aggregate has applied.
    fn introduce(&mut self, pseudonym: Pseudonym, private: Option<&Private>) -> Option<Introduced> {
        let buyer = self.aggregate.index_of_buyer(pseudonym)?;
        self.buyers.introduce(buyer, private?)
    }

    fn roll_back(&mut self, undo: Undo) {
        if let Some(introduced) = undo.introduced {
            self.buyers.roll_back(introduced);
        }
    }

    fn forget(&mut self, pseudonym: Pseudonym) {
        if let Some(buyer) = self.aggregate.index_of_buyer(pseudonym) {
            self.buyers.forget(buyer);
        }
        for hold in self.aggregate.holds_of(pseudonym) {
            if hold.status == HoldStatus::Purchased
                && let Some(hold) = self.aggregate.hold_index(hold.id)
            {
                self.buyers.remove_payment(hold);
            }
        }
    }
}

/// A unit of due work: one event, if the aggregate agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A hold has expired.
    Expiry(DropId, HoldId),
    /// A waitlist entry of an erased buyer still waits.
    Leaving(DropId, WaitlistId),
    /// Units are available that a waitlist entry could use.
    Offer(DropId),
    /// The start or the end of a drop was reached.
    Sale(DropId),
    /// A cancelled drop still has a hold or a waitlist entry to end.
    Closing(DropId),
    /// A hold of a pending order has ended, so the order ends.
    Order(OrderId),
}

/// What `apply` changed outside the aggregate, so that `revert` can undo it.
#[derive(Debug, Default)]
pub(super) struct Undo {
    introduced: Option<Introduced>,
    /// The same for the group of the drop.
    in_group: Option<Box<Introduced>>,
}

impl Undo {
    fn of(introduced: Option<Introduced>) -> Self {
        Self {
            introduced,
            in_group: None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) digest_key: DigestKey,
    pub(super) drops: Vec<DropState>,
    pub(super) slots: HashMap<DropId, DropSlot>,
    /// Drops by the prefix that they share with the ids of their holds; nearly always one.
    pub(super) by_prefix: HashMap<[u8; 4], Vec<DropSlot>>,
    /// Holds whose id does not carry their drop's prefix: placed by a stock program.
    pub(super) strays: HashMap<HoldId, DropSlot>,
    /// The same for waitlist entries.
    pub(super) stray_entries: HashMap<WaitlistId, DropSlot>,
    pub(super) schedule_keys: HashMap<KeyDigest, DropId>,
    due_work: DueWork,
    /// Every erased buyer, also of drops in quarantine.
    erased: HashSet<(DropId, Pseudonym)>,
    pub(super) quarantined: BTreeMap<DropId, Arc<RefusedEvent>>,
    pub(super) orders: Orders,
    pub(super) groups: Groups,
}

impl State {
    pub(super) fn drop(&self, drop_id: DropId) -> Option<&DropState> {
        let slot = self.slots.get(&drop_id)?;
        (!self.is_quarantined(drop_id)).then(|| self.at(*slot))
    }

    /// The sequence of the next event in a drop's stream.
    pub(super) fn next_sequence(&self, drop_id: DropId) -> Sequence {
        self.drop(drop_id)
            .map_or(Sequence::default(), |drop| drop.aggregate.sequence())
            .next()
    }

    /// The drop that was scheduled with this key; the first, if a stock program reused it.
    pub(super) fn scheduled_with(&self, key: KeyDigest) -> Option<DropId> {
        self.schedule_keys.get(&key).copied()
    }

    pub(super) fn drop_of(&self, hold_id: HoldId) -> Option<&DropState> {
        let mut candidates = self.by_prefix.get(&hold_id.prefix()).into_iter().flatten();
        candidates
            .find(|&&slot| self.at(slot).aggregate.hold(hold_id).is_some())
            .or_else(|| self.strays.get(&hold_id))
            .map(|&slot| self.at(slot))
    }

    /// The drop of this waitlist entry.
    pub(super) fn drop_of_entry(&self, entry_id: WaitlistId) -> Option<&DropState> {
        let mut candidates = self.by_prefix.get(&entry_id.prefix()).into_iter().flatten();
        candidates
            .find(|&&slot| self.at(slot).aggregate.entry(entry_id).is_some())
            .or_else(|| self.stray_entries.get(&entry_id))
            .map(|&slot| self.at(slot))
    }

    /// The next time at which work may be due.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        match self.orders.has_ended() {
            true => Some(Timestamp::default()),
            false => self.due_work.next(),
        }
    }

    /// The next work that was due by `until`, as of `now`; drops take turns. An expiry is returned
    /// once.
    pub(super) fn next_due(&mut self, until: Timestamp, now: Timestamp) -> Option<Due> {
        if let Some(order_id) = self.orders.next_ended() {
            return Some(Due::Order(order_id));
        }
        loop {
            let slot = self.due_work.turn(until)?;
            let is_left = self.due_work.of(slot).left_until > now;
            let due = match is_left {
                true => None,
                false => self.due_of(slot, until, now),
            };
            if due.is_some() {
                self.due_work.count();
                return due;
            }
            let next = self.next_of(slot, now);
            self.due_work.rest(next);
        }
    }

    /// A drop's work as of `now`, limited to work that was due by `until`.
    fn due_of(&mut self, slot: DropSlot, until: Timestamp, now: Timestamp) -> Option<Due> {
        if self.at(slot).aggregate.cancelled_at().is_some() {
            return self.consequence_of(slot, now);
        }
        if self.due_work.sale_at(slot).is_some_and(|at| at <= until) {
            if self.sale_is_due(slot, until) {
                return Some(Due::Sale(self.at(slot).id));
            }
            // The drop has entered quarantine, or was readmitted in another slot.
            self.due_work.of(slot).sale_at = None;
        }
        let due_work = self.due_work.of(slot);
        if due_work.waitlist_at.is_some_and(|at| at <= until) {
            let offer = self.consequence_of(slot, now);
            if offer.is_some() {
                return offer;
            }
            self.due_work.of(slot).waitlist_at = None;
        }
        let hold_id = self.overdue_of(slot, until)?;
        Some(Due::Expiry(self.at(slot).id, hold_id))
    }

    /// The next time at which a drop has work.
    fn next_of(&mut self, slot: DropSlot, now: Timestamp) -> Option<Timestamp> {
        let aggregate = &self.at(slot).aggregate;
        let closing = aggregate.cancelled_at().map(|_| aggregate.is_closing());
        let due_work = self.due_work.of(slot);
        let left_until = Some(due_work.left_until).filter(|until| *until > now);
        let next = match closing {
            Some(is_closing) => is_closing.then(Timestamp::default),
            None => due_work
                .deadlines
                .next()
                .into_iter()
                .chain(due_work.waitlist_at)
                .chain(due_work.sale_at)
                .min(),
        };
        next.map(|at| left_until.map_or(at, |until| until.max(at)))
    }

    /// The consequence of a drop's last event that can be recorded at `now`.
    pub(super) fn consequence(&self, drop_id: DropId, now: Timestamp) -> Option<Due> {
        let slot = *self.slots.get(&drop_id)?;
        if self.sale_is_due(slot, now) {
            return Some(Due::Sale(drop_id));
        }
        self.consequence_of(slot, now)
    }

    /// Reports whether a start or an end of the drop was reached by `until` and is not recorded.
    fn sale_is_due(&self, slot: DropSlot, until: Timestamp) -> bool {
        let is_due = self.due_work.sale_at(slot).is_some_and(|at| at <= until);
        is_due && self.at(slot).aggregate.start_or_end(until).is_some()
    }

    /// The drop's next start or end may have changed.
    fn check_sale(&mut self, slot: DropSlot) {
        let next = self.at(slot).aggregate.next_sale_fact();
        let sale_at = next.map(SaleFact::at);
        self.due_work.of(slot).sale_at = sale_at;
        if let Some(at) = sale_at {
            self.due_work.list(slot, at);
        }
    }

    fn consequence_of(&self, slot: DropSlot, now: Timestamp) -> Option<Due> {
        let DropState {
            id,
            aggregate,
            leaving,
            ..
        } = self.at(slot);
        if aggregate.is_closing() {
            return Some(Due::Closing(*id));
        }
        // Before any offer, so that no unit is held for an erased buyer.
        if let Some(entry_id) = leaving.first() {
            return Some(Due::Leaving(*id, *entry_id));
        }
        aggregate.next_entry_to_offer(now)?;
        // An offer depends on the buyer's units in all drops of the group.
        let is_known = self.quarantined_in_group(*id).is_none();
        is_known.then_some(Due::Offer(*id))
    }

    /// The next hold of a drop that expired by `until` without a recorded expiry. Each is returned
    /// once.
    pub(super) fn overdue(&mut self, drop_id: DropId, until: Timestamp) -> Option<HoldId> {
        let slot = *self.slots.get(&drop_id)?;
        self.overdue_of(slot, until)
    }

    /// Reports whether a drop may have holds that expired by `until` without a recorded expiry.
    pub(super) fn may_be_overdue(&mut self, drop_id: DropId, until: Timestamp) -> bool {
        let Some(&slot) = self.slots.get(&drop_id) else {
            return false;
        };
        let next = self.due_work.of(slot).deadlines.next();
        next.is_some_and(|at| at <= until)
    }

    fn overdue_of(&mut self, slot: DropSlot, until: Timestamp) -> Option<HoldId> {
        let aggregate = &self.drops[slot.number()].aggregate;
        let meet = |hold: u32| {
            aggregate.nth_hold(hold).map(|hold| match hold.status {
                HoldStatus::Held => CursorHold::Held(hold.expires_at),
                HoldStatus::Purchased | HoldStatus::Expired | HoldStatus::Released => {
                    CursorHold::Resolved
                }
            })
        };
        let is_overdue = |hold: &Hold| hold.status == HoldStatus::Held && hold.expires_at <= until;
        let deadlines = &mut self.due_work.of(slot).deadlines;
        while let Some(hold) = deadlines.pop_due(until, meet) {
            if let Some(hold) = aggregate.nth_hold(hold).filter(is_overdue) {
                return Some(hold.id);
            }
        }
        None
    }

    /// Another node is doing this drop's due work: leave it to that node until `until`.
    pub(super) fn leave_due(&mut self, drop_id: DropId, until: Timestamp) {
        if let Some(&slot) = self.slots.get(&drop_id) {
            self.due_work.of(slot).left_until = until;
        }
    }

    pub(super) fn apply(
        &mut self,
        drop_id: DropId,
        event: &DropEvent,
        private: Option<&Private>,
    ) -> Undo {
        let slot = self.slot(drop_id);
        let mut undo = self.apply_in_drop(slot, event, private);
        if let Some(group) = self.at(slot).group {
            let introduced = self.follow_in_group(group, slot, event, private);
            undo.in_group = introduced.map(Box::new);
        }
        undo
    }

    fn apply_in_drop(
        &mut self,
        slot: DropSlot,
        event: &DropEvent,
        private: Option<&Private>,
    ) -> Undo {
        let drop = &mut self.drops[slot.0 as usize];
        let drop_id = drop.id;
        drop.aggregate.evolve(event);
        self.orders.note(event);
        match event {
            DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                if let Some(key) = event.key {
                    self.schedule_keys.entry(key).or_insert(drop_id);
                }
                let group = event.terms.limit_group.as_ref();
                drop.group = group.map(|name| self.groups.join(name, drop_id, self.digest_key));
                self.check_sale(slot);
                Undo::default()
            }
            DropEvent::HoldPlaced(event) => {
                if let Some(entry_id) = event.waitlist_entry {
                    drop.leaving.remove(&entry_id);
                }
                let introduced = drop.introduce(event.buyer, private);
                let hold = drop.aggregate.newest_hold().expect("placed just now");
                if event.hold_id.prefix() != drop_id.prefix() {
                    self.strays.insert(event.hold_id, slot);
                }
                let deadlines = &mut self.due_work.of(slot).deadlines;
                deadlines.placed(event.expires_at, hold);
                self.due_work.list(slot, event.expires_at);
                Undo::of(introduced)
            }
            DropEvent::HoldExtended(event) => {
                self.move_deadline(slot, event.hold_id);
                Undo::default()
            }
            DropEvent::WaitlistJoined(event) => {
                let introduced = drop.introduce(event.buyer, private);
                if event.entry_id.prefix() != drop_id.prefix() {
                    self.stray_entries.insert(event.entry_id, slot);
                }
                self.check_leaving(slot, event.buyer);
                // The entry may request less than is available, if offers were still pending when
                // it joined.
                self.check_waitlist(slot);
                Undo::of(introduced)
            }
            DropEvent::DropCancelled(_) => {
                self.check_soon(slot);
                Undo::default()
            }
            DropEvent::DropRescheduled(_) => {
                self.check_sale(slot);
                self.check_waitlist(slot);
                Undo::default()
            }
            DropEvent::DropStarted(_) | DropEvent::DropEnded(_) | DropEvent::DropPublished(_) => {
                self.check_sale(slot);
                Undo::default()
            }
            DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_) => {
                self.check_waitlist(slot);
                Undo::default()
            }
            DropEvent::PurchaseConfirmed(event) => {
                drop.keep_payment(event.hold_id, private);
                Undo::default()
            }
            DropEvent::WaitlistLeft(event) => {
                drop.leaving.remove(&event.entry_id);
                Undo::default()
            }
            DropEvent::DropResumed(_) => {
                self.check_waitlist(slot);
                Undo::default()
            }
            DropEvent::DropPaused(_) | DropEvent::CodesCreated(_) => Undo::default(),
        }
    }

    /// If the buyer was erased, the entry with which they wait leaves as soon as possible.
    fn check_leaving(&mut self, slot: DropSlot, buyer: Pseudonym) {
        let drop = &mut self.drops[slot.number()];
        if !self.erased.contains(&(drop.id, buyer)) {
            return;
        }
        if let Some(entry) = drop.aggregate.waiting_entry_of(buyer) {
            drop.leaving.insert(entry.id);
            self.due_work.of(slot).waitlist_at = Some(Timestamp::default());
            self.check_soon(slot);
        }
    }

    pub(super) fn apply_order(
        &mut self,
        order_id: OrderId,
        event: &OrderEvent,
        private: Option<&Private>,
    ) -> OrderUndo {
        self.orders.apply(order_id, event, private, self.digest_key)
    }

    /// Units may be available for the waitlist: check as soon as the drop is on sale.
    pub(super) fn check_waitlist(&mut self, slot: DropSlot) {
        let aggregate = &self.at(slot).aggregate;
        if !aggregate.waitlist().is_empty()
            && let Some(terms) = aggregate.terms()
        {
            let at = terms.starts_at;
            let waitlist_at = &mut self.due_work.of(slot).waitlist_at;
            *waitlist_at = Some(waitlist_at.map_or(at, |before| before.min(at)));
            self.due_work.list(slot, at);
        }
    }

    /// Checks the drop's work as soon as possible.
    fn check_soon(&mut self, slot: DropSlot) {
        self.due_work.list(slot, Timestamp::default());
    }

    /// Reverts the event that was applied last.
    pub(super) fn revert(&mut self, drop_id: DropId, event: &DropEvent, mut undo: Undo) {
        let slot = self.slot(drop_id);
        let (group, in_group) = (self.at(slot).group, undo.in_group.take());
        self.revert_in_drop(slot, event, undo);
        if let Some(group) = group {
            self.revert_in_group(group, slot, event, in_group.map(|introduced| *introduced));
        }
    }

    fn revert_in_drop(&mut self, slot: DropSlot, event: &DropEvent, undo: Undo) {
        let drop = &mut self.drops[slot.0 as usize];
        drop.aggregate.revert(event);
        match event {
            DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                if let Some(key) = event.key {
                    self.schedule_keys.remove(&key);
                }
                if let Some(group) = drop.group.take() {
                    self.groups.leave(group, drop.id);
                }
            }
            DropEvent::HoldPlaced(event) => {
                self.strays.remove(&event.hold_id);
                drop.roll_back(undo);
                if event.waitlist_entry.is_some() {
                    self.check_waitlist(slot);
                    self.check_leaving(slot, event.buyer);
                }
            }
            DropEvent::WaitlistJoined(event) => {
                self.stray_entries.remove(&event.entry_id);
                drop.leaving.remove(&event.entry_id);
                drop.roll_back(undo);
            }
            DropEvent::HoldExtended(event) => self.move_deadline(slot, event.hold_id),
            DropEvent::HoldExpired(event) => self.reschedule_hold(slot, event.hold_id),
            DropEvent::HoldReleased(event) => self.reschedule_hold(slot, event.hold_id),
            DropEvent::PurchaseConfirmed(event) => {
                drop.revert_payment(event.hold_id);
                self.reschedule_hold(slot, event.hold_id);
            }
            DropEvent::DropCancelled(_) => {
                self.check_sale(slot);
                self.check_soon(slot);
            }
            DropEvent::WaitlistLeft(event) => {
                self.check_soon(slot);
                self.check_leaving(slot, event.buyer);
            }
            DropEvent::DropRescheduled(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_) => self.check_sale(slot),
            // Offers that were due may have been passed over.
            DropEvent::DropPaused(_) => self.check_waitlist(slot),
            DropEvent::HoldChanged(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::DropResumed(_)
            | DropEvent::CodesCreated(_) => {}
        }
    }

    /// An unresolved hold has another deadline than before.
    fn move_deadline(&mut self, slot: DropSlot, hold_id: HoldId) {
        let aggregate = &self.at(slot).aggregate;
        if let Some((index, hold)) = aggregate.hold_index(hold_id).zip(aggregate.hold(hold_id)) {
            let deadlines = &mut self.due_work.of(slot).deadlines;
            deadlines.moved(hold.expires_at, index);
            self.due_work.list(slot, hold.expires_at);
        }
    }

    /// A hold is unresolved again; its deadline may have been removed meanwhile.
    fn reschedule_hold(&mut self, slot: DropSlot, hold_id: HoldId) {
        let aggregate = &self.at(slot).aggregate;
        if let Some((hold, at)) = aggregate.hold_index(hold_id).zip(aggregate.hold(hold_id)) {
            self.due_work.of(slot).deadlines.push(at.expires_at, hold);
            // In a cancelled drop it is due immediately.
            self.check_soon(slot);
        }
    }

    /// Erases a buyer's id, of a drop or of an order; the holds stay, and a waiting entry leaves.
    /// The same buyer is a new buyer to the drop from then on.
    pub(super) fn forget(&mut self, drop_id: DropId, buyer: Pseudonym) {
        self.erased.insert((drop_id, buyer));
        match self.slots.get(&drop_id).copied() {
            Some(slot) => {
                let drop = &mut self.drops[slot.0 as usize];
                drop.forget(buyer);
                if let Some(group) = drop.group {
                    self.groups.forget(group, buyer);
                }
                self.check_leaving(slot, buyer);
            }
            None => self.orders.forget(OrderId(drop_id.0)),
        }
    }

    pub(super) fn slot(&mut self, drop_id: DropId) -> DropSlot {
        if let Some(&slot) = self.slots.get(&drop_id) {
            return slot;
        }
        let slot =
            DropSlot(u32::try_from(self.drops.len()).expect("fewer than four billion drops"));
        self.drops.push(DropState {
            id: drop_id,
            aggregate: DropAggregate::default(),
            buyers: BuyerIndex::new(self.digest_key),
            leaving: BTreeSet::new(),
            group: None,
        });
        self.slots.insert(drop_id, slot);
        self.by_prefix
            .entry(drop_id.prefix())
            .or_default()
            .push(slot);
        slot
    }

    fn at(&self, slot: DropSlot) -> &DropState {
        &self.drops[slot.0 as usize]
    }
}
