//! docs/CONTRACT.md on creators and products.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{Api, App, Reply, fetch, text};
use reqwest::Method;
use serde_json::{Value, json};

async fn put(api: &Api, path: &str, body: &Value) -> Reply {
    fetch(api.admin(Method::PUT, path).json(body)).await
}

async fn delete(api: &Api, path: &str) -> Reply {
    fetch(api.admin(Method::DELETE, path)).await
}

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().unwrap();
    data.iter().map(|row| text(&row["id"])).collect()
}

#[tokio::test]
async fn creator_is_added_replaced_read_listed_and_deleted() {
    let app = App::start().await;
    let path = "/v1/creators/Atelier.Nord-1_a";
    let body =
        json!({ "name": " Atelier Nord ", "description": "Coats.", "image_url": "/nord.png" });
    let created = put(&app, path, &body).await;
    assert_eq!(created.header("location"), path);
    let created = created.ok(201);
    assert_eq!(created["id"], "Atelier.Nord-1_a");
    assert_eq!(created["name"], "Atelier Nord");
    assert_eq!(created["followers"], 0);
    let replaced = put(&app, path, &json!({ "name": "Nord" })).await;
    assert_eq!(replaced.header("location"), "");
    let replaced = replaced.ok(200);
    assert_eq!(replaced["description"], json!(null));
    assert_eq!(replaced["created_at"], created["created_at"]);
    // Ids are compared byte by byte.
    put(
        &app,
        "/v1/creators/atelier.nord-1_a",
        &json!({ "name": "Other" }),
    )
    .await
    .ok(201);

    let read = app.get(path).await;
    assert_eq!(read.header("cache-control"), "no-cache");
    let etag = read.header("etag").to_owned();
    assert_eq!(read.ok(200), replaced);
    let again = app.request(Method::GET, path).header("if-none-match", etag);
    assert_eq!(fetch(again).await.status, 304);

    let list = app.get("/v1/creators?limit=1").await.ok(200);
    assert_eq!(ids(&list), ["atelier.nord-1_a"], "newest first");
    assert_eq!(list["has_more"], true);
    let next = app
        .get("/v1/creators?limit=1&starting_after=atelier.nord-1_a")
        .await;
    let next = next.ok(200);
    assert_eq!(
        (ids(&next), &next["has_more"]),
        (vec!["Atelier.Nord-1_a".to_owned()], &json!(false))
    );
    let end = app
        .get("/v1/creators?starting_after=Atelier.Nord-1_a")
        .await
        .ok(200);
    assert_eq!(ids(&end), [""; 0]);
    let unknown = app.get("/v1/creators?starting_after=nowhere").await;
    unknown.problem(400, "invalid_query");

    assert_eq!(delete(&app, path).await.status, 204);
    delete(&app, path).await.problem(404, "creator_not_found");
    app.get(path).await.problem(404, "creator_not_found");
    assert_eq!(ids(&app.get("/v1/creators").await.ok(200)).len(), 1);
}

