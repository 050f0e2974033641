//! `POST /v1/drops`: fields, defaults, bounds, idempotency; and the statuses that a drop goes
//! through.

use harness::{App, eventually, fetch, in_seconds, key, text};
use reqwest::Method;
use serde_json::{Value, json};

use super::{assert_time, cancel, edit, small};

#[tokio::test]
async fn drop_is_scheduled_with_every_given_field() {
    let app = App::start().await;
    let given = json!({
        "name": "  Árvíztűrő 🥾  ", "description": "Two\nlines", "image_url": "https://example.org/boot.png",
        "price": { "amount": 19_999, "currency": "USD" }, "total_stock": 500,
        "starts_at": "2999-01-01T10:00:00+02:00", "ends_at": "2999-01-02T00:00:00Z",
        "hold_seconds": 90, "max_hold_seconds": 86_400, "offer_seconds": 604_800, "max_per_hold": 2, "max_per_buyer": 4,
        "throttle": { "holds": 3, "window_seconds": 600 }, "low_stock_at": 10_000_000,
        "limit_group": "boots/2026!", "visibility": "unlisted", "show_stock": "exact", "access": "code",
        "challenge": { "kind": "proof_of_work", "difficulty": 20 },
        "product_id": "Boot_1.a-b", "variant_id": "42", "creator_id": "ann",
    });
    let reply = app.post_drop(&given).await;
    let drop = reply.ok(201);
    let id = text(&drop["id"]);
    assert_eq!(reply.header("location"), format!("/v1/drops/{id}"));
    assert!(uuid::Uuid::parse_str(&id).is_ok());
    for field in [
        "description",
        "image_url",
        "price",
        "hold_seconds",
        "max_hold_seconds",
        "offer_seconds",
        "max_per_hold",
        "max_per_buyer",
        "throttle",
        "low_stock_at",
        "limit_group",
        "visibility",
        "show_stock",
        "access",
        "challenge",
        "product_id",
        "variant_id",
        "creator_id",
    ] {
        assert_eq!(drop[field], given[field], "{field}");
    }
    assert_eq!(drop["name"], "Árvíztűrő 🥾");
    assert_eq!(drop["starts_at"], "2999-01-01T08:00:00.000Z");
    assert_eq!(drop["ends_at"], "2999-01-02T00:00:00.000Z");
    assert_eq!(drop["status"], "scheduled");
    assert_eq!(
        drop["stock"],
        json!({ "total": 500, "available": 500, "held": 0, "sold": 0 })
    );
    assert_eq!(drop["waitlist_length"], 0);
    assert_eq!(drop["position"], 1);
    assert_time(&drop["created_at"]);
    assert_time(&drop["server_time"]);
    let mut read = app.drop(&id).await;
    let mut made = drop;
    for body in [&mut read, &mut made] {
        body["server_time"].take();
    }
    assert_eq!(read, made);
}

#[tokio::test]
async fn minimal_drop_is_live_immediately_with_the_defaults() {
    let app = App::start().await;
    let drop = app.post_drop(&small()).await.ok(201);
    assert_eq!(drop["status"], "live");
    assert_eq!(drop["hold_seconds"], 60);
    assert_eq!(drop["max_per_hold"], 1);
    assert_eq!(drop["starts_at"], drop["created_at"]);
    for absent in [
        "description",
        "image_url",
        "ends_at",
        "max_hold_seconds",
        "offer_seconds",
        "max_per_buyer",
        "throttle",
        "low_stock_at",
        "limit_group",
        "challenge",
        "product_id",
        "variant_id",
        "creator_id",
    ] {
        assert_eq!(
            drop.get(absent),
            Some(&Value::Null),
            "{absent} is present and null"
        );
    }
    for (field, default) in [
        ("visibility", "public"),
        ("show_stock", "exact"),
        ("access", "open"),
    ] {
        assert_eq!(drop[field], default, "{field}");
    }
    let mut fields: Vec<&String> = drop.as_object().unwrap().keys().collect();
    fields.sort();
    let mut contract = [
        "id",
        "name",
        "description",
        "image_url",
        "price",
        "status",
        "starts_at",
        "ends_at",
        "hold_seconds",
        "max_hold_seconds",
        "offer_seconds",
        "max_per_hold",
        "max_per_buyer",
        "throttle",
        "low_stock_at",
        "limit_group",
        "visibility",
        "show_stock",
        "access",
        "challenge",
        "product_id",
        "variant_id",
        "creator_id",
        "stock",
        "waitlist_length",
        "position",
        "created_at",
        "server_time",
    ];
    contract.sort_unstable();
    assert_eq!(fields, contract);
}

