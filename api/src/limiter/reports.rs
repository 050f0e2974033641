//! Log lines that a client can provoke, at most one of each kind in a while, each with its count.
//!
//! Lines hold counts and no addresses: an address is personal data.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;

/// The shortest time between two lines of one kind.
const EVERY: Duration = Duration::from_secs(60);

/// Something worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    /// A bound for addresses refused a request.
    Refused,
    /// A key that is not known.
    WrongKey,
    /// A sign-in with another key than the admin's.
    FailedSignIn,
    /// A hold or an entry that does not exist.
    UnknownId,
    /// A bounded address forwards for others and is not named.
    UnnamedProxy,
    /// The same from a network without bounds.
    UnnamedUnlimitedProxy,
}

const KINDS: usize = 6;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reports([Report; KINDS]);

#[derive(Debug, Default)]
struct Report {
    since_last: AtomicU64,
    /// When the next line may be written, in milliseconds of the caller's clock.
    next_at: AtomicU64,
}

impl Report {
    /// Counts one. Returns how many there were since the last line when it is time for another.
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
    /// Counts it, and writes a line if the last one was long ago.
    pub(super) fn note(&self, happened: Happened, now: Duration) {
        let Some(times) = self.0[happened as usize].count(now) else {
            return;
        };
        match happened {
            Happened::Refused => warn!(
                times,
                "bounds for addresses refused {times} requests since the last such line"
            ),
            Happened::WrongKey => warn!(
                times,
                "{times} requests with an unknown bearer key since the last such line"
            ),
            Happened::FailedSignIn => warn!(
                times,
                "{times} failed sign-ins to the dashboard since the last such line"
            ),
            Happened::UnknownId => warn!(
                times,
                "{times} requests for unknown holds or waitlist entries since the last such line"
            ),
            Happened::UnnamedProxy => warn!(
                times,
                "a peer that HOLDFAST_TRUSTED_PROXIES does not name sends X-Forwarded-For or \
                 Forwarded: if it is a proxy, all its clients count as one address; name it there"
            ),
            Happened::UnnamedUnlimitedProxy => warn!(
                times,
                "a peer in HOLDFAST_UNLIMITED_NETWORKS that HOLDFAST_TRUSTED_PROXIES does not name \
                 sends X-Forwarded-For or Forwarded: if it is a proxy, no bound for addresses \
                 applies to its clients; name it there"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_at_once_then_once_in_a_while_with_all_that_came_between() {
        let report = Report::default();
        let at = Duration::from_secs;
        let lines = [0, 1, 59, 60, 61, 200].map(|second| report.count(at(second)));
        assert_eq!(lines, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
