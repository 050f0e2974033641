//! Refunds of purchases: units that were sold come back, and money is returned.
//!
//! Promise: no more units of a purchase are refunded than it has, and each refund has the price of
//! its units. The buyer's allowance comes back with the units.
//! Limit: a refund is kept forever, at about 200 bytes.

use serde::{Deserialize, Serialize};

use super::indexes::Keyed;
use super::{DropAggregate, Hold, HoldStatus, index_of};
use crate::event::PurchaseRefunded;
use crate::values::{KeyDigest, Money, PurchaseId, Quantity, Reason, RefundId};

/// A recorded refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    pub id: RefundId,
    /// The idempotency key that it was requested with.
    pub key: Option<KeyDigest>,
    pub purchase_id: PurchaseId,
    /// Units returned.
    pub quantity: Quantity,
    /// The price of these units.
    pub amount: Money,
    /// True if the units are offered again; false if they left the drop.
    pub restocked: bool,
    pub reason: Reason,
    /// True if nothing was left to refund afterwards.
    pub was_last: bool,
    /// Index of the purchased hold.
    pub(super) hold: u32,
}

/// Refunds of one purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refunded {
    pub(super) purchase_id: PurchaseId,
    /// Units returned by all refunds together.
    pub(super) units: u32,
}

impl DropAggregate {
    /// Returns the refund with this id. A linear search suffices, as for adjustments.
    #[must_use]
    pub fn refund(&self, id: RefundId) -> Option<&Refund> {
        self.refunds.iter().find(|made| made.id == id)
    }

    /// Returns the refund that was requested with this key.
    #[must_use]
    pub fn refund_by_key(&self, key: KeyDigest) -> Option<&Refund> {
        match self.keyed(key) {
            Some(Keyed::Refund(index)) => self.refunds.get(index as usize),
            Some(Keyed::Hold(_) | Keyed::Adjustment(_) | Keyed::Entry(_) | Keyed::Codes(_))
            | None => None,
        }
    }

    /// Returns the units of a purchased hold that can still be refunded.
    #[must_use]
    pub fn refundable(&self, hold: &Hold) -> u32 {
        let known = self.refunded_of(hold);
        hold.quantity.get() - known.map_or(0, |refunded| refunded.units)
    }

    pub(crate) fn refunded_purchase(&self, hold: &Hold) -> Option<PurchaseId> {
        self.refunded_of(hold).map(|refunded| refunded.purchase_id)
    }

    fn refunded_of(&self, hold: &Hold) -> Option<&Refunded> {
        self.hold_index(hold.id)
            .and_then(|index| self.refunded.get(&index))
    }

    pub(super) fn refund_purchase_of(&mut self, event: &PurchaseRefunded) {
        let index = self.index_of_hold(event.hold_id);
        let hold = self.hold_at(index);
        assert!(
            hold.status == HoldStatus::Purchased,
            "a hold was refunded that was not purchased"
        );
        assert!(
            self.buyer_at(hold.buyer).id == event.buyer,
            "a purchase was refunded to a different buyer"
        );
        assert!(
            hold.resolved_at == event.purchased_at,
            "a refund states a different time of purchase"
        );
        assert!(
            self.refunded_purchase(&hold)
                .is_none_or(|known| known == event.purchase_id),
            "two purchases of one hold were refunded"
        );
        let units = event.quantity.get();
        let left = self.refundable(&hold).checked_sub(units);
        let left = left.expect("more units refunded than purchased");
        assert!(
            event.amount == self.terms_of(&hold).price.times(event.quantity),
            "a refund has a different price than its purchase"
        );
        let next = index_of(self.refunds.len());
        self.index_key(event.key, Keyed::Refund(next));
        self.refunds.push(Refund {
            id: event.refund_id,
            key: event.key,
            purchase_id: event.purchase_id,
            quantity: event.quantity,
            amount: event.amount,
            restocked: event.restocked,
            reason: event.reason.clone(),
            was_last: left == 0,
            hold: index,
        });
        self.refunded.insert(
            index,
            Refunded {
                purchase_id: event.purchase_id,
                units: hold.quantity.get() - left,
            },
        );
        self.stock.take_back(units, event.restocked);
        self.buyers[hold.buyer].purchased -= units;
        self.assess(hold.buyer);
    }

    pub(super) fn unrefund(&mut self, event: &PurchaseRefunded) {
        self.remove_key(event.key);
        let refund = self.refunds.pop().expect("a refund to revert");
        assert!(
            refund.id == event.refund_id,
            "refunds are reverted newest first"
        );
        let hold = self.hold_at(refund.hold);
        let units = refund.quantity.get();
        let before = hold.quantity.get() - self.refundable(&hold) - units;
        match self.refunded.get_mut(&refund.hold) {
            Some(refunded) if before > 0 => refunded.units = before,
            Some(_) | None => drop(self.refunded.remove(&refund.hold)),
        }
        self.stock.untake(units, event.restocked);
        self.buyers[hold.buyer].purchased += units;
        self.assess(hold.buyer);
    }
}
