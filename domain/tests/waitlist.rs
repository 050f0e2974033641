//! The line: who may join, who is served when units come free, and that nobody is passed over who could be served.

use domain::command::JoinWaitlist;
use domain::drop::line::EntryStatus;
use domain::refusal::Limit;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::Timestamp;
use domain::{DropAggregate, DropCommand, DropEvent, Refusal, Subject};

/// One unit, held by `ann` as `h1`.
fn sold_out() -> Vec<DropEvent> {
    vec![drop_opened(1), hold_placed("h1", 1)]
}

/// `units` units, each held by `ann`, as `h1`, `h2` and so on.
fn all_held(terms: DropTerms, units: u32) -> Vec<DropEvent> {
    let holds = (1..=units).map(|n| hold_placed(&format!("h{n}"), 1));
    std::iter::once(drop_scheduled(terms, units))
        .chain(holds)
        .collect()
}

fn with(mut history: Vec<DropEvent>, more: impl IntoIterator<Item = DropEvent>) -> Vec<DropEvent> {
    history.extend(more);
    history
}

fn limited(per_hold: u32, per_buyer: u32) -> DropTerms {
    DropTerms {
        max_per_hold: quantity(per_hold),
        max_per_buyer: Some(buyer_limit(per_buyer)),
        ..terms()
    }
}

fn until(ends_at: Timestamp) -> DropTerms {
    DropTerms {
        ends_at: Some(ends_at),
        ..terms()
    }
}

// ---- joining ----

#[test]
fn who_finds_nothing_left_may_wait() {
    given(sold_out())
        .when(join_waitlist("w1", 1).by("bob").keyed("k"))
        .then([waitlist_joined("w1", 1).by("bob").keyed("k")]);
}

#[test]
fn who_could_hold_at_once_may_not_wait() {
    let refused = Refusal::NotSoldOut {
        requested: 2,
        available: 2,
    };
    given([drop_opened(2)])
        .when(join_waitlist("w1", 2))
        .then_refused(refused)
        .when(join_waitlist("w1", 3))
        .then([waitlist_joined("w1", 3)]);
}

