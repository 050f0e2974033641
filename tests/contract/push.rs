//! docs/CONTRACT.md on Web Push: subscriptions, and the messages that push services receive.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;

use harness::{
    Answer, Api, App, Launch, Received, Receiver, Reply, eventually, fetch, text, token,
};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Of RFC 8291, appendix A.
const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

/// A server that may send to this machine.
async fn launch() -> Launch {
    let launch = Launch::fresh().await;
    launch
        .with("HOLDFAST_PUSH_NETWORKS", "127.0.0.0/8")
        .with("HOLDFAST_PUSH_RETRIES", "50ms,50ms,50ms,50ms")
}

fn path(buyer: &str) -> String {
    format!("/v1/buyers/{buyer}/push-subscriptions")
}

fn subscription(endpoint: &str) -> Value {
    json!({
        "endpoint": endpoint, "expirationTime": null, "keys": { "p256dh": P256DH, "auth": AUTH },
    })
}

async fn post(api: &Api, buyer: &str, body: &Value) -> Reply {
    fetch(api.request(Method::POST, &path(buyer)).json(body)).await
}

async fn subscribe(api: &Api, buyer: &str, endpoint: &str) -> Value {
    post(api, buyer, &subscription(endpoint)).await.ok(201)
}

async fn unsubscribe(api: &Api, buyer: &str, body: &Value) {
    let request = api.request(Method::DELETE, &path(buyer)).json(body);
    assert_eq!(fetch(request).await.status, 204);
}

/// The address of a browser at this push service.
fn endpoint(service: &Receiver, browser: &str) -> String {
    format!("http://{}/{browser}", service.address())
}

async fn creator(api: &Api, id: &str) {
    let request = api.admin(Method::PUT, &format!("/v1/creators/{id}"));
    fetch(request.json(&json!({ "name": id }))).await.ok(201);
}

async fn follow(api: &Api, buyer: &str, creator: &str) {
    let path = format!("/v1/buyers/{buyer}/follows/{creator}");
    assert_eq!(fetch(api.request(Method::PUT, &path)).await.status, 204);
}

async fn jobs(api: &Api, query: &str) -> Vec<Value> {
    let path = format!("/v1/admin/jobs?kind=push{query}");
    let page = fetch(api.admin(Method::GET, &path)).await.ok(200);
    page["data"].as_array().unwrap().clone()
}

/// Waits until every job is done or given up, and returns them.
async fn settled(api: &Api) -> Vec<Value> {
    eventually("every job has ended", || async {
        let all = jobs(api, "").await;
        let is_settled = !all.is_empty() && all.iter().all(|job| job["status"] != "pending");
        is_settled.then_some(all)
    })
    .await
}

fn paths(received: &[Received]) -> BTreeSet<&str> {
    received.iter().map(|one| one.path.as_str()).collect()
}

async fn count(app: &App, sql: &str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(app.pool()).await.unwrap()
}

const SUBSCRIPTIONS: &str = "SELECT count(*) FROM push_subscriptions";

#[tokio::test]
async fn browser_is_subscribed_once_until_it_ends() {
    let app = App::start().await;
    let endpoint = "https://push.example/one";
    let first = subscribe(&app, "Ann", endpoint).await;
    let again = post(&app, "ann", &subscription(endpoint)).await.ok(200);
    assert_eq!(first, again);
    assert_eq!(first["expires_at"], Value::Null);
    let mut ending = subscription("https://push.example/two");
    ending["expirationTime"] = json!(4_102_444_800_000_i64);
    let second = post(&app, "ann", &ending).await.ok(201);
    assert_eq!(second["expires_at"], "2100-01-01T00:00:00.000Z");
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 2);

    // A browser may send its whole subscription, or only the endpoint.
    unsubscribe(&app, "ANN", &json!({ "endpoint": endpoint })).await;
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 1);
    for _ in 0..2 {
        unsubscribe(&app, "ann", &ending).await;
        assert_eq!(count(&app, SUBSCRIPTIONS).await, 0);
    }
    assert_eq!(
        count(&app, "SELECT count(*) FROM following_buyers").await,
        0
    );

    for browser in ["one", "two"] {
        subscribe(&app, "ann", &format!("https://push.example/{browser}")).await;
    }
    subscribe(&app, "bob", "https://push.example/three").await;
    let all = fetch(app.request(Method::DELETE, &path("ann"))).await;
    assert_eq!(all.status, 204);
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 1, "that of another buyer");
    let log = app.audit("/v1/log").await.text();
    assert!(
        !log.contains("push.example") && !log.contains("ann"),
        "{log}"
    );
}

