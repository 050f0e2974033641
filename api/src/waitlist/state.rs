//! The state of a waitlist entry, as responses and the stream show it.

use domain::drop::HoldStatus;
use domain::drop::waitlist::EntryStatus;
use domain::values::{DropId, HoldId, Money, Position, Quantity, Timestamp, WaitlistId};
use projections::views::{EntryView, Views};
use projections::waitlist::Block;
use schemars::JsonSchema;
use serde::Serialize;

/// The status of a waitlist entry, and then of the hold that it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WaitlistStatus")]
enum EntryProgress {
    /// The entry waits for units.
    Waiting,
    /// The entry received a hold, which can be purchased.
    Offered,
    /// The hold was purchased.
    Purchased,
    /// The hold expired.
    Expired,
    /// The hold was released.
    Released,
    /// The buyer left the waitlist.
    Left,
    /// The drop ended or was cancelled first. If the end of the drop is postponed, the entry waits
    /// again.
    Closed,
}

/// The reason why no number of returned units can serve an entry. It keeps its rank and is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WaitlistBlock")]
enum BlockedBy {
    /// The entry requests more units than one hold may have.
    MaxPerHold,
    /// With the units that the buyer holds and has purchased, it exceeds the limit per buyer.
    MaxPerBuyer,
    /// The entry requests more units than are unsold: `total - sold`.
    TotalStock,
}

impl From<Block> for BlockedBy {
    fn from(block: Block) -> Self {
        match block {
            Block::MaxPerHold => Self::MaxPerHold,
            Block::MaxPerBuyer => Self::MaxPerBuyer,
            Block::TotalStock => Self::TotalStock,
        }
    }
}

/// The current state of a waitlist entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[schemars(rename = "WaitlistNews")]
pub(crate) struct WaitlistEntryState {
    id: WaitlistId,
    drop_id: DropId,
    quantity: Quantity,
    status: EntryProgress,
    /// The rank in the waitlist, from 1; null if the entry does not wait any more.
    place: Option<u32>,
    /// The reason why the entry cannot be served until the stock, the terms or the buyer's holds
    /// change; null if it can be served.
    blocked_by: Option<BlockedBy>,
    /// The hold that the entry received.
    hold_id: Option<HoldId>,
    /// The time at which the entry received the hold.
    offered_at: Option<Timestamp>,
    /// The price of one unit in that hold.
    price: Option<Money>,
    /// The time at which that hold expires.
    expires_at: Option<Timestamp>,
    joined_at: Timestamp,
    position: Position,
}

impl WaitlistEntryState {
    pub(crate) fn of(views: &Views, view: &EntryView, now: Timestamp) -> Self {
        let row = &view.row;
        let was_offered = row.status == EntryStatus::Offered;
        let hold = views.hold(row.hold_id).filter(|_| was_offered);
        let status = match (row.status, &hold) {
            (EntryStatus::Waiting, _) if is_over(views, row.drop_id, now) => EntryProgress::Closed,
            (EntryStatus::Waiting, _) => EntryProgress::Waiting,
            (EntryStatus::Left, _) if row.removed_by_cancellation => EntryProgress::Closed,
            (EntryStatus::Left, _) => EntryProgress::Left,
            (EntryStatus::Offered, None) => EntryProgress::Offered,
            (EntryStatus::Offered, Some(hold)) => match hold.row.status {
                HoldStatus::Held if now >= hold.row.expires_at => EntryProgress::Expired,
                HoldStatus::Held => EntryProgress::Offered,
                HoldStatus::Purchased => EntryProgress::Purchased,
                HoldStatus::Expired => EntryProgress::Expired,
                HoldStatus::Released => EntryProgress::Released,
            },
        };
        let is_waiting = status == EntryProgress::Waiting;
        Self {
            id: view.entry_id,
            drop_id: row.drop_id,
            quantity: row.quantity,
            status,
            place: view.place.filter(|_| is_waiting),
            blocked_by: view.block.filter(|_| is_waiting).map(BlockedBy::from),
            hold_id: was_offered.then_some(row.hold_id),
            offered_at: hold.as_ref().map(|hold| hold.row.placed_at),
            price: hold.as_ref().map(|hold| hold.price),
            expires_at: hold.as_ref().map(|hold| hold.row.expires_at),
            joined_at: row.joined_at,
            position: hold.map_or(row.position, |hold| hold.position.max(row.position)),
        }
    }
}

fn is_over(views: &Views, drop_id: DropId, now: Timestamp) -> bool {
    let drop = views.drop(drop_id);
    drop.is_some_and(|drop| drop.row.status(now).is_over())
}
