//! Buyers' tokens: each buyer acts only for themselves.

use harness::{App, Launch, fetch, key, text, token};
use reqwest::Method;
use serde_json::json;

const SECRET: &str = "the shop's secret for its buyers";

#[tokio::test]
async fn with_a_buyer_secret_each_buyer_acts_only_for_themselves() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let drop = app.create_drop(10, json!({})).await;
    let place = |bearer: Option<String>, buyer: &'static str| {
        let mut request = app
            .request(Method::POST, &format!("/v1/drops/{drop}/holds"))
            .header("idempotency-key", key());
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        fetch(request.json(&json!({ "buyer_id": buyer })))
    };
    let alice = token(SECRET, "Alice", 3600);
    let bob = token(SECRET, "bob", 3600);
    for bearer in [
        None,
        Some("nonsense".to_owned()),
        Some(token("another secret", "alice", 3600)),
        Some(token(SECRET, "alice", -60)),
    ] {
        let refused = place(bearer, "alice").await;
        refused.problem(401, "unauthorized");
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
    }
    place(Some(bob.clone()), "alice")
        .await
        .problem(403, "forbidden");
    let hold = text(&place(Some(alice.clone()), "alice").await.ok(201)["id"]);

    let on = |method: Method, path: &str, bearer: &str| {
        fetch(
            app.request(method, &format!("/v1/holds/{hold}{path}"))
                .bearer_auth(bearer),
        )
    };
    for (method, path) in [
        (Method::GET, ""),
        (Method::DELETE, ""),
        (Method::POST, "/purchase"),
    ] {
        on(method.clone(), path, &bob)
            .await
            .problem(403, "forbidden");
        fetch(app.request(method, &format!("/v1/holds/{hold}{path}")))
            .await
            .problem(401, "unauthorized");
    }
    assert_eq!(on(Method::GET, "", &alice).await.ok(200)["status"], "held");
    assert_eq!(on(Method::POST, "/purchase", &alice).await.status, 201);
    let by_admin = text(
        &place(Some(harness::ADMIN_KEY.to_owned()), "carol")
            .await
            .ok(201)["id"],
    );
    let release = app.admin(Method::DELETE, &format!("/v1/holds/{by_admin}"));
    assert_eq!(fetch(release).await.status, 204);
    assert_eq!(
        app.get(&format!("/v1/drops/{drop}")).await.status,
        200,
        "drops stay public"
    );
}

#[tokio::test]
async fn insufficient_credential_gets_403_and_unknown_credential_401() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let drop = app.create_drop(10, json!({})).await;
    let hold = uuid::Uuid::new_v4();
    let send = |method: &Method, path: &str, bearer: &str| {
        let request = app.request(method.clone(), path).bearer_auth(bearer);
        let request = request
            .header("idempotency-key", key())
            .header("if-match", "*");
        fetch(request.json(&json!({ "buyer_id": "alice" })))
    };
    let alice = token(SECRET, "alice", 3600);
    for (method, path) in [
        (Method::POST, "/v1/drops".to_owned()),
        (Method::PATCH, format!("/v1/drops/{drop}")),
        (Method::POST, format!("/v1/drops/{drop}/cancel")),
        (Method::POST, format!("/v1/drops/{drop}/stock-adjustments")),
        (Method::GET, "/v1/admin/metrics".to_owned()),
        (Method::GET, "/v1/admin/timeline".to_owned()),
        (Method::DELETE, "/v1/admin/buyers/alice".to_owned()),
        (Method::GET, "/v1/log".to_owned()),
        (Method::GET, "/v1/log/head".to_owned()),
    ] {
        send(&method, &path, &alice).await.problem(403, "forbidden");
        for unknown in [
            token("another secret", "alice", 3600),
            token(SECRET, "alice", -60),
            "guess".to_owned(),
        ] {
            send(&method, &path, &unknown)
                .await
                .problem(401, "unauthorized");
        }
    }
    for (method, path) in [
        (Method::POST, format!("/v1/drops/{drop}/holds")),
        (Method::POST, format!("/v1/drops/{drop}/waitlist")),
        (Method::GET, format!("/v1/drops/{drop}/buyers/alice")),
        (Method::GET, format!("/v1/holds/{hold}")),
        (Method::DELETE, format!("/v1/holds/{hold}")),
        (Method::POST, format!("/v1/holds/{hold}/purchase")),
        (Method::GET, format!("/v1/waitlist/{hold}")),
        (Method::DELETE, format!("/v1/waitlist/{hold}")),
    ] {
        send(&method, &path, harness::AUDITOR_KEY)
            .await
            .problem(403, "forbidden");
        send(&method, &path, "guess")
            .await
            .problem(401, "unauthorized");
    }
    assert_eq!(app.requested_events().await, 1, "nothing was recorded");
}

#[tokio::test]
async fn buyer_token_is_accepted_by_every_server() {
    let database = private_postgres::testing::fresh_database().await;
    let here = Launch::on(database.clone())
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let there = Launch::on(database)
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let drop = here.create_drop(30, json!({})).await;
    for buyer in 0..30 {
        let name = format!("buyer-{buyer}");
        let bearer = token(SECRET, &name, 3600);
        let request = here
            .request(Method::POST, &format!("/v1/drops/{drop}/holds"))
            .bearer_auth(&bearer);
        let hold = text(
            &fetch(
                request
                    .header("idempotency-key", key())
                    .json(&json!({ "buyer_id": name })),
            )
            .await
            .ok(201)["id"],
        );
        let purchase = there
            .request(Method::POST, &format!("/v1/holds/{hold}/purchase"))
            .bearer_auth(&bearer);
        fetch(purchase).await.ok(201);
    }
}

#[tokio::test]
async fn buyer_can_read_their_holds_and_remaining_limits() {
    let app = App::start().await;
    let terms = json!({
        "max_per_hold": 2, "max_per_buyer": 3, "throttle": { "holds": 2, "window_seconds": 3600 },
    });
    let drop = app.create_drop(10, terms).await;
    let path = format!("/v1/drops/{drop}/buyers/Alice%40example.com");
    let before = app.get(&path).await.ok(200);
    assert_eq!(before["buyer_id"], "Alice@example.com");
    assert_eq!(
        (&before["held"], &before["purchased"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        (&before["allowance"], &before["next_hold_at"]),
        (&json!(2), &json!(null))
    );

    let hold = app.hold(&drop, "alice@EXAMPLE.com").await.ok(201);
    app.purchase(hold["id"].as_str().unwrap()).await.ok(201);
    let second = app.hold(&drop, " alice@example.com").await.ok(201);

    let after = app.get(&path).await.ok(200);
    assert_eq!(
        (&after["held"], &after["purchased"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(after["allowance"], json!(1));
    assert!(after["next_hold_at"].is_string(), "{after}");
    assert!(
        !after.to_string().contains(second["id"].as_str().unwrap()),
        "hold ids are not included"
    );
    app.get("/v1/drops/nothing/buyers/alice")
        .await
        .problem(404, "drop_not_found");
    app.get("/v1/drops/%ff/buyers/alice")
        .await
        .problem(404, "drop_not_found");
    for buyer in [
        "x".repeat(129),
        "%ff".to_owned(),
        "a%00".to_owned(),
        "%20".to_owned(),
    ] {
        let path = format!("/v1/drops/{drop}/buyers/{buyer}");
        app.get(&path).await.invalid("/buyer_id");
    }
}
