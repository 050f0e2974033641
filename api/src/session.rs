//! Browsers that signed in with the admin key: a cookie stands for it, so that no page and no script ever holds the key.
//!
//! Promise: the cookie is signed, ends by itself after [`LASTS_SECONDS`], and is believed from this server's own pages only:
//! it is `HttpOnly` and `SameSite=Strict`, and a request that changes something must say by its own headers, which no page can
//! forge, that it comes from the same origin.
//! Limit: who signs out ends that session at this process. Another process of the same log, or the next start, would
//! still take a stolen copy until it runs out; changing the admin key ends every session everywhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::values::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::config::Key;
use crate::extract::Body;
use crate::jws::Hs256;
use crate::limiter::{Origin, Tried};
use crate::problem::{Code, Problem};

/// How long a session lasts, in seconds: a working day.
pub const LASTS_SECONDS: u32 = 12 * 60 * 60;

pub(crate) const COOKIE: &str = "holdfast_admin";

/// Signs sessions and remembers which were ended.
pub struct Sessions {
    key: Hs256,
    /// Ended before their time, and when they would have ended, in seconds since the Unix epoch.
    ended: Mutex<HashMap<Uuid, i64>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Claims {
    /// Names the session.
    jti: Uuid,
    /// When it ends, in seconds since the Unix epoch.
    exp: i64,
}

impl Sessions {
    /// Sessions that stand for `admin`. `secret` is the log's own, so that every process of one log knows them.
    #[must_use]
    pub fn new(admin: &Key, secret: &[u8]) -> Self {
        let key = admin.derive(b"holdfast admin session", secret);
        Self {
            key: Hs256::new(&key),
            ended: Mutex::default(),
        }
    }

    fn open(&self, now: Timestamp) -> Result<(String, Timestamp), Problem> {
        let expires_at = now.plus_seconds(LASTS_SECONDS);
        let claims = Claims {
            jti: Uuid::new_v4(),
            exp: expires_at.millis().div_euclid(1000),
        };
        self.key
            .sign(&claims)
            .map(|token| (token, expires_at))
            .map_err(|error| Problem::internal(&error))
    }

    /// Whether the request carries the cookie of a session that is on.
    #[must_use]
    pub fn is_open(&self, headers: &HeaderMap, now: Timestamp) -> bool {
        let Some(claims) = self.claims(headers, now) else {
            return false;
        };
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        !ended.contains_key(&claims.jti)
    }

    fn end(&self, headers: &HeaderMap, now: Timestamp) {
        let Some(claims) = self.claims(headers, now) else {
            return;
        };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // What has run out needs no remembering.
        ended.retain(|_, exp| *exp * 1000 > now.millis());
        ended.insert(claims.jti, claims.exp);
    }

    fn claims(&self, headers: &HeaderMap, now: Timestamp) -> Option<Claims> {
        let seconds = now.millis().div_euclid(1000);
        let open = |token| {
            let claims = self.key.verify(token).ok()?;
            let claims: Claims = serde_json::from_value(claims.into()).ok()?;
            (claims.exp > seconds).then_some(claims)
        };
        cookies(headers).find_map(open)
    }
}

/// Every cookie of our name: a browser may send one of another path or program as well.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).into_iter();
    let pairs = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether the request carries a session, and may use it.
///
/// # Errors
/// 403 when it comes from elsewhere.
pub fn is_signed_in(parts: &Parts, app: &App) -> Result<bool, Problem> {
    if !app.sessions.is_open(&parts.headers, app.now()) {
        return Ok(false);
    }
    if is_same_origin(&parts.method, &parts.headers) == Some(true) {
        return Ok(true);
    }
    Err(Problem::new(
        Code::Forbidden,
        "A signed-in browser is believed only on requests of this server's own pages.",
    ))
}

/// What a browser says about where a request comes from; none when it says nothing, as programs do.
fn is_same_origin(method: &Method, headers: &HeaderMap) -> Option<bool> {
    let header = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_safe = method.is_safe();
    if let Some(site) = header(header::HeaderName::from_static("sec-fetch-site")) {
        // `none`: somebody typed the address, or opened a bookmark.
        return Some(site == "same-origin" || (is_safe && site == "none"));
    }
    match (header(header::ORIGIN), header(header::HOST)) {
        (Some(origin), Some(host)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            Some(authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)))
        }
        (Some(_), None) => Some(false),
        // Reading leaves nothing behind, and another origin cannot read the answer.
        (None, _) if is_safe => Some(true),
        (None, _) => None,
    }
}

/// A session of the dashboard.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(crate) struct SessionBody {
    /// The time at which the session expires.
    expires_at: Timestamp,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// The admin key.
    key: String,
}

