//! Several servers on one log need no leader: together they sell exactly the stock, and each sees
//! the events of the others.

use harness::{App, Launch, Reply, Units, concurrently, distinct, eventually, key, tally, text};
use private_postgres::testing::fresh_database;
use serde_json::json;

async fn two_servers() -> [App; 2] {
    let database = fresh_database().await;
    let first = Launch::on(database.clone()).start().await;
    [first, Launch::on(database).start().await]
}

/// Waits until `app` knows `drop`.
async fn knows(app: &App, drop: &str) {
    eventually("the other server follows", || async {
        (app.get(&format!("/v1/drops/{drop}")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_servers_together_sell_no_unit_twice() {
    let apps = two_servers().await;
    let drop = apps[0]
        .create_drop(100, json!({ "hold_seconds": 3600 }))
        .await;
    knows(&apps[1], &drop).await;

    let replies = concurrently((0..600).map(|buyer| {
        let (api, drop) = (apps[buyer % 2].api(), drop.clone());
        async move {
            let reply = api.hold(&drop, &format!("buyer-{buyer}")).await;
            if reply.status == 201 {
                let sale = api.purchase(&text(&reply.json()["id"])).await;
                assert_eq!(sale.status, 201, "{}", sale.text());
            }
            reply
        }
    }))
    .await;

    assert_eq!(
        replies.iter().filter(|reply| reply.status == 201).count(),
        100,
        "{:?}",
        tally(&replies)
    );
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.code() == "sold_out")
            .count(),
        500,
        "{:?}",
        tally(&replies)
    );
    let ledger = apps[0].ledger().await;
    assert_eq!(
        ledger.units(&drop),
        Units {
            total: 100,
            available: 0,
            held: 0,
            sold: 100
        }
    );
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 100);
    for app in &apps {
        eventually("both servers show the final state", || async {
            (app.stock(&drop).await == [100, 0, 0, 100]).then_some(())
        })
        .await;
    }
    apps[0].audit_verify().await;
}

#[tokio::test]
async fn same_request_at_both_servers_is_one_hold() {
    let apps = two_servers().await;
    let drop = apps[0]
        .create_drop(1_000, json!({ "hold_seconds": 3600 }))
        .await;
    knows(&apps[1], &drop).await;

    let keys: Vec<String> = (0..50).map(|_| key()).collect();
    let replies = concurrently((0..100).map(|request| {
        let (api, drop, key) = (
            apps[request % 2].api(),
            drop.clone(),
            keys[request / 2].clone(),
        );
        let body = json!({ "buyer_id": format!("buyer-{}", request / 2) });
        async move { api.hold_with(&drop, &key, &body).await }
    }))
    .await;

    assert!(
        replies.iter().all(|reply| reply.status == 201),
        "{:?}",
        tally(&replies)
    );
    for pair in replies.chunks(2) {
        assert_eq!(pair[0].json()["id"], pair[1].json()["id"]);
        assert_eq!(pair.iter().filter(|reply| reply.is_replay()).count(), 1);
    }
    assert_eq!(apps[0].ledger().await.count(&drop, "HoldPlaced"), 50);
    apps[1].audit_verify().await;
}

#[tokio::test]
async fn hold_has_the_same_price_at_every_server() {
    let apps = two_servers().await;
    let drop = apps[0].create_drop(9, json!({})).await;
    knows(&apps[1], &drop).await;
    let edit = apps[1].admin(reqwest::Method::PATCH, &format!("/v1/drops/{drop}"));
    let price = json!({ "amount": 2_500, "currency": "USD" });
    let edited = edit
        .header("if-match", "*")
        .json(&json!({ "price": price }));
    harness::fetch(edited).await.ok(200);
    // Decided by the other server, which may not have read the edit when the request arrived.
    let hold = apps[0].hold(&drop, "alice").await.ok(201);
    let id = text(&hold["id"]);
    let read = eventually("the other server has the hold", || async {
        let read = apps[1].read_hold(&id).await;
        (read.status == 200).then_some(read)
    });
    assert_eq!(hold["price"], read.await.ok(200)["price"]);
    let bought = apps[1].purchase(&id).await.ok(201);
    assert_eq!(bought["total"], hold["price"]);
}

#[tokio::test]
async fn same_drop_scheduled_at_both_servers_is_one_drop() {
    let apps = two_servers().await;
    let body =
        json!({ "name": "Once", "price": { "amount": 1, "currency": "EUR" }, "total_stock": 5 });
    let key = key();
    let replies = concurrently(apps.iter().map(|app| {
        let request = app
            .admin(reqwest::Method::POST, "/v1/drops")
            .header("idempotency-key", &key)
            .json(&body);
        async move {
            request
                .send()
                .await
                .unwrap()
                .json::<serde_json::Value>()
                .await
                .unwrap()
        }
    }))
    .await;
    assert_eq!(
        distinct(replies.iter().map(|drop| text(&drop["id"]))).len(),
        1
    );
    assert_eq!(apps[0].requested_events().await, 1);
}

#[tokio::test]
async fn hold_placed_at_one_server_can_be_read_and_purchased_at_the_other() {
    let [here, there] = two_servers().await;
    let drop = here.create_drop(100, json!({ "hold_seconds": 3600 })).await;
    for buyer in 0..20 {
        let placed = here.hold(&drop, &format!("buyer-{buyer}")).await.ok(201);
        let (id, position) = (text(&placed["id"]), &placed["position"]);
        if buyer % 2 == 0 {
            let read = there
                .get(&format!("/v1/holds/{id}?at_least={position}"))
                .await
                .ok(200);
            assert_eq!(
                (&read["id"], &read["status"]),
                (&placed["id"], &json!("held"))
            );
        }
        let purchase: Reply = there.purchase(&id).await;
        let purchase = purchase.ok(201);
        let back = here
            .get(&format!("/v1/holds/{id}?at_least={}", purchase["position"]))
            .await
            .ok(200);
        assert_eq!(back["status"], "purchased");
        let state = here
            .get(&format!(
                "/v1/drops/{drop}?at_least={}",
                purchase["position"]
            ))
            .await
            .ok(200);
        assert_eq!(state["stock"]["sold"], buyer + 1);
    }
    here.audit_verify().await;
}

#[tokio::test]
async fn acknowledged_hold_is_immediately_found_at_the_other_server() {
    let [here, there] = two_servers().await;
    let drop = here.create_drop(20, json!({})).await;
    knows(&there, &drop).await;
    for buyer in 0..20 {
        let hold = here.held(&drop, &format!("buyer-{buyer}")).await;
        let found = there.read_hold(&hold).await.ok(200);
        assert_eq!(found["status"], "held");
    }
    for buyer in 20..40 {
        let entry = here.joined(&drop, &format!("buyer-{buyer}"), 1).await;
        let found = there.waitlist_entry(&entry).await;
        assert_eq!(found["place"], buyer - 19);
    }
    let nowhere = uuid::Uuid::new_v4();
    let hold = there.read_hold(&nowhere.to_string()).await;
    hold.problem(404, "hold_not_found");
    let entry = there.get(&format!("/v1/waitlist/{nowhere}")).await;
    entry.problem(404, "waitlist_entry_not_found");
}

#[tokio::test]
async fn holds_of_a_killed_server_are_expired_by_the_other_in_time() {
    let [mut here, there] = two_servers().await;
    let drop = here.create_drop(50, json!({ "hold_seconds": 1 })).await;
    for buyer in 0..50 {
        here.held(&drop, &format!("buyer-{buyer}")).await;
    }
    here.kill();
    eventually("all units are available", || async {
        (there.stock(&drop).await == [50, 50, 0, 0]).then_some(())
    })
    .await;
    assert_eq!(there.ledger().await.count(&drop, "HoldExpired"), 50);
    there.audit_verify().await;
}

#[tokio::test]
async fn subscriber_at_one_server_sees_sales_at_the_other() {
    let [here, there] = two_servers().await;
    let drop = here.create_drop(3, json!({})).await;
    knows(&there, &drop).await;
    let mut watcher = there.watch(&format!("?drops={drop}")).await;
    assert_eq!(watcher.drop().await.json()["stock"]["sold"], 0);
    for buyer in 0..3 {
        let hold = here.held(&drop, &format!("buyer-{buyer}")).await;
        here.purchase(&hold).await.ok(201);
    }
    let last = watcher.until(|state| state["stock"]["sold"] == 3).await;
    assert_eq!(last.json()["status"], "sold_out");
}
