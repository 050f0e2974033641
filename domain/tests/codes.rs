//! Access codes: the buyers that may hold units, the times, and the number of uses.

use domain::command::{CreateCodes, Pass, PlaceHold};
use domain::event::CodesCreated;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::{Access, Timestamp, Visibility};
use domain::{DropAggregate, DropCommand, DropEvent, Refusal, Subject};

/// The drop starts at this second; its codes open a minute earlier.
const STARTS: i64 = 100;

fn by_code() -> DropTerms {
    DropTerms {
        access: Access::Code,
        ..terms()
    }
}

fn for_code_holders(total: u32) -> DropEvent {
    drop_scheduled(by_code(), total)
}

/// The codes, changed.
fn codes(names: &[&str], change: impl FnOnce(&mut CodesCreated)) -> DropEvent {
    let DropEvent::CodesCreated(mut event) = codes_created(names) else {
        panic!("not an event of codes");
    };
    change(&mut event);
    DropEvent::CodesCreated(event)
}

fn create(names: &[&str], change: impl FnOnce(&mut CreateCodes)) -> DropCommand {
    let DropCommand::CreateCodes(mut command) = create_codes(names) else {
        panic!("not a command of codes");
    };
    change(&mut command);
    DropCommand::CreateCodes(command)
}

fn spent(uses: u32) -> Refusal {
    Refusal::CodeSpent { uses }
}

#[test]
fn drop_for_code_holders_requires_one_of_its_codes() {
    given([for_code_holders(9), codes_created(&["c1"])])
        .when(place_hold("h1", 1))
        .then_refused(Refusal::CodeRequired)
        .when(place_hold("h1", 1).coded("other"))
        .then_refused(Refusal::CodeInvalid)
        .when(place_hold("h1", 1).coded("c1"))
        .then([hold_placed("h1", 1).coded("c1")]);
}

#[test]
fn drop_without_codes_refuses_every_code() {
    given([drop_opened(9)])
        .when(place_hold("h1", 1).coded("c1"))
        .then_refused(Refusal::CodeInvalid)
        .when(place_hold("h1", 1))
        .then([hold_placed("h1", 1)]);
}

#[test]
fn code_is_used_by_one_hold_at_a_time_and_by_one_purchase() {
    given([for_code_holders(9), codes_created(&["c1"])])
        .when(place_hold("h1", 1).coded("c1"))
        .then([hold_placed("h1", 1).coded("c1")])
        .when(place_hold("h2", 1).coded("c1").by("bob"))
        .then_refused(spent(1))
        .when(release_hold("h1").at(second(1)))
        .then([hold_released("h1", 1).at(second(1))])
        .when(place_hold("h2", 1).coded("c1").by("bob"))
        .then([hold_placed("h2", 1).coded("c1").by("bob")])
        .when(expire_hold("h2").at(second(60)))
        .then([hold_expired("h2", 1).by("bob")])
        .when(place_hold("h3", 1).coded("c1").at(second(60)))
        .then([hold_placed("h3", 1).coded("c1").at(second(60))])
        .when(confirm_purchase("h3").at(second(61)))
        .then([purchase_confirmed("h3", 1).at(second(61))])
        .when(place_hold("h4", 1).coded("c1").at(second(62)))
        .then_refused(spent(1));
}

#[test]
fn refund_does_not_return_the_use() {
    given([
        for_code_holders(9),
        codes_created(&["c1"]),
        hold_placed("h1", 1).coded("c1"),
        purchase_confirmed("h1", 1),
        purchase_refunded("r1", "h1", 1),
    ])
    .when(place_hold("h2", 1).coded("c1"))
    .then_refused(spent(1));
}

#[test]
fn code_with_several_uses_is_spent_after_the_last() {
    let twice = codes(&["c1"], |event| event.uses = code_uses(2));
    given([for_code_holders(9), twice])
        .when(place_hold("h1", 2).coded("c1"))
        .then([hold_placed("h1", 2).coded("c1")])
        .when(place_hold("h2", 1).coded("c1"))
        .then([hold_placed("h2", 1).coded("c1")])
        .when(place_hold("h3", 1).coded("c1"))
        .then_refused(spent(2));
}

