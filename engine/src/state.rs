//! Everything the engine decides from: each drop's aggregate, who its buyers are, and the indexes that find them.
//!
//! Promise: `apply` in log order gives the same state on every node; `revert` is its exact inverse, newest first, but for
//! what is due, which are hints (see [`super::agenda`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use domain::drop::{Hold, HoldStatus};
use domain::private::Private;
use domain::values::{
    BuyerId, DisplayName, DropId, HoldId, KeyDigest, PaymentReference, Pseudonym, Sequence,
    Timestamp, WaitlistId,
};
use domain::{DropAggregate, DropEvent};
use infrastructure::quarantine::RefusedEvent;

use super::acquaintances::{Acquaintances, DigestKey, Introduced, Known};
use super::agenda::Agenda;
use super::deadlines::Met;

/// Where a drop is in the engine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DropSlot(pub(super) u32);

impl DropSlot {
    pub(super) const fn number(self) -> usize {
        self.0 as usize
    }
}

/// One drop in memory.
#[derive(Debug)]
pub(super) struct DropState {
    pub(super) id: DropId,
    pub(super) aggregate: DropAggregate,
    pub(super) people: Acquaintances,
}

impl DropState {
    /// The buyer of this name, if the drop knows one.
    pub(super) fn buyer(&self, buyer_id: &BuyerId) -> Option<Known> {
        self.people.find(buyer_id)
    }

    /// Whether a buyer shows this name already.
    pub(super) fn shows(&self, known: Known, name: &DisplayName) -> bool {
        self.people.shows(known, name)
    }

    /// A buyer as the log knows them.
    pub(super) fn pseudonym(&self, known: Known) -> Pseudonym {
        self.aggregate.pseudonym_at(known.buyer)
    }

    /// Whether the purchase of a hold is known to have been recorded with this payment reference.
    pub(super) fn was_paid_by(&self, hold_id: HoldId, reference: &PaymentReference) -> bool {
        let hold = self.aggregate.hold_index(hold_id);
        hold.is_some_and(|hold| self.people.was_paid_by(hold, reference))
    }

    /// Keeps the payment reference that stands beside a purchase.
    fn keep_payment(&mut self, hold_id: HoldId, private: Option<&Private>) {
        let reference = private.and_then(|private| private.payment_reference.as_ref());
        let hold = self.aggregate.hold_index(hold_id);
        if let Some((hold, reference)) = hold.zip(reference) {
            self.people.keep_payment(hold, reference);
        }
    }

    fn take_back_payment(&mut self, hold_id: HoldId) {
        if let Some(hold) = self.aggregate.hold_index(hold_id) {
            self.people.forget_payment(hold);
        }
    }

    /// Keeps who was introduced beside an event that the aggregate has applied.
    fn introduce(&mut self, pseudonym: Pseudonym, private: Option<&Private>) -> Option<Introduced> {
        let buyer = self.aggregate.buyer_place(pseudonym)?;
        self.people.introduce(buyer, private?)
    }

    fn take_back(&mut self, undo: Undo) {
        if let Some(introduced) = undo.introduced {
            self.people.take_back(introduced);
        }
    }

    fn forget(&mut self, pseudonym: Pseudonym) {
        if let Some(buyer) = self.aggregate.buyer_place(pseudonym) {
            self.people.forget(buyer);
        }
        for hold in self.aggregate.holds_of(pseudonym) {
            if hold.status == HoldStatus::Purchased
                && let Some(hold) = self.aggregate.hold_index(hold.id)
            {
                self.people.forget_payment(hold);
            }
        }
    }
}

/// What is due without a request. Each is one event, if the aggregate agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A hold is over.
    Expiry(DropId, HoldId),
    /// There are units that somebody in line could use.
    Offer(DropId),
    /// A cancelled drop still has a hold or a waitlist entry to end.
    Closing(DropId),
}