#[tokio::test]
async fn faults_of_creators_and_products_are_named() {
    let app = App::start().await;
    let name = json!({ "name": "Nord", "title": "Jacket" });
    for id in [
        "a b",
        "a%2Fb",
        "%C3%A9",
        &"a".repeat(65),
        "a:b",
        "~",
        "%20a",
    ] {
        for kind in ["creators", "products"] {
            let path = format!("/v1/{kind}/{id}");
            let refused = put(&app, &path, &name).await.problem(422, "invalid_value");
            assert_eq!(refused["errors"][0]["pointer"], "/id", "{refused}");
            let code = format!("{}_not_found", kind.trim_end_matches('s'));
            app.get(&path).await.problem(404, &code);
            delete(&app, &path).await.problem(404, &code);
        }
    }
    for id in ["a", ".", "_-.", &"Z".repeat(64)] {
        let path = format!("/v1/creators/{id}");
        // A client removes a path segment of dots only.
        if id != "." {
            put(&app, &path, &json!({ "name": "x" })).await.ok(201);
        }
    }
    for (body, pointer) in [
        (json!({}), "/name"),
        (json!({ "name": "" }), "/name"),
        (json!({ "name": "x".repeat(201) }), "/name"),
        (
            json!({ "name": "x", "description": "x".repeat(5_001) }),
            "/description",
        ),
        (
            json!({ "name": "x", "image_url": "ftp://shop.example/a" }),
            "/image_url",
        ),
        (json!({ "name": "x", "url": "y" }), "/url"),
    ] {
        let refused = put(&app, "/v1/creators/nord", &body).await;
        let problem = refused.problem(422, "invalid_value");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let variant = |more: Value| {
        let mut variant = json!({ "id": "m", "name": "M" });
        variant
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "title": "Jacket", "variants": [variant] })
    };
    let many = |count: usize| {
        let variants = (0..count).map(|id| json!({ "id": id.to_string(), "name": "M" }));
        json!({ "title": "Jacket", "variants": variants.collect::<Vec<_>>() })
    };
    for (body, pointer) in [
        (json!({}), "/title"),
        (json!({ "title": "x", "creator_id": "a b" }), "/creator_id"),
        (variant(json!({ "id": "a b" })), "/variants/0/id"),
        (variant(json!({ "name": "" })), "/variants/0/name"),
        (variant(json!({ "sku": "" })), "/variants/0/sku"),
        (variant(json!({ "sku": "x".repeat(65) })), "/variants/0/sku"),
        (
            variant(json!({ "gtin": "4006381333932" })),
            "/variants/0/gtin",
        ),
        (variant(json!({ "gtin": "4006381" })), "/variants/0/gtin"),
        (variant(json!({ "colour": "red" })), "/variants/0/colour"),
        (many(101), "/variants"),
        (
            json!({ "title": "x", "variants": [{ "id": "m", "name": "M" }, { "id": "m", "name": "L" }] }),
            "/variants/1/id",
        ),
    ] {
        let refused = put(&app, "/v1/products/jacket", &body).await;
        let problem = refused.problem(422, "invalid_value");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    app.get("/v1/products/jacket")
        .await
        .problem(404, "product_not_found");
    let most = put(&app, "/v1/products/jacket", &many(100)).await.ok(201);
    assert_eq!(most["variants"].as_array().unwrap().len(), 100);

    let anonymous = app.request(Method::PUT, "/v1/creators/nord").json(&name);
    fetch(anonymous).await.problem(401, "unauthorized");
    let auditor = app.request(Method::DELETE, "/v1/products/jacket");
    let auditor = fetch(auditor.bearer_auth(harness::AUDITOR_KEY)).await;
    auditor.problem(403, "forbidden");
}

