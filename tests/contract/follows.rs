//! docs/CONTRACT.md on follows and reminders.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, Reply, concurrently, fetch, number, text, token};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn creator(app: &App, id: &str) {
    let request = app.admin(Method::PUT, &format!("/v1/creators/{id}"));
    fetch(request.json(&json!({ "name": id }))).await.ok(201);
}

async fn send(app: &App, method: Method, path: &str) -> Reply {
    fetch(app.request(method, path)).await
}

async fn followers(app: &App, creator: &str) -> u64 {
    let creator = app.get(&format!("/v1/creators/{creator}")).await.ok(200);
    number(&creator["followers"])
}

fn column(list: &Value, name: &str) -> Vec<String> {
    let data = list["data"].as_array().unwrap();
    data.iter().map(|row| text(&row[name])).collect()
}

#[tokio::test]
async fn follow_is_listed_and_counted_until_it_ends() {
    let app = App::start().await;
    creator(&app, "nord").await;
    creator(&app, "sued").await;
    let path = |buyer: &str, creator: &str| format!("/v1/buyers/{buyer}/follows/{creator}");
    for (buyer, name) in [
        ("Ann", "nord"),
        ("ann", "nord"),
        ("bob", "nord"),
        ("ann", "sued"),
    ] {
        let reply = send(&app, Method::PUT, &path(buyer, name)).await;
        assert_eq!((reply.status, reply.text().as_str()), (204, ""));
    }
    assert_eq!(followers(&app, "nord").await, 2, "in any letter case, once");
    let own = app.get("/v1/buyers/ANN/follows").await;
    assert_eq!(own.header("cache-control"), "private, no-cache");
    let own = own.ok(200);
    assert_eq!(column(&own, "creator_id"), ["sued", "nord"], "newest first");
    assert_eq!(column(&own, "name"), ["sued", "nord"]);
    let page = app.get("/v1/buyers/ann/follows?limit=1").await.ok(200);
    assert_eq!(
        (column(&page, "creator_id"), &page["has_more"]),
        (vec!["sued".to_owned()], &json!(true))
    );
    let page = app
        .get("/v1/buyers/ann/follows?starting_after=sued")
        .await
        .ok(200);
    assert_eq!(column(&page, "creator_id"), ["nord"]);
    let page = app
        .get("/v1/buyers/ann/follows?starting_after=nord")
        .await
        .ok(200);
    assert_eq!(column(&page, "creator_id"), [""; 0]);
    let unknown = app.get("/v1/buyers/bob/follows?starting_after=sued").await;
    unknown.problem(400, "invalid_query");

    app.get("/v1/creators/nord/followers")
        .await
        .problem(401, "unauthorized");
    let all = fetch(app.admin(Method::GET, "/v1/creators/nord/followers"))
        .await
        .ok(200);
    assert_eq!(
        column(&all, "buyer_id"),
        ["bob", "Ann"],
        "as first recorded, newest first"
    );
    let next = "/v1/creators/nord/followers?limit=1&starting_after=BOB";
    let next = fetch(app.admin(Method::GET, next)).await.ok(200);
    assert_eq!(
        (column(&next, "buyer_id"), &next["has_more"]),
        (vec!["Ann".to_owned()], &json!(false))
    );
    let unknown = "/v1/creators/sued/followers?starting_after=bob";
    fetch(app.admin(Method::GET, unknown))
        .await
        .problem(400, "invalid_query");
    let unknown = "/v1/creators/none/followers?starting_after=bob";
    fetch(app.admin(Method::GET, unknown))
        .await
        .problem(404, "creator_not_found");

    for _ in 0..2 {
        let reply = send(&app, Method::DELETE, &path("aNN", "nord")).await;
        assert_eq!(reply.status, 204);
    }
    assert_eq!(followers(&app, "nord").await, 1);
    let own = app.get("/v1/buyers/ann/follows").await.ok(200);
    assert_eq!(column(&own, "creator_id"), ["sued"]);
    send(&app, Method::PUT, &path("ann", "none"))
        .await
        .problem(404, "creator_not_found");
    assert_eq!(
        send(&app, Method::DELETE, &path("ann", "none"))
            .await
            .status,
        204
    );
    send(&app, Method::PUT, &path("a%00n", "nord"))
        .await
        .problem(422, "invalid_value");

    // Nothing of this is in the log.
    let log = app.audit("/v1/log").await.text();
    assert!(!log.contains("ann") && !log.contains("nord"), "{log}");
}