#[tokio::test]
async fn subscription_that_cannot_be_used_is_rejected() {
    let app = App::start().await;
    let with = |pointer: &str, value: Value| {
        let mut body = subscription("https://push.example/one");
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let long = format!("https://push.example/{}", "x".repeat(2_048));
    for endpoint in [
        "http://push.example/one",
        "https://127.0.0.1/one",
        "https://10.0.0.1/one",
        "https://169.254.169.254/one",
        "https://[::1]/one",
        "https://[fe80::1]/one",
        "https://[::ffff:10.0.0.1]/one",
        "ftp://push.example/one",
        "https://push.example/one#two",
        "push.example",
        "",
        &long,
    ] {
        let refused = post(&app, "ann", &with("/endpoint", json!(endpoint))).await;
        let problem = refused.problem(422, "invalid_value");
        assert_eq!(problem["errors"][0]["pointer"], "/endpoint", "{endpoint}");
    }
    // The last byte differs: not a point of the curve.
    let other = P256DH.replace("iw4", "iw8");
    for (pointer, value) in [
        ("/keys/p256dh", json!(other)),
        ("/keys/p256dh", json!(AUTH)),
        ("/keys/p256dh", json!("")),
        ("/keys/p256dh", json!(format!("{P256DH}!"))),
        ("/keys/auth", json!(P256DH)),
        ("/keys/auth", json!("BTBZMqHH6r4Tts7J_aSI")),
        ("/keys/auth", json!("")),
        ("/expirationTime", json!(1)),
        ("/expirationTime", json!(-1)),
        ("/expirationTime", json!(1e300)),
    ] {
        let refused = post(&app, "ann", &with(pointer, value.clone())).await;
        let problem = refused.problem(422, "invalid_value");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{value}");
    }
    let mut more = subscription("https://push.example/one");
    more["buyer_id"] = json!("ann");
    post(&app, "ann", &more).await.problem(422, "invalid_value");
    post(
        &app,
        "ann",
        &json!({ "endpoint": "https://push.example/one" }),
    )
    .await
    .problem(422, "invalid_value");
    post(&app, "a%00n", &subscription("https://push.example/one"))
        .await
        .problem(422, "invalid_value");
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 0);
    assert_eq!(
        count(&app, "SELECT count(*) FROM following_buyers").await,
        0
    );
}

#[tokio::test]
async fn buyer_has_twenty_browsers() {
    let app = App::start().await;
    let endpoint = |number: u32| format!("https://push.example/{number}");
    for number in 1..=20 {
        subscribe(&app, "ann", &endpoint(number)).await;
    }
    let full = post(&app, "ann", &subscription(&endpoint(21))).await;
    assert_eq!(full.problem(409, "push_limit_reached")["limit"], 20);
    // One that is known may change its keys.
    post(&app, "ann", &subscription(&endpoint(20)))
        .await
        .ok(200);
    unsubscribe(&app, "ann", &json!({ "endpoint": endpoint(1) })).await;
    subscribe(&app, "ann", &endpoint(21)).await;
    subscribe(&app, "bob", &endpoint(22)).await;
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 21);
}

