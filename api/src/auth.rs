//! Authentication of callers, and their rights.
//!
//! Keys are sent as `Authorization: Bearer KEY`; a browser that signed in with the admin key has a
//! cookie instead, see [`crate::session`]. Without a buyer secret, the shop's back end is trusted
//! to identify its buyers. With one, a buyer's browser sends a token (see [`tokens::buyers`]) and
//! acts for that buyer only.
//!
//! Limit: the log contains hold ids, and without a buyer secret knowing a hold's id grants the
//! right to buy or to release it. So the auditor key of a shop without a buyer secret must be
//! protected like the admin key.

mod origin;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use domain::values::{AdminName, BuyerId};
use tokens::buyers::TokenError;
use tokens::jws::has_form_of_token;

use crate::app::App;
use crate::base_path::at;
use crate::limiter::{AttemptKind, Origin};
use crate::problem::{Code, Problem};
use crate::session;
use crate::viewer::Viewer;

/// Proof that the caller has an admin key.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    /// The holder of the key.
    pub name: AdminName,
}

/// Proof that the caller has the auditor key, or the admin key.
#[derive(Debug, Clone, Copy)]
pub struct Auditor;

/// The buyer for whom a route is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A caller that may act for any buyer: an administrator, or anyone when there is no buyer
    /// secret.
    Trusted,
    Buyer(BuyerId),
}

impl Caller {
    /// Returns true if the caller is a buyer with a token.
    pub const fn has_token(&self) -> bool {
        matches!(self, Self::Buyer(_))
    }

    /// Rejects a request for another buyer. Compares spellings: ids that only case folding makes
    /// equal are two accounts of the shop, see [`tokens::buyers`].
    ///
    /// # Errors
    /// 403.
    pub fn must_be(&self, buyer_id: &BuyerId) -> Result<(), Problem> {
        match self {
            Self::Trusted => Ok(()),
            Self::Buyer(caller) if caller.spelling() == buyer_id.spelling() => Ok(()),
            Self::Buyer(_) => Err(Problem::new(
                Code::Forbidden,
                "The token belongs to another buyer. Send the token of the buyer in the request.",
            )),
        }
    }

    /// [`Caller::must_be`] for a resource whose buyer may have been erased.
    ///
    /// # Errors
    /// 403.
    pub fn must_own(&self, owner: Option<&BuyerId>) -> Result<(), Problem> {
        match (self, owner) {
            (Self::Trusted, _) => Ok(()),
            (Self::Buyer(_), Some(owner)) => self.must_be(owner),
            (Self::Buyer(_), None) => Err(Problem::new(
                Code::Forbidden,
                "The token belongs to another buyer. Send the token of the buyer in the request.",
            )),
        }
    }

    /// Returns the origin whose attempts an unknown id of this caller counts among. A buyer with a
    /// token gains nothing by a guess, because the resource must also belong to them, so their ids
    /// do not count: the address may be shared with the holder of a key.
    pub(crate) fn guesses_from(&self, origin: Origin) -> Origin {
        match self {
            Self::Trusted => origin,
            Self::Buyer(_) => Origin::Unlimited,
        }
    }
}

/// The challenge of every 401 (RFC 6750, section 3), without an error code when no credentials were
/// sent.
const CHALLENGE: &str = "Bearer realm=\"holdfast\"";

/// Returns the bearer key or token of a request.
fn bearer(parts: &Parts) -> Option<&str> {
    // The router has refused a request with two of them.
    let value = parts.headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns the bearer if it counts as an attempt to guess a key. Where buyers have tokens, a value
/// in a token's form does not count: expired tokens must not use up the attempts of an address that
/// many buyers share.
pub(crate) fn bearer_key<'a>(parts: &'a Parts, app: &App) -> Option<&'a str> {
    let is_token = |key: &str| app.buyer_tokens.is_some() && has_form_of_token(key);
    let presented = bearer(parts);
    presented.filter(|key| !is_token(key))
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail).header(header::WWW_AUTHENTICATE, CHALLENGE)
}

/// 401 for a key or a token that is not valid.
fn invalid_token(detail: &str) -> Problem {
    // A description may contain only these characters.
    let described = detail.replace(|c| !matches!(c, ' ' | '!' | '#'..='[' | ']'..='~'), "?");
    let challenge =
        format!("{CHALLENGE}, error=\"invalid_token\", error_description=\"{described}\"");
    Problem::new(Code::Unauthorized, detail).header(header::WWW_AUTHENTICATE, challenge)
}

