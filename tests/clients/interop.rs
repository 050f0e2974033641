//! A program on stock `cqrs-es` and `postgres-es` adds events to a drop while the engine serves it:
//! neither loses an event.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::Utc;
use cqrs_es::persist::{PersistedEventStore, QueryReplay};
use cqrs_es::{AggregateError, CqrsFramework, EventEnvelope, Query, View};
use domain::command::{ConfirmPurchase, Pass, PlaceHold};
use domain::values::{HoldId, Pseudonym, PurchaseId, Quantity};
use domain::{DropAggregate, DropCommand, Refusal};
use harness::{App, Units, concurrently, distinct, eventually, tally, text};
use infrastructure::upcasters;
use postgres_es::{
    PostgresCqrs, PostgresEventRepository, postgres_aggregate_cqrs, postgres_cqrs,
    postgres_snapshot_cqrs,
};
use projections::fold::{Fold, Rows};
use projections::live_stock::LiveStock;
use projections::sales_timeline::SalesTimeline;
use projections::table::{Table, load_all};
use projections::top_purchasers::TopPurchasers;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

fn stock_program(pool: &PgPool) -> PostgresCqrs<DropAggregate> {
    postgres_cqrs(pool.clone(), vec![], ())
}

/// Every stock program has to decide again after a conflict.
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
        pass: Pass::default(),
        commitment: None,
        at: Utc::now().into(),
    };
    (hold_id, DropCommand::PlaceHold(command))
}

/// cqrs-es 0.5.0 applies each event twice to the state that its snapshot and aggregate stores save
/// (findings/cqrs-es-snapshots-apply-events-twice.sh), and its aggregate store never reads the
/// events of other programs. Here both fail before they append, because the table `snapshots` does
/// not exist.
#[tokio::test]
async fn stock_program_with_snapshots_appends_nothing() {
    let app = App::start().await;
    let drop = app.create_drop(5, json!({})).await;
    let pool = || app.pool().clone();
    for program in [
        postgres_snapshot_cqrs::<DropAggregate>(pool(), vec![], 1, ()),
        postgres_aggregate_cqrs(pool(), vec![], ()),
    ] {
        let (_, command) = place_hold();
        let refused = program.execute(&drop, command).await.unwrap_err();
        let refused = format!("{refused:?}");
        assert!(refused.contains("snapshots"), "{refused}");
    }
    assert_eq!(
        app.requested_events().await,
        1,
        "only the drop is in the log"
    );
    assert_eq!(app.stock(&drop).await, [5, 5, 0, 0]);
}

