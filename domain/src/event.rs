//! What happened to a drop: recorded facts, in the past tense, that nothing may decline.
//!
//! Each event tells all that a fold needs (who, how many, when), so a read model never has to look back.
//! Stored form: the enum's name outside, its fields inside (`{"HoldPlaced": {…}}`), as stock `cqrs-es` programs write it.

use serde::{Deserialize, Serialize};

use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::{
    AdjustmentId, Commitment, HoldId, KeyDigest, Money, Pseudonym, PurchaseId, Quantity, Reason,
    StockCount, Timestamp, WaitlistId,
};

/// One recorded fact about one drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DropEvent {
    /// The drop exists from here on.
    DropScheduled(DropScheduled),
    /// Its terms changed.
    DropRescheduled(DropRescheduled),
    /// It was called off; nothing more is held or sold.
    DropCancelled(DropCancelled),
    /// Units were set aside for a buyer.
    HoldPlaced(HoldPlaced),
    /// A hold ran out; its units are available again.
    HoldExpired(HoldExpired),
    /// A hold was given up; its units are available again.
    HoldReleased(HoldReleased),
    /// A hold was paid for.
    PurchaseConfirmed(PurchaseConfirmed),
    /// Units were added or taken away.
    StockAdjusted(StockAdjusted),
    /// A buyer took a place in line for units that were not there.
    WaitlistJoined(WaitlistJoined),
    /// A place in line was given up.
    WaitlistLeft(WaitlistLeft),
}

/// See [`DropEvent::DropScheduled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropScheduled {
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// What is offered, and how.
    pub terms: DropTerms,
    /// Units offered.
    pub total_stock: StockCount,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
}

/// See [`DropEvent::DropRescheduled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropRescheduled {
    /// The terms from here on, in full.
    pub terms: DropTerms,
    /// When they changed.
    pub rescheduled_at: Timestamp,
}

/// See [`DropEvent::DropCancelled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DropCancelled {
    /// When it was called off.
    pub cancelled_at: Timestamp,
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
    /// Whose it is.
    pub buyer: Pseudonym,
    /// Units set aside.
    pub quantity: Quantity,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// The first instant at which it is over.
    pub expires_at: Timestamp,
    /// Commits to the personal data stored beside this event, if it introduces the buyer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
    /// The place in line that this hold was offered to; none: its buyer asked for it directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waitlist_entry: Option<WaitlistId>,
}

/// See [`DropEvent::HoldExpired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldExpired {
    /// The hold.
    pub hold_id: HoldId,
    /// Whose it was.
    pub buyer: Pseudonym,
    /// Units that became available.
    pub quantity: Quantity,
    /// The hold's own `expires_at`: when it was over, which may be before this was recorded.
    pub expired_at: Timestamp,
}

/// Why a hold was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ReleaseCause {
    /// The buyer gave it up.
    Buyer,
    /// The drop was cancelled.
    DropCancelled,
}

/// See [`DropEvent::HoldReleased`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HoldReleased {
    /// The hold.
    pub hold_id: HoldId,
    /// Whose it was.
    pub buyer: Pseudonym,
    /// Units that became available.
    pub quantity: Quantity,
    /// When it was given up.
    pub released_at: Timestamp,
    /// Why.
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
    /// Who bought.
    pub buyer: Pseudonym,
    /// Units sold.
    pub quantity: Quantity,
    /// What they cost together, at the price in force when the hold was placed.
    pub total: Money,
    /// When.
    pub purchased_at: Timestamp,
    /// Commits to the payment reference stored beside this event, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
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
    /// Units added, or taken away when negative.
    pub delta: i32,
    /// Why.
    pub reason: Reason,
    /// Where the units were right after.
    pub stock: Stock,
    /// When.
    pub adjusted_at: Timestamp,
}

/// See [`DropEvent::WaitlistJoined`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaitlistJoined {
    /// The place in line.
    pub entry_id: WaitlistId,
    /// The hold that it will become: drawn now, because deciding draws nothing.
    pub hold_id: HoldId,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyDigest>,
    /// Whose it is.
    pub buyer: Pseudonym,
    /// Units wanted.
    pub quantity: Quantity,
    /// When it was taken.
    pub joined_at: Timestamp,
    /// Commits to the personal data stored beside this event, if it introduces the buyer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

/// Why a place in line was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaveCause {
    /// The buyer left.
    Buyer,
    /// The drop was cancelled.
    DropCancelled,
}

/// See [`DropEvent::WaitlistLeft`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaitlistLeft {
    /// The place in line.
    pub entry_id: WaitlistId,
    /// Whose it was.
    pub buyer: Pseudonym,
    /// Units that were wanted.
    pub quantity: Quantity,
    /// When.
    pub left_at: Timestamp,
    /// Why.
    pub cause: LeaveCause,
}