/// What `apply` changed beside the aggregate, so that `revert` can put it back.
#[derive(Debug, Default)]
pub(super) struct Undo {
    introduced: Option<Introduced>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) digest_key: DigestKey,
    pub(super) drops: Vec<DropState>,
    pub(super) slots: HashMap<DropId, DropSlot>,
    /// Drops by the bytes that they share with their holds; nearly always one.
    pub(super) by_prefix: HashMap<[u8; 4], Vec<DropSlot>>,
    /// Holds whose id does not carry their drop: a stock program placed them.
    pub(super) strays: HashMap<HoldId, DropSlot>,
    /// The same for places in line.
    pub(super) stray_places: HashMap<WaitlistId, DropSlot>,
    pub(super) schedule_keys: HashMap<KeyDigest, DropId>,
    agenda: Agenda,
    pub(super) quarantined: BTreeMap<DropId, Arc<RefusedEvent>>,
}

impl State {
    pub(super) fn drop(&self, drop_id: DropId) -> Option<&DropState> {
        let slot = self.slots.get(&drop_id)?;
        (!self.is_quarantined(drop_id)).then(|| self.at(*slot))
    }

    /// The place of the next event in a drop's stream.
    pub(super) fn next_sequence(&self, drop_id: DropId) -> Sequence {
        self.drop(drop_id)
            .map_or(Sequence::default(), |drop| drop.aggregate.sequence())
            .next()
    }

    /// The drop that was scheduled with this key; the first, should a stock program have used it again.
    pub(super) fn scheduled_with(&self, key: KeyDigest) -> Option<DropId> {
        self.schedule_keys.get(&key).copied()
    }

    /// The drop that this hold is in.
    pub(super) fn drop_of(&self, hold_id: HoldId) -> Option<&DropState> {
        let mut candidates = self.by_prefix.get(&hold_id.prefix()).into_iter().flatten();
        candidates
            .find(|&&slot| self.at(slot).aggregate.hold(hold_id).is_some())
            .or_else(|| self.strays.get(&hold_id))
            .map(|&slot| self.at(slot))
    }

    /// The drop that this place in line is in.
    pub(super) fn drop_in_line(&self, entry_id: WaitlistId) -> Option<&DropState> {
        let mut candidates = self.by_prefix.get(&entry_id.prefix()).into_iter().flatten();
        candidates
            .find(|&&slot| self.at(slot).aggregate.entry(entry_id).is_some())
            .or_else(|| self.stray_places.get(&entry_id))
            .map(|&slot| self.at(slot))
    }

    /// When something may be due next.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    /// The next that was due by `until`, at `now`; drops take turns. An expiry is returned once.
    pub(super) fn next_due(&mut self, until: Timestamp, now: Timestamp) -> Option<Due> {
        loop {
            let slot = self.agenda.turn(until)?;
            let is_left = self.agenda.of(slot).left_until > now;
            let due = match is_left {
                true => None,
                false => self.due_of(slot, until, now),
            };
            if due.is_some() {
                self.agenda.count();
                return due;
            }
            let next = self.next_of(slot, now);
            self.agenda.rest(next);
        }
    }

    /// What a drop has to do at `now`, of what was due by `until`.
    fn due_of(&mut self, slot: DropSlot, until: Timestamp, now: Timestamp) -> Option<Due> {
        if self.at(slot).aggregate.cancelled_at().is_some() {
            return self.consequence_of(slot, now);
        }
        let agenda = self.agenda.of(slot);
        if agenda.line_at.is_some_and(|at| at <= until) {
            let offer = self.consequence_of(slot, now);
            if offer.is_some() {
                return offer;
            }
            self.agenda.of(slot).line_at = None;
        }
        let hold_id = self.overdue_of(slot, until)?;
        Some(Due::Expiry(self.at(slot).id, hold_id))
    }

