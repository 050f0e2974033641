//! Where a drop is in its life.

use serde::{Deserialize, Serialize};

use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::Timestamp;

/// Where a drop is in its life, as the server's clock has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DropStatus {
    /// Not started.
    Scheduled,
    /// Units can be held.
    Live,
    /// Live, with nothing available.
    SoldOut,
    /// Over.
    Ended,
    /// Called off.
    Cancelled,
}

impl DropStatus {
    /// Every status; each stands at its own number.
    pub const ALL: [Self; 5] = [
        Self::Scheduled,
        Self::Live,
        Self::SoldOut,
        Self::Ended,
        Self::Cancelled,
    ];

    /// The status of a drop at `now`. Between two events it changes at `starts_at` and at `ends_at` only.
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

    /// Whether nothing can be held any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Cancelled)
    }
}
