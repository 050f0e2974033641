//! The rules that a stampede is judged by: what the buyers were told against what the log says.
//!
//! Promise: pure, and passes only if nothing was oversold, nothing acknowledged is missing, nothing happened twice and
//! nothing failed; with abandoned holds, only if each expired once, on its deadline and not before.
//! Limit: a server that lies in its log as well as in its answers passes here; `holdfast audit verify` and the
//! database's own rules stand against that.

use std::collections::HashSet;

use domain::values::HoldId;

use super::outcome::Answers;
use super::tally::{End, Tally};

/// What the stampede was meant to do, as far as the rules depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Units that each buyer asked for.
    pub quantity: u32,
    /// Whether every hold was left to expire.
    pub abandoned: bool,
    /// The latest that an expiry may be recorded, in milliseconds after the deadline.
    pub max_lateness_ms: Option<i64>,
}

/// A rule that was broken. Units and holds are counted, so the line alone tells how badly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// More units were held and sold than there were.
    #[error("{0} units oversold")]
    Oversold(i64),
    /// Refused as sold out although units were left throughout.
    #[error("buyers were refused as sold out although {0} units were never taken")]
    Undersold(i64),
    /// A buyer was told of a hold that the log does not have.
    #[error("{0} acknowledged holds are not in the log")]
    HoldsMissing(usize),
    /// A buyer was told of a purchase that the log does not have.
    #[error("{0} acknowledged purchases are not in the log")]
    PurchasesMissing(usize),
    /// A hold was placed or ended twice, or two buyers were given the same one.
    #[error("{0} duplicates")]
    Duplicates(u64),
    /// A hold ended that was never placed.
    #[error("{0} holds ended that were never placed")]
    EndedUnplaced(u64),
    /// Requests failed.
    #[error("{0} requests failed")]
    Failed(u64),
    /// An abandoned hold is still there.
    #[error("{0} holds never expired")]
    NeverExpired(usize),
    /// An expiry was recorded before its deadline.
    #[error("{0} holds expired before their deadline")]
    ExpiredEarly(usize),
    /// An expiry names another deadline than the hold did.
    #[error("{0} holds expired on another deadline than they were placed with")]
    DeadlinesMoved(u64),
    /// An expiry was recorded later than allowed.
    #[error("the latest release was {worst} ms late, {allowed} ms are allowed")]
    Late {
        /// The latest.
        worst: i64,
        /// What was allowed.
        allowed: i64,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged holds and purchases that the log does not have.
    pub missing: usize,
    /// Holds in the log that no buyer was told of: their answers were lost on the way. No fault of the log.
    pub unacknowledged: usize,
    /// Holds placed or ended twice, or acknowledged to two buyers.
    pub duplicates: u64,
    /// The rules that were broken; none: passed.
    pub failures: Vec<Failure>,
}

impl Verdict {
    /// Whether no rule was broken.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// The broken rules in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        let reasons: Vec<String> = self.failures.iter().map(ToString::to_string).collect();
        reasons.join("; ")
    }
}

/// Judges.
#[must_use]
pub fn judge(answers: &Answers, tally: &Tally, expected: Expected) -> Verdict {
    let acknowledged: HashSet<HoldId> = answers.holds.iter().map(|hold| hold.id).collect();
    let shared = answers.holds.len() - acknowledged.len();
    let duplicates = tally.placed_again + tally.ended_again + shared as u64;
    let holds_missing = holds_missing(answers, tally);
    let purchases_missing = purchases_missing(answers, tally);
    let unacknowledged = |id: &&HoldId| !acknowledged.contains(id);
    let rules = [
        (holds_missing > 0, Failure::HoldsMissing(holds_missing)),
        (
            purchases_missing > 0,
            Failure::PurchasesMissing(purchases_missing),
        ),
        (duplicates > 0, Failure::Duplicates(duplicates)),
    ];
    let all = stock(answers, tally, expected)
        .into_iter()
        .chain(rules)
        .chain(deadlines(tally, expected));
    Verdict {
        missing: holds_missing + purchases_missing,
        unacknowledged: tally.holds.keys().filter(unacknowledged).count(),
        duplicates,
        failures: all
            .filter_map(|(broken, rule)| broken.then_some(rule))
            .collect(),
    }
}

