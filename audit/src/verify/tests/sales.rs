//! Starts and ends of drops.

use super::*;

/// A drop from 10 to 20 s, scheduled at 1 s.
fn timed() -> TestEvent {
    let mut scheduled = scheduled(A, 1.0, 9);
    scheduled.fields["terms"]["starts_at"] = json!(at(10.0));
    scheduled.fields["terms"]["ends_at"] = json!(at(20.0));
    scheduled
}

fn edited(seconds: f64, starts: f64, ends: f64) -> TestEvent {
    let mut terms = timed().fields["terms"].clone();
    terms["starts_at"] = json!(at(starts));
    terms["ends_at"] = json!(at(ends));
    let fields = json!({ "terms": terms, "rescheduled_at": at(seconds) });
    test_event(A, seconds, "DropRescheduled", fields)
}

fn started(seconds: f64, started_at: f64) -> TestEvent {
    let fields = json!({ "started_at": at(started_at) });
    test_event(A, seconds, "DropStarted", fields)
}

fn ended(seconds: f64, ended_at: f64) -> TestEvent {
    test_event(A, seconds, "DropEnded", json!({ "ended_at": at(ended_at) }))
}

#[test]
fn starts_and_ends_at_their_times_are_verified() {
    let permitted: [(&str, Vec<TestEvent>); 8] = [
        (
            "none, as in older logs",
            vec![timed(), edited(30.0, 10.0, 20.0)],
        ),
        (
            "at their times",
            vec![timed(), started(10.0, 10.0), ended(20.0, 20.0)],
        ),
        (
            "late",
            vec![timed(), started(90.0, 10.0), ended(90.0, 20.0)],
        ),
        (
            "from the request on that schedules it",
            vec![scheduled(A, 1.0, 9), started(1.0, 1.0)],
        ),
        (
            "again, after the start was moved to the future",
            vec![
                timed(),
                started(10.0, 10.0),
                edited(12.0, 15.0, 20.0),
                started(15.0, 15.0),
                ended(20.0, 20.0),
            ],
        ),
        (
            "again, after the drop was opened again",
            vec![
                timed(),
                started(10.0, 10.0),
                ended(20.0, 20.0),
                edited(25.0, 10.0, 30.0),
                started(25.0, 25.0),
                ended(30.0, 30.0),
            ],
        ),
        (
            "at another end",
            vec![
                timed(),
                started(10.0, 10.0),
                edited(12.0, 10.0, 15.0),
                ended(15.0, 15.0),
            ],
        ),
        (
            "not in a cancelled drop",
            vec![timed(), started(10.0, 10.0), cancelled(11.0)],
        ),
    ];
    for (name, events) in permitted {
        let verdict = verdict(&seal(&events), &[]);
        assert!(verdict.is_ok(), "{name}: {verdict:?}");
    }
}

#[test]
fn impossible_starts_and_ends_are_found() {
    let cases: [(&str, &str, Vec<TestEvent>); 9] = [
        ("early", "before", vec![timed(), started(9.999, 10.0)]),
        (
            "at another time",
            "started_at: expected",
            vec![timed(), started(11.0, 11.0)],
        ),
        (
            "twice",
            "not its next change",
            vec![timed(), started(10.0, 10.0), started(11.0, 10.0)],
        ),
        (
            "ended first",
            "not its next change",
            vec![timed(), ended(20.0, 20.0)],
        ),
        (
            "ended early",
            "before",
            vec![timed(), started(10.0, 10.0), ended(19.999, 20.0)],
        ),
        (
            "ended twice",
            "not its next change",
            vec![
                timed(),
                started(10.0, 10.0),
                ended(20.0, 20.0),
                ended(21.0, 20.0),
            ],
        ),
        (
            "without an end",
            "not its next change",
            vec![scheduled(A, 1.0, 9), started(1.0, 1.0), ended(20.0, 20.0)],
        ),
        (
            "after a cancellation",
            "cancelled",
            vec![timed(), cancelled(5.0), started(10.0, 10.0)],
        ),
        ("of no drop", "scheduled", vec![started(10.0, 10.0)]),
    ];
    for (name, reason, events) in cases {
        println!("{name}");
        assert_violated(&seal(&events), events.len(), reason);
    }
}
