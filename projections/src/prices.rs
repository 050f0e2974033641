//! The unit prices of each drop, and the holds from which they apply. A hold keeps the price at its
//! placement. Its event does not contain the price: it is the last price that was set before the
//! hold.
//!
//! Promise: finds the price of every hold without storing it per hold.
//! Limit: every price that a drop ever had is kept, at 32 bytes.

use std::collections::HashMap;

use domain::DropEvent;
use domain::values::{DropId, Money, Position};

#[derive(Debug, Default)]
pub struct Prices(HashMap<DropId, Vec<Price>>);

/// A price and its start, in both numbers by which a hold is found.
#[derive(Debug)]
struct Price {
    /// The position at which it was set.
    set_at: Position,
    /// The number of holds of the drop when it was set.
    holds_before: usize,
    unit: Money,
}

const _: () = assert!(size_of::<Price>() <= 32);

impl Prices {
    /// Adds the price that was set at `position`, after `holds_before` holds of the drop.
    pub fn set(&mut self, drop_id: DropId, unit: Money, position: Position, holds_before: usize) {
        let prices = self.0.entry(drop_id).or_default();
        // Most edits do not change the price.
        if prices.last().is_none_or(|last| last.unit != unit) {
            prices.push(Price {
                set_at: position,
                holds_before,
                unit,
            });
        }
    }

    pub fn remove(&mut self, drop_id: DropId) {
        self.0.remove(&drop_id);
    }

    /// Returns the price of one unit in the hold that was placed at `position`.
    #[must_use]
    pub fn at(&self, drop_id: DropId, position: Position) -> Option<Money> {
        self.last(drop_id, |price| price.set_at < position)
    }

    /// Returns the price of one unit in the hold that was placed after `holds` other holds of the
    /// drop.
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

/// Returns the unit price that an event sets, if any.
#[must_use]
pub const fn set_by(event: &DropEvent) -> Option<Money> {
    match event {
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => Some(event.terms.price),
        DropEvent::DropRescheduled(event) => Some(event.terms.price),
        DropEvent::DropPublished(event) => Some(event.terms.price),
        DropEvent::DropCancelled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::terms::DropTerms;
    use domain::testing::*;

    use super::*;

    /// Records the events of two drops alternately and returns the price of each hold, found both
    /// ways.
    fn prices_of_holds(history: &[(&str, DropEvent)]) -> Vec<i64> {
        let mut prices = Prices::default();
        let mut placed: Vec<(DropId, Position, usize)> = vec![];
        for ((drop, event), position) in history.iter().zip(1..) {
            let (drop_id, position) = (drop_id(drop), Position(position));
            let holds = placed.iter().filter(|(of, ..)| *of == drop_id).count();
            if let Some(unit) = set_by(event) {
                prices.set(drop_id, unit, position, holds);
            }
            if matches!(event, DropEvent::HoldPlaced(_)) {
                placed.push((drop_id, position, holds));
            }
        }
        let price = |&(drop_id, position, holds): &_| {
            let found = prices.at(drop_id, position);
            assert_eq!(found, prices.after(drop_id, holds));
            found.unwrap().amount
        };
        placed.iter().map(price).collect()
    }

    fn repriced(amount: i64) -> DropEvent {
        let price = cents(amount);
        drop_rescheduled(DropTerms { price, ..terms() })
    }

    #[test]
    fn hold_has_the_last_price_set_before_it() {
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
    fn unknown_drops_and_holds_have_no_price() {
        assert_eq!(Prices::default().at(drop_id("a"), Position(9)), None);
        assert_eq!(Prices::default().after(drop_id("a"), 9), None);
    }
}
