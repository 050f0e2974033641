//! Stock adjustments: from the held and sold units up to the most that a drop can offer.

use domain::testing::*;
use domain::{DropEvent, Refusal, Subject};

/// 2 available, 3 held, 4 sold.
fn two_available() -> [DropEvent; 4] {
    [
        drop_opened(9),
        hold_placed("h1", 4),
        purchase_confirmed("h1", 4),
        hold_placed("h2", 3),
    ]
}

fn too_few(delta: i32, available: u32) -> Refusal {
    Refusal::InsufficientStock { delta, available }
}

#[test]
fn available_units_can_be_removed_but_not_one_more() {
    given(two_available())
        .when(adjust_stock("a1", -3))
        .then_refused(too_few(-3, 2))
        .when(adjust_stock("a1", -2))
        .then([stock_adjusted("a1", -2, stock(0, 3, 4))])
        .when(adjust_stock("a2", -1))
        .then_refused(too_few(-1, 0));
}

#[test]
fn adjustment_requires_the_expected_version_regardless_of_sales() {
    let stale = Refusal::StaleStock {
        total: 9,
        available: 2,
    };
    for seen in [1, 9] {
        given(two_available())
            .when(adjust_stock_at(seen, "a1", -1))
            .then_refused(stale.clone());
    }
    given(two_available())
        .when(adjust_stock_at(0, "a1", -1))
        .then([stock_adjusted("a1", -1, stock(1, 3, 4))])
        .when(adjust_stock_at(0, "a2", -1))
        .then_refused(Refusal::StaleStock {
            total: 8,
            available: 1,
        });
}

#[test]
fn adjustments_that_cancel_each_other_are_noticed() {
    given(two_available())
        .when(adjust_stock("a1", 2))
        .then([stock_adjusted("a1", 2, stock(4, 3, 4))])
        .when(adjust_stock("a2", -2))
        .then([stock_adjusted("a2", -2, stock(2, 3, 4))])
        .when(adjust_stock_at(0, "a3", -1))
        .then_refused(stale_at(9, 2))
        .when(set_stock(Some(1), "a3", 8))
        .then_refused(stale_at(9, 2))
        .when(adjust_stock_at(2, "a3", -1))
        .then([stock_adjusted("a3", -1, stock(1, 3, 4))]);
}

const fn stale_at(total: u32, available: u32) -> Refusal {
    Refusal::StaleStock { total, available }
}

#[test]
fn repeated_adjustment_is_replayed_although_it_changed_the_total() {
    given(two_available())
        .when(adjust_stock_at(0, "a1", 1).keyed("k"))
        .then([stock_adjusted("a1", 1, stock(3, 3, 4)).keyed("k")])
        .when(adjust_stock_at(0, "a2", 1).keyed("k"))
        .then_replays(Subject::Adjustment(adjustment_id("a1")));
}

#[test]
fn added_units_can_be_held() {
    given([drop_opened(0)])
        .when(adjust_stock("a1", 1))
        .then([stock_adjusted("a1", 1, stock(1, 0, 0))])
        .when(place_hold("h1", 1))
        .then([hold_placed("h1", 1)]);
}

#[test]
fn removed_units_cannot_be_held() {
    given([drop_opened(5), stock_adjusted("a1", -4, stock(1, 0, 0))])
        .when(place_hold("h1", 2))
        .then_refused(Refusal::SoldOut {
            requested: 2,
            available: 1,
        });
}

#[test]
fn released_units_can_be_removed() {
    given(two_available())
        .when(release_hold("h2"))
        .then([hold_released("h2", 3)])
        .when(adjust_stock("a1", -5))
        .then([stock_adjusted("a1", -5, stock(0, 0, 4))]);
}