#[tokio::test]
async fn stock_program_and_engine_sell_one_drop_together() {
    let app = App::start().await;
    let drop = app.create_drop(200, json!({ "hold_seconds": 3600 })).await;
    // A stock program may lose every race against the faster engine; this command precedes the
    // race.
    let (early, command) = place_hold();
    execute(&stock_program(app.pool()), &drop, &command)
        .await
        .unwrap();
    let stock_buyers = concurrently((0..4).map(|_| {
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
    let engine_buyers = concurrently((0..400).map(|buyer| {
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

    let stock_holds = stock_holds.into_iter().flatten();
    let stock_holds = distinct(stock_holds.chain([early.to_string()]));
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
    app.audit_verify().await;
}

#[tokio::test]
async fn hold_placed_by_either_can_be_sold_by_the_other() {
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
        is_recorded: false,
        at: Utc::now().into(),
    });
    execute(&program, &drop, &purchase).await.unwrap();

    eventually("the server sees both sales", || async {
        (app.stock(&drop).await == [2, 0, 0, 2]).then_some(())
    })
    .await;
    app.hold(&drop, "bob").await.problem(409, "sold_out");
    app.audit_verify().await;
}

#[tokio::test]
async fn engine_expires_a_hold_placed_by_a_stock_program() {
    let app = App::start().await;
    let drop = app.create_drop(1, json!({ "hold_seconds": 1 })).await;
    let (hold, command) = place_hold();
    execute(&stock_program(app.pool()), &drop, &command)
        .await
        .unwrap();

    eventually("the expiry is recorded", || async {
        (app.ledger().await.end_of(&hold.to_string()) == Some("HoldExpired")).then_some(())
    })
    .await;

    assert_eq!(app.stock(&drop).await, [1, 1, 0, 0]);
    app.audit_verify().await;
}

#[tokio::test]
async fn foreign_events_are_chained_and_otherwise_ignored() {
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
    assert_eq!(app.log().await.len(), 8);
    app.audit_verify().await;
}

/// A stock query that folds the events it receives with one of the product's folds.
#[derive(Clone)]
struct Folding<F: Fold + Clone>(Arc<Mutex<Rows<F>>>);

#[async_trait::async_trait]
impl<F: Fold + Clone> Query<DropAggregate> for Folding<F> {
    async fn dispatch(&self, _: &str, events: &[EventEnvelope<DropAggregate>]) {
        let mut rows = self.0.lock().unwrap();
        for event in events {
            rows.update(event);
        }
    }
}

/// The rows that stock `QueryReplay` computes from the whole log, by key. It knows sequences but
/// not positions, so the rows have no positions.
async fn replayed<F: Table + Clone>(pool: &PgPool) -> BTreeMap<F::Key, F::Row> {
    let folding = Folding(Arc::<Mutex<Rows<F>>>::default());
    let repository = PostgresEventRepository::new(pool.clone());
    QueryReplay::new(repository, folding.clone())
        .with_upcasters(upcasters::all())
        .replay_all()
        .await
        .unwrap();
    let rows = folding.0.lock().unwrap();
    rows.0
        .iter()
        .map(|(key, placed)| (*key, placed.row.clone()))
        .collect()
}

/// The rows of the server's table.
async fn served<F: Table>(pool: &PgPool) -> BTreeMap<F::Key, F::Row> {
    let mut connection = pool.acquire().await.unwrap();
    let rows = load_all::<F>(&mut connection).await.unwrap();
    rows.into_iter()
        .map(|(key, placed)| (key, placed.row))
        .collect()
}

/// An event as the prototype stored it: version 0.9 had a duration in seconds instead of an expiry
/// time.
async fn place_old_hold(pool: &PgPool, drop: &str, seconds: u32) -> HoldId {
    let hold_id = HoldId(Uuid::new_v4());
    let payload = json!({ "HoldPlaced": {
        "hold_id": hold_id, "buyer": Uuid::new_v4(), "quantity": 1, "hold_seconds": seconds,
        "placed_at": domain::values::Timestamp::from(Utc::now()),
    } });
    let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  SELECT 'Drop', $1, max(sequence) + 1, 'HoldPlaced', '0.9', $2::json, '{}'::json
                    FROM events WHERE aggregate_id = $1";
    eventually("no other append conflicts", || async {
        let placed = sqlx::query(insert).bind(drop).bind(payload.to_string());
        placed.execute(pool).await.ok().map(|_| ())
    })
    .await;
    hold_id
}

#[tokio::test]
async fn stock_replay_gives_the_servers_views_including_old_event_versions() {
    let app = App::start().await;
    let drop = app.create_drop(50, json!({ "hold_seconds": 3600 })).await;
    let brief = app.create_drop(5, json!({ "hold_seconds": 1 })).await;
    for buyer in 0..6 {
        let hold = app.held(&drop, &format!("buyer-{buyer}")).await;
        if buyer < 5 {
            app.held(&brief, &format!("buyer-{buyer}")).await;
        }
        match buyer % 3 {
            0 => assert_eq!(app.purchase(&hold).await.status, 201),
            1 => assert_eq!(app.release(&hold).await.status, 204),
            _ => {}
        }
    }
    let (stock_hold, command) = place_hold();
    execute(&stock_program(app.pool()), &drop, &command)
        .await
        .unwrap();
    let lasting = place_old_hold(app.pool(), &drop, 3600).await;
    let over = place_old_hold(app.pool(), &drop, 1).await;
    for hold in [stock_hold, lasting] {
        eventually("the server sees the holds of other programs", || async {
            let reply = app.read_hold(&hold.to_string()).await;
            (reply.status == 200).then_some(())
        })
        .await;
    }
    eventually("the old hold expires after its duration", || async {
        (app.ledger().await.end_of(&over.to_string()) == Some("HoldExpired")).then_some(())
    })
    .await;
    assert_eq!(app.purchase(&lasting.to_string()).await.status, 201);
    app.audit_verify().await;

    eventually("the tables equal a stock replay of the log", || async {
        let pool = app.pool();
        let is_same = replayed::<LiveStock>(pool).await == served::<LiveStock>(pool).await
            && replayed::<TopPurchasers>(pool).await == served::<TopPurchasers>(pool).await
            && replayed::<SalesTimeline>(pool).await == served::<SalesTimeline>(pool).await;
        is_same.then_some(())
    })
    .await;
    assert_eq!(replayed::<LiveStock>(app.pool()).await.len(), 2);
    assert_eq!(replayed::<TopPurchasers>(app.pool()).await.len(), 3);

    // A stock program with the product's upcasters decides on such a stream as the engine does.
    let repository = PostgresEventRepository::new(app.pool().clone());
    let store = PersistedEventStore::<_, DropAggregate>::new_event_store(repository)
        .with_upcasters(upcasters::all());
    let program = CqrsFramework::new(store, vec![], ());
    let purchase = DropCommand::ConfirmPurchase(ConfirmPurchase {
        purchase_id: PurchaseId(Uuid::new_v4()),
        hold_id: over,
        commitment: None,
        is_recorded: false,
        at: Utc::now().into(),
    });
    match program.execute(&drop, purchase).await {
        Err(AggregateError::UserError(refusal)) => {
            assert!(matches!(refusal, Refusal::HoldExpired { .. }), "{refusal}")
        }
        other => panic!("{other:?}"),
    }
}
