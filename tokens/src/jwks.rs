//! The shop's public keys, as a JSON Web Key Set (RFC 7517).
//!
//! Promise: a key verifies by its own algorithm only, and never as a secret. Keys that are not for
//! signatures, or of a kind that is not read here, are skipped, as RFC 7517, section 5, requires.
//! Limit: at most [`MAX_KEYS`] keys; chains of certificates (`x5c`) are not read.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::jws::{Algorithm, Invalid, Unverified};

/// The maximum number of keys that are read of a set.
pub const MAX_KEYS: usize = 100;

/// Why a text is not a usable key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("it is not a JSON Web Key Set, an object with the list \"keys\"")]
    Form(#[source] serde_json::Error),
    #[error("it has {0} keys, and at most {MAX_KEYS} are read")]
    TooMany(usize),
    /// A private key that is published lets every reader sign tokens for every buyer.
    #[error(
        "key {0} of the set is private or secret (it has the member d or k): publish public keys \
         only, and replace this one"
    )]
    Private(usize),
    #[error(
        "none of its {0} keys is usable: it needs a key for signatures, RSA of 2,048 bits or \
         more (RS256), P-256 (ES256) or Ed25519 (EdDSA)"
    )]
    NoneUsable(usize),
}

/// Public keys that a token may be signed with.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

#[derive(Debug)]
struct PublicKey {
    kid: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
    /// Modulus and exponent, big-endian.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct SetBody {
    keys: Vec<KeyBody>,
}

/// The members of a key that are read here. A member of another type than expected makes the key
/// one of an unknown kind.
#[derive(Deserialize)]
struct KeyBody(Map<String, Value>);

impl KeySet {
    /// Reads a key set.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let body: SetBody = serde_json::from_slice(json).map_err(KeySetError::Form)?;
        let len = body.keys.len();
        if len > MAX_KEYS {
            return Err(KeySetError::TooMany(len));
        }
        let is_private = |key: &KeyBody| key.0.contains_key("d") || key.0.contains_key("k");
        if let Some(index) = body.keys.iter().position(is_private) {
            return Err(KeySetError::Private(index + 1));
        }
        let keys: Vec<PublicKey> = body.keys.iter().filter_map(KeyBody::public_key).collect();
        match keys.is_empty() {
            true => Err(KeySetError::NoneUsable(len)),
            false => Ok(Self { keys }),
        }
    }

    /// Returns the number of usable keys.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true if there is no usable key; a set that was read has one.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Verifies a token with the keys of its `kid`; without a `kid`, with each key of its
    /// algorithm.
    ///
    /// # Errors
    /// [`Invalid::UnknownKey`] if there is no such key, otherwise [`Invalid::KeySignature`] or
    /// [`Invalid::Claims`].
    pub(crate) fn verify(&self, token: &Unverified<'_>) -> Result<Map<String, Value>, Invalid> {
        let is_named = |key: &&PublicKey| token.kid.is_none() || token.kid == key.kid;
        let is_for = |key: &&PublicKey| Some(key.material.algorithm()) == token.algorithm;
        let mut candidates = self.keys.iter().filter(is_for).filter(is_named).peekable();
        if candidates.peek().is_none() {
            return Err(Invalid::UnknownKey);
        }
        match candidates.any(|key| key.material.has_signed(token)) {
            true => token.claims(),
            false => Err(Invalid::KeySignature),
        }
    }
}

impl KeyBody {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        BASE64_URL_SAFE_NO_PAD.decode(self.text(name)?).ok()
    }

    fn public_key(&self) -> Option<PublicKey> {
        let material = self.material()?;
        let kid = match self.0.get("kid") {
            // A key whose name cannot be read must not verify as one without a name.
            Some(kid) => Some(kid.as_str()?.to_owned()),
            None => None,
        };
        let is_for_signatures = match self.0.get("use") {
            Some(purpose) => purpose == "sig",
            None => true,
        };
        let verifies = match self.0.get("key_ops") {
            Some(operations) => operations.as_array()?.iter().any(|one| one == "verify"),
            None => true,
        };
        let is_of_algorithm = match self.0.get("alg") {
            Some(name) => Algorithm::named(name.as_str()?) == Some(material.algorithm()),
            None => true,
        };
        (is_for_signatures && verifies && is_of_algorithm).then_some(PublicKey { kid, material })
    }

    fn material(&self) -> Option<Material> {
        match (self.text("kty")?, self.text("crv")) {
            ("EC", Some("P-256")) => {
                let (x, y) = (self.bytes("x")?, self.bytes("y")?);
                let is_complete = x.len() == 32 && y.len() == 32;
                // SEC 1, section 2.3.3: 4 marks a point with both coordinates.
                is_complete.then(|| Material::P256([&[4], &x[..], &y[..]].concat()))
            }
            ("OKP", Some("Ed25519")) => {
                let x = self.bytes("x").filter(|x| x.len() == 32)?;
                Some(Material::Ed25519(x))
            }
            ("RSA", None) => {
                let (n, e) = (self.bytes("n")?, self.bytes("e")?);
                // ring requires numbers without leading zeros; some libraries publish one.
                let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
                (bits(&n) >= 2_048).then_some(Material::Rsa { n, e })
            }
            _ => None,
        }
    }
}

fn without_leading_zeros(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0);
    number[start.unwrap_or(number.len())..].to_vec()
}

/// The length of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    let first = number
        .first()
        .map_or(8, |byte| byte.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(first)
}

impl Material {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Reports whether the signature of the token is by this key.
    fn has_signed(&self, token: &Unverified<'_>) -> bool {
        let (message, signature) = (token.signed.as_bytes(), &token.signature[..]);
        let verified = match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests;
