//! A naive model: a plain list of events, from which every result is recomputed from scratch.
//!
//! It shares the vocabulary of `domain` (commands, events, refusals) but none of its arithmetic,
//! indexes or stock. [`Model::predict`] returns the expected result of a command; [`Model::record`]
//! audits each event against the list alone.

use domain::command::{
    AdjustStock, ChangeHold, ExtendHold, PlaceHold, RefundPurchase, RescheduleDrop, ScheduleDrop,
    SetStock,
};
use domain::drop::HoldStatus;
use domain::event::{
    DropCancelled, DropRescheduled, DropScheduled, HoldChanged, HoldExpired, HoldExtended,
    HoldPlaced, HoldReleased, LeaveCause, PurchaseConfirmed, PurchaseRefunded, ReleaseCause,
    StockAdjusted, WaitlistLeft,
};
use domain::refusal::Limit;
use domain::stock::Stock;
use domain::terms::DropTerms;
use domain::values::{HoldId, KeyDigest, Money, Pseudonym, PurchaseId, Quantity, Timestamp};
use domain::{DropAggregate, DropCommand, DropEvent, Refusal, Subject};

use super::waitlist::{Settled, Waiting};

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

fn ends_too_early(terms: &DropTerms) -> Option<Refusal> {
    let starts_at = terms.starts_at;
    let too_early = terms.ends_at.is_some_and(|ends_at| ends_at <= starts_at);
    too_early.then_some(Refusal::EndsBeforeStart { starts_at })
}

impl Model {
    pub fn predict(&self, command: &DropCommand) -> Predicted {
        match command {
            DropCommand::ScheduleDrop(command) => self.schedule(command),
            DropCommand::RescheduleDrop(command) => self.reschedule(command),
            DropCommand::CancelDrop(command) => self.cancel(command.at),
            DropCommand::AdjustStock(command) => self.adjust(command),
            DropCommand::SetStock(command) => self.set_total(command),
            DropCommand::PlaceHold(command) => self.place(command),
            DropCommand::ExtendHold(command) => self.extend(command),
            DropCommand::ChangeHold(command) => self.change(command),
            DropCommand::ReleaseHold(command) => {
                let hold = self.hold(command.hold_id).ok_or(Refusal::HoldNotFound)?;
                match self.end_of(hold) {
                    Some(End::Bought(purchased_at)) => Err(Refusal::HoldPurchased { purchased_at }),
                    Some(End::Released(_)) => replay(Subject::Hold(command.hold_id)),
                    Some(End::Expired(expired_at)) => Err(Refusal::HoldExpired { expired_at }),
                    None if hold.is_over_at(command.at) => Err(over(hold)),
                    None => one(
                        released(hold, command.at, ReleaseCause::Buyer),
                        Subject::Hold(command.hold_id),
                    ),
                }
            }
            DropCommand::ConfirmPurchase(command) => {
                let hold = self.hold(command.hold_id).ok_or(Refusal::HoldNotFound)?;
                let subject = Subject::Purchase(command.hold_id);
                match self.end_of(hold) {
                    Some(End::Bought(_)) => replay(subject),
                    Some(End::Released(released_at)) => Err(Refusal::HoldReleased { released_at }),
                    Some(End::Expired(expired_at)) => Err(Refusal::HoldExpired { expired_at }),
                    None if hold.is_over_at(command.at) => Err(over(hold)),
                    None => one(
                        DropEvent::PurchaseConfirmed(PurchaseConfirmed {
                            purchase_id: command.purchase_id,
                            hold_id: command.hold_id,
                            buyer: hold.placed.buyer,
                            quantity: hold.placed.quantity,
                            total: Money {
                                amount: hold.price.amount * hold.units(),
                                currency: hold.price.currency,
                            },
                            purchased_at: command.at,
                            commitment: command.commitment,
                        }),
                        subject,
                    ),
                }
            }
            DropCommand::RefundPurchase(command) => self.refund(command),
            DropCommand::ExpireHold(command) => {
                let hold = self.hold(command.hold_id).ok_or(Refusal::HoldNotFound)?;
                let subject = Subject::Hold(command.hold_id);
                if self.end_of(hold).is_none() && hold.is_over_at(command.at) {
                    one(expired(hold), subject)
                } else {
                    replay(subject)
                }
            }
            DropCommand::JoinWaitlist(command) => self.join(command),
            DropCommand::LeaveWaitlist(command) => self.leave(command),
            DropCommand::ServeWaitlist(command) => {
                self.terms().ok_or(Refusal::DropNotFound)?;
                let next = self.offers(command.at).into_iter().next();
                Ok((next.into_iter().collect(), Subject::Drop))
            }
            DropCommand::SettleCancelled => {
                self.terms().ok_or(Refusal::DropNotFound)?;
                Ok((
                    self.left_to_end().into_iter().take(1).collect(),
                    Subject::Drop,
                ))
            }
        }
    }

