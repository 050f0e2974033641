use std::slice;

use serde_json::json;

use super::*;

/// RFC 7515, appendix A.2.
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/// RFC 7515, appendix A.3.
const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// RFC 8037, appendix A.4.
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn rsa() -> Value {
    json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB" })
}

fn ec() -> Value {
    json!({ "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y })
}

fn ed() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X })
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

fn parse(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn verify(keys: &[Value], token: &str) -> Result<Map<String, Value>, Invalid> {
    parse(keys).unwrap().verify(&Unverified::parse(token)?)
}

#[test]
fn tokens_of_the_rfcs_verify_with_their_own_key_only() {
    let claims = json!({ "iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true });
    for (key, token) in [(rsa(), RSA_TOKEN), (ec(), EC_TOKEN)] {
        let verified = verify(&[key, ed()], token).map(Value::Object);
        assert_eq!(verified, Ok(claims.clone()));
        assert_eq!(verify(&[ed()], token), Err(Invalid::UnknownKey));
    }
    // Verified, and then refused: the payload of this example is not JSON.
    assert_eq!(verify(&[rsa(), ed()], ED_TOKEN), Err(Invalid::Claims));
    assert_eq!(verify(&[rsa()], ED_TOKEN), Err(Invalid::UnknownKey));
}

#[test]
fn altered_token_is_refused_by_every_algorithm() {
    for (key, token) in [(rsa(), RSA_TOKEN), (ec(), EC_TOKEN), (ed(), ED_TOKEN)] {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        for altered in [
            format!("{header}.e30.{signature}"),
            format!("{signed}."),
            format!("{signed}.{}", &signature[..84]),
        ] {
            let refused = verify(slice::from_ref(&key), &altered);
            assert_eq!(refused, Err(Invalid::KeySignature), "{altered}");
        }
    }
}

#[test]
fn key_id_selects_the_key() {
    let token = |header: &str| {
        let parts: Vec<&str> = EC_TOKEN.split('.').collect();
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        format!("{header}.{}.{}", parts[1], parts[2])
    };
    let named = with(ec(), "kid", json!("2026"));
    let find = |keys: &[Value], header: &str| verify(keys, &token(header));
    // Another header than the signed one, so a key that is found does not verify it.
    let found = Err(Invalid::KeySignature);
    let header = r#"{"alg":"ES256","kid":"2026"}"#;
    assert_eq!(find(slice::from_ref(&named), header), found);
    assert_eq!(find(&[ec()], header), Err(Invalid::UnknownKey));
    let other = r#"{"alg":"ES256","kid":"2027"}"#;
    assert_eq!(
        find(slice::from_ref(&named), other),
        Err(Invalid::UnknownKey)
    );
    // Without a kid, every key of the algorithm is tried.
    let keys = [with(ec(), "y", json!(EC_X)), named];
    assert!(verify(&keys, EC_TOKEN).is_ok());
}

#[test]
fn unusable_keys_are_skipped_and_a_set_without_usable_ones_is_refused() {
    let unusable = [
        with(ec(), "use", json!("enc")),
        with(ec(), "key_ops", json!(["encrypt"])),
        with(ec(), "alg", json!("ES384")),
        with(ec(), "alg", json!("RS256")),
        with(ec(), "crv", json!("P-384")),
        with(ec(), "x", json!("AAAA")),
        with(ec(), "x", json!(7)),
        with(ec(), "kid", json!(7)),
        with(ec(), "kid", json!(null)),
        with(ed(), "x", json!("AAAA")),
        with(rsa(), "n", json!("AQAB")),
        json!({ "kty": "unknown" }),
        json!({}),
    ];
    for key in &unusable {
        let refused = parse(slice::from_ref(key)).unwrap_err();
        assert!(matches!(refused, KeySetError::NoneUsable(1)), "{key}");
    }
    let mut all = unusable.to_vec();
    all.push(ed());
    assert_eq!(parse(&all).unwrap().len(), 1);
    for usable in [
        with(ec(), "use", json!("sig")),
        with(ec(), "key_ops", json!(["verify"])),
        with(ec(), "alg", json!("ES256")),
        with(ed(), "alg", json!("Ed25519")),
        with(rsa(), "n", json!(format!("AAAA{RSA_N}"))),
        with(ec(), "x5c", json!(["MII"])),
    ] {
        assert_eq!(parse(&[usable]).unwrap().len(), 1);
    }
}

#[test]
fn modulus_with_leading_zeros_verifies() {
    let padded = with(rsa(), "n", json!(format!("AAAA{RSA_N}")));
    assert!(verify(&[padded], RSA_TOKEN).is_ok());
}

#[test]
fn private_keys_and_secrets_are_refused() {
    for (key, name) in [(ec(), "d"), (rsa(), "d"), (json!({ "kty": "oct" }), "k")] {
        let refused = parse(&[ed(), with(key, name, json!("AAAA"))]).unwrap_err();
        assert!(matches!(refused, KeySetError::Private(2)), "{refused}");
    }
}

#[test]
fn set_must_be_an_object_with_at_most_a_hundred_keys() {
    for json in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[7]}"#] {
        let refused = KeySet::parse(json.as_bytes()).unwrap_err();
        assert!(matches!(refused, KeySetError::Form(_)), "{json}");
    }
    assert!(parse(&vec![ed(); MAX_KEYS]).is_ok());
    let refused = parse(&vec![ed(); MAX_KEYS + 1]).unwrap_err();
    assert!(matches!(refused, KeySetError::TooMany(101)));
}
