//! Where buyers get a token: `HOLDFAST_SIGN_IN_URL` in problems and pages, and the sign-in page of
//! the demo.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Finished, Launch, Reply, fetch, key, text, token};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "the shop's secret for its buyers";
const SIGN_IN: &str = "https://shop.example/sign-in?from=drops&lang=en";
const DEMO: &str = "/demo/sign-in";

async fn start(more: &[(&str, &str)]) -> App {
    let launch = Launch::fresh().await;
    let launch = more
        .iter()
        .fold(launch, |launch, (name, value)| launch.with(name, value));
    launch.start().await
}

/// A request of each kind of buyers' route.
fn buyers_routes(drop: &str) -> Vec<(Method, String, Option<Value>)> {
    let id = "0197d3f2-92c4-4e0f-8d11-7a5b3c2e9f60";
    let placed = json!({ "buyer_id": "ann" });
    let ordered = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop }] });
    let path = |path: &str| path.to_owned();
    vec![
        (
            Method::POST,
            format!("/v1/drops/{drop}/holds"),
            Some(placed.clone()),
        ),
        (
            Method::POST,
            format!("/v1/drops/{drop}/waitlist"),
            Some(placed),
        ),
        (Method::GET, format!("/v1/drops/{drop}/buyers/ann"), None),
        (Method::GET, format!("/v1/holds/{id}"), None),
        (Method::POST, format!("/v1/holds/{id}/purchase"), None),
        (Method::DELETE, format!("/v1/holds/{id}"), None),
        (Method::GET, format!("/v1/waitlist/{id}"), None),
        (Method::POST, path("/v1/orders"), Some(ordered)),
        (Method::GET, format!("/v1/orders/{id}"), None),
        (Method::GET, path("/v1/orders?buyer_id=ann"), None),
        (Method::GET, path("/v1/buyers/ann/follows"), None),
        (Method::GET, path("/v1/buyers/ann/reminders"), None),
        (Method::GET, path("/v1/buyers/ann/notifications"), None),
        (
            Method::GET,
            path("/v1/buyers/ann/notifications/stream"),
            None,
        ),
        (Method::GET, format!("/v1/stream?orders={id}"), None),
    ]
}

