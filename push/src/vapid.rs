//! The identity of this shop at push services (VAPID, RFC 8292).
//!
//! Promise: a browser makes its subscription for the public key, and the push service accepts only
//! messages that are signed with the private one. A signature is for one push service and ends
//! within 24 hours.
//! Limit: a shop has one key. Subscriptions that were made for another one cannot be used.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use url::Url;

/// How long a signature is valid, in seconds: half of what RFC 8292 allows, so that clocks may
/// differ.
pub const VALID_SECONDS: i64 = 12 * 60 * 60;

/// The header of every token.
const HEADER: &[u8] = br#"{"typ":"JWT","alg":"ES256"}"#;

/// Why a key or a subject cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVapid {
    #[error(
        "the VAPID keys must be base64url: 32 bytes for the private key, 65 for the public one"
    )]
    Form,
    #[error("the VAPID public key is not that of the private key, or not a key of P-256")]
    Pair,
    #[error("the VAPID subject must be a mailto: or https: URL with a host")]
    Subject,
    #[error("the system has no random numbers")]
    Random,
}

/// A private key with its public key, as they are stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// PKCS #8, DER.
    pub pkcs8: Vec<u8>,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredKey")
    }
}

impl StoredKey {
    /// Generates a key.
    ///
    /// # Errors
    /// [`InvalidVapid::Random`].
    pub fn generate() -> Result<Self, InvalidVapid> {
        let random = SystemRandom::new();
        let generated = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let pkcs8 = generated.map_err(|_| InvalidVapid::Random)?;
        Ok(Self {
            pkcs8: pkcs8.as_ref().to_vec(),
        })
    }
}

/// The contact that push services write to about this shop: `mailto:` or `https:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(String);

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || InvalidVapid::Subject.to_string();
        let url: Url = text.parse().map_err(|_| invalid())?;
        let is_usable = match url.scheme() {
            "mailto" => url
                .path()
                .split_once('@')
                .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
            "https" => url.host().is_some(),
            _ => false,
        };
        is_usable.then(|| Self(text.to_owned())).ok_or_else(invalid)
    }
}

/// Signs requests to push services.
pub struct Vapid {
    pair: EcdsaKeyPair,
    subject: Option<Subject>,
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vapid")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

impl Vapid {
    /// Uses a stored key.
    ///
    /// # Errors
    /// [`InvalidVapid::Pair`].
    pub fn stored(key: &StoredKey, subject: Option<Subject>) -> Result<Self, InvalidVapid> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.pkcs8, &random);
        let pair = pair.map_err(|_| InvalidVapid::Pair)?;
        Ok(Self { pair, subject })
    }

    /// Uses a private key and its public key, both in base64url, as key generators print them.
    ///
    /// # Errors
    /// [`InvalidVapid`].
    pub fn given(
        private: &str,
        public: &str,
        subject: Option<Subject>,
    ) -> Result<Self, InvalidVapid> {
        let decode = |text: &str| {
            let decoded = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
            decoded.map_err(|_| InvalidVapid::Form)
        };
        let (private, public) = (decode(private)?, decode(public)?);
        if private.len() != 32 || public.len() != 65 {
            return Err(InvalidVapid::Form);
        }
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &private,
            &public,
            &SystemRandom::new(),
        );
        let pair = pair.map_err(|_| InvalidVapid::Pair)?;
        Ok(Self { pair, subject })
    }

    /// Returns the public key as browsers take it: an uncompressed point in base64url.
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.public_bytes())
    }

    /// Returns the public key as an uncompressed point.
    #[must_use]
    pub fn public_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Returns the header `Authorization` of a request to this endpoint at `now`, in seconds since
    /// 1970.
    ///
    /// # Errors
    /// [`InvalidVapid::Random`].
    pub fn authorization(&self, endpoint: &Url, now: i64) -> Result<String, InvalidVapid> {
        let audience = endpoint.origin().ascii_serialization();
        let token = self.token(&audience, now + VALID_SECONDS)?;
        Ok(format!("vapid t={token}, k={}", self.public_key()))
    }

    fn token(&self, audience: &str, expires: i64) -> Result<String, InvalidVapid> {
        let mut token = signing_input(audience, expires, self.subject.as_ref());
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes());
        let signature = signature.map_err(|_| InvalidVapid::Random)?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

/// Returns the header and the claims of a token, encoded.
fn signing_input(audience: &str, expires: i64, subject: Option<&Subject>) -> String {
    let mut claims = json!({ "aud": audience, "exp": expires });
    if let Some(Subject(subject)) = subject {
        claims["sub"] = json!(subject);
    }
    let mut input = BASE64_URL_SAFE_NO_PAD.encode(HEADER);
    input.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut input);
    input
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    /// The token and the key of RFC 8292, section 2.4.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA";
    const KEY: &str =
        "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

    fn verify(token: &str, key: &[u8]) -> bool {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
        key.verify(signed.as_bytes(), &signature).is_ok()
    }

    fn subject(text: &str) -> Option<Subject> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn token_is_that_of_rfc_8292_section_2_4() {
        let contact = subject("mailto:push@example.com");
        let input = signing_input("https://push.example.net", 1_453_523_768, contact.as_ref());
        assert_eq!(input, TOKEN.rsplit_once('.').unwrap().0);
        assert!(verify(TOKEN, &BASE64_URL_SAFE_NO_PAD.decode(KEY).unwrap()));
    }

    #[test]
    fn signature_is_for_the_origin_of_the_endpoint_and_half_a_day() {
        let key = StoredKey::generate().unwrap();
        let vapid = Vapid::stored(&key, None).unwrap();
        for (endpoint, audience) in [
            ("https://push.example/a/b?c", "https://push.example"),
            ("https://push.example:443/a", "https://push.example"),
            ("https://push.example:8443/a", "https://push.example:8443"),
            ("http://127.0.0.1:9/a", "http://127.0.0.1:9"),
        ] {
            let header = vapid.authorization(&endpoint.parse().unwrap(), 1_000);
            let header = header.unwrap();
            let (token, public) = header
                .strip_prefix("vapid t=")
                .and_then(|rest| rest.split_once(", k="))
                .unwrap();
            assert_eq!(public, vapid.public_key());
            assert!(verify(token, vapid.public_bytes()), "{endpoint}");
            let claims = token.split('.').nth(1).unwrap();
            let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
            let expected = format!(r#"{{"aud":"{audience}","exp":44200}}"#);
            assert_eq!(String::from_utf8(claims).unwrap(), expected);
        }
    }

    #[test]
    fn key_pair_must_belong_together() {
        // Of RFC 8291, appendix A.
        let private = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
        let public = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        let vapid = Vapid::given(private, public, None).unwrap();
        assert_eq!(vapid.public_key(), public);
        let refused = |private, public| Vapid::given(private, public, None).unwrap_err();
        assert_eq!(refused(private, KEY), InvalidVapid::Pair);
        assert_eq!(refused(public, public), InvalidVapid::Form);
        assert_eq!(refused(private, private), InvalidVapid::Form);
        assert_eq!(refused("?", public), InvalidVapid::Form);
    }

    #[test]
    fn subject_is_a_contact() {
        for text in ["mailto:shop@example.com", "https://shop.example/contact"] {
            assert!(text.parse::<Subject>().is_ok(), "{text}");
        }
        for text in [
            "",
            "shop@example.com",
            "mailto:",
            "mailto:shop",
            "mailto:@example.com",
            "http://shop.example",
            "https:",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