fn refused(error: &TokenError) -> Problem {
    invalid_token(&format!("The buyer's token {error}."))
}

/// 503 for a token whose signature cannot be checked yet: the request may be repeated.
fn unchecked() -> Problem {
    Problem::unavailable(format!("The buyer's token {}. Retry.", TokenError::NoKeys))
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(Code::Forbidden, detail)
}

/// The credentials that a route accepts. A problem names these, and no others.
#[derive(Debug, Clone, Copy)]
enum Accepted {
    AdminKey,
    /// The auditor key or the admin key.
    AnyKey,
    /// A buyer's token, or the admin key.
    Token,
}

impl Accepted {
    /// The detail of a 401 for anything else.
    const fn otherwise(self) -> &'static str {
        match self {
            Self::AdminKey => "This is not the admin key. Send it: Authorization: Bearer KEY.",
            Self::AnyKey => {
                "This is neither the auditor key nor the admin key. Send one of them: \
                 Authorization: Bearer KEY."
            }
            Self::Token => {
                "This is neither a buyer's token (three base64url parts with dots between them) \
                 nor the admin key. Send one of them: Authorization: Bearer TOKEN."
            }
        }
    }
}

/// The owner of a bearer key or token.
enum Bearer {
    Admin(AdminName),
    Auditor,
    Buyer(BuyerId),
}

impl Bearer {
    /// Identifies the owner. A known key with too few rights gets 403 later; an unknown one gets
    /// 401 here.
    async fn of(
        token: &str,
        accepted: Accepted,
        parts: &Parts,
        app: &App,
    ) -> Result<Self, Problem> {
        let is_attempt = bearer_key(parts, app).is_some();
        let origin = is_attempt.then(|| Origin::by_address(parts, app));
        let attempt = origin.map(|origin| app.limiter.attempt(origin, AttemptKind::Key));
        let attempt = attempt.transpose()?;
        let bearer = Self::known(token, accepted, app).await?;
        if let Some(attempt) = attempt {
            attempt.succeeded();
        }
        Ok(bearer)
    }

    async fn known(token: &str, accepted: Accepted, app: &App) -> Result<Self, Problem> {
        if let Some(admin) = app.keys.admin(token) {
            return Ok(Self::Admin(admin.name));
        }
        if app.keys.auditor.matches(token) {
            return Ok(Self::Auditor);
        }
        let unknown = || invalid_token(accepted.otherwise());
        let tokens = app.buyer_tokens.as_ref().ok_or_else(unknown)?;
        let buyer = tokens.buyer(token, app.now()).await;
        buyer
            .map(Self::Buyer)
            .map_err(|error| match (accepted, error) {
                // Neither in the form of a token nor a key: it may be either, mistyped.
                (Accepted::AdminKey | Accepted::AnyKey, _) => unknown(),
                (Accepted::Token, TokenError::NoKeys) => unchecked(),
                (Accepted::Token, error) if has_form_of_token(token) => refused(&error),
                (Accepted::Token, _) => unknown(),
            })
    }
}

/// Accepts a signed-in browser, which sends no key.
fn signed_in(parts: &Parts, app: &App, otherwise: &str) -> Result<AdminName, Problem> {
    let admin = match parts.headers.contains_key(header::AUTHORIZATION) {
        true => None,
        false => session::signed_in(parts, &app.sessions, app.now(), app.brand.public_origin())?,
    };
    admin.ok_or_else(|| unauthorized(otherwise))
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(key) = bearer(parts) else {
            return signed_in(parts, app, "Send the admin key: Authorization: Bearer KEY.")
                .map(|name| Self { name });
        };
        match Bearer::of(key, Accepted::AdminKey, parts, app).await? {
            Bearer::Admin(name) => Ok(Self { name }),
            Bearer::Auditor => Err(forbidden(
                "The auditor key may only read the log. Use the admin key.",
            )),
            Bearer::Buyer(_) => Err(forbidden(
                "A buyer's token does not allow this. Use the admin key.",
            )),
        }
    }
}

impl FromRequestParts<App> for Auditor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(key) = bearer(parts) else {
            return signed_in(
                parts,
                app,
                "Send the auditor key: Authorization: Bearer KEY.",
            )
            .map(|_| Self);
        };
        match Bearer::of(key, Accepted::AnyKey, parts, app).await? {
            Bearer::Admin(_) | Bearer::Auditor => Ok(Self),
            Bearer::Buyer(_) => Err(forbidden(
                "A buyer's token does not allow reading the log. Use the auditor key.",
            )),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let identified = Self::identify(parts, app).await;
        identified.map_err(|problem| with_sign_in(problem, app))
    }
}

