//! Lateness of expiries: the time from a hold's deadline until its expiry was recorded.
//!
//! Limit: the newest [`KEPT`] expiries. An expiry that became due while no server ran counts
//! from its deadline as well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use domain::DropEvent;
use domain::values::Timestamp;
use engine::Observer;
use infrastructure::feed::Committed;
use schemars::JsonSchema;
use serde::Serialize;

/// Number of expiries kept.
const KEPT: usize = 4096;

/// Keeps the lateness of recent expiries. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ReleaseLateness(Arc<Mutex<VecDeque<Release>>>);

#[derive(Debug, Clone, Copy)]
struct Release {
    recorded_at: Timestamp,
    late_ms: i64,
}

/// The delay between the end of holds and their recorded expiry, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ReleaseLateness")]
pub(super) struct Lateness {
    /// The number of expiries in the sample.
    count: usize,
    p50_ms: i64,
    p99_ms: i64,
    max_ms: i64,
}

impl ReleaseLateness {
    /// Returns the lateness of expiries recorded from `from` on; `None` if there were none.
    pub(super) fn since(&self, from: Timestamp) -> Option<Lateness> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = kept.iter().filter(|release| release.recorded_at >= from);
        let mut late: Vec<i64> = recent.map(|release| release.late_ms).collect();
        drop(kept);
        late.sort_unstable();
        Some(Lateness {
            count: late.len(),
            p50_ms: quantile(&late, 50)?,
            p99_ms: quantile(&late, 99)?,
            max_ms: *late.last()?,
        })
    }
}

/// Returns the smallest value that at least `percent` of `sorted` do not exceed.
fn quantile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

impl Observer for ReleaseLateness {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let release = |recorded: &infrastructure::codec::RecordedEvent| match &recorded.event {
            DropEvent::HoldExpired(event) => Some(Release {
                recorded_at: recorded.recorded_at,
                late_ms: recorded.recorded_at.millis() - event.expired_at.millis(),
            }),
            DropEvent::DropScheduled(_)
            | DropEvent::DropDrafted(_)
            | DropEvent::DropRescheduled(_)
            | DropEvent::DropStarted(_)
            | DropEvent::DropEnded(_)
            | DropEvent::DropPublished(_)
            | DropEvent::DropPaused(_)
            | DropEvent::DropResumed(_)
            | DropEvent::DropCancelled(_)
            | DropEvent::HoldPlaced(_)
            | DropEvent::HoldExtended(_)
            | DropEvent::HoldChanged(_)
            | DropEvent::HoldReleased(_)
            | DropEvent::PurchaseConfirmed(_)
            | DropEvent::PurchaseRefunded(_)
            | DropEvent::StockAdjusted(_)
            | DropEvent::WaitlistJoined(_)
            | DropEvent::WaitlistLeft(_)
            | DropEvent::CodesCreated(_) => None,
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for release in committed.events.iter().filter_map(release) {
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_observed_values() {
        let sorted: Vec<i64> = (1..=200).collect();
        assert_eq!(quantile(&sorted, 50), Some(100));
        assert_eq!(quantile(&sorted, 99), Some(198));
        assert_eq!(quantile(&[7], 50), Some(7));
        assert_eq!(quantile(&[], 99), None);
    }

    #[test]
    fn expiry_before_the_window_does_not_count() {
        let lateness = ReleaseLateness::default();
        let at = Timestamp::from_millis;
        lateness.0.lock().unwrap().extend([
            Release {
                recorded_at: at(1_000),
                late_ms: 90,
            },
            Release {
                recorded_at: at(2_000),
                late_ms: 3,
            },
        ]);
        let seen = lateness.since(at(2_000)).unwrap();
        assert_eq!((seen.count, seen.p50_ms, seen.max_ms), (1, 3, 3));
        assert_eq!(lateness.since(at(1_000)).unwrap().max_ms, 90);
        assert_eq!(lateness.since(at(2_001)), None);
    }
}
