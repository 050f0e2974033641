//! The same folds in memory: what hot reads are answered from, without a database.
//!
//! Promise: whoever was answered by this process's engine finds their own write here; a reader that knows a later position
//! can wait for it. Limit: everything is kept, so memory grows with the log (about 130 bytes a hold
//! of a new buyer).

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use domain::DropEvent;
use domain::event::StockAdjusted;
use domain::values::{
    AdjustmentId, DisplayName, DropId, HoldId, Money, Position, Pseudonym, Timestamp, WaitlistId,
};
use infrastructure::codec::RecordedEvent;
use infrastructure::engine::Observer;
use infrastructure::erasure::Erased;
use infrastructure::feed::Committed;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::error;

use crate::buyers::{BuyerRow, Buyers};
use crate::dense_holds::DenseHolds;
use crate::error::CannotApply;
use crate::fold::{Fold, Placed, Rows};
use crate::holds::HoldRow;
use crate::live_stock::{DropKey, LiveStock, LiveStockRow};
use crate::prices::{self, Prices};
use crate::sales_timeline::{MinuteKey, Moved, SalesTimeline};
use crate::top_purchasers::{BuyerKey, PurchaserRow, TopPurchasers};
use crate::waitlist::{Lines, PlaceRow};

/// Drops that are looked at before a writer gets a turn.
const SCANNED_AT_ONCE: usize = 1024;

/// Every projection in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Views {
    rows: Arc<RwLock<Hot>>,
    /// Beside the rest: every hold that is placed asks for its price, and nearly nothing ever writes here.
    prices: Arc<RwLock<Prices>>,
    position: Arc<watch::Sender<Position>>,
}

#[derive(Debug, Default)]
struct Hot {
    drops: Rows<LiveStock>,
    holds: DenseHolds,
    purchasers: Rows<TopPurchasers>,
    timeline: Rows<SalesTimeline>,
    buyers: Buyers,
    lines: Lines,
    rankings: HashMap<DropId, Ranking>,
    /// Few, and asked for by retries alone.
    adjustments: HashMap<AdjustmentId, AdjustmentView>,
}

/// One stock adjustment.
#[derive(Debug, Clone, PartialEq)]
pub struct AdjustmentView {
    /// Its drop.
    pub drop_id: DropId,
    /// Its place in the log.
    pub position: Position,
    /// What was adjusted.
    pub event: StockAdjusted,
}

/// A drop's purchasers in both orders that are asked for.
#[derive(Debug, Default)]
struct Ranking {
    /// Most units last; of equals, who had them first comes last.
    by_units: BTreeSet<(u64, std::cmp::Reverse<Timestamp>, Pseudonym)>,
    /// Latest last.
    by_time: BTreeSet<(Timestamp, Pseudonym)>,
}

/// How to order purchasers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurchaserOrder {
    /// Most units first.
    Units,
    /// Latest first.
    Recent,
}

/// One purchaser of a drop.
#[derive(Debug, Clone, PartialEq)]
pub struct Purchaser {
    /// As the log knows them.
    pub buyer: Pseudonym,
    /// The name that they agreed to show.
    pub display_name: Option<DisplayName>,
    /// What they bought.
    pub row: PurchaserRow,
}

/// One hold, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldView {
    /// Its id.
    pub hold_id: HoldId,
    /// The hold.
    pub row: HoldRow,
    /// What one unit costs in it: the price in force when it was placed.
    pub price: Money,
    /// The position of its last event.
    pub position: Position,
    /// Whose; none once they were erased.
    pub buyer: Option<BuyerRow>,
}

/// One place in line, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceView {
    /// Its id.
    pub entry_id: WaitlistId,
    /// The place.
    pub row: PlaceRow,
    /// Where in line, from 1; none once it waits no more.
    pub place: Option<u32>,
    /// Whose; none once they were erased.
    pub buyer: Option<BuyerRow>,
}

/// One drop.
#[derive(Debug, Clone, PartialEq)]
pub struct DropView {
    /// Its id.
    pub drop_id: DropId,
    /// The drop.
    pub row: LiveStockRow,
    /// The position of its last event.
    pub position: Position,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            rows: Arc::default(),
            prices: Arc::default(),
            position: Arc::new(watch::Sender::new(Position::default())),
        }
    }
}