async fn send(
    app: &App,
    (method, path, body): &(Method, String, Option<Value>),
    bearer: Option<&str>,
) -> Reply {
    let mut request = app.request(method.clone(), path);
    if *method == Method::POST {
        request = request.header("idempotency-key", key());
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    fetch(request).await
}

#[tokio::test]
async fn unauthorized_buyer_learns_where_to_sign_in() {
    let app = start(&[
        ("HOLDFAST_BUYER_SECRET", SECRET),
        ("HOLDFAST_SIGN_IN_URL", SIGN_IN),
    ])
    .await;
    let drop = app.create_drop(1, json!({})).await;
    let (expired, forged) = (token(SECRET, "ann", -600), token("another", "ann", 600));
    for route in buyers_routes(&drop) {
        for bearer in [None, Some(expired.as_str()), Some(&forged)] {
            let problem = send(&app, &route, bearer)
                .await
                .problem(401, "unauthorized");
            assert_eq!(problem["sign_in_url"], SIGN_IN, "{route:?}: {problem}");
        }
    }
    // A token for another buyer needs no other sign-in.
    let other = token(SECRET, "bob", 600);
    let route = &buyers_routes(&drop)[0];
    let problem = send(&app, route, Some(&other))
        .await
        .problem(403, "forbidden");
    assert_eq!(problem["sign_in_url"], json!(null));
    // Keys of administrators are not given out by the shop.
    for path in ["/v1/log", "/v1/admin/jobs"] {
        let problem = app.get(path).await.problem(401, "unauthorized");
        assert_eq!(problem["sign_in_url"], json!(null), "{path}");
    }
}

#[tokio::test]
async fn problem_has_no_address_where_the_shop_has_set_none() {
    let app = start(&[("HOLDFAST_BUYER_SECRET", SECRET)]).await;
    let drop = app.create_drop(1, json!({})).await;
    for route in buyers_routes(&drop) {
        let problem = send(&app, &route, None).await.problem(401, "unauthorized");
        assert!(problem.get("sign_in_url").is_none(), "{problem}");
    }
}

async fn page(app: &App, path: &str) -> String {
    let page = app.request(Method::GET, path).header("accept", "text/html");
    let page = fetch(page).await;
    assert!(page.status == 200 || page.status == 404, "{path}");
    page.text()
}

#[tokio::test]
async fn pages_of_the_shop_alone_know_the_sign_in() {
    let of_shop = ["/", "/cart", "/creators", "/drops/none", "/orders/none"];
    let others = ["/admin", "/docs", "/problems"];
    const REQUIRED: &str = r#"<meta name="holdfast-token" content="required">"#;
    const LINK: &str = r#"<meta name="holdfast-sign-in" content="https://shop.example/sign-in?from=drops&amp;lang=en">"#;
    for (settings, needs, links) in [
        (&[][..], false, false),
        (&[("HOLDFAST_BUYER_SECRET", SECRET)], true, false),
        (
            &[
                ("HOLDFAST_BUYER_SECRET", SECRET),
                ("HOLDFAST_SIGN_IN_URL", SIGN_IN),
            ],
            true,
            true,
        ),
    ] {
        let app = start(settings).await;
        for path in of_shop {
            let page = page(&app, path).await;
            assert_eq!(page.contains(REQUIRED), needs, "{path}: {page}");
            assert_eq!(page.contains(LINK), links, "{path}: {page}");
        }
        for path in others {
            let page = page(&app, path).await;
            assert!(!page.contains("holdfast-token"), "{path}");
            assert!(!page.contains("shop.example/sign-in"), "{path}");
        }
    }
}

/// Starts the program with settings that it refuses.
async fn refused(settings: &[(&str, &str)], arguments: &[&str], code: i32) -> Finished {
    let launch = settings
        .iter()
        .fold(Launch::private(), |launch, (name, value)| {
            launch.with(name, value)
        });
    let refused = launch.run(arguments).await;
    assert_eq!(refused.code, Some(code), "{settings:?}: {refused:?}");
    assert_eq!(refused.stderr.trim_end().lines().count(), 1, "{refused:?}");
    refused
}

#[tokio::test]
async fn address_that_cannot_be_used_is_rejected_in_one_line() {
    for (url, reason) in [
        ("/sign-in", "must be an absolute https URL"),
        ("javascript:alert(1)", "must be an absolute https URL"),
        ("http://shop.example/", "must be https"),
        ("https://ann@shop.example/", "user name or password"),
        ("https://shop.example/#in", "fragment"),
        ("https://shop.example/?return_to=/", "return_to"),
    ] {
        let said = refused(&[("HOLDFAST_SIGN_IN_URL", url)], &["serve"], 2).await;
        assert!(said.stderr.contains("--sign-in-url"), "{said:?}");
        assert!(said.stderr.contains(reason), "{said:?}");
    }
}

#[tokio::test]
async fn sign_in_without_tokens_is_a_warning() {
    let app = start(&[("HOLDFAST_SIGN_IN_URL", SIGN_IN)]).await;
    app.wait_for_log("HOLDFAST_SIGN_IN_URL is").await;
    assert!(!page(&app, "/").await.contains("shop.example"));
}

/// Signs in to the demo. Its page is no part of the API, so no document describes the response.
async fn sign_in(app: &App, body: Value, origin: Option<&str>) -> (u16, Value) {
    let mut request = app.request(Method::POST, DEMO).json(&body);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn demo_signs_a_token_for_any_name_and_its_shop_works_with_it() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_AUDIENCE", "drops")
        .start_as(&["demo", "--sign-in", "--shoppers-per-second", "0"])
        .await;
    let drop = app.create_drop(3, json!({})).await;
    let hold = (
        Method::POST,
        format!("/v1/drops/{drop}/holds"),
        Some(json!({ "buyer_id": "Ann" })),
    );
    let problem = send(&app, &hold, None).await.problem(401, "unauthorized");
    assert_eq!(problem["sign_in_url"], DEMO);
    let (status, signed) = sign_in(&app, json!({ "name": " Ann " }), None).await;
    assert_eq!(status, 200, "{signed}");
    let token = text(&signed["token"]);
    let held = send(&app, &hold, Some(&token)).await.ok(201);
    let purchase = format!("/v1/holds/{}/purchase", text(&held["id"]));
    send(&app, &(Method::POST, purchase, None), Some(&token))
        .await
        .ok(201);
    // The demo pays without money here as well.
    let order = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop }] });
    let order = (Method::POST, "/v1/orders".to_owned(), Some(order));
    let order = send(&app, &order, Some(&token)).await.ok(201);
    let payment = format!("/v1/orders/{}/payments", text(&order["id"]));
    let scenario = json!({ "provider": "demo", "scenario": "pays" });
    send(&app, &(Method::POST, payment, Some(scenario)), Some(&token))
        .await
        .ok(201);
    let shown = page(&app, DEMO).await;
    assert!(shown.contains("part of the demo"), "{shown}");
    let own = format!("http://{}", app.address());
    let bob = json!({ "name": "bob" });
    assert_eq!(sign_in(&app, bob.clone(), Some(&own)).await.0, 200);
    for other in ["https://other.example", "http://127.0.0.1:1", "null"] {
        let (status, problem) = sign_in(&app, bob.clone(), Some(other)).await;
        assert_eq!(
            (status, &problem["code"]),
            (403, &json!("forbidden")),
            "{other}"
        );
    }
    for wrong in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": "a\u{202e}b" }),
        json!({ "name": "bob", "exp": 1 }),
    ] {
        let (status, problem) = sign_in(&app, wrong, None).await;
        assert_eq!(
            (status, &problem["code"]),
            (422, &json!("invalid_value")),
            "{problem}"
        );
    }
    assert!(!app.stderr().contains(&token), "{}", app.stderr());
    app.audit_verify().await;
}

