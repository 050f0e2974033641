//! Counts one drop's events independently: shares no arithmetic with the server that wrote them.
//!
//! Promise: counts units held, sold, expired and released. Finds every oversold unit, every hold
//! placed or ended twice, and every expiry off its deadline, in any log.
//! Limit: it counts one drop, from its first event on.

use std::collections::{HashMap, HashSet};

use domain::DropEvent;
use domain::event::{HoldExpired, HoldPlaced};
use domain::values::{HoldId, Pseudonym, Quantity, Timestamp};

use crate::log_reader::Recorded;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The hold was purchased.
    Sold,
    /// The hold expired.
    Expired,
    /// The hold was released.
    Released,
}

/// A hold, as recorded in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedHold {
    pub quantity: u32,
    /// The first instant at which the hold no longer counts.
    pub expires_at: Timestamp,
    /// How it ended; `None` while it is unresolved.
    pub end: Option<End>,
}

/// Units by their present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Units {
    /// Units on sale in total.
    pub total: i64,
    /// Units in unresolved holds.
    pub held: i64,
    pub sold: i64,
    /// Units in expired holds.
    pub expired: i64,
    /// Units in released holds.
    pub released: i64,
}

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The present units.
    pub units: Units,
    /// The maximum of held and sold units together.
    pub peak_taken: i64,
    /// The maximum of held and sold units beyond the total.
    pub oversold: i64,
    pub holds: HashMap<HoldId, LoggedHold>,
    /// Holds placed again: a repeated id, or a second hold of a buyer who requested one.
    pub placed_again: u64,
    pub ended_again: u64,
    /// Ends of holds that were never placed.
    pub ended_unplaced: u64,
    /// Expiries with a deadline other than the hold's.
    pub deadlines_moved: u64,
    /// For each expiry, how many milliseconds after the deadline it was recorded; negative: before
    /// it.
    pub lateness_ms: Vec<i64>,
    buyers: HashSet<Pseudonym>,
}

impl Tally {
    /// Counts `events`, which follow those counted before.
    pub fn count(&mut self, events: &[Recorded]) {
        for recorded in events {
            self.apply(&recorded.event, recorded.recorded_at);
        }
    }

    fn apply(&mut self, event: &DropEvent, recorded_at: Timestamp) {
        match event {
            DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                self.units.total += i64::from(event.total_stock.get());
            }
            DropEvent::StockAdjusted(event) => self.units.total += i64::from(event.delta),
            DropEvent::HoldPlaced(event) => self.placed(event),
            DropEvent::HoldExtended(event) => {
                if let Some(hold) = self.holds.get_mut(&event.hold_id) {
                    hold.expires_at = event.expires_at;
                }
            }
            DropEvent::HoldChanged(event) => {
                self.units.held += event.units_added();
                self.units.released += i64::from(event.units_freed());
                if let Some(hold) = self.holds.get_mut(&event.hold_id) {
                    hold.quantity = event.quantity.get();
                }
            }
            DropEvent::HoldExpired(event) => self.expired(event, recorded_at),
            DropEvent::HoldReleased(event) => {
                self.ended(event.hold_id, event.quantity, End::Released)
            }
            DropEvent::PurchaseConfirmed(event) => {
                self.ended(event.hold_id, event.quantity, End::Sold)
            }
            DropEvent::PurchaseRefunded(event) => {
                let units = i64::from(event.quantity.get());
                self.units.sold -= units;
                if !event.restocked {
                    self.units.total -= units;
                }
            }
            DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => {}
        }
        self.note_extremes();
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

    fn note_extremes(&mut self) {
        let taken = self.units.held + self.units.sold;
        self.peak_taken = self.peak_taken.max(taken);
        self.oversold = self.oversold.max(taken - self.units.total);
    }

    /// The number of holds that ended in `end`.
    #[must_use]
    pub fn ended_in(&self, end: End) -> usize {
        self.holds
            .values()
            .filter(|hold| hold.end == Some(end))
            .count()
    }

    /// The number of unresolved holds.
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
                max_hold_seconds: None,
                offer_seconds: None,
                low_stock_at: None,
                limit_group: None,
                visibility: Default::default(),
                show_stock: Default::default(),
                access: Default::default(),
                challenge: None,
                product_id: None,
                variant_id: None,
                creator_id: None,
                draft: false,
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
            order_id: None,
            code: None,
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

    /// Tallies `events`, all recorded 7 ms after the deadline of [`placed`].
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
    fn units_are_counted_by_event_type() {
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
    fn last_unit_is_not_oversold_and_one_more_is() {
        assert_eq!(tally([scheduled(2), placed(1, 2)]).oversold, 0);
        assert_eq!(
            tally([scheduled(2), placed(1, 2), placed(2, 1)]).oversold,
            1
        );
    }

    #[test]
    fn temporary_oversell_is_still_found() {
        let events = [scheduled(1), placed(1, 1), placed(2, 1), released(2, 1)];
        assert_eq!(tally(events).oversold, 1);
    }

    #[test]
    fn repeated_hold_or_second_hold_of_a_buyer_is_a_duplicate() {
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
    fn repeated_and_unplaced_ends_are_counted() {
        let twice = tally([scheduled(5), placed(1, 1), expired(1, 1), expired(1, 1)]);
        assert_eq!((twice.ended_again, twice.ended_unplaced), (1, 0));
        let both = tally([scheduled(5), placed(1, 1), sold(1, 1), expired(1, 1)]);
        assert_eq!(both.ended_again, 1);
        assert_eq!(tally([scheduled(5), sold(1, 1)]).ended_unplaced, 1);
    }

    #[test]
    fn moved_deadline_is_found() {
        let mut moved = expired(1, 1);
        if let DropEvent::HoldExpired(event) = &mut moved {
            event.expired_at = Timestamp::from_millis(2_000);
        }
        let tally = tally([scheduled(5), placed(1, 1), moved]);
        assert_eq!(tally.deadlines_moved, 1);
        assert_eq!(tally.lateness_ms, [-993]);
    }
}
