//! Third-party verifiers accept the webhooks that a receiver gets, and no altered ones.
//!
//! Promise: standardwebhooks of PyPI and of npm, in the versions of
//! `webhook_verifiers/requirements.txt` and `webhook_verifiers/package.json`, verify the received
//! bytes with the secret as the API returned it, with both secrets after a rotation, and reject an
//! altered body, id and timestamp, and another secret.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::{App, Launch, Node, Python, Received, Receiver, fetch, text};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// One case: what arrived, the secret to verify it with, and the expected verdict.
#[derive(Debug)]
struct Case {
    name: String,
    line: Value,
    is_valid: bool,
}

impl Case {
    fn new(name: &str, received: &Received, secret: &str) -> Self {
        let headers: Value = HEADERS
            .iter()
            .map(|name| ((*name).to_owned(), json!(received.header(name))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let body = BASE64_STANDARD.encode(&received.body);
        Self {
            name: format!("{name}: {}", received.kind()),
            line: json!({ "secret": secret, "headers": headers, "body": body }),
            is_valid: true,
        }
    }

    fn invalid(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.line);
        self.is_valid = false;
        self
    }
}

/// The verdicts of a verifier.
async fn verdicts(command: Command, cases: &[Case]) -> Vec<bool> {
    let mut command = tokio::process::Command::from(command);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut verifier = piped.kill_on_drop(true).spawn().unwrap();
    let mut input = verifier.stdin.take().unwrap();
    for case in cases {
        input
            .write_all(format!("{}\n", case.line).as_bytes())
            .await
            .unwrap();
    }
    drop(input);
    let output = verifier.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let verdict = |line: &str| match line {
        "valid" => true,
        "invalid" => false,
        other => panic!("{other}"),
    };
    lines.lines().map(verdict).collect()
}

async fn post(app: &App, path: &str, body: &Value) -> Value {
    let reply = fetch(app.admin(Method::POST, path).json(body)).await;
    assert!(matches!(reply.status, 200..=202), "{reply:?}");
    reply.json()
}

#[tokio::test]
async fn third_party_verifiers_accept_what_arrives_and_nothing_altered() {
    let launch = Launch::fresh().await;
    let launch = launch.with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8");
    let app = launch.start().await;
    let receiver = Receiver::start().await;
    let created = post(
        &app,
        "/v1/admin/webhooks",
        &json!({ "url": receiver.url() }),
    )
    .await;
    let (id, first) = (text(&created["id"]), text(&created["secret"]));
    // A name outside of ASCII: the signature covers bytes.
    let drop = app
        .create_drop(9, json!({ "name": "Žluťoučký kůň 🐎 \"2\"" }))
        .await;
    let hold = app.held(&drop, "alice").await;
    app.purchase(&hold).await.ok(201);
    let order = json!({ "buyer_id": "carol", "items": [{ "drop_id": drop, "quantity": 1 }] });
    let ordered = app.admin(Method::POST, "/v1/orders");
    let ordered = ordered.header("idempotency-key", "order").json(&order);
    fetch(ordered).await.ok(201);
    let before = receiver.wait_for(6).await;
    let rotated = post(
        &app,
        &format!("/v1/admin/webhooks/{id}/rotate-secret"),
        &json!({}),
    )
    .await;
    let second = text(&rotated["secret"]);
    // The test is sent by a dispatcher that has read the rotation.
    post(&app, &format!("/v1/admin/webhooks/{id}/test"), &json!({})).await;
    receiver.wait_for(7).await;
    app.held(&drop, "bob").await;
    let after = receiver.wait_for(8).await.split_off(7);

    let mut cases: Vec<Case> = before
        .iter()
        .map(|one| Case::new("first", one, &first))
        .collect();
    let with = |secret: &str| Case::new("after the rotation", &after[0], secret);
    cases.extend([with(&first), with(&second)]);
    let original = || Case::new("altered", &before[0], &first);
    let id_of_another = before[1].id().to_owned();
    cases.extend([
        original().invalid(|line| line["secret"] = json!(second)),
        original().invalid(|line| line["body"] = json!(BASE64_STANDARD.encode("{}"))),
        original().invalid(|line| line["headers"]["webhook-id"] = json!(id_of_another)),
        original().invalid(|line| {
            let sent = text(&line["headers"]["webhook-timestamp"]);
            let later = sent.parse::<i64>().unwrap() + 1;
            line["headers"]["webhook-timestamp"] = json!(later.to_string());
        }),
        original().invalid(|line| {
            let sent = text(&line["headers"]["webhook-timestamp"]);
            let old = sent.parse::<i64>().unwrap() - 600;
            line["headers"]["webhook-timestamp"] = json!(old.to_string());
        }),
    ]);
    let python = Python::with(include_str!("webhook_verifiers/requirements.txt")).await;
    let mut in_python = python.command();
    in_python
        .arg("-c")
        .arg(include_str!("webhook_verifiers/verify.py"));
    let node = Node::with(
        include_str!("webhook_verifiers/package.json"),
        include_str!("webhook_verifiers/package-lock.json"),
    )
    .await;
    let in_node = node.module(include_str!("webhook_verifiers/verify.mjs"));
    for (name, command) in [("PyPI", in_python), ("npm", in_node)] {
        let verdicts = verdicts(command, &cases).await;
        assert_eq!(verdicts.len(), cases.len(), "{name}");
        let wrong = cases.iter().zip(&verdicts);
        let wrong = wrong.filter(|(case, verdict)| case.is_valid != **verdict);
        let wrong: Vec<&str> = wrong.map(|(case, _)| case.name.as_str()).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        let accepted = verdicts.iter().filter(|verdict| **verdict).count();
        println!(
            "{name}: {accepted} accepted, {} rejected",
            verdicts.len() - accepted
        );
    }
}