#[tokio::test]
async fn shoppers_of_the_demo_buy_where_buyers_need_tokens() {
    let app = Launch::fresh()
        .await
        .start_as(&["demo", "--sign-in", "--shoppers-per-second", "40"])
        .await;
    harness::eventually("shoppers hold, buy and release", || async {
        let log = app.log().await;
        let happened = |kind: &str| log.iter().any(|event| event.event_type == kind);
        let kinds = ["HoldPlaced", "PurchaseConfirmed", "HoldReleased"];
        kinds.into_iter().all(happened).then_some(())
    })
    .await;
    harness::eventually("the demo says where to sign in", || async {
        let said = app.stdout();
        let line = format!("Sign in:     http://{}{DEMO}", app.address());
        (said.contains(&line) && said.contains("-H \"Authorization: Bearer $")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sign_in_of_the_demo_is_nowhere_else() {
    let reachable = [
        "demo",
        "--sign-in",
        "--listen",
        "0.0.0.0:0",
        "--admin-key",
        "an-admin-key-of-20-c",
        "--auditor-key",
        "an-auditor-key-of-22-c",
    ];
    let said = refused(&[("HOLDFAST_BUYER_SECRET", SECRET)], &reachable, 2).await;
    assert!(said.stderr.contains("loopback"), "{said:?}");
    let said = refused(
        &[
            ("HOLDFAST_SIGN_IN_URL", SIGN_IN),
            ("HOLDFAST_DEMO_SIGN_IN", "1"),
        ],
        &["demo"],
        2,
    )
    .await;
    assert!(said.stderr.contains("--sign-in-url"), "{said:?}");
    let said = Launch::private().run(&["serve", "--sign-in"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");

    // A variable that is left over from a demo does nothing in a shop.
    let shop = start(&[
        ("HOLDFAST_BUYER_SECRET", SECRET),
        ("HOLDFAST_DEMO_SIGN_IN", "1"),
    ])
    .await;
    let demo = Launch::fresh().await.with("HOLDFAST_BUYER_SECRET", SECRET);
    let demo = demo.start_as(&["demo", "--shoppers-per-second", "0"]).await;
    for app in [shop, demo] {
        app.get(DEMO).await.problem(404, "not_found");
        let (status, problem) = sign_in(&app, json!({ "name": "ann" }), None).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    }
}
