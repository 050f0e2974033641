//! Sessions of browsers that signed in with the admin key. A cookie replaces the key, so that no
//! page and no script stores the key.
//!
//! Promise: the cookie is signed, expires after [`LASTS_SECONDS`], and is accepted only from this
//! server's own pages: it is `HttpOnly` and `SameSite=Strict`, and a request that changes something
//! must have headers, which no page can forge, that show the same origin. Limit: signing out ends
//! the session in this process. Other processes of the same log, or this one after a restart, still
//! accept a stolen copy until it expires; changing an admin key ends its sessions everywhere.

pub(crate) mod routes;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use domain::values::{AdminName, Timestamp};
use serde::{Deserialize, Serialize};
use tokens::jws::Hs256;
use uuid::Uuid;

use crate::forwarded;
use crate::keys::AdminKey;
use crate::problem::{Code, Problem};

/// Lifetime of a session in seconds: a working day.
pub const LASTS_SECONDS: u32 = 12 * 60 * 60;

pub(crate) const COOKIE: &str = "holdfast_admin";

/// Signs sessions and stores which were ended.
pub struct Sessions {
    /// For each admin key, the key that signs its sessions. It proves the name of the session.
    keys: Vec<(AdminName, Hs256)>,
    /// Sessions that were ended early, with their original expiry in seconds since the Unix epoch.
    ended: Mutex<HashMap<Uuid, i64>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Claims {
    /// The session's id.
    jti: Uuid,
    /// Its expiry in seconds since the Unix epoch.
    exp: i64,
}

impl Sessions {
    /// Sessions for `admins`. `secret` comes from the log, so that every process of one log accepts
    /// them. A key that is removed ends its sessions at the next start.
    #[must_use]
    pub fn new(admins: &[AdminKey], secret: &[u8]) -> Self {
        let keys = admins.iter().map(|admin| (admin.name, of(admin, secret)));
        Self {
            keys: keys.collect(),
            ended: Mutex::default(),
        }
    }

    /// Opens a session of the holder of `admin`, which is one of the keys.
    fn open(
        &self,
        admin: &AdminKey,
        secret: &[u8],
        now: Timestamp,
    ) -> Result<(String, Timestamp), Problem> {
        let expires_at = now.plus_seconds(LASTS_SECONDS);
        let claims = Claims {
            jti: Uuid::new_v4(),
            exp: expires_at.millis().div_euclid(1000),
        };
        of(admin, secret)
            .sign(&claims)
            .map(|token| (token, expires_at))
            .map_err(|error| Problem::internal(&error))
    }

    /// Returns true if the request has the cookie of an active session.
    #[must_use]
    pub fn is_open(&self, headers: &HeaderMap, now: Timestamp) -> bool {
        self.admin(headers, now).is_some()
    }

    /// Returns the administrator of the active session whose cookie the request has.
    #[must_use]
    pub fn admin(&self, headers: &HeaderMap, now: Timestamp) -> Option<AdminName> {
        let (name, claims) = self.claims(headers, now)?;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        (!ended.contains_key(&claims.jti)).then_some(name)
    }

    fn end(&self, headers: &HeaderMap, now: Timestamp) {
        let Some((_, claims)) = self.claims(headers, now) else {
            return;
        };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Expired sessions need not be stored.
        ended.retain(|_, exp| *exp * 1000 > now.millis());
        ended.insert(claims.jti, claims.exp);
    }

    fn claims(&self, headers: &HeaderMap, now: Timestamp) -> Option<(AdminName, Claims)> {
        let seconds = now.millis().div_euclid(1000);
        let open = |token: &str| {
            let verified =
                |(name, key): &(AdminName, Hs256)| Some((*name, key.verify(token).ok()?));
            let (name, claims) = self.keys.iter().find_map(verified)?;
            let claims: Claims = serde_json::from_value(claims.into()).ok()?;
            (claims.exp > seconds).then_some((name, claims))
        };
        cookies(headers).find_map(open)
    }
}

/// The key that signs the sessions of the holder of `admin`.
fn of(admin: &AdminKey, secret: &[u8]) -> Hs256 {
    Hs256::new(&admin.key.derive(b"holdfast admin session", secret))
}

/// Returns every cookie of this name: a browser may also send those of other paths or programs.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).into_iter();
    let pairs = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Returns the administrator of the session that the request has and may use.
///
/// # Errors
/// 403 when it comes from another origin.
pub(crate) fn signed_in(
    parts: &Parts,
    sessions: &Sessions,
    now: Timestamp,
    public_origin: Option<&str>,
) -> Result<Option<AdminName>, Problem> {
    let Some(admin) = sessions.admin(&parts.headers, now) else {
        return Ok(None);
    };
    if is_same_origin(&parts.method, &parts.headers, public_origin) == Some(true) {
        return Ok(Some(admin));
    }
    Err(of_another_origin(
        "The session cookie is only accepted from this server's own pages.",
        &parts.headers,
    ))
}

/// Returns 403 for a request of a page of another origin. If the two origins may be one shop behind
/// a proxy, it says what to change.
pub(crate) fn of_another_origin(detail: &str, headers: &HeaderMap) -> Problem {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Only a browser that knows the site says that it is another one.
    let is_known = headers.contains_key("sec-fetch-site");
    let advice = match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) if !is_known && origin.contains("://") => format!(
            " The page is of {origin}, but this server was asked for {host}. If a proxy in front \
             has changed the host, let it pass the Host header on (nginx: proxy_set_header Host \
             $http_host), or set HOLDFAST_PUBLIC_URL={origin}."
        ),
        _ => String::new(),
    };
    Problem::new(Code::Forbidden, format!("{detail}{advice}"))
}