#[test]
fn code_that_is_not_required_is_used_all_the_same() {
    given([drop_opened(9), codes_created(&["c1"])])
        .when(place_hold("h1", 1).coded("c1"))
        .then([hold_placed("h1", 1).coded("c1")])
        .when(place_hold("h2", 1).coded("c1"))
        .then_refused(spent(1))
        .when(place_hold("h2", 1))
        .then([hold_placed("h2", 1)]);
}

fn early(access: Access) -> [DropEvent; 2] {
    let terms = DropTerms {
        starts_at: second(STARTS),
        access,
        ..terms()
    };
    let codes = codes(&["early", "normal"], |event| {
        event.opens_at = Some(second(STARTS - 60));
    });
    [drop_scheduled(terms, 9), codes]
}

fn not_live(at: i64) -> Refusal {
    Refusal::NotLive {
        starts_at: second(at),
    }
}

#[test]
fn code_opens_the_drop_before_its_start_to_its_bearer_alone() {
    let (before, opens) = (millisecond((STARTS - 60) * 1_000 - 1), second(STARTS - 60));
    for access in [Access::Open, Access::Code] {
        let without = match access {
            Access::Open => not_live(STARTS),
            Access::Code => Refusal::CodeRequired,
        };
        given(early(access))
            .when(place_hold("h1", 1).coded("early").at(before))
            .then_refused(not_live(STARTS - 60))
            .when(place_hold("h1", 1).at(opens))
            .then_refused(without)
            .when(place_hold("h1", 1).coded("early").at(opens))
            .then([hold_placed("h1", 1).coded("early").at(opens)])
            .when(confirm_purchase("h1").at(opens))
            .then([purchase_confirmed("h1", 1).at(opens)]);
    }
}

#[test]
fn code_without_a_time_of_its_own_opens_with_the_drop() {
    let terms = DropTerms {
        starts_at: second(STARTS),
        ..by_code()
    };
    given([drop_scheduled(terms, 9), codes_created(&["c1"])])
        .when(
            place_hold("h1", 1)
                .coded("c1")
                .at(millisecond(STARTS * 1_000 - 1)),
        )
        .then_refused(not_live(STARTS))
        .when(place_hold("h1", 1).coded("c1").at(second(STARTS)))
        .then([hold_placed("h1", 1).coded("c1").at(second(STARTS))]);
}

#[test]
fn code_may_open_later_than_the_drop_and_expires() {
    let late = codes(&["c1"], |event| {
        (event.opens_at, event.expires_at) = (Some(second(10)), Some(second(20)));
    });
    let at = |at: Timestamp| place_hold("h1", 1).coded("c1").at(at);
    given([for_code_holders(9), late])
        .when(at(second(9)))
        .then_refused(not_live(10))
        .when(at(second(20)))
        .then_refused(Refusal::CodeExpired {
            expired_at: second(20),
        })
        .when(at(millisecond(19_999)))
        .then([hold_placed("h1", 1).coded("c1").at(millisecond(19_999))]);
}

#[test]
fn end_of_the_drop_ends_its_codes() {
    let terms = DropTerms {
        ends_at: Some(second(30)),
        ..by_code()
    };
    given([drop_scheduled(terms, 9), codes_created(&["c1"])])
        .when(place_hold("h1", 1).coded("c1").at(second(30)))
        .then_refused(Refusal::Ended {
            ended_at: second(30),
            cancelled: false,
        });
}