#[tokio::test]
async fn drop_requested_twice_is_one_drop() {
    let app = App::start().await;
    let key = key();
    let send = |body: Value| {
        let request = app
            .admin(Method::POST, "/v1/drops")
            .header("idempotency-key", &key)
            .json(&body);
        async move { fetch(request).await }
    };
    let first = send(small()).await;
    let again = send(small()).await;
    assert_eq!(first.ok(201)["id"], again.ok(201)["id"]);
    assert_eq!(first.header("location"), again.header("location"));
    assert!(!first.is_replay() && again.is_replay());
    for (field, other) in [
        ("name", json!("Other")),
        ("total_stock", json!(4)),
        ("price", json!({ "amount": 101, "currency": "EUR" })),
        ("hold_seconds", json!(61)),
        ("ends_at", json!("2999-01-01T00:00:00Z")),
    ] {
        let mut body = small();
        body[field] = other;
        send(body).await.problem(422, "idempotency_key_reused");
    }
    fetch(app.admin(Method::POST, "/v1/drops").json(&small()))
        .await
        .problem(400, "idempotency_key_required");
    // It was scheduled and has started.
    assert_eq!(app.log().await.len(), 2);
}

#[tokio::test]
async fn invalid_drop_fields_are_reported_with_their_pointers() {
    let app = App::start().await;
    let cases = [
        (
            "/name",
            "name",
            vec![
                json!(""),
                json!("   "),
                json!("x".repeat(201)),
                json!("a\u{0}b"),
                json!("a\u{7}b"),
                json!("a\nb"),
                json!(7),
                json!(null),
                json!(["n"]),
            ],
        ),
        (
            "/description",
            "description",
            vec![json!("x".repeat(5001)), json!("a\u{0}b"), json!(1)],
        ),
        (
            "/image_url",
            "image_url",
            vec![json!(""), json!("x".repeat(2049)), json!("a\u{1b}b")],
        ),
        (
            "/total_stock",
            "total_stock",
            vec![
                json!(-1),
                json!(1.5),
                json!("2abc"),
                json!("5"),
                json!(1e30),
                json!(10_000_001),
                json!(9_007_199_254_740_993_u64),
                json!(u64::MAX),
                json!(null),
                json!(true),
            ],
        ),
        (
            "/hold_seconds",
            "hold_seconds",
            vec![json!(0), json!(-1), json!(3601), json!(1.5), json!("60")],
        ),
        (
            "/max_hold_seconds",
            "max_hold_seconds",
            vec![json!(0), json!(86_401)],
        ),
        (
            "/offer_seconds",
            "offer_seconds",
            vec![json!(0), json!(604_801)],
        ),
        (
            "/limit_group",
            "limit_group",
            vec![
                json!(""),
                json!("a b"),
                json!("größe"),
                json!("x".repeat(65)),
                json!(1),
            ],
        ),
        (
            "/product_id",
            "product_id",
            vec![
                json!(""),
                json!("a/b"),
                json!(".."),
                json!("a b"),
                json!("é"),
                json!("x".repeat(65)),
            ],
        ),
        (
            "/visibility",
            "visibility",
            vec![json!("Public"), json!("secret"), json!(7)],
        ),
        (
            "/show_stock",
            "show_stock",
            vec![json!("none"), json!(true)],
        ),
        ("/access", "access", vec![json!("closed"), json!("")]),
        (
            "/low_stock_at",
            "low_stock_at",
            vec![json!(0), json!(10_000_001), json!("5")],
        ),
        (
            "/max_per_hold",
            "max_per_hold",
            vec![
                json!(0),
                json!(-1),
                json!(1.2),
                json!("2abc"),
                json!(u64::MAX),
            ],
        ),
        (
            "/max_per_buyer",
            "max_per_buyer",
            vec![json!(0), json!(-1), json!(0.5)],
        ),
        (
            "/price/amount",
            "price",
            vec![
                json!({ "amount": -1, "currency": "USD" }),
                json!({ "amount": 1.5, "currency": "USD" }),
                json!({ "amount": "1", "currency": "USD" }),
                json!({ "amount": 1_000_000_000_001_u64, "currency": "USD" }),
                json!({ "currency": "USD" }),
            ],
        ),
        (
            "/price/currency",
            "price",
            vec![
                json!({ "amount": 1, "currency": "usd" }),
                json!({ "amount": 1, "currency": "ZZZ" }),
                json!({ "amount": 1, "currency": "" }),
                json!({ "amount": 1, "currency": "XAU" }),
                json!({ "amount": 1, "currency": "XXX" }),
                json!({ "amount": 1, "currency": "ANG" }),
                json!({ "amount": 1, "currency": "SLL" }),
                json!({ "amount": 1 }),
            ],
        ),
        (
            "/price/tax",
            "price",
            vec![json!({ "amount": 1, "currency": "USD", "tax": 2 })],
        ),
        (
            "/starts_at",
            "starts_at",
            vec![
                json!("tomorrow"),
                json!("2999-01-01"),
                json!("2999-13-01T00:00:00Z"),
                json!("2999-01-01T00:00:00"),
                json!(1_700_000_000),
            ],
        ),
        (
            "/ends_at",
            "ends_at",
            vec![json!("never"), json!(in_seconds(-60))],
        ),
        (
            "/throttle/holds",
            "throttle",
            vec![
                json!({ "holds": 0, "window_seconds": 60 }),
                json!({ "holds": -1, "window_seconds": 60 }),
                json!({ "window_seconds": 60 }),
            ],
        ),
        (
            "/throttle/window_seconds",
            "throttle",
            vec![
                json!({ "holds": 1, "window_seconds": 0 }),
                json!({ "holds": 1, "window_seconds": 86_401 }),
            ],
        ),
        ("/colour", "colour", vec![json!("red")]),
        ("/status", "status", vec![json!("live")]),
    ];
    for (pointer, field, values) in cases {
        for value in values {
            let mut body = small();
            body[field] = value;
            app.post_drop(&body).await.invalid(pointer);
        }
    }
    for field in ["name", "price", "total_stock"] {
        let mut body = small();
        body.as_object_mut().unwrap().remove(field);
        app.post_drop(&body).await.invalid(&format!("/{field}"));
    }
    assert_eq!(app.log().await.len(), 0, "nothing of it was recorded");
}

