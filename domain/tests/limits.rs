//! The limits of units per hold and per buyer.

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
fn hold_may_reach_the_limit_but_not_exceed_it() {
    given([drop_scheduled(limited(3, None), 100)])
        .when(place_hold("h1", 4))
        .then_refused(too_many_in_one_hold(3, 3))
        .when(place_hold("h1", 3))
        .then([hold_placed("h1", 3)]);
}

#[test]
fn holds_are_unlimited_without_a_limit_per_buyer() {
    given([drop_scheduled(limited(3, None), 6), hold_placed("h1", 3)])
        .when(place_hold("h2", 3))
        .then([hold_placed("h2", 3)]);
}

#[test]
fn buyer_may_reach_the_limit_across_holds_but_not_exceed_it() {
    given([drop_with(3, 5), hold_placed("h1", 3)])
        .when(place_hold("h2", 3))
        .then_refused(too_many_for_one_buyer(5, 2))
        .when(place_hold("h2", 2))
        .then([hold_placed("h2", 2)])
        .when(place_hold("h3", 1))
        .then_refused(too_many_for_one_buyer(5, 0));
}

#[test]
fn limit_of_one_allows_one_unit_held_or_purchased() {
    given([drop_with(1, 1), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then_refused(too_many_for_one_buyer(1, 0))
        .when(confirm_purchase("h1"))
        .then([purchase_confirmed("h1", 1)])
        .when(place_hold("h2", 1))
        .then_refused(too_many_for_one_buyer(1, 0));
}

#[test]
fn purchased_and_held_units_count_together() {
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
fn released_units_no_longer_count() {
    given([
        drop_with(5, 5),
        hold_placed("h1", 5),
        hold_released("h1", 5),
    ])
    .when(place_hold("h2", 5))
    .then([hold_placed("h2", 5)]);
}

#[test]
fn expired_units_no_longer_count() {
    given([drop_with(5, 5), hold_placed("h1", 5), hold_expired("h1", 5)])
        .when(place_hold("h2", 5).at(second(60)))
        .then([hold_placed("h2", 5).at(second(60))]);
}

#[test]
fn units_of_one_buyer_do_not_count_for_another() {
    given([drop_with(1, 1), hold_placed("h1", 1).by("ann")])
        .when(place_hold("h2", 1).by("bob"))
        .then([hold_placed("h2", 1).by("bob")]);
}

#[test]
fn hold_above_both_limits_reports_the_limit_per_hold_and_the_allowance() {
    given([drop_with(3, 4), hold_placed("h1", 3)])
        .when(place_hold("h2", 4))
        .then_refused(too_many_in_one_hold(3, 1));
}

#[test]
fn allowance_is_zero_when_the_limit_is_below_the_buyers_units() {
    given([
        drop_with(5, 5),
        hold_placed("h1", 4),
        drop_rescheduled(limited(5, Some(2))),
    ])
    .when(place_hold("h2", 1))
    .then_refused(too_many_for_one_buyer(2, 0));
}

#[test]
fn raised_limit_applies_from_then_on() {
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
fn limits_are_checked_before_the_stock() {
    given([drop_scheduled(limited(1, Some(1)), 0)])
        .when(place_hold("h1", 2))
        .then_refused(too_many_in_one_hold(1, 1));
    given([drop_scheduled(limited(1, Some(1)), 1), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then_refused(too_many_for_one_buyer(1, 0));
}

#[test]
fn allowance_is_the_largest_next_hold() {
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
