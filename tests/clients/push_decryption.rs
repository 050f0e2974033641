//! An independent implementation opens the messages of Web Push.
//!
//! Promise: http_ece of npm decrypts the received body with keys that Node has made, and jose
//! verifies the signature, its audience and its end. An altered body, and the keys of another
//! browser, open nothing.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::{App, Launch, Node, Received, Receiver, fetch, text, token};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The browser's side, in another process.
#[derive(Debug)]
struct Browser {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    async fn start() -> Self {
        let node = Node::with(
            include_str!("push_decryption/package.json"),
            include_str!("push_decryption/package-lock.json"),
        )
        .await;
        let command = node.module(include_str!("push_decryption/open.mjs"));
        let mut command = tokio::process::Command::from(command);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.kill_on_drop(true).spawn().unwrap();
        Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
        }
    }

    async fn call(&mut self, request: &Value) -> Value {
        let line = format!("{request}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        let answer = self.output.next_line().await.unwrap().unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    async fn open(&mut self, keys: &Value, received: &Received, audience: &str) -> Value {
        let request = json!({
            "private": keys["private"], "auth": keys["auth"], "audience": audience,
            "authorization": received.header("authorization"),
            "body": BASE64_STANDARD.encode(&received.body),
        });
        self.call(&request).await
    }
}

async fn subscribe(app: &App, buyer: &str, keys: &Value, endpoint: &str) {
    let body = json!({
        "endpoint": endpoint,
        "keys": { "p256dh": keys["p256dh"], "auth": keys["auth"] },
    });
    let path = format!("/v1/buyers/{buyer}/push-subscriptions");
    let request = app.request(Method::POST, &path).json(&body);
    let request = request.bearer_auth(token(SECRET, buyer, 60));
    fetch(request).await.ok(201);
}

#[tokio::test]
async fn http_ece_and_jose_open_the_messages_of_a_browser() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_PUSH_NETWORKS", "127.0.0.0/8")
        .with("HOLDFAST_VAPID_SUBJECT", "mailto:shop@example.com")
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let (mut browser, service) = (Browser::start().await, Receiver::start().await);
    let audience = format!("http://{}", service.address());
    let mut keys = vec![];
    for buyer in ["ann", "bob"] {
        let made = browser.call(&json!({ "make": true })).await;
        subscribe(&app, buyer, &made, &format!("{audience}/{buyer}")).await;
        keys.push(made);
    }
    let name = "Žluťoučký kůň 🐎 \"2\"";
    let drop = app
        .create_drop(
            2,
            json!({ "name": name, "max_per_hold": 2, "starts_at": "2100-01-01T00:00:00.000Z" }),
        )
        .await;
    let remind = format!("/v1/buyers/ann/reminders/{drop}");
    let remind = app.request(Method::PUT, &remind);
    let remind = remind.bearer_auth(token(SECRET, "ann", 60));
    assert_eq!(fetch(remind).await.status, 204);
    let read = app.get(&format!("/v1/drops/{drop}")).await.ok(200);
    let started = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .header("if-match", "*")
        .json(&json!({ "starts_at": read["server_time"] }));
    fetch(started).await.ok(200);
    let received = service.wait_for(1).await;
    let opened = browser.open(&keys[0], &received[0], &audience).await;
    assert_eq!(
        opened["message"],
        json!({
            "title": name, "body": "The drop has started.", "url": format!("/drops/{drop}"),
            "tag": received[0].header("topic"),
        })
    );
    assert_eq!(opened["claims"]["sub"], "mailto:shop@example.com");
    assert_eq!(opened["header"], json!({ "typ": "JWT", "alg": "ES256" }));
    let key = app.get("/v1/push/application-server-key").await.ok(200);
    assert_eq!(opened["key"], key["application_server_key"]);

    // An order, whose id is for a buyer with a token.
    let items = json!([{ "drop_id": drop, "quantity": 1 }]);
    let order = app
        .admin(Method::POST, "/v1/orders")
        .header("idempotency-key", "order")
        .json(&json!({ "buyer_id": "bob", "display_name": "Bob B.", "items": items }));
    let order = text(&fetch(order).await.ok(201)["id"]);
    let paid = app.admin(Method::POST, &format!("/v1/orders/{order}/purchase"));
    fetch(paid).await.ok(200);
    let received = service.wait_for(2).await;
    let opened = browser.open(&keys[1], &received[1], &audience).await;
    let message = &opened["message"];
    assert_eq!(message["url"], format!("/orders/{order}"));
    assert!(
        !message.to_string().to_lowercase().contains("bob"),
        "{message}"
    );

    // Nothing else opens it.
    let others = browser.open(&keys[0], &received[1], &audience).await;
    assert!(others["error"].is_string(), "{others}");
    let elsewhere = browser
        .open(&keys[1], &received[1], "https://push.example")
        .await;
    assert!(text(&elsewhere["error"]).contains("aud"), "{elsewhere}");
    let mut altered = received[1].clone();
    let mut body = altered.body.to_vec();
    *body.last_mut().unwrap() ^= 1;
    altered.body = body.into();
    let altered = browser.open(&keys[1], &altered, &audience).await;
    assert!(altered["error"].is_string(), "{altered}");
}
