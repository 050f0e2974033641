//! Pages of other origins: listed ones may use the API with keys, tokens or no credentials, and
//! read every response; others get no header of CORS. Cookies never count.
//!
//! `tests/browser/embed.test.mjs` has the same with a browser, which enforces these headers.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{ADMIN_KEY, App, Launch, Raw, Reply, fetch, key};
use reqwest::Method;
use serde_json::json;

const LISTED: &str = "https://shop.example";
const ALSO_LISTED: &str = "http://localhost:3000";
const OTHERS: [&str; 6] = [
    "https://other.example",
    "https://shop.example.other.example",
    "http://shop.example",
    "https://shop.example:8443",
    "https://SHOP.example",
    "null",
];

async fn listing() -> Launch {
    let origins = format!("{LISTED}, {ALSO_LISTED}");
    Launch::fresh()
        .await
        .with("HOLDFAST_CORS_ORIGINS", &origins)
}

/// The headers of CORS in a response, by name.
fn headers_of_cors(reply: &Reply) -> Vec<(String, String)> {
    let headers = reply.headers.iter();
    let of_cors = headers.filter(|(name, _)| name.as_str().starts_with("access-control-"));
    let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
    let mut of_cors: Vec<_> = of_cors
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    of_cors.sort();
    of_cors
}

fn varies_by_origin(reply: &Reply) -> bool {
    let values = reply.headers.get_all("vary").iter();
    let mut names = values.flat_map(|value| value.to_str().unwrap().split(','));
    names.any(|name| name.trim().eq_ignore_ascii_case("origin"))
}

#[track_caller]
fn assert_readable(reply: &Reply, origin: &str) {
    let exposed = "location,etag,retry-after,ratelimit,ratelimit-policy,idempotent-replayed,\
                   holdfast-position,holdfast-server-time";
    let expected = [
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", exposed),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers_of_cors(reply), expected, "{reply:?}");
    assert!(varies_by_origin(reply), "{reply:?}");
}

#[track_caller]
fn assert_unreadable(reply: &Reply) {
    assert_eq!(headers_of_cors(reply), [], "{reply:?}");
}

/// Sends one request over a connection of its own and returns the response.
async fn sent(app: &App, head: &str) -> Reply {
    let mut connection = Raw::connect(app.address()).await;
    connection.send(format!("{head}\r\n\r\n").as_bytes()).await;
    connection.next_reply().await
}

async fn preflight(app: &App, origin: &str, path: &str) -> Reply {
    let head = format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: holdfast\r\norigin: {origin}\r\n\
         access-control-request-method: POST\r\n\
         access-control-request-headers: authorization,content-type,idempotency-key"
    );
    sent(app, &head).await
}

