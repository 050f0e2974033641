//! Whether the server lives, and whether it can do its work.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use infrastructure::engine::Health;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::Problem;

/// `GET /health/live`: the process answers.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// `GET /health/ready`: requests can be recorded; otherwise 503, and how old is what reads are answered from.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let position = app.views.position();
    let projections: Value = app.projections.iter().map(|(name, progress)| {
        let progress = progress.borrow();
        let lag = position.0.saturating_sub(progress.checkpoint.0);
        ((*name).to_owned(), json!({ "checkpoint": progress.checkpoint, "lag": lag, "stopped": progress.stopped }))
    }).collect::<serde_json::Map<_, _>>().into();
    let unready = match app.engine.health() {
        Health::Live => None,
        Health::Away { .. } => {
            Some("The event log cannot be reached; reads are answered from what is known.")
        }
        Health::Stopped { .. } => Some("The engine has stopped; see the server's log."),
    };
    match unready {
        None => {
            Json(json!({ "status": "ready", "position": position, "projections": projections }))
                .into_response()
        }
        Some(why) => Problem::unavailable(why)
            .with("position", position.0)
            .with("projections", projections)
            .into_response(),
    }
}
