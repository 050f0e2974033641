//! Placing a hold: fields, price, idempotency, ids.

use harness::{App, distinct, fetch, key, text};
use reqwest::Method;
use serde_json::json;

use super::{buy, millis};

#[tokio::test]
async fn hold_is_placed_read_and_purchased() {
    let app = App::start().await;
    let drop = app
        .create_drop(5, json!({ "hold_seconds": 90, "max_per_hold": 3 }))
        .await;
    let reply = app
        .hold_with(
            &drop,
            &key(),
            &json!({ "buyer_id": " Alice@Example.com ", "quantity": 2 }),
        )
        .await;
    let hold = reply.ok(201);
    let id = text(&hold["id"]);
    assert_eq!(reply.header("location"), format!("/v1/holds/{id}"));
    assert!(!reply.is_replay());
    let mut fields: Vec<&String> = hold.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "buyer_id",
            "drop_id",
            "expires_at",
            "id",
            "placed_at",
            "position",
            "price",
            "purchased_at",
            "quantity",
            "server_time",
            "status"
        ]
    );
    assert_eq!(
        (&hold["drop_id"], &hold["buyer_id"]),
        (&json!(drop), &json!("Alice@Example.com"))
    );
    assert_eq!(
        (&hold["quantity"], &hold["status"], &hold["purchased_at"]),
        (&json!(2), &json!("held"), &json!(null))
    );
    assert_eq!(
        millis(&hold["expires_at"]) - millis(&hold["placed_at"]),
        90_000
    );
    assert_eq!(hold["position"], 3);
    let read = app.read_hold(&id).await.ok(200);
    assert_eq!(
        (&read["id"], &read["status"], &read["position"]),
        (&hold["id"], &hold["status"], &hold["position"])
    );

    let first = buy(&app, &id, &json!({ "payment_reference": "pay_123" })).await;
    let purchase = first.ok(201);
    let mut fields: Vec<&String> = purchase.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "buyer_id",
            "drop_id",
            "hold_id",
            "id",
            "position",
            "purchased_at",
            "quantity",
            "refunded",
            "total"
        ]
    );
    assert_eq!(
        purchase["total"],
        json!({ "amount": 2 * 19_999, "currency": "USD" })
    );
    assert_eq!(
        (
            &purchase["hold_id"],
            &purchase["quantity"],
            &purchase["position"]
        ),
        (&json!(id), &json!(2), &json!(4))
    );
    assert!(!first.is_replay());
    let again = buy(&app, &id, &json!({ "payment_reference": "pay_123" })).await;
    assert_eq!((again.ok(200), again.is_replay()), (purchase.clone(), true));
    let bodiless = app.purchase(&id).await;
    assert_eq!(
        (bodiless.ok(200), bodiless.is_replay()),
        (purchase.clone(), true)
    );
    let read = app.read_hold(&id).await.ok(200);
    assert_eq!(
        (&read["status"], &read["purchased_at"]),
        (&json!("purchased"), &purchase["purchased_at"])
    );
    app.release(&id).await.problem(409, "hold_purchased");
}

#[tokio::test]
async fn hold_keeps_the_price_at_which_it_was_placed() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    let edit = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .header("if-match", "*");
    fetch(edit.json(&json!({ "price": { "amount": 1, "currency": "USD" } })))
        .await
        .ok(200);
    assert_eq!(app.purchase(&hold).await.ok(201)["total"]["amount"], 19_999);
    let hold = app.held(&drop, "bob").await;
    assert_eq!(app.purchase(&hold).await.ok(201)["total"]["amount"], 1);
}

