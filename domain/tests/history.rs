//! What history can never contain stops the fold: better no answer than a wrong one.

use domain::DropEvent;
use domain::testing::*;

macro_rules! impossible {
    ($($name:ident: $message:literal, $history:expr;)*) => {$(
        #[test]
        #[should_panic(expected = $message)]
        fn $name() {
            let history: Vec<DropEvent> = $history.into();
            let (last, before) = history.split_last().expect("a history");
            let mut drop = given(before.to_vec()).aggregate();
            drop.evolve(last);
        }
    )*};
}

impossible! {
    a_drop_is_never_scheduled_twice: "scheduled twice",
        [drop_opened(1), drop_opened(1)];
    a_drop_is_never_edited_before_it_is_scheduled: "rescheduled before",
        [drop_rescheduled(terms())];
    a_drop_is_never_edited_after_it_is_cancelled: "a cancelled drop was rescheduled",
        [drop_opened(1), drop_cancelled(), drop_rescheduled(terms())];
    a_drop_is_never_cancelled_before_it_is_scheduled: "cancelled before",
        [drop_cancelled()];
    a_drop_is_never_cancelled_twice: "cancelled twice",
        [drop_opened(1), drop_cancelled(), drop_cancelled()];
    nothing_is_ever_held_before_scheduling: "before its drop was scheduled",
        [hold_placed("h1", 1)];
    stock_is_never_adjusted_before_scheduling: "adjusted before its drop was scheduled",
        [stock_adjusted("a1", 1, stock(1, 0, 0))];
    more_is_never_held_than_there_is: "oversold",
        [drop_opened(1), hold_placed("h1", 2)];
    two_holds_never_share_an_id: "placed twice",
        [drop_opened(2), hold_placed("h1", 1), hold_placed("h1", 1)];
    two_holds_never_share_a_key: "a key was used twice",
        [drop_opened(2), hold_placed("h1", 1).keyed("k"), hold_placed("h2", 1).keyed("k")];
    a_hold_and_an_adjustment_never_share_a_key: "a key was used twice",
        [drop_opened(1), hold_placed("h1", 1).keyed("k"), stock_adjusted("a1", 1, stock(1, 1, 0)).keyed("k")];
    a_hold_and_its_drop_never_share_a_key: "a key was used twice",
        [drop_opened(1).keyed("k"), hold_placed("h1", 1).keyed("k")];
    a_hold_never_expires_early: "expired early",
        [drop_opened(1), hold_placed("h1", 1), hold_expired("h1", 1).at(millisecond(59_999))];
    a_hold_is_never_bought_at_its_expiry: "purchased after it expired",
        [drop_opened(1), hold_placed("h1", 1), purchase_confirmed("h1", 1).at(second(60))];
    a_hold_is_never_released_at_its_expiry: "released after it expired",
        [drop_opened(1), hold_placed("h1", 1), hold_released("h1", 1).at(second(60))];
    nothing_is_ever_held_after_cancelling: "placed in a cancelled drop",
        [drop_opened(1), drop_cancelled(), hold_placed("h1", 1)];
    nothing_is_ever_sold_after_cancelling: "a cancelled drop was purchased",
        [drop_opened(1), hold_placed("h1", 1), drop_cancelled(), purchase_confirmed("h1", 1)];
    stock_is_never_adjusted_after_cancelling: "a cancelled drop was adjusted",
        [drop_opened(1), drop_cancelled(), stock_adjusted("a1", 1, stock(2, 0, 0))];
    a_hold_is_never_bought_twice: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), purchase_confirmed("h1", 1), purchase_confirmed("h1", 1)];
    a_hold_is_never_bought_after_it_was_released: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), hold_released("h1", 1), purchase_confirmed("h1", 1)];
    a_hold_never_expires_after_it_was_bought: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), purchase_confirmed("h1", 1), hold_expired("h1", 1)];
    a_hold_is_never_released_after_it_expired: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), hold_expired("h1", 1), hold_released("h1", 1)];
    nobody_ever_waits_before_scheduling: "taken before its drop was scheduled",
        [waitlist_joined("w1", 1)];
    nobody_ever_waits_for_a_cancelled_drop: "taken in a cancelled drop",
        [drop_opened(0), drop_cancelled(), waitlist_joined("w1", 1)];
    a_place_in_line_is_never_taken_twice: "taken twice",
        [drop_opened(0), waitlist_joined("w1", 1), waitlist_joined("w1", 1).by("bob")];
    a_buyer_never_waits_in_two_places: "waits in two places",
        [drop_opened(0), waitlist_joined("w1", 1), waitlist_joined("w2", 1)];
    a_hold_and_a_place_in_line_never_share_a_key: "a key was used twice",
        [drop_opened(1), hold_placed("h1", 1).keyed("k"), waitlist_joined("w1", 1).keyed("k")];
    a_place_in_line_is_never_offered_twice: "placed twice",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 1), hold_offered("w1", 1)];
    a_place_that_was_left_is_never_offered: "settled twice",
        [drop_opened(2), waitlist_joined("w1", 1), waitlist_left("w1", 1), hold_offered("w1", 1)];
    a_place_that_was_offered_is_never_left: "settled twice",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 1), waitlist_left("w1", 1)];
    an_offer_is_never_another_buyers: "not what place",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 1).by("bob")];
    an_offer_is_never_for_another_number_of_units: "not what place",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 2)];
    stock_is_never_adjusted_below_what_is_held: "below zero",
        [drop_opened(1), hold_placed("h1", 1), stock_adjusted("a1", -1, stock(0, 0, 0))];
}
