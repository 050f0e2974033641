//! Counts one drop's events, on its own: it shares no arithmetic with the server that wrote them.
//!
//! Promise: units held, sold, expired and released as the log tells them; every unit too many, every hold placed or
//! ended twice, every deadline that was not kept is found, in whatever log it is given.
//! Limit: it knows one drop, from its first event on.

use std::collections::{HashMap, HashSet};

use domain::DropEvent;
use domain::event::{HoldExpired, HoldPlaced};
use domain::values::{HoldId, Pseudonym, Quantity, Timestamp};

use crate::log_reader::Recorded;

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was paid for.
    Sold,
    /// It ran out.
    Expired,
    /// It was given up.
    Released,
}

/// A hold as the log tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedHold {
    /// Units.
    pub quantity: u32,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// Units, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Units {
    /// Offered in all.
    pub total: i64,
    /// In holds that have not ended.
    pub held: i64,
    /// Sold.
    pub sold: i64,
    /// In holds that ran out.
    pub expired: i64,
    /// In holds that were given up.
    pub released: i64,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Units now.
    pub units: Units,
    /// The most units that were ever held and sold together.
    pub peak_taken: i64,
    /// The most units that were ever held and sold beyond the total.
    pub oversold: i64,
    /// Every hold.
    pub holds: HashMap<HoldId, LoggedHold>,
    /// Holds placed again: the same id, or a second hold of a buyer who asked for one.
    pub placed_again: u64,
    /// Holds that ended more than once.
    pub ended_again: u64,
    /// Ends of holds that were never placed.
    pub ended_unplaced: u64,
    /// Expiries whose time is not the one that the hold was placed with.
    pub deadlines_moved: u64,
    /// For each expiry, how many milliseconds after the deadline it was recorded; negative: before it.
    pub lateness_ms: Vec<i64>,
    buyers: HashSet<Pseudonym>,
}

impl Tally {
    /// Counts `events`, which follow on from those counted before.
    pub fn count(&mut self, events: &[Recorded]) {
        for recorded in events {
            self.apply(&recorded.event, recorded.recorded_at);
        }
    }

    fn apply(&mut self, event: &DropEvent, recorded_at: Timestamp) {
        match event {
            DropEvent::DropScheduled(event) => {
                self.units.total += i64::from(event.total_stock.get());
            }
            DropEvent::StockAdjusted(event) => self.units.total += i64::from(event.delta),
            DropEvent::HoldPlaced(event) => self.placed(event),
            DropEvent::HoldExpired(event) => self.expired(event, recorded_at),
            DropEvent::HoldReleased(event) => {
                self.ended(event.hold_id, event.quantity, End::Released)
            }
            DropEvent::PurchaseConfirmed(event) => {
                self.ended(event.hold_id, event.quantity, End::Sold)
            }
            DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => {}
        }
        self.watch();
    }

    fn placed(&mut self, event: &HoldPlaced) {
        self.units.held += i64::from(event.quantity.get());
        let hold = LoggedHold {
            quantity: event.quantity.get(),
            expires_at: event.expires_at,
            end: None,
        };
        let known_hold = self.holds.insert(event.hold_id, hold).is_some();
        let known_buyer = !self.buyers.insert(event.buyer);
        self.placed_again += u64::from(known_hold || known_buyer);
    }

    fn expired(&mut self, event: &HoldExpired, recorded_at: Timestamp) {
        let deadline = self.holds.get(&event.hold_id).map(|hold| hold.expires_at);
        self.deadlines_moved += u64::from(deadline.is_some_and(|at| at != event.expired_at));
        self.lateness_ms
            .push(recorded_at.millis() - event.expired_at.millis());
        self.ended(event.hold_id, event.quantity, End::Expired);
    }

    fn ended(&mut self, hold_id: HoldId, quantity: Quantity, end: End) {
        let quantity = i64::from(quantity.get());
        self.units.held -= quantity;
        match end {
            End::Sold => self.units.sold += quantity,
            End::Expired => self.units.expired += quantity,
            End::Released => self.units.released += quantity,
        }
        match self.holds.get_mut(&hold_id) {
            None => self.ended_unplaced += 1,
            Some(hold) if hold.end.is_some() => self.ended_again += 1,
            Some(hold) => hold.end = Some(end),
        }
    }

    fn watch(&mut self) {
        let taken = self.units.held + self.units.sold;
        self.peak_taken = self.peak_taken.max(taken);
        self.oversold = self.oversold.max(taken - self.units.total);
    }

    /// Holds that ended in `end`.
    #[must_use]
    pub fn ended_in(&self, end: End) -> usize {
        self.holds
            .values()
            .filter(|hold| hold.end == Some(end))
            .count()
    }