impl DropEvent {
    /// Every name that the log files an event under.
    pub const TYPES: &'static [&'static str] = &[
        "DropScheduled",
        "DropRescheduled",
        "DropCancelled",
        "HoldPlaced",
        "HoldExpired",
        "HoldReleased",
        "PurchaseConfirmed",
        "StockAdjusted",
        "WaitlistJoined",
        "WaitlistLeft",
    ];

    /// The name that the log files this event under.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::DropScheduled(_) => "DropScheduled",
            Self::DropRescheduled(_) => "DropRescheduled",
            Self::DropCancelled(_) => "DropCancelled",
            Self::HoldPlaced(_) => "HoldPlaced",
            Self::HoldExpired(_) => "HoldExpired",
            Self::HoldReleased(_) => "HoldReleased",
            Self::PurchaseConfirmed(_) => "PurchaseConfirmed",
            Self::StockAdjusted(_) => "StockAdjusted",
            Self::WaitlistJoined(_) => "WaitlistJoined",
            Self::WaitlistLeft(_) => "WaitlistLeft",
        }
    }

    /// The version of the payload's schema. A change that an old reader cannot read raises the first number and
    /// comes with an upcaster and a fixture of the old form.
    #[must_use]
    pub const fn event_version(&self) -> &'static str {
        match self {
            Self::DropScheduled(_)
            | Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::HoldPlaced(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::PurchaseConfirmed(_)
            | Self::StockAdjusted(_)
            | Self::WaitlistJoined(_)
            | Self::WaitlistLeft(_) => "1.0",
        }
    }

    /// The version that events of this type are written in; none for a type that is not known.
    #[must_use]
    pub fn version_of(event_type: &str) -> Option<&'static str> {
        Self::TYPES.contains(&event_type).then_some("1.0")
    }

    /// The buyer whom it is about, if it is about one.
    #[must_use]
    pub const fn buyer(&self) -> Option<Pseudonym> {
        match self {
            Self::HoldPlaced(event) => Some(event.buyer),
            Self::HoldExpired(event) => Some(event.buyer),
            Self::HoldReleased(event) => Some(event.buyer),
            Self::PurchaseConfirmed(event) => Some(event.buyer),
            Self::WaitlistJoined(event) => Some(event.buyer),
            Self::WaitlistLeft(event) => Some(event.buyer),
            Self::DropScheduled(_)
            | Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::StockAdjusted(_) => None,
        }
    }

    /// The idempotency key that it was asked for with, if there was one.
    #[must_use]
    pub const fn key(&self) -> Option<KeyDigest> {
        match self {
            Self::DropScheduled(event) => event.key,
            Self::HoldPlaced(event) => event.key,
            Self::StockAdjusted(event) => event.key,
            Self::WaitlistJoined(event) => event.key,
            Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::PurchaseConfirmed(_)
            | Self::WaitlistLeft(_) => None,
        }
    }

    /// When it was decided, according to its author; none for what is recorded at any time after:
    /// an expiry, which carries its deadline, and what a cancellation brings with it, which carries
    /// the time of the cancellation.
    #[must_use]
    pub const fn decided_at(&self) -> Option<Timestamp> {
        match self {
            Self::DropScheduled(event) => Some(event.scheduled_at),
            Self::DropRescheduled(event) => Some(event.rescheduled_at),
            Self::DropCancelled(event) => Some(event.cancelled_at),
            Self::HoldPlaced(event) => Some(event.placed_at),
            Self::HoldExpired(_) => None,
            Self::HoldReleased(event) => match event.cause {
                ReleaseCause::Buyer => Some(event.released_at),
                ReleaseCause::DropCancelled => None,
            },
            Self::PurchaseConfirmed(event) => Some(event.purchased_at),
            Self::StockAdjusted(event) => Some(event.adjusted_at),
            Self::WaitlistJoined(event) => Some(event.joined_at),
            Self::WaitlistLeft(event) => match event.cause {
                LeaveCause::Buyer => Some(event.left_at),
                LeaveCause::DropCancelled => None,
            },
        }
    }

    /// The commitment to personal data stored beside this event, if it has any.
    #[must_use]
    pub const fn commitment(&self) -> Option<Commitment> {
        match self {
            Self::HoldPlaced(event) => event.commitment,
            Self::PurchaseConfirmed(event) => event.commitment,
            Self::WaitlistJoined(event) => event.commitment,
            Self::DropScheduled(_)
            | Self::DropRescheduled(_)
            | Self::DropCancelled(_)
            | Self::HoldExpired(_)
            | Self::HoldReleased(_)
            | Self::StockAdjusted(_)
            | Self::WaitlistLeft(_) => None,
        }
    }
}
