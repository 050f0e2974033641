//! Commands, each at the start of a test.

use super::{adjustment_id, buyer, hold_id, purchase_id, quantity, reason, second, stock_count};
use crate::command::{
    AdjustStock, CancelDrop, ConfirmPurchase, DropCommand, ExpireHold, PlaceHold, ReleaseHold,
    RescheduleDrop, ScheduleDrop,
};
use crate::terms::{DropTerms, TermsPatch};

#[must_use]
#[track_caller]
pub fn schedule_drop(terms: DropTerms, total: u32) -> DropCommand {
    DropCommand::ScheduleDrop(ScheduleDrop {
        key: None,
        terms,
        total_stock: stock_count(total),
        at: second(0),
    })
}

#[must_use]
pub fn reschedule_drop(patch: TermsPatch) -> DropCommand {
    reschedule(None, patch)
}

/// Edits the terms if they are at this version.
#[must_use]
pub fn reschedule_drop_at_version(version: u32, patch: TermsPatch) -> DropCommand {
    reschedule(Some(version), patch)
}

fn reschedule(expected_version: Option<u32>, patch: TermsPatch) -> DropCommand {
    DropCommand::RescheduleDrop(RescheduleDrop {
        expected_version,
        patch,
        at: second(0),
    })
}

#[must_use]
pub fn cancel_drop() -> DropCommand {
    DropCommand::CancelDrop(CancelDrop { at: second(0) })
}

#[must_use]
pub fn settle_cancelled() -> DropCommand {
    DropCommand::SettleCancelled
}

#[must_use]
#[track_caller]
pub fn adjust_stock(adjustment: &str, delta: i32) -> DropCommand {
    adjust(adjustment, delta, None)
}

/// Adds or removes units if the drop has `total` units.
#[must_use]
#[track_caller]
pub fn adjust_stock_of_total(total: u32, adjustment: &str, delta: i32) -> DropCommand {
    adjust(adjustment, delta, Some(total))
}

#[track_caller]
fn adjust(adjustment: &str, delta: i32, expected_total: Option<u32>) -> DropCommand {
    DropCommand::AdjustStock(AdjustStock {
        adjustment_id: adjustment_id(adjustment),
        key: None,
        expected_total,
        delta,
        reason: reason(),
        at: second(0),
    })
}

#[must_use]
#[track_caller]
pub fn place_hold(hold: &str, units: u32) -> DropCommand {
    DropCommand::PlaceHold(PlaceHold {
        hold_id: hold_id(hold),
        key: None,
        buyer: buyer("ann"),
        quantity: quantity(units),
        commitment: None,
        at: second(0),
    })
}

#[must_use]
#[track_caller]
pub fn release_hold(hold: &str) -> DropCommand {
    DropCommand::ReleaseHold(ReleaseHold {
        hold_id: hold_id(hold),
        at: second(0),
    })
}

/// Pays for a hold; the purchase is named after the hold.
#[must_use]
#[track_caller]
pub fn confirm_purchase(hold: &str) -> DropCommand {
    DropCommand::ConfirmPurchase(ConfirmPurchase {
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        commitment: None,
        is_recorded: false,
        at: second(0),
    })
}

#[must_use]
#[track_caller]
pub fn expire_hold(hold: &str) -> DropCommand {
    DropCommand::ExpireHold(ExpireHold {
        hold_id: hold_id(hold),
        at: second(0),
    })
}
