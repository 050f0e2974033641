//! docs/CONTRACT.md on several administrators: each key has a name, which stands next to each
//! change in the log.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{ADMIN_KEY, App, Launch, Reply, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};

const KEYS: &str = "ops-1=key-of-ops-1 ops-2=key-of-ops-2 ops-1=next-key-of-ops-1";

async fn with_keys(keys: &str) -> App {
    let launch = Launch::fresh().await.with("HOLDFAST_ADMIN_KEYS", keys);
    launch.start().await
}

async fn send(app: &App, key: &str, method: Method, path: &str, body: &Value) -> Reply {
    let request = app.request(method, path).bearer_auth(key);
    let request = request.header("if-match", "*");
    let request = request.header("idempotency-key", harness::key());
    fetch(request.json(body)).await
}

/// The type of each event, and the administrator in its metadata.
async fn authors(app: &App) -> Vec<(String, String)> {
    let events = app.log().await.into_iter();
    let author = |metadata: &str| {
        let metadata: Value = serde_json::from_str(metadata).unwrap();
        metadata["admin"].as_str().unwrap_or("-").to_owned()
    };
    events
        .map(|event| (event.event_type, author(event.metadata.get())))
        .collect()
}

#[tokio::test]
async fn each_change_has_the_name_of_its_administrator_and_nothing_else_has() {
    let app = with_keys(KEYS).await;
    let new =
        json!({ "name": "Lamp", "price": { "amount": 100, "currency": "USD" }, "total_stock": 2 });
    let made = send(&app, "key-of-ops-1", Method::POST, "/v1/drops", &new).await;
    let drop = text(&made.ok(201)["id"]);
    let path = format!("/v1/drops/{drop}");
    let held = app.held(&drop, "ann").await;
    let purchase = text(&app.purchase(&held).await.ok(201)["id"]);
    let change = async |key: &str, method, path: &str, body: Value| {
        send(&app, key, method, path, &body).await
    };
    change(
        "key-of-ops-2",
        Method::PATCH,
        &path,
        json!({ "name": "Lamp 2" }),
    )
    .await
    .ok(200);
    change(
        ADMIN_KEY,
        Method::PUT,
        &format!("{path}/stock"),
        json!({ "total": 5, "reason": "counted" }),
    )
    .await
    .ok(200);
    change(
        "next-key-of-ops-1",
        Method::POST,
        &format!("{path}/codes"),
        json!({ "count": 1 }),
    )
    .await
    .ok(201);
    change(
        "key-of-ops-2",
        Method::POST,
        &format!("{path}/pause"),
        json!({}),
    )
    .await
    .ok(200);
    change(
        "key-of-ops-1",
        Method::POST,
        &format!("{path}/resume"),
        json!({}),
    )
    .await
    .ok(200);
    let refunds = format!("/v1/purchases/{purchase}/refunds");
    change(
        "key-of-ops-2",
        Method::POST,
        &refunds,
        json!({ "quantity": 1, "reason": "broken" }),
    )
    .await
    .ok(201);
    let erased = app
        .request(Method::DELETE, "/v1/admin/buyers/ann")
        .bearer_auth("key-of-ops-1");
    assert_eq!(fetch(erased).await.status, 204);
    change(
        "key-of-ops-2",
        Method::POST,
        &format!("{path}/cancel"),
        json!({}),
    )
    .await
    .ok(200);
    let expected = [
        ("DropScheduled", "ops-1"),
        ("DropStarted", "-"),
        ("HoldPlaced", "-"),
        ("PurchaseConfirmed", "-"),
        ("DropRescheduled", "ops-2"),
        ("StockAdjusted", "admin"),
        ("CodesCreated", "ops-1"),
        ("DropPaused", "ops-2"),
        ("DropResumed", "ops-1"),
        ("PurchaseRefunded", "ops-2"),
        ("BuyerErased", "ops-1"),
        ("DropCancelled", "ops-2"),
    ];
    let found = authors(&app).await;
    let found: Vec<(&str, &str)> = found.iter().map(|(kind, by)| (&**kind, &**by)).collect();
    assert_eq!(found, expected);
    // The report of the drop names them as well.
    let report = app.admin(Method::GET, &format!("/v1/admin/drops/{drop}/report"));
    let report = fetch(report).await.ok(200);
    let latest = report["latest"].as_array().unwrap().iter().rev();
    let latest: Vec<(&str, &str)> = latest
        .map(|event| {
            let by = event["admin"].as_str().unwrap_or("-");
            (event["event_type"].as_str().unwrap(), by)
        })
        .collect();
    let of_drop: Vec<_> = expected
        .into_iter()
        .filter(|(kind, _)| *kind != "BuyerErased")
        .collect();
    assert_eq!(latest, of_drop);
    app.audit_verify().await;
}