#[test]
fn nobody_waits_before_the_start_or_from_the_end_on_or_for_a_cancelled_drop() {
    let window = DropTerms {
        starts_at: second(10),
        ..until(second(20))
    };
    let ended = |ended_at, cancelled| Refusal::Ended {
        ended_at,
        cancelled,
    };
    given([drop_scheduled(window, 0)])
        .when(join_waitlist("w1", 1).at(millisecond(9_999)))
        .then_refused(Refusal::NotLive {
            starts_at: second(10),
        })
        .when(join_waitlist("w1", 1).at(second(20)))
        .then_refused(ended(second(20), false))
        .when(join_waitlist("w1", 1).at(second(10)))
        .then([waitlist_joined("w1", 1).at(second(10))])
        .when(join_waitlist("w2", 1).by("bob").at(millisecond(19_999)))
        .then([waitlist_joined("w2", 1).by("bob").at(millisecond(19_999))]);
    given([drop_opened(0), drop_cancelled()])
        .when(join_waitlist("w1", 1))
        .then_refused(ended(second(0), true));
    given([])
        .when(join_waitlist("w1", 1))
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn a_buyer_waits_in_one_place_at_a_time() {
    let twice = Refusal::AlreadyWaiting {
        joined_at: second(0),
        quantity: 1,
    };
    given(with(sold_out(), [waitlist_joined("w1", 1).by("bob")]))
        .when(join_waitlist("w2", 1).by("bob").at(second(1)))
        .then_refused(twice)
        .when(leave_waitlist("w1"))
        .then([waitlist_left("w1", 1).by("bob")])
        .when(join_waitlist("w2", 1).by("bob"))
        .then([waitlist_joined("w2", 1).by("bob")]);
}

#[test]
fn nobody_waits_for_more_than_they_may_have() {
    let reached = |limit, max, allowance| Refusal::LimitReached {
        limit,
        max,
        allowance,
    };
    given([
        drop_scheduled(limited(2, 3), 2),
        hold_placed("h1", 2),
        purchase_confirmed("h1", 2),
    ])
    .when(join_waitlist("w1", 3).by("bob"))
    .then_refused(reached(Limit::PerHold, 2, 2))
    .when(join_waitlist("w1", 2))
    .then_refused(reached(Limit::PerBuyer, 3, 1))
    .when(join_waitlist("w1", 1))
    .then([waitlist_joined("w1", 1)]);
}

#[test]
fn a_throttled_buyer_does_not_join_and_one_in_line_is_offered_all_the_same() {
    let throttle = throttle(1, 10);
    let terms = DropTerms {
        throttle: Some(throttle),
        ..terms()
    };
    given([drop_scheduled(terms, 1), hold_placed("h1", 1)])
        .when(join_waitlist("w1", 1).at(millisecond(9_999)))
        .then_refused(Refusal::Throttled {
            retry_at: second(10),
            throttle,
        })
        .when(join_waitlist("w1", 1).at(second(10)))
        .then([waitlist_joined("w1", 1).at(second(10))])
        .when_followed_up(release_hold("h1").at(second(11)))
        .then([
            hold_released("h1", 1).at(second(11)),
            hold_offered("w1", 1).at(second(11)),
        ])
        .when_followed_up(release_hold("w1").at(second(12)))
        .then([hold_released("w1", 1).at(second(12))])
        .when(place_hold("h2", 1).at(millisecond(20_999)))
        .then_refused(Refusal::Throttled {
            retry_at: second(21),
            throttle,
        })
        .when(place_hold("h2", 1).at(second(21)))
        .then([hold_placed("h2", 1).at(second(21))]);
}

#[test]
fn joining_again_with_the_same_key_is_answered_from_history_whatever_became_of_the_place() {
    let again = || join_waitlist("w9", 1).by("bob").keyed("k").at(second(40));
    let place = || Subject::Waitlist(waitlist_id("w1"));
    let joined = with(sold_out(), [waitlist_joined("w1", 1).by("bob").keyed("k")]);
    given(joined.clone()).when(again()).then_replays(place());
    let offered = [hold_released("h1", 1), hold_offered("w1", 1).by("bob")];
    given(with(joined.clone(), offered))
        .when(again())
        .then_replays(place());
    given(with(joined.clone(), [waitlist_left("w1", 1).by("bob")]))
        .when(again())
        .then_replays(place());
    for other in [
        join_waitlist("w9", 1).by("eve").keyed("k"),
        join_waitlist("w9", 2).by("bob").keyed("k"),
        place_hold("h9", 1).by("bob").keyed("k"),
        adjust_stock("a9", 1).keyed("k"),
        join_waitlist("w1", 1).by("bob"),
    ] {
        given(joined.clone())
            .when(other)
            .then_refused(Refusal::IdempotencyKeyReused);
    }
    given(with(
        sold_out(),
        [stock_adjusted("a1", 0, stock(0, 1, 0)).keyed("a")],
    ))
    .when(join_waitlist("w1", 1).keyed("a"))
    .then_refused(Refusal::IdempotencyKeyReused);
}

// ---- being served ----

#[test]
fn a_released_hold_goes_to_the_first_in_line_at_once_with_a_hold_time_of_its_own() {
    let drop = given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            waitlist_joined("w2", 1).by("cid"),
        ],
    ))
    .when_followed_up(release_hold("h1").at(second(30)))
    .then([
        hold_released("h1", 1).at(second(30)),
        hold_offered("w1", 1).by("bob").at(second(30)),
    ])
    .aggregate();
    let hold = drop.hold(hold_id("w1")).unwrap();
    assert_eq!(hold.expires_at, second(90), "its own hold time");
    assert_eq!(drop.stock(), stock(0, 1, 0));
    let status = |name| drop.entry(waitlist_id(name)).unwrap().status;
    assert_eq!(
        (status("w1"), status("w2")),
        (EntryStatus::Offered, EntryStatus::Waiting)
    );
}

#[test]
fn an_expired_hold_goes_to_the_first_in_line_from_the_moment_it_is_recorded() {
    given(with(sold_out(), [waitlist_joined("w1", 1).by("bob")]))
        .when_followed_up(expire_hold("h1").at(millisecond(59_999)))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when_followed_up(expire_hold("h1").at(millisecond(60_007)))
        .then([
            hold_expired("h1", 1),
            hold_offered("w1", 1).by("bob").at(millisecond(60_007)),
        ]);
}

