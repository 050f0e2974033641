//! The rows of [`Holds`] in memory, as small as they get: there are millions while a drop sells.
//!
//! Promise: the same rows as the fold's, at some 60 bytes each. Limit: whose a hold is stands with the [`Buyers`], who must
//! be the same at every call.

use std::collections::HashMap;

use domain::chunks::Chunks;
use domain::drop::HoldStatus;
use domain::lookup::Lookup;
use domain::packed::{Link, PackedQuantity, U48};
use domain::values::{DropId, HoldId, Position, PurchaseId};

use crate::buyers::Buyers;
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::holds::{HoldPurchase, HoldRow, Holds};

/// See the module.
#[derive(Debug, Default)]
pub struct DenseHolds {
    holds: Chunks<PackedHold>,
    places: Lookup<u32>,
    purchases: Chunks<Purchase>,
    purchase_places: Lookup<u32>,
    /// The purchases of each drop, in the order of the log.
    by_drop: HashMap<DropId, Vec<u32>>,
    /// Holds of a drop that were placed before so many holds of all drops are not found any more.
    hidden: HashMap<DropId, u32>,
}

/// A hold found: its row, the position of its last event, and its buyer's place.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The row.
    pub row: HoldRow,
    /// The position of its last event.
    pub position: Position,
    /// How many holds were placed before it.
    pub(crate) place: u32,
    pub(crate) buyer: u32,
}

/// See [`HoldRow`] for the fields. Its drop is its buyer's.
#[derive(Debug)]
struct PackedHold {
    id: HoldId,
    buyer: u32,
    purchase: Link,
    quantity: PackedQuantity,
    status: HoldStatus,
    placed_at: U48,
    expires_at: U48,
    position: U48,
}

const _: () = assert!(size_of::<PackedHold>() <= 48);

/// A purchase, and the place of the hold that was paid for.
#[derive(Debug)]
struct Purchase {
    purchase: HoldPurchase,
    hold: u32,
}

impl DenseHolds {
    /// One hold.
    #[must_use]
    pub fn get(&self, hold_id: HoldId, buyers: &Buyers) -> Option<Found> {
        let place = self.shown(hold_id, buyers)?;
        let packed = &self.holds[place];
        Some(Found {
            row: self.unpack(packed, buyers),
            position: packed.position.into(),
            place,
            buyer: packed.buyer,
        })
    }

    /// The hold that this purchase paid for, under its own id.
    #[must_use]
    pub fn purchased(&self, id: PurchaseId, buyers: &Buyers) -> Option<(HoldId, Found)> {
        let place = self.purchase_place(id)?;
        self.purchased_at(place, buyers)
    }

    /// At most `limit` purchases of a drop, the earliest first, from the one after `after` on; none
    /// when the drop has no such purchase.
    #[must_use]
    pub fn purchases_of(
        &self,
        drop_id: DropId,
        after: Option<PurchaseId>,
        limit: usize,
        buyers: &Buyers,
    ) -> Option<Vec<(HoldId, Found)>> {
        let all: &[u32] = self.by_drop.get(&drop_id).map_or(&[], Vec::as_slice);
        let start = match after {
            None => 0,
            Some(after) => all.binary_search(&self.purchase_place(after)?).ok()? + 1,
        };
        let places = all[start..].iter().take(limit);
        Some(
            places
                .filter_map(|&place| self.purchased_at(place, buyers))
                .collect(),
        )
    }

    fn purchased_at(&self, place: u32, buyers: &Buyers) -> Option<(HoldId, Found)> {
        let hold_id = self.holds[self.purchases[place].hold].id;
        Some((hold_id, self.get(hold_id, buyers)?))
    }

