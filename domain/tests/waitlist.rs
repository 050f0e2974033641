//! The waitlist: joining, leaving, offers when units become available, and the order in which
//! entries are served.

use domain::command::JoinWaitlist;
use domain::drop::waitlist::EntryStatus;
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
fn buyer_of_a_sold_out_drop_may_join() {
    given(sold_out())
        .when(join_waitlist("w1", 1).by("bob").keyed("k"))
        .then([waitlist_joined("w1", 1).by("bob").keyed("k")]);
}

#[test]
fn buyer_cannot_join_while_units_are_available() {
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
fn joining_is_refused_outside_the_sale() {
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
fn buyer_has_at_most_one_waiting_entry() {
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
fn entry_cannot_request_more_than_the_limits_allow() {
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
fn throttle_applies_to_joining_but_not_to_offers() {
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
fn repeated_join_with_the_same_key_is_replayed_in_every_state() {
    let again = || join_waitlist("w9", 1).by("bob").keyed("k").at(second(40));
    let subject = || Subject::Waitlist(waitlist_id("w1"));
    let joined = with(sold_out(), [waitlist_joined("w1", 1).by("bob").keyed("k")]);
    given(joined.clone()).when(again()).then_replays(subject());
    let offered = [hold_released("h1", 1), hold_offered("w1", 1).by("bob")];
    given(with(joined.clone(), offered))
        .when(again())
        .then_replays(subject());
    given(with(joined.clone(), [waitlist_left("w1", 1).by("bob")]))
        .when(again())
        .then_replays(subject());
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
fn released_units_are_offered_to_the_first_entry_with_a_new_deadline() {
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
    assert_eq!(hold.expires_at, second(90), "its own deadline");
    assert_eq!(drop.stock(), stock(0, 1, 0));
    let status = |name| drop.entry(waitlist_id(name)).unwrap().status;
    assert_eq!(
        (status("w1"), status("w2")),
        (EntryStatus::Offered, EntryStatus::Waiting)
    );
}

#[test]
fn expired_units_are_offered_when_the_expiry_is_recorded() {
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
fn expired_offer_goes_to_the_next_entry() {
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
fn restocked_units_go_to_the_waitlist_before_direct_holds() {
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
fn entry_larger_than_the_available_units_is_skipped_and_stays() {
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
    // Units that no entry can use may be held directly.
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
fn unservable_entries_do_not_block_others() {
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
            // Two units are free that no entry can use: they may be held directly.
            .when(place_hold("h4", 2).by("eve"))
            .then([hold_placed("h4", 2).by("eve")]);
    }
}

#[test]
fn buyer_at_their_limit_is_skipped_until_below_it() {
    let drop = given(with(
        all_held(limited(2, 2), 3),
        [
            waitlist_joined("w1", 2).by("bob"),
            waitlist_joined("w2", 1).by("cid"),
        ],
    ));
    // One unit is not enough for bob's entry, nor for cid's once served; so bob may hold it
    // directly, and then has one of two.
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
fn units_released_by_their_buyer_no_longer_count_for_the_limit() {
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
fn purchase_frees_no_units() {
    given(with(sold_out(), [waitlist_joined("w1", 1).by("bob")]))
        .when(confirm_purchase("h1"))
        .then([purchase_confirmed("h1", 1)]);
}

#[test]
fn offers_stop_at_the_end_unless_it_is_postponed() {
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
fn raised_limit_applies_to_waiting_entries_immediately() {
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
fn postponed_start_pauses_offers_and_keeps_the_order() {
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
fn entry_that_left_gets_no_offer_and_leaving_is_idempotent() {
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
fn offered_entry_cannot_leave_but_its_hold_can_be_released() {
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
fn unknown_entry_cannot_leave() {
    given(sold_out())
        .when(leave_waitlist("w1"))
        .then_refused(Refusal::WaitlistEntryNotFound);
}

#[test]
fn cancelling_removes_all_entries_without_offers() {
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
        hold_cancelled("h1", 1).at(at),
        entry_cancelled("w2", 2).by("cid").at(at),
    ])
    .when(serve_waitlist().at(at))
    .then_replays(Subject::Drop)
    .when(leave_waitlist("w2"))
    .then_replays(Subject::Waitlist(waitlist_id("w2")))
    .aggregate();
    assert!(drop.waitlist().is_empty());
}

#[test]
fn ten_thousand_larger_entries_do_not_slow_down_a_smaller_one() {
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
fn offers_are_separate_decisions_and_keep_the_order_until_made() {
    given(with(
        sold_out(),
        [
            waitlist_joined("w1", 1).by("bob"),
            waitlist_joined("w2", 2).by("cid"),
        ],
    ))
    .when(adjust_stock("a1", 2))
    .then([stock_adjusted("a1", 2, stock(2, 1, 0))])
    // One unit would remain after bob is served, and cid cannot use it; but that is known only
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
fn units_beyond_all_waiting_requests_may_be_held_before_the_offers() {
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
fn full_waitlist_refuses_new_entries_but_replays_a_retry() {
    let at_most_two = |command: DropCommand| {
        let DropCommand::JoinWaitlist(command) = command else {
            panic!("{command:?} does not join a waitlist");
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

/// Regression: ineligible entries used to be scanned on every request.
#[test]
fn ineligible_entries_are_indexed_only_after_units_or_limits_change() {
    let mut history = vec![drop_scheduled(limited(2, 2), 2_000)];
    for n in 0..1_000 {
        let (hold, entry, who) = (format!("h{n}"), format!("w{n}"), format!("b{n}"));
        history.push(hold_placed(&hold, 1).by(&who));
        history.push(waitlist_joined(&entry, 2).by(&who));
    }
    let drop = given(history).aggregate();
    assert_eq!(
        (drop.waitlist().len(), drop.waitlist().wanted()),
        (1_000, 0)
    );
    assert_eq!(drop.next_entry_to_offer(second(0)), None);
    assert_eq!(drop.available_for_direct_holds(second(0)), 1_000);

    let next = |drop: &DropAggregate| drop.next_entry_to_offer(second(0)).map(|entry| entry.id);
    let mut after_release = drop.clone();
    after_release.evolve(&hold_released("h700", 1).by("b700"));
    assert_eq!(next(&after_release), Some(waitlist_id("w700")));
    assert_eq!(after_release.waitlist().wanted(), 2);
    after_release.evolve(&hold_placed("more", 1).by("b700"));
    assert_eq!(next(&after_release), None);

    let mut higher = drop.clone();
    higher.evolve(&drop_rescheduled(limited(2, 3)));
    assert_eq!(next(&higher), Some(waitlist_id("w0")));
    assert_eq!(higher.waitlist().wanted(), 2_000);
    higher.revert(&drop_rescheduled(limited(2, 3)));
    assert_eq!(higher, drop);
}
