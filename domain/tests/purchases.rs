//! The price of a purchase: the price per unit in force when its hold was placed.

use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::{Commitment, Money, Quantity};
use domain::{DropCommand, DropEvent, Refusal, Subject};

fn costing(amount: i64) -> DropTerms {
    DropTerms {
        price: cents(amount),
        ..terms()
    }
}

fn bought_for(hold: &str, units: u32, amount: i64) -> DropEvent {
    let mut event = purchase_confirmed(hold, units);
    if let DropEvent::PurchaseConfirmed(purchase) = &mut event {
        purchase.total.amount = amount;
    }
    event
}

#[test]
fn purchase_costs_the_price_of_each_unit() {
    given([drop_scheduled(costing(19_999), 3), hold_placed("h1", 3)])
        .when(confirm_purchase("h1"))
        .then([bought_for("h1", 3, 59_997)]);
}

#[test]
fn price_change_applies_to_later_holds_only() {
    let dearer = TermsPatch {
        price: Some(cents(25_00)),
        ..TermsPatch::default()
    };
    given([drop_opened(4), hold_placed("h1", 2)])
        .when(reschedule_drop(dearer))
        .then([drop_rescheduled(costing(25_00))])
        .when(place_hold("h2", 2))
        .then([hold_placed("h2", 2)])
        .when(confirm_purchase("h1"))
        .then([bought_for("h1", 2, 20_00)])
        .when(confirm_purchase("h2"))
        .then([bought_for("h2", 2, 50_00)]);
}

#[test]
fn hold_keeps_its_price_through_several_changes() {
    given([
        drop_scheduled(costing(1), 3),
        drop_rescheduled(costing(2)),
        hold_placed("h1", 1),
        drop_rescheduled(costing(3)),
        drop_rescheduled(costing(4)),
    ])
    .when(confirm_purchase("h1"))
    .then([bought_for("h1", 1, 2)]);
}

#[test]
fn free_units_are_sold_for_zero() {
    given([drop_scheduled(costing(0), 3), hold_placed("h1", 3)])
        .when(confirm_purchase("h1"))
        .then([bought_for("h1", 3, 0)]);
}

#[test]
fn largest_purchase_at_the_highest_price_is_exact() {
    given([
        drop_scheduled(costing(Money::MAX_PRICE), 1_000),
        hold_placed("h1", Quantity::MAX),
    ])
    .when(confirm_purchase("h1"))
    .then([bought_for("h1", Quantity::MAX, 1_000_000_000_000_000)]);
}

#[test]
fn repeated_purchase_is_made_once_whatever_its_second_id() {
    let mut again = confirm_purchase("h1");
    if let DropCommand::ConfirmPurchase(again) = &mut again {
        again.purchase_id = purchase_id("other");
    }
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(confirm_purchase("h1"))
        .then([purchase_confirmed("h1", 1)])
        .when(again)
        .then_replays(Subject::Purchase(hold_id("h1")));
}

/// A purchase with a payment reference; `is_recorded` if it is the one that was recorded before.
fn paid(hold: &str, is_recorded: bool) -> DropCommand {
    let mut command = confirm_purchase(hold);
    if let DropCommand::ConfirmPurchase(command) = &mut command {
        command.commitment = Some(Commitment([7; 32]));
        command.is_recorded = is_recorded;
    }
    command
}

#[test]
fn second_payment_is_refused_unless_its_reference_is_the_same_or_absent() {
    let bought = given([
        drop_opened(1),
        hold_placed("h1", 1),
        purchase_confirmed("h1", 1).at(second(3)),
    ]);
    bought
        .when(paid("h1", true).at(second(5)))
        .then_replays(Subject::Purchase(hold_id("h1")))
        .when(confirm_purchase("h1").at(second(6)))
        .then_replays(Subject::Purchase(hold_id("h1")))
        .when(paid("h1", false).at(second(7)))
        .then_refused(Refusal::PaymentReferenceConflict {
            purchased_at: second(3),
        });
}

#[test]
fn hold_can_be_purchased_after_the_sale_has_ended() {
    let ending = DropTerms {
        ends_at: Some(second(10)),
        ..terms()
    };
    given([
        drop_scheduled(ending, 1),
        hold_placed("h1", 1).at(millisecond(9_999)),
    ])
    .when(confirm_purchase("h1").at(second(30)))
    .then([purchase_confirmed("h1", 1).at(second(30))]);
}

#[test]
fn lowered_limits_do_not_affect_existing_holds() {
    let tight = DropTerms {
        max_per_hold: quantity(1),
        max_per_buyer: Some(buyer_limit(1)),
        throttle: Some(throttle(1, 60)),
        ..terms()
    };
    given([
        drop_opened(5),
        hold_placed("h1", 3),
        hold_placed("h2", 2),
        drop_rescheduled(tight),
    ])
    .when(confirm_purchase("h1"))
    .then([purchase_confirmed("h1", 3)])
    .when(confirm_purchase("h2"))
    .then([purchase_confirmed("h2", 2)]);
}
