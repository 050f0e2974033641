//! Calling a drop off: every live hold is released, what is sold stays sold, and nothing happens after.

use domain::terms::TermsPatch;
use domain::testing::*;
use domain::{DropEvent, Refusal, Subject};

fn ended() -> Refusal {
    Refusal::Ended {
        ended_at: second(0),
        cancelled: true,
    }
}

#[test]
fn cancelling_releases_every_live_hold_in_the_order_of_placing_and_nothing_else() {
    let at = second(30);
    let drop = given([
        drop_opened(100),
        hold_placed("bought", 1),
        hold_placed("live-1", 2).by("bob"),
        hold_placed("given-up", 4),
        hold_placed("live-2", 8),
        hold_placed("lost", 16),
        hold_placed("live-3", 32).by("bob"),
        purchase_confirmed("bought", 1),
        hold_released("given-up", 4),
        hold_expired("lost", 16),
    ])
    .when_followed_up(cancel_drop().at(at))
    .then([
        drop_cancelled().at(at),
        hold_called_off("live-1", 2).by("bob").at(at),
        hold_called_off("live-2", 8).at(at),
        hold_called_off("live-3", 32).by("bob").at(at),
    ])
    .aggregate();
    assert_eq!(drop.stock(), stock(99, 0, 1));
}

#[test]
fn a_hold_that_is_over_when_its_drop_is_cancelled_expires_and_is_not_released() {
    let history = [
        drop_opened(9),
        hold_placed("over", 1),
        hold_placed("live", 2).by("bob").at(millisecond(1)),
    ];
    let at = millisecond(59_999);
    given(history.clone())
        .when_followed_up(cancel_drop().at(at))
        .then([
            drop_cancelled().at(at),
            hold_called_off("over", 1).at(at),
            hold_called_off("live", 2).by("bob").at(at),
        ]);
    let at = second(60);
    given(history)
        .when_followed_up(cancel_drop().at(at))
        .then([
            drop_cancelled().at(at),
            hold_expired("over", 1),
            hold_called_off("live", 2).by("bob").at(at),
        ])
        .when(confirm_purchase("over").at(at))
        .then_refused(Refusal::HoldExpired { expired_at: at });
}

#[test]
fn a_drop_without_holds_is_cancelled_too() {
    given([drop_opened(1)])
        .when(cancel_drop().at(second(-5)))
        .then([drop_cancelled().at(second(-5))]);
}

#[test]
fn cancelling_again_changes_nothing() {
    given([drop_opened(1), drop_cancelled()])
        .when(cancel_drop().at(second(5)))
        .then_replays(Subject::Drop);
}

