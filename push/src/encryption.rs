//! Encrypts a message for one browser (RFC 8291, with the content coding `aes128gcm` of RFC 8188).
//!
//! Promise: only the browser that made the subscription can read a message. Each message has a key
//! pair and a salt of its own. The public key of a subscription is checked to be a point of P-256
//! when it is read, so encryption cannot fail later.
//! Limit: one record, so at most [`MOST_BYTES`] of plaintext. Padding hides lengths up to
//! [`PADDED_TO`] only.
//!
//! Written over ring because the crates for it link OpenSSL, `rsa` or `p256`. Everything after the
//! agreement takes its secrets as arguments, so the vectors of both RFCs test it. Source:
//! docs/decisions/0078-web-push-is-sent-by-jobs.md.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hkdf::{self, HKDF_SHA256, KeyType, Prk};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The most bytes of plaintext in one message: push services accept bodies of 4,096 bytes, of
/// which the header takes 86, the tag 16 and the delimiter one (RFC 8291, section 4).
pub const MOST_BYTES: usize = 3_993;
/// Plaintexts are padded to a multiple of this many bytes.
pub const PADDED_TO: usize = 256;
/// Length of an uncompressed point of P-256, in bytes.
pub const POINT_BYTES: usize = 65;
/// Length of the authentication secret of a subscription, in bytes.
pub const AUTH_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
/// The record size in the header of a message.
const RECORD_BYTES: u32 = 4_096;

/// Why the keys of a subscription cannot be used. `Display` continues the name of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("must be base64url, without padding")]
    Encoding,
    #[error("must be an uncompressed point of P-256: {POINT_BYTES} bytes that begin with 4")]
    Form,
    #[error("must be a point of the curve P-256")]
    NotOnCurve,
    #[error("must be {AUTH_BYTES} bytes")]
    AuthLength,
}

/// Why a message cannot be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    #[error("the message has {0} bytes; at most {MOST_BYTES} are accepted")]
    TooLong(usize),
    #[error("the system has no random numbers, or the subscription's key cannot be used")]
    Cryptography,
}

/// The keys of a subscription. They are personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserKeys {
    public: [u8; POINT_BYTES],
    auth: [u8; AUTH_BYTES],
}

impl fmt::Debug for BrowserKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserKeys")
    }
}

impl BrowserKeys {
    /// Uses stored keys.
    ///
    /// # Errors
    /// [`InvalidKey::Form`] and [`InvalidKey::AuthLength`].
    pub fn stored(public: &[u8], auth: &[u8]) -> Result<Self, InvalidKey> {
        let public: [u8; POINT_BYTES] = public.try_into().map_err(|_| InvalidKey::Form)?;
        if public[0] != 4 {
            return Err(InvalidKey::Form);
        }
        let auth = auth.try_into().map_err(|_| InvalidKey::AuthLength)?;
        Ok(Self { public, auth })
    }

    /// Returns the public key, as an uncompressed point.
    #[must_use]
    pub const fn public(&self) -> &[u8; POINT_BYTES] {
        &self.public
    }

    /// Returns the authentication secret.
    #[must_use]
    pub const fn auth(&self) -> &[u8; AUTH_BYTES] {
        &self.auth
    }
}

/// Reads `p256dh` of a subscription: base64url, with or without padding.
///
/// # Errors
/// [`InvalidKey`].
pub fn parse_public(text: &str) -> Result<[u8; POINT_BYTES], InvalidKey> {
    let bytes = decode(text)?;
    let point: [u8; POINT_BYTES] = bytes.try_into().map_err(|_| InvalidKey::Form)?;
    if point[0] != 4 {
        return Err(InvalidKey::Form);
    }
    // ring checks a peer's point only in an agreement.
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    let agreed = own.and_then(|own| agree_with(own, &point));
    agreed.map_err(|_| InvalidKey::NotOnCurve)?;
    Ok(point)
}

/// Reads `auth` of a subscription: base64url, with or without padding.
///
/// # Errors
/// [`InvalidKey`].
pub fn parse_auth(text: &str) -> Result<[u8; AUTH_BYTES], InvalidKey> {
    decode(text)?.try_into().map_err(|_| InvalidKey::AuthLength)
}

fn decode(text: &str) -> Result<Vec<u8>, InvalidKey> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    decoded.map_err(|_| InvalidKey::Encoding)
}

