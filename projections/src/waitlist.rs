//! Every waitlist entry, and its rank among the waiting ones. In memory only: like all views, it is
//! rebuilt from the log.
//!
//! Promise: the rank of an entry is found in logarithmic time for a waitlist of any length, so
//! pages may poll often.
//! Limit: every entry is kept, at about 250 bytes each.

use std::collections::HashMap;

use domain::DropEvent;
use domain::drop::waitlist::EntryStatus;
use domain::event::{LeaveCause, WaitlistJoined};
use domain::values::{DropId, HoldId, Position, Pseudonym, Quantity, Timestamp, WaitlistId};
use infrastructure::codec::RecordedEvent;

use crate::error::CannotApply;
use crate::live_stock::LiveStockRow;
use crate::top_purchasers::BuyerKey;

/// One waitlist entry.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryRow {
    pub drop_id: DropId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units requested.
    pub quantity: Quantity,
    /// The id of the hold that the entry is offered; the hold exists once the status is `Offered`.
    pub hold_id: HoldId,
    /// When the entry joined.
    pub joined_at: Timestamp,
    /// The status of the entry.
    pub status: EntryStatus,
    /// True if the entry was removed because the drop was cancelled.
    pub removed_by_cancellation: bool,
    /// The position of its last event.
    pub position: Position,
    /// The number of the entry in its drop, from 1.
    ordinal: usize,
    /// The entry of the same buyer of the drop before it.
    previous: Option<WaitlistId>,
}

/// Why an entry cannot be served by released units, until an administrator changes the stock or the
/// terms, or the buyer releases units. The engine skips such an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Block {
    /// The entry requests more units than one hold may have.
    MaxPerHold,
    /// Together with the units that the buyer holds and has purchased, the entry exceeds the limit
    /// per buyer.
    MaxPerBuyer,
    /// The entry requests more units than the drop has left to sell, including held ones.
    TotalStock,
}

impl Block {
    /// Returns the obstacle for an entry of `quantity` units, whose buyer holds or has purchased
    /// `taken`.
    pub(crate) fn of(quantity: Quantity, drop: &LiveStockRow, taken: u32) -> Option<Self> {
        let (wanted, terms, stock) = (quantity.get(), &drop.terms, drop.stock);
        if wanted > terms.max_per_hold.get() {
            Some(Self::MaxPerHold)
        } else if wanted > terms.allowance(taken) {
            Some(Self::MaxPerBuyer)
        } else if wanted > stock.total - stock.sold {
            Some(Self::TotalStock)
        } else {
            None
        }
    }
}

/// The waitlists of all drops.
#[derive(Debug, Default)]
pub struct Waitlists {
    entries: HashMap<WaitlistId, EntryRow>,
    waiting: HashMap<DropId, Ranks>,
    /// The entry that each buyer of a drop joined last.
    last_of: HashMap<BuyerKey, WaitlistId>,
}

impl Waitlists {
    /// Returns an entry and its rank among the waiting ones, from 1; `None` if it no longer waits.
    #[must_use]
    pub fn entry(&self, entry_id: WaitlistId) -> Option<(&EntryRow, Option<u32>)> {
        let row = self.entries.get(&entry_id)?;
        let waits = row.status == EntryStatus::Waiting;
        let ranks = self.waiting.get(&row.drop_id).filter(|_| waits);
        Some((row, ranks.map(|ranks| ranks.up_to(row.ordinal))))
    }

    /// Returns at most `limit` entries of a buyer of a drop, newest first.
    pub(crate) fn newest_of(&self, key: &BuyerKey, limit: usize) -> Vec<WaitlistId> {
        let last = self.last_of.get(key).copied();
        let before = |id: &WaitlistId| self.entries.get(id)?.previous;
        std::iter::successors(last, before).take(limit).collect()
    }

    /// Removes every entry of a drop.
    pub fn remove(&mut self, drop_id: DropId) {
        if self.waiting.remove(&drop_id).is_some() {
            self.entries.retain(|_, row| row.drop_id != drop_id);
            self.last_of.retain(|key, _| key.drop_id != drop_id);
        }
    }

