//! When a drop may be held from: its start, its end, edits of both, and scheduling itself.

use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::{Description, DropName, ImageUrl};
use domain::{Refusal, Subject};

fn from_10_to_20() -> DropTerms {
    DropTerms {
        starts_at: second(10),
        ends_at: Some(second(20)),
        ..terms()
    }
}

fn rename() -> TermsPatch {
    TermsPatch {
        name: Some(DropName::new("Chair").expect("a valid name")),
        ..TermsPatch::default()
    }
}

fn chair() -> DropTerms {
    rename().apply(&terms())
}

// ---- both edges of the sale ----

#[test]
fn nothing_can_be_held_a_millisecond_before_the_start() {
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(millisecond(9_999)))
        .then_refused(Refusal::NotLive {
            starts_at: second(10),
        });
}

#[test]
fn the_first_hold_can_be_placed_at_the_start_exactly() {
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(second(10)))
        .then([hold_placed("h1", 1).at(second(10))]);
}

#[test]
fn the_last_hold_can_be_placed_a_millisecond_before_the_end() {
    let last = millisecond(19_999);
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(last))
        .then([hold_placed("h1", 1).at(last)]);
}

#[test]
fn nothing_can_be_held_at_the_end_exactly() {
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(second(20)))
        .then_refused(Refusal::Ended {
            ended_at: second(20),
            cancelled: false,
        });
}

#[test]
fn a_sale_without_an_end_goes_on() {
    given([drop_opened(1)])
        .when(place_hold("h1", 1).at(second(1_000_000_000)))
        .then([hold_placed("h1", 1).at(second(1_000_000_000))]);
}

#[test]
fn being_early_or_late_is_told_before_being_sold_out_or_over_a_limit() {
    let tight = DropTerms {
        max_per_hold: quantity(1),
        ..from_10_to_20()
    };
    given([drop_scheduled(tight, 0)])
        .when(place_hold("h1", 2).at(second(9)))
        .then_refused(Refusal::NotLive {
            starts_at: second(10),
        })
        .when(place_hold("h1", 2).at(second(20)))
        .then_refused(Refusal::Ended {
            ended_at: second(20),
            cancelled: false,
        });
}

#[test]
fn a_drop_that_ended_can_be_extended_and_held_again() {
    let longer = TermsPatch {
        ends_at: Some(None),
        ..TermsPatch::default()
    };
    let endless = DropTerms {
        ends_at: None,
        ..from_10_to_20()
    };
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(reschedule_drop(longer))
        .then([drop_rescheduled(endless)])
        .when(place_hold("h1", 1).at(second(20)))
        .then([hold_placed("h1", 1).at(second(20))]);
}

#[test]
fn a_start_that_is_moved_later_closes_the_sale_until_then_but_leaves_what_is_held() {
    let later = TermsPatch {
        starts_at: Some(second(50)),
        ..TermsPatch::default()
    };
    let postponed = DropTerms {
        starts_at: second(50),
        ..terms()
    };
    given([drop_opened(2), hold_placed("h1", 1)])
        .when(reschedule_drop(later))
        .then([drop_rescheduled(postponed)])
        .when(place_hold("h2", 1).at(second(1)))
        .then_refused(Refusal::NotLive {
            starts_at: second(50),
        })
        .when(confirm_purchase("h1").at(second(1)))
        .then([purchase_confirmed("h1", 1).at(second(1))]);
}

// ---- scheduling ----

#[test]
fn a_drop_is_scheduled_as_asked() {
    given([])
        .when(schedule_drop(from_10_to_20(), 10_000_000).keyed("k"))
        .then([drop_scheduled(from_10_to_20(), 10_000_000).keyed("k")]);
}

#[test]
fn an_end_must_come_after_the_start_by_a_millisecond_at_least() {
    let ending = |millis| DropTerms {
        ends_at: Some(millisecond(millis)),
        ..from_10_to_20()
    };
    let refusal = Refusal::EndsBeforeStart {
        starts_at: second(10),
    };
    given([])
        .when(schedule_drop(ending(9_999), 1))
        .then_refused(refusal.clone())
        .when(schedule_drop(ending(10_000), 1))
        .then_refused(refusal)
        .when(schedule_drop(ending(10_001), 1))
        .then([drop_scheduled(ending(10_001), 1)]);
}

#[test]
fn a_drop_is_scheduled_once() {
    given([drop_opened(1)])
        .when(schedule_drop(terms(), 1))
        .then_refused(Refusal::AlreadyScheduled)
        .when(schedule_drop(terms(), 1).keyed("k"))
        .then_refused(Refusal::AlreadyScheduled);
}

#[test]
fn a_drop_scheduled_with_a_key_is_not_scheduled_again_without_it_or_with_another() {
    given([drop_opened(1).keyed("k")])
        .when(schedule_drop(terms(), 1))
        .then_refused(Refusal::AlreadyScheduled)
        .when(schedule_drop(terms(), 1).keyed("other"))
        .then_refused(Refusal::AlreadyScheduled);
}

