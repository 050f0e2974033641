//! Challenges: the work that precedes a request for units.

use domain::command::Pass;
use domain::terms::{DropTerms, TermsPatch};
use domain::testing::*;
use domain::values::Difficulty;
use domain::{DropCommand, Refusal, Subject};

fn challenging(difficulty: u32) -> DropTerms {
    DropTerms {
        challenge: Some(challenge(difficulty)),
        ..terms()
    }
}

fn level(difficulty: u32) -> Difficulty {
    challenge(difficulty).difficulty
}

/// The command of a caller that has solved a challenge of this difficulty.
fn solved(difficulty: u32, mut command: DropCommand) -> DropCommand {
    let pass = Pass {
        solved: Some(level(difficulty)),
        ..Pass::default()
    };
    if let DropCommand::PlaceHold(command) = &mut command {
        command.pass = pass;
    }
    if let DropCommand::JoinWaitlist(command) = &mut command {
        command.pass = pass;
    }
    command
}

fn required(difficulty: u32) -> Refusal {
    let difficulty = level(difficulty);
    Refusal::ChallengeRequired { difficulty }
}

#[test]
fn hold_requires_a_solution_that_is_hard_enough() {
    given([drop_scheduled(challenging(5), 9)])
        .when(place_hold("h1", 1))
        .then_refused(required(5))
        .when(solved(4, place_hold("h1", 1)))
        .then_refused(required(5))
        .when(solved(5, place_hold("h1", 1)))
        .then([hold_placed("h1", 1)])
        .when(solved(20, place_hold("h2", 1)).by("bob"))
        .then([hold_placed("h2", 1).by("bob")]);
}

#[test]
fn drop_without_a_challenge_accepts_a_solution_and_none() {
    given([drop_opened(9)])
        .when(place_hold("h1", 1))
        .then([hold_placed("h1", 1)])
        .when(solved(1, place_hold("h2", 1)))
        .then([hold_placed("h2", 1)]);
}

#[test]
fn waitlist_requires_a_solution_and_its_offer_none() {
    given([
        drop_scheduled(challenging(2), 1),
        hold_placed("h0", 1).by("bob"),
    ])
    .when(join_waitlist("w1", 1))
    .then_refused(required(2))
    .when(solved(2, join_waitlist("w1", 1)))
    .then([waitlist_joined("w1", 1)])
    .when(release_hold("h0"))
    .then([hold_released("h0", 1).by("bob")])
    .when(serve_waitlist())
    .then([hold_offered("w1", 1)]);
}

#[test]
fn solution_is_required_after_every_other_refusal() {
    let limited = DropTerms {
        max_per_buyer: Some(buyer_limit(2)),
        ..challenging(5)
    };
    given([drop_scheduled(limited, 2)])
        .when(place_hold("h1", 1).at(second(-1)))
        .then_refused(Refusal::NotLive {
            starts_at: second(0),
        })
        .when(place_hold("h1", 3))
        .then_refused(Refusal::LimitReached {
            limit: domain::refusal::Limit::PerBuyer,
            max: 2,
            allowance: 2,
        })
        .when(join_waitlist("w1", 1))
        .then_refused(Refusal::NotSoldOut {
            requested: 1,
            available: 2,
        })
        .when(solved(5, place_hold("h0", 2)).by("bob"))
        .then([hold_placed("h0", 2).by("bob")])
        .when(place_hold("h1", 1))
        .then_refused(Refusal::SoldOut {
            requested: 1,
            available: 0,
        });
}

#[test]
fn retry_needs_no_solution() {
    given([
        drop_scheduled(challenging(5), 9),
        hold_placed("h1", 1).keyed("k"),
    ])
    .when(place_hold("h2", 1).keyed("k"))
    .then_replays(Subject::Hold(hold_id("h1")));
}

#[test]
fn challenge_that_is_removed_or_made_harder_applies_to_later_requests() {
    let edited = |challenge| {
        reschedule_drop(TermsPatch {
            challenge: Some(challenge),
            ..TermsPatch::default()
        })
    };
    given([drop_scheduled(challenging(2), 9)])
        .when(edited(Some(challenge(3))))
        .then([drop_rescheduled(challenging(3))])
        .when(solved(2, place_hold("h1", 1)))
        .then_refused(required(3))
        .when(edited(None))
        .then([drop_rescheduled(terms())])
        .when(place_hold("h1", 1))
        .then([hold_placed("h1", 1)]);
}
