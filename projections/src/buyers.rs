//! The identity of pseudonyms. In memory only: personal data is stored only in the log's `private`
//! column, and is erased with it.
//!
//! Promise: a known buyer keeps their index; a buyer is found in all drops by the shop's
//! identifier, in any case of its letters; the identifier is overwritten when the buyer is erased,
//! and no index has it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use domain::DropEvent;
use domain::chunks::Chunks;
use domain::lookup::Lookup;
use domain::packed::{Link, U48};
use domain::values::{BuyerId, DisplayName, DropId, Pseudonym};
use hashbrown::hash_table::{Entry, HashTable};
use serde::{Deserialize, Serialize};

use crate::fold::Fact;
use crate::texts::Texts;
use crate::top_purchasers::BuyerKey;

/// The shop's identifier and display name of a buyer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuyerRow {
    pub buyer_id: BuyerId,
    /// The name that the buyer agreed to show.
    pub display_name: Option<DisplayName>,
}

/// All buyers of all drops, at about 85 bytes each with a name of twenty characters.
#[derive(Debug, Default)]
pub struct Buyers {
    drops: Vec<BuyersOfDrop>,
    slots: HashMap<DropId, u32>,
    by_id: ById,
}

#[derive(Debug)]
struct BuyersOfDrop {
    drop_id: DropId,
    buyers: Chunks<BuyerEntry>,
    indexes: Lookup<u32>,
    names: Texts,
}

/// The first entry of each of the shop's identifiers, which clients choose; the entries in other
/// drops are linked to it.
#[derive(Debug, Default)]
struct ById {
    first: HashTable<BuyerAt>,
    hasher: RandomState,
}

/// The slot of a drop, and the index of a buyer in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BuyerAt {
    pub(crate) slot: u32,
    pub(crate) index: u32,
}

#[derive(Debug)]
struct BuyerEntry {
    buyer: Pseudonym,
    /// The address of the names in [`Texts`]; `None` if they are unknown or were erased.
    names: Option<U48>,
    /// Units held or purchased.
    taken: u32,
    /// The slot of the entry with the same identifier in another drop, and its index there.
    next_slot: Link,
    next_index: u32,
    /// The hold of this drop that was placed last.
    last_hold: Link,
}

const _: () = assert!(size_of::<BuyerEntry>() <= 40);

impl BuyerEntry {
    fn next(&self) -> Option<BuyerAt> {
        let index = self.next_index;
        self.next_slot.get().map(|slot| BuyerAt { slot, index })
    }

    fn set_next(&mut self, next: Option<BuyerAt>) {
        self.next_slot = next.map(|at| at.slot).into();
        self.next_index = next.map_or(0, |at| at.index);
    }
}

impl BuyersOfDrop {
    fn row_at(&self, index: u32) -> Option<BuyerRow> {
        let (buyer_id, shown) = self.names.get(self.buyers[index].names?);
        Some(BuyerRow {
            buyer_id: BuyerId::stored(buyer_id).ok()?,
            display_name: DisplayName::stored(shown).ok(),
        })
    }

    /// Returns the identifier of the buyer at `index` as identifiers are compared.
    fn comparable_at(&self, index: u32) -> Option<Arc<str>> {
        let (buyer_id, _) = self.names.get(self.buyers[index].names?);
        BuyerId::stored(buyer_id).ok().map(|id| id.comparable())
    }

    fn wipe(&mut self, index: u32) {
        if let Some(at) = self.buyers[index].names.take() {
            self.names.wipe(at);
        }
    }
}

impl Buyers {
    /// Returns the slot of a drop, and adds the drop if unknown.
    pub(crate) fn slot(&mut self, drop_id: DropId) -> u32 {
        let drops = &mut self.drops;
        *self.slots.entry(drop_id).or_insert_with(|| {
            drops.push(BuyersOfDrop {
                drop_id,
                buyers: Chunks::default(),
                indexes: Lookup::default(),
                names: Texts::default(),
            });
            index_of(drops.len() - 1)
        })
    }