#[tokio::test]
async fn buyer_with_a_token_subscribes_only_for_themselves() {
    let launch = Launch::fresh().await;
    let app = launch.with("HOLDFAST_BUYER_SECRET", SECRET).start().await;
    let body = subscription("https://push.example/one");
    post(&app, "ann", &body).await.problem(401, "unauthorized");
    let with_token = |method: Method, buyer: &str, of: &str| {
        let request = app.request(method, &path(buyer));
        request.bearer_auth(token(SECRET, of, 60)).json(&body)
    };
    for method in [Method::POST, Method::DELETE] {
        fetch(with_token(method, "ann", "bob"))
            .await
            .problem(403, "forbidden");
    }
    fetch(with_token(Method::POST, "maß", "maß")).await.ok(201);
    // Case folding makes these equal, but they are two accounts of the shop.
    fetch(with_token(Method::POST, "mass", "mass"))
        .await
        .problem(403, "forbidden");
    assert_eq!(
        fetch(with_token(Method::DELETE, "mass", "mass"))
            .await
            .status,
        204
    );
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 1);
    assert_eq!(
        fetch(with_token(Method::DELETE, "MAß", "maß")).await.status,
        204
    );
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 0);
    fetch(app.admin(Method::POST, &path("ann")).json(&body))
        .await
        .ok(201);
}

#[tokio::test]
async fn key_is_that_of_the_database_or_of_the_settings() {
    let launch = Launch::fresh().await;
    let key = async |app: &App| {
        let reply = app.get("/v1/push/application-server-key").await;
        assert_eq!(reply.header("cache-control"), "no-cache");
        text(&reply.ok(200)["application_server_key"])
    };
    let first = launch.clone().start().await;
    let second = launch.clone().start().await;
    let kept = key(&first).await;
    assert_eq!(kept.len(), 87);
    assert_eq!(key(&second).await, kept, "one key for all servers");
    let private = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    let given = launch
        .clone()
        .with("HOLDFAST_VAPID_PRIVATE_KEY", private)
        .with("HOLDFAST_VAPID_PUBLIC_KEY", P256DH);
    assert_eq!(key(&given.clone().start().await).await, P256DH);
    assert_eq!(count(&first, "SELECT count(*) FROM push_key").await, 1);

    for (name, value, expected) in [
        (
            "HOLDFAST_VAPID_PUBLIC_KEY",
            "",
            "HOLDFAST_VAPID_PUBLIC_KEY is required",
        ),
        (
            "HOLDFAST_VAPID_PUBLIC_KEY",
            AUTH,
            "HOLDFAST_VAPID_PRIVATE_KEY",
        ),
        ("HOLDFAST_VAPID_SUBJECT", "shop@example.com", "mailto:"),
    ] {
        let refused = given.clone().with(name, value);
        let refused = refused.run(&["serve", "--listen", "127.0.0.1:0"]).await;
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert!(refused.stderr.contains(expected), "{refused:?}");
        assert!(!refused.stderr.contains(private), "{refused:?}");
    }
}

