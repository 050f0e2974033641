//! An unpaid hold expires: once, completely, and not before its time.

use harness::{App, Event, concurrently, distinct, eventually, key, tally, text};
use serde_json::json;

#[tokio::test]
async fn five_thousand_holds_expire_once_each() {
    let app = App::start().await;
    let drop = app.create_drop(5_000, json!({ "hold_seconds": 1 })).await;

    let placed = concurrently((0..50).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move {
            let mut ids = vec![];
            for _ in 0..100 {
                ids.push(api.held(&drop, &format!("buyer-{buyer}")).await);
            }
            ids
        }
    }))
    .await;
    let placed = distinct(placed.into_iter().flatten());
    assert_eq!(placed.len(), 5_000);

    eventually("all units are available", || async {
        (app.stock(&drop).await == [5_000, 5_000, 0, 0]).then_some(())
    })
    .await;
    let log = app.log().await;
    let expired = log
        .iter()
        .filter(|event| event.event_type == "HoldExpired")
        .map(hold_in);
    assert_eq!(distinct(expired), placed);
    assert_eq!(
        log.iter()
            .filter(|event| event.event_type == "HoldExpired")
            .count(),
        5_000
    );
    app.audit_verify().await;
}

#[tokio::test]
async fn units_of_an_expired_hold_can_be_held_again() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 1 })).await;
    let first = app.held(&drop, "alice").await;
    app.hold(&drop, "bob").await.problem(409, "sold_out");

    let second = eventually("the unit is available", || async {
        let reply = app.hold(&drop, "bob").await;
        (reply.status == 201).then(|| text(&reply.json()["id"]))
    })
    .await;

    assert_ne!(first, second);
    let ledger = app.ledger().await;
    assert_eq!(ledger.end_of(&first), Some("HoldExpired"));
}

#[tokio::test]
async fn expired_hold_can_be_neither_purchased_nor_released() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 1 })).await;
    let hold = app.held(&drop, "alice").await;

    eventually("the hold has expired", || async {
        (app.read_hold(&hold).await.ok(200)["status"] == "expired").then_some(())
    })
    .await;

    let body = app.purchase(&hold).await.problem(410, "hold_expired");
    assert_eq!(
        body["expired_at"],
        app.read_hold(&hold).await.json()["expires_at"]
    );
    app.release(&hold).await.problem(410, "hold_expired");
    assert_eq!(app.ledger().await.count(&drop, "PurchaseConfirmed"), 0);
}

#[tokio::test]
async fn purchase_racing_with_expiry_is_a_sale_or_an_expiry_never_both() {
    let app = App::start().await;
    let drop = app.create_drop(200, json!({ "hold_seconds": 1 })).await;
    let holds = concurrently((0..200).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move { api.held(&drop, &format!("buyer-{buyer}")).await }
    }))
    .await;

    // Every second buyer pays shortly before the end; the others pay after it.
    let outcomes = concurrently(holds.iter().cloned().enumerate().map(|(index, hold)| {
        let api = app.api();
        async move {
            if index % 2 == 0 {
                return api.purchase(&hold).await;
            }
            eventually("the hold has expired", || async {
                (api.read_hold(&hold).await.json()["status"] == "expired").then_some(())
            })
            .await;
            api.purchase(&hold).await
        }
    }))
    .await;

    let ledger = app.ledger().await;
    for (hold, outcome) in holds.iter().zip(&outcomes) {
        match outcome.status {
            201 => assert_eq!(ledger.end_of(hold), Some("PurchaseConfirmed")),
            _ => {
                outcome.problem(410, "hold_expired");
                assert_eq!(ledger.end_of(hold), Some("HoldExpired"));
            }
        }
    }
    assert!(
        outcomes.iter().any(|outcome| outcome.status == 410),
        "{:?}",
        tally(&outcomes)
    );
    app.audit_verify().await;
}

#[tokio::test]
async fn holds_that_expire_while_the_server_is_down_end_at_their_deadline() {
    let mut app = App::start().await;
    let drop = app.create_drop(300, json!({ "hold_seconds": 1 })).await;
    let lasting = app.create_drop(1, json!({ "hold_seconds": 3600 })).await;
    let kept = app.held(&lasting, "alice").await;
    let replies = concurrently((0..300).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move {
            api.hold_with(
                &drop,
                &key(),
                &json!({ "buyer_id": format!("buyer-{buyer}") }),
            )
            .await
        }
    }))
    .await;
    app.kill();
    let last_end = distinct(
        replies
            .iter()
            .map(|reply| text(&reply.ok(201)["expires_at"])),
    )
    .pop()
    .unwrap();
    eventually("every hold is overdue", || async {
        (harness::now() > last_end).then_some(())
    })
    .await;

    let app = app.restart().await;

    eventually("all units are available", || async {
        (app.stock(&drop).await == [300, 300, 0, 0]).then_some(())
    })
    .await;
    let log = app.log().await;
    for reply in &replies {
        let (hold, expires_at) = (text(&reply.json()["id"]), text(&reply.json()["expires_at"]));
        let ends: Vec<&Event> = log
            .iter()
            .filter(|event| event.event_type == "HoldExpired" && hold_in(event) == hold)
            .collect();
        assert_eq!(ends.len(), 1, "hold {hold} is resolved once");
        assert_eq!(ends[0].fields()["expired_at"], expires_at.as_str());
    }
    assert_eq!(app.read_hold(&kept).await.ok(200)["status"], "held");
    app.audit_verify().await;
}

fn hold_in(event: &Event) -> String {
    text(&event.fields()["hold_id"])
}
