//! Events are added to the list only where it permits them, and the aggregate has the same state.

use domain::drop::HoldStatus;
use domain::event::{HoldChanged, HoldPlaced, LeaveCause, ReleaseCause};
use domain::values::{HoldId, KeyDigest, Pseudonym, Timestamp};
use domain::{DropAggregate, DropEvent};

use super::super::waitlist::Settled;
use super::{End, Held, MOST_UNITS, Model};

impl Model {
    /// Adds an event to the list, or panics if the list does not allow it.
    pub fn record(&mut self, event: &DropEvent) {
        match event {
            DropEvent::DropScheduled(event) => {
                assert!(self.begun.is_none(), "scheduled twice");
                self.terms.push(event.terms.clone());
                self.begun = Some(event.clone());
            }
            DropEvent::DropRescheduled(event) => {
                assert!(self.begun.is_some() && self.cancelled.is_none());
                self.terms.push(event.terms.clone());
            }
            DropEvent::DropStarted(_) | DropEvent::DropEnded(_) => {
                assert!(self.begun.is_some() && self.cancelled.is_none());
            }
            DropEvent::DropCancelled(event) => {
                assert!(self.begun.is_some() && self.cancelled.is_none());
                self.cancelled = Some(event.cancelled_at);
            }
            DropEvent::HoldPlaced(event) => self.record_hold(event),
            DropEvent::HoldExtended(event) => {
                assert!(self.cancelled.is_none(), "extended after cancelling");
                let placed = self.hold(event.hold_id).expect("a hold").placed.clone();
                let limit = self.latest_deadline(&placed);
                assert!(event.expires_at.millis() <= limit, "above the limit");
                let placed = self.open(event.hold_id);
                assert_eq!(event.buyer, placed.buyer);
                assert!(event.extended_at < placed.expires_at, "extended when over");
                assert!(event.expires_at > placed.expires_at, "shortened");
                let before = std::mem::replace(&mut placed.expires_at, event.expires_at);
                assert_eq!(before, event.previous_expires_at);
            }
            DropEvent::HoldChanged(event) => self.record_change(event),
            DropEvent::HoldExpired(event) => {
                let end = End::Expired(event.expired_at);
                let placed = self.end(event.hold_id, end);
                assert_eq!(event.expired_at, placed.expires_at);
                assert_eq!(
                    (event.buyer, event.quantity),
                    (placed.buyer, placed.quantity)
                );
            }
            DropEvent::HoldReleased(event) => {
                let removed_by_cancellation = self.cancelled.is_some();
                let placed = self.end(event.hold_id, End::Released(event.released_at));
                assert!(
                    event.released_at < placed.expires_at,
                    "released after the deadline"
                );
                let is_called_off = |at| event.released_at == at;
                assert_eq!(
                    (event.buyer, event.quantity),
                    (placed.buyer, placed.quantity)
                );
                assert_eq!(
                    event.cause == ReleaseCause::DropCancelled,
                    removed_by_cancellation
                );
                assert!(
                    self.cancelled.is_none_or(is_called_off),
                    "at a different time"
                );
            }
            DropEvent::PurchaseConfirmed(event) => {
                assert!(self.cancelled.is_none(), "sold after cancelling");
                let placed = self.end(event.hold_id, End::Bought(event.purchased_at));
                assert!(
                    event.purchased_at < placed.expires_at,
                    "sold after the deadline"
                );
                assert_eq!(
                    (event.buyer, event.quantity),
                    (placed.buyer, placed.quantity)
                );
                let mut all = self.holds.iter_mut();
                let hold = all.find(|hold| hold.placed.hold_id == event.hold_id);
                hold.expect("a hold").purchase = Some(event.purchase_id);
            }
            DropEvent::PurchaseRefunded(event) => {
                self.claim_key(event.key);
                let hold = self.hold(event.hold_id).expect("a hold to refund");
                assert_eq!(hold.purchase, Some(event.purchase_id));
                assert_eq!(hold.placed.buyer, event.buyer);
                assert_eq!(hold.end, Some(End::Bought(event.purchased_at)));
                let units = i64::from(event.quantity.get());
                assert!(units <= self.refundable(hold), "refunded twice");
                assert_eq!(event.amount.amount, hold.price.amount * units);
                self.refunds.push(event.clone());
            }
            DropEvent::StockAdjusted(event) => {
                assert!(self.cancelled.is_none(), "adjusted after cancelling");
                self.claim_key(event.key);
                self.adjustments.push(event.clone());
                assert_eq!(event.stock, self.stock_after(0));
            }
            DropEvent::WaitlistJoined(event) => self.record_joining(event),
            DropEvent::WaitlistLeft(event) => {
                let removed_by_cancellation = self.cancelled.is_some();
                assert_eq!(
                    event.cause == LeaveCause::DropCancelled,
                    removed_by_cancellation
                );
                let joined = self.settle(event.entry_id, Settled::Left);
                assert_eq!(
                    (event.buyer, event.quantity),
                    (joined.buyer, joined.quantity)
                );
            }
            DropEvent::DropDrafted(_) | DropEvent::DropPublished(_) => {
                unreachable!("no history here has drafts")
            }
            DropEvent::DropPaused(event) => {
                assert!(self.begun.is_some() && self.cancelled.is_none());
                assert!(self.paused.is_none(), "paused twice");
                self.paused = Some(event.paused_at);
            }
            DropEvent::DropResumed(_) => {
                assert!(self.cancelled.is_none());
                assert!(self.paused.take().is_some(), "resumed, but not paused");
            }
            DropEvent::CodesCreated(_) => unreachable!("no history here has codes"),
        }
        self.events += 1;
        let stock = self.stock_after(0); // asserts that no count is negative
        assert_eq!(stock.available + stock.held + stock.sold, stock.total);
        assert!(self.total() <= MOST_UNITS, "more than a drop can offer");
    }

