//! Spans and metrics for OpenTelemetry, sent by OTLP over HTTP in protobuf.
//!
//! Promise: recording a span never waits: spans wait in a bounded queue ([`MOST_SPANS`]), and those
//! beyond it, or that a collector does not take, are dropped and counted. Without an endpoint
//! nothing is recorded, and asking costs one load. No attribute has an id of a buyer, a name, an
//! address, a token or a part of a path that a client chooses.
//! Limit: the metrics are those of `/metrics`, read for each export; nothing is counted twice.
//!
//! Source: docs/decisions/0099-opentelemetry-by-a-small-exporter.md.

mod call;
mod endpoint;
mod export;
mod metrics;
mod resource;
mod sampler;
mod span;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use trace_context::Trace;

pub use self::call::{Call, Handled};
pub use self::endpoint::Endpoint;
pub use self::export::{Exporter, ExporterError};
use self::sampler::Sampler;
pub use self::span::{Kind, Span};

/// Spans that may wait to be sent; one more is dropped.
pub const MOST_SPANS: usize = 4_096;

/// The state of recording, once it is switched on.
struct Recorder {
    sampler: Sampler,
    spans: Sender<ProtoSpan>,
}

static RECORDER: OnceLock<Recorder> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Switches recording on for this process, and returns the queue of spans; `None` if it is on.
fn switch_on(sampler: Sampler) -> Option<Receiver<ProtoSpan>> {
    let (spans, queue) = channel(MOST_SPANS);
    RECORDER.set(Recorder { sampler, spans }).ok()?;
    Some(queue)
}

/// Returns true if spans are recorded.
#[must_use]
pub fn is_on() -> bool {
    RECORDER.get().is_some()
}

/// Returns the number of spans that were dropped.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn count_dropped(spans: usize) {
    DROPPED.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Returns the trace with a span of this process, if the trace is sampled, so that its steps are
/// recorded. Without an endpoint it is returned as it is.
#[must_use]
pub fn observed(trace: Trace) -> Trace {
    match RECORDER.get() {
        Some(recorder) => {
            let is_sampled = recorder.sampler.samples(&trace);
            trace.in_span(is_sampled)
        }
        None => trace,
    }
}

/// Records a span that is over.
fn record(span: ProtoSpan) {
    if let Some(recorder) = RECORDER.get()
        && recorder.spans.try_send(span).is_err()
    {
        count_dropped(1);
    }
}
