//! The route of the metrics.

mod state;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};

use super::process;
use crate::app::App;
use crate::problem::Problem;

/// Returns every metric, with its present values.
#[must_use]
pub fn families(app: &App) -> Vec<MetricFamily> {
    let mut families = app.metrics.0.registry.gather();
    families.extend(state::families(app));
    families.extend(app.metrics.0.pools.families());
    families.extend(process::families(app.metrics.0.started));
    families.sort_by(|a, b| a.name().cmp(b.name()));
    families
}

/// `GET /metrics`
pub(crate) async fn scrape(State(app): State<App>) -> Result<Response, Problem> {
    let families = families(&app);
    let mut text = vec![];
    TextEncoder::new()
        .encode(&families, &mut text)
        .map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, prometheus::TEXT_FORMAT),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}
