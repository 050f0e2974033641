//! Money and units of purchases, by drop, currency and time. In memory only: the log contains all
//! of it, and no reader needs a table (docs/decisions/0065-live-reads-of-orders-and-revenue.md).
//!
//! Promise: the sums are those of the log, exact to the minor unit. A refund counts in the minute
//! of its purchase, as in [`crate::sales_timeline`]. The cost of a read depends on the minutes and
//! hours of its window, not on purchases.
//! Limit: a row for each minute and each hour in which a drop sold, at some 120 bytes, and the same
//! for all drops together.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{AddAssign, Bound, SubAssign};

use domain::DropEvent;
use domain::values::{Currency, DropId, Timestamp};

const HOUR_MS: i64 = 3_600_000;

/// Sums of purchases in one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RevenueSums {
    pub purchases: u64,
    /// Units purchased, refunded ones included.
    pub units: u64,
    /// Units of `units` that were refunded since.
    pub units_refunded: u64,
    /// The price of `units`, in minor units. Wider than an amount of money, so that no sum
    /// overflows.
    pub gross: i128,
    /// The price of `units_refunded`, in minor units.
    pub refunded: i128,
}

impl AddAssign for RevenueSums {
    fn add_assign(&mut self, more: Self) {
        self.purchases += more.purchases;
        self.units += more.units;
        self.units_refunded += more.units_refunded;
        self.gross += more.gross;
        self.refunded += more.refunded;
    }
}

impl SubAssign for RevenueSums {
    fn sub_assign(&mut self, less: Self) {
        self.purchases -= less.purchases;
        self.units -= less.units;
        self.units_refunded -= less.units_refunded;
        self.gross -= less.gross;
        self.refunded -= less.refunded;
    }
}

/// Sums by currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SumsByCurrency(pub BTreeMap<Currency, RevenueSums>);

impl AddAssign<(Currency, RevenueSums)> for SumsByCurrency {
    fn add_assign(&mut self, (currency, sums): (Currency, RevenueSums)) {
        *self.0.entry(currency).or_default() += sums;
    }
}

/// The length of the rows that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Minutes,
    Hours,
}

/// The start of a minute or an hour, and the currency; `None` sorts before every currency.
pub type RowKey = (Timestamp, Option<Currency>);
/// One row.
pub type RevenueRow = (Timestamp, (Currency, RevenueSums));

/// The sums of one drop, or of all.
#[derive(Debug, Default)]
struct Series {
    minutes: BTreeMap<RowKey, RevenueSums>,
    hours: BTreeMap<RowKey, RevenueSums>,
    total: SumsByCurrency,
}

impl Series {
    fn add(&mut self, minute: Timestamp, currency: Currency, sums: RevenueSums) {
        let key = |at| (at, Some(currency));
        *self.minutes.entry(key(minute)).or_default() += sums;
        *self.hours.entry(key(hour_of(minute))).or_default() += sums;
        self.total += (currency, sums);
    }

    /// Subtracts the sums of a minute, and removes rows that are empty then.
    fn subtract(&mut self, minute: Timestamp, currency: Currency, sums: RevenueSums) {
        let key = |at| (at, Some(currency));
        subtract(&mut self.minutes, key(minute), sums);
        subtract(&mut self.hours, key(hour_of(minute)), sums);
        subtract(&mut self.total.0, currency, sums);
    }

    fn rows(&self, by: Resolution) -> &BTreeMap<RowKey, RevenueSums> {
        match by {
            Resolution::Minutes => &self.minutes,
            Resolution::Hours => &self.hours,
        }
    }

    /// Returns the sums since `from`, the start of a minute: by minute up to the next hour, by hour
    /// after it.
    fn since(&self, from: Timestamp) -> SumsByCurrency {
        let next_hour = hour_of(from.plus_millis(HOUR_MS - 1));
        let minutes = self.minutes.range(first_of(from)..first_of(next_hour));
        let hours = self.hours.range(first_of(next_hour)..);
        let mut sums = SumsByCurrency::default();
        for (&(_, currency), &row) in minutes.chain(hours) {
            if let Some(currency) = currency {
                sums += (currency, row);
            }
        }
        sums
    }
}

/// A key before every row at `at`.
const fn first_of(at: Timestamp) -> RowKey {
    (at, None)
}

fn subtract<K: Ord>(rows: &mut BTreeMap<K, RevenueSums>, key: K, sums: RevenueSums) {
    if let Entry::Occupied(mut row) = rows.entry(key) {
        *row.get_mut() -= sums;
        if *row.get() == RevenueSums::default() {
            row.remove();
        }
    }
}

fn hour_of(at: Timestamp) -> Timestamp {
    at.plus_millis(-at.millis().rem_euclid(HOUR_MS))
}

/// The revenue of every drop.
#[derive(Debug, Default)]
pub struct Revenue {
    all: Series,
    drops: HashMap<DropId, Series>,
    /// The drops by the minute of their latest purchase.
    latest: BTreeSet<(Timestamp, DropId)>,
}

