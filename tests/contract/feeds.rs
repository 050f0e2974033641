//! docs/CONTRACT.md on `GET /v1/feeds/google.tsv`.

use std::collections::BTreeMap;

use harness::{App, Launch, fetch, text};
use reqwest::Method;
use serde_json::json;

const FEED: &str = "/v1/feeds/google.tsv";

/// The lines of a feed by the id of their drop, as a reader of tab-separated values sees them.
async fn rows(app: &App, path: &str) -> Vec<BTreeMap<String, String>> {
    let reply = app.get(path).await;
    assert_eq!(
        reply.header("content-type"),
        "text/tab-separated-values; charset=utf-8"
    );
    let body = reply.text();
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .from_reader(body.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    // Each drop is one line, also for a reader that knows no quotes.
    assert_eq!(body.lines().count(), rows.len() + 1, "{body}");
    rows
}

#[tokio::test]
async fn feed_has_the_attributes_of_the_specification() {
    let launch = Launch::fresh()
        .await
        .with("HOLDFAST_PUBLIC_URL", "https://shop.example");
    let app = launch.start().await;
    fetch(
        app.admin(Method::PUT, "/v1/creators/nord")
            .json(&json!({ "name": "Nord" })),
    )
    .await
    .ok(201);
    let product = json!({
        "title": "Jacket", "creator_id": "nord",
        "variants": [
            { "id": "m", "name": "M", "sku": "HJ-M", "gtin": "4006381333931" },
            { "id": "l", "name": "L" },
        ],
    });
    fetch(app.admin(Method::PUT, "/v1/products/jacket").json(&product))
        .await
        .ok(201);
    let with = async |more| app.create_drop(1, more).await;
    let medium = with(json!({
        "name": "Jacket \"M\" new", "description": "One\nline\t\"quoted\".", "image_url": "/a.jpg",
        "price": { "amount": 24_900, "currency": "EUR" }, "product_id": "jacket", "variant_id": "m",
    }))
    .await;
    let large = with(json!({
        "name": "Jacket L", "product_id": "jacket", "variant_id": "l",
        "price": { "amount": 1_234, "currency": "BHD" }, "starts_at": "2099-12-05T13:05:00Z",
        "image_url": "data:image/png;base64,AA==",
    }))
    .await;
    let plain =
        with(json!({ "name": "Bowl", "price": { "amount": 7_200, "currency": "JPY" } })).await;
    app.held(&plain, "ann").await;

    let rows = rows(&app, FEED).await;
    let by_id: BTreeMap<&str, _> = rows.iter().map(|row| (row["id"].as_str(), row)).collect();
    assert_eq!(
        rows.iter().map(|row| &row["id"]).collect::<Vec<_>>(),
        [&plain, &large, &medium]
    );
    for (drop, column, value) in [
        (&medium, "title", "Jacket \"M\" new"),
        (&medium, "description", "One line \"quoted\"."),
        (
            &medium,
            "link",
            &format!("https://shop.example/drops/{medium}"),
        ),
        (&medium, "image_link", "https://shop.example/a.jpg"),
        (&medium, "availability", "in_stock"),
        (&medium, "availability_date", ""),
        (&medium, "price", "249.00 EUR"),
        (&medium, "brand", "Nord"),
        (&medium, "gtin", "4006381333931"),
        (&medium, "mpn", "HJ-M"),
        (&medium, "item_group_id", "jacket"),
        (&medium, "identifier_exists", "yes"),
        (&large, "availability", "preorder"),
        (&large, "availability_date", "2099-12-05T13:05:00Z"),
        (&large, "price", "1.234 BHD"),
        (&large, "image_link", ""),
        (&large, "brand", "Nord"),
        (&large, "identifier_exists", "no"),
        (&plain, "description", "Bowl"),
        (&plain, "availability", "out_of_stock"),
        (&plain, "price", "7200 JPY"),
        (&plain, "brand", ""),
        (&plain, "item_group_id", ""),
        (&plain, "identifier_exists", "no"),
    ] {
        assert_eq!(by_id[drop.as_str()][column], value, "{column}");
    }
}

#[tokio::test]
async fn feed_has_only_drops_that_anyone_can_buy() {
    let app = App::start().await;
    let public = app.create_drop(1, json!({})).await;
    for more in [
        json!({ "visibility": "unlisted" }),
        json!({ "visibility": "hidden" }),
        json!({ "access": "code" }),
    ] {
        app.create_drop(1, more).await;
    }
    let over = app.create_drop(1, json!({})).await;
    let cancel = app.admin(Method::POST, &format!("/v1/drops/{over}/cancel"));
    fetch(cancel).await.ok(200);
    let rows = rows(&app, FEED).await;
    assert_eq!(
        rows.iter().map(|row| &row["id"]).collect::<Vec<_>>(),
        [&public]
    );
    // Not for an administrator either: the file is for others.
    let as_admin = fetch(app.admin(Method::GET, FEED)).await;
    assert_eq!(as_admin.text().lines().count(), 2);
}

#[tokio::test]
async fn feed_has_a_tag_and_pages() {
    let app = App::start().await;
    let mut drops = vec![];
    for _ in 0..5 {
        drops.push(app.create_drop(1, json!({})).await);
    }
    drops.reverse();
    let whole = app.get(FEED).await;
    let etag = whole.header("etag");
    let again = fetch(app.request(Method::GET, FEED).header("if-none-match", etag)).await;
    assert_eq!((again.status, again.header("etag")), (304, etag));
    let first = rows(&app, &format!("{FEED}?limit=2")).await;
    let second = rows(&app, &format!("{FEED}?limit=2&starting_after={}", drops[1])).await;
    let last = rows(
        &app,
        &format!("{FEED}?limit=10000&starting_after={}", drops[3]),
    )
    .await;
    let ids: Vec<String> = [first, second, last]
        .concat()
        .iter()
        .map(|row| row["id"].clone())
        .collect();
    assert_eq!(ids, drops);
    app.hold(&drops[0], "ann").await.ok(201);
    let changed = fetch(app.request(Method::GET, FEED).header("if-none-match", etag)).await;
    assert_eq!(changed.status, 200);

    for query in ["limit=0", "limit=10001", "format=xml"] {
        app.get(&format!("{FEED}?{query}"))
            .await
            .problem(400, "invalid_query");
    }
    let unknown = app
        .get(&format!("{FEED}?starting_after={}", uuid::Uuid::nil()))
        .await;
    let detail = unknown.problem(400, "invalid_query");
    assert_eq!(
        text(&detail["errors"][0]["detail"]),
        "must be the id of a drop"
    );
    let hidden = app.create_drop(1, json!({ "visibility": "hidden" })).await;
    let same = app.get(&format!("{FEED}?starting_after={hidden}")).await;
    assert_eq!(
        same.problem(400, "invalid_query")["errors"],
        detail["errors"]
    );
}
