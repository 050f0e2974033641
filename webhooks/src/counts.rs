//! Counters of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The result of an attempt, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// The receiver accepted it (2xx).
    Delivered,
    /// The receiver responded with another status.
    Rejected,
    /// The receiver did not respond in time, or not with HTTP.
    NoResponse,
    /// No connection, or to no permitted address.
    Unreachable,
}

impl Result {
    pub const ALL: [Self; 4] = [
        Self::Delivered,
        Self::Rejected,
        Self::NoResponse,
        Self::Unreachable,
    ];

    /// Returns the value of the label `outcome`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::NoResponse => "no_response",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Counts attempts. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<[AtomicU64; 5]>);

impl Counts {
    pub(crate) fn count(&self, result: Result) {
        self.0[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_given_up(&self) {
        self.0[4].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many attempts had this result since the start.
    #[must_use]
    pub fn attempts(&self, result: Result) -> u64 {
        self.0[result as usize].load(Ordering::Relaxed)
    }

    /// Returns how many deliveries were given up since the start.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.0[4].load(Ordering::Relaxed)
    }
}
