//! Notices and messages of invented histories.

use domain::terms::DropTerms;
use domain::testing::{
    drop_cancelled, drop_id, drop_scheduled, hold_expired, hold_placed, hold_released,
    purchase_confirmed, second, stock, stock_adjusted, terms,
};
use domain::values::Sequence;

use super::*;
use crate::message::messages;

/// The history of one drop, one event a second.
fn observed(events: Vec<DropEvent>) -> (StockNotices, Vec<RecordedEvent>) {
    let recorded = (1..).zip(events).map(|(position, event)| RecordedEvent {
        position: Position(position),
        recorded_at: second(i64::try_from(position).unwrap()),
        drop_id: drop_id("a"),
        sequence: Sequence(position),
        event,
        private: None,
    });
    let recorded: Vec<RecordedEvent> = recorded.collect();
    let mut notices = StockNotices::default();
    let committed = Committed {
        events: recorded.clone(),
        ..Committed::default()
    };
    notices.committed(&Arc::new(committed));
    (notices, recorded)
}

/// The types of messages of each event.
fn kinds(events: Vec<DropEvent>) -> Vec<Vec<&'static str>> {
    let (notices, recorded) = observed(events);
    let of = |recorded: &RecordedEvent| {
        let notice = notices.of(recorded.drop_id, recorded.position);
        let messages = messages(recorded, notice);
        messages.iter().map(|message| message.event_type).collect()
    };
    recorded.iter().map(of).collect()
}

#[test]
fn selling_out_and_restocking_alternate() {
    let events = vec![
        drop_scheduled(terms(), 2),
        hold_placed("1", 1),
        hold_placed("2", 1),
        purchase_confirmed("1", 1),
        hold_expired("2", 1),
        hold_placed("3", 1),
        stock_adjusted("1", 2, stock(2, 1, 1)),
        stock_adjusted("2", 1, stock(3, 1, 1)),
        stock_adjusted("3", -3, stock(0, 1, 1)),
        hold_released("3", 1),
    ];
    assert_eq!(
        kinds(events),
        [
            vec!["drop.scheduled"],
            vec!["hold.placed"],
            vec!["hold.placed", "drop.sold_out"],
            vec!["purchase.confirmed"],
            vec!["hold.expired", "drop.restocked"],
            vec!["hold.placed", "drop.sold_out"],
            vec!["drop.restocked"],
            vec![],
            vec!["drop.sold_out"],
            vec!["hold.released", "drop.restocked"],
        ]
    );
}

#[test]
fn drop_that_is_over_is_neither_sold_out_nor_restocked() {
    let events = vec![
        drop_scheduled(terms(), 1),
        hold_placed("1", 1),
        drop_cancelled(),
        hold_released("1", 1),
    ];
    let expected = [
        vec!["drop.scheduled"],
        vec!["hold.placed", "drop.sold_out"],
        vec!["drop.cancelled"],
        vec!["hold.released"],
    ];
    assert_eq!(kinds(events), expected);
    let ending = DropTerms {
        ends_at: Some(second(3)),
        ..terms()
    };
    let events = vec![
        drop_scheduled(ending, 1),
        hold_placed("1", 1),
        hold_expired("1", 1),
    ];
    assert_eq!(kinds(events)[2], ["hold.expired"]);
}

#[test]
fn ids_are_distinct_without_dots_and_the_same_every_time() {
    let events = || vec![drop_scheduled(terms(), 1), hold_placed("1", 1)];
    let ids = || {
        let (notices, recorded) = observed(events());
        let of = |recorded: &RecordedEvent| {
            messages(recorded, notices.of(recorded.drop_id, recorded.position))
        };
        let all: Vec<_> = recorded.iter().flat_map(of).collect();
        all
    };
    let (first, again) = (ids(), ids());
    assert_eq!(first, again);
    let mut names: Vec<&str> = first
        .iter()
        .map(|message| message.webhook_id.as_str())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| !name.contains('.') && name.len() <= 64),
        "{names:?}"
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[test]
fn drop_that_is_applied_again_has_the_notices_of_its_new_history() {
    let (mut notices, recorded) = observed(vec![
        drop_scheduled(terms(), 2),
        hold_placed("1", 1),
        hold_placed("2", 1),
    ]);
    let id = drop_id("a");
    assert_eq!(notices.of(id, Position(3)), Some(StockNotice::SoldOut));
    let without_the_void_one = vec![recorded[0].clone(), recorded[2].clone()];
    notices.readmitted(&Readmitted {
        drop_id: id,
        events: without_the_void_one,
        refused: None,
        observed: Position(3),
    });
    assert_eq!(notices.of(id, Position(3)), None);
    assert_eq!(notices.of(drop_id("b"), Position(1)), None);
}
