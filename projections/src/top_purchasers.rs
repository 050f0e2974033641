//! The purchases of each buyer of a drop.

use domain::DropEvent;
use domain::event::PurchaseConfirmed;
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
    /// Units purchased.
    pub quantity: u64,
    /// The time of the last purchase.
    pub last_purchased_at: Timestamp,
}

impl Fold for TopPurchasers {
    type Key = BuyerKey;
    type Row = PurchaserRow;

    fn key(fact: Fact<'_>) -> Option<BuyerKey> {
        match fact.event {
            DropEvent::PurchaseConfirmed(event) => Some(BuyerKey {
                drop_id: fact.drop_id,
                buyer: event.buyer,
            }),
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldPlaced(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => None,
        }
    }

    fn start(fact: Fact<'_>) -> Result<PurchaserRow, CannotApply> {
        let purchase = purchase(fact)?;
        Ok(PurchaserRow {
            quantity: u64::from(purchase.quantity.get()),
            last_purchased_at: purchase.purchased_at,
        })
    }

    fn change(row: &mut PurchaserRow, fact: Fact<'_>) -> Result<(), CannotApply> {
        let purchase = purchase(fact)?;
        row.quantity += u64::from(purchase.quantity.get());
        row.last_purchased_at = purchase.purchased_at;
        Ok(())
    }
}

fn purchase(fact: Fact<'_>) -> Result<&PurchaseConfirmed, CannotApply> {
    match fact.event {
        DropEvent::PurchaseConfirmed(event) => Ok(event),
        DropEvent::DropScheduled(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_) => Err(CannotApply("the event is not a purchase")),
    }
}

impl Table for TopPurchasers {
    const NAME: &'static str = "top_purchasers";
    const VERSION: i32 = 1;
    const JOIN: Option<Join<Self>> = Some(|row, later| {
        row.quantity += later.quantity;
        row.last_purchased_at = later.last_purchased_at;
    });
}

columns!(BuyerKey {
    drop_id: Uuid,
    buyer: Uuid,
});

columns!(PurchaserRow {
    quantity: Bigint,
    last_purchased_at: Instant,
});