    /// # Errors
    /// [`CannotApply`] if history cannot contain the event; then nothing has changed.
    pub fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        let position = recorded.position;
        match &recorded.event {
            DropEvent::WaitlistJoined(event) => self.join(recorded.drop_id, event, position),
            DropEvent::WaitlistLeft(event) => {
                let row = self.settle(event.entry_id, EntryStatus::Left, position)?;
                row.removed_by_cancellation = event.cause == LeaveCause::DropCancelled;
                Ok(())
            }
            DropEvent::HoldPlaced(event) => match event.waitlist_entry {
                Some(entry_id) => self
                    .settle(entry_id, EntryStatus::Offered, position)
                    .map(|_| ()),
                None => Ok(()),
            },
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::CodesCreated(_) => Ok(()),
        }
    }

    fn join(
        &mut self,
        drop_id: DropId,
        event: &WaitlistJoined,
        position: Position,
    ) -> Result<(), CannotApply> {
        if self.entries.contains_key(&event.entry_id) {
            return Err(CannotApply("the waitlist entry already exists"));
        }
        let key = BuyerKey {
            drop_id,
            buyer: event.buyer,
        };
        let row = EntryRow {
            drop_id,
            buyer: event.buyer,
            quantity: event.quantity,
            hold_id: event.hold_id,
            joined_at: event.joined_at,
            status: EntryStatus::Waiting,
            removed_by_cancellation: false,
            position,
            ordinal: self.waiting.entry(drop_id).or_default().push(),
            previous: self.last_of.insert(key, event.entry_id),
        };
        self.entries.insert(event.entry_id, row);
        Ok(())
    }

    fn settle(
        &mut self,
        entry_id: WaitlistId,
        status: EntryStatus,
        position: Position,
    ) -> Result<&mut EntryRow, CannotApply> {
        let row = self
            .entries
            .get_mut(&entry_id)
            .ok_or(CannotApply("the waitlist entry does not exist"))?;
        if row.status != EntryStatus::Waiting {
            return Err(CannotApply("the waitlist entry was settled already"));
        }
        (row.status, row.position) = (status, position);
        if let Some(ranks) = self.waiting.get_mut(&row.drop_id) {
            ranks.remove(row.ordinal);
        }
        Ok(row)
    }
}

/// Counts the waiting entries: a Fenwick tree, whose node `i` counts the `i & -i` ordinals that end
/// with `i`.
#[derive(Debug, Default)]
struct Ranks(Vec<u32>);

impl Ranks {
    /// Adds an entry at the end and returns its ordinal.
    fn push(&mut self) -> usize {
        let ordinal = self.0.len() + 1;
        let before = self.up_to(ordinal - 1) - self.up_to(ordinal - lowest_bit(ordinal));
        self.0.push(before + 1);
        ordinal
    }

    fn remove(&mut self, mut ordinal: usize) {
        while let Some(node) = self.0.get_mut(ordinal - 1) {
            *node -= 1;
            ordinal += lowest_bit(ordinal);
        }
    }

    /// Returns how many of the entries up to and including `ordinal` wait.
    fn up_to(&self, mut ordinal: usize) -> u32 {
        let mut waiting = 0;
        while ordinal > 0 {
            waiting += self.0[ordinal - 1];
            ordinal -= lowest_bit(ordinal);
        }
        waiting
    }
}

const fn lowest_bit(number: usize) -> usize {
    number & number.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_match_a_linear_count() {
        let (mut ranks, mut list) = (Ranks::default(), vec![]);
        for step in 0..2_000_usize {
            assert_eq!(ranks.push(), list.len() + 1);
            list.push(true);
            // Two of three steps remove an entry, anywhere in the list.
            let removed = step.wrapping_mul(7_919) % list.len();
            if step % 3 > 0 && std::mem::replace(&mut list[removed], false) {
                ranks.remove(removed + 1);
            }
            let looked_at = step.wrapping_mul(104_729) % list.len();
            for ordinal in [looked_at + 1, list.len()] {
                let counted = list[..ordinal].iter().filter(|waits| **waits).count();
                assert_eq!(ranks.up_to(ordinal) as usize, counted, "step {step}");
            }
        }
    }
}