    fn schedule(&self, command: &ScheduleDrop) -> Predicted {
        if let Some(begun) = &self.begun {
            if command.key.is_none() || begun.key.is_none() || command.key != begun.key {
                return Err(Refusal::AlreadyScheduled);
            }
            let at_once = command.terms.starts_at == command.at
                && begun.terms.starts_at == begun.scheduled_at;
            let mut requested = command.terms.clone();
            if at_once {
                requested.starts_at = begun.terms.starts_at;
            }
            if requested == begun.terms && command.total_stock == begun.total_stock {
                return replay(Subject::Drop);
            }
            return Err(Refusal::IdempotencyKeyReused);
        }
        if let Some(refusal) = ends_too_early(&command.terms) {
            return Err(refusal);
        }
        one(
            DropEvent::DropScheduled(DropScheduled {
                key: command.key,
                terms: command.terms.clone(),
                total_stock: command.total_stock,
                scheduled_at: command.at,
            }),
            Subject::Drop,
        )
    }

    pub fn version(&self) -> u32 {
        let versions = self.terms.len() + self.cancelled.iter().len();
        u32::try_from(versions).expect("few versions")
    }

    fn reschedule(&self, command: &RescheduleDrop) -> Predicted {
        let terms = self.terms().ok_or(Refusal::DropNotFound)?;
        let current = self.version();
        if ![None, Some(current)].contains(&command.expected_version) {
            return Err(Refusal::StaleVersion { current });
        }
        self.not_cancelled()?;
        let mut edited = terms.clone();
        let patch = command.patch.clone();
        if let Some(name) = patch.name {
            edited.name = name;
        }
        if let Some(description) = patch.description {
            edited.description = description;
        }
        if let Some(image_url) = patch.image_url {
            edited.image_url = image_url;
        }
        if let Some(price) = patch.price {
            edited.price = price;
        }
        if let Some(starts_at) = patch.starts_at {
            edited.starts_at = starts_at;
        }
        if let Some(ends_at) = patch.ends_at {
            edited.ends_at = ends_at;
        }
        if let Some(hold_seconds) = patch.hold_seconds {
            edited.hold_seconds = hold_seconds;
        }
        if let Some(max_hold_seconds) = patch.max_hold_seconds {
            edited.max_hold_seconds = max_hold_seconds;
        }
        if let Some(offer_seconds) = patch.offer_seconds {
            edited.offer_seconds = offer_seconds;
        }
        if let Some(max_per_hold) = patch.max_per_hold {
            edited.max_per_hold = max_per_hold;
        }
        if let Some(max_per_buyer) = patch.max_per_buyer {
            edited.max_per_buyer = max_per_buyer;
        }
        if let Some(low_stock_at) = patch.low_stock_at {
            edited.low_stock_at = low_stock_at;
        }
        if let Some(throttle) = patch.throttle {
            edited.throttle = throttle;
        }
        if edited == *terms {
            return replay(Subject::Drop);
        }
        if let Some(refusal) = ends_too_early(&edited) {
            return Err(refusal);
        }
        one(
            DropEvent::DropRescheduled(DropRescheduled {
                terms: edited,
                rescheduled_at: command.at,
            }),
            Subject::Drop,
        )
    }

