//! The rules that judge a load test: the buyers' responses are compared with the log.
//!
//! Promise: pure. It passes only if nothing was oversold, nothing acknowledged is missing, nothing
//! happened twice and nothing failed; with abandoned holds, only if each expired once and not
//! before its deadline.
//! Limit: a server whose log is wrong in the same way as its responses passes here; `holdfast audit
//! verify` and the database's constraints guard against that.

use std::collections::HashSet;

use domain::values::HoldId;

use super::outcome::Responses;
use super::tally::{End, Tally};

/// The expectations that the rules depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Units that each buyer requested.
    pub quantity: u32,
    /// True if every hold was left to expire.
    pub abandoned: bool,
    /// The latest that an expiry may be recorded, in milliseconds after the deadline.
    pub max_lateness_ms: Option<i64>,
}

/// A broken rule, with the number of affected units or holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// More units were held and sold than were on sale.
    #[error("{0} units oversold")]
    Oversold(i64),
    /// Buyers were refused as sold out although units were always available.
    #[error("buyers were refused as sold out although {0} units were always available")]
    Undersold(i64),
    /// An acknowledged hold is not in the log.
    #[error("{0} acknowledged holds are not in the log")]
    HoldsMissing(usize),
    /// An acknowledged purchase is not in the log.
    #[error("{0} acknowledged purchases are not in the log")]
    PurchasesMissing(usize),
    /// A hold was placed or ended twice, or acknowledged to two buyers.
    #[error("{0} duplicates")]
    Duplicates(u64),
    #[error("{0} holds ended that were never placed")]
    EndedUnplaced(u64),
    #[error("{0} requests failed")]
    Failed(u64),
    /// An abandoned hold has not expired.
    #[error("{0} holds never expired")]
    NeverExpired(usize),
    #[error("{0} holds expired before their deadline")]
    ExpiredEarly(usize),
    /// An expiry has a deadline other than the hold's.
    #[error("{0} holds expired with a deadline other than the one they were placed with")]
    DeadlinesMoved(u64),
    /// An expiry was recorded later than allowed.
    #[error("the latest expiry was recorded {worst} ms late; {allowed} ms are allowed")]
    Late { worst: i64, allowed: i64 },
}

/// The judgement of a load test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged holds and purchases that are not in the log.
    pub missing: usize,
    /// Holds in the log that were not acknowledged, because the response was lost. Not a fault of
    /// the log.
    pub unacknowledged: usize,
    /// Holds placed or ended twice, or acknowledged to two buyers.
    pub duplicates: u64,
    /// The broken rules; empty if the test passed.
    pub failures: Vec<Failure>,
}

