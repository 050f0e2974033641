//! Buyer tokens, as a shop signs them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokens::jws::Hs256;

/// The present time in seconds since the Unix epoch.
///
/// # Panics
/// If the system's clock is before the epoch.
#[must_use]
pub fn seconds_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs().cast_signed()
}

/// A token for `buyer` that is valid for `seconds`.
#[must_use]
pub fn token(secret: &str, buyer: &str, seconds: i64) -> String {
    let claims = json!({ "sub": buyer, "exp": seconds_now() + seconds });
    signed(secret, &json!({ "alg": "HS256", "typ": "JWT" }), &claims)
}

/// A token with any header and any claims.
#[must_use]
pub fn signed(secret: &str, header: &Value, claims: &Value) -> String {
    let (header, claims) = (header.to_string(), claims.to_string());
    Hs256::new(secret.as_bytes()).sign_parts(header.as_bytes(), claims.as_bytes())
}
