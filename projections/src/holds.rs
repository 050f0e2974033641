//! Every hold and its status. In memory only: the log contains all of it, no reader needs a table,
//! and a table row per hold was half of a hold's cost in the database (decision 0015).

use domain::DropEvent;
use domain::drop::HoldStatus;
use domain::event::HoldPlaced;
use domain::values::{DropId, HoldId, Money, Pseudonym, PurchaseId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::CannotApply;
use crate::fold::{Fact, Fold};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holds;

/// The key of a hold's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HoldKey {
    pub hold_id: HoldId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldRow {
    pub drop_id: DropId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units set aside.
    pub quantity: Quantity,
    /// The status of the hold.
    pub status: HoldStatus,
    /// When the hold was placed.
    pub placed_at: Timestamp,
    /// The first instant at which the hold is over.
    pub expires_at: Timestamp,
    /// The purchase, if the hold was paid for. Boxed, because while a drop is on sale most holds
    /// have none.
    pub purchase: Option<Box<HoldPurchase>>,
}

/// The purchase of a hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldPurchase {
    pub id: PurchaseId,
    /// The price of all units.
    pub total: Money,
    pub purchased_at: Timestamp,
    /// Units that were refunded.
    pub refunded: u32,
}

impl Fold for Holds {
    type Key = HoldKey;
    type Row = HoldRow;

    fn key(fact: Fact<'_>) -> Option<HoldKey> {
        let hold_id = match fact.event {
            DropEvent::HoldPlaced(event) => event.hold_id,
            DropEvent::HoldExtended(event) => event.hold_id,
            DropEvent::HoldChanged(event) => event.hold_id,
            DropEvent::HoldExpired(event) => event.hold_id,
            DropEvent::HoldReleased(event) => event.hold_id,
            DropEvent::PurchaseConfirmed(event) => event.hold_id,
            DropEvent::PurchaseRefunded(event) => event.hold_id,
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => return None,
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
            DropEvent::HoldExtended(event) => {
                row.check_held()?;
                row.expires_at = event.expires_at;
                Ok(())
            }
            DropEvent::HoldChanged(event) => {
                row.check_held()?;
                if row.quantity != event.previous_quantity {
                    return Err(CannotApply("the hold had another number of units"));
                }
                row.quantity = event.quantity;
                Ok(())
            }
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
                    refunded: 0,
                }));
                Ok(())
            }
            DropEvent::PurchaseRefunded(event) => {
                let no_purchase = CannotApply("the hold was not purchased");
                let purchase = row.purchase.as_deref_mut().ok_or(no_purchase)?;
                let refunded = purchase.refunded + event.quantity.get();
                if purchase.id != event.purchase_id || refunded > row.quantity.get() {
                    return Err(CannotApply("more was refunded than was purchased"));
                }
                purchase.refunded = refunded;
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
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => Err(CannotApply("the event is not about a hold")),
        }
    }
}

impl HoldRow {
    /// Returns the row of a hold that was just placed.
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
        self.check_held()?;
        self.status = status;
        Ok(())
    }

    fn check_held(&self) -> Result<(), CannotApply> {
        match self.status {
            HoldStatus::Held => Ok(()),
            HoldStatus::Purchased | HoldStatus::Expired | HoldStatus::Released => {
                Err(CannotApply("the hold was resolved already"))
            }
        }
    }
}
