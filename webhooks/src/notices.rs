//! The events by which a drop sold out, and those by which units became available again.
//!
//! Promise: decided from the log alone, so every server and every replay names the same events.
//! The two alternate. Limit: 8 bytes of memory for each such event of the whole log.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use domain::DropEvent;
use domain::values::{DropId, Position, Timestamp};
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::{Committed, Readmitted};
use infrastructure::ports::Observer;

/// The effect of an event on the availability of its drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StockNotice {
    /// Units were available before the event, and none is after it.
    SoldOut,
    /// None was available before the event.
    Restocked,
}

/// Follows the engine. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct StockNotices(Arc<RwLock<HashMap<DropId, Drop>>>);

#[derive(Debug, Default)]
struct Drop {
    available: i64,
    ends_at: Option<Timestamp>,
    is_cancelled: bool,
    /// The positions of the notices: first sold out, then restocked, and so on.
    turns: Vec<Position>,
}

impl Drop {
    const fn is_sold_out(&self) -> bool {
        self.turns.len() % 2 == 1
    }

    fn apply(&mut self, recorded: &RecordedEvent) {
        let change = match &recorded.event {
            DropEvent::DropScheduled(event) => {
                self.ends_at = event.terms.ends_at;
                i64::from(event.total_stock.get())
            }
            DropEvent::DropRescheduled(event) => {
                self.ends_at = event.terms.ends_at;
                0
            }
            DropEvent::DropCancelled(_) => {
                self.is_cancelled = true;
                0
            }
            DropEvent::HoldPlaced(event) => -i64::from(event.quantity.get()),
            DropEvent::HoldExpired(event) => event.quantity.get().into(),
            DropEvent::HoldReleased(event) => event.quantity.get().into(),
            DropEvent::StockAdjusted(event) => event.delta.into(),
            DropEvent::HoldChanged(event) => -event.units_added(),
            DropEvent::PurchaseRefunded(event) if event.restocked => event.quantity.get().into(),
            DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_) => 0,
        };
        self.available += change;
        let is_over = self.is_cancelled
            || self
                .ends_at
                .is_some_and(|ends_at| recorded.recorded_at >= ends_at);
        let is_turn = match self.is_sold_out() {
            true => change > 0,
            false => change < 0 && self.available <= 0,
        };
        if is_turn && !is_over {
            self.turns.push(recorded.position);
        }
    }
}

impl StockNotices {
    /// Returns the effect of the event at `position` of a drop, if it has one.
    #[must_use]
    pub fn of(&self, drop_id: DropId, position: Position) -> Option<StockNotice> {
        let drops = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let index = drops.get(&drop_id)?.turns.binary_search(&position).ok()?;
        Some(match index % 2 {
            0 => StockNotice::SoldOut,
            _ => StockNotice::Restocked,
        })
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<DropId, Drop>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for StockNotices {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let mut drops = self.write();
        for recorded in &committed.events {
            drops.entry(recorded.drop_id).or_default().apply(recorded);
        }
    }

    fn readmitted(&mut self, readmitted: &Readmitted) {
        let mut drop = Drop::default();
        readmitted.events.iter().for_each(|event| drop.apply(event));
        self.write().insert(readmitted.drop_id, drop);
    }
}

#[cfg(test)]
mod tests;