#[tokio::test]
async fn session_has_the_name_and_ends_when_the_key_is_removed() {
    let app = with_keys(KEYS).await;
    let sign_in = async |app: &App, key: &str| {
        let request = app.request(Method::POST, "/v1/admin/session");
        fetch(request.json(&json!({ "key": key }))).await
    };
    let signed_in = sign_in(&app, "key-of-ops-2").await;
    assert_eq!(signed_in.ok(201)["admin"], "ops-2");
    let cookie = signed_in.header("set-cookie");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let who = async |app: &App| {
        let request = app.request(Method::GET, "/v1/admin/session");
        let request = request.header("cookie", &cookie);
        fetch(request.header("sec-fetch-site", "same-origin")).await
    };
    assert_eq!(who(&app).await.ok(200)["admin"], "ops-2");
    let request = app
        .request(Method::POST, "/v1/drops")
        .header("cookie", &cookie);
    let request = request.header("sec-fetch-site", "same-origin");
    let new =
        json!({ "name": "Lamp", "price": { "amount": 1, "currency": "USD" }, "total_stock": 1 });
    fetch(request.header("idempotency-key", key()).json(&new))
        .await
        .ok(201);
    assert_eq!(
        authors(&app).await[0],
        ("DropScheduled".to_owned(), "ops-2".to_owned())
    );
    for (key, name) in [(ADMIN_KEY, "admin"), ("next-key-of-ops-1", "ops-1")] {
        let request = app
            .request(Method::GET, "/v1/admin/session")
            .bearer_auth(key);
        assert_eq!(fetch(request).await.ok(200)["admin"], name);
    }
    let launch = app
        .launch()
        .clone()
        .with("HOLDFAST_ADMIN_KEYS", "ops-1=key-of-ops-1");
    let app = launch.start().await;
    who(&app).await.problem(401, "unauthorized");
    sign_in(&app, "key-of-ops-2")
        .await
        .problem(401, "unauthorized");
    sign_in(&app, "key-of-ops-1").await.ok(201);
}

#[tokio::test]
async fn keys_that_cannot_be_used_stop_the_start_without_printing_them() {
    for (keys, words) in [
        ("ops-1", "entry 1 of HOLDFAST_ADMIN_KEYS must be NAME=KEY"),
        (
            "ops/1=the-secret",
            "the name in entry 1 of HOLDFAST_ADMIN_KEYS must be 1 to 32",
        ),
        ("a=the-secret b=the-secret", "a and b have the same key"),
        ("a=auditor-key-of-the-tests", "must differ"),
        ("@/does/not/exist", "cannot be read from /does/not/exist"),
    ] {
        let launch = Launch::fresh().await.with("HOLDFAST_ADMIN_KEYS", keys);
        let launch = launch.with("HOLDFAST_AUDITOR_KEY", "auditor-key-of-the-tests");
        let launch = launch.with("HOLDFAST_ADMIN_KEY", ADMIN_KEY);
        let ended = launch.run(&["serve", "--listen", "127.0.0.1:0"]).await;
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(!ended.stderr.contains("the-secret"), "{}", ended.stderr);
    }
}
