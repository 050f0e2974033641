//! Units held, sold, expired and released, by drop and minute: the sold-versus-expired chart.

use domain::DropEvent;
use domain::values::{DropId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::table::Table;

/// The projection `sales_timeline`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SalesTimeline;

/// Names a minute of a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MinuteKey {
    /// The drop.
    pub drop_id: DropId,
    /// The start of the minute.
    pub minute: Timestamp,
}

/// Units that moved within a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Set aside.
    pub held: u64,
    /// Paid for.
    pub sold: u64,
    /// Came back by expiry.
    pub expired: u64,
    /// Came back by release.
    pub released: u64,
}

impl Fold for SalesTimeline {
    type Key = MinuteKey;
    type Row = Moved;

    fn key(fact: Fact<'_>) -> Option<MinuteKey> {
        let at = match fact.event {
            DropEvent::HoldPlaced(event) => event.placed_at,
            DropEvent::HoldExpired(event) => event.expired_at,
            DropEvent::HoldReleased(event) => event.released_at,
            DropEvent::PurchaseConfirmed(event) => event.purchased_at,
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => return None,
        };
        Some(MinuteKey {
            drop_id: fact.drop_id,
            minute: at.minute(),
        })
    }

    fn start(fact: Fact<'_>) -> Result<Moved, CannotApply> {
        let mut moved = Moved::default();
        Self::change(&mut moved, fact)?;
        Ok(moved)
    }

    fn change(moved: &mut Moved, fact: Fact<'_>) -> Result<(), CannotApply> {
        match fact.event {
            DropEvent::HoldPlaced(event) => moved.held += u64::from(event.quantity.get()),
            DropEvent::HoldExpired(event) => moved.expired += u64::from(event.quantity.get()),
            DropEvent::HoldReleased(event) => moved.released += u64::from(event.quantity.get()),
            DropEvent::PurchaseConfirmed(event) => moved.sold += u64::from(event.quantity.get()),
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => {}
        }
        Ok(())
    }
}

impl Table for SalesTimeline {
    const NAME: &'static str = "sales_timeline";
    const KEY_COLUMNS: &'static [&'static str] = &["drop_id", "minute"];
    const ROW_COLUMNS: &'static [&'static str] = &["held", "sold", "expired", "released"];
}