    /// Returns the index of a buyer, and adds the buyer if unknown.
    pub(crate) fn index_or_insert(&mut self, drop_id: DropId, buyer: Pseudonym) -> BuyerAt {
        let slot = self.slot(drop_id);
        let of_drop = &mut self.drops[slot as usize];
        let (buyers, next) = (&of_drop.buyers, index_of(of_drop.buyers.len()));
        let indexes = &mut of_drop.indexes;
        let found = indexes.insert(&buyer, next, |index| &buyers[index].buyer);
        let index = found.unwrap_or_else(|| {
            of_drop.buyers.push(BuyerEntry {
                buyer,
                names: None,
                taken: 0,
                next_slot: Link::NONE,
                next_index: 0,
                last_hold: Link::NONE,
            });
            next
        });
        BuyerAt { slot, index }
    }

    /// Stores the shop's identifier of a buyer, if `fact` contains it.
    pub fn apply(&mut self, fact: Fact<'_>) {
        let buyer = match fact.event {
            DropEvent::HoldPlaced(event) => event.buyer,
            DropEvent::WaitlistJoined(event) => event.buyer,
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => return,
        };
        let Some(private) = fact.private else { return };
        let Some(buyer_id) = &private.buyer_id else {
            return;
        };
        let at = self.index_or_insert(fact.drop_id, buyer);
        let comparable = buyer_id.comparable();
        let is_linked = self.comparable_at(at).as_ref() == Some(&comparable);
        if !is_linked {
            self.unlink(at);
        }
        let shown = private.display_name.as_ref();
        let of_drop = self.of_drop_mut(at);
        of_drop.wipe(at.index);
        let names = of_drop
            .names
            .push(buyer_id.as_str(), shown.map_or("", DisplayName::as_str));
        of_drop.buyers[at.index].names = Some(names);
        if !is_linked {
            self.link(at, &comparable);
        }
    }

    /// Returns the entries of a buyer in all drops, in any order.
    pub(crate) fn all_of(&self, buyer_id: &BuyerId) -> Vec<BuyerAt> {
        let comparable = buyer_id.comparable();
        let is_it = |&at: &BuyerAt| self.comparable_at(at).as_ref() == Some(&comparable);
        let hash = self.by_id.hasher.hash_one(&*comparable);
        let first = self.by_id.first.find(hash, is_it).copied();
        std::iter::successors(first, |at| self.entry(*at).next()).collect()
    }

    /// Sets the hold that a buyer placed last, and returns the one before.
    pub(crate) fn follow_hold(&mut self, at: BuyerAt, hold: u32) -> Link {
        std::mem::replace(&mut self.entry_mut(at).last_hold, hold.into())
    }

    /// Returns the hold that a buyer placed last.
    pub(crate) fn last_hold(&self, at: BuyerAt) -> Option<u32> {
        self.entry(at).last_hold.get()
    }

    /// Returns the units that a buyer holds or has purchased.
    pub(crate) fn taken_at(&self, at: BuyerAt) -> u32 {
        self.entry(at).taken
    }

    fn comparable_at(&self, at: BuyerAt) -> Option<Arc<str>> {
        self.of_drop(at).comparable_at(at.index)
    }

    /// Adds an entry to those of its identifier. Its names are stored already.
    fn link(&mut self, at: BuyerAt, comparable: &str) {
        let Self { by_id, drops, .. } = self;
        let comparable_at = |at: BuyerAt| drops[at.slot as usize].comparable_at(at.index);
        let hasher = &by_id.hasher;
        let entry = by_id.first.entry(
            hasher.hash_one(comparable),
            |&at| comparable_at(at).as_deref() == Some(comparable),
            |&at| hasher.hash_one(comparable_at(at).as_deref().unwrap_or_default()),
        );
        let next = match entry {
            Entry::Occupied(mut first) => Some(std::mem::replace(first.get_mut(), at)),
            Entry::Vacant(free) => {
                free.insert(at);
                None
            }
        };
        self.entry_mut(at).set_next(next);
    }