    fn cancel(&self, at: Timestamp) -> Predicted {
        self.terms().ok_or(Refusal::DropNotFound)?;
        if self.cancelled.is_some() {
            return replay(Subject::Drop);
        }
        one(
            DropEvent::DropCancelled(DropCancelled { cancelled_at: at }),
            Subject::Drop,
        )
    }

    /// Returns the consequences of a cancellation that are still to be recorded, in order.
    fn left_to_end(&self) -> Vec<DropEvent> {
        let Some(at) = self.cancelled else {
            return vec![];
        };
        let mut events = vec![];
        for hold in self.holds.iter().filter(|hold| hold.is_live()) {
            events.push(if hold.is_over_at(at) {
                expired(hold)
            } else {
                released(hold, at, ReleaseCause::DropCancelled)
            });
        }
        for entry in self.entries.iter().filter(|entry| entry.waits()) {
            events.push(DropEvent::WaitlistLeft(WaitlistLeft {
                entry_id: entry.joined.entry_id,
                buyer: entry.joined.buyer,
                quantity: entry.joined.quantity,
                left_at: at,
                cause: LeaveCause::DropCancelled,
            }));
        }
        events
    }

    /// Returns how a hold ended: a cancellation resolves it, recorded or not.
    fn end_of(&self, hold: &Held) -> Option<End> {
        match (hold.end, self.cancelled) {
            (None, Some(at)) if hold.is_over_at(at) => Some(End::Expired(hold.placed.expires_at)),
            (None, Some(at)) => Some(End::Released(at)),
            (end, _) => end,
        }
    }

    pub(crate) fn not_cancelled(&self) -> Result<(), Refusal> {
        self.cancelled.map_or(Ok(()), |ended_at| {
            Err(Refusal::Ended {
                ended_at,
                cancelled: true,
            })
        })
    }

    fn adjust(&self, command: &AdjustStock) -> Predicted {
        self.terms().ok_or(Refusal::DropNotFound)?;
        let same_key = |made: &&StockAdjusted| made.key.is_some() && made.key == command.key;
        let same_id = |made: &&StockAdjusted| made.adjustment_id == command.adjustment_id;
        let alike = |made: &StockAdjusted| {
            made.delta == command.delta && made.reason == command.reason && made.key == command.key
        };
        let known_key = command.key.is_some_and(|key| self.key_is_known(key));
        let earlier = match self.adjustments.iter().find(same_key) {
            None if known_key => return Err(Refusal::IdempotencyKeyReused),
            None => self.adjustments.iter().find(same_id),
            by_key => by_key,
        };
        if let Some(earlier) = earlier {
            return if alike(earlier) {
                replay(Subject::Adjustment(earlier.adjustment_id))
            } else {
                Err(Refusal::IdempotencyKeyReused)
            };
        }
        self.not_cancelled()?;
        let stock = self.stock_after(0);
        if command
            .expected_stock_version
            .is_some_and(|seen| i64::from(seen) != self.stock_version())
        {
            return Err(Refusal::StaleStock {
                total: stock.total,
                available: stock.available,
            });
        }
        let delta = i64::from(command.delta);
        if self.available() + delta < 0 {
            return Err(Refusal::InsufficientStock {
                delta: command.delta,
                available: self.stock_after(0).available,
            });
        }
        if self.total() + delta > MOST_UNITS {
            return Err(Refusal::TooMuchStock { max: 10_000_000 });
        }
        one(
            DropEvent::StockAdjusted(StockAdjusted {
                adjustment_id: command.adjustment_id,
                key: command.key,
                delta: command.delta,
                reason: command.reason.clone(),
                stock: self.stock_after(delta),
                adjusted_at: command.at,
            }),
            Subject::Adjustment(command.adjustment_id),
        )
    }