#[test]
fn an_offer_that_runs_out_goes_to_the_next_in_line() {
    given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            waitlist_joined("w2", 1).by("cid"),
        ],
    ))
    .when_followed_up(release_hold("h1"))
    .then([hold_released("h1", 1), hold_offered("w1", 1).by("bob")])
    .when_followed_up(expire_hold("w1").at(second(60)))
    .then([
        hold_expired("w1", 1).by("bob"),
        hold_offered("w2", 1).by("cid").at(second(60)),
    ])
    .when(confirm_purchase("w2").at(second(61)))
    .then([purchase_confirmed("w2", 1).by("cid").at(second(61))]);
}

#[test]
fn more_stock_reaches_the_line_before_anybody_else() {
    let drop = given(with(
        sold_out(),
        [
            waitlist_joined("w1", 2).by("bob"),
            waitlist_joined("w2", 1).by("cid"),
            waitlist_joined("w3", 1).by("dan"),
        ],
    ));
    drop.when_followed_up(adjust_stock("a1", 3))
        .then([
            stock_adjusted("a1", 3, stock(3, 1, 0)),
            hold_offered("w1", 2).by("bob"),
            hold_offered("w2", 1).by("cid"),
        ])
        .when(place_hold("h2", 1).by("eve"))
        .then_refused(Refusal::SoldOut {
            requested: 1,
            available: 0,
        })
        .when_followed_up(adjust_stock("a2", 2))
        .then([
            stock_adjusted("a2", 2, stock(2, 4, 0)),
            hold_offered("w3", 1).by("dan"),
        ])
        .when(place_hold("h2", 1).by("eve"))
        .then([hold_placed("h2", 1).by("eve")]);
}

#[test]
fn a_request_too_large_for_what_is_free_is_passed_over_and_keeps_its_place() {
    given(with(
        all_held(terms(), 3),
        [
            waitlist_joined("large", 3).by("bob"),
            waitlist_joined("small", 1).by("cid"),
        ],
    ))
    .when_followed_up(release_hold("h1"))
    .then([hold_released("h1", 1), hold_offered("small", 1).by("cid")])
    .when_followed_up(release_hold("h2"))
    .then([hold_released("h2", 1)])
    // What nobody in line can use may be held directly.
    .when(place_hold("h4", 1).by("eve"))
    .then([hold_placed("h4", 1).by("eve")])
    .when_followed_up(release_hold("h4"))
    .then([hold_released("h4", 1).by("eve")])
    .when_followed_up(release_hold("h3"))
    .then([hold_released("h3", 1)])
    .when(join_waitlist("w", 2).by("dan"))
    .then_refused(Refusal::NotSoldOut {
        requested: 2,
        available: 2,
    })
    .when_followed_up(release_hold("small"))
    .then([
        hold_released("small", 1).by("cid"),
        hold_offered("large", 3).by("bob"),
    ]);
}

#[test]
fn entries_that_nothing_can_serve_are_not_offered_and_hold_up_no_other() {
    for limit in [limited(2, 30), limited(30, 2)] {
        let history = with(
            all_held(terms(), 3),
            [
                waitlist_joined("w1", 4).by("above-total"),
                waitlist_joined("w2", 3).by("above-limit"),
                waitlist_joined("w3", 1).by("cid"),
                drop_rescheduled(limit),
            ],
        );
        given(history)
            .when_followed_up(release_hold("h1"))
            .then([hold_released("h1", 1), hold_offered("w3", 1).by("cid")])
            .when_followed_up(release_hold("h2"))
            .then([hold_released("h2", 1)])
            .when_followed_up(release_hold("h3"))
            .then([hold_released("h3", 1)])
            // Two are free, and no entry can use them: they may be held directly.
            .when(place_hold("h4", 2).by("eve"))
            .then([hold_placed("h4", 2).by("eve")]);
    }
}

