//! The routes of the dashboard's session: sign in, sign out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::values::{AdminName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{COOKIE, LASTS_SECONDS, is_same_origin, of_another_origin};
use crate::app::App;
use crate::base_path::of_cookies;
use crate::extract::Body;
use crate::forwarded;
use crate::limiter::{AttemptKind, Origin};
use crate::problem::{Code, Problem};

/// A session of the dashboard.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(crate) struct SessionBody {
    /// The name of the administrator.
    admin: AdminName,
    /// The time at which the session expires.
    expires_at: Timestamp,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// The admin key.
    key: String,
}

/// `POST /v1/admin/session`: exchanges the admin key for a cookie.
pub(crate) async fn sign_in(
    State(app): State<App>,
    origin: Origin,
    headers: HeaderMap,
    Body(SignIn { key }): Body<SignIn>,
) -> Result<Response, Problem> {
    refuse_other_origins(&app, &Method::POST, &headers)?;
    let attempt = app.limiter.attempt(origin, AttemptKind::SignIn)?;
    let Some(admin) = app.keys.admin(key.trim()) else {
        return Err(if app.keys.auditor.matches(key.trim()) {
            attempt.succeeded();
            Problem::new(
                Code::Forbidden,
                "The auditor key may only read the log. Use the admin key.",
            )
        } else {
            Problem::new(Code::Unauthorized, "This is not the admin key.")
                .header(header::WWW_AUTHENTICATE, "Bearer")
        });
    };
    attempt.succeeded();
    let (token, expires_at) = app.sessions.open(admin, &app.key_secret, app.now())?;
    let cookie = set_cookie(&token, LASTS_SECONDS, &headers);
    let body = Json(SessionBody {
        admin: admin.name,
        expires_at,
    });
    Ok((StatusCode::CREATED, cookie, body).into_response())
}

/// `DELETE /v1/admin/session`: ends the session. Idempotent.
pub(crate) async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    refuse_other_origins(&app, &Method::DELETE, &headers)?;
    app.sessions.end(&headers, app.now());
    Ok((StatusCode::NO_CONTENT, set_cookie("", 0, &headers)).into_response())
}

/// Rejects pages of other sites, which must not sign a user in or out. A program without a browser
/// sends no origin.
fn refuse_other_origins(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if is_same_origin(method, headers, app.brand.public_origin()) == Some(false) {
        let detail = "Sessions can only be opened and ended by this server's own pages.";
        return Err(of_another_origin(detail, headers));
    }
    Ok(())
}

/// Sets the cookie, `Secure` when the page was loaded by HTTPS. The browser states that, or a
/// trusted proxy; a false statement harms only its sender.
fn set_cookie(token: &str, seconds: u32, headers: &HeaderMap) -> [(header::HeaderName, String); 2] {
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|value| value.to_str().ok());
    let is_of_tls = origin.is_some_and(|origin| origin.starts_with("https://"));
    let is_secure = is_of_tls || forwarded::is_https(headers);
    let secure = if is_secure { "; Secure" } else { "" };
    let path = of_cookies();
    let cookie = format!(
        "{COOKIE}={token}; Path={path}; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"
    );
    [
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ]
}
