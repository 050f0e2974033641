//! Cancelling a drop: every live hold is released, sold units stay sold, and nothing happens
//! afterwards.

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
fn cancelling_releases_exactly_the_live_holds_in_order_of_placement() {
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
        hold_cancelled("live-1", 2).by("bob").at(at),
        hold_cancelled("live-2", 8).at(at),
        hold_cancelled("live-3", 32).by("bob").at(at),
    ])
    .aggregate();
    assert_eq!(drop.stock(), stock(99, 0, 1));
}

#[test]
fn hold_past_its_deadline_expires_when_its_drop_is_cancelled() {
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
            hold_cancelled("over", 1).at(at),
            hold_cancelled("live", 2).by("bob").at(at),
        ]);
    let at = second(60);
    given(history)
        .when_followed_up(cancel_drop().at(at))
        .then([
            drop_cancelled().at(at),
            hold_expired("over", 1),
            hold_cancelled("live", 2).by("bob").at(at),
        ])
        .when(confirm_purchase("over").at(at))
        .then_refused(Refusal::HoldExpired { expired_at: at });
}

#[test]
fn drop_without_holds_can_be_cancelled() {
    given([drop_opened(1)])
        .when(cancel_drop().at(second(-5)))
        .then([drop_cancelled().at(second(-5))]);
}

#[test]
fn cancelling_twice_changes_nothing() {
    given([drop_opened(1), drop_cancelled()])
        .when(cancel_drop().at(second(5)))
        .then_replays(Subject::Drop);
}

#[test]
fn unscheduled_drop_cannot_be_cancelled() {
    given([])
        .when(cancel_drop())
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn cancelled_drop_rejects_holds_adjustments_and_edits() {
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
fn edit_of_the_version_before_cancelling_is_stale() {
    given([drop_opened(1), drop_cancelled()])
        .when(reschedule_drop_at_version(1, TermsPatch::default()))
        .then_refused(Refusal::StaleVersion { current: 2 });
}

#[test]
fn hold_of_a_cancelled_drop_stays_released_and_cannot_be_purchased() {
    given([drop_opened(1), hold_placed("h1", 1)])
        .when_followed_up(cancel_drop())
        .then([drop_cancelled(), hold_cancelled("h1", 1)])
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
fn purchase_before_cancelling_is_still_replayed() {
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
fn cancelled_drop_cannot_be_scheduled_again() {
    given([drop_opened(1), drop_cancelled()])
        .when(schedule_drop(terms(), 1))
        .then_refused(Refusal::AlreadyScheduled);
}

#[test]
fn cancellation_takes_precedence_over_not_having_started() {
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

/// `h1` expires at second 60, `h2` at second 70, and the drop was cancelled at second 65.
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
fn cancelling_is_a_single_event() {
    let mut history = closing();
    history.pop();
    given(history)
        .when(cancel_drop().at(second(65)))
        .then([drop_cancelled().at(second(65))]);
}

#[test]
fn consequences_are_separate_ordered_decisions_at_the_cancellation_time() {
    given(closing())
        .when(settle_cancelled())
        .then([hold_expired("h1", 1)])
        .when(settle_cancelled())
        .then([hold_cancelled("h2", 1).by("bob").at(second(65))])
        .when(settle_cancelled())
        .then([entry_cancelled("w1", 1).by("cid").at(second(65))])
        .when(settle_cancelled())
        .then([entry_cancelled("w2", 1).by("dan").at(second(65))])
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
fn cancelled_drop_responds_as_if_all_consequences_were_recorded() {
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