    /// When a drop has something to do next.
    fn next_of(&mut self, slot: DropSlot, now: Timestamp) -> Option<Timestamp> {
        let aggregate = &self.at(slot).aggregate;
        let closing = aggregate.cancelled_at().map(|_| aggregate.is_closing());
        let agenda = self.agenda.of(slot);
        let left_until = Some(agenda.left_until).filter(|until| *until > now);
        let next = match closing {
            Some(is_closing) => is_closing.then(Timestamp::default),
            None => agenda
                .deadlines
                .next()
                .into_iter()
                .chain(agenda.line_at)
                .min(),
        };
        next.map(|at| left_until.map_or(at, |until| until.max(at)))
    }

    /// What follows from the last event of a drop and can be recorded at `now`.
    pub(super) fn consequence(&self, drop_id: DropId, now: Timestamp) -> Option<Due> {
        self.consequence_of(*self.slots.get(&drop_id)?, now)
    }

    fn consequence_of(&self, slot: DropSlot, now: Timestamp) -> Option<Due> {
        let DropState { id, aggregate, .. } = self.at(slot);
        if aggregate.is_closing() {
            return Some(Due::Closing(*id));
        }
        aggregate.next_in_line(now).map(|_| Due::Offer(*id))
    }

    /// The next hold of a drop that was over by `until` and is not recorded so. Each is returned
    /// once.
    pub(super) fn overdue(&mut self, drop_id: DropId, until: Timestamp) -> Option<HoldId> {
        let slot = *self.slots.get(&drop_id)?;
        self.overdue_of(slot, until)
    }

    /// Whether a drop may have holds that were over by `until` and are not recorded so.
    pub(super) fn may_be_overdue(&mut self, drop_id: DropId, until: Timestamp) -> bool {
        let Some(&slot) = self.slots.get(&drop_id) else {
            return false;
        };
        let next = self.agenda.of(slot).deadlines.next();
        next.is_some_and(|at| at <= until)
    }

    fn overdue_of(&mut self, slot: DropSlot, until: Timestamp) -> Option<HoldId> {
        let aggregate = &self.drops[slot.number()].aggregate;
        let meet = |hold: u32| {
            aggregate.nth_hold(hold).map(|hold| match hold.status {
                HoldStatus::Held => Met::Held(hold.expires_at),
                HoldStatus::Purchased | HoldStatus::Expired | HoldStatus::Released => Met::Resolved,
            })
        };
        let is_overdue = |hold: &Hold| hold.status == HoldStatus::Held && hold.expires_at <= until;
        let deadlines = &mut self.agenda.of(slot).deadlines;
        while let Some(hold) = deadlines.pop_due(until, meet) {
            if let Some(hold) = aggregate.nth_hold(hold).filter(is_overdue) {
                return Some(hold.id);
            }
        }
        None
    }

    /// Another node does what is due in this drop: it is left to that node until `until`.
    pub(super) fn leave_due(&mut self, drop_id: DropId, until: Timestamp) {
        if let Some(&slot) = self.slots.get(&drop_id) {
            self.agenda.of(slot).left_until = until;
        }
    }

