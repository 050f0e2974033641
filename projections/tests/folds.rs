//! Each fold alone: the effect of one event on one row, and the equality of a stock replay.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where it unwraps, helpers included"
)]

use cqrs_es::{EventEnvelope, View};
use domain::DropEvent;
use domain::drop::HoldStatus;
use domain::testing::*;
use domain::values::Position;
use projections::error::CannotApply;
use projections::fold::{Fact, Fold, Rows};
use projections::holds::{HoldKey, Holds};
use projections::live_stock::{DropKey, LiveStock};
use projections::sales_timeline::SalesTimeline;
use projections::top_purchasers::TopPurchasers;

/// Of ten units: two sold, one expired, one released, one still held; then two more added.
fn history() -> Vec<DropEvent> {
    vec![
        drop_opened(10),
        hold_placed("h1", 2).by("ann"),
        hold_placed("h2", 1).by("bob"),
        hold_placed("h3", 1).by("cid"),
        hold_placed("h4", 1).by("dee"),
        purchase_confirmed("h1", 2).by("ann").at(second(5)),
        hold_released("h2", 1).by("bob"),
        hold_expired("h3", 1).by("cid"),
        stock_adjusted("a1", 2, stock(9, 1, 2)),
    ]
}

fn fact(event: &DropEvent) -> Fact<'_> {
    Fact {
        drop_id: drop_id("d"),
        event,
        private: None,
    }
}

fn fold<F: Fold + Clone>(history: &[DropEvent]) -> Rows<F> {
    let mut rows = Rows::default();
    for (position, event) in (1..).zip(history) {
        rows.apply(Position(position), fact(event)).unwrap();
    }
    rows
}

fn replay<F: Fold + Clone>(history: &[DropEvent]) -> Rows<F> {
    let mut rows = Rows::default();
    for (sequence, event) in (1..).zip(history) {
        rows.update(&EventEnvelope {
            aggregate_id: drop_id("d").to_string(),
            sequence,
            payload: event.clone(),
            metadata: std::collections::HashMap::new(),
        });
    }
    rows
}

#[test]
fn live_stock_counts_every_unit() {
    let rows = fold::<LiveStock>(&history());
    let drop = rows
        .get(&DropKey {
            drop_id: drop_id("d"),
        })
        .unwrap();
    assert_eq!(drop.row.stock, stock(9, 1, 2));
    assert_eq!((drop.row.expired, drop.row.released), (1, 1));
    assert_eq!(drop.position, Position(9));
}

#[test]
fn live_stock_cannot_hold_more_than_available() {
    let mut rows = fold::<LiveStock>(&[drop_opened(1), hold_placed("h1", 1)]);
    let refused = rows.apply(Position(3), fact(&hold_placed("h2", 1)));
    assert_eq!(
        refused.unwrap_err(),
        CannotApply("more units held than available")
    );
    let unchanged = fold::<LiveStock>(&[drop_opened(1), hold_placed("h1", 1)]);
    assert_eq!(rows, unchanged, "a rejected event changes nothing");
}

#[test]
fn live_stock_counts_waiting_entries_until_served_or_left() {
    let length = |history: &[DropEvent]| {
        let rows = fold::<LiveStock>(history);
        let drop_id = drop_id("d");
        rows.get(&DropKey { drop_id }).unwrap().row.waitlist_length
    };
    let history = [
        drop_opened(1),
        hold_placed("h1", 1),
        waitlist_joined("w1", 1).by("bob"),
        waitlist_joined("w2", 1).by("cid"),
        hold_released("h1", 1),
        hold_offered("w1", 1).by("bob"),
        waitlist_left("w2", 1).by("cid"),
    ];
    let lengths: Vec<u32> = (1..=history.len()).map(|n| length(&history[..n])).collect();
    assert_eq!(lengths, [0, 0, 1, 2, 2, 1, 0]);
}

#[test]
fn hold_is_resolved_once() {
    let rows = fold::<Holds>(&history());
    let status = |name| {
        rows.get(&HoldKey {
            hold_id: hold_id(name),
        })
        .unwrap()
        .row
        .status
    };
    assert_eq!(status("h1"), HoldStatus::Purchased);
    assert_eq!(status("h2"), HoldStatus::Released);
    assert_eq!(status("h3"), HoldStatus::Expired);
    assert_eq!(status("h4"), HoldStatus::Held);
    let mut rows = rows;
    let again = purchase_confirmed("h3", 1);
    let refused = rows.apply(Position(10), fact(&again));
    assert_eq!(
        refused.unwrap_err(),
        CannotApply("the hold was resolved already")
    );
}

#[test]
fn purchasers_need_purchases_and_the_timeline_counts_units_and_holds() {
    let purchasers = fold::<TopPurchasers>(&history());
    let bought: Vec<_> = purchasers
        .0
        .values()
        .map(|placed| (placed.key.buyer, placed.row.quantity))
        .collect();
    assert_eq!(bought, [(buyer("ann"), 2)]);

    let timeline = fold::<SalesTimeline>(&history());
    let sum = |count: fn(&projections::sales_timeline::SalesTotals) -> u64| {
        timeline
            .0
            .values()
            .map(|placed| count(&placed.row))
            .sum::<u64>()
    };
    assert_eq!(sum(|moved| moved.held), 5);
    assert_eq!(sum(|moved| moved.sold), 2);
    assert_eq!(sum(|moved| moved.expired), 1);
    assert_eq!(sum(|moved| moved.released), 1);
    assert_eq!(sum(|moved| moved.holds_placed), 4);
    assert_eq!(sum(|moved| moved.purchases_confirmed), 1);
    assert_eq!(sum(|moved| moved.holds_expired), 1);
    assert_eq!(sum(|moved| moved.holds_released), 1);
    let expiry = second(i64::from(HOLD_SECONDS)).minute();
    assert!(
        timeline
            .0
            .values()
            .any(|placed| placed.key.minute == expiry && placed.row.expired == 1)
    );
}

#[test]
fn stock_replay_gives_the_same_rows() {
    assert_eq!(
        fold::<LiveStock>(&history()),
        replay::<LiveStock>(&history())
    );
    assert_eq!(fold::<Holds>(&history()), replay::<Holds>(&history()));
    assert_eq!(
        fold::<TopPurchasers>(&history()),
        replay::<TopPurchasers>(&history())
    );
    assert_eq!(
        fold::<SalesTimeline>(&history()),
        replay::<SalesTimeline>(&history())
    );
}

#[test]
fn rows_survive_a_round_trip_as_json() {
    let rows = fold::<Holds>(&history());
    let text = serde_json::to_string(&rows).unwrap();
    assert_eq!(serde_json::from_str::<Rows<Holds>>(&text).unwrap(), rows);
}