#[test]
fn a_buyer_at_their_limit_is_passed_over_until_they_are_no_more() {
    let drop = given(with(
        all_held(limited(2, 2), 3),
        [
            waitlist_joined("w1", 2).by("bob"),
            waitlist_joined("w2", 1).by("cid"),
        ],
    ));
    // One unit is no use to bob's place, nor to cid once served; so bob may hold it directly, and is then at one of two.
    drop.when_followed_up(adjust_stock("a1", 2))
        .then([
            stock_adjusted("a1", 2, stock(2, 3, 0)),
            hold_offered("w1", 2).by("bob"),
        ])
        .when_followed_up(release_hold("h1"))
        .then([hold_released("h1", 1), hold_offered("w2", 1).by("cid")]);
    let drop = given(with(
        all_held(limited(2, 2), 3),
        [waitlist_joined("w1", 2).by("bob"), hold_released("h1", 1)],
    ));
    drop.when(place_hold("h4", 1).by("bob"))
        .then([hold_placed("h4", 1).by("bob")])
        .when_followed_up(adjust_stock("a1", 2))
        .then([stock_adjusted("a1", 2, stock(2, 3, 0))])
        .when(place_hold("h5", 2).by("eve"))
        .then([hold_placed("h5", 2).by("eve")])
        .when_followed_up(release_hold("h4"))
        .then([hold_released("h4", 1).by("bob")])
        .when_followed_up(release_hold("h2"))
        .then([hold_released("h2", 1), hold_offered("w1", 2).by("bob")]);
}

#[test]
fn units_that_their_own_buyer_gives_back_count_no_more_against_them() {
    given([
        drop_scheduled(limited(3, 3), 3),
        hold_placed("h1", 2).by("bob"),
        hold_placed("h2", 1).by("cid"),
        waitlist_joined("w1", 1).by("bob"),
        drop_rescheduled(limited(3, 2)),
    ])
    .when_followed_up(release_hold("h2"))
    .then([hold_released("h2", 1).by("cid")])
    .when_followed_up(release_hold("h1"))
    .then([
        hold_released("h1", 2).by("bob"),
        hold_offered("w1", 1).by("bob"),
    ]);
}

#[test]
fn a_purchase_frees_nothing() {
    given(with(sold_out(), [waitlist_joined("w1", 1).by("bob")]))
        .when(confirm_purchase("h1"))
        .then([purchase_confirmed("h1", 1)]);
}

#[test]
fn nothing_is_offered_from_the_end_on_unless_the_end_is_put_off() {
    let ends = until(second(30));
    let history = with(
        all_held(ends.clone(), 1),
        [waitlist_joined("w1", 1).by("bob")],
    );
    given(history.clone())
        .when_followed_up(release_hold("h1").at(millisecond(29_999)))
        .then([
            hold_released("h1", 1).at(millisecond(29_999)),
            hold_offered("w1", 1).by("bob").at(millisecond(29_999)),
        ]);
    let later = TermsPatch {
        ends_at: Some(Some(second(50))),
        ..TermsPatch::default()
    };
    given(history)
        .when_followed_up(release_hold("h1").at(second(30)))
        .then([hold_released("h1", 1).at(second(30))])
        .when(serve_waitlist().at(second(31)))
        .then_replays(Subject::Drop)
        .when_followed_up(reschedule_drop(later.clone()).at(second(40)))
        .then([
            drop_rescheduled(later.apply(&ends)).at(second(40)),
            hold_offered("w1", 1).by("bob").at(second(40)),
        ]);
}

#[test]
fn a_higher_limit_reaches_the_line_at_once() {
    let lower = limited(1, 1);
    let higher = TermsPatch {
        max_per_hold: Some(quantity(2)),
        max_per_buyer: Some(None),
        ..TermsPatch::default()
    };
    given([
        drop_opened(2),
        hold_placed("h1", 2),
        waitlist_joined("w1", 2).by("bob"),
        drop_rescheduled(lower.clone()),
    ])
    .when_followed_up(release_hold("h1"))
    .then([hold_released("h1", 2)])
    .when_followed_up(reschedule_drop(higher.clone()))
    .then([
        drop_rescheduled(higher.apply(&lower)),
        hold_offered("w1", 2).by("bob"),
    ]);
}

