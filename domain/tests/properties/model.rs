//! A naive model: a plain list of events, from which every result is recomputed from scratch.
//!
//! It shares the vocabulary of `domain` (commands, events, refusals) but none of its arithmetic,
//! indexes or stock. [`Model::predict`] returns the expected result of a command; [`Model::record`]
//! audits each event against the list alone.

mod predict;
mod record;

use domain::event::{DropScheduled, HoldPlaced, PurchaseRefunded, StockAdjusted};
use domain::stock::Stock;
use domain::terms::DropTerms;
use domain::values::{HoldId, KeyDigest, Money, Pseudonym, PurchaseId, Quantity, Timestamp};
use domain::{DropEvent, Refusal, Subject};

use super::waitlist::Waiting;

const MOST_UNITS: i64 = 10_000_000;

/// The time and kind of a hold's resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Bought(Timestamp),
    Released(Timestamp),
    Expired(Timestamp),
}

#[derive(Debug, Clone)]
pub struct Held {
    /// With the present number of units and the present deadline.
    pub placed: HoldPlaced,
    /// Units with which the hold was placed.
    requested: Quantity,
    price: Money,
    end: Option<End>,
    pub purchase: Option<PurchaseId>,
}

impl Held {
    fn units(&self) -> i64 {
        self.placed.quantity.get().into()
    }

    pub fn is_live(&self) -> bool {
        self.end.is_none()
    }

    fn is_bought(&self) -> bool {
        matches!(self.end, Some(End::Bought(_)))
    }

    fn is_over_at(&self, at: Timestamp) -> bool {
        at.millis() >= self.placed.expires_at.millis()
    }
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    begun: Option<DropScheduled>,
    /// Every version of the terms, newest last.
    terms: Vec<DropTerms>,
    pub(crate) cancelled: Option<Timestamp>,
    pub(crate) paused: Option<Timestamp>,
    pub holds: Vec<Held>,
    pub adjustments: Vec<StockAdjusted>,
    pub refunds: Vec<PurchaseRefunded>,
    /// Every waitlist entry, in order of arrival.
    pub entries: Vec<Waiting>,
    events: u64,
}

pub type Predicted = Result<(Vec<DropEvent>, Subject), Refusal>;

impl Model {
    pub fn terms(&self) -> Option<&DropTerms> {
        self.terms.last()
    }

    pub fn begun(&self) -> Option<&DropScheduled> {
        self.begun.as_ref()
    }

    fn units_where(&self, which: impl Fn(&Held) -> bool) -> i64 {
        let chosen = self.holds.iter().filter(|hold| which(hold));
        chosen.map(Held::units).sum()
    }

    /// How often the total changed.
    pub fn stock_version(&self) -> i64 {
        let unrestocked = self.refunds.iter().filter(|made| !made.restocked);
        i64::try_from(self.adjustments.len() + unrestocked.count()).expect("a small number")
    }

    pub fn total(&self) -> i64 {
        let first = self
            .begun
            .as_ref()
            .map_or(0, |begun| begun.total_stock.get());
        let adjusted: i64 = self
            .adjustments
            .iter()
            .map(|made| i64::from(made.delta))
            .sum();
        i64::from(first) + adjusted - self.given_back(|refund| !refund.restocked)
    }

    fn given_back(&self, which: impl Fn(&PurchaseRefunded) -> bool) -> i64 {
        let chosen = self.refunds.iter().filter(|refund| which(refund));
        chosen.map(|refund| i64::from(refund.quantity.get())).sum()
    }

    fn sold(&self) -> i64 {
        self.units_where(Held::is_bought) - self.given_back(|_| true)
    }

    /// Returns the units of a purchased hold that can still be refunded.
    fn refundable(&self, hold: &Held) -> i64 {
        hold.units() - self.given_back(|refund| refund.hold_id == hold.placed.hold_id)
    }

    pub fn available(&self) -> i64 {
        self.total() - self.units_where(Held::is_live) - self.sold()
    }

    pub(crate) fn stock_after(&self, delta: i64) -> Stock {
        let units = |count: i64| u32::try_from(count).expect("units are never negative");
        Stock {
            total: units(self.total() + delta),
            available: units(self.available() + delta),
            held: units(self.units_where(Held::is_live)),
            sold: units(self.sold()),
        }
    }

    fn taken_by(&self, buyer: Pseudonym) -> i64 {
        let is_taken = |hold: &Held| matches!(self.end_of(hold), None | Some(End::Bought(_)));
        self.units_where(|hold| hold.placed.buyer == buyer && is_taken(hold))
            - self.given_back(|refund| refund.buyer == buyer)
    }

    pub(crate) fn allowance(&self, buyer: Pseudonym, terms: &DropTerms) -> i64 {
        let in_one_hold = i64::from(terms.max_per_hold.get());
        match terms.max_per_buyer {
            None => in_one_hold,
            Some(max) => (i64::from(max.get()) - self.taken_by(buyer)).clamp(0, in_one_hold),
        }
    }

    /// Returns how many of the buyer's holds are in a window that ends at `at`, excluding its
    /// start.
    fn in_window(&self, buyer: Pseudonym, window_millis: i64, at: i64) -> usize {
        let theirs = self.holds.iter().filter(|hold| hold.placed.buyer == buyer);
        theirs
            .filter(|hold| hold.placed.placed_at.millis() > at - window_millis)
            .count()
    }

    /// Returns the first instant from `at` on at which the throttle permits a hold; `None` means
    /// `at` itself.
    pub(crate) fn throttled_until(
        &self,
        buyer: Pseudonym,
        terms: &DropTerms,
        at: Timestamp,
    ) -> Option<Timestamp> {
        let throttle = terms.throttle?;
        let window = i64::from(throttle.window_seconds.get()) * 1000;
        let open = |at: i64| self.in_window(buyer, window, at) < throttle.holds.get() as usize;
        if open(at.millis()) {
            return None;
        }
        // The result can only change when a hold leaves the window.
        let leaving = self
            .holds
            .iter()
            .map(|hold| hold.placed.placed_at.millis() + window);
        let first = leaving
            .filter(|&leaves| leaves > at.millis() && open(leaves))
            .min();
        first.map(Timestamp::from_millis)
    }

    pub fn hold(&self, id: HoldId) -> Option<&Held> {
        let mut same = self.holds.iter().filter(|hold| hold.placed.hold_id == id);
        let found = same.next();
        assert!(same.next().is_none(), "two holds have the id {id}");
        found
    }

    pub(crate) fn key_is_known(&self, key: KeyDigest) -> bool {
        let holds = self.holds.iter().filter_map(|hold| hold.placed.key);
        let adjustments = self.adjustments.iter().filter_map(|made| made.key);
        let begun = self.begun.iter().filter_map(|begun| begun.key);
        let entries = self.entries.iter().filter_map(|entry| entry.joined.key);
        let refunds = self.refunds.iter().filter_map(|refund| refund.key);
        let keys = holds.chain(adjustments).chain(begun).chain(entries);
        let mut keys = keys.chain(refunds);
        keys.any(|known| known == key)
    }
}

pub(crate) fn replay(subject: Subject) -> Predicted {
    Ok((vec![], subject))
}

pub(crate) fn one(event: DropEvent, subject: Subject) -> Predicted {
    Ok((vec![event], subject))
}
