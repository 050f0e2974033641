//! The stock of a drop, and its invariant: units are never created or lost.

use serde::{Deserialize, Serialize};

/// Units of one drop. Invariant: `available + held + sold == total`, and none is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stock {
    /// All units that the drop offers.
    pub total: u32,
    /// Units that can be held now.
    pub available: u32,
    /// Units set aside by holds that are not resolved.
    pub held: u32,
    /// Units that were paid for.
    pub sold: u32,
}

impl Stock {
    #[must_use]
    pub const fn new(total: u32) -> Self {
        Self {
            total,
            available: total,
            held: 0,
            sold: 0,
        }
    }

    /// Moves `quantity` units from available to held.
    pub fn hold(&mut self, quantity: u32) {
        move_units(&mut self.available, &mut self.held, quantity);
        self.check();
    }

    /// Moves `quantity` units from held to available.
    pub fn free(&mut self, quantity: u32) {
        move_units(&mut self.held, &mut self.available, quantity);
        self.check();
    }

    /// Moves `quantity` units from held to sold.
    pub fn sell(&mut self, quantity: u32) {
        move_units(&mut self.held, &mut self.sold, quantity);
        self.check();
    }

    /// Moves `quantity` units from sold to held; only to revert a sale that was never recorded.
    pub(crate) fn unsell(&mut self, quantity: u32) {
        move_units(&mut self.sold, &mut self.held, quantity);
        self.check();
    }

    /// Takes `quantity` sold units back: they become available, or leave the total.
    pub fn take_back(&mut self, quantity: u32, restocked: bool) {
        move_units(&mut self.sold, &mut self.available, quantity);
        if !restocked {
            self.available -= quantity;
            self.total -= quantity;
        }
        self.check();
    }

    /// Reverts [`Stock::take_back`].
    pub(crate) fn untake(&mut self, quantity: u32, restocked: bool) {
        if !restocked {
            self.available += quantity;
            self.total += quantity;
        }
        move_units(&mut self.available, &mut self.sold, quantity);
        self.check();
    }

    /// Adds `delta` units to the total and to the available units.
    pub fn adjust(&mut self, delta: i32) {
        self.total = shifted(self.total, delta);
        self.available = shifted(self.available, delta);
        self.check();
    }

    /// Returns true if `available + held + sold == total`.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        u64::from(self.available) + u64::from(self.held) + u64::from(self.sold)
            == u64::from(self.total)
    }

    fn check(&self) {
        assert!(self.is_conserved(), "units appeared or vanished: {self:?}");
    }
}

fn move_units(from: &mut u32, to: &mut u32, quantity: u32) {
    *from = from
        .checked_sub(quantity)
        .expect("more units moved than there are: oversold");
    *to += quantity;
}

fn shifted(units: u32, delta: i32) -> u32 {
    units
        .checked_add_signed(delta)
        .expect("stock adjusted below zero")
}
