//! Who bought how much of a drop.

use domain::DropEvent;
use domain::event::PurchaseConfirmed;
use domain::values::{DropId, Pseudonym, Timestamp};
use serde::{Deserialize, Serialize};

use crate::columns::columns;
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::table::{Join, Table};

/// The projection `top_purchasers`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopPurchasers;

/// Names a buyer's row within a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BuyerKey {
    /// The drop.
    pub drop_id: DropId,
    /// The buyer, as the log knows them.
    pub buyer: Pseudonym,
}

/// What one buyer bought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PurchaserRow {
    /// Units, in all.
    pub quantity: u64,
    /// When they last bought.
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
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_) => Err(CannotApply("the event is no purchase")),
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
