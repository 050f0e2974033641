//! Who is calling, and what that allows.
//!
//! Keys come as `Authorization: Bearer KEY`; a browser that signed in with the admin key has a cookie instead, see
//! [`crate::session`]. Without a buyer secret, a shop's back end is trusted to say who its buyers
//! are; with one, a buyer's browser brings a token (see [`crate::tokens`]) and acts for that buyer
//! alone.
//!
//! Limit: the log names holds, and without a buyer secret knowing a hold's id is the right to buy or to release it; so the
//! auditor key of a shop without one must be kept as well as the admin key.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use domain::values::BuyerId;

use crate::app::App;
use crate::jws::has_form_of_token;
use crate::limiter::{AttemptKind, Origin};
use crate::problem::{Code, Problem};
use crate::session::is_signed_in;
use crate::tokens::TokenError;

/// Proof that the caller has the admin key.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

/// Proof that the caller has the auditor key, or the admin key.
#[derive(Debug, Clone, Copy)]
pub struct Auditor;

/// On whose behalf a buyer's route is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who is believed about any buyer: an admin, or anyone when there is no buyer secret.
    Trusted,
    /// One buyer.
    Buyer(BuyerId),
}

impl Caller {
    /// Refuses to act for anybody but the caller.
    ///
    /// # Errors
    /// 403.
    pub fn must_be(&self, buyer_id: &BuyerId) -> Result<(), Problem> {
        match self {
            Self::Trusted => Ok(()),
            Self::Buyer(caller) if caller.comparable() == buyer_id.comparable() => Ok(()),
            Self::Buyer(_) => Err(Problem::new(
                Code::Forbidden,
                "The token is another buyer's.",
            )),
        }
    }

    /// As [`Caller::must_be`], for what may belong to a buyer who was erased.
    ///
    /// # Errors
    /// 403.
    pub fn must_own(&self, owner: Option<&BuyerId>) -> Result<(), Problem> {
        match (self, owner) {
            (Self::Trusted, _) => Ok(()),
            (Self::Buyer(_), Some(owner)) => self.must_be(owner),
            (Self::Buyer(_), None) => Err(Problem::new(
                Code::Forbidden,
                "The token is another buyer's.",
            )),
        }
    }
}

/// The challenge of every 401 (RFC 6750, section 3): without an error code where nothing was
/// presented.
const CHALLENGE: &str = "Bearer realm=\"holdfast\"";

/// The bearer key or token that is presented, if there is one.
fn bearer(parts: &Parts) -> Result<Option<&str>, Problem> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid_token("Send one Authorization header."));
    }
    let read = || {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    Ok(read())
}

/// The bearer, if it counts as an attempt at a key: where buyers have tokens, what has a token's form
/// does not. Expired tokens must not use up the attempts of an address that many buyers share.
pub(crate) fn bearer_key<'a>(parts: &'a Parts, app: &App) -> Option<&'a str> {
    let is_token = |key: &str| app.buyer_tokens.is_some() && has_form_of_token(key);
    let presented = bearer(parts).ok().flatten();
    presented.filter(|key| !is_token(key))
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail).header(header::WWW_AUTHENTICATE, CHALLENGE)
}

/// 401 for a key or a token that was presented and is not good.
fn invalid_token(detail: &str) -> Problem {
    // Only these characters may stand in a description.
    let described = detail.replace(|c| !matches!(c, ' ' | '!' | '#'..='[' | ']'..='~'), "?");
    let challenge =
        format!("{CHALLENGE}, error=\"invalid_token\", error_description=\"{described}\"");
    Problem::new(Code::Unauthorized, detail).header(header::WWW_AUTHENTICATE, challenge)
}

fn refused(error: &TokenError) -> Problem {
    invalid_token(&format!("The buyer's token {error}."))
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(Code::Forbidden, detail)
}

/// Whose a bearer is.
enum Bearer {
    Admin,
    Auditor,
    Buyer(BuyerId),
}

impl Bearer {
    /// A known one that allows too little is told apart from an unknown one: 403, not 401.
    fn of(token: &str, parts: &Parts, app: &App) -> Result<Self, Problem> {
        let is_attempt = bearer_key(parts, app).is_some();
        let origin = is_attempt.then(|| Origin::by_address(parts, app));
        let attempt = origin.map(|origin| app.limiter.attempt(origin, AttemptKind::Key));
        let attempt = attempt.transpose()?;
        let bearer = Self::known(token, app)?;
        if let Some(attempt) = attempt {
            attempt.succeeded();
        }
        Ok(bearer)
    }

