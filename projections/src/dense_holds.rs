//! The rows of [`Holds`] in compact form, because there are millions while a drop is on sale.
//!
//! Promise: the same rows as those of the fold, at about 64 bytes each. A hold is found by its id
//! alone, and the rows of a drop that is removed give their memory back.
//! Limit: the buyer of a hold is stored in [`Buyers`], which must be the same at every call. The
//! drops of removed holds stay known where a stock program chose the id of the hold.

use std::collections::HashMap;

use domain::DropEvent;
use domain::chunks::Chunks;
use domain::drop::HoldStatus;
use domain::lookup::Lookup;
use domain::packed::{Link, PackedQuantity, U48};
use domain::values::{DropId, HoldId, Position, PurchaseId, Quantity};

use crate::buyers::{BuyerAt, Buyers};
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::holds::{HoldPurchase, HoldRow, Holds};

#[derive(Debug, Default)]
pub struct DenseHolds {
    drops: Vec<HoldsOfDrop>,
    slots: HashMap<DropId, u32>,
    /// The slots of drops by the prefix that they share with the ids of their holds; nearly always
    /// one.
    by_prefix: HashMap<[u8; 4], Vec<u32>>,
    /// The slots of holds whose id does not have the prefix of their drop: placed by a stock
    /// program.
    strays: HashMap<HoldId, u32>,
    purchases: Lookup<PurchaseAt>,
}

#[derive(Debug)]
struct HoldsOfDrop {
    drop_id: DropId,
    /// Its slot in [`Buyers`].
    buyers_slot: u32,
    holds: Chunks<PackedHold>,
    indexes: Lookup<u32>,
    /// In the order of the log.
    purchases: Chunks<Purchase>,
}

/// A hold: its row, the position of its last event, and its buyer.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub row: HoldRow,
    /// The position of its last event.
    pub position: Position,
    /// The number of holds of its drop that were placed before it.
    pub(crate) index: u32,
    pub(crate) buyer: BuyerAt,
    /// The position of its purchase.
    pub(crate) purchased: Option<Position>,
}

/// See [`HoldRow`] for the fields.
#[derive(Debug)]
struct PackedHold {
    id: HoldId,
    /// The index among the buyers of the drop.
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

/// The slot of a drop, and the index of a purchase in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PurchaseAt {
    slot: u32,
    index: u32,
}

impl DenseHolds {
    #[must_use]
    pub fn get(&self, hold_id: HoldId, buyers: &Buyers) -> Option<Found> {
        let (of_drop, index) = self.find(hold_id)?;
        Some(of_drop.found(index, buyers))
    }

    /// Returns the hold that this purchase paid for, with its id.
    #[must_use]
    pub fn purchased(&self, id: PurchaseId, buyers: &Buyers) -> Option<(HoldId, Found)> {
        let at = self.purchase_at(id)?;
        Some(self.at(at.slot).purchased(at.index, buyers))
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
        let slot = self.slots.get(&drop_id).copied();
        let start = match after {
            None => 0,
            Some(after) => {
                let after = self.purchase_at(after)?;
                (Some(after.slot) == slot).then_some(after.index + 1)?
            }
        };
        let Some(of_drop) = slot.map(|slot| self.at(slot)) else {
            return Some(vec![]);
        };
        let page = (start..index_of(of_drop.purchases.len())).take(limit);
        Some(page.map(|index| of_drop.purchased(index, buyers)).collect())
    }

    /// Returns at most `limit` holds of a buyer of one drop, newest first.
    #[must_use]
    pub(crate) fn newest_of(
        &self,
        buyer: BuyerAt,
        limit: usize,
        buyers: &Buyers,
    ) -> Vec<(HoldId, Found)> {
        let Some(slot) = self.slots.get(&buyers.key_at(buyer).drop_id) else {
            return vec![];
        };
        let of_drop = self.at(*slot);
        let newest = std::iter::successors(buyers.last_hold(buyer), |index| {
            of_drop.holds[*index].previous.get()
        });
        newest
            .take(limit)
            .map(|index| (of_drop.holds[index].id, of_drop.found(index, buyers)))
            .collect()
    }

    /// Returns the number of holds of a drop.
    #[must_use]
    pub fn len_of(&self, drop_id: DropId) -> usize {
        let slot = self.slots.get(&drop_id);
        slot.map_or(0, |slot| self.at(*slot).holds.len())
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
        let slot = self.slot(fact.drop_id, buyers);
        let of_drop = &mut self.drops[slot as usize];
        let Some(index) = of_drop.index(key.hold_id) else {
            let row = Holds::start(fact)?;
            of_drop.start(key.hold_id, position, &row, buyers);
            if key.hold_id.prefix() != fact.drop_id.prefix() {
                self.strays.insert(key.hold_id, slot);
            }
            return Ok(());
        };
        if let Some(purchased) = of_drop.change(index, position, fact, buyers)? {
            let drops = &self.drops;
            let at = PurchaseAt {
                slot,
                index: purchased,
            };
            let id = *id_of(drops, at);
            self.purchases.insert(&id, at, |at| id_of(drops, at));
        }
        Ok(())
    }

