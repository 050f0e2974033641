//! The routes of the dashboard: counts of events within a window, and the server's state.
//!
//! Promise: counts of events equal those of the log, folded in memory; a window ends with the
//! present bucket. Limit: the finest resolution is a minute; refusals, which are not in the log,
//! are counted separately ([`crate::refused`]).

pub(crate) mod buyer;
pub(crate) mod report;
pub(crate) mod revenue;
pub(crate) mod who;
pub(crate) mod window;

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::status::DropStatus;
use domain::values::{DropId, DropName, Position, Timestamp};
use engine::Health;
use projections::sales_timeline::SalesTotals;
use projections::views::DropView;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use self::window::{Bucket, Buckets, Span};
use crate::app::App;
use crate::auth::Admin;
use crate::csv_files::{CONTENT_TYPE, CSV, MEDIA_TYPES, attach};
use crate::drops::{DropSelection, MOST_LISTED, find};
use crate::extract::{Fresh, Limit, Query};
use crate::health::{QuarantinedDrop, quarantined};
use crate::lateness::Lateness;
use crate::negotiate::{preferred, varied};
use crate::problem::Problem;
use crate::render::{Representation, Statuses, conditional, private};
use crate::viewer::Viewer;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MetricsParams {
    /// The length of the window, which ends now.
    #[schemars(extend("default" = "1h"))]
    window: Option<Span>,
    /// The length of one bucket. Default: chosen by the window.
    bucket: Option<Span>,
    /// The maximum number of listed drops. The counts cover all drops.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last drop of the previous page.
    starting_after: Option<DropId>,
    /// Lists only drops with these statuses, separated by commas.
    #[schemars(with = "Option<String>")]
    status: Option<Statuses>,
    /// Lists only drops whose name contains this text, without regard to case, or the drop that has
    /// this id.
    search: Option<Search>,
}

/// A part of a name: a text that is not longer than a name.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("minLength" = 1, "maxLength" = DropName::MAX_CHARS))]
struct Search(String);

impl<'de> Deserialize<'de> for Search {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = text.trim();
        if (1..=DropName::MAX_CHARS).contains(&text.chars().count()) {
            return Ok(Self(text.to_owned()));
        }
        let bounds = format!("must have 1 to {} characters", DropName::MAX_CHARS);
        Err(de::Error::custom(bounds))
    }
}

impl Query for MetricsParams {}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Metrics {
    holds_placed: u64,
    holds_expired: u64,
    holds_released: u64,
    purchases_confirmed: u64,
    /// Units in the holds that were placed within the window.
    units_held: u64,
    /// Units that were purchased within the window and not refunded since.
    units_sold: u64,
    /// Units that were purchased within the window and refunded since.
    units_refunded: u64,
    /// Units that became available because their holds expired.
    units_expired: u64,
    /// Units that became available because their holds were released.
    units_released: u64,
    /// Requests rejected because not enough units were available.
    oversell_attempts_blocked: u64,
    /// Requests rejected by the rate limit of a buyer or an address.
    throttle_blocks: u64,
    /// A page of drops, newest first.
    drops: Vec<DropLine>,
    /// True if there is another page of drops.
    has_more: bool,
    timeline: Vec<MetricsBucket>,
    /// The delay between the end of holds and their recorded expiry; null if no hold expired.
    release_lateness: Option<Lateness>,
    engine: EngineLine,
    projections: Vec<ProjectionLine>,
    /// Drops in quarantine on this server; `drops` does not contain them.
    quarantined: Vec<QuarantinedDrop>,
    /// Open SSE streams of this process.
    watchers: usize,
    position: Position,
}