#[test]
fn while_a_start_is_put_off_nothing_is_offered_and_at_the_start_nobody_jumps_the_line() {
    let starts = DropTerms {
        starts_at: second(50),
        ..terms()
    };
    given(with(
        sold_out(),
        [waitlist_joined("w1", 1).by("bob"), drop_rescheduled(starts)],
    ))
    .when_followed_up(release_hold("h1").at(second(40)))
    .then([hold_released("h1", 1).at(second(40))])
    .when(serve_waitlist().at(millisecond(49_999)))
    .then_replays(Subject::Drop)
    .when(place_hold("h2", 1).by("eve").at(second(50)))
    .then_refused(Refusal::SoldOut {
        requested: 1,
        available: 0,
    })
    .when(join_waitlist("w2", 1).by("eve").at(second(50)))
    .then([waitlist_joined("w2", 1).by("eve").at(second(50))])
    .when(serve_waitlist().at(second(50)))
    .then([hold_offered("w1", 1).by("bob").at(second(50))]);
}

// ---- leaving ----

#[test]
fn who_leaves_is_offered_nothing_and_leaving_again_changes_nothing() {
    given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            waitlist_joined("w2", 1).by("cid"),
        ],
    ))
    .when(leave_waitlist("w1"))
    .then([waitlist_left("w1", 1).by("bob")])
    .when(leave_waitlist("w1"))
    .then_replays(Subject::Waitlist(waitlist_id("w1")))
    .when_followed_up(release_hold("h1"))
    .then([hold_released("h1", 1), hold_offered("w2", 1).by("cid")]);
}

#[test]
fn a_place_that_became_a_hold_is_not_left_but_released() {
    given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            hold_released("h1", 1),
            hold_offered("w1", 1).by("bob"),
        ],
    ))
    .when(leave_waitlist("w1"))
    .then_refused(Refusal::AlreadyOffered {
        hold_id: hold_id("w1"),
    })
    .when_followed_up(release_hold("w1"))
    .then([hold_released("w1", 1).by("bob")]);
}

#[test]
fn a_place_that_was_never_taken_cannot_be_left() {
    given(sold_out())
        .when(leave_waitlist("w1"))
        .then_refused(Refusal::WaitlistEntryNotFound);
}

#[test]
fn cancelling_ends_the_line_and_offers_nothing() {
    let at = second(30);
    let drop = given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            waitlist_joined("w2", 2).by("cid"),
            waitlist_left("w1", 1).by("bob"),
        ],
    ))
    .when_followed_up(cancel_drop().at(at))
    .then([
        drop_cancelled().at(at),
        hold_called_off("h1", 1).at(at),
        waitlist_called_off("w2", 2).by("cid").at(at),
    ])
    .when(serve_waitlist().at(at))
    .then_replays(Subject::Drop)
    .when(leave_waitlist("w2"))
    .then_replays(Subject::Waitlist(waitlist_id("w2")))
    .aggregate();
    assert!(drop.line().is_empty());
}

#[test]
fn ten_thousand_who_want_two_do_not_slow_down_who_wants_one() {
    let mut history = vec![drop_opened(1), hold_placed("h1", 1)];
    let many = (0..10_000).map(|n| waitlist_joined(&format!("w{n}"), 2).by(&format!("b{n}")));
    history.extend(many);
    history.push(waitlist_joined("one", 1).by("eve"));
    given(history)
        .when_followed_up(release_hold("h1"))
        .then([hold_released("h1", 1), hold_offered("one", 1).by("eve")]);
}

// ---- bounded decisions ----

#[test]
fn each_offer_is_a_decision_of_its_own_and_nobody_jumps_the_line_before_it_is_made() {
    given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            waitlist_joined("w2", 2).by("cid"),
        ],
    ))
    .when(adjust_stock("a1", 2))
    .then([stock_adjusted("a1", 2, stock(2, 1, 0))])
    // One unit would be left once bob is served, and cid has no use for it; but that is known only
    // then.
    .when(place_hold("h2", 1).by("eve"))
    .then_refused(Refusal::SoldOut {
        requested: 1,
        available: 0,
    })
    .when(join_waitlist("w3", 1).by("eve"))
    .then([waitlist_joined("w3", 1).by("eve")])
    .when(serve_waitlist())
    .then([hold_offered("w1", 1).by("bob")])
    .when(serve_waitlist())
    .then([hold_offered("w3", 1).by("eve")])
    .when(serve_waitlist())
    .then_replays(Subject::Drop);
}

