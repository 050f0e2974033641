//! The events of a drop: recorded facts, in the past tense.
//!
//! Each event contains everything that a fold needs (buyer, quantity, time), so a projection never
//! has to look back. Stored form: the name of the variant outside, its fields inside
//! (`{"HoldPlaced": {…}}`), as stock `cqrs-es` programs write it.

use serde::{Deserialize, Serialize};

use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{
    AdjustmentId, CodeDigest, CodeUses, Commitment, HoldId, KeyDigest, Money, OrderId, Pseudonym,
    PurchaseId, Quantity, Reason, RefundId, StockCount, Timestamp, WaitlistId,
};

/// How much later than its recording an event may end holds, in milliseconds: the clock skew up to
/// which a node decides (docs/decisions/0034-the-database-clock-is-the-shared-one.md).
pub const MAX_AHEAD_MS: i64 = 2_000;

/// One recorded fact about one drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DropEvent {
    /// The drop was created.
    DropScheduled(DropScheduled),
    /// The drop was created as a draft: only the shop knows it, and nothing can be held. It is an
    /// event type of its own, so that a server of an earlier release does not sell drafts.
    DropDrafted(DropScheduled),
    /// The drop is no draft any more.
    DropPublished(DropPublished),
    /// The drop's terms changed.
    DropRescheduled(DropRescheduled),
    /// The sale of the drop was interrupted.
    DropPaused(DropPaused),
    /// The sale of the drop continues.
    DropResumed(DropResumed),
    /// The drop was cancelled; nothing more is held or sold.
    DropCancelled(DropCancelled),
    /// Its start was reached: holds can be placed.
    DropStarted(DropStarted),
    /// Its end was reached: holds can no longer be placed.
    DropEnded(DropEnded),
    /// Units were set aside for a buyer.
    HoldPlaced(HoldPlaced),
    /// A hold lasts longer than before.
    HoldExtended(HoldExtended),
    /// The number of units in a hold changed.
    HoldChanged(HoldChanged),
    /// A hold expired; its units are available again.
    HoldExpired(HoldExpired),
    /// A hold was released; its units are available again.
    HoldReleased(HoldReleased),
    /// A hold was paid for.
    PurchaseConfirmed(PurchaseConfirmed),
    /// Units of a purchase were returned, and their price with them.
    PurchaseRefunded(PurchaseRefunded),
    /// Units were added or removed.
    StockAdjusted(StockAdjusted),
    /// A buyer joined the waitlist for units that were not available.
    WaitlistJoined(WaitlistJoined),
    /// A waitlist entry was removed without an offer.
    WaitlistLeft(WaitlistLeft),
    /// Access codes were created.
    CodesCreated(CodesCreated),
}

/// See [`DropEvent::DropScheduled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropScheduled {
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The terms of the offer.
    pub terms: DropTerms,
    /// The number of units offered.
    pub total_stock: StockCount,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
}

/// See [`DropEvent::DropPublished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropPublished {
    /// The complete terms from now on.
    pub terms: DropTerms,
    /// The number of units offered.
    pub total_stock: StockCount,
    /// When the drop was published.
    pub published_at: Timestamp,
}

/// See [`DropEvent::DropPaused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropPaused {
    /// When the drop was paused.
    pub paused_at: Timestamp,
}

/// See [`DropEvent::DropResumed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropResumed {
    /// When the drop was resumed.
    pub resumed_at: Timestamp,
}

/// See [`DropEvent::DropRescheduled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropRescheduled {
    /// The complete terms from now on.
    pub terms: DropTerms,
    /// When the terms changed.
    pub rescheduled_at: Timestamp,
}

/// See [`DropEvent::DropCancelled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropCancelled {
    /// When the drop was cancelled.
    pub cancelled_at: Timestamp,
}

/// See [`DropEvent::DropStarted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropStarted {
    /// The first instant at which holds could be placed, which may be before the start was
    /// recorded.
    pub started_at: Timestamp,
}

