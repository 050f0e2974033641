//! docs/CONTRACT.md on refunds: units and money come back once, and every number agrees.

use harness::{App, Reply, eventually, fetch, key, number, text};
use reqwest::Method;
use serde_json::{Value, json};

async fn refund_with(app: &App, purchase: &str, key: &str, body: &Value) -> Reply {
    let request = app.admin(Method::POST, &format!("/v1/purchases/{purchase}/refunds"));
    fetch(request.header("idempotency-key", key).json(body)).await
}

async fn refund(app: &App, purchase: &str, body: &Value) -> Reply {
    refund_with(app, purchase, &key(), body).await
}

/// Purchases `quantity` units for a buyer and returns the purchase.
async fn bought(app: &App, drop: &str, buyer: &str, quantity: u32) -> Value {
    let body = json!({ "buyer_id": buyer, "quantity": quantity, "display_name": buyer });
    let hold = text(&app.hold_with(drop, &key(), &body).await.ok(201)["id"]);
    app.purchase(&hold).await.ok(201)
}

async fn admin_get(app: &App, path: &str) -> Value {
    fetch(app.admin(Method::GET, path)).await.ok(200)
}

fn usd(amount: u64) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

#[tokio::test]
async fn purchase_is_refunded_in_parts_at_its_own_price() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({ "max_per_hold": 3 })).await;
    let purchase = bought(&app, &drop, "alice", 3).await;
    assert_eq!(
        purchase["refunded"],
        json!({ "quantity": 0, "amount": usd(0) })
    );
    let id = text(&purchase["id"]);
    // A later price does not change the refund.
    let edit = app.admin(Method::PATCH, &format!("/v1/drops/{drop}"));
    let edit = edit.header("if-match", "*");
    let price = json!({ "price": { "amount": 1, "currency": "USD" } });
    fetch(edit.json(&price)).await.ok(200);

    let reply = refund(&app, &id, &json!({ "quantity": 1, "reason": "broken" })).await;
    let first = reply.ok(201);
    assert!(!reply.is_replay());
    let mut fields: Vec<&String> = first.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "amount",
            "drop_id",
            "id",
            "position",
            "purchase_id",
            "quantity",
            "reason",
            "refunded_at",
            "restocked",
            "status"
        ]
    );
    assert_eq!(
        (&first["amount"], &first["quantity"], &first["restocked"]),
        (&usd(19_999), &json!(1), &json!(true))
    );
    assert_eq!(
        (&first["status"], &first["position"]),
        (&json!("succeeded"), &json!(6))
    );
    assert_eq!(app.stock(&drop).await, [5, 3, 0, 2]);

    let many = refund(&app, &id, &json!({ "quantity": 3, "reason": "all" })).await;
    assert_eq!(many.problem(409, "nothing_to_refund")["refundable"], 2);
    let rest = refund(&app, &id, &json!({ "restock": false, "reason": "lost" }))
        .await
        .ok(201);
    assert_eq!(
        (&rest["amount"], &rest["quantity"], &rest["restocked"]),
        (&usd(2 * 19_999), &json!(2), &json!(false))
    );
    assert_eq!(app.stock(&drop).await, [3, 3, 0, 0]);
    let none = refund(&app, &id, &json!({ "reason": "again" })).await;
    assert_eq!(none.problem(409, "nothing_to_refund")["refundable"], 0);

    let read = admin_get(&app, &format!("/v1/purchases/{id}")).await;
    let all = json!({ "quantity": 3, "amount": usd(3 * 19_999) });
    assert_eq!(
        (&read["refunded"], &read["position"]),
        (&all, &purchase["position"])
    );
    let hold = app.read_hold(&text(&purchase["hold_id"])).await.ok(200);
    assert_eq!(
        (&hold["status"], &hold["quantity"]),
        (&json!("purchased"), &json!(3))
    );
    app.ledger().await;
    app.audit_verify().await;
}

