//! The rows of [`Holds`] in memory, as small as they get: there are millions while a drop sells.
//!
//! Promise: the same rows as the fold's, at some 60 bytes each. Limit: whose a hold is stands with the [`Buyers`], who must
//! be the same at every call.

use std::collections::HashMap;

use domain::chunks::Chunks;
use domain::drop::HoldStatus;
use domain::lookup::Lookup;
use domain::packed::{Link, PackedQuantity, U48};
use domain::values::{DropId, HoldId, Position};

use crate::buyers::Buyers;
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::holds::{HoldPurchase, HoldRow, Holds};

/// See the module.
#[derive(Debug, Default)]
pub struct DenseHolds {
    holds: Chunks<PackedHold>,
    places: Lookup<u32>,
    purchases: Chunks<HoldPurchase>,
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
            self.purchases.push(*purchase);
        }
        Ok(())
    }

    /// Hides every hold of a drop, until it is applied again. They keep their memory.
    ///
    /// # Panics
    /// At the four billionth hold.
    pub fn hide(&mut self, drop_id: DropId) {
        let next = u32::try_from(self.holds.len()).expect("fewer than four billion holds");
        self.hidden.insert(drop_id, next);
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
            purchase: purchase.map(|place| Box::new(self.purchases[place].clone())),
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