#[tokio::test]
async fn product_carries_its_public_drops() {
    let app = App::start().await;
    // A drop may come before its product.
    let of = |more: Value| {
        let mut terms = json!({ "product_id": "jacket", "creator_id": "nord", "variant_id": "m" });
        terms
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        terms
    };
    let first = app.create_drop(3, of(json!({}))).await;
    let body = json!({
        "creator_id": "nord", "title": "Jacket",
        "variants": [
            { "id": "m", "name": "M", "sku": "J-M", "gtin": "4006381333931" },
            { "id": "l", "name": "L" },
        ],
    });
    let product = put(&app, "/v1/products/jacket", &body).await.ok(201);
    let variant = json!({ "id": "m", "name": "M", "sku": "J-M", "gtin": "4006381333931" });
    assert_eq!(product["variants"][0], variant);
    assert_eq!(product["variants"][1]["sku"], json!(null));
    let drops = |product: &Value| {
        let drops = product["drops"].as_array().unwrap();
        drops
            .iter()
            .map(|drop| text(&drop["id"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(drops(&product), [first.as_str()]);
    let second = app.create_drop(3, of(json!({ "variant_id": "l" }))).await;
    let unlisted = app
        .create_drop(3, of(json!({ "visibility": "unlisted" })))
        .await;
    let other = app
        .create_drop(3, of(json!({ "product_id": "coat" })))
        .await;
    let hold = app.held(&second, "ann").await;
    let product = app.get("/v1/products/jacket").await.ok(200);
    assert_eq!(
        drops(&product),
        [second.clone(), first.clone()],
        "newest first"
    );
    assert_eq!(product["has_more_drops"], false);
    let mut shown = product["drops"][0].clone();
    let mut drop = app.drop(&second).await;
    shown["server_time"] = drop["server_time"].take();
    drop["server_time"] = shown["server_time"].clone();
    assert_eq!(shown, drop, "as the drop itself");
    assert_eq!(drop["stock"]["held"], 1);
    app.release(&hold).await;

    let list = |query: &'static str| {
        let api = app.api();
        async move { ids(&api.get(&format!("/v1/drops?{query}")).await.ok(200)) }
    };
    assert_eq!(
        list("product_id=jacket").await,
        [second.clone(), first.clone()]
    );
    assert_eq!(
        list("creator_id=nord").await,
        [other.clone(), second.clone(), first.clone()]
    );
    assert_eq!(
        list("creator_id=nord&product_id=coat").await,
        [other.as_str()]
    );
    assert_eq!(list("creator_id=unknown").await, [""; 0]);
    assert_eq!(list("product_id=jacket&status=ended").await, [""; 0]);
    let page = app.get("/v1/drops?product_id=jacket&limit=1").await.ok(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (vec![second.clone()], &json!(true))
    );
    let path = format!("/v1/drops?product_id=jacket&limit=1&starting_after={second}");
    assert_eq!(ids(&app.get(&path).await.ok(200)), [first.as_str()]);
    let path = format!("/v1/drops?product_id=coat&ids={first},{other}&limit=1");
    assert_eq!(ids(&app.get(&path).await.ok(200)), [other.as_str()]);

    // Edits move drops; the product follows.
    for (id, terms) in [
        (&unlisted, json!({ "visibility": "public" })),
        (&first, json!({ "product_id": null })),
        (&second, json!({ "visibility": "unlisted" })),
    ] {
        let edit = app.admin(Method::PATCH, &format!("/v1/drops/{id}"));
        fetch(edit.header("if-match", "*").json(&terms))
            .await
            .ok(200);
    }
    let product = app.get("/v1/products/jacket").await.ok(200);
    assert_eq!(drops(&product), [unlisted]);
    assert_eq!(delete(&app, "/v1/products/jacket").await.status, 204);
    app.get("/v1/products/jacket")
        .await
        .problem(404, "product_not_found");
    assert_eq!(
        list("product_id=jacket").await.len(),
        1,
        "the drop keeps the id"
    );
}

#[tokio::test]
async fn products_are_listed_by_creator_with_their_newest_drops() {
    let app = App::start().await;
    for (id, creator) in [
        ("a", json!("nord")),
        ("b", json!("sued")),
        ("c", json!("nord")),
        ("d", json!(null)),
    ] {
        let body = json!({ "title": id, "creator_id": creator });
        put(&app, &format!("/v1/products/{id}"), &body)
            .await
            .ok(201);
    }
    for _ in 0..11 {
        app.create_drop(1, json!({ "product_id": "a" })).await;
    }
    let list = app.get("/v1/products?creator_id=nord").await.ok(200);
    assert_eq!(ids(&list), ["c", "a"]);
    assert_eq!(list["data"][1]["drops"].as_array().unwrap().len(), 10);
    assert_eq!(list["data"][1]["has_more_drops"], true);
    let product = app.get("/v1/products/a").await.ok(200);
    assert_eq!(product["drops"].as_array().unwrap().len(), 11);
    assert_eq!(product["has_more_drops"], false);
    let page = app.get("/v1/products?limit=2").await.ok(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (vec!["d".to_owned(), "c".to_owned()], &json!(true))
    );
    let page = app
        .get("/v1/products?limit=2&starting_after=c")
        .await
        .ok(200);
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (vec!["b".to_owned(), "a".to_owned()], &json!(false))
    );
    let page = app
        .get("/v1/products?limit=2&starting_after=c&creator_id=nord")
        .await;
    assert_eq!(ids(&page.ok(200)), ["a"]);
    for query in [
        "starting_after=x",
        "limit=0",
        "limit=101",
        "creator_id=a%20b",
    ] {
        let refused = app.get(&format!("/v1/products?{query}")).await;
        refused.problem(400, "invalid_query");
    }
}
