//! Measures how long requests wait in the engine's queue, and records the steps of those that
//! belong to a trace.

use std::sync::Arc;
use std::time::Duration;

use engine::{Observer, Step};
use infrastructure::feed::Committed;
use prometheus::{Histogram, HistogramOpts, Registry};
use telemetry::{Kind, Span};
use trace_context::Trace;

use super::registered;

/// Buckets in seconds, from an idle engine to its timeout.
const WAITS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.004, 0.005, 0.007_5, 0.01, 0.025, 0.05, 0.1,
    0.2, 0.3, 0.5, 1.0, 5.0,
];

/// A histogram of waits. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct QueueWaits(Histogram);

impl QueueWaits {
    pub(super) fn new(registry: &Registry) -> Self {
        let options = HistogramOpts::new(
            "holdfast_engine_queue_wait_seconds",
            "Time from a request's entry into the engine's queue until its batch is sent to the \
             log; a request that is decided again after a conflict is measured again.",
        );
        Self(registered(
            registry,
            Histogram::with_opts(options.buckets(WAITS.into())),
        ))
    }
}

impl Observer for QueueWaits {
    fn committed(&mut self, _: &Arc<Committed>) {}

    fn waited(&mut self, wait: Duration) {
        self.0.observe(wait.as_secs_f64());
    }

    fn traced(&mut self, trace: &Trace, step: Step) {
        match step {
            Step::Queued { took } => {
                Span::new(Kind::Internal, "queue").record_within(trace, took);
            }
            Step::Appended {
                took,
                events,
                outcome,
            } => {
                let span = Span::new(Kind::Client, "append")
                    .with("db.system.name", "postgresql")
                    .with("db.operation.name", "append")
                    .number("db.operation.batch.size", events as u64)
                    .with("holdfast.append.outcome", outcome);
                let span = match outcome {
                    "committed" => span,
                    other => span.failed(other),
                };
                span.record_within(trace, took);
            }
        }
    }
}