#[tokio::test]
async fn hold_shows_its_unit_price_to_every_caller_at_any_time() {
    let app = App::start().await;
    let drop = app.create_drop(9, json!({ "max_per_hold": 3 })).await;
    let two = json!({ "buyer_id": "alice", "quantity": 2 });
    let first = app.hold_with(&drop, "first", &two).await.ok(201);
    reprice(&app, &drop, 2_500).await;
    // The same buyer: the server treats a buyer whom the drop knows differently.
    let second = app.hold_with(&drop, "second", &two).await.ok(201);
    reprice(&app, &drop, 1).await;
    let one = json!({ "buyer_id": "bob" });
    let other = app.hold_with(&drop, "third", &one).await.ok(201);

    let expected = [(&first, 19_999), (&second, 2_500), (&other, 1)];
    for (hold, amount) in expected {
        assert_eq!(
            hold["price"],
            json!({ "amount": amount, "currency": "USD" })
        );
    }
    app.purchase(&text(&first["id"])).await.ok(201);
    let app = app.restart().await;
    for (hold, amount) in expected {
        let read = app.read_hold(&text(&hold["id"])).await.ok(200);
        assert_eq!(read["price"]["amount"], amount);
    }
    let again = app.hold_with(&drop, "second", &two).await;
    assert_eq!(
        (again.is_replay(), again.ok(201)["price"]["amount"].clone()),
        (true, json!(2_500))
    );
}

async fn reprice(app: &App, drop: &str, amount: i64) {
    let edit = app
        .admin(Method::PATCH, &format!("/v1/drops/{drop}"))
        .header("if-match", "*");
    let price = json!({ "price": { "amount": amount, "currency": "USD" } });
    fetch(edit.json(&price)).await.ok(200);
}

#[tokio::test]
async fn released_hold_returns_its_units_once() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    let hold = app.held(&drop, "alice").await;
    let first = app.release(&hold).await;
    assert_eq!((first.status, first.body.len()), (204, 0));
    assert_eq!(app.stock(&drop).await, [1, 1, 0, 0]);
    assert_eq!(app.release(&hold).await.status, 204);
    assert_eq!(app.stock(&drop).await, [1, 1, 0, 0]);
    assert_eq!(app.read_hold(&hold).await.ok(200)["status"], "released");
    app.purchase(&hold).await.problem(410, "hold_released");
    assert_eq!(app.ledger().await.count(&drop, "HoldReleased"), 1);
}

#[tokio::test]
async fn retried_request_gets_the_earlier_result() {
    let app = App::start().await;
    let drop = app.create_drop(2, json!({})).await;
    let body = json!({ "buyer_id": "alice" });
    let first = app.hold_with(&drop, "key-1", &body).await;
    let again = app
        .hold_with(
            &drop,
            "key-1",
            &json!({ "buyer_id": " ALICE ", "quantity": 1 }),
        )
        .await;
    assert_eq!(first.ok(201)["id"], again.ok(201)["id"]);
    assert_eq!(first.header("location"), again.header("location"));
    assert!(!first.is_replay() && again.is_replay());
    app.hold_with(&drop, "key-1", &json!({ "buyer_id": "bob" }))
        .await
        .problem(422, "idempotency_key_reused");
    app.hold_with(
        &drop,
        "key-1",
        &json!({ "buyer_id": "alice", "quantity": 2 }),
    )
    .await
    .problem(422, "idempotency_key_reused");

    let other = app.create_drop(1, json!({})).await;
    assert_eq!(
        app.hold_with(&other, "key-1", &body).await.status,
        201,
        "another drop, another key"
    );

    app.held(&drop, "carol").await;
    app.hold_with(&drop, "key-2", &body)
        .await
        .problem(409, "sold_out");
    app.release(&text(&first.json()["id"])).await.ok(204);
    assert_eq!(
        app.hold_with(&drop, "key-2", &body).await.status,
        201,
        "a refusal does not use up a key"
    );
    let late = app.hold_with(&drop, "key-1", &body).await;
    assert_eq!(
        (late.ok(201)["status"].clone(), late.is_replay()),
        (json!("released"), true)
    );
}

