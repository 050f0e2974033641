//! The rate limit per address: configurable windows, and no header that changes a client's address.

use harness::{
    AUDITOR_KEY, App, Launch, Reply, concurrently, eventually, fetch, key, number, tally, token,
};
use reqwest::Method;
use serde_json::json;

async fn limited(settings: &[(&str, &str)]) -> (App, String) {
    let mut launch = Launch::fresh().await;
    for (name, value) in settings {
        launch = launch.with(name, value);
    }
    let app = launch.start().await;
    let drop = app.create_drop(1000, json!({ "hold_seconds": 3600 })).await;
    (app, drop)
}

/// Requests a hold for a new buyer, forwarded for these addresses.
async fn forwarded(app: &App, drop: &str, forwarded_for: &[&str]) -> Reply {
    let mut request = app
        .request(Method::POST, &format!("/v1/drops/{drop}/holds"))
        .header("idempotency-key", key());
    for line in forwarded_for {
        request = request.header("x-forwarded-for", *line);
    }
    fetch(request.json(&json!({ "buyer_id": key() }))).await
}

#[tokio::test]
async fn this_machine_is_not_throttled_by_default() {
    let (app, drop) = limited(&[("HOLDFAST_ADDRESS_LIMIT", "5/3600")]).await;
    let replies = concurrently((0..200).map(|n| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.hold(&drop, &format!("buyer-{n}")).await }
    }))
    .await;
    assert!(
        replies.iter().all(|reply| reply.status == 201),
        "{:?}",
        tally(&replies)
    );
}

#[tokio::test]
async fn one_address_has_a_limit_for_stock_requests_only() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_LIMIT", "5/3600"),
        ("HOLDFAST_UNLIMITED_NETWORKS", "none"),
    ])
    .await;
    let replies = concurrently((0..30).map(|n| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.hold(&drop, &format!("buyer-{n}")).await }
    }))
    .await;
    let held: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(held.len(), 5, "{:?}", tally(&replies));
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        let problem = refused.problem(429, "throttled");
        let wait = number(&problem["retry_after"]);
        assert!((3_500..=3_600).contains(&wait), "{problem}");
        assert_eq!(refused.header("retry-after"), wait.to_string());
        assert_eq!(
            refused.header("ratelimit-policy"),
            r#""address";q=5;w=3600"#
        );
        assert_eq!(
            refused.header("ratelimit"),
            format!(r#""address";r=0;t={wait}"#)
        );
    }
    app.join(&drop, "a", 1).await.problem(429, "throttled");
    // Purchases, releases and reads are never throttled.
    for reply in &held {
        app.purchase(&harness::text(&reply.json()["id"]))
            .await
            .ok(201);
    }
    for _ in 0..20 {
        app.drop(&drop).await;
    }
    assert_eq!(app.ledger().await.count(&drop, "HoldPlaced"), 5);
}

#[tokio::test]
async fn rejected_request_does_not_delay_the_next_one() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_LIMIT", "2/2"),
        ("HOLDFAST_UNLIMITED_NETWORKS", "none"),
    ])
    .await;
    let placed = || async { app.ledger().await.count(&drop, "HoldPlaced") };
    eventually("three windows pass under constant requests", || async {
        for _ in 0..10 {
            app.hold(&drop, &key()).await;
        }
        (placed().await >= 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn forged_header_has_no_effect_without_a_trusted_proxy() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_LIMIT", "3/3600"),
        ("HOLDFAST_UNLIMITED_NETWORKS", "none"),
    ])
    .await;
    for n in 1..=3 {
        let forged = format!("198.51.100.{n}");
        forwarded(&app, &drop, &[&forged]).await.ok(201);
    }
    for forged in ["198.51.100.9", "127.0.0.1", "::1", "", "garbage"] {
        let refused = forwarded(&app, &drop, &[forged]).await;
        refused.problem(429, "throttled");
    }
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_have_windows_they_cannot_forge() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_LIMIT", "2/3600"),
        ("HOLDFAST_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8"),
    ])
    .await;
    let request = |lines: &'static [&'static str]| forwarded(&app, &drop, lines);
    request(&["203.0.113.1"]).await.ok(201);
    request(&["1.1.1.1, 203.0.113.1"]).await.ok(201);
    request(&["203.0.113.1"]).await.problem(429, "throttled");
    request(&["9.9.9.9", "203.0.113.1, 10.1.2.3"])
        .await
        .problem(429, "throttled");
    request(&["203.0.113.1, 203.0.113.2"]).await.ok(201);

    // IPv6 addresses are grouped by /64.
    request(&["2001:db8:0:1::1"]).await.ok(201);
    request(&["2001:db8:0:1:ffff::2"]).await.ok(201);
    request(&["2001:db8:0:1::3"])
        .await
        .problem(429, "throttled");
    request(&["2001:db8:0:2::3"]).await.ok(201);
}

