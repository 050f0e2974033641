//! Log lines that clients can cause, at most one of each kind per interval, each with its count.
//!
//! Lines contain counts and no addresses: an address is personal data.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;

/// Shortest time between two lines of one kind.
const EVERY: Duration = Duration::from_secs(60);

/// The kind of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportKind {
    /// A limit per address refused a request.
    Refused,
    /// A request with an unknown key.
    WrongKey,
    /// A sign-in with a wrong admin key.
    FailedSignIn,
    /// A request for a hold or an entry that does not exist.
    UnknownId,
    /// A request for units with an access code that the drop does not have.
    WrongCode,
    /// A limited address forwards for others and is not a trusted proxy.
    UnnamedProxy,
    /// The same from a network without bounds.
    UnnamedUnlimitedProxy,
}

const KINDS: usize = 7;

#[derive(Debug, Default)]
pub(super) struct Reports([Report; KINDS]);

#[derive(Debug, Default)]
struct Report {
    since_last: AtomicU64,
    /// The time from which the next line may be written, in milliseconds of the caller's clock.
    next_at: AtomicU64,
}

impl Report {
    /// Counts one occurrence. If a line is due, returns the count since the last line.
    fn count(&self, now: Duration) -> Option<u64> {
        self.since_last.fetch_add(1, Ordering::Relaxed);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let next_at = self.next_at.load(Ordering::Relaxed);
        let is_due = millis(now) >= next_at
            && self
                .next_at
                .compare_exchange(
                    next_at,
                    millis(now + EVERY),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        is_due.then(|| self.since_last.swap(0, Ordering::Relaxed))
    }
}

impl Reports {
    /// Counts one occurrence, and writes a line if one is due.
    pub(super) fn note(&self, kind: ReportKind, now: Duration) {
        let Some(times) = self.0[kind as usize].count(now) else {
            return;
        };
        match kind {
            ReportKind::Refused => warn!(
                times,
                "requests refused by limits per address since the last such line: {times}"
            ),
            ReportKind::WrongKey => warn!(
                times,
                "requests with an unknown bearer key since the last such line: {times}"
            ),
            ReportKind::FailedSignIn => warn!(
                times,
                "failed sign-ins to the dashboard since the last such line: {times}"
            ),
            ReportKind::UnknownId => warn!(
                times,
                "requests for unknown holds or waitlist entries since the last such line: {times}"
            ),
            ReportKind::WrongCode => warn!(
                times,
                "requests with a wrong access code since the last such line: {times}"
            ),
            ReportKind::UnnamedProxy => warn!(
                times,
                "a peer that HOLDFAST_TRUSTED_PROXIES does not name sends X-Forwarded-For or \
                 Forwarded: if it is a proxy, all its clients count as one address; add it there"
            ),
            ReportKind::UnnamedUnlimitedProxy => warn!(
                times,
                "a peer in HOLDFAST_UNLIMITED_NETWORKS that HOLDFAST_TRUSTED_PROXIES does not name \
                 sends X-Forwarded-For or Forwarded: if it is a proxy, its clients have no limits \
                 per address; add it there"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_is_immediate_and_later_lines_are_rare_and_count_everything() {
        let report = Report::default();
        let at = Duration::from_secs;
        let lines = [0, 1, 59, 60, 61, 200].map(|second| report.count(at(second)));
        assert_eq!(lines, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
