//! The purchases of each buyer of a drop.

use domain::DropEvent;
use domain::values::{DropId, Pseudonym, Timestamp};
use serde::{Deserialize, Serialize};

use crate::columns::columns;
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::table::{Join, Table};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopPurchasers;

/// The key of a buyer's row in a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuyerKey {
    pub drop_id: DropId,
    /// The buyer's pseudonym.
    pub buyer: Pseudonym,
}

/// The total purchases of one buyer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PurchaserRow {
    /// Units purchased, refunded ones included: see [`PurchaserRow::kept`].
    pub quantity: u64,
    /// The time of the last purchase.
    pub last_purchased_at: Timestamp,
    /// Units of `quantity` that were refunded.
    pub refunded: u64,
}

impl PurchaserRow {
    /// Returns the units that were purchased and not refunded.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.quantity.saturating_sub(self.refunded)
    }
}

impl Fold for TopPurchasers {
    type Key = BuyerKey;
    type Row = PurchaserRow;

    fn key(fact: Fact<'_>) -> Option<BuyerKey> {
        let buyer = match fact.event {
            DropEvent::PurchaseConfirmed(event) => event.buyer,
            DropEvent::PurchaseRefunded(event) => event.buyer,
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldPlaced(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => return None,
        };
        let drop_id = fact.drop_id;
        Some(BuyerKey { drop_id, buyer })
    }

    /// A part of the log may begin with the refund of an earlier purchase: see [`Table::JOIN`].
    fn start(fact: Fact<'_>) -> Result<PurchaserRow, CannotApply> {
        let mut row = PurchaserRow {
            quantity: 0,
            last_purchased_at: Timestamp::default(),
            refunded: 0,
        };
        Self::change(&mut row, fact)?;
        Ok(row)
    }

    fn change(row: &mut PurchaserRow, fact: Fact<'_>) -> Result<(), CannotApply> {
        match fact.event {
            DropEvent::PurchaseConfirmed(event) => {
                row.quantity += u64::from(event.quantity.get());
                row.last_purchased_at = event.purchased_at;
                Ok(())
            }
            DropEvent::PurchaseRefunded(event) => {
                row.refunded += u64::from(event.quantity.get());
                Ok(())
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
            | DropEvent::HoldPlaced(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => Err(CannotApply("the event is not about a purchase")),
        }
    }
}

impl Table for TopPurchasers {
    const NAME: &'static str = "top_purchasers";
    const VERSION: i32 = 2;
    const JOIN: Option<Join<Self>> = Some(|row, later| {
        if later.quantity > 0 {
            row.last_purchased_at = later.last_purchased_at;
        }
        row.quantity += later.quantity;
        row.refunded += later.refunded;
    });
}

columns!(BuyerKey {
    drop_id: Uuid,
    buyer: Uuid,
});

columns!(PurchaserRow {
    quantity: Bigint,
    last_purchased_at: Instant,
    refunded: Bigint,
});