    fn known(token: &str, app: &App) -> Result<Self, Problem> {
        if app.keys.admin.matches(token) {
            return Ok(Self::Admin);
        }
        if app.keys.auditor.matches(token) {
            return Ok(Self::Auditor);
        }
        let unknown = || invalid_token("The key is unknown.");
        let tokens = app.buyer_tokens.as_ref().ok_or_else(unknown)?;
        let buyer = tokens.buyer(token, app.now());
        buyer.map(Self::Buyer).map_err(|error| refused(&error))
    }
}

/// Whoever sends no key may have signed in.
fn signed_in(parts: &Parts, app: &App, otherwise: &str) -> Result<(), Problem> {
    if !parts.headers.contains_key(header::AUTHORIZATION) && is_signed_in(parts, app)? {
        Ok(())
    } else {
        Err(unauthorized(otherwise))
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(key) = bearer(parts)? else {
            return signed_in(parts, app, "Send the admin key as a bearer key.").map(|()| Self);
        };
        match Bearer::of(key, parts, app)? {
            Bearer::Admin => Ok(Self),
            Bearer::Auditor => Err(forbidden("The auditor key may read the log, not this.")),
            Bearer::Buyer(_) => Err(forbidden("A buyer's token may not do what admins do.")),
        }
    }
}

impl FromRequestParts<App> for Auditor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(key) = bearer(parts)? else {
            return signed_in(parts, app, "Send the auditor key as a bearer key.").map(|()| Self);
        };
        match Bearer::of(key, parts, app)? {
            Bearer::Admin | Bearer::Auditor => Ok(Self),
            Bearer::Buyer(_) => Err(forbidden("A buyer's token may not read the log.")),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if app.buyer_tokens.is_none() {
            return Ok(Self::Trusted);
        }
        let token = bearer(parts)?
            .ok_or_else(|| unauthorized("Send the buyer's token as a bearer token."))?;
        match Bearer::of(token, parts, app)? {
            Bearer::Admin => Ok(Self::Trusted),
            Bearer::Auditor => Err(forbidden(
                "The auditor key may read the log, not act for buyers.",
            )),
            Bearer::Buyer(buyer_id) => Ok(Self::Buyer(buyer_id)),
        }
    }
}

/// Who asks on a route that others than admins may call: whether they have proved to be an admin,
/// and where they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    pub(crate) is_admin: bool,
    pub(crate) origin: Origin,
}

/// In a handler after [`Caller`], which refuses wrong keys where keys are needed. Elsewhere a wrong
/// key is an attempt, and no more than anonymous.
impl FromRequestParts<App> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let origin = Origin::by_address(parts, app);
        let anonymous = Self {
            is_admin: false,
            origin,
        };
        let Some(key) = bearer_key(parts, app) else {
            let is_admin = signed_in(parts, app, "").is_ok();
            return Ok(Self { is_admin, origin });
        };
        let Ok(attempt) = app.limiter.attempt(origin, AttemptKind::Key) else {
            return Ok(anonymous);
        };
        if app.keys.admin.matches(key) {
            attempt.succeeded();
            return Ok(Self {
                is_admin: true,
                origin: Origin::Unlimited,
            });
        }
        // It is no guess, and bounds apply.
        if app.keys.auditor.matches(key) {
            attempt.succeeded();
        }
        Ok(anonymous)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_buyer_acts_for_themselves_alone_whatever_the_case() {
        let alice = BuyerId::new("alice").unwrap();
        let caller = Caller::Buyer(BuyerId::new("ALICE").unwrap());
        assert!(caller.must_be(&alice).is_ok());
        assert!(caller.must_own(Some(&alice)).is_ok());
        assert!(caller.must_be(&BuyerId::new("bob").unwrap()).is_err());
        assert!(caller.must_own(None).is_err());
        assert!(Caller::Trusted.must_own(None).is_ok());
    }

    #[test]
    fn one_authorization_header_names_the_scheme_and_the_token() {
        let bearer_in = |values: &[&str]| {
            let mut request = Request::builder();
            for value in values {
                request = request.header(header::AUTHORIZATION, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            bearer(&parts).map(|token| token.map(str::to_owned))
        };
        for value in ["Bearer abc", "bearer  abc ", "BEARER abc"] {
            assert_eq!(bearer_in(&[value]).unwrap().as_deref(), Some("abc"));
        }
        for none in [&["abc"][..], &["Basic abc"], &["Bearer"], &[]] {
            assert_eq!(bearer_in(none).unwrap(), None, "{none:?}");
        }
        // Which of them counts, a proxy may see otherwise.
        let twice = bearer_in(&["Bearer abc", "Bearer abc"]).unwrap_err();
        assert_eq!(twice.code(), Code::Unauthorized);
    }
}