    fn record_hold(&mut self, event: &HoldPlaced) {
        let terms = self.terms().expect("terms to hold under").clone();
        let (buyer, at) = (event.buyer, event.placed_at);
        assert!(self.cancelled.is_none(), "held after cancelling");
        assert!(at >= terms.starts_at, "held before the start");
        assert!(terms.ends_at.is_none_or(|end| at < end), "held at the end");
        assert!(event.quantity <= terms.max_per_hold, "too many in one hold");
        assert!(
            self.hold(event.hold_id).is_none(),
            "two holds have the same id"
        );
        self.claim_key(event.key);
        self.record_turn(event);
        self.holds.push(Held {
            placed: event.clone(),
            requested: event.quantity,
            price: terms.price,
            end: None,
            purchase: None,
        });
        if let Some(max) = terms.max_per_buyer {
            assert!(
                self.taken_by(buyer) <= i64::from(max.get()),
                "above the limit of a buyer"
            );
        }
        if let Some(throttle) = terms.throttle
            && event.waitlist_entry.is_none()
        {
            let window = i64::from(throttle.window_seconds.get()) * 1000;
            let lately = self.in_window(buyer, window, at.millis());
            assert!(
                lately <= throttle.holds.get() as usize,
                "above the throttle"
            );
        }
    }

    fn record_change(&mut self, event: &HoldChanged) {
        assert!(self.cancelled.is_none(), "changed after cancelling");
        let more = i64::from(event.quantity.get()) - i64::from(event.previous_quantity.get());
        let left = i64::from(self.left_after_offers(event.changed_at));
        assert!(more <= left, "takes units of a waitlist entry");
        let placed = self.open(event.hold_id);
        assert_eq!(event.buyer, placed.buyer);
        assert!(event.changed_at < placed.expires_at, "changed when over");
        let before = std::mem::replace(&mut placed.quantity, event.quantity);
        assert_eq!(before, event.previous_quantity);
        assert_ne!(more, 0, "nothing changed");
        if more < 0 {
            return;
        }
        let terms = self.terms().expect("terms of a hold");
        assert!(event.quantity <= terms.max_per_hold, "too many in one hold");
        assert!(
            (terms.max_per_buyer)
                .is_none_or(|max| self.taken_by(event.buyer) <= i64::from(max.get())),
            "above the limit of a buyer"
        );
    }

