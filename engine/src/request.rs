//! What a caller asks of the engine and what it hears back.

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

/// A request, as the shop says it. Time, ids and pseudonyms are the engine's to give.
#[derive(Debug, Clone)]
pub enum Request {
    /// Offer stock.
    ScheduleDrop {
        /// Idempotency key, unique among all drops.
        key: Option<KeyDigest>,
        /// What is offered; `starts_at` is taken from the engine's clock when it is none.
        terms: Box<NewTerms>,
        /// Units offered.
        total_stock: StockCount,
    },
    /// Edit a drop's terms.
    RescheduleDrop {
        /// Which drop.
        drop_id: DropId,
        /// The version of the terms that the caller has seen.
        expected_version: Option<u32>,
        /// The edit.
        patch: Box<TermsPatch>,
    },
    /// Call a drop off.
    CancelDrop {
        /// Which drop.
        drop_id: DropId,
    },
    /// Add or take away units.
    AdjustStock {
        /// Which drop.
        drop_id: DropId,
        /// Idempotency key, unique within the drop.
        key: Option<KeyDigest>,
        /// The units in all that the caller has seen; none: any.
        expected_total: Option<u32>,
        /// Units to add, or to take away when negative.
        delta: i32,
        /// Why.
        reason: Reason,
    },
    /// Set units aside.
    PlaceHold {
        /// Which drop.
        drop_id: DropId,
        /// Idempotency key, unique within the drop.
        key: Option<KeyDigest>,
        /// The same key in its other scope. A retry is recognised by it as well, if this buyer used
        /// it.
        other_key: Option<KeyDigest>,
        /// What the shop calls the buyer.
        buyer_id: BuyerId,
        /// The name that the buyer agreed to show.
        display_name: Option<DisplayName>,
        /// Units to set aside.
        quantity: Quantity,
    },
    /// Tell what a buyer has, and may still do. Changes nothing.
    AskAboutBuyer {
        /// In which drop.
        drop_id: DropId,
        /// What the shop calls the buyer.
        buyer_id: BuyerId,
    },
    /// Give a hold up.
    ReleaseHold {
        /// Which hold.
        hold_id: HoldId,
    },
    /// Pay for a hold.
    ConfirmPurchase {
        /// Which hold.
        hold_id: HoldId,
        /// What the payment system calls the payment.
        payment_reference: Option<PaymentReference>,
    },
    /// Take a place in line.
    JoinWaitlist {
        /// Which drop.
        drop_id: DropId,
        /// Idempotency key, unique within the drop.
        key: Option<KeyDigest>,
        /// The same key in its other scope. A retry is recognised by it as well, if this buyer used
        /// it.
        other_key: Option<KeyDigest>,
        /// What the shop calls the buyer.
        buyer_id: BuyerId,
        /// The name that the buyer agreed to show.
        display_name: Option<DisplayName>,
        /// Units wanted.
        quantity: Quantity,
    },
    /// Give a place in line up.
    LeaveWaitlist {
        /// Which place.
        entry_id: WaitlistId,
    },
}

/// Terms of a drop that is not scheduled yet: everything but a start that may be «now».
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTerms {
    /// The terms, with any start when `starts_now`.
    pub terms: DropTerms,
    /// Whether the drop starts when it is scheduled.
    pub starts_now: bool,
}

/// An accepted request: the events that it became, at their places in the log.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The drop that it was about.
    pub drop_id: DropId,
    /// What it was about.
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

    /// The events that this request became; none when history already held the answer.
    #[must_use]
    pub fn events(&self) -> &[RecordedEvent] {
        &self.committed.events[self.events.clone()]
    }

    /// Whether history already held the answer.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.events.is_empty()
    }

    /// The position of the last event of this request; for a replay, one at which history held the answer.
    #[must_use]
    pub fn position(&self) -> Position {
        self.events()
            .last()
            .map_or(self.committed.head.position, |event| event.position)
    }
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The rules say no. Nothing was recorded.
    #[error("refused")]
    Refused {
        /// Why.
        #[source]
        refusal: Refusal,
        /// When it was decided.
        at: Timestamp,
    },
    /// Too many requests are waiting. Nothing was recorded.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The log cannot be reached. Nothing was recorded.
    #[error("the event log cannot be reached")]
    Unavailable,
    /// The drop is in quarantine on this node: an event of it cannot be applied. Nothing was
    /// recorded.
    #[error("drop {drop_id} is in quarantine since position {position}")]
    Quarantined {
        /// The drop.
        drop_id: DropId,
        /// The event that cannot be applied.
        position: Position,
    },
    /// This node does not accept the log as it is, and stops writing to it. Nothing was recorded.
    #[error("the event log is refused at position {position}")]
    LogRefused {
        /// The first position that is wrong.
        position: Position,
    },
    /// What it would record is more than the log takes at once. Nothing was recorded, and sending
    /// it again is of no use.
    #[error("more than the log takes at once")]
    TooLarge,
    /// The clocks do not allow anything to be decided. Nothing was recorded.
    #[error("{0}")]
    ClockFault(ClockFault),
    /// The log could not be reached while this was being recorded. The same request with the same key finds out.
    #[error("the event log has not answered in time, so the outcome is not known yet")]
    Undecided,
}
