//! Access codes: the rules of a log, and what breaks them.

use serde_json::json;

use super::story::*;

const FIRST: usize = 3;
const JOINED: usize = 4;
const AGAIN: usize = 6;
const LAST: usize = 9;

fn code(number: u8) -> String {
    format!("{number:032x}")
}

/// A hold with a code.
fn held(seconds: f64, hold: u8, number: u8) -> TestEvent {
    let mut event = placed(seconds, hold, 1);
    event.fields["code"] = json!(code(number));
    event
}

/// A drop for code holders, which starts at second 10. Code 1 opens before and expires at second
/// 500; code 2 has no times. The first hold gives its use back, and another buyer takes it.
fn history() -> Vec<TestEvent> {
    let mut scheduled = scheduled(A, 0.0, 2);
    scheduled.fields["terms"]["access"] = json!("code");
    scheduled.fields["terms"]["starts_at"] = json!(at(10.0));
    let created = |digests: &[u8], more: serde_json::Value| {
        let digests: Vec<String> = digests.iter().map(|number| code(*number)).collect();
        let mut fields = json!({
            "first": 0, "of": digests.len(), "digests": digests, "uses": 1, "created_at": at(0.5),
        });
        let members = fields.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        fields
    };
    let early = created(
        &[1],
        json!({ "opens_at": at(5.0), "expires_at": at(500.0) }),
    );
    let mut waits = joined(12.0, 51, 3);
    waits.fields["code"] = json!(code(2));
    let mut offered = held(13.0, 3, 2);
    offered.fields["waitlist_entry"] = json!(id(51));
    let money = json!({ "amount": 100, "currency": "USD" });
    let bought = json!({ "purchase_id": id(90), "total": money, "purchased_at": at(15.0) });
    vec![
        scheduled,
        test_event(A, 0.5, "CodesCreated", early),
        held(5.0, 1, 1),
        waits,
        released(12.5, 1),
        held(13.0, 2, 1),
        offered,
        resolved(15.0, "PurchaseConfirmed", 2, 1, bought),
        released(16.0, 3),
    ]
    .into_iter()
    .enumerate()
    .flat_map(|(index, event)| {
        let second = (index == 1).then(|| {
            let codes = created(&[2], json!({}));
            test_event(A, 0.6, "CodesCreated", codes)
        });
        [Some(event), second].into_iter().flatten()
    })
    .collect()
}

#[test]
fn uses_of_codes_are_verified() {
    verdict(&seal(&history()), &[]).unwrap();
    // The use of a released hold may be taken again, by another buyer, up to its last millisecond.
    let mut again = history();
    again.push(held(499.999, 5, 2));
    verdict(&seal(&again), &[]).unwrap();
}

#[test]
fn code_that_is_used_twice_is_found_with_its_position() {
    let mut log = history();
    // The hold of the first buyer is not released, so the code is in use.
    let released = log.remove(5);
    assert_eq!(released.kind, "HoldReleased");
    assert_violated(
        &seal(&log),
        AGAIN,
        "is used 2 times at once, but at most 1 are allowed",
    );
    // A purchase keeps its use.
    let mut log = history();
    log.push(held(20.0, 5, 1));
    let position = log.len();
    assert_violated(&seal(&log), position, "is used 2 times at once");
    // A waiting entry has a use as well.
    let mut log = history();
    log.insert(5, held(12.1, 5, 2));
    assert_violated(&seal(&log), AGAIN, "is used 2 times at once");
}

#[test]
fn wrong_uses_of_codes_are_found() {
    type Change = fn(&mut Vec<TestEvent>);
    let cases: [(usize, &str, Change); 10] = [
        (FIRST + 1, "without the access code", |log| {
            // The drop has started, so that only the code is missing.
            log[FIRST] = placed(11.0, 1, 1);
            log[FIRST + 1].at = 12.0;
        }),
        (FIRST + 1, "was never created in this drop", |log| {
            log[FIRST].fields["code"] = json!(code(9));
        }),
        (FIRST + 1, "before the sale started", |log| {
            log[FIRST] = held(4.999, 1, 1);
        }),
        (FIRST + 1, "before the sale started", |log| {
            log[FIRST].fields["code"] = json!(code(2));
        }),
        (JOINED + 1, "without the access code", |log| {
            let fields = log[JOINED].fields.as_object_mut().unwrap();
            fields.remove("code");
        }),
        (JOINED + 1, "before the sale started", |log| {
            log[JOINED].fields["code"] = json!(code(2));
            log[JOINED].fields["joined_at"] = json!(at(9.999));
            log[JOINED].at = 9.999;
        }),
        (LAST - 1, "access code of the entry: expected", |log| {
            log[7].fields["code"] = json!(code(1));
        }),
        (3, "was created twice", |log| {
            log[2].fields["digests"] = json!([code(1)]);
        }),
        (2, "of a request for 0", |log| {
            log[1].fields["of"] = json!(0);
        }),
        (2, "expire at", |log| {
            log[1].fields["expires_at"] = json!(at(5.0));
        }),
    ];
    for (position, reason, change) in cases {
        let mut log = history();
        change(&mut log);
        assert_violated(&seal(&log), position, reason);
    }
    let mut log = history();
    log.push(held(500.0, 5, 1));
    let position = log.len();
    assert_violated(&seal(&log), position, "after it expired at");
}

#[test]
fn hold_without_a_code_does_not_grow_once_a_code_is_required() {
    let changed = test_event(
        A,
        13.0,
        "HoldChanged",
        json!({
            "hold_id": id(1), "buyer": id(101), "previous_quantity": 1, "quantity": 2,
            "changed_at": at(13.0),
        }),
    );
    let mut closed = scheduled(A, 0.0, 5).fields["terms"].clone();
    closed["access"] = json!("code");
    let edited = json!({ "terms": closed, "rescheduled_at": at(12.0) });
    let mut log = vec![
        scheduled(A, 0.0, 5),
        placed(11.0, 1, 1),
        test_event(A, 12.0, "DropRescheduled", edited),
        changed,
    ];
    assert_violated(&seal(&log), 4, "units were added to a hold without");
    log.remove(2);
    verdict(&seal(&log), &[]).unwrap();
}
