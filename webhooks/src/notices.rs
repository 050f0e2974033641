//! The events by which a drop sold out, those by which units became available again, and those by
//! which it became low on stock; and orders as they were at each event.
//!
//! Promise: decided from the log alone, so every server and every replay names the same events.
//! The former two alternate. Limit: up to 24 bytes of memory for each such event of the whole log,
//! and the orders.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::DropEvent;
use domain::event::PurchaseRefunded;
use domain::values::{DropId, LowStock, OrderId, Position, Timestamp};
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::{Committed, Readmitted, ReadmittedOrder};
use infrastructure::ports::Observer;

use crate::orders::{OrderFacts, Orders};

/// The effect of an event on the availability of its drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StockNotice {
    /// Units were available before the event, and none is after it.
    SoldOut,
    /// None was available before the event.
    Restocked,
}

/// The notices that follow from an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notice {
    pub stock: Option<StockNotice>,
    /// The drop became low on stock.
    pub low: Option<Low>,
    /// The order whose purchase it refunds.
    pub order: Option<OrderFacts>,
}

/// A drop that became low on stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Low {
    /// Units that are still available.
    pub available: u32,
    pub low_stock_at: LowStock,
}

/// Follows the engine. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    drops: HashMap<DropId, Drop>,
    orders: Orders,
}

#[derive(Debug, Default)]
struct Drop {
    available: i64,
    ends_at: Option<Timestamp>,
    is_cancelled: bool,
    /// Not published, so nothing happens to it that concerns buyers.
    is_draft: bool,
    /// The positions of the notices: first sold out, then restocked, and so on.
    turns: Vec<Position>,
    low_stock_at: Option<LowStock>,
    /// The last fall to `low_stock_at` was noticed, and the units were not above it since.
    is_low: bool,
    /// The events by which it became low.
    lows: Vec<(Position, Low)>,
}

impl Drop {
    const fn is_sold_out(&self) -> bool {
        self.turns.len() % 2 == 1
    }

    fn notice_at(&self, position: Position) -> Option<StockNotice> {
        let index = self.turns.binary_search(&position).ok()?;
        Some(match index % 2 {
            0 => StockNotice::SoldOut,
            _ => StockNotice::Restocked,
        })
    }

    fn apply(&mut self, recorded: &RecordedEvent) {
        let change = match &recorded.event {
            DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event) => {
                self.ends_at = event.terms.ends_at;
                self.low_stock_at = event.terms.low_stock_at;
                self.is_draft = event.terms.draft;
                i64::from(event.total_stock.get())
            }
            DropEvent::DropRescheduled(event) => {
                self.ends_at = event.terms.ends_at;
                self.low_stock_at = event.terms.low_stock_at;
                0
            }
            DropEvent::DropPublished(event) => {
                self.ends_at = event.terms.ends_at;
                self.low_stock_at = event.terms.low_stock_at;
                self.is_draft = false;
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
            DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => 0,
        };
        self.available += change;
        let is_over = self.is_draft
            || self.is_cancelled
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
        self.note_low(recorded.position, change < 0 && !is_over);
    }

    /// Notes that the drop became low, if its units are `falling`.
    fn note_low(&mut self, position: Position, falling: bool) {
        let available = u32::try_from(self.available).unwrap_or_default();
        let low = self.low_stock_at.filter(|low| available <= low.get());
        let Some(low_stock_at) = low else {
            self.is_low = false;
            return;
        };
        if falling && !self.is_low {
            self.is_low = true;
            let low = Low {
                available,
                low_stock_at,
            };
            self.lows.push((position, low));
        }
    }

    fn low_at(&self, position: Position) -> Option<Low> {
        let found = self.lows.binary_search_by_key(&position, |(at, _)| *at);
        Some(self.lows[found.ok()?].1)
    }
}

const fn refund_of(event: &DropEvent) -> Option<&PurchaseRefunded> {
    if let DropEvent::PurchaseRefunded(refund) = event {
        return Some(refund);
    }
    None
}

impl Notices {
    /// Returns the notices that follow from an event of a drop.
    #[must_use]
    pub fn of(&self, recorded: &RecordedEvent) -> Notice {
        let state = self.read();
        let position = recorded.position;
        let drop = state.drops.get(&recorded.drop_id);
        Notice {
            stock: drop.and_then(|drop| drop.notice_at(position)),
            low: drop.and_then(|drop| drop.low_at(position)),
            order: refund_of(&recorded.event)
                .and_then(|refund| state.orders.refunded_at(refund, position)),
        }
    }

    /// Returns an order as its event at `position` left it.
    pub(crate) fn order_at(&self, order_id: OrderId, position: Position) -> Option<OrderFacts> {
        self.read().orders.at(order_id, position)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, recorded: &RecordedEvent) {
        let drop = self.drops.entry(recorded.drop_id).or_default();
        drop.apply(recorded);
        if let DropEvent::PurchaseRefunded(refund) = &recorded.event {
            self.orders.refund(recorded, refund);
        }
    }
}

impl Observer for Notices {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let mut state = self.write();
        // Orders first: an order is paid before one of its purchases is refunded.
        for recorded in &committed.orders {
            state.orders.apply(recorded);
        }
        for refused in &committed.quarantined {
            state.orders.quarantined.extend(refused.order_id);
        }
        for recorded in &committed.events {
            state.apply(recorded);
        }
    }

    fn readmitted(&mut self, readmitted: &Readmitted) {
        let mut state = self.write();
        state.drops.remove(&readmitted.drop_id);
        state.orders.forget_refunds(readmitted.drop_id);
        for recorded in &readmitted.events {
            state.apply(recorded);
        }
    }

    fn order_readmitted(&mut self, readmitted: &ReadmittedOrder) {
        let is_whole = readmitted.refused.is_none();
        let orders = &mut self.write().orders;
        orders.readmit(readmitted.order_id, &readmitted.events, is_whole);
    }
}

#[cfg(test)]
mod tests;
