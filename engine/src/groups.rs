//! Limit groups: the drops that share `max_per_buyer`, and the units of each buyer in them.
//!
//! Promise: one buyer has one pseudonym in all drops of a group. After every event, each drop that
//! knows the buyer knows the units that the buyer has taken in the others, so a drop decides alone.
//! Units are never counted up: they are read from the drop that an event changed, so that a
//! rollback restores them, in any order.
//! Limit: a buyer takes some 150 bytes in a group, and 35 for each of its drops that knows them.
//! While a drop of a group is in quarantine, its units are unknown, and nothing is decided that
//! depends on them.
//!
//! Source: docs/decisions/0067-limit-groups-share-pseudonyms.md.

use std::collections::HashMap;

use domain::DropEvent;
use domain::private::Private;
use domain::values::{BuyerId, DropId, LimitGroup, Pseudonym};

use super::buyer_index::{BuyerIndex, DigestKey, Introduced, Match};
use super::state::{DropSlot, DropState, State};

/// A group's index in the engine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupSlot(u32);

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: HashMap<LimitGroup, GroupSlot>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    /// Quarantined ones included.
    drops: Vec<DropId>,
    /// By the index in `members`.
    buyers: BuyerIndex,
    members: Vec<Member>,
    by_pseudonym: HashMap<Pseudonym, u32>,
}

/// A buyer in a group.
#[derive(Debug)]
struct Member {
    buyer: Pseudonym,
    /// The units taken in each drop that knows the buyer.
    taken: Vec<(DropSlot, u32)>,
}

impl Member {
    fn set(&mut self, slot: DropSlot, units: u32) {
        match self.taken.iter_mut().find(|(of, _)| *of == slot) {
            Some((_, taken)) => *taken = units,
            None => self.taken.push((slot, units)),
        }
    }

    /// Returns each drop that knows the buyer, and the units taken in the others.
    fn elsewhere(&self) -> impl Iterator<Item = (DropSlot, u32)> {
        let units = self.taken.iter().map(|(_, units)| *units);
        let all = units.fold(0_u32, u32::saturating_add);
        let drops = self.taken.iter();
        drops.map(move |(slot, units)| (*slot, all - units))
    }
}

impl Group {
    fn new(key: DigestKey) -> Self {
        Self {
            drops: vec![],
            buyers: BuyerIndex::new(key),
            members: vec![],
            by_pseudonym: HashMap::new(),
        }
    }

    /// Returns the index of a buyer, and adds the buyer if unknown.
    fn index_of(&mut self, buyer: Pseudonym) -> u32 {
        let members = &mut self.members;
        *self.by_pseudonym.entry(buyer).or_insert_with(|| {
            let taken = vec![];
            members.push(Member { buyer, taken });
            u32::try_from(members.len() - 1).expect("fewer than four billion buyers")
        })
    }

    fn member(&self, buyer: Pseudonym) -> Option<&Member> {
        let index = self.by_pseudonym.get(&buyer)?;
        self.members.get(*index as usize)
    }

    fn find(&self, buyer_id: &BuyerId) -> Option<(Pseudonym, Match)> {
        let (known, found) = self.buyers.find(buyer_id)?;
        let member = self.members.get(known.buyer as usize)?;
        Some((member.buyer, found))
    }
}

impl Groups {
    /// Reports whether no drop has a group: then none of this costs anything.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Adds a drop to a group.
    pub(super) fn join(
        &mut self,
        group: &LimitGroup,
        drop_id: DropId,
        key: DigestKey,
    ) -> GroupSlot {
        let slot = self.slots.get(group).copied().unwrap_or_else(|| {
            let number = u32::try_from(self.groups.len()).expect("fewer than four billion groups");
            self.groups.push(Group::new(key));
            self.slots.insert(group.clone(), GroupSlot(number));
            GroupSlot(number)
        });
        let drops = &mut self.at_mut(slot).drops;
        if !drops.contains(&drop_id) {
            drops.push(drop_id);
        }
        slot
    }

    /// Removes a drop from a group: it was not scheduled after all.
    pub(super) fn leave(&mut self, slot: GroupSlot, drop_id: DropId) {
        self.at_mut(slot).drops.retain(|of| *of != drop_id);
    }

    /// The drops of a group.
    pub(super) fn drops(&self, slot: GroupSlot) -> &[DropId] {
        &self.at(slot).drops
    }

    /// The buyer with this id, if a drop of the group knows one.
    pub(super) fn find(&self, slot: GroupSlot, buyer_id: &BuyerId) -> Option<(Pseudonym, Match)> {
        self.at(slot).find(buyer_id)
    }

    /// Undoes the latest introduction.
    pub(super) fn roll_back(&mut self, slot: GroupSlot, introduced: Introduced) {
        self.at_mut(slot).buyers.roll_back(introduced);
    }

    /// Erases a buyer. The units stay with the pseudonym.
    pub(super) fn forget(&mut self, slot: GroupSlot, buyer: Pseudonym) {
        let group = self.at_mut(slot);
        if let Some(index) = group.by_pseudonym.get(&buyer) {
            group.buyers.forget(*index);
        }
    }

    fn introduce(
        &mut self,
        slot: GroupSlot,
        buyer: Pseudonym,
        private: &Private,
    ) -> Option<Introduced> {
        let group = self.at_mut(slot);
        let index = group.index_of(buyer);
        group.buyers.introduce(index, private)
    }