/// `POST /v1/admin/session`: the admin key for a cookie.
pub(crate) async fn sign_in(
    State(app): State<App>,
    origin: Origin,
    headers: HeaderMap,
    Body(SignIn { key }): Body<SignIn>,
) -> Result<Response, Problem> {
    refuse_other_origins(&Method::POST, &headers)?;
    let attempt = app.limiter.attempt(origin, Tried::SignIn)?;
    if !app.keys.admin.matches(key.trim()) {
        return Err(if app.keys.auditor.matches(key.trim()) {
            attempt.succeeded();
            Problem::new(
                Code::Forbidden,
                "The auditor key may read the log, not this.",
            )
        } else {
            Problem::new(Code::Unauthorized, "This is not the admin key.")
                .header(header::WWW_AUTHENTICATE, "Bearer")
        });
    }
    attempt.succeeded();
    let (token, expires_at) = app.sessions.open(app.now())?;
    let cookie = set_cookie(&token, LASTS_SECONDS, &headers);
    let body = Json(SessionBody { expires_at });
    Ok((StatusCode::CREATED, cookie, body).into_response())
}

/// `DELETE /v1/admin/session`: ends it. Again is fine.
pub(crate) async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    refuse_other_origins(&Method::DELETE, &headers)?;
    app.sessions.end(&headers, app.now());
    Ok((StatusCode::NO_CONTENT, set_cookie("", 0, &headers)).into_response())
}

/// Nobody is to be signed in or out by another site's page. A program that is no browser has no page.
fn refuse_other_origins(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if is_same_origin(method, headers) == Some(false) {
        let detail = "Sessions are opened and ended by this server's own pages.";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    Ok(())
}

/// `Secure` when the page itself came by HTTPS: the browser says so, and a lie would harm the liar alone.
fn set_cookie(token: &str, seconds: u32, headers: &HeaderMap) -> [(header::HeaderName, String); 2] {
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|value| value.to_str().ok());
    let is_secure = origin.is_some_and(|origin| origin.starts_with("https://"));
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    [
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                header::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    fn sessions(admin: &str) -> Sessions {
        Sessions::new(&Key::new("k", admin).unwrap(), b"secret of the log")
    }

    fn cookie(token: &str) -> HeaderMap {
        headers(&[("cookie", &format!("theme=dark; {COOKIE}={token}"))])
    }

    fn now() -> Timestamp {
        chrono::Utc::now().into()
    }

    #[test]
    fn a_session_is_on_until_it_is_ended_or_runs_out() {
        let sessions = sessions("admin");
        let (token, _) = sessions.open(now()).unwrap();
        assert!(sessions.is_open(&cookie(&token), now()));
        sessions.end(&cookie(&token), now());
        assert!(!sessions.is_open(&cookie(&token), now()));
        let (other, _) = sessions.open(now()).unwrap();
        assert!(
            sessions.is_open(&cookie(&other), now()),
            "another session goes on"
        );
        let lasts = i64::from(LASTS_SECONDS) * 1000;
        let (old, _) = sessions.open(now().plus_millis(-lasts - 1000)).unwrap();
        assert!(!sessions.is_open(&cookie(&old), now()));
        let (nearly, _) = sessions.open(now().plus_millis(-lasts + 60_000)).unwrap();
        assert!(sessions.is_open(&cookie(&nearly), now()));
    }

    #[test]
    fn a_session_of_another_key_or_an_altered_one_is_none() {
        let (token, _) = sessions("another").open(now()).unwrap();
        let sessions = sessions("admin");
        assert!(!sessions.is_open(&cookie(&token), now()));
        let (token, _) = sessions.open(now()).unwrap();
        assert!(!sessions.is_open(&cookie(&format!("{token}x")), now()));
        assert!(!sessions.is_open(&cookie(""), now()));
        assert!(!sessions.is_open(&HeaderMap::new(), now()));
    }

    #[test]
    fn a_request_that_changes_something_must_say_that_it_is_ours() {
        let post = |pairs: &[(&'static str, &str)]| is_same_origin(&Method::POST, &headers(pairs));
        assert_eq!(post(&[("sec-fetch-site", "same-origin")]), Some(true));
        for other in ["same-site", "cross-site", "none"] {
            assert_eq!(post(&[("sec-fetch-site", other)]), Some(false), "{other}");
        }
        let host = ("host", "shop.example:8080");
        assert_eq!(
            post(&[host, ("origin", "https://shop.example:8080")]),
            Some(true)
        );
        for other in [
            "https://evil.example",
            "https://shop.example",
            "null",
            "https://shop.example:8080.evil.example",
        ] {
            assert_eq!(post(&[host, ("origin", other)]), Some(false), "{other}");
        }
        assert_eq!(post(&[host]), None);
        let get = |pairs: &[(&'static str, &str)]| is_same_origin(&Method::GET, &headers(pairs));
        assert_eq!(get(&[host]), Some(true));
        assert_eq!(get(&[("sec-fetch-site", "none")]), Some(true));
        assert_eq!(get(&[("sec-fetch-site", "cross-site")]), Some(false));
    }
}
