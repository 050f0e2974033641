//! Erasing a buyer: `DELETE /v1/admin/buyers/{buyer_id}`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::Health;
use infrastructure::erasure::erase_by;
use infrastructure::error::LogError;
use tracing::warn;

use crate::app::App;
use crate::auth::Admin;
use crate::extract::{BuyerIdPath, FRESHNESS_TIMEOUT};
use crate::problem::Problem;

/// `DELETE /v1/admin/buyers/{buyer_id}`: 204, even if the buyer is unknown.
pub(crate) async fn delete(
    State(app): State<App>,
    Admin { name }: Admin,
    BuyerIdPath(buyer_id): BuyerIdPath,
) -> Result<Response, Problem> {
    check_log_accepted(&app)?;
    let erased = erase_by(app.log.pool(), &buyer_id, Some(name))
        .await
        .map_err(failed)?;
    app.notification_hub.end(&buyer_id);
    let Some(erasure) = erased else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    // Apply the erasure here before the response, if the log can be followed. Other nodes apply it
    // before they append again.
    app.engine.nudge();
    app.views.reach(erasure.position, FRESHNESS_TIMEOUT).await;
    // References of payments. A failure is repeated by the worker, which also removes those that a
    // refund still needs, once it is done.
    if let Err(error) = app.settlement.store().prune().await {
        warn!(%error, "cannot remove the references of payments now; the worker will");
    }
    let position = [("holdfast-position", erasure.position.to_string())];
    Ok((StatusCode::NO_CONTENT, position).into_response())
}

/// Rejects an erasure while the log is refused. An erasure is an event: a repair would remove it,
/// and no server would read it.
fn check_log_accepted(app: &App) -> Result<(), Problem> {
    if let Health::Refused { position, .. } = app.engine.health() {
        let detail = "Nothing was erased. Erase again after the repair.";
        return Err(Problem::log_refused(position, detail));
    }
    Ok(())
}

/// Logs a failed erasure without the buyer's identity.
fn failed(error: LogError) -> Problem {
    if !error.is_away() {
        return Problem::internal(&error);
    }
    let cause = &error as &dyn std::error::Error;
    warn!(error = cause, "erasure of a buyer failed: {error}");
    // The outcome is unknown: the connection may have failed after the commit.
    Problem::unavailable(
        "The event log is unreachable, and the outcome of the erasure is unknown. Send the same request again.",
    )
}
