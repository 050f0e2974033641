//! Drops as shoppers see them: the terms and the stock.

use std::sync::Arc;

use domain::DropEvent;
use domain::status::{DropStatus, Interruption};
use domain::stock::Stock;
use domain::terms::DropTerms;
use domain::values::{DropId, Timestamp};
use infrastructure::binary_copy::{Fields, RowWriter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::columns::{Column, Columns, Kind, columns};
use crate::error::CannotApply;
use crate::fold::{Fact, Fold};
use crate::table::Table;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct LiveStock;

/// The key of a drop's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DropKey {
    pub drop_id: DropId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveStockRow {
    pub terms: Arc<DropTerms>,
    /// The version of the terms, as [`domain::DropAggregate::terms_version`] counts.
    pub terms_version: u32,
    /// When the drop was scheduled.
    pub scheduled_at: Timestamp,
    /// When the drop was cancelled, if it was.
    pub cancelled_at: Option<Timestamp>,
    /// Since when the sale is interrupted, if it is.
    pub paused_at: Option<Timestamp>,
    #[serde(flatten)]
    pub stock: Stock,
    /// Units that became available by expiry, in total.
    pub expired: u64,
    /// Units that became available by release, or by a change of their hold, in total.
    pub released: u64,
    /// The number of waiting entries.
    pub waitlist_length: u32,
    /// Units that were sold and returned, in total.
    pub refunded: u64,
}

impl LiveStockRow {
    /// Returns the drop's status at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> DropStatus {
        let interruption = match (self.cancelled_at, self.paused_at) {
            (Some(_), _) => Interruption::Cancelled,
            (None, Some(_)) => Interruption::Paused,
            (None, None) => Interruption::None,
        };
        DropStatus::at(&self.terms, self.stock, interruption, now)
    }
}

impl Fold for LiveStock {
    type Key = DropKey;
    type Row = LiveStockRow;

    fn key(fact: Fact<'_>) -> Option<DropKey> {
        Some(DropKey {
            drop_id: fact.drop_id,
        })
    }

    fn start(fact: Fact<'_>) -> Result<LiveStockRow, CannotApply> {
        let (DropEvent::DropScheduled(event) | DropEvent::DropDrafted(event)) = fact.event else {
            return Err(CannotApply("the drop was never scheduled"));
        };
        Ok(LiveStockRow {
            terms: Arc::new(event.terms.clone()),
            terms_version: 1,
            scheduled_at: event.scheduled_at,
            cancelled_at: None,
            paused_at: None,
            stock: Stock::new(event.total_stock.get()),
            expired: 0,
            released: 0,
            waitlist_length: 0,
            refunded: 0,
        })
    }

    fn change(row: &mut LiveStockRow, fact: Fact<'_>) -> Result<(), CannotApply> {
        let waiting = waiting(row.waitlist_length, fact.event)?;
        row.stock = moved(row.stock, fact.event)?;
        row.waitlist_length = waiting;
        match fact.event {
            DropEvent::DropRescheduled(event) => {
                row.terms = Arc::new(event.terms.clone());
                row.terms_version += 1;
            }
            DropEvent::DropPublished(event) => {
                row.terms = Arc::new(event.terms.clone());
                row.terms_version += 1;
            }
            DropEvent::DropPaused(event) => row.paused_at = Some(event.paused_at),
            DropEvent::DropResumed(_) => row.paused_at = None,
            DropEvent::DropCancelled(event) => {
                row.cancelled_at = Some(event.cancelled_at);
                row.terms_version += 1;
            }
            DropEvent::HoldChanged(event) => row.released += u64::from(event.units_freed()),
            DropEvent::HoldExpired(event) => row.expired += u64::from(event.quantity.get()),
            DropEvent::PurchaseRefunded(event) => row.refunded += u64::from(event.quantity.get()),
            DropEvent::HoldReleased(event) => row.released += u64::from(event.quantity.get()),
            DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::HoldPlaced(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => {}
        }
        Ok(())
    }
}

impl Table for LiveStock {
    const NAME: &'static str = "live_stock";
    const VERSION: i32 = 3;
    fn starts(event: &DropEvent) -> bool {
        matches!(
            event,
            DropEvent::DropScheduled(_) | DropEvent::DropDrafted(_)
        )
    }
}

columns!(DropKey { drop_id: Uuid });

impl Columns for LiveStockRow {
    fn columns() -> Vec<Column> {
        let column = |name, kind| Column { name, kind };
        let terms = [
            column("terms", Kind::Json),
            column("terms_version", Kind::Integer),
            column("scheduled_at", Kind::Instant),
            column("cancelled_at", Kind::Instant),
            column("paused_at", Kind::Instant),
        ];
        let came_back = [
            column("expired", Kind::Bigint),
            column("released", Kind::Bigint),
            column("waitlist_length", Kind::Bigint),
            column("refunded", Kind::Bigint),
        ];
        [&terms, Stock::columns().as_slice(), &came_back].concat()
    }

