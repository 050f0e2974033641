//! The line, accounted for once more: nobody is passed over who could be served, by an offer or by a direct hold.
//!
//! In these simulations nobody is limited and every drop is on sale until it is cancelled, so "could be served" is a matter of
//! units alone.

use std::collections::BTreeMap;

use domain::DropEvent;
use domain::values::{DropId, HoldId, Position, Timestamp, WaitlistId};
use infrastructure::codec::RecordedEvent;

#[derive(Debug)]
struct Place {
    drop_id: DropId,
    hold_id: HoldId,
    taken: Position,
    units: i64,
    waits: bool,
}

/// Every place that was ever taken, in the order of taking.
#[derive(Debug, Default)]
pub struct Lines {
    places: BTreeMap<WaitlistId, Place>,
    order: Vec<WaitlistId>,
    cancelled: BTreeMap<DropId, Timestamp>,
}

impl Lines {
    /// Enters what happened while `available` units were there.
    pub fn enter(&mut self, recorded: &RecordedEvent, available: i64) {
        match &recorded.event {
            DropEvent::WaitlistJoined(event) => {
                assert_eq!(event.joined_at, recorded.recorded_at);
                let place = Place {
                    drop_id: recorded.drop_id,
                    hold_id: event.hold_id,
                    taken: recorded.position,
                    units: i64::from(event.quantity.get()),
                    waits: true,
                };
                let is_there = place.units <= available;
                let is_wanted = self.next(recorded.drop_id, available).is_some();
                assert!(!is_there || is_wanted, "waits for what is there");
                assert!(self.places.insert(event.entry_id, place).is_none());
                self.order.push(event.entry_id);
            }
            DropEvent::WaitlistLeft(event) => {
                let of_drop = self.cancelled.get(&recorded.drop_id);
                let left_at = of_drop.copied().unwrap_or(recorded.recorded_at);
                assert_eq!(event.left_at, left_at);
                self.settle(event.entry_id);
            }
            DropEvent::HoldPlaced(event) => {
                let units = i64::from(event.quantity.get());
                let Some(entry_id) = event.waitlist_entry else {
                    let left = self.left(recorded.drop_id, available);
                    assert!(units <= left, "jumped the line at {}", recorded.position);
                    return;
                };
                let next = self.next(recorded.drop_id, available);
                assert_eq!(Some(entry_id), next, "at {}", recorded.position);
                let place = self.settle(entry_id);
                let promised = (place.hold_id, place.units);
                assert_eq!((event.hold_id, units), promised);
            }
            DropEvent::DropCancelled(event) => {
                self.cancelled.insert(recorded.drop_id, event.cancelled_at);
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::StockAdjusted(_) => {}
        }
    }

    /// The first in line who could be served with what is available.
    pub fn next(&self, drop_id: DropId, available: i64) -> Option<WaitlistId> {
        let could_be_served = |id: &&WaitlistId| {
            let place = &self.places[id];
            place.drop_id == drop_id && place.waits && place.units <= available
        };
        self.order.iter().find(could_be_served).copied()
    }

    /// What everybody who can be served with what is available leaves of it.
    fn left(&self, drop_id: DropId, mut available: i64) -> i64 {
        for entry_id in &self.order {
            let place = &self.places[entry_id];
            if place.drop_id == drop_id && place.waits && place.units <= available {
                available -= place.units;
            }
        }
        available
    }

    /// Where a place was taken.
    pub fn taken(&self, entry_id: WaitlistId) -> Option<Position> {
        self.places.get(&entry_id).map(|place| place.taken)
    }

    fn settle(&mut self, entry_id: WaitlistId) -> &Place {
        let place = self.places.get_mut(&entry_id).expect("a place in line");
        assert!(place.waits, "settled twice");
        place.waits = false;
        place
    }
}