// ---- editing ----

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    given([drop_opened(1)])
        .when(reschedule_drop(rename()).at(second(4)))
        .then([drop_rescheduled(chair()).at(second(4))]);
}

#[test]
fn every_term_can_be_edited_and_what_may_be_absent_removed() {
    let full = DropTerms {
        name: DropName::new("Chair").unwrap(),
        description: Some(Description::new("Oak.\nFour legs.").unwrap()),
        image_url: Some(ImageUrl::new("/chair.png").unwrap()),
        price: cents(1),
        starts_at: second(-5),
        ends_at: Some(second(5)),
        hold_seconds: hold_seconds(3_600),
        max_per_hold: quantity(2),
        max_per_buyer: Some(buyer_limit(3)),
        throttle: Some(throttle(4, 5)),
    };
    let fill = TermsPatch {
        name: Some(full.name.clone()),
        description: Some(full.description.clone()),
        image_url: Some(full.image_url.clone()),
        price: Some(full.price),
        starts_at: Some(full.starts_at),
        ends_at: Some(full.ends_at),
        hold_seconds: Some(full.hold_seconds),
        max_per_hold: Some(full.max_per_hold),
        max_per_buyer: Some(full.max_per_buyer),
        throttle: Some(full.throttle),
    };
    let remove = TermsPatch {
        description: Some(None),
        image_url: Some(None),
        ends_at: Some(None),
        max_per_buyer: Some(None),
        throttle: Some(None),
        ..TermsPatch::default()
    };
    let bare = DropTerms {
        description: None,
        image_url: None,
        ends_at: None,
        max_per_buyer: None,
        throttle: None,
        ..full.clone()
    };
    given([drop_opened(1)])
        .when(reschedule_drop(fill))
        .then([drop_rescheduled(full)])
        .when(reschedule_drop(remove))
        .then([drop_rescheduled(bare)]);
}

#[test]
fn an_edit_of_the_version_seen_is_made_and_of_an_older_or_newer_one_is_refused() {
    let history = [drop_opened(1), drop_rescheduled(from_10_to_20())];
    let patch = TermsPatch {
        ends_at: Some(None),
        ..TermsPatch::default()
    };
    let edited = DropTerms {
        ends_at: None,
        ..from_10_to_20()
    };
    for stale in [0, 1, 3] {
        given(history.clone())
            .when(reschedule_drop_at_version(stale, patch.clone()))
            .then_refused(Refusal::StaleVersion { current: 2 });
    }
    given(history)
        .when(reschedule_drop_at_version(2, patch))
        .then([drop_rescheduled(edited)]);
}

#[test]
fn an_edit_that_changes_nothing_is_not_recorded() {
    let same = TermsPatch {
        name: Some(terms().name),
        description: Some(None),
        price: Some(terms().price),
        ..TermsPatch::default()
    };
    for patch in [TermsPatch::default(), same] {
        given([drop_opened(1)])
            .when(reschedule_drop_at_version(1, patch.clone()))
            .then_replays(Subject::Drop)
            .when(reschedule_drop_at_version(2, patch))
            .then_refused(Refusal::StaleVersion { current: 1 });
    }
}

#[test]
fn an_edit_of_either_edge_must_leave_the_end_after_the_start() {
    let start = |millis| TermsPatch {
        starts_at: Some(millisecond(millis)),
        ..TermsPatch::default()
    };
    let end = |millis| TermsPatch {
        ends_at: Some(Some(millisecond(millis))),
        ..TermsPatch::default()
    };
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(reschedule_drop(start(20_000)))
        .then_refused(Refusal::EndsBeforeStart {
            starts_at: second(20),
        })
        .when(reschedule_drop(end(10_000)))
        .then_refused(Refusal::EndsBeforeStart {
            starts_at: second(10),
        })
        .when(reschedule_drop(end(10_001)))
        .then([drop_rescheduled(end(10_001).apply(&from_10_to_20()))]);
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(reschedule_drop(start(19_999)))
        .then([drop_rescheduled(start(19_999).apply(&from_10_to_20()))]);
}

#[test]
fn a_drop_that_was_never_scheduled_cannot_be_edited() {
    given([])
        .when(reschedule_drop(rename()))
        .then_refused(Refusal::DropNotFound)
        .when(reschedule_drop_at_version(0, rename()))
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn the_version_of_the_terms_counts_scheduling_edits_and_cancelling_but_not_sales() {
    let version = |history: Vec<domain::DropEvent>| given(history).aggregate().terms_version();
    assert_eq!(version(vec![]), 0);
    assert_eq!(version(vec![drop_opened(1)]), 1);
    assert_eq!(version(vec![drop_opened(1), hold_placed("h1", 1)]), 1);
    let edited = vec![drop_opened(1), drop_rescheduled(chair())];
    assert_eq!(version(edited.clone()), 2);
    assert_eq!(version([edited, vec![drop_cancelled()]].concat()), 3);
}
