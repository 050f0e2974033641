//! The signatures of webhooks, in Stripe's scheme: `t=SECONDS,v1=HEX[,v1=HEX][,v0=…]`.
//!
//! `v1` is HMAC-SHA256 of `SECONDS.BODY`, keyed with the literal text of the secret (`whsec_…` is
//! not decoded). Several `v1` are present while a secret is rolled. Source: Stripe's documentation,
//! «Resolve webhook signature verification errors», and the official libraries.
//!
//! Promise: signatures are compared in constant time; the reason of a rejection is one of four
//! fixed texts, without anything from the header, the body or a secret.
//! Limit: only the age of a signature is limited, as in the official libraries for Node, Python,
//! Ruby, Go and Java. Those for PHP and .NET also reject one that is 300 s in the future; there the
//! receiver's clock is wrong, not the sender, and a payment would be lost.

use domain::values::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha2::Sha256;

use super::secret::Secret;

/// The header with the signature, in lower case.
pub const HEADER: &str = "stripe-signature";

/// The highest age of a signature, in seconds.
pub const TOLERANCE_SECONDS: i64 = 300;

/// The longest header that is read. Stripe sends one `t`, one `v0` and a `v1` for each active
/// secret: about 80 bytes each.
const MAX_HEADER_BYTES: usize = 4_096;

/// Why a webhook's signature is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureInvalid {
    #[error("the header Stripe-Signature is missing")]
    Missing,
    #[error("the header Stripe-Signature is malformed")]
    Malformed,
    #[error("no signature matches the body")]
    NoMatch,
    #[error("the signature is older than {TOLERANCE_SECONDS} s")]
    TooOld,
}

/// Verifies that one of `secrets` signed `body` not long before `now`.
///
/// # Errors
/// [`SignatureInvalid`]
pub fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[Secret],
    now: Timestamp,
) -> Result<(), SignatureInvalid> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or(SignatureInvalid::Missing)?;
    if values.next().is_some() || value.len() > MAX_HEADER_BYTES {
        return Err(SignatureInvalid::Malformed);
    }
    let value = value.to_str().map_err(|_| SignatureInvalid::Malformed)?;
    let header = Header::parse(value)?;
    // All combinations, so that the duration does not show which secret matched.
    let matches = secrets.iter().fold(false, |matches, secret| {
        let mac = mac(secret, header.seconds, body);
        header
            .signatures
            .iter()
            .fold(matches, |matches, signature| {
                mac.clone().verify_slice(signature).is_ok() || matches
            })
    });
    if !matches {
        return Err(SignatureInvalid::NoMatch);
    }
    // Last, so that only the sender learns how the clocks differ.
    let age = (now.millis() / 1_000).saturating_sub(header.at);
    if age > TOLERANCE_SECONDS {
        return Err(SignatureInvalid::TooOld);
    }
    Ok(())
}

/// Returns the header for a webhook with `body` that is sent at `now`.
#[must_use]
pub fn sign(body: &[u8], secret: &Secret, now: Timestamp) -> String {
    let seconds = (now.millis() / 1_000).to_string();
    let signature = mac(secret, &seconds, body).finalize().into_bytes();
    format!("t={seconds},v1={}", hex::encode(signature))
}