#[tokio::test]
async fn followers_and_reminded_buyers_are_sent_the_start_of_a_drop() {
    let (app, service) = (launch().await.start().await, Receiver::start().await);
    creator(&app, "nord").await;
    for buyer in ["ann", "bob", "carl"] {
        subscribe(&app, buyer, &endpoint(&service, buyer)).await;
    }
    subscribe(&app, "ann", &endpoint(&service, "ann-2")).await;
    follow(&app, "ann", "nord").await;
    let future = json!({ "creator_id": "nord", "starts_at": "2100-01-01T00:00:00.000Z" });
    let drop = app.create_drop(1, future).await;
    let remind = format!("/v1/buyers/bob/reminders/{drop}");
    assert_eq!(fetch(app.request(Method::PUT, &remind)).await.status, 204);
    let read = app.get(&format!("/v1/drops/{drop}")).await;
    let started = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .header("if-match", read.header("etag"))
        .json(&json!({ "starts_at": read.json()["server_time"] }));
    fetch(started).await.ok(200);

    let received = service.wait_for(3).await;
    settled(&app).await;
    assert_eq!(service.received().len(), 3, "not to carl");
    assert_eq!(paths(&received), BTreeSet::from(["/ann", "/ann-2", "/bob"]));
    let topics: BTreeSet<&str> = received.iter().map(|one| one.header("topic")).collect();
    assert_eq!(topics.len(), 3, "not the same in different browsers");
    for one in &received {
        assert_eq!(one.header("content-encoding"), "aes128gcm");
        assert_eq!(one.header("urgency"), "high");
        let ttl: u64 = one.header("ttl").parse().unwrap();
        assert!((1..=1_800).contains(&ttl), "{ttl}");
        assert_eq!(one.header("topic").len(), 32);
        assert!(one.header("authorization").starts_with("vapid t="));
        assert!(one.body.len() <= 4_096);
    }

    // Sold out: another message on the same topic.
    app.held(&drop, "dora").await;
    let received = service.wait_for(6).await;
    let topic = |one: &&Received| (one.path.clone(), one.header("topic").to_owned());
    let before: BTreeSet<_> = received[..3].iter().map(|one| topic(&one)).collect();
    let after: BTreeSet<_> = received[3..].iter().map(|one| topic(&one)).collect();
    assert_eq!(before, after);
    assert!(
        received[3..]
            .iter()
            .all(|one| one.header("urgency") == "low")
    );
}

#[tokio::test]
async fn subscription_is_sent_only_later_events() {
    let (app, service) = (launch().await.start().await, Receiver::start().await);
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    subscribe(&app, "bob", &endpoint(&service, "bob")).await;
    follow(&app, "bob", "nord").await;
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    service.wait_for(1).await;
    subscribe(&app, "ann", &endpoint(&service, "ann")).await;
    unsubscribe(&app, "bob", &json!({})).await;
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    let received = service.wait_for(2).await;
    settled(&app).await;
    let paths: Vec<&str> = received.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/bob", "/ann"]);
    assert_eq!(service.received().len(), 2);
}

#[tokio::test]
async fn offer_and_order_are_sent_to_their_buyer_alone() {
    let (app, service) = (launch().await.start().await, Receiver::start().await);
    for buyer in ["ann", "bob"] {
        subscribe(&app, buyer, &endpoint(&service, buyer)).await;
    }
    let drop = app.create_drop(1, json!({ "hold_seconds": 600 })).await;
    let hold = app.held(&drop, "carl").await;
    app.joined(&drop, "ann", 1).await;
    let released = app.request(Method::DELETE, &format!("/v1/holds/{hold}"));
    assert_eq!(fetch(released).await.status, 204);
    let offered = service.wait_for(1).await;
    assert_eq!(offered[0].path, "/ann");
    assert_eq!(offered[0].header("urgency"), "high");
    let ttl: u64 = offered[0].header("ttl").parse().unwrap();
    assert!(ttl <= 600, "until the offer ends: {ttl}");

    let other = app.create_drop(1, json!({})).await;
    let items = json!([{ "drop_id": other, "quantity": 1 }]);
    let order = app.request(Method::POST, "/v1/orders");
    let order = order
        .header("idempotency-key", "order")
        .json(&json!({ "buyer_id": "bob", "items": items }));
    let order = text(&fetch(order).await.ok(201)["id"]);
    let paid = app.admin(Method::POST, &format!("/v1/orders/{order}/purchase"));
    fetch(paid).await.ok(200);
    let received = service.wait_for(2).await;
    assert_eq!(received[1].path, "/bob");
    let all = settled(&app).await;
    let subjects: BTreeSet<String> = all.iter().map(|job| text(&job["subject"])).collect();
    for subject in [format!("/v1/drops/{drop}"), format!("/v1/orders/{order}")] {
        assert!(subjects.contains(&subject), "{subjects:?}");
    }
    assert!(all.iter().all(|job| job["status"] == "done"), "{all:?}");
    assert_eq!(service.received().len(), 2);
}