#[test]
fn edit_of_the_access_leaves_holds_and_entries_as_they_are() {
    let close = reschedule_drop(TermsPatch {
        access: Some(Access::Code),
        ..TermsPatch::default()
    });
    let open = reschedule_drop(TermsPatch {
        access: Some(Access::Open),
        ..TermsPatch::default()
    });
    given([
        drop_opened(1),
        hold_placed("h1", 1),
        waitlist_joined("w1", 1).by("bob"),
    ])
    .when(close)
    .then([drop_rescheduled(by_code())])
    .when(place_hold("h2", 1).by("cid"))
    .then_refused(Refusal::CodeRequired)
    .when_followed_up(release_hold("h1").at(second(1)))
    .then([
        hold_released("h1", 1).at(second(1)),
        hold_offered("w1", 1).by("bob").at(second(1)),
    ])
    .when(confirm_purchase("w1").at(second(2)))
    .then([purchase_confirmed("w1", 1).by("bob").at(second(2))])
    .when(open)
    .then([drop_rescheduled(terms())])
    .when(place_hold("h2", 1).by("cid"))
    .then_refused(Refusal::SoldOut {
        requested: 1,
        available: 0,
    });
}

#[test]
fn waitlist_requires_a_code_and_its_offer_keeps_the_use() {
    given([
        for_code_holders(1),
        codes_created(&["c1", "c2"]),
        hold_placed("h1", 1).coded("c1"),
    ])
    .when(join_waitlist("w1", 1).by("bob"))
    .then_refused(Refusal::CodeRequired)
    .when(join_waitlist("w1", 1).by("bob").coded("c1"))
    .then_refused(spent(1))
    .when(join_waitlist("w1", 1).by("bob").coded("c2"))
    .then([waitlist_joined("w1", 1).by("bob").coded("c2")])
    .when(join_waitlist("w2", 1).by("cid").coded("c2"))
    .then_refused(spent(1))
    .when_followed_up(release_hold("h1").at(second(1)))
    .then([
        hold_released("h1", 1).at(second(1)),
        hold_offered("w1", 1).by("bob").coded("c2").at(second(1)),
    ])
    .when(place_hold("h2", 1).coded("c2").at(second(2)))
    .then_refused(spent(1))
    .when(expire_hold("w1").at(second(61)))
    .then([{
        let DropEvent::HoldExpired(event) = hold_expired("w1", 1).by("bob") else {
            panic!("not an expiry");
        };
        DropEvent::HoldExpired(domain::event::HoldExpired {
            expired_at: second(61),
            ..event
        })
    }])
    .when(place_hold("h2", 1).coded("c2").at(second(61)))
    .then([hold_placed("h2", 1).coded("c2").at(second(61))]);
}

#[test]
fn entry_that_leaves_returns_the_use() {
    given([
        for_code_holders(1),
        codes_created(&["c1", "c2"]),
        hold_placed("h1", 1).coded("c1"),
        waitlist_joined("w1", 1).by("bob").coded("c2"),
    ])
    .when(leave_waitlist("w1"))
    .then([waitlist_left("w1", 1).by("bob")])
    .when(join_waitlist("w2", 1).by("cid").coded("c2"))
    .then([waitlist_joined("w2", 1).by("cid").coded("c2")]);
}

#[test]
fn waitlist_opens_with_the_drop_for_every_code() {
    let [scheduled, codes] = early(Access::Open);
    let at = second(STARTS - 1);
    given([scheduled, codes, hold_placed("h1", 9).coded("early").at(at)])
        .when(join_waitlist("w1", 1).by("bob").coded("normal").at(at))
        .then_refused(not_live(STARTS));
}