impl Verdict {
    /// Reports whether no rule was broken.
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

#[must_use]
pub fn judge(responses: &Responses, tally: &Tally, expected: Expected) -> Verdict {
    let acknowledged: HashSet<HoldId> = responses.holds.iter().map(|hold| hold.id).collect();
    let shared = responses.holds.len() - acknowledged.len();
    let duplicates = tally.placed_again + tally.ended_again + shared as u64;
    let holds_missing = holds_missing(responses, tally);
    let purchases_missing = purchases_missing(responses, tally);
    let unacknowledged = |id: &&HoldId| !acknowledged.contains(id);
    let rules = [
        (holds_missing > 0, Failure::HoldsMissing(holds_missing)),
        (
            purchases_missing > 0,
            Failure::PurchasesMissing(purchases_missing),
        ),
        (duplicates > 0, Failure::Duplicates(duplicates)),
    ];
    let all = stock(responses, tally, expected)
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
fn stock(responses: &Responses, tally: &Tally, expected: Expected) -> [(bool, Failure); 4] {
    let failed = responses.failed.values().sum();
    let left = tally.units.total - tally.peak_taken;
    let sold_out = responses.refused.contains_key("sold_out");
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

fn holds_missing(responses: &Responses, tally: &Tally) -> usize {
    let recorded = |id| tally.holds.get(id);
    responses
        .holds
        .iter()
        .filter(|acknowledged| {
            recorded(&acknowledged.id).is_none_or(|logged| {
                logged.quantity != acknowledged.quantity
                    || logged.expires_at != acknowledged.expires_at
            })
        })
        .count()
}

fn purchases_missing(responses: &Responses, tally: &Tally) -> usize {
    let sold = |id| {
        tally
            .holds
            .get(id)
            .is_some_and(|hold| hold.end == Some(End::Sold))
    };
    responses
        .purchases
        .iter()
        .filter(|purchase| !sold(&purchase.hold_id))
        .count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::DropEvent;
    use domain::values::{Position, PurchaseId, Timestamp};

    use super::super::outcome::{Fault, Outcome, Unsuccessful, Visit};
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

    fn outcome<T>(result: Result<T, Unsuccessful>) -> Outcome<T> {
        Outcome {
            result,
            latency: Duration::from_millis(1),
            retried: vec![],
        }
    }

    fn acknowledged_hold(number: u128) -> Visit {
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

    fn acknowledged_purchase(number: u128) -> Visit {
        let purchase = PurchaseView {
            id: PurchaseId(hold_id(number).0),
            hold_id: hold_id(number),
            quantity: 1,
            position: Position(2),
        };
        Visit {
            purchase: Some(outcome(Ok(purchase))),
            ..acknowledged_hold(number)
        }
    }

    fn unsuccessful(reason: Unsuccessful) -> Visit {
        Visit {
            hold: outcome(Err(reason)),
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
        let responses = Responses::gather(visits.into_iter().collect(), Duration::from_secs(1));
        let verdict = judge(&responses, &tally(log), expected);
        assert_eq!(verdict.failures, failures);
        assert_eq!(verdict.passed(), failures.is_empty());
    }

    fn sold_out() -> Visit {
        unsuccessful(Unsuccessful::Refused("sold_out".into()))
    }

    #[test]
    fn every_unit_sold_once_and_the_rest_refused_passes() {
        check(
            [acknowledged_purchase(1), sold_out()],
            [scheduled(1), placed(1, 1), sold(1, 1)],
            SALE,
            &[],
        );
    }

    #[test]
    fn oversold_log_fails() {
        check(
            [acknowledged_hold(1), acknowledged_hold(2)],
            [scheduled(1), placed(1, 1), placed(2, 1)],
            SALE,
            &[Failure::Oversold(1)],
        );
    }

    #[test]
    fn acknowledged_hold_missing_from_the_log_fails() {
        check(
            [acknowledged_hold(1), acknowledged_hold(2)],
            [scheduled(5), placed(1, 1)],
            SALE,
            &[Failure::HoldsMissing(1)],
        );
    }

    #[test]
    fn acknowledged_hold_that_differs_from_the_log_fails() {
        check(
            [acknowledged_hold(1)],
            [scheduled(5), placed(1, 2)],
            SALE,
            &[Failure::HoldsMissing(1)],
        );
    }

    #[test]
    fn acknowledged_purchase_missing_from_the_log_fails() {
        check(
            [acknowledged_purchase(1)],
            [scheduled(1), placed(1, 1)],
            SALE,
            &[Failure::PurchasesMissing(1)],
        );
    }

    #[test]
    fn one_hold_acknowledged_to_two_buyers_fails() {
        check(
            [acknowledged_hold(1), acknowledged_hold(1)],
            [scheduled(5), placed(1, 1)],
            SALE,
            &[Failure::Duplicates(1)],
        );
    }

    #[test]
    fn any_failed_request_fails() {
        check(
            [unsuccessful(Unsuccessful::Failed(Fault::Timeout))],
            [scheduled(5)],
            SALE,
            &[Failure::Failed(1)],
        );
    }

    #[test]
    fn refusing_a_buyer_while_units_are_available_fails() {
        check(
            [acknowledged_hold(1), sold_out()],
            [scheduled(2), placed(1, 1)],
            SALE,
            &[Failure::Undersold(1)],
        );
    }

    #[test]
    fn lost_response_is_reported_and_is_not_a_failure() {
        let responses = Responses::gather(vec![sold_out()], Duration::from_secs(1));
        let verdict = judge(&responses, &tally([scheduled(1), placed(1, 1)]), SALE);
        assert!(verdict.passed());
        assert_eq!(verdict.unacknowledged, 1);
    }

    #[test]
    fn abandoned_holds_that_each_expire_once_pass() {
        check(
            [acknowledged_hold(1), acknowledged_hold(2)],
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
    fn double_expiry_fails() {
        check(
            [acknowledged_hold(1)],
            [scheduled(2), placed(1, 1), expired(1, 1), expired(1, 1)],
            ABANDONED,
            &[Failure::Duplicates(1)],
        );
    }

    #[test]
    fn unresolved_hold_fails_only_if_holds_were_abandoned() {
        let log = || [scheduled(2), placed(1, 1)];
        check(
            [acknowledged_hold(1)],
            log(),
            ABANDONED,
            &[Failure::NeverExpired(1)],
        );
        check([acknowledged_hold(1)], log(), SALE, &[]);
    }

    #[test]
    fn lateness_is_allowed_up_to_the_limit_exactly() {
        let check_bound = |max_lateness_ms, failures: &[Failure]| {
            check(
                [acknowledged_hold(1)],
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
