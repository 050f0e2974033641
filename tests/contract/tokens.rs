//! Buyer tokens over HTTP: which are accepted, why others are rejected, and the scope of
//! idempotency keys.

use harness::{App, Launch, Reply, fetch, key, seconds_now, signed, text, token};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "the shop's secret for its buyers";

async fn start(more: &[(&str, &str)]) -> App {
    let launch = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", SECRET);
    let launch = more
        .iter()
        .fold(launch, |launch, (name, value)| launch.with(name, value));
    launch.start().await
}

/// A token with these claims in addition to `sub` and `exp`, which they may override.
fn with(claims: Value) -> String {
    let header = json!({ "alg": "HS256" });
    let mut all = json!({ "sub": "mike", "exp": seconds_now() + 600 });
    for (name, value) in claims.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    signed(SECRET, &header, &all)
}

fn headed(header: Value) -> String {
    let claims = json!({ "sub": "mike", "exp": seconds_now() + 600 });
    signed(SECRET, &header, &claims)
}

async fn hold(app: &App, drop: &str, bearer: Option<&str>, key: &str, buyer: &str) -> Reply {
    let path = format!("/v1/drops/{drop}/holds");
    let mut request = app.request(Method::POST, &path);
    request = request.header("idempotency-key", key);
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    fetch(request.json(&json!({ "buyer_id": buyer }))).await
}

#[tokio::test]
async fn valid_token_is_accepted_and_an_invalid_one_rejected_with_its_reason() {
    let app = start(&[]).await;
    let drop = app.create_drop(100, json!({})).await;
    let now = seconds_now();
    for good in [
        with(json!({})),
        with(json!({ "sub": "MIKE" })),
        with(json!({ "nbf": now + 5, "iat": now + 5 })),
        with(json!({ "exp": 0.5 + f64::from(u32::try_from(now).unwrap()) + 60.0 })),
        with(json!({ "role": { "any": ["thing"] }, "email": "mike@example.com" })),
        headed(json!({ "alg": "HS256", "typ": "JWT", "kid": "2026", "version": 2, "flag": true })),
    ] {
        hold(&app, &drop, Some(&good), &key(), "mike").await.ok(201);
    }
    let numeric = with(json!({ "sub": 42 }));
    hold(&app, &drop, Some(&numeric), &key(), "42")
        .await
        .ok(201);

    for (bad, reason) in [
        (with(json!({ "exp": now - 60 })), "expired: exp is 20"),
        (with(json!({ "exp": null })), "unusable exp claim"),
        (with(json!({ "exp": "soon" })), "unusable exp claim"),
        (
            with(json!({ "exp": now + 1_000_000 })),
            "the maximum lifetime is 86400 s",
        ),
        (
            with(json!({ "nbf": now + 600 })),
            "is not valid yet: nbf is 20",
        ),
        (
            with(json!({ "iat": now + 600 })),
            "is not valid yet: iat is 20",
        ),
        (with(json!({ "aud": "other" })), "HOLDFAST_BUYER_AUDIENCE"),
        (
            with(json!({ "sub": "mi\u{212a}e" })),
            "not the normal form of a buyer id",
        ),
        (
            with(json!({ "sub": "mike\u{a0}" })),
            "not the normal form of a buyer id",
        ),
        (with(json!({ "sub": ["mike"] })), "unusable sub claim"),
        (headed(json!({ "alg": "none" })), "is not signed with HS256"),
        (
            headed(json!({ "alg": "HS512" })),
            "is not signed with HS256",
        ),
        (
            headed(json!({ "alg": "HS256", "crit": ["exp"] })),
            "crit header parameter",
        ),
        (
            headed(json!({ "alg": "HS256", "kid": 2026 })),
            "a kid header parameter that is not a text",
        ),
        (
            headed(json!({ "alg": "HS256", "typ": "logout+jwt" })),
            "a typ other than",
        ),
        (token("another secret", "mike", 600), "wrong signature"),
        ("nonsense".to_owned(), "neither a buyer's token"),
    ] {
        let refused = hold(&app, &drop, Some(&bad), &key(), "mike").await;
        let detail = text(&refused.problem(401, "unauthorized")["detail"]);
        assert!(detail.contains(reason), "{reason}: {detail}");
        let challenge = format!(
            "Bearer realm=\"holdfast\", error=\"invalid_token\", error_description=\"{detail}\""
        );
        assert_eq!(refused.header("www-authenticate"), challenge);
        for word in [
            "ImmatureSignature",
            "ExpiredSignature",
            "Error",
            "invalid type",
        ] {
            assert!(!detail.contains(word), "wording of a library: {detail}");
        }
    }
    let refused = hold(&app, &drop, None, &key(), "mike").await;
    refused.problem(401, "unauthorized");
    let challenge = refused.header("www-authenticate");
    assert_eq!(challenge, "Bearer realm=\"holdfast\"");
    let placed = app.requested_events().await;
    assert_eq!(placed, 8, "the drop and one hold for each valid token");
}

