//! Every hold and how far it has come. In memory only: the log has it all, nobody reads a table of it, and a row written for
//! each hold was half of what a hold cost the database (decision 0015).

use domain::DropEvent;
use domain::drop::HoldStatus;
use domain::event::HoldPlaced;
use domain::values::{DropId, HoldId, Money, Pseudonym, PurchaseId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::CannotApply;
use crate::fold::{Fact, Fold};

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
    /// Its purchase, if it was paid for. Boxed: while a drop is live, most holds have none.
    pub purchase: Option<Box<HoldPurchase>>,
}

/// The purchase of a hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldPurchase {
    /// Its id.
    pub id: PurchaseId,
    /// What it cost.
    pub total: Money,
    /// When.
    pub purchased_at: Timestamp,
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

    fn start(fact: Fact<'_>) -> Result<HoldRow, CannotApply> {
        let DropEvent::HoldPlaced(event) = fact.event else {
            return Err(CannotApply("the hold was never placed"));
        };
        Ok(HoldRow::placed(fact.drop_id, event))
    }

    fn change(row: &mut HoldRow, fact: Fact<'_>) -> Result<(), CannotApply> {
        match fact.event {
            DropEvent::HoldPlaced(_) => Err(CannotApply("the hold was placed already")),
            DropEvent::HoldExpired(_) => row.resolve(HoldStatus::Expired),
            DropEvent::HoldReleased(_) => row.resolve(HoldStatus::Released),
            DropEvent::PurchaseConfirmed(event) => {
                if event.purchased_at >= row.expires_at {
                    return Err(CannotApply("the hold was purchased after it was over"));
                }
                row.resolve(HoldStatus::Purchased)?;
                row.purchase = Some(Box::new(HoldPurchase {
                    id: event.purchase_id,
                    total: event.total,
                    purchased_at: event.purchased_at,
                }));
                Ok(())
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

impl HoldRow {
    /// A hold right after it was placed.
    #[must_use]
    pub fn placed(drop_id: DropId, event: &HoldPlaced) -> Self {
        Self {
            drop_id,
            buyer: event.buyer,
            quantity: event.quantity,
            status: HoldStatus::Held,
            placed_at: event.placed_at,
            expires_at: event.expires_at,
            purchase: None,
        }
    }

    fn resolve(&mut self, status: HoldStatus) -> Result<(), CannotApply> {
        if self.status != HoldStatus::Held {
            return Err(CannotApply("the hold was resolved already"));
        }
        self.status = status;
        Ok(())
    }
}
