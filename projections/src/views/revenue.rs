//! Reads of revenue, each of which holds the lock for a bounded number of rows.

use std::cmp::Reverse;
use std::ops::Bound;

use domain::values::{DropId, Timestamp};

use super::drops::Found;
use super::{ROWS_PER_LOCK, Views};
use crate::revenue::{Resolution, RevenueRow, SumsByCurrency};

impl Views {
    /// Returns the rows of a drop, or of all drops together, from `from` on, oldest first; rows
    /// without purchases are left out.
    #[must_use]
    pub fn revenue_rows(
        &self,
        drop_id: Option<DropId>,
        by: Resolution,
        from: Timestamp,
    ) -> Vec<RevenueRow> {
        let mut all: Vec<RevenueRow> = vec![];
        let mut start = Bound::Included((from, None));
        loop {
            let hot = self.read();
            let rows = hot.revenue.rows(drop_id, by, start, ROWS_PER_LOCK);
            drop(hot);
            let (visited, last) = (rows.len(), rows.last().copied());
            all.extend(self.counted(Found { rows, visited }));
            match last {
                Some((at, (currency, _))) if visited == ROWS_PER_LOCK => {
                    start = Bound::Excluded((at, Some(currency)));
                }
                Some(_) | None => return all,
            }
        }
    }

    /// Returns the sums of a drop, or of all, since `from`, the start of a minute; `None`: of all
    /// time.
    #[must_use]
    pub fn revenue(&self, drop_id: Option<DropId>, from: Option<Timestamp>) -> SumsByCurrency {
        self.read().revenue.sums(drop_id, from)
    }

    /// Returns the minute of the first purchase of a drop, or of all.
    #[must_use]
    pub fn first_sale(&self, drop_id: Option<DropId>) -> Option<Timestamp> {
        self.read().revenue.first_sale(drop_id)
    }

    /// Returns the drops with purchases since `from`, newest drop first.
    #[must_use]
    pub fn drops_sold_since(&self, from: Timestamp) -> Vec<DropId> {
        let mut found: Vec<(Timestamp, DropId)> = vec![];
        let mut after = None;
        loop {
            let hot = self.read();
            let sold = hot.revenue.sold_since(from, after, ROWS_PER_LOCK);
            after = sold.last().copied();
            let is_end = sold.len() < ROWS_PER_LOCK;
            found.extend(sold.into_iter().filter_map(|(_, drop_id)| {
                let scheduled_at = hot.drops.get(drop_id)?.row.scheduled_at;
                Some((scheduled_at, drop_id))
            }));
            drop(hot);
            if is_end {
                break;
            }
        }
        // A drop that sold in the meantime may have been found twice.
        found.sort_unstable_by_key(|&key| Reverse(key));
        found.dedup();
        found.into_iter().map(|(_, drop_id)| drop_id).collect()
    }
}