impl Revenue {
    /// Applies an event. Only purchases and their refunds change anything.
    pub fn apply(&mut self, drop_id: DropId, event: &DropEvent) {
        let Some((minute, currency, sums)) = change_of(event) else {
            return;
        };
        self.all.add(minute, currency, sums);
        let series = self.drops.entry(drop_id).or_default();
        let before = series.minutes.keys().next_back().map(|&(at, _)| at);
        series.add(minute, currency, sums);
        if before.is_none_or(|before| before < minute) {
            if let Some(before) = before {
                self.latest.remove(&(before, drop_id));
            }
            self.latest.insert((minute, drop_id));
        }
    }

    /// Removes the revenue of a drop.
    pub fn remove(&mut self, drop_id: DropId) {
        let Some(series) = self.drops.remove(&drop_id) else {
            return;
        };
        for (&(minute, currency), &sums) in &series.minutes {
            if let Some(currency) = currency {
                self.all.subtract(minute, currency, sums);
            }
        }
        if let Some(&(latest, _)) = series.minutes.keys().next_back() {
            self.latest.remove(&(latest, drop_id));
        }
    }

    fn series(&self, drop_id: Option<DropId>) -> Option<&Series> {
        match drop_id {
            None => Some(&self.all),
            Some(drop_id) => self.drops.get(&drop_id),
        }
    }

    /// Returns the sums of a drop, or of all, since `from`, the start of a minute; `None`: of all
    /// time.
    #[must_use]
    pub fn sums(&self, drop_id: Option<DropId>, from: Option<Timestamp>) -> SumsByCurrency {
        let series = self.series(drop_id);
        series.map_or_else(SumsByCurrency::default, |series| match from {
            None => series.total.clone(),
            Some(from) => series.since(from),
        })
    }

    /// Returns at most `most` rows of a drop, or of all, oldest first: from `start` on.
    #[must_use]
    pub fn rows(
        &self,
        drop_id: Option<DropId>,
        by: Resolution,
        start: Bound<RowKey>,
        most: usize,
    ) -> Vec<RevenueRow> {
        let Some(series) = self.series(drop_id) else {
            return vec![];
        };
        let rows = series.rows(by).range((start, Bound::Unbounded));
        let rows = rows.filter_map(|(&(at, currency), &sums)| Some((at, (currency?, sums))));
        rows.take(most).collect()
    }

    /// Returns at most `most` drops with purchases since `from`, in the order of their latest
    /// purchase, after `after`.
    #[must_use]
    pub fn sold_since(
        &self,
        from: Timestamp,
        after: Option<(Timestamp, DropId)>,
        most: usize,
    ) -> Vec<(Timestamp, DropId)> {
        let first = (from, DropId(uuid::Uuid::nil()));
        let start = after.map_or(Bound::Included(first), Bound::Excluded);
        let drops = self.latest.range((start, Bound::Unbounded));
        drops.copied().take(most).collect()
    }

    /// Returns the minute of the first purchase of a drop, or of all.
    #[must_use]
    pub fn first_sale(&self, drop_id: Option<DropId>) -> Option<Timestamp> {
        let (&(minute, _), _) = self.series(drop_id)?.minutes.first_key_value()?;
        Some(minute)
    }
}

