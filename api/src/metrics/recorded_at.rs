//! When recent positions of the log were recorded, so that lag can be given in seconds.
//!
//! Limit: one sample for each [`SPACING_MS`], and the newest [`KEPT`] samples. A lag is therefore
//! at most that much too long, and one that is longer than the samples reach is too short.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use domain::values::{Position, Timestamp};
use engine::Observer;
use infrastructure::feed::Committed;

/// The distance of two samples, in milliseconds.
const SPACING_MS: i64 = 100;
/// 55 minutes of a busy log.
const KEPT: usize = 32_768;

/// Keeps the samples. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordedAt(Arc<Mutex<VecDeque<(Position, Timestamp)>>>);

impl RecordedAt {
    /// Returns how long, in milliseconds, the first event after `checkpoint` has waited at `now`;
    /// 0 if there is none up to `head`.
    pub(super) fn lag_ms(&self, checkpoint: Position, head: Position, now: Timestamp) -> i64 {
        if checkpoint >= head {
            return 0;
        }
        let first_missing = Position(checkpoint.0 + 1);
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = samples.partition_point(|(position, _)| *position <= first_missing);
        let sample = samples.get(later.saturating_sub(1));
        sample.map_or(0, |(_, at)| (now.millis() - at.millis()).max(0))
    }

    fn add(&self, position: Position, at: Timestamp) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = samples.back();
        if last.is_some_and(|(_, last)| at.millis() - last.millis() < SPACING_MS) {
            return;
        }
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back((position, at));
    }
}

impl Observer for RecordedAt {
    fn committed(&mut self, committed: &Arc<Committed>) {
        let drops = committed.events.first();
        let orders = committed.orders.first();
        let drop = drops.map(|event| (event.position, event.recorded_at));
        let order = orders.map(|event| (event.position, event.recorded_at));
        if let Some((position, at)) = drop.into_iter().chain(order).min() {
            self.add(position, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_from_the_first_event_that_is_not_applied() {
        let times = RecordedAt::default();
        let at = Timestamp::from_millis;
        for (position, millis) in [(1, 1_000), (5, 1_050), (9, 2_000), (20, 60_000)] {
            times.add(Position(position), at(millis));
        }
        let lag = |checkpoint| times.lag_ms(Position(checkpoint), Position(20), at(61_000));
        assert_eq!(lag(20), 0, "at the head");
        assert_eq!(lag(19), 1_000);
        assert_eq!(
            lag(18),
            59_000,
            "the sample before position 19 is that of 9"
        );
        assert_eq!(
            lag(7),
            60_000,
            "position 5 is too close to 1 for a sample of its own"
        );
        assert_eq!(lag(0), 60_000);
    }

    #[test]
    fn only_the_newest_samples_are_kept() {
        let times = RecordedAt::default();
        for position in 0..=KEPT as u64 {
            let millis = i64::try_from(position).unwrap() * SPACING_MS;
            times.add(Position(position), Timestamp::from_millis(millis));
        }
        let samples = times.0.lock().unwrap();
        assert_eq!(samples.len(), KEPT);
        assert_eq!(
            samples.front().map(|(position, _)| *position),
            Some(Position(1))
        );
    }
}