/// The rules about units and requests, each with whether it was broken.
fn stock(answers: &Answers, tally: &Tally, expected: Expected) -> [(bool, Failure); 4] {
    let failed = answers.failed.values().sum();
    let left = tally.units.total - tally.peak_taken;
    let sold_out = answers.refused.contains_key("sold_out");
    [
        (tally.oversold > 0, Failure::Oversold(tally.oversold)),
        (
            sold_out && left >= i64::from(expected.quantity),
            Failure::Undersold(left),
        ),
        (failed > 0, Failure::Failed(failed)),
        (
            tally.ended_unplaced > 0,
            Failure::EndedUnplaced(tally.ended_unplaced),
        ),
    ]
}

/// The rules about deadlines, each with whether it was broken.
fn deadlines(tally: &Tally, expected: Expected) -> [(bool, Failure); 4] {
    let early = tally.lateness_ms.iter().filter(|ms| **ms < 0).count();
    let worst = tally.lateness_ms.iter().copied().max().unwrap_or(0);
    let allowed = expected.max_lateness_ms.unwrap_or(i64::MAX);
    let (moved, open) = (tally.deadlines_moved, tally.open());
    [
        (early > 0, Failure::ExpiredEarly(early)),
        (moved > 0, Failure::DeadlinesMoved(moved)),
        (expected.abandoned && open > 0, Failure::NeverExpired(open)),
        (worst > allowed, Failure::Late { worst, allowed }),
    ]
}

fn holds_missing(answers: &Answers, tally: &Tally) -> usize {
    let recorded = |id| tally.holds.get(id);
    answers
        .holds
        .iter()
        .filter(|told| {
            recorded(&told.id).is_none_or(|logged| {
                logged.quantity != told.quantity || logged.expires_at != told.expires_at
            })
        })
        .count()
}

