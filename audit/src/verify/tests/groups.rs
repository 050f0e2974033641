//! Limit groups: one limit over several drops, and one pseudonym for each buyer in all of them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use domain::private::Private;
use domain::values::{BuyerId, Salt};
use infrastructure::log::StoredEvent;
use infrastructure::log::lines::LineWriter;
use serde_json::json;

use super::story::*;

const LAST: usize = 8;

/// A drop of the group with a limit of its own.
fn size(drop: &str, seconds: f64, max_per_buyer: u32) -> TestEvent {
    let mut event = scheduled(drop, seconds, 9);
    let terms = &mut event.fields["terms"];
    terms["limit_group"] = json!("shoe");
    terms["max_per_buyer"] = json!(max_per_buyer);
    event
}

/// A hold in the second drop, of the buyer of the first hold.
fn placed_in_b(seconds: f64, hold: u8, quantity: u32) -> TestEvent {
    let mut event = in_b(placed(seconds, hold, quantity));
    event.fields["buyer"] = json!(id(101));
    event
}

fn in_b(event: TestEvent) -> TestEvent {
    TestEvent {
        stream: (event.stream.0, B.to_owned()),
        ..event
    }
}

/// A buyer takes two units of one size, gives one back, and takes two of the other, of three in
/// all; another buyer takes three.
fn history() -> Vec<TestEvent> {
    let mut first = placed(2.0, 1, 2);
    first.fields["commitment"] = json!(alice(1).commitment());
    first.private = private(&alice(1));
    let fewer = json!({
        "hold_id": id(1), "buyer": id(101), "previous_quantity": 2, "quantity": 1,
        "changed_at": at(4.0),
    });
    let mut second = placed_in_b(5.0, 3, 2);
    second.fields["commitment"] = json!(alice(2).commitment());
    second.private = private(&alice(2));
    let money = json!({ "amount": 100, "currency": "USD" });
    let bought = json!({ "purchase_id": id(90), "total": money, "purchased_at": at(6.0) });
    let mut returned = resolved(
        7.0,
        "HoldReleased",
        3,
        2,
        json!({ "released_at": at(7.0), "cause": "buyer" }),
    );
    returned.fields["buyer"] = json!(id(101));
    vec![
        size(A, 0.0, 3),
        size(B, 1.0, 3),
        first,
        test_event(A, 4.0, "HoldChanged", fewer),
        second,
        resolved(6.0, "PurchaseConfirmed", 1, 1, bought),
        in_b(returned),
        placed_in_b(8.0, 4, 2),
    ]
}

