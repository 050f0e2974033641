//! Erasing a buyer: `DELETE /v1/admin/buyers/{buyer_id}`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::values::BuyerId;
use engine::Health;
use infrastructure::erasure::erase;
use infrastructure::error::LogError;
use tracing::warn;

use crate::app::App;
use crate::auth::Admin;
use crate::extract::FRESHNESS_PATIENCE;
use crate::problem::Problem;

/// `DELETE /v1/admin/buyers/{buyer_id}`: 204, whether or not anybody of that name was known.
pub(crate) async fn delete(
    State(app): State<App>,
    _: Admin,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(buyer_id) = path.map_err(|_| Problem::invalid("/buyer_id", "must be UTF-8"))?;
    let buyer_id = BuyerId::stored(&buyer_id)
        .map_err(|error| Problem::invalid("/buyer_id", error.to_string()))?;
    refuse_while_refused(&app)?;
    let erased = erase(app.log.pool(), &buyer_id).await.map_err(failed)?;
    let Some(erasure) = erased else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    // Here too, before the answer, if the log can be followed: other nodes forget before they append anything more.
    app.engine.nudge();
    app.views.reach(erasure.position, FRESHNESS_PATIENCE).await;
    let position = [("holdfast-position", erasure.position.to_string())];
    Ok((StatusCode::NO_CONTENT, position).into_response())
}

/// An erasure is an event, and no event is recorded in a log that is refused: it would stand on what a repair removes, and
/// no server would read it.
fn refuse_while_refused(app: &App) -> Result<(), Problem> {
    if let Health::Refused { position, .. } = app.engine.health() {
        let detail = "Nothing was erased. Erase again after the repair.";
        return Err(Problem::log_refused(position, detail));
    }
    Ok(())
}

/// Logged without a word about whom it was for.
fn failed(error: LogError) -> Problem {
    if !error.is_away() {
        return Problem::internal(&error);
    }
    let cause = &error as &dyn std::error::Error;
    warn!(error = cause, "somebody could not be erased: {error}");
    // The commit may have been the last that it heard of us.
    Problem::unavailable(
        "The event log cannot be reached. It is not known whether anything was erased; send the same request again.",
    )
}
