//! Idempotency: a repeated request with the same key returns the same result, and a key returns
//! nothing else.

use domain::refusal::Limit;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::Reason;
use domain::{DropCommand, Refusal, Subject};

fn first_hold() -> Subject {
    Subject::Hold(hold_id("h1"))
}

// ---- holds ----

#[test]
fn repeated_hold_with_its_key_returns_the_same_hold() {
    given([drop_opened(1), hold_placed("h1", 1).keyed("k")])
        .when(place_hold("h2", 1).keyed("k"))
        .then_replays(first_hold());
}

#[test]
fn repeated_hold_without_a_key_is_a_second_hold() {
    given([drop_opened(2), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then([hold_placed("h2", 1)]);
}

#[test]
fn different_key_places_a_different_hold() {
    given([drop_opened(2), hold_placed("h1", 1).keyed("k")])
        .when(place_hold("h2", 1).keyed("l"))
        .then([hold_placed("h2", 1).keyed("l")]);
}

#[test]
fn key_does_not_return_the_hold_of_another_buyer() {
    given([
        drop_opened(2),
        hold_placed("h1", 1).by("ann").keyed("k"),
        hold_placed("h2", 1).by("bob"),
    ])
    .when(place_hold("h3", 1).by("bob").keyed("k"))
    .then_refused(Refusal::IdempotencyKeyReused)
    .when(place_hold("h3", 1).by("stranger").keyed("k"))
    .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn key_does_not_return_a_hold_of_a_different_quantity() {
    for units in [1, 3] {
        given([drop_opened(9), hold_placed("h1", 2).keyed("k")])
            .when(place_hold("h2", units).keyed("k"))
            .then_refused(Refusal::IdempotencyKeyReused);
    }
}

#[test]
fn repeated_request_does_not_extend_a_hold() {
    let drop = given([drop_opened(1), hold_placed("h1", 1).keyed("k")])
        .when(place_hold("h2", 1).keyed("k").at(millisecond(59_999)))
        .then_replays(first_hold())
        .aggregate();
    assert_eq!(drop.hold(hold_id("h1")).unwrap().expires_at, second(60));
}

#[test]
fn key_returns_its_hold_after_every_resolution() {
    let endings = [
        hold_released("h1", 1),
        hold_expired("h1", 1),
        purchase_confirmed("h1", 1),
    ];
    for ending in endings {
        given([drop_opened(2), hold_placed("h1", 1).keyed("k"), ending])
            .when(place_hold("h2", 1).keyed("k").at(second(70)))
            .then_replays(first_hold())
            .when(place_hold("h2", 1).by("bob").keyed("k").at(second(70)))
            .then_refused(Refusal::IdempotencyKeyReused);
    }
}

#[test]
fn key_returns_its_hold_even_if_a_new_one_would_be_refused() {
    let one_each = DropTerms {
        max_per_hold: quantity(1),
        max_per_buyer: Some(buyer_limit(1)),
        throttle: Some(throttle(1, 86_400)),
        ends_at: Some(second(10)),
        ..terms()
    };
    given([drop_scheduled(one_each, 1), hold_placed("h1", 1).keyed("k")])
        .when(place_hold("h2", 1).keyed("k")) // sold out, throttled, at the limit
        .then_replays(first_hold())
        .when(place_hold("h2", 1).keyed("k").at(second(10))) // ended
        .then_replays(first_hold())
        .when_followed_up(cancel_drop())
        .then([drop_cancelled(), hold_cancelled("h1", 1)])
        .when(place_hold("h2", 1).keyed("k"))
        .then_replays(first_hold());
}

#[test]
fn key_of_a_refused_request_can_be_retried() {
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(place_hold("h2", 1).keyed("k"))
        .then_refused(Refusal::SoldOut {
            requested: 1,
            available: 0,
        })
        .when(release_hold("h1"))
        .then([hold_released("h1", 1)])
        .when(place_hold("h2", 1).keyed("k"))
        .then([hold_placed("h2", 1).keyed("k")])
        .when(place_hold("h3", 1).keyed("k"))
        .then_replays(Subject::Hold(hold_id("h2")));
}

#[test]
fn key_of_a_refused_request_accepts_a_different_body() {
    let one = DropTerms {
        max_per_hold: quantity(1),
        ..terms()
    };
    given([drop_scheduled(one, 5)])
        .when(place_hold("h1", 2).keyed("k"))
        .then_refused(Refusal::LimitReached {
            limit: Limit::PerHold,
            max: 1,
            allowance: 1,
        })
        .when(place_hold("h1", 1).keyed("k"))
        .then([hold_placed("h1", 1).keyed("k")]);
}

#[test]
fn key_of_a_reverted_event_is_free_again() {
    let mut drop = given([drop_opened(1)]).aggregate();
    for event in [
        hold_placed("h1", 1).keyed("k"),
        stock_adjusted("a1", 1, stock(2, 0, 0)).keyed("k"),
    ] {
        drop.evolve(&event);
        assert!(drop.knows_key(key("k")));
        drop.revert(&event);
        assert!(!drop.knows_key(key("k")));
    }
}

// ---- adjustments ----

#[test]
fn repeated_adjustment_with_its_key_returns_the_same_adjustment() {
    given([
        drop_opened(1),
        stock_adjusted("a1", 5, stock(6, 0, 0)).keyed("k"),
    ])
    .when(adjust_stock("a2", 5).keyed("k"))
    .then_replays(Subject::Adjustment(adjustment_id("a1")));
}

#[test]
fn repeated_adjustment_without_a_key_is_a_second_adjustment() {
    given([drop_opened(1), stock_adjusted("a1", 5, stock(6, 0, 0))])
        .when(adjust_stock("a2", 5))
        .then([stock_adjusted("a2", 5, stock(11, 0, 0))]);
}

#[test]
fn key_does_not_return_a_different_adjustment() {
    let other_reason = || {
        let mut command = adjust_stock("a2", 5).keyed("k");
        if let DropCommand::AdjustStock(command) = &mut command {
            command.reason = Reason::new("broken").unwrap();
        }
        command
    };
    given([
        drop_opened(1),
        stock_adjusted("a1", 5, stock(6, 0, 0)).keyed("k"),
    ])
    .when(adjust_stock("a2", 6).keyed("k"))
    .then_refused(Refusal::IdempotencyKeyReused)
    .when(other_reason())
    .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn key_returns_its_adjustment_even_if_a_new_one_would_be_refused() {
    let history = [
        drop_opened(5),
        stock_adjusted("a1", -5, stock(0, 0, 0)).keyed("k"),
    ];
    given(history)
        .when(adjust_stock("a2", -5).keyed("k")) // no units left to remove
        .then_replays(Subject::Adjustment(adjustment_id("a1")))
        .when(cancel_drop())
        .then([drop_cancelled()])
        .when(adjust_stock("a2", -5).keyed("k"))
        .then_replays(Subject::Adjustment(adjustment_id("a1")));
}

#[test]
fn keys_of_holds_and_adjustments_are_not_interchangeable() {
    given([
        drop_opened(5),
        hold_placed("h1", 1).keyed("of-hold"),
        stock_adjusted("a1", 1, stock(5, 1, 0)).keyed("of-adjusting"),
    ])
    .when(adjust_stock("a2", 1).keyed("of-hold"))
    .then_refused(Refusal::IdempotencyKeyReused)
    .when(place_hold("h2", 1).keyed("of-adjusting"))
    .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn key_of_a_scheduled_drop_cannot_be_reused() {
    given([drop_opened(5).keyed("k")])
        .when(place_hold("h1", 1).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(adjust_stock("a1", 1).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(place_hold("h1", 1).keyed("l"))
        .then([hold_placed("h1", 1).keyed("l")]);
}

// ---- ids ----

#[test]
fn repeated_hold_with_its_id_returns_the_same_hold() {
    given([
        drop_opened(9),
        hold_placed("h1", 2),
        hold_placed("h2", 2).keyed("k"),
    ])
    .when(place_hold("h1", 2))
    .then_replays(first_hold())
    .when(place_hold("h2", 2).keyed("k"))
    .then_replays(Subject::Hold(hold_id("h2")));
}

#[test]
fn id_of_a_resolved_hold_is_never_reused() {
    let ends = [
        None,
        Some(hold_released("h1", 2)),
        Some(hold_expired("h1", 2)),
        Some(purchase_confirmed("h1", 2)),
    ];
    for end in ends {
        let history = [drop_opened(9), hold_placed("h1", 2)];
        for other in [
            place_hold("h1", 1),
            place_hold("h1", 2).by("bob"),
            place_hold("h1", 2).keyed("k"),
        ] {
            given(history.clone().into_iter().chain(end.clone()))
                .when(other)
                .then_refused(Refusal::IdempotencyKeyReused);
        }
    }
    given([drop_opened(9), hold_placed("h1", 2).keyed("k")])
        .when(place_hold("h1", 2))
        .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn repeated_adjustment_with_its_id_returns_the_same_adjustment() {
    given([drop_opened(1), stock_adjusted("a1", 5, stock(6, 0, 0))])
        .when(adjust_stock("a1", 5))
        .then_replays(Subject::Adjustment(adjustment_id("a1")))
        .when(adjust_stock("a1", 6))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(adjust_stock("a1", 5).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused);
}

// ---- scheduling ----

#[test]
fn repeated_drop_with_its_key_returns_the_same_drop() {
    given([drop_opened(5).keyed("k")])
        .when(schedule_drop(terms(), 5).keyed("k"))
        .then_replays(Subject::Drop);
}

#[test]
fn repeated_drop_is_compared_with_its_original_terms() {
    let rename = TermsPatch {
        price: Some(cents(1)),
        ..TermsPatch::default()
    };
    given([
        drop_opened(5).keyed("k"),
        drop_rescheduled(rename.apply(&terms())),
        stock_adjusted("a1", 1, stock(6, 0, 0)),
        drop_cancelled(),
    ])
    .when(schedule_drop(terms(), 5).keyed("k"))
    .then_replays(Subject::Drop)
    .when(schedule_drop(terms(), 6).keyed("k"))
    .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn key_does_not_return_a_different_drop() {
    let dearer = DropTerms {
        price: cents(11_00),
        ..terms()
    };
    given([drop_opened(5).keyed("k")])
        .when(schedule_drop(dearer, 5).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(schedule_drop(terms(), 4).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn drop_that_starts_immediately_is_the_same_when_retried_later() {
    let starting = |seconds| DropTerms {
        starts_at: second(seconds),
        ..terms()
    };
    let history = [drop_scheduled(starting(3), 5).keyed("k").at(second(3))];
    given(history)
        .when(schedule_drop(starting(9), 5).keyed("k").at(second(9)))
        .then_replays(Subject::Drop)
        .when(schedule_drop(starting(3), 5).keyed("k").at(second(9)))
        .then_replays(Subject::Drop)
        .when(schedule_drop(starting(10), 5).keyed("k").at(second(9)))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(schedule_drop(starting(9), 6).keyed("k").at(second(9)))
        .then_refused(Refusal::IdempotencyKeyReused);
}

#[test]
fn drop_with_an_explicit_start_differs_from_one_without() {
    let starting = |seconds| DropTerms {
        starts_at: second(seconds),
        ..terms()
    };
    given([drop_scheduled(starting(5), 5).keyed("k").at(second(3))])
        .when(schedule_drop(starting(9), 5).keyed("k").at(second(9)))
        .then_refused(Refusal::IdempotencyKeyReused);
}
