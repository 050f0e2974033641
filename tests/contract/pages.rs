//! docs/CONTRACT.md on `/` and `/drops/{id}`: the first state without a script, the description for
//! search engines and social networks, and what crawlers may read.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{App, Launch, Reply, fetch, in_seconds};
use reqwest::Method;
use serde_json::{Value, json};

const NASTY: &str = "</script><b>\"'&";

/// The JSON-LD of a page.
fn data(html: &str) -> Value {
    let (_, rest) = html
        .split_once("<script type=\"application/ld+json\">")
        .unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

async fn page(app: &App, drop: &str) -> String {
    let reply = app.get(&format!("/drops/{drop}")).await;
    assert_eq!(reply.status, 200);
    reply.text()
}

async fn read(app: &App, path: &str, etag: &str) -> Reply {
    fetch(app.request(Method::GET, path).header("if-none-match", etag)).await
}

/// Returns the cookie of an administrator's session.
async fn sign_in(app: &App) -> String {
    let request = app.request(Method::POST, "/v1/admin/session");
    let signed_in = fetch(
        request
            .header("origin", format!("http://{}", app.address()))
            .json(&json!({ "key": harness::ADMIN_KEY })),
    )
    .await;
    let cookie = signed_in.header("set-cookie").split(';').next();
    cookie.unwrap().to_owned()
}

#[tokio::test]
async fn front_page_has_the_public_drops_before_any_script() {
    let app = App::start().await;
    let empty = app.get("/").await.text();
    assert!(
        empty.contains("<p id=\"empty\" class=\"empty\">"),
        "{empty}"
    );
    let live = app
        .create_drop(
            1200,
            json!({ "name": "Lamp <i>&", "price": { "amount": 1999, "currency": "USD" } }),
        )
        .await;
    let upcoming = app
        .create_drop(
            5,
            json!({ "name": "Soon", "starts_at": in_seconds(86_400) }),
        )
        .await;
    let level = app
        .create_drop(7, json!({ "name": "Level", "show_stock": "level" }))
        .await;
    let gone = app.create_drop(1, json!({ "name": "Gone" })).await;
    app.purchase(&app.held(&gone, "ann").await).await.ok(201);
    let mut others = vec![];
    for (name, more) in [
        ("Unlisted", json!({ "visibility": "unlisted" })),
        ("Hidden", json!({ "visibility": "hidden" })),
    ] {
        let mut more = more;
        more["name"] = json!(name);
        others.push(app.create_drop(1, more).await);
    }
    let over = app.create_drop(1, json!({ "name": "Over" })).await;
    fetch(app.admin(Method::POST, &format!("/v1/drops/{over}/cancel")))
        .await
        .ok(200);

    let reply = app.get("/").await;
    let html = reply.text();
    // In the sequence of the script: on sale, upcoming, sold out, each newest first.
    let places = [&level, &live, &upcoming, &gone]
        .map(|id| html.find(&format!("data-drop-id=\"{id}\"")).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(html.matches("<drop-card").count(), 4);
    for part in [
        ">Lamp &lt;i&gt;&amp;</a>",
        "<p class=\"price\">$19.99</p>",
        "<strong class=\"left\">1,200 left</strong><span>of 1,200</span>",
        "<strong class=\"left\">In stock</strong><span></span>",
        "<span class=\"status\">Upcoming</span>",
        "<span class=\"status\">Sold out</span>",
        "While stock lasts",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    // No reader learns the numbers of a stock that is shown as a level.
    let card = &html[places[0]..places[1]];
    assert!(!card.contains('7') || !card.contains(">7 "), "{card}");
    assert!(!card.contains("<svg"), "{card}");
    for other in others.iter().chain([&over]) {
        assert!(!html.contains(other.as_str()), "{other}");
    }
    let list = data(&html);
    assert_eq!(
        (&list["@type"], &list["numberOfItems"]),
        (&json!("ItemList"), &json!(4))
    );
    assert_eq!(list["itemListElement"][1]["name"], "Lamp <i>&");

    // The tag changes with the state, and only then.
    let same = read(&app, "/", reply.header("etag")).await;
    assert_eq!(same.status, 304);
    app.hold(&live, "bo").await.ok(201);
    let changed = read(&app, "/", reply.header("etag")).await;
    assert_eq!(changed.status, 200);
    assert!(
        changed
            .text()
            .contains("1,199 left</strong><span>of 1,200 · 1 held"),
        "{}",
        changed.text()
    );
}

#[tokio::test]
async fn page_of_a_drop_describes_it_for_search_engines_and_networks() {
    let launch = Launch::fresh()
        .await
        .with("HOLDFAST_PUBLIC_URL", "https://shop.example");
    let app = launch.start().await;
    fetch(
        app.admin(Method::PUT, "/v1/creators/nord")
            .json(&json!({ "name": "Nord & Co" })),
    )
    .await
    .ok(201);
    let product = json!({
        "title": "Jacket", "creator_id": "nord",
        "variants": [{ "id": "m", "name": "M", "sku": "HJ-M", "gtin": "4006381333931" }],
    });
    fetch(app.admin(Method::PUT, "/v1/products/jacket").json(&product))
        .await
        .ok(201);
    let (starts_at, ends_at) = (in_seconds(3_600), in_seconds(7_200));
    let drop = app.create_drop(3, json!({
        "name": NASTY, "description": "Waxed\n<cotton>.", "image_url": "/pictures/a.jpg",
        "price": { "amount": 1999, "currency": "JPY" }, "product_id": "jacket", "variant_id": "m",
        "starts_at": starts_at, "ends_at": ends_at,
    })).await;
    let html = page(&app, &drop).await;
    assert!(
        !html.contains("<b>") && !html.contains("<cotton>"),
        "{html}"
    );
    assert_eq!(html.matches("</script>").count(), 2, "{html}");
    let escaped = "&lt;/script&gt;&lt;b&gt;&quot;&#39;&amp;";
    let url = format!("https://shop.example/drops/{drop}");
    for part in [
        format!("<title>{escaped} · Holdfast</title>"),
        format!("<h1 dir=\"auto\">{escaped}</h1>"),
        format!("<meta property=\"og:title\" content=\"{escaped} · Holdfast\">"),
        "<meta name=\"description\" content=\"Waxed &lt;cotton&gt;.\">".to_owned(),
        "<meta property=\"og:image\" content=\"https://shop.example/pictures/a.jpg\">".to_owned(),
        format!("<meta property=\"og:url\" content=\"{url}\">"),
        format!("<link rel=\"canonical\" href=\"{url}\">"),
        format!("<link rel=\"alternate\" hreflang=\"de\" href=\"{url}?lang=de\">"),
        "<meta name=\"twitter:card\" content=\"summary_large_image\">".to_owned(),
        "<p class=\"price large\">¥1,999</p>".to_owned(),
    ] {
        assert!(html.contains(&part), "{part}\n{html}");
    }
    let product = data(&html);
    let offer = &product["offers"];
    assert_eq!(product["@context"], "https://schema.org");
    for (value, expected) in [
        (&product["@type"], "Product"),
        (&product["name"], NASTY),
        (&product["sku"], "HJ-M"),
        (&product["gtin"], "4006381333931"),
        (&product["brand"]["name"], "Nord & Co"),
        (&product["image"], "https://shop.example/pictures/a.jpg"),
        (&offer["@type"], "Offer"),
        (&offer["price"], "1999"),
        (&offer["priceCurrency"], "JPY"),
        (&offer["availability"], "https://schema.org/PreOrder"),
        (&offer["availabilityStarts"], &starts_at),
        (&offer["availabilityEnds"], &ends_at),
        (&offer["url"], &url),
    ] {
        assert_eq!(value, expected, "{product}");
    }
}

#[tokio::test]
async fn availability_follows_the_status() {
    let app = App::start().await;
    let drop = app
        .create_drop(1, json!({ "price": { "amount": 5, "currency": "EUR" } }))
        .await;
    let offer = async || data(&page(&app, &drop).await)["offers"].take();
    let first = offer().await;
    assert_eq!(first["availability"], "https://schema.org/InStock");
    assert_eq!(first["price"], "0.05");
    assert_eq!(first["availabilityEnds"], Value::Null);
    let hold = app.held(&drop, "ann").await;
    let html = page(&app, &drop).await;
    assert!(
        html.contains("<span class=\"status\">All units on hold</span>"),
        "{html}"
    );
    assert_eq!(offer().await["availability"], "https://schema.org/SoldOut");
    app.purchase(&hold).await.ok(201);
    assert_eq!(offer().await["availability"], "https://schema.org/SoldOut");
    fetch(app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel")))
        .await
        .ok(200);
    assert_eq!(
        offer().await["availability"],
        "https://schema.org/Discontinued"
    );
}

#[tokio::test]
async fn paused_drop_is_shown_last_and_out_of_stock() {
    let app = App::start().await;
    let paused = app.create_drop(3, json!({ "name": "Paused lamp" })).await;
    let live = app.create_drop(3, json!({})).await;
    let pause = app.admin(Method::POST, &format!("/v1/drops/{paused}/pause"));
    fetch(pause.json(&json!({}))).await.ok(200);
    let front = app.get("/").await.text();
    let places = [&live, &paused].map(|id| front.find(&format!("data-drop-id=\"{id}\"")).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    let html = page(&app, &paused).await;
    for part in [
        "<span class=\"status\">Paused</span>",
        "Sales will resume",
        "3 left",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
        assert!(front[places[1]..].contains(part), "{part}\n{front}");
    }
    let availability = data(&html)["offers"]["availability"].take();
    assert_eq!(availability, "https://schema.org/OutOfStock");
    let german = app.get(&format!("/drops/{paused}?lang=de")).await.text();
    assert!(german.contains("Pausiert"), "{german}");
    let resume = app.admin(Method::POST, &format!("/v1/drops/{paused}/resume"));
    fetch(resume.json(&json!({}))).await.ok(200);
    let html = page(&app, &paused).await;
    assert!(
        html.contains("<span class=\"status\">On sale</span>"),
        "{html}"
    );
}

#[tokio::test]
async fn draft_is_on_no_page_of_the_public() {
    let app = App::start().await;
    let more = json!({ "name": "Secret", "draft": true });
    let draft = app.create_drop(1, more).await;
    let reply = app.get(&format!("/drops/{draft}")).await;
    assert_eq!(reply.status, 404);
    let unknown = app.get(&format!("/drops/{}", uuid::Uuid::nil())).await;
    assert_eq!(unknown.text(), reply.text());
    for path in ["/", "/sitemap.xml", "/v1/feeds/google.tsv"] {
        let text = app.get(path).await.text();
        assert!(!text.contains(&draft) && !text.contains("Secret"), "{path}");
    }
    let cookie = sign_in(&app).await;
    let request = app.request(Method::GET, &format!("/drops/{draft}"));
    let seen = fetch(request.header("cookie", cookie)).await;
    assert_eq!(seen.status, 200);
    let html = seen.text();
    for part in [
        "<span class=\"status\">Draft</span>",
        "Not published",
        "content=\"noindex\"",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    assert!(!html.contains("ld+json"), "{html}");
}

#[tokio::test]
async fn unlisted_and_hidden_drops_are_not_for_search_engines() {
    let app = App::start().await;
    let unlisted = app
        .create_drop(1, json!({ "visibility": "unlisted" }))
        .await;
    let reply = app.get(&format!("/drops/{unlisted}")).await;
    assert_eq!(reply.header("x-robots-tag"), "noindex");
    let html = reply.text();
    assert!(
        html.contains("<meta name=\"robots\" content=\"noindex\">"),
        "{html}"
    );
    assert!(!html.contains("ld+json"), "{html}");
    let hidden = app
        .create_drop(1, json!({ "name": "Secret", "visibility": "hidden" }))
        .await;
    let reply = app.get(&format!("/drops/{hidden}")).await;
    assert_eq!(reply.status, 404);
    assert!(!reply.text().contains("Secret"));
    let unknown = app.get(&format!("/drops/{}", uuid::Uuid::nil())).await;
    assert_eq!(unknown.text(), reply.text());

    // A signed-in administrator sees it, and no shared cache keeps the page.
    let cookie = sign_in(&app).await;
    let request = app.request(Method::GET, &format!("/drops/{hidden}"));
    let seen = fetch(request.header("cookie", cookie)).await;
    assert_eq!(
        (seen.status, seen.header("cache-control")),
        (200, "private, no-cache")
    );
    assert!(seen.text().contains("Secret"));
}

#[tokio::test]
async fn first_state_is_in_the_language_of_the_reader() {
    let app = App::start().await;
    let drop = app
        .create_drop(
            1500,
            json!({ "price": { "amount": 123_456, "currency": "EUR" } }),
        )
        .await;
    for (tag, price, left, status) in [
        ("de", "1.234,56\u{a0}€", "1.500 übrig", "Im Verkauf"),
        (
            "he",
            "\u{200f}1,234.56\u{a0}\u{200f}€",
            "נותרו 1,500",
            "במכירה",
        ),
    ] {
        let reply = fetch(
            app.request(Method::GET, &format!("/drops/{drop}"))
                .header("accept-language", tag),
        )
        .await;
        let html = reply.text();
        for part in [price, left, status] {
            assert!(html.contains(part), "{tag}: {part}\n{html}");
        }
    }
}

#[tokio::test]
async fn crawlers_get_rules_and_a_map_of_public_pages() {
    let app = App::start().await;
    let public = app.create_drop(1, json!({})).await;
    let unlisted = app
        .create_drop(1, json!({ "visibility": "unlisted" }))
        .await;
    let robots = app.get("/robots.txt").await;
    assert_eq!(robots.header("content-type"), "text/plain; charset=utf-8");
    let origin = format!("http://{}", app.address());
    assert!(
        robots
            .text()
            .contains(&format!("Sitemap: {origin}/sitemap.xml\n")),
        "{}",
        robots.text()
    );
    assert!(robots.text().contains("Disallow: /admin\n"));
    let map = app.get("/sitemap.xml").await;
    assert_eq!(map.header("content-type"), "application/xml; charset=utf-8");
    let text = map.text();
    assert!(
        text.contains(&format!("<loc>{origin}/drops/{public}</loc>")),
        "{text}"
    );
    assert!(!text.contains(&unlisted), "{text}");
    assert_eq!(
        read(&app, "/sitemap.xml", map.header("etag")).await.status,
        304
    );
}

#[tokio::test]
async fn address_of_links_is_that_of_the_request_without_a_setting() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let request = app.request(Method::GET, &format!("/drops/{drop}"));
    let html = fetch(request.header("host", "shop.example:8080"))
        .await
        .text();
    let url = format!("http://shop.example:8080/drops/{drop}");
    assert!(
        html.contains(&format!("<link rel=\"canonical\" href=\"{url}\">")),
        "{html}"
    );
}
