//! Drafts and pauses.

use domain::command::PublishDrop;
use domain::terms::DropTerms;
use domain::testing::*;
use domain::values::{Timestamp, Visibility};
use domain::{DropCommand, Refusal, Subject};

fn second_terms(starts_at: i64) -> DropTerms {
    DropTerms {
        starts_at: second(starts_at),
        ..terms()
    }
}

fn paused(at: i64) -> Refusal {
    Refusal::Paused {
        paused_at: second(at),
    }
}

fn publish_at(starts_at: Option<Timestamp>, at: i64) -> DropCommand {
    DropCommand::PublishDrop(PublishDrop {
        starts_at,
        at: second(at),
    })
}

#[test]
fn paused_drop_holds_nothing_and_keeps_its_holds() {
    given([
        drop_scheduled(terms(), 3),
        hold_placed("h1", 1).by("ann").at(second(1)),
        drop_paused().at(second(2)),
    ])
    .when(place_hold("h2", 1).by("bob").at(second(3)))
    .then_refused(paused(2))
    .when(change_hold("h1", 2).at(second(3)))
    .then_refused(paused(2))
    .when(confirm_purchase("h1").at(second(4)))
    .then([purchase_confirmed("h1", 1).by("ann").at(second(4))]);
}

#[test]
fn resumed_drop_holds_again_from_that_event_on() {
    given([
        drop_scheduled(terms(), 1),
        drop_paused().at(second(1)),
        drop_resumed().at(second(5)),
    ])
    .when(place_hold("h1", 1).at(second(5)))
    .then([hold_placed("h1", 1).at(second(5))]);
}

#[test]
fn pausing_and_resuming_again_change_nothing() {
    given([drop_scheduled(terms(), 1)])
        .when(resume_drop())
        .then_replays(Subject::Drop)
        .when(pause_drop().at(second(1)))
        .then([drop_paused().at(second(1))])
        .when(pause_drop().at(second(2)))
        .then_replays(Subject::Drop)
        .when(resume_drop().at(second(3)))
        .then([drop_resumed().at(second(3))])
        .when(pause_drop().at(second(4)))
        .then([drop_paused().at(second(4))]);
}

#[test]
fn drop_that_is_over_is_neither_paused_nor_resumed() {
    let ends_at = Some(second(10));
    let ending = DropTerms { ends_at, ..terms() };
    let ended = |cancelled| Refusal::Ended {
        ended_at: second(10),
        cancelled,
    };
    given([drop_scheduled(ending.clone(), 1)])
        .when(pause_drop().at(second(10)))
        .then_refused(ended(false))
        .when(pause_drop().at(second(9)))
        .then([drop_paused().at(second(9))]);
    let cancelled = || {
        given([
            drop_scheduled(terms(), 1),
            drop_paused().at(second(1)),
            drop_cancelled().at(second(10)),
        ])
    };
    cancelled().when(pause_drop()).then_refused(ended(true));
    cancelled().when(resume_drop()).then_refused(ended(true));
}

#[test]
fn waitlist_of_a_paused_drop_gets_its_offers_after_the_pause_and_in_order() {
    let before = [
        drop_scheduled(terms(), 1),
        hold_placed("h1", 1).by("ann").at(second(1)),
        waitlist_joined("w1", 1).by("bob").at(second(2)),
        drop_paused().at(second(3)),
        hold_released("h1", 1).by("ann").at(second(4)),
    ];
    given(before.clone())
        .when(serve_waitlist().at(second(5)))
        .then_replays(Subject::Drop)
        // The unit is bob's, so that there is none for carol: she may wait.
        .when(join_waitlist("w2", 1).by("carol").at(second(6)))
        .then([waitlist_joined("w2", 1).by("carol").at(second(6))])
        .when(resume_drop().at(second(7)))
        .then([drop_resumed().at(second(7))])
        .when(place_hold("h4", 1).by("dan").at(second(7)))
        .then_refused(Refusal::SoldOut {
            requested: 1,
            available: 0,
        })
        .when(serve_waitlist().at(second(8)))
        .then([hold_offered("w1", 1).by("bob").at(second(8))]);
}

#[test]
fn buyer_cannot_wait_for_available_units_of_a_paused_drop() {
    given([drop_scheduled(terms(), 1), drop_paused().at(second(3))])
        .when(join_waitlist("w1", 1).at(second(4)))
        .then_refused(paused(3));
}

