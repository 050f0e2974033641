//! Decisions that change an unresolved hold: a later deadline, another number of units.
//!
//! Promise: the hold stays the same hold. A change is no request for another one, so the throttle
//! does not count it. Units are added only within the limits and from units that no waitlist entry
//! could use, as for a new hold; units that are returned are offered to the waitlist first.
//! Limit: a hold that is over cannot be changed, recorded as over or not.

use crate::command::{ChangeHold, ExtendHold};
use crate::decide::Decision;
use crate::drop::{DropAggregate, Hold, HoldStatus};
use crate::event::{DropEvent, HoldChanged, HoldExtended};
use crate::refusal::{Limit, Refusal};
use crate::values::{HoldId, Quantity, Timestamp};

impl DropAggregate {
    /// Decides an extension. It never shortens a hold: no event if the hold lasts as long already.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn extend_hold(&self, command: &ExtendHold) -> Result<Decision<()>, Refusal> {
        let hold = self.live_hold(command.hold_id, command.at)?;
        let expires_at = command.at.plus_seconds(command.seconds.get());
        if expires_at <= hold.expires_at {
            return Ok(Decision::new((), vec![]));
        }
        let latest = self.existing_terms()?.latest_expiry(hold.placed_at);
        if expires_at > latest {
            return Err(Refusal::ExtensionLimit {
                // An offer may last longer than the limit.
                expires_at_max: latest.max(hold.expires_at),
            });
        }
        Ok(Decision::one(
            (),
            DropEvent::HoldExtended(HoldExtended {
                hold_id: hold.id,
                buyer: self.buyer_of(&hold),
                previous_expires_at: hold.expires_at,
                expires_at,
                extended_at: command.at,
            }),
        ))
    }

    /// Decides a change of a hold's units: no event if it has as many already.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn change_hold(&self, command: &ChangeHold) -> Result<Decision<()>, Refusal> {
        let hold = self.live_hold(command.hold_id, command.at)?;
        if command.quantity == hold.quantity {
            return Ok(Decision::new((), vec![]));
        }
        if command.quantity > hold.quantity {
            self.refuse_growth_without_access(&hold, command.at)?;
            self.refuse_growth_above_limits(&hold, command.quantity)?;
            let requested = command.quantity.get() - hold.quantity.get();
            let available = self.available_for_direct_holds(command.at);
            if available < requested {
                return Err(Refusal::SoldOut {
                    requested,
                    available,
                });
            }
        }
        Ok(Decision::one(
            (),
            DropEvent::HoldChanged(HoldChanged {
                hold_id: hold.id,
                buyer: self.buyer_of(&hold),
                previous_quantity: hold.quantity,
                quantity: command.quantity,
                changed_at: command.at,
            }),
        ))
    }

    fn refuse_growth_above_limits(&self, hold: &Hold, quantity: Quantity) -> Result<(), Refusal> {
        let terms = self.existing_terms()?;
        let buyer = self.buyer_of(hold);
        let taken = self
            .taken(buyer)
            .saturating_add(self.taken_elsewhere(buyer));
        let (per_hold, per_buyer) = (terms.max_per_hold.get(), terms.max_per_buyer);
        let in_hold = per_hold.saturating_sub(hold.quantity.get());
        let of_buyer = per_buyer.map_or(u32::MAX, |max| max.get().saturating_sub(taken));
        let reached = |limit, max| {
            Err(Refusal::LimitReached {
                limit,
                max,
                allowance: in_hold.min(of_buyer),
            })
        };
        let more = quantity.get() - hold.quantity.get();
        if more > in_hold {
            return reached(Limit::PerHold, per_hold);
        }
        match per_buyer {
            Some(max) if more > of_buyer => reached(Limit::PerBuyer, max.get()),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns a hold that is unresolved and not over at `at`.
    fn live_hold(&self, hold_id: HoldId, at: Timestamp) -> Result<Hold, Refusal> {
        let hold = self.hold(hold_id).ok_or(Refusal::HoldNotFound)?;
        self.refuse_in_order(hold_id)?;
        match self.outcome_of(&hold) {
            (HoldStatus::Purchased, purchased_at) => Err(Refusal::HoldPurchased { purchased_at }),
            (HoldStatus::Released, released_at) => Err(Refusal::HoldReleased { released_at }),
            (HoldStatus::Held, _) if at < hold.expires_at => Ok(hold),
            (HoldStatus::Held | HoldStatus::Expired, _) => Err(Refusal::HoldExpired {
                expired_at: hold.expires_at,
            }),
        }
    }
}
