//! Everybody who ever waited, and who is where in line. In memory only: a line is rebuilt from the log, like everything.
//!
//! Promise: the place of anybody in a line of any length is found in logarithmic time, so that a page may ask often.
//! Limit: everybody who ever waited is kept, at about 150 bytes each.

use std::collections::HashMap;

use domain::DropEvent;
use domain::drop::line::EntryStatus;
use domain::event::{LeaveCause, WaitlistJoined};
use domain::values::{DropId, HoldId, Position, Pseudonym, Quantity, Timestamp, WaitlistId};
use infrastructure::codec::RecordedEvent;

use crate::error::CannotApply;
use crate::live_stock::LiveStockRow;

/// One place in line.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceRow {
    /// Its drop.
    pub drop_id: DropId,
    /// Whose it is.
    pub buyer: Pseudonym,
    /// Units wanted.
    pub quantity: Quantity,
    /// The hold that it becomes; there is one once the status is `Offered`.
    pub hold_id: HoldId,
    /// When it was taken.
    pub joined_at: Timestamp,
    /// How far it has come.
    pub status: EntryStatus,
    /// Whether it came to nothing because the drop was cancelled.
    pub called_off: bool,
    /// The position of its last event.
    pub position: Position,
    /// Counted from the first who ever waited for this drop: 1, 2, 3 …
    ordinal: usize,
}

/// Why nothing that comes back can serve an entry, until an admin changes the stock or the terms, or
/// the buyer gives units back. The engine passes such an entry over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Block {
    /// It asks for more units than one hold may have.
    MaxPerHold,
    /// With the units that the buyer holds and has bought it is more than one buyer may have.
    MaxPerBuyer,
    /// It asks for more units than the drop has left to sell, held ones included.
    TotalStock,
}

impl Block {
    /// What blocks an entry for `quantity` units, whose buyer holds or has bought `taken`.
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

/// Every line.
#[derive(Debug, Default)]
pub struct Lines {
    places: HashMap<WaitlistId, PlaceRow>,
    waiting: HashMap<DropId, Ranks>,
}

impl Lines {
    /// One place, and how many are served before it and with it: none once it waits no more.
    #[must_use]
    pub fn place(&self, entry_id: WaitlistId) -> Option<(&PlaceRow, Option<u32>)> {
        let row = self.places.get(&entry_id)?;
        let waits = row.status == EntryStatus::Waiting;
        let ranks = self.waiting.get(&row.drop_id).filter(|_| waits);
        Some((row, ranks.map(|ranks| ranks.up_to(row.ordinal))))
    }

    /// Removes every place of a drop.
    pub fn remove(&mut self, drop_id: DropId) {
        if self.waiting.remove(&drop_id).is_some() {
            self.places.retain(|_, row| row.drop_id != drop_id);
        }
    }

    /// Applies what was recorded.
    ///
    /// # Errors
    /// [`CannotApply`] when history cannot contain it; nothing has changed then.
    pub fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        let position = recorded.position;
        match &recorded.event {
            DropEvent::WaitlistJoined(event) => self.join(recorded.drop_id, event, position),
            DropEvent::WaitlistLeft(event) => {
                let row = self.settle(event.entry_id, EntryStatus::Left, position)?;
                row.called_off = event.cause == LeaveCause::DropCancelled;
                Ok(())
            }
            DropEvent::HoldPlaced(event) => match event.waitlist_entry {
                Some(entry_id) => self
                    .settle(entry_id, EntryStatus::Offered, position)
                    .map(|_| ()),
                None => Ok(()),
            },
            DropEvent::DropScheduled(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldExpired(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::StockAdjusted(_) => Ok(()),
        }
    }

    fn join(
        &mut self,
        drop_id: DropId,
        event: &WaitlistJoined,
        position: Position,
    ) -> Result<(), CannotApply> {
        if self.places.contains_key(&event.entry_id) {
            return Err(CannotApply("the place in line was taken already"));
        }
        let row = PlaceRow {
            drop_id,
            buyer: event.buyer,
            quantity: event.quantity,
            hold_id: event.hold_id,
            joined_at: event.joined_at,
            status: EntryStatus::Waiting,
            called_off: false,
            position,
            ordinal: self.waiting.entry(drop_id).or_default().push(),
        };
        self.places.insert(event.entry_id, row);
        Ok(())
    }

    fn settle(
        &mut self,
        entry_id: WaitlistId,
        status: EntryStatus,
        position: Position,
    ) -> Result<&mut PlaceRow, CannotApply> {
        let row = self
            .places
            .get_mut(&entry_id)
            .ok_or(CannotApply("the place in line was never taken"))?;
        if row.status != EntryStatus::Waiting {
            return Err(CannotApply("the place in line was settled already"));
        }
        (row.status, row.position) = (status, position);
        if let Some(ranks) = self.waiting.get_mut(&row.drop_id) {
            ranks.remove(row.ordinal);
        }
        Ok(row)
    }
}

/// Who of those that ever waited still does: a Fenwick tree, whose node `i` counts the `i & -i` ordinals that end with `i`.
#[derive(Debug, Default)]
struct Ranks(Vec<u32>);

impl Ranks {
    /// One more at the end; returns their ordinal.
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

    /// How many wait of those up to `ordinal`, it included.
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
    fn ranks_are_what_counting_says_whoever_leaves() {
        let (mut ranks, mut list) = (Ranks::default(), vec![]);
        for step in 0..2_000_usize {
            assert_eq!(ranks.push(), list.len() + 1);
            list.push(true);
            // Somebody leaves two times out of three, from all over the line.
            let leaver = step.wrapping_mul(7_919) % list.len();
            if step % 3 > 0 && std::mem::replace(&mut list[leaver], false) {
                ranks.remove(leaver + 1);
            }
            let looked_at = step.wrapping_mul(104_729) % list.len();
            for ordinal in [looked_at + 1, list.len()] {
                let counted = list[..ordinal].iter().filter(|waits| **waits).count();
                assert_eq!(ranks.up_to(ordinal) as usize, counted, "step {step}");
            }
        }
    }
}
