//! Notifications are the same on every server and after `kill -9`, and a stream resumes on any of
//! them.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::time::Duration;

use harness::{Api, Launch, Watcher, eventually, fetch, text};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

async fn list(api: &Api) -> Vec<Value> {
    let page = api
        .get("/v1/buyers/ann/notifications?limit=100")
        .await
        .ok(200);
    page["data"].as_array().unwrap().clone()
}

async fn listed(api: &Api, drop: &str) -> Vec<Value> {
    eventually("the server lists the drop", || async {
        let list = list(api).await;
        list.iter()
            .any(|row| row["drop_id"] == drop)
            .then_some(list)
    })
    .await
}

async fn open(api: &Api, query: &str) -> Watcher {
    let path = format!("/v1/buyers/ann/notifications/stream{query}");
    Watcher::open(api.request(Method::GET, &path)).await
}

#[tokio::test]
async fn servers_agree_on_notifications_and_a_killed_one_finds_them_again() {
    let database = fresh_database().await;
    let mut first = Launch::on(database.clone()).start().await;
    let second = Launch::on(database.clone()).start().await;
    let creator = first
        .admin(Method::PUT, "/v1/creators/nord")
        .json(&json!({ "name": "Nord" }));
    fetch(creator).await.ok(201);
    // A stream on the other server learns of the follow by its refresh.
    let mut stream = open(&second, "").await;
    let follow = first.request(Method::PUT, "/v1/buyers/ann/follows/nord");
    assert_eq!(fetch(follow).await.status, 204);
    let drop = first
        .create_drop(1, json!({ "creator_id": "nord", "hold_seconds": 3600 }))
        .await;
    let here = listed(&first, &drop).await;
    assert_eq!(listed(&second, &drop).await, here);
    let sent = loop {
        // Another drop each second until the stream sends one.
        match timeout(Duration::from_secs(1), stream.frame()).await {
            Ok(frame) => break frame.expect("the stream continues"),
            Err(_) => first.create_drop(1, json!({ "creator_id": "nord" })).await,
        };
    };
    assert_eq!(sent.event, "drop.started");

    // The client returns to the other server, and after a crash to a new one.
    let newest = first.create_drop(1, json!({ "creator_id": "nord" })).await;
    let expected = listed(&first, &newest).await;
    first.kill();
    let restarted = Launch::on(database).start().await;
    assert_eq!(list(&restarted).await, expected);
    let after = expected
        .iter()
        .position(|row| row["id"] == sent.json()["id"])
        .unwrap();
    for server in [&restarted, &second] {
        let mut stream = open(server, &format!("?last_event_id={}", sent.id)).await;
        for row in expected[..after].iter().rev() {
            let frame = stream.frame().await.expect("the stream continues");
            assert_eq!(frame.json(), *row);
        }
    }
    let count = restarted.get("/v1/creators/nord").await.ok(200);
    assert_eq!(count["followers"], 1);
    assert_eq!(text(&expected[0]["drop_id"]), newest);
    restarted.audit_verify().await;
}