/// The secret with which the shop signs tokens.
const SECRET: &str = "a secret of the shop, 32 bytes long";

/// Sends a request from one outside address with this key or token.
async fn presented(app: &App, method: Method, path: &str, bearer: &str) -> Reply {
    let request = app.request(method, path).bearer_auth(bearer);
    fetch(request.header("x-forwarded-for", "203.0.113.1")).await
}

#[tokio::test]
async fn auditor_key_is_not_a_guess_where_no_key_is_needed() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_ATTEMPTS", "1/3600"),
        ("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let path = format!("/v1/holds/{}", app.held(&drop, "alice").await);
    for path in [&path, &path, "/v1/log/head"] {
        let read = presented(&app, Method::GET, path, AUDITOR_KEY).await;
        read.ok(200);
    }
}

#[tokio::test]
async fn admin_key_with_two_dots_has_the_same_guess_limit() {
    let launch = Launch::fresh().await;
    let settings = [
        ("HOLDFAST_BUYER_SECRET", SECRET),
        ("HOLDFAST_ADDRESS_ATTEMPTS", "2/3600"),
        ("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let with = |launch: Launch, (name, value): (&str, &str)| launch.with(name, value);
    let launch = settings.into_iter().fold(launch, with);
    let key = "the.shop.admins-key";
    let app = launch.start_as(&["serve", "--admin-key", key]).await;
    let request = |bearer| presented(&app, Method::GET, "/v1/log/head", bearer);
    request(key).await.ok(200);
    for guess in ["a.b.c", "d.e.f"] {
        request(guess).await.problem(401, "unauthorized");
    }
    let right = request(key).await;
    right.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn buyers_retry_of_a_back_end_request_is_answered_beyond_the_limits() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_HOLDS", "1"),
        ("HOLDFAST_ADDRESS_LIMIT", "1/3600"),
        ("HOLDFAST_BUYER_SECRET", SECRET),
        ("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let path = format!("/v1/drops/{drop}/holds");
    let body = json!({ "buyer_id": "alice" });
    let began = app.admin(Method::POST, &path);
    let began = began.header("idempotency-key", "order-1").json(&body);
    let hold = fetch(began).await.ok(201);
    let request = |key: &'static str| {
        let request = app.request(Method::POST, &path).json(&body);
        let request = request.bearer_auth(token(SECRET, "alice", 600));
        let request = request.header("x-forwarded-for", "203.0.113.1");
        fetch(request.header("idempotency-key", key))
    };
    request("her-own").await.ok(201);
    request("another")
        .await
        .problem(429, "address_limit_reached");
    let retried = request("order-1").await;
    assert_eq!(retried.ok(201)["id"], hold["id"]);
    assert!(retried.is_replay());
}

#[tokio::test]
async fn invalid_settings_are_rejected_at_the_start() {
    let launch = Launch::fresh().await;
    for (name, value) in [
        ("HOLDFAST_ADDRESS_LIMIT", "many"),
        ("HOLDFAST_ADDRESS_LIMIT", "0/60"),
        ("HOLDFAST_ADDRESS_HOLDS", "0"),
        ("HOLDFAST_ADDRESS_WAITLIST", "some"),
        ("HOLDFAST_ADDRESS_EXPIRED", "100"),
        ("HOLDFAST_ADDRESS_ATTEMPTS", "1/0"),
        ("HOLDFAST_UNLIMITED_NETWORKS", "office"),
        ("HOLDFAST_TRUSTED_PROXIES", "10.0.0.0/99"),
    ] {
        let ended = launch.clone().with(name, value).run(&["serve"]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(value), "{}", ended.stderr);
    }
}
