//! The throttle of one buyer's holds: an exact sliding window, computed from the history alone.

use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::Throttle;
use domain::{DropEvent, Refusal};

/// At most two holds of one buyer in any ten seconds.
fn two_in_ten_seconds() -> DropEvent {
    let terms = DropTerms {
        throttle: Some(throttle(2, 10)),
        ..terms()
    };
    drop_scheduled(terms, 100)
}

fn until(millis: i64) -> Refusal {
    by(throttle(2, 10), millis)
}

fn by(throttle: Throttle, millis: i64) -> Refusal {
    Refusal::Throttled {
        retry_at: millisecond(millis),
        throttle,
    }
}

#[test]
fn window_allows_its_number_of_holds_but_not_one_more() {
    given([two_in_ten_seconds(), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then([hold_placed("h2", 1)])
        .when(place_hold("h3", 1))
        .then_refused(until(10_000));
}

#[test]
fn hold_leaves_the_window_exactly_at_its_length() {
    given([
        two_in_ten_seconds(),
        hold_placed("h1", 1),
        hold_placed("h2", 1).at(second(4)),
    ])
    .when(place_hold("h3", 1).at(millisecond(9_999)))
    .then_refused(until(10_000))
    .when(place_hold("h3", 1).at(millisecond(10_000)))
    .then([hold_placed("h3", 1).at(millisecond(10_000))]);
}

#[test]
fn window_slides_with_each_hold() {
    given([
        two_in_ten_seconds(),
        hold_placed("h1", 1),
        hold_placed("h2", 1).at(second(4)),
        hold_placed("h3", 1).at(second(10)),
    ])
    .when(place_hold("h4", 1).at(millisecond(13_999)))
    .then_refused(until(14_000))
    .when(place_hold("h4", 1).at(millisecond(14_000)))
    .then([hold_placed("h4", 1).at(millisecond(14_000))]);
}

#[test]
fn throttled_request_does_not_extend_the_wait() {
    let mut drop = given([
        two_in_ten_seconds(),
        hold_placed("h1", 1),
        hold_placed("h2", 1),
    ]);
    for millis in [0, 1, 5_000, 9_998, 9_999] {
        drop = drop
            .when(place_hold("h3", 1).at(millisecond(millis)))
            .then_refused(until(10_000));
    }
    drop.when(place_hold("h3", 1).at(millisecond(10_000)))
        .then([hold_placed("h3", 1).at(millisecond(10_000))]);
}

#[test]
fn request_refused_for_another_reason_does_not_count() {
    let terms = DropTerms {
        throttle: Some(throttle(1, 10)),
        max_per_hold: quantity(1),
        ..terms()
    };
    given([drop_scheduled(terms, 1)])
        .when(place_hold("h1", 2))
        .then_refused(Refusal::LimitReached {
            limit: domain::refusal::Limit::PerHold,
            max: 1,
            allowance: 1,
        })
        .when(place_hold("h1", 1))
        .then([hold_placed("h1", 1)]);
}

#[test]
fn hold_counts_regardless_of_its_resolution() {
    given([
        two_in_ten_seconds(),
        hold_placed("h1", 1),
        hold_released("h1", 1),
        hold_placed("h2", 1),
        purchase_confirmed("h2", 1),
    ])
    .when(place_hold("h3", 1).at(millisecond(9_999)))
    .then_refused(until(10_000));
}

#[test]
fn holds_of_one_buyer_do_not_throttle_another() {
    given([
        two_in_ten_seconds(),
        hold_placed("h1", 1).by("ann"),
        hold_placed("h2", 1).by("bob"),
        hold_placed("h3", 1).by("ann"),
    ])
    .when(place_hold("h4", 1).by("ann"))
    .then_refused(until(10_000))
    .when(place_hold("h4", 1).by("bob"))
    .then([hold_placed("h4", 1).by("bob")]);
}

#[test]
fn throttle_counts_holds_placed_before_it_was_set() {
    let throttled = TermsPatch {
        throttle: Some(Some(throttle(1, 10))),
        ..TermsPatch::default()
    };
    let expected = throttled.clone().apply(&terms());
    given([drop_opened(9), hold_placed("h1", 1)])
        .when(reschedule_drop(throttled))
        .then([drop_rescheduled(expected)])
        .when(place_hold("h2", 1).at(second(9)))
        .then_refused(by(throttle(1, 10), 10_000));
}

#[test]
fn removed_throttle_has_no_effect() {
    given([
        two_in_ten_seconds(),
        hold_placed("h1", 1),
        hold_placed("h2", 1),
        drop_rescheduled(terms()),
    ])
    .when(place_hold("h3", 1))
    .then([hold_placed("h3", 1)]);
}

#[test]
fn throttle_is_checked_before_the_stock() {
    let terms = DropTerms {
        throttle: Some(throttle(1, 10)),
        ..terms()
    };
    given([drop_scheduled(terms, 1), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then_refused(by(throttle(1, 10), 10_000));
}

#[test]
fn standing_reports_when_the_next_hold_may_be_placed() {
    let drop = given([
        two_in_ten_seconds(),
        hold_placed("h1", 1),
        hold_placed("h2", 1).at(second(4)),
    ])
    .aggregate();
    let next = |name, millis| {
        let standing = drop.standing(buyer(name), millisecond(millis)).unwrap();
        standing.next_hold_at
    };
    assert_eq!(next("ann", 9_999), Some(second(10)));
    assert_eq!(next("ann", 10_000), None);
    assert_eq!(next("bob", 0), None);
}
