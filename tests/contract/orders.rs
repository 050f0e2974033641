//! docs/CONTRACT.md on orders: place, read, list, cancel, purchase, fulfil.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use harness::{
    ADMIN_KEY, AUDITOR_KEY, Api, App, Launch, Reply, concurrently, eventually, fetch, key, number,
    text, token,
};
use reqwest::Method;
use serde_json::{Value, json};

/// That of `HOLDFAST_BUYER_SECRET`.
const SECRET: &str = "the shop's secret for its buyers";

async fn order_with(api: &Api, key: &str, body: &Value) -> Reply {
    let request = api.request(Method::POST, "/v1/orders");
    fetch(request.header("idempotency-key", key).json(body)).await
}

fn of(buyer: &str, items: &[(&str, u32)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(drop, units)| json!({ "drop_id": drop, "quantity": units }))
        .collect();
    json!({ "buyer_id": buyer, "items": items })
}

async fn ordered(api: &Api, buyer: &str, items: &[(&str, u32)]) -> Value {
    order_with(api, &key(), &of(buyer, items)).await.ok(201)
}

async fn read(api: &Api, order: &str) -> Reply {
    api.get(&format!("/v1/orders/{order}")).await
}

async fn pay(api: &Api, order: &str, reference: Option<&str>) -> Reply {
    let request = api.request(Method::POST, &format!("/v1/orders/{order}/purchase"));
    fetch(match reference {
        Some(reference) => request.json(&json!({ "payment_reference": reference })),
        None => request,
    })
    .await
}

async fn cancel(api: &Api, order: &str) -> Reply {
    fetch(api.request(Method::POST, &format!("/v1/orders/{order}/cancel"))).await
}

async fn fulfil(api: &Api, order: &str, body: Value) -> Reply {
    let request = api.admin(Method::PATCH, &format!("/v1/orders/{order}"));
    fetch(request.json(&body)).await
}

async fn list(api: &Api, query: &str) -> Value {
    fetch(api.admin(Method::GET, &format!("/v1/orders{query}")))
        .await
        .ok(200)
}

fn ids(page: &Value) -> Vec<String> {
    let data = page["data"].as_array().unwrap();
    data.iter().map(|order| text(&order["id"])).collect()
}

/// A shop with two drops: five units each, holds of an hour and of two.
async fn shop() -> (App, String, String) {
    let app = App::start().await;
    let terms = |seconds: u32| json!({ "hold_seconds": seconds, "max_per_hold": 4 });
    let lamp = app.create_drop(5, terms(3_600)).await;
    let chair = app.create_drop(5, terms(1_800)).await;
    (app, lamp, chair)
}

