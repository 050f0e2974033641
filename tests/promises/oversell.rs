//! A unit is never sold twice, however many buyers request it concurrently. Counted from the log,
//! not from the responses.

use harness::{
    App, Launch, Reply, Units, concurrent_holds, concurrently, distinct, key, tally, text,
};
use serde_json::{Value, json};

/// Asserts how many requests got a hold, and how many were refused because the drop was sold out.
#[track_caller]
fn assert_held_and_sold_out(replies: &[Reply], held: usize, sold_out: usize) {
    let outcomes = tally(replies);
    let of = |status, code: &str| outcomes.get(&(status, code.to_owned())).copied();
    let counts = (of(201, ""), of(409, "sold_out"));
    assert_eq!(counts, (Some(held), Some(sold_out)), "{outcomes:?}");
}

#[tokio::test]
async fn thousand_buyers_racing_for_ten_units_get_ten() {
    let app = App::start().await;
    let drop = app.create_drop(10, json!({})).await;

    let replies = concurrently((0..1_000).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.hold(&drop, &format!("buyer-{buyer}")).await }
    }))
    .await;

    assert_held_and_sold_out(&replies, 10, 990);
    assert_eq!(
        replies
            .iter()
            .find(|reply| reply.status == 409)
            .unwrap()
            .json()["available"],
        0
    );
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 10);
    assert_eq!(
        ledger.units(&drop),
        Units {
            total: 10,
            available: 0,
            held: 10,
            sold: 0
        }
    );

    let winners = replies
        .iter()
        .filter(|reply| reply.status == 201)
        .map(|reply| text(&reply.json()["id"]));
    let sales = concurrently(winners.map(|hold| {
        let api = app.api();
        async move { api.purchase(&hold).await }
    }))
    .await;
    assert!(
        sales.iter().all(|sale| sale.status == 201),
        "{:?}",
        tally(&sales)
    );
    assert_eq!(
        app.ledger().await.units(&drop),
        Units {
            total: 10,
            available: 0,
            held: 0,
            sold: 10
        }
    );
    assert_eq!(app.stock(&drop).await, [10, 0, 0, 10]);
    assert_eq!(app.drop(&drop).await["status"], "sold_out");
    app.audit_verify().await;
}

#[tokio::test]
async fn two_thousand_sockets_get_a_hundred_units_and_one_response_each() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({ "hold_seconds": 3600 })).await;

    let replies = concurrent_holds(app.address(), &drop, 2_000).await;

    assert_held_and_sold_out(&replies, 100, 1_900);
    let ledger = app.ledger().await;
    assert_eq!(ledger.count(&drop, "HoldPlaced"), 100);
    assert_eq!(
        ledger.units(&drop),
        Units {
            total: 100,
            available: 0,
            held: 100,
            sold: 0
        }
    );
    app.audit_verify().await;
}

#[tokio::test]
async fn holds_of_several_units_never_exceed_the_stock() {
    let app = App::start().await;
    let drop = app.create_drop(100, json!({ "max_per_hold": 7 })).await;

    let replies = concurrently((0..300).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        let body = json!({ "buyer_id": format!("buyer-{buyer}"), "quantity": buyer % 7 + 1 });
        async move { api.hold_with(&drop, &key(), &body).await }
    }))
    .await;

    let held: u64 = replies
        .iter()
        .filter(|reply| reply.status == 201)
        .map(|reply| harness::number(&reply.json()["quantity"]))
        .sum();
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 201 || reply.code() == "sold_out"),
        "{:?}",
        tally(&replies)
    );
    // Some buyers request a single unit, so none is left over.
    assert_eq!(held, 100);
    assert_eq!(
        app.ledger().await.units(&drop),
        Units {
            total: 100,
            available: 0,
            held: 100,
            sold: 0
        }
    );
}

#[tokio::test]
async fn request_sent_twenty_times_concurrently_is_one_hold() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({})).await;

    let replies = concurrently((0..20).map(|_| {
        let (api, drop) = (app.api(), drop.clone());
        async move {
            api.hold_with(&drop, "the-same-key", &json!({ "buyer_id": "alice" }))
                .await
        }
    }))
    .await;

    assert!(
        replies.iter().all(|reply| reply.status == 201),
        "{:?}",
        tally(&replies)
    );
    assert_eq!(replies.iter().filter(|reply| !reply.is_replay()).count(), 1);
    let without_time = |mut body: Value| {
        body["server_time"].take();
        body.to_string()
    };
    assert_eq!(
        distinct(replies.iter().map(|reply| without_time(reply.json()))).len(),
        1
    );
    assert_eq!(
        distinct(
            replies
                .iter()
                .map(|reply| reply.header("location").to_owned())
        )
        .len(),
        1
    );
    assert_eq!(app.ledger().await.count(&drop, "HoldPlaced"), 1);
    assert_eq!(app.stock(&drop).await, [50, 49, 1, 0]);
}

#[tokio::test]
async fn hold_purchased_twenty_times_concurrently_is_one_sale() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let hold = app.held(&drop, "alice").await;

    let replies = concurrently((0..20).map(|_| {
        let (api, hold) = (app.api(), hold.clone());
        async move { api.purchase(&hold).await }
    }))
    .await;

    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.status == 201 && !reply.is_replay())
            .count(),
        1
    );
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.status == 200 && reply.is_replay())
            .count(),
        19
    );
    assert_eq!(distinct(replies.iter().map(harness::Reply::text)).len(), 1);
    assert_eq!(app.ledger().await.count(&drop, "PurchaseConfirmed"), 1);
    assert_eq!(app.stock(&drop).await, [5, 4, 0, 1]);
}

#[tokio::test]
async fn server_started_with_few_open_files_raises_its_limit() {
    let launch = Launch::fresh().await.after("ulimit -Sn 256");
    let app = launch.start().await;
    let drop = app.create_drop(10, json!({})).await;
    let replies = concurrent_holds(app.address(), &drop, 600).await;
    assert_held_and_sold_out(&replies, 10, 590);
}
