//! Everything the engine decides from: each drop's aggregate, who its buyers are, and the indexes that find them.
//!
//! Promise: `apply` in log order gives the same state on every node; `revert` is its exact inverse, newest first, but for
//! deadlines, which are hints (see [`super::deadlines`]).

use std::collections::{BTreeSet, HashMap};
use std::hash::RandomState;
use std::sync::Arc;

use domain::drop::{Hold, HoldStatus};
use domain::lookup::Lookup;
use domain::private::Private;
use domain::values::{
    DisplayName, DropId, HoldId, KeyDigest, Pseudonym, Sequence, Timestamp, WaitlistId,
};
use domain::{DropAggregate, DropEvent};

use super::deadlines::Deadlines;

/// Where a drop is in the engine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DropSlot(u32);

/// Where a hold is: its drop, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HoldSlot {
    drop: DropSlot,
    hold: u32,
}

/// A buyer as one drop knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownBuyer {
    /// See [`domain::values::BuyerId::comparable`].
    comparable: Arc<str>,
    pub(super) pseudonym: Pseudonym,
    pub(super) display_name: Option<DisplayName>,
}

/// One drop in memory.
#[derive(Debug)]
pub(super) struct DropState {
    pub(super) id: DropId,
    pub(super) aggregate: DropAggregate,
    buyers: Vec<KnownBuyer>,
    /// Strangers choose what they are called.
    buyer_index: Lookup<u32, RandomState>,
}

impl DropState {
    pub(super) fn buyer(&self, comparable: &str) -> Option<&KnownBuyer> {
        let name_at = |place: u32| &*self.buyers[place as usize].comparable;
        let place = self.buyer_index.find(comparable, name_at)?;
        self.buyers.get(place as usize)
    }

    /// Who stood under the same name before, if anybody did.
    fn introduce(&mut self, buyer: KnownBuyer) -> Option<KnownBuyer> {
        let next = u32::try_from(self.buyers.len()).expect("fewer than four billion buyers");
        let buyers = &self.buyers;
        let name_at = |place: u32| &*buyers[place as usize].comparable;
        match self.buyer_index.insert(&*buyer.comparable, next, name_at) {
            Some(known) => Some(std::mem::replace(&mut self.buyers[known as usize], buyer)),
            None => {
                self.buyers.push(buyer);
                None
            }
        }
    }

    /// Forgets a name. Its place in the vector stays, with nothing in it; nothing may be drafted meanwhile.
    fn forget(&mut self, pseudonym: Pseudonym) {
        let names: Vec<Arc<str>> = self
            .buyers
            .iter()
            .filter(|known| known.pseudonym == pseudonym)
            .map(|known| Arc::clone(&known.comparable))
            .collect();
        for name in names {
            let buyers = &self.buyers;
            let name_at = |place: u32| &*buyers[place as usize].comparable;
            if let Some(place) = self.buyer_index.remove(&*name, name_at) {
                let known = &mut self.buyers[place as usize];
                known.comparable = Arc::default();
                known.display_name = None;
            }
        }
    }

    /// Takes back the introduction made last.
    fn put_back(&mut self, comparable: &str, before: Option<KnownBuyer>) {
        let buyers = &self.buyers;
        let name_at = |place: u32| &*buyers[place as usize].comparable;
        match before {
            Some(before) => {
                if let Some(place) = self.buyer_index.find(comparable, name_at) {
                    self.buyers[place as usize] = before;
                }
            }
            None => {
                self.buyer_index.remove(comparable, name_at);
                self.buyers.pop();
            }
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
    /// The introduced buyer's key, and who stood under it before.
    introduced: Option<(Arc<str>, Option<KnownBuyer>)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    drops: Vec<DropState>,
    slots: HashMap<DropId, DropSlot>,
    /// Drops by the bytes that they share with their holds; nearly always one.
    by_prefix: HashMap<[u8; 4], Vec<DropSlot>>,
    /// Holds whose id does not carry their drop: a stock program placed them.
    strays: HashMap<HoldId, DropSlot>,
    /// The same for places in line.
    stray_places: HashMap<WaitlistId, DropSlot>,
    schedule_keys: HashMap<KeyDigest, DropId>,
    deadlines: Deadlines,
    /// When to look whether a line can be served, because no decision of ours will: a start that was put off, or what
    /// somebody else freed and did not offer. Hints, as deadlines are.
    lines: BTreeSet<(Timestamp, DropSlot)>,
}

impl State {
    pub(super) fn drop(&self, drop_id: DropId) -> Option<&DropState> {
        self.slots.get(&drop_id).map(|&slot| self.at(slot))
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
        while let Some(slot) = self.deadlines.pop_due(now) {
            let drop = self.at(slot.drop);
            let is_overdue =
                |hold: &&Hold| hold.status == HoldStatus::Held && hold.expires_at <= now;
            if let Some(hold) = drop
                .aggregate
                .holds()
                .get(slot.hold as usize)
                .filter(is_overdue)
            {
                return Some((drop.id, hold.id));
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
                let introduced = private.and_then(|private| introduce(drop, event.buyer, private));
                let hold = drop
                    .aggregate
                    .hold_index(event.hold_id)
                    .expect("placed just now");
                if event.hold_id.prefix() != drop_id.prefix() {
                    self.strays.insert(event.hold_id, slot);
                }
                self.deadlines
                    .push(event.expires_at, HoldSlot { drop: slot, hold });
                Undo { introduced }
            }
            DropEvent::WaitlistJoined(event) => {
                let introduced = private.and_then(|private| introduce(drop, event.buyer, private));
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
                if let Some((comparable, before)) = undo.introduced {
                    drop.put_back(&comparable, before);
                }
                if event.waitlist_entry.is_some() {
                    self.look_at_line(slot);
                }
            }
            DropEvent::WaitlistJoined(event) => {
                self.stray_places.remove(&event.entry_id);
                if let Some((comparable, before)) = undo.introduced {
                    drop.put_back(&comparable, before);
                }
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

    fn slot(&mut self, drop_id: DropId) -> DropSlot {
        if let Some(&slot) = self.slots.get(&drop_id) {
            return slot;
        }
        let slot =
            DropSlot(u32::try_from(self.drops.len()).expect("fewer than four billion drops"));
        self.drops.push(DropState {
            id: drop_id,
            aggregate: DropAggregate::default(),
            buyers: vec![],
            buyer_index: Lookup::default(),
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

fn introduce(
    drop: &mut DropState,
    pseudonym: Pseudonym,
    private: &Private,
) -> Option<(Arc<str>, Option<KnownBuyer>)> {
    let comparable = private.buyer_id.as_ref()?.comparable();
    let known = KnownBuyer {
        comparable: Arc::clone(&comparable),
        pseudonym,
        display_name: private.display_name.clone(),
    };
    let before = drop.introduce(known);
    Some((comparable, before))
}