#[tokio::test]
async fn deleted_creator_has_no_followers_and_neither_has_its_successor() {
    let app = App::start().await;
    creator(&app, "nord").await;
    send(&app, Method::PUT, "/v1/buyers/ann/follows/nord").await;
    let deleted = fetch(app.admin(Method::DELETE, "/v1/creators/nord")).await;
    assert_eq!(deleted.status, 204);
    let own = app.get("/v1/buyers/ann/follows").await.ok(200);
    assert_eq!(own["data"], json!([]));
    creator(&app, "nord").await;
    assert_eq!(followers(&app, "nord").await, 0);
    let list = fetch(app.admin(Method::GET, "/v1/creators/nord/followers")).await;
    assert_eq!(list.ok(200)["data"], json!([]));
}

#[tokio::test]
async fn concurrent_follows_are_counted_exactly() {
    let app = App::start().await;
    creator(&app, "nord").await;
    let change = |number: usize| {
        let api = app.api();
        async move {
            let path = format!("/v1/buyers/buyer-{}/follows/nord", number % 25);
            let method = match number % 4 {
                3 => Method::DELETE,
                _ => Method::PUT,
            };
            assert_eq!(fetch(api.request(method, &path)).await.status, 204);
        }
    };
    concurrently((0..200).map(change)).await;
    let mut listed = 0;
    let mut after = String::new();
    loop {
        let path = format!("/v1/creators/nord/followers?limit=10{after}");
        let page = fetch(app.admin(Method::GET, &path)).await.ok(200);
        let buyers = column(&page, "buyer_id");
        listed += buyers.len() as u64;
        match buyers.last().filter(|_| page["has_more"] == true) {
            Some(last) => after = format!("&starting_after={last}"),
            None => break,
        }
    }
    assert_eq!(followers(&app, "nord").await, listed);
}

#[tokio::test]
async fn reminder_is_listed_until_it_ends() {
    let app = App::start().await;
    let (first, second) = (
        app.create_drop(1, json!({})).await,
        app.create_drop(1, json!({})).await,
    );
    let path = |drop: &str| format!("/v1/buyers/ann/reminders/{drop}");
    for drop in [&first, &second, &first] {
        assert_eq!(send(&app, Method::PUT, &path(drop)).await.status, 204);
    }
    let own = app.get("/v1/buyers/Ann/reminders").await.ok(200);
    assert_eq!(column(&own, "drop_id"), [second.clone(), first.clone()]);
    let next = app
        .get(&format!("/v1/buyers/ann/reminders?starting_after={second}"))
        .await;
    assert_eq!(column(&next.ok(200), "drop_id"), [first.as_str()]);
    for _ in 0..2 {
        assert_eq!(send(&app, Method::DELETE, &path(&second)).await.status, 204);
    }
    let own = app.get("/v1/buyers/ann/reminders").await.ok(200);
    assert_eq!(column(&own, "drop_id"), [first]);
    let unknown = "0197d3f2-6b1e-4c55-9a3e-2f60c1d8e7b4";
    send(&app, Method::PUT, &path(unknown))
        .await
        .problem(404, "drop_not_found");
    send(&app, Method::PUT, &path("x"))
        .await
        .problem(404, "drop_not_found");
    assert_eq!(send(&app, Method::DELETE, &path(unknown)).await.status, 204);
}

