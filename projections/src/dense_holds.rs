//! The rows of [`Holds`] in compact form, because there are millions while a drop is on sale.
//!
//! Promise: the same rows as those of the fold, at about 64 bytes each.
//! Limit: the buyer of a hold is stored in [`Buyers`], which must be the same at every call.

use std::collections::HashMap;

use domain::DropEvent;
use domain::chunks::Chunks;
use domain::drop::HoldStatus;
use domain::lookup::Lookup;
use domain::packed::{Link, PackedQuantity, U48};
use domain::values::{DropId, HoldId, Position, PurchaseId, Quantity};

use crate::buyers::Buyers;
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::holds::{HoldPurchase, HoldRow, Holds};

#[derive(Debug, Default)]
pub struct DenseHolds {
    holds: Chunks<PackedHold>,
    indexes: Lookup<u32>,
    purchases: Chunks<Purchase>,
    purchase_indexes: Lookup<u32>,
    /// The purchases of each drop, in the order of the log.
    by_drop: HashMap<DropId, Vec<u32>>,
    /// For each hidden drop, the number of holds (of all drops) at which it was hidden. Its earlier
    /// holds are not found.
    hidden: HashMap<DropId, u32>,
}

/// A hold: its row, the position of its last event, and its buyer's index.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub row: HoldRow,
    /// The position of its last event.
    pub position: Position,
    /// The number of holds that were placed before it.
    pub(crate) index: u32,
    pub(crate) buyer: u32,
    /// The position of its purchase.
    pub(crate) purchased: Option<Position>,
}

/// See [`HoldRow`] for the fields. The buyer's entry contains the drop.
#[derive(Debug)]
struct PackedHold {
    id: HoldId,
    buyer: u32,
    purchase: Link,
    /// The hold of the same buyer before it.
    previous: Link,
    quantity: PackedQuantity,
    status: HoldStatus,
    placed_at: U48,
    expires_at: U48,
    position: U48,
}

const _: () = assert!(size_of::<PackedHold>() <= 52);

/// A purchase, and the index of the hold that was paid for.
#[derive(Debug)]
struct Purchase {
    purchase: HoldPurchase,
    hold: u32,
    position: U48,
}

impl DenseHolds {
    #[must_use]
    pub fn get(&self, hold_id: HoldId, buyers: &Buyers) -> Option<Found> {
        let index = self.visible_index(hold_id, buyers)?;
        let packed = &self.holds[index];
        Some(Found {
            row: self.unpack(packed, buyers),
            position: packed.position.into(),
            index,
            buyer: packed.buyer,
            purchased: (packed.purchase.get())
                .map(|purchase| self.purchases[purchase].position.into()),
        })
    }

    /// Returns the hold that this purchase paid for, with its id.
    #[must_use]
    pub fn purchased(&self, id: PurchaseId, buyers: &Buyers) -> Option<(HoldId, Found)> {
        let index = self.purchase_index(id)?;
        self.purchased_at(index, buyers)
    }

