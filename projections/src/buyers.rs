//! Who a pseudonym is. In memory only: personal data stands in one place of the database, the log's `private` column, and
//! is forgotten with it.
//!
//! Promise: a buyer whom a drop has met keeps their place; what the shop called them is overwritten once they are erased.

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

/// What the shop calls a buyer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuyerRow {
    /// What the shop calls them.
    pub buyer_id: BuyerId,
    /// The name that they agreed to show.
    pub display_name: Option<DisplayName>,
}

/// All buyers that a drop has met, at some 69 bytes each with a name of twenty characters.
#[derive(Debug, Default)]
pub struct Buyers {
    drops: Vec<DropId>,
    drop_places: HashMap<DropId, u32>,
    buyers: Chunks<Met>,
    places: Lookup<u32>,
    names: Texts,
}

/// A [`BuyerKey`] in twenty bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PackedKey {
    drop: u32,
    buyer: Pseudonym,
}

#[derive(Debug)]
struct Met {
    key: PackedKey,
    /// Where their names are; none: nobody has told, or they were erased.
    names: Option<U48>,
    /// Units that they hold or have bought.
    taken: u32,
}

const _: () = assert!(size_of::<Met>() <= 32);

impl Buyers {
    /// The place of a buyer, who is met now if they were not before.
    pub(crate) fn meet(&mut self, drop_id: DropId, buyer: Pseudonym) -> u32 {
        let drops = &mut self.drops;
        let drop = *self.drop_places.entry(drop_id).or_insert_with(|| {
            drops.push(drop_id);
            place_of(drops.len() - 1)
        });
        let key = PackedKey { drop, buyer };
        let next = place_of(self.buyers.len());
        let buyers = &self.buyers;
        let found = self.places.insert(&key, next, |place| &buyers[place].key);
        found.unwrap_or_else(|| {
            self.buyers.push(Met {
                key,
                names: None,
                taken: 0,
            });
            next
        })
    }

    /// Keeps what the shop calls a buyer, if `fact` tells.
    pub fn apply(&mut self, fact: Fact<'_>) {
        let buyer = match fact.event {
            DropEvent::HoldPlaced(event) => event.buyer,
            DropEvent::WaitlistJoined(event) => event.buyer,
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistLeft(_) => return,
        };
        let Some(private) = fact.private else { return };
        let Some(buyer_id) = &private.buyer_id else {
            return;
        };
        let place = self.meet(fact.drop_id, buyer);
        self.wipe(place);
        let shown = private.display_name.as_ref();
        let at = self
            .names
            .push(buyer_id.as_str(), shown.map_or("", DisplayName::as_str));
        self.buyers[place].names = Some(at);
    }

    /// Who stands at `place`, as the log knows them.
    pub(crate) fn key_at(&self, place: u32) -> BuyerKey {
        let PackedKey { drop, buyer } = self.buyers[place].key;
        BuyerKey {
            drop_id: self.drops[drop as usize],
            buyer,
        }
    }

    /// What the shop calls who stands at `place`; none once they were erased.
    pub(crate) fn row_at(&self, place: u32) -> Option<BuyerRow> {
        let (buyer_id, shown) = self.names.get(self.buyers[place].names?);
        Some(BuyerRow {
            buyer_id: BuyerId::stored(buyer_id).ok()?,
            display_name: DisplayName::stored(shown).ok(),
        })
    }

    /// What the shop calls a buyer; none when nobody has told, and once they were erased.
    #[must_use]
    pub fn get(&self, key: &BuyerKey) -> Option<BuyerRow> {
        self.row_at(self.place(key)?)
    }

    /// Units that a buyer holds or has bought.
    #[must_use]
    pub fn taken(&self, key: &BuyerKey) -> u32 {
        self.place(key).map_or(0, |place| self.buyers[place].taken)
    }

    /// The buyer at `place` holds so many units more.
    pub(crate) fn take(&mut self, place: u32, units: u32) {
        self.buyers[place].taken += units;
    }

    /// The buyer at `place` holds so many units less, which were not bought.
    pub(crate) fn give_back(&mut self, place: u32, units: u32) {
        let taken = &mut self.buyers[place].taken;
        *taken = taken.saturating_sub(units);
    }

    /// No buyer of this drop holds or has bought anything: its holds are to be applied again.
    pub(crate) fn reset_taken(&mut self, drop_id: DropId) {
        let Some(&drop) = self.drop_places.get(&drop_id) else {
            return;
        };
        for place in 0..place_of(self.buyers.len()) {
            let met = &mut self.buyers[place];
            if met.key.drop == drop {
                met.taken = 0;
            }
        }
    }

    /// Forgets what the shop calls a buyer.
    pub fn forget(&mut self, key: &BuyerKey) {
        if let Some(place) = self.place(key) {
            self.wipe(place);
        }
    }

    fn place(&self, key: &BuyerKey) -> Option<u32> {
        let key = PackedKey {
            drop: *self.drop_places.get(&key.drop_id)?,
            buyer: key.buyer,
        };
        self.places.find(&key, |place| &self.buyers[place].key)
    }

    fn wipe(&mut self, place: u32) {
        if let Some(at) = self.buyers[place].names.take() {
            self.names.wipe(at);
        }
    }
}

fn place_of(length: usize) -> u32 {
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
    fn a_buyer_is_known_in_the_drop_that_met_them_by_the_name_told_last() {
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
    fn who_was_forgotten_keeps_their_place_but_no_name() {
        let mut buyers = Buyers::default();
        introduce(&mut buyers, 1, "ann", Some("A."));
        introduce(&mut buyers, 2, "ann", None);
        let place = buyers.place(&ann(1)).unwrap();
        buyers.forget(&ann(1));
        assert_eq!(names(&buyers, &ann(1)), None);
        assert_eq!(buyers.key_at(place), ann(1));
        assert!(names(&buyers, &ann(2)).is_some());
    }
}
