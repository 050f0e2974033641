//! Where a drop's units are. The invariant of the whole product lives here.

use serde::{Deserialize, Serialize};

/// Units of one drop. Invariant: `available + held + sold == total`, and none is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stock {
    /// Units that the drop offers in all.
    pub total: u32,
    /// Units that can be held now.
    pub available: u32,
    /// Units set aside by holds that are not resolved.
    pub held: u32,
    /// Units that were paid for.
    pub sold: u32,
}

impl Stock {
    /// `total` units, all available.
    #[must_use]
    pub const fn new(total: u32) -> Self {
        Self {
            total,
            available: total,
            held: 0,
            sold: 0,
        }
    }

    /// Sets `quantity` available units aside.
    pub fn hold(&mut self, quantity: u32) {
        move_units(&mut self.available, &mut self.held, quantity);
        self.check();
    }

    /// Returns `quantity` held units to the available ones.
    pub fn free(&mut self, quantity: u32) {
        move_units(&mut self.held, &mut self.available, quantity);
        self.check();
    }

    /// Turns `quantity` held units into sold ones.
    pub fn sell(&mut self, quantity: u32) {
        move_units(&mut self.held, &mut self.sold, quantity);
        self.check();
    }

    /// Turns `quantity` sold units back into held ones; only for taking back a sale that was never recorded.
    pub(crate) fn unsell(&mut self, quantity: u32) {
        move_units(&mut self.sold, &mut self.held, quantity);
        self.check();
    }

    /// Adds `delta` units to what is offered and available.
    pub fn adjust(&mut self, delta: i32) {
        self.total = shifted(self.total, delta);
        self.available = shifted(self.available, delta);
        self.check();
    }

    /// Whether `available + held + sold == total`.
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
