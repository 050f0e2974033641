//! A pause is exact: from the position of `DropPaused` to that of `DropResumed` nothing is held, on
//! any server, however many buyers ask at the same time.

use harness::{App, Launch, concurrently, eventually, fetch, number, tally, text};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn nothing_is_held_in_a_pause_by_a_stampede_over_two_servers() {
    let database = fresh_database().await;
    let apps: [App; 2] = [
        Launch::on(database.clone()).start().await,
        Launch::on(database).start().await,
    ];
    let drop = apps[0]
        .create_drop(5_000, json!({ "hold_seconds": 3600 }))
        .await;
    eventually("the other server follows", || async {
        (apps[1].get(&format!("/v1/drops/{drop}")).await.status == 200).then_some(())
    })
    .await;
    let path = format!("/v1/drops/{drop}");
    // Each server pauses and resumes the sale of the other, in the middle of the stampede.
    let switches = (0..12).map(|number: usize| {
        let (api, path) = (apps[number % 2].api(), path.clone());
        let how = if number % 3 == 2 { "resume" } else { "pause" };
        async move { fetch(api.admin(Method::POST, &format!("{path}/{how}"))).await }
    });
    let buyers = (0..1_200).map(|buyer| {
        let (api, drop) = (apps[buyer % 2].api(), drop.clone());
        async move { api.hold(&drop, &format!("buyer-{buyer}")).await }
    });
    let (replies, switched) = tokio::join!(concurrently(buyers), async {
        let mut replies = vec![];
        for switch in switches {
            replies.push(switch.await);
        }
        replies
    });
    for reply in switched {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let resumed = fetch(apps[1].admin(Method::POST, &format!("{path}/resume"))).await;
    resumed.ok(200);
    let after = apps[0].hold(&drop, "the last").await.ok(201);

    let held: Vec<u64> = replies
        .iter()
        .filter(|reply| reply.status == 201)
        .map(|reply| number(&reply.json()["position"]))
        .chain([number(&after["position"])])
        .collect();
    let refused = replies.iter().filter(|reply| reply.code() == "paused");
    assert_eq!(
        held.len() - 1 + refused.count(),
        1_200,
        "{:?}",
        tally(&replies)
    );
    let log = apps[0].log().await;
    let mut is_paused = false;
    let mut pauses = 0;
    let mut placed = vec![];
    for event in &log {
        match event.event_type.as_str() {
            "DropPaused" => {
                is_paused = true;
                pauses += 1;
            }
            "DropResumed" => is_paused = false,
            "HoldPlaced" => {
                assert!(!is_paused, "held in a pause at {}", event.position);
                placed.push(event.position);
            }
            _ => {}
        }
    }
    assert!(pauses >= 4, "the sale was paused {pauses} times");
    // Every acknowledged hold is one of them, at the position of its response.
    let missing: Vec<&u64> = held.iter().filter(|at| !placed.contains(at)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(text(&apps[1].drop(&drop).await["status"]), "live");
    apps[1].audit_verify().await;
}
