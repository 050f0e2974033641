//! JSON Web Signatures in compact form (RFC 7515).
//!
//! Promise: a verifier returns the payload only if the signature over exactly these bytes is valid,
//! by the one algorithm that its key is for: [`Hs256`] verifies HS256 (RFC 7518, section 3.2), and
//! a key of [`crate::jwks`] its own. So no public key can serve as a secret. The comparison of
//! HS256 takes constant time.
//! Limit: a secret is shared, so every party that can verify can also sign. The caller checks the
//! times and names in the payload.
//!
//! Written here because the libraries link RSA or elliptic curves of their own, or reject header
//! parameters that RFC 7515 requires to be ignored. Source:
//! docs/decisions/0038-tokens-are-checked-here.md.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;

/// The shortest secret that RFC 7518, section 3.2, allows for HS256, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// The header of tokens signed here.
const HEADER: &[u8] = br#"{"typ":"JWT","alg":"HS256"}"#;

/// Accepted token types. Tokens of any other type are meant for another use (RFC 8725, section
/// 3.11).
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// The signature algorithms that are read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256: a shared secret (RFC 7518, section 3.2).
    Hs256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3).
    Rs256,
    /// Ed25519 (RFC 8037, section 3.1).
    EdDsa,
}

impl Algorithm {
    /// Returns the algorithm with this name in a header or in a key.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            // RFC 9864 names the curve instead.
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Why a token is not accepted as signed. `Display` continues "The buyer's token".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The token is malformed.
    #[error(
        "is not a JSON Web Token: it must have three base64url parts with dots between them. \
         Send the token as the shop issued it"
    )]
    Form,
    /// The header cannot be decoded.
    #[error(
        "has a header that is not a JSON object with each member once. The shop must issue a \
         header with alg and typ"
    )]
    Header,
    /// The token is signed with another algorithm, or unsigned.
    #[error("is not signed with {0}. The shop must sign it with that algorithm")]
    Algorithm(&'static str),
    /// The token requires an unsupported extension (RFC 7515, section 4.1.11).
    #[error("has a crit header parameter, and no extension is supported. The shop must omit crit")]
    Critical,
    /// The token is of another type.
    #[error("has a typ other than JWT or at+jwt. The shop must set one of them, or omit typ")]
    Type,
    /// The signer's name for the key cannot be read (RFC 7515, section 4.1.4).
    #[error("has a kid header parameter that is not a text. The shop must set a text, or omit kid")]
    KeyId,
    /// The token was signed with another secret, or altered.
    #[error(
        "has a wrong signature. The shop must sign it with the secret of this server \
         (HOLDFAST_BUYER_SECRET), and nothing may alter it"
    )]
    Signature,
    /// The token was signed with another private key, or altered.
    #[error(
        "has a wrong signature. The shop must sign it with a private key whose public key is in \
         the key set of this server (HOLDFAST_BUYER_JWKS), and nothing may alter it"
    )]
    KeySignature,
    /// No key of the key set is for the token's `kid` and `alg`.
    #[error(
        "is signed with a key that is not in the key set (HOLDFAST_BUYER_JWKS): no key has its kid \
         and alg. The shop must publish the key before it signs with it"
    )]
    UnknownKey,
    /// The payload cannot be decoded.
    #[error(
        "has claims that are not a JSON object with each member once. The shop must issue \
         such an object"
    )]
    Claims,
}

/// A token in its parts, not verified yet.
pub(crate) struct Unverified<'a> {
    pub(crate) algorithm: Option<Algorithm>,
    /// The signer's name for the key.
    pub(crate) kid: Option<String>,
    /// The bytes that are signed: header and payload, encoded.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
    payload: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart. Unknown header parameters are ignored, whatever their value (RFC 7515,
    /// section 4); those that are understood here must have their type.
    ///
    /// # Errors
    /// [`Invalid`].
    pub(crate) fn parse(token: &'a str) -> Result<Self, Invalid> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Invalid::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Invalid::Form)?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part);
        let header = decode(header).map_err(|_| Invalid::Form)?;
        let payload = decode(payload).map_err(|_| Invalid::Form)?;
        let signature = decode(signature).map_err(|_| Invalid::Form)?;
        let header = members(&header).ok_or(Invalid::Header)?;
        let text = |name| header.get(name).and_then(Value::as_str);
        Ok(Self {
            algorithm: text("alg").and_then(Algorithm::named),
            kid: text("kid").map(str::to_owned),
            signed,
            signature,
            payload,
        })
        .and_then(|parsed| check_header(&header).map(|()| parsed))
    }

    /// Returns the claims. The caller has verified the signature.
    ///
    /// # Errors
    /// [`Invalid::Claims`].
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, Invalid> {
        members(&self.payload).ok_or(Invalid::Claims)
    }
}

