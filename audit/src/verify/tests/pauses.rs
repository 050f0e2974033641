//! Drafts and pauses: no unit is held in either, as both verifiers find.

use serde_json::json;

use super::groups::in_python;
use super::story::*;

fn drafted() -> TestEvent {
    let mut drafted = scheduled(A, 0.0, 3);
    drafted.kind = "DropDrafted";
    drafted.fields["terms"]["draft"] = json!(true);
    drafted
}

fn published(seconds: f64, total: u32) -> TestEvent {
    let mut terms = scheduled(A, seconds, total).fields["terms"].clone();
    terms["starts_at"] = json!(at(seconds));
    let fields = json!({ "terms": terms, "total_stock": total, "published_at": at(seconds) });
    test_event(A, seconds, "DropPublished", fields)
}

fn paused(seconds: f64) -> TestEvent {
    test_event(
        A,
        seconds,
        "DropPaused",
        json!({ "paused_at": at(seconds) }),
    )
}

fn resumed(seconds: f64) -> TestEvent {
    test_event(
        A,
        seconds,
        "DropResumed",
        json!({ "resumed_at": at(seconds) }),
    )
}

fn grown(seconds: f64, hold: u8, from: u32, to: u32) -> TestEvent {
    let more = json!({ "previous_quantity": from, "changed_at": at(seconds) });
    resolved(seconds, "HoldChanged", hold, to, more)
}

fn started(seconds: f64) -> TestEvent {
    test_event(
        A,
        seconds,
        "DropStarted",
        json!({ "started_at": at(seconds) }),
    )
}

/// A draft that is published at 5 s and paused from 10 s to 20 s.
fn history() -> Vec<TestEvent> {
    vec![
        drafted(),
        published(5.0, 3),
        started(5.0),
        placed(6.0, 1, 1),
        paused(10.0),
        released(12.0, 1),
        resumed(20.0),
        placed(20.0, 2, 1),
    ]
}

#[test]
fn draft_and_pause_without_holds_are_verified() {
    let log = seal(&history());
    verdict(&log, &[]).unwrap();
    assert_eq!(in_python(&log).0, Some(0));
}

#[test]
fn hold_in_a_pause_or_in_a_draft_is_found_by_both_verifiers() {
    type Case = (usize, TestEvent, &'static str);
    let cases: [Case; 4] = [
        (
            1,
            placed(1.0, 9, 1),
            "a hold was placed, but the drop is a draft",
        ),
        (
            5,
            placed(11.0, 9, 1),
            "a hold was placed, but the drop has been paused since",
        ),
        (
            5,
            grown(11.0, 1, 1, 2),
            "units were added to a hold, but the drop has been paused",
        ),
        (
            6,
            placed(12.0, 9, 1),
            "a hold was placed, but the drop has been paused since",
        ),
    ];
    for (index, event, reason) in cases {
        let mut log = history();
        log.insert(index, event);
        let log = seal(&log);
        assert_violated(&log, index + 1, reason);
        let (code, said) = in_python(&log);
        assert_eq!(code, Some(1), "{said}");
        let expected = format!(
            "position {}: units were held in a draft or in a pause",
            index + 1
        );
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn impossible_drafts_and_pauses_are_found() {
    type Change = fn(&mut Vec<TestEvent>);
    let cases: [(usize, &str, Change); 9] = [
        (1, "draft: expected false, found true", |log| {
            log[0].kind = "DropScheduled"
        }),
        (2, "the drop was published, but it is no draft", |log| {
            log[0] = scheduled(A, 0.0, 3);
        }),
        (2, "total_stock", |log| log[1] = published(5.0, 4)),
        (2, "a draft has neither a start nor an end", |log| {
            log.insert(1, started(0.0))
        }),
        (2, "paused, but the drop is a draft", |log| {
            log.insert(1, paused(1.0))
        }),
        (
            2,
            "a buyer joined the waitlist, but the drop is a draft",
            |log| {
                log.insert(1, joined(1.0, 50, 7));
            },
        ),
        (6, "the drop was paused twice", |log| {
            log.insert(5, paused(11.0))
        }),
        (8, "the drop was resumed, but it was not paused", |log| {
            log.insert(7, resumed(20.0))
        }),
        (6, "cancelled before", |log| log.insert(4, cancelled(9.0))),
    ];
    for (position, reason, change) in cases {
        let mut log = history();
        change(&mut log);
        assert_violated(&seal(&log), position, reason);
    }
}
