//! Secrets and signatures of Standard Webhooks 1.0.0: `v1,` and the base64 of an HMAC-SHA256.
//!
//! Promise: secrets are standard base64 without padding needs: their length is divisible by three,
//! because verifiers disagree about other alphabets and lengths (docs/decisions/0056).

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Length of a new secret. The specification allows 24 to 64.
const SECRET_BYTES: usize = 33;

/// A symmetric secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Draws a secret from the system's generator.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random::<[u8; SECRET_BYTES]>().to_vec())
    }

    /// Restores a secret from its stored bytes.
    #[must_use]
    pub const fn stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes, for storage.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the form in which receivers get it: `whsec_` and base64.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("whsec_{}", BASE64_STANDARD.encode(&self.0))
    }

    /// Signs one attempt; `timestamp` is in seconds since the Unix epoch.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn sign(&self, webhook_id: &str, timestamp: i64, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        let mac = mac
            .chain_update(webhook_id.as_bytes())
            .chain_update(b".")
            .chain_update(timestamp.to_string().as_bytes())
            .chain_update(b".")
            .chain_update(body);
        let tag = mac.finalize().into_bytes();
        format!("v1,{}", BASE64_STANDARD.encode(tag))
    }
}

/// Returns the header `webhook-signature`: one signature for each secret, newest first.
#[must_use]
pub fn signatures(secrets: &[Secret], webhook_id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures = secrets
        .iter()
        .map(|secret| secret.sign(webhook_id, timestamp, body));
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification (spec/standard-webhooks.md, «Signature scheme»), with the
    /// result that its reference libraries compute.
    #[test]
    fn example_of_the_specification_has_its_published_signature() {
        let key = BASE64_STANDARD
            .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .unwrap();
        let secret = Secret::stored(key);
        assert_eq!(secret.reveal(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn new_secrets_are_distinct_and_need_no_padding() {
        let secrets = [(); 100].map(|()| Secret::random());
        for (index, secret) in secrets.iter().enumerate() {
            assert!((24..=64).contains(&secret.bytes().len()));
            assert!(!secret.reveal().contains('='), "{}", secret.reveal());
            assert!(!secrets[..index].contains(secret));
            assert_eq!(format!("{secret:?}"), "Secret");
        }
    }

    #[test]
    fn every_secret_signs() {
        let secrets = [Secret::random(), Secret::random()];
        let header = signatures(&secrets, "evt_1", 1, b"{}");
        let each: Vec<&str> = header.split(' ').collect();
        assert_eq!(
            each,
            [
                secrets[0].sign("evt_1", 1, b"{}"),
                secrets[1].sign("evt_1", 1, b"{}")
            ]
        );
    }
}