fn mac(secret: &Secret, seconds: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    for part in [seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

struct Header<'a> {
    /// As sent, because these digits are signed.
    seconds: &'a str,
    at: i64,
    signatures: Vec<Vec<u8>>,
}

impl<'a> Header<'a> {
    fn parse(value: &'a str) -> Result<Self, SignatureInvalid> {
        let (mut seconds, mut signatures) = (None, vec![]);
        for item in value.split(',') {
            let (scheme, text) = item
                .trim_matches(' ')
                .split_once('=')
                .ok_or(SignatureInvalid::Malformed)?;
            match scheme {
                // The libraries disagree on which of several counts.
                "t" if seconds.is_some() => return Err(SignatureInvalid::Malformed),
                "t" => seconds = Some(text),
                // A signature that is not hexadecimal matches nothing, but another may match.
                "v1" => signatures.extend(hex::decode(text)),
                _ => {}
            }
        }
        let seconds = seconds
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or(SignatureInvalid::Malformed)?;
        let at = seconds.parse().map_err(|_| SignatureInvalid::Malformed)?;
        Ok(Self {
            seconds,
            at,
            signatures,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW * 1_000)
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    fn check(values: &[&str], body: &[u8], secrets: &[&str]) -> Result<(), SignatureInvalid> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
        verify(&headers, body, &secrets, now())
    }

    fn signed(body: &[u8], text: &str, at: i64) -> String {
        sign(body, &secret(text), Timestamp::from_millis(at * 1_000))
    }

    /// The expected value comes from
    /// `printf '1800000000.{}' | openssl dgst -sha256 -hmac whsec_test`.
    #[test]
    fn signature_is_the_documented_hmac() {
        assert_eq!(
            signed(b"{}", "whsec_test", NOW),
            "t=1800000000,v1=482e6337ac5272392d375c6fdc4d52a7e615dc2facedab0ffe155ddfd6a56e66"
        );
    }

    #[test]
    fn body_signed_by_any_known_secret_is_accepted() {
        let header = signed(b"body", "whsec_new", NOW);
        assert_eq!(check(&[&header], b"body", &["whsec_new"]), Ok(()));
        assert_eq!(
            check(&[&header], b"body", &["whsec_old", "whsec_new"]),
            Ok(())
        );
        let unknown = check(&[&header], b"body", &["whsec_old", "whsec_other"]);
        assert_eq!(unknown, Err(SignatureInvalid::NoMatch));
        assert_eq!(
            check(&[&header], b"body", &[]),
            Err(SignatureInvalid::NoMatch)
        );
        // Rolled at the sender: the receiver still knows only the first or the second.
        let second = signed(b"body", "whsec_old", NOW);
        let second = second.split_once(',').unwrap().1;
        for header in [
            format!("{header},{second}"),
            format!("{header}, {second} ,v0=6f"),
        ] {
            for secret in ["whsec_new", "whsec_old"] {
                assert_eq!(check(&[&header], b"body", &[secret]), Ok(()), "{header}");
            }
        }
    }

    #[test]
    fn only_the_signed_bytes_are_accepted() {
        let header = signed(b"{\"amount\": 1}", "whsec_a", NOW);
        for body in [
            &b"{\"amount\": 2}"[..],
            b"{\"amount\":1}",
            b"",
            b"{\"amount\": 1}\n",
        ] {
            let tampered = check(&[&header], body, &["whsec_a"]);
            assert_eq!(tampered, Err(SignatureInvalid::NoMatch));
        }
        // The time is signed as well.
        let later = header.replace("t=1800000000", "t=1800000001");
        let moved = check(&[&later], b"{\"amount\": 1}", &["whsec_a"]);
        assert_eq!(moved, Err(SignatureInvalid::NoMatch));
    }

    #[test]
    fn signatures_are_accepted_for_300_seconds() {
        let at = |seconds| check(&[&signed(b"x", "whsec_a", seconds)], b"x", &["whsec_a"]);
        assert_eq!(at(NOW - 300), Ok(()));
        assert_eq!(at(NOW - 301), Err(SignatureInvalid::TooOld));
        assert_eq!(at(0), Err(SignatureInvalid::TooOld));
        // The receiver's clock is behind.
        assert_eq!(at(NOW + 301), Ok(()));
        assert_eq!(at(NOW + 1_000_000), Ok(()));
    }

    #[test]
    fn other_schemes_and_malformed_signatures_are_ignored() {
        let header = signed(b"x", "whsec_a", NOW);
        let (time, signature) = header.split_once(',').unwrap();
        let hex = signature.trim_start_matches("v1=");
        for with_match in [
            format!("{time},v0=00,{signature},v2=zz,unknown=,=x"),
            format!("{time},v1=nothex,v1=,v1=00,{signature}"),
            format!("{signature},{time}"),
        ] {
            assert_eq!(
                check(&[&with_match], b"x", &["whsec_a"]),
                Ok(()),
                "{with_match}"
            );
        }
        for without in [
            time.to_owned(),
            format!("{time},v0={hex}"),
            format!("{time},V1={hex}"),
            format!("{time},v1={}", &hex[..62]),
            format!("{time},v1={hex}00"),
            format!("{time},v1="),
        ] {
            let refused = check(&[&without], b"x", &["whsec_a"]);
            assert_eq!(refused, Err(SignatureInvalid::NoMatch), "{without}");
        }
    }

    #[test]
    fn malformed_headers_are_rejected() {
        let header = signed(b"x", "whsec_a", NOW);
        let (time, signature) = header.split_once(',').unwrap();
        for malformed in [
            String::new(),
            "x".into(),
            signature.to_owned(),
            format!("t=,{signature}"),
            format!("t=+{NOW},{signature}"),
            format!("t=-1,{signature}"),
            format!("t={NOW}.0,{signature}"),
            format!("t=99999999999999999999,{signature}"),
            format!("{time},{time},{signature}"),
            format!("{time},t=1,{signature}"),
            format!("{header},"),
            format!("{header},v1"),
            format!("{header},{}", "v0=00,".repeat(800)),
        ] {
            let refused = check(&[&malformed], b"x", &["whsec_a"]);
            assert_eq!(refused, Err(SignatureInvalid::Malformed), "{malformed}");
        }
        assert_eq!(
            check(&[], b"x", &["whsec_a"]),
            Err(SignatureInvalid::Missing)
        );
        let two = check(&[&header, &header], b"x", &["whsec_a"]);
        assert_eq!(two, Err(SignatureInvalid::Malformed));
    }

    proptest! {
        #[test]
        fn no_header_but_the_signers_is_accepted(text in "[ -~]{0,120}", body: Vec<u8>) {
            prop_assert!(check(&[&text], &body, &["whsec_a"]).is_err());
        }

        #[test]
        fn signed_bytes_verify(body: Vec<u8>, text in "whsec_[!-~]{1,60}") {
            let header = signed(&body, &text, NOW);
            prop_assert_eq!(check(&[&header], &body, &[&text]), Ok(()));
        }
    }
}
