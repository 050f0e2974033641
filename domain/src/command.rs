//! The commands of a drop, in the imperative. Each carries the time and the ids that its events are
//! recorded with.

use crate::terms::{DropTerms, TermsPatch};
use crate::values::{
    AdjustmentId, CodeDigest, CodeUses, Commitment, Difficulty, HoldId, KeyDigest, MaxHoldSeconds,
    Pseudonym, PurchaseId, Quantity, Reason, RefundId, StockCount, Timestamp, WaitlistId,
};

/// A request to one drop. It is refused or becomes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropCommand {
    /// Creates the drop and offers its stock.
    ScheduleDrop(ScheduleDrop),
    /// Edits the terms.
    RescheduleDrop(RescheduleDrop),
    /// Publishes a draft.
    PublishDrop(PublishDrop),
    /// Interrupts the sale.
    PauseDrop(PauseDrop),
    /// Continues the sale.
    ResumeDrop(ResumeDrop),
    /// Cancels the drop: nothing can be held or purchased afterwards.
    CancelDrop(CancelDrop),
    /// Adds or removes units.
    AdjustStock(AdjustStock),
    /// Sets the total number of units.
    SetStock(SetStock),
    /// Sets units aside for a buyer.
    PlaceHold(PlaceHold),
    /// Lets a hold last longer.
    ExtendHold(ExtendHold),
    /// Changes the number of units in a hold.
    ChangeHold(ChangeHold),
    ReleaseHold(ReleaseHold),
    /// Pays for a hold.
    ConfirmPurchase(ConfirmPurchase),
    /// Returns units of a purchase.
    RefundPurchase(RefundPurchase),
    /// Records that a hold has expired. The engine sends it when the deadline passes.
    ExpireHold(ExpireHold),
    /// Adds a waitlist entry.
    JoinWaitlist(JoinWaitlist),
    LeaveWaitlist(LeaveWaitlist),
    /// Offers available units to the first waitlist entry that can use them: one offer per command.
    /// The engine sends it after units became available.
    ServeWaitlist(ServeWaitlist),
    /// Records the next consequence of a cancellation: one hold resolved or one waitlist entry
    /// removed per command, holds first, each in order of creation. The engine sends it until
    /// nothing is left.
    SettleCancelled,
    /// Creates access codes.
    CreateCodes(CreateCodes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleDrop {
    pub key: Option<KeyDigest>,
    /// The terms of the offer.
    pub terms: DropTerms,
    /// The number of units offered.
    pub total_stock: StockCount,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescheduleDrop {
    /// The version of the terms that the caller has seen; `None` accepts any.
    pub expected_version: Option<u32>,
    pub patch: TermsPatch,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishDrop {
    /// The start of the sale; `None`: that of the terms. A start in the past becomes `at`.
    pub starts_at: Option<Timestamp>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseDrop {
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeDrop {
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelDrop {
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustStock {
    /// The id that the adjustment receives if it is accepted.
    pub adjustment_id: AdjustmentId,
    pub key: Option<KeyDigest>,
    /// The version of the stock that the caller has seen, see
    /// [`crate::DropAggregate::stock_version`]; `None` accepts any.
    pub expected_stock_version: Option<u32>,
    /// Units to add, or to remove when negative.
    pub delta: i32,
    pub reason: Reason,
    pub at: Timestamp,
}

/// An adjustment by the difference between the present total and this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetStock {
    /// The id that the adjustment receives if the total changes.
    pub adjustment_id: AdjustmentId,
    /// As in [`AdjustStock`].
    pub expected_stock_version: Option<u32>,
    /// All units that the drop offers from now on, held and sold ones included.
    pub total: StockCount,
    pub reason: Reason,
    pub at: Timestamp,
}

/// The right with which units are requested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// The access code that the buyer presents.
    pub code: Option<CodeDigest>,
    /// True for an administrator, for whom hidden drops exist.
    pub sees_hidden: bool,
    /// The difficulty of the challenge that the caller has solved for this request. An
    /// administrator needs no solution, so it is the largest for them.
    pub solved: Option<Difficulty>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceHold {
    /// The id that the hold receives if it is accepted.
    pub hold_id: HoldId,
    pub key: Option<KeyDigest>,
    pub buyer: Pseudonym,
    /// Units to set aside.
    pub quantity: Quantity,
    pub pass: Pass,
    /// Commits to the personal data that is stored with the event.
    pub commitment: Option<Commitment>,
    pub at: Timestamp,
}

/// The hold then lasts until `at` plus `seconds`, if that is later than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendHold {
    pub hold_id: HoldId,
    pub seconds: MaxHoldSeconds,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeHold {
    pub hold_id: HoldId,
    /// Units to set aside from now on.
    pub quantity: Quantity,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseHold {
    pub hold_id: HoldId,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmPurchase {
    /// The id that the purchase receives if it is accepted.
    pub purchase_id: PurchaseId,
    pub hold_id: HoldId,
    /// Commits to the payment reference that is stored with the event.
    pub commitment: Option<Commitment>,
    /// True if the reference equals the one that this hold's purchase was recorded with. The caller
    /// compares them, because the log has salted commitments, which cannot be compared.
    pub is_recorded: bool,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundPurchase {
    /// The id that the refund receives if it is accepted.
    pub refund_id: RefundId,
    pub key: Option<KeyDigest>,
    /// The purchase, and the hold that it paid for. The caller has read both from the log.
    pub purchase_id: PurchaseId,
    pub hold_id: HoldId,
    /// Units to return; `None`: all that are left.
    pub quantity: Option<Quantity>,
    /// True if the units are offered again; false if they leave the drop.
    pub restock: bool,
    pub reason: Reason,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireHold {
    pub hold_id: HoldId,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinWaitlist {
    /// The id that the entry receives if it is accepted.
    pub entry_id: WaitlistId,
    /// The id of the hold that the entry will be offered.
    pub hold_id: HoldId,
    pub key: Option<KeyDigest>,
    pub buyer: Pseudonym,
    /// Units requested.
    pub quantity: Quantity,
    pub pass: Pass,
    /// Commits to the personal data that is stored with the event.
    pub commitment: Option<Commitment>,
    /// The largest number of entries that may wait in this drop at the same time.
    pub max_waiting: u32,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveWaitlist {
    pub entry_id: WaitlistId,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeWaitlist {
    pub at: Timestamp,
}

/// Creates a part of the access codes of one request, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateCodes {
    /// Of this part of the request.
    pub key: Option<KeyDigest>,
    /// The number of codes of the same request in the parts before.
    pub first: u32,
    /// The number of codes of the whole request.
    pub of: u32,
    /// 1 to [`crate::event::CodesCreated::MAX_CODES`].
    pub digests: Vec<CodeDigest>,
    /// How many holds can be placed with each.
    pub uses: CodeUses,
    /// The first instant at which they can be used; `None`: the drop's start.
    pub opens_at: Option<Timestamp>,
    /// The first instant at which they can no longer be used.
    pub expires_at: Option<Timestamp>,
    pub at: Timestamp,
}
