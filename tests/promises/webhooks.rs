//! Webhooks survive `kill -9` and a takeover by another server: every event arrives at least once,
//! under one id, in order within its drop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{
    Answer, Api, App, Launch, Received, Receiver, distinct, eventually, fetch, in_order, text,
};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn with_settings(launch: Launch) -> Launch {
    let launch = launch.with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8");
    let often = vec!["30ms"; 100].join(",");
    launch.with("HOLDFAST_WEBHOOK_RETRIES", &often)
}

async fn subscribe(app: &Api, receiver: &Receiver) -> String {
    let body =
        json!({ "url": receiver.url(), "event_types": ["hold.placed", "purchase.confirmed"] });
    let created = fetch(app.admin(Method::POST, "/v1/admin/webhooks").json(&body)).await;
    let path = created.header("location").to_owned();
    created.ok(201);
    path
}

async fn read(app: &Api, path: &str) -> Value {
    fetch(app.admin(Method::GET, path)).await.ok(200)
}

/// Holds and purchases, faster than the events are delivered, until there are enough or the server
/// has ended.
fn shoppers(api: &Api, drops: &[String], round: usize) -> JoinSet<()> {
    let mut buyers = JoinSet::new();
    for (buyer, drop) in drops.iter().enumerate() {
        let (api, drop) = (api.clone(), drop.clone());
        buyers.spawn(async move {
            for turn in 0..60 {
                let body = json!({ "buyer_id": format!("buyer-{round}-{buyer}-{turn}") });
                let Ok(held) = api.try_hold_with(&drop, &harness::key(), &body).await else {
                    return;
                };
                if held.status != 201 {
                    continue;
                }
                if turn % 2 == 0 && api.try_purchase(&text(&held.json()["id"])).await.is_err() {
                    return;
                }
            }
        });
    }
    buyers
}

/// The positions of the events that must arrive, from the log.
async fn expected(app: &Api) -> BTreeSet<u64> {
    let log = app.log().await.into_iter();
    let wanted = ["HoldPlaced", "PurchaseConfirmed"];
    let wanted = log.filter(|event| wanted.contains(&event.event_type.as_str()));
    wanted.map(|event| event.position).collect()
}

fn positions(received: &[Received]) -> BTreeSet<u64> {
    received.iter().map(Received::position).collect()
}

/// Waits until every expected event has arrived, and asserts order and identity.
async fn all_arrive(app: &Api, receiver: &Receiver) -> Vec<Received> {
    let expected = expected(app).await;
    let received = eventually("every event arrives", || async {
        let received = receiver.received();
        positions(&received)
            .is_superset(&expected)
            .then_some(received)
    })
    .await;
    assert_eq!(positions(&received), expected, "and no other");
    assert_eq!(
        in_order(&received).len(),
        expected.len(),
        "one id for each event"
    );
    received
}

#[tokio::test]
async fn server_killed_ten_times_while_it_delivers_skips_nothing() {
    let mut app = with_settings(Launch::fresh().await).start().await;
    let receiver = Receiver::start().await;
    // Some fail, on both sides of a kill: by themselves, and as the endpoint's failures.
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    receiver.respond(move |_| {
        let request = counted.fetch_add(1, Ordering::SeqCst);
        match request % 23 {
            7 => Answer::Status(500),
            15 if request.is_multiple_of(5) => Answer::Status(503),
            _ => Answer::Status(200),
        }
    });
    let endpoint = subscribe(&app, &receiver).await;
    let mut drops = vec![];
    for _ in 0..4 {
        drops.push(
            app.create_drop(100_000, json!({ "hold_seconds": 3600 }))
                .await,
        );
    }
    for round in 0..10 {
        let before = requests.load(Ordering::SeqCst);
        let shoppers = shoppers(&app, &drops, round);
        eventually("deliveries are under way", || async {
            (requests.load(Ordering::SeqCst) >= before + 10 + round * 7).then_some(())
        })
        .await;
        app.kill();
        shoppers.join_all().await;
        app = app.restart().await;
    }
    let received = all_arrive(&app, &receiver).await;
    println!(
        "{} requests for {} events",
        received.len(),
        positions(&received).len()
    );
    let head = read(&app, "/v1/log/head").await["position"].clone();
    eventually("the endpoint is at the head", || async {
        let endpoint = read(&app, &endpoint).await;
        (endpoint["position"] == head && endpoint["pending"] == 0).then_some(())
    })
    .await;
    app.audit_verify().await;
}

#[tokio::test]
async fn one_of_two_servers_delivers_and_the_other_takes_over() {
    let database = fresh_database().await;
    let mut first = with_settings(Launch::on(database.clone())).start().await;
    let second = with_settings(Launch::on(database)).start().await;
    let receiver = Receiver::start().await;
    subscribe(&first, &receiver).await;
    let drop = first
        .create_drop(1_000, json!({ "hold_seconds": 3600 }))
        .await;
    for buyer in 0..30 {
        let app: &App = if buyer % 2 == 0 { &first } else { &second };
        eventually("both servers know the drop", || async {
            (app.hold(&drop, &format!("buyer-{buyer}")).await.status == 201).then_some(())
        })
        .await;
    }
    let received = all_arrive(&first, &receiver).await;
    let ids = received.iter().map(Received::id);
    assert_eq!(distinct(ids).len(), received.len(), "each was sent once");

    // Whichever server dispatches, one of the two rounds ends it.
    first.kill();
    for buyer in 30..60 {
        second.held(&drop, &format!("buyer-{buyer}")).await;
    }
    all_arrive(&second, &receiver).await;
    let mut second = second;
    let first = first.restart().await;
    second.kill();
    for buyer in 60..90 {
        first.held(&drop, &format!("buyer-{buyer}")).await;
    }
    let received = all_arrive(&first, &receiver).await;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &received {
        *times.entry(one.id()).or_default() += 1;
    }
    // A takeover repeats only requests whose outcome was not stored.
    assert!(times.values().all(|times| *times <= 3), "{times:?}");
}

#[tokio::test]
async fn stopped_server_releases_its_endpoints_and_repeats_nothing() {
    let launch = with_settings(Launch::fresh().await);
    let mut app = launch.start().await;
    let receiver = Receiver::start().await;
    subscribe(&app, &receiver).await;
    let drop = app
        .create_drop(1_000, json!({ "hold_seconds": 3600 }))
        .await;
    for round in 0..3 {
        for buyer in 0..10 {
            app.held(&drop, &format!("buyer-{round}-{buyer}")).await;
        }
        let launch = app.stop().await;
        app = launch.start().await;
    }
    let received = all_arrive(&app, &receiver).await;
    assert_eq!(
        received.len(),
        30,
        "a graceful shutdown stores the progress"
    );
}
