//! Metrics for Prometheus: `GET /metrics`, in the text format 0.0.4.
//!
//! Promise: counting a request takes no lock and no allocation. Label values are routes, methods,
//! status classes, problem codes and names defined by this program, so their number is bounded and
//! none identifies a person, an address or a drop. Event counters cover the whole log as this
//! process has read it: they are equal on every node of a log and survive a restart. All other
//! counters count from the start of this process; docs/OPERATING.md has the scope of each one.
//! Limit: a request is counted when its response starts (immediately for a stream), and not at all
//! if the client disconnects before that.

mod events;
mod measured_log;
mod pools;
mod process;
mod queue_waits;
mod recorded_at;
mod requests;
pub mod scrape;

use std::sync::Arc;

use domain::values::{Position, Timestamp};
use engine::Observer;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge, Opts, Registry};
use sqlx::PgPool;

use self::events::EventCounts;
pub use self::measured_log::{Appends, MeasuredLog};
use self::pools::Pools;
use self::queue_waits::QueueWaits;
use self::recorded_at::RecordedAt;
pub(crate) use self::requests::{Measure, Requests};

/// The counters that are updated when something happens. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Counted>);

struct Counted {
    registry: Registry,
    requests: Arc<Requests>,
    appends: Appends,
    events: EventCounts,
    queue_waits: QueueWaits,
    recorded_at: RecordedAt,
    pools: Pools,
    started: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        Self(Arc::new(Counted {
            requests: Arc::new(Requests::new(&registry)),
            appends: Appends::new(&registry),
            events: EventCounts::new(&registry),
            queue_waits: QueueWaits::new(&registry),
            recorded_at: RecordedAt::default(),
            pools: Pools::default(),
            started: process::now(),
            registry,
        }))
    }
}

impl Metrics {
    /// Returns the counters of appends to the log.
    #[must_use]
    pub fn appends(&self) -> Appends {
        self.0.appends.clone()
    }

    /// Returns the observer that counts events and the waits of requests.
    #[must_use]
    pub fn observer(&self) -> impl Observer + use<> {
        let counted = &self.0;
        (
            counted.events.clone(),
            (counted.queue_waits.clone(), counted.recorded_at.clone()),
        )
    }

    /// See [`RecordedAt::lag_ms`].
    pub(crate) fn lag_ms(&self, checkpoint: Position, head: Position, now: Timestamp) -> i64 {
        self.0.recorded_at.lag_ms(checkpoint, head, now)
    }

    /// Reports the connections of `pool` under this name from now on.
    pub fn watch_pool(&self, name: &'static str, pool: &PgPool) {
        self.0.pools.add(name, pool.clone());
    }

    /// Returns a layer that counts requests to `paths`.
    #[must_use]
    pub(crate) fn measure(&self, paths: &[&'static str]) -> Measure {
        Measure::new(Arc::clone(&self.0.requests), paths)
    }
}

/// Unwraps the construction of a metric. Names, labels and buckets are literals of this program,
/// and a test constructs every one of them.
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("name, labels and buckets of a metric are well formed")
}

fn registered<T: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<T>,
) -> T {
    let metric = made(metric);
    made(registry.register(Box::new(metric.clone())));
    metric
}

/// Returns a counter with a value that is kept elsewhere.
fn counter(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let counter = made(IntCounter::new(name, help));
    counter.inc_by(value);
    counter.collect()
}

/// Returns a gauge with a value that is kept elsewhere.
fn gauge(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let gauge = made(IntGauge::new(name, help));
    gauge.set(whole(value));
    gauge.collect()
}

/// Returns gauges of one name, one for each value of `label`.
fn gauges(
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> Vec<MetricFamily> {
    let gauges = made(prometheus::IntGaugeVec::new(
        Opts::new(name, help),
        &[label],
    ));
    for (value, now) in values {
        gauges.with_label_values(&[value]).set(whole(now));
    }
    gauges.collect()
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
