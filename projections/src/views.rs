//! The same folds in memory. They answer frequent reads without a database.
//!
//! Promise: a caller that has received a result from this process's engine finds its own write
//! here; a reader that knows a later position can wait for it.
//! Limit: all rows are kept, so memory grows with the log (about 150 bytes per hold of a new
//! buyer). The engine waits for the lock that readers hold, so each reader holds it for a bounded
//! number of rows (docs/decisions/0037-lists-page-before-they-copy.md).

mod buyer;
mod courses;
mod drops;
mod groups;
mod orders;
mod revenue;
mod shown;

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, RangeInclusive};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use domain::DropEvent;
use domain::drop::HoldStatus;
use domain::event::{PurchaseRefunded, StockAdjusted};
use domain::values::{
    AdjustmentId, CodeDigest, DisplayName, DropId, HoldId, Money, OrderId, Position, Pseudonym,
    PurchaseId, RefundId, Timestamp, WaitlistId,
};
use infrastructure::codec::RecordedEvent;
use infrastructure::erasure::Erased;
use infrastructure::feed::{Committed, Readmitted, ReadmittedOrder};
use infrastructure::ports::Observer;
use infrastructure::quarantine::RefusedEvent;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::error;

pub use self::buyer::BuyerInDrop;
pub use self::drops::NoSuchDrop;
use self::drops::{Drops, Found};
use self::groups::Groups;
use crate::buyers::{BuyerRow, Buyers};
use crate::codes::{CodeRow, Codes};
use crate::dense_holds::{DenseHolds, Found as FoundHold};
use crate::dense_purchasers::DensePurchasers;
pub use crate::dense_purchasers::PurchaserOrder;
use crate::drop_course::DropCourse;
use crate::error::CannotApply;
use crate::fold::{Fold, Placed, Rows};
use crate::holds::HoldRow;
use crate::live_stock::{LiveStock, LiveStockRow};
use crate::orders::{Orders, last_of_batch};
use crate::prices::{self, Prices};
use crate::revenue::Revenue;
use crate::sales_timeline::{MinuteKey, SalesTimeline, SalesTotals};
use crate::top_purchasers::{BuyerKey, PurchaserRow};
use crate::waitlist::{Block, EntryRow, Waitlists};

/// The most rows that are read under one lock; longer reads take the lock again.
const ROWS_PER_LOCK: usize = 512;

/// Every projection in memory. Clones share the rows.
#[derive(Debug, Clone)]
pub struct Views {
    rows: Arc<RwLock<Hot>>,
    /// Separate from the other rows: every placed hold reads its price, and writes are very rare.
    prices: Arc<RwLock<Prices>>,
    position: Arc<watch::Sender<Position>>,
    /// See [`Views::rows_visited`].
    visited: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Hot {
    drops: Drops,
    groups: Groups,
    holds: DenseHolds,
    purchasers: DensePurchasers,
    timeline: Rows<SalesTimeline>,
    /// The totals of all drops, by minute.
    minutes: BTreeMap<Timestamp, SalesTotals>,
    revenue: Revenue,
    courses: HashMap<DropId, DropCourse>,
    buyers: Buyers,
    waitlists: Waitlists,
    codes: Codes,
    /// Few, and read only by retries.
    adjustments: HashMap<AdjustmentId, AdjustmentView>,
    /// By drop: a refund of an order has one id in all of its drops.
    refunds: HashMap<(DropId, RefundId), RefundView>,
    /// Drops without rows, and the reason.
    quarantined: BTreeMap<DropId, Arc<RefusedEvent>>,
    orders: Orders,
    /// Orders without rows, and the reason.
    quarantined_orders: BTreeMap<OrderId, Arc<RefusedEvent>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AdjustmentView {
    pub drop_id: DropId,
    /// Its position in the log.
    pub position: Position,
    pub event: StockAdjusted,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RefundView {
    pub drop_id: DropId,
    /// Its position in the log.
    pub position: Position,
    pub event: PurchaseRefunded,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Purchaser {
    /// The buyer's pseudonym.
    pub buyer: Pseudonym,
    /// The name that the buyer agreed to show.
    pub display_name: Option<DisplayName>,
    pub row: PurchaserRow,
}

/// One hold and its buyer.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldView {
    pub hold_id: HoldId,
    pub row: HoldRow,
    /// The price of one unit: the price in force when the hold was placed.
    pub price: Money,
    /// The position of its last event.
    pub position: Position,
    /// The position of its purchase.
    pub purchased: Option<Position>,
    /// The buyer; `None` after an erasure.
    pub buyer: Option<BuyerRow>,
}

/// One waitlist entry and its buyer.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryView {
    pub entry_id: WaitlistId,
    pub row: EntryRow,
    /// The rank among the waiting entries, from 1; `None` if the entry no longer waits.
    pub place: Option<u32>,
    /// Why the entry cannot be served by released units; `None` if it can, or no longer waits.
    pub block: Option<Block>,
    /// The buyer; `None` after an erasure.
    pub buyer: Option<BuyerRow>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropView {
    pub drop_id: DropId,
    pub row: LiveStockRow,
    /// The position of its last event.
    pub position: Position,
    /// The position of the last event that changed its public state: earlier than `position` only
    /// under `show_stock: level`.
    pub shown_at: Position,
    /// The position from which it is in the lists of the public, if an edit has put it there.
    pub listed_at: Option<Position>,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            rows: Arc::default(),
            prices: Arc::default(),
            position: Arc::new(watch::Sender::new(Position::default())),
            visited: Arc::default(),
        }
    }
}

impl Views {
    /// Returns the position up to which all events are applied.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Waits until all events up to `position` are applied, at most for `max_wait`. Returns true if
    /// they are.
    pub async fn reach(&self, position: Position, max_wait: Duration) -> bool {
        let mut watched = self.position.subscribe();
        timeout(max_wait, watched.wait_for(|applied| *applied >= position))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    /// Returns every drop in quarantine. All other reads behave as if they did not exist.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Arc<RefusedEvent>> {
        self.read().quarantined.values().cloned().collect()
    }

