//! Counts the connections of this process.

use std::sync::atomic::{AtomicU64, Ordering};

/// Global, as the counts of problems are: one process runs one server.
pub(crate) static COUNTS: Counts = Counts {
    accepted: AtomicU64::new(0),
    open: AtomicU64::new(0),
    limit: AtomicU64::new(0),
    over_limit: AtomicU64::new(0),
    of_address: AtomicU64::new(0),
    unanswered: AtomicU64::new(0),
};

#[derive(Debug)]
pub(crate) struct Counts {
    accepted: AtomicU64,
    open: AtomicU64,
    limit: AtomicU64,
    over_limit: AtomicU64,
    of_address: AtomicU64,
    unanswered: AtomicU64,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The limit of all connections is reached.
    Limit,
    /// The limit of its client address is reached.
    Address,
}

/// An open connection; counted until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection(());

impl OpenConnection {
    pub(super) fn accepted() -> Self {
        COUNTS.accepted.fetch_add(1, Ordering::Relaxed);
        COUNTS.open.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        COUNTS.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit as u64, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self, reason: Reason) {
        let counter = match reason {
            Reason::Limit => &self.over_limit,
            Reason::Address => &self.of_address,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn close_unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Refused connections by the name of the reason.
    pub(crate) fn refused(&self) -> [(&'static str, u64); 2] {
        [
            ("limit", self.over_limit.load(Ordering::Relaxed)),
            ("address", self.of_address.load(Ordering::Relaxed)),
        ]
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }
}
