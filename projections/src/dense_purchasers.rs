//! The rows of [`TopPurchasers`] in compact form, by drop, and their order.
//!
//! Promise: the same rows as those of the fold, at about 80 bytes each, and every node has them in
//! the same order.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use domain::chunks::Chunks;
use domain::lookup::Lookup;
use domain::packed::U48;
use domain::values::{DropId, Pseudonym};

use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::top_purchasers::{BuyerKey, PurchaserRow, TopPurchasers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurchaserOrder {
    Units,
    Recent,
}

#[derive(Debug, Default)]
pub struct DensePurchasers(HashMap<DropId, PurchasersOfDrop>);

#[derive(Debug, Default)]
struct PurchasersOfDrop {
    /// In the order of their first purchase.
    purchasers: Chunks<PackedPurchaser>,
    indexes: Lookup<u32>,
    by_units: BTreeSet<ByUnits>,
    by_time: BTreeSet<ByTime>,
}

/// Units, the time of the last purchase, and an index. Most units last; among equals, the one who
/// reached that number first is last.
type ByUnits = (u32, Reverse<[u8; 6]>, Reverse<u32>);
/// The time of the last purchase, and an index.
type ByTime = ([u8; 6], u32);

/// See [`PurchaserRow`] for the fields.
#[derive(Debug)]
struct PackedPurchaser {
    buyer: Pseudonym,
    quantity: u32,
    refunded: u32,
    last_purchased_at: U48,
}

const _: () = assert!(size_of::<PackedPurchaser>() <= 32);

impl PackedPurchaser {
    fn new(buyer: Pseudonym, row: &PurchaserRow) -> Self {
        let units = |units| u32::try_from(units).expect("no more units than a drop has had");
        Self {
            buyer,
            quantity: units(row.quantity),
            refunded: units(row.refunded),
            last_purchased_at: row.last_purchased_at.into(),
        }
    }

    fn kept(&self) -> u32 {
        self.quantity.saturating_sub(self.refunded)
    }

    /// Returns the time in bytes that are in its order.
    fn time(&self) -> [u8; 6] {
        let [_, _, time @ ..] = self.last_purchased_at.get().to_be_bytes();
        time
    }

    fn row(&self) -> PurchaserRow {
        PurchaserRow {
            quantity: self.quantity.into(),
            last_purchased_at: self.last_purchased_at.into(),
            refunded: self.refunded.into(),
        }
    }
}

impl DensePurchasers {
    #[must_use]
    pub fn get(&self, key: &BuyerKey) -> Option<PurchaserRow> {
        let of_drop = self.0.get(&key.drop_id)?;
        let index = of_drop.index(key.buyer)?;
        Some(of_drop.purchasers[index].row())
    }

    /// Returns the first `limit` purchasers of a drop; one without units is none.
    #[must_use]
    pub fn first(
        &self,
        drop_id: DropId,
        order: PurchaserOrder,
        limit: usize,
    ) -> Vec<(Pseudonym, PurchaserRow)> {
        let Some(of_drop) = self.0.get(&drop_id) else {
            return vec![];
        };
        let indexes: Vec<u32> = match order {
            PurchaserOrder::Units => {
                let order = of_drop.by_units.iter().rev().take(limit);
                order.map(|&(_, _, Reverse(index))| index).collect()
            }
            PurchaserOrder::Recent => {
                let order = of_drop.by_time.iter().rev().take(limit);
                order.map(|&(_, index)| index).collect()
            }
        };
        let found = indexes.into_iter().map(|index| &of_drop.purchasers[index]);
        found.map(|found| (found.buyer, found.row())).collect()
    }

    /// Applies an event.
    ///
    /// # Errors
    /// [`CannotApply`]; then nothing has changed.
    ///
    /// # Panics
    /// If a buyer has purchased four billion units.
    pub fn apply(&mut self, fact: Fact<'_>) -> Result<(), CannotApply> {
        let Some(BuyerKey { drop_id, buyer }) = TopPurchasers::key(fact) else {
            return Ok(());
        };
        let of_drop = self.0.entry(drop_id).or_default();
        let Some(index) = of_drop.index(buyer) else {
            let row = TopPurchasers::start(fact)?;
            of_drop.add(PackedPurchaser::new(buyer, &row));
            return Ok(());
        };
        let mut row = of_drop.purchasers[index].row();
        TopPurchasers::change(&mut row, fact)?;
        of_drop.replace(index, PackedPurchaser::new(buyer, &row));
        Ok(())
    }

    /// Removes every purchaser of a drop.
    pub fn remove(&mut self, drop_id: DropId) {
        self.0.remove(&drop_id);
    }
}

impl PurchasersOfDrop {
    fn index(&self, buyer: Pseudonym) -> Option<u32> {
        let purchasers = &self.purchasers;
        self.indexes.find(&buyer, |index| &purchasers[index].buyer)
    }

    fn add(&mut self, purchaser: PackedPurchaser) {
        let index = u32::try_from(self.purchasers.len()).expect("fewer than four billion buyers");
        let purchasers = &self.purchasers;
        self.indexes
            .insert(&purchaser.buyer, index, |index| &purchasers[index].buyer);
        self.purchasers.push(purchaser);
        self.rank(index);
    }

    fn replace(&mut self, index: u32, purchaser: PackedPurchaser) {
        let (by_units, by_time) = self.ranks(index);
        self.by_units.remove(&by_units);
        self.by_time.remove(&by_time);
        self.purchasers[index] = purchaser;
        self.rank(index);
    }

    fn ranks(&self, index: u32) -> (ByUnits, ByTime) {
        let purchaser = &self.purchasers[index];
        let time = purchaser.time();
        let by_units = (purchaser.kept(), Reverse(time), Reverse(index));
        (by_units, (time, index))
    }

    /// A buyer without units is no purchaser.
    fn rank(&mut self, index: u32) {
        let (by_units, by_time) = self.ranks(index);
        if self.purchasers[index].kept() > 0 {
            self.by_units.insert(by_units);
            self.by_time.insert(by_time);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::event::DropEvent;
    use domain::testing::*;
    use domain::values::Position;

    use super::*;
    use crate::fold::Rows;

    fn fact(event: &DropEvent) -> Fact<'_> {
        Fact {
            drop_id: drop_id("a"),
            event,
            private: None,
        }
    }

    #[test]
    fn rows_and_order_equal_those_of_the_fold_after_every_event() {
        let history = [
            purchase_confirmed("h1", 3),
            purchase_confirmed("h2", 3).by("bob").at(second(1)),
            purchase_confirmed("h3", 4).by("cid").at(second(9)),
            purchase_confirmed("h4", 1).by("bob").at(second(20)),
            purchase_refunded("r1", "h3", 4).by("cid"),
            purchase_refunded("r2", "h2", 3).by("bob"),
            purchase_confirmed("h5", 2).by("cid").at(second(30)),
            purchase_refunded("r3", "h1", 1),
        ];
        let (mut dense, mut rows) = (DensePurchasers::default(), Rows::default());
        for (event, position) in history.iter().zip(1..) {
            dense.apply(fact(event)).unwrap();
            rows.apply(Position(position), fact(event)).unwrap();
            let rows = &rows as &Rows<TopPurchasers>;
            for placed in rows.0.values() {
                assert_eq!(dense.get(&placed.key).as_ref(), Some(&placed.row));
            }
            let kept = rows.0.values().filter(|placed| placed.row.kept() > 0);
            let kept: Vec<_> = kept
                .map(|placed| (placed.key.buyer, placed.row.clone()))
                .collect();
            let first = |order| dense.first(drop_id("a"), order, 9);
            let mut by_units = kept.clone();
            by_units.sort_by_key(|(_, row)| (Reverse(row.kept()), row.last_purchased_at));
            assert_eq!(first(PurchaserOrder::Units), by_units, "{event:?}");
            let mut by_time = kept;
            by_time.sort_by_key(|(_, row)| Reverse(row.last_purchased_at));
            assert_eq!(first(PurchaserOrder::Recent), by_time, "{event:?}");
            assert_eq!(
                dense.first(drop_id("a"), PurchaserOrder::Units, 1),
                by_units[..1]
            );
        }
        dense.remove(drop_id("a"));
        assert_eq!(dense.first(drop_id("a"), PurchaserOrder::Units, 9), []);
    }

    #[test]
    fn purchasers_with_equal_units_at_one_time_are_in_the_order_of_their_first_purchase() {
        let mut dense = DensePurchasers::default();
        for (hold, name) in [("h1", "cid"), ("h2", "ann"), ("h3", "bob")] {
            dense
                .apply(fact(&purchase_confirmed(hold, 1).by(name)))
                .unwrap();
        }
        let by_units = dense.first(drop_id("a"), PurchaserOrder::Units, 9);
        let buyers: Vec<_> = by_units.into_iter().map(|(buyer, _)| buyer).collect();
        assert_eq!(buyers, ["cid", "ann", "bob"].map(buyer));
    }
}