    /// Removes an entry from those of its identifier. Its names must still be stored.
    fn unlink(&mut self, at: BuyerAt) {
        let Some(comparable) = self.comparable_at(at) else {
            return;
        };
        let next = self.entry(at).next();
        self.entry_mut(at).set_next(None);
        let hash = self.by_id.hasher.hash_one(&*comparable);
        let Self { by_id, drops, .. } = self;
        let is_it = |&first: &BuyerAt| {
            let found = drops[first.slot as usize].comparable_at(first.index);
            found.as_ref() == Some(&comparable)
        };
        let Ok(mut first) = by_id.first.find_entry(hash, is_it) else {
            return;
        };
        if *first.get() == at {
            match next {
                Some(next) => *first.get_mut() = next,
                None => drop(first.remove()),
            }
            return;
        }
        let mut before = Some(*first.get());
        while let Some(one) = before {
            before = self.entry(one).next();
            if before == Some(at) {
                self.entry_mut(one).set_next(next);
                return;
            }
        }
    }

    /// Returns the key of a buyer.
    pub(crate) fn key_at(&self, at: BuyerAt) -> BuyerKey {
        BuyerKey {
            drop_id: self.of_drop(at).drop_id,
            buyer: self.entry(at).buyer,
        }
    }

    /// Returns the row of a buyer; `None` after an erasure.
    pub(crate) fn row_at(&self, at: BuyerAt) -> Option<BuyerRow> {
        self.of_drop(at).row_at(at.index)
    }

    /// Returns a buyer's row; `None` if it is unknown or was erased.
    #[must_use]
    pub fn get(&self, key: &BuyerKey) -> Option<BuyerRow> {
        self.row_at(self.find(key)?)
    }

    /// Returns the units that a buyer holds or has purchased.
    #[must_use]
    pub fn taken(&self, key: &BuyerKey) -> u32 {
        self.find(key).map_or(0, |at| self.taken_at(at))
    }

    /// Adds units to those of a buyer.
    pub(crate) fn add_units(&mut self, at: BuyerAt, units: u32) {
        self.entry_mut(at).taken += units;
    }

    /// Subtracts units that a buyer held and did not purchase.
    pub(crate) fn subtract_units(&mut self, at: BuyerAt, units: u32) {
        let taken = &mut self.entry_mut(at).taken;
        *taken = taken.saturating_sub(units);
    }

    /// Forgets the holds and the units of every buyer of this drop, because its holds are removed.
    pub(crate) fn reset(&mut self, drop_id: DropId) {
        let Some(&slot) = self.slots.get(&drop_id) else {
            return;
        };
        for entry in self.drops[slot as usize].buyers.iter_mut() {
            (entry.taken, entry.last_hold) = (0, Link::NONE);
        }
    }

    /// Erases the shop's identifier of a buyer.
    pub fn forget(&mut self, key: &BuyerKey) {
        if let Some(at) = self.find(key) {
            self.unlink(at);
            self.of_drop_mut(at).wipe(at.index);
        }
    }

    pub(crate) fn find(&self, key: &BuyerKey) -> Option<BuyerAt> {
        let slot = *self.slots.get(&key.drop_id)?;
        let of_drop = &self.drops[slot as usize];
        let buyers = &of_drop.buyers;
        let index = of_drop
            .indexes
            .find(&key.buyer, |index| &buyers[index].buyer)?;
        Some(BuyerAt { slot, index })
    }

    fn of_drop(&self, at: BuyerAt) -> &BuyersOfDrop {
        &self.drops[at.slot as usize]
    }

    fn of_drop_mut(&mut self, at: BuyerAt) -> &mut BuyersOfDrop {
        &mut self.drops[at.slot as usize]
    }

    fn entry(&self, at: BuyerAt) -> &BuyerEntry {
        &self.of_drop(at).buyers[at.index]
    }

    fn entry_mut(&mut self, at: BuyerAt) -> &mut BuyerEntry {
        &mut self.of_drop_mut(at).buyers[at.index]
    }
}

