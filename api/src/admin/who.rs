//! `GET /v1/admin/session`: the name by which the log knows the caller.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::values::AdminName;
use schemars::JsonSchema;
use serde::Serialize;

use crate::auth::Admin;

/// The administrator of a request.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SignedIn")]
pub(crate) struct SignedInBody {
    /// The name, as the log has it next to each change.
    admin: AdminName,
}

/// `GET /v1/admin/session`
pub(crate) async fn who(Admin { name }: Admin) -> Response {
    let private = [(header::CACHE_CONTROL, "no-store")];
    (private, Json(SignedInBody { admin: name })).into_response()
}
