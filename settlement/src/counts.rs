//! Numbers about jobs, for the metrics.
//!
//! Attempts are counted by this process. Open jobs are those of the whole shop, read from the table
//! every few seconds, because a scrape must cost the database nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::values::{Position, Timestamp};

use crate::store::{Finish, JobKind};

/// How an attempt at a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The job is done.
    Done,
    /// Another party has to act first.
    Waiting,
    /// It failed and will be repeated.
    Failed,
    /// It failed, and the job is given up.
    GivenUp,
    /// The lease of the job was lost during the attempt.
    LeaseLost,
}

impl Outcome {
    pub const ALL: [Self; 5] = [
        Self::Done,
        Self::Waiting,
        Self::Failed,
        Self::GivenUp,
        Self::LeaseLost,
    ];

    /// Returns the value of the label `outcome`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::LeaseLost => "lease_lost",
        }
    }
}

impl From<&Finish> for Outcome {
    fn from(finish: &Finish) -> Self {
        match finish {
            Finish::Done => Self::Done,
            Finish::Wait(_) | Finish::WaitFor { .. } => Self::Waiting,
            Finish::Again { .. } => Self::Failed,
            Finish::Failed { .. } => Self::GivenUp,
        }
    }
}

/// The open jobs of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenJobs {
    /// Jobs that are not done.
    pub pending: u64,
    /// When the oldest pending one was created.
    pub oldest_pending: Option<Timestamp>,
    /// Jobs that were given up, and that no administrator has cancelled.
    pub given_up: u64,
}

const KINDS: usize = JobKind::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();

/// Counts attempts, and keeps the last numbers of open jobs. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    attempts: [[AtomicU64; OUTCOMES]; KINDS],
    followed: AtomicU64,
    open: Mutex<[OpenJobs; KINDS]>,
}

impl Counts {
    pub(crate) fn count(&self, kind: JobKind, outcome: Outcome) {
        self.0.attempts[kind as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn follow_up_to(&self, position: Position) {
        self.0.followed.store(position.0, Ordering::Relaxed);
    }

    pub(crate) fn set_open(&self, open: &[(JobKind, OpenJobs)]) {
        let mut all = [OpenJobs::default(); KINDS];
        for &(kind, jobs) in open {
            all[kind as usize] = jobs;
        }
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Returns how many attempts at jobs of this kind ended so, since the start of this process.
    #[must_use]
    pub fn attempts(&self, kind: JobKind, outcome: Outcome) -> u64 {
        self.0.attempts[kind as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// Returns the position up to which this process has derived jobs from the log.
    #[must_use]
    pub fn followed(&self) -> Position {
        Position(self.0.followed.load(Ordering::Relaxed))
    }

    /// Returns the open jobs of a kind, as last read.
    #[must_use]
    pub fn open(&self, kind: JobKind) -> OpenJobs {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_outcome_has_its_own_number() {
        let counts = Counts::default();
        for (index, kind) in JobKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        counts.count(JobKind::Refund, Outcome::LeaseLost);
        assert_eq!(counts.attempts(JobKind::Refund, Outcome::LeaseLost), 1);
        assert_eq!(counts.attempts(JobKind::Refund, Outcome::Done), 0);
        assert_eq!(counts.attempts(JobKind::Capture, Outcome::LeaseLost), 0);
        let two = OpenJobs {
            pending: 2,
            ..OpenJobs::default()
        };
        counts.set_open(&[(JobKind::Cancel, two)]);
        assert_eq!(counts.open(JobKind::Cancel), two);
        counts.set_open(&[]);
        assert_eq!(counts.open(JobKind::Cancel), OpenJobs::default());
    }
}