#[test]
fn a_drop_that_was_never_scheduled_cannot_be_cancelled() {
    given([])
        .when(cancel_drop())
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn nothing_can_be_held_adjusted_or_edited_after_cancelling() {
    let dearer = TermsPatch {
        price: Some(cents(1)),
        ..TermsPatch::default()
    };
    let commands = [
        place_hold("h1", 1),
        place_hold("h1", 1).at(second(3_600)),
        adjust_stock("a1", 1),
        adjust_stock("a1", -1),
        reschedule_drop(dearer.clone()),
        reschedule_drop_at_version(2, dearer),
        reschedule_drop(TermsPatch::default()),
    ];
    for command in commands {
        given([drop_opened(1), drop_cancelled()])
            .when(command)
            .then_refused(ended());
    }
}

#[test]
fn an_edit_of_the_version_before_cancelling_is_told_that_the_version_is_stale() {
    given([drop_opened(1), drop_cancelled()])
        .when(reschedule_drop_at_version(1, TermsPatch::default()))
        .then_refused(Refusal::StaleVersion { current: 2 });
}

#[test]
fn a_hold_of_a_cancelled_drop_can_no_longer_be_bought_and_stays_released() {
    given([drop_opened(1), hold_placed("h1", 1)])
        .when_followed_up(cancel_drop())
        .then([drop_cancelled(), hold_called_off("h1", 1)])
        .when(confirm_purchase("h1").at(second(1)))
        .then_refused(Refusal::HoldReleased {
            released_at: second(0),
        })
        .when(release_hold("h1").at(second(1)))
        .then_replays(Subject::Hold(hold_id("h1")))
        .when(expire_hold("h1").at(second(60)))
        .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn a_purchase_made_before_cancelling_is_still_answered() {
    given([
        drop_opened(1),
        hold_placed("h1", 1),
        purchase_confirmed("h1", 1),
        drop_cancelled(),
    ])
    .when(confirm_purchase("h1"))
    .then_replays(Subject::Purchase(hold_id("h1")));
}

#[test]
fn a_cancelled_drop_is_not_scheduled_anew() {
    given([drop_opened(1), drop_cancelled()])
        .when(schedule_drop(terms(), 1))
        .then_refused(Refusal::AlreadyScheduled);
}

#[test]
fn being_cancelled_is_told_before_not_having_started() {
    given([
        drop_scheduled(
            domain::terms::DropTerms {
                starts_at: second(10),
                ..terms()
            },
            1,
        ),
        drop_cancelled(),
    ])
    .when(place_hold("h1", 1))
    .then_refused(ended());
}

// ---- until the consequences are recorded ----

/// `h1` is over at second 60, `h2` at second 70, and the drop was cancelled at second 65.
fn closing() -> Vec<DropEvent> {
    vec![
        drop_opened(2),
        hold_placed("h1", 1),
        hold_placed("h2", 1).by("bob").at(second(10)),
        waitlist_joined("w1", 1).by("cid").at(second(20)),
        waitlist_joined("w2", 1).by("dan").at(second(30)),
        drop_cancelled().at(second(65)),
    ]
}

#[test]
fn cancelling_is_one_event_whatever_there_is_in_the_drop() {
    let mut history = closing();
    history.pop();
    given(history)
        .when(cancel_drop().at(second(65)))
        .then([drop_cancelled().at(second(65))]);
}

#[test]
fn each_consequence_is_a_decision_of_its_own_in_order_and_at_the_time_of_the_cancellation() {
    given(closing())
        .when(settle_cancelled())
        .then([hold_expired("h1", 1)])
        .when(settle_cancelled())
        .then([hold_called_off("h2", 1).by("bob").at(second(65))])
        .when(settle_cancelled())
        .then([waitlist_called_off("w1", 1).by("cid").at(second(65))])
        .when(settle_cancelled())
        .then([waitlist_called_off("w2", 1).by("dan").at(second(65))])
        .when(settle_cancelled())
        .then_replays(Subject::Drop);
    given([drop_opened(1), hold_placed("h1", 1)])
        .when(settle_cancelled())
        .then_replays(Subject::Drop);
    given([])
        .when(settle_cancelled())
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn from_the_cancellation_on_everything_is_answered_as_if_its_consequences_were_recorded() {
    let released_at = second(65);
    let expired_at = second(60);
    let drop = given(closing())
        .when(confirm_purchase("h1").at(second(66)))
        .then_refused(Refusal::HoldExpired { expired_at })
        .when(confirm_purchase("h2").at(second(66)))
        .then_refused(Refusal::HoldReleased { released_at })
        .when(release_hold("h1").at(second(66)))
        .then_refused(Refusal::HoldExpired { expired_at })
        .when(release_hold("h2").at(second(66)))
        .then_replays(Subject::Hold(hold_id("h2")))
        .when(expire_hold("h2").at(second(80)))
        .then_replays(Subject::Hold(hold_id("h2")))
        .when(leave_waitlist("w1").at(second(66)))
        .then_replays(Subject::Waitlist(waitlist_id("w1")))
        .when(serve_waitlist().at(second(66)))
        .then_replays(Subject::Drop)
        .aggregate();
    let standing = drop.standing(buyer("bob"), second(66)).unwrap();
    assert_eq!(standing.held, 0);
    assert!(drop.is_closing());
}
