//! A limit group is exact over several servers: a stampede of one buyer on all sizes of a shoe gets
//! the limit and no more.

use std::collections::BTreeMap;

use harness::{App, Event, Launch, concurrently, eventually, fetch, key, tally, text};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::json;

const LIMIT: u64 = 4;

/// The most units that any buyer had at a time in all drops together, by pseudonym, and the units
/// that they have at the end.
fn most_taken(log: &[Event]) -> BTreeMap<String, (u64, u64)> {
    let mut taken = BTreeMap::<String, (u64, u64)>::new();
    for event in log {
        let fields = event.fields();
        let (Some(buyer), Some(quantity)) = (fields["buyer"].as_str(), fields["quantity"].as_u64())
        else {
            continue;
        };
        let (most, now) = taken.entry(buyer.to_owned()).or_default();
        match event.event_type.as_str() {
            "HoldPlaced" => *now += quantity,
            "HoldReleased" | "HoldExpired" => *now -= quantity,
            _ => {}
        }
        *most = (*most).max(*now);
    }
    taken
}

#[tokio::test]
async fn stampede_on_all_sizes_over_two_servers_gets_the_limit() {
    let database = fresh_database().await;
    let first = Launch::on(database.clone()).start().await;
    let apps: [App; 2] = [first, Launch::on(database).start().await];
    let mut sizes = vec![];
    for _ in 0..3 {
        let terms = json!({ "limit_group": "shoe", "max_per_buyer": LIMIT, "hold_seconds": 3600 });
        sizes.push(apps[0].create_drop(500, terms).await);
    }
    for size in &sizes {
        eventually("the other server follows", || async {
            (apps[1].get(&format!("/v1/drops/{size}")).await.status == 200).then_some(())
        })
        .await;
    }
    let replies = concurrently((0..240_usize).map(|number| {
        let (api, size) = (apps[number % 2].api(), sizes[number / 2 % 3].clone());
        // Three of four requests are of one buyer.
        let buyer = match number % 8 {
            0 | 1 => "bob",
            _ => "ann",
        };
        let sizes = sizes.clone();
        async move {
            // Some are orders of all sizes.
            if number % 5 != 0 {
                return api.hold(&size, buyer).await;
            }
            let items: Vec<_> = sizes
                .iter()
                .map(|size| json!({ "drop_id": size }))
                .collect();
            let request = api.request(Method::POST, "/v1/orders");
            let request = request.header("idempotency-key", key());
            fetch(request.json(&json!({ "buyer_id": buyer, "items": items }))).await
        }
    }))
    .await;
    let is_expected = |reply: &harness::Reply| match reply.status {
        201 => true,
        _ => reply.code() == "limit_reached",
    };
    assert!(replies.iter().all(is_expected), "{:?}", tally(&replies));
    let taken = most_taken(&apps[0].log().await);
    assert_eq!(taken.len(), 2, "one pseudonym for each buyer");
    for (most, now) in taken.values() {
        assert_eq!((*most, *now), (LIMIT, LIMIT));
    }
    apps[1].audit_verify().await;

    // Units that are released at one server have room again at the other.
    let log = apps[0].log().await;
    let alone = log.iter().find(|event| {
        let fields = event.fields();
        event.event_type == "HoldPlaced" && fields.get("order_id").is_none()
    });
    if let Some(placed) = alone {
        let hold = text(&placed.fields()["hold_id"]);
        apps[0].release(&hold).await.ok(204);
        let mut more = 0;
        for buyer in ["ann", "bob"] {
            let reply = apps[1].hold(&sizes[2], buyer).await;
            more += u64::from(reply.status == 201);
        }
        assert_eq!(more, 1, "of the buyer who released");
    }
    apps[0].audit_verify().await;
}
