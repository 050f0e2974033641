//! `kill -9` between the steps of payments: every payment that succeeded has exactly one outcome,
//! and what remained to be done is done after the restart.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Api, App, Event, Launch, eventually, fetch, key, text};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const SCENARIOS: [&str; 6] = [
    "pays",
    "webhook_first",
    "pays_twice",
    "declines",
    "pays_late=1",
    "refund_fails",
];

async fn send(api: &Api, path: &str, body: &Value) -> Option<Value> {
    let request = api.request(Method::POST, path);
    let request = request.header("idempotency-key", key()).json(body);
    let reply = request.send().await.ok()?;
    let is_success = reply.status().is_success();
    let body: Value = reply.json().await.ok()?;
    is_success.then_some(body)
}

/// Orders and starts payments until the server is gone.
async fn shop(api: Api, drop: String, number: usize, started: Arc<AtomicUsize>) {
    for turn in number.. {
        let order =
            json!({ "buyer_id": format!("buyer {number}"), "items": [{ "drop_id": drop }] });
        let Some(order) = send(&api, "/v1/orders", &order).await else {
            return;
        };
        let path = format!("/v1/orders/{}/payments", text(&order["id"]));
        let body = json!({ "scenario": SCENARIOS[turn % SCENARIOS.len()] });
        if send(&api, &path, &body).await.is_none() {
            return;
        }
        started.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs shoppers against the server and kills it in the middle.
async fn crash(app: App, drop: &str, after: usize) -> App {
    let started = Arc::new(AtomicUsize::new(0));
    let mut shoppers = JoinSet::new();
    for number in 0..12 {
        shoppers.spawn(shop(
            app.api(),
            drop.to_owned(),
            number,
            Arc::clone(&started),
        ));
    }
    eventually("payments were started", || async {
        (started.load(Ordering::SeqCst) >= after).then_some(())
    })
    .await;
    let app = app.restart().await;
    shoppers.join_all().await;
    app
}

async fn jobs(api: &Api, query: &str) -> Vec<Value> {
    let list = fetch(api.admin(Method::GET, &format!("/v1/admin/jobs{query}"))).await;
    list.ok(200)["data"].as_array().unwrap().clone()
}

/// Waits until no order is pending and no job remains, and returns the log.
async fn settled(app: &App) -> Vec<Event> {
    eventually("no order is pending and no job remains", || async {
        let pending = fetch(app.admin(Method::GET, "/v1/orders?status=pending&limit=1")).await;
        let is_pending = pending.ok(200)["data"] != json!([]);
        let is_open = is_pending || !jobs(app, "?status=pending&limit=1").await.is_empty();
        (!is_open).then_some(())
    })
    .await;
    app.log().await
}

/// Counts the outcomes of each intent that succeeded.
fn outcomes(log: &[Event]) -> BTreeMap<String, Vec<&'static str>> {
    let mut outcomes = BTreeMap::new();
    for event in log {
        let fields = event.fields();
        match event.event_type.as_str() {
            "PaymentSucceeded" => {
                let earlier = outcomes.insert(text(&fields["intent"]), vec![]);
                assert_eq!(earlier, None, "an intent succeeded twice");
            }
            "OrderPaid" if !fields["intent"].is_null() => {
                outcomes
                    .get_mut(&text(&fields["intent"]))
                    .unwrap()
                    .push("sale");
            }
            "RefundRequested" => {
                assert_ne!(fields["cause"], "return");
                outcomes
                    .get_mut(&text(&fields["intent"]))
                    .unwrap()
                    .push("refund");
            }
            _ => {}
        }
    }
    outcomes
}

#[tokio::test]
async fn every_payment_has_one_outcome_after_crashes() {
    let mut app = Launch::fresh().await.start().await;
    let terms = json!({ "hold_seconds": 2, "max_per_hold": 1 });
    let drop = app.create_drop(100_000, terms).await;
    for after in [1, 7, 20, 40] {
        app = crash(app, &drop, after).await;
    }
    // The demo forgets payments in a crash, more of them on a slow machine: crash until enough
    // have succeeded.
    for _round in 0..20 {
        if outcomes(&app.log().await).len() > 20 {
            break;
        }
        app = crash(app, &drop, 20).await;
    }
    let log = settled(&app).await;
    let outcomes = outcomes(&log);
    assert!(outcomes.len() > 20, "{}", outcomes.len());
    for (intent, outcomes) in &outcomes {
        assert_eq!(outcomes.len(), 1, "{intent}: {outcomes:?}");
    }
    let count = |event_type: &str, key: &str, value: &str| {
        let of_type = log.iter().filter(|event| event.event_type == event_type);
        of_type
            .filter(|event| key.is_empty() || event.fields()[key] == value)
            .count()
    };
    assert_eq!(
        count("RefundSettled", "outcome", "succeeded"),
        count("RefundRequested", "", ""),
    );
    assert!(jobs(&app, "?status=failed").await.is_empty());
    app.audit_verify().await;
}