#[test]
fn hold_grows_before_the_start_if_its_code_is_open() {
    let at = second(STARTS - 1);
    let [scheduled, codes] = early(Access::Open);
    given([scheduled, codes, hold_placed("h1", 1).coded("early").at(at)])
        .when(change_hold("h1", 2).at(at))
        .then([hold_changed("h1", 1, 2).at(at)]);
    given([
        drop_opened(9),
        hold_placed("h1", 1),
        drop_rescheduled(by_code()),
    ])
    .when(change_hold("h1", 2))
    .then_refused(Refusal::CodeRequired)
    .when(change_hold("h1", 1))
    .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn retry_is_recognised_by_its_code_even_when_the_code_is_spent() {
    given([
        for_code_holders(9),
        codes_created(&["c1", "c2"]),
        hold_placed("h1", 1).coded("c1").keyed("k"),
    ])
    .when(place_hold("h2", 1).coded("c1").keyed("k"))
    .then_replays(Subject::Hold(hold_id("h1")))
    .when(place_hold("h2", 1).coded("c2").keyed("k"))
    .then_refused(Refusal::IdempotencyKeyReused)
    .when(place_hold("h2", 1).keyed("k"))
    .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn repeated_creation_is_a_replay_and_another_one_with_its_key_is_refused() {
    let made = || codes_created(&["c1", "c2"]).keyed("k");
    let again = || create_codes(&["c1", "c2"]).keyed("k");
    given([for_code_holders(9)])
        .when(again())
        .then([made()])
        .when(again())
        .then_replays(Subject::Drop)
        .when(create(&["c1", "c3"], |_| {}).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(create(&["c1", "c2"], |command| command.uses = code_uses(2)).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(create(&["c1", "c2"], |command| command.of = 3).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(create(&["c1"], |_| {}).keyed("other"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(place_hold("h1", 1).coded("c1").keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn creation_is_refused_beyond_the_limit_in_its_first_part_and_with_times_reversed() {
    let most = domain::codes::MAX_CODES;
    given([for_code_holders(9)])
        .when(create(&["c1"], |command| command.of = most + 1))
        .then_refused(Refusal::TooManyCodes { max: most })
        .when(create(&["c1"], |command| {
            (command.opens_at, command.expires_at) = (Some(second(5)), Some(second(5)));
        }))
        .then_refused(Refusal::CodesExpireBeforeOpening {
            opens_at: second(5),
        })
        .when(create(&["c1"], |command| command.of = most))
        .then([codes(&["c1"], |event| event.of = most)]);
    given([for_code_holders(9), drop_cancelled()])
        .when(create_codes(&["c1"]))
        .then_refused(Refusal::Ended {
            ended_at: second(0),
            cancelled: true,
        });
    given([])
        .when(create_codes(&["c1"]))
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn hidden_drop_exists_for_administrators_only() {
    let hidden = DropTerms {
        visibility: Visibility::Hidden,
        ..terms()
    };
    let by_admin = |command: DropCommand| {
        let DropCommand::PlaceHold(command) = command else {
            panic!("not a hold");
        };
        DropCommand::PlaceHold(PlaceHold {
            pass: Pass {
                sees_hidden: true,
                ..command.pass
            },
            ..command
        })
    };
    given([
        drop_scheduled(hidden, 9),
        hold_placed("h0", 1).keyed("k").by("bob"),
    ])
    .when(place_hold("h1", 1))
    .then_refused(Refusal::DropNotFound)
    .when(join_waitlist("w1", 1))
    .then_refused(Refusal::DropNotFound)
    // A retry of a hold that was placed before is not a request for units.
    .when(place_hold("h1", 1).keyed("k").by("bob"))
    .then_replays(Subject::Hold(hold_id("h0")))
    .when(by_admin(place_hold("h1", 1)))
    .then([hold_placed("h1", 1)]);
}

#[test]
#[should_panic(expected = "used too often")]
fn history_with_one_use_too_many_is_impossible() {
    given([
        for_code_holders(9),
        codes_created(&["c1"]),
        hold_placed("h1", 1).coded("c1"),
        hold_placed("h2", 1).coded("c1"),
    ]);
}

#[test]
fn codes_survive_a_snapshot() {
    let history = [
        for_code_holders(2),
        codes_created(&["c1", "c2", "c3"]).keyed("k"),
        hold_placed("h1", 1).coded("c1"),
        purchase_confirmed("h1", 1),
        hold_placed("h2", 1).coded("c2"),
        waitlist_joined("w1", 1).by("bob").coded("c3"),
    ];
    let aggregate = given(history).aggregate();
    let text = serde_json::to_string(&aggregate).unwrap();
    let loaded: DropAggregate = serde_json::from_str(&text).unwrap();
    assert_eq!(loaded, aggregate);
    for name in ["c1", "c2", "c3"] {
        assert_eq!(loaded.codes().find(code(name)).unwrap().left, 0, "{name}");
    }
    assert_eq!(loaded.code_of(hold_id("h2")), Some(code("c2")));
    assert_eq!(loaded.code_of_entry(waitlist_id("w1")), Some(code("c3")));
}
