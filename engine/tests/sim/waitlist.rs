//! An independent account of the waitlists: no offer and no direct hold passes over an entry that
//! could be served.
//!
//! In these simulations buyers have no limits except those of groups, and every drop is on sale
//! until it is cancelled, so only units and groups decide whether an entry could be served.

use std::collections::BTreeMap;

use domain::DropEvent;
use domain::values::{DropId, HoldId, Position, Pseudonym, Timestamp, WaitlistId};
use infrastructure::codec::RecordedEvent;

use super::groups::Groups;

#[derive(Debug)]
struct Entry {
    drop_id: DropId,
    hold_id: HoldId,
    buyer: Pseudonym,
    joined: Position,
    units: i64,
    waits: bool,
}

impl Entry {
    /// Reports whether it could be served with `available` units of the drop.
    fn fits(&self, drop_id: DropId, available: i64, groups: &Groups) -> bool {
        let is_waiting = self.drop_id == drop_id && self.waits;
        is_waiting && self.units <= available && self.units <= groups.room(drop_id, self.buyer)
    }
}

/// Every entry that ever joined, in order of arrival.
#[derive(Debug, Default)]
pub struct Waitlists {
    entries: BTreeMap<WaitlistId, Entry>,
    order: Vec<WaitlistId>,
    cancelled: BTreeMap<DropId, Timestamp>,
}

impl Waitlists {
    /// Adds an event that happened while `available` units were available, and `groups` had the
    /// events before it.
    pub fn enter(&mut self, recorded: &RecordedEvent, available: i64, groups: &Groups) {
        match &recorded.event {
            DropEvent::WaitlistJoined(event) => {
                assert_eq!(event.joined_at, recorded.recorded_at);
                let entry = Entry {
                    drop_id: recorded.drop_id,
                    hold_id: event.hold_id,
                    buyer: event.buyer,
                    joined: recorded.position,
                    units: i64::from(event.quantity.get()),
                    waits: true,
                };
                let room = groups.room(recorded.drop_id, event.buyer);
                assert!(entry.units <= room, "joined beyond the limit of a group");
                let is_there = entry.units <= available;
                let is_wanted = self.next(recorded.drop_id, available, groups).is_some();
                assert!(!is_there || is_wanted, "waits although units are available");
                assert!(self.entries.insert(event.entry_id, entry).is_none());
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
                    let left = self.left(recorded.drop_id, available, groups);
                    assert!(
                        units <= left,
                        "passed over a waitlist entry at {}",
                        recorded.position
                    );
                    return;
                };
                let next = self.next(recorded.drop_id, available, groups);
                assert_eq!(Some(entry_id), next, "at {}", recorded.position);
                let entry = self.settle(entry_id);
                let promised = (entry.hold_id, entry.units);
                assert_eq!((event.hold_id, units), promised);
            }
            DropEvent::HoldChanged(event) => {
                let more = event.units_added();
                let left = self.left(recorded.drop_id, available, groups);
                assert!(
                    more <= left,
                    "passed over an entry at {}",
                    recorded.position
                );
            }
            DropEvent::DropCancelled(event) => {
                self.cancelled.insert(recorded.drop_id, event.cancelled_at);
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::CodesCreated(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_) => {}
        }
    }

    /// The first entry that could be served with `available` units.
    pub fn next(&self, drop_id: DropId, available: i64, groups: &Groups) -> Option<WaitlistId> {
        let could_be_served = |id: &&WaitlistId| self.entries[id].fits(drop_id, available, groups);
        self.order.iter().find(could_be_served).copied()
    }

    /// The units that remain of `available` after serving every entry that can be served.
    fn left(&self, drop_id: DropId, mut available: i64, groups: &Groups) -> i64 {
        for entry_id in &self.order {
            let entry = &self.entries[entry_id];
            if entry.fits(drop_id, available, groups) {
                available -= entry.units;
            }
        }
        available
    }

    /// The position at which an entry joined.
    pub fn joined(&self, entry_id: WaitlistId) -> Option<Position> {
        self.entries.get(&entry_id).map(|entry| entry.joined)
    }

    fn settle(&mut self, entry_id: WaitlistId) -> &Entry {
        let entry = self
            .entries
            .get_mut(&entry_id)
            .expect("the waitlist entry exists");
        assert!(entry.waits, "settled twice");
        entry.waits = false;
        entry
    }
}