#[tokio::test]
async fn order_is_placed_read_paid_and_shipped() {
    let (app, lamp, chair) = shop().await;
    let lines = [(lamp.as_str(), 1), (&chair, 2), (&lamp, 2)];
    let first = order_with(&app, "order-1", &of("Ann", &lines)).await;
    let order = first.ok(201);
    let id = text(&order["id"]);
    assert_eq!(first.header("location"), format!("/v1/orders/{id}"));
    assert_eq!(
        (&order["status"], &order["fulfilment"]),
        (&json!("pending"), &json!("unfulfilled"))
    );
    assert_eq!(
        (&order["buyer_id"], &order["total"]["amount"]),
        (&json!("Ann"), &json!(5 * 19_999))
    );
    let items = order["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "items of one drop are added up");
    assert_eq!(
        (&items[0]["drop_id"], &items[0]["quantity"]),
        (&json!(lamp), &json!(3))
    );
    assert_eq!(items[1]["total"]["amount"], 2 * 19_999);
    let hold = app.read_hold(&text(&items[0]["hold_id"])).await.ok(200);
    assert_eq!(
        hold["expires_at"], order["expires_at"],
        "one deadline, the shortest"
    );
    assert_eq!(app.stock(&lamp).await, [5, 2, 3, 0]);

    let again = order_with(&app, "order-1", &of(" ann ", &lines)).await;
    assert!(again.is_replay());
    assert_eq!(again.ok(201)["id"], order["id"]);
    for (buyer, lines) in [("bob", &lines[..]), ("Ann", &lines[..2])] {
        let reused = order_with(&app, "order-1", &of(buyer, lines)).await;
        reused.problem(422, "idempotency_key_reused");
    }

    let seen = read(&app, &id).await;
    assert_eq!(seen.ok(200)["position"], order["position"]);
    let request = app.request(Method::GET, &format!("/v1/orders/{id}"));
    let same = fetch(request.header("if-none-match", seen.header("etag"))).await;
    assert_eq!(same.status, 304);
    assert!(!same.header("holdfast-server-time").is_empty());

    let early = fulfil(&app, &id, json!({ "fulfilment": "shipped" })).await;
    assert_eq!(
        early.problem(409, "order_not_paid")["status_of_order"],
        "pending"
    );
    let paid = pay(&app, &id, Some("pi_1")).await.ok(200);
    assert_eq!(
        (&paid["status"], &paid["late"]),
        (&json!("paid"), &json!(false))
    );
    assert!(!paid["paid_at"].is_null() && !paid["items"][0]["purchase_id"].is_null());
    assert!(number(&paid["position"]) > number(&order["position"]));
    assert_eq!(app.stock(&lamp).await, [5, 2, 0, 3]);
    assert_eq!(app.stock(&chair).await, [5, 3, 0, 2]);
    let purchase = format!("/v1/purchases/{}", text(&paid["items"][1]["purchase_id"]));
    let purchase = fetch(app.admin(Method::GET, &purchase)).await.ok(200);
    assert_eq!(
        (&purchase["payment_reference"], &purchase["quantity"]),
        (&json!("pi_1"), &json!(2))
    );
    for same in [Some("pi_1"), None] {
        assert!(pay(&app, &id, same).await.is_replay());
    }
    let conflict = pay(&app, &id, Some("pi_2")).await;
    let conflict = conflict.problem(409, "payment_reference_conflict");
    assert_eq!(
        (&conflict["order_id"], &conflict["paid_at"]),
        (&json!(id), &paid["paid_at"])
    );
    let refused = cancel(&app, &id).await.problem(409, "order_paid");
    assert_eq!(refused["paid_at"], paid["paid_at"]);

    let shipped = json!({ "fulfilment": "shipped", "tracking": "parcel 9" });
    let order = fulfil(&app, &id, shipped.clone()).await.ok(200);
    assert_eq!(
        (&order["fulfilment"], &order["tracking"]),
        (&json!("shipped"), &json!("parcel 9"))
    );
    assert!(fulfil(&app, &id, shipped).await.is_replay());
    let back = fulfil(&app, &id, json!({ "fulfilment": "processing" })).await;
    assert_eq!(
        back.problem(409, "fulfilment_order")["fulfilment"],
        "shipped"
    );
    let app = app.restart().await;
    let seen = read(&app, &id).await.ok(200);
    assert_eq!(
        (&seen["tracking"], &seen["status"]),
        (&json!("parcel 9"), &json!("paid"))
    );
    assert!(pay(&app, &id, Some("pi_1")).await.is_replay());
    app.audit_verify().await;
}

#[tokio::test]
async fn refusal_is_that_of_the_first_item_that_fails() {
    let (app, lamp, chair) = shop().await;
    let refused = async |items: &[(&str, u32)]| order_with(&app, &key(), &of("ann", items)).await;
    let problem = refused(&[(&lamp, 1), (&chair, 3), (&chair, 2)]).await;
    let problem = problem.problem(409, "limit_reached");
    assert_eq!(
        (&problem["pointer"], &problem["limit"]),
        (&json!("/items/1"), &json!(4))
    );
    ordered(&app, "bob", &[(&chair, 4)]).await;
    let problem = refused(&[(&lamp, 1), (&chair, 2)])
        .await
        .problem(409, "sold_out");
    assert_eq!(
        (&problem["pointer"], &problem["available"]),
        (&json!("/items/1"), &json!(1))
    );
    let unknown = uuid::Uuid::new_v4().to_string();
    let problem = refused(&[(&unknown, 1), (&chair, 2)]).await;
    assert_eq!(
        problem.problem(404, "drop_not_found")["pointer"],
        "/items/0"
    );
    assert_eq!(app.stock(&lamp).await, [5, 5, 0, 0], "nothing is held");

    let euros = json!({ "price": { "amount": 100, "currency": "EUR" } });
    let foreign = app.create_drop(5, euros).await;
    let mixed = refused(&[(&lamp, 1), (&foreign, 1)]).await;
    mixed.invalid("/items/1/drop_id");
    for (body, pointer) in [
        (of("ann", &[]), "/items"),
        (of("ann", &[(lamp.as_str(), 1); 21]), "/items"),
        (of("ann", &[(&lamp, 0)]), "/items/0/quantity"),
        (of("", &[(&lamp, 1)]), "/buyer_id"),
        (
            json!({ "buyer_id": "ann", "items": [{ "drop_id": lamp, "colour": "x" }] }),
            "/items/0/colour",
        ),
    ] {
        order_with(&app, &key(), &body).await.invalid(pointer);
    }
    let bare = app
        .request(Method::POST, "/v1/orders")
        .json(&of("ann", &[(&lamp, 1)]));
    fetch(bare).await.problem(400, "idempotency_key_required");
    for unknown in [uuid::Uuid::new_v4().to_string(), "nothing".to_owned()] {
        read(&app, &unknown).await.problem(404, "order_not_found");
        cancel(&app, &unknown).await.problem(404, "order_not_found");
        pay(&app, &unknown, None)
            .await
            .problem(404, "order_not_found");
        let step = json!({ "fulfilment": "shipped" });
        fulfil(&app, &unknown, step)
            .await
            .problem(404, "order_not_found");
    }
    app.audit_verify().await;
}

#[tokio::test]
async fn refunds_of_its_purchases_change_the_status_of_an_order() {
    let (app, lamp, chair) = shop().await;
    let order = ordered(&app, "Ann", &[(&lamp, 2), (&chair, 1)]).await;
    let id = text(&order["id"]);
    let paid = pay(&app, &id, None).await.ok(200);
    let none = json!({ "quantity": 0, "amount": { "amount": 0, "currency": "USD" } });
    assert_eq!(paid["items"][0]["refunded"], none);
    let before = read(&app, &id).await;
    let refund = async |item: usize, quantity: u32, key: &str| {
        let purchase = text(&paid["items"][item]["purchase_id"]);
        let request = app
            .admin(Method::POST, &format!("/v1/purchases/{purchase}/refunds"))
            .header("idempotency-key", key)
            .json(&json!({ "quantity": quantity, "reason": "returned" }));
        fetch(request).await
    };
    let listed = async |status: &str| {
        let list = app.admin(Method::GET, &format!("/v1/orders?status={status}"));
        fetch(list).await.ok(200)["data"].as_array().unwrap().len()
    };
    for (item, key, status, units) in [
        (0, "first", "partially_refunded", [1, 0]),
        (1, "second", "partially_refunded", [1, 1]),
        (0, "third", "refunded", [2, 1]),
    ] {
        let made = refund(item, 1, key).await.ok(201);
        let path = format!("/v1/orders/{id}?at_least={}", made["position"]);
        let seen = app.get(&path).await;
        assert_ne!(seen.header("etag"), before.header("etag"));
        let seen = seen.ok(200);
        assert_eq!(seen["status"], status);
        for (item, units) in seen["items"].as_array().unwrap().iter().zip(units) {
            let amount = json!({ "amount": units * 19_999, "currency": "USD" });
            let refunded = json!({ "quantity": units, "amount": amount });
            assert_eq!(item["refunded"], refunded);
        }
        assert_eq!(seen["paid_at"], paid["paid_at"]);
        assert_eq!((listed(status).await, listed("paid").await), (1, 0));
        // A repeated refund has no second effect.
        assert!(refund(item, 1, key).await.is_replay());
    }
    refund(1, 1, "fourth")
        .await
        .problem(409, "nothing_to_refund");
    assert_eq!(app.stock(&lamp).await, [5, 5, 0, 0]);
    // A refunded order can still be shipped, and is not paid again.
    fulfil(&app, &id, json!({ "fulfilment": "shipped" }))
        .await
        .ok(200);
    assert!(pay(&app, &id, None).await.is_replay());
}

#[tokio::test]
async fn hold_of_an_order_is_purchased_and_released_with_it() {
    let (app, lamp, chair) = shop().await;
    let order = ordered(&app, "ann", &[(&lamp, 1), (&chair, 1)]).await;
    let id = text(&order["id"]);
    let hold = text(&order["items"][0]["hold_id"]);
    for refused in [app.purchase(&hold).await, app.release(&hold).await] {
        assert_eq!(refused.problem(409, "hold_in_order")["order_id"], json!(id));
    }
    let cancelled = cancel(&app, &id).await.ok(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert!(!cancelled["cancelled_at"].is_null());
    assert!(cancel(&app, &id).await.is_replay());
    let refused = pay(&app, &id, None).await.problem(410, "order_cancelled");
    assert_eq!(refused["cancelled_at"], cancelled["cancelled_at"]);
    // Nothing can be done with the order any more, so its holds are like any that are over.
    let refused = app.purchase(&hold).await.problem(410, "hold_released");
    assert_eq!(refused["released_at"], cancelled["cancelled_at"]);
    app.release(&hold).await.ok(204);
    assert_eq!(app.stock(&lamp).await, [5, 5, 0, 0]);
    assert_eq!(app.stock(&chair).await, [5, 5, 0, 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn order_expires_and_a_cancelled_drop_cancels_it() {
    let app = App::start().await;
    let short = app.create_drop(3, json!({ "hold_seconds": 1 })).await;
    let long = app.create_drop(3, json!({ "hold_seconds": 3600 })).await;
    let id = text(&ordered(&app, "ann", &[(&long, 1), (&short, 1)]).await["id"]);
    let over = eventually("the order to expire", async || {
        let order = read(&app, &id).await.ok(200);
        (order["status"] == "expired").then_some(order)
    })
    .await;
    let refused = pay(&app, &id, Some("pi_1"))
        .await
        .problem(410, "order_expired");
    assert_eq!(refused["expired_at"], over["expires_at"]);
    cancel(&app, &id).await.problem(410, "order_expired");
    eventually("both units to be free", async || {
        let free = [app.stock(&short).await, app.stock(&long).await];
        (free == [[3, 3, 0, 0]; 2]).then_some(())
    })
    .await;

    let other = app.create_drop(3, json!({ "hold_seconds": 3600 })).await;
    let id = text(&ordered(&app, "bob", &[(&long, 1), (&other, 1)]).await["id"]);
    let stop = app.admin(Method::POST, &format!("/v1/drops/{long}/cancel"));
    fetch(stop).await.ok(200);
    pay(&app, &id, None).await.problem(410, "order_cancelled");
    assert_eq!(read(&app, &id).await.ok(200)["status"], "cancelled");
    assert_eq!(app.stock(&other).await, [3, 3, 0, 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn orders_for_the_last_units_are_whole_on_two_servers() {
    let (app, lamp, chair) = shop().await;
    let other = app.launch().clone().start().await;
    let work = (0..30).map(|turn| {
        let api = if turn % 2 == 0 {
            app.api()
        } else {
            other.api()
        };
        let (lamp, chair) = (lamp.clone(), chair.clone());
        async move {
            // In both orders of the drops.
            let mut lines = [(lamp.as_str(), 1), (chair.as_str(), 1)];
            if turn % 3 == 0 {
                lines.reverse();
            }
            let body = of(&format!("buyer {turn}"), &lines);
            order_with(&api, &key(), &body).await
        }
    });
    let replies = concurrently(work).await;
    let placed = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(placed, 5);
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        refused.problem(409, "sold_out");
    }
    assert_eq!(app.stock(&lamp).await, [5, 0, 5, 0]);
    assert_eq!(app.stock(&chair).await, [5, 0, 5, 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn admin_finds_orders_by_buyer_drop_status_and_payment() {
    let (app, lamp, chair) = shop().await;
    let one = text(&ordered(&app, "ann", &[(&lamp, 1), (&chair, 1)]).await["id"]);
    let two = text(&ordered(&app, "=cmd|' /C calc'!A0", &[(&chair, 1)]).await["id"]);
    let three = text(&ordered(&app, "ANN", &[(&lamp, 1)]).await["id"]);
    pay(&app, &one, Some("@SUM(1+1)")).await.ok(200);
    cancel(&app, &two).await.ok(200);
    fulfil(
        &app,
        &one,
        json!({ "fulfilment": "shipped", "tracking": "-2" }),
    )
    .await
    .ok(200);

    let all = [three.clone(), two.clone(), one.clone()];
    assert_eq!(ids(&list(&app, "").await), all);
    for (query, expected) in [
        ("?buyer_id=Ann", vec![&three, &one]),
        ("?status=paid", vec![&one]),
        ("?status=pending", vec![&three]),
        ("?status=cancelled&buyer_id=ann", vec![]),
        ("?payment_reference=%40SUM%281%2B1%29", vec![&one]),
        (&format!("?drop_id={chair}"), vec![&two, &one]),
        (&format!("?drop_id={}", uuid::Uuid::new_v4()), vec![]),
    ] {
        let found = ids(&list(&app, query).await);
        assert!(found.iter().eq(expected), "{query}: {found:?}");
    }
    let page = list(&app, "?limit=2").await;
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (all[..2].to_vec(), &json!(true))
    );
    let page = list(&app, &format!("?limit=2&starting_after={two}")).await;
    assert_eq!(
        (ids(&page), &page["has_more"]),
        (all[2..].to_vec(), &json!(false))
    );
    assert_eq!(page["data"][0]["payment_reference"], "@SUM(1+1)");
    for (query, pointer) in [
        ("?limit=101", "/limit"),
        ("?status=sold", "/status"),
        (
            &format!("?starting_after={}", uuid::Uuid::new_v4()),
            "/starting_after",
        ),
        ("?colour=red", "/colour"),
    ] {
        let refused = fetch(app.admin(Method::GET, &format!("/v1/orders{query}"))).await;
        assert_eq!(refused.error_pointers(400, "invalid_query"), [pointer]);
    }

    let csv = app
        .admin(Method::GET, "/v1/orders")
        .header("accept", "text/csv");
    let file = fetch(csv).await;
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8");
    let file = file.text();
    let lines: Vec<&str> = file.split("\r\n").collect();
    assert_eq!(
        lines.len(),
        6,
        "a head, a line for each item, and the end: {file}"
    );
    assert!(lines[0].starts_with("order_id,status,fulfilment,buyer_id,"));
    assert!(lines[1].starts_with(&format!("{three},pending,unfulfilled,ANN,")));
    assert!(lines[2].contains(",'=cmd|' /C calc'!A0,"), "{file}");
    assert!(
        lines[3].contains(",'@SUM(1+1),'-2,") && lines[4].contains(&chair),
        "{file}"
    );
    let unpaid = app.get("/v1/orders").await;
    unpaid.problem(401, "unauthorized");
    app.audit("/v1/orders").await.problem(403, "forbidden");
    assert_eq!(
        read(&app, &one).await.ok(200).get("payment_reference"),
        None
    );
}

#[tokio::test]
async fn erased_buyer_is_in_no_order_and_no_event() {
    let (app, lamp, chair) = shop().await;
    let other = app.launch().clone().start().await;
    let id = text(&ordered(&app, "ann", &[(&lamp, 1), (&chair, 1)]).await["id"]);
    let bobs = text(&ordered(&app, "bob", &[(&lamp, 1)]).await["id"]);
    pay(&app, &id, Some("pi_1")).await.ok(200);
    pay(&app, &bobs, Some("pi_2")).await.ok(200);
    fulfil(
        &app,
        &id,
        json!({ "fulfilment": "shipped", "tracking": "parcel" }),
    )
    .await
    .ok(200);
    let erase = app.admin(Method::DELETE, "/v1/admin/buyers/ANN");
    assert_eq!(fetch(erase).await.status, 204);
    let head = number(&app.audit("/v1/log/head").await.ok(200)["position"]);
    let app = app.restart().await;
    for api in [app.api(), other.api()] {
        let path = format!("/v1/orders/{id}?at_least={head}");
        let order = fetch(api.admin(Method::GET, &path)).await.ok(200);
        for erased in ["buyer_id", "payment_reference", "tracking"] {
            assert_eq!(order[erased], json!(null), "{erased}");
        }
        assert_eq!(
            (&order["status"], &order["fulfilment"]),
            (&json!("paid"), &json!("shipped"))
        );
        assert!(ids(&list(&api, "?buyer_id=ann").await).is_empty());
        assert!(ids(&list(&api, "?payment_reference=pi_1").await).is_empty());
        assert_eq!(
            ids(&list(&api, "?buyer_id=bob").await),
            std::slice::from_ref(&bobs)
        );
        // An erased reference cannot be compared.
        let refused = pay(&api, &id, Some("pi_1")).await;
        refused.problem(409, "payment_reference_conflict");
    }
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE private IS NOT NULL AND aggregate_type = 'Order' AND aggregate_id = $1",
    )
    .bind(&id)
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(left, 0);
    let verified = app.audit_verify().await;
    assert!(verified.contains("verified"), "{verified}");
}

#[tokio::test]
async fn with_tokens_buyers_see_and_cancel_their_own_orders_only() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BUYER_SECRET", SECRET)
        .start()
        .await;
    let drop = app.create_drop(5, json!({})).await;
    let (ann, bob) = (token(SECRET, "ann", 600), token(SECRET, "bob", 600));
    let send = async |method: Method, path: &str, bearer: &str, body: Option<Value>| {
        let request = app.request(method, path).bearer_auth(bearer);
        let request = request.header("idempotency-key", key());
        fetch(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    };
    let body = of("ann", &[(&drop, 1)]);
    let refused = send(Method::POST, "/v1/orders", &bob, Some(body.clone())).await;
    refused.problem(403, "forbidden");
    let order = send(Method::POST, "/v1/orders", &ann, Some(body))
        .await
        .ok(201);
    let path = format!("/v1/orders/{}", text(&order["id"]));
    send(Method::GET, &path, &bob, None)
        .await
        .problem(403, "forbidden");
    assert_eq!(
        send(Method::GET, &path, &ann, None).await.ok(200)["id"],
        order["id"]
    );
    let cancels = format!("{path}/cancel");
    send(Method::POST, &cancels, &bob, None)
        .await
        .problem(403, "forbidden");
    let pays = format!("{path}/purchase");
    send(Method::POST, &pays, &ann, None)
        .await
        .problem(403, "forbidden");
    send(Method::GET, &path, AUDITOR_KEY, None)
        .await
        .problem(403, "forbidden");

    let own = send(Method::GET, "/v1/orders", &ann, None).await.ok(200);
    assert_eq!(ids(&own), [text(&order["id"])]);
    assert_eq!(own["data"][0].get("payment_reference"), None);
    let none = send(Method::GET, "/v1/orders", &bob, None).await.ok(200);
    assert!(ids(&none).is_empty());
    let others = send(Method::GET, "/v1/orders?buyer_id=ann", &bob, None).await;
    others.problem(403, "forbidden");
    // Accounts that only case folding makes equal are two: each sees its own orders.
    let sharp = token(SECRET, "weißmann", 600);
    let double = token(SECRET, "weissmann", 600);
    let own = send(
        Method::POST,
        "/v1/orders",
        &sharp,
        Some(of("weißmann", &[(&drop, 1)])),
    )
    .await;
    let own = text(&own.ok(201)["id"]);
    for path in ["/v1/orders", "/v1/orders?buyer_id=weissmann"] {
        let list = send(Method::GET, path, &double, None).await.ok(200);
        assert!(ids(&list).is_empty(), "{path}");
    }
    let list = send(Method::GET, "/v1/orders", &sharp, None).await.ok(200);
    assert_eq!(ids(&list), [own]);
    let search = send(Method::GET, "/v1/orders?payment_reference=pi", &ann, None).await;
    assert_eq!(
        search.error_pointers(400, "invalid_query"),
        ["/payment_reference"]
    );
    send(Method::POST, &cancels, &ann, None).await.ok(200);
    let body = of("bob", &[(&drop, 1)]);
    let order = send(Method::POST, "/v1/orders", ADMIN_KEY, Some(body))
        .await
        .ok(201);
    let pays = format!("/v1/orders/{}/purchase", text(&order["id"]));
    assert_eq!(
        send(Method::POST, &pays, ADMIN_KEY, None).await.ok(200)["status"],
        "paid"
    );
}

/// No provider takes a payment of zero, and the buyer of a free order needs no administrator.
#[tokio::test]
async fn buyer_with_a_token_completes_their_own_free_order() {
    let launch = Launch::fresh().await;
    let app = launch.with("HOLDFAST_BUYER_SECRET", SECRET).start().await;
    let price = json!({ "amount": 0, "currency": "USD" });
    let free = app.create_drop(5, json!({ "price": price })).await;
    let priced = app.create_drop(5, json!({})).await;
    let [ann, bob] = ["ann", "bob"].map(|buyer| token(SECRET, buyer, 600));
    let post = async |path: &str, bearer: &str, body: Value| {
        let request = app.request(Method::POST, path).bearer_auth(bearer);
        fetch(request.header("idempotency-key", key()).json(&body)).await
    };
    let place = async |items: &[(&str, u32)]| {
        let order = post("/v1/orders", &ann, of("ann", items)).await.ok(201);
        format!("/v1/orders/{}/purchase", text(&order["id"]))
    };
    let pays = place(&[(&free, 1)]).await;
    let others = post(&pays, &bob, json!({})).await;
    others.problem(403, "forbidden");
    let stated = post(&pays, &ann, json!({ "payment_reference": "pi_1" })).await;
    stated.problem(403, "forbidden");
    let paid = post(&pays, &ann, json!({})).await.ok(200);
    assert_eq!(
        (&paid["status"], &paid["total"]["amount"]),
        (&json!("paid"), &json!(0))
    );
    let pays = place(&[(&free, 1), (&priced, 1)]).await;
    let refused = post(&pays, &ann, json!({})).await;
    refused.problem(403, "forbidden");
    app.audit_verify().await;
}

#[tokio::test]
async fn every_hold_of_an_order_counts_for_its_address() {
    let launch = Launch::fresh().await;
    let app = launch
        .with("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1")
        .with("HOLDFAST_ADDRESS_HOLDS", "3")
        .start()
        .await;
    let one = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let two = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let both = [(one.as_str(), 1), (two.as_str(), 1)];
    let send = async |path: &str, body: Value| {
        let request = app.request(Method::POST, path);
        let request = request.header("x-forwarded-for", "203.0.113.1");
        fetch(request.header("idempotency-key", key()).json(&body)).await
    };
    let id = text(&send("/v1/orders", of("ann", &both)).await.ok(201)["id"]);
    let refused = send("/v1/orders", of("bob", &both)).await;
    assert_eq!(refused.problem(429, "address_limit_reached")["limit"], 3);
    send("/v1/orders", of("bob", &both[..1])).await.ok(201);
    let holds = format!("/v1/drops/{two}/holds");
    let hold = json!({ "buyer_id": "cy" });
    let refused = send(&holds, hold.clone()).await;
    refused.problem(429, "address_limit_reached");
    pay(&app, &id, None).await.ok(200);
    send(&holds, hold).await.ok(201);
}
