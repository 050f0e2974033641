//! Each subscription is sent each notification, through `kill -9` and with several servers.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::{BTreeMap, BTreeSet};

use harness::{Answer, Api, Launch, Receiver, eventually, fetch, text};
use private_postgres::testing::{TestDatabase, fresh_database};
use reqwest::Method;
use serde_json::{Value, json};

/// Of RFC 8291, appendix A.
const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

fn launch(database: &TestDatabase) -> Launch {
    Launch::on(database.clone())
        .with("HOLDFAST_PUSH_NETWORKS", "127.0.0.0/8")
        .with(
            "HOLDFAST_PUSH_RETRIES",
            "50ms,100ms,200ms,400ms,800ms,1600ms",
        )
}

async fn follow(api: &Api, buyer: &str) {
    let path = format!("/v1/buyers/{buyer}/follows/nord");
    assert_eq!(fetch(api.request(Method::PUT, &path)).await.status, 204);
}

async fn subscribe(api: &Api, service: &Receiver, buyer: &str) {
    let endpoint = format!("http://{}/{buyer}", service.address());
    let body = json!({ "endpoint": endpoint, "keys": { "p256dh": P256DH, "auth": AUTH } });
    let path = format!("/v1/buyers/{buyer}/push-subscriptions");
    fetch(api.request(Method::POST, &path).json(&body))
        .await
        .ok(201);
}

async fn creator(api: &Api) {
    let request = api.admin(Method::PUT, "/v1/creators/nord");
    fetch(request.json(&json!({ "name": "Nord" })))
        .await
        .ok(201);
}

/// The jobs of starts, waiting until all of them have ended.
async fn settled(api: &Api, starts: usize) -> Vec<Value> {
    eventually("every job has ended", || async {
        let list = fetch(api.admin(Method::GET, "/v1/admin/jobs?kind=push")).await;
        let list = list.ok(200)["data"].as_array().unwrap().clone();
        let is_settled = list.iter().all(|job| job["status"] != "pending");
        (is_settled && list.len() >= starts).then_some(list)
    })
    .await
}

#[tokio::test]
async fn every_subscription_gets_every_start_through_a_crash_on_two_servers() {
    const BROWSERS: usize = 60;
    let database = fresh_database().await;
    let mut first = launch(&database).start().await;
    let second = launch(&database).start().await;
    let service = Receiver::start().await;
    creator(&first).await;
    let buyers: Vec<String> = (0..BROWSERS)
        .map(|number| format!("buyer-{number}"))
        .collect();
    for buyer in &buyers {
        follow(&second, buyer).await;
        subscribe(&second, &service, buyer).await;
    }
    // Every third request fails once, so some messages are jobs of their own at the crash.
    let mut count = 0;
    let mut failed = BTreeSet::new();
    service.respond(move |one| {
        count += 1;
        let key = (one.path.clone(), one.header("topic").to_owned());
        match count % 3 == 0 && failed.insert(key) {
            true => Answer::Status(500),
            false => Answer::Status(201),
        }
    });
    let mut drops = vec![];
    for _ in 0..2 {
        drops.push(first.create_drop(1, json!({ "creator_id": "nord" })).await);
    }
    service.wait_for(10).await;
    first.kill();
    let third = launch(&database).start().await;
    drops.push(third.create_drop(1, json!({ "creator_id": "nord" })).await);
    let jobs = settled(&third, drops.len()).await;
    assert!(jobs.iter().all(|job| job["status"] == "done"), "{jobs:?}");

    // The topic identifies the drop within a browser.
    let mut topics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in service.received() {
        let topic = one.header("topic").to_owned();
        topics.entry(one.path.clone()).or_default().insert(topic);
    }
    assert_eq!(topics.len(), BROWSERS);
    for (path, topics) in &topics {
        assert_eq!(topics.len(), drops.len(), "{path}");
    }
    let subjects: BTreeSet<String> = jobs.iter().map(|job| text(&job["subject"])).collect();
    assert_eq!(subjects.len(), drops.len());
    third.audit_verify().await;
    drop(second);
}

#[tokio::test]
async fn start_continues_after_the_page_that_was_sent_before_the_crash() {
    // Two pages: a page has 200 subscriptions.
    const BROWSERS: usize = 230;
    let database = fresh_database().await;
    let mut first = launch(&database).start().await;
    let service = Receiver::start().await;
    creator(&first).await;
    for number in 0..BROWSERS {
        // Twenty browsers of each buyer.
        let buyer = format!("buyer-{}", number / 20);
        if number % 20 == 0 {
            follow(&first, &buyer).await;
        }
        let endpoint = format!("http://{}/{number}", service.address());
        let body = json!({ "endpoint": endpoint, "keys": { "p256dh": P256DH, "auth": AUTH } });
        let path = format!("/v1/buyers/{buyer}/push-subscriptions");
        fetch(first.request(Method::POST, &path).json(&body))
            .await
            .ok(201);
    }
    // The second page does not end before the crash.
    let mut count = 0;
    service.respond(move |_| {
        count += 1;
        match count {
            ..=200 => Answer::Status(201),
            _ => Answer::Hang,
        }
    });
    first.create_drop(1, json!({ "creator_id": "nord" })).await;
    let before = service.wait_for(210).await;
    first.kill();
    let page: BTreeSet<String> = before[..200].iter().map(|one| one.path.clone()).collect();
    assert_eq!(page.len(), 200);
    service.respond(|_| Answer::Status(201));
    let arrived = service.received().len();
    let second = launch(&database).start().await;
    let jobs = settled(&second, 1).await;
    assert_eq!(
        (jobs.len(), &jobs[0]["status"]),
        (1, &json!("done")),
        "{jobs:?}"
    );
    let after = service.received().split_off(arrived);
    let rest: BTreeSet<String> = after.iter().map(|one| one.path.clone()).collect();
    assert!(page.is_disjoint(&rest), "only those of the second page");
    assert_eq!(page.len() + rest.len(), BROWSERS);
}

#[tokio::test]
async fn nothing_is_sent_to_a_browser_that_ended_while_its_message_waited() {
    let database = fresh_database().await;
    let server = launch(&database).start().await;
    let service = Receiver::start().await;
    creator(&server).await;
    service.respond(|_| Answer::With(503, "retry-after", "1".to_owned()));
    for buyer in ["ann", "bob", "carl"] {
        follow(&server, buyer).await;
        subscribe(&server, &service, buyer).await;
    }
    server.create_drop(1, json!({ "creator_id": "nord" })).await;
    let waiting = eventually("three messages wait", || async {
        let list =
            fetch(server.admin(Method::GET, "/v1/admin/jobs?kind=push&status=pending")).await;
        let list = list.ok(200)["data"].as_array().unwrap().len();
        (list == 3).then(|| service.received().len())
    })
    .await;
    let ended = server.request(Method::DELETE, "/v1/buyers/ann/push-subscriptions");
    assert_eq!(fetch(ended).await.status, 204);
    let erased = server.admin(Method::DELETE, "/v1/admin/buyers/bob");
    assert_eq!(fetch(erased).await.status, 204);
    // Requests that had begun before the responses have arrived.
    let begun = service.received().len();
    assert!(begun >= waiting);
    service.respond(|_| Answer::Status(201));
    let jobs = settled(&server, 1).await;
    assert_eq!(
        jobs.len(),
        2,
        "the start, and the message to carl: {jobs:?}"
    );
    let later: BTreeSet<String> = service
        .received()
        .split_off(begun)
        .into_iter()
        .map(|one| one.path)
        .collect();
    assert_eq!(later, BTreeSet::from(["/carl".to_owned()]));
}
