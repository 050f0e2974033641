//! The times at which states were received, compared with the times at which the log recorded them.
//!
//! Two measures. *The latency of a frame*: from the recording of the event at its position to its
//! receipt, the age of the news. *The latency of a change*: from its recording to the first frame
//! at or after it, the time during which a watcher did not know it; it contains the stream's own
//! interval, which conflates changes on purpose.
//! Limit: one clock, in whole milliseconds; `recorded_at` is the time of the engine's decision, so
//! both include the commit.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;
use uuid::Uuid;

use crate::error::{BenchError, Doing};

/// A state at `position`, received in one millisecond by watchers that knew the log up to `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receipt {
    /// The position of the previous state.
    pub after: i64,
    /// The position of this state.
    pub position: i64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Receipts, with the number of watchers.
pub type Receipts = HashMap<Receipt, u64>;

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    pub max_ms: f64,
    pub count: u64,
}

impl Latency {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run")]
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64;
        Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: histogram.max() as f64,
            count: histogram.len(),
        }
    }
}

/// Returns when each event of `drop_id` was recorded, in milliseconds since the Unix epoch, by
/// position.
///
/// # Errors
/// [`BenchError`].
pub async fn recorded(log: &PgPool, drop_id: Uuid) -> Result<BTreeMap<i64, i64>, BenchError> {
    let rows: Vec<(i64, DateTime<Utc>)> = sqlx::query_as(
        "SELECT position, recorded_at FROM events WHERE aggregate_type = 'Drop' AND aggregate_id = $1",
    )
    .bind(drop_id.to_string())
    .fetch_all(log)
    .await
    .doing("read when the log was written")?;
    let millis = |(position, at): (i64, DateTime<Utc>)| (position, at.timestamp_millis());
    Ok(rows.into_iter().map(millis).collect())
}

/// Returns the latencies of frames and of changes.
///
/// # Errors
/// Never in practice: the histogram's bounds are constants.
pub fn latencies(
    receipts: &[(Receipt, u64)],
    recorded: &BTreeMap<i64, i64>,
) -> Result<(Latency, Latency), BenchError> {
    let new = || Histogram::new_with_bounds(1, 600_000, 3).doing("make a histogram");
    let (mut frames, mut changes) = (new()?, new()?);
    let late = |at_ms: i64, since: i64| at_ms.saturating_sub(since).max(0).unsigned_abs();
    for (receipt, count) in receipts {
        if let Some(since) = recorded.get(&receipt.position) {
            frames
                .record_n(late(receipt.at_ms, *since), *count)
                .doing("count frames")?;
        }
        if receipt.after < receipt.position {
            for since in recorded.range(receipt.after + 1..=receipt.position) {
                changes
                    .record_n(late(receipt.at_ms, *since.1), *count)
                    .doing("count changes")?;
            }
        }
    }
    Ok((Latency::of(&frames), Latency::of(&changes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_of_frames_and_of_changes_use_their_own_events() {
        let recorded = BTreeMap::from([(7, 1_000), (8, 1_040), (9, 1_060)]);
        let receipt = |after, position, at_ms| Receipt {
            after,
            position,
            at_ms,
        };
        let receipts = [(receipt(6, 7, 1_005), 3), (receipt(7, 9, 1_070), 1)];
        let (frames, changes) = latencies(&receipts, &recorded).unwrap();
        assert_eq!((frames.count, changes.count), (4, 5));
        assert!((frames.max_ms - 10.0).abs() < 1e-9, "{frames:?}");
        assert!((changes.max_ms - 30.0).abs() < 1e-9, "{changes:?}");
        assert!((frames.p50_ms - 5.0).abs() < 1e-9);
    }
}