#[test]
fn draft_does_not_exist_for_buyers_and_sells_nothing_to_administrators() {
    let draft = || given([drop_drafted(terms(), 5)]);
    draft()
        .when(place_hold("h1", 1).at(second(1)))
        .then_refused(Refusal::DropNotFound);
    draft()
        .when(join_waitlist("w1", 1).at(second(1)))
        .then_refused(Refusal::DropNotFound);
    let by_staff = |mut command: DropCommand| {
        if let DropCommand::PlaceHold(placed) = &mut command {
            placed.pass.sees_hidden = true;
        }
        command
    };
    draft()
        .when(by_staff(place_hold("h1", 1).at(second(1))))
        .then_refused(Refusal::Draft);
    draft().when(pause_drop()).then_refused(Refusal::Draft);
    draft().when(resume_drop()).then_refused(Refusal::Draft);
}

#[test]
fn draft_is_published_at_once_or_for_its_start() {
    let published = |starts_at| {
        let terms = second_terms(starts_at);
        drop_published(terms, 5).at(second(20))
    };
    let draft = |starts_at| given([drop_drafted(second_terms(starts_at), 5)]);
    draft(0)
        .when(publish_at(None, 20))
        .then([published(20)])
        .when(publish_at(None, 21))
        .then_replays(Subject::Drop)
        .when(place_hold("h1", 1).at(second(20)))
        .then([hold_placed("h1", 1).at(second(20))]);
    draft(60)
        .when(publish_at(None, 20))
        .then([published(60)])
        .when(place_hold("h1", 1).at(second(59)))
        .then_refused(Refusal::NotLive {
            starts_at: second(60),
        });
    draft(60)
        .when(publish_at(Some(second(40)), 20))
        .then([published(40)]);
}

#[test]
fn draft_whose_end_has_passed_is_not_published() {
    let over = DropTerms {
        ends_at: Some(second(10)),
        ..terms()
    };
    let draft = || given([drop_drafted(over.clone(), 5)]);
    draft()
        .when(publish_at(None, 10))
        .then_refused(Refusal::Ended {
            ended_at: second(10),
            cancelled: false,
        });
    draft()
        .when(publish_at(Some(second(12)), 9))
        .then_refused(Refusal::EndsBeforeStart {
            starts_at: second(12),
        });
}

#[test]
fn draft_starts_when_it_is_published_and_not_before() {
    let drafted = [drop_drafted(terms(), 5)];
    let aggregate = given(drafted.clone()).aggregate();
    assert_eq!(aggregate.start_or_end(second(100)), None);
    let published = drop_published(second_terms(20), 4 + 1).at(second(20));
    let aggregate = given([drafted[0].clone(), published]).aggregate();
    assert_eq!(aggregate.start_or_end(second(19)), None);
    assert_eq!(aggregate.start_or_end(second(20)), Some(drop_started(20)));
    assert_eq!(aggregate.terms_version(), 2);
}

#[test]
fn edit_of_a_draft_keeps_it_a_draft() {
    let patch = domain::terms::TermsPatch {
        visibility: Some(Visibility::Unlisted),
        ..Default::default()
    };
    let aggregate = given([drop_drafted(terms(), 5)])
        .when(reschedule_drop(patch))
        .then([drop_rescheduled(DropTerms {
            visibility: Visibility::Unlisted,
            draft: true,
            ..terms()
        })])
        .aggregate();
    assert!(aggregate.is_draft());
    assert!(!aggregate.terms().unwrap().are_found());
}

#[test]
#[should_panic(expected = "a hold was placed in a paused drop")]
fn history_holds_nothing_in_a_pause() {
    given([
        drop_scheduled(terms(), 1),
        drop_paused(),
        hold_placed("h1", 1),
    ]);
}

#[test]
#[should_panic(expected = "a hold was placed in a draft")]
fn history_holds_nothing_in_a_draft() {
    given([drop_drafted(terms(), 1), hold_placed("h1", 1)]);
}

#[test]
#[should_panic(expected = "an edit published a draft")]
fn history_publishes_no_draft_by_an_edit() {
    given([drop_drafted(terms(), 1), drop_rescheduled(terms())]);
}