    fn at(&self, slot: GroupSlot) -> &Group {
        &self.groups[slot.0 as usize]
    }

    fn at_mut(&mut self, slot: GroupSlot) -> &mut Group {
        &mut self.groups[slot.0 as usize]
    }
}

impl State {
    /// Updates the group of a drop after an event that the drop has applied. Returns the
    /// introduction of its buyer to the group.
    pub(super) fn follow_in_group(
        &mut self,
        group: GroupSlot,
        slot: DropSlot,
        event: &DropEvent,
        private: Option<&Private>,
    ) -> Option<Introduced> {
        let buyer = event.buyer()?;
        self.share_units(group, slot, buyer);
        self.groups.introduce(group, buyer, private?)
    }

    /// Updates the group of a drop after an event that the drop has reverted.
    pub(super) fn revert_in_group(
        &mut self,
        group: GroupSlot,
        slot: DropSlot,
        event: &DropEvent,
        introduced: Option<Introduced>,
    ) {
        if let Some(introduced) = introduced {
            self.groups.roll_back(group, introduced);
        }
        if let Some(buyer) = event.buyer() {
            self.share_units(group, slot, buyer);
        }
    }

    /// States to every drop that knows the buyer, this one included, how many units the buyer has
    /// taken in the others.
    fn share_units(&mut self, group: GroupSlot, slot: DropSlot, buyer: Pseudonym) {
        let taken = self.drops[slot.number()].aggregate.taken(buyer);
        let group = self.groups.at_mut(group);
        let index = group.index_of(buyer) as usize;
        group.members[index].set(slot, taken);
        // A buyer is known in few drops; the list is taken out because offers may become due.
        let drops: Vec<_> = group.members[index].elsewhere().collect();
        for (slot, units) in drops {
            let aggregate = &mut self.drops[slot.number()].aggregate;
            if aggregate.set_taken_elsewhere(buyer, units) {
                self.check_waitlist(slot);
            }
        }
    }

    /// Finds the buyer of a request in the group of a drop, and lets the drop know the buyer's
    /// units in the other drops.
    pub(super) fn brief(&mut self, drop_id: DropId, buyer_id: &BuyerId) -> Option<Pseudonym> {
        if self.groups.is_empty() {
            return None;
        }
        let slot = *self.slots.get(&drop_id)?;
        let group = self.drops[slot.number()].group?;
        let (buyer, _) = self.groups.find(group, buyer_id)?;
        self.share_units(group, slot, buyer);
        Some(buyer)
    }

    /// The buyer with this id, if another drop of the group knows one.
    pub(super) fn buyer_in_group(
        &self,
        drop: &DropState,
        buyer_id: &BuyerId,
    ) -> Option<(Pseudonym, Match)> {
        self.groups.find(drop.group?, buyer_id)
    }

    /// The other drops of the group in which the buyer has units.
    pub(super) fn taken_in_others(&self, drop_id: DropId, buyer: Pseudonym) -> Vec<DropId> {
        if self.groups.is_empty() {
            return vec![];
        }
        let group = self.drop(drop_id).and_then(|drop| drop.group);
        let member = group.and_then(|group| self.groups.at(group).member(buyer));
        let taken = member.map_or(&[][..], |member| &member.taken);
        let drops = taken.iter().filter(|(_, units)| *units > 0);
        let ids = drops.map(|(slot, _)| self.drops[slot.number()].id);
        ids.filter(|id| *id != drop_id).collect()
    }

    /// A quarantined drop of the group of this drop, whose units are unknown.
    pub(super) fn quarantined_in_group(&self, drop_id: DropId) -> Option<DropId> {
        if self.quarantined.is_empty() || self.groups.is_empty() {
            return None;
        }
        let slot = self.slots.get(&drop_id)?;
        let group = self.drops[slot.number()].group?;
        let mut drops = self.groups.drops(group).iter().copied();
        drops.find(|of| self.is_quarantined(*of))
    }

    /// A drop has lost its state: its units count nowhere until its events are applied again.
    pub(super) fn withdraw_from_group(&mut self, slot: DropSlot) {
        let Some(group) = self.drops[slot.number()].group else {
            return;
        };
        let members = &mut self.groups.at_mut(group).members;
        let mut shared = vec![];
        for member in members {
            let before = member.taken.len();
            member.taken.retain(|(of, _)| *of != slot);
            if member.taken.len() < before {
                let buyer = member.buyer;
                shared.extend(member.elsewhere().map(|(slot, units)| (slot, buyer, units)));
            }
        }
        for (slot, buyer, units) in shared {
            let aggregate = &mut self.drops[slot.number()].aggregate;
            aggregate.set_taken_elsewhere(buyer, units);
        }
    }

    /// A drop left quarantine: the others of its group may make offers again.
    pub(super) fn check_waitlists_of_group(&mut self, drop_id: DropId) {
        let Some(group) = self.drop(drop_id).and_then(|drop| drop.group) else {
            return;
        };
        let drops = self.groups.drops(group).iter();
        let slots: Vec<_> = drops.filter_map(|id| self.slots.get(id).copied()).collect();
        for slot in slots {
            self.check_waitlist(slot);
        }
    }
}
