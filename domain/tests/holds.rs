//! Placing, releasing, purchasing and expiring one hold: the first unit, the last unit, and the
//! millisecond before a deadline.

use domain::event::DropEvent;
use domain::terms::DropTerms;
use domain::testing::*;
use domain::values::{Commitment, Quantity};
use domain::{DropCommand, Refusal, Subject};

const JUST_BEFORE_EXPIRY: i64 = HOLD_SECONDS as i64 * 1000 - 1;

fn sold_out(requested: u32, available: u32) -> Refusal {
    Refusal::SoldOut {
        requested,
        available,
    }
}

fn expired() -> Refusal {
    Refusal::HoldExpired {
        expired_at: second(HOLD_SECONDS.into()),
    }
}

// ---- placing ----

#[test]
fn last_unit_can_be_held() {
    given([drop_opened(2), hold_placed("h1", 1)])
        .when(place_hold("h2", 1))
        .then([hold_placed("h2", 1)]);
}

#[test]
fn hold_beyond_the_stock_is_refused() {
    given([drop_opened(2), hold_placed("h1", 2)])
        .when(place_hold("h2", 1))
        .then_refused(sold_out(1, 0));
}

#[test]
fn hold_of_all_available_units_is_placed_and_of_one_more_is_refused() {
    given([drop_opened(5), hold_placed("h1", 2)])
        .when(place_hold("h2", 4))
        .then_refused(sold_out(4, 3))
        .when(place_hold("h2", 3))
        .then([hold_placed("h2", 3)]);
}

#[test]
fn drop_without_units_is_sold_out_from_the_start() {
    given([drop_opened(0)])
        .when(place_hold("h1", 1))
        .then_refused(sold_out(1, 0));
}

#[test]
fn largest_hold_of_the_largest_drop_is_placed() {
    given([drop_opened(10_000_000)])
        .when(place_hold("h1", Quantity::MAX))
        .then([hold_placed("h1", Quantity::MAX)]);
}

#[test]
fn duration_of_a_hold_follows_the_terms_in_force() {
    let brief = DropTerms {
        hold_seconds: hold_seconds(1),
        ..terms()
    };
    let mut expected = hold_placed("h1", 1).at(second(5));
    if let DropEvent::HoldPlaced(placed) = &mut expected {
        placed.expires_at = second(6);
    }
    given([drop_opened(1), drop_rescheduled(brief)])
        .when(place_hold("h1", 1).at(second(5)))
        .then([expected]);
}