#[tokio::test]
async fn repeated_request_is_replayed_and_another_one_refused() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({ "max_per_hold": 3 })).await;
    let id = text(&bought(&app, &drop, "alice", 3).await["id"]);
    let body = json!({ "quantity": 1, "reason": "broken" });
    let first = refund_with(&app, &id, "k", &body).await.ok(201);
    let app = app.restart().await;
    let again = refund_with(&app, &id, "k", &body).await;
    assert!(again.is_replay());
    assert_eq!(again.ok(201), first);
    for other in [
        json!({ "quantity": 2, "reason": "broken" }),
        json!({ "quantity": 1, "reason": "lost" }),
        json!({ "quantity": 1, "reason": "broken", "restock": false }),
        json!({ "reason": "broken" }),
    ] {
        let reused = refund_with(&app, &id, "k", &other).await;
        reused.problem(422, "idempotency_key_reused");
    }
    let path = format!("/v1/purchases/{id}/refunds");
    let keyless = fetch(app.admin(Method::POST, &path).json(&body)).await;
    keyless.problem(400, "idempotency_key_required");
    let request = app
        .request(Method::POST, &path)
        .header("idempotency-key", key());
    fetch(request.json(&body))
        .await
        .problem(401, "unauthorized");
    for unknown in [uuid::Uuid::new_v4().to_string(), "x".to_owned()] {
        refund(&app, &unknown, &body)
            .await
            .problem(404, "purchase_not_found");
    }
    for (pointer, bad) in [
        ("/quantity", json!({ "quantity": 0, "reason": "x" })),
        ("/reason", json!({ "quantity": 1 })),
        ("/reason", json!({ "quantity": 1, "reason": "" })),
        ("/restock", json!({ "restock": "yes", "reason": "x" })),
    ] {
        refund(&app, &id, &bad).await.invalid(pointer);
    }
    assert_eq!(app.stock(&drop).await, [5, 3, 0, 2]);
}

#[tokio::test]
async fn concurrent_refunds_give_no_unit_back_twice() {
    let app = App::start().await;
    let other = app.launch().clone().start().await;
    let drop = app.create_drop(5, json!({ "max_per_hold": 5 })).await;
    let id = text(&bought(&app, &drop, "alice", 5).await["id"]);
    let replies = harness::concurrently((0..20).map(|turn| {
        let (api, path) = (
            if turn % 2 == 0 {
                app.api()
            } else {
                other.api()
            },
            format!("/v1/purchases/{id}/refunds"),
        );
        async move {
            let request = api
                .admin(Method::POST, &path)
                .header("idempotency-key", key());
            fetch(request.json(&json!({ "quantity": 1, "reason": "race" }))).await
        }
    }))
    .await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 5);
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        refused.problem(409, "nothing_to_refund");
    }
    eventually("the second server has the stock", || async {
        (app.stock(&drop).await == [5, 5, 0, 0]).then_some(())
    })
    .await;
    app.audit_verify().await;
}

