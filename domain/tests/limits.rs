//! How many units one hold and one buyer may have.

use domain::refusal::Limit;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::{DropEvent, Refusal};

fn limited(per_hold: u32, per_buyer: Option<u32>) -> DropTerms {
    DropTerms {
        max_per_hold: quantity(per_hold),
        max_per_buyer: per_buyer.map(buyer_limit),
        ..terms()
    }
}

fn drop_with(per_hold: u32, per_buyer: u32) -> DropEvent {
    drop_scheduled(limited(per_hold, Some(per_buyer)), 100)
}

fn too_many_in_one_hold(max: u32, allowance: u32) -> Refusal {
    Refusal::LimitReached {
        limit: Limit::PerHold,
        max,
        allowance,
    }
}

fn too_many_for_one_buyer(max: u32, allowance: u32) -> Refusal {
    Refusal::LimitReached {
        limit: Limit::PerBuyer,
        max,
        allowance,
    }
}

#[test]
fn a_hold_may_have_as_many_units_as_the_limit_and_not_one_more() {
    given([drop_scheduled(limited(3, None), 100)])
        .when(place_hold("h1", 4))
        .then_refused(too_many_in_one_hold(3, 3))
        .when(place_hold("h1", 3))
        .then([hold_placed("h1", 3)]);
}

#[test]
fn without_a_limit_for_each_buyer_one_buyer_may_place_hold_after_hold() {
    given([drop_scheduled(limited(3, None), 6), hold_placed("h1", 3)])
        .when(place_hold("h2", 3))
        .then([hold_placed("h2", 3)]);
}

#[test]
fn a_buyer_may_hold_up_to_the_limit_across_holds_and_not_one_more() {
    given([drop_with(3, 5), hold_placed("h1", 3)])
        .when(place_hold("h2", 3))
        .then_refused(too_many_for_one_buyer(5, 2))
        .when(place_hold("h2", 2))
        .then([hold_placed("h2", 2)])
        .when(place_hold("h3", 1))
        .then_refused(too_many_for_one_buyer(5, 0));
}

#[test]
fn one_for_each_buyer_means_one_held_or_bought() {
    given([drop_with(1, 1), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then_refused(too_many_for_one_buyer(1, 0))
        .when(confirm_purchase("h1"))
        .then([purchase_confirmed("h1", 1)])
        .when(place_hold("h2", 1))
        .then_refused(too_many_for_one_buyer(1, 0));
}

#[test]
fn bought_and_held_units_count_together() {
    given([
        drop_with(5, 5),
        hold_placed("h1", 2),
        purchase_confirmed("h1", 2),
        hold_placed("h2", 2),
    ])
    .when(place_hold("h3", 2))
    .then_refused(too_many_for_one_buyer(5, 1))
    .when(place_hold("h3", 1))
    .then([hold_placed("h3", 1)]);
}

#[test]
fn released_units_count_no_more() {
    given([
        drop_with(5, 5),
        hold_placed("h1", 5),
        hold_released("h1", 5),
    ])
    .when(place_hold("h2", 5))
    .then([hold_placed("h2", 5)]);
}

#[test]
fn expired_units_count_no_more() {
    given([drop_with(5, 5), hold_placed("h1", 5), hold_expired("h1", 5)])
        .when(place_hold("h2", 5).at(second(60)))
        .then([hold_placed("h2", 5).at(second(60))]);
}

#[test]
fn one_buyers_units_do_not_count_against_another() {
    given([drop_with(1, 1), hold_placed("h1", 1).by("ann")])
        .when(place_hold("h2", 1).by("bob"))
        .then([hold_placed("h2", 1).by("bob")]);
}

#[test]
fn a_hold_that_is_too_large_for_both_limits_is_told_the_limit_of_a_hold_and_what_is_left() {
    given([drop_with(3, 4), hold_placed("h1", 3)])
        .when(place_hold("h2", 4))
        .then_refused(too_many_in_one_hold(3, 1));
}

#[test]
fn a_limit_below_what_the_buyer_has_leaves_nothing_and_never_less() {
    given([
        drop_with(5, 5),
        hold_placed("h1", 4),
        drop_rescheduled(limited(5, Some(2))),
    ])
    .when(place_hold("h2", 1))
    .then_refused(too_many_for_one_buyer(2, 0));
}

#[test]
fn a_raised_limit_holds_from_then_on() {
    let raised = TermsPatch {
        max_per_buyer: Some(Some(buyer_limit(2))),
        ..TermsPatch::default()
    };
    given([drop_with(1, 1), hold_placed("h1", 1)])
        .when(reschedule_drop(raised))
        .then([drop_rescheduled(limited(1, Some(2)))])
        .when(place_hold("h2", 1))
        .then([hold_placed("h2", 1)]);
}

#[test]
fn a_limit_is_told_before_the_stock() {
    given([drop_scheduled(limited(1, Some(1)), 0)])
        .when(place_hold("h1", 2))
        .then_refused(too_many_in_one_hold(1, 1));
    given([drop_scheduled(limited(1, Some(1)), 1), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then_refused(too_many_for_one_buyer(1, 0));
}

#[test]
fn an_allowance_is_what_the_next_hold_may_have() {
    let allowed = |history: Vec<DropEvent>| {
        given(history)
            .aggregate()
            .standing(buyer("ann"), second(0))
            .ok()
            .map(|standing| standing.allowance)
    };
    assert_eq!(allowed(vec![]), None);
    assert_eq!(allowed(vec![drop_scheduled(limited(3, None), 1)]), Some(3));
    assert_eq!(allowed(vec![drop_with(3, 5)]), Some(3));
    assert_eq!(allowed(vec![drop_with(3, 2)]), Some(2));
    let three = vec![drop_with(3, 5), hold_placed("h1", 3)];
    assert_eq!(allowed(three.clone()), Some(2));
    let bought = [three.clone(), vec![purchase_confirmed("h1", 3)]].concat();
    assert_eq!(allowed(bought), Some(2));
    let released = [three, vec![hold_released("h1", 3)]].concat();
    assert_eq!(allowed(released), Some(3));
}
