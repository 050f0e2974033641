//! Decisions about the waitlist: joining, leaving and offers.
//!
//! Promise: released units become holds of the entries that can use them, in order of arrival, one
//! offer per decision. Until all offers are made, a direct hold never gets a unit that a waiting
//! entry could use. An entry that requests more units than are available stays waiting and is
//! skipped: units that no entry can use may be held directly. No decision scans the waitlist.
//! Limit: an offer is made while the drop is on sale, not paused, and within the limits of its
//! buyer. A throttle limits requests, so it applies to joining but not to offers.
//!
//! Source: docs/decisions/0012-the-waitlist-is-first-come-first-fit.md,
//! 0029-consequences-are-due-work.md.

use crate::command::{JoinWaitlist, LeaveWaitlist, ServeWaitlist};
use crate::decide::Decision;
use crate::drop::DropAggregate;
use crate::drop::waitlist::{EntryStatus, WaitlistEntry};
use crate::event::{DropEvent, HoldPlaced, LeaveCause, WaitlistJoined, WaitlistLeft};
use crate::refusal::Refusal;
use crate::values::{Timestamp, WaitlistId};

impl DropAggregate {
    /// Decides a request to join. The subject of a retry is the earlier entry.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn join_waitlist(&self, command: &JoinWaitlist) -> Result<Decision<WaitlistId>, Refusal> {
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
                && self.buyer_of_entry(entry).id == command.buyer
                && entry.quantity == command.quantity
                && self.code_of_entry(entry.id) == command.pass.code;
            return same
                .then(|| Decision::new(entry.id, vec![]))
                .ok_or(Refusal::IdempotencyKeyReused);
        }
        self.refuse_without_access(command.pass, command.at)?;
        // Offers are made from the start on, so no entry waits before it, whatever their code.
        self.refuse_before(self.existing_terms()?.starts_at, command.at)?;
        let (requested, available) = (
            command.quantity.get(),
            self.available_for_direct_holds(command.at),
        );
        if requested <= available {
            // There is nothing to wait for but the end of the pause.
            self.refuse_if_paused()?;
            return Err(Refusal::NotSoldOut {
                requested,
                available,
            });
        }
        if let Some(entry) = self.waiting_entry_of(command.buyer) {
            return Err(Refusal::AlreadyWaiting {
                joined_at: entry.joined_at,
                quantity: entry.quantity.get(),
            });
        }
        self.refuse_above_limits(command.buyer, command.quantity, 0)?;
        self.refuse_if_throttled(command.buyer, command.at)?;
        if self.waitlist().len() >= command.max_waiting as usize {
            let limit = command.max_waiting;
            return Err(Refusal::WaitlistFull { limit });
        }
        self.refuse_without_solution(command.pass)?;
        Ok(Decision::one(
            command.entry_id,
            DropEvent::WaitlistJoined(WaitlistJoined {
                entry_id: command.entry_id,
                hold_id: command.hold_id,
                key: command.key,
                buyer: command.buyer,
                quantity: command.quantity,
                joined_at: command.at,
                commitment: command.commitment,
                code: command.pass.code,
            }),
        ))
    }

    /// Decides a request to leave.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn leave_waitlist(&self, command: &LeaveWaitlist) -> Result<Decision<()>, Refusal> {
        let entry = self
            .entry(command.entry_id)
            .ok_or(Refusal::WaitlistEntryNotFound)?;
        match entry.status {
            EntryStatus::Left => Ok(Decision::new((), vec![])),
            EntryStatus::Offered => Err(Refusal::AlreadyOffered {
                hold_id: entry.hold_id,
            }),
            // A cancellation has removed it, recorded or not.
            EntryStatus::Waiting if self.cancelled_at().is_some() => Ok(Decision::new((), vec![])),
            EntryStatus::Waiting => Ok(Decision::one(
                (),
                self.leave(entry, command.at, LeaveCause::Buyer),
            )),
        }
    }

    /// Decides the next offer: no event if no entry can be served.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing must be recorded.
    pub fn serve_waitlist(&self, command: &ServeWaitlist) -> Result<Decision<()>, Refusal> {
        let terms = self.existing_terms()?;
        let expires_at = command.at.plus_seconds(terms.offer_lasts());
        let offer = self.next_entry_to_offer(command.at).map(|entry| {
            DropEvent::HoldPlaced(HoldPlaced {
                hold_id: entry.hold_id,
                key: None,
                buyer: self.buyer_of_entry(entry).id,
                quantity: entry.quantity,
                placed_at: command.at,
                expires_at,
                commitment: None,
                waitlist_entry: Some(entry.id),
                order_id: None,
                code: self.code_of_entry(entry.id),
            })
        });
        Ok(Decision::new((), offer.into_iter().collect()))
    }

    pub(crate) fn leave(
        &self,
        entry: &WaitlistEntry,
        at: Timestamp,
        cause: LeaveCause,
    ) -> DropEvent {
        DropEvent::WaitlistLeft(WaitlistLeft {
            entry_id: entry.id,
            buyer: self.buyer_of_entry(entry).id,
            quantity: entry.quantity,
            left_at: at,
            cause,
        })
    }

    /// Returns the first entry that can be served at `at` with the available units. Entries that
    /// request more are skipped.
    #[must_use]
    pub fn next_entry_to_offer(&self, at: Timestamp) -> Option<&WaitlistEntry> {
        let is_selling = self.paused_at().is_none();
        self.first_that_fits(at).filter(|_| is_selling)
    }

    /// [`DropAggregate::next_entry_to_offer`], were the drop not paused.
    fn first_that_fits(&self, at: Timestamp) -> Option<&WaitlistEntry> {
        let available = self.stock().available;
        if available == 0 || self.waitlist().is_empty() || self.cancelled_at().is_some() {
            return None;
        }
        let is_on_sale = self.terms()?.are_on_sale_at(at);
        self.waitlist()
            .first_eligible(available)
            .filter(|_| is_on_sale)
    }

    /// Returns the units that may be held directly at `at`: normally all available units, because
    /// offers are made as soon as units are free. While offers are pending, only the units that
    /// would remain if every entry received its units. That may be less than the offers will
    /// leave, but never includes a unit that an entry could use.
    #[must_use]
    pub fn available_for_direct_holds(&self, at: Timestamp) -> u32 {
        let available = self.stock().available;
        if self.first_that_fits(at).is_none() {
            return available;
        }
        let wanted = u32::try_from(self.waitlist().wanted()).unwrap_or(u32::MAX);
        available.saturating_sub(wanted)
    }
}