    #[must_use]
    pub fn quarantined_count(&self) -> usize {
        self.read().quarantined.len()
    }

    /// Returns the number of orders in quarantine.
    #[must_use]
    pub fn quarantined_orders_count(&self) -> usize {
        self.read().quarantined_orders.len()
    }

    /// Returns the event that put this drop into quarantine, if it is in quarantine.
    #[must_use]
    pub fn quarantine_of(&self, drop_id: DropId) -> Option<Arc<RefusedEvent>> {
        self.read().quarantined.get(&drop_id).cloned()
    }

    /// Returns the quarantine of the drop that a hold belongs to, found by the known hold or by the
    /// prefix that it shares with its drop.
    #[must_use]
    pub fn quarantine_of_hold(&self, hold_id: HoldId) -> Option<Arc<RefusedEvent>> {
        let hot = self.read();
        if hot.quarantined.is_empty() {
            return None;
        }
        let known = hot.holds.drop_of(hold_id);
        hot.quarantine_like(known, hold_id.prefix())
    }

    /// Returns the quarantine of the drop that a waitlist entry belongs to.
    #[must_use]
    pub fn quarantine_of_entry(&self, entry_id: WaitlistId) -> Option<Arc<RefusedEvent>> {
        self.read().quarantine_like(None, entry_id.prefix())
    }

    #[must_use]
    pub fn hold(&self, hold_id: HoldId) -> Option<HoldView> {
        let hot = self.read();
        let found = hot.holds.get(hold_id, &hot.buyers)?;
        self.hold_view(&hot, hold_id, found)
    }

    /// Returns the hold that a purchase paid for.
    #[must_use]
    pub fn purchase(&self, id: PurchaseId) -> Option<HoldView> {
        let hot = self.read();
        let (hold_id, found) = hot.holds.purchased(id, &hot.buyers)?;
        self.hold_view(&hot, hold_id, found)
    }

    /// Returns at most `limit` purchases of a drop, as the holds that they paid for: oldest first,
    /// starting after `after`. `None` if `after` is not a purchase of this drop.
    #[must_use]
    pub fn purchases(
        &self,
        drop_id: DropId,
        after: Option<PurchaseId>,
        limit: usize,
    ) -> Option<Vec<HoldView>> {
        let hot = self.read();
        let limit = limit.min(ROWS_PER_LOCK);
        let page = hot.holds.purchases_of(drop_id, after, limit, &hot.buyers)?;
        let views = page.into_iter();
        let views = views.filter_map(|(hold_id, found)| self.hold_view(&hot, hold_id, found));
        Some(views.collect())
    }