/// The stock of one drop, and the units whose holds expired since it was scheduled.
#[derive(Debug, Hash, Serialize, JsonSchema)]
#[schemars(rename = "DropMetrics")]
struct DropLine {
    id: DropId,
    name: String,
    status: DropStatus,
    total: u32,
    available: u32,
    held: u32,
    sold: u32,
    expired: u64,
    refunded: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MetricsBucket {
    start: Timestamp,
    held: u64,
    /// Units that were purchased in this bucket and not refunded since.
    sold: u64,
    expired: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EngineState")]
struct EngineLine {
    #[schemars(extend("enum" = ["live", "away", "refused", "clock_fault", "stopped"]))]
    state: &'static str,
    /// Requests in the engine's queue.
    queued: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProjectionState")]
struct ProjectionLine {
    name: &'static str,
    checkpoint: Position,
    /// Events of the log that the table does not reflect yet.
    lag: u64,
    /// The reason, if the projection has stopped.
    stopped: Option<String>,
}

/// `GET /v1/admin/metrics`
pub(crate) async fn metrics(
    State(app): State<App>,
    _: Admin,
    Fresh(params): Fresh<MetricsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = app.now();
    // Read before the rows, so that the rows are at least as new.
    let position = app.views.position();
    let mut buckets: Buckets = Buckets::ending_at(now, params.window, params.bucket)?;
    buckets.fill(app.views.timeline(None, buckets.from()));
    let total = buckets.total();
    let refused = app.refused.totals(buckets.from());
    let (drops, has_more) = listed_drops(&app, &params, now)?;
    let metrics = Metrics {
        holds_placed: total.holds_placed,
        holds_expired: total.holds_expired,
        holds_released: total.holds_released,
        purchases_confirmed: total.purchases_confirmed,
        units_held: total.held,
        units_sold: total.kept(),
        units_refunded: total.refunded,
        units_expired: total.expired,
        units_released: total.released,
        oversell_attempts_blocked: refused.sold_out,
        throttle_blocks: refused.throttled,
        drops: drop_lines(&drops, now),
        has_more,
        timeline: buckets.iter().map(MetricsBucket::from).collect(),
        release_lateness: app.lateness.since(buckets.from()),
        engine: engine_line(&app),
        projections: projection_lines(&app, position),
        quarantined: quarantined(&app),
        watchers: app.hub.watchers(),
        position,
    };
    Ok(private(conditional(&headers, &metrics)))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TimelineParams {
    /// The id of a drop. Default: all drops.
    drop_id: Option<DropId>,
    /// The length of the window, which ends now.
    #[schemars(extend("default" = "1h"))]
    window: Option<Span>,
    /// The length of one bucket. Default: chosen by the window.
    bucket: Option<Span>,
}

impl Query for TimelineParams {}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Timeline {
    buckets: Vec<TimelineBucket>,
}

#[derive(Debug, Hash, Serialize, JsonSchema)]
struct TimelineBucket {
    start: Timestamp,
    held: u64,
    /// Units that were purchased in this bucket and not refunded since.
    sold: u64,
    expired: u64,
    released: u64,
    /// Units that were purchased in this bucket and refunded since.
    refunded: u64,
}

/// `GET /v1/admin/timeline`
pub(crate) async fn timeline(
    State(app): State<App>,
    _: Admin,
    Fresh(params): Fresh<TimelineParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let drop_id = params
        .drop_id
        .map(|id| find(&app, id).map(|drop| drop.drop_id))
        .transpose()?;
    let mut buckets: Buckets = Buckets::ending_at(app.now(), params.window, params.bucket)?;
    buckets.fill(app.views.timeline(drop_id, buckets.from()));
    let buckets: Vec<TimelineBucket> = buckets.iter().map(TimelineBucket::from).collect();
    let media_type = MEDIA_TYPES[preferred(&headers, &MEDIA_TYPES)];
    Ok(private(varied(match media_type {
        CSV => csv(&headers, &buckets),
        _ => conditional(&headers, &Timeline { buckets }),
    })))
}

/// Returns the requested page of drops, and true if more follow.
fn listed_drops(
    app: &App,
    params: &MetricsParams,
    now: Timestamp,
) -> Result<(Vec<DropView>, bool), Problem> {
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let phases = params.status.as_ref().map(Statuses::all);
    let selection = DropSelection {
        phases: phases.unwrap_or_default(),
        after: params.starting_after,
        most: limit + 1,
        viewer: Viewer::Staff,
    };
    let mut page = match &params.search {
        Some(Search(words)) => match words.parse::<DropId>() {
            Ok(id) => selection.by_ids(app, &BTreeSet::from([id]), now)?,
            Err(_) => selection.by_name(app, words, now)?,
        },
        None => selection.all(app, now)?,
    };
    let has_more = page.len() > limit;
    page.truncate(limit);
    Ok((page, has_more))
}

fn drop_lines(drops: &[DropView], now: Timestamp) -> Vec<DropLine> {
    let line = |drop: &DropView| DropLine {
        id: drop.drop_id,
        name: drop.row.terms.name.as_str().to_owned(),
        status: drop.row.status(now),
        total: drop.row.stock.total,
        available: drop.row.stock.available,
        held: drop.row.stock.held,
        sold: drop.row.stock.sold,
        expired: drop.row.expired,
        refunded: drop.row.refunded,
    };
    drops.iter().map(line).collect()
}

fn engine_line(app: &App) -> EngineLine {
    let state = match app.engine.health() {
        Health::Live => "live",
        Health::Away { .. } => "away",
        Health::Refused { .. } => "refused",
        Health::ClockFault(_) => "clock_fault",
        Health::Stopped => "stopped",
    };
    EngineLine {
        state,
        queued: app.engine.queued(),
    }
}

fn projection_lines(app: &App, position: Position) -> Vec<ProjectionLine> {
    let line = |(name, progress): &(&'static str, tokio::sync::watch::Receiver<_>)| {
        let progress: &projections::runner::Progress = &progress.borrow();
        ProjectionLine {
            name,
            checkpoint: progress.checkpoint,
            lag: position.0.saturating_sub(progress.checkpoint.0),
            stopped: progress.stopped.clone(),
        }
    };
    app.projections.iter().map(line).collect()
}

/// Formats buckets as CSV (RFC 4180). Times and whole numbers need no quotes.
fn csv(headers: &HeaderMap, buckets: &[TimelineBucket]) -> Response {
    let mut text = String::from("start,held,sold,expired,released,refunded\r\n");
    for bucket in buckets {
        let TimelineBucket {
            start,
            held,
            sold,
            expired,
            released,
            refunded,
        } = bucket;
        text.push_str(&format!(
            "{start},{held},{sold},{expired},{released},{refunded}\r\n"
        ));
    }
    let file = Representation::new(text, CONTENT_TYPE);
    let mut response = file.unless_known(headers);
    if response.status() == StatusCode::OK {
        attach(&mut response, "timeline");
    }
    response
}

impl From<Bucket> for TimelineBucket {
    fn from(Bucket { start, moved }: Bucket) -> Self {
        let SalesTotals {
            held,
            expired,
            released,
            refunded,
            ..
        } = moved;
        Self {
            start,
            held,
            sold: moved.kept(),
            expired,
            released,
            refunded,
        }
    }
}

impl From<Bucket> for MetricsBucket {
    fn from(Bucket { start, moved }: Bucket) -> Self {
        Self {
            start,
            held: moved.held,
            sold: moved.kept(),
            expired: moved.expired,
        }
    }
}