fn index_of(length: usize) -> u32 {
    u32::try_from(length).expect("fewer than four billion buyers")
}

#[cfg(test)]
mod tests {
    use domain::private::Private;
    use domain::testing::{buyer, hold_placed};
    use domain::values::Salt;

    use super::*;

    fn drop_id(number: u128) -> DropId {
        DropId(uuid::Uuid::from_u128(number))
    }

    fn ann(drop: u128) -> BuyerKey {
        BuyerKey {
            drop_id: drop_id(drop),
            buyer: buyer("ann"),
        }
    }

    fn introduce(buyers: &mut Buyers, drop: u128, name: &str, shown: Option<&str>) {
        let shown = shown.map(|shown| DisplayName::new(shown).unwrap());
        let private = Private::buyer(Salt([0; 16]), BuyerId::new(name).unwrap(), shown);
        buyers.apply(Fact {
            drop_id: drop_id(drop),
            event: &hold_placed("h1", 1),
            private: Some(&private),
        });
    }

    fn names(buyers: &Buyers, key: &BuyerKey) -> Option<(String, Option<String>)> {
        let row = buyers.get(key)?;
        let shown = row.display_name.map(|shown| shown.as_str().to_owned());
        Some((row.buyer_id.as_str().to_owned(), shown))
    }

    #[test]
    fn buyer_row_has_the_last_name_in_each_drop() {
        let mut buyers = Buyers::default();
        introduce(&mut buyers, 1, "Ann", Some("A."));
        assert_eq!(
            names(&buyers, &ann(1)),
            Some(("Ann".into(), Some("A.".into())))
        );
        assert_eq!(names(&buyers, &ann(2)), None);
        introduce(&mut buyers, 2, "annie", None);
        introduce(&mut buyers, 1, "ann", None);
        assert_eq!(names(&buyers, &ann(1)), Some(("ann".into(), None)));
        assert_eq!(names(&buyers, &ann(2)), Some(("annie".into(), None)));
    }

    #[test]
    fn buyer_is_found_in_all_drops_until_erased_there() {
        let mut buyers = Buyers::default();
        for (drop, name) in [(1, "Ann"), (2, "ann"), (3, "ANN"), (1, "ANN")] {
            introduce(&mut buyers, drop, name, Some("A."));
        }
        let found = |buyers: &Buyers, name: &str| {
            let all = buyers.all_of(&BuyerId::new(name).unwrap());
            let mut drops: Vec<_> = all.iter().map(|&at| buyers.key_at(at).drop_id).collect();
            drops.sort_unstable();
            drops
        };
        let drops = |numbers: &[u128]| numbers.iter().copied().map(drop_id).collect::<Vec<_>>();
        assert_eq!(found(&buyers, "aNn"), drops(&[1, 2, 3]));
        assert_eq!(found(&buyers, "bob"), []);
        buyers.forget(&ann(2));
        assert_eq!(found(&buyers, "ann"), drops(&[1, 3]));
        buyers.forget(&ann(3));
        buyers.forget(&ann(3));
        assert_eq!(found(&buyers, "ann"), drops(&[1]));
        introduce(&mut buyers, 1, "annie", None);
        assert_eq!(found(&buyers, "ann"), []);
        assert_eq!(found(&buyers, "annie"), drops(&[1]));
        introduce(&mut buyers, 2, "ann", None);
        assert_eq!(found(&buyers, "ann"), drops(&[2]), "as a new buyer");
    }

    #[test]
    fn erased_buyer_keeps_the_index_without_a_name() {
        let mut buyers = Buyers::default();
        introduce(&mut buyers, 1, "ann", Some("A."));
        introduce(&mut buyers, 2, "ann", None);
        let index = buyers.find(&ann(1)).unwrap();
        buyers.forget(&ann(1));
        assert_eq!(names(&buyers, &ann(1)), None);
        assert_eq!(buyers.key_at(index), ann(1));
        assert!(names(&buyers, &ann(2)).is_some());
    }
}