/// Returns the minute, the currency and the sums that an event adds.
fn change_of(event: &DropEvent) -> Option<(Timestamp, Currency, RevenueSums)> {
    let (at, money, sums) = match event {
        DropEvent::PurchaseConfirmed(event) => {
            let sums = RevenueSums {
                purchases: 1,
                units: event.quantity.get().into(),
                gross: event.total.amount.into(),
                ..RevenueSums::default()
            };
            (event.purchased_at, event.total, sums)
        }
        DropEvent::PurchaseRefunded(event) => {
            let sums = RevenueSums {
                units_refunded: event.quantity.get().into(),
                refunded: event.amount.amount.into(),
                ..RevenueSums::default()
            };
            (event.purchased_at, event.amount, sums)
        }
        DropEvent::DropScheduled(_)
        | DropEvent::DropDrafted(_)
        | DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldPlaced(_)
        | DropEvent::HoldExtended(_)
        | DropEvent::HoldChanged(_)
        | DropEvent::HoldExpired(_)
        | DropEvent::HoldReleased(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::WaitlistJoined(_)
        | DropEvent::WaitlistLeft(_)
        | DropEvent::CodesCreated(_) => return None,
    };
    Some((at.minute(), money.currency, sums))
}

#[cfg(test)]
mod tests {
    use domain::testing::*;
    use domain::values::Money;

    use super::*;

    const EURO: &str = "EUR";

    fn sold(at: i64, units: u32, amount: i64, currency: &str) -> DropEvent {
        let DropEvent::PurchaseConfirmed(mut event) = purchase_confirmed("h", units) else {
            panic!("a purchase");
        };
        event.total = Money {
            amount,
            currency: Currency::new(currency).unwrap(),
        };
        event.purchased_at = Timestamp::from_millis(at);
        DropEvent::PurchaseConfirmed(event)
    }

    fn refunded(at: i64, units: u32, amount: i64, currency: &str) -> DropEvent {
        let DropEvent::PurchaseRefunded(mut event) = purchase_refunded("r", "h", units) else {
            panic!("a refund");
        };
        event.amount = Money {
            amount,
            currency: Currency::new(currency).unwrap(),
        };
        event.purchased_at = Timestamp::from_millis(at);
        DropEvent::PurchaseRefunded(event)
    }

    fn net(revenue: &Revenue, drop: Option<&str>, from: Option<i64>) -> Vec<(String, i128)> {
        let sums = revenue.sums(drop.map(drop_id), from.map(Timestamp::from_millis));
        let net = |(currency, sums): (Currency, RevenueSums)| {
            (currency.code().to_owned(), sums.gross - sums.refunded)
        };
        sums.0.into_iter().map(net).collect()
    }

    fn pairs(pairs: &[(&str, i128)]) -> Vec<(String, i128)> {
        let owned = pairs.iter().map(|&(code, sum)| (code.to_owned(), sum));
        owned.collect()
    }

    /// Two drops and two currencies around the end of an hour, which is at 3,600,000.
    fn shop() -> Revenue {
        let mut revenue = Revenue::default();
        for (drop, event) in [
            ("a", sold(3_500_000, 1, 100, EURO)),
            ("a", sold(3_599_999, 2, 200, EURO)),
            ("b", sold(3_600_000, 1, 40, "USD")),
            ("a", sold(3_660_000, 1, 100, EURO)),
            ("a", refunded(3_599_999, 1, 100, EURO)),
            ("a", hold_placed("h2", 1)),
        ] {
            revenue.apply(drop_id(drop), &event);
        }
        revenue
    }

    #[test]
    fn sums_are_by_drop_currency_and_time_and_refunds_count_at_the_purchase() {
        let revenue = shop();
        let all = pairs(&[(EURO, 300), ("USD", 40)]);
        assert_eq!(net(&revenue, None, None), all);
        assert_eq!(net(&revenue, None, Some(0)), all);
        assert_eq!(net(&revenue, Some("a"), None), pairs(&[(EURO, 300)]));
        assert_eq!(net(&revenue, Some("b"), None), pairs(&[("USD", 40)]));
        assert_eq!(net(&revenue, Some("c"), None), []);
        // The last minute of the hour has 200 less 100.
        let since = |from| net(&revenue, Some("a"), Some(from));
        assert_eq!(since(3_540_000), pairs(&[(EURO, 200)]));
        assert_eq!(since(3_600_000), pairs(&[(EURO, 100)]));
        assert_eq!(since(3_660_000), pairs(&[(EURO, 100)]));
        assert_eq!(since(3_720_000), []);
    }

    #[test]
    fn rows_are_minutes_or_hours_and_add_up_to_the_sums() {
        let revenue = shop();
        let rows = |by, most| {
            let rows = revenue.rows(None, by, Bound::Unbounded, most);
            let row = |(at, (currency, sums)): RevenueRow| {
                (at.millis(), currency.code().to_owned(), sums.units)
            };
            rows.into_iter().map(row).collect::<Vec<_>>()
        };
        let euro = |at, units| (at, EURO.to_owned(), units);
        let dollar = |at| (at, "USD".to_owned(), 1);
        let hours = [euro(0, 3), euro(3_600_000, 1), dollar(3_600_000)];
        assert_eq!(rows(Resolution::Hours, 9), hours);
        assert_eq!(rows(Resolution::Hours, 2), hours[..2]);
        let minutes = [
            euro(3_480_000, 1),
            euro(3_540_000, 2),
            dollar(3_600_000),
            euro(3_660_000, 1),
        ];
        assert_eq!(rows(Resolution::Minutes, 9), minutes);
    }

    #[test]
    fn drop_is_listed_by_its_latest_purchase_and_removed_without_a_trace() {
        let mut revenue = shop();
        let sold = |revenue: &Revenue, from| {
            let drops = revenue.sold_since(Timestamp::from_millis(from), None, 9);
            drops.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        assert_eq!(sold(&revenue, 0), [drop_id("b"), drop_id("a")]);
        assert_eq!(sold(&revenue, 3_660_000), [drop_id("a")]);
        revenue.remove(drop_id("a"));
        assert_eq!(sold(&revenue, 0), [drop_id("b")]);
        assert_eq!(net(&revenue, None, None), pairs(&[("USD", 40)]));
        assert_eq!(revenue.first_sale(None).unwrap().millis(), 3_600_000);
        revenue.remove(drop_id("b"));
        assert_eq!(net(&revenue, None, Some(0)), []);
        assert_eq!(revenue.first_sale(None), None);
    }

    #[test]
    fn sums_do_not_overflow() {
        let mut revenue = Revenue::default();
        for _ in 0..3 {
            revenue.apply(drop_id("a"), &sold(0, 1, i64::MAX, EURO));
        }
        let sum = 3 * i128::from(i64::MAX);
        assert_eq!(net(&revenue, None, None), pairs(&[(EURO, sum)]));
    }
}
