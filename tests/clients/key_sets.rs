//! Tokens that another implementation signs, with each kind of public key.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::process::Command;

use harness::{Launch, fetch, install, key, on_path};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

/// The key set, and the token of each algorithm, by Node's `crypto`.
async fn minted() -> Value {
    if on_path("node").is_none() {
        spawn_blocking(|| install(&["nodejs"])).await.unwrap();
    }
    let script = include_str!("key_sets/mint.mjs");
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", script]);
    let output = tokio::process::Command::from(node).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn tokens_signed_by_node_act_for_their_own_buyer() {
    let minted = minted().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, minted["set"].to_string()).unwrap();
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_BUYER_JWKS", file.to_str().unwrap())
        .start()
        .await;
    let drop = app.create_drop(10, json!({})).await;
    let hold = async |token: &str, buyer: &str| {
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.header("idempotency-key", key()).bearer_auth(token);
        fetch(request.json(&json!({ "buyer_id": buyer }))).await
    };
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let token = minted["tokens"][algorithm].as_str().unwrap();
        hold(token, &format!("buyer-{algorithm}")).await.ok(201);
        hold(token, "another").await.problem(403, "forbidden");
        // The same claims, under the signature of another key.
        let other = minted["tokens"][if algorithm == "ES256" {
            "EdDSA"
        } else {
            "ES256"
        }]
        .as_str()
        .unwrap();
        let (signed, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let forged = hold(&format!("{signed}.{signature}"), "buyer-ES256").await;
        let problem = forged.problem(401, "unauthorized");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("wrong signature"), "{detail}");
    }
}
