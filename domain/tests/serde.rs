//! The stored forms: the exact text of events, and lossless snapshots.

use domain::testing::*;
use domain::{DropAggregate, DropEvent};

#[track_caller]
fn restored(drop: &DropAggregate) -> DropAggregate {
    let text = serde_json::to_string(drop).expect("a snapshot to write");
    serde_json::from_str(&text).expect("the same snapshot to read")
}

fn history() -> Vec<DropEvent> {
    vec![
        drop_opened(20).keyed("d"),
        hold_placed("h1", 1).keyed("k1"),
        hold_placed("h2", 2).by("bob").keyed("k2"),
        hold_placed("h3", 3),
        hold_placed("h4", 4).by("bob"),
        purchase_confirmed("h1", 1),
        hold_released("h2", 2).by("bob"),
        stock_adjusted("a1", 5, stock(17, 7, 1)).keyed("k3"),
        drop_rescheduled(terms()),
        waitlist_joined("w1", 20).by("cid").keyed("k4"),
        waitlist_joined("w2", 18).by("dan"),
        waitlist_joined("w3", 30).by("ann"),
        waitlist_left("w3", 30),
        hold_expired("h3", 3),
        hold_offered("w1", 20).by("cid"),
    ]
}

#[test]
fn snapshot_restores_the_state_with_keys_and_indexes() {
    let mut drop = DropAggregate::default();
    assert_eq!(restored(&drop), drop);
    for event in history() {
        drop.evolve(&event);
        assert_eq!(restored(&drop), drop);
    }
    let drop = restored(&drop);
    assert_eq!(drop.hold_by_key(key("k2")), drop.hold(hold_id("h2")));
    assert_eq!(
        drop.adjustment_by_key(key("k3")).unwrap().id,
        adjustment_id("a1")
    );
    assert_eq!(drop.entry_by_key(key("k4")), drop.entry(waitlist_id("w1")));
    let waits = drop.waitlist().waiting_entries().map(|entry| entry.id);
    assert_eq!(waits.collect::<Vec<_>>(), [waitlist_id("w2")]);
    let bobs: Vec<_> = drop.holds_of(buyer("bob")).map(|hold| hold.id).collect();
    assert_eq!(bobs, [hold_id("h4"), hold_id("h2")]);
}

#[test]
fn history_continues_from_a_snapshot_as_without_one() {
    let (mut unbroken, mut interrupted) = (DropAggregate::default(), DropAggregate::default());
    for event in history() {
        unbroken.evolve(&event);
        interrupted = restored(&interrupted);
        interrupted.evolve(&event);
    }
    assert_eq!(interrupted, unbroken);
    for event in history().iter().rev() {
        interrupted = restored(&interrupted);
        interrupted.revert(event);
    }
    assert_eq!(interrupted, DropAggregate::default());
}

#[test]
fn absent_fields_are_omitted_from_the_stored_event() {
    let id = |tail: &str| format!("00000000-{tail}");
    let hold = id("6831-0000-0000-000000000000");
    let ann = id("616e-6e00-0000-000000000000");
    assert_eq!(
        serde_json::to_string(&hold_placed("h1", 2)).unwrap(),
        format!(r#"{{"HoldPlaced":{{"hold_id":"{hold}","buyer":"{ann}","quantity":2,"#,)
            + r#""placed_at":"2026-01-01T12:00:00.000Z","expires_at":"2026-01-01T12:01:00.000Z"}}"#
    );
    assert_eq!(
        serde_json::to_string(&drop_opened(3)).unwrap(),
        concat!(
            r#"{"DropScheduled":{"terms":{"name":"Lamp","price":{"amount":1000,"currency":"USD"},"#,
            r#""starts_at":"2026-01-01T12:00:00.000Z","hold_seconds":60,"max_per_hold":1000},"#,
            r#""total_stock":3,"scheduled_at":"2026-01-01T12:00:00.000Z"}}"#
        )
    );
}

#[test]
fn snapshot_from_before_waitlists_is_read() {
    let drop = given(history().into_iter().take(9)).aggregate();
    let mut old = serde_json::to_value(&drop).unwrap();
    old.as_object_mut().unwrap().remove("line").unwrap();
    assert_eq!(serde_json::from_value::<DropAggregate>(old).unwrap(), drop);
}

#[test]
fn leave_cause_is_stored_by_name() {
    for (event, cause) in [
        (waitlist_left("w1", 1), "buyer"),
        (entry_cancelled("w1", 1), "drop_cancelled"),
    ] {
        let stored = serde_json::to_value(&event).unwrap();
        assert_eq!(stored["WaitlistLeft"]["cause"], cause);
    }
}

#[test]
fn release_cause_is_stored_by_name() {
    for (event, cause) in [
        (hold_released("h1", 1), "buyer"),
        (hold_cancelled("h1", 1), "drop_cancelled"),
    ] {
        let stored = serde_json::to_value(&event).unwrap();
        assert_eq!(stored["HoldReleased"]["cause"], cause);
    }
}

#[test]
fn stored_event_with_a_value_out_of_bounds_is_rejected() {
    let good = serde_json::to_string(&hold_placed("h1", 2)).unwrap();
    assert!(serde_json::from_str::<DropEvent>(&good).is_ok());
    for bad in [0, 1_001, -1] {
        let text = good.replace("\"quantity\":2", &format!("\"quantity\":{bad}"));
        assert!(serde_json::from_str::<DropEvent>(&text).is_err(), "{text}");
    }
}
