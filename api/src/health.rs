//! Whether the server lives, and whether it can do its work.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::values::{DropId, Position};
use engine::Health;
use infrastructure::quarantine::RefusedEvent;
use projections::runner::Progress;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::problem::{Code, Problem, clock_fault};

/// The process answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Alive {
    #[schemars(extend("const" = "live"))]
    status: &'static str,
}

/// Requests can be recorded.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ready {
    #[schemars(extend("const" = "ready"))]
    status: &'static str,
    /// Up to where the log is known here.
    position: Position,
    projections: Projections,
    /// How many drops are in quarantine on this server.
    quarantined_drops: usize,
    /// The first of them.
    quarantined: Vec<QuarantinedDrop>,
}

/// A drop in quarantine, and the event that put it there.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QuarantinedDrop {
    #[schemars(with = "Option<DropId>")]
    drop_id: Option<DropId>,
    position: Position,
    /// What is wrong with the event there.
    #[schemars(extend("enum" = [
        "unknown_type", "unknown_version", "unreadable", "wrong_sequence", "contradiction",
    ]))]
    reason: &'static str,
}

/// Drops in quarantine that are listed.
const MOST_LISTED: usize = 100;

/// The drops in quarantine, at most [`MOST_LISTED`] of them.
pub(crate) fn quarantined(app: &App) -> Vec<QuarantinedDrop> {
    let drops = app.views.quarantined().into_iter().take(MOST_LISTED);
    let drop = |refused: Arc<RefusedEvent>| QuarantinedDrop {
        drop_id: refused.drop_id,
        position: refused.position,
        reason: refused.fault.name(),
    };
    drops.map(drop).collect()
}

/// How far each projection's table is, by name.
type Projections = BTreeMap<&'static str, ProjectionHealth>;

/// How far a projection's table is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProjectionHealth {
    checkpoint: Position,
    /// Events of the log that its table does not show yet.
    lag: u64,
    /// Why it stopped, if it did.
    stopped: Option<String>,
}

/// `GET /health/live`: the process answers.
pub(crate) async fn live() -> Json<Alive> {
    Json(Alive { status: "live" })
}

impl ProjectionHealth {
    fn of(progress: &Progress, position: Position) -> Self {
        Self {
            checkpoint: progress.checkpoint,
            lag: position.0.saturating_sub(progress.checkpoint.0),
            stopped: progress.stopped.clone(),
        }
    }
}

/// `GET /health/ready`: requests can be recorded; otherwise 503, and how old is what reads are answered from.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let position = app.views.position();
    let projections: Projections = app
        .projections
        .iter()
        .map(|(name, progress)| (*name, ProjectionHealth::of(&progress.borrow(), position)))
        .collect();
    let problem = match app.engine.health() {
        Health::Live => None,
        Health::Away { .. } => Some(Problem::unavailable(
            "The event log cannot be reached; reads are answered from what is known.",
        )),
        Health::Refused { position, .. } => Some(Problem::log_refused(
            position,
            "No request is recorded; reads are answered from what is known.",
        )),
        Health::ClockFault(fault) => Some(clock_fault(
            fault,
            "Requests are not decided; reads are answered from what is known.",
        )),
        Health::Stopped { .. } => Some(Problem::unavailable(
            "The engine has stopped; see the server's log.",
        )),
    };
    match problem {
        None => Json(Ready {
            status: "ready",
            position,
            projections,
            quarantined_drops: app.views.quarantined_count(),
            quarantined: quarantined(&app),
        })
        .into_response(),
        // Of a log that is refused the position is told where it is wrong.
        Some(problem) if problem.code() == Code::LogRefused => problem
            .with("projections", json!(projections))
            .into_response(),
        Some(problem) => problem
            .with("position", position.0)
            .with("projections", json!(projections))
            .into_response(),
    }
}
