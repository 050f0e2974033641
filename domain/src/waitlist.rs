//! Decisions about the line: who may join, who may leave, and what is offered to whom.
//!
//! Promise: whenever units come free they become holds of those who can use them, first come first served, in the same
//! decision; nobody who asks directly gets a unit that somebody in line could use. A request too large for what is free keeps
//! its place and is passed over: what nobody in line can use may be held directly.
//! Limit: an offer is made while the drop is on sale and within the limits of its buyer; a throttle paces what buyers ask
//! for, so it paces joining and not offers.
//!
//! Source: docs/decisions/0012-the-line-is-first-come-first-fit.md.

use crate::command::{JoinWaitlist, LeaveWaitlist, ServeWaitlist};
use crate::decide::{Decision, Subject};
use crate::drop::line::{EntryStatus, WaitlistEntry};
use crate::drop::{DropAggregate, Hold};
use crate::event::{DropEvent, HoldPlaced, LeaveCause, WaitlistJoined, WaitlistLeft};
use crate::refusal::Refusal;
use crate::terms::DropTerms;
use crate::values::Timestamp;

/// Where things stand once an event is recorded that is only being decided: what may be offered, and to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlook<'a> {
    /// Units available.
    pub(crate) available: u32,
    /// The terms in force.
    pub(crate) terms: &'a DropTerms,
    /// The hold that gave its units back; its buyer may take as many more.
    pub(crate) freed: Option<&'a Hold>,
    /// Now.
    pub(crate) at: Timestamp,
}

impl DropAggregate {
    pub(crate) fn join_waitlist(&self, command: &JoinWaitlist) -> Result<Decision, Refusal> {
        self.existing_terms()?;
        let earlier = match command.key.filter(|&key| self.knows_key(key)) {
            Some(key) => Some(
                self.entry_by_key(key)
                    .ok_or(Refusal::IdempotencyKeyReused)?,
            ),
            None => self.entry(command.entry_id),
        };
        if let Some(entry) = earlier {
            let same = entry.key == command.key
                && self.buyer_in_line(entry).id == command.buyer
                && entry.quantity == command.quantity;
            return same
                .then(|| Decision::new(Subject::Waitlist(entry.id), vec![]))
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        self.refuse_outside_sale(command.at)?;
        let (requested, available) = (command.quantity.get(), self.beside_line(command.at));
        if requested <= available {
            return Err(Refusal::NotSoldOut {
                requested,
                available,
            });
        }
        if let Some(entry) = self.place_of(command.buyer) {
            return Err(Refusal::AlreadyWaiting {
                joined_at: entry.joined_at,
                quantity: entry.quantity.get(),
            });
        }
        self.refuse_above_limits(command.buyer, command.quantity)?;
        self.refuse_if_throttled(command.buyer, command.at)?;
        Ok(Decision::one(
            Subject::Waitlist(command.entry_id),
            DropEvent::WaitlistJoined(WaitlistJoined {
                entry_id: command.entry_id,
                hold_id: command.hold_id,
                key: command.key,
                buyer: command.buyer,
                quantity: command.quantity,
                joined_at: command.at,
                commitment: command.commitment,
            }),
        ))
    }

    pub(crate) fn leave_waitlist(&self, command: &LeaveWaitlist) -> Result<Decision, Refusal> {
        let entry = self
            .entry(command.entry_id)
            .ok_or(Refusal::WaitlistEntryNotFound)?;
        let subject = Subject::Waitlist(entry.id);
        match entry.status {
            EntryStatus::Left => Ok(Decision::new(subject, vec![])),
            EntryStatus::Offered => Err(Refusal::AlreadyOffered {
                hold_id: entry.hold_id,
            }),
            EntryStatus::Waiting => Ok(Decision::one(
                subject,
                self.leave(entry, command.at, LeaveCause::Buyer),
            )),
        }
    }

    pub(crate) fn serve_waitlist(&self, command: &ServeWaitlist) -> Result<Decision, Refusal> {
        let terms = self.existing_terms()?;
        let outlook = Outlook {
            available: self.stock().available,
            terms,
            freed: None,
            at: command.at,
        };
        Ok(Decision::new(Subject::Drop, self.offers(outlook).collect()))
    }

    pub(crate) fn leave(
        &self,
        entry: &WaitlistEntry,
        at: Timestamp,
        cause: LeaveCause,
    ) -> DropEvent {
        DropEvent::WaitlistLeft(WaitlistLeft {
            entry_id: entry.id,
            buyer: self.buyer_in_line(entry).id,
            quantity: entry.quantity,
            left_at: at,
            cause,
        })
    }

    /// Units that may be held directly at `at`: those that nobody in line could use.
    ///
    /// As a rule all that are available, because whoever could use them was offered them when they came free. The rule has
    /// one gap, the moment between a start that was put off and the engine's noticing it, and nobody jumps the line in it.
    pub(crate) fn beside_line(&self, at: Timestamp) -> u32 {
        let available = self.stock().available;
        let Some(terms) = self
            .terms()
            .filter(|_| available > 0 && !self.line().is_empty())
        else {
            return available;
        };
        let outlook = Outlook {
            available,
            terms,
            freed: None,
            at,
        };
        let claimed = self.served(outlook).map(|entry| entry.quantity.get());
        available - claimed.sum::<u32>()
    }

    /// One hold for each who can be served.
    pub(crate) fn offers(&self, outlook: Outlook<'_>) -> impl Iterator<Item = DropEvent> {
        let expires_at = outlook.at.plus_seconds(outlook.terms.hold_seconds.get());
        self.served(outlook).map(move |entry| {
            DropEvent::HoldPlaced(HoldPlaced {
                hold_id: entry.hold_id,
                key: None,
                buyer: self.buyer_in_line(entry).id,
                quantity: entry.quantity,
                placed_at: outlook.at,
                expires_at,
                commitment: None,
                waitlist_entry: Some(entry.id),
            })
        })
    }

    /// Who can be served with what is available, first come first served, those whom it does not suffice passed over.
    fn served(&self, outlook: Outlook<'_>) -> impl Iterator<Item = &WaitlistEntry> {
        let Outlook { terms, at, .. } = outlook;
        let is_on_sale = self.cancelled_at().is_none() && terms.are_on_sale_at(at);
        let mut left = if is_on_sale { outlook.available } else { 0 };
        let mut from = 0;
        std::iter::from_fn(move || {
            loop {
                let most = left.min(terms.most_in_one_hold());
                let entry = self.line().next_within(&mut from, most)?;
                if entry.quantity.get() <= self.allowed_in_line(entry, outlook) {
                    left -= entry.quantity.get();
                    return Some(entry);
                }
            }
        })
    }

    /// Units that the buyer of `entry` could hold, stock permitting.
    fn allowed_in_line(&self, entry: &WaitlistEntry, outlook: Outlook<'_>) -> u32 {
        let buyer = self.buyer_in_line(entry);
        let given_back = outlook
            .freed
            .filter(|&hold| self.buyer_of(hold) == buyer.id)
            .map_or(0, |hold| hold.quantity.get());
        outlook
            .terms
            .allowance(buyer.held + buyer.purchased - given_back)
    }
}
