//! Who a pseudonym is. In memory only: personal data stands in one place of the database, the log's `private` column, and
//! is forgotten with it.

use domain::DropEvent;
use domain::values::{BuyerId, DisplayName};
use serde::{Deserialize, Serialize};

use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::top_purchasers::BuyerKey;

/// The projection of introductions; it has no table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buyers;

/// What the shop calls a buyer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuyerRow {
    /// What the shop calls them.
    pub buyer_id: BuyerId,
    /// The name that they agreed to show.
    pub display_name: Option<DisplayName>,
}

impl Fold for Buyers {
    type Key = BuyerKey;
    type Row = BuyerRow;

    fn key(fact: Fact<'_>) -> Option<BuyerKey> {
        fact.private?.buyer_id.as_ref()?;
        let introduced = |buyer| {
            Some(BuyerKey {
                drop_id: fact.drop_id,
                buyer,
            })
        };
        match fact.event {
            DropEvent::HoldPlaced(event) => introduced(event.buyer),
            DropEvent::WaitlistJoined(event) => introduced(event.buyer),
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistLeft(_) => None,
        }
    }

    fn start(fact: Fact<'_>) -> Result<BuyerRow, CannotApply> {
        let private = fact
            .private
            .ok_or(CannotApply("the event introduces nobody"))?;
        let buyer_id = private
            .buyer_id
            .clone()
            .ok_or(CannotApply("the event introduces nobody"))?;
        Ok(BuyerRow {
            buyer_id,
            display_name: private.display_name.clone(),
        })
    }

    fn change(row: &mut BuyerRow, fact: Fact<'_>) -> Result<(), CannotApply> {
        *row = Self::start(fact)?;
        Ok(())
    }
}