/// Returns the browser's statement about the origin of a request; `None` if there is none, as from
/// programs. The shop's own origins are its public URL, the host that a trusted proxy was asked
/// for, and the host that this server was asked for.
pub(crate) fn is_same_origin(
    method: &Method,
    headers: &HeaderMap,
    public_origin: Option<&str>,
) -> Option<bool> {
    let header = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_safe = method.is_safe();
    if let Some(site) = header(header::HeaderName::from_static("sec-fetch-site")) {
        // `none`: the user typed the address or opened a bookmark.
        return Some(site == "same-origin" || (is_safe && site == "none"));
    }
    match (header(header::ORIGIN), header(header::HOST)) {
        (Some(origin), Some(host)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let is_asked_for = |authority: &str| {
                let hosts = [Some(host), forwarded::host(headers)];
                let mut hosts = hosts.into_iter().flatten();
                hosts.any(|host| authority.eq_ignore_ascii_case(host))
            };
            let is_public = public_origin.is_some_and(|public| origin.eq_ignore_ascii_case(public));
            Some(is_public || authority.is_some_and(is_asked_for))
        }
        (Some(_), None) => Some(false),
        // Reading changes nothing, and another origin cannot read the response.
        (None, _) if is_safe => Some(true),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                header::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    const SECRET: &[u8] = b"secret of the log";

    fn admin(name: &str) -> AdminKey {
        AdminKey {
            name: AdminName::new(name).unwrap(),
            key: Key::new(name).unwrap(),
        }
    }

    fn sessions(name: &str) -> Sessions {
        Sessions::new(&[admin(name), admin("ops-2")], SECRET)
    }

    #[test]
    fn session_has_the_name_of_its_key_and_ends_with_it() {
        let (token, _) = sessions("ops-1")
            .open(&admin("ops-2"), SECRET, now())
            .unwrap();
        let found = sessions("ops-1").admin(&cookie(&token), now());
        assert_eq!(found, Some(admin("ops-2").name));
        let without = Sessions::new(&[admin("ops-1")], SECRET);
        assert_eq!(without.admin(&cookie(&token), now()), None);
    }

    fn cookie(token: &str) -> HeaderMap {
        headers(&[("cookie", &format!("theme=dark; {COOKIE}={token}"))])
    }

    fn now() -> Timestamp {
        chrono::Utc::now().into()
    }

    #[test]
    fn session_is_active_until_it_is_ended_or_expires() {
        let sessions = sessions("admin");
        let (token, _) = sessions.open(&admin("admin"), SECRET, now()).unwrap();
        assert!(sessions.is_open(&cookie(&token), now()));
        sessions.end(&cookie(&token), now());
        assert!(!sessions.is_open(&cookie(&token), now()));
        let (other, _) = sessions.open(&admin("admin"), SECRET, now()).unwrap();
        assert!(
            sessions.is_open(&cookie(&other), now()),
            "another session stays active"
        );
        let lasts = i64::from(LASTS_SECONDS) * 1000;
        let (old, _) = sessions
            .open(&admin("admin"), SECRET, now().plus_millis(-lasts - 1000))
            .unwrap();
        assert!(!sessions.is_open(&cookie(&old), now()));
        let (nearly, _) = sessions
            .open(&admin("admin"), SECRET, now().plus_millis(-lasts + 60_000))
            .unwrap();
        assert!(sessions.is_open(&cookie(&nearly), now()));
    }

    #[test]
    fn session_of_another_key_or_altered_session_is_rejected() {
        let (token, _) = sessions("another")
            .open(&admin("another"), SECRET, now())
            .unwrap();
        let sessions = sessions("admin");
        assert!(!sessions.is_open(&cookie(&token), now()));
        let (token, _) = sessions.open(&admin("admin"), SECRET, now()).unwrap();
        assert!(!sessions.is_open(&cookie(&format!("{token}x")), now()));
        assert!(!sessions.is_open(&cookie(""), now()));
        assert!(!sessions.is_open(&HeaderMap::new(), now()));
    }

    #[test]
    fn request_that_changes_something_must_show_the_same_origin() {
        let post =
            |pairs: &[(&'static str, &str)]| is_same_origin(&Method::POST, &headers(pairs), None);
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
        // Behind a proxy that asks for another host.
        let asked = ("host", "holdfast");
        let page = ("origin", "https://shop.example");
        assert_eq!(post(&[asked, page]), Some(false));
        let proxied = ("x-forwarded-host", "shop.example");
        assert_eq!(post(&[asked, page, proxied]), Some(true));
        let with = |url| is_same_origin(&Method::POST, &headers(&[asked, page]), Some(url));
        assert_eq!(with("https://shop.example"), Some(true));
        assert_eq!(with("http://shop.example"), Some(false));
        let get =
            |pairs: &[(&'static str, &str)]| is_same_origin(&Method::GET, &headers(pairs), None);
        assert_eq!(get(&[host]), Some(true));
        assert_eq!(get(&[("sec-fetch-site", "none")]), Some(true));
        assert_eq!(get(&[("sec-fetch-site", "cross-site")]), Some(false));
    }
}