    fn open(&mut self, id: HoldId) -> &mut HoldPlaced {
        let mut all = self.holds.iter_mut();
        let hold = all.find(|hold| hold.placed.hold_id == id).expect("a hold");
        assert!(hold.is_live(), "changed after the hold was resolved");
        &mut hold.placed
    }

    pub(crate) fn claim_key(&self, key: Option<KeyDigest>) {
        assert!(
            !key.is_some_and(|key| self.key_is_known(key)),
            "a key of two operations"
        );
    }

    fn end(&mut self, id: HoldId, end: End) -> &HoldPlaced {
        let mut all = self.holds.iter_mut();
        let hold = all
            .find(|hold| hold.placed.hold_id == id)
            .expect("a hold to resolve");
        assert_eq!(hold.end.replace(end), None, "hold {id} was resolved twice");
        &hold.placed
    }

    /// Asserts that the aggregate has the same state as the list.
    pub fn compare(&self, drop: &DropAggregate, at: Timestamp) {
        assert_eq!(drop.stock(), self.stock_after(0));
        assert_eq!(drop.sequence().0, self.events);
        assert_eq!(drop.terms(), self.terms());
        assert_eq!(drop.terms_version(), self.version());
        assert_eq!(drop.cancelled_at(), self.cancelled);
        assert_eq!(drop.holds_len(), self.holds.len());
        for (theirs, ours) in drop.holds().zip(&self.holds) {
            assert_eq!(theirs.id, ours.placed.hold_id);
            assert_eq!(drop.buyer_of(&theirs), ours.placed.buyer);
            let (status, resolved_at) = match ours.end {
                None => (HoldStatus::Held, Timestamp::default()),
                Some(End::Bought(at)) => (HoldStatus::Purchased, at),
                Some(End::Released(at)) => (HoldStatus::Released, at),
                Some(End::Expired(at)) => (HoldStatus::Expired, at),
            };
            assert_eq!((theirs.status, theirs.resolved_at), (status, resolved_at));
            assert_eq!(theirs.quantity, ours.placed.quantity);
            assert_eq!(theirs.expires_at, ours.placed.expires_at);
            assert_eq!(drop.placed_quantity(&theirs), ours.requested);
            if ours.is_bought() {
                assert_eq!(i64::from(drop.refundable(&theirs)), self.refundable(ours));
            }
        }
        for buyer in self
            .holds
            .iter()
            .rev()
            .take(4)
            .map(|hold| hold.placed.buyer)
        {
            self.compare_buyer(drop, buyer, at);
        }
        self.compare_line(drop, at);
        assert_eq!(drop.is_closing(), !self.left_to_end().is_empty());
    }

    fn compare_buyer(&self, drop: &DropAggregate, buyer: Pseudonym, at: Timestamp) {
        let theirs = drop.buyer(buyer).expect("a buyer with holds");
        let held = self.units_where(|hold| hold.placed.buyer == buyer && hold.is_live());
        assert_eq!(i64::from(theirs.held), held);
        let terms = self.terms().expect("terms");
        let standing = drop.standing(buyer, at).expect("a standing");
        assert_eq!(standing.purchased, theirs.purchased);
        let taken = i64::from(standing.held + standing.purchased);
        assert_eq!(taken, self.taken_by(buyer));
        assert_eq!(i64::from(standing.allowance), self.allowance(buyer, terms));
        assert_eq!(
            standing.next_hold_at,
            self.throttled_until(buyer, terms, at)
        );
        let newest_first = self
            .holds
            .iter()
            .rev()
            .filter(|hold| hold.placed.buyer == buyer);
        assert!(
            drop.holds_of(buyer)
                .map(|hold| hold.id)
                .eq(newest_first.map(|hold| hold.placed.hold_id))
        );
    }
}