    fn write(&self, row: &mut RowWriter) {
        row.text(&serde_json::to_string(&*self.terms).unwrap_or_default());
        row.integer(self.terms_version);
        row.instant(self.scheduled_at);
        row.or_null(self.cancelled_at, RowWriter::instant);
        row.or_null(self.paused_at, RowWriter::instant);
        self.stock.write(row);
        row.bigint(self.expired);
        row.bigint(self.released);
        row.bigint(self.waitlist_length.into());
        row.bigint(self.refunded);
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            terms: read_terms(fields.text()?)?,
            terms_version: fields.integer()?,
            scheduled_at: fields.instant()?,
            cancelled_at: fields.or_null(Fields::instant)?,
            paused_at: fields.or_null(Fields::instant)?,
            stock: Stock::read(fields)?,
            expired: fields.bigint()?,
            released: fields.bigint()?,
            waitlist_length: fields.bigint()?.try_into().ok()?,
            refunded: fields.bigint()?,
        })
    }
}

/// Reads the terms, and rejects unknown fields: a field that this program ignores might be shown to
/// people by another.
fn read_terms(text: &str) -> Option<Arc<DropTerms>> {
    // Parsed by the same rules as in a server, which rejects duplicate names.
    let terms: DropTerms = serde_json::from_str(text).ok()?;
    let found: Value = serde_json::from_str(text).ok()?;
    (serde_json::to_value(&terms).ok()? == found).then(|| Arc::new(terms))
}

/// Returns the stock after `event`. Computed independently of [`Stock`], as a second check of the
/// same invariant.
fn moved(mut stock: Stock, event: &DropEvent) -> Result<Stock, CannotApply> {
    match event {
        DropEvent::DropScheduled(_) | DropEvent::DropDrafted(_) => {
            return Err(CannotApply("the drop was scheduled already"));
        }
        DropEvent::DropRescheduled(_)
        | DropEvent::DropStarted(_)
        | DropEvent::DropEnded(_)
        | DropEvent::DropPublished(_)
        | DropEvent::DropPaused(_)
        | DropEvent::DropResumed(_)
        | DropEvent::DropCancelled(_)
        | DropEvent::HoldExtended(_) => {}
        DropEvent::HoldChanged(event) => {
            let (before, after) = (event.previous_quantity.get(), event.quantity.get());
            let units = (stock.available + before).checked_sub(after);
            stock.available = units.ok_or(CannotApply("more units held than available"))?;
            let others = less(stock.held, before, "more units changed than held")?;
            stock.held = others + after;
        }
        DropEvent::HoldPlaced(event) => {
            let quantity = event.quantity.get();
            stock.available = less(stock.available, quantity, "more units held than available")?;
            stock.held += quantity;
        }
        DropEvent::HoldExpired(event) => {
            let quantity = event.quantity.get();
            stock.held = less(stock.held, quantity, "more units expired than held")?;
            stock.available += quantity;
        }
        DropEvent::HoldReleased(event) => {
            let quantity = event.quantity.get();
            stock.held = less(stock.held, quantity, "more units released than held")?;
            stock.available += quantity;
        }
        DropEvent::PurchaseConfirmed(event) => {
            let quantity = event.quantity.get();
            stock.held = less(stock.held, quantity, "more units sold than held")?;
            stock.sold += quantity;
        }
        DropEvent::PurchaseRefunded(event) => {
            let quantity = event.quantity.get();
            stock.sold = less(stock.sold, quantity, "more units refunded than sold")?;
            if event.restocked {
                stock.available += quantity;
            } else {
                stock.total = less(stock.total, quantity, "more units left than there were")?;
            }
        }
        DropEvent::StockAdjusted(event) => {
            let too_few = CannotApply("more units removed than available");
            stock.total = stock
                .total
                .checked_add_signed(event.delta)
                .ok_or(too_few.clone())?;
            stock.available = stock
                .available
                .checked_add_signed(event.delta)
                .ok_or(too_few)?;
        }
        DropEvent::WaitlistJoined(_) | DropEvent::WaitlistLeft(_) | DropEvent::CodesCreated(_) => {}
    }
    Ok(stock)
}

/// Returns the number of waiting entries after `event`.
fn waiting(before: u32, event: &DropEvent) -> Result<u32, CannotApply> {
    match event {
        DropEvent::WaitlistJoined(_) => Ok(before + 1),
        DropEvent::WaitlistLeft(_) => less(before, 1, "more entries left than waited"),
        DropEvent::HoldPlaced(event) if event.waitlist_entry.is_some() => {
            less(before, 1, "more entries were served than waited")
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
        | DropEvent::PurchaseConfirmed(_)
        | DropEvent::PurchaseRefunded(_)
        | DropEvent::StockAdjusted(_)
        | DropEvent::CodesCreated(_) => Ok(before),
    }
}

fn less(units: u32, quantity: u32, otherwise: &'static str) -> Result<u32, CannotApply> {
    units.checked_sub(quantity).ok_or(CannotApply(otherwise))
}
