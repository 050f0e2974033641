//! Restocks drops that have been sold out for a while.
//!
//! Promise: a drop is restocked only if it was sold out at every check during the whole waiting
//! time, so visitors see it sold out first; and only while it is on sale.
//! Limit: a failed check is skipped; the shoppers already report an unreachable server.

use std::time::Duration;

use domain::values::{DropId, Reason};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Pace;
use crate::calls::{DropView, NewAdjustment};
use crate::error::ClientError;
use crate::pooled::Client;

/// The smallest and the largest restock, in units.
const RESTOCK_UNITS: (i32, i32) = (8, 24);

/// Checks `drops` until dropped.
pub async fn keep_stocked(client: &Client, drops: &[DropId], pace: Pace) {
    let mut watched: Vec<SoldOutTimer> = drops.iter().map(|id| SoldOutTimer::new(*id)).collect();
    loop {
        sleep(pace.restock_check).await;
        for timer in &mut watched {
            let _skipped = check(client, timer, pace.restock_after).await;
        }
    }
}

async fn check(
    client: &Client,
    timer: &mut SoldOutTimer,
    after: Duration,
) -> Result<(), ClientError> {
    let drop = client.drop(timer.drop_id).await?;
    if timer.is_due(needs_restock(&drop), Instant::now(), after) {
        restock(client, timer.drop_id).await?;
    }
    Ok(())
}

async fn restock(client: &Client, drop_id: DropId) -> Result<(), ClientError> {
    let adjustment = NewAdjustment {
        delta: rand::random_range(RESTOCK_UNITS.0..=RESTOCK_UNITS.1),
        reason: Reason::new("restocked by the demo").expect("short and printable"),
    };
    let key = format!("restock-{}", Uuid::new_v4().simple());
    client.adjust_stock(drop_id, &adjustment, &key).await
}

/// On sale and sold out, or so few unsold units that only released and expired holds return.
fn needs_restock(drop: &DropView) -> bool {
    let stock = drop.stock;
    let on_sale = matches!(drop.status.as_str(), "live" | "sold_out");
    let unsold = stock.total.saturating_sub(stock.sold);
    on_sale && stock.total > 0 && (stock.available == 0 || unsold <= stock.total / 20)
}

#[derive(Debug)]
struct SoldOutTimer {
    drop_id: DropId,
    since: Option<Instant>,
}

impl SoldOutTimer {
    const fn new(drop_id: DropId) -> Self {
        Self {
            drop_id,
            since: None,
        }
    }

    /// Notes whether the drop is sold out at `now`, and reports whether it has been for `after`.
    /// Then the timer restarts.
    fn is_due(&mut self, sold_out: bool, now: Instant, after: Duration) -> bool {
        if !sold_out {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let due = now.duration_since(since) >= after;
        if due {
            self.since = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restock_is_due_after_an_uninterrupted_sold_out_time() {
        let after = Duration::from_secs(20);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timer = SoldOutTimer::new(DropId(Uuid::nil()));
        assert!(!timer.is_due(true, at(0), after));
        assert!(!timer.is_due(true, at(19), after));
        assert!(!timer.is_due(false, at(19), after), "a unit came back");
        assert!(!timer.is_due(true, at(20), after));
        assert!(timer.is_due(true, at(40), after));
        assert!(!timer.is_due(true, at(41), after));
    }
}
