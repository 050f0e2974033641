//! The throttle at the edge: one address, any window, and no header that changes who one is.

use harness::{
    AUDITOR_KEY, App, Launch, Reply, at_once, eventually, key, number, take, tally, token,
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

/// Asks for a hold of somebody new, as somebody who was forwarded so.
async fn forwarded(app: &App, drop: &str, forwarded_for: &[&str]) -> Reply {
    let mut request = app
        .request(Method::POST, &format!("/v1/drops/{drop}/holds"))
        .header("idempotency-key", key());
    for line in forwarded_for {
        request = request.header("x-forwarded-for", *line);
    }
    take(request.json(&json!({ "buyer_id": key() }))).await
}

#[tokio::test]
async fn this_machine_is_not_throttled_unless_that_is_configured() {
    let (app, drop) = limited(&[("HOLDFAST_ADDRESS_LIMIT", "5/3600")]).await;
    let replies = at_once((0..200).map(|n| {
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
async fn one_address_gets_so_many_requests_for_stock_and_everything_else() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_LIMIT", "5/3600"),
        ("HOLDFAST_UNLIMITED_NETWORKS", "none"),
    ])
    .await;
    let replies = at_once((0..30).map(|n| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.hold(&drop, &format!("buyer-{n}")).await }
    }))
    .await;
    let held: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(held.len(), 5, "{:?}", tally(&replies));
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        let told = refused.problem(429, "throttled");
        let wait = number(&told["retry_after"]);
        assert!((3_500..=3_600).contains(&wait), "{told}");
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
    // Paying, giving up and looking are never throttled.
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
async fn a_refused_request_does_not_push_the_next_one_further_away() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_LIMIT", "2/2"),
        ("HOLDFAST_UNLIMITED_NETWORKS", "none"),
    ])
    .await;
    let placed = || async { app.ledger().await.count(&drop, "HoldPlaced") };
    eventually(
        "three windows pass though somebody asks all the time",
        || async {
            for _ in 0..10 {
                app.hold(&drop, &key()).await;
            }
            (placed().await >= 6).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_forged_header_changes_nothing_when_no_proxy_is_trusted() {
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
async fn behind_a_trusted_proxy_each_client_has_a_window_and_what_they_forge_changes_nothing() {
    let (app, drop) = limited(&[
        ("HOLDFAST_ADDRESS_LIMIT", "2/3600"),
        ("HOLDFAST_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8"),
    ])
    .await;
    let ask = |lines: &'static [&'static str]| forwarded(&app, &drop, lines);
    ask(&["203.0.113.1"]).await.ok(201);
    ask(&["1.1.1.1, 203.0.113.1"]).await.ok(201);
    ask(&["203.0.113.1"]).await.problem(429, "throttled");
    ask(&["9.9.9.9", "203.0.113.1, 10.1.2.3"])
        .await
        .problem(429, "throttled");
    ask(&["203.0.113.1, 203.0.113.2"]).await.ok(201);

    // IPv6: by /64.
    ask(&["2001:db8:0:1::1"]).await.ok(201);
    ask(&["2001:db8:0:1:ffff::2"]).await.ok(201);
    ask(&["2001:db8:0:1::3"]).await.problem(429, "throttled");
    ask(&["2001:db8:0:2::3"]).await.ok(201);
}

/// What the shop signs tokens with.
const SECRET: &str = "a secret of the shop, 32 bytes long";

/// Asks from one outside address, with this key or token.
async fn presented(app: &App, method: Method, path: &str, bearer: &str) -> Reply {
    let request = app.request(method, path).bearer_auth(bearer);
    take(request.header("x-forwarded-for", "203.0.113.1")).await
}

#[tokio::test]
async fn the_auditor_key_is_no_guess_where_no_key_is_needed() {
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
async fn an_admin_key_with_two_dots_is_guessed_no_oftener_than_another() {
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
    let ask = |bearer| presented(&app, Method::GET, "/v1/log/head", bearer);
    ask(key).await.ok(200);
    for guess in ["a.b.c", "d.e.f"] {
        ask(guess).await.problem(401, "unauthorized");
    }
    let right = ask(key).await;
    right.problem(429, "too_many_attempts");
}

#[tokio::test]
async fn a_buyers_retry_of_what_the_back_end_began_is_answered_whatever_the_bounds() {
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
    let hold = take(began).await.ok(201);
    let ask = |key: &'static str| {
        let request = app.request(Method::POST, &path).json(&body);
        let request = request.bearer_auth(token(SECRET, "alice", 600));
        let request = request.header("x-forwarded-for", "203.0.113.1");
        take(request.header("idempotency-key", key))
    };
    ask("her-own").await.ok(201);
    ask("another").await.problem(429, "address_limit_reached");
    let retried = ask("order-1").await;
    assert_eq!(retried.ok(201)["id"], hold["id"]);
    assert!(retried.is_replay());
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_the_start() {
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
