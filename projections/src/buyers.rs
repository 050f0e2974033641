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
    drops: Vec<DropId>,
    drop_indexes: HashMap<DropId, u32>,
    buyers: Chunks<BuyerEntry>,
    indexes: Lookup<u32>,
    names: Texts,
    by_id: ById,
}

/// The first entry of each of the shop's identifiers, which clients choose; the entries in other
/// drops are linked to it.
#[derive(Debug, Default)]
struct ById {
    first: HashTable<u32>,
    hasher: RandomState,
}

/// A [`BuyerKey`] in twenty bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PackedKey {
    drop: u32,
    buyer: Pseudonym,
}

#[derive(Debug)]
struct BuyerEntry {
    key: PackedKey,
    /// The address of the names in [`Texts`]; `None` if they are unknown or were erased.
    names: Option<U48>,
    /// Units held or purchased.
    taken: u32,
    /// The entry with the same identifier in another drop.
    next: Link,
    /// The hold that was placed last.
    last_hold: Link,
}

const _: () = assert!(size_of::<BuyerEntry>() <= 40);

impl Buyers {
    /// Returns the index of a buyer, and adds the buyer if unknown.
    pub(crate) fn index_or_insert(&mut self, drop_id: DropId, buyer: Pseudonym) -> u32 {
        let drops = &mut self.drops;
        let drop = *self.drop_indexes.entry(drop_id).or_insert_with(|| {
            drops.push(drop_id);
            index_of(drops.len() - 1)
        });
        let key = PackedKey { drop, buyer };
        let next = index_of(self.buyers.len());
        let buyers = &self.buyers;
        let found = self.indexes.insert(&key, next, |index| &buyers[index].key);
        found.unwrap_or_else(|| {
            self.buyers.push(BuyerEntry {
                key,
                names: None,
                taken: 0,
                next: Link::NONE,
                last_hold: Link::NONE,
            });
            next
        })
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
        let index = self.index_or_insert(fact.drop_id, buyer);
        let is_linked = self.comparable_at(index).as_ref() == Some(&buyer_id.comparable());
        if !is_linked {
            self.unlink(index);
        }
        self.wipe(index);
        let shown = private.display_name.as_ref();
        let at = self
            .names
            .push(buyer_id.as_str(), shown.map_or("", DisplayName::as_str));
        self.buyers[index].names = Some(at);
        if !is_linked {
            self.link(index, &buyer_id.comparable());
        }
    }

    /// Returns the entries of a buyer in all drops, in any order.
    pub(crate) fn all_of(&self, buyer_id: &BuyerId) -> Vec<u32> {
        let comparable = buyer_id.comparable();
        let is_it = |&index: &u32| self.comparable_at(index).as_ref() == Some(&comparable);
        let hash = self.by_id.hasher.hash_one(&*comparable);
        let mut next = self.by_id.first.find(hash, is_it).copied();
        let mut all = vec![];
        while let Some(index) = next {
            all.push(index);
            next = self.buyers[index].next.get();
        }
        all
    }

    /// Sets the hold that the buyer at `index` placed last, and returns the one before.
    pub(crate) fn follow_hold(&mut self, index: u32, hold: u32) -> Link {
        std::mem::replace(&mut self.buyers[index].last_hold, hold.into())
    }

    /// Returns the hold that the buyer at `index` placed last.
    pub(crate) fn last_hold(&self, index: u32) -> Option<u32> {
        self.buyers[index].last_hold.get()
    }

    /// Returns the units that the buyer at `index` holds or has purchased.
    pub(crate) fn taken_at(&self, index: u32) -> u32 {
        self.buyers[index].taken
    }

    /// Returns the identifier of the buyer at `index` as identifiers are compared.
    fn comparable_at(&self, index: u32) -> Option<Arc<str>> {
        let (buyer_id, _) = self.names.get(self.buyers[index].names?);
        BuyerId::stored(buyer_id).ok().map(|id| id.comparable())
    }

    /// Adds the entry at `index` to those of its identifier. Its names are stored already.
    fn link(&mut self, index: u32, comparable: &str) {
        let Self {
            by_id,
            buyers,
            names,
            ..
        } = self;
        let comparable_at = |index: u32| {
            let (buyer_id, _) = names.get(buyers[index].names?);
            BuyerId::stored(buyer_id).ok().map(|id| id.comparable())
        };
        let hasher = &by_id.hasher;
        let entry = by_id.first.entry(
            hasher.hash_one(comparable),
            |&index| comparable_at(index).as_deref() == Some(comparable),
            |&index| hasher.hash_one(comparable_at(index).as_deref().unwrap_or_default()),
        );
        let next = match entry {
            Entry::Occupied(mut first) => std::mem::replace(first.get_mut(), index).into(),
            Entry::Vacant(free) => {
                free.insert(index);
                Link::NONE
            }
        };
        self.buyers[index].next = next;
    }

