//! Changes of a hold in place: a later deadline, another number of units.

use domain::refusal::Limit;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::{DropCommand, DropEvent, Refusal, Subject};

const EXPIRY: i64 = HOLD_SECONDS as i64;

/// Holds may last ten minutes with all of their extensions.
fn extensible() -> DropTerms {
    DropTerms {
        max_hold_seconds: Some(max_hold_seconds(600)),
        ..terms()
    }
}

fn limit(seconds: i64) -> Refusal {
    Refusal::ExtensionLimit {
        expires_at_max: second(seconds),
    }
}

fn expired_at(seconds: i64) -> Refusal {
    let expired_at = second(seconds);
    Refusal::HoldExpired { expired_at }
}

/// Every request that changes hold `h1`.
fn changes() -> [DropCommand; 3] {
    [
        extend_hold("h1", 300),
        change_hold("h1", 2),
        change_hold("h1", 1),
    ]
}

// ---- extending ----

#[test]
fn extended_hold_is_purchased_in_its_last_millisecond_and_expires_then() {
    let extended = given([drop_scheduled(extensible(), 1), hold_placed("h1", 1)])
        .when(extend_hold("h1", 300))
        .then([hold_extended("h1", 300)]);
    let expired = hold_expired("h1", 1).at(second(300));
    extended
        .clone()
        .when(confirm_purchase("h1").at(millisecond(299_999)))
        .then([purchase_confirmed("h1", 1).at(millisecond(299_999))]);
    extended
        .when(expire_hold("h1").at(second(EXPIRY)))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when(expire_hold("h1").at(millisecond(299_999)))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when(confirm_purchase("h1").at(second(300)))
        .then_refused(expired_at(300))
        .when(expire_hold("h1").at(second(300)))
        .then([expired]);
}

#[test]
fn hold_is_extended_up_to_the_limit_of_the_drop_and_not_a_second_further() {
    given([drop_scheduled(extensible(), 1), hold_placed("h1", 1)])
        .when(extend_hold("h1", 601))
        .then_refused(limit(600))
        .when(extend_hold("h1", 600).at(millisecond(1)))
        .then_refused(limit(600))
        .when(extend_hold("h1", 600))
        .then([hold_extended("h1", 600)])
        .when(extend_hold("h1", 60).at(second(541)))
        .then_refused(limit(600));
}

