//! Everything the engine decides from: each drop's aggregate, who its buyers are, and the indexes that find them.
//!
//! Promise: `apply` in log order gives the same state on every node; `revert` is its exact inverse, newest first, but for
//! deadlines, which are hints (see [`super::deadlines`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::drop::{Hold, HoldStatus};
use domain::private::Private;
use domain::values::{
    BuyerId, DisplayName, DropId, HoldId, KeyDigest, Pseudonym, Sequence, Timestamp, WaitlistId,
};
use domain::{DropAggregate, DropEvent};

use super::acquaintances::{Acquaintances, DigestKey, Introduced, Known};
use super::deadlines::{Deadlines, Met};
use crate::quarantine::RefusedEvent;

/// Where a drop is in the engine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DropSlot(pub(super) u32);

impl DropSlot {
    pub(super) const fn number(self) -> usize {
        self.0 as usize
    }
}

/// Where a hold is: its drop, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HoldSlot {
    pub(super) drop: DropSlot,
    pub(super) hold: u32,
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
    }
}

/// What is due without anybody asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A hold is over.
    Expiry(DropId, HoldId),
    /// There may be units that somebody in line could use.
    Line(DropId),
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
    deadlines: Deadlines,
    /// When to look whether a line can be served, because no decision of ours will: a start that was put off, or what
    /// somebody else freed and did not offer. Hints, as deadlines are.
    lines: BTreeSet<(Timestamp, DropSlot)>,
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
        let line = self.lines.first().map(|&(at, _)| at);
        self.deadlines.next().into_iter().chain(line).min()
    }

    /// What is due at `now`, expiries first. Each is returned once.
    pub(super) fn next_due(&mut self, now: Timestamp) -> Option<Due> {
        if let Some((drop_id, hold_id)) = self.next_overdue(now) {
            return Some(Due::Expiry(drop_id, hold_id));
        }
        self.lines.first().filter(|(at, _)| *at <= now)?;
        let (_, slot) = self.lines.pop_first()?;
        Some(Due::Line(self.at(slot).id))
    }

    /// The next hold that is over at `now` and not recorded so, and its drop.
    fn next_overdue(&mut self, now: Timestamp) -> Option<(DropId, HoldId)> {
        let drops = &self.drops;
        let hold_at = |slot: HoldSlot| drops[slot.drop.number()].aggregate.nth_hold(slot.hold);
        let meet = |slot: HoldSlot| {
            hold_at(slot).map(|hold| match hold.status {
                HoldStatus::Held => Met::Held(hold.expires_at),
                HoldStatus::Purchased | HoldStatus::Expired | HoldStatus::Released => Met::Resolved,
            })
        };
        let is_overdue = |hold: &Hold| hold.status == HoldStatus::Held && hold.expires_at <= now;
        while let Some(slot) = self.deadlines.pop_due(now, meet) {
            if let Some(hold) = hold_at(slot).filter(is_overdue) {
                return Some((drops[slot.drop.number()].id, hold.id));
            }
        }
        None
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
                self.deadlines
                    .placed(event.expires_at, HoldSlot { drop: slot, hold });
                Undo { introduced }
            }
            DropEvent::WaitlistJoined(event) => {
                let introduced = drop.introduce(event.buyer, private);
                if event.entry_id.prefix() != drop_id.prefix() {
                    self.stray_places.insert(event.entry_id, slot);
                }
                Undo { introduced }
            }
            DropEvent::DropRescheduled(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::StockAdjusted(_) => {
                self.look_at_line(slot);
                Undo::default()
            }
            DropEvent::DropCancelled(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::WaitlistLeft(_) => Undo::default(),
        }
    }

    /// Units may be there for a line: looked at as soon as the drop is on sale.
    fn look_at_line(&mut self, slot: DropSlot) {
        let aggregate = &self.at(slot).aggregate;
        if !aggregate.line().is_empty()
            && let Some(terms) = aggregate.terms()
        {
            let at = terms.starts_at;
            self.lines.insert((at, slot));
        }
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
            DropEvent::PurchaseConfirmed(event) => self.watch_again(slot, event.hold_id),
            DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistLeft(_) => {}
        }
    }

    /// A hold is unresolved again, and its deadline may have been taken out meanwhile.
    fn watch_again(&mut self, slot: DropSlot, hold_id: HoldId) {
        let aggregate = &self.at(slot).aggregate;
        if let Some((hold, at)) = aggregate.hold_index(hold_id).zip(aggregate.hold(hold_id)) {
            let at = at.expires_at;
            self.deadlines.push(at, HoldSlot { drop: slot, hold });
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