#[tokio::test]
async fn every_number_agrees_after_a_refund() {
    let app = App::start().await;
    let limits = json!({ "max_per_hold": 3, "max_per_buyer": 3 });
    let drop = app.create_drop(6, limits).await;
    let alice = text(&bought(&app, &drop, "alice", 3).await["id"]);
    let bob = text(&bought(&app, &drop, "bob", 2).await["id"]);
    refund(&app, &alice, &json!({ "quantity": 2, "reason": "x" }))
        .await
        .ok(201);
    refund(&app, &bob, &json!({ "restock": false, "reason": "x" }))
        .await
        .ok(201);
    assert_eq!(app.stock(&drop).await, [4, 3, 0, 1]);

    let metrics = admin_get(&app, "/v1/admin/metrics?window=1h").await;
    let counts = |body: &Value| (number(&body["units_sold"]), number(&body["units_refunded"]));
    assert_eq!(counts(&metrics), (1, 4));
    assert_eq!(metrics["purchases_confirmed"], 2);
    let line = &metrics["drops"][0];
    assert_eq!((&line["sold"], &line["refunded"]), (&json!(1), &json!(4)));
    let sum = |buckets: &Value, field: &str| -> u64 {
        let buckets = buckets.as_array().unwrap().iter();
        buckets.map(|bucket| number(&bucket[field])).sum()
    };
    assert_eq!(sum(&metrics["timeline"], "sold"), 1);
    let chart = admin_get(&app, &format!("/v1/admin/timeline?drop_id={drop}")).await;
    assert_eq!(sum(&chart["buckets"], "sold"), 1);
    assert_eq!(sum(&chart["buckets"], "refunded"), 4);

    // A buyer without units is no purchaser.
    for order in ["units", "recent"] {
        let path = format!("/v1/drops/{drop}/purchasers?order={order}");
        let purchasers = app.get(&path).await.ok(200);
        let listed = purchasers["data"].as_array().unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|one| (&one["buyer"], &one["quantity"]))
            .collect();
        assert_eq!(listed, [(&json!("alice"), &json!(1))]);
    }
    for (buyer, purchased, allowance) in [("alice", 1, 2), ("bob", 0, 3)] {
        let path = format!("/v1/drops/{drop}/buyers/{buyer}");
        let standing = app.get(&path).await.ok(200);
        assert_eq!(
            (&standing["purchased"], &standing["allowance"]),
            (&json!(purchased), &json!(allowance))
        );
    }
    let listed = admin_get(&app, &format!("/v1/drops/{drop}/purchases")).await;
    let refunded = |index: usize| listed["data"][index]["refunded"]["quantity"].clone();
    assert_eq!((refunded(0), refunded(1)), (json!(2), json!(2)));
    let scraped = app.get("/metrics").await.text();
    for line in [
        "holdfast_purchases_refunded_total 2",
        "holdfast_units_refunded_total 4",
    ] {
        assert!(scraped.lines().any(|found| found == line), "{line}");
    }
    eventually("the tables agree", || async {
        let sums: (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT sum(sold)::bigint FROM live_stock),
                    (SELECT sum(quantity - refunded)::bigint FROM top_purchasers),
                    (SELECT sum(sold - refunded)::bigint FROM sales_timeline)",
        )
        .fetch_one(app.pool())
        .await
        .unwrap();
        (sums == (1, 1, 1)).then_some(())
    })
    .await;
    app.audit_verify().await;
    // The same rows, folded from the log in one pass.
    let rebuilt = app.launch().run(&["projections", "rebuild", "--all"]).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    app.audit_verify().await;
}

#[tokio::test]
async fn only_restocked_units_are_offered_to_the_waitlist() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({ "max_per_hold": 3 })).await;
    let id = text(&bought(&app, &drop, "alice", 3).await["id"]);
    let entry = app.joined(&drop, "bob", 1).await;
    refund(
        &app,
        &id,
        &json!({ "quantity": 1, "restock": false, "reason": "x" }),
    )
    .await
    .ok(201);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "waiting");
    assert_eq!(app.stock(&drop).await, [2, 0, 0, 2]);
    refund(&app, &id, &json!({ "quantity": 1, "reason": "x" }))
        .await
        .ok(201);
    assert_eq!(app.waitlist_entry(&entry).await["status"], "offered");
    assert_eq!(app.stock(&drop).await, [2, 0, 1, 1]);
    app.audit_verify().await;
}

#[tokio::test]
async fn cancelled_drop_takes_units_back() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({ "max_per_hold": 3 })).await;
    let id = text(&bought(&app, &drop, "alice", 2).await["id"]);
    let cancel = app.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"));
    fetch(cancel).await.ok(200);
    refund(&app, &id, &json!({ "quantity": 1, "reason": "x" }))
        .await
        .ok(201);
    assert_eq!(app.stock(&drop).await, [3, 2, 0, 1]);
    refund(&app, &id, &json!({ "restock": false, "reason": "x" }))
        .await
        .ok(201);
    assert_eq!(app.stock(&drop).await, [2, 2, 0, 0]);
    assert_eq!(app.drop(&drop).await["status"], "cancelled");
    app.audit_verify().await;
}

#[tokio::test]
async fn refund_outlives_the_erasure_of_its_buyer() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({ "max_per_hold": 3 })).await;
    let id = text(&bought(&app, &drop, "alice", 2).await["id"]);
    refund(&app, &id, &json!({ "quantity": 1, "reason": "x" }))
        .await
        .ok(201);
    fetch(app.admin(Method::DELETE, "/v1/admin/buyers/alice"))
        .await
        .ok(204);
    refund(&app, &id, &json!({ "reason": "y" })).await.ok(201);
    let read = admin_get(&app, &format!("/v1/purchases/{id}")).await;
    assert_eq!(
        (&read["buyer_id"], &read["refunded"]["quantity"]),
        (&json!(null), &json!(2))
    );
    app.audit_verify().await;
}
