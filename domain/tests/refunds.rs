//! Refunds: units and money come back once, exactly, and to the waitlist first.

use domain::terms::DropTerms;
use domain::testing::*;
use domain::{DropEvent, Refusal, Subject};

/// Three units in hold `h1`, purchased; `units` in all.
fn sold_three(units: u32) -> [DropEvent; 3] {
    [
        drop_opened(units),
        hold_placed("h1", 3),
        purchase_confirmed("h1", 3),
    ]
}

const fn left(refundable: u32) -> Refusal {
    Refusal::NothingToRefund { refundable }
}

#[test]
fn all_units_are_refunded_at_once_or_in_parts_and_not_one_more() {
    given(sold_three(5))
        .when(refund_purchase("r1", "h1", None))
        .then([purchase_refunded("r1", "h1", 3)])
        .when(refund_purchase("r2", "h1", None))
        .then_refused(left(0))
        .when(refund_purchase("r2", "h1", Some(1)))
        .then_refused(left(0));
    given(sold_three(5))
        .when(refund_purchase("r1", "h1", Some(4)))
        .then_refused(left(3))
        .when(refund_purchase("r1", "h1", Some(1)))
        .then([purchase_refunded("r1", "h1", 1)])
        .when(refund_purchase("r2", "h1", Some(3)))
        .then_refused(left(2))
        .when(refund_purchase("r2", "h1", None))
        .then([purchase_refunded("r2", "h1", 2)])
        .when(refund_purchase("r3", "h1", None))
        .then_refused(left(0));
}

#[test]
fn restocked_units_are_available_again_and_others_leave_the_drop() {
    let restocked = given(sold_three(5))
        .when(refund_purchase("r1", "h1", Some(2)))
        .then([purchase_refunded("r1", "h1", 2)]);
    assert_eq!(restocked.aggregate().stock(), stock(4, 0, 1));
    let written_off = given(sold_three(5))
        .when(write_off_purchase("r1", "h1", Some(2)))
        .then([purchase_written_off("r1", "h1", 2)]);
    let found = written_off.aggregate().stock();
    assert_eq!((found, found.total), (stock(2, 0, 1), 3));
}

#[test]
fn restocked_units_go_to_the_waitlist_first() {
    let waiting = || {
        let [opened, placed, bought] = sold_three(3);
        given([opened, placed, bought, waitlist_joined("w1", 2).by("bob")])
    };
    waiting()
        .when_followed_up(refund_purchase("r1", "h1", None))
        .then([
            purchase_refunded("r1", "h1", 3),
            hold_offered("w1", 2).by("bob"),
        ]);
    waiting()
        .when_followed_up(write_off_purchase("r1", "h1", None))
        .then([purchase_written_off("r1", "h1", 3)]);
}

#[test]
fn allowance_of_the_buyer_comes_back_with_the_units() {
    let terms = DropTerms {
        max_per_buyer: Some(buyer_limit(3)),
        ..terms()
    };
    let sold = [
        drop_scheduled(terms, 3),
        hold_placed("h1", 3),
        purchase_confirmed("h1", 3),
        waitlist_joined("w1", 2).by("bob"),
    ];
    let refunded = given(sold)
        .when_followed_up(refund_purchase("r1", "h1", Some(1)))
        .then([purchase_refunded("r1", "h1", 1)])
        .when(place_hold("h2", 2))
        .then_refused(Refusal::LimitReached {
            limit: domain::refusal::Limit::PerBuyer,
            max: 3,
            allowance: 1,
        })
        // The waiting entry requests two units, so the one that is left may be held directly.
        .when(place_hold("h2", 1))
        .then([hold_placed("h2", 1)]);
    let standing = refunded.aggregate();
    let standing = standing.standing(buyer("ann"), second(0)).unwrap();
    let units = (standing.held, standing.purchased, standing.allowance);
    assert_eq!(units, (1, 2, 0));
}

#[test]
fn refund_makes_the_waiting_entry_of_the_same_buyer_eligible() {
    let one_each = DropTerms {
        max_per_buyer: Some(buyer_limit(1)),
        ..terms()
    };
    given([
        drop_opened(1),
        hold_placed("h1", 1).by("bob"),
        purchase_confirmed("h1", 1).by("bob"),
        waitlist_joined("w1", 1).by("bob"),
        drop_rescheduled(one_each),
    ])
    .when_followed_up(refund_purchase("r1", "h1", None))
    .then([
        purchase_refunded("r1", "h1", 1).by("bob"),
        hold_offered("w1", 1).by("bob"),
    ]);
}