impl Views {
    /// The position up to which everything is applied.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Waits until everything up to `position` is applied, but no longer than `patience`. Tells whether it is.
    pub async fn reach(&self, position: Position, patience: Duration) -> bool {
        let mut watched = self.position.subscribe();
        timeout(patience, watched.wait_for(|applied| *applied >= position))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    /// One drop.
    #[must_use]
    pub fn drop(&self, drop_id: DropId) -> Option<DropView> {
        self.read().drops.get(&DropKey { drop_id }).map(drop_view)
    }

    /// Every drop, the newest first.
    #[must_use]
    pub fn drops(&self) -> Vec<DropView> {
        let mut drops: Vec<DropView> = self.read().drops.0.values().map(drop_view).collect();
        drops.sort_by_key(|drop| std::cmp::Reverse((drop.row.scheduled_at, drop.drop_id)));
        drops
    }

    /// The ids of the drops that `wanted` picks, without copying any.
    #[must_use]
    pub fn drops_where(&self, wanted: impl Fn(&LiveStockRow) -> bool) -> Vec<DropId> {
        let hot = self.read();
        let rows = hot.drops.0.values().filter(|placed| wanted(&placed.row));
        rows.map(|placed| placed.key.drop_id).collect()
    }

    /// Up to `most` drops that `wanted` picks, in the order of their ids, from the first after
    /// `after` on: a page, without copying the others. However many there are, a writer waits for a
    /// part of them only.
    #[must_use]
    pub fn drops_after(
        &self,
        after: Option<DropId>,
        most: usize,
        wanted: impl Fn(&LiveStockRow, Position) -> bool,
    ) -> Vec<DropView> {
        let mut page = vec![];
        self.scan_drops(after, |placed| {
            if wanted(&placed.row, placed.position) {
                page.push(drop_view(placed));
            }
            page.len() < most
        });
        page
    }

    /// When the latest of the drops was scheduled that have no event after `position`.
    #[must_use]
    pub fn scheduled_by(&self, position: Position) -> Option<Timestamp> {
        let mut latest = None;
        self.scan_drops(None, |placed| {
            if placed.position <= position {
                latest = latest.max(Some(placed.row.scheduled_at));
            }
            true
        });
        latest
    }

    /// Shows every drop after `after` to `visit`, in the order of their ids, until it wants no
    /// more; the lock is given up now and then.
    fn scan_drops(
        &self,
        mut after: Option<DropId>,
        mut visit: impl FnMut(&Placed<LiveStock>) -> bool,
    ) {
        loop {
            let start = after.map_or(Bound::Unbounded, |drop_id| {
                Bound::Excluded(DropKey { drop_id })
            });
            let hot = self.read();
            let rows = hot.drops.0.range((start, Bound::Unbounded));
            let mut seen = 0;
            for (key, placed) in rows.take(SCANNED_AT_ONCE) {
                if !visit(placed) {
                    return;
                }
                after = Some(key.drop_id);
                seen += 1;
            }
            if seen < SCANNED_AT_ONCE {
                return;
            }
        }
    }

    /// One hold.
    #[must_use]
    pub fn hold(&self, hold_id: HoldId) -> Option<HoldView> {
        let hot = self.read();
        let found = hot.holds.get(hold_id, &hot.buyers)?;
        Some(HoldView {
            hold_id,
            price: self
                .prices()
                .after(found.row.drop_id, found.place as usize)?,
            buyer: hot.buyers.row_at(found.buyer),
            row: found.row,
            position: found.position,
        })
    }

    /// What one unit costs in the hold of a drop that was placed at `position`.
    #[must_use]
    pub fn price_at(&self, drop_id: DropId, position: Position) -> Option<Money> {
        self.prices().at(drop_id, position)
    }

    /// One place in line.
    #[must_use]
    pub fn place(&self, entry_id: WaitlistId) -> Option<PlaceView> {
        let hot = self.read();
        let (row, place) = hot.lines.place(entry_id)?;
        let key = BuyerKey {
            drop_id: row.drop_id,
            buyer: row.buyer,
        };
        Some(PlaceView {
            entry_id,
            row: row.clone(),
            place,
            buyer: hot.buyers.get(&key),
        })
    }

    /// One stock adjustment.
    #[must_use]
    pub fn adjustment(&self, id: AdjustmentId) -> Option<AdjustmentView> {
        self.read().adjustments.get(&id).cloned()
    }

    /// The first `limit` purchasers of a drop.
    #[must_use]
    pub fn purchasers(
        &self,
        drop_id: DropId,
        order: PurchaserOrder,
        limit: usize,
    ) -> Vec<Purchaser> {
        let hot = self.read();
        let Some(ranking) = hot.rankings.get(&drop_id) else {
            return vec![];
        };
        let buyers: Vec<Pseudonym> = match order {
            PurchaserOrder::Units => ranking
                .by_units
                .iter()
                .rev()
                .take(limit)
                .map(|&(_, _, buyer)| buyer)
                .collect(),
            PurchaserOrder::Recent => ranking
                .by_time
                .iter()
                .rev()
                .take(limit)
                .map(|&(_, buyer)| buyer)
                .collect(),
        };
        buyers
            .into_iter()
            .filter_map(|buyer| hot.purchaser(BuyerKey { drop_id, buyer }))
            .collect()
    }

    /// What moved in each minute of a drop, or of all, from `from` on; a drop's oldest first, empty minutes left out.
    #[must_use]
    pub fn timeline(&self, drop_id: Option<DropId>, from: Timestamp) -> Vec<(MinuteKey, Moved)> {
        let hot = self.read();
        let of = |drop_id: DropId| {
            let at = |minute| MinuteKey { drop_id, minute };
            hot.timeline.0.range(at(from)..=at(Timestamp::MAX))
        };
        let drops: Vec<DropId> = match drop_id {
            Some(drop_id) => vec![drop_id],
            None => hot.drops.0.keys().map(|key| key.drop_id).collect(),
        };
        let minutes = drops.into_iter().flat_map(of);
        minutes.map(|(key, placed)| (*key, placed.row)).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Hot> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn prices(&self) -> RwLockReadGuard<'_, Prices> {
        self.prices.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the price that was set, if one was, when `holds` holds had been placed.
    fn keep_price(&self, recorded: &RecordedEvent, holds: usize) {
        if let Some(unit) = prices::set_by(&recorded.event) {
            let prices = self.prices.write();
            let mut prices = prices.unwrap_or_else(PoisonError::into_inner);
            prices.set(recorded.drop_id, unit, recorded.position, holds);
        }
    }
}

impl Observer for Views {
    fn committed(&mut self, committed: &Arc<Committed>) {
        {
            let mut hot = self.rows.write().unwrap_or_else(PoisonError::into_inner);
            for recorded in &committed.events {
                self.keep_price(recorded, hot.holds.len());
                if let Err(reason) = hot.apply(recorded) {
                    // The aggregate applied it, so a fold is wrong: go on with the rest, and say so.
                    error!(position = recorded.position.0, %reason, "a view in memory cannot apply an event");
                }
            }
        }
        self.position.send_replace(committed.head.position);
    }

    fn erased(&mut self, erased: &[Erased]) {
        let mut hot = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for Erased { drop_id, buyer } in erased {
            let (drop_id, buyer) = (*drop_id, *buyer);
            hot.buyers.forget(&BuyerKey { drop_id, buyer });
        }
    }
}

impl Hot {
    fn apply(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        let position = recorded.position;
        self.drops.apply(position, recorded.into())?;
        self.holds
            .apply(position, recorded.into(), &mut self.buyers)?;
        self.timeline.apply(position, recorded.into())?;
        self.buyers.apply(recorded.into());
        self.lines.apply(recorded)?;
        self.keep_adjustment(recorded);
        self.rank(recorded)
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

    fn rank(&mut self, recorded: &RecordedEvent) -> Result<(), CannotApply> {
        let Some(key) = TopPurchasers::key(recorded.into()) else {
            return Ok(());
        };
        let before = self.purchasers.get(&key).map(|placed| placed.row.clone());
        let after = self
            .purchasers
            .apply(recorded.position, recorded.into())?
            .map(|placed| placed.row.clone());
        let ranking = self.rankings.entry(key.drop_id).or_default();
        if let Some(row) = before {
            ranking.by_units.remove(&(
                row.quantity,
                std::cmp::Reverse(row.last_purchased_at),
                key.buyer,
            ));
            ranking.by_time.remove(&(row.last_purchased_at, key.buyer));
        }
        if let Some(row) = after {
            ranking.by_units.insert((
                row.quantity,
                std::cmp::Reverse(row.last_purchased_at),
                key.buyer,
            ));
            ranking.by_time.insert((row.last_purchased_at, key.buyer));
        }
        Ok(())
    }

    fn purchaser(&self, key: BuyerKey) -> Option<Purchaser> {
        let display_name = self.buyers.get(&key).and_then(|buyer| buyer.display_name);
        let row = self.purchasers.get(&key)?.row.clone();
        Some(Purchaser {
            buyer: key.buyer,
            display_name,
            row,
        })
    }
}

fn drop_view(placed: &Placed<LiveStock>) -> DropView {
    DropView {
        drop_id: placed.key.drop_id,
        row: placed.row.clone(),
        position: placed.position,
    }
}