#[tokio::test]
async fn problem_names_the_credentials_that_the_route_accepts() {
    let app = start(&[]).await;
    let drop = app.create_drop(1, json!({})).await;
    let holds = format!("/v1/drops/{drop}/holds");
    let expired = with(json!({ "exp": 1 }));
    let dots = "an.admins.key";
    for (method, path, bearer, words) in [
        (Method::POST, "/v1/drops", "mistyped", "not the admin key"),
        (Method::GET, "/v1/admin/metrics", dots, "not the admin key"),
        (
            Method::GET,
            "/v1/admin/metrics",
            expired.as_str(),
            "not the admin key",
        ),
        (
            Method::GET,
            "/v1/log/head",
            "mistyped",
            "neither the auditor key nor the admin key",
        ),
        (
            Method::GET,
            "/v1/log/head",
            expired.as_str(),
            "neither the auditor key nor the admin key",
        ),
        (
            Method::POST,
            &holds,
            "mistyped",
            "neither a buyer's token (three base64url parts with dots between them) nor the admin",
        ),
        (Method::POST, &holds, dots, "nor the admin key"),
        (Method::POST, &holds, expired.as_str(), "token expired"),
    ] {
        let request = app.request(method.clone(), path).bearer_auth(bearer);
        let request = request.header("idempotency-key", key());
        let reply = match method {
            Method::POST => fetch(request.json(&json!({ "buyer_id": "mike" }))).await,
            _ => fetch(request).await,
        };
        let detail = text(&reply.problem(401, "unauthorized")["detail"]);
        assert!(detail.contains(words), "{method} {path} {bearer}: {detail}");
        let is_about_tokens = detail.contains("token");
        assert_eq!(is_about_tokens, path == holds, "{path}: {detail}");
    }
    let valid = token(SECRET, "mike", 600);
    let request = app.request(Method::GET, "/v1/admin/metrics");
    let reply = fetch(request.bearer_auth(valid)).await;
    let detail = text(&reply.problem(403, "forbidden")["detail"]);
    assert!(detail.contains("Use the admin key"), "{detail}");
}

#[tokio::test]
async fn token_acts_only_for_its_buyer() {
    let app = start(&[]).await;
    let drop = app.create_drop(100, json!({})).await;
    // Placed for that id by the shop itself: the rules treat the buyer as mike.
    let kelvin = "mi\u{212a}e";
    let admin = Some(harness::ADMIN_KEY);
    hold(&app, &drop, admin, &key(), kelvin).await.ok(201);
    let refused = hold(
        &app,
        &drop,
        Some(&with(json!({ "sub": kelvin }))),
        &key(),
        kelvin,
    )
    .await;
    refused.problem(401, "unauthorized");
    // An id that equals another only by canonical equivalence.
    for (sub, buyer) in [
        ("e\u{301}va", "e\u{301}va"),
        ("e\u{301}va", "\u{e9}va"),
        ("\u{c9}va", "éva"),
    ] {
        let bearer = with(json!({ "sub": sub }));
        let refused = hold(&app, &drop, Some(&bearer), &key(), buyer).await;
        let detail = text(&refused.problem(401, "unauthorized")["detail"]);
        assert!(detail.contains("NFC"), "{detail}");
    }
    let eva = with(json!({ "sub": "\u{e9}va" }));
    for same in ["\u{e9}va", "e\u{301}va", "\u{c9}VA"] {
        hold(&app, &drop, Some(&eva), &key(), same).await.ok(201);
    }
    for (sub, buyer) in [("mike", "ike"), ("mıke", "mike"), ("mike\u{200b}", "mike")] {
        let bearer = with(json!({ "sub": sub }));
        let refused = hold(&app, &drop, Some(&bearer), &key(), buyer).await;
        refused.problem(403, "forbidden");
    }
}

#[tokio::test]
async fn token_has_no_rights_of_a_spelling_that_only_case_folding_makes_equal() {
    let app = start(&[]).await;
    let drop = app.create_drop(100, json!({})).await;
    for (recorded, other) in [("maß", "mass"), ("mass", "maß"), ("νίκος", "νίκοσ")] {
        let drop = app.create_drop(9, json!({})).await;
        let [own, others] = [recorded, other].map(|sub| with(json!({ "sub": sub })));
        // Another id in the body: the token is compared exactly as before.
        let refused = hold(&app, &drop, Some(&others), &key(), recorded).await;
        refused.problem(403, "forbidden");
        let held = hold(&app, &drop, Some(&own), &key(), recorded).await;
        let id = text(&held.ok(201)["id"]);
        // Their own id, by which the drop knows another account.
        let refused = hold(&app, &drop, Some(&others), &key(), other).await;
        let detail = text(&refused.problem(403, "forbidden")["detail"]);
        assert!(detail.contains("in another spelling"), "{detail}");
        let standing = format!("/v1/drops/{drop}/buyers/{other}");
        let request = app.request(Method::GET, &standing).bearer_auth(&others);
        fetch(request).await.problem(403, "forbidden");
        let purchase = format!("/v1/holds/{id}/purchase");
        for (bearer, status) in [(&others, 403), (&own, 201)] {
            let request = app.request(Method::POST, &purchase).bearer_auth(bearer);
            assert_eq!(fetch(request).await.status, status);
        }
        // The shop itself means the buyer, whose recorded spelling stays.
        let admin = Some(harness::ADMIN_KEY);
        let placed = hold(&app, &drop, admin, &key(), other).await.ok(201);
        assert_eq!(placed["buyer_id"], recorded);
    }
    // Where no other account is known, each of them is accepted.
    for sub in ["straße", "σας"] {
        let bearer = with(json!({ "sub": sub }));
        hold(&app, &drop, Some(&bearer), &key(), sub).await.ok(201);
    }
}

