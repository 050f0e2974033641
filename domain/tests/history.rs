//! A history that cannot occur makes the fold panic, because a wrong state is worse than none.

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
    drop_is_never_scheduled_twice: "scheduled twice",
        [drop_opened(1), drop_opened(1)];
    drop_is_never_edited_before_scheduling: "rescheduled before",
        [drop_rescheduled(terms())];
    drop_is_never_edited_after_cancelling: "a cancelled drop was rescheduled",
        [drop_opened(1), drop_cancelled(), drop_rescheduled(terms())];
    drop_is_never_cancelled_before_scheduling: "cancelled before",
        [drop_cancelled()];
    drop_is_never_cancelled_twice: "cancelled twice",
        [drop_opened(1), drop_cancelled(), drop_cancelled()];
    hold_is_never_placed_before_scheduling: "before its drop was scheduled",
        [hold_placed("h1", 1)];
    stock_is_never_adjusted_before_scheduling: "adjusted before its drop was scheduled",
        [stock_adjusted("a1", 1, stock(1, 0, 0))];
    hold_never_exceeds_the_stock: "oversold",
        [drop_opened(1), hold_placed("h1", 2)];
    holds_never_share_an_id: "placed twice",
        [drop_opened(2), hold_placed("h1", 1), hold_placed("h1", 1)];
    holds_never_share_a_key: "a key was used twice",
        [drop_opened(2), hold_placed("h1", 1).keyed("k"), hold_placed("h2", 1).keyed("k")];
    hold_and_adjustment_never_share_a_key: "a key was used twice",
        [drop_opened(1), hold_placed("h1", 1).keyed("k"), stock_adjusted("a1", 1, stock(1, 1, 0)).keyed("k")];
    hold_and_drop_never_share_a_key: "a key was used twice",
        [drop_opened(1).keyed("k"), hold_placed("h1", 1).keyed("k")];
    hold_never_expires_early: "expired early",
        [drop_opened(1), hold_placed("h1", 1), hold_expired("h1", 1).at(millisecond(59_999))];
    hold_is_never_purchased_at_its_deadline: "purchased after it expired",
        [drop_opened(1), hold_placed("h1", 1), purchase_confirmed("h1", 1).at(second(60))];
    hold_is_never_released_at_its_deadline: "released after it expired",
        [drop_opened(1), hold_placed("h1", 1), hold_released("h1", 1).at(second(60))];
    hold_is_never_placed_after_cancelling: "placed in a cancelled drop",
        [drop_opened(1), drop_cancelled(), hold_placed("h1", 1)];
    hold_is_never_purchased_after_cancelling: "a cancelled drop was purchased",
        [drop_opened(1), hold_placed("h1", 1), drop_cancelled(), purchase_confirmed("h1", 1)];
    stock_is_never_adjusted_after_cancelling: "a cancelled drop was adjusted",
        [drop_opened(1), drop_cancelled(), stock_adjusted("a1", 1, stock(2, 0, 0))];
    hold_is_never_purchased_twice: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), purchase_confirmed("h1", 1), purchase_confirmed("h1", 1)];
    hold_is_never_purchased_after_its_release: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), hold_released("h1", 1), purchase_confirmed("h1", 1)];
    hold_never_expires_after_its_purchase: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), purchase_confirmed("h1", 1), hold_expired("h1", 1)];
    hold_is_never_released_after_its_expiry: "resolved twice",
        [drop_opened(1), hold_placed("h1", 1), hold_expired("h1", 1), hold_released("h1", 1)];
    entry_never_joins_before_scheduling: "joined before its drop was scheduled",
        [waitlist_joined("w1", 1)];
    entry_never_joins_after_cancelling: "joined in a cancelled drop",
        [drop_opened(0), drop_cancelled(), waitlist_joined("w1", 1)];
    entry_never_joins_twice: "joined twice",
        [drop_opened(0), waitlist_joined("w1", 1), waitlist_joined("w1", 1).by("bob")];
    buyer_never_has_two_waiting_entries: "two waiting entries",
        [drop_opened(0), waitlist_joined("w1", 1), waitlist_joined("w2", 1)];
    hold_and_waitlist_entry_never_share_a_key: "a key was used twice",
        [drop_opened(1), hold_placed("h1", 1).keyed("k"), waitlist_joined("w1", 1).keyed("k")];
    entry_is_never_offered_twice: "placed twice",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 1), hold_offered("w1", 1)];
    entry_that_left_is_never_offered: "settled twice",
        [drop_opened(2), waitlist_joined("w1", 1), waitlist_left("w1", 1), hold_offered("w1", 1)];
    offered_entry_never_leaves: "settled twice",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 1), waitlist_left("w1", 1)];
    offer_is_never_for_another_buyer: "does not match",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 1).by("bob")];
    offer_is_never_for_a_different_quantity: "does not match",
        [drop_opened(2), waitlist_joined("w1", 1), hold_offered("w1", 2)];
    stock_is_never_adjusted_below_the_held_units: "below zero",
        [drop_opened(1), hold_placed("h1", 1), stock_adjusted("a1", -1, stock(0, 0, 0))];
}
