//! The course of each drop: the outcome of its holds, its first seconds, and its latest events. In
//! memory only, as [`crate::revenue`]: the log contains all of it
//! (docs/decisions/0073-the-report-of-a-drop.md).
//!
//! Promise: the counts are those of the log. Units that were placed are purchased, expired,
//! released, or in open holds.
//! Limit: the opening has 200 slots of 50 ms after the first hold, and the list has 20 events: at
//! most 4 kB for each drop. Finer and later times are in the log.

use std::collections::VecDeque;
use std::ops::AddAssign;

use domain::DropEvent;
use domain::stock::Stock;
use domain::values::{Position, Timestamp};
use infrastructure::codec::RecordedEvent;

/// The length of a slot of the opening, in milliseconds.
pub const SLOT_MS: u32 = 50;
/// The number of slots: ten seconds.
pub const MOST_SLOTS: usize = 200;
/// The number of events that are kept.
pub const MOST_EVENTS: usize = 20;

/// Holds, purchases or refunds, and their units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub count: u64,
    pub units: u64,
}

impl AddAssign<u32> for Counted {
    fn add_assign(&mut self, units: u32) {
        self.count += 1;
        self.units += u64::from(units);
    }
}

/// One slot of the opening.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// Holds placed.
    pub holds: u32,
    /// Units set aside.
    pub held: u32,
    /// Units purchased.
    pub sold: u32,
    /// Units that became available again.
    pub freed: u32,
}

/// An event of a drop, without its buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatestEvent {
    pub position: Position,
    pub recorded_at: Timestamp,
    pub event_type: &'static str,
    /// The units that it is about, if any; negative for an adjustment that removes some.
    pub units: Option<i64>,
}

/// The course of one drop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropCourse {
    /// Holds, and their units, those added by changes of holds included.
    pub placed: Counted,
    /// Those of `placed` that were offered to waitlist entries.
    pub offered: Counted,
    pub purchased: Counted,
    pub expired: Counted,
    /// Holds that were released; in units also those freed by changes of holds.
    pub released: Counted,
    /// Refunds, and the units that were returned.
    pub refunded: Counted,
    /// Entries that joined the waitlist.
    pub joined: u64,
    /// When the first hold was placed: the start of the opening.
    pub first_hold_at: Option<Timestamp>,
    /// When for the first time no unit was available, because all were held or sold.
    pub sold_out_at: Option<Timestamp>,
    /// When for the first time all units were sold.
    pub all_sold_at: Option<Timestamp>,
    /// Up to the last slot in which something happened.
    pub opening: Vec<Slot>,
    /// The latest events, oldest first.
    pub latest: VecDeque<LatestEvent>,
}

impl DropCourse {
    /// Applies an event; `stock` is the result.
    pub fn apply(&mut self, recorded: &RecordedEvent, stock: Stock) {
        self.keep(recorded);
        self.count(&recorded.event);
        self.mark(&recorded.event, stock);
        self.add_to_opening(&recorded.event);
    }

    fn keep(&mut self, recorded: &RecordedEvent) {
        if self.latest.len() == MOST_EVENTS {
            self.latest.pop_front();
        }
        self.latest.push_back(LatestEvent {
            position: recorded.position,
            recorded_at: recorded.recorded_at,
            event_type: recorded.event.event_type(),
            units: units_of(&recorded.event),
        });
    }

