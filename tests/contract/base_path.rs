//! A shop below a path of its host (`HOLDFAST_BASE_PATH`): every address that its pages, responses
//! and files name is below that path.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeSet;

use harness::proxies::BELOW;
use harness::{ADMIN_KEY, Api, App, Launch, Reply, fetch, key, text};
use regex::Regex;
use reqwest::redirect::Policy;
use reqwest::{Method, Url};
use serde_json::{Value, json};

async fn below() -> App {
    let launch = Launch::fresh().await;
    launch.with("HOLDFAST_BASE_PATH", BELOW).start().await
}

/// Reads an address as it is, without a description.
async fn read(address: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = reqwest::Client::builder().redirect(Policy::none());
    let client = client.no_proxy().build().unwrap();
    let request = headers
        .iter()
        .fold(client.get(address), |request, (name, value)| {
            request.header(*name, *value)
        });
    request.send().await.unwrap()
}

/// The cookie of an administrator's session, whose path is that of the shop.
async fn signed_in(app: &App) -> String {
    let session = app.request(Method::POST, "/v1/admin/session");
    let origin = format!("http://{}", app.address());
    let session = session.header("origin", origin);
    let reply = fetch(session.json(&json!({ "key": ADMIN_KEY }))).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let cookie = reply.header("set-cookie");
    assert!(cookie.contains("; Path=/shop; "), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

/// Asserts that a header is the address of the new resource, and that it is there.
async fn assert_located(app: &App, reply: &Reply) {
    assert_eq!(reply.status, 201, "{}", reply.text());
    let location = reply.header("location");
    assert!(location.starts_with("/shop/v1/"), "{location}");
    let found = app.admin(Method::GET, location.strip_prefix(BELOW).unwrap());
    assert_eq!(fetch(found).await.status, 200, "{location}");
}

/// Everything of a shop that has an address.
struct Shop {
    drop: String,
    order: String,
}

/// Fills the shop, and checks the address of each new resource.
async fn filled(app: &App) -> Shop {
    let creator = app.admin(Method::PUT, "/v1/creators/nord");
    assert_located(app, &fetch(creator.json(&json!({ "name": "Nord" }))).await).await;
    let product = json!({
        "title": "Jacket", "creator_id": "nord", "variants": [{ "id": "m", "name": "M" }],
    });
    let made = app.admin(Method::PUT, "/v1/products/jacket").json(&product);
    assert_located(app, &fetch(made).await).await;
    let drop = json!({
        "name": "Jacket", "price": { "amount": 4900, "currency": "EUR" }, "total_stock": 3, "max_per_hold": 2,
        "product_id": "jacket", "variant_id": "m", "image_url": "/pictures/jacket.webp",
    });
    let drop = app.post_drop(&drop).await;
    assert_located(app, &drop).await;
    let drop = text(&drop.json()["id"]);
    assert_located(app, &app.hold(&drop, "ann").await).await;
    let body = json!({ "buyer_id": "bob", "items": [{ "drop_id": drop, "quantity": 2 }] });
    let order = app.request(Method::POST, "/v1/orders");
    let order = fetch(order.header("idempotency-key", key()).json(&body)).await;
    assert_located(app, &order).await;
    let entry = app.request(Method::POST, &format!("/v1/drops/{drop}/waitlist"));
    let entry = entry.header("idempotency-key", key());
    assert_located(app, &fetch(entry.json(&json!({ "buyer_id": "eve" }))).await).await;
    let endpoint = json!({ "url": "https://shop.example/webhooks" });
    let endpoint = app
        .admin(Method::POST, "/v1/admin/webhooks")
        .json(&endpoint);
    assert_located(app, &fetch(endpoint).await).await;
    Shop {
        drop,
        order: text(&order.json()["id"]),
    }
}

/// The addresses in a page, a stylesheet or a module.
fn addresses(kind: &str, text: &str) -> Vec<String> {
    let patterns: &[&str] = match kind {
        "text/html; charset=utf-8" => &[
            r#"\s(?:href|src|action|formaction|data|poster|srcset)="([^"]*)""#,
            r#"<meta property="og:(?:url|image)" content="([^"]*)""#,
            r#""(?:url|image)":"([^"]*)""#,
        ],
        "text/css; charset=utf-8" => &[r#"url\("?([^")]*)"?\)"#, r#"@import "([^"]*)""#],
        "text/javascript; charset=utf-8" => {
            &[r#"(?m)^(?:import|\} from|import .* from) "([^"]*)""#]
        }
        _ => &[],
    };
    let found = patterns.iter().flat_map(|pattern| {
        let pattern = Regex::new(pattern).unwrap();
        let all = pattern.captures_iter(text);
        all.map(|found| found[1].replace("&amp;", "&"))
            .collect::<Vec<_>>()
    });
    found.collect()
}

#[tokio::test]
async fn every_address_of_every_page_is_below_the_base_path() {
    let app = below().await;
    let Shop { drop, order } = filled(&app).await;
    let cookie = signed_in(&app).await;
    let host = format!("http://{}", app.address());
    let pages = [
        "/",
        "/?lang=he",
        "/cart",
        "/creators",
        "/creators/nord",
        "/products/jacket",
        "/docs",
        "/docs/schemas",
        "/problems",
        "/problems/sold_out",
        "/problems/none",
        "/no-page",
        "/admin",
        "/admin/orders",
        "/admin/revenue",
        "/admin/buyers",
        "/admin/catalogue",
        "/admin/webhooks",
        "/admin/attention",
        "/embed.js",
        "/push.js",
        "/openapi.json",
    ];
    let mut open: Vec<String> = pages.map(|page| format!("{host}/shop{page}")).into();
    open.push(format!("{host}/shop/drops/{drop}"));
    open.push(format!("{host}/shop/orders/{order}"));
    open.push(format!("{host}/shop/admin/drops/{drop}"));
    open.push(format!("{host}/shop/admin/orders/{order}"));
    let mut seen: BTreeSet<String> = open.iter().cloned().collect();
    let mut of_host = BTreeSet::new();
    while let Some(address) = open.pop() {
        let accept = ("accept", "text/html,*/*;q=0.8");
        let reply = read(&address, &[accept, ("cookie", &cookie)]).await;
        let here = Url::parse(&address).unwrap();
        let is_absent = ["/shop/no-page", "/shop/problems/none"].contains(&here.path());
        let expected = if is_absent { 404 } else { 200 };
        assert_eq!(reply.status(), expected, "{address}");
        let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
        if let Some(cookie) = reply.headers().get("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("; Path=/shop;"), "{address}: {cookie}");
        }
        for written in addresses(&kind, &reply.text().await.unwrap()) {
            let mut to = here.join(&written).unwrap();
            to.set_fragment(None);
            if !to.as_str().starts_with(&host) {
                // Schema.org, and hosts in examples.
                continue;
            }
            if !to.path().starts_with("/shop/") {
                of_host.insert(to.path().to_owned());
            } else if seen.insert(to.to_string()) {
                open.push(to.to_string());
            }
        }
    }
    // A picture that the shop named by a path of its host.
    assert!(of_host.iter().eq(["/pictures/jacket.webp"]), "{of_host:?}");
    for needed in [
        "/shop/assets/lib/api.js",
        "/shop/theme.css",
        "/shop/assets/lib/base.js",
        "/shop/v1/drops",
    ] {
        assert!(
            seen.contains(&format!("{host}{needed}")),
            "{needed}: {seen:#?}"
        );
    }
}

#[tokio::test]
async fn api_documents_and_feeds_name_addresses_below_the_base_path() {
    let app = below().await;
    let Shop { drop, .. } = filled(&app).await;
    let host = format!("http://{}", app.address());

    let document = app.get("/openapi.json").await.json();
    assert_eq!(document["servers"][0]["url"], "/shop");
    assert!(document["paths"]["/v1/drops"].is_object());
    let of_document = &document["components"]["schemas"]["SoldOutProblem"]["properties"]["type"];
    let refused = app.hold(&drop, "zoe").await.problem(409, "sold_out");
    assert_eq!(refused["type"], "/shop/problems/sold_out");
    if of_document.is_object() {
        assert_eq!(of_document["const"], refused["type"]);
    }
    let explained = read(&format!("{host}/shop/problems/sold_out"), &[]).await;
    assert_eq!(explained.status(), 200);

    let map = app.get("/sitemap.xml").await.text();
    for page in ["/", "/creators", &format!("/drops/{drop}")] {
        assert!(
            map.contains(&format!("<loc>{host}/shop{page}</loc>")),
            "{map}"
        );
    }
    let robots = app.get("/robots.txt").await.text();
    assert!(robots.contains("Disallow: /shop/admin\n"), "{robots}");
    let sitemap = format!("Sitemap: {host}/shop/sitemap.xml\n");
    assert!(robots.contains(&sitemap), "{robots}");
    let feed = app.get("/v1/feeds/google.tsv").await.text();
    assert!(
        feed.contains(&format!("{host}/shop/drops/{drop}")),
        "{feed}"
    );
    assert!(
        feed.contains(&format!("{host}/pictures/jacket.webp")),
        "{feed}"
    );

    let buyer = fetch(app.admin(Method::GET, "/v1/admin/buyers/bob"))
        .await
        .ok(200);
    let named = |value: &Value| text(value).starts_with("/shop/v1/");
    assert!(named(&buyer["orders"]["url"]), "{buyer}");
    assert!(named(&buyer["drops"][0]["url"]), "{buyer}");
    let seeded = [
        "seed",
        "--url",
        &format!("{host}/shop"),
        "--admin-key",
        ADMIN_KEY,
    ];
    let seeded = app.launch().run(&seeded).await;
    assert_eq!(seeded.code, Some(0), "{seeded:?}");
    let redirected = read(&format!("{host}/shop/drops/"), &[]).await;
    assert_eq!(redirected.headers()["location"], "/shop/");
    let mut stream = app.watch(&format!("?drops={drop}")).await;
    assert_eq!(stream.drop().await.json()["id"], *drop);
}

#[tokio::test]
async fn proxy_passes_the_path_on_or_states_what_it_has_removed() {
    let app = below().await;
    let drop = app.create_drop(1, json!({})).await;
    let host = format!("http://{}", app.address());
    let at = |path: &str| format!("{host}{path}");
    // Probes and Prometheus ask the server itself.
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(read(&at(path), &[]).await.status(), 200, "{path}");
        let below = read(&at(&format!("/shop{path}")), &[]).await;
        assert_eq!(below.status(), 200, "{path}");
    }
    let redirected = read(&at("/shop?lang=de"), &[]).await;
    assert_eq!(redirected.status(), 307);
    assert_eq!(redirected.headers()["location"], "/shop/?lang=de");
    let page = format!("/drops/{drop}");
    for path in [
        "/",
        &page,
        "/v1/drops",
        "/shopping",
        "/SHOP/",
        "/sho%70/",
        "/shop/shop/",
    ] {
        let refused = read(&at(path), &[("accept", "application/problem+json")]).await;
        assert_eq!(refused.status(), 404, "{path}");
        assert_eq!(refused.headers()["cache-control"], "no-store");
    }
    let refused: Value = read(&at("/v1/drops"), &[]).await.json().await.unwrap();
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("is mounted below /shop (HOLDFAST_BASE_PATH)"),
        "{detail}"
    );
    assert!(detail.contains("X-Forwarded-Prefix: /shop"), "{detail}");
    // A proxy that removes it says so; then it is removed no second time.
    let removed = [("x-forwarded-prefix", "/shop")];
    for path in ["/", &page, "/v1/drops"] {
        let served = read(&at(path), &removed).await;
        assert_eq!(served.status(), 200, "{path}");
        let body = served.text().await.unwrap();
        assert!(
            path.starts_with("/v1") || body.contains("href=\"/shop/theme.css\""),
            "{body}"
        );
    }
    assert_eq!(read(&at("/shop/admin"), &removed).await.status(), 404);
}

#[tokio::test]
async fn path_of_the_public_url_is_the_base_path() {
    let launch = Launch::fresh().await;
    let launch = launch.with("HOLDFAST_PUBLIC_URL", "https://shop.example/a/b/");
    let app = launch.start().await;
    let host = format!("http://{}", app.address());
    assert!(
        app.stdout()
            .starts_with(&format!("listening on {host}/a/b\n")),
        "{}",
        app.stdout()
    );
    let page = read(&format!("{host}/a/b/"), &[])
        .await
        .text()
        .await
        .unwrap();
    assert!(
        page.contains("rel=\"canonical\" href=\"https://shop.example/a/b/\""),
        "{page}"
    );
    assert!(page.contains("href=\"/a/b/theme.css\""), "{page}");
    // The origin is the public one, with any host that the proxy asks for.
    let session = Api::new(format!("{host}/a/b")).request(Method::POST, "/v1/admin/session");
    let session = session.header("origin", "https://shop.example");
    let session = session
        .json(&json!({ "key": ADMIN_KEY }))
        .send()
        .await
        .unwrap();
    assert_eq!(session.status(), 201);
    let cookie = session.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("; Path=/a/b;"), "{cookie}");
}

#[tokio::test]
async fn base_path_that_cannot_be_used_is_refused_in_one_sentence() {
    let refused = async |variables: &[(&str, &str)]| {
        let launch = variables
            .iter()
            .fold(Launch::private(), |launch, (name, value)| {
                launch.with(name, value)
            });
        let ended = launch.run(&["serve"]).await;
        assert_eq!(ended.code, Some(2), "{variables:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        ended.stderr
    };
    for (value, words) in [
        ("shop", "must begin with a slash, as /shop does"),
        ("/", "must name a path, as /shop does"),
        ("/shop/", "must not end with a slash"),
        ("//shop", "must not have two slashes in a row"),
        ("/a/../b", "must not have a segment of dots"),
        ("/shop?a", "must be a path without a query or fragment"),
        ("/sh%6fp", "must not have percent-escapes"),
        ("/a b", "must have letters and digits of ASCII"),
    ] {
        let line = refused(&[("HOLDFAST_BASE_PATH", value)]).await;
        assert!(line.contains(words), "{value}: {line}");
        assert!(line.contains("--base-path"), "{value}: {line}");
    }
    let line = refused(&[
        ("HOLDFAST_BASE_PATH", "/shop"),
        ("HOLDFAST_PUBLIC_URL", "https://shop.example/store"),
    ])
    .await;
    assert!(line.contains("HOLDFAST_BASE_PATH is /shop, but"), "{line}");
    assert!(
        line.contains("has the path /store: make them equal"),
        "{line}"
    );
    let line = refused(&[("HOLDFAST_PUBLIC_URL", "https://shop.example/a%20b")]).await;
    assert!(
        line.contains("which must not have percent-escapes"),
        "{line}"
    );
}
