//! The expected result of each command, from the list alone.

use domain::command::{
    AdjustStock, ChangeHold, ExtendHold, Pass, PlaceHold, RefundPurchase, RescheduleDrop,
    ScheduleDrop, SetStock,
};
use domain::event::{
    DropCancelled, DropPaused, DropRescheduled, DropResumed, DropScheduled, HoldChanged,
    HoldExpired, HoldExtended, HoldPlaced, HoldReleased, LeaveCause, PurchaseConfirmed,
    PurchaseRefunded, ReleaseCause, StockAdjusted, WaitlistLeft,
};
use domain::refusal::Limit;
use domain::terms::DropTerms;
use domain::values::{HoldId, Money, Pseudonym, Quantity, Timestamp, Visibility};
use domain::{DropCommand, DropEvent, Refusal, Subject};

use super::{End, Held, MOST_UNITS, Model, Predicted, one, replay};

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
            DropCommand::PublishDrop(_) => {
                self.terms().ok_or(Refusal::DropNotFound)?;
                self.not_cancelled()?;
                replay(Subject::Drop)
            }
            DropCommand::PauseDrop(command) => self.pause(command.at),
            DropCommand::ResumeDrop(command) => {
                self.terms().ok_or(Refusal::DropNotFound)?;
                self.not_cancelled()?;
                let resumed_at = command.at;
                match self.paused {
                    None => replay(Subject::Drop),
                    Some(_) => one(
                        DropEvent::DropResumed(DropResumed { resumed_at }),
                        Subject::Drop,
                    ),
                }
            }
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
            DropCommand::CreateCodes(_) => unreachable!("no history here has codes"),
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
        if let Some(visibility) = patch.visibility {
            edited.visibility = visibility;
        }
        if let Some(product_id) = patch.product_id {
            edited.product_id = product_id;
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

    fn pause(&self, at: Timestamp) -> Predicted {
        let terms = self.terms().ok_or(Refusal::DropNotFound)?;
        match self.on_sale(terms, at) {
            Ok(()) | Err(Refusal::NotLive { .. }) => {}
            Err(ended) => return Err(ended),
        }
        if self.paused.is_some() {
            return replay(Subject::Drop);
        }
        one(
            DropEvent::DropPaused(DropPaused { paused_at: at }),
            Subject::Drop,
        )
    }

    pub(crate) fn not_paused(&self) -> Result<(), Refusal> {
        self.paused
            .map_or(Ok(()), |paused_at| Err(Refusal::Paused { paused_at }))
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
    pub(super) fn left_to_end(&self) -> Vec<DropEvent> {
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
    pub(super) fn end_of(&self, hold: &Held) -> Option<End> {
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
        Self::found(terms, command.pass)?;
        self.on_sale(terms, command.at)?;
        self.not_paused()?;
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
                code: None,
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
    pub(super) fn latest_deadline(&self, placed: &HoldPlaced) -> i64 {
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
            self.not_paused()?;
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

    /// A hidden drop does not exist for buyers.
    pub(crate) fn found(terms: &DropTerms, pass: Pass) -> Result<(), Refusal> {
        match terms.visibility == Visibility::Hidden && !pass.sees_hidden {
            true => Err(Refusal::DropNotFound),
            false => Ok(()),
        }
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
