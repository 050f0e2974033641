//! The status of a drop.

use serde::{Deserialize, Serialize};

use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::Timestamp;

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
}

impl DropStatus {
    /// All statuses, in the order of their discriminants.
    pub const ALL: [Self; 5] = [
        Self::Scheduled,
        Self::Live,
        Self::SoldOut,
        Self::Ended,
        Self::Cancelled,
    ];

    /// Returns the status of a drop at `now`. Between two events it changes only at `starts_at` and
    /// `ends_at`.
    #[must_use]
    pub fn at(terms: &DropTerms, stock: Stock, is_cancelled: bool, now: Timestamp) -> Self {
        if is_cancelled {
            Self::Cancelled
        } else if terms.ends_at.is_some_and(|ends_at| now >= ends_at) {
            Self::Ended
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
