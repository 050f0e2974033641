//! Liveness and readiness of the server.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::values::{DropId, Position};
use engine::{ClockFault, Health};
use infrastructure::quarantine::RefusedEvent;
use projections::runner::Progress;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::problem::{Code, Problem, clock_fault};

/// The process responds.
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
    /// The position up to which this server has applied the log.
    position: Position,
    projections: Projections,
    /// The number of drops in quarantine on this server.
    quarantined_drops: usize,
    /// The number of orders in quarantine on this server. Their ids are secret, so they are not
    /// listed: see `holdfast log check`.
    quarantined_orders: usize,
    /// The drops in quarantine, at most 100.
    quarantined: Vec<QuarantinedDrop>,
    /// Background tasks that failed, such as `webhooks`: the shop goes on without them until this
    /// server is restarted.
    stopped_tasks: Vec<&'static str>,
}

/// A drop in quarantine, and the event that put it there.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QuarantinedDrop {
    #[schemars(with = "Option<DropId>")]
    drop_id: Option<DropId>,
    position: Position,
    /// The defect of the event at this position.
    #[schemars(extend("enum" = [
        "unknown_type", "unknown_version", "unreadable", "wrong_sequence", "contradiction",
    ]))]
    reason: &'static str,
}

/// The most drops in quarantine that are listed.
const MOST_LISTED: usize = 100;

/// Returns the drops in quarantine, at most [`MOST_LISTED`].
pub(crate) fn quarantined(app: &App) -> Vec<QuarantinedDrop> {
    let drops = app.views.quarantined().into_iter().take(MOST_LISTED);
    let drop = |refused: Arc<RefusedEvent>| QuarantinedDrop {
        drop_id: refused.drop_id,
        position: refused.position,
        reason: refused.fault.name(),
    };
    drops.map(drop).collect()
}

/// The progress of each projection, by name.
type Projections = BTreeMap<&'static str, ProjectionHealth>;

/// The progress of a projection's table.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProjectionHealth {
    checkpoint: Position,
    /// Events of the log that the table does not reflect yet.
    lag: u64,
    /// The reason, if the projection has stopped.
    stopped: Option<String>,
}

/// `GET /health/live`: reports that the process responds.
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

/// `GET /health/ready`: reports that requests can be recorded; otherwise 503 with the position up
/// to which reads are current.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let position = app.views.position();
    let projections: Projections = app
        .projections
        .iter()
        .map(|(name, progress)| (*name, ProjectionHealth::of(&progress.borrow(), position)))
        .collect();
    let problem = match app.engine.health() {
        Health::Live => None,
        Health::Away {
            unwritable: Some(reason),
            ..
        } => {
            let detail = format!(
                "The database records nothing: {reason}. Reads are served from the state at \
                 `position`; writes are rejected. Retry later."
            );
            Some(Problem::unavailable(detail).with("reason", reason.name()))
        }
        Health::Away {
            unwritable: None, ..
        } => Some(Problem::unavailable(
            "The event log is unreachable. Reads are served from the state at `position`; writes \
             are rejected. Retry later.",
        )),
        Health::Refused { position, .. } => Some(Problem::log_refused(
            position,
            "Writes are rejected; reads are served from the last consistent state.",
        )),
        Health::ClockFault(fault) => {
            let way_out = match fault {
                ClockFault::Skewed { .. } => "",
                ClockFault::LogAhead { .. } => {
                    " Nothing is decided until that time has passed; operators: see \
                     HOLDFAST_MAX_CLOCK_SKEW_MS in docs/OPERATING.md."
                }
                ClockFault::Jumped { .. } => {
                    " The new time is believed when it has stayed for \
                     HOLDFAST_CLOCK_HOLD_OFF_SECONDS."
                }
            };
            let advice = "Writes are rejected; reads are served from the state at `position`.";
            Some(clock_fault(fault, &format!("{advice}{way_out}")))
        }
        Health::Stopped => Some(Problem::unavailable(
            "The engine has stopped. See the server's log, and restart the server.",
        )),
    };
    match problem {
        None => Json(Ready {
            status: "ready",
            position,
            projections,
            quarantined_drops: app.views.quarantined_count(),
            quarantined_orders: app.views.quarantined_orders_count(),
            quarantined: quarantined(&app),
            stopped_tasks: app.stopped.names(),
        })
        .into_response(),
        // The problem has a `position` already: the one at which the log is wrong.
        Some(problem) if problem.code() == Code::LogRefused => problem
            .with("projections", json!(projections))
            .into_response(),
        Some(problem) => problem
            .with("position", position.0)
            .with("projections", json!(projections))
            .into_response(),
    }
}
