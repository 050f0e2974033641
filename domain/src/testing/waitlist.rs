//! The vocabulary of waitlist tests. An entry and the hold that it is offered have the same name;
//! both are `ann`'s by default.

use super::{HOLD_SECONDS, buyer, hold_id, quantity, second, waitlist_id};
use crate::command::{DropCommand, JoinWaitlist, LeaveWaitlist, Pass, ServeWaitlist};
use crate::event::{DropEvent, HoldPlaced, LeaveCause, WaitlistJoined, WaitlistLeft};

#[must_use]
#[track_caller]
pub fn waitlist_joined(entry: &str, units: u32) -> DropEvent {
    DropEvent::WaitlistJoined(WaitlistJoined {
        entry_id: waitlist_id(entry),
        hold_id: hold_id(entry),
        key: None,
        buyer: buyer("ann"),
        quantity: quantity(units),
        joined_at: second(0),
        commitment: None,
        code: None,
    })
}

/// A waitlist entry was offered its hold.
#[must_use]
#[track_caller]
pub fn hold_offered(entry: &str, units: u32) -> DropEvent {
    DropEvent::HoldPlaced(HoldPlaced {
        hold_id: hold_id(entry),
        key: None,
        buyer: buyer("ann"),
        quantity: quantity(units),
        placed_at: second(0),
        expires_at: second(HOLD_SECONDS.into()),
        commitment: None,
        waitlist_entry: Some(waitlist_id(entry)),
        order_id: None,
        code: None,
    })
}

/// A waitlist entry was removed by its buyer.
#[must_use]
#[track_caller]
pub fn waitlist_left(entry: &str, units: u32) -> DropEvent {
    left(entry, units, LeaveCause::Buyer)
}

/// A waitlist entry was removed because its drop was cancelled.
#[must_use]
#[track_caller]
pub fn entry_cancelled(entry: &str, units: u32) -> DropEvent {
    left(entry, units, LeaveCause::DropCancelled)
}

#[track_caller]
fn left(entry: &str, units: u32, cause: LeaveCause) -> DropEvent {
    DropEvent::WaitlistLeft(WaitlistLeft {
        entry_id: waitlist_id(entry),
        buyer: buyer("ann"),
        quantity: quantity(units),
        left_at: second(0),
        cause,
    })
}

#[must_use]
#[track_caller]
pub fn join_waitlist(entry: &str, units: u32) -> DropCommand {
    DropCommand::JoinWaitlist(JoinWaitlist {
        entry_id: waitlist_id(entry),
        hold_id: hold_id(entry),
        key: None,
        buyer: buyer("ann"),
        quantity: quantity(units),
        pass: Pass::default(),
        commitment: None,
        max_waiting: u32::MAX,
        at: second(0),
    })
}

#[must_use]
#[track_caller]
pub fn leave_waitlist(entry: &str) -> DropCommand {
    DropCommand::LeaveWaitlist(LeaveWaitlist {
        entry_id: waitlist_id(entry),
        at: second(0),
    })
}

/// Offers available units to the first entry that can use them.
#[must_use]
pub fn serve_waitlist() -> DropCommand {
    DropCommand::ServeWaitlist(ServeWaitlist { at: second(0) })
}
