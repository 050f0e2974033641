//! Figures for Prometheus: `GET /metrics`, in the text format 0.0.4.
//!
//! Promise: a request is counted without a lock or an allocation; label values are routes of the router, methods, classes of
//! status, codes and names of this program, so their number is bounded, and none names a person, an address or a drop.
//! Counts of events are those of the whole log as this process has followed it: the same at every process of a log, and
//! not gone after a restart. All else is this process's own, since its start.
//! Limit: a request counts once its answer begins (a stream does so at once), and not at all when the caller leaves before.

mod events;
mod measured_log;
mod process;
mod requests;
mod state;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntCounter, IntGauge, Opts, Registry, TextEncoder};

pub use self::events::EventCounts;
pub use self::measured_log::{Appends, MeasuredLog};
pub(crate) use self::requests::{Measure, Requests};
use crate::app::App;
use crate::problem::Problem;

/// Everything that is counted as it happens. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Counted>);

struct Counted {
    registry: Registry,
    requests: Arc<Requests>,
    appends: Appends,
    events: EventCounts,
    started: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        Self(Arc::new(Counted {
            requests: Arc::new(Requests::new(&registry)),
            appends: Appends::new(&registry),
            events: EventCounts::new(&registry),
            started: process::now(),
            registry,
        }))
    }
}

impl Metrics {
    /// Counts appends to the log.
    #[must_use]
    pub fn appends(&self) -> Appends {
        self.0.appends.clone()
    }

    /// Counts what happened.
    #[must_use]
    pub fn events(&self) -> EventCounts {
        self.0.events.clone()
    }

    /// Counts requests on `paths`.
    #[must_use]
    pub(crate) fn measure(&self, paths: &[&'static str]) -> Measure {
        Measure::new(Arc::clone(&self.0.requests), paths)
    }
}

/// `GET /metrics`
pub(crate) async fn scrape(State(app): State<App>) -> Result<Response, Problem> {
    let mut families = app.metrics.0.registry.gather();
    families.extend(state::families(&app));
    families.extend(process::families(app.metrics.0.started));
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = vec![];
    TextEncoder::new()
        .encode(&families, &mut text)
        .map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, prometheus::TEXT_FORMAT),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}

/// A metric whose name, labels and buckets are literals of this program: a test makes every one of them.
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("the name, the labels and the buckets of a metric are well formed")
}

fn registered<T: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<T>,
) -> T {
    let metric = made(metric);
    made(registry.register(Box::new(metric.clone())));
    metric
}

/// A counter whose value is known elsewhere, as it is now.
fn counter(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let counter = made(IntCounter::new(name, help));
    counter.inc_by(value);
    counter.collect()
}

/// A gauge whose value is known elsewhere, as it is now.
fn gauge(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let gauge = made(IntGauge::new(name, help));
    gauge.set(whole(value));
    gauge.collect()
}

/// Gauges of one name, one for each value of `label`.
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
