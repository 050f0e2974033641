//! A program on stock `cqrs-es` and `postgres-es` adds events to a drop while the engine serves it: neither loses anything.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use chrono::Utc;
use cqrs_es::AggregateError;
use domain::command::{ConfirmPurchase, PlaceHold};
use domain::values::{HoldId, Pseudonym, PurchaseId, Quantity};
use domain::{DropAggregate, DropCommand, Refusal};
use harness::{App, Units, at_once, distinct, eventually, tally, text};
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

fn stock_program(pool: &PgPool) -> PostgresCqrs<DropAggregate> {
    postgres_cqrs(pool.clone(), vec![], ())
}

/// As every stock program has to: a conflict is decided again.
async fn execute(
    program: &PostgresCqrs<DropAggregate>,
    drop: &str,
    command: &DropCommand,
) -> Result<(), Refusal> {
    loop {
        match program.execute(drop, command.clone()).await {
            Ok(()) => return Ok(()),
            Err(AggregateError::UserError(refusal)) => return Err(refusal),
            Err(AggregateError::AggregateConflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn place_hold() -> (HoldId, DropCommand) {
    let hold_id = HoldId(Uuid::new_v4());
    let command = PlaceHold {
        hold_id,
        key: None,
        buyer: Pseudonym(Uuid::new_v4()),
        quantity: Quantity::new(1).unwrap(),
        commitment: None,
        at: Utc::now().into(),
    };
    (hold_id, DropCommand::PlaceHold(command))
}

#[tokio::test]
async fn a_stock_program_and_the_engine_sell_one_drop_together() {
    let app = App::start().await;
    let drop = app.create_drop(200, json!({ "hold_seconds": 3600 })).await;
    let stock_buyers = at_once((0..4).map(|_| {
        let (program, drop) = (stock_program(app.pool()), drop.clone());
        async move {
            let mut held = vec![];
            while held.len() < 15 {
                let (hold_id, command) = place_hold();
                match execute(&program, &drop, &command).await {
                    Ok(()) => held.push(hold_id.to_string()),
                    Err(refusal) => {
                        assert!(matches!(refusal, Refusal::SoldOut { .. }), "{refusal}");
                        break;
                    }
                }
            }
            held
        }
    }));
    let engine_buyers = at_once((0..400).map(|buyer| {
        let (api, drop) = (app.api(), drop.clone());
        async move {
            let reply = api.hold(&drop, &format!("buyer-{buyer}")).await;
            if reply.status == 201 && buyer % 3 == 0 {
                assert_eq!(api.purchase(&text(&reply.json()["id"])).await.status, 201);
            }
            reply
        }
    }));

    let (stock_holds, replies) = tokio::join!(stock_buyers, engine_buyers);

    let stock_holds = distinct(stock_holds.into_iter().flatten());
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 201 || reply.code() == "sold_out"),
        "{:?}",
        tally(&replies)
    );
    let engine_holds = distinct(
        replies
            .iter()
            .filter(|reply| reply.status == 201)
            .map(|reply| text(&reply.json()["id"])),
    );
    assert_eq!(
        stock_holds.len() + engine_holds.len(),
        200,
        "{:?}",
        tally(&replies)
    );
    assert!(!stock_holds.is_empty());
    let ledger = app.ledger().await;
    let Units {
        available,
        held,
        sold,
        ..
    } = ledger.units(&drop);
    assert_eq!((available, held + sold), (0, 200));
    assert!(
        stock_holds
            .iter()
            .chain(&engine_holds)
            .all(|hold| ledger.has_hold(hold))
    );
    for hold in &stock_holds {
        let seen = eventually("the server sees the stock program's hold", || async {
            let reply = app.read_hold(hold).await;
            (reply.status == 200).then(|| reply.json())
        })
        .await;
        assert_eq!(
            (&seen["status"], &seen["buyer_id"]),
            (&json!("held"), &json!(null))
        );
    }
    app.verifies().await;
}

#[tokio::test]
async fn what_one_places_the_other_can_sell() {
    let app = App::start().await;
    let drop = app.create_drop(2, json!({ "hold_seconds": 3600 })).await;
    let program = stock_program(app.pool());

    let (stock_hold, command) = place_hold();
    execute(&program, &drop, &command).await.unwrap();
    assert_eq!(app.purchase(&stock_hold.to_string()).await.status, 201);

    let engine_hold = app.held(&drop, "alice").await;
    let purchase = DropCommand::ConfirmPurchase(ConfirmPurchase {
        purchase_id: PurchaseId(Uuid::new_v4()),
        hold_id: engine_hold.parse().unwrap(),
        commitment: None,
        at: Utc::now().into(),
    });
    execute(&program, &drop, &purchase).await.unwrap();

    eventually("the server sees both sales", || async {
        (app.stock(&drop).await == [2, 0, 0, 2]).then_some(())
    })
    .await;
    app.hold(&drop, "bob").await.problem(409, "sold_out");
    app.verifies().await;
}

#[tokio::test]
async fn a_hold_that_a_stock_program_placed_runs_out_in_the_engine() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 1 })).await;
    let (hold, command) = place_hold();
    execute(&stock_program(app.pool()), &drop, &command)
        .await
        .unwrap();

    eventually("the hold is recorded as over", || async {
        (app.ledger().await.end_of(&hold.to_string()) == Some("HoldExpired")).then_some(())
    })
    .await;

    assert_eq!(app.stock(&drop).await, [1, 1, 0, 0]);
    app.verifies().await;
}

#[tokio::test]
async fn events_of_foreign_streams_are_chained_and_left_alone() {
    let app = App::start().await;
    let drop = app.create_drop(3, json!({})).await;
    let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  VALUES ('Invoice', 'no uuid', $1, 'InvoiceSent', '2.0', '{\"to\": \"someone\"}', '{}')";
    for sequence in 1..=3i64 {
        sqlx::query(insert)
            .bind(sequence)
            .execute(app.pool())
            .await
            .unwrap();
        app.held(&drop, &format!("buyer-{sequence}")).await;
    }
    assert_eq!(app.stock(&drop).await, [3, 0, 3, 0]);
    assert_eq!(app.log().await.len(), 7);
    app.verifies().await;
}