    /// Removes every hold of a drop.
    pub fn remove(&mut self, drop_id: DropId) {
        let Some(&slot) = self.slots.get(&drop_id) else {
            return;
        };
        let drops = &self.drops;
        for index in 0..index_of(self.at(slot).purchases.len()) {
            let at = PurchaseAt { slot, index };
            let id = *id_of(drops, at);
            // A stock program may have given a purchase of another drop the same id before.
            if self.purchases.find(&id, |at| id_of(drops, at)) == Some(at) {
                self.purchases.remove(&id, |at| id_of(drops, at));
            }
        }
        let of_drop = &mut self.drops[slot as usize];
        *of_drop = HoldsOfDrop::new(drop_id, of_drop.buyers_slot);
    }

    /// Returns the drop of a hold. One that was removed has none, unless a stock program chose its
    /// id.
    #[must_use]
    pub fn drop_of(&self, hold_id: HoldId) -> Option<DropId> {
        let found = self.find(hold_id).map(|(of_drop, _)| of_drop.drop_id);
        let stray = || Some(self.at(*self.strays.get(&hold_id)?).drop_id);
        found.or_else(stray)
    }

    fn find(&self, hold_id: HoldId) -> Option<(&HoldsOfDrop, u32)> {
        let slots = self.by_prefix.get(&hold_id.prefix()).into_iter().flatten();
        slots.chain(self.strays.get(&hold_id)).find_map(|slot| {
            let of_drop = self.at(*slot);
            Some((of_drop, of_drop.index(hold_id)?))
        })
    }

    fn slot(&mut self, drop_id: DropId, buyers: &mut Buyers) -> u32 {
        let Self {
            drops,
            slots,
            by_prefix,
            ..
        } = self;
        *slots.entry(drop_id).or_insert_with(|| {
            let slot = index_of(drops.len());
            drops.push(HoldsOfDrop::new(drop_id, buyers.slot(drop_id)));
            by_prefix.entry(drop_id.prefix()).or_default().push(slot);
            slot
        })
    }

    fn at(&self, slot: u32) -> &HoldsOfDrop {
        &self.drops[slot as usize]
    }

    fn purchase_at(&self, id: PurchaseId) -> Option<PurchaseAt> {
        self.purchases.find(&id, |at| id_of(&self.drops, at))
    }
}

impl HoldsOfDrop {
    fn new(drop_id: DropId, buyers_slot: u32) -> Self {
        Self {
            drop_id,
            buyers_slot,
            holds: Chunks::default(),
            indexes: Lookup::default(),
            purchases: Chunks::default(),
        }
    }

    fn index(&self, hold_id: HoldId) -> Option<u32> {
        self.indexes.find(&hold_id, |index| &self.holds[index].id)
    }

    fn found(&self, index: u32, buyers: &Buyers) -> Found {
        let packed = &self.holds[index];
        let purchase = packed.purchase.get();
        Found {
            row: self.unpack(packed, buyers),
            position: packed.position.into(),
            index,
            buyer: self.buyer_at(packed),
            purchased: purchase.map(|purchase| self.purchases[purchase].position.into()),
        }
    }

    /// Returns the hold that the purchase at `index` paid for.
    fn purchased(&self, index: u32, buyers: &Buyers) -> (HoldId, Found) {
        let hold = self.purchases[index].hold;
        (self.holds[hold].id, self.found(hold, buyers))
    }

    fn start(&mut self, hold_id: HoldId, position: Position, row: &HoldRow, buyers: &mut Buyers) {
        let next = index_of(self.holds.len());
        let holds = &self.holds;
        self.indexes
            .insert(&hold_id, next, |index| &holds[index].id);
        let at = buyers.index_or_insert(row.drop_id, row.buyer);
        buyers.add_units(at, row.quantity.get());
        let previous = buyers.follow_hold(at, next);
        self.holds.push(PackedHold {
            id: hold_id,
            buyer: at.index,
            purchase: Link::NONE,
            previous,
            quantity: row.quantity.into(),
            status: row.status,
            placed_at: row.placed_at.into(),
            expires_at: row.expires_at.into(),
            position: position.into(),
        });
    }

