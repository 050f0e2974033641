//! What may be asked of a drop: requests in the imperative, each with the time and the ids it will be recorded with.

use crate::terms::{DropTerms, TermsPatch};
use crate::values::{
    AdjustmentId, Commitment, HoldId, KeyDigest, Pseudonym, PurchaseId, Quantity, Reason,
    StockCount, Timestamp, WaitlistId,
};

/// A request to one drop. It may be refused; if not, it becomes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropCommand {
    /// Offer stock.
    ScheduleDrop(ScheduleDrop),
    /// Edit the terms.
    RescheduleDrop(RescheduleDrop),
    /// Call it off: nothing can be held or bought from then on.
    CancelDrop(CancelDrop),
    /// Add or take away units.
    AdjustStock(AdjustStock),
    /// Set units aside.
    PlaceHold(PlaceHold),
    /// Give a hold up.
    ReleaseHold(ReleaseHold),
    /// Pay for a hold.
    ConfirmPurchase(ConfirmPurchase),
    /// Record that a hold is over; asked by the engine when a deadline passes.
    ExpireHold(ExpireHold),
    /// Take a place in line.
    JoinWaitlist(JoinWaitlist),
    /// Give a place in line up.
    LeaveWaitlist(LeaveWaitlist),
    /// Offer what there is to the first in line who can use it: one offer a command. Asked by the
    /// engine after units came free.
    ServeWaitlist(ServeWaitlist),
    /// Record the next consequence of a cancellation: one hold ended or one waitlist entry removed
    /// a command, holds first, each in the order in which they came. Asked by the engine until
    /// there is nothing left.
    SettleCancelled,
}

/// See [`DropCommand::ScheduleDrop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleDrop {
    /// The caller's idempotency key.
    pub key: Option<KeyDigest>,
    /// What is offered, and how.
    pub terms: DropTerms,
    /// Units offered.
    pub total_stock: StockCount,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::RescheduleDrop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescheduleDrop {
    /// The version of the terms that the caller has seen; none: any.
    pub expected_version: Option<u32>,
    /// The edit.
    pub patch: TermsPatch,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::CancelDrop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelDrop {
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::AdjustStock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustStock {
    /// The adjustment's id, should it be accepted.
    pub adjustment_id: AdjustmentId,
    /// The caller's idempotency key.
    pub key: Option<KeyDigest>,
    /// The units in all that the caller has seen; none: any. Only adjustments change them.
    pub expected_total: Option<u32>,
    /// Units to add, or to take away when negative.
    pub delta: i32,
    /// Why.
    pub reason: Reason,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::PlaceHold`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceHold {
    /// The hold's id, should it be accepted.
    pub hold_id: HoldId,
    /// The caller's idempotency key.
    pub key: Option<KeyDigest>,
    /// For whom.
    pub buyer: Pseudonym,
    /// Units to set aside.
    pub quantity: Quantity,
    /// Commits to personal data that will be stored beside the event.
    pub commitment: Option<Commitment>,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::ReleaseHold`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseHold {
    /// Which hold.
    pub hold_id: HoldId,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::ConfirmPurchase`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmPurchase {
    /// The purchase's id, should it be accepted.
    pub purchase_id: PurchaseId,
    /// Which hold.
    pub hold_id: HoldId,
    /// Commits to a payment reference that will be stored beside the event.
    pub commitment: Option<Commitment>,
    /// Whether that reference is the one that the purchase of this hold was recorded with. Compared
    /// by the caller: the history has salted commitments, which cannot be compared.
    pub is_recorded: bool,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::ExpireHold`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireHold {
    /// Which hold.
    pub hold_id: HoldId,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::JoinWaitlist`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinWaitlist {
    /// The place's id, should it be given.
    pub entry_id: WaitlistId,
    /// The id of the hold that it will become.
    pub hold_id: HoldId,
    /// The caller's idempotency key.
    pub key: Option<KeyDigest>,
    /// For whom.
    pub buyer: Pseudonym,
    /// Units wanted.
    pub quantity: Quantity,
    /// Commits to personal data that will be stored beside the event.
    pub commitment: Option<Commitment>,
    /// The most entries that may wait in this drop at once.
    pub max_waiting: u32,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::LeaveWaitlist`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveWaitlist {
    /// Which place.
    pub entry_id: WaitlistId,
    /// Now.
    pub at: Timestamp,
}

/// See [`DropCommand::ServeWaitlist`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeWaitlist {
    /// Now.
    pub at: Timestamp,
}
