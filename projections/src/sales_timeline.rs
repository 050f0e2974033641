//! Units and holds that were held, sold, expired and released, by drop and minute: the data of the
//! sold-versus-expired chart.

use domain::DropEvent;
use domain::values::{DropId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::columns::columns;
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::table::{Join, Table};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct SalesTimeline;

/// The key of one minute of a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MinuteKey {
    pub drop_id: DropId,
    /// The start of the minute.
    pub minute: Timestamp,
}

/// The totals of one minute, in units and in holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalesTotals {
    /// Units set aside, by a new hold or by a change of one.
    pub held: u64,
    /// Units purchased, refunded ones included: see [`SalesTotals::kept`].
    pub sold: u64,
    /// Units that became available by expiry.
    pub expired: u64,
    /// Units that became available by release, or by a change of their hold.
    pub released: u64,
    pub holds_placed: u64,
    /// Holds purchased.
    pub purchases_confirmed: u64,
    /// Holds expired.
    pub holds_expired: u64,
    /// Holds released, including those of a cancelled drop.
    pub holds_released: u64,
    /// Units of `sold` that were refunded since. A refund counts in the minute of its purchase, so
    /// that no bucket ever has less than nothing.
    pub refunded: u64,
}

impl SalesTotals {
    /// Returns the units that were purchased and not refunded since.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.sold.saturating_sub(self.refunded)
    }
}

impl std::ops::AddAssign for SalesTotals {
    fn add_assign(&mut self, more: Self) {
        self.held += more.held;
        self.sold += more.sold;
        self.expired += more.expired;
        self.released += more.released;
        self.holds_placed += more.holds_placed;
        self.purchases_confirmed += more.purchases_confirmed;
        self.holds_expired += more.holds_expired;
        self.holds_released += more.holds_released;
        self.refunded += more.refunded;
    }
}

impl std::ops::SubAssign for SalesTotals {
    fn sub_assign(&mut self, less: Self) {
        self.held -= less.held;
        self.sold -= less.sold;
        self.expired -= less.expired;
        self.released -= less.released;
        self.holds_placed -= less.holds_placed;
        self.purchases_confirmed -= less.purchases_confirmed;
        self.holds_expired -= less.holds_expired;
        self.holds_released -= less.holds_released;
        self.refunded -= less.refunded;
    }
}

impl Fold for SalesTimeline {
    type Key = MinuteKey;
    type Row = SalesTotals;

    fn key(fact: Fact<'_>) -> Option<MinuteKey> {
        let at = match fact.event {
            DropEvent::HoldPlaced(event) => event.placed_at,
            DropEvent::HoldChanged(event) => event.changed_at,
            DropEvent::HoldExpired(event) => event.expired_at,
            DropEvent::HoldReleased(event) => event.released_at,
            DropEvent::PurchaseConfirmed(event) => event.purchased_at,
            DropEvent::PurchaseRefunded(event) => event.purchased_at,
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => return None,
        };
        Some(MinuteKey {
            drop_id: fact.drop_id,
            minute: at.minute(),
        })
    }

    fn start(fact: Fact<'_>) -> Result<SalesTotals, CannotApply> {
        let mut moved = SalesTotals::default();
        Self::change(&mut moved, fact)?;
        Ok(moved)
    }

    fn change(moved: &mut SalesTotals, fact: Fact<'_>) -> Result<(), CannotApply> {
        match fact.event {
            DropEvent::HoldPlaced(event) => {
                moved.held += u64::from(event.quantity.get());
                moved.holds_placed += 1;
            }
            DropEvent::HoldChanged(event) => {
                moved.held += u64::from(event.units_held());
                moved.released += u64::from(event.units_freed());
            }
            DropEvent::HoldExpired(event) => {
                moved.expired += u64::from(event.quantity.get());
                moved.holds_expired += 1;
            }
            DropEvent::HoldReleased(event) => {
                moved.released += u64::from(event.quantity.get());
                moved.holds_released += 1;
            }
            DropEvent::PurchaseConfirmed(event) => {
                moved.sold += u64::from(event.quantity.get());
                moved.purchases_confirmed += 1;
            }
            DropEvent::PurchaseRefunded(event) => {
                moved.refunded += u64::from(event.quantity.get());
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
            | DropEvent::HoldExtended(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => {}
        }
        Ok(())
    }
}

impl Table for SalesTimeline {
    const NAME: &'static str = "sales_timeline";
    const VERSION: i32 = 2;
    const JOIN: Option<Join<Self>> = Some(|moved, later| *moved += later);
}

columns!(MinuteKey {
    drop_id: Uuid,
    minute: Instant,
});

columns!(SalesTotals {
    held: Bigint,
    sold: Bigint,
    expired: Bigint,
    released: Bigint,
    holds_placed: Bigint,
    purchases_confirmed: Bigint,
    holds_expired: Bigint,
    holds_released: Bigint,
    refunded: Bigint,
});