#[tokio::test]
async fn audience_leeway_and_maximum_lifetime_are_settings() {
    let app = start(&[
        ("HOLDFAST_BUYER_AUDIENCE", "drops.example"),
        ("HOLDFAST_BUYER_TOKEN_MAX_SECONDS", "900"),
        ("HOLDFAST_BUYER_LEEWAY_SECONDS", "0"),
    ])
    .await;
    let drop = app.create_drop(100, json!({})).await;
    let send = async |claims: Value| {
        let bearer = with(claims);
        hold(&app, &drop, Some(&bearer), &key(), "mike").await
    };
    send(json!({ "aud": "drops.example" })).await.ok(201);
    send(json!({ "aud": ["x", "drops.example"] })).await.ok(201);
    let exp = seconds_now() + 1800;
    for (claims, reason) in [
        (json!({}), "has no aud claim"),
        (json!({ "aud": "x" }), "without this server's audience"),
        (
            json!({ "aud": "drops.example", "exp": exp }),
            "the maximum lifetime is 900 s",
        ),
        (
            json!({ "aud": "drops.example", "nbf": exp }),
            "the tolerance is 0 s",
        ),
    ] {
        let problem = send(claims).await.problem(401, "unauthorized");
        let detail = text(&problem["detail"]);
        assert!(detail.contains(reason), "{reason}: {detail}");
    }
}

#[tokio::test]
async fn idempotency_keys_are_scoped_to_the_buyer_on_every_server() {
    let database = private_postgres::testing::fresh_database().await;
    let launch = || Launch::on(database.clone());
    let before = launch().start().await;
    let drop = before.create_drop(100, json!({})).await;
    let old = text(&hold(&before, &drop, None, "old", "mike").await.ok(201)["id"]);
    before.stop().await;

    let here = launch().with("HOLDFAST_BUYER_SECRET", SECRET).start().await;
    let there = launch().with("HOLDFAST_BUYER_SECRET", SECRET).start().await;
    let (mike, eve) = (token(SECRET, "mike", 600), token(SECRET, "eve", 600));
    // A retry of a hold that was placed before tokens were required; and Eve, who used the same
    // key.
    let again = hold(&here, &drop, Some(&mike), "old", "mike").await;
    assert_eq!((again.is_replay(), text(&again.ok(201)["id"])), (true, old));
    let eves = hold(&here, &drop, Some(&eve), "old", "eve").await;
    assert!(!eves.is_replay(), "{eves:?}");
    let eves = text(
        &hold(&here, &drop, Some(&eve), "order-1001", "eve")
            .await
            .ok(201)["id"],
    );
    let mikes = hold(&here, &drop, Some(&mike), "order-1001", "Mike").await;
    let mikes = text(&mikes.ok(201)["id"]);
    assert_ne!(eves, mikes);
    // A waitlist has keys as well.
    let join = async |app: &App, bearer: &str, buyer: &str| {
        let path = format!("/v1/drops/{drop}/waitlist");
        let request = app.request(Method::POST, &path).bearer_auth(bearer);
        let request = request.header("idempotency-key", "order-1001");
        fetch(request.json(&json!({ "buyer_id": buyer, "quantity": 1 }))).await
    };
    join(&here, &mike, "mike")
        .await
        .problem(422, "idempotency_key_reused");

    let here = here.restart().await;
    for app in [&here, &there] {
        for bearer in [mike.as_str(), harness::ADMIN_KEY] {
            let again = hold(app, &drop, Some(bearer), "order-1001", "mike").await;
            assert!(again.is_replay(), "{again:?}");
            assert_eq!(text(&again.ok(201)["id"]), mikes);
        }
    }
    // Trusted callers share one scope, in which a key belongs to one buyer.
    let admin = Some(harness::ADMIN_KEY);
    hold(&there, &drop, admin, "shop-7", "ann").await.ok(201);
    hold(&there, &drop, admin, "shop-7", "bob")
        .await
        .problem(422, "idempotency_key_reused");
    here.audit_verify().await;
}

#[tokio::test]
async fn two_different_idempotency_keys_are_rejected() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({})).await;
    let send = async |keys: [&str; 2]| {
        let path = format!("/v1/drops/{drop}/holds");
        let mut request = app.request(Method::POST, &path);
        for key in keys {
            request = request.header("idempotency-key", key);
        }
        fetch(request.json(&json!({ "buyer_id": "mike" }))).await
    };
    send(["one", "two"])
        .await
        .problem(400, "invalid_idempotency_key");
    send(["one", "one"]).await.ok(201);
}
