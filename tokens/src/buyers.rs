//! Buyer tokens: JSON Web Tokens (RFC 7519), signed by the shop: with a secret that it shares with
//! the server, or with a private key whose public key is in the shop's key set.
//!
//! Promise: a token acts only for the buyer in its `sub`, for at most the maximum lifetime, and
//! only at a server in its `aud`. A refusal names the claim and the compared values, and does not
//! repeat a library's message. Limit: a token cannot be revoked before its `exp`; the maximum
//! lifetime bounds that.
//!
//! Source: docs/decisions/0038-tokens-are-checked-here.md.

use domain::values::{BuyerId, Timestamp};
use serde_json::{Map, Value};

use crate::jws::{Algorithm, Hs256, Invalid, Unverified};
use crate::key_source::KeySource;

/// The settings for buyer tokens.
#[derive(Debug, Clone)]
pub struct BuyerTokens {
    /// The secrets shared with the shop: while one replaces another, both.
    pub secrets: Vec<Hs256>,
    /// The shop's public keys.
    pub keys: Option<KeySource>,
    /// This server's name in a token's `aud`.
    pub audience: Option<String>,
    /// Maximum time from now to `exp`, in seconds.
    pub max_seconds: u32,
    /// Tolerated difference between the shop's clock and this one, in seconds.
    pub leeway_seconds: u32,
}

/// The reason why a buyer's token is refused, and the next step. `Display` continues "The buyer's
/// token".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not signed by the shop.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The shop's key set was not loaded yet, so the signature cannot be checked.
    #[error("cannot be checked: the key set of the shop (HOLDFAST_BUYER_JWKS) is not loaded yet")]
    NoKeys,
    /// A required claim is missing.
    #[error("has no {claim} claim. The shop must set it to {meaning}")]
    Missing {
        claim: &'static str,
        meaning: &'static str,
    },
    /// A claim has the wrong type or range.
    #[error("has an unusable {claim} claim: it must be {expected}. The shop must correct it")]
    Claim {
        claim: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    #[error(
        "expired: exp is {exp}, the server's time is {now}, and the tolerance is \
         {leeway_seconds} s. Get a new token from the shop"
    )]
    Expired {
        exp: Timestamp,
        now: Timestamp,
        leeway_seconds: u32,
    },
    #[error(
        "is not valid yet: {claim} is {begins}, the server's time is {now}, and the tolerance is \
         {leeway_seconds} s. Wait until then, or correct the shop's clock"
    )]
    Early {
        /// `nbf` or `iat`.
        claim: &'static str,
        begins: Timestamp,
        now: Timestamp,
        leeway_seconds: u32,
    },
    /// Its lifetime exceeds the maximum.
    #[error(
        "lasts too long: exp is {exp}, the server's time is {now}, and the maximum lifetime is \
         {max_seconds} s (HOLDFAST_BUYER_TOKEN_MAX_SECONDS). The shop must set an earlier exp"
    )]
    TooLong {
        exp: Timestamp,
        now: Timestamp,
        max_seconds: u32,
    },
    /// It is intended for another server.
    #[error(
        "has an aud claim without this server's audience, {0} (HOLDFAST_BUYER_AUDIENCE). The shop \
         must add it"
    )]
    Audience(String),
    /// It is intended for certain servers, and this one has no audience configured.
    #[error(
        "has an aud claim, and this server has no audience. The operator must set \
         HOLDFAST_BUYER_AUDIENCE, or the shop must omit aud"
    )]
    NoAudience,
    /// Its `sub` is not a valid buyer id.
    #[error(
        "has a sub claim that is not a buyer id: it {0}. The shop must set it to the buyer_id of \
         its requests"
    )]
    Buyer(String),
    /// Its `sub` is only equal to another buyer's id after normalization.
    #[error(
        "has a sub claim that is not the normal form of a buyer id: outside ASCII, lower case, in \
         NFC, and no white space around it. The shop must issue it in that form"
    )]
    NotNormal,
}