#[test]
fn unscheduled_drop_rejects_holds() {
    given([])
        .when(place_hold("h1", 1))
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn hold_and_purchase_carry_commitments_to_personal_data() {
    let commitment = Some(Commitment([7; 32]));
    let mut place = place_hold("h1", 1);
    if let DropCommand::PlaceHold(place) = &mut place {
        place.commitment = commitment;
    }
    let mut buy = confirm_purchase("h1");
    if let DropCommand::ConfirmPurchase(buy) = &mut buy {
        buy.commitment = commitment;
    }
    let mut drop = given([drop_opened(1)]).aggregate();
    for command in [place, buy] {
        let events = drop.decide(&command).unwrap().events;
        assert_eq!(events[0].commitment(), commitment);
        drop.evolve(&events[0]);
    }
}

// ---- units come back, or do not ----

#[test]
fn released_units_are_available_immediately() {
    given([
        drop_opened(1),
        hold_placed("h1", 1),
        hold_released("h1", 1).at(second(3)),
    ])
    .when(place_hold("h2", 1).at(second(3)))
    .then([hold_placed("h2", 1).at(second(3))]);
}

#[test]
fn expired_units_are_available_immediately() {
    given([drop_opened(1), hold_placed("h1", 1), hold_expired("h1", 1)])
        .when(place_hold("h2", 1).at(second(60)))
        .then([hold_placed("h2", 1).at(second(60))]);
}

#[test]
fn purchased_units_never_become_available() {
    given([
        drop_opened(1),
        hold_placed("h1", 1),
        purchase_confirmed("h1", 1),
    ])
    .when(place_hold("h2", 1).at(second(3_600)))
    .then_refused(sold_out(1, 0));
}

#[test]
fn units_are_held_until_their_expiry_is_recorded() {
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(place_hold("h2", 1).at(second(60)))
        .then_refused(sold_out(1, 0));
}

// ---- the millisecond before expiry, and expiry ----

#[test]
fn hold_can_be_purchased_until_a_millisecond_before_its_deadline() {
    let last = millisecond(JUST_BEFORE_EXPIRY);
    given([drop_opened(2), hold_placed("h1", 2).by("bob")])
        .when(confirm_purchase("h1").at(last))
        .then([purchase_confirmed("h1", 2).by("bob").at(last)]);
}

#[test]
fn hold_cannot_be_purchased_at_its_deadline_recorded_or_not() {
    let over = second(60);
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(confirm_purchase("h1").at(over))
        .then_refused(expired())
        .when(expire_hold("h1").at(over))
        .then([hold_expired("h1", 1)])
        .when(confirm_purchase("h1").at(over))
        .then_refused(expired());
}

#[test]
fn hold_can_be_released_until_a_millisecond_before_its_deadline() {
    let last = millisecond(JUST_BEFORE_EXPIRY);
    given([drop_opened(1), hold_placed("h1", 1).by("bob")])
        .when(release_hold("h1").at(last))
        .then([hold_released("h1", 1).by("bob").at(last)]);
}

#[test]
fn hold_cannot_be_released_at_its_deadline_recorded_or_not() {
    let over = second(60);
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(release_hold("h1").at(over))
        .then_refused(expired())
        .when(expire_hold("h1").at(over))
        .then([hold_expired("h1", 1)])
        .when(release_hold("h1").at(over))
        .then_refused(expired());
}

#[test]
fn hold_does_not_expire_a_millisecond_early() {
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(expire_hold("h1").at(millisecond(JUST_BEFORE_EXPIRY)))
        .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn late_expiry_is_recorded_with_the_deadline() {
    given([drop_opened(1), hold_placed("h1", 1).by("bob")])
        .when(expire_hold("h1").at(second(7_200)))
        .then([hold_expired("h1", 1).by("bob")]);
}

#[test]
fn refusal_of_an_expired_hold_reports_its_deadline() {
    given([drop_opened(1), hold_placed("h1", 1), hold_expired("h1", 1)])
        .when(confirm_purchase("h1").at(second(90)))
        .then_refused(expired());
}

// ---- resolved once ----

#[test]
fn purchased_hold_stays_purchased() {
    given([
        drop_opened(1),
        hold_placed("h1", 1),
        purchase_confirmed("h1", 1).at(second(9)),
    ])
    .when(release_hold("h1").at(second(10)))
    .then_refused(Refusal::HoldPurchased {
        purchased_at: second(9),
    })
    .when(confirm_purchase("h1").at(second(10)))
    .then_replays(Subject::Purchase(hold_id("h1")))
    .when(expire_hold("h1").at(second(60)))
    .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn released_hold_stays_released() {
    given([
        drop_opened(1),
        hold_placed("h1", 1),
        hold_released("h1", 1).at(second(9)),
    ])
    .when(confirm_purchase("h1").at(second(10)))
    .then_refused(Refusal::HoldReleased {
        released_at: second(9),
    })
    .when(release_hold("h1").at(second(10)))
    .then_replays(Subject::Hold(hold_id("h1")))
    .when(expire_hold("h1").at(second(60)))
    .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn expired_hold_stays_expired() {
    given([drop_opened(1), hold_placed("h1", 1), hold_expired("h1", 1)])
        .when(confirm_purchase("h1").at(second(61)))
        .then_refused(expired())
        .when(release_hold("h1").at(second(61)))
        .then_refused(expired())
        .when(expire_hold("h1").at(second(61)))
        .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn release_and_purchase_are_replayed_after_the_deadline() {
    let late = second(1_000);
    given([
        drop_opened(2),
        hold_placed("h1", 1),
        hold_placed("h2", 1),
        hold_released("h1", 1),
        purchase_confirmed("h2", 1),
    ])
    .when(release_hold("h1").at(late))
    .then_replays(Subject::Hold(hold_id("h1")))
    .when(confirm_purchase("h2").at(late))
    .then_replays(Subject::Purchase(hold_id("h2")));
}

#[test]
fn unknown_hold_is_not_found() {
    for command in [
        release_hold("h2"),
        confirm_purchase("h2"),
        expire_hold("h2").at(second(60)),
    ] {
        given([drop_opened(1), hold_placed("h1", 1)])
            .when(command)
            .then_refused(Refusal::HoldNotFound);
    }
}

#[test]
fn resolving_one_hold_leaves_the_others_unchanged() {
    let drop = given([
        drop_opened(10),
        hold_placed("h1", 1),
        hold_placed("h2", 2).by("bob"),
        hold_placed("h3", 3),
        hold_placed("h4", 4).by("bob"),
    ])
    .when(release_hold("h2"))
    .then([hold_released("h2", 2).by("bob")])
    .when(confirm_purchase("h3"))
    .then([purchase_confirmed("h3", 3)])
    .when(expire_hold("h4").at(second(60)))
    .then([hold_expired("h4", 4).by("bob")])
    .aggregate();
    assert_eq!(drop.stock(), stock(6, 1, 3));
}