#[test]
fn without_a_limit_of_its_own_a_drop_extends_no_hold() {
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(extend_hold("h1", 60).at(millisecond(1)))
        .then_refused(limit(EXPIRY))
        .when(extend_hold("h1", 60))
        .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn limit_below_the_duration_of_a_hold_has_no_effect() {
    let short = DropTerms {
        max_hold_seconds: Some(max_hold_seconds(10)),
        ..terms()
    };
    given([drop_scheduled(short, 1), hold_placed("h1", 1)])
        .when(extend_hold("h1", 60))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when(extend_hold("h1", 61))
        .then_refused(limit(EXPIRY));
}

#[test]
fn extension_never_shortens_a_hold() {
    given([drop_scheduled(extensible(), 1), hold_placed("h1", 1)])
        .when(extend_hold("h1", 59))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when(extend_hold("h1", 60))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when(extend_hold("h1", 61))
        .then([hold_extended("h1", 61)]);
}

#[test]
fn present_terms_limit_the_extension_of_an_earlier_hold() {
    let patch = TermsPatch {
        max_hold_seconds: Some(None),
        ..TermsPatch::default()
    };
    given([
        drop_opened(1),
        hold_placed("h1", 1),
        drop_rescheduled(extensible()),
    ])
    .when(extend_hold("h1", 600))
    .then([hold_extended("h1", 600)])
    .when(reschedule_drop(patch))
    .then([drop_rescheduled(terms())])
    .when(extend_hold("h1", 700))
    .then_refused(limit(600));
}

#[test]
fn offer_lasts_as_long_as_the_terms_say_and_may_exceed_the_limit_of_extensions() {
    let patient = DropTerms {
        offer_seconds: Some(offer_seconds(3_000)),
        ..extensible()
    };
    let mut offered = hold_offered("w1", 1);
    if let DropEvent::HoldPlaced(event) = &mut offered {
        event.expires_at = second(3_000);
    }
    given([drop_scheduled(patient, 0), waitlist_joined("w1", 1)])
        .when_followed_up(adjust_stock("a1", 2))
        .then([stock_adjusted("a1", 2, stock(2, 0, 0)), offered])
        .when(place_hold("h2", 1).by("bob"))
        .then([hold_placed("h2", 1).by("bob")])
        .when(extend_hold("w1", 3_000))
        .then_replays(Subject::Hold(hold_id("w1")))
        .when(extend_hold("w1", 3_001))
        .then_refused(limit(3_000));
}

// ---- changing the units ----

#[test]
fn units_change_in_place_and_the_deadline_stays() {
    given([drop_opened(5), hold_placed("h1", 1)])
        .when(change_hold("h1", 5).at(second(30)))
        .then([hold_changed("h1", 1, 5).at(second(30))])
        .when(place_hold("h2", 1))
        .then_refused(Refusal::SoldOut {
            requested: 1,
            available: 0,
        })
        .when(change_hold("h1", 2).at(second(40)))
        .then([hold_changed("h1", 5, 2).at(second(40))])
        .when(confirm_purchase("h1").at(millisecond(59_999)))
        .then([purchase_confirmed("h1", 2).at(millisecond(59_999))]);
}

#[test]
fn same_number_of_units_changes_nothing() {
    given([drop_opened(5), hold_placed("h1", 3)])
        .when(change_hold("h1", 3))
        .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn all_available_units_can_be_added_and_not_one_more() {
    given([drop_opened(5), hold_placed("h1", 2)])
        .when(change_hold("h1", 6))
        .then_refused(Refusal::SoldOut {
            requested: 4,
            available: 3,
        })
        .when(change_hold("h1", 5))
        .then([hold_changed("h1", 2, 5)]);
}

#[test]
fn units_are_added_up_to_the_limits_of_the_drop() {
    let tight = DropTerms {
        max_per_hold: quantity(3),
        max_per_buyer: Some(buyer_limit(4)),
        ..terms()
    };
    let reached = |limit, max, allowance| Refusal::LimitReached {
        limit,
        max,
        allowance,
    };
    given([
        drop_scheduled(tight, 9),
        hold_placed("h1", 1),
        hold_placed("h2", 1),
    ])
    .when(change_hold("h1", 4))
    .then_refused(reached(Limit::PerHold, 3, 2))
    .when(change_hold("h1", 3))
    .then([hold_changed("h1", 1, 3)])
    .when(change_hold("h2", 2))
    .then_refused(reached(Limit::PerBuyer, 4, 0))
    .when(change_hold("h1", 2))
    .then([hold_changed("h1", 3, 2)])
    .when(change_hold("h2", 2))
    .then([hold_changed("h2", 1, 2)]);
}

#[test]
fn units_returned_go_to_the_waitlist_first() {
    given([
        drop_opened(3),
        hold_placed("h1", 3),
        waitlist_joined("w1", 2).by("bob"),
    ])
    .when_followed_up(change_hold("h1", 1))
    .then([hold_changed("h1", 3, 1), hold_offered("w1", 2).by("bob")]);
}

#[test]
fn units_that_an_entry_could_use_are_not_added() {
    // The engine has not made the offer yet.
    given([
        drop_opened(3),
        hold_placed("h1", 3),
        waitlist_joined("w1", 2).by("bob"),
        hold_changed("h1", 3, 1),
    ])
    .when(change_hold("h1", 2))
    .then_refused(Refusal::SoldOut {
        requested: 1,
        available: 0,
    });
}

#[test]
fn throttle_does_not_count_a_change() {
    let slow = DropTerms {
        throttle: Some(throttle(1, 30)),
        ..terms()
    };
    given([drop_scheduled(slow, 9), hold_placed("h1", 1)])
        .when(change_hold("h1", 2).at(second(29)))
        .then([hold_changed("h1", 1, 2).at(second(29))])
        .when(place_hold("h2", 1).at(second(30)))
        .then([hold_placed("h2", 1).at(second(30))]);
}

#[test]
fn units_are_added_only_during_the_sale_and_returned_at_any_time() {
    let brief = DropTerms {
        ends_at: Some(second(20)),
        ..terms()
    };
    given([drop_scheduled(brief, 9), hold_placed("h1", 2)])
        .when(change_hold("h1", 3).at(second(20)))
        .then_refused(Refusal::Ended {
            ended_at: second(20),
            cancelled: false,
        })
        .when(change_hold("h1", 1).at(second(20)))
        .then([hold_changed("h1", 2, 1).at(second(20))]);
}

#[test]
fn retry_of_the_placement_is_recognised_by_the_original_quantity() {
    given([drop_opened(9), hold_placed("h1", 2).keyed("k")])
        .when(change_hold("h1", 3))
        .then([hold_changed("h1", 2, 3)])
        .when(place_hold("h9", 2).keyed("k"))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when(place_hold("h9", 3).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(change_hold("h1", 2))
        .then([hold_changed("h1", 3, 2)])
        .when(place_hold("h9", 2).keyed("k"))
        .then_replays(Subject::Hold(hold_id("h1")));
}

// ---- holds that are over ----

#[test]
fn hold_can_be_changed_until_the_last_millisecond() {
    let placed = || given([drop_scheduled(extensible(), 9), hold_placed("h1", 1)]);
    placed()
        .when(change_hold("h1", 2).at(millisecond(59_999)))
        .then([hold_changed("h1", 1, 2).at(millisecond(59_999))]);
    for change in changes() {
        placed()
            .when(change.at(second(EXPIRY)))
            .then_refused(expired_at(EXPIRY));
    }
}

#[test]
fn resolved_hold_cannot_be_changed() {
    let at = second(0);
    let ends = [
        (
            purchase_confirmed("h1", 1),
            Refusal::HoldPurchased { purchased_at: at },
        ),
        (
            hold_released("h1", 1),
            Refusal::HoldReleased { released_at: at },
        ),
        (hold_expired("h1", 1), expired_at(EXPIRY)),
        (drop_cancelled(), Refusal::HoldReleased { released_at: at }),
    ];
    for (end, refusal) in ends {
        for change in changes() {
            given([drop_opened(9), hold_placed("h1", 1), end.clone()])
                .when(change)
                .then_refused(refusal.clone());
        }
    }
    for change in changes() {
        given([drop_opened(9)])
            .when(change)
            .then_refused(Refusal::HoldNotFound);
    }
}

// ---- histories that cannot be ----

#[test]
#[should_panic(expected = "a hold was extended to an earlier deadline")]
fn history_shortens_no_hold() {
    drop(given([
        drop_opened(1),
        hold_placed("h1", 1),
        hold_extended("h1", 59),
    ]));
}

#[test]
#[should_panic(expected = "a hold was extended after it expired")]
fn history_extends_no_hold_that_is_over() {
    let late = hold_extended("h1", 90).at(second(EXPIRY));
    drop(given([drop_opened(1), hold_placed("h1", 1), late]));
}

#[test]
#[should_panic(expected = "a hold was changed from a different quantity")]
fn history_changes_a_hold_from_its_present_quantity() {
    drop(given([
        drop_opened(9),
        hold_placed("h1", 1),
        hold_changed("h1", 2, 3),
    ]));
}

#[test]
#[should_panic(expected = "oversold")]
fn history_adds_no_unit_that_is_not_available() {
    drop(given([
        drop_opened(1),
        hold_placed("h1", 1),
        hold_changed("h1", 1, 2),
    ]));
}

#[test]
#[should_panic(expected = "was changed after it was resolved")]
fn history_changes_no_resolved_hold() {
    drop(given([
        drop_opened(9),
        hold_placed("h1", 1),
        hold_released("h1", 1),
        hold_changed("h1", 1, 2),
    ]));
}