impl BuyerTokens {
    /// Returns the buyer in `token`, if the token is valid at `now`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn buyer(&self, token: &str, now: Timestamp) -> Result<BuyerId, TokenError> {
        let claims = self.verify(token).await?;
        self.check_times(&claims, now)?;
        self.check_audience(claims.get("aud"))?;
        buyer_named(&claims)
    }

    /// Returns the claims of a token that the shop signed.
    async fn verify(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let token = Unverified::parse(token)?;
        match (token.algorithm, &self.keys) {
            (Some(Algorithm::Hs256), _) if !self.secrets.is_empty() => {
                match self.secrets.iter().any(|secret| secret.has_signed(&token)) {
                    true => Ok(token.claims()?),
                    false => Err(Invalid::Signature.into()),
                }
            }
            (Some(Algorithm::Es256 | Algorithm::Rs256 | Algorithm::EdDsa), Some(keys)) => {
                verify_by(keys, &token).await
            }
            (Some(_) | None, _) => Err(Invalid::Algorithm(self.accepted()).into()),
        }
    }

    /// Returns the names of the accepted algorithms, for a sentence.
    const fn accepted(&self) -> &'static str {
        match (self.secrets.is_empty(), &self.keys) {
            (_, None) => "HS256",
            (true, Some(_)) => "ES256, RS256 or EdDSA",
            (false, Some(_)) => "HS256, ES256, RS256 or EdDSA",
        }
    }

    fn check_times(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(), TokenError> {
        let (leeway_seconds, max_seconds) = (self.leeway_seconds, self.max_seconds);
        let exp = date(claims, "exp")?.ok_or(TokenError::Missing {
            claim: "exp",
            meaning: "the time at which the token expires, in seconds since 1970",
        })?;
        if now >= exp.plus_seconds(leeway_seconds) {
            return Err(TokenError::Expired {
                exp,
                now,
                leeway_seconds,
            });
        }
        for claim in ["nbf", "iat"] {
            let begins = date(claims, claim)?.unwrap_or_default();
            if begins > now.plus_seconds(leeway_seconds) {
                return Err(TokenError::Early {
                    claim,
                    begins,
                    now,
                    leeway_seconds,
                });
            }
        }
        if exp > now.plus_seconds(max_seconds).plus_seconds(leeway_seconds) {
            return Err(TokenError::TooLong {
                exp,
                now,
                max_seconds,
            });
        }
        Ok(())
    }

    /// Checks the audience by RFC 7519, section 4.1.3: a server that is not in a token's audience
    /// refuses the token.
    fn check_audience(&self, aud: Option<&Value>) -> Result<(), TokenError> {
        let expected = "a text or a list of texts";
        let not_audience = TokenError::Claim {
            claim: "aud",
            expected,
        };
        let named: Vec<&str> = match aud {
            None if self.audience.is_some() => {
                return Err(TokenError::Missing {
                    claim: "aud",
                    meaning: "this server's audience (HOLDFAST_BUYER_AUDIENCE)",
                });
            }
            None => return Ok(()),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => {
                let texts: Option<Vec<&str>> = many.iter().map(Value::as_str).collect();
                texts.ok_or(not_audience)?
            }
            Some(_) => return Err(not_audience),
        };
        match &self.audience {
            None => Err(TokenError::NoAudience),
            Some(audience) if named.contains(&audience.as_str()) => Ok(()),
            Some(audience) => Err(TokenError::Audience(audience.clone())),
        }
    }
}

/// Verifies a token with the shop's public keys. A token with an unknown key may be the first with
/// a new one, so the set is loaded again before the token is refused.
async fn verify_by(
    keys: &KeySource,
    token: &Unverified<'_>,
) -> Result<Map<String, Value>, TokenError> {
    let verified = keys.current().map(|keys| keys.verify(token));
    match verified {
        Some(Ok(claims)) => Ok(claims),
        None | Some(Err(Invalid::UnknownKey)) => {
            let keys = keys.reloaded_for(token).await.ok_or(TokenError::NoKeys)?;
            Ok(keys.verify(token)?)
        }
        Some(Err(error)) => Err(error.into()),
    }
}

/// Parses a `NumericDate`: seconds since the Unix epoch, with or without a fraction.
fn date(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<Timestamp>, TokenError> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let expected = "a number of seconds since 1970, up to the year 9999";
    let millis = value.as_f64().map(|seconds| seconds * 1000.0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "the latest instant has 48 bits, which a double represents exactly"
    )]
    let last = Timestamp::MAX.millis() as f64;
    match millis {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "within the bounds; a fraction of a millisecond is dropped"
        )]
        Some(millis) if (0.0..=last).contains(&millis) => {
            Ok(Some(Timestamp::from_millis(millis as i64)))
        }
        Some(_) | None => Err(TokenError::Claim { claim, expected }),
    }
}

/// Returns the buyer of `sub`, which must be a buyer id in normal form. Only ASCII case and
/// outer white space may differ, as everywhere a buyer id is accepted.
///
/// [`BuyerId::spelling`] changes more than ASCII: U+212A KELVIN SIGN becomes `k`, and canonical
/// equivalents become one; [`BuyerId::comparable`] folds `ß` to `ss` as well. Accounts that the
/// shop's sign-in distinguishes must not become one buyer here, so a `sub` that only such a change
/// makes equal to an id is refused. An id that only older logs accept is read by the old rule, so
/// that its buyer can still pay for their holds.
fn buyer_named(claims: &Map<String, Value>) -> Result<BuyerId, TokenError> {
    let expected = "a text or a whole number";
    let text = match claims.get("sub") {
        None => {
            return Err(TokenError::Missing {
                claim: "sub",
                meaning: "the buyer's id",
            });
        }
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(_) => {
            return Err(TokenError::Claim {
                claim: "sub",
                expected,
            });
        }
    };
    let buyer_id = BuyerId::stored(&text).map_err(|error| TokenError::Buyer(error.to_string()))?;
    let spelled = text
        .trim_matches(|c: char| c.is_ascii_whitespace())
        .to_ascii_lowercase();
    if *buyer_id.spelling() == *spelled {
        Ok(buyer_id)
    } else {
        Err(TokenError::NotNormal)
    }
}

#[cfg(test)]
mod tests;
