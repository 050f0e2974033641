//! One event that cannot be applied stops its order on every server, and nothing else; the order is
//! repaired while the shop runs, and its payment is settled then.

use harness::{App, Launch, RawEvent, eventually, fetch, key, now, text};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::{Value, json};

async fn ordered(app: &App, drop: &str) -> Value {
    let request = app.request(Method::POST, "/v1/orders");
    let body = json!({ "buyer_id": "ann", "items": [{ "drop_id": drop }] });
    let request = request.header("idempotency-key", key()).json(&body);
    fetch(request).await.ok(201)
}

async fn pay(app: &App, order: &str, scenario: &str) {
    let path = format!("/v1/orders/{order}/payments");
    let request = app.request(Method::POST, &path);
    let request = request.header("idempotency-key", key());
    let body = json!({ "scenario": scenario });
    fetch(request.json(&body)).await.ok(201);
}

/// A shipment in a version that no release knows, so it is refused in every state of the order.
async fn append_impossible(app: &App, order: &str) -> i64 {
    let fields = json!({ "fulfilment": "shipped", "fulfilled_at": now() });
    let event = RawEvent::next_of_order(order, "OrderFulfilled", "7.0", fields);
    event.append(app.pool()).await
}

async fn wait_for_quarantined(app: &App, orders: usize) {
    eventually("the number of orders in quarantine", || async {
        let ready = app.get("/health/ready").await.ok(200);
        (ready["quarantined_orders"] == orders).then_some(())
    })
    .await;
}

async fn assert_quarantined(app: &App, order: &str, position: i64) {
    let path = format!("/v1/orders/{order}");
    let purchase = app.admin(Method::POST, &format!("{path}/purchase"));
    let cancel = app.request(Method::POST, &format!("{path}/cancel"));
    for reply in [
        app.get(&path).await,
        fetch(purchase).await,
        fetch(cancel).await,
    ] {
        let problem = reply.problem(503, "order_quarantined");
        assert_eq!(
            (&problem["order_id"], &problem["position"]),
            (&json!(order), &json!(position))
        );
        assert!(!reply.header("retry-after").is_empty());
    }
    let listed = fetch(app.admin(Method::GET, "/v1/orders")).await.ok(200);
    let listed = listed["data"].as_array().expect("a list");
    assert!(listed.iter().all(|one| one["id"] != *order));
}

