//! When a drop is on sale: its start, its end, edits of both, and scheduling itself.

use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::{Access, Description, DropName, ImageUrl, ShowStock, Visibility};
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
fn hold_is_refused_a_millisecond_before_the_start() {
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(millisecond(9_999)))
        .then_refused(Refusal::NotLive {
            starts_at: second(10),
        });
}

#[test]
fn hold_can_be_placed_exactly_at_the_start() {
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(second(10)))
        .then([hold_placed("h1", 1).at(second(10))]);
}

#[test]
fn hold_can_be_placed_a_millisecond_before_the_end() {
    let last = millisecond(19_999);
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(last))
        .then([hold_placed("h1", 1).at(last)]);
}

#[test]
fn hold_is_refused_exactly_at_the_end() {
    given([drop_scheduled(from_10_to_20(), 1)])
        .when(place_hold("h1", 1).at(second(20)))
        .then_refused(Refusal::Ended {
            ended_at: second(20),
            cancelled: false,
        });
}

#[test]
fn sale_without_an_end_continues() {
    given([drop_opened(1)])
        .when(place_hold("h1", 1).at(second(1_000_000_000)))
        .then([hold_placed("h1", 1).at(second(1_000_000_000))]);
}

#[test]
fn sale_period_is_checked_before_stock_and_limits() {
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
fn ended_drop_can_be_extended() {
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
fn postponed_start_closes_the_sale_and_keeps_existing_holds() {
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
fn drop_is_scheduled_with_the_requested_terms() {
    given([])
        .when(schedule_drop(from_10_to_20(), 10_000_000).keyed("k"))
        .then([drop_scheduled(from_10_to_20(), 10_000_000).keyed("k")]);
}

#[test]
fn end_must_be_at_least_a_millisecond_after_the_start() {
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
fn drop_is_scheduled_only_once() {
    given([drop_opened(1)])
        .when(schedule_drop(terms(), 1))
        .then_refused(Refusal::AlreadyScheduled)
        .when(schedule_drop(terms(), 1).keyed("k"))
        .then_refused(Refusal::AlreadyScheduled);
}

#[test]
fn drop_is_not_rescheduled_without_its_key_or_with_another() {
    given([drop_opened(1).keyed("k")])
        .when(schedule_drop(terms(), 1))
        .then_refused(Refusal::AlreadyScheduled)
        .when(schedule_drop(terms(), 1).keyed("other"))
        .then_refused(Refusal::AlreadyScheduled);
}

// ---- editing ----

#[test]
fn edit_changes_only_the_given_fields() {
    given([drop_opened(1)])
        .when(reschedule_drop(rename()).at(second(4)))
        .then([drop_rescheduled(chair()).at(second(4))]);
}

#[test]
fn every_term_can_be_edited_and_optional_terms_removed() {
    let full = DropTerms {
        name: DropName::new("Chair").unwrap(),
        description: Some(Description::new("Oak.\nFour legs.").unwrap()),
        image_url: Some(ImageUrl::new("/chair.png").unwrap()),
        price: cents(1),
        starts_at: second(-5),
        ends_at: Some(second(5)),
        hold_seconds: hold_seconds(3_600),
        max_hold_seconds: Some(max_hold_seconds(86_400)),
        offer_seconds: Some(offer_seconds(604_800)),
        max_per_hold: quantity(2),
        max_per_buyer: Some(buyer_limit(3)),
        throttle: Some(throttle(4, 5)),
        low_stock_at: Some(low_stock(6)),
        limit_group: None,
        visibility: Visibility::Hidden,
        show_stock: ShowStock::Level,
        access: Access::Code,
        challenge: Some(challenge(7)),
        product_id: Some(catalogue_id("chair")),
        variant_id: Some(catalogue_id("oak")),
        creator_id: Some(catalogue_id("Ann_1.a-b")),
        draft: false,
    };
    let fill = TermsPatch {
        name: Some(full.name.clone()),
        description: Some(full.description.clone()),
        image_url: Some(full.image_url.clone()),
        price: Some(full.price),
        starts_at: Some(full.starts_at),
        ends_at: Some(full.ends_at),
        hold_seconds: Some(full.hold_seconds),
        max_hold_seconds: Some(full.max_hold_seconds),
        offer_seconds: Some(full.offer_seconds),
        max_per_hold: Some(full.max_per_hold),
        max_per_buyer: Some(full.max_per_buyer),
        throttle: Some(full.throttle),
        low_stock_at: Some(full.low_stock_at),
        visibility: Some(full.visibility),
        show_stock: Some(full.show_stock),
        access: Some(full.access),
        challenge: Some(full.challenge),
        product_id: Some(full.product_id.clone()),
        variant_id: Some(full.variant_id.clone()),
        creator_id: Some(full.creator_id.clone()),
    };
    let remove = TermsPatch {
        description: Some(None),
        image_url: Some(None),
        ends_at: Some(None),
        max_hold_seconds: Some(None),
        offer_seconds: Some(None),
        max_per_buyer: Some(None),
        throttle: Some(None),
        low_stock_at: Some(None),
        challenge: Some(None),
        product_id: Some(None),
        variant_id: Some(None),
        creator_id: Some(None),
        ..TermsPatch::default()
    };
    let bare = DropTerms {
        description: None,
        image_url: None,
        ends_at: None,
        max_hold_seconds: None,
        offer_seconds: None,
        max_per_buyer: None,
        throttle: None,
        low_stock_at: None,
        challenge: None,
        product_id: None,
        variant_id: None,
        creator_id: None,
        ..full.clone()
    };
    given([drop_opened(1)])
        .when(reschedule_drop(fill))
        .then([drop_rescheduled(full)])
        .when(reschedule_drop(remove))
        .then([drop_rescheduled(bare)]);
}

#[test]
fn edit_of_a_different_version_is_refused() {
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
fn edit_without_a_change_is_not_recorded() {
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
fn edit_of_start_or_end_must_keep_the_end_after_the_start() {
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
fn unscheduled_drop_cannot_be_edited() {
    given([])
        .when(reschedule_drop(rename()))
        .then_refused(Refusal::DropNotFound)
        .when(reschedule_drop_at_version(0, rename()))
        .then_refused(Refusal::DropNotFound);
}

#[test]
fn version_of_the_terms_counts_only_scheduling_edits_and_cancelling() {
    let version = |history: Vec<domain::DropEvent>| given(history).aggregate().terms_version();
    assert_eq!(version(vec![]), 0);
    assert_eq!(version(vec![drop_opened(1)]), 1);
    assert_eq!(version(vec![drop_opened(1), hold_placed("h1", 1)]), 1);
    let edited = vec![drop_opened(1), drop_rescheduled(chair())];
    assert_eq!(version(edited.clone()), 2);
    assert_eq!(version([edited, vec![drop_cancelled()]].concat()), 3);
}