    /// Holds that have not ended.
    #[must_use]
    pub fn open(&self) -> usize {
        self.holds
            .values()
            .filter(|hold| hold.end.is_none())
            .count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::event::{
        DropScheduled, HoldReleased, PurchaseConfirmed, ReleaseCause, StockAdjusted,
    };
    use domain::stock::Stock;
    use domain::terms::DropTerms;
    use domain::values::{
        AdjustmentId, Currency, DropName, HoldSeconds, Money, Position, PurchaseId, Reason,
        StockCount,
    };
    use uuid::Uuid;

    use super::*;

    fn money() -> Money {
        Money::price(100, Currency::new("USD").unwrap()).unwrap()
    }

    fn units(quantity: u32) -> Quantity {
        Quantity::new(i64::from(quantity)).unwrap()
    }

    fn buyer(number: u128) -> Pseudonym {
        Pseudonym(Uuid::from_u128(number))
    }

    pub(crate) fn hold_id(number: u128) -> HoldId {
        HoldId(Uuid::from_u128(number))
    }

    pub(crate) fn scheduled(total: i64) -> DropEvent {
        DropEvent::DropScheduled(DropScheduled {
            key: None,
            terms: DropTerms {
                name: DropName::new("a drop").unwrap(),
                description: None,
                image_url: None,
                price: money(),
                starts_at: Timestamp::default(),
                ends_at: None,
                hold_seconds: HoldSeconds::new(60).unwrap(),
                max_per_hold: units(10),
                max_per_buyer: None,
                throttle: None,
            },
            total_stock: StockCount::new(total).unwrap(),
            scheduled_at: Timestamp::default(),
        })
    }

    pub(crate) fn placed(number: u128, quantity: u32) -> DropEvent {
        DropEvent::HoldPlaced(HoldPlaced {
            hold_id: hold_id(number),
            key: None,
            buyer: buyer(number),
            quantity: units(quantity),
            placed_at: Timestamp::default(),
            expires_at: Timestamp::from_millis(1_000),
            commitment: None,
            waitlist_entry: None,
        })
    }

    pub(crate) fn expired(number: u128, quantity: u32) -> DropEvent {
        DropEvent::HoldExpired(HoldExpired {
            hold_id: hold_id(number),
            buyer: buyer(number),
            quantity: units(quantity),
            expired_at: Timestamp::from_millis(1_000),
        })
    }

    pub(crate) fn sold(number: u128, quantity: u32) -> DropEvent {
        DropEvent::PurchaseConfirmed(PurchaseConfirmed {
            purchase_id: PurchaseId(Uuid::from_u128(number)),
            hold_id: hold_id(number),
            buyer: buyer(number),
            quantity: units(quantity),
            total: money(),
            purchased_at: Timestamp::default(),
            commitment: None,
        })
    }

    fn released(number: u128, quantity: u32) -> DropEvent {
        DropEvent::HoldReleased(HoldReleased {
            hold_id: hold_id(number),
            buyer: buyer(number),
            quantity: units(quantity),
            released_at: Timestamp::default(),
            cause: ReleaseCause::Buyer,
        })
    }

    fn adjusted(delta: i32) -> DropEvent {
        DropEvent::StockAdjusted(StockAdjusted {
            adjustment_id: AdjustmentId(Uuid::nil()),
            key: None,
            delta,
            reason: Reason::new("more").unwrap(),
            stock: Stock::new(0),
            adjusted_at: Timestamp::default(),
        })
    }

    /// `events`, all recorded 7 ms after the deadline of [`placed`].
    pub(crate) fn tally(events: impl IntoIterator<Item = DropEvent>) -> Tally {
        let recorded: Vec<Recorded> = events
            .into_iter()
            .map(|event| Recorded {
                position: Position(1),
                recorded_at: Timestamp::from_millis(1_007),
                event,
            })
            .collect();
        let mut tally = Tally::default();
        tally.count(&recorded);
        tally
    }

    #[test]
    fn units_go_where_the_log_says() {
        let tally = tally([
            scheduled(6),
            placed(1, 2),
            placed(2, 1),
            placed(3, 1),
            placed(4, 2),
            sold(1, 2),
            expired(2, 1),
            released(3, 1),
            adjusted(4),
        ]);
        let expected = Units {
            total: 10,
            held: 2,
            sold: 2,
            expired: 1,
            released: 1,
        };
        assert_eq!(tally.units, expected);
        assert_eq!((tally.peak_taken, tally.oversold), (6, 0));
        assert_eq!((tally.open(), tally.ended_in(End::Sold)), (1, 1));
        assert_eq!(tally.lateness_ms, [7]);
    }

    #[test]
    fn the_last_unit_is_not_oversold_and_one_more_is() {
        assert_eq!(tally([scheduled(2), placed(1, 2)]).oversold, 0);
        assert_eq!(
            tally([scheduled(2), placed(1, 2), placed(2, 1)]).oversold,
            1
        );
    }

    #[test]
    fn an_oversell_that_was_made_good_later_is_still_found() {
        let events = [scheduled(1), placed(1, 1), placed(2, 1), released(2, 1)];
        assert_eq!(tally(events).oversold, 1);
    }

    #[test]
    fn a_hold_placed_again_or_a_second_one_for_a_buyer_is_a_duplicate() {
        assert_eq!(
            tally([scheduled(5), placed(1, 1), placed(1, 1)]).placed_again,
            1
        );
        let mut second = placed(2, 1);
        if let DropEvent::HoldPlaced(event) = &mut second {
            event.buyer = buyer(1);
        }
        assert_eq!(tally([scheduled(5), placed(1, 1), second]).placed_again, 1);
    }

    #[test]
    fn a_hold_ends_once_and_only_if_it_was_placed() {
        let twice = tally([scheduled(5), placed(1, 1), expired(1, 1), expired(1, 1)]);
        assert_eq!((twice.ended_again, twice.ended_unplaced), (1, 0));
        let both = tally([scheduled(5), placed(1, 1), sold(1, 1), expired(1, 1)]);
        assert_eq!(both.ended_again, 1);
        assert_eq!(tally([scheduled(5), sold(1, 1)]).ended_unplaced, 1);
    }

    #[test]
    fn a_deadline_that_moved_is_found() {
        let mut moved = expired(1, 1);
        if let DropEvent::HoldExpired(event) = &mut moved {
            event.expired_at = Timestamp::from_millis(2_000);
        }
        let tally = tally([scheduled(5), placed(1, 1), moved]);
        assert_eq!(tally.deadlines_moved, 1);
        assert_eq!(tally.lateness_ms, [-993]);
    }
}