    fn hold_view(&self, hot: &Hot, hold_id: HoldId, mut found: FoundHold) -> Option<HoldView> {
        hot.end_if_cancelled(&mut found.row);
        Some(HoldView {
            hold_id,
            price: self
                .prices()
                .after(found.row.drop_id, found.index as usize)?,
            buyer: hot.buyers.row_at(found.buyer),
            row: found.row,
            position: found.position,
            purchased: found.purchased,
        })
    }

    /// Returns the price of one unit in the hold of a drop that was placed at `position`.
    #[must_use]
    pub fn price_at(&self, drop_id: DropId, position: Position) -> Option<Money> {
        self.prices().at(drop_id, position)
    }

    /// Returns at most `limit` access codes of a drop: oldest first, starting after `after`. `None`
    /// if `after` is not a code of this drop.
    #[must_use]
    pub fn codes(
        &self,
        drop_id: DropId,
        after: Option<CodeDigest>,
        limit: usize,
    ) -> Option<Vec<CodeRow>> {
        let limit = limit.min(ROWS_PER_LOCK);
        self.read().codes.page(drop_id, after, limit)
    }

    /// Returns one waitlist entry.
    #[must_use]
    pub fn entry(&self, entry_id: WaitlistId) -> Option<EntryView> {
        self.read().entry_view(entry_id)
    }

    #[must_use]
    pub fn adjustment(&self, id: AdjustmentId) -> Option<AdjustmentView> {
        self.read().adjustments.get(&id).cloned()
    }

    #[must_use]
    pub fn refund(&self, drop_id: DropId, id: RefundId) -> Option<RefundView> {
        self.read().refunds.get(&(drop_id, id)).cloned()
    }

    /// Returns the first `limit` purchasers of a drop.
    #[must_use]
    pub fn purchasers(
        &self,
        drop_id: DropId,
        order: PurchaserOrder,
        limit: usize,
    ) -> Vec<Purchaser> {
        let hot = self.read();
        let first = hot.purchasers.first(drop_id, order, limit).into_iter();
        first
            .map(|(buyer, row)| {
                let found = hot.buyers.get(&BuyerKey { drop_id, buyer });
                Purchaser {
                    buyer,
                    display_name: found.and_then(|found| found.display_name),
                    row,
                }
            })
            .collect()
    }