    /// An event may change the status, the deadline and the number of units. Returns the index of
    /// the purchase, if the event is one.
    fn change(
        &mut self,
        index: u32,
        position: Position,
        fact: Fact<'_>,
        buyers: &mut Buyers,
    ) -> Result<Option<u32>, CannotApply> {
        let mut row = self.unpack(&self.holds[index], buyers);
        let at = self.buyer_at(&self.holds[index]);
        Holds::change(&mut row, fact)?;
        let packed = &mut self.holds[index];
        packed.status = row.status;
        packed.position = position.into();
        packed.expires_at = row.expires_at.into();
        let before = std::mem::replace(&mut packed.quantity, row.quantity.into());
        if let DropEvent::HoldChanged(_) = fact.event {
            buyers.subtract_units(at, Quantity::from(before).get());
            buyers.add_units(at, row.quantity.get());
        }
        if matches!(row.status, HoldStatus::Expired | HoldStatus::Released) {
            buyers.subtract_units(at, row.quantity.get());
        }
        if let Some(purchase) = packed.purchase.get() {
            let refunded = &mut self.purchases[purchase].purchase.refunded;
            let total = row.purchase.map_or(0, |purchase| purchase.refunded);
            let units = total - std::mem::replace(refunded, total);
            buyers.subtract_units(at, units);
        } else if let Some(purchase) = row.purchase {
            let next = index_of(self.purchases.len());
            packed.purchase = next.into();
            self.purchases.push(Purchase {
                purchase: *purchase,
                hold: index,
                position: position.into(),
            });
            return Ok(Some(next));
        }
        Ok(None)
    }

    const fn buyer_at(&self, packed: &PackedHold) -> BuyerAt {
        BuyerAt {
            slot: self.buyers_slot,
            index: packed.buyer,
        }
    }

    fn unpack(&self, packed: &PackedHold, buyers: &Buyers) -> HoldRow {
        let purchase = packed.purchase.get();
        HoldRow {
            drop_id: self.drop_id,
            buyer: buyers.key_at(self.buyer_at(packed)).buyer,
            quantity: packed.quantity.into(),
            status: packed.status,
            placed_at: packed.placed_at.into(),
            expires_at: packed.expires_at.into(),
            purchase: purchase.map(|index| Box::new(self.purchases[index].purchase.clone())),
        }
    }
}

fn id_of(drops: &[HoldsOfDrop], at: PurchaseAt) -> &PurchaseId {
    &drops[at.slot as usize].purchases[at.index].purchase.id
}

fn index_of(length: usize) -> u32 {
    u32::try_from(length).expect("fewer than four billion holds")
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
    fn purchases_are_found_and_listed_until_their_drop_is_removed() {
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
            let at = buyers.find(&buyer).unwrap();
            let newest = dense.newest_of(at, limit, buyers).into_iter();
            newest.map(|(hold_id, _)| hold_id).collect::<Vec<_>>()
        };
        let of_ann = [hold_id("h3"), hold_id("h1")];
        assert_eq!(of(&dense, &buyers, "ann", 9), of_ann);
        assert_eq!(of(&dense, &buyers, "ann", 1), of_ann[..1]);
        assert_eq!(of(&dense, &buyers, "bob", 9), [hold_id("h2")]);
        dense.remove(drop_id);
        buyers.reset(drop_id);
        assert_eq!(of(&dense, &buyers, "ann", 9), []);
        assert_eq!(listed(&dense, &buyers, None, 9), Some(vec![]));
        assert_eq!(dense.purchased(purchase_id("h1"), &buyers), None);
        apply(&mut dense, &mut buyers);
        assert_eq!(listed(&dense, &buyers, None, 9), both);
        assert_eq!(of(&dense, &buyers, "ann", 9), of_ann, "each once");
        assert!(dense.purchased(purchase_id("h1"), &buyers).is_some());
    }

    #[test]
    fn removing_a_drop_keeps_a_purchase_of_another_with_the_same_id() {
        let (mut dense, mut buyers) = (DenseHolds::default(), Buyers::default());
        let drops = [drop_id("a"), drop_id("b")];
        for (drop_id, position) in drops.into_iter().zip([1, 3]) {
            for (event, position) in [hold_placed("h1", 1), purchase_confirmed("h1", 1)]
                .iter()
                .zip(position..)
            {
                let fact = Fact {
                    drop_id,
                    event,
                    private: None,
                };
                dense.apply(Position(position), fact, &mut buyers).unwrap();
            }
        }
        dense.remove(drops[1]);
        let found = dense.purchased(purchase_id("h1"), &buyers).unwrap().1;
        assert_eq!(found.row.drop_id, drops[0]);
        dense.remove(drops[0]);
        assert_eq!(dense.purchased(purchase_id("h1"), &buyers), None);
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