#[test]
fn amount_is_the_price_of_the_hold_after_a_new_price() {
    let dearer = DropTerms {
        price: cents(99_99),
        ..terms()
    };
    let [opened, placed, bought] = sold_three(5);
    given([opened, placed, drop_rescheduled(dearer), bought])
        .when(refund_purchase("r1", "h1", Some(2)))
        .then([purchase_refunded("r1", "h1", 2)]);
}

#[test]
fn refund_is_possible_after_the_end_and_in_a_cancelled_drop() {
    let ending = DropTerms {
        ends_at: Some(second(10)),
        ..terms()
    };
    let [_, placed, bought] = sold_three(5);
    given([drop_scheduled(ending, 5), placed.clone(), bought.clone()])
        .when(refund_purchase("r1", "h1", Some(1)).at(second(500)))
        .then([purchase_refunded("r1", "h1", 1).at(second(500))]);
    for (refund, refunded, units) in [
        (
            refund_purchase("r1", "h1", None),
            purchase_refunded("r1", "h1", 3),
            stock(5, 0, 0),
        ),
        (
            write_off_purchase("r1", "h1", None),
            purchase_written_off("r1", "h1", 3),
            stock(2, 0, 0),
        ),
    ] {
        let after = given([
            drop_opened(5),
            placed.clone(),
            bought.clone(),
            drop_cancelled(),
        ])
        .when(refund)
        .then([refunded]);
        assert_eq!(after.aggregate().stock(), units);
    }
}

#[test]
fn repeated_request_returns_the_earlier_refund() {
    let subject = || Subject::Refund(refund_id("r1"));
    given(sold_three(5))
        .when(refund_purchase("r1", "h1", Some(2)).keyed("k"))
        .then([purchase_refunded("r1", "h1", 2).keyed("k")])
        .when(refund_purchase("r9", "h1", Some(2)).keyed("k"))
        .then_replays(subject())
        .when(refund_purchase("r1", "h1", Some(2)))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(refund_purchase("r9", "h1", Some(1)).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(write_off_purchase("r9", "h1", Some(2)).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(refund_purchase("r9", "h1", None).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused)
        .when(place_hold("h9", 1).keyed("k"))
        .then_refused(Refusal::IdempotencyKeyReused);
    given(sold_three(5))
        .when(refund_purchase("r1", "h1", None).keyed("k"))
        .then([purchase_refunded("r1", "h1", 3).keyed("k")])
        .when(refund_purchase("r9", "h1", None).keyed("k"))
        .then_replays(subject());
}

#[test]
fn only_a_purchase_is_refunded() {
    given([])
        .when(refund_purchase("r1", "h1", None))
        .then_refused(Refusal::DropNotFound);
    given([drop_opened(5), hold_placed("h1", 3)])
        .when(refund_purchase("r1", "h1", None))
        .then_refused(Refusal::PurchaseNotFound)
        .when(refund_purchase("r1", "h2", None))
        .then_refused(Refusal::PurchaseNotFound);
    given([drop_opened(5), hold_placed("h1", 3), hold_released("h1", 3)])
        .when(refund_purchase("r1", "h1", None))
        .then_refused(Refusal::PurchaseNotFound);
}

#[test]
fn purchased_hold_stays_purchased_after_its_refund() {
    given(sold_three(5))
        .when(refund_purchase("r1", "h1", None))
        .then([purchase_refunded("r1", "h1", 3)])
        .when(confirm_purchase("h1"))
        .then_replays(Subject::Purchase(hold_id("h1")))
        .when(release_hold("h1"))
        .then_refused(Refusal::HoldPurchased {
            purchased_at: second(0),
        });
}

#[test]
#[should_panic(expected = "more units refunded than purchased")]
fn history_refunds_no_unit_twice() {
    let refunds = [
        purchase_refunded("r1", "h1", 2),
        purchase_refunded("r2", "h1", 2),
    ];
    drop(given(sold_three(5).into_iter().chain(refunds)));
}

#[test]
#[should_panic(expected = "a refund has a different price than its purchase")]
fn history_refunds_the_price_of_the_purchase() {
    let mut refund = purchase_refunded("r1", "h1", 2);
    if let DropEvent::PurchaseRefunded(event) = &mut refund {
        event.amount.amount += 1;
    }
    drop(given(sold_three(5).into_iter().chain([refund])));
}

#[test]
#[should_panic(expected = "a hold was refunded that was not purchased")]
fn history_refunds_no_open_hold() {
    let refund = purchase_refunded("r1", "h1", 1);
    drop(given([drop_opened(5), hold_placed("h1", 3), refund]));
}
