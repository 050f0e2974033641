//! Requests to the engine and their outcomes.

use std::ops::Range;
use std::sync::Arc;

use domain::Refusal;
use domain::decide::Subject;
use domain::terms::{DropTerms, TermsPatch};
use domain::values::{
    BuyerId, DisplayName, DropId, HoldId, KeyDigest, PaymentReference, Position, Quantity, Reason,
    StockCount, Timestamp, WaitlistId,
};
use infrastructure::codec::RecordedEvent;
use infrastructure::feed::Committed;

use super::skew::ClockFault;

/// A request in the shop's terms. The engine adds time, ids and pseudonyms.
#[derive(Debug, Clone)]
pub enum Request {
    /// Schedules a drop.
    ScheduleDrop {
        /// Idempotency key, unique among all drops.
        key: Option<KeyDigest>,
        /// The offer; with `starts_now`, the engine's clock sets `starts_at`.
        terms: Box<NewTerms>,
        total_stock: StockCount,
    },
    /// Edits a drop's terms.
    RescheduleDrop {
        drop_id: DropId,
        /// The version of the terms that the caller has seen.
        expected_version: Option<u32>,
        patch: Box<TermsPatch>,
    },
    /// Cancels a drop.
    CancelDrop { drop_id: DropId },
    /// Adds or removes units.
    AdjustStock {
        drop_id: DropId,
        /// Idempotency key, unique within the drop.
        key: Option<KeyDigest>,
        /// The total that the caller has seen; `None` accepts any.
        expected_total: Option<u32>,
        /// Units to add, or to remove if negative.
        delta: i32,
        reason: Reason,
    },
    /// Places a hold.
    PlaceHold {
        drop_id: DropId,
        /// Idempotency key, unique within the drop.
        key: Option<KeyDigest>,
        /// The same key in its other scope. A retry is recognised by it as well, if this buyer has
        /// used it.
        other_key: Option<KeyDigest>,
        /// The shop's id of the buyer.
        buyer_id: BuyerId,
        /// The name that the buyer agreed to show.
        display_name: Option<DisplayName>,
        quantity: Quantity,
    },
    /// Returns a buyer's holds and remaining limits. Changes nothing.
    LookUpBuyer {
        drop_id: DropId,
        /// The shop's id of the buyer.
        buyer_id: BuyerId,
    },
    /// Releases a hold.
    ReleaseHold { hold_id: HoldId },
    /// Purchases a hold.
    ConfirmPurchase {
        hold_id: HoldId,
        /// The payment system's identifier of the payment.
        payment_reference: Option<PaymentReference>,
    },
    /// Joins the waitlist.
    JoinWaitlist {
        drop_id: DropId,
        /// Idempotency key, unique within the drop.
        key: Option<KeyDigest>,
        /// The same key in its other scope. A retry is recognised by it as well, if this buyer has
        /// used it.
        other_key: Option<KeyDigest>,
        /// The shop's id of the buyer.
        buyer_id: BuyerId,
        /// The name that the buyer agreed to show.
        display_name: Option<DisplayName>,
        quantity: Quantity,
    },
    /// Leaves the waitlist.
    LeaveWaitlist { entry_id: WaitlistId },
}

/// Terms of a drop that is not scheduled yet; its start may be the time of scheduling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTerms {
    /// The terms; `starts_at` is ignored when `starts_now`.
    pub terms: DropTerms,
    /// The drop starts when it is scheduled.
    pub starts_now: bool,
}

/// An accepted request and the recorded events that it produced.
#[derive(Debug, Clone)]
pub struct Answer {
    pub drop_id: DropId,
    /// The hold, entry or drop that the request was about.
    pub subject: Subject,
    /// When it was decided.
    pub at: Timestamp,
    committed: Arc<Committed>,
    events: Range<usize>,
}

impl Answer {
    pub(super) fn new(
        drop_id: DropId,
        subject: Subject,
        at: Timestamp,
        committed: Arc<Committed>,
        events: Range<usize>,
    ) -> Self {
        Self {
            drop_id,
            subject,
            at,
            committed,
            events,
        }
    }

    /// The events of this request; empty when an earlier request with the same key had produced
    /// them.
    #[must_use]
    pub fn events(&self) -> &[RecordedEvent] {
        &self.committed.events[self.events.clone()]
    }

    /// Reports whether the outcome was already in the log.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.events.is_empty()
    }

    /// The position of the last event of this request; for a replay, a position by which the log
    /// contains the outcome.
    #[must_use]
    pub fn position(&self) -> Position {
        self.events()
            .last()
            .map_or(self.committed.head.position, |event| event.position)
    }
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The rules refuse the request. Nothing was recorded.
    #[error("refused")]
    Refused {
        #[source]
        refusal: Refusal,
        /// When it was decided.
        at: Timestamp,
    },
    /// The request queue is full. Nothing was recorded.
    #[error("the request queue is full")]
    Overloaded,
    /// The log is unreachable. Nothing was recorded.
    #[error("the event log is unreachable")]
    Unavailable,
    /// The drop is in quarantine on this node: one of its events cannot be applied. Nothing was
    /// recorded.
    #[error("drop {drop_id} is in quarantine since position {position}")]
    Quarantined {
        drop_id: DropId,
        /// The event that cannot be applied.
        position: Position,
    },
    /// This node does not accept the log and has stopped writing to it. Nothing was recorded.
    #[error("the event log is refused at position {position}")]
    LogRefused {
        /// The first invalid position.
        position: Position,
    },
    /// The events are larger than one append may be. Nothing was recorded, and a retry cannot
    /// succeed.
    #[error("the events are larger than one append may be")]
    TooLarge,
    /// Nothing is decided because of a clock fault. Nothing was recorded.
    #[error("{0}")]
    ClockFault(ClockFault),
    /// The log became unreachable while this was being recorded. A retry with the same key returns
    /// the outcome.
    #[error("the event log did not respond in time, so the outcome is not known yet")]
    Undecided,
}
