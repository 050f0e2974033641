//! The state of the server, read at each scrape from the same sources as the dashboard.

use std::time::Duration;

use domain::values::Position;
use engine::{ClockFault, Health};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntCounterVec, Opts};
use settlement::counts::{OpenJobs, Outcome};
use settlement::store::JobKind;

use crate::app::App;
use crate::connections::COUNTS;
use crate::metrics::{counter, gauge, gauges, made};
use crate::problem;

/// Returns the current values.
pub(super) fn families(app: &App) -> Vec<MetricFamily> {
    [
        build(),
        counter(
            "holdfast_otlp_spans_dropped_total",
            "Spans that were recorded and not sent: the queue was full, or the collector was away.",
            telemetry::dropped(),
        ),
        engine(app),
        connections(),
        projections(app),
        refusals(app),
        stream(app),
        webhooks(app),
        push(app),
        payment_jobs(app),
    ]
    .concat()
}

fn build() -> Vec<MetricFamily> {
    gauges(
        "holdfast_build_info",
        "Always 1; the version of the program is a label.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    )
}

fn connections() -> Vec<MetricFamily> {
    let refused = made(IntCounterVec::new(
        Opts::new(
            "holdfast_connections_refused_total",
            "Refused connections, by reason: limit (HOLDFAST_MAX_CONNECTIONS), address \
             (HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS).",
        ),
        &["reason"],
    ));
    for (reason, count) in COUNTS.refused() {
        refused.with_label_values(&[reason]).inc_by(count);
    }
    [
        refused.collect(),
        counter(
            "holdfast_connections_accepted_total",
            "Accepted connections, refused ones not included.",
            COUNTS.accepted(),
        ),
        counter(
            "holdfast_connections_closed_unanswered_total",
            "Refused connections that were closed without a response, because too many were \
             refused at the same time.",
            COUNTS.unanswered(),
        ),
        gauge(
            "holdfast_connections_open",
            "Open connections of clients, streams included.",
            COUNTS.open(),
        ),
        gauge(
            "holdfast_connections_limit",
            "The largest number of open connections, by HOLDFAST_MAX_CONNECTIONS and the limit of \
             open files.",
            COUNTS.limit(),
        ),
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
            "holdfast_engine_queue_limit",
            "The largest number of requests in the engine's queue (HOLDFAST_QUEUE).",
            app.engine.queue_limit() as u64,
        ),
        gauge(
            "holdfast_log_head_position",
            "The last position of the log that this server has applied.",
            app.views.position().0,
        ),
        gauge(
            "holdfast_kept_head_position",
            "The position of the log's head in the data directory, with which a later start compares \
             the log; 0 while it cannot be written.",
            app.head_keeper.position().0,
        ),
        counter(
            "holdfast_kept_head_failures_total",
            "Failed attempts to write the log's head to the data directory.",
            app.head_keeper.failures(),
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
        gauge(
            "holdfast_stopped_tasks",
            "Background tasks that failed; only a restart starts them again.",
            app.stopped.names().len() as u64,
        ),
        clock_skew(app),
        clock_faults(app),
    ]
    .concat()
}

fn clock_faults(app: &App) -> Vec<MetricFamily> {
    let (mut jump, mut ahead) = (0.0, 0.0);
    if let Health::ClockFault(fault) = app.engine.health() {
        match fault {
            ClockFault::Skewed { .. } => {}
            ClockFault::LogAhead { .. } => ahead = fault.seconds(),
            ClockFault::Jumped { .. } => jump = fault.seconds(),
        }
    }
    let jumped = made(Gauge::new(
        "holdfast_clock_jump_seconds",
        "How far this server's clock and the database's jumped together, while that time is not \
         believed yet; otherwise 0.",
    ));
    jumped.set(jump);
    let log_ahead = made(Gauge::new(
        "holdfast_log_ahead_seconds",
        "How far the log ends in the future of the database's clock, while nothing is decided \
         because of it; otherwise 0.",
    ));
    log_ahead.set(ahead);
    [jumped.collect(), log_ahead.collect()].concat()
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
    let seconds = made(GaugeVec::new(
        Opts::new(
            "holdfast_projection_lag_seconds",
            "Age of the first event that the projection's table does not reflect yet; 0 if there \
             is none. Up to 0.1 s too long, and at most about an hour.",
        ),
        &["projection"],
    ));
    for &(name, checkpoint, _) in &now {
        let (checkpoint, head) = (Position(checkpoint), Position(head));
        let lag = app.metrics.lag_ms(checkpoint, head, app.now());
        let lag = Duration::from_millis(lag.unsigned_abs());
        seconds.with_label_values(&[name]).set(lag.as_secs_f64());
    }
    [
        seconds.collect(),
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

fn push(app: &App) -> Vec<MetricFamily> {
    let counts = app.push.counts();
    let attempts = made(IntCounterVec::new(
        Opts::new(
            "holdfast_push_attempts_total",
            "Attempts to send a message of Web Push, by outcome.",
        ),
        &["outcome"],
    ));
    for outcome in ::push::counts::Outcome::ALL {
        let count = counts.attempts(outcome);
        attempts.with_label_values(&[outcome.name()]).inc_by(count);
    }
    [
        attempts.collect(),
        counter(
            "holdfast_push_given_up_total",
            "Messages of Web Push that were given up.",
            counts.given_up(),
        ),
        gauge(
            "holdfast_push_jobs_pending",
            "Jobs of Web Push of the shop that are not done.",
            counts.pending(),
        ),
        gauge(
            "holdfast_push_follower_lag_events",
            "Events of the log from which this server has not derived jobs of Web Push yet.",
            app.views.position().0.saturating_sub(counts.followed()),
        ),
    ]
    .concat()
}

/// Attempts are those of this process; open jobs are those of the whole shop.
fn payment_jobs(app: &App) -> Vec<MetricFamily> {
    let (counts, now) = (app.settlement.counts(), app.now());
    let attempts = made(IntCounterVec::new(
        Opts::new(
            "holdfast_payment_job_attempts_total",
            "Attempts at jobs of payments, by kind and outcome.",
        ),
        &["kind", "outcome"],
    ));
    let oldest = made(GaugeVec::new(
        Opts::new(
            "holdfast_payment_job_oldest_pending_seconds",
            "The age of the oldest pending job of the shop; 0 if there is none.",
        ),
        &["kind"],
    ));
    for kind in JobKind::ALL {
        for outcome in Outcome::ALL {
            let count = counts.attempts(kind, outcome);
            let attempts = attempts.with_label_values(&[kind.name(), outcome.name()]);
            attempts.inc_by(count);
        }
        let since = counts.open(kind).oldest_pending.unwrap_or(now);
        let age = (now.millis() - since.millis()).max(0);
        let age = Duration::from_millis(age.unsigned_abs());
        let oldest = oldest.with_label_values(&[kind.name()]);
        oldest.set(age.as_secs_f64());
    }
    let open = |number: fn(OpenJobs) -> u64| {
        JobKind::ALL.map(|kind| (kind.name(), number(counts.open(kind))))
    };
    let followed = counts.followed();
    [
        attempts.collect(),
        oldest.collect(),
        gauges(
            "holdfast_payment_jobs_pending",
            "Jobs of payments of the shop that are not done.",
            "kind",
            open(|jobs| jobs.pending),
        ),
        gauges(
            "holdfast_payment_jobs_given_up",
            "Jobs of payments of the shop that were given up and wait for an administrator.",
            "kind",
            open(|jobs| jobs.given_up),
        ),
        gauge(
            "holdfast_payment_follower_position",
            "The position up to which this server has derived jobs of payments from the log.",
            followed.0,
        ),
        gauge(
            "holdfast_payment_follower_lag_events",
            "Events of the log from which this server has not derived jobs of payments yet.",
            app.views.position().0.saturating_sub(followed.0),
        ),
    ]
    .concat()
}
