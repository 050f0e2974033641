//! `kill -9` in the middle of orders and payments: every order is whole, and every acknowledged one
//! is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Api, App, Event, eventually, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// An order, as far as its buyer knows.
#[derive(Debug)]
struct Attempt {
    key: String,
    body: Value,
    order: Option<Value>,
    is_paid: bool,
}

async fn send(api: &Api, path: &str, key: &str, body: &Value) -> Option<Value> {
    let request = api.request(Method::POST, path);
    let sent = request
        .header("idempotency-key", key)
        .json(body)
        .send()
        .await;
    let reply = sent.ok()?;
    let is_success = reply.status().is_success();
    let body: Value = reply.json().await.ok()?;
    is_success.then_some(body)
}

/// Orders and pays until the server is gone.
async fn shop(
    api: Api,
    drops: Vec<String>,
    number: usize,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<Attempt> {
    let mut attempts = vec![];
    loop {
        let items: Vec<Value> = drops
            .iter()
            .skip(attempts.len() % 2)
            .map(|drop| json!({ "drop_id": drop }))
            .collect();
        attempts.push(Attempt {
            key: key(),
            body: json!({ "buyer_id": format!("buyer {number}"), "items": items }),
            order: None,
            is_paid: false,
        });
        let attempt = attempts.last_mut().expect("pushed just now");
        let Some(order) = send(&api, "/v1/orders", &attempt.key, &attempt.body).await else {
            return attempts;
        };
        acknowledged.fetch_add(1, Ordering::SeqCst);
        let path = format!("/v1/orders/{}/purchase", text(&order["id"]));
        attempt.order = Some(order);
        match send(&api, &path, &key(), &json!({})).await {
            Some(_) => attempt.is_paid = true,
            None => return attempts,
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// The hold of each item, and how it ended, by order.
fn orders_of(log: &[Event]) -> BTreeMap<String, Vec<Option<String>>> {
    let (mut orders, mut ends) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::new());
    for event in log {
        let fields = event.fields();
        match event.event_type.as_str() {
            "OrderPlaced" => {
                let items = fields["items"].as_array().expect("items");
                let holds = items.iter().map(|item| text(&item["hold_id"])).collect();
                orders.insert(event.aggregate_id.clone(), holds);
            }
            "HoldPlaced" => drop(ends.insert(text(&fields["hold_id"]), None)),
            "PurchaseConfirmed" | "HoldReleased" | "HoldExpired" => {
                ends.insert(text(&fields["hold_id"]), Some(event.event_type.clone()));
            }
            _ => {}
        }
    }
    let end_of = |hold: &String| ends.get(hold).expect("every item has its hold").clone();
    let of_order =
        |(order, holds): (String, Vec<String>)| (order, holds.iter().map(end_of).collect());
    orders.into_iter().map(of_order).collect()
}

#[tokio::test]
async fn killed_server_leaves_every_order_whole() {
    let mut app = App::start().await;
    let mut drops = vec![];
    for _ in 0..3 {
        let terms = json!({ "hold_seconds": 3600 });
        drops.push(app.create_drop(100_000, terms).await);
    }
    let mut attempts = vec![];
    for round in 0..4 {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut shoppers = JoinSet::new();
        for number in 0..12 {
            let (api, drops) = (app.api(), drops.clone());
            shoppers.spawn(shop(api, drops, number, Arc::clone(&acknowledged)));
        }
        eventually("orders are acknowledged", || async {
            (acknowledged.load(Ordering::SeqCst) >= 40 + round * 17).then_some(())
        })
        .await;
        app.kill();
        attempts.extend(shoppers.join_all().await.into_iter().flatten());
        app = app.restart().await;
    }
    let orders = orders_of(&app.log().await);
    for (order, ends) in &orders {
        let sold = ends
            .iter()
            .filter(|end| end.as_deref() == Some("PurchaseConfirmed"));
        let sold = sold.count();
        assert!(
            sold == 0 || sold == ends.len(),
            "a part of {order} was sold: {ends:?}"
        );
        let open = ends.iter().filter(|end| end.is_none()).count();
        assert!(
            open == 0 || open == ends.len(),
            "a part of {order} has ended: {ends:?}"
        );
    }
    let mut found = 0;
    for attempt in &attempts {
        let request = app.request(Method::POST, "/v1/orders");
        let request = request.header("idempotency-key", &attempt.key);
        let again = fetch(request.json(&attempt.body)).await;
        let order = again.ok(201);
        found += usize::from(again.is_replay());
        if let Some(known) = &attempt.order {
            assert!(again.is_replay());
            assert_eq!(order["id"], known["id"]);
        }
        if attempt.is_paid {
            assert_eq!(order["status"], "paid");
        }
    }
    assert!(found >= 150, "{found} orders were kept");
    app.audit_verify().await;
}