#[tokio::test]
async fn idempotency_key_has_1_to_255_visible_characters() {
    let app = App::start().await;
    let drop = app.create_drop(10, json!({})).await;
    let body = json!({ "buyer_id": "alice" });
    let path = format!("/v1/drops/{drop}/holds");
    fetch(app.request(Method::POST, &path).json(&body))
        .await
        .problem(400, "idempotency_key_required");
    for key in ["k".to_owned(), "~!{}\"\\".to_owned(), "k".repeat(255)] {
        assert_eq!(app.hold_with(&drop, &key, &body).await.status, 201, "{key}");
    }
    for key in ["a b".to_owned(), "k".repeat(256), "k\té".to_owned()] {
        app.hold_with(&drop, &key, &body)
            .await
            .problem(400, "invalid_idempotency_key");
    }
    assert_eq!(
        app.hold_with(&drop, "", &body).await.any_problem()["status"],
        400
    );
}

#[tokio::test]
async fn invalid_hold_fields_are_reported_with_their_pointers() {
    let app = App::start().await;
    let drop = app.create_drop(10, json!({ "max_per_hold": 1000 })).await;
    let cases = [
        (
            "/quantity",
            "quantity",
            vec![
                json!(0),
                json!(-1),
                json!(1.5),
                json!("2abc"),
                json!("1"),
                json!(1001),
                json!(u64::MAX),
                json!(1e300),
                json!(true),
                json!([1]),
            ],
        ),
        (
            "/buyer_id",
            "buyer_id",
            vec![
                json!(""),
                json!("  "),
                json!("x".repeat(129)),
                json!("a\u{0}b"),
                json!("a\nb"),
                json!("a\u{9f}b"),
                json!(7),
                json!(null),
            ],
        ),
        (
            "/display_name",
            "display_name",
            vec![json!(""), json!("x".repeat(101)), json!("a\u{0}"), json!(5)],
        ),
        ("/coupon", "coupon", vec![json!("x")]),
    ];
    for (pointer, field, values) in cases {
        for value in values {
            let mut body = json!({ "buyer_id": "alice" });
            body[field] = value;
            app.hold_with(&drop, &key(), &body).await.invalid(pointer);
        }
    }
    app.hold_with(&drop, &key(), &json!({}))
        .await
        .invalid("/buyer_id");
    let hold = app.held(&drop, "alice").await;
    for reference in [json!(""), json!("a\u{0}"), json!("x".repeat(201)), json!(1)] {
        buy(&app, &hold, &json!({ "payment_reference": reference }))
            .await
            .invalid("/payment_reference");
    }
    buy(&app, &hold, &json!({ "amount": 1 }))
        .await
        .invalid("/amount");
    for buyer in [
        "x".repeat(128),
        "ű".repeat(128),
        "買い手".to_owned(),
        "O'Brien; DROP TABLE events".to_owned(),
    ] {
        let hold = app
            .hold_with(&drop, &key(), &json!({ "buyer_id": buyer }))
            .await
            .ok(201);
        assert_eq!(hold["buyer_id"], buyer.as_str());
    }
}

#[tokio::test]
async fn unknown_hold_is_not_found() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({})).await;
    for id in [
        uuid::Uuid::new_v4().to_string(),
        drop,
        "x".to_owned(),
        "%00".to_owned(),
    ] {
        app.read_hold(&id).await.problem(404, "hold_not_found");
        app.purchase(&id).await.problem(404, "hold_not_found");
        app.release(&id).await.problem(404, "hold_not_found");
    }
}

#[tokio::test]
async fn hold_ids_cannot_be_guessed_from_one_another() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({})).await;
    let mut tails = vec![];
    for buyer in 0..100 {
        let id = app.held(&drop, &format!("buyer-{buyer}")).await;
        assert_ne!(id, drop);
        // The first eight digits are the drop's; the rest is random.
        tails.push(id[9..18].to_owned());
    }
    assert!(distinct(tails).len() > 95);
}
