//! Events, each as the aggregate of a test would record it.

use super::{
    HOLD_SECONDS, adjustment_id, buyer, code, code_uses, hold_id, purchase_id, quantity, reason,
    refund_id, second, stock_count, terms,
};
use crate::event::{
    CodesCreated, DropCancelled, DropEnded, DropEvent, DropPaused, DropPublished, DropRescheduled,
    DropResumed, DropScheduled, DropStarted, HoldChanged, HoldExpired, HoldExtended, HoldPlaced,
    HoldReleased, PurchaseConfirmed, PurchaseRefunded, ReleaseCause, StockAdjusted,
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

/// `total` units are offered under these terms, which are a draft.
#[must_use]
#[track_caller]
pub fn drop_drafted(terms: DropTerms, total: u32) -> DropEvent {
    DropEvent::DropDrafted(DropScheduled {
        key: None,
        terms: DropTerms {
            draft: true,
            ..terms
        },
        total_stock: stock_count(total),
        scheduled_at: second(0),
    })
}

/// A draft of `total` units was published under these terms.
#[must_use]
#[track_caller]
pub fn drop_published(terms: DropTerms, total: u32) -> DropEvent {
    DropEvent::DropPublished(DropPublished {
        terms,
        total_stock: stock_count(total),
        published_at: second(0),
    })
}

#[must_use]
pub fn drop_paused() -> DropEvent {
    DropEvent::DropPaused(DropPaused {
        paused_at: second(0),
    })
}

#[must_use]
pub fn drop_resumed() -> DropEvent {
    DropEvent::DropResumed(DropResumed {
        resumed_at: second(0),
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
pub fn drop_started(at: i64) -> DropEvent {
    let started_at = second(at);
    DropEvent::DropStarted(DropStarted { started_at })
}

#[must_use]
pub fn drop_ended(at: i64) -> DropEvent {
    let ended_at = second(at);
    DropEvent::DropEnded(DropEnded { ended_at })
}

#[must_use]
pub fn drop_cancelled() -> DropEvent {
    DropEvent::DropCancelled(DropCancelled {
        cancelled_at: second(0),
    })
}

/// These codes were created in one request, for one hold each.
#[must_use]
#[track_caller]
pub fn codes_created(names: &[&str]) -> DropEvent {
    DropEvent::CodesCreated(created(names))
}

#[track_caller]
pub(super) fn created(names: &[&str]) -> CodesCreated {
    CodesCreated {
        key: None,
        first: 0,
        of: u32::try_from(names.len()).expect("few codes"),
        digests: names.iter().map(|name| code(name)).collect(),
        uses: code_uses(1),
        opens_at: None,
        expires_at: None,
        created_at: second(0),
    }
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
        order_id: None,
        code: None,
    })
}

/// A hold of the default duration was extended to this second after [`T0`].
#[must_use]
#[track_caller]
pub fn hold_extended(hold: &str, until: i64) -> DropEvent {
    DropEvent::HoldExtended(HoldExtended {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        previous_expires_at: second(HOLD_SECONDS.into()),
        expires_at: second(until),
        extended_at: second(0),
    })
}

/// The units of a hold changed from one number to another.
#[must_use]
#[track_caller]
pub fn hold_changed(hold: &str, from: u32, to: u32) -> DropEvent {
    DropEvent::HoldChanged(HoldChanged {
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        previous_quantity: quantity(from),
        quantity: quantity(to),
        changed_at: second(0),
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
pub(super) fn released(hold: &str, units: u32, cause: ReleaseCause) -> DropEvent {
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

/// Units of the purchase of a hold were returned, at the default price, and restocked.
#[must_use]
#[track_caller]
pub fn purchase_refunded(refund: &str, hold: &str, units: u32) -> DropEvent {
    refunded(refund, hold, units, true)
}

/// Units of the purchase of a hold were returned, at the default price, and left the drop.
#[must_use]
#[track_caller]
pub fn purchase_written_off(refund: &str, hold: &str, units: u32) -> DropEvent {
    refunded(refund, hold, units, false)
}

#[track_caller]
fn refunded(refund: &str, hold: &str, units: u32, restocked: bool) -> DropEvent {
    DropEvent::PurchaseRefunded(PurchaseRefunded {
        refund_id: refund_id(refund),
        key: None,
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        buyer: buyer("ann"),
        quantity: quantity(units),
        amount: terms().price.times(quantity(units)),
        restocked,
        reason: reason(),
        purchased_at: second(0),
        refunded_at: second(0),
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