#[tokio::test]
async fn drop_fields_at_their_bounds_are_accepted() {
    let app = App::start().await;
    for (field, value) in [
        ("name", json!("x".repeat(200))),
        ("name", json!("ű".repeat(200))),
        ("description", json!("x".repeat(5000))),
        ("total_stock", json!(0)),
        ("total_stock", json!(10_000_000)),
        ("hold_seconds", json!(1)),
        ("hold_seconds", json!(3600)),
        ("price", json!({ "amount": 0, "currency": "JPY" })),
        ("image_url", json!("/assets/boot.svg")),
        ("starts_at", json!("2999-01-01T00:00:00.000Z")),
        ("description", json!(null)),
        ("ends_at", json!(null)),
    ] {
        let mut body = small();
        body[field] = value.clone();
        let made = app.post_drop(&body).await.ok(201);
        let shown = if field == "total_stock" {
            &made["stock"]["total"]
        } else {
            &made[field]
        };
        assert_eq!(*shown, value, "{field}");
    }
    let mut none = small();
    none["total_stock"] = json!(0);
    assert_eq!(app.post_drop(&none).await.ok(201)["status"], "sold_out");
}

#[tokio::test]
async fn drop_goes_through_its_statuses() {
    let app = App::start().await;
    let drop = app
        .create_drop(1, json!({ "starts_at": in_seconds(1) }))
        .await;
    assert_eq!(app.drop(&drop).await["status"], "scheduled");
    let body = app.hold(&drop, "alice").await.problem(409, "not_live");
    assert_eq!(body["starts_at"], app.drop(&drop).await["starts_at"]);
    eventually("the drop starts", || async {
        (app.drop(&drop).await["status"] == "live").then_some(())
    })
    .await;
    let hold = app.held(&drop, "alice").await;
    assert_eq!(app.drop(&drop).await["status"], "sold_out");
    app.release(&hold).await.ok(204);
    assert_eq!(app.drop(&drop).await["status"], "live");
    let etag = app
        .get(&format!("/v1/drops/{drop}"))
        .await
        .header("etag")
        .to_owned();
    let ends_at = harness::now();
    eventually("a millisecond passes", || async {
        (harness::now() > ends_at).then_some(())
    })
    .await;
    assert_eq!(
        edit(&app, &drop, Some(&etag), &json!({ "ends_at": ends_at }))
            .await
            .ok(200)["status"],
        "ended"
    );
    app.hold(&drop, "bob").await.problem(409, "ended");
    assert_eq!(cancel(&app, &drop).await.ok(200)["status"], "cancelled");
}
