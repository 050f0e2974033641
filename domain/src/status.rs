//! The status of a drop.

use serde::{Deserialize, Serialize};

use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::Timestamp;

/// The interruption of a sale by an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// Nothing.
    None,
    /// It can continue.
    Paused,
    /// It is over for good.
    Cancelled,
}

/// The status of a drop, according to the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DropStatus {
    /// The drop has not started.
    Scheduled,
    /// Units can be held.
    Live,
    /// Live, with nothing available.
    SoldOut,
    /// The drop has ended.
    Ended,
    /// The drop was cancelled.
    Cancelled,
    /// The sale is interrupted: nothing can be held until it is resumed.
    Paused,
    /// The drop is not published yet. Only administrators and auditors see it.
    Draft,
}

impl DropStatus {
    /// All statuses, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Live,
        Self::SoldOut,
        Self::Ended,
        Self::Cancelled,
        Self::Paused,
        Self::Draft,
    ];

    /// Returns the status of a drop at `now`. Between two events it changes only at `starts_at` and
    /// `ends_at`.
    #[must_use]
    pub fn at(terms: &DropTerms, stock: Stock, interruption: Interruption, now: Timestamp) -> Self {
        if interruption == Interruption::Cancelled {
            Self::Cancelled
        } else if terms.draft {
            Self::Draft
        } else if terms.ends_at.is_some_and(|ends_at| now >= ends_at) {
            Self::Ended
        } else if interruption == Interruption::Paused {
            Self::Paused
        } else if now < terms.starts_at {
            Self::Scheduled
        } else if stock.available == 0 {
            Self::SoldOut
        } else {
            Self::Live
        }
    }

    /// Returns true if holds are no longer possible.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Cancelled)
    }
}