impl Caller {
    async fn identify(parts: &Parts, app: &App) -> Result<Self, Problem> {
        if app.buyer_tokens.is_none() {
            return Ok(Self::Trusted);
        }
        let token = bearer(parts)
            .ok_or_else(|| unauthorized("Send the buyer's token: Authorization: Bearer TOKEN."))?;
        match Bearer::of(token, Accepted::Token, parts, app).await? {
            Bearer::Admin(_) => Ok(Self::Trusted),
            Bearer::Auditor => Err(forbidden(
                "The auditor key may only read the log. Use the buyer's token.",
            )),
            Bearer::Buyer(buyer_id) => Ok(Self::Buyer(buyer_id)),
        }
    }
}

/// Adds to a 401 of a buyers' route the address at which the buyer gets a token.
pub(crate) fn with_sign_in(problem: Problem, app: &App) -> Problem {
    let url = app.sign_in_url.as_ref();
    match url.filter(|_| app.buyer_tokens.is_some()) {
        Some(url) if problem.code() == Code::Unauthorized => {
            problem.with("sign_in_url", at(url.as_str()))
        }
        _ => problem,
    }
}

/// The caller of a route that is not only for administrators: the origin, and if the caller is
/// an administrator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    pub(crate) is_admin: bool,
    /// The caller as a reader of drops.
    pub(crate) viewer: Viewer,
    pub(crate) origin: Origin,
}

impl Visitor {
    /// Returns true if a buyer's response may have the ids of holds, orders and the like, which
    /// are the right to buy and to cancel. Where buyers are believed, a buyer's id alone is no
    /// proof.
    pub(crate) const fn may_see_ids(&self, caller: &Caller) -> bool {
        self.is_admin || caller.has_token()
    }
}

/// In a handler, use it after [`Caller`], which rejects wrong keys where keys are required. On
/// other routes a caller with a wrong key counts as anonymous, and the key as an attempt. As for
/// [`Origin`], a key that is not checked is refused.
impl FromRequestParts<App> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let origin = Origin::by_address(parts, app);
        let anonymous = Self {
            is_admin: false,
            viewer: Viewer::Public,
            origin,
        };
        let Some(key) = bearer_key(parts, app) else {
            let is_admin = !parts.headers.contains_key(header::AUTHORIZATION)
                && session::signed_in(parts, &app.sessions, app.now(), app.brand.public_origin())
                    .is_ok_and(|admin| admin.is_some());
            return Ok(match is_admin {
                true => Self {
                    is_admin,
                    viewer: Viewer::Staff,
                    origin,
                },
                false => anonymous,
            });
        };
        let attempt = app.limiter.attempt(origin, AttemptKind::Key)?;
        if app.keys.admin(key).is_some() {
            attempt.succeeded();
            return Ok(Self {
                is_admin: true,
                viewer: Viewer::Staff,
                origin: Origin::Unlimited,
            });
        }
        // The auditor's key is not a guess, but limits apply to it.
        if app.keys.auditor.matches(key) {
            attempt.succeeded();
            return Ok(Self {
                viewer: Viewer::Staff,
                ..anonymous
            });
        }
        Ok(anonymous)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn buyer_acts_only_for_themselves_in_any_letter_case() {
        let alice = BuyerId::new("alice").unwrap();
        let caller = Caller::Buyer(BuyerId::new("ALICE").unwrap());
        assert!(caller.must_be(&alice).is_ok());
        assert!(caller.must_own(Some(&alice)).is_ok());
        assert!(caller.must_be(&BuyerId::new("bob").unwrap()).is_err());
        assert!(caller.must_own(None).is_err());
        assert!(Caller::Trusted.must_own(None).is_ok());
    }

    #[test]
    fn one_authorization_header_has_the_scheme_and_the_token() {
        let bearer_in = |values: &[&str]| {
            let mut request = Request::builder();
            for value in values {
                request = request.header(header::AUTHORIZATION, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            bearer(&parts).map(str::to_owned)
        };
        for value in ["Bearer abc", "bearer  abc ", "BEARER abc"] {
            assert_eq!(bearer_in(&[value]).as_deref(), Some("abc"));
        }
        for none in [&["abc"][..], &["Basic abc"], &["Bearer"], &[]] {
            assert_eq!(bearer_in(none), None, "{none:?}");
        }
    }
}
