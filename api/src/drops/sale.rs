//! The routes that publish a draft, and that pause and resume a sale.
//!
//! Promise: each has one effect, however often it is repeated.
//!
//! Source: docs/decisions/0082-drops-are-drafted-and-paused.md.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::values::{AdminName, DropId, Timestamp};
use engine::{ChangeSale, SaleChange};
use projections::live_stock::LiveStockRow;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{drop_now, must_match};
use crate::app::App;
use crate::auth::Admin;
use crate::extract::{DropPath, OptionalBody};
use crate::openapi::schemas::AnyTime;
use crate::problem::Problem;
use crate::render::recorded;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Publication")]
pub(crate) struct Publication {
    /// The start of the sale. Default: that of the draft. A start in the past means immediately.
    #[schemars(with = "Option<AnyTime>")]
    starts_at: Option<Timestamp>,
}

/// The body of a pause has no fields; a body with fields is rejected.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pause {}

/// The body of a resumption has no fields; a body with fields is rejected.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resumption {}

/// `POST /v1/drops/{id}/publish`
pub(crate) async fn publish(
    State(app): State<App>,
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    OptionalBody(Publication { starts_at }): OptionalBody<Publication>,
) -> Result<Response, Problem> {
    must_match(&app, drop_id, &headers, |row| !row.terms.draft)?;
    change(&app, name, drop_id, SaleChange::Publish(starts_at)).await
}

/// `POST /v1/drops/{id}/pause`
pub(crate) async fn pause(
    State(app): State<App>,
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    OptionalBody(Pause {}): OptionalBody<Pause>,
) -> Result<Response, Problem> {
    let is_paused = |row: &LiveStockRow| row.paused_at.is_some();
    must_match(&app, drop_id, &headers, is_paused)?;
    change(&app, name, drop_id, SaleChange::Pause).await
}

/// `POST /v1/drops/{id}/resume`
pub(crate) async fn resume(
    State(app): State<App>,
    Admin { name }: Admin,
    DropPath(drop_id): DropPath,
    headers: HeaderMap,
    OptionalBody(Resumption {}): OptionalBody<Resumption>,
) -> Result<Response, Problem> {
    let is_resumed = |row: &LiveStockRow| row.paused_at.is_none();
    must_match(&app, drop_id, &headers, is_resumed)?;
    change(&app, name, drop_id, SaleChange::Resume).await
}

async fn change(
    app: &App,
    name: AdminName,
    drop_id: DropId,
    change: SaleChange,
) -> Result<Response, Problem> {
    let answer = app
        .engine
        .by(name)
        .change_sale(ChangeSale { drop_id, change })
        .await?;
    Ok(recorded(drop_now(app, StatusCode::OK, drop_id)?, &answer))
}