#[test]
fn what_is_left_beside_everything_that_the_line_wants_may_be_held_before_the_offers_are_made() {
    given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            waitlist_joined("w2", 2).by("cid"),
        ],
    ))
    .when(adjust_stock("a1", 4))
    .then([stock_adjusted("a1", 4, stock(4, 1, 0))])
    .when(place_hold("h2", 2).by("eve"))
    .then_refused(Refusal::SoldOut {
        requested: 2,
        available: 1,
    })
    .when(place_hold("h2", 1).by("eve"))
    .then([hold_placed("h2", 1).by("eve")])
    .when_followed_up(adjust_stock("a2", 0))
    .then([
        stock_adjusted("a2", 0, stock(3, 2, 0)),
        hold_offered("w1", 1).by("bob"),
        hold_offered("w2", 2).by("cid"),
    ]);
}

#[test]
fn a_waitlist_is_full_at_the_limit_and_a_retry_is_still_answered() {
    let at_most_two = |command: DropCommand| {
        let DropCommand::JoinWaitlist(command) = command else {
            panic!("{command:?} joins no waitlist");
        };
        DropCommand::JoinWaitlist(JoinWaitlist {
            max_waiting: 2,
            ..command
        })
    };
    let full = Refusal::WaitlistFull { limit: 2 };
    given(with(
        sold_out(),
        [waitlist_joined("w1", 1).by("bob").keyed("k")],
    ))
    .when(at_most_two(join_waitlist("w2", 1).by("cid")))
    .then([waitlist_joined("w2", 1).by("cid")])
    .when(at_most_two(join_waitlist("w3", 1).by("dan")))
    .then_refused(full.clone())
    .when(at_most_two(join_waitlist("w9", 1).by("bob").keyed("k")))
    .then_replays(Subject::Waitlist(waitlist_id("w1")))
    .when(leave_waitlist("w1"))
    .then([waitlist_left("w1", 1).by("bob")])
    .when(at_most_two(join_waitlist("w3", 1).by("dan")))
    .then([waitlist_joined("w3", 1).by("dan")])
    .when(at_most_two(join_waitlist("w4", 1).by("eve")))
    .then_refused(full);
}

/// Entries that could not be used were walked past on every request.
#[test]
fn entries_of_buyers_at_their_limit_are_kept_out_of_the_index_until_what_they_hold_or_the_limit_changes()
 {
    let mut history = vec![drop_scheduled(limited(2, 2), 2_000)];
    for n in 0..1_000 {
        let (hold, entry, who) = (format!("h{n}"), format!("w{n}"), format!("b{n}"));
        history.push(hold_placed(&hold, 1).by(&who));
        history.push(waitlist_joined(&entry, 2).by(&who));
    }
    let drop = given(history).aggregate();
    assert_eq!((drop.line().len(), drop.line().wanted()), (1_000, 0));
    assert_eq!(drop.next_in_line(second(0)), None);
    assert_eq!(drop.beside_line(second(0)), 1_000);

    let next = |drop: &DropAggregate| drop.next_in_line(second(0)).map(|entry| entry.id);
    let mut given_back = drop.clone();
    given_back.evolve(&hold_released("h700", 1).by("b700"));
    assert_eq!(next(&given_back), Some(waitlist_id("w700")));
    assert_eq!(given_back.line().wanted(), 2);
    given_back.evolve(&hold_placed("more", 1).by("b700"));
    assert_eq!(next(&given_back), None);

    let mut higher = drop.clone();
    higher.evolve(&drop_rescheduled(limited(2, 3)));
    assert_eq!(next(&higher), Some(waitlist_id("w0")));
    assert_eq!(higher.line().wanted(), 2_000);
    higher.revert(&drop_rescheduled(limited(2, 3)));
    assert_eq!(higher, drop);
}