/// Signs and verifies with one secret.
#[derive(Clone)]
pub struct Hs256(Hmac<Sha256>);

impl fmt::Debug for Hs256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hs256")
    }
}

impl Hs256 {
    /// Uses this secret.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    /// Returns a token with these claims.
    ///
    /// # Errors
    /// When the claims cannot be serialized as JSON.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, serde_json::Error> {
        let claims = serde_json::to_vec(claims)?;
        Ok(self.sign_parts(HEADER, &claims))
    }

    /// Returns a token with this header and payload, byte for byte. For testing how unusual tokens
    /// are handled; use [`Hs256::sign`] otherwise.
    #[must_use]
    pub fn sign_parts(&self, header: &[u8], payload: &[u8]) -> String {
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.0.clone().chain_update(&token).finalize().into_bytes();
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// Returns the claims of a token that was signed with this secret.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, Invalid> {
        let token = Unverified::parse(token)?;
        if token.algorithm != Some(Algorithm::Hs256) {
            return Err(Invalid::Algorithm("HS256"));
        }
        if !self.has_signed(&token) {
            return Err(Invalid::Signature);
        }
        token.claims()
    }

    /// Reports whether the signature of the token is by this secret. The caller has checked that
    /// its algorithm is HS256.
    pub(crate) fn has_signed(&self, token: &Unverified<'_>) -> bool {
        let mac = self.0.clone().chain_update(token.signed);
        mac.verify_slice(&token.signature).is_ok()
    }
}

/// Reports whether `text` has the form of a token, independent of its signature: three parts, the
/// first of which is a JSON object. An ordinary key that contains two dots does not.
#[must_use]
pub fn has_form_of_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let header = parts.next().unwrap_or_default();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    parts.count() == 2 && members(&header).is_some()
}

fn check_header(header: &Map<String, Value>) -> Result<(), Invalid> {
    if header.contains_key("crit") {
        return Err(Invalid::Critical);
    }
    if !header.get("kid").is_none_or(Value::is_string) {
        return Err(Invalid::KeyId);
    }
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(typ)) if TYPES.contains(&typ.to_ascii_lowercase().as_str()) => Ok(()),
        Some(_) => Err(Invalid::Type),
    }
}

/// The members of a JSON object. `None` for any other input and for a repeated name: two parsers
/// might read two different tokens (RFC 7515, section 4; RFC 7519, section 4).
fn members(json: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice::<Members>(json)
        .ok()
        .map(|members| members.0)
}

struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member occurs twice"));
            }
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Signs any header and payload.
    fn signed(secret: &[u8], header: &str, payload: &str) -> String {
        Hs256::new(secret).sign_parts(header.as_bytes(), payload.as_bytes())
    }

    const SECRET: &[u8] = b"the shop's secret for its buyers";

    fn with_header(header: &str) -> Result<Map<String, Value>, Invalid> {
        Hs256::new(SECRET).verify(&signed(SECRET, header, "{}"))
    }

    #[test]
    fn rfc_7515_appendix_a_1_verifies() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = BASE64_URL_SAFE_NO_PAD.decode(key).unwrap();
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
            .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
            .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let claims = Hs256::new(&key).verify(token).unwrap();
        let expected =
            json!({ "iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true });
        assert_eq!(Value::Object(claims), expected);
        // The same bytes get the same signature.
        let header = "{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}";
        let payload =
            "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        assert_eq!(signed(&key, header, payload), token);
    }

    #[test]
    fn rfc_4231_test_case_2_is_this_hmac() {
        let mac = Hs256::new(b"Jefe")
            .0
            .chain_update("what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac.finalize().into_bytes()), expected);
    }

    #[test]
    fn token_verifies_only_with_its_own_secret() {
        let token = Hs256::new(SECRET).sign(&json!({ "sub": "alice" })).unwrap();
        let claims = Hs256::new(SECRET).verify(&token).unwrap();
        assert_eq!(Value::Object(claims), json!({ "sub": "alice" }));
        let other = Hs256::new(b"another").verify(&token);
        assert_eq!(other, Err(Invalid::Signature));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for altered in [
            format!("{signed}."),
            format!("{signed}.{}", &signature[..20]),
            format!("{signed}.{signature}AAAA"),
            format!("{}.eyJzdWIiOiJib2IifQ.{signature}", &signed[..36]),
        ] {
            let refused = Hs256::new(SECRET).verify(&altered);
            assert_eq!(refused, Err(Invalid::Signature), "{altered}");
        }
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let good = signed(SECRET, r#"{"alg":"HS256"}"#, "{}");
        for text in [
            "",
            ".",
            "..",
            "a.b",
            &good.replace('.', ""),
            &format!("{good}.e30"),
            &format!("{good}="),
            &format!(" {good}"),
            // A last digit with nonzero padding bits: a signature has exactly one encoding.
            &format!("{}B", &good[..good.len() - 1]),
        ] {
            assert!(Hs256::new(SECRET).verify(text).is_err(), "{text}");
        }
    }

    #[test]
    fn key_with_two_dots_does_not_have_the_form_of_a_token() {
        let token = signed(SECRET, r#"{"alg":"none"}"#, "no claims");
        assert!(has_form_of_token(&token));
        let longer = format!("{token}.x");
        for other in ["shop.admin.key", "e30.x", "..", "", &longer] {
            assert!(!has_form_of_token(other), "{other}");
        }
    }

    #[test]
    fn header_parameters_follow_rfc_7515() {
        for header in [
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"JWT"}"#,
            r#"{"alg":"HS256","typ":"jwt"}"#,
            r#"{"alg":"HS256","typ":"at+jwt"}"#,
            r#"{"alg":"HS256","typ":"application/at+JWT"}"#,
            // Unknown, therefore ignored.
            r#"{"alg":"HS256","version":2,"x":null,"y":[true],"z":{"a":{}},"KID":7}"#,
            // A name for the key is not needed where there is one secret.
            r#"{"alg":"HS256","kid":"2026"}"#,
            r#"{"alg":"HS256","kid":""}"#,
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://example.com","b64":true}"#,
        ] {
            assert_eq!(with_header(header), Ok(Map::new()), "{header}");
        }
        for (header, reason) in [
            (r#"{"typ":"JWT"}"#, Invalid::Algorithm("HS256")),
            (r#"{"alg":"none"}"#, Invalid::Algorithm("HS256")),
            (r#"{"alg":"None"}"#, Invalid::Algorithm("HS256")),
            (r#"{"alg":"hs256"}"#, Invalid::Algorithm("HS256")),
            (r#"{"alg":"HS384"}"#, Invalid::Algorithm("HS256")),
            (r#"{"alg":"RS256"}"#, Invalid::Algorithm("HS256")),
            (r#"{"alg":["HS256"]}"#, Invalid::Algorithm("HS256")),
            (r#"{"alg":"HS256","crit":["exp"]}"#, Invalid::Critical),
            (r#"{"alg":"HS256","crit":[]}"#, Invalid::Critical),
            (r#"{"alg":"HS256","crit":null}"#, Invalid::Critical),
            (r#"{"alg":"HS256","typ":"dpop+jwt"}"#, Invalid::Type),
            (r#"{"alg":"HS256","typ":"logout+jwt"}"#, Invalid::Type),
            (r#"{"alg":"HS256","typ":7}"#, Invalid::Type),
            (r#"{"alg":"HS256","alg":"HS256"}"#, Invalid::Header),
            (r#"{"alg":"none","alg":"HS256"}"#, Invalid::Header),
            (r#"{"alg":"HS256","kid":"a","kid":"b"}"#, Invalid::Header),
            (r#"{"alg":"HS256","kid":7}"#, Invalid::KeyId),
            (r#"{"alg":"HS256","kid":null}"#, Invalid::KeyId),
            (r#"{"alg":"HS256","kid":["2026"]}"#, Invalid::KeyId),
            (r#"{"alg":"ES256","kid":{"a":"2026"}}"#, Invalid::KeyId),
            (r#"{"alg":"RS256","kid":true}"#, Invalid::KeyId),
            (r#"["HS256"]"#, Invalid::Header),
            (r#""HS256""#, Invalid::Header),
            ("", Invalid::Header),
        ] {
            assert_eq!(with_header(header), Err(reason), "{header}");
        }
    }

    #[test]
    fn payload_must_be_an_object_without_repeated_members() {
        for payload in ["", "[]", "7", r#"{"sub":"a","sub":"b"}"#, r#"{"a":1}x"#] {
            let token = signed(SECRET, r#"{"alg":"HS256"}"#, payload);
            let refused = Hs256::new(SECRET).verify(&token);
            assert_eq!(refused, Err(Invalid::Claims), "{payload}");
        }
    }

    #[test]
    fn an_unsigned_token_is_refused_before_its_claims_are_read() {
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.";
        let refused = Hs256::new(SECRET).verify(unsigned);
        assert_eq!(refused, Err(Invalid::Algorithm("HS256")));
    }
}