/// Returns the body of a push message with this plaintext.
///
/// # Errors
/// [`EncryptError`].
pub fn encrypt(plaintext: &[u8], browser: &BrowserKeys) -> Result<Vec<u8>, EncryptError> {
    if plaintext.len() > MOST_BYTES {
        return Err(EncryptError::TooLong(plaintext.len()));
    }
    let padded = plaintext.len().next_multiple_of(PADDED_TO).min(MOST_BYTES);
    let padding = padded - plaintext.len();
    let sealed = || {
        let random = SystemRandom::new();
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt)?;
        let own = EphemeralPrivateKey::generate(&ECDH_P256, &random)?;
        let public = own.compute_public_key()?;
        let secret = agree_with(own, &browser.public)?;
        let material = key_material(&secret, browser, public.as_ref())?;
        let form = Form {
            salt,
            record_size: RECORD_BYTES,
            key_id: public.as_ref(),
        };
        seal(&material, form, &[(plaintext, padding)])
    };
    sealed().map_err(|_| EncryptError::Cryptography)
}

type Cryptography<T> = Result<T, ring::error::Unspecified>;

fn agree_with(
    own: EphemeralPrivateKey,
    point: &[u8; POINT_BYTES],
) -> Cryptography<[u8; SECRET_BYTES]> {
    let peer = UnparsedPublicKey::new(&ECDH_P256, point);
    let agreed = agree_ephemeral(own, &peer, |secret| secret.try_into());
    agreed?.map_err(|_| ring::error::Unspecified)
}

/// Derives the input keying material from the agreed secret (RFC 8291, section 3.4).
fn key_material(
    secret: &[u8; SECRET_BYTES],
    browser: &BrowserKeys,
    server_public: &[u8],
) -> Cryptography<[u8; SECRET_BYTES]> {
    let prk = hkdf::Salt::new(HKDF_SHA256, &browser.auth).extract(secret);
    let info = [b"WebPush: info\0", &browser.public[..], server_public];
    expanded(&prk, &info)
}

/// The header of an encrypted content (RFC 8188, section 2.1).
#[derive(Debug)]
struct Form<'a> {
    salt: [u8; SALT_BYTES],
    record_size: u32,
    key_id: &'a [u8],
}

/// Encrypts records, each a content and the number of its padding bytes (RFC 8188, section 2).
fn seal(material: &[u8], form: Form<'_>, records: &[(&[u8], usize)]) -> Cryptography<Vec<u8>> {
    let prk = hkdf::Salt::new(HKDF_SHA256, &form.salt).extract(material);
    let key: [u8; KEY_BYTES] = expanded(&prk, &[b"Content-Encoding: aes128gcm\0"])?;
    let base: [u8; NONCE_LEN] = expanded(&prk, &[b"Content-Encoding: nonce\0"])?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    let id_length = u8::try_from(form.key_id.len()).map_err(|_| ring::error::Unspecified)?;
    let mut sealed = form.salt.to_vec();
    sealed.extend(form.record_size.to_be_bytes());
    sealed.push(id_length);
    sealed.extend(form.key_id);
    for (index, (content, padding)) in records.iter().enumerate() {
        let is_last = index + 1 == records.len();
        let mut record = content.to_vec();
        record.push(if is_last { 2 } else { 1 });
        record.resize(record.len() + padding, 0);
        let nonce = Nonce::assume_unique_for_key(nonce_of(base, index as u64));
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record)?;
        sealed.extend(record);
    }
    Ok(sealed)
}