    fn count(&mut self, event: &DropEvent) {
        match event {
            DropEvent::HoldPlaced(event) => {
                self.placed += event.quantity.get();
                if event.waitlist_entry.is_some() {
                    self.offered += event.quantity.get();
                }
            }
            DropEvent::HoldChanged(event) => {
                self.placed.units += u64::from(event.units_held());
                self.released.units += u64::from(event.units_freed());
            }
            DropEvent::HoldExpired(event) => self.expired += event.quantity.get(),
            DropEvent::HoldReleased(event) => self.released += event.quantity.get(),
            DropEvent::PurchaseConfirmed(event) => self.purchased += event.quantity.get(),
            DropEvent::PurchaseRefunded(event) => self.refunded += event.quantity.get(),
            DropEvent::WaitlistJoined(_) => self.joined += 1,
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::CodesCreated(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistLeft(_) => {}
        }
    }

    /// Records the first time of each milestone. Removed stock is not sold out.
    fn mark(&mut self, event: &DropEvent, stock: Stock) {
        let held_at = match event {
            DropEvent::HoldPlaced(event) => event.placed_at,
            DropEvent::HoldChanged(event) => event.changed_at,
            DropEvent::PurchaseConfirmed(event) => {
                if stock.sold == stock.total {
                    self.all_sold_at.get_or_insert(event.purchased_at);
                }
                return;
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::CodesCreated(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => return,
        };
        self.first_hold_at.get_or_insert(held_at);
        if stock.available == 0 {
            self.sold_out_at.get_or_insert(held_at);
        }
    }

    fn add_to_opening(&mut self, event: &DropEvent) {
        let (at, more) = match event {
            DropEvent::HoldPlaced(event) => {
                let (holds, held) = (1, event.quantity.get());
                let more = Slot {
                    holds,
                    held,
                    ..NOTHING
                };
                (event.placed_at, more)
            }
            DropEvent::HoldChanged(event) => {
                let (held, freed) = (event.units_held(), event.units_freed());
                let more = Slot {
                    held,
                    freed,
                    ..NOTHING
                };
                (event.changed_at, more)
            }
            DropEvent::HoldExpired(event) => (event.expired_at, freed(event.quantity.get())),
            DropEvent::HoldReleased(event) => (event.released_at, freed(event.quantity.get())),
            DropEvent::PurchaseConfirmed(event) => {
                let sold = event.quantity.get();
                (event.purchased_at, Slot { sold, ..NOTHING })
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::CodesCreated(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => return,
        };
        let Some(first) = self.first_hold_at else {
            return;
        };
        // Requests count from their arrival, so a later event may have an earlier time.
        let after = (at.millis() - first.millis()).max(0);
        let Ok(index) = usize::try_from(after / i64::from(SLOT_MS)) else {
            return;
        };
        if index >= MOST_SLOTS {
            return;
        }
        if self.opening.len() <= index {
            self.opening.resize(index + 1, Slot::default());
        }
        let slot = &mut self.opening[index];
        slot.holds += more.holds;
        slot.held += more.held;
        slot.sold += more.sold;
        slot.freed += more.freed;
    }
}

const NOTHING: Slot = Slot {
    holds: 0,
    held: 0,
    sold: 0,
    freed: 0,
};

const fn freed(freed: u32) -> Slot {
    Slot { freed, ..NOTHING }
}

/// Returns the units that an event is about.
fn units_of(event: &DropEvent) -> Option<i64> {
    let quantity = match event {
        DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
            return Some(event.total_stock.get().into());
        }
        DropEvent::StockAdjusted(event) => return Some(event.delta.into()),
        DropEvent::HoldPlaced(event) => event.quantity,
        DropEvent::HoldChanged(event) => event.quantity,
        DropEvent::HoldExpired(event) => event.quantity,
        DropEvent::HoldReleased(event) => event.quantity,
        DropEvent::PurchaseConfirmed(event) => event.quantity,
        DropEvent::PurchaseRefunded(event) => event.quantity,
        DropEvent::WaitlistJoined(event) => event.quantity,
        DropEvent::WaitlistLeft(event) => event.quantity,
        DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::CodesCreated(_)
        | DropEvent::HoldExtended(_) => return None,
    };
    Some(quantity.get().into())
}

#[cfg(test)]
mod tests {
    use domain::testing::*;
    use domain::values::Sequence;

    use super::*;

    /// The course of a drop after these events, each with the stock after it.
    fn course(events: impl IntoIterator<Item = (DropEvent, Stock)>) -> DropCourse {
        let mut course = DropCourse::default();
        for (position, (event, stock)) in (1..).zip(events) {
            let recorded = RecordedEvent {
                position: Position(position),
                recorded_at: second(0),
                drop_id: drop_id("a"),
                sequence: Sequence(position),
                event,
                private: None,
            };
            course.apply(&recorded, stock);
        }
        course
    }

    fn stock(available: u32, held: u32, sold: u32) -> Stock {
        Stock {
            total: available + held + sold,
            available,
            held,
            sold,
        }
    }

    /// A hold that was placed so many milliseconds after the first.
    fn held_after(millis: i64, units: u32) -> DropEvent {
        let DropEvent::HoldPlaced(mut event) = hold_placed("h", units) else {
            panic!("a hold");
        };
        event.placed_at = event.placed_at.plus_millis(millis);
        DropEvent::HoldPlaced(event)
    }

    #[test]
    fn placed_units_are_purchased_expired_released_or_open() {
        let course = course([
            (drop_opened(9), stock(9, 0, 0)),
            (hold_placed("h1", 4), stock(5, 4, 0)),
            (hold_changed("h1", 4, 5), stock(4, 5, 0)),
            (hold_changed("h1", 5, 2), stock(7, 2, 0)),
            (hold_placed("h2", 3), stock(4, 5, 0)),
            (hold_placed("h3", 2), stock(2, 7, 0)),
            (hold_placed("h4", 1), stock(1, 8, 0)),
            (purchase_confirmed("h1", 2), stock(1, 6, 2)),
            (hold_expired("h2", 3), stock(4, 3, 2)),
            (hold_released("h3", 2), stock(6, 1, 2)),
            (purchase_refunded("r", "h1", 1), stock(7, 1, 1)),
        ]);
        let counted = |count, units| Counted { count, units };
        assert_eq!(course.placed, counted(4, 11));
        assert_eq!(course.purchased, counted(1, 2));
        assert_eq!(course.expired, counted(1, 3));
        assert_eq!(course.released, counted(1, 5));
        assert_eq!(course.refunded, counted(1, 1));
        let ended = course.purchased.units + course.expired.units + course.released.units;
        assert_eq!(course.placed.units - ended, 1, "one unit is on hold");
    }

    #[test]
    fn milestones_are_the_first_time_without_available_and_without_unsold_units() {
        let events = [
            (drop_opened(2), stock(2, 0, 0)),
            (held_after(0, 1), stock(1, 1, 0)),
            (held_after(250, 1), stock(0, 2, 0)),
            (hold_released("h", 1), stock(1, 1, 0)),
            (held_after(900, 1), stock(0, 2, 0)),
        ];
        let before = course(events.clone());
        assert_eq!(before.first_hold_at, Some(second(0)));
        assert_eq!(before.sold_out_at, Some(second(0).plus_millis(250)));
        assert_eq!(before.all_sold_at, None);
        let purchases = [
            (purchase_confirmed("h1", 1), stock(0, 1, 1)),
            (purchase_confirmed("h2", 1), stock(0, 0, 2)),
        ];
        let after = course(events.into_iter().chain(purchases));
        assert_eq!(after.all_sold_at, Some(second(0)));
    }

    #[test]
    fn stock_that_is_removed_is_not_sold_out() {
        let empty = stock(0, 0, 0);
        let course = course([
            (drop_opened(2), stock(2, 0, 0)),
            (stock_adjusted("a", -2, empty), empty),
        ]);
        assert_eq!((course.sold_out_at, course.all_sold_at), (None, None));
        assert_eq!(course.latest[1].units, Some(-2));
    }

    #[test]
    fn opening_has_slots_on_both_sides_of_their_edges_and_ends() {
        let end = i64::from(SLOT_MS) * 200;
        let times = [0, 49, 50, 99, 100, end - 1, end, 3 * end];
        let free = stock(100, 0, 0);
        let events = times.map(|at| (held_after(at, 2), free));
        let course = course(events);
        assert_eq!(course.opening.len(), MOST_SLOTS);
        let holds: Vec<u32> = course.opening.iter().map(|slot| slot.holds).collect();
        assert_eq!((&holds[..4], holds[199]), (&[2, 2, 1, 0][..], 1));
        assert_eq!(course.opening[0].held, 4);
        assert_eq!(course.placed.count, 8, "later holds are counted elsewhere");
    }

    #[test]
    fn only_the_latest_events_are_kept() {
        let free = stock(100, 0, 0);
        let events = (0..MOST_EVENTS + 5).map(|_| (hold_placed("h", 1), free));
        let course = course(events);
        let positions: Vec<u64> = course.latest.iter().map(|event| event.position.0).collect();
        assert!(positions.into_iter().eq(6..=25));
    }
}
