//! The stockroom: looks at the shelves now and then, and fills up what has been bare for a while.
//!
//! Promise: a drop is restocked only after it was bare at every look for the whole waiting time, so visitors see it sold
//! out first; and only while it is on sale.
//! Limit: a look that fails is skipped; the shoppers already say that the server is away.

use std::time::Duration;

use domain::values::{DropId, Reason};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Pace;
use crate::calls::{DropView, NewAdjustment};
use crate::error::ClientError;
use crate::pooled::Client;

/// Units brought at a time: from, to.
const DELIVERY: (i32, i32) = (8, 24);

/// Watches `drops` for ever.
pub async fn keep_stocked(client: &Client, drops: &[DropId], pace: Pace) {
    let mut shelves: Vec<Shelf> = drops.iter().map(|id| Shelf::new(*id)).collect();
    loop {
        sleep(pace.restock_look).await;
        for shelf in &mut shelves {
            let _skipped = look(client, shelf, pace.restock_after).await;
        }
    }
}

async fn look(client: &Client, shelf: &mut Shelf, after: Duration) -> Result<(), ClientError> {
    let drop = client.drop(shelf.drop_id).await?;
    if shelf.is_due(is_bare(&drop), Instant::now(), after) {
        deliver(client, shelf.drop_id).await?;
    }
    Ok(())
}

async fn deliver(client: &Client, drop_id: DropId) -> Result<(), ClientError> {
    let adjustment = NewAdjustment {
        delta: rand::random_range(DELIVERY.0..=DELIVERY.1),
        reason: Reason::new("restocked by the demo").expect("short and printable"),
    };
    let key = format!("restock-{}", Uuid::new_v4().simple());
    client.adjust_stock(drop_id, &adjustment, &key).await
}

/// On sale, and nothing left; or next to nothing beyond what is sold, so that only returns trickle back.
fn is_bare(drop: &DropView) -> bool {
    let stock = drop.stock;
    let on_sale = matches!(drop.status.as_str(), "live" | "sold_out");
    let unsold = stock.total.saturating_sub(stock.sold);
    on_sale && (stock.available == 0 || unsold <= stock.total / 20)
}

#[derive(Debug)]
struct Shelf {
    drop_id: DropId,
    bare_since: Option<Instant>,
}

impl Shelf {
    const fn new(drop_id: DropId) -> Self {
        Self {
            drop_id,
            bare_since: None,
        }
    }

    /// Notes whether the shelf is bare at `now`, and tells whether it has been for `after`. Then it starts anew.
    fn is_due(&mut self, bare: bool, now: Instant, after: Duration) -> bool {
        if !bare {
            self.bare_since = None;
            return false;
        }
        let since = *self.bare_since.get_or_insert(now);
        let due = now.duration_since(since) >= after;
        if due {
            self.bare_since = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shelf_is_due_once_it_was_bare_all_the_time_and_then_starts_anew() {
        let after = Duration::from_secs(20);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut shelf = Shelf::new(DropId(Uuid::nil()));
        assert!(!shelf.is_due(true, at(0), after));
        assert!(!shelf.is_due(true, at(19), after));
        assert!(!shelf.is_due(false, at(19), after), "a unit came back");
        assert!(!shelf.is_due(true, at(20), after));
        assert!(shelf.is_due(true, at(40), after));
        assert!(!shelf.is_due(true, at(41), after));
    }
}