fn purchases_missing(answers: &Answers, tally: &Tally) -> usize {
    let sold = |id| {
        tally
            .holds
            .get(id)
            .is_some_and(|hold| hold.end == Some(End::Sold))
    };
    answers
        .purchases
        .iter()
        .filter(|told| !sold(&told.hold_id))
        .count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::DropEvent;
    use domain::values::{Position, PurchaseId, Timestamp};

    use super::super::outcome::{Fault, Miss, Outcome, Visit};
    use super::super::tally::tests::{expired, hold_id, placed, scheduled, sold, tally};
    use super::*;
    use crate::calls::{HoldView, PurchaseView};

    const SALE: Expected = Expected {
        quantity: 1,
        abandoned: false,
        max_lateness_ms: None,
    };
    const ABANDONED: Expected = Expected {
        abandoned: true,
        ..SALE
    };

    fn outcome<T>(result: Result<T, Miss>) -> Outcome<T> {
        Outcome {
            result,
            latency: Duration::from_millis(1),
            retried: vec![],
        }
    }

    fn told_of_hold(number: u128) -> Visit {
        let hold = HoldView {
            id: hold_id(number),
            quantity: 1,
            placed_at: Timestamp::default(),
            expires_at: Timestamp::from_millis(1_000),
            position: Position(1),
        };
        Visit {
            hold: outcome(Ok(hold)),
            purchase: None,
        }
    }

    fn told_of_purchase(number: u128) -> Visit {
        let purchase = PurchaseView {
            id: PurchaseId(hold_id(number).0),
            hold_id: hold_id(number),
            quantity: 1,
            position: Position(2),
        };
        Visit {
            purchase: Some(outcome(Ok(purchase))),
            ..told_of_hold(number)
        }
    }

    fn missed(miss: Miss) -> Visit {
        Visit {
            hold: outcome(Err(miss)),
            purchase: None,
        }
    }

    #[track_caller]
    fn check(
        visits: impl IntoIterator<Item = Visit>,
        log: impl IntoIterator<Item = DropEvent>,
        expected: Expected,
        failures: &[Failure],
    ) {
        let answers = Answers::gather(visits.into_iter().collect(), Duration::from_secs(1));
        let verdict = judge(&answers, &tally(log), expected);
        assert_eq!(verdict.failures, failures);
        assert_eq!(verdict.passed(), failures.is_empty());
    }

    fn sold_out() -> Visit {
        missed(Miss::Refused("sold_out".into()))
    }

    #[test]
    fn every_unit_sold_once_and_the_rest_refused_passes() {
        check(
            [told_of_purchase(1), sold_out()],
            [scheduled(1), placed(1, 1), sold(1, 1)],
            SALE,
            &[],
        );
    }

    #[test]
    fn an_oversold_log_fails() {
        check(
            [told_of_hold(1), told_of_hold(2)],
            [scheduled(1), placed(1, 1), placed(2, 1)],
            SALE,
            &[Failure::Oversold(1)],
        );
    }

    #[test]
    fn an_acknowledged_hold_that_the_log_lacks_fails() {
        check(
            [told_of_hold(1), told_of_hold(2)],
            [scheduled(5), placed(1, 1)],
            SALE,
            &[Failure::HoldsMissing(1)],
        );
    }

    #[test]
    fn an_acknowledged_hold_that_the_log_tells_otherwise_fails() {
        check(
            [told_of_hold(1)],
            [scheduled(5), placed(1, 2)],
            SALE,
            &[Failure::HoldsMissing(1)],
        );
    }

    #[test]
    fn an_acknowledged_purchase_that_the_log_lacks_fails() {
        check(
            [told_of_purchase(1)],
            [scheduled(1), placed(1, 1)],
            SALE,
            &[Failure::PurchasesMissing(1)],
        );
    }

    #[test]
    fn one_hold_given_to_two_buyers_fails() {
        check(
            [told_of_hold(1), told_of_hold(1)],
            [scheduled(5), placed(1, 1)],
            SALE,
            &[Failure::Duplicates(1)],
        );
    }

    #[test]
    fn any_failed_request_fails() {
        check(
            [missed(Miss::Failed(Fault::Timeout))],
            [scheduled(5)],
            SALE,
            &[Failure::Failed(1)],
        );
    }

    #[test]
    fn refusing_a_buyer_while_units_are_left_fails() {
        check(
            [told_of_hold(1), sold_out()],
            [scheduled(2), placed(1, 1)],
            SALE,
            &[Failure::Undersold(1)],
        );
    }

    #[test]
    fn an_answer_lost_on_the_way_is_told_and_is_no_failure() {
        let answers = Answers::gather(vec![sold_out()], Duration::from_secs(1));
        let verdict = judge(&answers, &tally([scheduled(1), placed(1, 1)]), SALE);
        assert!(verdict.passed());
        assert_eq!(verdict.unacknowledged, 1);
    }

    #[test]
    fn abandoned_holds_that_each_expire_once_pass() {
        check(
            [told_of_hold(1), told_of_hold(2)],
            [
                scheduled(2),
                placed(1, 1),
                placed(2, 1),
                expired(1, 1),
                expired(2, 1),
            ],
            ABANDONED,
            &[],
        );
    }

    #[test]
    fn a_double_expiry_fails() {
        check(
            [told_of_hold(1)],
            [scheduled(2), placed(1, 1), expired(1, 1), expired(1, 1)],
            ABANDONED,
            &[Failure::Duplicates(1)],
        );
    }

    #[test]
    fn an_abandoned_hold_that_never_expires_fails_and_a_held_one_otherwise_does_not() {
        let log = || [scheduled(2), placed(1, 1)];
        check(
            [told_of_hold(1)],
            log(),
            ABANDONED,
            &[Failure::NeverExpired(1)],
        );
        check([told_of_hold(1)], log(), SALE, &[]);
    }

    #[test]
    fn lateness_is_allowed_up_to_the_bound_and_not_a_millisecond_more() {
        let check_bound = |max_lateness_ms, failures: &[Failure]| {
            check(
                [told_of_hold(1)],
                [scheduled(2), placed(1, 1), expired(1, 1)],
                Expected {
                    max_lateness_ms: Some(max_lateness_ms),
                    ..ABANDONED
                },
                failures,
            );
        };
        check_bound(7, &[]);
        check_bound(
            6,
            &[Failure::Late {
                worst: 7,
                allowed: 6,
            }],
        );
    }
}
