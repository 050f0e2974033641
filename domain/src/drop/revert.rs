//! Reverting: the exact inverse of [`DropAggregate::evolve`], for events that turned out not to be
//! in the log.
//!
//! Promise: after `evolve(event)`, `revert(event)` restores the aggregate exactly, including its
//! indexes.
//! Limit: events are reverted newest first.
//! docs/decisions/0006-roll-back-instead-of-copy.md compares it with a copy.

use super::{DropAggregate, HoldStatus, index_of};
use crate::event::{DropEvent, HoldPlaced, PurchaseConfirmed, StockAdjusted};
use crate::values::{HoldId, Sequence, Timestamp};

impl DropAggregate {
    /// Reverts the event that was applied last, which must be this one.
    ///
    /// The engine decides ahead of the commit. When the append conflicts, it reverts its drafts,
    /// newest first. That is cheaper than a copy of the aggregate, whose size is not bounded.
    ///
    /// # Panics
    /// If `event` is not the last one applied.
    pub fn revert(&mut self, event: &DropEvent) {
        match event {
            DropEvent::DropScheduled(_) | DropEvent::DropDrafted(_) => {
                *self = Self {
                    sequence: self.sequence,
                    ..Self::default()
                }
            }
            DropEvent::DropRescheduled(event) => {
                self.terms.pop();
                self.sales.pop();
                self.assess_if_limits_changed(&event.terms, self.terms.len() - 1);
            }
            DropEvent::DropCancelled(_) => self.cancelled_at = None,
            DropEvent::DropStarted(_) => self.sale().is_started = false,
            DropEvent::DropEnded(_) => self.sale().is_ended = false,
            DropEvent::DropPublished(_) => {
                self.terms.pop();
                self.sales.pop();
            }
            DropEvent::DropPaused(_) => self.unpause(),
            DropEvent::DropResumed(_) => self.unresume(),
            DropEvent::HoldPlaced(event) => self.unplace(event),
            DropEvent::HoldExtended(event) => self.unextend(event),
            DropEvent::HoldChanged(event) => self.unchange(event),
            DropEvent::HoldExpired(event) => self.unfree(event.hold_id),
            DropEvent::HoldReleased(event) => self.unfree(event.hold_id),
            DropEvent::PurchaseConfirmed(event) => self.unpurchase(event),
            DropEvent::PurchaseRefunded(event) => self.unrefund(event),
            DropEvent::StockAdjusted(event) => self.unadjust(event),
            DropEvent::WaitlistJoined(event) => self.unjoin(event),
            DropEvent::WaitlistLeft(event) => self.unleave(event),
            DropEvent::CodesCreated(event) => self.uncreate_codes(event),
        }
        self.sequence = Sequence(self.sequence.0 - 1);
    }

    fn unplace(&mut self, event: &HoldPlaced) {
        let hold = self.holds.last().expect("a hold to revert");
        assert!(hold.id == event.hold_id, "holds are reverted newest first");
        self.remove_key(event.key);
        let holds = &self.holds;
        self.hold_index
            .remove(&event.hold_id, |index| &holds[index].id);
        let hold = self.holds.pop().expect("a hold to revert").unpack();
        let index = index_of(self.holds.len());
        if event.order_id.is_some() {
            self.orders.remove(&index);
        }
        self.unuse_code(index, event);
        self.stock.free(hold.quantity.get());
        let buyer = &mut self.buyers[hold.buyer];
        buyer.held -= hold.quantity.get();
        buyer.last_hold = hold.previous.into();
        if let Some(entry_id) = event.waitlist_entry {
            self.waitlist.reopen(entry_id);
        }
        self.assess(hold.buyer);
        if hold.previous.is_none() && !self.waitlist.has_entry_of(hold.buyer) {
            self.remove_buyer(event.buyer);
        }
    }

    fn unfree(&mut self, hold_id: HoldId) {
        self.unreturn_code(hold_id);
        let (buyer, quantity) = self.unresolve(hold_id);
        self.stock.hold(quantity);
        self.buyers[buyer].held += quantity;
        self.assess(buyer);
    }

    fn unpurchase(&mut self, event: &PurchaseConfirmed) {
        let (buyer, quantity) = self.unresolve(event.hold_id);
        self.stock.unsell(quantity);
        let buyer = &mut self.buyers[buyer];
        buyer.held += quantity;
        buyer.purchased -= quantity;
    }

    fn unadjust(&mut self, event: &StockAdjusted) {
        self.stock.adjust(-event.delta);
        self.remove_key(event.key);
        self.adjustments.pop();
    }

    fn unresolve(&mut self, hold_id: HoldId) -> (u32, u32) {
        let index = self.index_of_hold(hold_id);
        let hold = &mut self.holds[index];
        assert!(hold.status != HoldStatus::Held, "nothing to revert");
        hold.resolve(HoldStatus::Held, Timestamp::default());
        let hold = hold.unpack();
        self.first_held = self.first_held.min(index);
        (hold.buyer, hold.quantity.get())
    }
}
