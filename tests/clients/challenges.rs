//! Challenges, solved by others: by ALTCHA's own libraries of npm and PyPI, in the versions of
//! `challenges/package.json` and `challenges/requirements.txt`; and by the clients in `clients/`,
//! which do it without the caller's help.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::process::{Command, Stdio};

use harness::{App, Node, Python, fetch, key};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::client_libraries::{prepare, python_client, run_blocking, typescript_client};

async fn challenging(app: &App) -> String {
    let terms = json!({
        "challenge": { "kind": "proof_of_work", "difficulty": 1 }, "hold_seconds": 3_600,
    });
    app.create_drop(3, terms).await
}

/// Runs a solver with the challenge as its standard input; returns what it prints.
async fn solve(command: Command, challenge: &Value) -> String {
    let mut command = tokio::process::Command::from(command);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut solver = piped.kill_on_drop(true).spawn().unwrap();
    let mut input = solver.stdin.take().unwrap();
    let text = challenge.to_string();
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);
    let output = solver.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn libraries_of_altcha_solve_the_challenge_of_a_hold() {
    let app = App::start().await;
    let drop = challenging(&app).await;
    let python = Python::with(include_str!("challenges/requirements.txt")).await;
    let mut in_python = python.command();
    in_python.arg("-c").arg(include_str!("challenges/solve.py"));
    let node = Node::with(
        include_str!("challenges/package.json"),
        include_str!("challenges/package-lock.json"),
    )
    .await;
    let in_node = node.module(include_str!("challenges/solve.mjs"));
    for (buyer, solver) in [("ann", in_python), ("bob", in_node)] {
        let (name, body) = (key(), json!({ "buyer_id": buyer }));
        let refused = app.hold_with(&drop, &name, &body).await;
        let refused = refused.problem(403, "challenge_required");
        let solution = solve(solver, &refused["challenge"]).await;
        let request = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
        let request = request.header("idempotency-key", &name).json(&body);
        let held = fetch(request.header("challenge-solution", solution)).await;
        held.ok(201);
    }
    assert_eq!(app.stock(&drop).await, [3, 1, 2, 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn clients_solve_the_challenge_of_a_hold() {
    let (app, directory) = prepare().await;
    let drop = challenging(&app).await;
    let address = format!("http://{}", app.address());
    let script = include_str!("challenges/hold.mjs");
    let mut typescript = typescript_client(directory.path(), script).await;
    typescript.args([&address, &drop]);
    assert_eq!(run_blocking(typescript).await.trim(), "held");
    let script = include_str!("challenges/hold.py");
    let mut python = python_client(directory.path(), script).await;
    python.args([&address, &drop]);
    assert_eq!(run_blocking(python).await.trim(), "held");
    assert_eq!(app.stock(&drop).await, [3, 1, 2, 0]);
}
