//! The line, accounted for once more: nobody is passed over who could be served, by an offer or by a direct hold.
//!
//! In these simulations nobody is limited and every drop is on sale until it is cancelled, so "could be served" is a matter of
//! units alone.

use std::collections::BTreeMap;

use domain::DropEvent;
use domain::values::{DropId, HoldId, Position, WaitlistId};
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
                assert!(place.units > available, "waits for what is there");
                assert!(self.places.insert(event.entry_id, place).is_none());
                self.order.push(event.entry_id);
            }
            DropEvent::WaitlistLeft(event) => {
                assert_eq!(event.left_at, recorded.recorded_at);
                self.settle(event.entry_id);
            }
            DropEvent::HoldPlaced(event) => {
                let next = self.next(recorded.drop_id, available);
                assert_eq!(event.waitlist_entry, next, "at {}", recorded.position);
                if let Some(entry_id) = next {
                    let place = self.settle(entry_id);
                    let promised = (place.hold_id, place.units);
                    let units = i64::from(event.quantity.get());
                    assert_eq!((event.hold_id, units), promised);
                }
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
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