/// See [`DropEvent::DropEnded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropEnded {
    /// The first instant at which holds could no longer be placed, which may be before the end was
    /// recorded.
    pub ended_at: Timestamp,
}

/// See [`DropEvent::HoldPlaced`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldPlaced {
    /// The hold.
    pub hold_id: HoldId,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units set aside.
    pub quantity: Quantity,
    /// When the hold was placed.
    pub placed_at: Timestamp,
    /// The first instant at which the hold is over.
    pub expires_at: Timestamp,
    /// Commits to the personal data that is stored with this event, if it introduces the buyer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
    /// The waitlist entry that was offered this hold; none if the buyer requested it directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waitlist_entry: Option<WaitlistId>,
    /// The order that the hold belongs to; none if it was requested alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The access code that the buyer used; that of the waitlist entry, if it was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeDigest>,
}

/// See [`DropEvent::HoldExtended`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldExtended {
    /// The hold.
    pub hold_id: HoldId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// The hold's `expires_at` before.
    pub previous_expires_at: Timestamp,
    /// The hold's `expires_at` from now on, which is later.
    pub expires_at: Timestamp,
    /// When the hold was extended.
    pub extended_at: Timestamp,
}

/// See [`DropEvent::HoldChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldChanged {
    /// The hold.
    pub hold_id: HoldId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units set aside before.
    pub previous_quantity: Quantity,
    /// Units set aside from now on.
    pub quantity: Quantity,
    /// When the hold was changed.
    pub changed_at: Timestamp,
}

impl HoldChanged {
    /// Returns the units that the hold received; negative if it gave units back.
    #[must_use]
    pub fn units_added(&self) -> i64 {
        i64::from(self.quantity.get()) - i64::from(self.previous_quantity.get())
    }

    /// Returns the units that became available.
    #[must_use]
    pub const fn units_freed(&self) -> u32 {
        let before = self.previous_quantity.get();
        before.saturating_sub(self.quantity.get())
    }

    /// Returns the units that are set aside in addition.
    #[must_use]
    pub const fn units_held(&self) -> u32 {
        let before = self.previous_quantity.get();
        self.quantity.get().saturating_sub(before)
    }
}

/// See [`DropEvent::HoldExpired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldExpired {
    /// The hold.
    pub hold_id: HoldId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units that became available.
    pub quantity: Quantity,
    /// The hold's `expires_at`, which may be before the expiry was recorded.
    pub expired_at: Timestamp,
}

/// Why a hold was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ReleaseCause {
    /// The buyer released it.
    Buyer,
    /// The drop was cancelled.
    DropCancelled,
    /// The order that it belongs to was cancelled.
    OrderCancelled,
}

/// See [`DropEvent::HoldReleased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldReleased {
    /// The hold.
    pub hold_id: HoldId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units that became available.
    pub quantity: Quantity,
    /// When the hold was released.
    pub released_at: Timestamp,
    /// The reason for the release.
    pub cause: ReleaseCause,
}

/// See [`DropEvent::PurchaseConfirmed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PurchaseConfirmed {
    /// The purchase.
    pub purchase_id: PurchaseId,
    /// The hold that was paid for.
    pub hold_id: HoldId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units sold.
    pub quantity: Quantity,
    /// The price of all units, at the unit price in force when the hold was placed.
    pub total: Money,
    /// When the hold was purchased.
    pub purchased_at: Timestamp,
    /// Commits to the payment reference that is stored with this event, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

/// See [`DropEvent::PurchaseRefunded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PurchaseRefunded {
    /// The refund.
    pub refund_id: RefundId,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The purchase.
    pub purchase_id: PurchaseId,
    /// The hold that the purchase paid for.
    pub hold_id: HoldId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units returned.
    pub quantity: Quantity,
    /// The price of these units, at the unit price of the purchase.
    pub amount: Money,
    /// True if the units are available again; false if they left the drop.
    pub restocked: bool,
    /// The administrator's reason for the refund.
    pub reason: Reason,
    /// When the hold was purchased.
    pub purchased_at: Timestamp,
    /// When the purchase was refunded.
    pub refunded_at: Timestamp,
}

