//! The identity of pseudonyms. In memory only: personal data is stored only in the log's `private`
//! column, and is erased with it.
//!
//! Promise: a known buyer keeps their index; the shop's identifier of a buyer is overwritten when
//! the buyer is erased.

use std::collections::HashMap;

use domain::DropEvent;
use domain::chunks::Chunks;
use domain::lookup::Lookup;
use domain::packed::U48;
use domain::values::{BuyerId, DisplayName, DropId, Pseudonym};
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

/// All buyers of all drops, at about 69 bytes each with a name of twenty characters.
#[derive(Debug, Default)]
pub struct Buyers {
    drops: Vec<DropId>,
    drop_indexes: HashMap<DropId, u32>,
    buyers: Chunks<BuyerEntry>,
    indexes: Lookup<u32>,
    names: Texts,
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
}

const _: () = assert!(size_of::<BuyerEntry>() <= 32);

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
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistLeft(_) => return,
        };
        let Some(private) = fact.private else { return };
        let Some(buyer_id) = &private.buyer_id else {
            return;
        };
        let index = self.index_or_insert(fact.drop_id, buyer);
        self.wipe(index);
        let shown = private.display_name.as_ref();
        let at = self
            .names
            .push(buyer_id.as_str(), shown.map_or("", DisplayName::as_str));
        self.buyers[index].names = Some(at);
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

    /// Sets the units of every buyer of this drop to zero, because its holds will be applied again.
    pub(crate) fn reset_taken(&mut self, drop_id: DropId) {
        let Some(&drop) = self.drop_indexes.get(&drop_id) else {
            return;
        };
        for index in 0..index_of(self.buyers.len()) {
            let entry = &mut self.buyers[index];
            if entry.key.drop == drop {
                entry.taken = 0;
            }
        }
    }

    /// Erases the shop's identifier of a buyer.
    pub fn forget(&mut self, key: &BuyerKey) {
        if let Some(index) = self.index(key) {
            self.wipe(index);
        }
    }

    fn index(&self, key: &BuyerKey) -> Option<u32> {
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
