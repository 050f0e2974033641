//! `GET /v1/admin/session`: the name by which the log knows the caller.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use domain::values::AdminName;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::auth::Admin;
use crate::render::{conditional_at, insert};

/// The administrator of a request.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SignedIn")]
pub(crate) struct SignedInBody {
    /// The name, as the log has it next to each change.
    admin: AdminName,
}

/// `GET /v1/admin/session`
pub(crate) async fn who(
    State(app): State<App>,
    Admin { name }: Admin,
    headers: HeaderMap,
) -> Response {
    let mut response = conditional_at(&headers, app.now(), &SignedInBody { admin: name });
    insert(&mut response, header::CACHE_CONTROL, "private, no-cache");
    response
}