#[tokio::test]
async fn token_chooses_for_its_own_buyer_only() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    creator(&app, "nord").await;
    let drop = app.create_drop(1, json!({})).await;
    let (ann, bob) = (token(SECRET, "ann", 600), token(SECRET, "bob", 600));
    for (method, path) in [
        (Method::PUT, "/v1/buyers/ann/follows/nord".to_owned()),
        (Method::GET, "/v1/buyers/ann/follows".to_owned()),
        (Method::DELETE, "/v1/buyers/ann/follows/nord".to_owned()),
        (Method::PUT, format!("/v1/buyers/ann/reminders/{drop}")),
        (Method::GET, "/v1/buyers/ann/reminders".to_owned()),
        (Method::DELETE, format!("/v1/buyers/ann/reminders/{drop}")),
        (Method::GET, "/v1/buyers/ann/notifications".to_owned()),
        (
            Method::GET,
            "/v1/buyers/ann/notifications/stream".to_owned(),
        ),
    ] {
        send(&app, method.clone(), &path)
            .await
            .problem(401, "unauthorized");
        let as_bob = app.request(method.clone(), &path).bearer_auth(&bob);
        fetch(as_bob).await.problem(403, "forbidden");
        let as_auditor = app
            .request(method.clone(), &path)
            .bearer_auth(harness::AUDITOR_KEY);
        fetch(as_auditor).await.problem(403, "forbidden");
        if path.ends_with("stream") {
            continue;
        }
        for credential in [ann.as_str(), harness::ADMIN_KEY] {
            let reply = fetch(app.request(method.clone(), &path).bearer_auth(credential)).await;
            assert!(reply.status < 300, "{path}: {}", reply.text());
        }
    }
    // Another account that case folding makes equal has no right to the choices.
    let own = token(SECRET, "maß", 600);
    let path = "/v1/buyers/ma%C3%9F/follows/nord";
    let follow = |path: &str, token: &str| fetch(app.request(Method::PUT, path).bearer_auth(token));
    assert_eq!(follow(path, &own).await.status, 204);
    let other = token(SECRET, "mass", 600);
    follow("/v1/buyers/mass/follows/nord", &other)
        .await
        .problem(403, "forbidden");
    let list = app
        .request(Method::GET, "/v1/buyers/mass/follows")
        .bearer_auth(&other);
    assert_eq!(fetch(list).await.ok(200)["data"], json!([]));
    let list = app.admin(Method::GET, "/v1/buyers/MASS/follows");
    assert_eq!(column(&fetch(list).await.ok(200), "creator_id"), ["nord"]);
}

#[tokio::test]
async fn erasure_removes_the_choices_of_a_buyer_that_the_log_does_not_know() {
    let app = App::start().await;
    creator(&app, "nord").await;
    let drop = app.create_drop(1, json!({})).await;
    for buyer in ["Ann", "bob"] {
        send(
            &app,
            Method::PUT,
            &format!("/v1/buyers/{buyer}/follows/nord"),
        )
        .await;
        send(
            &app,
            Method::PUT,
            &format!("/v1/buyers/{buyer}/reminders/{drop}"),
        )
        .await;
    }
    let erase = fetch(app.admin(Method::DELETE, "/v1/admin/buyers/aNN")).await;
    assert_eq!(erase.status, 204);
    assert_eq!(followers(&app, "nord").await, 1);
    for list in ["follows", "reminders", "notifications"] {
        let own = app.get(&format!("/v1/buyers/ann/{list}")).await.ok(200);
        assert_eq!(own["data"], json!([]), "{list}");
        let other = app.get(&format!("/v1/buyers/bob/{list}")).await.ok(200);
        let has_some = !other["data"].as_array().unwrap().is_empty();
        assert_eq!(has_some, list != "notifications", "{list}");
    }
    let rows: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM follows WHERE buyer = 'ann') \
              + (SELECT count(*) FROM reminders WHERE buyer = 'ann') \
              + (SELECT count(*) FROM following_buyers WHERE buyer = 'ann')",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(rows, 0);
    app.audit_verify().await;
}

#[tokio::test]
async fn changes_of_choices_are_limited_by_address() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .with("HOLDFAST_ADDRESS_LIMIT", "3/600")
        .start()
        .await;
    creator(&app, "nord").await;
    let drop = app.create_drop(1, json!({})).await;
    let follow = "/v1/buyers/ann/follows/nord";
    let reminder = format!("/v1/buyers/ann/reminders/{drop}");
    assert_eq!(send(&app, Method::PUT, follow).await.status, 204);
    assert_eq!(send(&app, Method::DELETE, follow).await.status, 204);
    assert_eq!(send(&app, Method::PUT, &reminder).await.status, 204);
    send(&app, Method::DELETE, &reminder)
        .await
        .problem(429, "throttled");
    // Holds have a count of their own, and the admin key has no limit.
    app.hold(&drop, "ann").await.ok(201);
    assert_eq!(fetch(app.admin(Method::PUT, follow)).await.status, 204);
}
