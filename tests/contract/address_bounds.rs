//! The default limits per client address, seen through a trusted proxy on this machine.

use harness::{
    ADMIN_KEY, AUDITOR_KEY, Api, App, Launch, Reply, concurrently, distinct, eventually, key,
    number,
};
use harness::{fetch, text};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

const ONE: &str = "203.0.113.1";
const OTHER: &str = "203.0.113.2";

/// A server that trusts this machine as a proxy, with default limits.
async fn behind_a_proxy(settings: &[(&str, &str)]) -> App {
    launch(settings).await.start().await
}

async fn launch(settings: &[(&str, &str)]) -> Launch {
    let launch = Launch::fresh().await;
    let launch = launch.with("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1");
    settings
        .iter()
        .fold(launch, |launch, (name, value)| launch.with(name, value))
}

/// A client at an address.
#[derive(Clone)]
struct Client {
    api: Api,
    address: &'static str,
}

fn client(app: &App, address: &'static str) -> Client {
    let api = app.api();
    Client { api, address }
}

impl Client {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.api.request(method, path);
        request.header("x-forwarded-for", self.address)
    }

    async fn get(&self, path: &str) -> Reply {
        fetch(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        let request = self.request(Method::POST, path);
        fetch(request.header("idempotency-key", key).json(body)).await
    }

    /// Requests a hold of one unit, or joins the waitlist, as a new buyer.
    async fn send_as_new_buyer(&self, drop: &str, resource: &str) -> Reply {
        let path = format!("/v1/drops/{drop}/{resource}");
        self.post(&path, &key(), &json!({ "buyer_id": key() }))
            .await
    }

    async fn holds(&self, drop: &str) -> Reply {
        self.send_as_new_buyer(drop, "holds").await
    }

    async fn joins(&self, drop: &str) -> Reply {
        self.send_as_new_buyer(drop, "waitlist").await
    }

    /// Places a hold and returns its id.
    async fn held(&self, drop: &str) -> String {
        text(&self.holds(drop).await.ok(201)["id"])
    }

    async fn signs_in(&self, key: &str) -> Reply {
        let request = self.request(Method::POST, "/v1/admin/session");
        fetch(request.json(&json!({ "key": key }))).await
    }
}

/// Asserts that a limit with this policy rejected the request.
#[track_caller]
fn refused(reply: &Reply, code: &str, policy: &str) -> Value {
    let problem = reply.problem(429, code);
    let wait = number(&problem["retry_after"]);
    assert!(wait >= 1, "{problem}");
    assert_eq!(reply.header("retry-after"), wait.to_string());
    assert_eq!(reply.header("ratelimit-policy"), policy);
    problem
}

