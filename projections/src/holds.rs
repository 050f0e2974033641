//! Every hold and how far it has come.

use domain::DropEvent;
use domain::drop::HoldStatus;
use domain::values::{DropId, HoldId, Money, Pseudonym, PurchaseId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::table::Table;

/// The projection `holds`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holds;

/// Names a hold's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HoldKey {
    /// The hold.
    pub hold_id: HoldId,
}

/// One hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldRow {
    /// Its drop.
    pub drop_id: DropId,
    /// Whose it is.
    pub buyer: Pseudonym,
    /// Units set aside.
    pub quantity: Quantity,
    /// How far it has come.
    pub status: HoldStatus,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
    /// When it was purchased, released, or over.
    pub resolved_at: Option<Timestamp>,
    /// Its purchase, if it was paid for.
    pub purchase_id: Option<PurchaseId>,
    /// What it cost, if it was paid for.
    pub total: Option<Money>,
}

impl Fold for Holds {
    type Key = HoldKey;
    type Row = HoldRow;

    fn key(fact: Fact<'_>) -> Option<HoldKey> {
        let hold_id = match fact.event {
            DropEvent::HoldPlaced(event) => event.hold_id,
            DropEvent::HoldExpired(event) => event.hold_id,
            DropEvent::HoldReleased(event) => event.hold_id,
            DropEvent::PurchaseConfirmed(event) => event.hold_id,
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => return None,
        };
        Some(HoldKey { hold_id })
    }

    fn apply(row: Option<HoldRow>, fact: Fact<'_>) -> Result<HoldRow, CannotApply> {
        match fact.event {
            DropEvent::HoldPlaced(event) => match row {
                Some(_) => Err(CannotApply("the hold was placed already")),
                None => Ok(HoldRow {
                    drop_id: fact.drop_id,
                    buyer: event.buyer,
                    quantity: event.quantity,
                    status: HoldStatus::Held,
                    placed_at: event.placed_at,
                    expires_at: event.expires_at,
                    resolved_at: None,
                    purchase_id: None,
                    total: None,
                }),
            },
            DropEvent::HoldExpired(event) => resolve(row, HoldStatus::Expired, event.expired_at),
            DropEvent::HoldReleased(event) => resolve(row, HoldStatus::Released, event.released_at),
            DropEvent::PurchaseConfirmed(event) => {
                let row = resolve(row, HoldStatus::Purchased, event.purchased_at)?;
                if event.purchased_at >= row.expires_at {
                    return Err(CannotApply("the hold was purchased after it was over"));
                }
                Ok(HoldRow {
                    purchase_id: Some(event.purchase_id),
                    total: Some(event.total),
                    ..row
                })
            }
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => Err(CannotApply("the event is about no hold")),
        }
    }
}

impl Table for Holds {
    const NAME: &'static str = "holds";
    const KEY_COLUMNS: &'static [&'static str] = &["hold_id"];
    const ROW_COLUMNS: &'static [&'static str] = &[
        "drop_id",
        "buyer",
        "quantity",
        "status",
        "placed_at",
        "expires_at",
        "resolved_at",
        "purchase_id",
        "total",
    ];

    fn starts(event: &DropEvent) -> bool {
        matches!(event, DropEvent::HoldPlaced(_))
    }
}

fn resolve(
    row: Option<HoldRow>,
    status: HoldStatus,
    at: Timestamp,
) -> Result<HoldRow, CannotApply> {
    let row = row.ok_or(CannotApply("the hold was never placed"))?;
    if row.status != HoldStatus::Held {
        return Err(CannotApply("the hold was resolved already"));
    }
    Ok(HoldRow {
        status,
        resolved_at: Some(at),
        ..row
    })
}
