//! The shop's public keys as a setting: keys that are replaced while the server runs, and a key set
//! that is away.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::{App, Launch, Reply, eventually, fetch, key, seconds_now, token};
use reqwest::Method;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

const SECRET: &str = "the shop's secret for its buyers";

/// A key of the shop's, by its id.
struct ShopKey {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

impl ShopKey {
    fn new(kid: &'static str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        Self { kid, pair }
    }

    fn public(&self) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig", "x": x })
    }

    /// A token for `buyer`.
    fn token(&self, buyer: &str) -> String {
        let encoded = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let header = encoded(json!({ "alg": "EdDSA", "kid": self.kid }));
        let claims = encoded(json!({ "sub": buyer, "exp": seconds_now() + 600 }));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn set(keys: &[&ShopKey]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    json!({ "keys": keys }).to_string()
}

async fn hold(app: &App, drop: &str, bearer: &str, buyer: &str) -> Reply {
    let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
    let request = request.header("idempotency-key", key()).bearer_auth(bearer);
    fetch(request.json(&json!({ "buyer_id": buyer }))).await
}

#[tokio::test]
async fn new_key_in_the_file_is_used_without_a_restart() {
    let (old, new) = (ShopKey::new("2026", 1), ShopKey::new("2027", 2));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys.json");
    fs::write(&file, set(&[&old])).unwrap();
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_JWKS", file.to_str().unwrap())
        .start()
        .await;
    let drop = app.create_drop(10, json!({})).await;
    hold(&app, &drop, &old.token("ann"), "ann").await.ok(201);
    let mixed = hold(&app, &drop, &token(SECRET, "ann", 600), "ann").await;
    let problem = mixed.problem(401, "unauthorized");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("is not signed with ES256, RS256 or EdDSA"),
        "{detail}"
    );

    // A stray key just before the new one does not make its buyers wait.
    let stray = ShopKey::new("stray", 5).token("eve");
    let refused = hold(&app, &drop, &stray, "eve").await;
    refused.problem(401, "unauthorized");
    fs::write(&file, set(&[&old, &new])).unwrap();
    hold(&app, &drop, &new.token("bob"), "bob").await.ok(201);
    hold(&app, &drop, &old.token("cyd"), "cyd").await.ok(201);
    // A key of the same name that the shop never published.
    let forged = ShopKey::new("2027", 3).token("dan");
    let problem = hold(&app, &drop, &forged, "dan").await;
    let problem = problem.problem(401, "unauthorized");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("wrong signature")
    );
    let unknown = ShopKey::new("2028", 4).token("dan");
    let problem = hold(&app, &drop, &unknown, "dan").await;
    let problem = problem.problem(401, "unauthorized");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("a key that is not in the key set"),
        "{detail}"
    );
}

#[tokio::test]
async fn buyers_wait_for_a_key_set_that_is_away_and_nothing_else_does() {
    let shop = ShopKey::new("1", 1);
    let body = Arc::new(Mutex::new(String::from("starting")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let served = Arc::clone(&body);
    let routes = Router::new().route(
        "/jwks.json",
        get(async move || served.lock().unwrap().clone()),
    );
    tokio::spawn(async { axum::serve(listener, routes).await });

    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_JWKS", &url)
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let drop = app.create_drop(10, json!({})).await;
    let waiting = hold(&app, &drop, &shop.token("ann"), "ann").await;
    waiting.problem(503, "unavailable");
    assert!(!waiting.header("retry-after").is_empty());
    hold(&app, &drop, &token(SECRET, "bob", 600), "bob")
        .await
        .ok(201);

    *body.lock().unwrap() = set(&[&shop]);
    eventually("the key set is loaded", async || {
        let held = hold(&app, &drop, &shop.token("ann"), "ann").await;
        (held.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn both_secrets_are_accepted_while_one_replaces_the_other() {
    let new = "the new secret of the shop, 32 bytes";
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", new)
        .with("HOLDFAST_BUYER_SECRET_PREVIOUS", SECRET)
        .start()
        .await;
    let drop = app.create_drop(10, json!({})).await;
    hold(&app, &drop, &token(new, "ann", 600), "ann")
        .await
        .ok(201);
    hold(&app, &drop, &token(SECRET, "bob", 600), "bob")
        .await
        .ok(201);
    let other = hold(&app, &drop, &token("another", "cyd", 600), "cyd").await;
    other.problem(401, "unauthorized");
}
