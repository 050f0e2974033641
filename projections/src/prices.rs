//! What a unit of each drop costs, and from which hold on. A hold keeps the price that it was placed at, and its event tells
//! none: it is the last one that was set before it.
//!
//! Promise: the price of every hold without a byte for each. Limit: every price that a drop ever had is kept, at 32 bytes.

use std::collections::HashMap;

use domain::DropEvent;
use domain::values::{DropId, Money, Position};

/// See the module.
#[derive(Debug, Default)]
pub struct Prices(HashMap<DropId, Vec<Price>>);

/// A price, and since when: known by both numbers that a hold is found by.
#[derive(Debug)]
struct Price {
    /// Where in the log it was set.
    set_at: Position,
    /// How many holds there were of all drops.
    holds_before: usize,
    unit: Money,
}

const _: () = assert!(size_of::<Price>() <= 32);

impl Prices {
    /// The price that was set at `position`, when `holds_before` holds had been placed.
    pub fn set(&mut self, drop_id: DropId, unit: Money, position: Position, holds_before: usize) {
        let prices = self.0.entry(drop_id).or_default();
        // Most edits leave the price as it is.
        if prices.last().is_none_or(|last| last.unit != unit) {
            prices.push(Price {
                set_at: position,
                holds_before,
                unit,
            });
        }
    }

    /// Removes every price of a drop.
    pub fn remove(&mut self, drop_id: DropId) {
        self.0.remove(&drop_id);
    }

    /// The price of one unit in the hold that was placed at `position`.
    #[must_use]
    pub fn at(&self, drop_id: DropId, position: Position) -> Option<Money> {
        self.last(drop_id, |price| price.set_at < position)
    }

    /// The price of one unit in the hold before which `holds` were placed, of all drops.
    #[must_use]
    pub fn after(&self, drop_id: DropId, holds: usize) -> Option<Money> {
        self.last(drop_id, |price| price.holds_before <= holds)
    }

    fn last(&self, drop_id: DropId, is_before: impl Fn(&Price) -> bool) -> Option<Money> {
        let prices = self.0.get(&drop_id)?;
        let before = prices.partition_point(is_before);
        prices[..before].last().map(|price| price.unit)
    }
}

/// The price of one unit that an event sets, if it sets one.
#[must_use]
pub const fn set_by(event: &DropEvent) -> Option<Money> {
    match event {
        DropEvent::DropScheduled(event) => Some(event.terms.price),
        DropEvent::DropRescheduled(event) => Some(event.terms.price),
        DropEvent::DropCancelled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::terms::DropTerms;
    use domain::testing::*;

    use super::*;

    /// Records events of two drops in turn, and gives the price of each hold, found both ways.
    fn prices_of_holds(history: &[(&str, DropEvent)]) -> Vec<i64> {
        let (mut prices, mut placed) = (Prices::default(), vec![]);
        for ((drop, event), position) in history.iter().zip(1..) {
            let (drop_id, position) = (drop_id(drop), Position(position));
            if let Some(unit) = set_by(event) {
                prices.set(drop_id, unit, position, placed.len());
            }
            if matches!(event, DropEvent::HoldPlaced(_)) {
                placed.push((drop_id, position));
            }
        }
        let price = |(holds, &(drop_id, position)): (usize, &(DropId, Position))| {
            let found = prices.at(drop_id, position);
            assert_eq!(found, prices.after(drop_id, holds));
            found.unwrap().amount
        };
        placed.iter().enumerate().map(price).collect()
    }

    fn repriced(amount: i64) -> DropEvent {
        let price = cents(amount);
        drop_rescheduled(DropTerms { price, ..terms() })
    }

    #[test]
    fn a_hold_has_the_last_price_that_was_set_before_it() {
        let first = terms().price.amount;
        let history = [
            ("a", drop_opened(9)),
            ("b", drop_opened(9)),
            ("a", hold_placed("a1", 1)),
            ("a", repriced(10)),
            ("b", hold_placed("b1", 1)),
            ("a", hold_placed("a2", 1)),
            ("b", repriced(7)),
            ("a", repriced(11)),
            ("a", repriced(12)),
            ("b", hold_placed("b2", 1)),
            ("a", repriced(12)),
            ("a", hold_placed("a3", 1)),
        ];
        assert_eq!(prices_of_holds(&history), [first, first, 10, 7, 12]);
    }

    #[test]
    fn what_costs_nothing_known_has_no_price() {
        assert_eq!(Prices::default().at(drop_id("a"), Position(9)), None);
        assert_eq!(Prices::default().after(drop_id("a"), 9), None);
    }
}