#[tokio::test]
async fn browser_belongs_to_the_buyer_who_subscribed_last() {
    let (app, service) = (launch().await.start().await, Receiver::start().await);
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    let shared = endpoint(&service, "shared");
    let first = subscribe(&app, "ann", &shared).await;
    let second = subscribe(&app, "bob", &shared).await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 1);
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    settled(&app).await;
    follow(&app, "bob", "nord").await;
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    service.wait_for(1).await;
    settled(&app).await;
    assert_eq!(service.received().len(), 1, "only to bob, since the follow");
}

#[tokio::test]
async fn subscription_that_the_push_service_has_forgotten_is_deleted() {
    for status in [404, 410] {
        let (app, service) = (launch().await.start().await, Receiver::start().await);
        service.respond(move |one| match one.path.as_str() {
            "/gone" => Answer::Status(status),
            _ => Answer::Status(201),
        });
        creator(&app, "nord").await;
        follow(&app, "ann", "nord").await;
        for browser in ["gone", "there"] {
            subscribe(&app, "ann", &endpoint(&service, browser)).await;
        }
        app.create_drop(1, json!({ "creator_id": "nord" })).await;
        let all = settled(&app).await;
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["status"], "done");
        assert_eq!(count(&app, SUBSCRIPTIONS).await, 1);
        app.create_drop(1, json!({ "creator_id": "nord" })).await;
        let received = service.wait_for(3).await;
        assert_eq!(received[2].path, "/there");
        let metrics = app.get("/metrics").await.text();
        let line = "holdfast_push_attempts_total{outcome=\"forgotten\"} 1";
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn message_that_fails_is_a_job_of_its_own_until_it_is_delivered() {
    let (app, service) = (launch().await.start().await, Receiver::start().await);
    let mut failures = 0;
    service.respond(move |one| {
        failures += u32::from(one.path == "/busy");
        match (one.path.as_str(), failures) {
            ("/busy", ..=3) => Answer::With(503, "retry-after", "0".to_owned()),
            _ => Answer::Status(201),
        }
    });
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    for browser in ["busy", "there"] {
        subscribe(&app, "ann", &endpoint(&service, browser)).await;
    }
    let drop = app.create_drop(1, json!({ "creator_id": "nord" })).await;
    let received = service.wait_for(5).await;
    let busy = received.iter().filter(|one| one.path == "/busy");
    assert_eq!(busy.count(), 4);
    let all = settled(&app).await;
    assert_eq!(all.len(), 2, "{all:?}");
    let own = all.iter().find(|job| job["attempts"] == 4).unwrap();
    assert_eq!(own["status"], "done");
    assert_eq!(own["subject"], format!("/v1/drops/{drop}"));
    assert!(text(&own["last_error"]).contains("503 Service Unavailable"));
    let path = format!("/v1/admin/jobs/{}", text(&own["id"]));
    for change in ["retry", "cancel"] {
        fetch(app.admin(Method::POST, &format!("{path}/{change}")))
            .await
            .problem(409, "job_done");
    }
}

#[tokio::test]
async fn refused_message_is_given_up_with_a_reason_and_can_be_retried() {
    let (app, service) = (launch().await.start().await, Receiver::start().await);
    service.respond(|one| match one.path.as_str() {
        "/400" => Answer::Status(400),
        "/403" => Answer::Status(403),
        "/413" => Answer::Status(413),
        _ => Answer::Status(500),
    });
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    for browser in ["400", "403", "413", "500"] {
        subscribe(&app, "ann", &endpoint(&service, browser)).await;
    }
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    service.wait_for(8).await;
    let all = settled(&app).await;
    let failed = jobs(&app, "&status=failed").await;
    assert_eq!((all.len(), failed.len()), (5, 4), "{all:?}");
    let error = |part: &str| {
        let found = failed
            .iter()
            .find(|job| text(&job["last_error"]).contains(part));
        found
            .unwrap_or_else(|| panic!("{part}: {failed:?}"))
            .clone()
    };
    assert_eq!(error("400 Bad Request")["attempts"], 1);
    assert!(text(&error("403 Forbidden")["last_error"]).contains("HOLDFAST_VAPID_SUBJECT"));
    assert!(text(&error("413")["last_error"]).contains("too long"));
    assert_eq!(error("500")["attempts"], 5, "the schedule has four pauses");
    assert!(failed.iter().all(|job| job["meaning"].is_string()));
    let attention = fetch(app.admin(Method::GET, "/v1/admin/needs-attention")).await;
    assert_eq!(attention.ok(200)["data"], json!([]));

    let id = text(&error("413")["id"]);
    let change = async |name: &str| {
        let path = format!("/v1/admin/jobs/{id}/{name}");
        fetch(app.admin(Method::POST, &path)).await.ok(200)
    };
    assert_eq!(change("cancel").await["cancelled"], true);
    service.respond(|_| Answer::Status(201));
    let retried = change("retry").await;
    assert_eq!(
        (&retried["status"], &retried["attempts"]),
        (&json!("pending"), &json!(0))
    );
    service.wait_for(9).await;
    settled(&app).await;
    assert_eq!(jobs(&app, "&status=failed").await.len(), 3);
    let next = format!("&limit=1&starting_after={id}");
    assert!(jobs(&app, &next).await.len() <= 1);
}

#[tokio::test]
async fn endpoint_is_sent_to_only_at_an_address_that_is_permitted() {
    // A name that resolves to this machine; only another one is permitted.
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_PUSH_NETWORKS", "10.9.0.0/16")
        .with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8")
        .with("HOLDFAST_PUSH_RETRIES", "50ms")
        .start()
        .await;
    let service = Receiver::start().await;
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    let literal = post(&app, "ann", &subscription(&endpoint(&service, "a"))).await;
    literal.problem(422, "invalid_value");
    let (_, port) = service.address().rsplit_once(':').unwrap();
    subscribe(&app, "ann", &format!("http://localhost:{port}/a")).await;
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    settled(&app).await;
    let failed = jobs(&app, "&status=failed").await;
    let error = text(&failed[0]["last_error"]);
    assert!(error.contains("HOLDFAST_PUSH_NETWORKS"), "{error}");
    assert!(service.received().is_empty());
}

#[tokio::test]
async fn erased_buyer_has_no_subscription_and_no_message() {
    let (app, service) = (launch().await.start().await, Receiver::start().await);
    service.respond(|_| Answer::With(503, "retry-after", "60".to_owned()));
    creator(&app, "nord").await;
    follow(&app, "ann", "nord").await;
    subscribe(&app, "ann", &endpoint(&service, "the-browser-of-ann")).await;
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    eventually("the message waits", || async {
        let waiting = jobs(&app, "&status=pending").await;
        (waiting.len() == 1 && waiting[0]["last_error"].is_string()).then_some(())
    })
    .await;
    let erased = app.admin(Method::DELETE, "/v1/admin/buyers/ANN");
    assert_eq!(fetch(erased).await.status, 204);
    assert_eq!(count(&app, SUBSCRIPTIONS).await, 0);
    assert!(jobs(&app, "&status=pending").await.is_empty());
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    subscribe(&app, "bob", &endpoint(&service, "bob")).await;
    follow(&app, "bob", "nord").await;
    service.respond(|_| Answer::Status(201));
    app.create_drop(1, json!({ "creator_id": "nord" })).await;
    let received = service.wait_for(2).await;
    assert_eq!(received[1].path, "/bob");
    for dump in [app.audit("/v1/log").await.text(), app.stderr()] {
        for personal in ["the-browser-of-ann", AUTH, P256DH] {
            assert!(!dump.contains(personal), "{dump}");
        }
    }
    app.audit_verify().await;
}