#[test]
fn drop_offers_at_most_ten_million_units() {
    given([drop_opened(9_999_999)])
        .when(adjust_stock("a1", 2))
        .then_refused(Refusal::TooMuchStock { max: 10_000_000 })
        .when(adjust_stock("a1", 1))
        .then([stock_adjusted("a1", 1, stock(10_000_000, 0, 0))])
        .when(adjust_stock("a2", 1))
        .then_refused(Refusal::TooMuchStock { max: 10_000_000 });
}

#[test]
fn sold_units_count_towards_the_ten_million() {
    given([
        drop_opened(10_000_000),
        hold_placed("h1", 1),
        purchase_confirmed("h1", 1),
    ])
    .when(adjust_stock("a1", 1))
    .then_refused(Refusal::TooMuchStock { max: 10_000_000 });
}

#[test]
fn largest_representable_adjustments_are_refused() {
    given([drop_opened(10_000_000)])
        .when(adjust_stock("a1", i32::MAX))
        .then_refused(Refusal::TooMuchStock { max: 10_000_000 })
        .when(adjust_stock("a1", i32::MIN))
        .then_refused(too_few(i32::MIN, 10_000_000));
}

#[test]
fn all_units_of_the_largest_drop_can_be_removed() {
    given([drop_opened(10_000_000)])
        .when(adjust_stock("a1", -10_000_000))
        .then([stock_adjusted("a1", -10_000_000, stock(0, 0, 0))]);
}

#[test]
fn stock_can_be_adjusted_before_the_start_and_after_the_end() {
    let terms = domain::terms::DropTerms {
        starts_at: second(10),
        ends_at: Some(second(20)),
        ..terms()
    };
    for at in [second(9), second(20)] {
        given([drop_scheduled(terms.clone(), 1)])
            .when(adjust_stock("a1", 1).at(at))
            .then([stock_adjusted("a1", 1, stock(2, 0, 0)).at(at)]);
    }
}

#[test]
fn stock_of_an_unscheduled_drop_cannot_be_adjusted() {
    given([])
        .when(adjust_stock("a1", 1))
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn adjustment_records_the_resulting_stock() {
    let drop = given(two_available())
        .when(adjust_stock("a1", 7).keyed("k"))
        .then([stock_adjusted("a1", 7, stock(9, 3, 4)).keyed("k")])
        .when(confirm_purchase("h2"))
        .then([purchase_confirmed("h2", 3)])
        .aggregate();
    let made = drop.adjustment_by_key(key("k")).unwrap();
    assert_eq!(made.stock, stock(9, 3, 4));
    assert_eq!(drop.stock(), stock(9, 0, 7));
}

#[test]
fn total_is_set_and_recorded_as_the_difference() {
    given([drop_opened(5), hold_placed("h1", 2)])
        .when(set_stock(Some(0), "a1", 9))
        .then([stock_adjusted("a1", 4, stock(7, 2, 0))])
        .when(set_stock(None, "a2", 2))
        .then([stock_adjusted("a2", -7, stock(0, 2, 0))])
        .when(set_stock(Some(2), "a3", 2))
        .then_replays(domain::Subject::Drop);
}

#[test]
fn total_below_the_held_and_sold_units_is_refused() {
    given([drop_opened(5), hold_placed("h1", 2)])
        .when(set_stock(None, "a1", 1))
        .then_refused(Refusal::InsufficientStock {
            delta: -4,
            available: 3,
        })
        .when(set_stock(Some(4), "a1", 9))
        .then_refused(Refusal::StaleStock {
            total: 5,
            available: 3,
        });
    given([drop_opened(5), drop_cancelled()])
        .when(set_stock(None, "a1", 9))
        .then_refused(Refusal::Ended {
            ended_at: second(0),
            cancelled: true,
        });
}

#[test]
fn units_of_a_higher_total_go_to_the_waitlist() {
    given([drop_opened(0), waitlist_joined("w1", 2)])
        .when_followed_up(set_stock(Some(0), "a1", 3))
        .then([
            stock_adjusted("a1", 3, stock(3, 0, 0)),
            hold_offered("w1", 2),
        ]);
}