async fn void(launch: &Launch, position: i64, more: &[&str]) -> String {
    let position = position.to_string();
    let arguments = [
        "log",
        "void",
        "--position",
        &position,
        "--reason",
        "written by a test",
    ];
    let done = launch.run(&[&arguments, more].concat()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
}

async fn status_becomes(app: &App, order: &str, status: &str) -> Value {
    eventually(&format!("the order is {status}"), || async {
        let read = app.get(&format!("/v1/orders/{order}")).await;
        let is_read = read.status == 200;
        is_read
            .then(|| read.json())
            .filter(|order| order["status"] == status)
    })
    .await
}

async fn job_is(app: &App, kind: &str, status: &str) {
    eventually(&format!("{kind} is {status}"), || async {
        let query = format!("/v1/admin/jobs?kind={kind}&status={status}");
        let list = fetch(app.admin(Method::GET, &query)).await.ok(200);
        (list["data"] != json!([])).then_some(())
    })
    .await;
}

async fn two_servers() -> (App, App) {
    let database = fresh_database().await;
    let first = Launch::on(database.clone()).start().await;
    (first, Launch::on(database).start().await)
}

#[tokio::test]
async fn inapplicable_event_stops_one_order_and_is_repaired_online() {
    let (first, second) = two_servers().await;
    let drop = first.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let order = text(&ordered(&first, &drop).await["id"]);
    let other = text(&ordered(&first, &drop).await["id"]);
    // The money arrives while the order is in quarantine.
    pay(&first, &order, "pays_late=2").await;
    let position = append_impossible(&first, &order).await;
    for app in [&first, &second] {
        wait_for_quarantined(app, 1).await;
        assert_quarantined(app, &order, position).await;
        app.wait_for_log(&format!("order {order} is in quarantine"))
            .await;
    }
    pay(&second, &other, "pays").await;
    status_becomes(&first, &other, "paid").await;
    let second = second.restart().await;
    wait_for_quarantined(&second, 1).await;
    assert_quarantined(&second, &order, position).await;
    let launch = first.launch();
    let found = launch.run(&["log", "check"]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    let line =
        format!("order {order} is in quarantine since position {position}, OrderFulfilled 7.0");
    assert!(found.stdout.contains(&line), "{found:?}");
    let verdict = launch.run(&["audit", "verify"]).await;
    assert_eq!(verdict.code, Some(1), "{verdict:?}");

    let dry = void(launch, position, &[]).await;
    assert!(
        dry.contains("0 later events of the order are applied again"),
        "{dry}"
    );
    wait_for_quarantined(&first, 1).await;
    void(launch, position, &["--yes"]).await;
    for app in [&first, &second] {
        wait_for_quarantined(app, 0).await;
        let paid = status_becomes(app, &order, "paid").await;
        assert_eq!(paid["payment"]["status"], "succeeded");
        eventually("both servers have the same stock", || async {
            (app.stock(&drop).await == [9, 7, 0, 2]).then_some(())
        })
        .await;
    }
    job_is(&first, "payment_capture", "done").await;
    let refund = first.admin(Method::POST, &format!("/v1/orders/{order}/refunds"));
    let refund = refund.header("idempotency-key", key());
    let body = json!({ "reason": "sent back" });
    fetch(refund.json(&body)).await.ok(201);
    status_becomes(&second, &order, "refunded").await;
    job_is(&second, "refund", "done").await;
    let verified = first.audit_verify().await;
    assert!(verified.contains("\n1 incident: position "), "{verified}");
    let found = launch.run(&["log", "check"]).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(
        found
            .stdout
            .contains("no drop and no order is in quarantine"),
        "{found:?}"
    );
}

#[tokio::test]
async fn jobs_of_withheld_events_follow_when_the_order_is_readmitted() {
    let (first, second) = two_servers().await;
    let drop = first.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let id = text(&ordered(&first, &drop).await["id"]);
    pay(&first, &id, "declines").await;
    let position = append_impossible(&first, &id).await;
    for app in [&first, &second] {
        wait_for_quarantined(app, 1).await;
    }
    // Its drop is cancelled, and a server that can apply its events ends the order.
    let cancel = first.admin(Method::POST, &format!("/v1/drops/{drop}/cancel"));
    fetch(cancel).await.ok(200);
    let cancelled_at = eventually("the hold is released", || async {
        let log = first.log().await;
        log.iter()
            .find(|event| event.event_type == "HoldReleased")?;
        let mut drops = log.iter();
        let cancelled = drops.find(|event| event.event_type == "DropCancelled")?;
        Some(cancelled.fields()["cancelled_at"].clone())
    })
    .await;
    let fields = json!({ "cancelled_at": cancelled_at, "cause": "drop_cancelled" });
    let event = RawEvent::next_of_order(&id, "OrderCancelled", "1.0", fields);
    event.append(first.pool()).await;
    // The follower of the log passes it.
    first.create_drop(1, json!({})).await;
    eventually("the event was passed", || async {
        let sql = "SELECT count(*) FROM payment_withheld_orders";
        let withheld: i64 = sqlx::query_scalar(sql).fetch_one(first.pool()).await.ok()?;
        (withheld == 1).then_some(())
    })
    .await;
    let second = second.restart().await;
    void(first.launch(), position, &["--yes"]).await;
    for app in [&first, &second] {
        wait_for_quarantined(app, 0).await;
        status_becomes(app, &id, "cancelled").await;
    }
    job_is(&second, "payment_cancel", "done").await;
    first.audit_verify().await;
}

/// Appends a shipment whose personal data has no salt: neither it nor the event can be read.
async fn append_unreadable(app: &App, order: &str) {
    let fields = json!({ "fulfilment": "shipped", "fulfilled_at": now() });
    let mut event = RawEvent::next_of_order(order, "OrderFulfilled", "1.0", fields);
    event.private = Some(json!({ "tracking": "parcel 9" }));
    event.append(app.pool()).await;
}

#[tokio::test]
async fn erasure_that_makes_an_event_readable_ends_the_quarantine_of_its_order() {
    let (first, second) = two_servers().await;
    let drop = first.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let order = text(&ordered(&first, &drop).await["id"]);
    let purchase = first.admin(Method::POST, &format!("/v1/orders/{order}/purchase"));
    fetch(purchase).await.ok(200);
    append_unreadable(&first, &order).await;
    for app in [&first, &second] {
        wait_for_quarantined(app, 1).await;
    }
    let erased = fetch(first.admin(Method::DELETE, "/v1/admin/buyers/ann")).await;
    assert_eq!(erased.status, 204, "{erased:?}");
    for app in [&first, &second] {
        wait_for_quarantined(app, 0).await;
        let read = app.get(&format!("/v1/orders/{order}")).await.ok(200);
        assert_eq!(read["fulfilment"], "shipped");
        assert_eq!(read["buyer_id"], Value::Null);
    }
}