    fn purchase_place(&self, id: PurchaseId) -> Option<u32> {
        let purchases = &self.purchases;
        self.purchase_places
            .find(&id, |place| &purchases[place].purchase.id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holds.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies the event at `position`.
    ///
    /// # Errors
    /// [`CannotApply`]; no hold has changed then.
    ///
    /// # Panics
    /// At the four billionth hold.
    pub fn apply(
        &mut self,
        position: Position,
        fact: Fact<'_>,
        buyers: &mut Buyers,
    ) -> Result<(), CannotApply> {
        let Some(key) = Holds::key(fact) else {
            return Ok(());
        };
        match self.shown(key.hold_id, buyers) {
            Some(place) => self.change(place, position, fact, buyers),
            None => {
                let row = Holds::start(fact)?;
                self.start(key.hold_id, position, &row, buyers);
                Ok(())
            }
        }
    }

    fn start(&mut self, hold_id: HoldId, position: Position, row: &HoldRow, buyers: &mut Buyers) {
        let next = u32::try_from(self.holds.len()).expect("fewer than four billion holds");
        let holds = &self.holds;
        if !self.hidden.is_empty() {
            // One that is hidden gives way to the same hold, applied again.
            self.places.remove(&hold_id, |place| &holds[place].id);
        }
        self.places.insert(&hold_id, next, |place| &holds[place].id);
        let buyer = buyers.meet(row.drop_id, row.buyer);
        buyers.take(buyer, row.quantity.get());
        self.holds.push(PackedHold {
            id: hold_id,
            buyer,
            purchase: Link::NONE,
            quantity: row.quantity.into(),
            status: row.status,
            placed_at: row.placed_at.into(),
            expires_at: row.expires_at.into(),
            position: position.into(),
        });
    }

    /// All that an event may change is how far the hold has come.
    fn change(
        &mut self,
        place: u32,
        position: Position,
        fact: Fact<'_>,
        buyers: &mut Buyers,
    ) -> Result<(), CannotApply> {
        let mut row = self.unpack(&self.holds[place], buyers);
        Holds::change(&mut row, fact)?;
        let packed = &mut self.holds[place];
        packed.status = row.status;
        packed.position = position.into();
        if matches!(row.status, HoldStatus::Expired | HoldStatus::Released) {
            buyers.give_back(packed.buyer, row.quantity.get());
        }
        if let Some(purchase) = row.purchase {
            let next = u32::try_from(self.purchases.len()).expect("no more purchases than holds");
            packed.purchase = next.into();
            self.keep_purchase(next, *purchase, place, row.drop_id);
        }
        Ok(())
    }

    fn keep_purchase(&mut self, next: u32, purchase: HoldPurchase, hold: u32, drop_id: DropId) {
        let purchases = &self.purchases;
        if !self.hidden.is_empty() {
            // As for holds.
            self.purchase_places
                .remove(&purchase.id, |place| &purchases[place].purchase.id);
        }
        self.purchase_places
            .insert(&purchase.id, next, |place| &purchases[place].purchase.id);
        self.purchases.push(Purchase { purchase, hold });
        self.by_drop.entry(drop_id).or_default().push(next);
    }

    /// Hides every hold of a drop, until it is applied again. They keep their memory.
    ///
    /// # Panics
    /// At the four billionth hold.
    pub fn hide(&mut self, drop_id: DropId) {
        let next = u32::try_from(self.holds.len()).expect("fewer than four billion holds");
        self.hidden.insert(drop_id, next);
        self.by_drop.remove(&drop_id);
    }

    /// The drop of a hold, hidden ones included.
    #[must_use]
    pub fn drop_of(&self, hold_id: HoldId, buyers: &Buyers) -> Option<DropId> {
        let place = self.place(hold_id)?;
        Some(buyers.key_at(self.holds[place].buyer).drop_id)
    }

    /// The place of a hold, unless it is hidden.
    fn shown(&self, hold_id: HoldId, buyers: &Buyers) -> Option<u32> {
        let place = self.place(hold_id)?;
        if self.hidden.is_empty() {
            return Some(place);
        }
        let drop_id = buyers.key_at(self.holds[place].buyer).drop_id;
        let from = self.hidden.get(&drop_id).copied().unwrap_or_default();
        (place >= from).then_some(place)
    }

    fn place(&self, hold_id: HoldId) -> Option<u32> {
        self.places.find(&hold_id, |place| &self.holds[place].id)
    }

    fn unpack(&self, packed: &PackedHold, buyers: &Buyers) -> HoldRow {
        let whose = buyers.key_at(packed.buyer);
        let purchase = packed.purchase.get();
        HoldRow {
            drop_id: whose.drop_id,
            buyer: whose.buyer,
            quantity: packed.quantity.into(),
            status: packed.status,
            placed_at: packed.placed_at.into(),
            expires_at: packed.expires_at.into(),
            purchase: purchase.map(|place| Box::new(self.purchases[place].purchase.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::DropEvent;
    use domain::testing::*;

    use super::*;
    use crate::fold::Rows;
    use crate::holds::HoldKey;

    fn fact(event: &DropEvent) -> Fact<'_> {
        Fact {
            drop_id: DropId(uuid::Uuid::from_u128(1)),
            event,
            private: None,
        }
    }

    #[test]
    fn rows_are_those_of_the_fold_after_every_event() {
        let history = [
            hold_placed("h1", 1),
            hold_placed("h2", 2).by("bob"),
            hold_placed("h3", 3),
            hold_placed("h4", 1_000).by("bob"),
            purchase_confirmed("h1", 1),
            hold_released("h2", 2).by("bob"),
            hold_expired("h3", 3),
        ];
        let (mut dense, mut buyers, mut rows) = (
            DenseHolds::default(),
            Buyers::default(),
            Rows::<Holds>::default(),
        );
        for (event, position) in history.iter().zip(1..) {
            let position = Position(position);
            dense.apply(position, fact(event), &mut buyers).unwrap();
            rows.apply(position, fact(event)).unwrap();
            for hold_id in ["h1", "h2", "h3", "h4", "h5"].map(hold_id) {
                let found = dense.get(hold_id, &buyers);
                let expected = rows.get(&HoldKey { hold_id });
                assert_eq!(
                    found.map(|found| (found.row, found.position)),
                    expected.map(|placed| (placed.row.clone(), placed.position))
                );
            }
        }
    }

    #[test]
    fn purchases_are_found_by_their_id_and_listed_by_drop_until_it_is_hidden() {
        let (mut dense, mut buyers) = (DenseHolds::default(), Buyers::default());
        let history = [
            hold_placed("h1", 1),
            hold_placed("h2", 2).by("bob"),
            hold_placed("h3", 3),
            purchase_confirmed("h2", 2).by("bob"),
            purchase_confirmed("h1", 1),
            hold_released("h3", 3),
        ];
        let apply = |dense: &mut DenseHolds, buyers: &mut Buyers| {
            for (event, position) in history.iter().zip(1..) {
                dense
                    .apply(Position(position), fact(event), buyers)
                    .unwrap();
            }
        };
        apply(&mut dense, &mut buyers);
        let drop_id = fact(&history[0]).drop_id;
        let listed = |dense: &DenseHolds, buyers: &Buyers, after: Option<&str>, limit| {
            let page = dense.purchases_of(drop_id, after.map(purchase_id), limit, buyers);
            page.map(|page| page.into_iter().map(|(hold_id, _)| hold_id).collect())
        };
        let both = Some(vec![hold_id("h2"), hold_id("h1")]);
        assert_eq!(listed(&dense, &buyers, None, 9), both);
        assert_eq!(listed(&dense, &buyers, None, 1), Some(vec![hold_id("h2")]));
        let after = Some(vec![hold_id("h1")]);
        assert_eq!(listed(&dense, &buyers, Some("h2"), 9), after);
        assert_eq!(listed(&dense, &buyers, Some("h1"), 9), Some(vec![]));
        assert_eq!(listed(&dense, &buyers, Some("h3"), 9), None);
        let found = dense.purchased(purchase_id("h1"), &buyers).unwrap();
        assert_eq!((found.0, found.1.position), (hold_id("h1"), Position(5)));
        assert_eq!(dense.purchased(purchase_id("h3"), &buyers), None);

        dense.hide(drop_id);
        assert_eq!(listed(&dense, &buyers, None, 9), Some(vec![]));
        assert_eq!(dense.purchased(purchase_id("h1"), &buyers), None);
        apply(&mut dense, &mut buyers);
        assert_eq!(listed(&dense, &buyers, None, 9), both);
        assert!(dense.purchased(purchase_id("h1"), &buyers).is_some());
    }

    #[test]
    fn what_history_cannot_contain_changes_nothing() {
        let (mut dense, mut buyers) = (DenseHolds::default(), Buyers::default());
        let mut apply = |event: DropEvent, position| {
            let applied = dense.apply(Position(position), fact(&event), &mut buyers);
            (applied.is_ok(), dense.get(hold_id("h1"), &buyers))
        };
        assert_eq!(apply(hold_expired("h1", 1), 1), (false, None));
        let (_, placed) = apply(hold_placed("h1", 1), 2);
        assert_eq!(apply(hold_placed("h1", 1), 3), (false, placed));
        let (_, expired) = apply(hold_expired("h1", 1), 4);
        assert_eq!(apply(hold_released("h1", 1), 5), (false, expired));
    }
}
