use futures::FutureExt;
use serde_json::json;

use super::*;

fn signed(secret: &[u8], header: &str, payload: &str) -> String {
    Hs256::new(secret).sign_parts(header.as_bytes(), payload.as_bytes())
}

const SECRET: &[u8] = b"the shop's secret for its buyers";
const NOW: i64 = 1_700_000_000;

fn tokens() -> BuyerTokens {
    BuyerTokens {
        secrets: vec![Hs256::new(SECRET)],
        keys: None,
        audience: None,
        max_seconds: 86_400,
        leeway_seconds: 30,
    }
}

/// The result of a check that needs no key set, so that it waits for nothing.
fn at_once(
    check: impl Future<Output = Result<BuyerId, TokenError>>,
) -> Result<BuyerId, TokenError> {
    check.now_or_never().expect("nothing to wait for")
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000)
}

/// Reads a token with these claims, which may lack `sub` and `exp`.
fn read_by(tokens: &BuyerTokens, claims: &Value) -> Result<BuyerId, TokenError> {
    let token = signed(SECRET, r#"{"alg":"HS256"}"#, &claims.to_string());
    at_once(tokens.buyer(&token, now()))
}

fn read(more: Value) -> Result<BuyerId, TokenError> {
    let mut claims = json!({ "sub": "alice", "exp": NOW + 600 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    read_by(&tokens(), &claims)
}

#[track_caller]
fn assert_refused(outcome: &Result<BuyerId, TokenError>, reason: &str) {
    let error = outcome.as_ref().unwrap_err().to_string();
    assert_eq!(error, reason);
    // The message is valid in a header (RFC 6750, section 3).
    let stands = |c: char| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~');
    assert!(error.chars().all(stands), "{error}");
}

#[test]
fn times_are_checked_on_both_sides_of_each_edge() {
    let date = "a number of seconds since 1970, up to the year 9999";
    for good in [
        json!({}),
        json!({ "exp": NOW + 600 }),
        json!({ "exp": f64::from(1_700_000_000) + 0.25 }),
        json!({ "exp": NOW + 86_400 + 30 }),
        // Expired, but within the leeway.
        json!({ "exp": NOW - 29 }),
        json!({ "exp": f64::from(1_700_000_000) - 29.999 }),
        // 0.4 s ahead, like a shop's clock: buyers must not be refused at the start of a drop.
        json!({ "nbf": f64::from(1_700_000_000) + 0.4 }),
        json!({ "nbf": NOW + 30, "iat": NOW + 30 }),
        json!({ "nbf": 0, "iat": NOW - 90_000 }),
    ] {
        assert!(read(good.clone()).is_ok(), "{good}");
    }
    let here = "the server's time is 2023-11-14T22:13:20.000Z";
    for (bad, reason) in [
        (
            json!({ "exp": NOW - 30 }),
            format!(
                "expired: exp is 2023-11-14T22:12:50.000Z, {here}, and the tolerance is 30 s. \
                 Get a new token from the shop"
            ),
        ),
        (
            json!({ "nbf": 1_700_000_030.5 }),
            format!(
                "is not valid yet: nbf is 2023-11-14T22:13:50.500Z, {here}, and the tolerance is 30 s. \
                 Wait until then, or correct the shop's clock"
            ),
        ),
        (
            json!({ "iat": NOW + 31 }),
            format!(
                "is not valid yet: iat is 2023-11-14T22:13:51.000Z, {here}, and the tolerance is 30 s. \
                 Wait until then, or correct the shop's clock"
            ),
        ),
        (
            json!({ "exp": NOW + 86_431 }),
            format!(
                "lasts too long: exp is 2023-11-15T22:13:51.000Z, {here}, and the maximum lifetime \
                 is 86400 s (HOLDFAST_BUYER_TOKEN_MAX_SECONDS). The shop must set an earlier exp"
            ),
        ),
    ] {
        assert_refused(&read(bad), &reason);
    }
    for claim in ["exp", "nbf", "iat"] {
        for value in [
            json!("soon"),
            json!((NOW + 600).to_string()),
            json!(null),
            json!([NOW]),
            json!(true),
            json!(-1),
            // Milliseconds.
            json!(NOW * 1000),
            json!(1e300),
        ] {
            let reason = format!(
                "has an unusable {claim} claim: it must be {date}. The shop must correct it"
            );
            assert_refused(&read(json!({ claim: value })), &reason);
        }
    }
    let endless = read_by(&tokens(), &json!({ "sub": "alice" }));
    let reason = "has no exp claim. The shop must set it to the time at which the token expires, in \
                  seconds since 1970";
    assert_refused(&endless, reason);
}

#[test]
fn leeway_and_maximum_lifetime_are_settings() {
    let strict = BuyerTokens {
        max_seconds: 60,
        leeway_seconds: 0,
        ..tokens()
    };
    let read = |claims: Value| read_by(&strict, &claims);
    assert!(read(json!({ "sub": "alice", "exp": NOW + 60 })).is_ok());
    assert!(read(json!({ "sub": "alice", "exp": NOW + 61 })).is_err());
    assert!(read(json!({ "sub": "alice", "exp": NOW })).is_err());
    assert!(read(json!({ "sub": "alice", "exp": NOW + 1, "nbf": NOW })).is_ok());
    assert!(read(json!({ "sub": "alice", "exp": NOW + 9, "nbf": NOW + 1 })).is_err());
}

#[test]
fn token_names_exactly_one_buyer() {
    for (sub, buyer_id) in [
        (json!("alice"), "alice"),
        (json!("Alice"), "Alice"),
        (json!(" alice\t"), "alice"),
        (json!("auth0|5F"), "auth0|5F"),
        (json!("éva"), "éva"),
        (json!("ÖVER".to_lowercase()), "över"),
        (json!("οδος"), "οδος"),
        (json!("山田"), "山田"),
        (json!(42), "42"),
        (json!(-42), "-42"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        assert_eq!(read(json!({ "sub": sub })).unwrap().as_str(), buyer_id);
    }
    // Each would become another buyer's id once it is folded: k, s-like, å, ω, θ, é, trimmed.
    for sub in [
        "mi\u{212a}e",
        "\u{212a}",
        "\u{212b}sa",
        "\u{2126}",
        "\u{3f4}",
        "Éva",
        "İ",
        "ẞ",
        "ǅ",
        "ΟΔΟΣ",
        "\u{a0}mike",
        "mike\u{3000}",
        "mike\u{2028}",
    ] {
        let refused = read(json!({ "sub": sub }));
        assert_eq!(refused, Err(TokenError::NotNormal), "{sub}");
        let reason = "has a sub claim that is not the normal form of a buyer id: outside ASCII, lower case, in NFC, \
                      and no white space around it. The shop must issue it in that form";
        assert_refused(&refused, reason);
    }
    for (sub, reason) in [
        (
            json!(4.5),
            "has an unusable sub claim: it must be a text or a whole number. The shop must correct it",
        ),
        (
            json!(1e30),
            "has an unusable sub claim: it must be a text or a whole number. The shop must correct it",
        ),
        (
            json!(null),
            "has an unusable sub claim: it must be a text or a whole number. The shop must correct it",
        ),
        (
            json!(["a"]),
            "has an unusable sub claim: it must be a text or a whole number. The shop must correct it",
        ),
        (
            json!(""),
            "has a sub claim that is not a buyer id: it must have 1 to 128 characters. The shop must set it to the buyer_id of its requests",
        ),
        (
            json!("a\u{0}"),
            "has a sub claim that is not a buyer id: it must not contain control characters. The shop must set it to the buyer_id of its requests",
        ),
    ] {
        assert_refused(&read(json!({ "sub": sub })), reason);
    }
    let no_buyer = read_by(&tokens(), &json!({ "exp": NOW + 600 }));
    let reason = "has no sub claim. The shop must set it to the buyer's id";
    assert_refused(&no_buyer, reason);
}

#[test]
fn tokens_of_one_buyer_differ_only_in_ascii_case_and_space() {
    // Every character that is not its own lower case: alone, and as one letter of an id.
    let letters = (0..=0x10_ffff).filter_map(char::from_u32);
    let folded = letters.filter(|c| c.to_lowercase().ne([*c]));
    let mut tested = 0;
    for letter in folded {
        for sub in [format!("{letter}"), format!("a{letter}b")] {
            let accepted = read(json!({ "sub": sub })).is_ok();
            assert_eq!(accepted, letter.is_ascii(), "{letter:?}");
        }
        tested += 1;
    }
    assert!(tested > 1_000, "{tested}");
}

#[test]
fn audience_is_checked_by_rfc_7519() {
    let with = |audience: Option<&str>, aud: Value| {
        let tokens = BuyerTokens {
            audience: audience.map(str::to_owned),
            ..tokens()
        };
        let mut claims = json!({ "sub": "alice", "exp": NOW + 600 });
        if aud != json!("absent") {
            claims["aud"] = aud;
        }
        read_by(&tokens, &claims)
    };
    let audience_here = Some("https://drops.example");
    for (audience, aud) in [
        (None, json!("absent")),
        (audience_here, json!("https://drops.example")),
        (audience_here, json!(["https://drops.example"])),
        (audience_here, json!(["other", "https://drops.example"])),
    ] {
        assert!(with(audience, aud.clone()).is_ok(), "{aud}");
    }
    let not_texts =
        "has an unusable aud claim: it must be a text or a list of texts. The shop must correct it";
    let absent = "has no aud claim. The shop must set it to this server's audience \
                  (HOLDFAST_BUYER_AUDIENCE)";
    let other = "has an aud claim without this server's audience, https://drops.example \
                 (HOLDFAST_BUYER_AUDIENCE). The shop must add it";
    let none = "has an aud claim, and this server has no audience. The operator must set \
                HOLDFAST_BUYER_AUDIENCE, or the shop must omit aud";
    for (audience, aud, reason) in [
        (audience_here, json!("absent"), absent),
        (audience_here, json!("https://drops.example/"), other),
        (audience_here, json!("HTTPS://drops.example"), other),
        (audience_here, json!([]), other),
        (audience_here, json!(null), not_texts),
        (audience_here, json!([7]), not_texts),
        (None, json!("https://drops.example"), none),
        (None, json!([]), none),
    ] {
        assert_refused(&with(audience, aud), reason);
    }
}

#[test]
fn foreign_token_is_refused_before_its_claims_are_checked() {
    let claims = json!({ "sub": "alice", "exp": 1 }).to_string();
    let foreign = signed(b"another secret", r#"{"alg":"HS256"}"#, &claims);
    let outcome = at_once(tokens().buyer(&foreign, now()));
    let reason = "has a wrong signature. The shop must sign it with the secret of this server \
                  (HOLDFAST_BUYER_SECRET), and nothing may alter it";
    assert_refused(&outcome, reason);
    let outcome = at_once(tokens().buyer("not a token", now()));
    assert_refused(
        &outcome,
        "is not a JSON Web Token: it must have three base64url parts with dots between them. Send the \
         token as the shop issued it",
    );
}

#[test]
fn both_secrets_are_accepted_while_one_replaces_the_other() {
    let rotating = BuyerTokens {
        secrets: vec![Hs256::new(b"the secret from now on"), Hs256::new(SECRET)],
        ..tokens()
    };
    let claims = json!({ "sub": "alice", "exp": NOW + 600 }).to_string();
    let read = |secret: &[u8]| {
        let token = signed(secret, r#"{"alg":"HS256"}"#, &claims);
        at_once(rotating.buyer(&token, now()))
    };
    assert_eq!(read(SECRET).unwrap().as_str(), "alice");
    assert_eq!(read(b"the secret from now on").unwrap().as_str(), "alice");
    assert!(read(b"the secret before both").is_err());
}

/// RFC 7515, appendix A.3: a token by `joe`, signed with ES256.
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn keys_in(file: &std::path::Path) -> KeySource {
    KeySource::new(crate::key_source::Location::File(file.into())).unwrap()
}

#[tokio::test]
async fn token_is_verified_by_the_key_set_and_loads_it_if_needed() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("keys.json");
    let tokens = BuyerTokens {
        secrets: Vec::new(),
        keys: Some(keys_in(&file)),
        ..tokens()
    };
    let outcome = tokens.buyer(ES256, now()).await;
    assert_eq!(outcome, Err(TokenError::NoKeys));

    let set = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    std::fs::write(&file, set).unwrap();
    let tokens = BuyerTokens {
        keys: Some(keys_in(&file)),
        ..tokens
    };
    // Signed by the key; the RFC's example expired long ago.
    let outcome = tokens.buyer(ES256, now()).await;
    assert!(
        matches!(outcome, Err(TokenError::Expired { .. })),
        "{outcome:?}"
    );
    // The public key is not a secret.
    let forged = signed(set.as_bytes(), r#"{"alg":"HS256"}"#, "{}");
    assert_refused(
        &tokens.buyer(&forged, now()).await,
        "is not signed with ES256, RS256 or EdDSA. The shop must sign it with that algorithm",
    );
}