/// See [`DropEvent::StockAdjusted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StockAdjusted {
    /// The adjustment.
    pub adjustment_id: AdjustmentId,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// Units added, or removed when negative.
    pub delta: i32,
    /// The administrator's reason for the adjustment.
    pub reason: Reason,
    /// The stock right after the adjustment.
    pub stock: Stock,
    /// When the stock was adjusted.
    pub adjusted_at: Timestamp,
}

/// See [`DropEvent::WaitlistJoined`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaitlistJoined {
    /// The waitlist entry.
    pub entry_id: WaitlistId,
    /// The id of the hold that the entry will be offered. It is chosen now, because decisions use
    /// no randomness.
    pub hold_id: HoldId,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units requested.
    pub quantity: Quantity,
    /// When the entry joined.
    pub joined_at: Timestamp,
    /// Commits to the personal data that is stored with this event, if it introduces the buyer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
    /// The access code that the buyer used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeDigest>,
}

/// Why a waitlist entry was removed without an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaveCause {
    /// The buyer left, or was erased.
    Buyer,
    /// The drop was cancelled.
    DropCancelled,
}

/// See [`DropEvent::WaitlistLeft`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaitlistLeft {
    /// The waitlist entry.
    pub entry_id: WaitlistId,
    /// The buyer.
    pub buyer: Pseudonym,
    /// Units that were requested.
    pub quantity: Quantity,
    /// When the entry was removed.
    pub left_at: Timestamp,
    /// The reason for the removal.
    pub cause: LeaveCause,
}

/// See [`DropEvent::CodesCreated`].
///
/// A request for many codes is recorded in several of these events, with at most
/// [`CodesCreated::MAX_CODES`] codes each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CodesCreated {
    /// The caller's idempotency key, for this part of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// The number of codes of the same request in the events before.
    pub first: u32,
    /// The number of codes of the whole request.
    pub of: u32,
    /// The codes, as keyed digests.
    pub digests: Vec<CodeDigest>,
    /// How many holds can be placed with each.
    pub uses: CodeUses,
    /// The first instant at which they can be used, which may be before the drop's start; none
    /// means the drop's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Timestamp>,
    /// The first instant at which they can no longer be used; none means no end of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When they were created.
    pub created_at: Timestamp,
}

impl CodesCreated {
    /// The most codes in one event.
    pub const MAX_CODES: usize = 1_000;
}

