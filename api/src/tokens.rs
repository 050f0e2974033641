//! Tokens by which a shop says which buyer is calling: JSON Web Tokens (RFC 7519) signed with
//! HS256.
//!
//! Promise: a token acts for exactly the buyer that its `sub` names, for at most the longest
//! lifetime, and only at a server that its `aud` means. A refusal names the claim, both values that
//! were compared, and no library's words.
//! Limit: a token cannot be revoked before its `exp`; the longest lifetime bounds that.
//!
//! Source: docs/decisions/0038-tokens-are-checked-here.md.

use domain::values::{BuyerId, Timestamp};
use serde_json::{Map, Value};

use crate::jws::{Hs256, Invalid};

/// What a buyer's token must be.
#[derive(Debug, Clone)]
pub struct BuyerTokens {
    /// The shop's secret.
    pub key: Hs256,
    /// Who this server is to a token's `aud`.
    pub audience: Option<String>,
    /// The longest time from now to `exp`, in seconds.
    pub max_seconds: u32,
    /// The difference between the shop's clock and this one that is tolerated, in seconds.
    pub leeway_seconds: u32,
}

/// Why a buyer's token is refused. `Display` continues "The buyer's token".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not the shop's.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A claim that it must have.
    #[error("has no {0} claim")]
    Missing(&'static str),
    /// A claim of the wrong kind.
    #[error("has an unusable {claim} claim: it is not {expected}")]
    Claim {
        /// Which one.
        claim: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// It is over.
    #[error("expired: exp is {exp}, the time here is {now}, and {leeway_seconds} s are tolerated")]
    Expired {
        /// Its end.
        exp: Timestamp,
        /// Now.
        now: Timestamp,
        /// The leeway.
        leeway_seconds: u32,
    },
    /// It has not begun.
    #[error(
        "is not valid yet: {claim} is {begins}, the time here is {now}, and {leeway_seconds} s are tolerated"
    )]
    Early {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// What it says.
        begins: Timestamp,
        /// Now.
        now: Timestamp,
        /// The leeway.
        leeway_seconds: u32,
    },
    /// It would be good for too long.
    #[error(
        "lasts too long: exp is {exp}, the time here is {now}, and at most {max_seconds} s are allowed \
         (HOLDFAST_BUYER_TOKEN_MAX_SECONDS)"
    )]
    TooLong {
        /// Its end.
        exp: Timestamp,
        /// Now.
        now: Timestamp,
        /// The most.
        max_seconds: u32,
    },
    /// It is meant for another server.
    #[error("has an aud claim without this server's audience")]
    Audience,
    /// It is meant for certain servers, and this one does not know who it is.
    #[error("has an aud claim, and this server has no audience (HOLDFAST_BUYER_AUDIENCE)")]
    NoAudience,
    /// It names nobody that a buyer can be.
    #[error("has a sub claim that is no buyer id: it {0}")]
    Buyer(String),
    /// Another buyer's id would be taken for this one.
    #[error(
        "has a sub claim that is not the normal form of a buyer id: outside ASCII, lower case, in NFC, and no white space around it"
    )]
    NotNormal,
}

impl BuyerTokens {
    /// The buyer whom `token` names, if it is good at `now`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn buyer(&self, token: &str, now: Timestamp) -> Result<BuyerId, TokenError> {
        let claims = self.key.verify(token)?;
        self.check_times(&claims, now)?;
        self.check_audience(claims.get("aud"))?;
        buyer_named(&claims)
    }

    fn check_times(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(), TokenError> {
        let (leeway_seconds, max_seconds) = (self.leeway_seconds, self.max_seconds);
        let exp = date(claims, "exp")?.ok_or(TokenError::Missing("exp"))?;
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

    /// RFC 7519, section 4.1.3: a token with an audience is refused by a server that does not find
    /// itself there.
    fn check_audience(&self, aud: Option<&Value>) -> Result<(), TokenError> {
        let expected = "a text or a list of texts";
        let not_audience = TokenError::Claim {
            claim: "aud",
            expected,
        };
        let named: Vec<&str> = match aud {
            None if self.audience.is_some() => return Err(TokenError::Missing("aud")),
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
            Some(_) => Err(TokenError::Audience),
        }
    }
}

/// A `NumericDate`: seconds since the Unix epoch, with or without a fraction.
fn date(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<Timestamp>, TokenError> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let expected = "seconds since 1970 up to the year 9999, as a number";
    let millis = value.as_f64().map(|seconds| seconds * 1000.0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "the latest instant has 48 bits, and so a double of its own"
    )]
    let last = Timestamp::MAX.millis() as f64;
    match millis {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "within the bounds, less than a millisecond is cut off"
        )]
        Some(millis) if (0.0..=last).contains(&millis) => {
            Ok(Some(Timestamp::from_millis(millis as i64)))
        }
        Some(_) | None => Err(TokenError::Claim { claim, expected }),
    }
}

/// The buyer of `sub`, which must be that buyer's id in normal form, but for ASCII: there, case and
/// outer white space are as free as in every other place that takes a buyer id.
///
/// [`BuyerId::comparable`] folds more than ASCII: U+212A KELVIN SIGN becomes `k`, and canonical
/// equivalents become one. Accounts that the
/// shop's sign-in tells apart must not become one buyer here, so a `sub` that only such folding
/// makes equal to an id is refused. An id that only an older log has is read by its own rule, so
/// that its buyer can still pay for what they hold.
fn buyer_named(claims: &Map<String, Value>) -> Result<BuyerId, TokenError> {
    let expected = "a text or a whole number";
    let text = match claims.get("sub") {
        None => return Err(TokenError::Missing("sub")),
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
    if *buyer_id.comparable() == *spelled {
        Ok(buyer_id)
    } else {
        Err(TokenError::NotNormal)
    }
}

#[cfg(test)]
mod tests;