    fn set_total(&self, command: &SetStock) -> Predicted {
        self.terms().ok_or(Refusal::DropNotFound)?;
        self.not_cancelled()?;
        let stock = self.stock_after(0);
        let seen = command.expected_stock_version.map(i64::from);
        if ![None, Some(self.stock_version())].contains(&seen) {
            return Err(Refusal::StaleStock {
                total: stock.total,
                available: stock.available,
            });
        }
        let delta = i64::from(command.total.get()) - self.total();
        if delta == 0 {
            return replay(Subject::Drop);
        }
        let delta_units = i32::try_from(delta).expect("totals are bounded");
        if self.available() + delta < 0 {
            return Err(Refusal::InsufficientStock {
                delta: delta_units,
                available: stock.available,
            });
        }
        one(
            DropEvent::StockAdjusted(StockAdjusted {
                adjustment_id: command.adjustment_id,
                key: None,
                delta: delta_units,
                reason: command.reason.clone(),
                stock: self.stock_after(delta),
                adjusted_at: command.at,
            }),
            Subject::Drop,
        )
    }

    fn place(&self, command: &PlaceHold) -> Predicted {
        let terms = self.terms().ok_or(Refusal::DropNotFound)?;
        let same_key = |hold: &&Held| hold.placed.key.is_some() && hold.placed.key == command.key;
        let known_key = command.key.is_some_and(|key| self.key_is_known(key));
        let earlier = match self.holds.iter().find(same_key) {
            None if known_key => return Err(Refusal::IdempotencyKeyReused),
            None => self.hold(command.hold_id),
            by_key => by_key,
        };
        if let Some(Held {
            placed, requested, ..
        }) = earlier
        {
            let alike = (placed.key, placed.buyer, *requested)
                == (command.key, command.buyer, command.quantity);
            return if alike {
                replay(Subject::Hold(placed.hold_id))
            } else {
                Err(Refusal::IdempotencyKeyReused)
            };
        }
        self.on_sale(terms, command.at)?;
        self.within_limits(terms, command.buyer, command.quantity)?;
        self.not_throttled(terms, command.buyer, command.at)?;
        let (requested, available) = (
            command.quantity.get(),
            self.available_for_direct_holds(command.at),
        );
        if available < requested {
            return Err(Refusal::SoldOut {
                requested,
                available,
            });
        }
        let lasts = i64::from(terms.hold_seconds.get()) * 1000;
        one(
            DropEvent::HoldPlaced(HoldPlaced {
                hold_id: command.hold_id,
                key: command.key,
                buyer: command.buyer,
                quantity: command.quantity,
                placed_at: command.at,
                expires_at: Timestamp::from_millis(command.at.millis() + lasts),
                commitment: command.commitment,
                waitlist_entry: None,
                order_id: None,
            }),
            Subject::Hold(command.hold_id),
        )
    }

