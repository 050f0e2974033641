//! A stock `cqrs-es` program makes the same decisions.

use cqrs_es::mem_store::MemStore;
use cqrs_es::{Aggregate, AggregateError, CqrsFramework, DomainEvent, EventStore};
use domain::testing::*;
use domain::{DropAggregate, DropEvent, Refusal};

#[tokio::test]
async fn stock_framework_runs_a_sale_from_start_to_sold_out() {
    let store = MemStore::<DropAggregate>::default();
    let framework = CqrsFramework::new(store.clone(), vec![], ());
    let commands = [
        schedule_drop(terms(), 2),
        place_hold("h1", 1).keyed("k"),
        place_hold("h9", 1).keyed("k"), // a retry
        place_hold("h2", 1).by("bob"),
        confirm_purchase("h1"),
        release_hold("h2"),
        cancel_drop(),
    ];
    for command in commands {
        framework.execute("lamp", command).await.unwrap();
    }

    let stored = store.load_events("lamp").await.unwrap();
    let events: Vec<DropEvent> = stored.into_iter().map(|stored| stored.payload).collect();
    assert_eq!(
        events,
        [
            drop_opened(2),
            hold_placed("h1", 1).keyed("k"),
            hold_placed("h2", 1).by("bob"),
            purchase_confirmed("h1", 1),
            hold_released("h2", 1).by("bob"),
            drop_cancelled(),
        ]
    );
}

#[tokio::test]
async fn stock_framework_is_refused_alike_and_records_nothing() {
    let store = MemStore::<DropAggregate>::default();
    let framework = CqrsFramework::new(store.clone(), vec![], ());
    framework
        .execute("lamp", schedule_drop(terms(), 1))
        .await
        .unwrap();
    let refused = framework.execute("lamp", place_hold("h1", 2)).await;
    let Err(AggregateError::UserError(refusal)) = refused else {
        panic!("expected a refusal");
    };
    assert_eq!(
        refusal,
        Refusal::SoldOut {
            requested: 2,
            available: 1
        }
    );
    assert_eq!(store.load_events("lamp").await.unwrap().len(), 1);
}

#[test]
fn aggregate_and_event_type_names_are_stable() {
    assert_eq!(<DropAggregate as Aggregate>::TYPE, "Drop");
    let event = hold_placed("h1", 1);
    assert_eq!(DomainEvent::event_type(&event), "HoldPlaced");
    assert_eq!(DomainEvent::event_version(&event), "1.0");
}
