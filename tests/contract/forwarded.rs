//! What a trusted proxy states about a request counts, and what anybody else states does not: the
//! client's address, the host and the scheme.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{ADMIN_KEY, Api, App, Launch, Reply, fetch, key};
use reqwest::Method;
use serde_json::json;

async fn proxied(more: &[(&str, &str)]) -> App {
    let launch = Launch::fresh().await;
    let launch = more
        .iter()
        .fold(launch, |launch, (name, value)| launch.with(name, value));
    launch.start().await
}

/// Signs in as a page of `https://shop.example` does, through a proxy that asks for another host.
async fn sign_in(app: &Api, more: &[(&str, &str)]) -> Reply {
    let request = app
        .request(Method::POST, "/v1/admin/session")
        .header("origin", "https://shop.example")
        .header("host", "holdfast")
        .json(&json!({ "key": ADMIN_KEY }));
    let add = |request: reqwest::RequestBuilder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    fetch(more.iter().fold(request, add)).await
}

async fn sitemap(app: &Api, more: (&'static str, &'static str)) -> String {
    let request = app.request(Method::GET, "/sitemap.xml");
    let response = request.header(more.0, more.1).send().await.unwrap();
    response.text().await.unwrap()
}

#[tokio::test]
async fn host_and_scheme_of_a_trusted_proxy_count() {
    let app = proxied(&[("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let refused = sign_in(&app, &[]).await;
    let problem = refused.problem(403, "forbidden");
    let detail = problem["detail"].as_str().unwrap();
    for words in [
        "The page is of https://shop.example, but this server was asked for holdfast.",
        "proxy_set_header Host",
        "HOLDFAST_PUBLIC_URL=https://shop.example",
    ] {
        assert!(detail.contains(words), "{detail}");
    }
    for stated in [
        ("x-forwarded-host", "shop.example"),
        ("forwarded", "for=192.0.2.1;host=shop.example;proto=https"),
    ] {
        let signed_in = sign_in(&app, &[stated]).await;
        assert_eq!(signed_in.status, 201, "{stated:?}: {}", signed_in.text());
        assert!(signed_in.header("set-cookie").ends_with("; Secure"));
    }
    let other = sign_in(&app, &[("x-forwarded-host", "other.example")]).await;
    other.problem(403, "forbidden");
    let known = [("sec-fetch-site", "cross-site")];
    let attack = sign_in(&app, &known).await.problem(403, "forbidden");
    assert!(!attack["detail"].as_str().unwrap().contains("HOLDFAST_"));
    let links = sitemap(&app, ("x-forwarded-proto", "https")).await;
    assert!(links.contains("<loc>https://127.0.0.1:"), "{links}");
    let links = sitemap(&app, ("x-forwarded-host", "evil.example")).await;
    assert!(!links.contains("evil.example"), "{links}");
}

#[tokio::test]
async fn public_url_is_the_shops_own_origin_and_nobody_else_states_one() {
    let app = proxied(&[("HOLDFAST_PUBLIC_URL", "https://shop.example")]).await;
    assert_eq!(sign_in(&app, &[]).await.status, 201);
    let without = App::start().await;
    for stated in [
        ("x-forwarded-host", "shop.example"),
        ("forwarded", "host=shop.example"),
    ] {
        let refused = sign_in(&without, &[stated]).await;
        refused.problem(403, "forbidden");
    }
    let links = sitemap(&without, ("x-forwarded-proto", "https")).await;
    assert!(links.contains("<loc>http://127.0.0.1:"), "{links}");
}

#[tokio::test]
async fn clients_of_a_proxy_that_writes_forwarded_are_limited_one_by_one() {
    let app = proxied(&[
        ("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1"),
        ("HOLDFAST_ADDRESS_LIMIT", "1/600"),
    ])
    .await;
    let drop = app.create_drop(9, json!({})).await;
    let hold = async |buyer: &str, headers: &[(&str, &str)]| {
        let path = format!("/v1/drops/{drop}/holds");
        let request = app.request(Method::POST, &path);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let body = json!({ "buyer_id": buyer });
        let request = request.header("idempotency-key", key()).json(&body);
        fetch(request).await
    };
    let ann = ("forwarded", "for=198.51.100.1;proto=https");
    assert_eq!(hold("ann", &[ann]).await.status, 201);
    hold("ann-2", &[ann]).await.problem(429, "throttled");
    let bob = ("forwarded", "for=\"[2001:db8::1]:4711\"");
    assert_eq!(hold("bob", &[bob]).await.status, 201);
    // Two headers that name different clients: the proxy writes one, and the client the other.
    let forged = ("x-forwarded-for", "203.0.113.8");
    assert_eq!(hold("eve", &[ann, forged]).await.status, 201);
    let other = ("x-forwarded-for", "203.0.113.9");
    hold("eve-2", &[bob, other]).await.problem(429, "throttled");
}