    /// Applies the next event of a drop's stream.
    pub(super) fn apply(
        &mut self,
        drop_id: DropId,
        event: &DropEvent,
        private: Option<&Private>,
    ) -> Undo {
        let slot = self.slot(drop_id);
        let drop = &mut self.drops[slot.0 as usize];
        drop.aggregate.evolve(event);
        match event {
            DropEvent::DropScheduled(event) => {
                if let Some(key) = event.key {
                    self.schedule_keys.entry(key).or_insert(drop_id);
                }
                Undo::default()
            }
            DropEvent::HoldPlaced(event) => {
                let introduced = drop.introduce(event.buyer, private);
                let hold = drop.aggregate.newest_hold().expect("placed just now");
                if event.hold_id.prefix() != drop_id.prefix() {
                    self.strays.insert(event.hold_id, slot);
                }
                let deadlines = &mut self.agenda.of(slot).deadlines;
                deadlines.placed(event.expires_at, hold);
                self.agenda.list(slot, event.expires_at);
                Undo { introduced }
            }
            DropEvent::WaitlistJoined(event) => {
                let introduced = drop.introduce(event.buyer, private);
                if event.entry_id.prefix() != drop_id.prefix() {
                    self.stray_places.insert(event.entry_id, slot);
                }
                // It may want less than there is, if offers were still to be made when it was asked
                // for.
                self.look_at_line(slot);
                Undo { introduced }
            }
            DropEvent::DropCancelled(_) => {
                self.look_again(slot);
                Undo::default()
            }
            DropEvent::DropRescheduled(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::StockAdjusted(_) => {
                self.look_at_line(slot);
                Undo::default()
            }
            DropEvent::PurchaseConfirmed(event) => {
                drop.keep_payment(event.hold_id, private);
                Undo::default()
            }
            DropEvent::WaitlistLeft(_) => Undo::default(),
        }
    }

    /// Units may be there for a line: looked at as soon as the drop is on sale.
    fn look_at_line(&mut self, slot: DropSlot) {
        let aggregate = &self.at(slot).aggregate;
        if !aggregate.line().is_empty()
            && let Some(terms) = aggregate.terms()
        {
            let at = terms.starts_at;
            let line_at = &mut self.agenda.of(slot).line_at;
            *line_at = Some(line_at.map_or(at, |before| before.min(at)));
            self.agenda.list(slot, at);
        }
    }

    /// Something may be due now, or later than was thought.
    fn look_again(&mut self, slot: DropSlot) {
        self.agenda.list(slot, Timestamp::default());
    }

    /// Takes back the event that was applied last.
    pub(super) fn revert(&mut self, drop_id: DropId, event: &DropEvent, undo: Undo) {
        let slot = self.slot(drop_id);
        let drop = &mut self.drops[slot.0 as usize];
        drop.aggregate.revert(event);
        match event {
            DropEvent::DropScheduled(event) => {
                if let Some(key) = event.key {
                    self.schedule_keys.remove(&key);
                }
            }
            DropEvent::HoldPlaced(event) => {
                self.strays.remove(&event.hold_id);
                drop.take_back(undo);
                if event.waitlist_entry.is_some() {
                    self.look_at_line(slot);
                }
            }
            DropEvent::WaitlistJoined(event) => {
                self.stray_places.remove(&event.entry_id);
                drop.take_back(undo);
            }
            DropEvent::HoldExpired(event) => self.watch_again(slot, event.hold_id),
            DropEvent::HoldReleased(event) => self.watch_again(slot, event.hold_id),
            DropEvent::PurchaseConfirmed(event) => {
                drop.take_back_payment(event.hold_id);
                self.watch_again(slot, event.hold_id);
            }
            DropEvent::DropCancelled(_) | DropEvent::WaitlistLeft(_) => self.look_again(slot),
            DropEvent::DropRescheduled(_) | DropEvent::StockAdjusted(_) => {}
        }
    }

    /// A hold is unresolved again, and its deadline may have been taken out meanwhile.
    fn watch_again(&mut self, slot: DropSlot, hold_id: HoldId) {
        let aggregate = &self.at(slot).aggregate;
        if let Some((hold, at)) = aggregate.hold_index(hold_id).zip(aggregate.hold(hold_id)) {
            self.agenda.of(slot).deadlines.push(at.expires_at, hold);
            // Of a cancelled drop it is due at once.
            self.look_again(slot);
        }
    }

    /// Forgets what the shop called a buyer, whose holds stay. If they come back they are somebody new.
    pub(super) fn forget(&mut self, drop_id: DropId, buyer: Pseudonym) {
        if let Some(&slot) = self.slots.get(&drop_id) {
            self.drops[slot.0 as usize].forget(buyer);
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
            people: Acquaintances::new(self.digest_key),
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
