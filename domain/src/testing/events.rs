//! Events, each as the aggregate of a test would record it.

use super::{
    HOLD_SECONDS, adjustment_id, buyer, hold_id, purchase_id, quantity, reason, second,
    stock_count, terms,
};
use crate::event::{
    DropCancelled, DropEvent, DropRescheduled, DropScheduled, HoldExpired, HoldPlaced,
    HoldReleased, PurchaseConfirmed, ReleaseCause, StockAdjusted,
};
use crate::stock::Stock;
use crate::terms::DropTerms;

/// `total` units are offered under the default [`terms`].
#[must_use]
#[track_caller]
pub fn drop_opened(total: u32) -> DropEvent {
    drop_scheduled(terms(), total)
}

/// `total` units are offered under these terms.
#[must_use]
#[track_caller]
pub fn drop_scheduled(terms: DropTerms, total: u32) -> DropEvent {
    DropEvent::DropScheduled(DropScheduled {
        key: None,
        terms,
        total_stock: stock_count(total),
        scheduled_at: second(0),
    })
}

#[must_use]
pub fn drop_rescheduled(terms: DropTerms) -> DropEvent {
    DropEvent::DropRescheduled(DropRescheduled {
        terms,
        rescheduled_at: second(0),
    })
}

#[must_use]
pub fn drop_cancelled() -> DropEvent {
    DropEvent::DropCancelled(DropCancelled {
        cancelled_at: second(0),
    })
}

/// Units were set aside, for [`HOLD_SECONDS`].
#[must_use]
#[track_caller]
pub fn hold_placed(hold: &str, units: u32) -> DropEvent {
    DropEvent::HoldPlaced(HoldPlaced {
        hold_id: hold_id(hold),
        key: None,
        buyer: buyer("ann"),
        quantity: quantity(units),
        placed_at: second(0),
        expires_at: second(HOLD_SECONDS.into()),
        commitment: None,
        waitlist_entry: None,
    })
}

/// A hold of the default duration expired.
#[must_use]
#[track_caller]
pub fn hold_expired(hold: &str, units: u32) -> DropEvent {
    DropEvent::HoldExpired(HoldExpired {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        expired_at: second(HOLD_SECONDS.into()),
    })
}

/// A hold was released by its buyer.
#[must_use]
#[track_caller]
pub fn hold_released(hold: &str, units: u32) -> DropEvent {
    released(hold, units, ReleaseCause::Buyer)
}

/// A hold was released because its drop was cancelled.
#[must_use]
#[track_caller]
pub fn hold_cancelled(hold: &str, units: u32) -> DropEvent {
    released(hold, units, ReleaseCause::DropCancelled)
}

#[track_caller]
fn released(hold: &str, units: u32, cause: ReleaseCause) -> DropEvent {
    DropEvent::HoldReleased(HoldReleased {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        released_at: second(0),
        cause,
    })
}

/// A hold was paid for, at the default price; the purchase is named after the hold.
#[must_use]
#[track_caller]
pub fn purchase_confirmed(hold: &str, units: u32) -> DropEvent {
    DropEvent::PurchaseConfirmed(PurchaseConfirmed {
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        total: terms().price.times(quantity(units)),
        purchased_at: second(0),
        commitment: None,
    })
}

/// Units were added or removed; `stock` is the result.
#[must_use]
#[track_caller]
pub fn stock_adjusted(adjustment: &str, delta: i32, stock: Stock) -> DropEvent {
    DropEvent::StockAdjusted(StockAdjusted {
        adjustment_id: adjustment_id(adjustment),
        key: None,
        delta,
        reason: reason(),
        stock,
        adjusted_at: second(0),
    })
}