    fn refund(&self, command: &RefundPurchase) -> Predicted {
        self.terms().ok_or(Refusal::DropNotFound)?;
        let same_key = |made: &&PurchaseRefunded| made.key.is_some() && made.key == command.key;
        let same_id = |made: &&PurchaseRefunded| made.refund_id == command.refund_id;
        let known_key = command.key.is_some_and(|key| self.key_is_known(key));
        let earlier = match self.refunds.iter().position(|made| same_key(&made)) {
            None if known_key => return Err(Refusal::IdempotencyKeyReused),
            None => self.refunds.iter().position(|made| same_id(&made)),
            by_key => by_key,
        };
        if let Some(earlier) = earlier {
            let made = &self.refunds[earlier];
            let so_far = self.refunds[..=earlier].iter();
            let of_purchase = so_far.filter(|other| other.purchase_id == made.purchase_id);
            let units: i64 = of_purchase.map(|one| i64::from(one.quantity.get())).sum();
            let bought = self.hold(made.hold_id).expect("a purchased hold").units();
            let alike = (made.key, made.purchase_id, made.restocked, &made.reason)
                == (
                    command.key,
                    command.purchase_id,
                    command.restock,
                    &command.reason,
                );
            let as_many =
                (command.quantity).map_or(units == bought, |units| units == made.quantity);
            return if alike && as_many {
                replay(Subject::Refund(made.refund_id))
            } else {
                Err(Refusal::IdempotencyKeyReused)
            };
        }
        let hold = self.hold(command.hold_id).filter(|hold| hold.is_bought());
        let hold = hold.ok_or(Refusal::PurchaseNotFound)?;
        let Some(End::Bought(purchased_at)) = hold.end else {
            unreachable!()
        };
        let left = u32::try_from(self.refundable(hold)).expect("never negative");
        let requested = command.quantity.map_or(left, |units| units.get());
        if requested == 0 || requested > left {
            return Err(Refusal::NothingToRefund { refundable: left });
        }
        one(
            DropEvent::PurchaseRefunded(PurchaseRefunded {
                refund_id: command.refund_id,
                key: command.key,
                purchase_id: command.purchase_id,
                hold_id: command.hold_id,
                buyer: hold.placed.buyer,
                quantity: Quantity::new(requested.into()).expect("units of a hold"),
                amount: Money {
                    amount: hold.price.amount * i64::from(requested),
                    currency: hold.price.currency,
                },
                restocked: command.restock,
                reason: command.reason.clone(),
                purchased_at,
                refunded_at: command.at,
            }),
            Subject::Refund(command.refund_id),
        )
    }

    /// Returns a hold that can still be changed at `at`.
    fn changeable(&self, id: HoldId, at: Timestamp) -> Result<&Held, Refusal> {
        let hold = self.hold(id).ok_or(Refusal::HoldNotFound)?;
        match self.end_of(hold) {
            Some(End::Bought(purchased_at)) => Err(Refusal::HoldPurchased { purchased_at }),
            Some(End::Released(released_at)) => Err(Refusal::HoldReleased { released_at }),
            Some(End::Expired(expired_at)) => Err(Refusal::HoldExpired { expired_at }),
            None if hold.is_over_at(at) => Err(over(hold)),
            None => Ok(hold),
        }
    }

    /// Returns the latest deadline that an extension may set.
    fn latest_deadline(&self, placed: &HoldPlaced) -> i64 {
        let terms = self.terms().expect("terms of a hold");
        let usual = terms.hold_seconds.get();
        let longest = terms.max_hold_seconds.map_or(usual, |most| most.get());
        placed.placed_at.millis() + i64::from(longest.max(usual)) * 1000
    }

    fn extend(&self, command: &ExtendHold) -> Predicted {
        let placed = &self.changeable(command.hold_id, command.at)?.placed;
        let subject = Subject::Hold(command.hold_id);
        let until = command.at.millis() + i64::from(command.seconds.get()) * 1000;
        let now = placed.expires_at.millis();
        if until <= now {
            return replay(subject);
        }
        if until > self.latest_deadline(placed) {
            let most = self.latest_deadline(placed).max(now);
            return Err(Refusal::ExtensionLimit {
                expires_at_max: Timestamp::from_millis(most),
            });
        }
        one(
            DropEvent::HoldExtended(HoldExtended {
                hold_id: command.hold_id,
                buyer: placed.buyer,
                previous_expires_at: placed.expires_at,
                expires_at: Timestamp::from_millis(until),
                extended_at: command.at,
            }),
            subject,
        )
    }