impl DropEvent {
    /// The event types, as stored in the log.
    pub const TYPES: &'static [&'static str] = &[
        "DropScheduled",
        "DropDrafted",
        "DropPublished",
        "DropRescheduled",
        "DropPaused",
        "DropResumed",
        "DropCancelled",
        "DropStarted",
        "DropEnded",
        "HoldPlaced",
        "HoldExtended",
        "HoldChanged",
        "HoldExpired",
        "HoldReleased",
        "PurchaseConfirmed",
        "PurchaseRefunded",
        "StockAdjusted",
        "WaitlistJoined",
        "WaitlistLeft",
        "CodesCreated",
    ];

    /// Returns the event type, as stored in the log.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::DropScheduled(_) => "DropScheduled",
            Self::DropDrafted(_) => "DropDrafted",
            Self::DropPublished(_) => "DropPublished",
            Self::DropPaused(_) => "DropPaused",
            Self::DropResumed(_) => "DropResumed",
            Self::DropRescheduled(_) => "DropRescheduled",
            Self::DropCancelled(_) => "DropCancelled",
            Self::DropStarted(_) => "DropStarted",
            Self::DropEnded(_) => "DropEnded",
            Self::HoldPlaced(_) => "HoldPlaced",
            Self::HoldExtended(_) => "HoldExtended",
            Self::HoldChanged(_) => "HoldChanged",
            Self::HoldExpired(_) => "HoldExpired",
            Self::HoldReleased(_) => "HoldReleased",
            Self::PurchaseConfirmed(_) => "PurchaseConfirmed",
            Self::PurchaseRefunded(_) => "PurchaseRefunded",
            Self::StockAdjusted(_) => "StockAdjusted",
            Self::WaitlistJoined(_) => "WaitlistJoined",
            Self::WaitlistLeft(_) => "WaitlistLeft",
            Self::CodesCreated(_) => "CodesCreated",
        }
    }

    /// Returns the version of the payload's schema. A change that an old reader cannot read raises
    /// the first number and comes with an upcaster and a fixture of the old form.
    #[must_use]
    pub const fn event_version(&self) -> &'static str {
        match self {
            Self::DropScheduled(_)
            | Self::DropDrafted(_)
            | Self::DropRescheduled(_)
            | Self::DropStarted(_)
            | Self::DropEnded(_)
            | Self::DropPublished(_)
            | Self::DropPaused(_)
            | Self::DropResumed(_)
            | Self::DropCancelled(_)
            | Self::HoldPlaced(_)
            | Self::HoldExtended(_)
            | Self::HoldChanged(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::PurchaseConfirmed(_)
            | Self::PurchaseRefunded(_)
            | Self::StockAdjusted(_)
            | Self::WaitlistJoined(_)
            | Self::WaitlistLeft(_)
            | Self::CodesCreated(_) => "1.0",
        }
    }

    /// Returns the version in which events of this type are written; `None` for an unknown type.
    #[must_use]
    pub fn version_of(event_type: &str) -> Option<&'static str> {
        Self::TYPES.contains(&event_type).then_some("1.0")
    }

    /// Returns the buyer that the event is about, if any.
    #[must_use]
    pub const fn buyer(&self) -> Option<Pseudonym> {
        match self {
            Self::HoldPlaced(event) => Some(event.buyer),
            Self::HoldExtended(event) => Some(event.buyer),
            Self::HoldChanged(event) => Some(event.buyer),
            Self::HoldExpired(event) => Some(event.buyer),
            Self::HoldReleased(event) => Some(event.buyer),
            Self::PurchaseConfirmed(event) => Some(event.buyer),
            Self::PurchaseRefunded(event) => Some(event.buyer),
            Self::WaitlistJoined(event) => Some(event.buyer),
            Self::WaitlistLeft(event) => Some(event.buyer),
            Self::DropScheduled(_)
            | Self::DropDrafted(_)
            | Self::DropRescheduled(_)
            | Self::DropStarted(_)
            | Self::DropEnded(_)
            | Self::DropPublished(_)
            | Self::DropPaused(_)
            | Self::DropResumed(_)
            | Self::DropCancelled(_)
            | Self::StockAdjusted(_)
            | Self::CodesCreated(_) => None,
        }
    }

    /// Returns the idempotency key of the request, if there was one.
    #[must_use]
    pub const fn key(&self) -> Option<KeyDigest> {
        match self {
            Self::DropScheduled(event) | Self::DropDrafted(event) => event.key,
            Self::HoldPlaced(event) => event.key,
            Self::PurchaseRefunded(event) => event.key,
            Self::StockAdjusted(event) => event.key,
            Self::WaitlistJoined(event) => event.key,
            Self::CodesCreated(event) => event.key,
            Self::DropRescheduled(_)
            | Self::DropStarted(_)
            | Self::DropEnded(_)
            | Self::DropPublished(_)
            | Self::DropPaused(_)
            | Self::DropResumed(_)
            | Self::DropCancelled(_)
            | Self::HoldExtended(_)
            | Self::HoldChanged(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::PurchaseConfirmed(_)
            | Self::WaitlistLeft(_) => None,
        }
    }

    /// Returns the time of the decision, according to its author. `None` for events that may be
    /// recorded at any later time: an expiry, which carries its deadline, a start and an end of a
    /// drop, and the consequences of a cancellation, which carry the time of the cancellation.
    #[must_use]
    pub const fn decided_at(&self) -> Option<Timestamp> {
        match self {
            Self::DropScheduled(event) | Self::DropDrafted(event) => Some(event.scheduled_at),
            Self::DropRescheduled(event) => Some(event.rescheduled_at),
            Self::DropCancelled(event) => Some(event.cancelled_at),
            Self::DropPublished(event) => Some(event.published_at),
            Self::DropPaused(event) => Some(event.paused_at),
            Self::DropResumed(event) => Some(event.resumed_at),
            Self::DropStarted(_) | Self::DropEnded(_) => None,
            Self::HoldPlaced(event) => Some(event.placed_at),
            Self::HoldExtended(event) => Some(event.extended_at),
            Self::HoldChanged(event) => Some(event.changed_at),
            Self::HoldExpired(_) => None,
            Self::HoldReleased(event) => match event.cause {
                ReleaseCause::Buyer | ReleaseCause::OrderCancelled => Some(event.released_at),
                ReleaseCause::DropCancelled => None,
            },
            Self::PurchaseConfirmed(event) => Some(event.purchased_at),
            Self::PurchaseRefunded(event) => Some(event.refunded_at),
            Self::StockAdjusted(event) => Some(event.adjusted_at),
            Self::WaitlistJoined(event) => Some(event.joined_at),
            Self::WaitlistLeft(event) => match event.cause {
                LeaveCause::Buyer => Some(event.left_at),
                LeaveCause::DropCancelled => None,
            },
            Self::CodesCreated(event) => Some(event.created_at),
        }
    }

    /// Returns the time at which the event ends holds, if that is later than its recording by more
    /// than clocks may differ ([`MAX_AHEAD_MS`]). No author knows the future: a cancellation from
    /// next month would end holds that are still open. The time of other events has no such effect.
    #[must_use]
    pub fn ends_holds_early(&self, recorded_at: Timestamp) -> Option<Timestamp> {
        let at = match self {
            Self::DropCancelled(event) => event.cancelled_at,
            Self::HoldExpired(event) => event.expired_at,
            Self::DropScheduled(_)
            | Self::DropDrafted(_)
            | Self::DropRescheduled(_)
            | Self::DropStarted(_)
            | Self::DropEnded(_)
            | Self::DropPublished(_)
            | Self::DropPaused(_)
            | Self::DropResumed(_)
            | Self::HoldPlaced(_)
            | Self::HoldExtended(_)
            | Self::HoldChanged(_)
            | Self::HoldReleased(_)
            | Self::PurchaseConfirmed(_)
            | Self::PurchaseRefunded(_)
            | Self::StockAdjusted(_)
            | Self::WaitlistJoined(_)
            | Self::WaitlistLeft(_)
            | Self::CodesCreated(_) => return None,
        };
        (at.millis() - recorded_at.millis() > MAX_AHEAD_MS).then_some(at)
    }

    /// Returns the commitment to the personal data that is stored with this event, if any.
    #[must_use]
    pub const fn commitment(&self) -> Option<Commitment> {
        match self {
            Self::HoldPlaced(event) => event.commitment,
            Self::PurchaseConfirmed(event) => event.commitment,
            Self::WaitlistJoined(event) => event.commitment,
            Self::DropScheduled(_)
            | Self::DropDrafted(_)
            | Self::DropRescheduled(_)
            | Self::DropStarted(_)
            | Self::DropEnded(_)
            | Self::DropPublished(_)
            | Self::DropPaused(_)
            | Self::DropResumed(_)
            | Self::DropCancelled(_)
            | Self::HoldExtended(_)
            | Self::HoldChanged(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::PurchaseRefunded(_)
            | Self::StockAdjusted(_)
            | Self::WaitlistLeft(_)
            | Self::CodesCreated(_) => None,
        }
    }
}
