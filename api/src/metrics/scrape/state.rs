//! The state of the server, read at each scrape from the same sources as the dashboard.

use engine::Health;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounterVec, Opts};

use crate::app::App;
use crate::metrics::{counter, gauge, gauges, made};
use crate::problem;

/// Returns the current values.
pub(super) fn families(app: &App) -> Vec<MetricFamily> {
    [
        engine(app),
        projections(app),
        refusals(app),
        stream(app),
        webhooks(app),
    ]
    .concat()
}

fn engine(app: &App) -> Vec<MetricFamily> {
    let is_up = app.engine.health() == Health::Live;
    [
        gauge(
            "holdfast_engine_up",
            "1 while requests can be recorded, otherwise 0.",
            is_up.into(),
        ),
        gauge(
            "holdfast_engine_queue_depth",
            "Requests in the engine's queue.",
            app.engine.queued() as u64,
        ),
        gauge(
            "holdfast_log_head_position",
            "The last position of the log that this server has applied.",
            app.views.position().0,
        ),
        gauge(
            "holdfast_quarantined_drops",
            "Drops in quarantine: this server cannot apply one of their events.",
            app.views.quarantined_count() as u64,
        ),
        gauge(
            "holdfast_quarantined_orders",
            "Orders in quarantine: this server cannot apply one of their events.",
            app.views.quarantined_orders_count() as u64,
        ),
        clock_skew(app),
    ]
    .concat()
}

fn clock_skew(app: &App) -> Vec<MetricFamily> {
    let Some(skew) = app.engine.clock_skew() else {
        return vec![];
    };
    let skewed = made(Gauge::new(
        "holdfast_clock_skew_seconds",
        "This server's clock minus the database's at the last comparison; positive when this \
         server is ahead.",
    ));
    skewed.set(skew.estimate_seconds());
    skewed.collect()
}

fn projections(app: &App) -> Vec<MetricFamily> {
    let head = app.views.position().0;
    let now: Vec<_> = app
        .projections
        .iter()
        .map(|(name, progress)| {
            let progress = progress.borrow();
            (*name, progress.checkpoint.0, progress.stopped.is_some())
        })
        .collect();
    let checkpoints = now.iter().map(|&(name, checkpoint, _)| (name, checkpoint));
    let lags = now
        .iter()
        .map(|&(name, checkpoint, _)| (name, head.saturating_sub(checkpoint)));
    let halted = now
        .iter()
        .map(|&(name, _, is_halted)| (name, u64::from(is_halted)));
    [
        gauges(
            "holdfast_projection_checkpoint_position",
            "The position up to which the projection's table reflects the log.",
            "projection",
            checkpoints,
        ),
        gauges(
            "holdfast_projection_lag_events",
            "Events of the log that the projection's table does not reflect yet.",
            "projection",
            lags,
        ),
        gauges(
            "holdfast_projection_halted",
            "1 if the projection has stopped and its table has to be rebuilt, otherwise 0.",
            "projection",
            halted,
        ),
    ]
    .concat()
}

fn refusals(app: &App) -> Vec<MetricFamily> {
    let problems = made(IntCounterVec::new(
        Opts::new("holdfast_problems_total", "Error responses, by code."),
        &["code"],
    ));
    for (code, count) in problem::sent_counts() {
        problems.with_label_values(&[code.name()]).inc_by(count);
    }
    let refused = app.refused.since_start();
    [
        problems.collect(),
        counter(
            "holdfast_oversell_attempts_blocked_total",
            "Requests rejected because not enough units were available.",
            refused.sold_out,
        ),
        counter(
            "holdfast_limit_refusals_total",
            "Requests rejected because of a limit of units per hold or per buyer.",
            refused.limit_reached,
        ),
        counter(
            "holdfast_throttle_blocks_total",
            "Requests rejected by the rate limit of a buyer or an address.",
            refused.throttled,
        ),
    ]
    .concat()
}

fn stream(app: &App) -> Vec<MetricFamily> {
    gauge(
        "holdfast_stream_watchers",
        "Open SSE streams.",
        app.hub.watchers() as u64,
    )
}

fn webhooks(app: &App) -> Vec<MetricFamily> {
    let counts = app.webhooks.counts();
    let attempts = made(IntCounterVec::new(
        Opts::new(
            "holdfast_webhook_attempts_total",
            "Attempts to deliver a webhook, by outcome.",
        ),
        &["outcome"],
    ));
    for result in ::webhooks::counts::Result::ALL {
        let count = counts.attempts(result);
        attempts.with_label_values(&[result.name()]).inc_by(count);
    }
    [
        attempts.collect(),
        counter(
            "holdfast_webhook_given_up_total",
            "Deliveries of webhooks that were given up.",
            counts.given_up(),
        ),
        gauge(
            "holdfast_webhook_endpoints",
            "Webhook endpoints that this server dispatches.",
            app.webhooks.dispatched() as u64,
        ),
        gauge(
            "holdfast_webhook_lag_events",
            "Events that these endpoints have not received yet, in total.",
            app.webhooks.lag(app.views.position()),
        ),
    ]
    .concat()
}