    fn change(&self, command: &ChangeHold) -> Predicted {
        let placed = &self.changeable(command.hold_id, command.at)?.placed;
        let subject = Subject::Hold(command.hold_id);
        if placed.quantity == command.quantity {
            return replay(subject);
        }
        let more = i64::from(command.quantity.get()) - i64::from(placed.quantity.get());
        if let Ok(requested) = u32::try_from(more) {
            let terms = self.terms().ok_or(Refusal::DropNotFound)?;
            self.on_sale(terms, command.at)?;
            let per_hold = i64::from(terms.max_per_hold.get());
            let room = |most: i64, taken: i64| u32::try_from((most - taken).max(0)).expect("room");
            let in_hold = room(per_hold, placed.quantity.get().into());
            let of_buyer = terms.max_per_buyer.map_or(u32::MAX, |max| {
                room(max.get().into(), self.taken_by(placed.buyer))
            });
            let reached = |limit, max| {
                let allowance = in_hold.min(of_buyer);
                Err(Refusal::LimitReached {
                    limit,
                    max,
                    allowance,
                })
            };
            if requested > in_hold {
                return reached(Limit::PerHold, terms.max_per_hold.get());
            }
            if requested > of_buyer {
                let max = terms.max_per_buyer.expect("a limit").get();
                return reached(Limit::PerBuyer, max);
            }
            let available = self.available_for_direct_holds(command.at);
            if available < requested {
                return Err(Refusal::SoldOut {
                    requested,
                    available,
                });
            }
        }
        one(
            DropEvent::HoldChanged(HoldChanged {
                hold_id: command.hold_id,
                buyer: placed.buyer,
                previous_quantity: placed.quantity,
                quantity: command.quantity,
                changed_at: command.at,
            }),
            subject,
        )
    }

    pub(crate) fn on_sale(&self, terms: &DropTerms, at: Timestamp) -> Result<(), Refusal> {
        self.not_cancelled()?;
        let starts_at = terms.starts_at;
        if at < starts_at {
            return Err(Refusal::NotLive { starts_at });
        }
        match terms.ends_at.filter(|&ends_at| ends_at <= at) {
            Some(ended_at) => Err(Refusal::Ended {
                ended_at,
                cancelled: false,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn within_limits(
        &self,
        terms: &DropTerms,
        buyer: Pseudonym,
        quantity: Quantity,
    ) -> Result<(), Refusal> {
        let requested = quantity.get();
        let allowance = self.allowance(buyer, terms);
        let allowance = u32::try_from(allowance).expect("an allowance is never negative");
        let reached = |limit, max| {
            Err(Refusal::LimitReached {
                limit,
                max,
                allowance,
            })
        };
        if requested > terms.max_per_hold.get() {
            return reached(Limit::PerHold, terms.max_per_hold.get());
        }
        match terms.max_per_buyer {
            Some(max) if self.taken_by(buyer) + i64::from(requested) > i64::from(max.get()) => {
                reached(Limit::PerBuyer, max.get())
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn not_throttled(
        &self,
        terms: &DropTerms,
        buyer: Pseudonym,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        match terms.throttle.zip(self.throttled_until(buyer, terms, at)) {
            Some((throttle, retry_at)) => Err(Refusal::Throttled { retry_at, throttle }),
            None => Ok(()),
        }
    }
}

fn over(hold: &Held) -> Refusal {
    Refusal::HoldExpired {
        expired_at: hold.placed.expires_at,
    }
}

fn released(hold: &Held, at: Timestamp, cause: ReleaseCause) -> DropEvent {
    DropEvent::HoldReleased(HoldReleased {
        hold_id: hold.placed.hold_id,
        buyer: hold.placed.buyer,
        quantity: hold.placed.quantity,
        released_at: at,
        cause,
    })
}

fn expired(hold: &Held) -> DropEvent {
    DropEvent::HoldExpired(HoldExpired {
        hold_id: hold.placed.hold_id,
        buyer: hold.placed.buyer,
        quantity: hold.placed.quantity,
        expired_at: hold.placed.expires_at,
    })
}

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