    /// Returns at most `limit` purchases of a drop, oldest first, starting after `after`; `None` if
    /// the drop has no such purchase.
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
            Some(after) => all.binary_search(&self.purchase_index(after)?).ok()? + 1,
        };
        let indexes = all[start..].iter().take(limit);
        Some(
            indexes
                .filter_map(|&index| self.purchased_at(index, buyers))
                .collect(),
        )
    }

    /// Returns at most `limit` holds of the buyer at `buyer`, newest first.
    #[must_use]
    pub(crate) fn newest_of(
        &self,
        buyer: u32,
        limit: usize,
        buyers: &Buyers,
    ) -> Vec<(HoldId, Found)> {
        let mut newest = vec![];
        let mut next = buyers.last_hold(buyer);
        while let Some(index) = next.filter(|_| newest.len() < limit) {
            let packed = &self.holds[index];
            // A hidden hold stays linked, but is not found, or found as a later one.
            let found = self.get(packed.id, buyers);
            if let Some(found) = found.filter(|found| found.index == index) {
                newest.push((packed.id, found));
            }
            next = packed.previous.get();
        }
        newest
    }

    fn purchased_at(&self, index: u32, buyers: &Buyers) -> Option<(HoldId, Found)> {
        let hold_id = self.holds[self.purchases[index].hold].id;
        Some((hold_id, self.get(hold_id, buyers)?))
    }

    fn purchase_index(&self, id: PurchaseId) -> Option<u32> {
        let purchases = &self.purchases;
        self.purchase_indexes
            .find(&id, |index| &purchases[index].purchase.id)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.holds.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies the event at `position`.
    ///
    /// # Errors
    /// [`CannotApply`]; then no hold has changed.
    ///
    /// # Panics
    /// If there are four billion holds.
    pub fn apply(
        &mut self,
        position: Position,
        fact: Fact<'_>,
        buyers: &mut Buyers,
    ) -> Result<(), CannotApply> {
        let Some(key) = Holds::key(fact) else {
            return Ok(());
        };
        match self.visible_index(key.hold_id, buyers) {
            Some(index) => self.change(index, position, fact, buyers),
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
            // A hidden hold is replaced when the same hold is applied again.
            self.indexes.remove(&hold_id, |index| &holds[index].id);
        }
        self.indexes
            .insert(&hold_id, next, |index| &holds[index].id);
        let buyer = buyers.index_or_insert(row.drop_id, row.buyer);
        buyers.add_units(buyer, row.quantity.get());
        let previous = buyers.follow_hold(buyer, next);
        self.holds.push(PackedHold {
            id: hold_id,
            buyer,
            purchase: Link::NONE,
            previous,
            quantity: row.quantity.into(),
            status: row.status,
            placed_at: row.placed_at.into(),
            expires_at: row.expires_at.into(),
            position: position.into(),
        });
    }

    /// An event may change the status, the deadline and the number of units.
    fn change(
        &mut self,
        index: u32,
        position: Position,
        fact: Fact<'_>,
        buyers: &mut Buyers,
    ) -> Result<(), CannotApply> {
        let mut row = self.unpack(&self.holds[index], buyers);
        Holds::change(&mut row, fact)?;
        let packed = &mut self.holds[index];
        packed.status = row.status;
        packed.position = position.into();
        packed.expires_at = row.expires_at.into();
        let before = std::mem::replace(&mut packed.quantity, row.quantity.into());
        if let DropEvent::HoldChanged(_) = fact.event {
            buyers.subtract_units(packed.buyer, Quantity::from(before).get());
            buyers.add_units(packed.buyer, row.quantity.get());
        }
        if matches!(row.status, HoldStatus::Expired | HoldStatus::Released) {
            buyers.subtract_units(packed.buyer, row.quantity.get());
        }
        if let Some(purchase) = packed.purchase.get() {
            let refunded = &mut self.purchases[purchase].purchase.refunded;
            let total = row.purchase.map_or(0, |purchase| purchase.refunded);
            let units = total - std::mem::replace(refunded, total);
            buyers.subtract_units(packed.buyer, units);
        } else if let Some(purchase) = row.purchase {
            let next = u32::try_from(self.purchases.len()).expect("no more purchases than holds");
            packed.purchase = next.into();
            let purchase = Purchase {
                purchase: *purchase,
                hold: index,
                position: position.into(),
            };
            self.keep_purchase(next, purchase, row.drop_id);
        }
        Ok(())
    }

    fn keep_purchase(&mut self, next: u32, purchase: Purchase, drop_id: DropId) {
        let id = purchase.purchase.id;
        let purchases = &self.purchases;
        if !self.hidden.is_empty() {
            // As for holds.
            self.purchase_indexes
                .remove(&id, |index| &purchases[index].purchase.id);
        }
        self.purchase_indexes
            .insert(&id, next, |index| &purchases[index].purchase.id);
        self.purchases.push(purchase);
        self.by_drop.entry(drop_id).or_default().push(next);
    }

    /// Hides every hold of a drop until it is applied again. Hidden holds keep their memory.
    ///
    /// # Panics
    /// If there are four billion holds.
    pub fn hide(&mut self, drop_id: DropId) {
        let next = u32::try_from(self.holds.len()).expect("fewer than four billion holds");
        self.hidden.insert(drop_id, next);
        self.by_drop.remove(&drop_id);
    }

    /// Returns the drop of a hold, even if it is hidden.
    #[must_use]
    pub fn drop_of(&self, hold_id: HoldId, buyers: &Buyers) -> Option<DropId> {
        let index = self.index(hold_id)?;
        Some(buyers.key_at(self.holds[index].buyer).drop_id)
    }

    /// Returns the index of a hold, unless it is hidden.
    fn visible_index(&self, hold_id: HoldId, buyers: &Buyers) -> Option<u32> {
        let index = self.index(hold_id)?;
        if self.hidden.is_empty() {
            return Some(index);
        }
        let drop_id = buyers.key_at(self.holds[index].buyer).drop_id;
        let from = self.hidden.get(&drop_id).copied().unwrap_or_default();
        (index >= from).then_some(index)
    }

    fn index(&self, hold_id: HoldId) -> Option<u32> {
        self.indexes.find(&hold_id, |index| &self.holds[index].id)
    }

    fn unpack(&self, packed: &PackedHold, buyers: &Buyers) -> HoldRow {
        let buyer = buyers.key_at(packed.buyer);
        let purchase = packed.purchase.get();
        HoldRow {
            drop_id: buyer.drop_id,
            buyer: buyer.buyer,
            quantity: packed.quantity.into(),
            status: packed.status,
            placed_at: packed.placed_at.into(),
            expires_at: packed.expires_at.into(),
            purchase: purchase.map(|index| Box::new(self.purchases[index].purchase.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn rows_equal_those_of_the_fold_after_every_event() {
        let history = [
            hold_placed("h1", 1),
            hold_placed("h2", 2).by("bob"),
            hold_placed("h3", 3),
            hold_placed("h4", 1_000).by("bob"),
            hold_extended("h1", 300),
            hold_changed("h2", 2, 5).by("bob"),
            purchase_confirmed("h1", 1),
            hold_changed("h2", 5, 1).by("bob"),
            hold_released("h2", 1).by("bob"),
            purchase_confirmed("h4", 1_000).by("bob"),
            purchase_refunded("r1", "h4", 300).by("bob"),
            purchase_written_off("r2", "h4", 700).by("bob"),
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
            let taken = |name| {
                let units = rows
                    .0
                    .values()
                    .filter(|placed| placed.row.buyer == buyer(name));
                let counts = [HoldStatus::Held, HoldStatus::Purchased];
                let units = units.filter(|placed| counts.contains(&placed.row.status));
                let refunded =
                    |row: &HoldRow| row.purchase.as_ref().map_or(0, |made| made.refunded);
                let left = units.map(|placed| placed.row.quantity.get() - refunded(&placed.row));
                left.sum::<u32>()
            };
            for name in ["ann", "bob"] {
                let (drop_id, buyer) = (DropId(uuid::Uuid::from_u128(1)), buyer(name));
                let key = crate::top_purchasers::BuyerKey { drop_id, buyer };
                assert_eq!(buyers.taken(&key), taken(name), "{event:?}");
            }
        }
    }

    #[test]
    fn purchases_are_found_and_listed_until_their_drop_is_hidden() {
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

        let of = |dense: &DenseHolds, buyers: &Buyers, name: &str, limit| {
            let buyer = crate::top_purchasers::BuyerKey {
                drop_id,
                buyer: buyer(name),
            };
            let index = buyers.index(&buyer).unwrap();
            let newest = dense.newest_of(index, limit, buyers).into_iter();
            newest.map(|(hold_id, _)| hold_id).collect::<Vec<_>>()
        };
        let of_ann = [hold_id("h3"), hold_id("h1")];
        assert_eq!(of(&dense, &buyers, "ann", 9), of_ann);
        assert_eq!(of(&dense, &buyers, "ann", 1), of_ann[..1]);
        assert_eq!(of(&dense, &buyers, "bob", 9), [hold_id("h2")]);
        dense.hide(drop_id);
        assert_eq!(of(&dense, &buyers, "ann", 9), []);
        assert_eq!(listed(&dense, &buyers, None, 9), Some(vec![]));
        assert_eq!(dense.purchased(purchase_id("h1"), &buyers), None);
        apply(&mut dense, &mut buyers);
        assert_eq!(listed(&dense, &buyers, None, 9), both);
        assert_eq!(of(&dense, &buyers, "ann", 9), of_ann, "each once");
        assert!(dense.purchased(purchase_id("h1"), &buyers).is_some());
    }

    #[test]
    fn impossible_event_changes_nothing() {
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
