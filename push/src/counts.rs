//! Counters of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The outcome of an attempt, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The push service accepted it (2xx).
    Delivered,
    /// The push service does not know the subscription any more (404, 410).
    Forgotten,
    /// The push service responded with another status.
    Rejected,
    /// The push service did not respond in time, or not with HTTP.
    NoResponse,
    /// No connection, or to no permitted address.
    Unreachable,
}

impl Outcome {
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Forgotten,
        Self::Rejected,
        Self::NoResponse,
        Self::Unreachable,
    ];

    /// Returns the value of the label `outcome`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Forgotten => "forgotten",
            Self::Rejected => "rejected",
            Self::NoResponse => "no_response",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Counts attempts. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<[AtomicU64; 8]>);

const GIVEN_UP: usize = 5;
const POSITION: usize = 6;
const PENDING: usize = 7;

impl Counts {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_given_up(&self) {
        self.0[GIVEN_UP].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn follow_up_to(&self, position: u64) {
        self.0[POSITION].store(position, Ordering::Relaxed);
    }

    pub(crate) fn set_pending(&self, pending: u64) {
        self.0[PENDING].store(pending, Ordering::Relaxed);
    }

    /// Returns how many jobs of the shop are not done, as last read.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.0[PENDING].load(Ordering::Relaxed)
    }

    /// Returns how many attempts had this outcome since the start.
    #[must_use]
    pub fn attempts(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    /// Returns how many messages were given up since the start.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.0[GIVEN_UP].load(Ordering::Relaxed)
    }

    /// Returns the position up to which this server has derived jobs from the log.
    #[must_use]
    pub fn followed(&self) -> u64 {
        self.0[POSITION].load(Ordering::Relaxed)
    }
}