/// Returns the nonce of a record (RFC 8188, section 2.3).
fn nonce_of(mut base: [u8; NONCE_LEN], index: u64) -> [u8; NONCE_LEN] {
    let counter = &mut base[NONCE_LEN - 8..];
    for (byte, of_index) in counter.iter_mut().zip(index.to_be_bytes()) {
        *byte ^= of_index;
    }
    base
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expanded<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Cryptography<[u8; N]> {
    let mut bytes = [0; N];
    prk.expand(info, Length(N))?.fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn browser() -> BrowserKeys {
        let public = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        BrowserKeys {
            public: parse_public(public).unwrap(),
            auth: parse_auth("BTBZMqHH6r4Tts7J_aSIgg").unwrap(),
        }
    }

    /// Opens the first record of a body with this keying material.
    fn open(material: &[u8], body: &[u8]) -> Vec<u8> {
        let prk = hkdf::Salt::new(HKDF_SHA256, &body[..SALT_BYTES]).extract(material);
        let key: [u8; KEY_BYTES] = expanded(&prk, &[b"Content-Encoding: aes128gcm\0"]).unwrap();
        let nonce: [u8; NONCE_LEN] = expanded(&prk, &[b"Content-Encoding: nonce\0"]).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        let start = SALT_BYTES + 5 + usize::from(body[SALT_BYTES + 4]);
        let mut record = body[start..].to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.open_in_place(nonce, Aad::empty(), &mut record);
        opened.unwrap().to_vec()
    }

    #[test]
    fn derivation_and_message_are_those_of_rfc_8291_appendix_a() {
        let server = bytes(
            "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
        );
        let secret = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let secret = secret.try_into().unwrap();
        let material = key_material(&secret, &browser(), &server).unwrap();
        assert_eq!(
            material[..],
            bytes("S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg")
        );
        let form = Form {
            salt: bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap(),
            record_size: 4_096,
            key_id: &server,
        };
        let plaintext = b"When I grow up, I want to be a watermelon";
        let body = seal(&material, form, &[(plaintext, 0)]).unwrap();
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLoc\
             InmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4\
             a-fN";
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(body), expected);
    }

    #[test]
    fn records_are_those_of_rfc_8188_section_3() {
        let text = b"I am the walrus";
        let form = Form {
            salt: bytes("I1BsxtFttlv3u_Oo94xnmw").try_into().unwrap(),
            record_size: 4_096,
            key_id: b"",
        };
        let material = bytes("yqdlZ-tYemfogSmv7Ws5PQ");
        let one = seal(&material, form, &[(text, 0)]).unwrap();
        assert_eq!(
            BASE64_URL_SAFE_NO_PAD.encode(one),
            "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg"
        );
        let form = Form {
            salt: bytes("uNCkWiNYzKTnBN9ji3-qWA").try_into().unwrap(),
            record_size: 25,
            key_id: b"a1",
        };
        let material = bytes("BO3ZVPxUlnLORbVGMpbT1Q");
        let two = seal(&material, form, &[(&text[..7], 1), (&text[7..], 0)]).unwrap();
        assert_eq!(
            BASE64_URL_SAFE_NO_PAD.encode(two),
            "uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA"
        );
    }

    #[test]
    fn both_ends_of_an_agreement_derive_one_key() {
        let random = SystemRandom::new();
        let receiver = EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
        let public = receiver.compute_public_key().unwrap();
        let browser = BrowserKeys::stored(public.as_ref(), &[7; AUTH_BYTES]).unwrap();
        let plaintext = vec![b'x'; 300];
        let body = encrypt(&plaintext, &browser).unwrap();
        let key_id = &body[SALT_BYTES + 5..][..POINT_BYTES];
        let secret = agree_with(receiver, key_id.try_into().unwrap()).unwrap();
        let material = key_material(&secret, &browser, key_id).unwrap();
        let opened = open(&material, &body);
        let (content, rest) = opened.split_at(300);
        assert_eq!(content, plaintext);
        assert_eq!(rest[0], 2, "the delimiter of a last record");
        assert!(rest[1..].iter().all(|byte| *byte == 0));
        assert_eq!(opened.len(), 513, "padded to 512");
        let again = encrypt(&plaintext, &browser).unwrap();
        assert_ne!(again, body, "another key and another salt");
    }

    #[test]
    fn longest_message_has_the_size_that_push_services_accept() {
        let body = encrypt(&[b'x'; MOST_BYTES], &browser()).unwrap();
        assert_eq!(body.len(), 4_096);
        let refused = encrypt(&[b'x'; MOST_BYTES + 1], &browser()).unwrap_err();
        assert_eq!(refused, EncryptError::TooLong(MOST_BYTES + 1));
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused() {
        let point = browser().public;
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(parse_public(&format!("{}=", text(&point))), Ok(point));
        let mut other = point;
        other[64] ^= 1;
        assert_eq!(parse_public(&text(&other)), Err(InvalidKey::NotOnCurve));
        other = point;
        other[0] = 2;
        assert_eq!(parse_public(&text(&other)), Err(InvalidKey::Form));
        assert_eq!(parse_public(&text(&point[..64])), Err(InvalidKey::Form));
        assert_eq!(parse_public(&text(&point[..33])), Err(InvalidKey::Form));
        assert_eq!(parse_public(""), Err(InvalidKey::Form));
        assert_eq!(parse_public("a b"), Err(InvalidKey::Encoding));
        for length in [0, 15, 17] {
            let auth = text(&vec![1; length]);
            assert_eq!(parse_auth(&auth), Err(InvalidKey::AuthLength), "{length}");
        }
        assert_eq!(parse_auth("?"), Err(InvalidKey::Encoding));
    }
}
