//! Whether the server lives, and whether it can do its work.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::values::Position;
use infrastructure::engine::Health;
use projections::runner::Progress;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::problem::{Problem, clock_fault};

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
    let unready = match app.engine.health() {
        Health::Live => None,
        Health::Away { .. } => Some(Problem::unavailable(
            "The event log cannot be reached; reads are answered from what is known.",
        )),
        Health::ClockFault(fault) => Some(clock_fault(
            fault,
            "Requests are not decided; reads are answered from what is known.",
        )),
        Health::Stopped { .. } => Some(Problem::unavailable(
            "The engine has stopped; see the server's log.",
        )),
    };
    match unready {
        None => {
            let status = "ready";
            Json(Ready {
                status,
                position,
                projections,
            })
            .into_response()
        }
        Some(problem) => problem
            .with("position", position.0)
            .with("projections", json!(projections))
            .into_response(),
    }
}