#[tokio::test]
async fn preflight_of_a_listed_origin_permits_methods_and_headers_but_no_cookies() {
    let app = listing().await.start().await;
    for origin in [LISTED, ALSO_LISTED] {
        let reply = preflight(&app, origin, "/v1/drops").await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{reply:?}");
        let expected = [
            (
                "access-control-allow-headers",
                "authorization,challenge-solution,content-type,idempotency-key,if-match,\
                 if-none-match,last-event-id",
            ),
            (
                "access-control-allow-methods",
                "GET,HEAD,POST,PUT,PATCH,DELETE",
            ),
            ("access-control-allow-origin", origin),
            ("access-control-max-age", "7200"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers_of_cors(&reply), expected);
        assert!(varies_by_origin(&reply), "{reply:?}");
    }
    // It changes nothing, not even for a path that creates something.
    assert_eq!(app.log().await.len(), 0);
}

#[tokio::test]
async fn every_other_origin_gets_no_header_of_cors() {
    let app = listing().await.start().await;
    for origin in OTHERS {
        let reply = preflight(&app, origin, "/v1/drops").await;
        reply.problem(405, "method_not_allowed");
        assert_unreadable(&reply);
        assert!(varies_by_origin(&reply), "{reply:?}");
        let reply = fetch(
            app.request(Method::GET, "/v1/drops")
                .header("origin", origin),
        )
        .await;
        reply.ok(200);
        assert_unreadable(&reply);
        assert!(varies_by_origin(&reply), "{reply:?}");
    }
    // Two origins are none, even if both are listed.
    let twice =
        format!("GET /v1/drops HTTP/1.1\r\nhost: holdfast\r\norigin: {LISTED}\r\norigin: {LISTED}");
    let refused = sent(&app, &twice).await;
    refused.problem(400, "malformed_request");
    assert_unreadable(&refused);
    let without = app.get("/v1/drops").await;
    assert_unreadable(&without);
    assert!(varies_by_origin(&without), "{without:?}");
}

#[tokio::test]
async fn without_the_setting_there_is_no_header_of_cors() {
    let app = App::start().await;
    preflight(&app, LISTED, "/v1/drops")
        .await
        .problem(405, "method_not_allowed");
    for reply in [
        preflight(&app, LISTED, "/v1/drops").await,
        fetch(
            app.request(Method::GET, "/v1/drops")
                .header("origin", LISTED),
        )
        .await,
    ] {
        assert_unreadable(&reply);
        assert!(!varies_by_origin(&reply), "{reply:?}");
    }
}

#[tokio::test]
async fn listed_origin_sells_and_reads_every_problem() {
    let app = listing().await.start().await;
    let from = |method, path: &str| app.request(method, path).header("origin", LISTED);
    let new = json!({
        "name": "Lamp", "price": { "amount": 4_900, "currency": "EUR" }, "total_stock": 1,
    });
    let created = from(Method::POST, "/v1/drops").header("idempotency-key", key());
    let created = fetch(created.bearer_auth(ADMIN_KEY).json(&new)).await;
    let drop = created.ok(201);
    assert_readable(&created, LISTED);
    let holds = format!("/v1/drops/{}/holds", drop["id"].as_str().unwrap());
    let hold = |buyer: &str| {
        let request = from(Method::POST, &holds).header("idempotency-key", key());
        fetch(request.json(&json!({ "buyer_id": buyer })))
    };
    let held = hold("ann").await;
    let purchase = format!(
        "/v1/holds/{}/purchase",
        held.ok(201)["id"].as_str().unwrap()
    );
    assert_readable(&held, LISTED);
    let refused = hold("ben").await;
    refused.problem(409, "sold_out");
    assert_readable(&refused, LISTED);
    let bought = fetch(from(Method::POST, &purchase)).await;
    bought.ok(201);
    assert_readable(&bought, LISTED);

    let unauthorized = fetch(from(Method::GET, "/v1/log")).await;
    unauthorized.problem(401, "unauthorized");
    let unknown = fetch(from(Method::GET, "/v1/unknown")).await;
    unknown.problem(404, "not_found");
    let not_allowed = fetch(from(Method::PUT, "/v1/drops")).await;
    not_allowed.problem(405, "method_not_allowed");
    let large = from(Method::POST, &holds).header("idempotency-key", key());
    let large = fetch(large.json(&json!({ "buyer_id": "x".repeat(20_000) }))).await;
    large.problem(413, "body_too_large");
    let another = format!("GET /v1/drops HTTP/1.1\r\nhost: a\r\nhost: b\r\norigin: {ALSO_LISTED}");
    let two_hosts = sent(&app, &another).await;
    two_hosts.problem(400, "malformed_request");
    assert_readable(&two_hosts, ALSO_LISTED);
    for reply in [unauthorized, unknown, not_allowed, large] {
        assert_readable(&reply, LISTED);
    }
}

#[tokio::test]
async fn listed_origin_reads_the_refusals_of_rate_limits_and_of_connections() {
    const MOST: usize = 4;
    let launch = listing().await.with("HOLDFAST_UNLIMITED_NETWORKS", "none");
    let launch = launch.with("HOLDFAST_ADDRESS_LIMIT", "1/3600");
    let most = MOST.to_string();
    let app = launch.with("HOLDFAST_MAX_CONNECTIONS", &most).start().await;
    let drop = app.create_drop(9, json!({})).await;
    app.held(&drop, "ann").await;
    let throttled = app.request(Method::POST, &format!("/v1/drops/{drop}/holds"));
    let throttled = throttled.header("idempotency-key", key());
    let throttled = throttled.header("origin", LISTED);
    let throttled = fetch(throttled.json(&json!({ "buyer_id": "ben" }))).await;
    throttled.problem(429, "throttled");
    assert!(throttled.headers.contains_key("ratelimit"));
    assert_readable(&throttled, LISTED);

    let request =
        format!("GET /health/live HTTP/1.1\r\nhost: holdfast\r\norigin: {LISTED}\r\n\r\n");
    let mut kept = vec![];
    let refused = loop {
        assert!(kept.len() <= MOST, "the limit holds");
        let mut connection = Raw::connect(app.address()).await;
        connection.send(request.as_bytes()).await;
        let reply = connection.next_reply().await;
        assert_readable(&reply, LISTED);
        if reply.status != 200 {
            break reply;
        }
        kept.push(connection);
    };
    refused.problem(503, "unavailable");
}

#[tokio::test]
async fn stream_is_readable_before_and_after_a_shard_has_taken_it_over() {
    let app = listing().await.start().await;
    let drop = app.create_drop(2, json!({})).await;
    let mut stream = Raw::connect(app.address()).await;
    let request = format!(
        "GET /v1/stream?drops={drop} HTTP/1.1\r\nhost: holdfast\r\norigin: {LISTED}\r\n\r\n"
    );
    stream.send(request.as_bytes()).await;
    let head = stream.read_until("\"held\":0").await;
    let line = format!("access-control-allow-origin: {LISTED}\r\n");
    assert!(head.contains(&line), "{head}");
    // A shard writes this one.
    app.held(&drop, "ann").await;
    stream.read_until("\"held\":1").await;

    let mut other = Raw::connect(app.address()).await;
    let request = request.replace(LISTED, OTHERS[0]);
    other.send(request.as_bytes()).await;
    let head = other.read_until("\"held\":1").await;
    assert!(!head.contains("access-control-"), "{head}");
    // A refusal before the stream starts is readable.
    let unknown = app.request(Method::GET, "/v1/stream?drops=x");
    let unknown = fetch(unknown.header("origin", LISTED)).await;
    unknown.problem(400, "invalid_query");
    assert_readable(&unknown, LISTED);
}

#[tokio::test]
async fn session_of_an_administrator_is_refused_to_a_listed_origin() {
    let app = listing().await.start().await;
    let own = format!("http://{}", app.address());
    let sign_in = |origin: &str| {
        let request = app.request(Method::POST, "/v1/admin/session");
        let request = request.header("origin", origin.to_owned());
        fetch(request.json(&json!({ "key": ADMIN_KEY })))
    };
    let refused = sign_in(LISTED).await;
    refused.problem(403, "forbidden");
    assert!(!refused.headers.contains_key("set-cookie"), "{refused:?}");
    let session = sign_in(&own).await;
    session.ok(201);
    let cookie = session.header("set-cookie").split(';').next().unwrap();
    let with_cookie = |method, path: &str, origin: &str| {
        let request = app
            .request(method, path)
            .header("cookie", cookie.to_owned());
        fetch(request.header("origin", origin.to_owned()))
    };
    let metrics = "/v1/admin/metrics";
    with_cookie(Method::GET, metrics, &own).await.ok(200);
    for (method, path) in [
        (Method::GET, metrics),
        (Method::DELETE, "/v1/admin/session"),
        (Method::DELETE, "/v1/admin/buyers/ann"),
    ] {
        let reply = with_cookie(method, path, LISTED).await;
        reply.problem(403, "forbidden");
        // `Access-Control-Allow-Credentials` is not among these headers.
        assert_readable(&reply, LISTED);
    }
    // A key in a header is the page's own.
    let with_key = app.admin(Method::GET, metrics).header("origin", LISTED);
    fetch(with_key).await.ok(200);
}

#[tokio::test]
async fn list_that_could_not_match_is_refused_at_the_start() {
    for (list, words) in [
        ("*", "\"*\" has a wildcard: list each origin"),
        ("https://*.shop.example", "has a wildcard"),
        ("https://shop.example,null", "null stands for local files"),
        (
            "https://shop.example/",
            "\"https://shop.example/\" is not an origin as browsers send it: write \
             https://shop.example",
        ),
        (
            "https://shop.example/checkout",
            "write https://shop.example",
        ),
        ("https://shop.example:443", "write https://shop.example"),
        ("shop.example", "is not an origin like https://shop.example"),
    ] {
        for (variables, arguments) in [
            (&[("HOLDFAST_CORS_ORIGINS", list)][..], &["serve"][..]),
            (&[], &["serve", "--cors-origins", list]),
        ] {
            let launch = variables
                .iter()
                .fold(Launch::private(), |launch, (name, value)| {
                    launch.with(name, value)
                });
            let refused = launch.run(arguments).await;
            assert_eq!(refused.code, Some(2), "{list}: {refused:?}");
            assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
            assert!(refused.stderr.contains(words), "{list}: {}", refused.stderr);
        }
    }
}

#[tokio::test]
async fn every_response_to_a_write_has_its_position_in_a_header() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "max_hold_seconds": 600 })).await;
    let path = format!("/v1/drops/{drop}");
    let admin = |method, path: String| app.admin(method, &path).header("idempotency-key", key());
    let edit = admin(Method::PATCH, path.clone()).header("if-match", "*");
    let edited = fetch(edit.json(&json!({ "max_per_hold": 3 }))).await;
    let count = admin(Method::PUT, format!("{path}/stock")).header("if-match", "*");
    let counted = fetch(count.json(&json!({ "total": 8, "reason": "count" }))).await;
    let held = app.hold(&drop, "ann").await;
    let hold = held.ok(201)["id"].as_str().unwrap().to_owned();
    let change = admin(Method::PATCH, format!("/v1/holds/{hold}"));
    let changed = fetch(change.json(&json!({ "quantity": 2 }))).await;
    let extend = admin(Method::POST, format!("/v1/holds/{hold}/extend"));
    let extended = fetch(extend.json(&json!({ "seconds": 500 }))).await;
    let bought = app.purchase(&hold).await;
    let again = app.purchase(&hold).await;
    assert!(again.is_replay(), "{again:?}");
    let order = json!({ "buyer_id": "ben", "items": [{ "drop_id": drop }] });
    let ordered = fetch(admin(Method::POST, "/v1/orders".to_owned()).json(&order)).await;
    let released = app.held(&drop, "carol").await;
    let released = app.release(&released).await;
    let cancelled = fetch(admin(Method::POST, format!("{path}/cancel"))).await;
    let head = app.log().await.len();
    let mut last = 0;
    for reply in [
        edited, counted, held, changed, extended, bought, ordered, released, cancelled,
    ] {
        assert!(reply.status < 300, "{reply:?}");
        let position: usize = reply.header("holdfast-position").parse().unwrap();
        assert!(last < position && position <= head, "{position}: {reply:?}");
        last = position;
    }
    let of_replay: usize = again.header("holdfast-position").parse().unwrap();
    assert!(of_replay <= head);
}