/// The verdict of docs/verify.py: its exit code and its output.
pub(super) fn in_python(log: &[StoredEvent]) -> (Option<i32>, String) {
    let mut lines = vec![];
    for event in log {
        LineWriter::default().write(event, &mut lines);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verify.py");
    let mut python = Command::new("python3")
        .args(["-B".as_ref(), script.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&lines).unwrap();
    let output = python.wait_with_output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

#[test]
fn units_within_the_limit_of_the_group_are_verified() {
    verdict(&seal(&history()), &[]).unwrap();
    assert_eq!(in_python(&seal(&history())).0, Some(0));
    // Without a group, each drop has its own limit.
    let mut alone = history();
    for index in [0, 1] {
        let terms = alone[index].fields["terms"].as_object_mut().unwrap();
        terms.remove("limit_group");
    }
    alone[LAST - 1] = placed_in_b(8.0, 4, 3);
    verdict(&seal(&alone), &[]).unwrap();
    assert_eq!(in_python(&seal(&alone)).0, Some(0));
}

#[test]
fn one_unit_too_many_over_the_group_is_found_by_both_verifiers() {
    type Change = fn(&mut Vec<TestEvent>);
    let cases: [(&str, usize, u32, Change); 3] = [
        ("a hold of another size", LAST, 4, |s| {
            s[LAST - 1] = placed_in_b(8.0, 4, 3);
        }),
        ("units that were not returned", LAST - 1, 5, |s| {
            s.remove(LAST - 2);
        }),
        ("units that are added to a hold", LAST + 1, 4, |s| {
            let more = json!({
                "hold_id": id(4), "buyer": id(101), "previous_quantity": 2, "quantity": 3,
                "changed_at": at(9.0),
            });
            s.push(test_event(B, 9.0, "HoldChanged", more));
        }),
    ];
    for (name, position, units, change) in cases {
        let mut changed = history();
        change(&mut changed);
        let log = seal(&changed);
        println!("{name}");
        assert_violated(
            &log,
            position,
            "units in the drops of limit group shoe and gets",
        );
        assert_violated(&log, position, &format!("drop {B}"));
        let (code, printed) = in_python(&log);
        let found = format!(
            "position {position}: expected units of buyer {} in limit group shoe 3, found {units}",
            id(101)
        );
        assert_eq!(code, Some(1), "{name}: {printed}");
        assert!(printed.contains(&found), "{name}: {printed}");
    }
}

#[test]
fn offer_beyond_the_limit_of_the_group_is_found() {
    let mut wait = in_b(joined(7.5, 51, 4));
    wait.fields["buyer"] = json!(id(101));
    let mut offered = placed_in_b(8.5, 4, 1);
    offered.fields["waitlist_entry"] = json!(id(51));
    let mut other = placed(8.0, 5, 2);
    other.fields["buyer"] = json!(id(101));
    let mut log = history();
    log.truncate(LAST - 1);
    log.extend([wait, other, offered]);
    assert_violated(
        &seal(&log),
        LAST + 2,
        "units in the drops of limit group shoe and gets 1 more",
    );
    // One unit fewer in the other drop.
    log[LAST].fields["quantity"] = json!(1);
    verdict(&seal(&log), &[]).unwrap();
}

#[test]
fn limit_of_each_drop_counts_all_drops_of_its_group() {
    // The second drop allows two units, of which one was taken in the first.
    let mut log = history();
    log[1] = size(B, 1.0, 2);
    assert_violated(&seal(&log), 5, "but at most 2 are allowed");
    // The first has no limit, and counts in the second.
    let mut log = history();
    log[0].fields["terms"]
        .as_object_mut()
        .unwrap()
        .remove("max_per_buyer");
    verdict(&seal(&log), &[]).unwrap();
    log[LAST - 1] = placed_in_b(8.0, 4, 3);
    assert_violated(&seal(&log), LAST, "but at most 3 are allowed");
}

#[test]
fn person_with_two_pseudonyms_in_a_group_is_found() {
    let twice = |name: &str| {
        let mut log = history();
        log.truncate(5);
        let other = Private::buyer(Salt([3; 16]), BuyerId::new(name).unwrap(), None);
        log[4].fields["buyer"] = json!(id(102));
        log[4].fields["commitment"] = json!(other.commitment());
        log[4].private = private(&other);
        log
    };
    let reason = "the same person was buyer aaaaaaaa-0000-4000-9000-000000000065 earlier";
    assert_violated(&seal(&twice("alice")), 5, reason);
    verdict(&seal(&twice("bob")), &[]).unwrap();
    let mut alone = twice("alice");
    for index in [0, 1] {
        let terms = alone[index].fields["terms"].as_object_mut().unwrap();
        terms.remove("limit_group");
    }
    verdict(&seal(&alone), &[]).unwrap();
}

#[test]
fn group_that_an_edit_changes_is_found_by_both_verifiers() {
    let mut log = history();
    let mut terms = log[1].fields["terms"].clone();
    terms["limit_group"] = json!("boot");
    let edit = json!({ "terms": terms, "rescheduled_at": at(9.0) });
    log.push(test_event(B, 9.0, "DropRescheduled", edit));
    assert_violated(&seal(&log), LAST + 1, "an edit changed the limit group");
    let (code, printed) = in_python(&seal(&log));
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed.contains("expected limit group shoe, found boot"),
        "{printed}"
    );
}