#[tokio::test]
async fn stock_requests_are_limited_by_default_for_each_address_separately() {
    let app = behind_a_proxy(&[("HOLDFAST_ADDRESS_HOLDS", "off")]).await;
    let drop = app.create_drop(100_000, json!({})).await;
    let (one, other) = (client(&app, ONE), client(&app, OTHER));
    let (first, body) = (key(), json!({ "buyer_id": "first" }));
    let path = format!("/v1/drops/{drop}/holds");
    one.post(&path, &first, &body).await.ok(201);
    let throttled = eventually("the window is used up", || async {
        let replies = concurrently((0..50).map(|_| {
            let (one, drop) = (one.clone(), drop.clone());
            async move { one.holds(&drop).await }
        }));
        replies.await.into_iter().find(|reply| reply.status == 429)
    })
    .await;
    refused(&throttled, "throttled", r#""address";q=600;w=60"#);
    // A retry gets its earlier result; the admin key and other addresses are not limited.
    let retried = one.post(&path, &first, &body).await;
    retried.ok(201);
    assert_eq!(retried.header("idempotent-replayed"), "true");
    let admin = one.request(Method::POST, &path).bearer_auth(ADMIN_KEY);
    let admin = admin.header("idempotency-key", key());
    fetch(admin.json(&json!({ "buyer_id": "a" }))).await.ok(201);
    other.holds(&drop).await.ok(201);
    app.hold(&drop, "the proxy's own").await.ok(201);
}

#[tokio::test]
async fn retry_is_neither_rejected_nor_counted_even_after_a_restart() {
    let app = behind_a_proxy(&[("HOLDFAST_ADDRESS_LIMIT", "2/3600")]).await;
    let drop = app.create_drop(10, json!({})).await;
    let path = format!("/v1/drops/{drop}/holds");
    let (first, body) = (key(), json!({ "buyer_id": "first" }));
    client(&app, ONE).post(&path, &first, &body).await.ok(201);
    let app = app.restart().await;
    let one = client(&app, ONE);
    for _ in 0..5 {
        one.post(&path, &first, &body).await.ok(201);
    }
    one.held(&drop).await;
    one.held(&drop).await;
    one.holds(&drop).await.problem(429, "throttled");
    let retried = one.post(&path, &first, &body).await;
    retried.ok(201);
    assert_eq!(retried.header("idempotent-replayed"), "true");
    // A retry of the same buyer from another address.
    client(&app, OTHER).post(&path, &first, &body).await.ok(201);
}

/// Regression: one client could change one hold back and forth without end, an event each time.
#[tokio::test]
async fn changes_of_a_hold_count_as_requests_for_stock() {
    let app = behind_a_proxy(&[("HOLDFAST_ADDRESS_LIMIT", "4/3600")]).await;
    let drop = app.create_drop(10, json!({ "max_per_hold": 5 })).await;
    let (one, other) = (client(&app, ONE), client(&app, OTHER));
    let held = one.held(&drop).await;
    let path = format!("/v1/holds/{held}");
    let change = |client: &Client, units: u32| {
        let request = client.request(Method::PATCH, &path);
        fetch(request.json(&json!({ "quantity": units })))
    };
    for units in [2, 1, 2] {
        change(&one, units).await.ok(200);
        // The same number changes nothing, so it does not count.
        if units == 1 {
            change(&one, units).await.ok(200);
        }
    }
    let throttled = change(&one, 1).await;
    refused(&throttled, "throttled", r#""address";q=4;w=3600"#);
    one.holds(&drop).await.problem(429, "throttled");
    change(&other, 1).await.ok(200);
    let admin = one.request(Method::PATCH, &path).bearer_auth(ADMIN_KEY);
    fetch(admin.json(&json!({ "quantity": 2 }))).await.ok(200);
    // Its purchase is never refused.
    let buys = one.request(Method::POST, &format!("{path}/purchase"));
    fetch(buys.json(&json!({}))).await.ok(201);
}

/// Regression: an order of twenty drops, which has twenty holds, counted as one request.
#[tokio::test]
async fn an_order_counts_as_one_request_for_each_of_its_drops() {
    let app = behind_a_proxy(&[("HOLDFAST_ADDRESS_LIMIT", "5/3600")]).await;
    let mut drops = vec![];
    for _ in 0..3 {
        drops.push(app.create_drop(10, json!({})).await);
    }
    let one = client(&app, ONE);
    let body = |buyer: &str, many: usize| {
        let item = |drop: &String| json!({ "drop_id": drop });
        let items: Vec<Value> = drops[..many].iter().map(item).collect();
        json!({ "buyer_id": buyer, "items": items })
    };
    let first = key();
    let order = one.post("/v1/orders", &first, &body("ann", 3)).await;
    let order = text(&order.ok(201)["id"]);
    let throttled = one.post("/v1/orders", &key(), &body("bob", 3)).await;
    refused(&throttled, "throttled", r#""address";q=5;w=3600"#);
    let again = one.post("/v1/orders", &first, &body("ann", 3)).await;
    assert_eq!(text(&again.ok(201)["id"]), order, "a retry is not counted");
    let second = one.post("/v1/orders", &key(), &body("bob", 2)).await;
    second.ok(201);
    one.holds(&drops[0]).await.problem(429, "throttled");
    // The buyers of both orders can still pay, and cancel.
    let pay = json!({ "provider": "demo", "scenario": "declines" });
    for order in [&order, &text(&second.json()["id"])] {
        let path = format!("/v1/orders/{order}/payments");
        one.post(&path, &key(), &pay).await.ok(201);
        let cancel = one.request(Method::POST, &format!("/v1/orders/{order}/cancel"));
        fetch(cancel).await.ok(200);
    }
}

/// Regression: one client could let the server call the payment provider without end, by repeating
/// the start of one payment.
#[tokio::test]
async fn repeated_starts_of_payments_are_limited_and_first_ones_are_not() {
    let app = behind_a_proxy(&[("HOLDFAST_ADDRESS_LIMIT", "2/3600")]).await;
    let drop = app.create_drop(10, json!({})).await;
    let one = client(&app, ONE);
    let mut orders = vec![];
    for buyer in ["ann", "bob"] {
        let body = json!({ "buyer_id": buyer, "items": [{ "drop_id": drop }] });
        let order = one.post("/v1/orders", &key(), &body).await;
        orders.push(text(&order.ok(201)["id"]));
    }
    let pay = |order: &str, key: &str| {
        let body = json!({ "provider": "demo", "scenario": "declines" });
        let (one, path) = (one.clone(), format!("/v1/orders/{order}/payments"));
        let key = key.to_owned();
        async move { one.post(&path, &key, &body).await }
    };
    let (first, second) = (key(), key());
    for key in [&first, &second, &first] {
        pay(&orders[0], key).await.ok(201);
    }
    let throttled = pay(&orders[0], &first).await;
    refused(&throttled, "throttled", r#""address";q=2;w=3600"#);
    pay(&orders[1], &key()).await.ok(201);
}

#[tokio::test]
async fn one_address_has_at_most_a_hundred_unresolved_holds_by_default() {
    let app = behind_a_proxy(&[]).await;
    let drop = app
        .create_drop(1_000, json!({ "hold_seconds": 3600 }))
        .await;
    let one = client(&app, ONE);
    let replies = concurrently((0..130).map(|_| {
        let (one, drop) = (one.clone(), drop.clone());
        async move { one.holds(&drop).await }
    }))
    .await;
    let held: Vec<String> = replies
        .iter()
        .filter(|reply| reply.status == 201)
        .map(|reply| text(&reply.json()["id"]))
        .collect();
    assert_eq!(held.len(), 100, "{:?}", harness::tally(&replies));
    let full = one.holds(&drop).await;
    let problem = refused(&full, "address_limit_reached", r#""address-holds";q=100"#);
    assert_eq!(problem["limit"], 100);
    assert_eq!(problem["limit_name"], "holds");
    let wait = number(&problem["retry_after"]);
    assert!((3_000..=3_600).contains(&wait), "{problem}");
    client(&app, OTHER).held(&drop).await;
    app.held(&drop, "the proxy's own").await;
    // Resolved holds no longer count: purchased or released, from any address.
    app.purchase(&held[0]).await.ok(201);
    assert_eq!(app.release(&held[1]).await.status, 204);
    one.held(&drop).await;
    one.held(&drop).await;
    one.holds(&drop).await.problem(429, "address_limit_reached");
    let cancel = app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"));
    fetch(cancel).await.ok(200);
    let next = app.create_drop(5, json!({})).await;
    eventually("the cancelled drop's holds are resolved", || async {
        (one.holds(&next).await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hold_resolved_at_another_server_no_longer_counts() {
    let launch = launch(&[("HOLDFAST_ADDRESS_HOLDS", "1")]).await;
    let (here, there) = (launch.clone().start().await, launch.start().await);
    let drop = here.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let one = client(&here, ONE);
    let held = one.held(&drop).await;
    one.holds(&drop).await.problem(429, "address_limit_reached");
    eventually("the other server follows", || async {
        (there.read_hold(&held).await.status == 200).then_some(())
    })
    .await;
    there.purchase(&held).await.ok(201);
    eventually("the purchase is known here", || async {
        (one.holds(&drop).await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_address_has_at_most_a_hundred_waitlist_entries_by_default() {
    let app = behind_a_proxy(&[]).await;
    let drop = app.create_drop(0, json!({ "hold_seconds": 3600 })).await;
    let one = client(&app, ONE);
    let mut entries = vec![];
    for _ in 0..100 {
        entries.push(text(&one.joins(&drop).await.ok(201)["id"]));
    }
    let full = one.joins(&drop).await;
    let problem = refused(
        &full,
        "address_limit_reached",
        r#""address-waitlist";q=100"#,
    );
    assert_eq!(problem["limit"], 100);
    assert_eq!(problem["limit_name"], "waitlist_entries");
    client(&app, OTHER).joins(&drop).await.ok(201);
    // One entry leaves, one is served.
    assert_eq!(app.leave(&entries[7]).await.status, 204);
    app.adjust(&drop, 1).await.ok(201);
    eventually("the first entry is served", || async {
        let first = app.waitlist_entry(&entries[0]).await;
        (first["status"] == "offered").then_some(())
    })
    .await;
    one.joins(&drop).await.ok(201);
    one.joins(&drop).await.ok(201);
    one.joins(&drop).await.problem(429, "address_limit_reached");
}

#[tokio::test]
async fn address_with_a_hundred_expired_holds_has_to_wait_by_default() {
    let app = behind_a_proxy(&[]).await;
    let drop = app.create_drop(1_000, json!({ "hold_seconds": 1 })).await;
    let one = client(&app, ONE);
    // As many as one address may have at a time, repeatedly.
    let cooling = eventually("the address has to wait", || async {
        let reply = one.holds(&drop).await;
        let is_cooling = reply.status == 429 && reply.json()["code"] == "cooling_down";
        is_cooling.then_some(reply)
    })
    .await;
    let problem = refused(&cooling, "cooling_down", r#""address-expired";q=100;w=900"#);
    assert_eq!(problem["limit"], 100);
    let wait = number(&problem["retry_after"]);
    assert!((1..=900).contains(&wait), "{problem}");
    let ledger = app.ledger().await;
    assert!(ledger.count(&drop, "HoldExpired") >= 100);
    let empty = app.create_drop(0, json!({})).await;
    one.joins(&empty).await.problem(429, "cooling_down");
    client(&app, OTHER).held(&drop).await;
    app.held(&drop, "the proxy's own").await;
}

#[tokio::test]
async fn purchased_and_released_holds_do_not_limit_the_address() {
    let app = behind_a_proxy(&[("HOLDFAST_ADDRESS_EXPIRED", "2/3600")]).await;
    let drop = app.create_drop(100, json!({ "hold_seconds": 1 })).await;
    let slow = app.create_drop(100, json!({ "hold_seconds": 3600 })).await;
    let one = client(&app, ONE);
    for _ in 0..5 {
        let held = one.held(&slow).await;
        app.purchase(&held).await.ok(201);
        let held = one.held(&slow).await;
        assert_eq!(app.release(&held).await.status, 204);
    }
    for lost in 1..=2 {
        one.held(&drop).await;
        eventually("the hold expires", || async {
            (app.ledger().await.count(&drop, "HoldExpired") == lost).then_some(())
        })
        .await;
    }
    one.holds(&slow).await.problem(429, "cooling_down");
}

#[tokio::test]
async fn failed_sign_ins_are_limited_and_logged_without_the_address() {
    let app = behind_a_proxy(&[]).await;
    let (one, other) = (client(&app, ONE), client(&app, OTHER));
    for _ in 0..60 {
        one.signs_in("a guess").await.problem(401, "unauthorized");
    }
    for key in ["a guess", ADMIN_KEY] {
        let reply = one.signs_in(key).await;
        refused(
            &reply,
            "too_many_attempts",
            r#""address-attempts";q=60;w=60"#,
        );
    }
    // The key is not checked on other routes either.
    let metrics = one.request(Method::GET, "/v1/admin/metrics");
    let metrics = fetch(metrics.bearer_auth(ADMIN_KEY)).await;
    metrics.problem(429, "too_many_attempts");
    other.signs_in(ADMIN_KEY).await.ok(201);
    let log = app.stderr();
    assert!(log.contains("failed sign-ins"), "{log}");
    assert!(log.matches("failed sign-ins").count() < 10, "{log}");
    assert!(!log.contains(ONE), "{log}");
}

#[tokio::test]
async fn wrong_bearer_keys_are_limited_on_every_route_that_checks_them() {
    let app = behind_a_proxy(&[
        ("HOLDFAST_ADDRESS_ATTEMPTS", "4/3600"),
        ("HOLDFAST_ADDRESS_LIMIT", "3/3600"),
    ])
    .await;
    let drop = app.create_drop(10, json!({})).await;
    let one = client(&app, ONE);
    let path = format!("/v1/drops/{drop}/holds");
    let hold_with = |bearer: &'static str| {
        let request = one.request(Method::POST, &path).bearer_auth(bearer);
        let request = request.header("idempotency-key", key());
        fetch(request.json(&json!({ "buyer_id": key() })))
    };
    for wrong in ["one", "two"] {
        hold_with(wrong).await.ok(201);
    }
    for path in ["/v1/admin/timeline", "/v1/log/head"] {
        let wrong = one.request(Method::GET, path).bearer_auth("three");
        fetch(wrong).await.problem(401, "unauthorized");
    }
    let right = one.request(Method::GET, "/v1/log/head");
    let right = fetch(right.bearer_auth(ADMIN_KEY)).await;
    right.problem(429, "too_many_attempts");
    // From here on the right key is like any other: it is not checked.
    for any in [ADMIN_KEY, AUDITOR_KEY, "four"] {
        let locked = hold_with(any).await;
        refused(
            &locked,
            "too_many_attempts",
            r#""address-attempts";q=4;w=3600"#,
        );
    }
    // Requests without a key have the limits of the address: the third is one too many.
    one.held(&drop).await;
    one.holds(&drop).await.problem(429, "throttled");
    app.audit("/v1/log/head").await.ok(200);
}

#[tokio::test]
async fn lockout_is_reported_to_every_request_with_a_key_and_to_no_other() {
    let app = behind_a_proxy(&[
        ("HOLDFAST_ADDRESS_ATTEMPTS", "1/3600"),
        ("HOLDFAST_ADDRESS_HOLDS", "1"),
        ("HOLDFAST_ADDRESS_WAITLIST", "1"),
    ])
    .await;
    let drop = app.create_drop(2, json!({ "hold_seconds": 3600 })).await;
    let empty = app.create_drop(0, json!({})).await;
    let one = client(&app, ONE);
    let bought = app.held(&drop, "the proxy's own").await;
    let purchase = text(&app.purchase(&bought).await.ok(201)["id"]);
    let held = one.held(&drop).await;
    let entry = text(&one.joins(&empty).await.ok(201)["id"]);
    let wrong = one.request(Method::GET, "/v1/log/head").bearer_auth("one");
    fetch(wrong).await.problem(401, "unauthorized");

    let routes = [
        (Method::POST, format!("/v1/drops/{drop}/holds")),
        (Method::POST, format!("/v1/drops/{empty}/waitlist")),
        (Method::GET, format!("/v1/drops/{drop}/buyers/first")),
        (Method::GET, format!("/v1/holds/{held}")),
        (Method::GET, format!("/v1/purchases/{purchase}")),
        (Method::GET, format!("/v1/waitlist/{entry}")),
        (Method::GET, "/v1/stream".to_owned()),
        (Method::GET, format!("/v1/stream?orders={}", Uuid::new_v4())),
        (Method::GET, "/v1/admin/metrics".to_owned()),
        (Method::POST, format!("/v1/holds/{held}/purchase")),
        (Method::DELETE, format!("/v1/holds/{held}")),
        (Method::DELETE, format!("/v1/waitlist/{entry}")),
    ];
    for (method, path) in routes {
        let mut details = vec![];
        for bearer in [ADMIN_KEY, AUDITOR_KEY, "a guess"] {
            let request = one.request(method.clone(), &path).bearer_auth(bearer);
            let request = request.header("idempotency-key", key());
            let request = match path.ends_with("s") || path.ends_with("waitlist") {
                true => request.json(&json!({ "buyer_id": "b" })),
                false => request,
            };
            let reply = fetch(request).await;
            let problem = reply.problem(429, "too_many_attempts");
            details.push((text(&problem["detail"]), text(&problem["title"])));
        }
        assert_eq!(distinct(details).len(), 1, "no oracle: {method} {path}");
    }
    // Without a key, the limits of the address apply and are named.
    let full = one.holds(&drop).await.problem(429, "address_limit_reached");
    let detail = text(&full["detail"]);
    assert!(detail.contains("1 unresolved hold,"), "{detail}");
    let full = one.joins(&empty).await;
    let detail = text(&full.problem(429, "address_limit_reached")["detail"]);
    assert!(detail.contains("1 waitlist entry or hold"), "{detail}");
    one.get(&format!("/v1/holds/{held}")).await.ok(200);
    let path = format!("/v1/holds/{held}/purchase");
    fetch(one.request(Method::POST, &path)).await.ok(201);
}

#[tokio::test]
async fn unknown_ids_are_limited_by_default_and_known_ids_are_not() {
    let app = behind_a_proxy(&[]).await;
    let drop = app.create_drop(10, json!({ "hold_seconds": 3600 })).await;
    let (one, other) = (client(&app, ONE), client(&app, OTHER));
    let held = one.held(&drop).await;
    let unknown = || Uuid::new_v4();
    let send = async |method: Method, path: String| fetch(one.request(method, &path)).await;
    for _ in 0..10 {
        let hold = format!("/v1/holds/{}", unknown());
        let entry = format!("/v1/waitlist/{}", unknown());
        let watch = format!("/v1/stream?waitlist={}", unknown());
        for (method, path) in [
            (Method::GET, hold.clone()),
            (Method::DELETE, hold.clone()),
            (Method::POST, format!("{hold}/purchase")),
            (Method::GET, entry.clone()),
            (Method::DELETE, entry),
            (Method::GET, watch),
        ] {
            let reply = send(method, path).await;
            assert_eq!(reply.status, 404, "{}", reply.text());
        }
    }
    for (method, path) in [
        (Method::GET, format!("/v1/holds/{}", unknown())),
        (Method::DELETE, format!("/v1/holds/{}", unknown())),
        (Method::POST, format!("/v1/holds/{}/purchase", unknown())),
        (Method::GET, format!("/v1/waitlist/{}", unknown())),
        (Method::DELETE, format!("/v1/waitlist/{}", unknown())),
        (Method::GET, format!("/v1/stream?waitlist={}", unknown())),
        (Method::GET, format!("/v1/stream?orders={}", unknown())),
    ] {
        let reply = send(method, path).await;
        refused(
            &reply,
            "too_many_attempts",
            r#""address-attempts";q=60;w=60"#,
        );
    }
    // Known ids are read and bought, and other addresses are not affected.
    one.get(&format!("/v1/holds/{held}")).await.ok(200);
    send(Method::POST, format!("/v1/holds/{held}/purchase"))
        .await
        .ok(201);
    let reply = other.get(&format!("/v1/holds/{}", unknown())).await;
    reply.problem(404, "hold_not_found");
    let log = app.stderr();
    assert!(log.contains("unknown holds or waitlist entries"), "{log}");
    assert!(!log.contains(ONE), "{log}");
}

#[tokio::test]
async fn untrusted_peer_that_forwards_is_logged_once() {
    for (unlimited, words) in [
        ("127.0.0.0/8", "its clients have no limits per address"),
        ("none", "all its clients count as one address"),
    ] {
        let launch = Launch::fresh().await;
        let launch = launch.with("HOLDFAST_UNLIMITED_NETWORKS", unlimited);
        let app = launch
            .with("HOLDFAST_ADDRESS_LIMIT", "3/3600")
            .start()
            .await;
        let drop = app.create_drop(100, json!({})).await;
        let mut statuses = vec![];
        for address in [ONE, OTHER, "203.0.113.3", "203.0.113.4", "203.0.113.5"] {
            statuses.push(client(&app, address).holds(&drop).await.status);
        }
        let expected: &[u16] = if unlimited == "none" {
            &[201, 429]
        } else {
            &[201]
        };
        assert_eq!(distinct(statuses), expected, "{unlimited}");
        let log = app.stderr();
        assert_eq!(log.matches(words).count(), 1, "{log}");
        assert!(log.contains("HOLDFAST_TRUSTED_PROXIES"), "{log}");
        assert!(!log.contains(ONE), "{log}");
    }
}

#[tokio::test]
async fn rejections_by_address_limits_are_counted_for_the_drop() {
    let app = behind_a_proxy(&[
        ("HOLDFAST_ADDRESS_HOLDS", "1"),
        ("HOLDFAST_ADDRESS_WAITLIST", "1"),
    ])
    .await;
    let drop = app.create_drop(5, json!({})).await;
    let empty = app.create_drop(0, json!({})).await;
    let one = client(&app, ONE);
    one.held(&drop).await;
    one.joins(&empty).await.ok(201);
    for _ in 0..2 {
        one.holds(&drop).await.problem(429, "address_limit_reached");
        one.joins(&empty)
            .await
            .problem(429, "address_limit_reached");
    }
    let metrics = fetch(app.admin(Method::GET, "/v1/admin/metrics")).await;
    assert_eq!(metrics.ok(200)["throttle_blocks"], 4);
}

#[tokio::test]
async fn unknown_ids_of_a_buyer_with_a_token_lock_no_key_out() {
    let app = behind_a_proxy(&[
        ("HOLDFAST_BUYER_SECRET", SECRET),
        ("HOLDFAST_ADDRESS_ATTEMPTS", "2/3600"),
    ])
    .await;
    let one = client(&app, ONE);
    let send = async |bearer: &str, method: &Method, path: &str| {
        let request = one.request(method.clone(), path).bearer_auth(bearer);
        fetch(request).await
    };
    let token = harness::token(SECRET, "alice", 3_600);
    let unknown = Uuid::new_v4;
    for _ in 0..3 {
        for (method, path) in [
            (Method::GET, format!("/v1/holds/{}", unknown())),
            (Method::DELETE, format!("/v1/holds/{}", unknown())),
            (Method::POST, format!("/v1/holds/{}/purchase", unknown())),
            (Method::GET, format!("/v1/orders/{}", unknown())),
            (Method::POST, format!("/v1/orders/{}/cancel", unknown())),
            (Method::GET, format!("/v1/purchases/{}", unknown())),
            (Method::GET, format!("/v1/waitlist/{}", unknown())),
            (Method::DELETE, format!("/v1/waitlist/{}", unknown())),
        ] {
            let reply = send(&token, &method, &path).await;
            assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
        }
    }
    let head = "/v1/log/head";
    send(ADMIN_KEY, &Method::GET, head).await.ok(200);
    // Wrong keys still count, and a buyer's token is not affected by the lockout.
    for _ in 0..2 {
        let wrong = send("wrong", &Method::GET, head).await;
        wrong.problem(401, "unauthorized");
    }
    let right = send(ADMIN_KEY, &Method::GET, head).await;
    right.problem(429, "too_many_attempts");
    let path = format!("/v1/holds/{}", unknown());
    let reply = send(&token, &Method::GET, &path).await;
    reply.problem(404, "hold_not_found");
}

/// The secret with which the shop signs tokens.
const SECRET: &str = "a secret of the shop, 32 bytes long";

#[tokio::test]
async fn rejected_token_is_not_a_guessed_key_and_token_buyers_are_limited_too() {
    let app = behind_a_proxy(&[
        ("HOLDFAST_BUYER_SECRET", SECRET),
        ("HOLDFAST_ADDRESS_ATTEMPTS", "2/3600"),
        ("HOLDFAST_ADDRESS_LIMIT", "2/3600"),
    ])
    .await;
    let drop = app.create_drop(10, json!({})).await;
    let one = client(&app, ONE);
    let path = format!("/v1/drops/{drop}/holds");
    let hold_as = |bearer: String, buyer: &'static str| {
        let request = one.request(Method::POST, &path).bearer_auth(bearer);
        let request = request.header("idempotency-key", key());
        fetch(request.json(&json!({ "buyer_id": buyer })))
    };
    let token = |lasts: i64| harness::token(SECRET, "alice", lasts);
    for _ in 0..5 {
        let expired = hold_as(token(-3_600), "alice").await;
        expired.problem(401, "unauthorized");
    }
    for _ in 0..2 {
        let valid = hold_as(token(3_600), "alice").await;
        valid.ok(201);
    }
    let valid = hold_as(token(3_600), "alice").await;
    valid.problem(429, "throttled");
    hold_as(ADMIN_KEY.to_owned(), "bob").await.ok(201);
    for _ in 0..2 {
        let guessed = hold_as("a guess".to_owned(), "bob").await;
        guessed.problem(401, "unauthorized");
    }
    let right = hold_as(ADMIN_KEY.to_owned(), "bob").await;
    right.problem(429, "too_many_attempts");
    // A buyer with a token is rejected only because of the window.
    let valid = hold_as(token(3_600), "alice").await;
    valid.problem(429, "throttled");
}