    /// Removes the entry at `index` from those of its identifier. Its names must still be stored.
    fn unlink(&mut self, index: u32) {
        let Some(comparable) = self.comparable_at(index) else {
            return;
        };
        let next = std::mem::replace(&mut self.buyers[index].next, Link::NONE);
        let hash = self.by_id.hasher.hash_one(&*comparable);
        let Self {
            by_id,
            buyers,
            names,
            ..
        } = self;
        let is_it = |&first: &u32| {
            let stored = buyers[first].names.map(|at| names.get(at).0);
            let id = stored.and_then(|stored| BuyerId::stored(stored).ok());
            id.is_some_and(|id| id.comparable() == comparable)
        };
        let Ok(mut first) = by_id.first.find_entry(hash, is_it) else {
            return;
        };
        if *first.get() == index {
            match next.get() {
                Some(next) => *first.get_mut() = next,
                None => drop(first.remove()),
            }
            return;
        }
        let mut before = Some(*first.get());
        while let Some(at) = before {
            before = self.buyers[at].next.get();
            if before == Some(index) {
                self.buyers[at].next = next;
                return;
            }
        }
    }

    /// Returns the key of the buyer at `index`.
    pub(crate) fn key_at(&self, index: u32) -> BuyerKey {
        let PackedKey { drop, buyer } = self.buyers[index].key;
        BuyerKey {
            drop_id: self.drops[drop as usize],
            buyer,
        }
    }

    /// Returns the row of the buyer at `index`; `None` after an erasure.
    pub(crate) fn row_at(&self, index: u32) -> Option<BuyerRow> {
        let (buyer_id, shown) = self.names.get(self.buyers[index].names?);
        Some(BuyerRow {
            buyer_id: BuyerId::stored(buyer_id).ok()?,
            display_name: DisplayName::stored(shown).ok(),
        })
    }

    /// Returns a buyer's row; `None` if it is unknown or was erased.
    #[must_use]
    pub fn get(&self, key: &BuyerKey) -> Option<BuyerRow> {
        self.row_at(self.index(key)?)
    }

    /// Returns the units that a buyer holds or has purchased.
    #[must_use]
    pub fn taken(&self, key: &BuyerKey) -> u32 {
        self.index(key).map_or(0, |index| self.buyers[index].taken)
    }

    /// Adds units to those of the buyer at `index`.
    pub(crate) fn add_units(&mut self, index: u32, units: u32) {
        self.buyers[index].taken += units;
    }

    /// Subtracts units that the buyer at `index` held and did not purchase.
    pub(crate) fn subtract_units(&mut self, index: u32, units: u32) {
        let taken = &mut self.buyers[index].taken;
        *taken = taken.saturating_sub(units);
    }

    /// Forgets the holds and the units of every buyer of this drop, because its holds are removed.
    pub(crate) fn reset(&mut self, drop_id: DropId) {
        let Some(&drop) = self.drop_indexes.get(&drop_id) else {
            return;
        };
        for entry in self.buyers.iter_mut() {
            if entry.key.drop == drop {
                (entry.taken, entry.last_hold) = (0, Link::NONE);
            }
        }
    }

    /// Erases the shop's identifier of a buyer.
    pub fn forget(&mut self, key: &BuyerKey) {
        if let Some(index) = self.index(key) {
            self.unlink(index);
            self.wipe(index);
        }
    }

    pub(crate) fn index(&self, key: &BuyerKey) -> Option<u32> {
        let key = PackedKey {
            drop: *self.drop_indexes.get(&key.drop_id)?,
            buyer: key.buyer,
        };
        self.indexes.find(&key, |index| &self.buyers[index].key)
    }

    fn wipe(&mut self, index: u32) {
        if let Some(at) = self.buyers[index].names.take() {
            self.names.wipe(at);
        }
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
        let index = buyers.index(&ann(1)).unwrap();
        buyers.forget(&ann(1));
        assert_eq!(names(&buyers, &ann(1)), None);
        assert_eq!(buyers.key_at(index), ann(1));
        assert!(names(&buyers, &ann(2)).is_some());
    }
}
