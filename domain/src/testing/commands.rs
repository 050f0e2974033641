//! Commands, each at the start of a test.

use super::events::created;
use super::{
    adjustment_id, buyer, hold_id, max_hold_seconds, purchase_id, quantity, reason, refund_id,
    second, stock_count,
};
use crate::command::{
    AdjustStock, CancelDrop, ChangeHold, ConfirmPurchase, CreateCodes, DropCommand, ExpireHold,
    ExtendHold, Pass, PauseDrop, PlaceHold, PublishDrop, RefundPurchase, ReleaseHold,
    RescheduleDrop, ResumeDrop, ScheduleDrop, SetStock,
};
use crate::event::CodesCreated;
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

/// Publishes a draft with the start of its terms.
#[must_use]
pub fn publish_drop() -> DropCommand {
    DropCommand::PublishDrop(PublishDrop {
        starts_at: None,
        at: second(0),
    })
}

#[must_use]
pub fn pause_drop() -> DropCommand {
    DropCommand::PauseDrop(PauseDrop { at: second(0) })
}

#[must_use]
pub fn resume_drop() -> DropCommand {
    DropCommand::ResumeDrop(ResumeDrop { at: second(0) })
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

/// Adds or removes units if the stock has this version.
#[must_use]
#[track_caller]
pub fn adjust_stock_at(version: u32, adjustment: &str, delta: i32) -> DropCommand {
    adjust(adjustment, delta, Some(version))
}

#[track_caller]
fn adjust(adjustment: &str, delta: i32, expected_stock_version: Option<u32>) -> DropCommand {
    DropCommand::AdjustStock(AdjustStock {
        adjustment_id: adjustment_id(adjustment),
        key: None,
        expected_stock_version,
        delta,
        reason: reason(),
        at: second(0),
    })
}

/// Sets the total if the stock has the version `expected_stock_version`.
#[must_use]
#[track_caller]
pub fn set_stock(expected_stock_version: Option<u32>, adjustment: &str, total: u32) -> DropCommand {
    DropCommand::SetStock(SetStock {
        adjustment_id: adjustment_id(adjustment),
        expected_stock_version,
        total: stock_count(total),
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
        pass: Pass::default(),
        commitment: None,
        at: second(0),
    })
}

/// Lets a hold last this many seconds from now on.
#[must_use]
#[track_caller]
pub fn extend_hold(hold: &str, seconds: u32) -> DropCommand {
    DropCommand::ExtendHold(ExtendHold {
        hold_id: hold_id(hold),
        seconds: max_hold_seconds(seconds),
        at: second(0),
    })
}

/// Sets the number of units in a hold.
#[must_use]
#[track_caller]
pub fn change_hold(hold: &str, units: u32) -> DropCommand {
    DropCommand::ChangeHold(ChangeHold {
        hold_id: hold_id(hold),
        quantity: quantity(units),
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

/// Gives units of the purchase of a hold back, to be offered again; all that are left without a
/// number.
#[must_use]
#[track_caller]
pub fn refund_purchase(refund: &str, hold: &str, units: Option<u32>) -> DropCommand {
    refund_of(refund, hold, units, true)
}

/// The same for units that leave the drop.
#[must_use]
#[track_caller]
pub fn write_off_purchase(refund: &str, hold: &str, units: Option<u32>) -> DropCommand {
    refund_of(refund, hold, units, false)
}

#[track_caller]
fn refund_of(refund: &str, hold: &str, units: Option<u32>, restock: bool) -> DropCommand {
    DropCommand::RefundPurchase(RefundPurchase {
        refund_id: refund_id(refund),
        key: None,
        purchase_id: purchase_id(hold),
        hold_id: hold_id(hold),
        quantity: units.map(quantity),
        restock,
        reason: reason(),
        at: second(0),
    })
}

/// Creates these codes in one request, for one hold each.
#[must_use]
#[track_caller]
pub fn create_codes(names: &[&str]) -> DropCommand {
    let CodesCreated {
        key,
        first,
        of,
        digests,
        uses,
        opens_at,
        expires_at,
        created_at,
    } = created(names);
    DropCommand::CreateCodes(CreateCodes {
        key,
        first,
        of,
        digests,
        uses,
        opens_at,
        expires_at,
        at: created_at,
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
