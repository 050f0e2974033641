//! Changes of an unresolved hold: a later deadline, another number of units.
//!
//! Promise: the hold keeps its id, its price and its turn in the throttle; a retry of the request
//! that placed it is still recognised by the number of units that it was placed with.

use super::{DropAggregate, Hold, HoldStatus};
use crate::event::{HoldChanged, HoldExtended};
use crate::values::{HoldId, Quantity};

impl DropAggregate {
    /// Returns the units with which the hold was placed. It may have another number of units now.
    #[must_use]
    pub fn placed_quantity(&self, hold: &Hold) -> Quantity {
        let changed = (!self.placed_quantities.is_empty())
            .then(|| self.hold_index(hold.id))
            .flatten();
        let placed = changed.and_then(|index| self.placed_quantities.get(&index));
        placed.copied().unwrap_or(hold.quantity)
    }

    pub(super) fn extended(&mut self, event: &HoldExtended) {
        let (index, hold) = self.unresolved(event.hold_id);
        assert!(
            self.buyer_at(hold.buyer).id == event.buyer,
            "a hold was extended for a different buyer"
        );
        assert!(
            hold.expires_at == event.previous_expires_at,
            "a hold was extended from a different deadline"
        );
        assert!(
            event.extended_at < hold.expires_at,
            "a hold was extended after it expired"
        );
        assert!(
            event.expires_at > hold.expires_at,
            "a hold was extended to an earlier deadline"
        );
        self.holds[index].set_expiry(event.expires_at);
    }

    pub(super) fn unextend(&mut self, event: &HoldExtended) {
        let (index, _) = self.unresolved(event.hold_id);
        self.holds[index].set_expiry(event.previous_expires_at);
    }

    pub(super) fn changed(&mut self, event: &HoldChanged) {
        let (index, hold) = self.unresolved(event.hold_id);
        assert!(
            self.buyer_at(hold.buyer).id == event.buyer,
            "a hold was changed for a different buyer"
        );
        assert!(
            hold.quantity == event.previous_quantity,
            "a hold was changed from a different quantity"
        );
        assert!(
            event.changed_at < hold.expires_at,
            "a hold was changed after it expired"
        );
        if event.units_held() > 0 {
            self.assert_is_selling("units were added to a hold");
        }
        self.resize(index, &hold, event.quantity);
    }

    pub(super) fn unchange(&mut self, event: &HoldChanged) {
        let (index, hold) = self.unresolved(event.hold_id);
        self.resize(index, &hold, event.previous_quantity);
    }

    /// Sets the units of an unresolved hold.
    fn resize(&mut self, index: u32, hold: &Hold, quantity: Quantity) {
        let placed = self.placed_quantity(hold);
        match placed == quantity {
            true => self.placed_quantities.remove(&index),
            false => self.placed_quantities.insert(index, placed),
        };
        self.holds[index].set_quantity(quantity);
        let (before, after) = (hold.quantity.get(), quantity.get());
        let buyer = &mut self.buyers[hold.buyer];
        if let Some(more) = after.checked_sub(before) {
            self.stock.hold(more);
            buyer.held += more;
        } else {
            self.stock.free(before - after);
            buyer.held -= before - after;
        }
        self.assess(hold.buyer);
    }

    fn unresolved(&self, hold_id: HoldId) -> (u32, Hold) {
        let index = self.index_of_hold(hold_id);
        let hold = self.hold_at(index);
        assert!(
            hold.status == HoldStatus::Held,
            "hold {hold_id} was changed after it was resolved"
        );
        assert!(
            self.cancelled_at.is_none(),
            "a hold of a cancelled drop was changed"
        );
        (index, hold)
    }
}
