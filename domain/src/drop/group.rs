//! The drops of one limit group share `max_per_buyer`, as the sizes of a shoe do.
//!
//! Promise: everything that counts towards the limit per buyer counts the buyer's units in all
//! drops of the group: holds, changes of holds, orders, the waitlist and late sales. A buyer has
//! one pseudonym in all of them.
//! Limit: an aggregate knows its own units. The caller states the units of the other drops before
//! it decides, and again whenever they change ([`DropAggregate::set_taken_elsewhere`]). A caller
//! that states nothing, such as a program on stock `cqrs-es`, decides for this drop alone.
//!
//! Source: docs/decisions/0067-limit-groups-share-pseudonyms.md.

use super::{Buyer, DropAggregate};
use crate::values::{LimitGroup, Pseudonym};

impl Buyer {
    /// Returns the units that count towards the limit per buyer.
    #[must_use]
    pub const fn taken(&self) -> u32 {
        self.held + self.purchased
    }
}

impl DropAggregate {
    /// Returns the limit group. It is fixed when the drop is scheduled: an edit of the terms cannot
    /// change it.
    #[must_use]
    pub fn limit_group(&self) -> Option<&LimitGroup> {
        self.first_terms()?.limit_group.as_ref()
    }

    /// Returns the units of a buyer in this drop that count towards the limit per buyer.
    #[must_use]
    pub fn taken(&self, buyer: Pseudonym) -> u32 {
        self.buyer(buyer).map_or(0, Buyer::taken)
    }

    /// Returns the units of a buyer in the other drops of the limit group.
    #[must_use]
    pub fn taken_elsewhere(&self, buyer: Pseudonym) -> u32 {
        match self.elsewhere.is_empty() {
            true => 0,
            false => self.elsewhere.get(&buyer).copied().unwrap_or_default(),
        }
    }

    /// States the units of a buyer in the other drops of the limit group. Returns true if they
    /// changed; then the buyer's waitlist entry may have become eligible, or have ceased to be.
    pub fn set_taken_elsewhere(&mut self, buyer: Pseudonym, units: u32) -> bool {
        if self.taken_elsewhere(buyer) == units {
            return false;
        }
        match units {
            0 => self.elsewhere.remove(&buyer),
            units => self.elsewhere.insert(buyer, units),
        };
        if let Some(buyer) = self.buyer_index(buyer) {
            self.assess(buyer);
        }
        true
    }
}