    /// Returns the totals of each minute of a drop, or of all drops together, from `from` on;
    /// oldest first, without empty minutes.
    #[must_use]
    pub fn timeline(
        &self,
        drop_id: Option<DropId>,
        from: Timestamp,
    ) -> Vec<(Timestamp, SalesTotals)> {
        let mut minutes: Vec<(Timestamp, SalesTotals)> = vec![];
        let mut start = Bound::Included(from);
        loop {
            let rows = self.read().minutes(drop_id, start);
            let (visited, last) = (rows.len(), rows.last().map(|(minute, _)| *minute));
            minutes.extend(self.counted(Found { rows, visited }));
            match last {
                Some(last) if visited == ROWS_PER_LOCK => start = Bound::Excluded(last),
                Some(_) | None => return minutes,
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Hot> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Hot> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn prices(&self) -> RwLockReadGuard<'_, Prices> {
        self.prices.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the price that an event sets, if any, for the holds after it.
    fn keep_price(&self, hot: &Hot, recorded: &RecordedEvent) {
        if let Some(unit) = prices::set_by(&recorded.event) {
            let holds = hot.holds.len_of(recorded.drop_id);
            let prices = self.prices.write();
            let mut prices = prices.unwrap_or_else(PoisonError::into_inner);
            prices.set(recorded.drop_id, unit, recorded.position, holds);
        }
    }
}

impl Observer for Views {
    fn committed(&mut self, committed: &Arc<Committed>) {
        {
            let mut hot = self.write();
            // Before the events of drops, which may refund an order that was paid in this batch.
            for recorded in &committed.orders {
                let last = last_of_batch(recorded, &committed.events);
                hot.orders.apply(recorded, last);
            }
            for recorded in &committed.events {
                self.keep_price(&hot, recorded);
                hot.apply_or_say(recorded);
            }
            for refused in &committed.quarantined {
                self.quarantine(&mut hot, refused);
            }
            if let Some(last) = committed.events.last() {
                hot.drops.turn(last.recorded_at);
            }
        }
        self.position.send_replace(committed.head.position);
    }

    fn erased(&mut self, erased: &[Erased]) {
        let mut hot = self.write();
        for Erased { drop_id, buyer } in erased {
            let (drop_id, buyer) = (*drop_id, *buyer);
            hot.buyers.forget(&BuyerKey { drop_id, buyer });
            hot.orders.forget(OrderId(drop_id.0));
        }
    }

    fn readmitted(&mut self, readmitted: &Readmitted) {
        let drop_id = readmitted.drop_id;
        let mut hot = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        hot.quarantined.remove(&drop_id);
        self.remove(&mut hot, drop_id);
        if let Some(refused) = &readmitted.refused {
            hot.quarantined.insert(drop_id, Arc::clone(refused));
            return;
        }
        hot.orders.forget_refunds(drop_id);
        for recorded in &readmitted.events {
            self.keep_price(&hot, recorded);
            hot.apply_or_say(recorded);
        }
    }

    fn order_readmitted(&mut self, readmitted: &ReadmittedOrder) {
        let order_id = readmitted.order_id;
        let mut hot = self.write();
        hot.quarantined_orders.remove(&order_id);
        hot.orders.remove(order_id);
        if let Some(refused) = &readmitted.refused {
            hot.quarantined_orders.insert(order_id, Arc::clone(refused));
            return;
        }
        for recorded in &readmitted.events {
            hot.orders.apply(recorded, recorded.position);
        }
        hot.refund_again(order_id);
    }
}

impl Views {
    fn quarantine(&self, hot: &mut Hot, refused: &Arc<RefusedEvent>) {
        if let Some(drop_id) = refused.drop_id {
            self.remove(hot, drop_id);
            hot.quarantined.insert(drop_id, Arc::clone(refused));
        }
        if let Some(order_id) = refused.order_id {
            hot.orders.remove(order_id);
            hot.quarantined_orders.insert(order_id, Arc::clone(refused));
        }
    }

    /// Removes every row of a drop. The rows of its buyers stay until they are erased.
    fn remove(&self, hot: &mut Hot, drop_id: DropId) {
        hot.remove(drop_id);
        let prices = self.prices.write();
        prices
            .unwrap_or_else(PoisonError::into_inner)
            .remove(drop_id);
    }
}

impl Hot {
    fn apply_or_say(&mut self, recorded: &RecordedEvent) {
        if let Err(reason) = self.apply(recorded) {
            // The aggregate applied the event, so a fold is wrong: log it and continue with the
            // other views.
            error!(position = recorded.position.0, %reason, "a view in memory cannot apply an event");
        }
    }

    fn remove(&mut self, drop_id: DropId) {
        self.drops.remove(drop_id);
        self.holds.remove(drop_id);
        self.buyers.reset(drop_id);
        self.purchasers.remove(drop_id);
        let minute = |minute| MinuteKey { drop_id, minute };
        let all = minute(Timestamp::from_millis(0))..=minute(Timestamp::MAX);
        for (key, placed) in self.timeline.0.range(all.clone()) {
            if let Some(sum) = self.minutes.get_mut(&key.minute) {
                *sum -= placed.row;
            }
        }
        remove_range(&mut self.timeline.0, all);
        self.revenue.remove(drop_id);
        self.courses.remove(&drop_id);
        self.waitlists.remove(drop_id);
        self.codes.remove(drop_id);
        self.adjustments.retain(|_, made| made.drop_id != drop_id);
        self.refunds.retain(|_, made| made.drop_id != drop_id);
    }

    /// Returns the quarantine of a known drop, or of one whose id begins with `prefix`.
    fn quarantine_like(&self, known: Option<DropId>, prefix: [u8; 4]) -> Option<Arc<RefusedEvent>> {
        let found = match known {
            Some(drop_id) => self.quarantined.get(&drop_id),
            None => {
                let is_like = |(id, _): &(&DropId, _)| id.prefix() == prefix;
                self.quarantined.iter().find(is_like).map(|(_, why)| why)
            }
        };
        found.cloned()
    }

    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        let position = recorded.position;
        self.drops.apply(recorded)?;
        self.groups.apply(recorded);
        self.holds
            .apply(position, recorded.into(), &mut self.buyers)?;
        self.timeline.apply(position, recorded.into())?;
        if let Some(MinuteKey { minute, .. }) = SalesTimeline::key(recorded.into()) {
            SalesTimeline::change(self.minutes.entry(minute).or_default(), recorded.into())?;
        }
        self.revenue.apply(recorded.drop_id, &recorded.event);
        self.follow_course(recorded);
        self.buyers.apply(recorded.into());
        self.waitlists.apply(recorded)?;
        self.codes.apply(recorded)?;
        self.keep_adjustment(recorded);
        self.keep_refund(recorded);
        self.purchasers.apply(recorded.into())
    }

    fn follow_course(&mut self, recorded: &RecordedEvent) {
        if let Some(drop) = self.drops.get(recorded.drop_id) {
            let course = self.courses.entry(recorded.drop_id).or_default();
            course.apply(recorded, drop.row.stock);
        }
    }

    /// Returns up to [`ROWS_PER_LOCK`] minutes of a drop, or of all drops together.
    fn minutes(
        &self,
        drop_id: Option<DropId>,
        start: Bound<Timestamp>,
    ) -> Vec<(Timestamp, SalesTotals)> {
        let Some(drop_id) = drop_id else {
            let minutes = self.minutes.range((start, Bound::Unbounded));
            let minutes = minutes.map(|(minute, moved)| (*minute, *moved));
            return minutes.take(ROWS_PER_LOCK).collect();
        };
        let start = start.map(|minute| MinuteKey { drop_id, minute });
        let minute = Timestamp::MAX;
        let end = Bound::Included(MinuteKey { drop_id, minute });
        let minutes = self.timeline.0.range((start, end));
        let minutes = minutes.map(|(key, placed)| (key.minute, placed.row));
        minutes.take(ROWS_PER_LOCK).collect()
    }

    fn entry_view(&self, entry_id: WaitlistId) -> Option<EntryView> {
        let (row, place) = self.waitlists.entry(entry_id)?;
        let key = BuyerKey {
            drop_id: row.drop_id,
            buyer: row.buyer,
        };
        let drop = self.drops.get(row.drop_id).filter(|_| place.is_some());
        let taken = || {
            let group = drop.and_then(|drop| drop.row.terms.limit_group.as_ref());
            match group {
                Some(group) => self.groups.taken(group, row.buyer, &self.buyers),
                None => self.buyers.taken(&key),
            }
        };
        Some(EntryView {
            entry_id,
            row: row.clone(),
            place,
            block: drop.and_then(|drop| Block::of(row.quantity, &drop.row, taken())),
            buyer: self.buyers.get(&key),
        })
    }

    /// A cancellation resolves every hold immediately; the events that record this follow later.
    fn end_if_cancelled(&self, row: &mut HoldRow) {
        let drop = self.drops.get(row.drop_id);
        if let Some(at) = drop.and_then(|drop| drop.row.cancelled_at)
            && row.status == HoldStatus::Held
        {
            row.status = match row.expires_at <= at {
                true => HoldStatus::Expired,
                false => HoldStatus::Released,
            };
        }
    }

    fn keep_adjustment(&mut self, recorded: &RecordedEvent) {
        if let DropEvent::StockAdjusted(event) = &recorded.event {
            let view = AdjustmentView {
                drop_id: recorded.drop_id,
                position: recorded.position,
                event: event.clone(),
            };
            self.adjustments.insert(event.adjustment_id, view);
        }
    }

    /// Applies the refunds of an order's purchases that were recorded before.
    fn refund_again(&mut self, order_id: OrderId) {
        let refunds = self.refunds.values();
        let refunds =
            refunds.filter(|made| self.orders.of_hold(made.event.hold_id) == Some(order_id));
        let refunds: Vec<_> = refunds
            .map(|made| (made.event.clone(), made.position))
            .collect();
        for (event, position) in &refunds {
            self.orders.refund(event, *position);
        }
    }

    fn keep_refund(&mut self, recorded: &RecordedEvent) {
        if let DropEvent::PurchaseRefunded(event) = &recorded.event {
            let view = RefundView {
                drop_id: recorded.drop_id,
                position: recorded.position,
                event: event.clone(),
            };
            self.refunds.insert((view.drop_id, event.refund_id), view);
            self.orders.refund(event, recorded.position);
        }
    }
}

fn remove_range<K: Ord + Copy, V>(rows: &mut BTreeMap<K, V>, range: RangeInclusive<K>) {
    let keys: Vec<K> = rows.range(range).map(|(key, _)| *key).collect();
    for key in keys {
        rows.remove(&key);
    }
}

impl From<&Placed<LiveStock>> for DropView {
    fn from(placed: &Placed<LiveStock>) -> Self {
        Self {
            drop_id: placed.key.drop_id,
            row: placed.row.clone(),
            position: placed.position,
            shown_at: placed.position,
            listed_at: None,
        }
    }
}
