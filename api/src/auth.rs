//! Who is calling, and what that allows.
//!
//! Keys come as `Authorization: Bearer KEY`; a browser that signed in with the admin key has a cookie instead, see
//! [`crate::session`]. Without a buyer secret, a shop's back end is trusted to say who its buyers are;
//! with one, a buyer's browser brings a token (HS256, `sub`: the buyer's id, `exp`, and `nbf` if there is one) and acts for that buyer alone.
//!
//! Limit: the log names holds, and without a buyer secret knowing a hold's id is the right to buy or to release it; so the
//! auditor key of a shop without one must be kept as well as the admin key.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use domain::values::BuyerId;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use serde::Deserialize;

use crate::app::App;
use crate::limiter::{Origin, Tried};
use crate::problem::{Code, Problem};
use crate::session::is_signed_in;

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

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The bearer, if it counts as an attempt at a key: where buyers have tokens, what has a token's form
/// does not. Expired tokens must not use up the attempts of an address that many buyers share.
pub(crate) fn bearer_key<'a>(parts: &'a Parts, app: &App) -> Option<&'a str> {
    let is_token = |key: &str| app.buyer_secret.is_some() && key.matches('.').count() == 2;
    bearer(parts).filter(|key| !is_token(key))
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail).header(header::WWW_AUTHENTICATE, "Bearer")
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
        let attempt = origin.map(|origin| app.limiter.attempt(origin, Tried::Key));
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
        let unknown = || unauthorized("The key is not known here.");
        let secret = app.buyer_secret.as_ref().ok_or_else(unknown)?;
        buyer_of(token, secret).map(Self::Buyer)
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
        let Some(key) = bearer(parts) else {
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
        let Some(key) = bearer(parts) else {
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
        if app.buyer_secret.is_none() {
            return Ok(Self::Trusted);
        }
        let token = bearer(parts)
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

fn buyer_of(token: &str, secret: &DecodingKey) -> Result<BuyerId, Problem> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["exp", "sub"]);
    validation.leeway = 0;
    validation.validate_nbf = true;
    // The contract asks for a subject and an expiry; a shop may say more.
    validation.validate_aud = false;
    let TokenData { header, claims } =
        jsonwebtoken::decode::<Claims>(token, secret, &validation)
            .map_err(|error| unauthorized(&format!("The buyer's token is not valid: {error}.")))?;
    // Whoever writes `crit` wants the token refused where it is not understood, and we understand no extension (RFC 7515, 4.1.11).
    if header.crit.is_some() {
        let detail = "The buyer's token has a crit header, and no extension is understood here.";
        return Err(unauthorized(detail));
    }
    BuyerId::new(&claims.sub)
        .map_err(|error| unauthorized(&format!("The sub of the buyer's token {error}.")))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    fn token(claims: &serde_json::Value, secret: &str) -> String {
        jsonwebtoken::encode(
            &Header::default(),
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    }

    fn read(token: &str) -> Result<BuyerId, Problem> {
        buyer_of(token, &DecodingKey::from_secret(b"shop"))
    }

    #[test]
    fn a_token_of_the_shop_names_its_buyer_until_it_expires() {
        let far = 4_000_000_000u64;
        let good = token(&json!({"sub": "alice", "exp": far}), "shop");
        assert_eq!(read(&good).unwrap().as_str(), "alice");
        for bad in [
            token(&json!({"sub": "alice", "exp": far}), "somebody else"),
            token(&json!({"sub": "alice", "exp": 1_000_000}), "shop"),
            token(&json!({"sub": "alice"}), "shop"),
            token(&json!({"exp": far}), "shop"),
            "not a token".to_owned(),
        ] {
            assert_eq!(read(&bad).unwrap_err().code(), Code::Unauthorized);
        }
    }

    #[test]
    fn a_token_is_good_from_its_nbf_on() {
        let now = jsonwebtoken::get_current_timestamp();
        let from = |nbf: u64| {
            token(
                &json!({"sub": "alice", "exp": now + 7200, "nbf": nbf}),
                "shop",
            )
        };
        assert!(read(&from(now - 3600)).is_ok());
        assert_eq!(
            read(&from(now + 3600)).unwrap_err().code(),
            Code::Unauthorized
        );
        let odd = token(
            &json!({"sub": "alice", "exp": now + 7200, "nbf": "soon"}),
            "shop",
        );
        assert!(read(&odd).is_err());
    }

    #[test]
    fn a_token_with_an_extension_that_must_be_understood_is_refused() {
        let claims = json!({"sub": "alice", "exp": 4_000_000_000u64});
        let with = |crit: Option<Vec<String>>| {
            let header = Header {
                crit,
                ..Header::default()
            };
            let key = EncodingKey::from_secret(b"shop");
            jsonwebtoken::encode(&header, &claims, &key).unwrap()
        };
        assert!(read(&with(None)).is_ok());
        for crit in [vec!["exp".to_owned()], vec!["b64".to_owned()], vec![]] {
            let refused = read(&with(Some(crit))).unwrap_err();
            assert_eq!(refused.code(), Code::Unauthorized);
        }
    }

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
}
